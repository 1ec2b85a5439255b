"""The values of keys over time: from ten minutes before the publish, every instant at which something changes if no new
row arrives. SQL finds the instants and computes the values there by the same plan as retrieval; here they are packed,
and instants at which nothing changed after all are left out.

A key with more than ``max_points`` instants is kept at the smallest step of 1 s, 10 s, 1 m, 10 m, 1 h and 1 d that
needs no more (1 d may): its value at T is then the exact one at the last multiple of the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlforge.online.packed_values import ALWAYS, MISSING, pack, pack_points
from mlforge.publishing.layout import key_sql
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

    from mlforge.publishing.layout import Layout

BEFORE = 600_000_000  # microseconds before the publish that can be read
STEPS = (1_000_000, 10_000_000, 60_000_000, 600_000_000, 3_600_000_000, 86_400_000_000)
BATCH = 100_000  # about so many points are computed at once
FETCH = 5_000
CHANGED = "_mlforge_changed"

Item = tuple[str, bytes | None]


def find_changed(
    con: DuckDBPyConnection, layout: Layout, old: int | None, max_points: int
) -> list[tuple[int, int, int]]:
    """Note the keys that differ from PATCH ``old`` (None: all keys), in batches: number, keys to write, keys gone."""
    if layout.f.patch is None:
        raise ValueError("a published feature is bound to a PATCH")
    con.execute(sql("online/changed", f=layout.f, table=CHANGED, old=old, most=max_points, size=BATCH))
    return list(con.execute(sql("online/batches", table=CHANGED)).fetchall())


def batch(con: DuckDBPyConnection, layout: Layout, number: int, start: int, max_points: int) -> Iterator[Item]:
    """The keys of one batch with their packed points; None for a key that is gone.

    ``start``: microseconds since the epoch, the first instant that can be read."""
    key = key_sql(layout.f.c)
    if layout.f.c.kind == "static":
        query = sql(
            "online/static", f=layout.f, table=CHANGED, key=key, batch=number, always=ALWAYS, stored=layout.stored
        )
    else:
        query = sql(
            "online/points",
            f=layout.f,
            latest=layout.latest,
            expired=layout.expired,
            table=CHANGED,
            key=key,
            batch=number,
            start=start,
            steps=STEPS,
            most=max_points,
            stored=layout.stored,
        )
    yield from _packed(_rows(con, query))
    for (name,) in _rows(con, sql("online/gone", f=layout.f, table=CHANGED, key=key, batch=number)):
        yield name, None


def _rows(con: DuckDBPyConnection, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows in portions. The connection is busy until the last one."""
    con.execute(query)
    while rows := con.fetchmany(FETCH):
        yield from rows


def _packed(rows: Iterator[tuple[Any, ...]]) -> Iterator[Item]:
    """Rows of (name, instant, step, event time, state, columns ...), those of a name together, as points."""
    name: str | None = None
    times: list[int] = []
    values: list[bytes] = []
    last, step = b"", 0
    for row in rows:
        value = pack(row[3:])
        if row[0] != name:
            if name is not None:
                yield name, pack_points(times, values, step)
            name, step, times, values = row[0], row[2], [row[1]], [value]
        elif value != last:
            times.append(row[1])
            values.append(value)
        last = value
    if name is not None:
        yield name, pack_points(times, values, step)


def empty(con: DuckDBPyConnection, layout: Layout) -> bytes:
    """The packed values where no row of the key is known."""
    if not layout.empties:
        return pack((None, MISSING))
    trees = {s.name: s.tree for s in layout.stored}
    row = con.execute(sql("online/empty", outputs=layout.empties, trees=trees)).fetchall()[0]
    return pack((None, MISSING, *row))
