"""Where unit tests run: an in-memory DuckDB in which sources are tables of given rows, compiled once for many tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.building.candidates import Analysis, analyse
from mlforge.errors import ProjectError, engine_words
from mlforge.model import CatalogState
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlforge.building.candidates import Analysed
    from mlforge.model import Source

SCHEMA = "_mlforge_given"
_DATABASE = "memory"  # the name of an in-memory database in DuckDB


class Bench:
    """An engine for tests whose sources have the same columns and whose vars have the same values."""

    def __init__(self, analysis: Analysis, sources: Iterable[str], shapes: dict[str, dict[str, str]]) -> None:
        """``sources`` are those that tests give rows of; ``shapes`` the columns of each that will be used."""
        import duckdb

        from mlforge.catalog.file import CONFIG, configure
        from mlforge.warehouses.duckdb import DuckDB

        self.con = duckdb.connect(":memory:", config=CONFIG)
        configure(self.con, threads=1)
        project = analysis.project
        self.real = {name: project.sources[name] for name in sources}
        given = {name: _stand_in(source) for name, source in self.real.items()}
        self.analysis = Analysis(
            replace(project, sources={**project.sources, **given}), analysis.rendered, analysis.graph
        )
        self.warehouse = DuckDB(self.con, project.root, project.file)
        self.warehouse.catalog = _DATABASE
        self.shapes = shapes
        self._made: set[str] = set()
        for schema in (SCHEMA, "store", "features"):
            self.con.execute(f"CREATE SCHEMA {ident(schema)}")

    def compile(self, feature: str) -> Analysed:
        """A feature and all that it reads, bound to the given sources. Raises FeatureError, ProjectError."""
        for name in sources_of(self.analysis, feature):
            if name in self.shapes and name not in self._made:
                self._make_table(name)
        analyse(self.analysis, self.warehouse, [feature], CatalogState())
        return self.analysis.features[feature]

    def _make_table(self, source: str) -> None:
        import duckdb

        try:
            self.con.execute(sql("unit/table", table=table_of(source), columns=self.shapes[source]))
        except duckdb.Error as error:
            message = f"the columns given to {source!r} cannot be: {engine_words(error)}"
            raise ProjectError(message, hint="columns: says DuckDB's types") from error
        self._made.add(source)

    def close(self) -> None:
        """Let go of the engine."""
        self.con.close()


def _stand_in(source: Source) -> Source:
    """The same source over a table of given rows: unique_key and deleted mean what they mean in a build."""
    return replace(
        source, path=None, data=None, format="table", options={}, table=f"{ident(SCHEMA)}.{ident(source.name)}"
    )


def table_of(source: str) -> str:
    """The table that given rows of a source go to, quoted."""
    return f"{ident(SCHEMA)}.{ident(source)}"


def upstream_of(analysis: Analysis, feature: str, stop: Iterable[str] = ()) -> list[str]:
    """The features that have to be made for one, itself last, each after those it reads; ``stop`` need no making."""
    order: list[str] = []
    stop = set(stop)

    def visit(name: str) -> None:
        if name in order:
            return
        for ref in analysis.graph[name] if name not in stop else ():
            visit(ref.name)
        order.append(name)

    visit(feature)
    return order


def sources_of(analysis: Analysis, feature: str) -> list[str]:
    """The sources that a feature and all that it reads are made of."""
    names = (s for f in upstream_of(analysis, feature) for s in analysis.rendered[f].sources)
    return sorted(dict.fromkeys(names))
