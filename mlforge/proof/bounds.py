"""How far an instant computed from a column can be from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_FIXED = {"MICROSECOND": 1, "MILLISECOND": 1000, "SECOND": _SECOND, "MINUTE": 60 * _SECOND, "HOUR": 3600 * _SECOND}
_FIXED |= {"DAY": _DAY, "WEEK": 7 * _DAY}
#: The longest and the shortest that a unit of the calendar can be.
_CALENDAR = {"MONTH": (28 * _DAY, 31 * _DAY), "QUARTER": (89 * _DAY, 92 * _DAY), "YEAR": (365 * _DAY, 366 * _DAY)}
_INSTANTS = ("timestamp", "timestampntz", "timestamptz", "timestamp_ns")


@dataclass(frozen=True)
class Bound:
    """An expression that lies between ``column + low`` and ``column + high``, in microseconds.

    ``period``: it is the start of the period of that unit which the instant is in, moved by nothing since."""

    column: exp.Column
    low: int = 0
    high: int = 0
    period: str | None = None


def bound(node: exp.Expression) -> Bound | None:
    """Where an instant lies, seen from the one column that it is made of; None if it is made in another way."""
    from sqlglot import exp

    if isinstance(node, exp.Column):
        return Bound(node)
    if isinstance(node, exp.Paren):
        return bound(node.this)
    if isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast):
        return _cast(node)
    if isinstance(node, exp.AtTimeZone):
        utc = isinstance(node.args.get("zone"), exp.Literal) and node.args["zone"].name.upper() == "UTC"
        return bound(node.this) if utc else None
    if isinstance(node, (exp.Add, exp.Sub)) and isinstance(node.expression, exp.Interval):
        return _moved(bound(node.this), node.expression, back=isinstance(node, exp.Sub))
    if isinstance(node, (exp.TimestampTrunc, exp.DateTrunc)):
        return _start(bound(node.this), str(node.args["unit"].name).upper())
    if isinstance(node, exp.DateBin) and isinstance(node.this, exp.Interval) and len(_given(node)) == 2:
        length = lengths(node.this)
        inner = bound(node.expression) if length else None
        return inner and length and replace(inner, low=inner.low - length[1], period=None)
    if isinstance(node, exp.LastDay) and not node.args.get("unit"):
        inner = bound(node.this)
        return inner and replace(inner, low=inner.low - _DAY, high=inner.high + 31 * _DAY, period=None)
    return None


def _given(node: exp.Expression) -> list[object]:
    return [value for value in node.args.values() if value]


def _cast(node: exp.Cast) -> Bound | None:
    inner = bound(node.this)
    if node.to.expressions:
        return None  # TIMESTAMP(0) rounds, up too
    if inner is not None and node.to.is_type("date"):
        return replace(inner, low=inner.low - _DAY, period="DAY" if inner.low == inner.high == 0 else None)
    return inner if node.to.is_type(*_INSTANTS) else None


def _start(inner: Bound | None, unit: str) -> Bound | None:
    longest = _FIXED.get(unit) or _CALENDAR.get(unit, (0, 0))[1]
    if inner is None or not longest:
        return None
    return replace(inner, low=inner.low - longest, period=unit if inner.low == inner.high == 0 else None)


def _moved(inner: Bound | None, interval: exp.Interval, *, back: bool) -> Bound | None:
    length = lengths(interval)
    if inner is None or length is None:
        return None
    if back:
        return replace(inner, low=inner.low - length[1], high=inner.high - length[0], period=None)
    if inner.period == unit_of(interval) and length[0] > 0:  # the end of that period, or of a later one
        return replace(inner, low=0, high=inner.high + length[1], period=None)
    return replace(inner, low=inner.low + length[0], high=inner.high + length[1], period=None)


def unit_of(interval: exp.Interval) -> str:
    """The unit of an interval: ``DAY`` of INTERVAL 2 DAYS."""
    unit = interval.args.get("unit")
    return str(unit.name).upper().removesuffix("S") if unit is not None else ""


def lengths(interval: exp.Interval) -> tuple[int, int] | None:
    """The shortest and the longest that an interval of a whole, positive number of units can be, or None."""
    from sqlglot import exp

    if not isinstance(interval.this, exp.Literal) or not interval.this.name.isdigit():
        return None
    count, unit = int(interval.this.name), unit_of(interval)
    if unit in _FIXED:
        return count * _FIXED[unit], count * _FIXED[unit]
    if unit in _CALENDAR:
        shortest, longest = _CALENDAR[unit]
        return count * shortest, count * longest
    return None
