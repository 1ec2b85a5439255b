"""Opening catalogs: what is refused, with which words, and what every connection has."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from functools import partial

import duckdb
import pytest

from mlforge.catalog import doctor, file, migrations, open_files, reader
from mlforge.catalog.commit import commit
from mlforge.catalog.compact import compact
from mlforge.catalog.lock import build_lock, try_lock
from mlforge.catalog.migrations import Migration
from mlforge.catalog.staging import Staging, Workdir
from mlforge.errors import BuildError, CatalogError, LockedError
from mlforge.sql.templates import sql


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.duckdb"


@pytest.fixture
def catalog(path):
    assert commit(path, None, lambda _: None).how == "created"
    return path


def setting(con, name: str):
    return con.execute(f"SELECT current_setting('{name}')").fetchall()[0][0]


def refused(path, message: str, hint: str, error=CatalogError) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught, file.open_read(path, lock_timeout=0.1):
        pass
    assert hint in caught.value.hint


def test_a_missing_catalog_says_how_to_make_one(path):
    refused(path, f"there is no catalog at {path}", "mlforge build")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("content", [b"a,b\n1,2\n" * 5000, b"\0" * 20_000, b"short"])
def test_a_file_that_is_no_database(path, content):
    path.write_bytes(content)
    refused(path, f"{path} is not a DuckDB file, or it is damaged", "mlforge build")
    with pytest.raises(CatalogError, match="is not a DuckDB file, or it is damaged"):
        commit(path, None, lambda _: None)
    assert path.read_bytes() == content


def test_a_damaged_catalog(catalog):
    with catalog.open("r+b") as handle:
        handle.seek(12_288)
        handle.write(os.urandom(50_000))
    refused(catalog, f"{catalog} is not a DuckDB file, or it is damaged", "a backup")


def test_a_folder_in_place_of_a_catalog(path):
    path.mkdir()
    refused(path, f"{path} is not a DuckDB file, or it is damaged", "mlforge build")


def test_a_database_of_somebody_else_is_neither_read_nor_written(path):
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE theirs AS SELECT 1 AS a")
    refused(path, f"{path} is a DuckDB file, but not a catalog of mlforge", "name the catalog")
    with pytest.raises(CatalogError, match="not a catalog of mlforge"):
        commit(path, None, lambda _: None)
    with duckdb.connect(str(path)) as con:
        assert con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("theirs",)]


def test_an_empty_database_becomes_a_catalog(path):
    duckdb.connect(str(path)).close()
    assert commit(path, None, lambda _: None).how == "in place"
    with file.open_read(path) as con:
        assert migrations.found(con) == migrations.latest()


def test_a_catalog_of_a_newer_mlforge(catalog):
    with duckdb.connect(str(catalog)) as con:
        con.execute("INSERT INTO mlforge.migrations VALUES (9, 'later', now(), '9.0')")
    message = f"{catalog} was made by a newer mlforge: it is at migration 9, this one knows {migrations.latest()}"
    refused(catalog, message, "upgrade mlforge")
    with pytest.raises(CatalogError, match=re.escape(message)):
        commit(catalog, None, lambda _: pytest.fail("must not run"))


def test_an_older_catalog_is_migrated_after_a_backup(catalog, monkeypatch):
    newest = migrations.latest()
    later = (*migrations.MIGRATIONS, Migration(newest + 1, "later", "catalog/next_build"))
    monkeypatch.setattr(migrations, "MIGRATIONS", later)
    with file.open_read(catalog) as con:
        assert reader.state(con).last_build == 0
    backup = catalog.with_name(f"catalog.duckdb.backup-{newest}")
    assert commit(catalog, None, lambda _: None).backup == str(backup)
    for at, expected in ((catalog, newest + 1), (backup, newest)):
        with duckdb.connect(str(at), read_only=True) as con:
            assert con.execute("SELECT max(id) FROM mlforge.migrations").fetchall() == [(expected,)]
    assert commit(catalog, None, lambda _: None).backup is None


def test_a_failing_migration_leaves_the_older_catalog(catalog, monkeypatch):
    later = (*migrations.MIGRATIONS, Migration(migrations.latest() + 1, "wrong", "catalog/copy_table"))
    monkeypatch.setattr(migrations, "MIGRATIONS", later)
    before = catalog.read_bytes()
    with pytest.raises(Exception, match="undefined"):
        commit(catalog, None, lambda _: None)
    assert catalog.read_bytes() == before
    assert [p.name for p in catalog.parent.iterdir()] == ["catalog.duckdb"]


def test_a_catalog_too_old_to_be_read(catalog, monkeypatch):
    monkeypatch.setattr(migrations, "OLDEST_READABLE", migrations.latest() + 1)
    refused(catalog, f"{catalog} was made by an older mlforge", "mlforge build")


def test_what_a_connection_has(catalog):
    with file.open_read(catalog, threads=1, memory_limit="300MB") as con:
        assert setting(con, "TimeZone") == "UTC"
        assert setting(con, "threads") == 1
        assert setting(con, "memory_limit") == "286.1 MiB"
        assert not setting(con, "autoload_known_extensions")
        assert not setting(con, "autoinstall_known_extensions")
        with pytest.raises(duckdb.Error, match="read-only"):
            con.execute("CREATE TABLE store.x (a INT)")


def test_nothing_stays_open(catalog):
    with file.open_read(catalog):
        pass
    assert commit(catalog, None, lambda _: None).how == "in place"


def test_the_storage_version_is_read_by_every_duckdb_from_1_4(catalog):
    assert int.from_bytes(catalog.read_bytes()[12:20], "little") == 67


def make_table(name: str):
    return lambda tx: tx.con.execute(f"CREATE TABLE store.{name} AS SELECT 1 AS a")


def tables(con) -> list[str]:
    return [name for (name,) in con.execute(sql("catalog/store_tables")).fetchall()]


def read(catalog, *, lock_timeout: float = 0.1):
    with file.open_read(catalog, lock_timeout=lock_timeout) as con:
        return tables(con)


@pytest.mark.parametrize("reader", ["mlforge", "a notebook"])
def test_a_reader_of_this_process_keeps_what_it_began_with_and_a_new_one_sees_the_commit(catalog, reader):
    commit(catalog, None, make_table("first"))
    own = file.open_read(catalog) if reader == "mlforge" else duckdb.connect(str(catalog), read_only=True)
    with own as con:
        with pytest.raises(LockedError, match=f"in use by this very process, process {os.getpid()}") as caught:
            commit(catalog, None, make_table("no"), lock_timeout=0.1, mode="wait")
        assert "close the connection that has it open here" in caught.value.hint
        assert commit(catalog, None, make_table("second"), lock_timeout=0.1).how == "replaced"
        assert read(catalog) == ["first", "second"]
        commit(catalog, None, make_table("third"), lock_timeout=0.1)
        compact(catalog, lock_timeout=0.1)
        assert read(catalog) == ["first", "second", "third"]
        assert tables(con) == ["first"]
    assert commit(catalog, None, lambda _: None).how == "in place"
    assert open_files._entries == {}


def test_overlapping_readers_of_one_process_see_the_commits_between_them(catalog):
    with ExitStack() as readers:
        seen = []
        for number in range(4):
            commit(catalog, None, make_table(f"t{number}"), lock_timeout=0.1)
            con = readers.enter_context(file.open_read(catalog))
            seen.append((number + 1, con))
        assert [len(tables(con)) for _, con in seen] == [count for count, _ in seen]
    assert open_files._entries == {}


def another_process_writes(catalog) -> str:
    """What DuckDB says when a program without mlforge opens the file for writing; nothing if it may."""
    code = "import duckdb, sys\ntry: duckdb.connect(sys.argv[1])\nexcept duckdb.Error as error: print(error)"
    return subprocess.run([sys.executable, "-c", code, str(catalog)], check=True, capture_output=True, text=True).stdout


def test_a_reader_that_is_not_ours_keeps_its_lock_when_ours_is_done(catalog):
    with duckdb.connect(str(catalog), read_only=True):
        read(catalog)
        assert f"(PID {os.getpid()})" in another_process_writes(catalog)
    assert another_process_writes(catalog) == ""
    with file.open_read(catalog):
        assert f"(PID {os.getpid()})" in another_process_writes(catalog)
        read(catalog)
        assert f"(PID {os.getpid()})" in another_process_writes(catalog)
    assert another_process_writes(catalog) == ""
    assert open_files._entries == {}


def test_a_writer_of_this_process_keeps_its_lock_and_its_rows(catalog):
    with duckdb.connect(str(catalog)) as con:
        con.execute("CREATE TABLE theirs AS SELECT 1 AS a")
        for use in (read, compact, partial(commit, staging=None, apply=lambda _: None)):
            with pytest.raises(LockedError, match="is in use by this very process"):
                use(catalog, lock_timeout=0.1)
            assert f"(PID {os.getpid()})" in another_process_writes(catalog)
        con.execute("INSERT INTO theirs VALUES (2)")
    with file.open_read(catalog) as con:
        assert con.execute("SELECT count(*) FROM theirs").fetchall() == [(2,)]


def test_two_threads_of_one_process(catalog):
    reading, done = threading.Event(), threading.Event()

    def read() -> None:
        with file.open_read(catalog):
            reading.set()
            done.wait(20)

    thread = threading.Thread(target=read)
    thread.start()
    assert reading.wait(20)
    threading.Timer(0.3, done.set).start()
    assert commit(catalog, None, lambda _: None, lock_timeout=20).how == "in place"
    thread.join()


def test_a_failure_inside_the_transaction_changes_nothing(catalog):
    def fail(transaction) -> None:
        transaction.con.execute("CREATE TABLE store.half AS SELECT 1 AS a")
        raise BuildError("no")

    with pytest.raises(BuildError, match="no"):
        commit(catalog, None, fail)
    with file.open_read(catalog) as con:
        assert con.execute("SELECT 1 FROM duckdb_tables() WHERE schema_name = 'store'").fetchall() == []


def test_a_failure_in_the_first_commit_makes_no_catalog(path):
    def fail(_) -> None:
        raise BuildError("no")

    with Staging(path) as staging, pytest.raises(BuildError, match="no"):
        commit(path, staging, fail)
    assert list(path.parent.iterdir()) == []


def stage(staging, table="t", rows=200_000) -> None:
    staging.con.execute(
        f"CREATE TABLE store.{table} AS SELECT range AS k, 0::INTEGER AS _mlforge_from, NULL::INTEGER AS _mlforge_to "
        f"FROM range({rows}) ORDER BY hash(range)"
    )


def rows_of(con, table: str) -> list:
    return con.execute(f"SELECT k FROM {table}").fetchall()


@pytest.mark.parametrize("scratch", ["CREATE TEMP TABLE s AS SELECT 1 AS a", "CREATE TABLE main.s AS SELECT 1 AS a"])
@pytest.mark.parametrize("first", [True, False])
def test_staged_rows_keep_their_order_and_nothing_else_comes_along(path, first, scratch):
    if not first:
        commit(path, None, lambda _: None)
    with Staging(path) as staging:
        stage(staging)
        stage(staging, "failed", 10)
        staging.con.execute(scratch)
        staging.con.execute('CREATE SCHEMA "_mlforge_source"; CREATE VIEW "_mlforge_source"."v" AS SELECT 1 AS a')
        expected = rows_of(staging.con, "store.t")
        commit(path, staging, lambda transaction: transaction.copy_table("t"))
    with file.open_read(path) as con:
        assert rows_of(con, "store.t") == expected
        assert con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name <> 'mlforge'").fetchall() == [
            ("t",)
        ]
        schemas = con.execute(
            "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database() AND NOT internal"
        ).fetchall()
        assert {s for (s,) in schemas} - {"main"} == {"mlforge", "store", "features", "versions", "feature_sets"}
    assert [p.name for p in path.parent.iterdir()] == ["catalog.duckdb"]


def patched(path, patch: int, close: list[int], add: int) -> tuple[int, int]:
    result = []
    with Staging(path) as staging:
        staging.con.execute(
            "CREATE TABLE store.t__differ (_mlforge_closed BIGINT, _mlforge_old_t BIGINT, _mlforge_new BOOLEAN, k BIGINT)"
        )
        staging.con.execute(
            f"INSERT INTO store.t__differ SELECT unnest({close}::BIGINT[]), NULL, NULL, NULL "
            f"UNION ALL SELECT NULL, NULL, TRUE, 1000000 + range FROM range({add})"
        )
        commit(path, staging, lambda transaction: result.append(transaction.apply_patch("t", patch)))
    return result[0]


def at_patch(path, patch: int) -> list:
    with file.open_read(path) as con:
        return con.execute(
            f"SELECT k FROM store.t WHERE _mlforge_from <= {patch} AND (_mlforge_to IS NULL OR _mlforge_to > {patch})"
        ).fetchall()


def test_patches_close_and_add_rows_and_older_ones_stay(path):
    with Staging(path) as staging:
        stage(staging, rows=5)
        commit(path, staging, lambda transaction: transaction.copy_table("t"))
    original = at_patch(path, 0)
    assert patched(path, 1, [0, 3], 2) == (2, 2)
    assert patched(path, 2, [6], 0) == (1, 0)
    assert at_patch(path, 0) == original
    assert at_patch(path, 1) == [*(original[n] for n in (1, 2, 4)), (1000000,), (1000001,)]
    assert at_patch(path, 2) == at_patch(path, 1)[:-1]


@pytest.mark.parametrize(("kept", "swept"), [([0, 1, 2], 0), ([1, 2], 2), ([2], 3), ([0], 2), ([0, 2], 1)])
def test_rows_of_no_patch_that_stays_are_swept(path, kept, swept):
    with Staging(path) as staging:
        stage(staging, rows=5)
        commit(path, staging, lambda transaction: transaction.copy_table("t"))
    patched(path, 1, [0, 3], 2)
    patched(path, 2, [6], 0)
    before = {patch: at_patch(path, patch) for patch in kept}
    result = []
    commit(path, None, lambda transaction: result.append(transaction.sweep("t", kept)))
    assert result == [swept]
    assert {patch: at_patch(path, patch) for patch in kept} == before


@pytest.mark.parametrize("gone", [0, 99])
def test_a_patch_for_another_state_of_the_table_is_refused(path, gone):
    with Staging(path) as staging:
        stage(staging, rows=5)
        commit(path, staging, lambda transaction: transaction.copy_table("t"))
    patched(path, 1, [0], 0)
    with pytest.raises(BuildError, match=re.escape("store.t changed while the build ran: 1 rows were to be closed, 0")):
        patched(path, 2, [gone], 3)
    assert len(at_patch(path, 2)) == 4


def test_a_log_of_a_removed_catalog_does_not_block_the_next(path):
    path.with_name("catalog.duckdb.wal").write_bytes(b"of another file")
    commit(path, None, lambda _: None)
    with file.open_read(path) as con:
        assert migrations.found(con) == migrations.latest()


def test_a_link_to_a_catalog_stays_a_link(catalog, tmp_path):
    link = tmp_path / "elsewhere" / "link.duckdb"
    link.parent.mkdir()
    link.symlink_to(catalog)
    commit(link, None, lambda t: t.con.execute("CREATE TABLE store.x AS SELECT 1 AS a"))
    assert link.is_symlink()
    assert [p.name for p in link.parent.iterdir()] == ["link.duckdb"]


def test_the_file_does_not_grow_with_every_rebuild(catalog):
    def rebuild() -> int:
        with Staging(catalog) as staging:
            stage(staging)
            commit(catalog, staging, replace)
        return catalog.stat().st_size

    def replace(transaction) -> None:
        transaction.con.execute("DROP TABLE IF EXISTS store.t")
        transaction.copy_table("t")

    sizes = [rebuild() for _ in range(6)]
    assert sizes[-1] <= 2.5 * sizes[0]


def test_a_build_lock_is_exclusive_and_leaves_no_file(path):
    refusal = pytest.raises(LockedError, match=rf"{re.escape(str(path))} is being built by process {os.getpid()} \(")
    with build_lock(path, 1.0), refusal, build_lock(path, 0.1):
        pass
    assert list(path.parent.iterdir()) == []
    with build_lock(path, 0.1):
        pass


def test_a_lock_file_that_is_left_over_does_not_block(path):
    path.with_name("catalog.duckdb.lock").write_text("999999999")
    with build_lock(path, 0.1):
        pass


def test_live_work_is_left_alone_and_dead_work_is_removed(path):
    with Workdir(path) as live:
        dead = live.root / "20200101T000000-dead"
        dead.mkdir()
        (dead / "staging.duckdb").write_text("x")
        with Workdir(path):
            assert not dead.exists()
            assert live.path.is_dir()
        assert live.path.is_dir()
    assert list(path.parent.iterdir()) == []


def test_a_lock_can_be_had_again_after_its_release(tmp_path):
    path = tmp_path / "x.lock"
    held = try_lock(path)
    assert try_lock(path) is None
    held.release()
    again = try_lock(path)
    assert again is not None
    again.release()


# -- what is spilled, what is refused, what is damaged


def spilling(catalog):
    """A reader with little memory that has spilled, to be closed."""
    opened = file.open_read(catalog, memory_limit="60MB", threads=1)
    con = opened.__enter__()
    con.execute("CREATE TEMP TABLE spilled AS SELECT range AS a, hash(range) AS b FROM range(8000000)")
    return opened, con


def test_readers_that_spill_have_a_folder_of_their_own(catalog):
    """In DuckDB 1.5 two that share one destroy each other's files."""
    (one, first), (two, second) = spilling(catalog), spilling(catalog)
    spilled = [p for p in catalog.parent.iterdir() if p.is_dir()]
    assert len(spilled) == 2
    assert all(list(own.iterdir()) for own in spilled)
    for con in (first, second):
        assert con.execute("SELECT count(DISTINCT b) FROM spilled").fetchall() == [(8_000_000,)]
    two.__exit__(None, None, None)
    assert len([p for p in catalog.parent.iterdir() if p.is_dir()]) == 1
    assert first.execute("SELECT sum(a) FROM spilled").fetchall() == [(sum(range(8_000_000)),)]
    one.__exit__(None, None, None)
    assert [p.name for p in catalog.parent.iterdir()] == ["catalog.duckdb"]
    left = catalog.with_name(f"catalog.duckdb.tmp-{catalog.stat().st_ino}-of-a-reader-that-was-killed")
    left.mkdir()
    (left / "duckdb_temp_block-1.block").write_bytes(b"spilled")
    commit(catalog, None, lambda _: None)
    assert [p.name for p in catalog.parent.iterdir()] == ["catalog.duckdb"]


