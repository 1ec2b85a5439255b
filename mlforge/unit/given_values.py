"""Values of a test's file as SQL values of a column's type. What YAML may have read otherwise than meant is refused."""

from __future__ import annotations

import datetime
import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from mlforge.errors import ProjectError
from mlforge.project.yamldoc import kind_of
from mlforge.sql.templates import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlforge.project.yamldoc import Value

INTEGERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
)
FLOATS = ("FLOAT", "DOUBLE")
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|[+-]\d{2}(:?\d{2})?))?)?")
_INSTANT = re.compile(r"TIMESTAMP(_\w+)?( WITH TIME ZONE)?")
_ENDLESS = ("infinity", "-infinity")
_QUOTES = "put it in quotes"


def as_sql(value: Value, kind: str, what: str) -> str:
    """A value as SQL of the type ``kind``. Raises ProjectError, at its line, for one that is not of this type."""
    data = value.plain()
    if data is None:
        return f"CAST(NULL AS {kind})"
    reason = _reason(data, kind)
    if reason:
        hint = _QUOTES if kind == "VARCHAR" else None
        raise ProjectError(f"{what} is {kind}, and {_shown(data)} is {reason}", where=value.where, hint=hint)
    return f"CAST({_literal(_converted(data, kind), kind)} AS {kind})"


def refused(value: Value, kind: str, what: str, words: str) -> ProjectError:
    """What is said of a value that only the engine could refuse."""
    return ProjectError(f"{what} is {kind}, and {_shown(value.plain())} is not: {words}", where=value.where)


def _reason(data: Any, kind: str) -> str | None:
    """Why a value cannot be of a type, in words; None if it can, as far as its look tells."""
    if kind == "VARCHAR":
        return None if isinstance(data, str) else f"{kind_of(data)} to YAML"
    if kind == "BOOLEAN":
        return None if isinstance(data, bool) else "not true or false"
    decimal = _DECIMAL.fullmatch(kind)
    if kind in INTEGERS or kind in FLOATS or decimal:
        return _not_a_number(data, None if kind in FLOATS else int(decimal[2]) if decimal else 0)
    if kind == "DATE":
        return None if _is_date(data) else "not a date as in 2024-03-01"
    if _INSTANT.fullmatch(kind):
        return None if _is_time(data) else "not a time as in 2024-03-01 09:00:00"
    return None


def _not_a_number(data: Any, digits: int | None) -> str | None:
    """``digits``: how many may stand behind the point; None for a float."""
    if isinstance(data, (bool, list, dict, datetime.date)):
        return "not a number"
    try:
        number = Decimal(str(data))
    except InvalidOperation:
        return "not a number"
    if digits is None:
        return None
    if not number.is_finite():
        return "not a finite number"
    if _behind_the_point(number) > digits:
        return "not a whole number" if digits == 0 else f"has more than {digits} digits behind the point"
    return None


def _behind_the_point(number: Decimal) -> int:
    """How many digits, without zeros at the end. Arithmetic would round to the context's 28 digits."""
    _, digits, exponent = number.as_tuple()
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return max(0, -int(exponent) - zeros) if number else 0


def _is_date(data: Any) -> bool:
    if isinstance(data, str) and _DATE.fullmatch(data):
        return _parses(datetime.date.fromisoformat, data)
    return isinstance(data, datetime.date) and not isinstance(data, datetime.datetime)


def _is_time(data: Any) -> bool:
    if isinstance(data, str):
        return data.lower() in _ENDLESS or (bool(_TIME.fullmatch(data)) and _parses(_instant, data))
    return isinstance(data, datetime.date) and _parses(_instant, data)


def _parses(parser: Callable[[Any], Any], text: Any) -> bool:
    try:
        parser(text)
    except (ValueError, OverflowError):  # in UTC it may be before year 1
        return False
    return True


def _datetime(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(re.sub(r" (Z|[+-])", r"\1", text))


def _converted(data: Any, kind: str) -> Any:
    """A scalar as text that DuckDB reads without loss. It would drop the zone of a text that becomes TIMESTAMP."""
    if _INSTANT.fullmatch(kind) and isinstance(data, (str, datetime.date)):
        return _instant(data)
    if kind == "JSON" and not isinstance(data, str):
        return json.dumps(data, default=str)
    if isinstance(data, (datetime.date, float)) and not isinstance(data, bool):
        return str(data)
    return str(data) if isinstance(data, int) and not isinstance(data, bool) else _in_digits(data)


def _in_digits(data: Any) -> Any:
    """Bytes, at any depth, as the text that DuckDB reads as BLOB."""
    if isinstance(data, bytes):
        return "".join(f"\\x{byte:02X}" for byte in data)
    if isinstance(data, list):
        return [_in_digits(v) for v in data]
    return {name: _in_digits(v) for name, v in data.items()} if isinstance(data, dict) else data


def _instant(data: str | datetime.date) -> str:
    if isinstance(data, str):
        digits = re.search(r"\.\d{7,9}", data)
        if data.lower() in _ENDLESS or (digits and data.endswith(digits[0])):
            return data
        data = _datetime(data)
    if isinstance(data, datetime.datetime) and data.tzinfo:
        data = data.astimezone(datetime.UTC).replace(tzinfo=None)
    return data.isoformat()


def _literal(data: Any, kind: str) -> str:
    if "MAP(" not in kind:
        return literal(data)
    import duckdb

    return _with_maps(data, duckdb.sqltype(kind))


def _with_maps(data: Any, kind: Any) -> str:
    """A literal in which mappings are MAPs where the type says so; YAML has one form for them and for structs."""
    children = dict(kind.children) if kind.id in ("list", "array", "struct", "map") else {}
    if kind.id == "map" and isinstance(data, dict):
        values = ", ".join(_with_maps(v, children["value"]) for v in data.values())
        return f"MAP({literal(list(data))}, [{values}])"
    if kind.id == "struct" and isinstance(data, dict) and data.keys() <= children.keys():
        return f"{{{', '.join(f'{literal(n)}: {_with_maps(v, children[n])}' for n, v in data.items())}}}"
    if "child" in children and isinstance(data, list):
        return f"[{', '.join(_with_maps(v, children['child']) for v in data)}]"
    return literal(data)


def _shown(data: Any) -> str:
    return repr(data) if isinstance(data, str) else shown(data)


def inferred(values: Sequence[Any]) -> str:
    """The type that values of a column have where nothing else tells: BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP,
    TIMESTAMP WITH TIME ZONE or VARCHAR; for lists and mappings what DuckDB makes of the first."""
    known = [v for v in values if v is not None]
    if not known:
        return "VARCHAR"
    if all(isinstance(v, bool) for v in known):
        return "BOOLEAN"
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known):
        return "BIGINT" if all(isinstance(v, int) for v in known) else "DOUBLE"
    if all(_is_date(v) for v in known):
        return "DATE"
    if all(_is_time(v) for v in known):
        return "TIMESTAMP WITH TIME ZONE" if any(map(_zoned, known)) else "TIMESTAMP"
    return "VARCHAR"


def _zoned(data: Any) -> bool:
    if isinstance(data, str):
        found = _TIME.fullmatch(data)
        return bool(found and found[4])
    return isinstance(data, datetime.datetime) and data.tzinfo is not None


def shown(value: Any) -> str:
    """A value as differences show it: floats with all their digits, times without a T."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return repr(value) if isinstance(value, float) else str(value)
