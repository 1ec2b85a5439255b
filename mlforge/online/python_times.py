"""Dates and times between DuckDB and Python, which has no infinite ones, no years but 1 to 9999 and no nanoseconds.

Stores hold them as text with all digits. A reader gets Python's own, nanoseconds floored to the microsecond; a time
that Python does not have stays text, as DuckDB writes it: ``infinity``, ``12026-01-01 00:00:00``."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMES: dict[str, Any] = {
    "date": datetime.date,
    "time": datetime.time,
    "timestamp": datetime.datetime,
    "nanos": datetime.datetime,
}
ENDLESS = 2**63 - 1
"""Microseconds that stand for infinity, as in DuckDB; less than none for the past."""

_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_DIGITS = len("2024-03-01 09:00:00.123456")
_CYCLE = datetime.datetime(2400, 1, 1) - datetime.datetime(2000, 1, 1)  # after which the calendar repeats itself
_FAR = re.compile(r"(\d+)(-\d\d-\d\d)( \(BC\))?(?:[ T](.*))?")


def holds(tree: Any, kinds: Sequence[str] = tuple(TIMES)) -> bool:
    """Whether values of a type tree are times, or have some in them."""
    if isinstance(tree, str):
        return tree in kinds
    kind, inner = tree
    if kind == "list":
        return holds(inner, kinds)
    return any(holds(part, kinds) for part in (inner if kind == "map" else (child for _, child in inner)))


def as_texts(tree: Any) -> Any:
    """The tree with text for times."""
    if isinstance(tree, str):
        return "text" if tree in TIMES else tree
    kind, inner = tree
    if kind == "list":
        return [kind, as_texts(inner)]
    return [kind, [as_texts(p) for p in inner] if kind == "map" else [[n, as_texts(p)] for n, p in inner]]


def timely(value: Any, tree: Any) -> Any:
    """A value in which times may be text, with Python's own where it has them."""
    if value is None:
        return None
    if isinstance(tree, str):
        return _python(value, tree) if tree in TIMES and isinstance(value, str) else value
    kind, inner = tree
    if kind == "list":
        return [timely(v, inner) for v in value]
    if kind == "map":
        return {timely(k, inner[0]): timely(v, inner[1]) for k, v in value.items()}
    return {name: timely(value[name], child) for name, child in inner}


def _python(text: str, kind: str) -> Any:
    cut = text[:_DIGITS] if kind == "nanos" else text
    try:
        return msgspec.convert(cut, TIMES[kind])
    except msgspec.ValidationError:
        return text


def instant(value: datetime.datetime | str) -> int:
    """Microseconds since the epoch of a time without zone, or of the text of one that Python does not have."""
    if isinstance(value, datetime.datetime):
        return (value - _EPOCH) // _MICROSECOND
    found = _FAR.fullmatch(value)
    if found is None:
        return -ENDLESS if value.startswith("-") else ENDLESS
    year = 1 - int(found[1]) if found[3] else int(found[1])
    cycles = (year - 2000) // 400
    near = msgspec.convert(f"{year - 400 * cycles:04}{found[2]} {found[4]}", datetime.datetime)
    return (near - _EPOCH) // _MICROSECOND + _CYCLE // _MICROSECOND * cycles


def said(at: int) -> datetime.datetime | str:
    """The time of an instant; as DuckDB's text where Python has none."""
    if abs(at) == ENDLESS:
        return "infinity" if at > 0 else "-infinity"
    try:
        return _EPOCH + at * _MICROSECOND
    except OverflowError:
        year, near = far(at)
        day = f"{year if year > 0 else 1 - year:04}{near:-%m-%d}{'' if year > 0 else ' (BC)'}"
        return f"{day} {near.time().isoformat()}".rstrip("0") if near.microsecond else f"{day} {near:%H:%M:%S}"


def far(at: int) -> tuple[int, datetime.datetime]:
    """The year of an instant, and the instant in a year with the same calendar that Python has."""
    cycles, rest = divmod(at - (datetime.datetime(2000, 1, 1) - _EPOCH) // _MICROSECOND, _CYCLE // _MICROSECOND)
    near = datetime.datetime(2000, 1, 1) + rest * _MICROSECOND
    return near.year + 400 * cycles, near
