"""Opening catalog.duckdb: connections, waiting for other processes, and what DuckDB's refusals mean."""

from __future__ import annotations

import os
import re
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlforge.catalog import migrations
from mlforge.catalog.lock import process
from mlforge.errors import CatalogError, LockedError, MlforgeError
from mlforge.sql.templates import sql, statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

STORAGE_VERSION = "v1.4.0"
"""Every DuckDB from 1.4 on reads it, and it refuses a write-ahead log that belongs to another file."""

CONFIG = {"storage_compatibility_version": STORAGE_VERSION}
LOCK_TIMEOUT = 60.0


def wal_of(path: Path) -> Path:
    """The write-ahead log that DuckDB keeps beside a file."""
    return path.with_name(path.name + ".wal")


def configure(
    con: DuckDBPyConnection,
    threads: int | None = None,
    memory_limit: str | None = None,
    temp_directory: str | Path | None = None,
) -> None:
    """What every connection of mlforge has: UTC, no downloads, and the limits that are given."""
    spill = None if temp_directory is None else str(temp_directory)
    if spill == con.execute("SELECT current_setting('temp_directory')").fetchall()[0][0]:
        spill = None  # DuckDB refuses to set it again once it was used, even to the same value
    script = sql("catalog/configure", threads=threads, memory_limit=memory_limit, temp_directory=spill)
    for statement in statements(script):
        con.execute(statement)


@contextmanager
def open_read(
    path: str | Path,
    *,
    lock_timeout: float = LOCK_TIMEOUT,
    threads: int | None = None,
    memory_limit: str | None = None,
) -> Iterator[DuckDBPyConnection]:
    """The catalog, read-only, for as long as the block lasts.

    Waits up to ``lock_timeout`` seconds for a writer. Raises LockedError that names the writer, and CatalogError for a
    file that is missing, broken, no catalog, or of a newer mlforge."""
    catalog = Path(os.path.realpath(path))
    con = _connect_waiting(catalog, lock_timeout)
    try:
        configure(con, threads, memory_limit, None if os.access(catalog.parent, os.W_OK) else tempfile.gettempdir())
        check_readable(con, catalog)
        yield con
    finally:
        con.close()


def _connect_waiting(path: Path, lock_timeout: float) -> DuckDBPyConnection:
    import duckdb

    waiting = Waiting(lock_timeout)
    while True:
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a folder may not be searched
            raise CatalogError(f"there is no catalog at {path}", hint="run mlforge build to make it")
        try:
            return duckdb.connect(str(path), read_only=True)
        except duckdb.Error as error:
            waiting.pause(translate(error, path, lock_timeout), error)


def is_bare(path: str | Path, lock_timeout: float = LOCK_TIMEOUT) -> bool:
    """Whether a DuckDB file holds no catalog yet. Waits for a writer, and raises, like ``open_read``."""
    con = _connect_waiting(Path(os.path.realpath(path)), lock_timeout)
    try:
        return migrations.found(con) is None
    finally:
        con.close()


def attach_read(con: DuckDBPyConnection, path: str | Path, name: str, lock_timeout: float = LOCK_TIMEOUT) -> None:
    """Attach the catalog, read-only, under a name. Waits for a writer, and raises, like ``open_read``."""
    import duckdb

    waiting = Waiting(lock_timeout)
    catalog = Path(os.path.realpath(path))
    while True:
        try:
            con.execute(sql("warehouse/attach", path=str(catalog), name=name))
            return
        except duckdb.Error as error:
            waiting.pause(translate(error, catalog, lock_timeout), error)


class Waiting:
    """Retrying with longer and longer pauses until ``timeout`` seconds have gone by."""

    def __init__(self, timeout: float) -> None:
        self.start = time.monotonic()
        self._deadline = self.start + timeout
        self._pause = 0.005

    @property
    def seconds(self) -> float:
        """How long it has been waiting."""
        return time.monotonic() - self.start

    def pause(self, meaning: MlforgeError | None, error: Exception) -> None:
        """Sleep if ``meaning`` is a lock that may yet be released; raise it otherwise, CatalogError if it is None."""
        if meaning is None:
            raise CatalogError(f"DuckDB cannot open the catalog: {error}") from error
        if not isinstance(meaning, LockedError) or time.monotonic() >= self._deadline:
            raise meaning from error
        time.sleep(min(self._pause, max(0.0, self._deadline - time.monotonic())))
        self._pause = min(self._pause * 1.5, 0.25)


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


def translate(error: Exception, path: Path, waited: float = 0.0) -> MlforgeError | None:
    """What one of DuckDB's errors on a catalog file means to its user; None for one that is not about the file."""
    text = str(error)
    if held_elsewhere(error):
        return LockedError(
            f"{path} is in use by {_holder(text)}",
            hint=f"close it there, or wait longer with --lock-timeout (waited {waited:g} s)",
        )
    if _SAME_PROCESS.search(text):
        return LockedError(
            f"{path} is open in this process already, in another mode",
            hint="close that connection first: one process opens a DuckDB file either for reading or for writing",
        )
    if no_space(error):
        return CatalogError(f"no space left to write {path}", hint="free some space and run it again; nothing is lost")
    if _VERSION.search(text):
        return CatalogError(f"{path} was written by another DuckDB, in a format this one cannot read: {_first(text)}")
    if _BROKEN.search(text):
        return CatalogError(
            f"{path} is not a DuckDB file, or it is damaged: {_first(text)}",
            hint="move it away and run mlforge build, or put a backup in its place",
        )
    if re.search(r"permission denied|read-only file system|cannot open file", text, re.IGNORECASE):
        return CatalogError(f"cannot open {path}: {_first(text)}", hint="look at the rights of the file and its folder")
    return None


def _holder(text: str) -> str:
    pid = re.search(r"\(PID (\d+)\)", text)
    return process(int(pid[1])) if pid else "another process"


def _first(text: str) -> str:
    return text.splitlines()[0]