def test_a_sqlite_file_at_the_place_of_the_catalog(path):
    with closing(sqlite3.connect(path)) as con:
        con.execute("CREATE TABLE theirs (a INT)")
    before = path.read_bytes()
    refused(path, f"{path} is not a DuckDB file, or it is damaged: it begins otherwise", "mlforge build")
    for use in (compact, partial(commit, staging=None, apply=lambda _: None)):
        with pytest.raises(CatalogError, match="is not a DuckDB file, or it is damaged: it begins otherwise"):
            use(path)
    assert path.read_bytes() == before
    assert open_files._entries == {}


QUESTION = "has a question mark in its path, and DuckDB would keep the log of that file somewhere else"
BACKSLASH = "has a backslash in its path, which DuckDB 2 takes for a folder's end: it would open another file"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("what?/catalog.duckdb", QUESTION),
        ("cat?alog.duckdb", QUESTION),
        ("what\\else/catalog.duckdb", BACKSLASH),
        ("cat\\alog.duckdb", BACKSLASH),
    ],
)
def test_a_path_that_duckdb_takes_apart(tmp_path, name, words):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    for use in (lambda: commit(path, None, lambda _: None), lambda: read(path), lambda: Staging(path)):
        with pytest.raises(CatalogError, match=re.escape(f"{path} {words}")) as caught:
            use()
        assert caught.value.hint == "rename the folder or the file"
    assert not path.exists()


