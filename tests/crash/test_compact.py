"""Writing the catalog anew: killed at any step, beside readers, before a writer, with little space."""

from __future__ import annotations

import signal
import stat

import duckdb
import pytest

from mlforge.catalog import compact as compacts
from mlforge.catalog import open_files
from mlforge.catalog.lock import build_lock
from mlforge.errors import CatalogError, LockedError

ROWS = 100_000


def beside(catalog) -> list[str]:
    return sorted(p.name for p in catalog.parent.iterdir())


@pytest.mark.parametrize("step", compacts.STEPS)
def test_killed_at_a_step(start, build, look, catalog, step):
    build()
    size = catalog.stat().st_size
    assert start(do="compact", catalog=catalog, die_at=step).end() == -signal.SIGKILL
    assert look() == (1, ROWS // 2)
    assert (catalog.stat().st_size < size) == (step in ("moved", "replaced"))
    assert build()["build"] == 2
    assert look() == (2, ROWS // 2 + 3)
    assert beside(catalog) == ["catalog.duckdb"]


def test_a_reader_keeps_its_rows_and_the_file_its_rights(start, build, look, catalog):
    build()
    catalog.chmod(0o640)
    with duckdb.connect(str(catalog)) as con:
        con.execute("DELETE FROM store.t1 WHERE k % 2 = 1")
        con.execute("CHECKPOINT")
    size = catalog.stat().st_size
    reader = start(do="read", catalog=catalog)
    assert reader.hear()["rows"] == ROWS // 2
    with build_lock(catalog, 1.0):
        found = compacts.compact(catalog)
    assert (found.before, found.after, found.replaced) == (size, catalog.stat().st_size, True)
    assert found.after < 0.8 * size
    assert stat.S_IMODE(catalog.stat().st_mode) == 0o640
    reader.go_on()
    assert reader.hear()["rows"] == ROWS // 2
    assert look() == (1, ROWS // 2)
    again = compacts.compact(catalog)
    assert (again.replaced, again.before, again.after) == (False, found.after, found.after)


def test_a_writer_is_waited_for_and_named(start, build, catalog):
    build()
    writer = start(do="write", catalog=catalog)
    writer.hear()
    with pytest.raises(LockedError, match=rf"in use by process {writer.pid}"):
        compacts.compact(catalog, lock_timeout=0.2)
    writer.go_on()
    compacts.compact(catalog, lock_timeout=20)


def test_no_writer_enters_the_old_file(start, build, catalog, monkeypatch):
    """Its rows would be lost with it."""
    build()
    with duckdb.connect(str(catalog)) as con:
        con.execute("DELETE FROM store.t1 WHERE k % 2 = 1")
        con.execute("CHECKPOINT")
    refused = []

    def try_to_write(step: str) -> None:
        worker = start(do="build", catalog=catalog, mode="wait", lock_timeout=0.2)
        refused.append((step, worker.hear().get("error")))
        worker.end()

    monkeypatch.setattr(compacts, "_step", try_to_write)
    monkeypatch.setattr(compacts.commits, "_step", lambda step: step == "synced" and try_to_write(step))
    assert compacts.compact(catalog).replaced
    assert refused == [(step, "LockedError") for step in ("attached", "rewritten", "compared", "synced")]


def test_a_full_disk(start, build, look, catalog):
    build()
    said = start(do="rewrite", catalog=catalog, largest_file=400_000).hear()
    assert said["error"] == "CatalogError"
    assert "no space left" in said["message"]
    assert beside(catalog) == ["catalog.duckdb"]
    assert look()[0] == 1


def test_a_log_that_nobody_brought_in(build, catalog):
    build()
    open_files.wal_of(catalog).write_bytes(b"")
    with pytest.raises(CatalogError, match=r"has a write-ahead log|damaged|WAL"):
        compacts.compact(catalog)


def test_a_folder_that_is_not_writable(start, build, catalog):
    build()
    catalog.parent.chmod(0o555)
    said = start(do="rewrite", catalog=catalog, bound=True).hear()
    catalog.parent.chmod(0o755)
    assert said["error"] == "CatalogError"
    assert "cannot write" in said["message"]
