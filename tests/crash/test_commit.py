"""Commits that die at any step, and commits that meet readers, writers, full disks and locked folders."""

from __future__ import annotations

import os
import random
import signal
import stat
import time

import duckdb
import pytest

from mlforge.catalog import commit as commits
from mlforge.catalog import file, open_files
from mlforge.catalog.compact import compact
from mlforge.catalog.migrations import latest
from mlforge.errors import CatalogError, LockedError

ROWS = 100_000
PATCHED = ROWS + 3  # a build after the first adds three rows to the first table

CREATED = ("opened", "migrated", "applied", "before-commit", "committed", "checkpointed", "synced", "replaced")
IN_PLACE = ("opened", "migrated", "applied", "before-commit", "committed", "checkpointed")
REPLACED = ("held", "copied", *CREATED[:-1], "moved", CREATED[-1])


def beside(catalog) -> list[str]:
    return sorted(p.name for p in catalog.parent.iterdir())


def test_every_step_dies_below():
    assert {*CREATED, *IN_PLACE, *REPLACED, "backed-up"} == set(commits.STEPS)


def dies(worker) -> bool:
    return worker.end() == -signal.SIGKILL


@pytest.mark.parametrize("step", CREATED)
def test_the_first_commit_dies(start, build, look, catalog, step):
    assert dies(start(do="build", catalog=catalog, die_at=step))
    assert catalog.exists() == (step == "replaced")
    number = 2 if step == "replaced" else 1
    assert build()["build"] == number
    assert look() == (number, PATCHED if number == 2 else ROWS)
    assert beside(catalog) == ["catalog.duckdb"]


@pytest.mark.parametrize("step", IN_PLACE)
def test_a_commit_in_place_dies(start, build, look, catalog, step):
    build()
    assert dies(start(do="build", catalog=catalog, die_at=step))
    committed = step in ("committed", "checkpointed")
    assert look() == ((2, PATCHED) if committed else (1, ROWS))
    again = build()
    assert (again["how"], again["build"]) == ("in place", 3 if committed else 2)
    assert look() == ((3, PATCHED + 3) if committed else (2, PATCHED))
    assert beside(catalog) == ["catalog.duckdb"]


@pytest.mark.parametrize("step", REPLACED)
def test_a_commit_under_a_reader_dies(start, build, look, catalog, step):
    build()
    reader = start(do="read", catalog=catalog)
    assert reader.hear()["rows"] == ROWS
    assert dies(start(do="build", catalog=catalog, die_at=step))
    replaced = step in ("moved", "replaced")
    assert look() == ((2, PATCHED) if replaced else (1, ROWS))
    again = build()
    assert (again["how"], again["build"]) == ("in place" if replaced else "replaced", 3 if replaced else 2)
    reader.go_on()
    assert reader.hear()["rows"] == ROWS
    assert look() == ((3, PATCHED + 3) if replaced else (2, PATCHED))
    assert beside(catalog) == ["catalog.duckdb"]


@pytest.mark.parametrize("step", [*REPLACED, "backed-up"])
def test_a_commit_that_migrates_dies(start, build, look, catalog, step):
    build()
    assert dies(start(do="build", catalog=catalog, later_mlforge=True, die_at=step))
    backup = catalog.with_name(f"catalog.duckdb.backup-{latest()}")
    replaced = step in ("moved", "replaced")
    assert backup.exists() == (step in ("backed-up", "moved", "replaced"))
    if not replaced:
        assert look() == (1, ROWS)
        again = build(later_mlforge=True)
        assert (again["how"], again["backup"]) == ("replaced", str(backup))
    assert migrations_of(catalog) == [*range(1, latest() + 2)]
    assert migrations_of(backup) == [*range(1, latest() + 1)]
    assert build(later_mlforge=True)["how"] == "in place"
    assert beside(catalog) == ["catalog.duckdb", f"catalog.duckdb.backup-{latest()}"]


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(start, build, look, catalog, seed):
    began = time.monotonic()
    build()
    longest = time.monotonic() - began
    moments = random.Random(seed)
    builds = 1
    for _ in range(8):
        worker = start(do="build", catalog=catalog)
        time.sleep(moments.uniform(0, longest))
        worker.kill()
        now, rows = look()
        assert now in (builds, builds + 1)
        assert rows == ROWS + 3 * (now - 1)
        builds = now
    assert build()["build"] == builds + 1


def migrations_of(path) -> list[int]:
    with duckdb.connect(str(path), read_only=True) as con:
        return [row[0] for row in con.execute("SELECT id FROM mlforge.migrations ORDER BY id").fetchall()]


def test_a_reader_keeps_its_rows_and_sees_the_new_ones_after_reopening(start, build, look, catalog):
    build()
    catalog.chmod(0o640)
    reader = start(do="read", catalog=catalog)
    before = reader.hear()
    assert build()["how"] == "replaced"
    reader.go_on()
    assert reader.hear() == before
    assert look() == (2, PATCHED)
    assert stat.S_IMODE(catalog.stat().st_mode) == 0o640


