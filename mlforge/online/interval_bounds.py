"""Interval boundaries in Python, as lib/time.sql.j2 makes them: the last one is ``as_of()`` of interval features."""

from __future__ import annotations

import datetime
from functools import cache
from zoneinfo import ZoneInfo

from mlforge.online.packed_values import micros, moment

_FIXED = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
_MONDAY = -259_200_000_000  # the Monday of the epoch's week
_ENDS = (datetime.MAXYEAR - 1969) * 12  # the first month that no datetime has
_LONG = 400_000_000_000_000_000  # more than ten thousand years


def boundary(at: int, count: int, unit: str, zone: str | None) -> int:
    """The boundary at or before an instant, both in microseconds since the epoch, UTC.

    Intervals of whole days and longer are counted by the wall clock of ``zone``, and begin where it first shows them. A
    clock that is put back over midnight shows the day before once more, though the day after has begun."""
    zone = zone if unit in ("d", "w", "mo", "y") else None
    local = _local(at, zone)
    if zone is None or local is None:
        return _multiple(at, count, unit)
    firsts = (_utc(_multiple(local, count, unit, more), zone) for more in (1, 0, -1))
    return next(first for first in firsts if first <= at)


def _multiple(local: int, count: int, unit: str, more: int = 0) -> int:
    """The multiple of an interval at or before a wall clock, plus some."""
    if unit in ("mo", "y"):
        months = count * (12 if unit == "y" else 1)
        then = moment(local)
        if then is None:
            return local
        number = (then.year - 1970) * 12 + then.month - 1
        number += more * months - number % months
        if number >= _ENDS:
            return local + _LONG
        return micros(datetime.datetime(1970 + number // 12, number % 12 + 1, 1))
    step, shift = count * _FIXED[unit], _MONDAY if unit == "w" else 0
    return local - (local - shift) % step + more * step


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _local(at: int, zone: str | None) -> int | None:
    then = moment(at)
    if zone is None or then is None:
        return None
    return micros(then.replace(tzinfo=datetime.UTC).astimezone(_zone(zone)).replace(tzinfo=None))


def _utc(local: int, zone: str) -> int:
    """A wall clock that shows a time twice means the first; one that skips it, what the clock before would show."""
    then = moment(local)
    return local if then is None else micros(then.replace(tzinfo=_zone(zone), fold=0))
