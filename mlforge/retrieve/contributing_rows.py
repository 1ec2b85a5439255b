"""The rows that a feature's values are made of: those in the catalog, or for snapshots those of the sources."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msgspec.structs import replace as with_changes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

    from mlforge.model import Project, StoredVersion
    from mlforge.sql.physical import Physical

ROWS = "_mlforge_explained"


@dataclass(frozen=True)
class Rows:
    """A feature bound to its rows, on the connection that can read them."""

    con: DuckDBPyConnection
    feature: Physical


@contextmanager
def rows_of(
    con: DuckDBPyConnection, physical: Physical, stored: StoredVersion, project: Project | None
) -> Iterator[Rows | None]:
    """The rows of a version for as long as the block lasts; None if nothing has them.

    On-demand features have none. Of an interval feature the catalog keeps snapshots: its rows are read from the sources
    of the project, unless it joins other features. Raises ProjectError for a source that cannot be read."""
    compiled = physical.c
    if compiled.kind == "on_demand":
        yield None
    elif not compiled.interval:
        yield Rows(con, physical)
    elif project is None or stored.definition.refs or not stored.definition.sources.keys() <= project.sources.keys():
        yield None
    else:
        with _from_sources(physical, stored, project) as rows:
            yield rows


@contextmanager
def _from_sources(physical: Physical, stored: StoredVersion, project: Project) -> Iterator[Rows]:
    from mlforge.building.materialise import Runner, Stamp, make_events, make_rows
    from mlforge.catalog.source_engine import engine

    with engine(project) as warehouse:
        con = warehouse.con
        warehouse.known = stored.source_states
        for name in stored.definition.sources:
            warehouse.bind_source(project.sources[name])
        types = warehouse.describe(physical.c.event_sql)
        runner = Runner(con)
        make_events(runner, physical.c, Stamp(types.get("_mlforge_ts"), stored.definition.timestamp_format))
        make_rows(runner, physical.c, ROWS)
        exact = with_changes(physical.c, interval=None)
        yield Rows(con, replace(physical, c=exact, relation=ROWS, patch=None))
