"""Values that JSON lacks, in entity rows: ``{"$date": "1815-12-10"}``.

Text does for keys and request columns, whose types are known. The columns that a surrogate key is made of have no type
in a store, and a date makes another key than its text."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import TYPE_CHECKING, Any

from mlforge.errors import did_you_mean
from mlforge.serve.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlforge.serve.bodies import Row

KINDS: dict[str, Callable[[str], Any]] = {
    "$date": datetime.date.fromisoformat,
    "$timestamp": datetime.datetime.fromisoformat,
    "$decimal": decimal.Decimal,
    "$uuid": uuid.UUID,
}
MARK = b'"$'
"""A body without these bytes holds none of them."""


def natural(rows: list[Row]) -> list[Row]:
    """The rows with such values in the place of what stands for them. Raises Refused."""
    return [{name: _value(name, v) if type(v) is dict else v for name, v in row.items()} for row in rows]


def _value(column: str, given: dict[str, Any]) -> Any:
    if len(given) != 1:
        return given
    ((kind, text),) = given.items()
    if not kind.startswith("$"):
        return given
    if kind not in KINDS:
        raise Refused(400, "bad_request", f"{column!r} of an entity row has a {kind!r}", did_you_mean(kind, KINDS))
    try:
        if not isinstance(text, str):
            raise ValueError
        return KINDS[kind](text)
    except (ValueError, decimal.InvalidOperation) as error:
        what = f"{column!r} of an entity row is no {kind[1:]}"
        raise Refused(400, "bad_request", what, f'write {{"{kind}": "{_LIKE[kind]}"}}') from error


_LIKE = {
    "$date": "2024-03-01",
    "$timestamp": "2024-03-01T09:00:00",
    "$decimal": "1.50",
    "$uuid": "b0a4a2a6-5d5c-4b2a-9b43-0f4b5a1c2d3e",
}
