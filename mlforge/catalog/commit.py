"""The commit: staged tables and metadata appear in the catalog together, or not at all.

Three ways, all of them safe against kill -9 at any moment:

- *created*: there is no catalog yet. A whole one is made beside its place and moved there.
- *in place*: nobody holds the file. One read-write transaction, then CHECKPOINT.
- *replaced*: only readers hold it, or it is of an older mlforge. A copy is changed and moved into its place; readers
  keep the old file until they reopen. The old file of an older mlforge stays beside it as a backup.

``open_files`` says how it is kept from overwriting what others write meanwhile.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from mlforge.catalog import file, migrations, open_files
from mlforge.catalog.lock import Waiting, refused
from mlforge.catalog.staging import Staging, Workdir, megabytes
from mlforge.catalog.transaction import STAGED, Transaction
from mlforge.errors import CatalogError, LockedError
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

Mode = Literal["auto", "wait"]

PATIENCE = 1.0
"""Seconds that a commit waits for readers before it copies the catalog; most of them are done sooner."""

STEPS = (
    "held",
    "copied",
    "opened",
    "migrated",
    "applied",
    "before-commit",
    "committed",
    "checkpointed",
    "synced",
    "backed-up",
    "moved",
    "replaced",
)
"""The moments of a commit, in order; not every way passes all of them."""


def _step(name: str) -> None:
    """Called at each of STEPS. Does nothing; a crash test puts something in its place."""


class Committed(Struct, frozen=True, kw_only=True):
    """How a commit went. ``notes`` are for the user; ``backup`` is the catalog as an older mlforge left it."""

    how: Literal["created", "in place", "replaced"]
    waited: float  # seconds until the catalog was free
    notes: tuple[str, ...] = ()
    backup: str | None = None


class _Job(Struct, frozen=True):
    """What one commit is about."""

    catalog: Path
    workdir: Path
    staging: Staging | None
    apply: Callable[[Transaction], object]
    lock_timeout: float
    mode: Mode
    own_tables: bool


def commit(
    catalog_path: str | Path,
    staging: Staging | None,
    apply: Callable[[Transaction], object],
    *,
    lock_timeout: float = file.LOCK_TIMEOUT,
    mode: Mode = "auto",
    own_tables: bool = False,
) -> Committed:
    """Run ``apply`` in one transaction on the catalog, which is made or migrated if need be.

    The caller holds ``build_lock`` and no connection to the catalog. ``staging`` is closed first, if given, and its
    tables are brought over by the methods of ``Transaction``, within its limits of threads and memory. Waits up to
    ``lock_timeout`` seconds for writers, and with ``mode="wait"`` for readers too. With ``own_tables`` a DuckDB file
    that holds the user's tables may become a catalog. Raises LockedError that names who holds the file, CatalogError
    for a full disk, a folder that is not writable, a broken file or one of a newer mlforge, and whatever ``apply``
    raises; the catalog is then as it was."""
    catalog = file.real(catalog_path)
    if staging:
        staging.close()
    with in_words(catalog), Workdir(catalog) as workdir:
        job = _Job(catalog, workdir.path, staging, apply, lock_timeout, mode, own_tables)
        return _change(job) if catalog.exists() else _create(job)


@contextmanager
def in_words(catalog: Path) -> Iterator[None]:
    """What DuckDB and the system refuse inside the block is said as an error about the catalog."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        meaning = file.translate(error, catalog)
        if meaning is None:
            raise
        raise meaning from error
    except OSError as error:
        raise refused(error, catalog) from error


def _create(job: _Job) -> Committed:
    """Make the first catalog: out of the staging file where it holds nothing else, else as a new file."""
    adopted = job.staging is not None and _is_adoptable(job)
    target = job.staging.path if job.staging and adopted else job.workdir / "catalog.duckdb"
    notes = _run(job, _connect(job, target), adopted=adopted)
    sync(target)
    _place(job, target)
    return Committed(how="created", waited=0.0, notes=notes)


