"""How many values of a training set used source rows that were not loaded yet at the label's time.

Ordinary retrieval goes by event time alone. The catalog keeps no ``loaded_at`` of the rows inside windows, so the
sources are asked, as they are now, for a sample of the label rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct, to_builtins

from mlforge.catalog.source_engine import engine
from mlforge.errors import ProjectError, WarehouseError
from mlforge.model import Duration
from mlforge.retrieve import request as requests
from mlforge.retrieve.labels import RELATION
from mlforge.retrieve.replay import references
from mlforge.retrieve.training import KeySql
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from mlforge.model import Aggregate, CatalogState, Compiled, Project
    from mlforge.retrieve.request import Request
    from mlforge.retrieve.training import TrainingSet
    from mlforge.sql.physical import Member
    from mlforge.warehouses.duckdb import DuckDB

SAMPLE = 10_000
"""Label rows that are looked at; a set of more is sampled, always in the same way."""

_GOLDEN = 0.6180339887498949
_EVENTS = "_mlforge_late_events"
_LATEST = "_mlforge_latest"
_PART = re.compile(r"_mlforge_[ar]\d+")


class LateFeature(Struct, frozen=True, kw_only=True):
    """One feature of a training set: label rows of which any value used a row that was loaded later, and for each
    column its values that did. ``unknown`` says why neither is known."""

    feature: str  # name@x.y.z
    labels: int | None = None
    columns: dict[str, int] = {}
    unknown: str | None = None


class Late(Struct, frozen=True, kw_only=True):
    """``looked_at`` of ``rows`` label rows. ``values`` counts the cells that were looked at, ``late`` those that used a
    row which was loaded after the label's time; features that are unknown count in neither."""

    rows: int
    looked_at: int
    values: int
    late: int
    features: tuple[LateFeature, ...]


def record_late(project: Project, state: CatalogState, made: TrainingSet) -> None:
    """Put what ``late`` finds into the record of a training set."""
    made.record["late"] = to_builtins(late(project, state, made))


def late(project: Project, state: CatalogState, made: TrainingSet) -> Late:
    """Count late values. Features of which that cannot be told, or whose sources cannot be read, are ``unknown``."""
    asked = requests.resolve(state, references(made.record))
    labels = _sample(made)
    reasons = [_unknown(r, made, project) for r in asked]
    if all(reasons):
        found = [LateFeature(feature=r.shown, unknown=why) for r, why in zip(asked, reasons, strict=True)]
        return _sum(made, 0, found)
    with engine(project) as warehouse:
        con = warehouse.con
        warehouse.known = state.source_states
        con.register(RELATION, labels)
        types = {c: t for c, t, *_ in con.execute(f"DESCRIBE {RELATION}").fetchall()}
        members = requests.members(asked, [r.columns for r in asked], KeySql(types, asked))
        time = made.record["label_time"]
        counting = _Counting(warehouse, project, time, types.get(time or "", ""))
        found = [
            LateFeature(feature=r.shown, unknown=why) if why else counting.of(r, m)
            for r, m, why in zip(asked, members, reasons, strict=True)
        ]
    return _sum(made, labels.num_rows, found)


def _sample(made: TrainingSet) -> pa.Table:
    """The label columns of at most SAMPLE rows: one from each of as many stretches, at places that fall in step with no
    period of the rows."""
    labels = made.table.select([c for c in made.table.column_names if c not in set(made.record["columns"])])
    if labels.num_rows <= SAMPLE:
        return labels
    step = labels.num_rows / SAMPLE
    return labels.take([int((n + n * _GOLDEN % 1) * step) for n in range(SAMPLE)])


def _unknown(request: Request, made: TrainingSet, project: Project) -> str | None:
    """Why nothing can be said of a feature."""
    compiled, definition = request.stored.compiled, request.stored.definition
    missing = sorted(definition.sources.keys() - project.sources.keys())
    if compiled.kind == "on_demand":
        return "it is computed on demand, from other features"
    if compiled.kind == "static" or made.record["label_time"] is None:
        return "it has no time"
    if definition.refs:
        return "it reads other features"
    if missing:
        return f"the project has no source {missing[0]!r} any more"
    if compiled.loaded_at is None:
        return "its rows do not say when they were loaded"
    return None


