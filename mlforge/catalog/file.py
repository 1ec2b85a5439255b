"""Opening catalog.duckdb: connections, waiting for other processes, and what DuckDB's refusals mean."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlforge.catalog import migrations, open_files
from mlforge.catalog.lock import Waiting
from mlforge.errors import BuildError, CatalogError, MlforgeError, engine_words
from mlforge.sql.templates import sql, statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

STORAGE_VERSION = "v1.4.0"
"""Every DuckDB from 1.4 on reads it, and it refuses a write-ahead log that belongs to another file."""

CONFIG = {
    "storage_compatibility_version": STORAGE_VERSION,
    "autoinstall_known_extensions": "false",  # stated before a file is opened: that of another kind asks for one
    "autoload_known_extensions": "false",
}
LOCK_TIMEOUT = 60.0


def configure(
    con: DuckDBPyConnection,
    threads: int | None = None,
    memory_limit: str | None = None,
    temp_directory: str | Path | None = None,
) -> None:
    """What every connection of mlforge has: UTC, no downloads, and the limits that are given."""
    import duckdb

    spill = None if temp_directory is None else str(temp_directory)
    has, progress = con.execute(sql("catalog/configured")).fetchall()[0]
    script = sql(
        "catalog/configure",
        major=int(duckdb.__version__.split(".")[0]),
        threads=threads,
        memory_limit=memory_limit,
        temp_directory=None if spill == has else spill,
        progress=progress,
    )
    for statement in statements(script):
        con.execute(statement)


class Pins:
    """Files that stay as they are until ``release`` or the end of the block."""

    def __init__(self) -> None:
        self._holds = ExitStack()
        self._held: list[open_files.Held] = []

    def __enter__(self) -> Pins:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self, path: str | Path, lock_timeout: float) -> None:
        """Keep a file as it is. Waits for a writer, and raises, as ``open_files.hold`` does."""
        stack = ExitStack()
        self.keep(stack.enter_context(open_files.hold(real(path), Waiting(lock_timeout))), stack)

    def keep(self, held: open_files.Held, stack: ExitStack) -> None:
        """Take over a file that is held until ``stack`` is closed."""
        self._holds.push(stack)
        self._held.append(held)

    def release(self) -> None:
        """Let go of them. Raises BuildError if one of them did not stay as it was, lock or no lock."""
        moved = [held.path for held in self._held if not held.is_as_it_was()]
        self.close()
        if moved:
            raise BuildError(
                f"{moved[0]} was written to while the build read it, by a program that does not wait for its lock",
                hint="build again; the catalog is as it was",
            )

    def close(self) -> None:
        """Let go of them."""
        self._held.clear()
        self._holds.close()


class Instance:
    """A DuckDB of mlforge's own, in memory or in a file that nobody else knows, with the files that it reads.

    Each use of a catalog has one: DuckDB answers ``connect(path)`` from what the process has open already, even if the
    file was replaced meanwhile, while a file attached to a new instance is the one that has the name now. What it
    spills goes to a folder of its own: two readers that share one destroy each other's files (DuckDB 1.5)."""

    def __init__(
        self,
        path: str | Path = ":memory:",
        *,
        threads: int | None = None,
        memory_limit: str | None = None,
        spill: Path | None = None,
        pins: Pins | None = None,
    ) -> None:
        """``spill`` is a folder of its own, made when it is needed; without one it is where the system has such. With
        ``pins`` what it reads stays as it is until they are closed."""
        import duckdb

        self._own = Pins()
        self._pins = pins
        self._spill = spill or Path(tempfile.gettempdir(), f"mlforge-{uuid.uuid4().hex}")
        self.con = duckdb.connect(str(path), config={**CONFIG, "temp_directory": str(self._spill)})
        try:
            configure(self.con, threads, memory_limit)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def attach(self, path: str | Path, name: str, lock_timeout: float = LOCK_TIMEOUT) -> open_files.Held:
        """Attach a DuckDB file read-only. Nobody writes to it until the instance is closed.

        Waits up to ``lock_timeout`` seconds for a writer. Raises LockedError that names it, CatalogError for a file
        that is missing or broken."""
        import duckdb

        file, waiting = real(path), Waiting(lock_timeout)
        statement = sql("warehouse/attach", path=str(file), name=name)
        while True:
            with ExitStack() as holds:
                try:
                    held = holds.enter_context(open_files.hold(file, waiting))
                except OSError as error:
                    raise CatalogError(f"there is no DuckDB file at {file}", hint="check the path") from error
                try:
                    self.con.execute(statement)
                except duckdb.Error as error:
                    waiting.pause(meaning_of(error, file, lock_timeout), error)
                    continue
                held.opened()
                if held.has_its_name():  # else DuckDB may have opened another one, which is not held
                    (self._pins or self._own).keep(held, holds.pop_all())
                    return held
                self.con.execute(sql("warehouse/detach", name=name))

    def close(self) -> None:
        """Close it, let go of what it reads, and remove what it spilled."""
        self.con.close()
        self._own.close()
        shutil.rmtree(self._spill, ignore_errors=True)


