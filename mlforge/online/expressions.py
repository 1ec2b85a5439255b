"""``as_of()`` in a select list: such a value changes at every instant, so what is stored are the aggregates and row
columns it is made of, and the expression is published with them.

A small set of expressions is evaluated right here, bit for bit as DuckDB does: as_of(), columns, whole numbers and
DOUBLE literals, date_diff of units from microsecond to day, month, quarter and year, epoch_us and epoch, ``+ - * /``,
coalesce and nullif, over BIGINT, DOUBLE and TIMESTAMP. Any other one needs DuckDB (client.py, extra ``online-sql``).

An expression is a tree of lists: ``["diff", "hour", ["col", 0], ["at"]]``. NULL makes all but coalesce
NULL."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlforge.online.python_times import ENDLESS, far, instant, said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNITS = {
    "microsecond": 1,
    "millisecond": 1000,
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
}
CALENDAR = {"month": 1, "quarter": 3, "year": 12}


def evaluate(tree: Sequence[Any], row: Sequence[Any], at: int) -> Any:
    """The value of an expression over stored columns at an instant, in microseconds. Timestamps come as datetimes, or
    as text where Python has none."""
    result = _value(tree, row, at)
    return said(result.at) if isinstance(result, _Time) else result


class _Time:
    """An instant within an expression."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        self.at = at


def _value(tree: Sequence[Any], row: Sequence[Any], at: int) -> Any:
    kind = tree[0]
    if kind == "at":
        return _Time(at)
    if kind == "lit":
        return tree[1]
    if kind == "col":
        return row[tree[1]]
    if kind == "time":
        value = row[tree[1]]
        return None if value is None else _Time(instant(value))
    if kind == "coalesce":
        return next((v for t in tree[1] if (v := _value(t, row, at)) is not None), None)
    values = [_value(t, row, at) for t in tree[-1]]
    if kind == "nullif":
        left, right = values
        return None if left is not None and right is not None and left == right else left
    if any(v is None for v in values):
        return None
    if any(isinstance(v, _Time) and abs(v.at) == ENDLESS for v in values):
        return None
    if kind == "diff":
        return _diff(tree[1], values[0].at, values[1].at)
    return _OPERATIONS[kind](*values)


def _diff(unit: str, start: int, end: int) -> int:
    """Boundaries of the unit between two instants."""
    if unit in UNITS:
        return end // UNITS[unit] - start // UNITS[unit]
    return _months(end) // CALENDAR[unit] - _months(start) // CALENDAR[unit]


def _months(at: int) -> int:
    year, then = far(at)
    return year * 12 + then.month - 1


def _divided(a: float, b: float) -> float:
    a, b = float(a), float(b)
    if b:
        return a / b
    return math.nan if not a or a != a else math.copysign(math.inf, a) * math.copysign(1, b)  # noqa: PLR0124


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "us": lambda t: t.at,
    "s": lambda t: t.at / 1_000_000,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divided,
    "neg": lambda a: -a,
}