@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_damage_that_is_found_while_reading(catalog, how):
    table = "CREATE TABLE store.t AS SELECT range AS a, hash(range) AS b FROM range(500000)"
    commit(catalog, None, lambda tx: tx.con.execute(table))
    content = bytearray(catalog.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 255
    else:  # the places of the metadata differ: cut what is behind them, which is as long
        content = content[: len(content) - 262_144 * (len(content) // 262_144 // 2)]
    catalog.write_bytes(content)
    message = rf"^{re.escape(str(catalog))} is not a DuckDB file, or it is damaged: "
    with pytest.raises(CatalogError, match=message), file.open_read(catalog) as con:
        con.execute("SELECT sum(a), max(b) FROM store.t").fetchall()
    found = [f for f in doctor.examine(catalog) if f.state == "problem"]
    assert len(found) == 1
    assert re.match(message, found[0].text)
    assert found[0].hint == "move it away and run mlforge build, or put a backup in its place"


def test_doctor_reads_all_tables(catalog):
    commit(catalog, None, make_table("t"))
    found = {f.what: f for f in doctor.examine(catalog)}
    assert re.fullmatch(r"\d+ tables can be read to the end", found["tables"].text)
    assert {f.state for f in found.values()} == {"ok"}


def test_two_names_of_one_file_are_one_file(catalog):
    """A link by which a notebook reads, and the name by which mlforge writes."""
    link = catalog.with_name("link.duckdb")
    link.symlink_to(catalog)
    with file.open_read(link) as con:
        assert commit(catalog, None, make_table("t"), lock_timeout=0.1).how == "replaced"
        assert tables(con) == []
    assert read(link) == ["t"]


def test_a_catalog_that_somebody_made_while_the_first_build_ran(path):
    def meanwhile(tx) -> None:
        with duckdb.connect(str(path)) as con:
            con.execute("CREATE TABLE theirs AS SELECT 1 AS a")

    with pytest.raises(CatalogError, match=f"{path} was made by another program while the build ran") as caught:
        commit(path, None, meanwhile)
    assert caught.value.hint == "build again: it stays as it is"
    with duckdb.connect(str(path)) as con:
        assert con.execute("FROM theirs").fetchall() == [(1,)]


FORKS = """
import os, sys
from mlforge.catalog import file, open_files
with file.open_read(sys.argv[1]) as con:
    child = os.fork()
    if child == 0:
        assert open_files._entries == {}
        with file.open_read(sys.argv[1]) as own:
            rows = own.execute("FROM store.t").fetchall()
        os._exit(0 if rows == [(1,)] else 1)
    assert os.waitpid(child, 0)[1] == 0
    print("ready", flush=True)
    sys.stdin.readline()
assert open_files._entries == {}
"""


def test_a_child_that_reads_and_ends_takes_no_lock_from_its_parent(catalog):
    commit(catalog, None, make_table("t"))
    command = [sys.executable, "-c", FORKS, str(catalog)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "ready\n"
        assert "Could not set lock" in another_process_writes(catalog)
        parent.communicate("\n")
    assert parent.returncode == 0
    assert another_process_writes(catalog) == ""


def test_a_build_whose_source_did_not_stay_as_it_was(catalog):
    """By a program that no lock keeps out."""
    with file.Pins() as pins:
        pins.hold(catalog, 1.0)
        pins.release()
        pins.hold(catalog, 1.0)
        catalog.write_bytes(catalog.read_bytes())
        with pytest.raises(BuildError, match=f"{catalog} was written to while the build read it") as caught:
            pins.release()
    assert caught.value.hint == "build again; the catalog is as it was"
    assert open_files._entries == {}
