"""Instants as microseconds since the epoch, and lengths of time as people say them."""

from __future__ import annotations

import calendar
import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlforge.model import Duration

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def micros(instant: datetime.datetime) -> int:
    """An instant as microseconds since the epoch; without a zone it is UTC."""
    zoned = instant if instant.tzinfo else instant.replace(tzinfo=datetime.UTC)
    return (zoned - EPOCH) // datetime.timedelta(microseconds=1)


def instant(microseconds: int) -> datetime.datetime:
    """Microseconds since the epoch as a time in UTC, without a zone, as the catalog's tables have them."""
    return (EPOCH + datetime.timedelta(microseconds=microseconds)).replace(tzinfo=None)


def before(at: datetime.datetime, length: Duration) -> datetime.datetime:
    """The instant that lies ``length`` earlier. A day that the month lacks is the first instant of the next month."""
    if length.micros is not None:
        return at - datetime.timedelta(microseconds=length.micros)
    month = at.year * 12 + at.month - 1 - length.months
    year, month = month // 12, month % 12 + 1
    if at.day <= calendar.monthrange(year, month)[1]:
        return at.replace(year=year, month=month)
    return datetime.datetime(year + month // 12, month % 12 + 1, 1, tzinfo=at.tzinfo)


def spoken(seconds: float) -> str:
    """A length of time in its two greatest units: ``3d 4h``, ``12m 5s``, ``0.25s``; ``-2m`` if it is negative."""
    if seconds < 0:
        return f"-{spoken(-seconds)}"
    if seconds < 1:
        return f"{seconds:.3g}s"
    parts: list[str] = []
    left = int(seconds)
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(p for p in parts[:2] if p)