def _place(job: _Job, target: Path) -> None:
    """Give a whole new file the catalog's name. Raises CatalogError if there is a file of that name by now."""
    log, aside = open_files.wal_of(job.catalog), job.workdir / "log"
    try:
        if job.catalog.exists():
            raise FileExistsError
        with suppress(FileNotFoundError):  # of a catalog that somebody removed: it would block the new one
            log.rename(aside)
        _name(target, job.catalog)
    except FileExistsError as error:
        with suppress(FileNotFoundError):
            aside.rename(log)
        raise CatalogError(
            f"{job.catalog} was made by another program while the build ran", hint="build again: it stays as it is"
        ) from error
    _sync_folder(job.catalog.parent)
    _step("replaced")


def _name(target: Path, catalog: Path) -> None:
    try:
        catalog.hardlink_to(target)  # unlike a move it never hides a file that is there
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        target.replace(catalog)


def _is_adoptable(job: _Job) -> bool:
    """Whether the staging file may become the catalog. Views in schemas of their own are dropped on the way."""
    assert job.staging is not None
    con = _connect(job, job.staging.path)
    try:
        if con.execute(sql("catalog/user_tables")).fetchall():
            return False
        for (schema,) in con.execute(sql("catalog/user_schemas")).fetchall():
            con.execute(sql("catalog/drop_schema", schema=schema))
        return True
    finally:
        con.close()


def _change(job: _Job) -> Committed:
    """Change the catalog that is there, in place if it is free and needs no backup."""
    waiting = Waiting(job.lock_timeout)
    while True:
        done = _in_place(job, waiting)
        patient = job.mode == "wait" or waiting.seconds < min(PATIENCE, job.lock_timeout)
        if done is None or (isinstance(done, LockedError) and not patient):
            done = _copied(job, waiting)
        if isinstance(done, Committed):
            return done
        waiting.pause(done)


def _in_place(job: _Job, waiting: Waiting) -> Committed | LockedError | None:
    """Why it cannot be had now, if so; None: it must be copied, for an older mlforge made it."""
    import duckdb

    taken = open_files.locked(job.catalog, os.getpid(), job.lock_timeout)
    with open_files.alone(job.catalog) as free:
        if not free:
            return taken
        try:
            con = _connect(job, job.catalog)
        except duckdb.Error as error:
            meaning = file.meaning_of(error, job.catalog, job.lock_timeout)
            if isinstance(meaning, LockedError):
                return meaning
            raise meaning from error
        if not open_files.is_written_here(job.catalog):  # DuckDB has opened a file that has another name by now
            con.close()
            return taken
        if _needs_backup(con, job):
            return None
        file.sweep(job.catalog)
        return Committed(how="in place", waited=waiting.seconds, notes=_run(job, con))


def _copied(job: _Job, waiting: Waiting) -> Committed | LockedError:
    """Change a copy and put it in the place of the catalog; why that cannot be done now, if so."""
    with ExitStack() as holds:
        try:
            held = holds.enter_context(open_files.hold(job.catalog, Waiting(0.0)))
        except LockedError as error:
            return error
        if open_files.wal_of(job.catalog).exists():  # a writer died after its COMMIT: only a writer brings it in
            return open_files.locked(job.catalog, None, job.lock_timeout)
        if not held.is_untouched():
            return held.written()
        return _replace(job, held, waiting.seconds) or held.written()


def _needs_backup(con: DuckDBPyConnection, job: _Job) -> bool:
    """Whether an older mlforge made the open catalog; its connection is then closed. Refuses what is no catalog."""
    try:
        have = migrations.found(con)
        if have is not None:
            file.check_not_newer(have, job.catalog)
        elif not job.own_tables and _holds_something(con):
            file.check_readable(con, job.catalog)
    except BaseException:
        con.close()
        raise
    if have is None or have == migrations.latest():
        return False
    con.close()
    return True


def _holds_something(con: DuckDBPyConnection) -> bool:
    """An empty DuckDB file, as ``duckdb catalog.duckdb`` leaves it, may become a catalog."""
    return any(con.execute(sql(f"catalog/{name}")).fetchall() for name in ("user_tables", "store_tables"))


def _replace(job: _Job, held: open_files.Held, waited: float) -> Committed | None:
    """Change a copy and put it in the place of what it was copied from; None if somebody wrote to that meanwhile."""
    _step("held")
    target = job.workdir / "catalog.duckdb"
    _copy(held.fd, target, job.catalog)
    _step("copied")
    con = _connect(job, target)
    have = migrations.found(con)
    notes = _run(job, con)
    sync(target)
    backup = None if have == migrations.latest() else _back_up(held.fd, job.catalog, have)
    if not exchange(held, target, job.workdir / "before"):
        return None
    return Committed(how="replaced", waited=waited, notes=notes, backup=backup)


