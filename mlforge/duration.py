"""Lengths of time, and instants, as users write them."""

from __future__ import annotations

import datetime
import re
from typing import Literal

from msgspec import Struct

Unit = Literal["s", "m", "h", "d", "w", "mo", "y"]

_FIXED_MICROS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
_DURATION = re.compile(r"([1-9][0-9]*)\s*(s|m|h|d|w|mo|y)", re.IGNORECASE)


class Duration(Struct, frozen=True, order=False):
    """A length of time: fixed (s, m, h, d, w) or by the calendar (mo, y)."""

    n: int
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read ``7d``, ``24h``, ``3mo``, or ``0s``. Raises ValueError with the accepted form."""
        text = text.strip()
        if re.fullmatch(r"0\s*(s|m|h|d|w)", text, re.IGNORECASE):
            return cls(0, "s")
        match = _DURATION.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is not a duration: write a number and one of s, m, h, d, w, mo, y, as in 7d")
        return cls(int(match[1]), match[2].lower())  # type: ignore[arg-type]

    @property
    def micros(self) -> int | None:
        """Length in microseconds, or None for months and years."""
        return None if self.unit in ("mo", "y") else self.n * _FIXED_MICROS[self.unit]

    @property
    def months(self) -> int:
        """Length in months; 0 for fixed lengths."""
        return {"mo": 1, "y": 12}.get(self.unit, 0) * self.n

    def __str__(self) -> str:
        return f"{self.n}{self.unit}"


def period_of(format_: str) -> Duration:
    """How long the period at most is that text names which is read by a format of strptime: a day, a month, a year;
    none for text with a time of day."""
    text = format_.replace("%%", "")
    if re.search("%-?[HIpMSfgncX]", text):
        return Duration(0, "s")
    if re.search("%-?[djx]", text) or (re.search("%[UWV]", text) and re.search("%[uwaA]", text)):
        return Duration(1, "d")
    if re.search("%[UWV]", text):
        return Duration(7, "d")
    return Duration(31 if re.search("%-?[mbBh]", text) else 366, "d")


def in_utc(at: datetime.datetime) -> datetime.datetime:
    """An instant without a zone, in UTC; without a zone it is in UTC. Raises ValueError beyond the years 1 to 9999."""
    if at.tzinfo is None:
        return at
    try:
        return at.astimezone(datetime.UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError(f"{at} is not an instant of the years 1 to 9999, UTC") from None
