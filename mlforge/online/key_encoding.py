"""Natural key values to the names of records: the encoding of docs/surrogate-keys.md, part after part, without the
hash. So a name can be read by people, and SQL makes the same one from the catalog's keys (lib/key_parts.sql.j2)."""

from __future__ import annotations

import datetime
import decimal
import numbers
import re
import uuid
from typing import TYPE_CHECKING, Any

from mlforge.errors import OnlineError
from mlforge.online.packed_values import micros

if TYPE_CHECKING:
    from collections.abc import Callable

_RANGES = {
    f"{sign}{name}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for name, bits in (("TINYINT", 8), ("SMALLINT", 16), ("INTEGER", 32), ("BIGINT", 64), ("HUGEINT", 128))
    for sign in ("", "U")
}


class Unfit(Exception):
    """A value that is no key of this type without loss; the text says what would be."""


def encoder(kind: str, duckdb_type: str) -> Callable[[Any], bytes]:
    """The function from a value that is not None to its part of a name; it raises Unfit.

    ``kind`` is one of text, integer, boolean, date, timestamp, decimal, uuid."""
    if kind == "integer":
        return _integer(duckdb_type)
    if kind == "decimal":
        return _decimal(duckdb_type)
    return {"text": _text, "boolean": _boolean, "date": _date, "timestamp": _timestamp, "uuid": _uuid}[kind]


def _text(value: Any) -> bytes:
    if type(value) is not str:
        value = scalar(value)
        value = str(value) if isinstance(value, uuid.UUID) else value
    if not isinstance(value, str):
        raise Unfit("text")
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise Unfit("valid Unicode text") from error
    return b"s%d:%b" % (len(data), data)


def _framed(tag: bytes, text: str) -> bytes:
    return b"%b%d:%b" % (tag, len(text), text.encode())


def _integer(duckdb_type: str) -> Callable[[Any], bytes]:
    low, high = _RANGES[duckdb_type]

    def encode(value: Any) -> bytes:
        if type(value) is int and low <= value <= high:
            digits = str(value)
            return f"i{len(digits)}:{digits}".encode()
        value = scalar(value)
        if isinstance(value, decimal.Decimal) and _is_whole(value):
            value = int(value)
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise Unfit("an integer")
        if not low <= value <= high:  # type: ignore[operator]
            raise Unfit(f"an integer from {low} to {high}")
        return _framed(b"i", str(int(value)))

    return encode


def _is_whole(value: decimal.Decimal) -> bool:
    if not value.is_finite() or value.adjusted() > 40:  # int(1E+99999999) takes minutes
        return False
    return value == value.to_integral_value()


def _decimal(duckdb_type: str) -> Callable[[Any], bytes]:
    width, scale = (int(n) for n in re.findall(r"\d+", duckdb_type))

    def encode(value: Any) -> bytes:
        value = scalar(value)
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            value = decimal.Decimal(int(value))
        if isinstance(value, str):
            try:
                value = decimal.Decimal(value)
            except decimal.InvalidOperation as error:
                raise Unfit("a decimal") from error
        if not isinstance(value, decimal.Decimal) or not value.is_finite():
            raise Unfit("a decimal")
        if not value:
            return _framed(b"m", "0")
        if not -scale <= value.adjusted() < width - scale:  # before 1E+99999999 is written out
            raise Unfit(f"a {duckdb_type}")
        text = f"{value:f}"
        if "." in text:
            text = text.rstrip("0").rstrip(".")
        whole, _, fraction = text.lstrip("-").partition(".")
        if len(fraction) > scale or len(whole.lstrip("0")) > width - scale:
            raise Unfit(f"a {duckdb_type}")
        return _framed(b"m", text)

    return encode


def scalar(value: Any) -> Any:
    """A scalar of numpy or Arrow as Python's own; any other value as it is."""
    kind = type(value).__module__.partition(".")[0]
    if kind == "pyarrow" and hasattr(value, "as_py"):
        return value.as_py()
    if kind != "numpy" or getattr(value, "shape", None) != ():
        return value
    if value.dtype.kind == "M":  # item() of nanoseconds is a bare number
        return None if value != value else value.astype("datetime64[us]").item()  # noqa: PLR0124 - NaT
    return value.item()


def _boolean(value: Any) -> bytes:
    value = scalar(value)
    if not isinstance(value, bool):
        raise Unfit("true or false")
    return _framed(b"b", "true" if value else "false")


def _date(value: Any) -> bytes:
    value = scalar(value)
    if isinstance(value, str):
        try:
            value = datetime.date.fromisoformat(value)
        except ValueError as error:
            raise Unfit("a date, such as 2024-03-01") from error
    if isinstance(value, datetime.datetime):
        at = micros(value)
        if at % 86_400_000_000:
            raise Unfit("a date without a time of day")
        return _framed(b"d", str(at // 86_400_000_000))
    if not isinstance(value, datetime.date):
        raise Unfit("a date")
    return _framed(b"d", str((value - datetime.date(1970, 1, 1)).days))


def _timestamp(value: Any) -> bytes:
    value = scalar(value)
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError as error:
            raise Unfit("a timestamp, such as 2024-03-01T09:00:00") from error
    elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
    if not isinstance(value, datetime.datetime) or value != value:  # noqa: PLR0124 - NaT of pandas
        raise Unfit("a timestamp")
    return _framed(b"t", str(micros(value)))


def _uuid(value: Any) -> bytes:
    value = scalar(value)
    if isinstance(value, str):
        try:
            value = uuid.UUID(value)
        except ValueError as error:
            raise Unfit("a UUID") from error
    if not isinstance(value, uuid.UUID):
        raise Unfit("a UUID")
    return _framed(b"u", str(value))


def unfit(column: str, key: str, key_type: str, value: Any, wanted: str) -> OnlineError:
    """The error for a value of an entity row."""
    text = repr(value)
    shown = text if len(text) < 60 else f"{text[:57]}..."
    return OnlineError(
        f"{column!r} of an entity row is {shown} ({type(value).__name__}), and key {key!r} is {key_type}",
        hint=f"give {wanted}",
    )