def _spill_beside(file: Path) -> Path | None:
    """A folder for what one reader of a file spills, by that file; None where that is not writable."""
    writable = os.access(file.parent, os.W_OK)
    return file.with_name(f"{file.name}.tmp-{file.stat().st_ino}-{uuid.uuid4().hex}") if writable else None


def sweep(file: Path) -> None:
    """Remove what readers of a file that died have spilled. The caller has it open for writing, so none is alive."""
    begin = f"{file.name}.tmp-{file.stat().st_ino}-"
    for name in os.listdir(file.parent):  # noqa: PTH208 - a glob would read meaning into the file's name
        if name.startswith(begin):
            shutil.rmtree(file.with_name(name), ignore_errors=True)


def real(path: str | Path) -> Path:
    """The path under which all of mlforge knows a DuckDB file. Raises CatalogError for one that DuckDB takes apart."""
    found = Path(os.path.realpath(path))
    if "?" in str(found):
        raise CatalogError(
            f"{found} has a question mark in its path, and DuckDB would keep the log of that file somewhere else",
            hint="rename the folder or the file",
        )
    if os.sep == "/" and "\\" in str(found):
        raise CatalogError(
            f"{found} has a backslash in its path, which DuckDB 2 takes for a folder's end: it would open another file",
            hint="rename the folder or the file",
        )
    return found


@contextmanager
def open_read(
    path: str | Path,
    *,
    lock_timeout: float = LOCK_TIMEOUT,
    threads: int | None = None,
    memory_limit: str | None = None,
) -> Iterator[DuckDBPyConnection]:
    """The catalog as it is now, read-only, for as long as the block lasts.

    Waits up to ``lock_timeout`` seconds for a writer. Raises LockedError that names the writer, and CatalogError for a
    file that is missing, broken, no catalog, or of a newer mlforge."""
    with _opened(path, lock_timeout, threads, memory_limit) as con:
        check_readable(con, real(path))
        yield con


@contextmanager
def _opened(
    path: str | Path, lock_timeout: float, threads: int | None = None, memory_limit: str | None = None
) -> Iterator[DuckDBPyConnection]:
    catalog = real(path)
    if not os.path.exists(catalog):  # noqa: PTH110 - Path.exists raises where a folder may not be searched
        raise CatalogError(f"there is no catalog at {catalog}", hint="run mlforge build to make it")
    spill = _spill_beside(catalog)
    with named(catalog), Instance(threads=threads, memory_limit=memory_limit, spill=spill) as own:
        name = _name(catalog)
        own.attach(catalog, name, lock_timeout)
        own.con.execute(sql("warehouse/use", name=name))
        yield own.con


def _name(path: Path) -> str:
    """What DuckDB calls a file that it opens by itself, so that SQL that names it goes on working."""
    name = path.name.split(".", 1)[0]
    return f"{name}_db" if name.lower() in ("", "memory", "temp", "system") else name


