"""An engine of its own over a project's sources, for binding, planning and recomputing."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlforge.catalog import file
from mlforge.errors import MlforgeError
from mlforge.warehouses.duckdb import DuckDB, reads_catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlforge.model import Project


@contextmanager
def engine(
    project: Project,
    catalog_path: str | None = None,
    *,
    threads: int | None = None,
    memory_limit: str | None = None,
    lock_timeout: float = file.LOCK_TIMEOUT,
    pins: file.Pins | None = None,
) -> Iterator[DuckDB]:
    """An engine in memory for as long as the block lasts, with the profile's limits where none are given.

    DuckDB files that it reads, the catalog among them if a source is a table of it, stay as they are until the block
    ends, or until ``pins`` are closed. Raises LockedError, CatalogError, and ProjectError for a value of a source that
    does not fit its column."""
    own = project.warehouse
    path = catalog_path or own.path
    with file.Instance(
        threads=threads or own.threads, memory_limit=memory_limit or own.memory_limit, pins=pins
    ) as instance:
        attach = partial(instance.attach, lock_timeout=lock_timeout)
        warehouse = DuckDB(instance.con, project.root, project.file, attach)
        if reads_catalog(project) and Path(path).exists():
            warehouse.attach_catalog(path)
        with file.named(file.real(path)), _misfits_explained(warehouse):
            yield warehouse


@contextmanager
def _misfits_explained(warehouse: DuckDB) -> Iterator[None]:
    """An error about a value of a source that does not fit its column names the file and the row."""
    import duckdb

    try:
        yield
    except (duckdb.Error, MlforgeError) as error:
        if (explained := warehouse.explained(error)) is None:
            raise
        raise explained from error