def _sum(made: TrainingSet, looked_at: int, found: Sequence[LateFeature]) -> Late:
    known = [f for f in found if f.unknown is None]
    return Late(
        rows=made.table.num_rows,
        looked_at=looked_at,
        features=tuple(found),
        values=looked_at * sum(len(f.columns) for f in known),
        late=sum(sum(f.columns.values()) for f in known),
    )


class _Spec(Struct, frozen=True):
    """A window that a column reads, with its filter."""

    name: str
    window: Duration | None
    filter: str | None


class _Counting:
    """Counts on one connection on which the label rows are RELATION."""

    def __init__(self, warehouse: DuckDB, project: Project, label_time: str, label_type: str) -> None:
        self.warehouse = warehouse
        self.project = project
        self.label_time = label_time
        self.label_type = label_type

    def of(self, request: Request, member: Member) -> LateFeature:
        """The counts of one feature, or why there are none."""
        import duckdb

        try:
            self._events(request)
            row = self.warehouse.con.execute(self._query(request, member)).fetchall()[0]
        except duckdb.InterruptException:
            raise
        except (ProjectError, WarehouseError) as error:
            return LateFeature(feature=request.shown, unknown=error.message)
        except duckdb.Error as error:
            return LateFeature(feature=request.shown, unknown=self.warehouse.words(error))
        labels, *counts = row
        return LateFeature(
            feature=request.shown, labels=labels, columns=dict(zip(request.columns, counts, strict=True))
        )

    def _events(self, request: Request) -> None:
        compiled = request.stored.compiled
        for name in request.stored.definition.sources:
            self.warehouse.bind_source(self.project.sources[name])
        types = self.warehouse.describe(compiled.event_sql)
        script = sql(
            "feature/events_view",
            name=_EVENTS,
            materialise=False,
            timestamp_type=types.get("_mlforge_ts"),
            format=request.stored.definition.timestamp_format,
            event_sql=compiled.event_sql,
            seen=None,
        )
        self.warehouse.con.execute(script)

    def _query(self, request: Request, member: Member) -> str:
        compiled = request.stored.compiled
        specs, columns = _parts(compiled, request.columns)
        lengths = [s.window for s in specs]
        return sql(
            "retrieve/late",
            f=request.physical,
            labels=RELATION,
            events=_EVENTS,
            keys=member.keys,
            specs=specs,
            label_time=ident(self.label_time),
            label_type=self.label_type,
            columns=columns,
            filters=sorted({s.filter for s in specs if s.filter}),
            latest=_LATEST if any(_LATEST in parts for parts in columns) else None,
            widest=max(lengths, key=_length) if lengths and None not in lengths else None,
        )


def _length(length: Duration | None) -> int:
    """A length to order by; a month counts as its longest."""
    return 0 if length is None else length.micros or length.months * 31 * 86_400_000_000


def _parts(compiled: Compiled, columns: Sequence[str]) -> tuple[list[_Spec], list[list[str]]]:
    """The windows that these columns read, and for each column the names of its windows and of the latest row."""
    if compiled.kind == "plain":
        return [], [[_LATEST] for _ in columns]
    aggregates = {a.name: a for a in compiled.aggregates}
    specs: dict[tuple[Duration | None, str | None], _Spec] = {}
    made = []
    for output in (o for c in columns for o in compiled.outputs if o.name == c):
        used = dict.fromkeys(_PART.findall(output.sql))
        names = [_spec(specs, aggregates[name]).name for name in used if name in aggregates]
        made.append([*dict.fromkeys(names), *([_LATEST] if len(names) < len(used) else [])])
    return list(specs.values()), made


def _spec(specs: dict[tuple[Duration | None, str | None], _Spec], aggregate: Aggregate) -> _Spec:
    key = (aggregate.window, aggregate.filter)
    return specs.setdefault(key, _Spec(f"_mlforge_s{len(specs)}", *key))