def test_with_wait_the_file_is_not_copied_while_it_is_read(start, build, catalog):
    build()
    inode = catalog.stat().st_ino
    reader = start(do="read", catalog=catalog)
    reader.hear()
    refused = build(mode="wait", lock_timeout=1.5)
    assert refused["error"] == "LockedError"
    assert f"{catalog} is in use by process {reader.pid} (" in refused["message"]
    waiting = start(do="build", catalog=catalog, mode="wait")
    reader.kill()
    assert waiting.hear()["how"] == "in place"
    assert catalog.stat().st_ino == inode


def test_a_log_that_a_crash_left_is_not_lost_under_a_reader(start, build, look, catalog):
    build()
    assert dies(start(do="build", catalog=catalog, die_at="committed"))
    log = catalog.with_name("catalog.duckdb.wal")
    if not log.exists():
        pytest.fail("DuckDB left no write-ahead log: this test has lost its meaning")
    reader = start(do="read", catalog=catalog)
    assert reader.hear()["builds"] == 2
    assert build(lock_timeout=2)["error"] == "LockedError"
    assert look() == (2, PATCHED)
    reader.kill()
    assert build()["build"] == 3
    assert look() == (3, PATCHED + 3)


@pytest.mark.parametrize("mode", ["auto", "wait"])
def test_a_writer_is_waited_for_and_named(start, build, catalog, mode):
    build()
    held = start(do="build", catalog=catalog, mode=mode, lock_timeout=2, hold=True)
    assert held.hear() == {"ready": True}
    writer = start(do="write", catalog=catalog)
    writer.hear()
    held.go_on()
    refused = held.hear()
    assert refused["error"] == "LockedError"
    assert f"process {writer.pid} (" in refused["message"]
    assert "worker.py" in refused["message"]
    waiting = start(do="build", catalog=catalog, mode=mode)
    writer.kill()
    assert waiting.hear()["how"] == "in place"


def test_a_reader_waits_for_a_writer_and_names_it(start, build, catalog):
    build()
    writer = start(do="write", catalog=catalog)
    writer.hear()
    with (
        pytest.raises(LockedError, match=rf"is in use by process {writer.pid} \("),
        file.open_read(catalog, lock_timeout=0.3),
    ):
        pass
    reader = start(do="read", catalog=catalog)
    writer.kill()
    assert reader.hear()["builds"] == 1


def test_two_builds_at_once_run_one_after_the_other(start, look, catalog):
    both = [start(do="build", catalog=catalog) for _ in range(2)]
    assert sorted(worker.hear()["build"] for worker in both) == [1, 2]
    assert look() == (2, PATCHED)


def test_the_build_that_holds_the_lock_is_named_and_a_dead_one_lets_go(start, build, catalog):
    holder = start(do="lock", catalog=catalog)
    holder.hear()
    refused = build(lock_timeout=0.3)
    assert refused["error"] == "LockedError"
    assert f"{catalog} is being built by process {holder.pid} (" in refused["message"]
    holder.kill()
    assert build()["build"] == 1


def test_a_build_that_dies_while_staging_leaves_nothing_that_stays(start, build, look, catalog):
    build()
    dead = start(do="build", catalog=catalog, hold=True)
    dead.hear()
    dead.kill()
    assert "catalog.duckdb.staging" in beside(catalog)
    assert look() == (1, ROWS)
    assert build()["build"] == 2
    assert beside(catalog) == ["catalog.duckdb"]


def test_a_full_disk_while_staging(build, look, catalog):
    build()
    refused = build(rows=2_000_000, largest_file=4_000_000)
    assert refused["error"] == "BuildError"
    assert f"no space left for the staging files of {catalog}" in refused["message"]
    assert look() == (1, ROWS)
    assert build()["build"] == 2


def test_a_full_disk_while_committing(start, build, look, catalog):
    build(rows=1_000_000)
    size = catalog.stat().st_size
    refused = build(rows=500_000, largest_file=size + 300_000)
    assert refused["error"] == "CatalogError"
    assert refused["message"] == f"no space left to write {catalog}"
    assert look() == (1, 1_000_000)
    assert build()["build"] == 2
    assert look() == (2, 1_000_003)


def test_a_full_disk_while_copying(start, build, look, catalog):
    build(rows=1_000_000)
    reader = start(do="read", catalog=catalog)
    reader.hear()
    refused = build(rows=1000, largest_file=catalog.stat().st_size - 1)
    assert refused["error"] == "CatalogError"
    assert "no space left to write" in refused["message"]
    assert look() == (1, 1_000_000)
    assert beside(catalog) == ["catalog.duckdb"]


