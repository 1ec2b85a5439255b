"""Label rows to verify with: some of those given, or keys and times of a feature's rows and of its sources.

One seed, one sample."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from mlforge.model import SOURCE_SCHEMA, Version
from mlforge.retrieve.labels import arrow
from mlforge.sql.templates import ident, sql
from mlforge.verify.cutoffs import carried, cuts, key_columns
from mlforge.warehouses.duckdb import CURRENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from mlforge.model import StoredVersion
    from mlforge.verify.cutoffs import Cut
    from mlforge.verify.engine import Engine
    from mlforge.verify.result import VerifyOptions

DAY = 86_400_000_000
INSTANTS = 100
"""Label rows that are made for a feature whose sources must be cut for each of them by itself."""
MOST_LABELS, MOST_QUERIES, MOST_ROWS = 200_000, 5_000, 200_000_000
"""What ``all`` may cost, which is about a minute: label rows; runs of SQL that is run for each instant by itself; and
source rows, each counted for every instant."""


def pick(table: pa.Table, sample: int, seed: int) -> pa.Table:
    """Up to ``sample`` rows of a table, in order."""
    import pyarrow as pa

    if sample >= table.num_rows:
        return table
    return table.take(pa.array(sorted(random.Random(seed).sample(range(table.num_rows), sample)), pa.int64()))


def own_labels(
    con: DuckDBPyConnection, own: Engine, stored: StoredVersion, options: VerifyOptions
) -> tuple[pa.Table | None, list[str]]:
    """Label rows for a feature by itself, and why they are fewer than were asked for. None if no feature that an
    on-demand one reads has all of its keys."""
    keys = {k.name for k in stored.compiled.keys}
    if stored.compiled.kind == "on_demand":
        read = [own.state.features[r.feature].get(Version.parse(r.version)) for r in stored.compiled.refs]
        whole = [v for v in read if keys <= {k.name for k in v.compiled.keys}]
        timed = [v for v in whole if v.compiled.timestamp]
        return own_labels(con, own, (timed or whole)[0], options) if whole else (None, [])
    cut = cuts(stored, own.project, {n: own.source(n) for n in stored.definition.sources})
    sources = [c for c in cut.values() if c.column]
    one_by_one = carried(stored.compiled.event_sql, cut) is None
    reasons = []
    if options.all:
        table, why = _every_label(own, stored, sources, one_by_one=one_by_one)
        if table is not None:
            return table, []
        reasons += [why] if why else []
    sample = min(options.sample, INSTANTS) if one_by_one else options.sample
    return _drawn(con, own, stored, sources, sample, options.seed), reasons


# -- a sample


def _drawn(
    con: DuckDBPyConnection, own: Engine, stored: StoredVersion, sources: list[Cut], sample: int, seed: int
) -> pa.Table:
    """Up to half of a sample from the sources, the rest from the feature's rows."""
    import pyarrow as pa

    known = [_known_labels(con, own, stored, c, sample // 2 // len(sources), seed) for c in sources]
    rows = stored_labels(con, stored, sample - sum(t.num_rows for t in known), seed)
    if stored.compiled.timestamp is None:
        rows = _with_times(own, rows, sources, seed)
    return pa.concat_tables([*(t.select(rows.column_names).cast(rows.schema) for t in known), rows])


def _known_labels(
    con: DuckDBPyConnection, own: Engine, stored: StoredVersion, cut: Cut, sample: int, seed: int
) -> pa.Table:
    """Labels where a row of the key becomes known, and just before the next one does: there a row that vanished was.

    A source that does not have the keys gives the times, and the feature's rows the keys."""
    keys = _keys_in(own, stored, cut)
    text = sql("verify/known_labels", cut=cut, relation=_source(cut.source), keys=keys, limit=sample, seed=seed)
    found = arrow(own.con, text)
    if keys:
        return found
    rows = _stored_keys(con, stored, found.num_rows, seed)
    return rows.append_column("label_time", found["label_time"].slice(0, rows.num_rows))


def _source(name: str) -> str:
    return f"{ident(SOURCE_SCHEMA)}.{ident(name)}"


def _keys_in(own: Engine, stored: StoredVersion, cut: Cut) -> list[tuple[str, str, str]]:
    """The key columns in a source: name in the feature, in the source, and type. Nothing if it has not all of them."""
    columns = {c.lower(): c for c in own.source(cut.source)}
    names = key_columns(stored, cut.source)
    found = [
        (k.name, next((columns[n.lower()] for n in names[k.name] if n.lower() in columns), None), k.type)
        for k in stored.compiled.keys
    ]
    return [(name, column, kind) for name, column, kind in found if column] if all(c for _, c, _ in found) else []


def _with_times(own: Engine, table: pa.Table, sources: Iterable[Cut], seed: int) -> pa.Table:
    """Label rows of a static feature with a time each, from the times of its sources."""
    import pyarrow as pa

    spans = [own.con.execute(sql("verify/span", relation=_source(c.source), cut=c)).fetchall()[0] for c in sources]
    known = [s for s in spans if s[0] is not None]
    low, high = (min(s[0] for s in known), max(s[1] for s in known)) if known else (0, DAY)
    dice = random.Random(seed)
    times = [dice.randrange(low, high + DAY) for _ in range(table.num_rows)]
    return table.append_column("label_time", pa.array(times, pa.timestamp("us")))


def stored_labels(con: DuckDBPyConnection, stored: StoredVersion, sample: int, seed: int) -> pa.Table:
    """Label rows from the rows of a version: keys and, of timed features, ``label_time``.

    Times lie where a row is just not known, just known, within its windows, and where it leaves them."""
    timed = stored.compiled.timestamp is not None
    shifts = _shifts(stored) if timed else [0]
    count = _numbers(con, stored) * len(shifts)
    places = random.Random(seed).sample(range(count), min(2 * sample, count))  # some rows may be of other PATCHes
    return _of_rows(con, stored, [(p // len(shifts), shifts[p % len(shifts)]) for p in places], sample, timed=timed)


def _stored_keys(con: DuckDBPyConnection, stored: StoredVersion, sample: int, seed: int) -> pa.Table:
    """Keys of a version's rows, some of them more than once."""
    count = _numbers(con, stored)
    numbers = random.Random(seed).choices(range(count), k=2 * sample) if count else []
    return _of_rows(con, stored, [(n, 0) for n in numbers], sample, timed=False)


def _numbers(con: DuckDBPyConnection, stored: StoredVersion) -> int:
    """The numbers of the rows of a version lie below this."""
    table = f"store.{ident(stored.compiled.table)}"
    return int(con.execute(f"SELECT coalesce(max(rowid) + 1, 0) FROM {table}").fetchall()[0][0])


def _of_rows(
    con: DuckDBPyConnection, stored: StoredVersion, places: list[tuple[int, int]], limit: int, *, timed: bool
) -> pa.Table:
    """Label rows from those with a number, each moved by so much."""
    text = sql(
        "verify/sample_rows",
        keys=[k.name for k in stored.compiled.keys],
        timed=timed,
        table=f"store.{ident(stored.compiled.table)}",
        patch=stored.version.patch,
        limit=limit,
        numbers=[number for number, _ in places],
        shifts=[shift for _, shift in places],
    )
    return arrow(con, text)


def _shifts(stored: StoredVersion) -> list[int]:
    """How far from a stored row's time labels are put, in microseconds."""
    compiled = stored.compiled
    if compiled.interval:
        step = compiled.interval.micros or 30 * DAY * compiled.interval.months
        return [0, step // 2, step - 1, -1, step]
    lengths = {a.window for a in compiled.aggregates} | {compiled.ttl}
    found = sorted(d.micros or 30 * DAY * d.months for d in lengths if d) or [DAY]
    return [_delay(stored) + x for w in found for x in (0, 1, w // 2, w, w + 1, -1)]


def _delay(stored: StoredVersion) -> int:
    """How long after its time a stored row is known; snapshots lie where they are known."""
    return 0 if stored.compiled.interval else stored.compiled.delay.micros or 0


# -- all


def _every_label(
    own: Engine, stored: StoredVersion, sources: list[Cut], *, one_by_one: bool
) -> tuple[pa.Table | None, str]:
    """Every key with every instant at which a row of a source or of the feature becomes known, and a microsecond before
    the next one; None, and why, if these are too many."""
    own.warehouse.attach_catalog(own.project.warehouse.path)
    keys, instants = own.name("keys"), own.name("instants")
    read = [(c, _source(c.source), _keys_in(own, stored, c)) for c in sources]
    context = {
        "sources": read,
        "table": f"{ident(CURRENT)}.store.{ident(stored.compiled.table)}",
        "delay": _delay(stored),
        "patch": stored.version.patch,
        "timed": stored.compiled.timestamp is not None,
        "keys": [k.name for k in stored.compiled.keys],
    }
    own.con.execute(sql("verify/every_key", name=keys, **context))
    own.con.execute(sql("verify/every_instant", name=instants, **context))
    whole = [_source(n) for n in stored.definition.sources]
    size = sql("verify/every_size", keys=keys, instants=instants, relations=whole)
    many, often, rows = own.con.execute(size).fetchall()[0]
    if not often:
        return None, ""
    if why := _too_many(many * often, often if one_by_one else 0, rows * often):
        found = f"{many:,} keys at {often:,} instants are {many * often:,} label rows"
        return None, f"a sample was taken, as {found}: {why}"
    return arrow(own.con, f"FROM {ident(keys)} CROSS JOIN {ident(instants)} ORDER BY ALL"), ""


def _too_many(labels: int, queries: int, rows: int) -> str | None:
    if labels > MOST_LABELS:
        return f"no more than {MOST_LABELS:,} are tried"
    if queries > MOST_QUERIES:
        return f"its SQL is run for each instant, and for no more than {MOST_QUERIES:,}"
    return f"they look at {rows:,} source rows, and no more than {MOST_ROWS:,} are" if rows > MOST_ROWS else None
