"""A small world: sources, features over them, label rows; and what every label row should get."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.oracle.aggregates import NULL, Expected
from tests.oracle.oracle import (
    Feature,
    Row,
    divided,
    event_rows,
    has_row,
    join_latest,
    one_per_instant,
    ratio,
    values_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = {
    "i": "BIGINT",
    "x": "DOUBLE",
    "d": "DECIMAL(12,2)",
    "s": "VARCHAR",
    "b": "BOOLEAN",
    "n": "TINYINT",
    "r": "REAL",
}
# Columns that a feature computes per event: SQL, type, and the same in Python. NULL gives NULL.
DERIVED: dict[str, tuple[str, str, Callable[[Row], Any]]] = {
    "ni": ("n + i * 2", "BIGINT", lambda row: row["n"] + row["i"] * 2),
    "sb": ("s || '!' || b", "VARCHAR", lambda row: f"{row['s']}!{str(row['b']).lower()}"),
    "qi": ("i // n", "BIGINT", lambda row: divided(row["i"], row["n"], "//") if row["n"] else None),
    "mi": ("i % n", "BIGINT", lambda row: divided(row["i"], row["n"], "%") if row["n"] else None),
    "cx": ("CASE WHEN b THEN x END", "DOUBLE", lambda row: row["x"] if row["b"] else None),
}
PARTS = {"ni": ("n", "i"), "qi": ("i", "n"), "mi": ("i", "n"), "sb": ("s", "b"), "cx": ("b", "x")}


@dataclass(frozen=True)
class Chain:
    """A feature that reads another one by ref().

    LEFT or INNER: its rows are those of the source ``lefts``, its key is ``u``. FROM: its rows are those of the target,
    a plain feature, and so is its key."""

    feature: Feature
    target: str  # the feature it refs; joined on all of its keys
    columns: dict[str, str]  # name among the joined row's columns -> output column of the target
    join: str = "LEFT"


@dataclass(frozen=True)
class OnDemand:
    """``amount / NULLIF(target.column, 0) AS od_ratio, amount * 2 AS od_double``."""

    name: str
    target: str
    column: str


@dataclass(frozen=True)
class Labels:
    """Label rows, and how they are typed: ``time_type`` is an Arrow type, ``nanos`` are added below a microsecond."""

    rows: tuple[Row, ...]
    time: str = "label_time"
    time_type: str = "us"
    nanos: int = 0


@dataclass(frozen=True)
class World:
    keys: dict[str, str]  # key column -> int, text or date
    events: list[Row]
    statics: list[Row]
    lefts: list[Row]
    features: tuple[Feature, ...]
    labels: tuple[Labels, ...]
    chains: tuple[Chain, ...] = ()
    on_demand: tuple[OnDemand, ...] = ()
    time_type: str = "us"  # Arrow type of the time columns of the sources
    nanos: int = 0  # added to the sources' times of nanoseconds, and floored away again
    later: list[Row] | None = None  # what the events are at a second build
    writer: str = "pyarrow"  # of the Parquet files: neither writer's statistics know of NaN
    narrow: tuple[tuple[str, ...], ...] = ()  # for each further file of events, what types it prefers

    def at_second_build(self) -> World:
        """The world whose events are the later ones."""
        return replace(self, events=self.later or [], later=None)

    def names(self) -> list[str]:
        """All features."""
        chained = [chain.feature.name for chain in self.chains]
        return [f.name for f in self.features] + chained + [o.name for o in self.on_demand]

    def feature(self, name: str) -> Feature:
        return next(f for f in self.features if f.name == name)


def with_derived(row: Row) -> Row:
    """A row and what features compute of it."""
    known = {name for name in DERIVED if all(row[need] is not None for need in PARTS[name])}
    return row | {name: make(row) if name in known else None for name, (_, _, make) in DERIVED.items()}


def rows_of(world: World, feature: Feature) -> list[Row]:
    """The rows a feature of the world reads."""
    return [with_derived(row) for row in world.events] if feature.time else world.statics


def expected(world: World, labels: Labels) -> dict[str, dict[str, list[Expected]]]:
    """Feature -> column -> one expected value per label row."""
    found = {}
    for feature in world.features:
        found[feature.name] = _column_lists(feature, rows_of(world, feature), labels)
    for chain in world.chains:
        found[chain.feature.name] = _column_lists(chain.feature, chained_rows(world, chain), labels)
    for one in world.on_demand:
        found[one.name] = _on_demand(one, found[one.target][one.column], world, labels)
    return found


def _column_lists(feature: Feature, rows: list[Row], labels: Labels) -> dict[str, list[Expected]]:
    answers = [values_at(feature, rows, tuple(row[k] for k in feature.keys), row[labels.time]) for row in labels.rows]
    return {name: [answer[name] for answer in answers] for name, _ in feature.outputs}


def chained_rows(world: World, chain: Chain) -> list[Row]:
    """The rows that a chained feature reads."""
    target = world.feature(chain.target)
    rows = rows_of(world, target)
    if chain.join == "FROM":
        exprs = dict(target.outputs)
        instants = one_per_instant(target, rows)
        return [row | {ours: row[exprs[theirs].name] for ours, theirs in chain.columns.items()} for row in instants]
    left = event_rows(Feature("", (), (), time="t"), world.lefts)
    if chain.join == "INNER":
        left = [row for row in left if has_row(target, rows, tuple(row[k] for k in target.keys), row["t"])]
    joined = join_latest(left, target, rows, {k: k for k in target.keys}, "t")
    return [row | {ours: row[theirs] for ours, theirs in chain.columns.items()} for row in joined]


def _on_demand(one: OnDemand, below: list[Expected], world: World, labels: Labels) -> dict[str, list[Expected]]:
    keys = (*world.feature(one.target).keys, labels.time)
    known = [all(row[k] is not None for k in keys) for row in labels.rows]
    tops = [Expected(row["amount"]) for row in labels.rows]
    return {
        "od_ratio": [ratio(top, bottom) if ok else NULL for top, bottom, ok in zip(tops, below, known, strict=True)],
        "od_double": [_double(top.value) if ok else NULL for top, ok in zip(tops, known, strict=True)],
    }


def _double(amount: Any) -> Expected:
    return Expected(None if amount is None else amount * 2)
