"""What DuckDB's versions answer differently, written so that all of them answer alike, under any reader's settings.

The text that is levelled is the one that runs and is stored. What a feature means is read from the text as the user
wrote it, so that no version changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.errors import GrammarError
from mlforge.render.functions import function_name, is_aggregate, words
from mlforge.render.syntax import Parsed, ref_name, show, source_name, where
from mlforge.render.windows import is_trailing
from mlforge.sql.physical import FLOATS
from mlforge.sql.places import Types
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlglot import exp

    Describe = Callable[[str, exp.Expression | None], dict[str, str]]

NANOS = "TIMESTAMP_NS"
#: Functions of times that take no nanoseconds, or change a type for them in one version only.
TIMES = words(
    """age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname
    dayofmonth dayofweek dayofyear decade epoch epoch_ms epoch_us era extract generate_series hour isodow isoyear
    julian last_day microsecond millennium millisecond minute month monthname quarter range second time_bucket
    timezone week weekday weekofyear year yearweek"""
)
#: Of these DuckDB 2 rounds the milliseconds.
_ROUNDED = [["TIMESTAMP"], ["TIMESTAMP WITH TIME ZONE"], [NANOS]]
_MAKERS = words("make_timestamp_ns strptime try_strptime")


def level(parsed: Parsed, tree: exp.Query, describe: Describe) -> None:
    """Level a query that the engine can bind but for trailing windows and ``as_of()``, in place.

    Raises GrammarError where nanoseconds within a list or a struct are cast to something coarser."""
    from sqlglot import exp

    read = _read(tree, describe)
    known = read if len(list(tree.find_all(exp.Select))) == 1 else {}
    divisions = [d for d in map(_division, tree.walk()) if d is not None and not _is_number(d, known)]
    times = [t for t in map(_of_times, tree.walk()) if t is not None] if _has_nanos(tree, read) else []
    millis = [n for n in tree.walk() if isinstance(n, exp.Func) and _is_epoch_ms(n)]
    if divisions or times or millis:
        types = Types(tree, describe)
        zeros = [right for node, left, right in divisions if _is_null(node, left, right, types)]
        nanos = [(n, o) for n, operands in times for o in _nanos(parsed, n, operands, types)]
        rounded = [n for n in millis if types.of(n, [n.this])[:1] in _ROUNDED]
        for right in zeros:
            never_zero = exp.Nullif(expression=exp.Literal.number(0))
            right.replace(never_zero)
            never_zero.set("this", right)
        for node, operand in reversed(nanos):  # what is inside first
            _floor(node, operand)
        for call in rounded:
            _truncate(call.this, "millisecond")
    for node in reversed(list(tree.find_all(exp.Filter))):
        if is_aggregate(node.this) and not is_trailing(node.parent):
            _guard(node)


def _read(tree: exp.Query, describe: Describe) -> dict[str, str]:
    """The columns of all sources and features that a query reads: lower-case name -> types."""
    from sqlglot import exp

    found: dict[str, str] = {}
    for table in tree.find_all(exp.Table):
        if source_name(table) or ref_name(table):
            name = exp.Table(this=table.this.copy(), db=table.args["db"].copy()).sql("duckdb")
            for column, kind in describe(f"SELECT * FROM {name}", None).items():
                found[column.lower()] = f"{found.get(column.lower(), '')} {kind}"
    return found


# -- division by zero


def _division(node: exp.Expression) -> tuple[exp.Expression, exp.Expression, exp.Expression] | None:
    """A division that may be by zero, with its sides."""
    from sqlglot import exp

    if isinstance(node, (exp.Div, exp.IntDiv, exp.Mod)):
        sides = [node.this, node.expression]
    elif isinstance(node, exp.Anonymous) and str(node.name).lower() in ("divide", "mod", "//", "%", "/"):
        method = isinstance(node.parent, exp.Dot) and node.arg_key == "expression"
        sides = [node.parent.this, *node.expressions] if method else node.expressions
    else:
        return None
    if len(sides) != 2 or _never_zero(sides[1]):
        return None
    left, right = sides
    left = exp.column(left.copy()) if isinstance(left, exp.Identifier) else left
    return node, left, right


def _is_number(division: tuple[exp.Expression, ...], read: dict[str, str]) -> bool:
    """Whether a division with / is one of numbers for sure: of columns of sources that are no intervals."""
    from sqlglot import exp

    node, left, _ = division
    maker = (exp.Sub, exp.Interval, exp.Subquery)
    return isinstance(node, exp.Div) and not any(
        isinstance(n, maker)
        or (isinstance(n, exp.Func) and not is_aggregate(n))
        or (isinstance(n, exp.Column) and "INTERVAL" in read.get(n.name.lower(), "INTERVAL"))
        for n in left.walk()
    )


def _never_zero(node: exp.Expression) -> bool:
    from sqlglot import exp

    while isinstance(node, (exp.Paren, exp.Neg, exp.Cast)):
        node = node.this
    if isinstance(node, exp.Literal):
        return not node.is_string and float(node.name) != 0
    by = node.expression if isinstance(node, exp.Nullif) else None
    return isinstance(by, exp.Literal) and not by.is_string and float(by.name) == 0


def _is_null(node: exp.Expression, left: exp.Expression, right: exp.Expression, types: Types) -> bool:
    """Whether DuckDB 1 gives NULL for this division by zero, as mlforge does. Of floats it gives infinity or NaN."""
    from sqlglot import exp

    name = str(node.name) if isinstance(node, exp.Anonymous) else ""
    asked = node.parent if name and isinstance(node.parent, exp.Dot) and node.arg_key == "expression" else node
    if isinstance(node, exp.Div) or name == "/":
        return types.of(asked, [left])[:1] == ["INTERVAL"]
    if isinstance(node, exp.Mod) or name.lower() in ("mod", "%"):
        return not set(types.of(asked, [left, right])) & set(FLOATS)
    return True


# -- arguments behind FILTER


def may_raise(node: exp.Expression, *, sums: bool) -> bool:
    """Whether an expression may fail for some values: it casts or calls something; with ``sums``, it calculates."""
    from sqlglot import exp

    harmless = (exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.And, exp.Or, exp.Xor, exp.TryCast)
    for part in node.walk():
        if isinstance(part, exp.Func) and not isinstance(part, harmless):
            if not isinstance(part, exp.Cast) or not part.is_type(*exp.DataType.TEXT_TYPES):
                return True
        elif sums and isinstance(part, (exp.Binary, exp.Neg, exp.Bracket)) and not isinstance(part, harmless):
            return True
    return False


def _guard(node: exp.Expression) -> None:
    """DuckDB 2 computes an aggregate's arguments of the rows that FILTER drops, too."""
    from sqlglot import exp

    for value in list(_values(node.this)):
        if value.find(exp.Column) is not None and may_raise(value, sums=True):
            value.replace(exp.Case(ifs=[exp.If(this=node.expression.this.copy(), true=value.copy())]))


