"""Rows to JSON. What JSON lacks becomes text: dates, timestamps, decimals, UUIDs; NaN, Infinity and -Infinity; blobs
are base64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from mlforge.online.packed_values import Value
from mlforge.serve.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW = 100_000
"""Values of an answer in columns that may be null because their row has no such column."""

_encode = msgspec.json.Encoder().encode


def encoded(name: str, content: Any) -> bytes:
    """``{name: content}`` as JSON.

    msgspec writes NaN and infinities as null, so that only an answer with a null must be looked through for them; and
    it refuses maps whose keys are neither text nor numbers."""
    try:
        body = _encode({name: content})
    except TypeError:
        return _encode({name: _plain(content)})
    return body if b"null" not in body or _all_finite(content) else _encode({name: _plain(content)})


def _all_finite(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is Value:
        return _all_finite(value.value)
    if kind is dict:
        return all(v is None or type(v) is str or _all_finite(v) for v in value.values())
    return all(map(_all_finite, value)) if kind is list else True


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124
    if isinstance(value, Value):
        return msgspec.structs.replace(value, value=_plain(value.value))
    if isinstance(value, dict):
        return {_key(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _key(key: Any) -> Any:
    if isinstance(key, bool):
        return str(key).lower()
    return _plain(key)


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns. A name that a row lacks is null there.

    Raises Refused where nearly all would be null: each of ten thousand rows may have a column that no other has."""
    names = dict.fromkeys(name for row in rows for name in row)
    if len(names) * len(rows) > FEW + 4 * sum(map(len, rows)):
        what = "the entity rows have too few columns in common to be answered as columns"
        raise Refused(400, "bad_request", what, "give all rows the same columns, or ask without columnar")
    return {name: [row.get(name) for row in rows] for name in names}
