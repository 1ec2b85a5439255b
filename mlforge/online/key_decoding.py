"""Names of records back to natural keys: the inverse of key_encoding.py. Names are canonical, so whatever form a key
was given in (7, "7" of a decimal, a time with a zone), its name leads to one value."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import TYPE_CHECKING, Any

from mlforge.errors import OnlineError
from mlforge.online.packed_values import moment

if TYPE_CHECKING:
    from collections.abc import Callable

_DAY = datetime.date(1970, 1, 1)
_KINDS: dict[bytes, Callable[[str], Any]] = {
    b"s": str,
    b"i": int,
    b"b": lambda text: text == "true",
    b"d": lambda text: _DAY + datetime.timedelta(days=int(text)),
    b"t": lambda text: moment(int(text)),
    b"m": decimal.Decimal,
    b"u": uuid.UUID,
}


def natural(name: bytes) -> tuple[Any, ...]:
    """The key values that the end of a record's name (what follows its table's prefix) means.

    Raises OnlineError for what is no such name."""
    found, at = [], 0
    try:
        while at < len(name):
            colon = name.index(b":", at + 1)
            end = colon + 1 + int(name[at + 1 : colon])
            if end > len(name):
                raise ValueError(f"it ends {end - len(name)} bytes too early")
            found.append(_KINDS[name[at : at + 1]](name[colon + 1 : end].decode()))
            at = end
    except (ValueError, KeyError, OverflowError, decimal.InvalidOperation) as error:
        raise OnlineError(f"{name!r} in the online store is no key", hint="it is not of mlforge's making") from error
    return tuple(found)
