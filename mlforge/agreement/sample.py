"""Keys and instants at which a store is compared with the catalog. One seed, one sample."""

from __future__ import annotations

import datetime
import decimal
import random
import re
import struct
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlforge.agreement.catalog import events, list_names, not_listed, some_names
from mlforge.errors import OnlineError
from mlforge.online.entries import Head, Torn, visible
from mlforge.online.key_decoding import natural
from mlforge.online.key_encoding import _RANGES, encoder
from mlforge.online.published import Table, name
from mlforge.publishing.points import BEFORE, STEPS
from mlforge.verify.sample import DAY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.agreement.targets import Found
    from mlforge.online.published import Key, OnDemand
    from mlforge.sql.physical import Physical
    from mlforge.stores.store import Store

Row = dict[str, Any]
LOOKED_UP = 100_000  # names of a store at once
READ = 2_000


@dataclass(frozen=True)
class Keys:
    """Entity rows. ``known``: whether the catalog has rows of a key; ``extra``: how many the store has beside them."""

    rows: list[Row]
    known: list[bool]
    extra: int = 0


def keys(
    con: DuckDBPyConnection, found: Found, feature: Table | OnDemand, count: int, seed: int, extra: Extra | None
) -> Keys:
    """Keys of a version: some that it has, some that nobody has seen, NULL, and those that only the store has."""
    columns = [k.name for k in feature.keys]
    if not isinstance(feature, Table):
        rows = _of_refs(con, found, columns, count, seed)
        return _with_nulls(columns, rows + [dict(zip(columns, v, strict=True)) for v in _unseen(feature.keys)])
    list_names(con, found.physical)
    names = [natural(n) for n in some_names(con, count, seed)]
    more = extra.names(con, feature) if extra else []
    strangers = [*_still_unseen(con, feature.keys), *more[:count]]
    rows = [dict(zip(columns, values, strict=True)) for values in (*names, *strangers)]
    made = _with_nulls(columns, rows)
    known = [n < len(names) for n in range(len(made.rows))]
    return Keys(made.rows, known, len(more))


def _with_nulls(columns: Sequence[str], rows: list[Row]) -> Keys:
    """With a row that has no key, and one of which only a part is missing."""
    rows = [*rows, dict.fromkeys(columns)]
    if len(columns) > 1:
        rows.append({**rows[0], columns[0]: None})
    return Keys(rows, [True] * len(rows))


def _of_refs(con: DuckDBPyConnection, found: Found, columns: Sequence[str], count: int, seed: int) -> list[Row]:
    """Keys of an on-demand feature: those of what it reads, side by side."""
    sampled = []
    for ref in found.physical.refs:
        if ref.physical.c.kind != "on_demand":
            list_names(con, ref.physical)
            sampled.append((ref.physical.keys, [natural(n) for n in some_names(con, count, seed)]))
    most = max((len(values) for _, values in sampled), default=0)
    rows = []
    for number in range(most):
        row: Row = dict.fromkeys(columns)
        for own, values in reversed(sampled):
            if values:
                row |= zip(own, values[number % len(values)], strict=True)
        rows.append(row)
    return rows


# -- keys that nobody has seen

_FAR = (datetime.date(1000, 2, 28), datetime.date(1969, 12, 31), datetime.date(9998, 12, 31))


def _unseen(columns: Sequence[Key]) -> list[tuple[Any, ...]]:
    """Values that a key may have and hardly has."""
    return list(zip(*(_candidates(k.kind, k.type) for k in columns), strict=True))


