"""Publishes a world of the oracle's and compares what stores answer with retrieval on the published version."""

from __future__ import annotations

import datetime as dt
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlforge.catalog import reader
from mlforge.online import Client, Value
from mlforge.publishing.run import Settings, publish
from mlforge.stores.opening import open_store
from tests.oracle.clock import EPOCH, MICRO, moment
from tests.oracle.project import ARROW, table, write_project, write_sources
from tests.oracle.runner import _bits, bits, build
from tests.oracle.strategies import plus

if TYPE_CHECKING:
    from collections.abc import Sequence

    import mlforge as mlf
    from mlforge.stores.store import Store
    from tests.oracle.world import World

BEFORE = 600_000_000
LENGTHS = ("1s", "90s", "5m", "1h", "1d", "7d", "30d", "1mo", "3mo", "1y", "2y")
INSTANTS = 14
Row = dict[str, Any]


def publish_world(forge: mlf.Forge, store: Store, now: int, max_points: int) -> Any:
    with forge._reading() as con:
        state = reader.state(con)
        return publish(con, state, store, Settings("world", max_points=max_points, now=now, grace=0.0))


def check(world: World, draw: int, stores: Sequence[dict[str, Any]]) -> int:
    """The number of (feature, instant, entity row, store) that were compared. Raises AssertionError at a difference."""
    chance = random.Random(draw)
    opened = [open_store(s) for s in stores]
    compared = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_project(world, root)
        forge = build(root)
        max_points = chance.choice([500, 500, 2, 4])
        now = published_at(world, chance)
        try:
            for store in opened:
                publish_world(forge, store, now, max_points)
            compared += compare(world, forge, opened, now, chance)
            if world.later is not None:
                world = world.at_second_build()
                write_sources(world, root)
                forge = build(root)
                now += chance.choice([0, 1, 3_600_000_000, -60_000_000])  # the clock may have been set back
                for store in opened:
                    publish_world(forge, store, now, max_points)
                compared += compare(world, forge, opened, now, chance)
        finally:
            for store in opened:
                store.close()
    return compared


def times(world: World) -> list[int]:
    found = [row["t"] for row in (*world.events, *world.lefts) if row["t"] is not None]
    return found or [1_709_251_200_000_000]


def published_at(world: World, chance: random.Random) -> int:
    """Mostly while rows are still on their way in and out of windows."""
    at = chance.choice(times(world))
    return chance.choice([at, plus(at, chance.choice(LENGTHS))]) + chance.choice([0, 1, BEFORE, 1_000_000])


def instants(world: World, now: int, chance: random.Random) -> list[int]:
    """Instants near those at which something changes, from ten minutes before the publish on."""
    found = {now - BEFORE, now, plus(now, "2y") + 1}
    moves = [plus(t, length) for t in times(world) for length in ("1s", *LENGTHS)] + times(world)
    moves += [plus(t, length) for t in chance.sample(moves, min(len(moves), 40)) for length in ("1h", "1d")]
    near = sorted({t + j for t in moves for j in (-1, 0, 1) if t + j >= now - BEFORE})
    found |= set(chance.sample(near, min(len(near), INSTANTS)))
    return sorted(found)


def entity_rows(world: World) -> list[Row]:
    keys = list({tuple(row[k] for k in world.keys): row for row in world.events}.values())
    rows = [{k: row[k] for k in world.keys} for row in keys]
    unseen = {"int": 99, "text": "unseen", "date": dt.date(1999, 9, 9)}
    rows.append({k: unseen[kind] for k, kind in world.keys.items()})
    rows.append(dict.fromkeys(world.keys))
    return [row | {"u": n % 4 or None, "amount": [None, 0.0, 1.5][n % 3]} for n, row in enumerate(rows)]


def compare(world: World, forge: mlf.Forge, stores: Sequence[Store], now: int, chance: random.Random) -> int:
    rows, names = entity_rows(world), world.names()
    asked = instants(world, now, chance)
    answers: list[tuple[int, list[Row]]] = []
    for store in stores:
        client = Client(store, "world")
        for at in asked:
            answers.append((at, client.get_online_features(names, rows, at=moment(at), with_status=True)))
            plain = client.get_online_features(names, rows, at=moment(at))
            assert [plain_bits(row) for row in answers[-1][1]] == [plain_bits(row) for row in plain]
    return sum(agree(world, forge, name, rows, answers) for name in names)


def agree(world: World, forge: mlf.Forge, feature: str, rows: list[Row], answers: list[tuple[int, list[Row]]]) -> int:
    """One feature at all instants; keys that are kept at a step are compared at its last multiple."""
    columns = columns_of(world, feature)
    steps = [[row[columns[0]].step for row in answer] for _, answer in answers]
    exact = [[at - at % step if step else at for step in own] for (at, _), own in zip(answers, steps, strict=True)]
    wanted = sorted({at for own in exact for at in own})
    want = training(world, forge, feature, rows, wanted)
    count = 0
    for (at, answer), own in zip(answers, exact, strict=True):
        for number, row in enumerate(answer):
            place = wanted.index(own[number]) * len(rows) + number
            for column in columns:
                value: Value = row[column]
                assert value.status != "OUT_OF_RANGE", (feature, moment(at), rows[number])
                expected = want[column][place]
                shown = f"{feature}.{column} of {rows[number]} at {moment(at)}: {value} is not {expected}"
                assert value_bits(value.value) == expected, shown
                count += 1
    return count


def columns_of(world: World, feature: str) -> list[str]:
    if feature in {f.name for f in world.features}:
        return [name for name, _ in world.feature(feature).outputs]
    for chain in world.chains:
        if chain.feature.name == feature:
            return [name for name, _ in chain.feature.outputs]
    return ["od_ratio", "od_double"]


def training(
    world: World, forge: mlf.Forge, feature: str, rows: list[Row], instants: list[int]
) -> dict[str, list[Any]]:
    """The bits that a training set has for these rows at each instant, instant after instant."""
    keys = {name: ARROW[kind] for name, kind in world.keys.items()}
    types = {**keys, "u": pa.int64(), "amount": pa.float64(), "at": pa.timestamp("us")}
    labels = table([row | {"at": at} for at in instants for row in rows], types)
    got = forge.training_set([feature], labels, timestamp="at", record=False).table
    return {name: bits(got[name]) for name in got.column_names}


def plain_bits(row: Row) -> Row:
    return {name: value_bits(value.value if isinstance(value, Value) else value) for name, value in row.items()}


def value_bits(value: Any) -> Any:
    """What ``bits`` of a column says of a value."""
    if isinstance(value, dt.datetime):
        return (value.replace(tzinfo=None) - EPOCH) // MICRO
    return _bits(value)
