"""Builds a world with mlforge, asks every way in, and says where an answer is not what the oracle expects."""

from __future__ import annotations

import datetime as dt
import struct
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

import mlforge as mlf
from tests.oracle.aggregates import Expected, matches
from tests.oracle.clock import EPOCH, MICRO
from tests.oracle.project import label_table, write_project, write_sources
from tests.oracle.types import arrow_types
from tests.oracle.world import Labels, World, expected

ZONE = "Asia/Tokyo"  # a session's zone must not matter


@dataclass(frozen=True)
class Difference:
    """One answer that is not what it should be."""

    feature: str
    column: str
    row: int
    expected: Any
    got: Any
    way: str  # python or macro

    def __str__(self) -> str:
        place = f"{self.way}: {self.feature}.{self.column}, label row {self.row}"
        return f"{place}: expected {self.expected}, got {self.got!r}"


def check(world: World) -> int:
    """Compare a world with the oracle on both ways in. The number of (feature, label set) pairs that were compared.

    Raises AssertionError with every difference."""
    with tempfile.TemporaryDirectory() as folder:
        found = differences(world, Path(folder))
    assert not found, "\n".join(map(str, found))
    return len(world.names()) * (len(world.labels) + (0 if world.later is None else 2))


def differences(world: World, folder: Path) -> list[Difference]:
    """Where mlforge and the oracle differ; with later events also after a second build, for the old version too."""
    write_project(world, folder)
    found = []
    forge = build(folder)
    for labels in world.labels:
        found += both_ways(world, labels, forge, folder)
    if world.later is not None:
        later, labels = world.at_second_build(), world.labels[0]
        write_sources(later, folder)
        forge = build(folder)
        found += both_ways(later, labels, forge, folder)
        found += [replace(d, way=f"{d.way}, first version") for d in old_version(world, labels, forge)]
    return found


def build(folder: Path) -> mlf.Forge:
    """Build what is there, all of it."""
    forge = mlf.open(str(folder))
    built = forge.build()
    assert not built.failed, [result.error for result in built.features]
    return forge


def both_ways(world: World, labels: Labels, forge: mlf.Forge, folder: Path) -> list[Difference]:
    """Python and macros against the oracle, and against each other."""
    entity_df = label_table(world, labels)
    want = expected(world, labels)
    answers = forge.get_training_data(features=world.names(), entity_df=entity_df, timestamp=labels.time)
    found = compare(want, answers, entity_df, "python")
    for name, kind in arrow_types(world).items():
        assert answers[name].type.equals(kind), f"type of {name}: expected {kind}, got {answers[name].type}"
    for name, answer in macro_answers(folder / "catalog.duckdb", world, labels).items():
        found += compare({name: want[name]}, answer, entity_df, "macro")
        found += unequal(name, list(want[name]), answers, answer)
    return found


def old_version(world: World, labels: Labels, forge: mlf.Forge) -> list[Difference]:
    """The first version after a second build: still what it was."""
    entity_df = label_table(world, labels)
    pins = [f"{name}@1.0.0" for name in world.names()]
    answers = forge.get_training_data(features=pins, entity_df=entity_df, timestamp=labels.time)
    return compare(expected(world, labels), answers, entity_df, "python")


def macro_answers(catalog: Path, world: World, labels: Labels) -> dict[str, pa.Table]:
    """What the macros answer, in a session that lives in another time zone."""
    con = duckdb.connect(str(catalog), read_only=True)
    try:
        con.execute(f"SET TimeZone = '{ZONE}'")
        con.register("labels", label_table(world, labels))
        second = "" if labels.time == "label_time" else f", '{labels.time}'"
        return {name: fetch(con, f"FROM features.{name}_asof('labels'{second})") for name in world.names()}
    finally:
        con.close()