def _candidates(kind: str, type_: str) -> list[Any]:
    if kind == "integer":
        low, high = _RANGES[type_]
        return [low, high - 1, high]
    if kind == "decimal":
        width, scale = map(int, re.findall(r"\d+", type_))
        most = decimal.Decimal("9" * width).scaleb(-scale, decimal.Context(prec=width))
        return [-most, decimal.Decimal(0), most]
    if kind == "timestamp":
        return [datetime.datetime.combine(day, datetime.time(23, 59, 59, 999999)) for day in _FAR]
    if kind == "uuid":
        return [uuid.UUID(int=n) for n in (0, 2**127, 2**128 - 1)]
    if kind == "date":
        return list(_FAR)
    return [True, False, True] if kind == "boolean" else ["", "never/seen:before", "n\u00e4her"]


def _still_unseen(con: DuckDBPyConnection, columns: Sequence[Key]) -> list[tuple[Any, ...]]:
    encoders = [encoder(k.kind, k.type) for k in columns]
    named = {b"".join(e(v) for e, v in zip(encoders, values, strict=True)): values for values in _unseen(columns)}
    return [named[n] for n in not_listed(con, named)]


# -- keys that only the store has


@dataclass(frozen=True)
class Extra:
    """Looks through the names of a store."""

    store: Store
    namespace: str
    head: Head

    def names(self, con: DuckDBPyConnection, table: Table) -> list[tuple[Any, ...]]:
        """The keys of a table that readers see and the listed version does not have, sorted."""
        lead = name(self.namespace, "t", table.prefix, "")
        found = {n for portion in _larger(self.store.scan(lead)) for n in self._seen(con, lead, portion)}
        return [values for n in sorted(found) if len(values := _natural(n)) == len(table.keys)]

    def _seen(self, con: DuckDBPyConnection, lead: bytes, portion: Sequence[bytes]) -> Iterator[bytes]:
        """Keys that vanished stay until the grace period is over, and readers see nothing of them."""
        unknown = not_listed(con, [n[len(lead) :] for n in portion])
        for start in range(0, len(unknown), READ):
            names = unknown[start : start + READ]
            for tail, record in zip(names, self.store.read([lead + n for n in names]), strict=True):
                try:
                    shown = visible(record, self.head.generation, self.head.dead) is not None
                except (Torn, struct.error):
                    shown = record is not None
                if shown:
                    yield tail


def _larger(portions: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """Portions put together: each is looked up in all the names of a version."""
    held: list[bytes] = []
    for portion in portions:
        held += portion
        if len(held) >= LOOKED_UP:
            yield held
            held = []
    if held:
        yield held


def _natural(tail: bytes) -> tuple[Any, ...]:
    """The key; nothing for a name that no reader can ask for."""
    try:
        return natural(tail)
    except OnlineError:
        return ()


# -- instants


def instants(
    con: DuckDBPyConnection, found: Found, feature: Table | OnDemand, published: int, now: int, count: int, seed: int
) -> list[int]:
    """The earliest instant that can be read, the publish, now, and ``count`` others: near instants at which rows move,
    and at random as far as the longest window, ttl and delay reach. Microseconds since the epoch."""
    if not found.physical.timed:
        return [now]
    start = max(published - BEFORE, feature.since) if isinstance(feature, Table) else published - BEFORE
    dice = random.Random(seed)
    moves = sorted({t for t in events(con, found, 50 * count + 1, seed) if t >= start})
    some = dice.sample(moves, min(len(moves), count // 2))
    reach = max(_reach(f) for f in (found.physical, *(r.physical for r in found.physical.refs)))
    some += [published + int(reach ** dice.uniform(0.4, 1)) for _ in range(count - len(some))]
    if not isinstance(feature, Table):  # where keys that are kept at a step, whichever it is, are exact
        some += [published + -published % STEPS[-1], now + -now % STEPS[-1]]
    return sorted({start, published, max(now, published), *some})


def _reach(f: Physical) -> int:
    """How long after a publish values change although no row arrives, in microseconds."""
    lengths = [*f.lengths, f.c.delay, *((f.c.interval,) if f.c.interval else ())]
    reach: int = sum(d.micros or 31 * DAY * d.months for d in lengths)
    return max(DAY, reach)
