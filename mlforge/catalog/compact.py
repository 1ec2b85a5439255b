"""Writing the catalog anew, so that the file gives back the space of what was deleted.

DuckDB uses the space of deleted rows again and never gives it back. A compact copy is made beside the file, compared
with it, and moved into its place. Readers keep the old file until they reopen; who dies meanwhile leaves it as it was.

The old file is held until it has been replaced: so no writer can enter it, whose rows would be lost with it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from msgspec import Struct

from mlforge.catalog import commit as commits
from mlforge.catalog import file
from mlforge.catalog.lock import Waiting
from mlforge.catalog.open_files import wal_of
from mlforge.catalog.staging import Workdir, megabytes
from mlforge.errors import CatalogError, LockedError, engine_words
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from mlforge.catalog.open_files import Held

OLD, NEW = "old", "new"
STEPS = ("attached", "rewritten", "compared", "synced", "moved", "replaced")
"""The moments of a compaction, in order. The last three are those of a commit."""


def _step(name: str) -> None:
    """Called at the first three of STEPS. Does nothing; a crash test puts something in its place."""


class Compacted(Struct, frozen=True, kw_only=True):
    """Sizes of the catalog file in bytes. ``replaced`` is False where the copy was no smaller, and was thrown away."""

    before: int
    after: int
    replaced: bool


def compact(
    catalog_path: str | Path,
    *,
    lock_timeout: float = file.LOCK_TIMEOUT,
    threads: int | None = None,
    memory_limit: str | None = None,
) -> Compacted:
    """Replace the catalog by a compact copy of itself. The caller holds ``build_lock``.

    Waits up to ``lock_timeout`` seconds for a writer; readers are in nobody's way. Raises LockedError that names the
    writer, CatalogError for a full disk, a folder that is not writable and a copy that is not equal; the catalog is
    then as it was."""
    catalog, waiting = file.real(catalog_path), Waiting(lock_timeout)
    while True:
        with commits.in_words(catalog), Workdir(catalog) as workdir:
            spill = workdir.path / "spill"
            with file.Instance(threads=threads, memory_limit=memory_limit, spill=spill) as own:
                held = own.attach(catalog, OLD, lock_timeout)
                _step("attached")
                _check_log(catalog)
                done = _compacted(own.con, held, workdir.path) if held.is_untouched() else held.written()
        if isinstance(done, Compacted):
            return done
        waiting.pause(done)


def _compacted(con: DuckDBPyConnection, held: Held, workdir: Path) -> Compacted | LockedError:
    target = workdir / held.path.name
    _rewrite(con, target, held.path)
    _compare(con, held.path)
    _step("compared")
    con.execute(f"DETACH {NEW}")
    return _replace(held, target, workdir / "before")


def _check_log(catalog: Path) -> None:
    """A log beside the file means that a writer died after its COMMIT: a writer has to bring it in first."""
    if wal_of(catalog).exists():
        raise CatalogError(
            f"{catalog} has a write-ahead log that no writer has brought in yet",
            hint="close the programs that read the catalog, and run it again",
        )


def _rewrite(con: DuckDBPyConnection, target: Path, catalog: Path) -> None:
    """Raises CatalogError for what DuckDB cannot copy: before 2.0, mostly, tables of the user's own with
    foreign keys (it takes tables in no fixed order)."""
    import duckdb

    con.execute(sql("catalog/attach_new", path=str(target), name=NEW, storage=file.STORAGE_VERSION))
    con.execute("SET preserve_insertion_order = true")
    try:
        con.execute(sql("catalog/copy_database", old=OLD, new=NEW))
    except (duckdb.ConstraintException, duckdb.CatalogException, duckdb.BinderException) as error:
        raise CatalogError(
            f"{catalog} cannot be written anew: {engine_words(error)}",
            hint="the file is as it was: what gc deleted is gone, and its space will be used again",
        ) from error
    con.execute(f"CHECKPOINT {NEW}")
    _step("rewritten")


def _compare(con: DuckDBPyConnection, catalog: Path) -> None:
    """The copy defines the same things and holds the same rows. Raises CatalogError."""
    old, new = (con.execute(sql("catalog/objects", database=name)).fetchall() for name in (OLD, NEW))
    if old != new:
        kind, schema, name, *_ = next(row for row in [*old, *new] if row not in new or row not in old)
        raise _unequal(catalog, f"{kind} {schema}.{name}")
    for kind, schema, name, *_ in old:
        table = f"{ident(schema)}.{ident(name)}"
        if kind == "table" and _digest(con, f"{OLD}.{table}") != _digest(con, f"{NEW}.{table}"):
            raise _unequal(catalog, f"table {schema}.{name}")


def _digest(con: DuckDBPyConnection, table: str) -> object:
    return con.execute(sql("warehouse/state", relation=table, alike={})).fetchall()[0]


def _unequal(catalog: Path, what: str) -> CatalogError:
    return CatalogError(
        f"{catalog} cannot be written anew: {what} would not be the same; the file is as it was",
        hint="report this with the DuckDB version; what gc deleted is gone, and its space will be used again",
    )


def _replace(held: Held, target: Path, aside: Path) -> Compacted | LockedError:
    """How it went, or who wrote to the old file meanwhile."""
    now = os.fstat(held.fd)
    after = target.stat().st_size
    if after >= now.st_size:
        return Compacted(before=now.st_size, after=now.st_size, replaced=False)
    target.chmod(stat.S_IMODE(now.st_mode))
    commits.sync(target)
    if not commits.exchange(held, target, aside):
        return held.written()
    return Compacted(before=now.st_size, after=after, replaced=True)


def sentence(found: Compacted) -> str:
    """One sentence on what became of the file."""
    if not found.replaced:
        return f"the file has {megabytes(found.before)} and cannot be made smaller"
    share = 1 - found.after / found.before
    return f"the file has {megabytes(found.after)}, {share:.0%} less than the {megabytes(found.before)} before"
