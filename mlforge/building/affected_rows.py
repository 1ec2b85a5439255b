"""How far a change of event rows reaches: which rows of a feature's table, which events they are made of, and when
readers see other values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlforge.plan.spans import EVERYTHING, moved
from mlforge.sql.physical import Physical

if TYPE_CHECKING:
    from mlforge.model import Compiled, Duration
    from mlforge.plan.spans import Spans

DAY = 86_400_000_000


def _at_most(length: Duration) -> int:
    """No month has more days than 31."""
    return length.micros if length.micros is not None else length.months * 31 * DAY


def _longest(compiled: Compiled) -> int:
    """The longest time after which a row still counts, windows without an end left out."""
    lengths = [_at_most(d) for d in Physical(compiled, "").lengths]
    months = any(d.months for d in Physical(compiled, "").lengths)
    return max(lengths, default=0) + (31 * DAY if months else 0)  # a row may leave at the first instant of a month


def _slack(compiled: Compiled) -> int:
    """Up to the next boundary, wherever a time zone or the calendar puts it."""
    if compiled.interval is None:
        return 1
    return 1 + _at_most(compiled.interval) + (2 * DAY if compiled.timezone or compiled.interval.months else 0)


def _endless(compiled: Compiled) -> bool:
    return any(a.window is None for a in compiled.aggregates)


def _delay(compiled: Compiled) -> int:
    return compiled.delay.micros or 0


def rows_of(compiled: Compiled, events: Spans) -> Spans:
    """The times of the table's rows that may change with events of these times."""
    if compiled.interval is None:
        return events
    delay = _delay(compiled)
    after = None if _endless(compiled) else delay + _longest(compiled) + _slack(compiled)
    return moved(events, -delay, after)


def events_of(compiled: Compiled, rows: Spans) -> Spans:
    """The times of all events that rows of these times are made of."""
    if compiled.interval is None:
        return rows
    delay = _delay(compiled)
    before = None if _endless(compiled) else delay + _longest(compiled) + _slack(compiled)
    return moved(rows, before, -delay)


def values_of(compiled: Compiled, events: Spans) -> Spans:
    """The instants at which the feature may have another value after events of these times changed."""
    delay = _delay(compiled)
    lasts = (compiled.kind == "plain" or bool(compiled.rows)) and compiled.ttl is None
    after = None if lasts or _endless(compiled) else delay + _longest(compiled) + 2 * _slack(compiled)
    return moved(events, -delay, after)


def window_events_of(compiled: Compiled, events: Spans) -> Spans:
    """The times of all events that exact windows just after events of these times hold."""
    return moved(events, None if _endless(compiled) else _longest(compiled), 0)


def settled(compiled: Compiled, last: int | None) -> int | None:
    """The time up to which no row of an interval feature changes by events after ``last``; None where any row may."""
    return None if last is None or compiled.interval is None or _endless(compiled) else last + _delay(compiled)


def is_short(compiled: Compiled, rows: Spans) -> bool:
    """Whether times of rows reach over so little of the past that most events they are made of may lie before them."""
    if not rows or rows[0][0] is None:
        return False
    first, last = rows[0][0], rows[-1][1]
    return _endless(compiled) or (last is not None and last - first <= 2 * _longest(compiled))


@dataclass(frozen=True)
class Changes:
    """Where a feature differs from its version before: instants with other values, and times of rows of its view."""

    values: Spans = ()
    rows: Spans = ()

    @classmethod
    def of(cls, compiled: Compiled, events: Spans, rows: Spans | None) -> Changes:
        """After events of these times changed; ``rows``: of the table's rows, None if any may have."""
        if rows is None:
            return cls(EVERYTHING, EVERYTHING)
        return cls(values_of(compiled, events), rows)

    @classmethod
    def between(cls, compiled: Compiled, first: int | None, last: int | None) -> Changes:
        """After rows of the table from the first time to the last changed."""
        if first is None or last is None:
            return cls(EVERYTHING, EVERYTHING)
        rows: Spans = ((first, last + 1),)
        # A row at a boundary is the value up to the next one, wherever that is.
        return cls(values_of(compiled, rows) if compiled.interval is None else ((first, None),), rows)
