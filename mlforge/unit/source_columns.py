"""The columns of sources, as they really are, so that given rows have the types that a build would see."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mlforge.building.builder import catalog_state
from mlforge.errors import MlforgeError
from mlforge.model import SOURCE_SCHEMA
from mlforge.sql.templates import ident

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlforge.model import Project
    from mlforge.warehouses.duckdb import DuckDB


@contextmanager
def sources_engine(project: Project) -> Iterator[DuckDB]:
    """An engine on nothing that can bind the project's sources as they are."""
    from mlforge.catalog.source_engine import engine

    with engine(project) as warehouse:
        with suppress(MlforgeError):  # what a build found need not be found again
            warehouse.known = catalog_state(project, project.warehouse.path, 0).source_states
        yield warehouse


class Shapes:
    """Columns of sources, each looked up once. A source that cannot be read has those that its options declare."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.found: dict[str, dict[str, str] | None] = {}
        self.errors: dict[str, MlforgeError] = {}  # why a source could not be read

    def look(self, names: list[str]) -> None:
        """Describe these sources, with one engine for all that are not known yet."""
        new = [name for name in names if name not in self.found]
        if new:
            with sources_engine(self.project) as warehouse:
                self.found.update({name: self._describe(warehouse, name) for name in new})

    def _describe(self, warehouse: DuckDB, name: str) -> dict[str, str] | None:
        source = self.project.sources[name]
        try:
            warehouse.bind_source(source)
            return warehouse.describe(f"FROM {ident(SOURCE_SCHEMA)}.{ident(name)}")
        except MlforgeError as error:  # no file here, as on a machine that only tests: what the project says must do
            self.errors[name] = error
            return {**(source.options.get("columns") or {}), **source.types} or None
