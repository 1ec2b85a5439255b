"""The physical plan of one version of a feature: what templates need beside its Compiled form."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mlforge.model import Compiled, Duration, Output
from mlforge.sql.alike import alike
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlforge.model import Aggregate, FeatureRef, Input

FLOATS = ("FLOAT", "DOUBLE")
SMALL_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
# aggregates whose partial results over tiles merge, and how: function -> function of the partials
MERGEABLE = {
    "count": "sum",
    "sum": "sum",
    "avg": "sum",
    "min": "min",
    "max": "max",
    "bool_and": "bool_and",
    "bool_or": "bool_or",
}


@dataclass(frozen=True)
class Frame:
    """One distinct window length of a feature. None is ``ever``."""

    length: Duration | None
    number: int

    @property
    def name(self) -> str:
        """Its name in a WINDOW clause."""
        return f"_mlforge_w{self.number}"

    @property
    def offset(self) -> str:
        """The column that holds how far back it reaches, in microseconds."""
        return f"_mlforge_f{self.number}"


@dataclass(frozen=True)
class RefRead:
    """A feature that an on-demand feature reads, under the alias its expressions use."""

    alias: str
    physical: Physical


@dataclass(frozen=True)
class Physical:
    """A compiled feature bound to the relation that holds its rows.

    ``patch`` None means that every row of ``relation`` belongs. ``ingredients`` asks for aggregates and row columns
    instead of the outputs made of them."""

    c: Compiled
    relation: str
    patch: int | None = None
    refs: tuple[RefRead, ...] = ()
    ingredients: bool = field(default=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the key columns."""
        return tuple(k.name for k in self.c.keys)

    @property
    def timed(self) -> bool:
        """Whether a label row needs a time to read this feature."""
        if self.c.kind == "on_demand":
            return self.c.uses_as_of or any(r.physical.timed for r in self.refs)
        return self.c.kind != "static"

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """What a core returns for each probe."""
        if not self.ingredients:
            return self.c.outputs
        parts: list[Aggregate | Input] = [*self.c.aggregates, *self.c.rows]
        return tuple(Output(name=p.name, sql=p.name, type=p.type) for p in parts)

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """Distinct frames, the one of the row columns included."""
        lengths = [a.window for a in self.c.aggregates] + ([self.c.ttl] if self.c.rows else [])
        return tuple(Frame(length, n) for n, length in enumerate(dict.fromkeys(lengths)))

    def frame(self, length: Duration | None) -> str:
        """The name of the frame of that length."""
        return next(f.name for f in self.frames if f.length == length)

    @property
    def needs_order(self) -> bool:
        """Whether an aggregate depends on the order of rows within one instant."""
        return any(a.method == "ordered" for a in self.c.aggregates)

    @cached_property
    def _types(self) -> dict[str, str]:
        return {i.name: i.type for i in (*self.c.inputs, *self.c.rows)}

    def float_input(self, aggregate: Aggregate) -> bool:
        """Whether the first argument may hold NaN or Infinity."""
        return self._types.get(aggregate.args[0]) in FLOATS

    def invertible(self, aggregate: Aggregate) -> bool:
        """Whether rows can be taken back out of its totals, with no bit lost and no number too large on the way."""
        if aggregate.function == "count" or (aggregate.function in ("sum", "avg") and aggregate.scale is not None):
            return True
        type_ = self._types.get(aggregate.args[0], "")
        small = type_ in SMALL_INTEGERS or (type_.startswith("DECIMAL(") and int(type_[8:].split(",")[0]) <= 30)
        return aggregate.function in ("sum", "avg") and small

    @property
    def lengths(self) -> tuple[Duration, ...]:
        """Every length after which a row stops to count."""
        own = [f.length for f in self.frames]
        if self.c.kind == "plain" and self.c.ttl:
            own.append(self.c.ttl)
        return tuple(dict.fromkeys(d for d in own if d is not None))

    @property
    def tileable(self) -> bool:
        """Whether an interval build may sum tiles first: mergeable, exact, and all lengths whole intervals."""
        step = self.c.interval.micros if self.c.interval else None
        if not step or self.c.timezone or self.c.rows or not self.c.aggregates:
            return False
        whole = all(d.micros is not None and d.micros % step == 0 for d in self.lengths)
        return whole and all(
            a.function in MERGEABLE
            and not a.distinct
            and len(a.args) == 1
            and (a.method == "native" or a.scale is not None)
            for a in self.c.aggregates
        )


@dataclass(frozen=True)
class Member:
    """One feature's part of a training set.

    ``keys`` and ``request`` map a column of the feature to SQL over the label rows ``_mlforge_l``; ``columns`` maps
    an output to its name in the result."""

    name: str
    feature: Physical
    keys: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, str], ...]
    request: tuple[tuple[str, str], ...] = ()


