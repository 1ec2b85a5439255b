"""DuckDB's types as their names: which type keeps every value of two, and which cast has to be proven."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from mlforge.sql.templates import ident

if TYPE_CHECKING:
    from typing import Any

NULL = '"NULL"'
"""The type of a column that holds nothing, as DuckDB names it."""

_SIGNED = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}
_UNSIGNED = {"UTINYINT": 8, "USMALLINT": 16, "UINTEGER": 32, "UBIGINT": 64, "UHUGEINT": 128}
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}
_FLOATS = ("FLOAT", "DOUBLE")
_INSTANTS = ("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP", "TIMESTAMP_NS")  # coarse to fine
_NESTED = ("struct", "list", "array", "map")
_EXACT_BITS = 32  # integers up to so many bits are exact in a DOUBLE
_DECIMAL = 38


def is_integer(kind: str) -> bool:
    """Whether a type holds whole numbers."""
    return kind in _SIGNED or kind in _UNSIGNED


def is_number(kind: str) -> bool:
    """Whether a type holds numbers."""
    return is_integer(kind) or kind in _FLOATS or kind.startswith("DECIMAL(")


@cache
def common(a: str, b: str) -> str | None:
    """The type that keeps every value of two types and what it means; None if there is none.

    A number beside text, a DATE beside a TIMESTAMP, a BOOLEAN beside a number: no type keeps what both mean."""
    if b in (a, NULL):
        return a
    if a == NULL:
        return b
    if is_number(a) and is_number(b):
        return _number(a, b)
    if a in _INSTANTS and b in _INSTANTS:
        return max(a, b, key=_INSTANTS.index)
    return _nested(a, b)


def _number(a: str, b: str) -> str | None:
    if is_integer(a) and is_integer(b):
        return _integer(a, b)
    decimals = [t for t in (a, b) if t.startswith("DECIMAL(")]
    if any(t in _FLOATS for t in (a, b)):
        return None if decimals else "DOUBLE"
    parts = [_places(t) for t in (a, b)]
    scale = max(s for _, s in parts)
    width = max(whole for whole, _ in parts) + scale
    return f"DECIMAL({width},{scale})" if width <= _DECIMAL else None


def _integer(a: str, b: str) -> str | None:
    for family in (_SIGNED, _UNSIGNED):
        if a in family and b in family:
            return max(a, b, key=family.__getitem__)
    signed, unsigned = (a, b) if a in _SIGNED else (b, a)
    bits = _UNSIGNED[unsigned]
    fits = [t for t, n in _SIGNED.items() if n > bits and n >= _SIGNED[signed]]
    if not fits:
        return None
    return "DECIMAL(20,0)" if fits[0] == "HUGEINT" and signed != "HUGEINT" else fits[0]


def _places(kind: str) -> tuple[int, int]:
    """Digits before and after the point."""
    if kind.startswith("DECIMAL("):
        width, scale = (int(n) for n in kind[8:-1].split(","))
        return width - scale, scale
    if kind == "UBIGINT":
        return 20, 0
    return _DIGITS.get((_SIGNED | _UNSIGNED)[kind], _DECIMAL + 1), 0


def _nested(a: str, b: str) -> str | None:
    one, two = _parsed(a), _parsed(b)
    if one.id != two.id or one.id not in _NESTED:
        return None
    if one.id == "struct":
        return _struct(one.children, two.children)
    kinds = [
        common(str(x), str(y)) for (_, x), (_, y) in zip(one.children, two.children, strict=True) if not _is_size(x)
    ]
    if None in kinds or (one.id == "array" and one.children[1][1] != two.children[1][1]):
        return None
    if one.id == "map":
        return f"MAP({kinds[0]}, {kinds[1]})"
    return f"{kinds[0]}[{one.children[1][1] if one.id == 'array' else ''}]"


def _is_size(child: object) -> bool:
    return isinstance(child, int)


def _struct(ones: list[tuple[str, Any]], twos: list[tuple[str, Any]]) -> str | None:
    """The union of the fields, whose names differ by more than their case."""
    fields: dict[str, tuple[str, str]] = {}
    for name, kind in (*ones, *twos):
        known = fields.get(name.lower())
        found = common(known[1], str(kind)) if known else str(kind)
        if found is None:
            return None
        fields[name.lower()] = (known[0] if known else name, found)
    return str(_parsed("STRUCT(" + ", ".join(f"{ident(n)} {k}" for n, k in fields.values()) + ")"))


@cache
def _parsed(kind: str) -> Any:
    import duckdb

    return duckdb.sqltype(kind)


def normal(kind: str) -> str:
    """A type as DuckDB spells it: ``int`` is INTEGER. Raises duckdb.Error for what is none."""
    return str(_parsed(kind))


def zoned_micros(kind: str) -> str:
    """A type with microseconds in place of zoned nanoseconds, which DuckDB before 2.0 does not have: it reads
    microseconds, and cannot open a file in which they are stored."""
    return kind.replace("TIMESTAMPTZ_NS", "TIMESTAMP WITH TIME ZONE")


@cache
def is_safe(old: str, new: str) -> bool:
    """Whether every value of one type is one of the other and means the same, so that a cast need not be proven.

    Integers of more than 32 bits are not: a DOUBLE holds them up to 53 bits only."""
    if common(old, new) != new:
        return False
    if old in (new, NULL):
        return True
    one, two = _parsed(old), _parsed(new)
    if one.id in _NESTED:
        names = {n.lower(): str(k) for n, k in two.children if not _is_size(k)}
        return all(is_safe(str(k), names[n.lower()]) for n, k in one.children if not _is_size(k))
    bits = (_SIGNED | _UNSIGNED).get(old, 0)
    return not (new in _FLOATS and bits > _EXACT_BITS)
