"""Folders beside the catalog for work in progress, and the staging file in which a build does its heavy work."""

from __future__ import annotations

import shutil
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from mlforge.catalog import file
from mlforge.catalog.lock import Held, refused, try_lock
from mlforge.errors import BuildError, CatalogError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from duckdb import DuckDBPyConnection


class Workdir:
    """A folder ``<catalog>.staging/<id>/`` that is gone after the block; what dead processes left is removed first.

    Raises CatalogError if the folder of the catalog is not writable."""

    def __init__(self, catalog_path: str | Path) -> None:
        catalog = file.real(catalog_path)
        self.catalog = catalog
        self.root = catalog.with_name(catalog.name + ".staging")
        self.path = self.root / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"
        self._held: Held | None = None

    def __enter__(self) -> Workdir:
        try:
            _clean(self.root)
            self._held = self._lock()
            self.path.mkdir()
        except OSError as error:
            self._remove()
            raise refused(error, self.root) from error
        return self

    def _lock(self) -> Held | None:
        """The lock comes before the folder: a folder without a held lock is one that a dead process left."""
        for _ in range(10):
            self.root.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # another process was done and removed the empty root
                return try_lock(_lock_of(self.path))
        return try_lock(_lock_of(self.path))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._held:
            self._held.release()
            self._held = None
        _remove_if_empty(self.root)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _clean(root: Path) -> None:
    """Remove what dead processes left. One that died early left its lock and no folder."""
    left = {p.name.removesuffix(".lock") for p in root.iterdir()} if root.is_dir() else set()
    for folder in (root / name for name in sorted(left)):
        with suppress(FileNotFoundError):  # another process was done meanwhile and removed the empty root
            held = try_lock(_lock_of(folder))
            if held:
                shutil.rmtree(folder, ignore_errors=True)
                held.release()


def _remove_if_empty(root: Path) -> None:
    try:
        root.rmdir()
    except OSError:  # another process works in it, or it was never made
        return


def clean(catalog_path: str | Path) -> None:
    """Remove what builds of the catalog that died have left beside it."""
    root = Workdir(catalog_path).root
    _clean(root)
    _remove_if_empty(root)


class Staging:
    """A DuckDB file of its own for the heavy work of one build: the catalog stays free for readers meanwhile.

    ``con`` is open inside the block and has the schema ``store``; keep scratch tables TEMPORARY, so that the file of
    a first build can become the catalog without a copy. A full disk is raised as BuildError, and nothing is lost."""

    con: DuckDBPyConnection
    instance: file.Instance

    def __init__(
        self, catalog_path: str | Path, *, threads: int | None = None, memory_limit: str | None = None
    ) -> None:
        self.threads = threads
        self.memory_limit = memory_limit
        self.workdir = Workdir(catalog_path)
        self.path = self.workdir.path / "staging.duckdb"
        self.spill = self.workdir.path / "spill"

    def __enter__(self) -> Staging:
        self.workdir.__enter__()
        try:
            self.instance = file.Instance(
                self.path, threads=self.threads, memory_limit=self.memory_limit, spill=self.spill
            )
            self.con = self.instance.con
            self.con.execute("CREATE SCHEMA store")
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def close(self) -> None:
        """Close the connection and what it reads; the file stays until the end of the block."""
        self.instance.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(self, "instance"):
            self.close()
        size = _size(self.workdir.path)
        self.workdir.__exit__(kind, error, trace)
        if isinstance(error, Exception) and _is_full(error):
            raise BuildError(
                f"no space left for the staging files of {self.workdir.catalog}, which had grown to {megabytes(size)}",
                hint=f"free more than that in {self.workdir.catalog.parent} and build again; the catalog is as it was",
            ) from error


def _is_full(error: Exception) -> bool:
    import duckdb

    return isinstance(error, (duckdb.Error, OSError)) and not isinstance(error, CatalogError) and file.no_space(error)


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def megabytes(size: int) -> str:
    """A number of bytes for messages, in MB of 10^6 bytes."""
    return f"{size / 1e6:,.1f} MB"
