"""Label rows to verify with: some of those given, or keys and times of the catalog's rows. One seed, one sample."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from mlforge.retrieve.labels import arrow
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from mlforge.model import StoredVersion

DAY = 86_400_000_000


def pick(count: int, sample: int, seed: int) -> list[int]:
    """Up to ``sample`` different numbers below ``count``, in order."""
    if sample >= count:
        return list(range(count))
    return sorted(random.Random(seed).sample(range(count), sample))


def stored_labels(con: DuckDBPyConnection, stored: StoredVersion, sample: int, seed: int) -> pa.Table:
    """Label rows from the rows of a version: keys and, of timed features, ``label_time``.

    Times lie where a row is just not known, just known, within its windows, and where it leaves them."""
    table = f"store.{ident(stored.compiled.table)}"
    count = int(con.execute(f"SELECT coalesce(max(rowid) + 1, 0) FROM {table}").fetchall()[0][0])
    keys, timed = [k.name for k in stored.compiled.keys], stored.compiled.timestamp is not None
    shifts = _shifts(stored) if timed else [0]
    some = min(2 * sample, count * len(shifts))  # some rows may belong to other PATCHes
    places = random.Random(seed).sample(range(count * len(shifts)), some)
    text = sql(
        "verify/sample_rows", keys=keys, timed=timed, table=table, patch=stored.version.patch, limit=sample,
        numbers=[p // len(shifts) for p in places], shifts=[shifts[p % len(shifts)] for p in places],
    )  # fmt: skip
    return arrow(con, text)


def _shifts(stored: StoredVersion) -> list[int]:
    """How far from a stored row's time labels are put, in microseconds."""
    compiled = stored.compiled
    if compiled.interval:
        step = compiled.interval.micros or 30 * DAY * compiled.interval.months
        return [0, step // 2, step - 1, -1, step]
    lengths = {a.window for a in compiled.aggregates} | {compiled.ttl}
    found = sorted(d.micros or 30 * DAY * d.months for d in lengths if d) or [DAY]
    delay = compiled.delay.micros or 0
    return [delay + x for w in found for x in (0, 1, w // 2, w, w + 1, -1)]
