"""Retrieved values beside recomputed ones, and for those that differ: which rows may have come in that must not."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import TYPE_CHECKING, Any

from mlforge.model import SOURCE_SCHEMA
from mlforge.sql.alike import how
from mlforge.sql.physical import FLOATS
from mlforge.sql.templates import ident, sql
from mlforge.verify.recompute import Bounds, Case, stated
from mlforge.verify.result import Mismatch, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlforge.model import Closed, Output
    from mlforge.sql.alike import How
    from mlforge.verify.cutoffs import Cut

SHOWN = 20
"""Mismatches of a feature that are listed."""
EXPLAINED = 5
"""Labels of a feature whose mismatches are explained: each takes recomputing under other bounds."""
ROWS = 5
SHARE = 1e-9  # of the size of the numbers: two ways of summing floats
SHARE_OF_FLOAT = 1e-6  # in single precision
_EPOCH = datetime.datetime(1970, 1, 1)


@dataclass(frozen=True)
class Compared:
    """An output column: its name and number in the feature, its name in the result, its type, by what share of its
    size it may differ, and how equal values of it are told apart."""

    name: str
    shown: str
    number: int
    type: str
    share: float
    alike: How | None = None

    @property
    def size(self) -> str:
        """The column that holds the size."""
        return f"_mlforge_size{self.number}"


@dataclass(frozen=True)
class Difference:
    """One value that differs."""

    n: int
    column: Compared
    retrieved: Any
    recomputed: Any


def compared(case: Case, columns: Sequence[tuple[str, str]]) -> list[Compared]:
    """The columns to compare; ``columns`` pairs an output with its name in the result."""
    numbers = {o.name: n for n, o in enumerate(case.f.outputs)}
    outputs = case.f.outputs
    return [_compared(case, name, shown, numbers[name], outputs[numbers[name]]) for name, shown in columns]


def _compared(case: Case, name: str, shown: str, number: int, output: Output) -> Compared:
    """A column is the same to the last bit where it is copied from one row. Elsewhere floats may differ a little, and
    0.0 may be -0.0."""
    words = set(re.findall(r"\w+", output.sql))
    summed = any(a.name in words for a in case.f.aggregates)
    if not summed and case.f.kind != "on_demand" and case.row_wise and not case.stored.definition.refs:
        return Compared(name, shown, number, output.type, 0.0, how(output.type))
    share = SHARE if output.type == "DOUBLE" else SHARE_OF_FLOAT
    return Compared(name, shown, number, output.type, share if output.type in FLOATS else 0.0)


def differences(
    case: Case, relation: str, values: str, columns: Sequence[Compared], only: Sequence[int] = ()
) -> list[Difference]:
    """Every value of ``relation``, the retrieved rows, that is not the recomputed one."""
    labels = [str(n) for n in only]
    rows = case.con.execute(
        sql("verify/compare", relation=relation, values=values, columns=columns, only=labels)
    ).fetchall()
    return [
        Difference(row[0], c, row[3 * i + 2], row[3 * i + 3])
        for row in rows
        for i, c in enumerate(columns)
        if row[3 * i + 1]
    ]


def explained(case: Case, relation: str, found: Sequence[Difference], columns: Sequence[Compared]) -> list[Mismatch]:
    """The first differences as mismatches, those of the first labels with the rows that may be the reason."""
    first = found[:SHOWN]
    labels = list(dict.fromkeys(d.n for d in first))
    looked_at = [n for n in labels[:EXPLAINED] if case.f.kind != "on_demand"]
    reasons = _reasons(case, relation, [d for d in first if d.n in looked_at], columns) if looked_at else {}
    places = _places(case, labels)
    return [_mismatch(case, d, places.get(d.n), reasons.get((d.n, d.column.number)), d.n in looked_at) for d in first]


@dataclass(frozen=True)
class _Place:
    key: Row
    at: int
    now: int
    until: int


def _places(case: Case, labels: Sequence[int]) -> dict[int, _Place]:
    """Key, time and end of the labels that have a key and a time."""
    limits = case.engine.name("bounds")
    case.con.execute(
        sql(
            "verify/bounds",
            name=limits,
            c=case,
            b=stated(case.stored),
            labels=case.labels,
            only=[str(n) for n in labels],
        )
    )
    rows = case.con.execute(sql("verify/places", bounds=limits, keys=case.keys)).fetchall()
    return {n: _Place(dict(zip(case.keys, key, strict=True)), *times) for n, *times, key in map(_split, rows)}


def _split(row: Sequence[Any]) -> tuple[Any, ...]:
    return (*row[:4], row[4:])


def _late(cut: Cut) -> str:
    after = [f"{cut.delay} after {cut.column}"] if cut.micros else []
    after += [f"known: {', '.join(column for column, _ in cut.known)}"] if cut.known else []
    return f"become known after the label's time ({'; '.join(after)})" if after else "lie after the label's time"


def _other_bounds(case: Case) -> Iterator[tuple[str, Bounds]]:
    """What may have gone wrong, one thing at a time."""
    b = stated(case.stored)
    other: Closed = "right" if b.closed == "left" else "left"
    timed = [name for name, c in case.cuts.items() if c.column]
    for name in timed:
        yield f"rows of source {name} that {_late(case.cuts[name])} have a part in it", changed(b, whole=(name,))
    if len(timed) > 1:
        yield f"rows of {' and '.join(timed)} after the label's time have a part in it", changed(b, whole=tuple(timed))
    if case.f.timestamp is None:
        return
    yield f'an as-of comparison is turned: it is the value of closed="{other}"', changed(b, closed=other)
    if b.delay:
        yield "the delay is ignored", changed(b, delay=0)
    if b.interval:
        yield "it is the value of the interval after", changed(b, step=1)
        yield "it is the value of the interval before", changed(b, step=-1)
        yield "it is the value at the label's own time, not at the interval's boundary", changed(b, interval=None)
    yield "its window does not end at the label's time", changed(b, unbounded=True, cut=False)


def _reasons(
    case: Case, relation: str, found: Sequence[Difference], columns: Sequence[Compared]
) -> dict[tuple[int, int], tuple[str, Bounds]]:
    """For each difference the wrong bounds that give the retrieved value."""
    labels = sorted({d.n for d in found})
    left = {(d.n, d.column.number) for d in found}
    reasons: dict[tuple[int, int], tuple[str, Bounds]] = {}
    for reason, bounds in _other_bounds(case):
        if not left:
            break
        values = case.values(bounds, labels)
        differ = {(d.n, d.column.number) for d in differences(case, relation, values, columns, labels)}
        reasons |= dict.fromkeys(left - differ, (reason, bounds))
        left &= differ
    return reasons


def _mismatch(
    case: Case, d: Difference, place: _Place | None, reason: tuple[str, Bounds] | None, looked_at: bool
) -> Mismatch:
    b = stated(case.stored)
    rows: tuple[Row, ...] = ()
    inside: tuple[Row, ...] = ()
    if looked_at and place is not None:
        after = reason[1] if reason else changed(b, unbounded=True, cut=False)
        rows = _rows(case, after, b, d.n, oldest=reason is None)
        if not case.row_wise:
            rows += _later(case, place, after.whole)
        inside = _rows(case, b, None, d.n)
    return Mismatch(
        feature=case.stored.feature,
        version=str(case.stored.version),
        column=d.column.name,
        label=place.key if place else {},
        at=instant(place.at) if place else None,
        until=instant(place.until) if place else None,
        retrieved=d.retrieved,
        recomputed=d.recomputed,
        reason=reason[0] if reason else None,
        rows=rows,
        inside=inside,
    )


def instant(micros: int) -> datetime.datetime | None:
    """Microseconds since the epoch as a time in UTC, without a zone; None where Python has no such year."""
    try:
        return _EPOCH + datetime.timedelta(microseconds=micros)
    except OverflowError:
        return None


@dataclass(frozen=True)
class _Part:
    """Event rows of one label under some bounds, as the template wants them."""

    c: Case
    b: Bounds
    bounds: str
    rows: str

    @property
    def stamp(self) -> bool:
        """Whether rows carry the time of the source row that they are made of."""
        return self.c.stamped


def _part(case: Case, b: Bounds, n: int) -> _Part:
    limits, rows = case.seen(b, [n])
    return _Part(case.under(b), b, limits, rows)


def _rows(case: Case, shown: Bounds, allowed: Bounds | None, n: int, *, oldest: bool = False) -> tuple[Row, ...]:
    """Event rows that some bounds show to a label, without those that others allow."""
    parts = {"shown": _part(case, shown, n), "allowed": _part(case, allowed, n) if allowed else None}
    text = sql("verify/shown_rows", columns=case.columns, limit=ROWS, oldest=oldest, **parts)
    names = [case.f.timestamp or ""]
    if parts["shown"] is not None and parts["shown"].stamp:
        names += [f"{c.source}.{c.column}" for c in case.cuts.values() if c.column]
    written = {i.name: i.sql for i in (*case.f.inputs, *case.f.rows)}
    names += [written.get(x, x) for x in case.columns]
    rows = case.con.execute(text).fetchall()
    return tuple({k: v for k, v in zip(names, row, strict=True) if k} for row in rows)


def _later(case: Case, place: _Place, names: Sequence[str]) -> tuple[Row, ...]:
    """The first rows of sources after what the label may see."""
    rows: list[Row] = []
    for name in names:
        cut = case.cuts[name]
        columns = case.engine.source(name)
        key = {k: str(v) for k, v in place.key.items() if k in columns}
        if cut.column is None:
            continue
        text = sql(
            "verify/later_rows",
            relation=f"{ident(SOURCE_SCHEMA)}.{ident(name)}",
            cut=cut,
            key=key,
            closed=case.f.closed,
            until=place.now - cut.micros,
            limit=ROWS,
        )
        rows += [{"source": name, **dict(zip(columns, r, strict=True))} for r in case.con.execute(text).fetchall()]
    return tuple(rows)
