"""``known_as_of``: training sets from what was known at an instant. Features are made again from the
source rows whose ``loaded_at`` is not after it.

A catalog keeps what its newest build knew, corrections included, so an earlier state of knowledge cannot be read from
it. The stored SQL of each version is run again over sources cut at the instant; windows, ties and snapshots then follow
by the same code as in a build."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mlforge.building.materialise import Runner, Stamp, make_events, make_table
from mlforge.catalog.source_engine import engine
from mlforge.errors import RetrievalError
from mlforge.model import REF_SCHEMA, FeatureRef, Version
from mlforge.retrieve.arrow_digest import content_hash
from mlforge.retrieve.labels import RELATION, arrow, label_rows
from mlforge.retrieve.training import TrainingSet, training_set
from mlforge.sql.physical import Physical, RefRead, view
from mlforge.sql.ref_times import with_ref_times
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, Project, Source, StoredVersion
    from mlforge.warehouses.duckdb import DuckDB

MOST = 1000
"""Instants that one call makes features for."""


class Past:
    """Versions made again from what was loaded by ``instant`` (microseconds since the epoch, UTC)."""

    def __init__(self, warehouse: DuckDB, project: Project, state: CatalogState, instant: int, *, ignore: bool) -> None:
        self.con = warehouse.con
        self.project = project
        self.state = state
        self.ignore = ignore
        self.warehouse = warehouse
        self.warehouse.loaded_by = instant
        self.warehouse.known = state.source_states
        self._made: dict[tuple[str, Version], Physical] = {}
        self.con.execute("CREATE SCHEMA IF NOT EXISTS store")

    def physical(self, stored: StoredVersion) -> Physical:
        """The version over rows known at the instant.

        Raises RetrievalError for a source that does not say when its rows were loaded, unless that is ignored."""
        key = (stored.feature, stored.version)
        if key not in self._made:
            on_demand = stored.compiled.kind == "on_demand"
            self._made[key] = self._on_demand(stored) if on_demand else self._built(stored)
        return self._made[key]

    def _on_demand(self, stored: StoredVersion) -> Physical:
        refs = tuple(RefRead(r.alias, self._upstream(r.feature, r.version)) for r in stored.compiled.refs)
        return Physical(stored.compiled, "", refs=refs)

    def _upstream(self, feature: str, version: str) -> Physical:
        """The newest version of the MAJOR.MINOR, or the full version, that a feature reads."""
        known = self.state.features[feature].versions
        wanted = [v for v in known if f"{v.version}.".startswith(f"{version}.")]
        return self.physical(max(wanted, key=lambda v: v.version))

    def _built(self, stored: StoredVersion) -> Physical:
        for name in stored.definition.sources:
            self.warehouse.bind_source(self._source(stored, name))
        upstream = {name: self._upstream(name, version) for name, version in stored.definition.refs.items()}
        for name, physical in upstream.items():
            self.con.execute(view(REF_SCHEMA, name, physical))
        compiled = stored.compiled
        query = with_ref_times(compiled.event_sql, upstream, compiled.timestamp)
        runner = Runner(self.con)
        types = self.warehouse.describe(query)
        ready = replace(compiled, event_sql=query, table=f"{compiled.table}__{stored.version.patch}")
        make_events(runner, ready, Stamp(types.get("_mlforge_ts"), stored.definition.timestamp_format))
        made = make_table(runner, ready, f"store.{ident(ready.table)}")
        return Physical(made, f"store.{ident(ready.table)}")

    def _source(self, stored: StoredVersion, name: str) -> Source:
        source = self.project.sources.get(name)
        if source is None:
            raise RetrievalError(
                f"{stored.feature}@{stored.version} reads source {name!r}, which the project no longer has",
                hint="known_as_of makes features again from their sources: put the source back",
            )
        if source.loaded_at is None and not self.ignore:
            raise RetrievalError(
                f"source {name!r} of {stored.feature} does not say when its rows became known",
                hint="give it loaded_at: in mlforge.yaml, or ignore_loaded_at=True to take all of its rows",
            )
        return source


@contextmanager
def past(project: Project, state: CatalogState, instant: int, *, ignore: bool) -> Iterator[Past]:
    """An engine of its own, for as long as the block lasts, in which versions can be made as of an instant."""
    with engine(project) as warehouse:
        yield Past(warehouse, project, state, instant, ignore=ignore)


def training_set_as_known(
    con: DuckDBPyConnection,
    state: CatalogState,
    project: Project,
    features: str | FeatureRef | Iterable[str | FeatureRef],
    given: Any,
    *,
    known_as_of: str | datetime,
    ignore_loaded_at: bool = False,
    timestamp: str = "label_time",
    full_names: bool = False,
) -> TrainingSet:
    """A training set from the rows that were loaded by ``known_as_of``: an instant, or the name of a label column.

    Raises RetrievalError for a source without loaded_at unless that is ignored, for more than ``MOST`` instants, and
    whatever ``training_set`` raises."""
    import pyarrow as pa

    wanted = list(features) if not isinstance(features, (str, FeatureRef)) else [features]
    with label_rows(con, given) as labels:
        table = labels.table
        parts = instants(con, table, known_as_of)
    made, places = [], []
    for instant, rows in parts:
        with past(project, state, instant, ignore=ignore_loaded_at) as then:
            made.append(
                training_set(
                    then.con,
                    state,
                    wanted,
                    table if rows is None else table.take(rows),
                    timestamp=timestamp,
                    full_names=full_names,
                    rebind=then.physical,
                )
            )
        places.append(rows)
    whole = made[0].table
    if places and places[0] is not None:
        order = pa.chunked_array(places)
        whole = pa.concat_tables([m.table for m in made]).take(_inverse(order))
    record = {
        **made[0].record,
        "known_as_of": str(known_as_of),
        "ignore_loaded_at": ignore_loaded_at,
        "rows": len(whole),
        "content_hash": content_hash(whole.select(made[0].record["hashed"])),
        "labels": {**made[0].record["labels"], **labels.record},
    }
    return TrainingSet(whole, labels.kind, record, labels)


def instants(
    con: DuckDBPyConnection, table: pa.Table, known_as_of: str | datetime
) -> list[tuple[int, pa.Array | None]]:
    """Instants in microseconds, each with the label rows it is for; None: all of them."""
    import pyarrow.compute as pc

    names = {c.lower(): c for c in table.column_names}
    if not isinstance(known_as_of, str) or known_as_of.lower() not in names:
        return [(_micros(known_as_of), None)]
    column = ident(names[known_as_of.lower()])
    at = arrow(con, sql("retrieve/instants", column=column, relation=RELATION)).column(0).combine_chunks()
    if at.null_count:
        hint = "known_as_of needs an instant for each row"
        raise RetrievalError(f"label column {known_as_of!r} has NULLs", hint=hint)
    distinct = pc.unique(at)
    if len(distinct) > MOST:
        raise RetrievalError(
            f"label column {known_as_of!r} holds {len(distinct)} instants; features are made again for each",
            hint=f"at most {MOST}: cut the column to days, or make several training sets",
        )
    return [(x.as_py(), pc.indices_nonzero(pc.equal(at, x))) for x in distinct]


def _micros(known_as_of: str | datetime) -> int:
    import datetime as dt

    if isinstance(known_as_of, str):
        try:
            known_as_of = dt.datetime.fromisoformat(known_as_of)
        except ValueError as error:
            raise RetrievalError(
                f"known_as_of={known_as_of!r} is neither a label column nor an instant",
                hint="write 2024-03-01T09:00, UTC without a zone",
            ) from error
    zoned = known_as_of if known_as_of.tzinfo else known_as_of.replace(tzinfo=dt.UTC)
    return (zoned - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def _inverse(order: pa.ChunkedArray) -> pa.Array:
    import pyarrow.compute as pc

    return pc.sort_indices(order)