def fetch(con: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """A query's rows as an Arrow table."""
    return con.sql(sql).to_arrow_table()


def compare(want: dict[str, dict[str, list[Expected]]], got: pa.Table, labels: pa.Table, way: str) -> list[Difference]:
    """Feature columns against the oracle, label columns against themselves."""
    columns = [column for feature in want.values() for column in feature]
    assert got.column_names == [*labels.column_names, *columns], got.column_names
    for name in labels.column_names:
        assert plain(got[name]) == plain(labels[name]), f"{way}: label column {name} was changed"
    return [
        Difference(feature, column, row, value, actual, way)
        for feature, lists in want.items()
        for column, values in lists.items()
        for row, (value, actual) in enumerate(zip(values, plain(got[column]), strict=True))
        if not matches(value, actual)
    ]


def unequal(feature: str, columns: list[str], python: pa.Table, macro: pa.Table) -> list[Difference]:
    """Where the two ways in differ by as much as a bit or a type."""
    found = []
    for column in columns:
        assert python[column].type == macro[column].type, (feature, column, python[column].type, macro[column].type)
        pairs = zip(bits(python[column]), bits(macro[column]), strict=True)
        found += [
            Difference(feature, column, n, a, b, "macro, not as python") for n, (a, b) in enumerate(pairs) if a != b
        ]
    return found


def plain(column: pa.ChunkedArray) -> list[Any]:
    """Python values; times are integer microseconds, cut below."""
    if pa.types.is_timestamp(column.type):
        per = {"s": 1_000_000, "ms": 1000, "us": 1}.get(column.type.unit)
        ticks = column.cast(pa.int64()).to_pylist()
        return [None if v is None else v * per if per else v // 1000 for v in ticks]
    return [_value(v) for v in column.to_pylist()]


def _value(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return (value.replace(tzinfo=None) - EPOCH) // MICRO
    return value


def bits(column: pa.ChunkedArray) -> list[Any]:
    """Values such that equal means the same bits; every NaN is one."""
    return [_bits(value) for value in plain(column)]


def _bits(value: Any) -> Any:
    if isinstance(value, float):
        return "NaN" if value != value else struct.pack(">d", value)  # noqa: PLR0124
    return [_bits(v) for v in value] if isinstance(value, list) else value


def minimise(world: World) -> World:
    """A smaller world that still differs: fewer features, labels, events, columns."""
    world = _fewest(world, "labels")
    world = _fewest_features(world)
    world = replace(world, later=None) if fails(replace(world, later=None)) else world
    for part in ("events", "lefts", "statics"):
        world = _fewest(world, part)
    one = world.labels[0]
    for n in reversed(range(len(one.rows))):
        fewer = replace(one, rows=one.rows[:n] + one.rows[n + 1 :])
        if fewer.rows and fails(replace(world, labels=(fewer,))):
            one, world = fewer, replace(world, labels=(fewer,))
    return world


def fails(world: World) -> bool:
    """Whether the world differs (an error of mlforge counts)."""
    try:
        check(world)
    except (AssertionError, mlf.MlforgeError, duckdb.Error):
        return True
    return False


def _fewest(world: World, part: str) -> World:
    items = list(getattr(world, part))
    for n in reversed(range(len(items))):
        fewer = items[:n] + items[n + 1 :]
        if (fewer or part != "labels") and fails(replace(world, **{part: type(getattr(world, part))(fewer)})):
            items = fewer
            world = replace(world, **{part: type(getattr(world, part))(fewer)})
    return world


def _fewest_features(world: World) -> World:
    for smaller in (replace(world, on_demand=()), replace(world, on_demand=(), chains=())):
        world = smaller if fails(smaller) else world
    needed = {c.target for c in world.chains} | {o.target for o in world.on_demand}
    for feature in world.features:
        fewer = replace(world, features=tuple(f for f in world.features if f is not feature))
        if feature.name not in needed and fewer.features and fails(fewer):
            world = fewer
    for feature in world.features:
        world = _fewest_outputs(world, feature.name)
    return world


def _fewest_outputs(world: World, name: str) -> World:
    used = {column for c in world.chains for column in c.columns.values()} | {o.column for o in world.on_demand}
    for output in world.feature(name).outputs:
        feature = world.feature(name)
        smaller = replace(feature, outputs=tuple(o for o in feature.outputs if o is not output))
        fewer = replace(world, features=tuple(smaller if f.name == name else f for f in world.features))
        if smaller.outputs and output[0] not in used and fails(fewer):
            world = fewer
    return world
