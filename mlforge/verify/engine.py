"""A connection over the project's sources, in which features are recomputed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from mlforge.model import REF_SCHEMA, SOURCE_SCHEMA
from mlforge.sql.bind import bind
from mlforge.sql.physical import view
from mlforge.sql.templates import ident
from mlforge.verify.cutoffs import CUT_SCHEMA
from mlforge.warehouses.duckdb import CURRENT

if TYPE_CHECKING:
    from mlforge.model import CatalogState, Project, StoredVersion
    from mlforge.warehouses.duckdb import DuckDB


class Engine:
    """A connection of its own over the project's sources, in which features are recomputed."""

    def __init__(
        self, warehouse: DuckDB, project: Project, state: CatalogState, *, loaded_by: int | None = None
    ) -> None:
        self.con = warehouse.con
        self.project = project
        self.state = state
        self.warehouse = warehouse
        self.warehouse.loaded_by = loaded_by
        self.warehouse.known = state.source_states
        self._types: dict[str, dict[str, str]] = {}
        self._changed: dict[tuple[str, str], bool] = {}
        self._numbers = itertools.count()
        self.con.execute(f"CREATE SCHEMA {ident(CUT_SCHEMA)}")

    def name(self, what: str) -> str:
        """A name for a temporary table."""
        return f"_mlforge_{what}{next(self._numbers)}"

    def source(self, name: str) -> dict[str, str]:
        """The columns of a source, which is readable from then on. Raises ProjectError."""
        if name not in self._types:
            self.warehouse.bind_source(self.project.sources[name])
            self._types[name] = self.warehouse.describe(f"FROM {ident(SOURCE_SCHEMA)}.{ident(name)}")
        return self._types[name]

    def lost(self, stored: StoredVersion) -> str | None:
        """Why the sources now do not hold the rows that a version was built from; None if they do."""
        for name in stored.definition.sources:
            before = stored.source_states.get(name)
            if name not in self.project.sources:
                return f"the project has no source {name} any more, which {stored.feature} reads"
            if before is not None and before.spans:
                return f"{stored.feature}@{stored.version} holds only some of the times of source {name}"
            if self._differs(stored, name):
                return f"source {name} has changed since {stored.feature}@{stored.version} was built: build first"
        return None

    def _differs(self, stored: StoredVersion, name: str) -> bool:
        self.source(name)
        before = stored.source_states.get(name)
        key = (name, before.digest if before else "")
        if key not in self._changed:
            now = self.warehouse.state(self.project.sources[name], before)
            self._changed[key] = before is None or now.digest != before.digest
        return self._changed[key]

    def upstream(self, feature: str, version: str) -> StoredVersion:
        """The newest version of the MAJOR.MINOR, or the full version, that a feature reads."""
        known = self.state.features[feature].versions
        return max((v for v in known if f"{v.version}.".startswith(f"{version}.")), key=lambda v: v.version)

    def stored_rows(self, stored: StoredVersion) -> None:
        """Make a feature readable as ``_mlforge_ref.<name>``: its rows as the catalog has them."""
        self.warehouse.attach_catalog(self.project.warehouse.path)
        self.con.execute(view(REF_SCHEMA, stored.feature, bind(self.state, stored, f"{CURRENT}.")))
