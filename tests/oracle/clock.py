"""Time as integer microseconds since 1970-01-01 UTC: going back by a duration, and boundaries of intervals."""

from __future__ import annotations

import datetime as dt
import re
from functools import cache
from zoneinfo import ZoneInfo

EPOCH = dt.datetime(1970, 1, 1)
MICRO = dt.timedelta(microseconds=1)
SECOND = 1_000_000
FIXED = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86400 * SECOND, "w": 604800 * SECOND}
MONTHS = {"mo": 1, "y": 12}
HOUR = FIXED["h"]
MONDAY = dt.date(1969, 12, 29)  # of the week that holds the epoch


def us(text: str) -> int:
    """Microseconds of an ISO 8601 text without zone, read as UTC."""
    return (dt.datetime.fromisoformat(text) - EPOCH) // MICRO


def moment(micros: int) -> dt.datetime:
    """The naive UTC datetime of so many microseconds."""
    return EPOCH + dt.timedelta(microseconds=micros)


def duration(text: str) -> tuple[int, str]:
    """``7d`` as (7, "d")."""
    match = re.fullmatch(r"(\d+)(s|m|h|d|w|mo|y)", text)
    assert match, text
    return int(match[1]), match[2]


def minus(at: int, length: str) -> int:
    """The instant that lies ``length`` before ``at``.

    Months: the same day and time so many months earlier or, where that day does not exist, the first instant of the
    month after."""
    n, unit = duration(length)
    if unit in FIXED:
        return at - n * FIXED[unit]
    then = moment(at)
    month = then.year * 12 + then.month - 1 - n * MONTHS[unit]
    try:
        back = then.replace(year=month // 12, month=month % 12 + 1)
    except ValueError:
        month += 1
        back = dt.datetime(month // 12, month % 12 + 1, 1)
    return (back - EPOCH) // MICRO


def boundary(at: int, interval: str, zone: str | None = None) -> int:
    """The last boundary of ``interval`` that is not after ``at``.

    A day begins once, where its midnight is first shown. So a clock that is put back over midnight, and shows the day
    before once more, does not end a day that has begun."""
    n, unit = duration(interval)
    if unit in ("s", "m", "h"):
        return at // (n * FIXED[unit]) * (n * FIXED[unit])
    day = moment(at).date()
    around = (day + dt.timedelta(days=more) for more in (2, 1, 0, -1, -2, -3))
    begun = next(day for day in around if midnight(day, zone) <= at)
    return midnight(_first_day(begun, n, unit), zone)


def _first_day(day: dt.date, n: int, unit: str) -> dt.date:
    if unit in MONTHS:
        step = n * MONTHS[unit]
        month = ((day.year - 1970) * 12 + day.month - 1) // step * step
        return dt.date(1970 + month // 12, month % 12 + 1, 1)
    origin = MONDAY if unit == "w" else EPOCH.date()
    step = n * (7 if unit == "w" else 1)
    return origin + dt.timedelta(days=(day - origin).days // step * step)


def shown(at: int, zone: str) -> int:
    """What a clock of that zone shows, as microseconds."""
    local = moment(at).replace(tzinfo=dt.UTC).astimezone(ZoneInfo(zone))
    return (local.replace(tzinfo=None) - EPOCH) // MICRO


@cache
def midnight(day: dt.date, zone: str | None) -> int:
    """The first instant at which a clock shows the midnight that begins a day; where it never does, the instant at
    which it would have, had it not been put forward."""
    wall = (dt.datetime.combine(day, dt.time()) - EPOCH) // MICRO
    if zone is None:
        return wall
    offsets = [shown(at, zone) - at for at in range(wall - 20 * HOUR, wall + 20 * HOUR, HOUR)]
    shows = [wall - offset for offset in offsets if shown(wall - offset, zone) == wall]
    return min(shows, default=wall - offsets[0])