@pytest.fixture
def closed_later(catalog):
    """The catalog, whose folder can be written again in the end."""
    yield catalog
    catalog.parent.chmod(0o755)


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_is_not_writable(build, closed_later, there):
    if there:
        build()
        closed_later.chmod(0o444)
    closed_later.parent.chmod(0o555)
    refused = build(bound=True)
    assert refused["error"] == "CatalogError"
    assert refused["message"].startswith(f"cannot write {closed_later}.lock: ")
    assert refused["hint"] == "the folder of the catalog must exist and be writable by you"


def test_a_catalog_in_a_folder_that_is_not_writable_can_be_read(start, build, closed_later):
    build()
    closed_later.chmod(0o444)
    closed_later.parent.chmod(0o555)
    assert start(do="read", catalog=closed_later, bound=True).hear()["rows"] == ROWS


def test_a_folder_that_is_a_file(tmp_path, start):
    (tmp_path / "plain").write_text("")
    refused = start(do="build", catalog=tmp_path / "plain" / "catalog.duckdb").hear()
    assert (refused["error"], refused["hint"]) == (
        "CatalogError",
        "the folder of the catalog must exist and be writable by you",
    )


def test_this_process_has_it_open_in_another_mode(build, catalog):
    build()
    refused = pytest.raises(LockedError, match=rf"is in use by this very process, process {os.getpid()} \(")
    with duckdb.connect(str(catalog)), refused, file.open_read(catalog, lock_timeout=0.1):
        pass


@pytest.fixture
def look_back(monkeypatch):
    """Runs something, once, at a step of a commit or a compaction."""

    def look_back(step: str, do) -> None:
        todo = [do]

        def at(name: str) -> None:
            if name == step and todo:
                todo.pop()()

        monkeypatch.setattr(commits, "_step", at)
        monkeypatch.setattr(commits, "PATIENCE", 0.05)
        monkeypatch.setattr(open_files, "GRACE", 0.1)

    return look_back


def change(catalog, how: str) -> None:
    """What a program does that no lock keeps out."""
    if how == "log":
        open_files.wal_of(catalog).write_bytes(b"")
        return
    kept = catalog.read_bytes()
    if how == "bytes":
        with catalog.open("r+b") as handle:
            handle.seek(len(kept) - 1)
            handle.write(kept[-1:])
    else:
        other = catalog.with_name("other")
        other.write_bytes(kept)
        other.replace(catalog)


@pytest.mark.parametrize("do", ["commit", "compact"])
@pytest.mark.parametrize(("step", "how"), [("synced", h) for h in ("log", "bytes", "name")] + [("moved", "log")])
def test_a_file_that_is_not_what_was_copied_is_not_replaced(build, look, catalog, look_back, do, step, how):
    """It starts again from what is there now, or from what it has put back."""
    build()
    with duckdb.connect(str(catalog)) as con:
        con.execute("DELETE FROM store.t1 WHERE k % 2 = 1")
        con.execute("CHECKPOINT")
    seen = []

    def meddle() -> None:
        change(catalog, how)
        if step == "moved":
            seen.append(catalog.stat().st_ino)

    look_back(step, meddle)
    inode = catalog.stat().st_ino
    with file.open_read(catalog) as con:
        if how == "log":
            with pytest.raises((LockedError, CatalogError), match=r"is (written to|in use) by another|write-ahead log"):
                change_whole(do, catalog, lock_timeout=0.5)
            assert catalog.stat().st_ino == inode
            assert inode not in seen
            open_files.wal_of(catalog).unlink()
        change_whole(do, catalog, lock_timeout=20)
        assert con.execute("SELECT count(*) FROM store.t1").fetchall() == [(ROWS // 2,)]
    assert look() == (1, ROWS // 2)
    with file.open_read(catalog) as con:
        found = con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'").fetchall()
    assert found == ([("added",)] if do == "commit" else [])
    assert beside(catalog) == ["catalog.duckdb"]


def change_whole(do: str, catalog, *, lock_timeout: float) -> None:
    if do == "compact":
        assert compact(catalog, lock_timeout=lock_timeout).replaced
    else:
        table = "CREATE TABLE main.added AS SELECT 1 AS a"
        done = commits.commit(catalog, None, lambda tx: tx.con.execute(table), lock_timeout=lock_timeout)
        assert done.how == "replaced"


@pytest.mark.parametrize("do", ["commit", "compact"])
def test_a_writer_that_has_lost_its_lock_is_waited_for_and_named(start, build, catalog, look_back, do):
    build()
    look_back("never", None)
    writer = start(do="write_without_lock", catalog=catalog)
    writer.hear()
    with file.open_read(catalog):
        with pytest.raises(LockedError, match=rf"is written to by process {writer.pid} \(.*\), without its lock"):
            change_whole(do, catalog, lock_timeout=0.2)
        writer.go_on()
        assert writer.hear() == {"written": True}
        with pytest.raises((LockedError, CatalogError), match=r"in use by another process|write-ahead log"):
            change_whole(do, catalog, lock_timeout=0.2)
    assert writer.end() == 0
    with duckdb.connect(str(catalog)) as con:
        assert con.execute("FROM main.theirs").fetchall() == [(1,)]