def _values(call: exp.Expression) -> Iterator[exp.Expression]:
    """The arguments of a call, without the DISTINCT and ORDER BY among them."""
    from sqlglot import exp

    for value in call.args.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, exp.Order):
                yield from (o.this for o in item.expressions)
                item = item.this
            if isinstance(item, exp.Distinct):
                yield from item.expressions
            elif isinstance(item, exp.Expression):
                yield item


# -- nanoseconds


def _has_nanos(tree: exp.Query, read: dict[str, str]) -> bool:
    """Whether any expression can be of nanoseconds: a column of what is read, or what the text itself makes."""
    from sqlglot import exp

    for node in tree.find_all(exp.Cast, exp.StrToTime, exp.Anonymous):
        is_made = not isinstance(node, exp.Cast) and function_name(node) in _MAKERS
        if is_made or _target(node).endswith("_NS"):
            return True
    return any(NANOS in kind for kind in read.values())


def _of_times(node: exp.Expression) -> tuple[exp.Expression, list[exp.Expression]] | None:
    """A node that would make something coarser of nanoseconds, with what it would make it of."""
    from sqlglot import exp

    if isinstance(node, (exp.Cast, exp.AtTimeZone, exp.Date)):
        is_time = not isinstance(node, exp.Cast) or "TIME" in _target(node) or "DATE" in _target(node)
        return (node, [node.this]) if is_time and "_NS" not in _target(node) else None
    if isinstance(node, (exp.Add, exp.Sub)) or (isinstance(node, exp.Func) and function_name(node) in TIMES):
        values = [v for v in _values(node) if not isinstance(v, (exp.Literal, exp.Var))]
        return (node, values) if values else None
    return None


def _target(node: exp.Expression) -> str:
    return node.to.sql("duckdb").upper() if hasattr(node, "to") else ""


def _nanos(parsed: Parsed, node: exp.Expression, operands: list[exp.Expression], types: Types) -> list[exp.Expression]:
    """The operands of nanoseconds that would be made coarser."""
    from sqlglot import exp

    found = types.of(node, operands)
    if isinstance(node, exp.Cast) and any(NANOS in t and t != NANOS for t in found):
        raise GrammarError(
            f"{show(node)} cuts nanoseconds within a {'list' if found[0].endswith(']') else 'struct'}, in other ways "
            "with each DuckDB",
            where=where(parsed, node),
            hint="cast each value: [x::TIMESTAMP FOR x IN xs]",
        )
    return [o for o, kind in zip(operands, found, strict=False) if kind == NANOS]


def _floor(node: exp.Expression, operand: exp.Expression) -> None:
    import sqlglot
    from sqlglot import exp

    floored: exp.Expression = sqlglot.parse_one(sql("feature/floored", x=operand.sql("duckdb")), dialect="duckdb")
    floored = exp.paren(floored) if isinstance(node, (exp.Add, exp.Sub, exp.AtTimeZone)) else floored
    operand.replace(floored)
    unit = {"TIMESTAMP_S": "second", "TIMESTAMP_MS": "millisecond"}.get(_target(node))
    if unit:  # a cast to these rounds
        _truncate(floored, unit)


def _is_epoch_ms(node: exp.Func) -> bool:
    from sqlglot import exp

    return isinstance(node, exp.UnixToTime) and function_name(node) == "epoch_ms"


def _truncate(operand: exp.Expression, unit: str) -> None:
    from sqlglot import exp

    call = exp.TimestampTrunc(unit=exp.var(unit.upper()))
    operand.replace(call)
    call.set("this", operand)
