"""Of features as people write them nearly all are proven, and every twin that leaks is caught."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import sqlglot

from mlforge.model import Duration
from mlforge.proof.pruned import prepared
from mlforge.proof.relations import Unproven
from mlforge.proof.seen import with_seen
from mlforge.proof.settled import settled
from tests.proof.realistic import PAIRS, SHOP
from tests.proof.truth import SCHEMA, Table, Truth, relations

if TYPE_CHECKING:
    from collections.abc import Iterator

WORLDS = 6


def drawn(draw: random.Random) -> dict[str, Table]:
    """The shop with a few rows each, over two months, with ties and NULLs."""

    def cell(column: str, kind: str) -> Any:
        if kind in ("TIMESTAMP", "DATE"):
            hours = draw.choice([0, 0, 7, 12, 24, 30, 48, 60, 96, 24 * 20, 24 * 33, 24 * 45])
            at = dt.datetime(2024, 1, 25) + dt.timedelta(hours=hours)
            return None if draw.random() < 0.05 else at if kind == "TIMESTAMP" else at.date()
        if kind == "VARCHAR":
            return draw.choice(["a", "b", None])
        return draw.choice([1, 2] if column == "uid" else [0, 1, 2, 3, None])

    def rows(table: Table, count: int) -> tuple[Any, ...]:
        return tuple(tuple(cell(c, kind) for c, kind in table.columns.items()) for _ in range(count))

    made = {name: replace(table, rows=rows(table, draw.choice([2, 4, 8]))) for name, table in SHOP.items()}
    return made | {"people": replace(SHOP["people"], rows=((1, "x"), (2, "y")))}


def source(text: str) -> str:
    for name in SHOP:
        text = text.replace(f"@{name}", f"{SCHEMA}.{name}")
    return text


@pytest.fixture(scope="module")
def worlds() -> Iterator[list[Truth]]:
    cons = [duckdb.connect() for _ in range(WORLDS)]
    for con in cons:
        con.execute("SET TimeZone = 'UTC'; SET threads = 1")
    yield [Truth(con, drawn(random.Random(n))) for n, con in enumerate(cons)]
    for con in cons:
        con.close()


def verdict(text: str, worlds: list[Truth]) -> str:
    """plan, rows, unproven, or caught: in some world a row is known later than it is stamped."""
    tree = sqlglot.parse_one(text, dialect="duckdb")
    assert isinstance(tree, sqlglot.exp.Query)
    known = relations(SHOP)
    query = prepared(tree, known)
    if settled(query, "ts", Duration(0, "s"), known):
        return "plan"
    try:
        seen = with_seen(tree, query, "ts", known).sql("duckdb")
    except Unproven:
        return "unproven"
    late = f"SELECT count(*) FROM ({seen}) WHERE _mlforge_seen > epoch_us(ts::TIMESTAMP)"
    for world in worlds:
        if world.con.execute(late).fetchone() != (0,):
            return "caught"
    return "rows"


@pytest.mark.parametrize("name", PAIRS)
def test_an_honest_feature_is_proven_and_its_twin_is_caught(name: str, worlds: list[Truth]) -> None:
    honest, twin = map(source, PAIRS[name])
    assert [n for n, world in enumerate(worlds) if world.leaks(honest) is not None] == []
    assert any(world.leaks(twin) is not None for world in worlds), "the twin leaks in no world"
    assert verdict(twin, worlds) in ("caught", "unproven")
    assert verdict(honest, worlds) in ("plan", "rows")


def test_nearly_all_are_proven_and_most_from_the_sql_alone(worlds: list[Truth]) -> None:
    found = Counter(verdict(source(honest), worlds) for honest, _ in PAIRS.values())
    assert len(PAIRS) >= 40
    assert found["plan"] + found["rows"] >= 0.9 * len(PAIRS)
    assert found["plan"] >= 0.8 * len(PAIRS), found