def _copy(source: int, target: Path, catalog: Path) -> None:
    """Copy by descriptor: opening the file a second time, and closing that, would drop the lock."""
    stat = os.fstat(source)
    free = shutil.disk_usage(target.parent).free
    if free < stat.st_size:
        raise CatalogError(
            f"no space left to copy {catalog}: it has {megabytes(stat.st_size)}, {megabytes(free)} are free",
            hint="close the programs that read the catalog, so that it can be changed in place, or free some space",
        )
    with target.open("wb") as out:
        while chunk := os.pread(source, 1 << 23, out.tell()):
            out.write(chunk)
    target.chmod(stat.st_mode & 0o777)


def _back_up(held: int, catalog: Path, have: int | None) -> str:
    """Keep the old file under a second name, ``<catalog>.backup-<its migration>``: it is about to be replaced."""
    backup = catalog.with_name(f"{catalog.name}.backup-{have}")
    backup.unlink(missing_ok=True)
    try:
        backup.hardlink_to(catalog)
    except OSError:  # a file system without hard links
        _copy(held, backup, catalog)
    _step("backed-up")
    return str(backup)


def _connect(job: _Job, path: Path) -> DuckDBPyConnection:
    import duckdb

    con = duckdb.connect(str(path), config=file.CONFIG)
    try:
        limits = (job.staging.threads, job.staging.memory_limit) if job.staging else (None, None)
        file.configure(con, *limits, job.workdir / "spill")
    except BaseException:
        con.close()
        raise
    return con


def _run(job: _Job, con: DuckDBPyConnection, *, adopted: bool = False) -> tuple[str, ...]:
    """The transaction, on a connection that is closed afterwards. Returns notes for the user."""
    try:
        attached = job.staging is not None and not adopted
        if job.staging and attached:
            con.execute(sql("catalog/attach_staging", path=str(job.staging.path), staged=STAGED))
        _step("opened")
        con.execute("SET preserve_insertion_order = true")
        con.execute("BEGIN")
        _fill(job, con, Transaction(con, adopted=adopted))
        _step("before-commit")
        con.execute("COMMIT")
        _step("committed")
        if attached:
            con.execute(f"DETACH {STAGED}")
        return _checkpoint(con)
    finally:
        con.close()  # rolls back what was not committed


def _fill(job: _Job, con: DuckDBPyConnection, transaction: Transaction) -> None:
    migrations.migrate(con)
    _step("migrated")
    job.apply(transaction)
    transaction.drop_rest()
    _step("applied")


def _checkpoint(con: DuckDBPyConnection) -> tuple[str, ...]:
    """Move the log into the file. A failure is a note, not an error: the commit stands, and the next one does it."""
    import duckdb

    try:
        con.execute("CHECKPOINT")
    except duckdb.Error as error:
        return (f"the build is committed, but DuckDB could not tidy up the catalog: {error}",)
    _step("checkpointed")
    return ()


def sync(path: Path) -> None:
    """Have the disk keep a whole database file. Raises CatalogError if a log is left beside it."""
    if open_files.wal_of(path).exists():  # only the file itself is moved into its place
        raise CatalogError(f"DuckDB could not finish {path}", hint="see whether the disk is full; nothing is lost")
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())
    _step("synced")


def exchange(held: open_files.Held, target: Path, aside: Path) -> bool:
    """Put a whole new file in the place of a held one, at once and for good; ``aside`` is a name for the old one.

    False if somebody wrote to the held one, or is about to: it is then where it was. Nobody can open the new one
    before that is known."""
    aside.unlink(missing_ok=True)
    with open_files.kept_from_all(target):
        with suppress(OSError):  # a file system without hard links: then the first look must do
            aside.hardlink_to(held.path)
        if not (held.has_its_name() and held.is_untouched()):
            return False
        target.replace(held.path)
        _step("moved")
        if not held.is_untouched() and aside.exists():
            aside.replace(held.path)
            return False
        _sync_folder(held.path.parent)
        _step("replaced")
    return True


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
