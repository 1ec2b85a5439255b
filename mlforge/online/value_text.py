"""One text for each value, JSON, such that equal texts mean the same bits: what was served and what retrieval gives
compare as text, whichever way they came."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from typing import Any


def text(value: Any) -> str | None:
    """The JSON text of a value, None for NULL.

    Floats are written so that they read back exactly (0.0 is not -0.0), NaN and infinities as text; decimals, dates,
    times, UUIDs as text, times with a zone in UTC, bytes as hexadecimal digits."""
    kind = type(value)
    if value is None:
        return None
    if kind is int:
        return str(value)
    if kind is float and math.isfinite(value):
        return repr(value)
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def plain(value: Any) -> Any:
    """A value of what JSON has."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _beyond(value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: plain(v) for key, v in value.items()}
        return [[plain(key), plain(v)] for key, v in value.items()]
    return _text(value)


def _beyond(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _text(value: Any) -> str:
    if isinstance(value, decimal.Decimal):
        return _decimal(value)
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat() if value.tzinfo else value.isoformat()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, uuid.UUID):
        return str(value)
    if hasattr(value, "item"):  # a number of numpy, from a caller in Python
        return str(value.item())
    raise TypeError(f"a {type(value).__qualname__} has no canonical text")


def _decimal(value: decimal.Decimal) -> str:
    """Without trailing zeros: 1.50 and 1.5 are one value, whatever scale they were carried at."""
    if not value.is_finite():
        return str(value)
    shown = f"{value:f}"
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return "0" if shown in ("-0", "") else shown
