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
from mlforge.catalog import file
from mlforge.catalog.migrations import latest

ROWS = 100_000
PATCHED = ROWS + 3  # a build after the first adds three rows to the first table

CREATED = ("opened", "migrated", "applied", "before-commit", "committed", "checkpointed", "synced", "replaced")
IN_PLACE = ("opened", "migrated", "applied", "before-commit", "committed", "checkpointed")
REPLACED = ("held", "copied", *CREATED)


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
    replaced = step == "replaced"
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
    replaced = step == "replaced"
    assert backup.exists() == (step in ("backed-up", "replaced"))
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
        pytest.raises(file.LockedError, match=rf"is in use by process {writer.pid} \("),
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
def open_to_all(catalog):
    """Lets a process without rights reach the catalog's folder."""
    for folder in [catalog.parent, *catalog.parents]:
        if folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    yield catalog
    catalog.parent.chmod(0o755)


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_is_not_writable(build, open_to_all, there):
    if there:
        build()
        open_to_all.chmod(0o444)
    open_to_all.parent.chmod(0o555)
    refused = build(as_nobody=True)
    assert refused["error"] == "CatalogError"
    assert refused["message"].startswith(f"cannot write {open_to_all}.lock: ")
    assert refused["hint"] == "the folder of the catalog must exist and be writable by you"


def test_a_catalog_in_a_folder_that_is_not_writable_can_be_read(start, build, open_to_all):
    build()
    open_to_all.chmod(0o444)
    open_to_all.parent.chmod(0o555)
    assert start(do="read", catalog=open_to_all, as_nobody=True).hear()["rows"] == ROWS


def test_a_folder_that_is_a_file(tmp_path, start):
    (tmp_path / "plain").write_text("")
    refused = start(do="build", catalog=tmp_path / "plain" / "catalog.duckdb").hear()
    assert (refused["error"], refused["hint"]) == (
        "CatalogError",
        "the folder of the catalog must exist and be writable by you",
    )


def test_this_process_has_it_open_in_another_mode(build, catalog):
    build()
    refused = pytest.raises(file.LockedError, match=rf"is in use by this very process, process {os.getpid()} \(")
    with duckdb.connect(str(catalog)), refused, file.open_read(catalog, lock_timeout=0.1):
        pass
