"""Surrogate keys and the lossless conversion of key values: the same from DuckDB and from Python.

The encoding is fixed for ever and published with test vectors in docs/surrogate-keys.md: every part becomes
``<tag><length in bytes>:<canonical text>``, a NULL becomes ``n0:``, the parts are joined without anything between, and
the key is the first 128 bits of the SHA-256 of those bytes, as lower-case hexadecimal.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import numbers
import re
import uuid
from typing import TYPE_CHECKING, Any

from mlforge.errors import FeatureError, MlforgeError, RetrievalError, did_you_mean
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlglot import exp

    from mlforge.errors import Where
    from mlforge.model import Entity

CALL = "_mlforge_surrogate_key"  # what Jinja's surrogate_key(...) renders to

INTEGERS = (
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
)
# Kind of a key -> its DuckDB types; "DECIMAL(" is the start of a type's name.
_KINDS: dict[str, tuple[str, ...]] = {
    "text": ("VARCHAR", "ENUM("),
    "integer": INTEGERS,
    "boolean": ("BOOLEAN",),
    "date": ("DATE",),
    "timestamp": ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"),
    "timestamptz": ("TIMESTAMP WITH TIME ZONE",),
    "timestamp_ns": ("TIMESTAMP_NS",),
    "decimal": ("DECIMAL(",),
    "uuid": ("UUID",),
}
_TAGS = {
    "text": "s",
    "integer": "i",
    "boolean": "b",
    "date": "d",
    "timestamp": "t",
    "timestamptz": "t",
    "timestamp_ns": "t",
    "decimal": "m",
    "uuid": "u",
}
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_SPELLINGS = {"TEXT": "VARCHAR", "STRING": "VARCHAR", "INT": "INTEGER", "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}


def kind_of(duckdb_type: str) -> str | None:
    """What kind of key a DuckDB type makes: text, integer, boolean, date, timestamp, timestamptz, timestamp_ns,
    decimal, uuid or null; None if it makes none (floats, blobs, lists ...)."""
    name = _SPELLINGS.get(duckdb_type.upper(), duckdb_type.upper())
    if name in ("NULL", '"NULL"'):
        return "null"
    for kind, types in _KINDS.items():
        if any(name.startswith(t) and name.endswith(")") if t.endswith("(") else name == t for t in types):
            return kind
    return "decimal" if name in ("DECIMAL", "NUMERIC") else None


def surrogate_key_sql(expressions: Sequence[tuple[str, str]]) -> str:
    """The surrogate key of SQL expressions of known DuckDB types, as one DuckDB expression.

    It is NULL if all parts are NULL. Raises FeatureError for a type that can be no part of a key, such as DOUBLE."""
    return _render([(expression, _kind_of_part(expression, type_)) for expression, type_ in expressions])


def surrogate_key_expression(args: Sequence[str]) -> str:
    """The surrogate key of SQL expressions whose types only the engine knows, as one DuckDB expression.

    DuckDB folds the choice by type away when it plans. A type that can be no part of a key stops the query at its
    first row, so prefer :func:`surrogate_key_sql` where types are known."""
    return _render([(arg, None) for arg in args])


def _render(parts: list[tuple[str, str | None]]) -> str:
    if not parts:
        raise FeatureError("surrogate_key() needs at least one part", hint='write surrogate_key("first", "last")')
    return sql("keys/surrogate_key", parts=[(f"({x})", kind) for x, kind in parts], kinds=_KINDS, tags=_TAGS)


def _kind_of_part(expression: str, duckdb_type: str) -> str:
    kind = kind_of(duckdb_type)
    if kind is None:
        raise _refused(f"{expression} of type {duckdb_type}")
    return kind


def _refused(what: str, where: Where | None = None) -> FeatureError:
    return FeatureError(
        f"surrogate_key() takes no {what}",
        where=where,
        hint="a part is text, an integer, a boolean, a date, a timestamp, a decimal or a UUID; "
        "round a float to a DECIMAL or an integer first",
    )


def rewrite_calls(tree: exp.Expression, type_of: Callable[[exp.Expression], str] | None = None) -> exp.Expression:
    """The tree with every ``_mlforge_surrogate_key(...)`` call replaced by what it means.

    ``type_of`` gives the DuckDB type of an argument; without it the engine chooses by type. Raises FeatureError for no
    arguments and, with ``type_of``, for types that can be no part of a key."""
    from sqlglot import exp

    def replaced(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Anonymous) and str(node.this).lower() == CALL:
            return _expanded(node.expressions, type_of)
        return node

    return tree.transform(replaced)


def check_parts(
    tree: exp.Expression,
    describe: Callable[[str, exp.Expression | None], dict[str, str]],
    where: Callable[[exp.Expression], Where],
) -> None:
    """Raise FeatureError, at its place, for a ``_mlforge_surrogate_key(...)`` call that has a part of a type that can
    be none, such as DOUBLE: without it such a call stops only the first query that meets a row.

    ``describe(query, node)`` gives the columns' types. A part that cannot be described by itself (it uses an alias of
    the list, say) is left to the engine."""
    from sqlglot import exp

    for call in tree.find_all(exp.Anonymous):
        if str(call.this).lower() != CALL:
            continue
        for part, type_ in zip(call.expressions, _part_types(tree, call, describe), strict=False):
            if kind_of(type_) is None:
                raise _refused(f"{part.sql('duckdb')} of type {type_}", where(call))


def _part_types(
    tree: exp.Expression, call: exp.Expression, describe: Callable[[str, exp.Expression | None], dict[str, str]]
) -> list[str]:
    from sqlglot import exp

    select = call.find_ancestor(exp.Select)
    if select is None:
        return []
    probe = select.copy()
    probe.set("expressions", [exp.alias_(part.copy(), f"_mlforge_p{i}") for i, part in enumerate(call.expressions)])
    for clause in ("distinct", "qualify", "order", "limit", "offset"):
        probe.set(clause, None)
    if select is not tree and isinstance(tree, exp.Query):
        for cte in tree.ctes:
            probe = probe.with_(cte.alias, as_=cte.this.copy())
    try:
        return list(describe(rewrite_calls(probe).sql("duckdb"), call).values())
    except MlforgeError:
        return []


def _expanded(args: list[exp.Expression], type_of: Callable[[exp.Expression], str] | None) -> exp.Expression:
    import sqlglot
    from sqlglot import exp

    texts = [rewrite_calls(arg, type_of).sql("duckdb") for arg in args]  # transform() does not enter what it replaced
    text = (
        surrogate_key_expression(texts)
        if type_of is None
        else surrogate_key_sql([(t, type_of(arg)) for t, arg in zip(texts, args, strict=True)])
    )
    return exp.Paren(this=sqlglot.parse_one(text, read="duckdb"))


def surrogate_key(*values: Any) -> str | None:
    """The surrogate key of values, equal to what the catalog holds for them: 32 lower-case hexadecimal characters.

    None if every part is None. A naive datetime means UTC. Raises FeatureError for floats and other types that can be
    no part of a key."""
    if not values:
        raise FeatureError("surrogate_key() needs at least one part", hint='write surrogate_key("Ada", "Lovelace")')
    parts = [_encoded(value) for value in values]
    if all(part is None for part in parts):
        return None
    return hashlib.sha256(b"".join(part or b"n0:" for part in parts)).hexdigest()[:32]


def entity_key(entity: Entity, values: Mapping[str, Any]) -> tuple[Any, ...] | str | None:
    """The key of one thing an entity describes: a tuple in the order of the entity's keys, or its surrogate key.

    None if the thing has no key: any part of an ordinary key is None, or all parts of a surrogate are. Raises
    RetrievalError for a missing column."""
    wanted = entity.parts or entity.keys
    for name in wanted:
        if name not in values:
            raise RetrievalError(f"entity {entity.name!r} needs {name!r}", hint=did_you_mean(name, values))
    found = tuple(values[name] for name in wanted)
    if entity.parts:
        return surrogate_key(*found)
    return None if any(value is None for value in found) else found


def _encoded(value: Any) -> bytes | None:
    # NaT, the pandas time that is not one, is the only accepted value that differs from itself.
    if value is None or (isinstance(value, datetime.datetime) and value != value):  # noqa: PLR0124
        return None
    tag, text = _tagged(value)
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise _refused("text that is not valid Unicode") from error
    return f"{tag}{len(data)}:".encode() + data


def _tagged(value: Any) -> tuple[str, str]:
    if isinstance(value, bool):
        return "b", "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return "i", str(int(value))
    if isinstance(value, str):
        return "s", str(value)
    if isinstance(value, decimal.Decimal) and value.is_finite() and (not value or abs(value.adjusted()) < _DIGITS):
        return "m", _decimal_text(value)
    if isinstance(value, datetime.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return "t", str((aware - _EPOCH) // _MICROSECOND)
    if isinstance(value, datetime.date):
        return "d", str((value - _EPOCH.date()).days)
    if isinstance(value, uuid.UUID):
        return "u", str(value)
    raise _refused(f"{value!r} of type {type(value).__name__}")


_DIGITS = 100
"""More than any DECIMAL has: 1E+99999999 would be written out in as many digits."""


def _decimal_text(value: decimal.Decimal) -> str:
    text = f"{value or decimal.Decimal(0):f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


# Kind of a label's value -> kinds of key it can be compared with. Values that do not fit stop the query.
_CONVERTIBLE = {
    "null": frozenset(_KINDS),
    "text": frozenset({"text", "uuid"}),
    "integer": frozenset({"integer", "decimal"}),
    "decimal": frozenset({"decimal", "integer"}),
    "boolean": frozenset({"boolean"}),
    "date": frozenset({"date", "timestamp", "timestamp_ns"}),
    "timestamp": frozenset({"timestamp", "timestamp_ns", "date"}),
    "timestamp_ns": frozenset({"timestamp", "timestamp_ns", "date"}),
    "timestamptz": frozenset({"timestamptz", "timestamp", "timestamp_ns", "date"}),
    "uuid": frozenset({"uuid", "text"}),
}


def convertible(from_type: str, to_type: str) -> bool:
    """Whether values of one type can be compared with keys of another without loss. Single values may still not fit:
    :func:`lossless_cast_sql` refuses those when it meets them."""
    from_kind, to_kind = kind_of(from_type), kind_of(to_type)
    return from_kind is not None and to_kind in _CONVERTIBLE[from_kind]


def require_convertible(column: str, from_type: str, key: str, to_type: str) -> None:
    """Raise RetrievalError unless label column ``column`` can be compared with key ``key``; the error names both."""
    if convertible(from_type, to_type):
        return
    hint = f"cast {ident(column)} in the label rows to {to_type}"
    if from_type.upper() in ("FLOAT", "DOUBLE"):
        hint += "; pandas turns integers with gaps into floats: use its Int64 type"
    raise RetrievalError(
        f"label column {column!r} is {from_type} and key {key!r} is {to_type}: "
        "one cannot be converted to the other without loss",
        hint=hint,
    )


def lossless_cast_sql(expression: str, from_type: str, to_type: str) -> str:
    """``expression`` as ``to_type``; a value that does not fit stops the query with a message that shows it.

    Raises RetrievalError for types that are not :func:`convertible`."""
    if not convertible(from_type, to_type):
        raise RetrievalError(f"{expression} is {from_type}, which cannot be converted to {to_type} without loss")
    form = _form(from_type, to_type)
    return sql("keys/lossless_cast", x=f"({expression})", form=form, from_type=from_type, to_type=to_type)


def _form(from_type: str, to_type: str) -> str:
    """``same``: every value fits; ``range``: a cast fails for what does not fit; ``round``: a cast would round."""
    from_kind, to_kind = kind_of(from_type), kind_of(to_type)
    if from_kind == "timestamptz" and to_kind != "timestamptz":
        return "instant"
    if from_type.upper() == to_type.upper() or from_kind == "null" or to_kind == "text":
        return "same"
    if from_kind == to_kind == "integer" and _fits(from_type.upper(), to_type.upper()):
        return "same"
    if from_kind == to_kind == "decimal" and _decimal_fits(from_type, to_type):
        return "same"
    return "range" if (from_kind, to_kind) in {("integer", "integer"), ("text", "uuid")} else "round"


_WIDTH = {t.lstrip("U"): n for n, t in enumerate(INTEGERS[:5])}


def _fits(small: str, large: str) -> bool:
    signed, to_signed = not small.startswith("U"), not large.startswith("U")
    width, to_width = _WIDTH[small.lstrip("U")], _WIDTH[large.lstrip("U")]
    if signed == to_signed:
        return width <= to_width
    return to_signed and width < to_width


def _decimal_fits(small: str, large: str) -> bool:
    def parts(text: str) -> tuple[int, int]:
        found = [int(n) for n in re.findall(r"\d+", text)] or [18, 3]
        return found[0], found[1] if len(found) > 1 else 0

    (width, scale), (to_width, to_scale) = parts(small), parts(large)
    return scale <= to_scale and width - scale <= to_width - to_scale