def member(number: int, feature: Physical, ref: FeatureRef, key_sql: Callable[[str, str, str | None], str]) -> Member:
    """The member for a reference. ``key_sql(key, label column, key type)`` says how a label column becomes a key; of a
    key by which nothing is read no type is known."""
    types: dict[str, str | None] = {k.name: k.type for k in feature.c.keys}
    if feature.c.kind == "on_demand":
        read = {k for r in feature.refs for k in r.physical.keys}
        types = {k: t if k in read else None for k, t in types.items()}
    chosen = ref.columns or tuple(o.name for o in feature.c.outputs)
    return Member(
        name=f"_mlforge_m{number}",
        feature=feature,
        keys=tuple((k, key_sql(k, ref.keys.get(k, k), types[k])) for k in feature.keys),
        columns=tuple((c, ref.prefix + c) for c in chosen),
        request=tuple((r, f"CAST({ident(r)} AS {t})") for r, t in feature.c.request.items()),
    )


def training_set(
    members: Sequence[Member], labels: str, *, label_time: str | None, label_type: str | None, with_labels: bool = True
) -> str:
    """SQL that returns label rows with the members' columns. ``labels`` is a relation; ``label_time`` SQL over it, None
    where label rows have no time, which static features do without."""
    return sql(
        "feature/training_set",
        members=members,
        labels=labels,
        label_time=label_time,
        label_type=label_type,
        with_labels=with_labels,
    )


def macro(schema: str, name: str, members: Sequence[Member], refusal: str | None = None) -> str:
    """SQL that makes the table macro over these members; with ``refusal``, one that raises it."""
    if refusal:
        return sql("feature/macro", schema=schema, name=name, body=sql("feature/refusal", text=refusal))
    body = training_set(members, "query_table(labels)", label_time="COLUMNS([ts])", label_type=None)
    return sql("feature/macro", schema=schema, name=name, body=body)


def view(schema: str, name: str, feature: Physical, probes: str | None = None) -> str:
    """SQL that makes the view of a version; without a schema it is temporary.

    ``probes``: a relation with the keys and times at which exact windows are shown, instead of all of theirs."""
    return sql("feature/view", schema=schema, name=name, f=feature, probes=probes)


def content_order(columns: Mapping[str, str], loaded: bool) -> str:
    """ORDER BY terms of the documented total order of rows that share keys and time, by columns and their types."""
    names = (["_mlforge_loaded"] if loaded else []) + list(columns)
    return sql("feature/content_order", columns=names, alike=alike(columns))


@dataclass(frozen=True)
class Total:
    """A partial aggregate over one frame of tiles. ``count``: of a running sum, the total that says how many values it
    is of."""

    name: str
    partial: dict[str, str]
    frame: Frame
    count: str | None


@dataclass(frozen=True)
class Tiles:
    """How an interval build sums tiles: partial aggregates of a tile, their totals over frames, and the aggregates.

    ``running`` totals go on from row to row, and take back what leaves a window."""

    partials: tuple[dict[str, str], ...]  # name, part, sql, merge
    totals: tuple[Total, ...]  # each (partial, frame) once
    merges: tuple[dict[str, str], ...]  # name, sql over totals
    running: bool


def tiles(feature: Physical, *, running: bool = False) -> Tiles:
    """The parts of a tileable feature. Windows of one aggregate share its partials, and SUM and AVG share totals.

    Totals run only if that is asked for and right: what is no sum or count cannot be taken back."""
    running = running and all(feature.invertible(a) for a in feature.c.aggregates)
    partials: dict[tuple[object, ...], dict[str, str]] = {}
    totals: dict[tuple[str, Frame], Total] = {}

    def total(a: Aggregate, part: str) -> str:
        spec = (part, a.args, a.filter, a.scale if part == "sum" else None)
        partial = partials.setdefault(
            spec,
            {
                "name": f"_mlforge_p{len(partials)}",
                "sql": sql("feature/tile_partial", a=a, part=part),
                "merge": MERGEABLE[part],
                "part": part,
            },
        )
        frame = next(f for f in feature.frames if f.length == a.window)
        if (partial["name"], frame) not in totals:
            count = total(a, "count") if running and part == "sum" else None
            totals[partial["name"], frame] = Total(f"_mlforge_s{len(totals)}", partial, frame, count)
        return totals[partial["name"], frame].name

    merges = []
    for a in feature.c.aggregates:
        names = {part: total(a, part) for part in (("sum", "count") if a.function == "avg" else (a.function,))}
        merges.append({"name": a.name, "sql": sql("feature/tile_merge", a=a, parts=names)})
    return Tiles(tuple(partials.values()), tuple(totals.values()), tuple(merges), running)
