"""Rows of the sources: drafted before it is known which rows there are, then placed among them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

COLUMNS = {
    "id": "BIGINT",
    "k": "BIGINT",
    "j": "VARCHAR",
    "t": "TIMESTAMP",
    "x": "DOUBLE",
    "i": "BIGINT",
    "s": "VARCHAR",
    "loaded": "TIMESTAMP",
    "seq": "BIGINT",
    "gone": "BOOLEAN",
}
SIDE = {"id": "BIGINT", "j": "VARCHAR", "t": "TIMESTAMP", "k": "BIGINT", "price": "DOUBLE"}

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
YEAR = 365 * DAY
START = 19_772 * DAY  # 2024-02-19: a 29th and two changes of clocks follow
NOT_YET = START + 2 * YEAR  # rows behind it are from the far future

WHENS = ("next", "next", "next", "late", "late", "tie", "edge", "edge", "midnight", "future", "hole", "none")
STEPS = (60 * SECOND, 3 * HOUR, DAY, 8 * DAY)
LENGTHS = (DAY, 3 * DAY, 7 * DAY, 30 * DAY, -7 * DAY, 29 * DAY, 6 * HOUR)
KEYS = (1, 1, 2, 2, 3, 4, None)
SHOPS = ("a", "a", "b", "c", None)
FLOATS = (0.1, 0.2, 0.3, -2.5, 1 / 3, 100.0, 0.0, None)
ROUGH = (*FLOATS, 1e20, -1e20, 1e-20, float("nan"), float("inf"))
INTS = (0, 1, 2, -3, 7, 2**40, 12, None)
BAD = -999  # what the check of feature ``checked`` refuses
WORDS = ("a", "b", "B", "", "it's", None)


@dataclass(frozen=True)
class Draft:
    """A row to be. ``when`` says how its time lies to the rows that exist, ``n`` which of them, or how far."""

    when: str
    n: int
    k: int | None
    j: str | None
    x: float | None
    i: int | None
    s: str | None


def time_of(draft: Draft, rows: list[Row]) -> int | None:
    """The draft's time among the rows, in microseconds."""
    times = sorted(row["t"] for row in rows if row["t"] is not None and START <= row["t"] < NOT_YET) or [START]
    last, some = times[-1], times[draft.n % len(times)]
    match draft.when:
        case "next":
            return last + STEPS[draft.n % len(STEPS)]
        case "late":
            return START + draft.n * 7919 * SECOND * 60 % (last - START + 1)
        case "tie":
            return some
        case "edge":
            return some + LENGTHS[draft.n // 3 % len(LENGTHS)] + draft.n % 3 - 1
        case "midnight":
            return last // DAY * DAY - draft.n % 40 * DAY
        case "future":
            return last + 5 * YEAR + draft.n * HOUR
        case "hole":
            return START - 3 * YEAR + draft.n * DAY
    return None


def first_rows(seed: int, number: int) -> list[Draft]:
    """Drafts of the rows that a source starts with: nearly all in order, as in most sources."""
    chance = random.Random(seed)
    return [
        Draft(
            chance.choice(("next", "next", "next", "next", "late", "tie", "edge", "midnight")),
            chance.randrange(1000),
            chance.choice(KEYS),
            chance.choice(SHOPS),
            chance.choice(FLOATS),
            chance.choice(INTS),
            chance.choice(WORDS),
        )
        for _ in range(number)
    ]


def values(rows: list[Row], columns: dict[str, str]) -> str:
    """The rows as SQL; with no rows, an empty table of the same columns."""
    listed = ", ".join(f"({', '.join(_literal(row[c], kind) for c, kind in columns.items())})" for row in rows)
    names = ", ".join(columns)
    if rows:
        return f"SELECT * FROM (VALUES {listed}) v({names})"
    return "SELECT " + ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns.items()) + " WHERE false"


def _literal(value: Any, kind: str) -> str:
    if value is None:
        return f"NULL::{kind}"
    if kind == "TIMESTAMP":
        return f"make_timestamp({value})"
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'::{kind}"