def is_bare(path: str | Path, lock_timeout: float = LOCK_TIMEOUT) -> bool:
    """Whether a DuckDB file holds no catalog yet. Waits for a writer, and raises, like ``open_read``."""
    with _opened(path, lock_timeout) as con:
        return migrations.found(con) is None


def check_readable(con: DuckDBPyConnection, path: Path) -> None:
    """Raise CatalogError unless the open file is a catalog that this mlforge can read."""
    have = migrations.found(con)
    if have is None:
        raise CatalogError(
            f"{path} is a DuckDB file, but not a catalog of mlforge", hint="name the catalog, or run mlforge build"
        )
    check_not_newer(have, path)
    if have < migrations.OLDEST_READABLE:
        raise CatalogError(f"{path} was made by an older mlforge", hint="run mlforge build to bring it up to date")


def check_not_newer(have: int, path: Path) -> None:
    """Raise CatalogError if the catalog has a migration that this mlforge does not know."""
    if have > migrations.latest():
        raise CatalogError(
            f"{path} was made by a newer mlforge: it is at migration {have}, this one knows {migrations.latest()}",
            hint="upgrade mlforge",
        )


_SPACE = re.compile(
    r"no space left|file too large|disk quota exceeded|max_temp_directory_size|could not write all bytes", re.IGNORECASE
)
_SAME_PROCESS = re.compile(r"different configuration|unique file handle conflict|already attached", re.IGNORECASE)
_BROKEN = re.compile(
    r"not a valid duckdb database|corrupt|checksum|serialization error|wal does not match|failed to load|"
    r"could not read enough bytes|wal was created for|is a directory",
    re.IGNORECASE,
)
_VERSION = re.compile(r"version number (\d+)", re.IGNORECASE)


def no_space(error: Exception) -> bool:
    """Whether DuckDB or the system failed because a disk, a quota or the spill directory is full."""
    return bool(_SPACE.search(str(error)))


def held_elsewhere(error: Exception) -> bool:
    """Whether another process has the file open, rather than this one."""
    return "Could not set lock" in str(error)


def held_here(error: Exception) -> bool:
    """Whether this process has opened the path already, in another way."""
    return bool(_SAME_PROCESS.search(str(error)))


def damage(error: Exception, path: Path) -> CatalogError | None:
    """What DuckDB found broken in a file while it read it; None if that was not the matter, or in another file."""
    text = str(error)
    other = (found := re.search(r'file "([^"]+)"', text)) is not None and found[1] != str(path)
    return open_files.not_duckdb(path, engine_words(text)) if _BROKEN.search(text) and not other else None


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Damage that DuckDB finds inside the block is said as an error about the file."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        if (meaning := damage(error, path)) is not None:
            raise meaning from error
        raise


def meaning_of(error: Exception, path: Path, waited: float = 0.0) -> MlforgeError:
    """Like ``translate``, with words for an error that is about something else."""
    return translate(error, path, waited) or CatalogError(f"DuckDB cannot open the catalog: {error}")


def translate(error: Exception, path: Path, waited: float = 0.0) -> MlforgeError | None:
    """What one of DuckDB's errors on a catalog file means to its user; None for one that is not about the file."""
    text = str(error)
    if held_elsewhere(error):
        pid = re.search(r"\(PID (\d+)\)", text)
        return open_files.locked(path, int(pid[1]) if pid else None, waited)
    if held_here(error):
        return open_files.locked(path, os.getpid(), waited)
    if no_space(error):
        return CatalogError(f"no space left to write {path}", hint="free some space and run it again; nothing is lost")
    if _VERSION.search(text):
        return CatalogError(
            f"{path} was written by another DuckDB, in a format this one cannot read: {engine_words(text)}"
        )
    if (broken := damage(error, path)) is not None:
        return broken
    if re.search(r"permission denied|read-only file system|cannot open file", text, re.IGNORECASE):
        return CatalogError(
            f"cannot open {path}: {engine_words(text)}", hint="look at the rights of the file and its folder"
        )
    return None
