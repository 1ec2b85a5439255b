"""Which types and names the columns of a feature may have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlforge.errors import FeatureError, GrammarError, Where, did_you_mean
from mlforge.render.syntax import outermost, refuse, where
from mlforge.sql.rowlist import ZONED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlglot import exp

    from mlforge.model import Compiled
    from mlforge.render.syntax import Parsed

KEY_TYPES = (
    "VARCHAR",
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "BOOLEAN",
    "DATE",
    "TIMESTAMP",
    "DECIMAL",
    "UUID",
)

# TUPLE(BIGINT, BIGINT) in DuckDB 2, STRUCT(BIGINT, BIGINT) before, where a named one is STRUCT(a BIGINT, b BIGINT)
_NAMELESS = re.compile(
    r"\bTUPLE\(|\bSTRUCT\((?:[A-Z_0-9]+(?:\([^()]*\))?(?:\[\d*\])*[,)]|TIME(?:STAMP)? WITH|(?:STRUCT|MAP)\()"
)
_QUOTED = re.compile(r'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'')
# Behind a type stands a bracket, a comma or the end; behind the name of a field, which may be the same word, its type.
_NOT_IN_ARROW = re.compile(r"\b(?:BIT|BIGNUM|VARINT|VARIANT|UHUGEINT|TIME WITH TIME ZONE)(?=[,)\[]|$)")
_HUGE = re.compile(r"\bHUGEINT(?=[,)\[]|$)")  # a decimal of 38 digits there
_ALONE = ("INTERVAL", "ENUM")
_UNTYPED = re.compile(r'"NULL"(?=[,)\[]|$)')  # a field of that name has its type behind it


def check_outputs(parsed: Parsed, compiled: Compiled, items: Mapping[str, exp.Expression]) -> None:
    """Refuse types and names that may not leave a feature, or be its key, and descriptions of columns it has not."""
    named = [o.name for o in compiled.outputs]
    if compiled.kind != "on_demand":
        named += [k.name for k in compiled.keys]
        _check_keys(parsed, compiled, items)
    for name in named:
        if name.lower() == "rowid":
            raise GrammarError(
                f"column {name!r} has a name that DuckDB gives to every table's row numbers",
                where=where(parsed, items[name]),
                hint="rename it with AS",
            )
    for output in compiled.outputs:
        _check_type(parsed, output.name, output.type, items[output.name])
    if not compiled.outputs:
        raise refuse(parsed, outermost(parsed.tree)[0], "the feature has no column beside keys and timestamp")
    known = [*(k.name for k in compiled.keys), compiled.timestamp or "", *(o.name for o in compiled.outputs)]
    _check_described(parsed, [name for name in known if name])


def _check_keys(parsed: Parsed, compiled: Compiled, items: Mapping[str, exp.Expression]) -> None:
    for key in compiled.keys:
        plain = key.type.split("(")[0] in KEY_TYPES or key.type.startswith("TIMESTAMP")
        if not plain or key.type.endswith("]"):
            raise GrammarError(
                f"key {key.name!r} has type {key.type}",
                where=where(parsed, items[key.name]),
                hint="keys are text, integers, BOOLEAN, DATE, TIMESTAMP, DECIMAL or UUID: cast it",
            )


def _check_type(parsed: Parsed, name: str, kind: str, node: exp.Expression) -> None:
    refuse_nameless(parsed, f"column {name!r}", kind, node)
    if _UNTYPED.search(kind):
        what = "is NULL in all rows" if kind == '"NULL"' else f"is of type {kind}"
        raise GrammarError(
            f"column {name!r} {what}: nothing says its type",
            where=where(parsed, node),
            hint="cast it, as in CAST(NULL AS DOUBLE) or CAST([] AS BIGINT[]); in a frame, give the column its type",
        )
    if ZONED in kind or "TIMESTAMPTZ_NS" in kind:
        raise GrammarError(
            f"column {name!r} has type {kind}: a zone within it would follow each reader's session",
            where=where(parsed, node),
            hint="turn the instants into UTC timestamps first: x AT TIME ZONE 'UTC'",
        )
    if kind.split("(", maxsplit=1)[0] in _ALONE or lost_in_arrow(kind) or _HUGE.search(_QUOTED.sub('""', kind)):
        raise GrammarError(
            f"column {name!r} has type {kind}, which a feature cannot store",
            where=where(parsed, node),
            hint="cast it, for example to BIGINT, DOUBLE or VARCHAR",
        )


def _check_described(parsed: Parsed, columns: list[str]) -> None:
    for described in parsed.rendered.config.columns:
        if described.lower() not in {c.lower() for c in columns}:
            raise FeatureError(
                f"config(columns=...) describes {described!r}, and no column of the feature is called so",
                where=Where(parsed.rendered.path),
                hint=did_you_mean(described, columns),
            )


def lost_in_arrow(kind: str) -> bool:
    """Whether Arrow does not carry the values of a type, or what is within them, as they are: zones of times vanish,
    2^128 - 1 is -1, bits and digits become bytes."""
    return _NOT_IN_ARROW.search(_QUOTED.sub('""', kind)) is not None


def refuse_nameless(parsed: Parsed, what: str, kind: str, node: exp.Expression) -> None:
    """Rows such as (a, b), whose fields have no names, are values in SQL that no table of the catalog can hold."""
    if _NAMELESS.search(kind):
        message = f"{what} is of type {kind}: a row whose fields have no names cannot be stored"
        raise GrammarError(message, where=where(parsed, node), hint="name its fields: {'a': a, 'b': b}")
