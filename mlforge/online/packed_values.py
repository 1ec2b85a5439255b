"""A key's values over time, packed, and their types.

What is stored for a key is every instant at which its values change if no new row arrives, and the values from then on.
A reader finds the last instant at or before T by bisection and decodes the values of that one only. msgpack keeps
integers, floats (NaN too), text, lists and structs as they are; dates, timestamps (python_times.py), decimals and UUIDs
travel as text and come back by the column's type, which the manifest tells as a small tree: ``"int"``,
``["list", "int"]``, ``["struct", [["a", "int"]]]``."""

from __future__ import annotations

import datetime
import decimal
import struct
import time
import uuid
from bisect import bisect_right
from struct import Struct
from typing import TYPE_CHECKING, Any, Literal, Optional, TypedDict

import msgspec

from mlforge.duration import in_utc
from mlforge.errors import OnlineError
from mlforge.online.python_times import as_texts, holds, timely

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Status = Literal["PRESENT", "EXPIRED", "MISSING", "OUT_OF_RANGE"]
PRESENT, EXPIRED, MISSING = 0, 1, 2
"""State of one point: there is a row; there is one and its ttl has run out; there is none yet."""

ALWAYS = -(2**63)
"""The first instant of values that do not change with time."""

_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)


class Value(msgspec.Struct, frozen=True):
    """One value and how it came about. ``step`` is the step, in microseconds, at which a key with very many changes is
    kept: the value is the exact one at the last multiple of it; 0 is exact."""

    value: Any
    status: Status
    event_time: datetime.datetime | None
    version: str
    step: int = 0


_FIRST = Struct("<qIq")  # step, number of points, first instant
_INSTANT = Struct("<q").unpack_from
_END = Struct("<I").unpack_from
_TIMES = 12
points_head = _FIRST.unpack_from
pack = msgspec.msgpack.Encoder().encode


def pack_points(times: Sequence[int], values: Sequence[bytes], step: int = 0) -> bytes:
    """Values of one key: ``values[i]`` holds from ``times[i]`` (microseconds since the epoch) on.

    Step and number, little-endian, 64 and 32 bits; the instants, 64 bits each; where each value ends, 32 bits each; the
    values, each packed by itself: event time, state, then the stored columns."""
    ends, at = [], 0
    for value in values:
        at += len(value)
        ends.append(at)
    count = len(times)
    return struct.pack(f"<qI{count}q{count}I", step, count, *times, *ends) + b"".join(values)


def find(payload: bytes, at: int) -> tuple[bytes | None, int]:
    """The packed values at an instant, None before the first point, and the step."""
    step, count, first = points_head(payload)
    if at < first:
        return None, step
    if count == 1:
        return payload[24:], step
    index = bisect_right(range(count), at, key=lambda i: _INSTANT(payload, _TIMES + 8 * i)[0]) - 1
    ends, values = _TIMES + 8 * count, _TIMES + 12 * count
    start = _END(payload, ends + 4 * index - 4)[0] if index else 0
    return payload[values + start : values + _END(payload, ends + 4 * index)[0]], step


def values_of(payload: bytes) -> list[bytes]:
    """The packed values of all instants."""
    _, count, _ = points_head(payload)
    ends = struct.unpack_from(f"<{count}I", payload, _TIMES + 8 * count)
    values = payload[_TIMES + 12 * count :]
    return [values[start:end] for start, end in zip((0, *ends), ends, strict=False)]


_PLAIN: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "text": str,
    "bytes": bytes,
    "date": datetime.date,
    "time": datetime.time,
    "timestamp": datetime.datetime,
    "nanos": str,
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
}


def python_type(tree: Any) -> Any:
    """The Python type of a type tree, NULL allowed at every depth."""
    if isinstance(tree, str):
        return Optional[_PLAIN[tree]]  # noqa: UP045 - X | None of a made type
    kind, inner = tree
    return Optional[_nested(kind, inner)]  # noqa: UP045


def _nested(kind: str, inner: Any) -> Any:
    if kind == "list":
        return list.__class_getitem__(python_type(inner))
    if kind == "map":
        return dict.__class_getitem__((_PLAIN[inner[0]], python_type(inner[1])))
    made: Any = TypedDict  # as a plain call: its fields are known at run time only
    return made("row", {name: python_type(child) for name, child in inner})


def row_decoder(trees: Sequence[Any]) -> msgspec.msgpack.Decoder[tuple[Any, ...]]:
    """Decodes the packed values of one point: event time, state, columns. Nanoseconds come as text.

    Raises msgspec.ValidationError for times that Python does not have."""
    return msgspec.msgpack.Decoder(tuple[(Optional[int], int, *(python_type(tree) for tree in trees))])  # type: ignore[misc]  # noqa: UP045


def patient_decoder(trees: Sequence[Any]) -> Callable[[bytes], tuple[Any, ...]]:
    """As ``row_decoder``, but such times come as text."""
    decode = row_decoder([as_texts(tree) for tree in trees]).decode
    kinds = [tree if holds(tree) and not holds(tree, ("nanos",)) else "text" for tree in trees]

    def decoded(packed: bytes) -> tuple[Any, ...]:
        event, state, *values = decode(packed)
        return event, state, *map(timely, values, kinds)

    return decoded


def micros(at: datetime.datetime | datetime.date | str | None) -> int:
    """An instant as microseconds since the epoch; None is now; without a zone it is UTC.

    Raises OnlineError for what is no instant."""
    if at is None:
        return time.time_ns() // 1000
    if isinstance(at, str):
        try:
            at = datetime.datetime.fromisoformat(at)
        except ValueError as error:
            raise OnlineError(f"{at!r} is not an instant", hint="write it as 2024-03-01T09:00:00") from error
    if not isinstance(at, datetime.datetime):
        raise OnlineError(f"{at!r} is not an instant", hint="give a datetime; without a zone it is UTC")
    try:
        return (in_utc(at) - _EPOCH) // _MICROSECOND
    except ValueError as error:
        raise OnlineError(str(error)) from None


def moment(at: int | None) -> datetime.datetime | None:
    """Microseconds since the epoch as a datetime without zone, UTC; None if Python has no such instant."""
    if at is None:
        return None
    try:
        return _EPOCH + datetime.timedelta(microseconds=at)
    except OverflowError:
        return None
