"""Timestamps that name the start of a period which is not yet over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlforge.errors import LeakageError
from mlforge.render.scopes import find_cte
from mlforge.render.syntax import Parsed, outermost, relations, show, where

if TYPE_CHECKING:
    from sqlglot import exp

    from mlforge.errors import Where

_PERIODS = {"hour": ("1 HOUR", "1h"), "day": ("1 DAY", "1d"), "week": ("7 DAY", "7d"), "month": ("1 MONTH", "31d")}
_PERIODS |= {"minute": ("1 MINUTE", "1m"), "second": ("1 SECOND", "1s"), "year": ("1 YEAR", "366d")}
_PERIODS |= {"quarter": ("3 MONTH", "92d")}


@dataclass(frozen=True)
class _Trace:
    """What a timestamp is made of: the expression that cuts it to the start of a period, or that moves it off one."""

    node: exp.Expression
    starts: bool


def check_timestamp(parsed: Parsed, timestamp_type: str, *, delayed: bool = False) -> None:
    """Refuse a timestamp that is a DATE or was cut to a period, unless ``delay`` is stated.

    ``timestamp_type`` is the DuckDB type of the timestamp column; ``delayed``: a DATE that is a source's own is known
    when that source says. Raises LeakageError."""
    config = parsed.rendered.config
    if config.timestamp is None or config.delay is not None or parsed.kind not in ("windows", "plain"):
        return
    for expression, select in _stamps(parsed.tree, config.timestamp):
        trace = _trace(expression, select)
        if trace is not None and trace.starts:
            raise _error(parsed, config.timestamp, expression, trace.node)
        if trace is None and timestamp_type.upper() == "DATE" and not delayed:
            raise _error(parsed, config.timestamp, expression, None)


def timestamp_place(parsed: Parsed) -> Where:
    """The user's file and line of the timestamp: of its expression in the first SELECT, as far as it is written out."""
    found = _stamps(parsed.tree, parsed.rendered.config.timestamp or "")
    return where(parsed, found[0][0] if found else None)


def _stamps(tree: exp.Query, name: str) -> list[tuple[exp.Expression, exp.Select]]:
    """The expressions of the timestamp column, one per branch; a star stands for itself as a bare column."""
    selects = outermost(tree)
    first = _output(selects[0], name) if selects else None
    if first is None:
        return []
    position = selects[0].expressions.index(first) if first in selects[0].expressions else -1
    found = [(first, selects[0])]
    for select in selects[1:]:
        items = select.expressions
        item = _output(select, name) or (items[position] if 0 <= position < len(items) else None)
        found += [(item, select)] if item is not None else []
    return found


def _output(select: exp.Select, name: str) -> exp.Expression | None:
    """The item of a select list that gives a column its name; for a star a bare column of that name."""
    from sqlglot import exp

    for item in select.expressions:
        if item.alias_or_name.lower() == name.lower() and not isinstance(item, exp.Star):
            return item
    if any(item.is_star for item in select.expressions):
        return _replaced(select, name) or exp.column(name)
    return None


def _replaced(select: exp.Select, name: str) -> exp.Expression | None:
    from sqlglot import exp

    for star in select.find_all(exp.Star):
        for alias in star.args.get("replace") or []:
            if alias.alias.lower() == name.lower():
                return alias
    return None


def _trace(node: exp.Expression, select: exp.Select, depth: int = 0) -> _Trace | None:
    """Follow a timestamp down to what decides it; None if nothing is known against it."""
    from sqlglot import exp

    if depth > 50:  # a recursive CTE that feeds itself
        return None
    if _cuts(node):
        return _Trace(node, starts=True)
    if isinstance(node, (exp.Add, exp.DateAdd, exp.TimestampAdd, exp.TsOrDsAdd)):
        return _Trace(node, starts=False)
    if isinstance(node, exp.Column):
        return _trace_column(node, select, depth)
    for child in _carriers(node):
        found = _trace(child, select, depth + 1)
        if found is not None:
            return found
    return None


def _cuts(node: exp.Expression) -> bool:
    """Whether an expression cuts a time to the start of a period."""
    from sqlglot import exp

    if isinstance(node, (exp.Cast, exp.TryCast)):
        return bool(node.to.is_type("date"))
    cutting = (exp.TimestampTrunc, exp.DateTrunc, exp.DateBin, exp.DateFromParts, exp.Date, exp.LastDay, exp.TimeToStr)
    return isinstance(node, cutting)


def _carriers(node: exp.Expression) -> list[exp.Expression]:
    """The operands whose instant an expression passes on."""
    from sqlglot import exp

    if isinstance(node, exp.Case):
        default = node.args.get("default")
        return [i.args["true"] for i in node.args["ifs"]] + ([default] if default else [])
    if isinstance(node, exp.If):
        return [n for n in (node.args.get("true"), node.args.get("false")) if n]
    if isinstance(node, exp.Coalesce):
        return [node.this, *node.expressions]
    passing = (exp.Alias, exp.Paren, exp.Cast, exp.TryCast, exp.AtTimeZone, exp.Sub, exp.StrToTime, exp.Nullif)
    picking = (exp.Min, exp.Max, exp.First, exp.Last, exp.AnyValue, exp.IgnoreNulls, exp.Filter, exp.Window)
    return [node.this] if isinstance(node, passing + picking) else []


def _trace_column(column: exp.Column, select: exp.Select, depth: int) -> _Trace | None:
    """A column of a CTE or subquery is what that computes; else it may be an earlier alias of the same list."""
    from sqlglot import exp

    base = False
    for relation, _ in relations(select):
        if column.table and relation.alias_or_name.lower() != column.table.lower():
            continue
        inner = _inner(relation)
        if inner is None:
            base = True
            continue
        for expression, scope in _stamps(inner, _renamed(relation, inner, column.name)):
            found = _trace(expression, scope, depth + 1)
            if found is not None:
                return found
    if column.table or base:
        return None
    for item in select.expressions:
        if isinstance(item, exp.Alias) and item.alias.lower() == column.name.lower() and column not in item.walk():
            return _trace(item.this, select, depth + 1)
    return None


def _inner(relation: exp.Expression) -> exp.Query | None:
    """The query behind a relation, or None for sources, refs and functions."""
    from sqlglot import exp

    if isinstance(relation, exp.Subquery):
        return relation.this if isinstance(relation.this, exp.Query) else None
    cte = find_cte(relation)
    return cte.this if cte is not None and isinstance(cte.this, exp.Query) else None


def _renamed(relation: exp.Expression, inner: exp.Query, name: str) -> str:
    """The name inside a relation whose columns are renamed by its alias: ``AS t(a, b)``."""
    source = find_cte(relation) or relation
    names = [c.lower() for c in source.alias_column_names] if hasattr(source, "alias_column_names") else []
    selects = outermost(inner)
    if name.lower() in names and selects:
        position = names.index(name.lower())
        items = selects[0].expressions
        return str(items[position].alias_or_name) if position < len(items) else name
    return name


def _error(parsed: Parsed, name: str, expression: exp.Expression, node: exp.Expression | None) -> LeakageError:
    from sqlglot import exp

    unit = str(node.args["unit"].name).lower() if node is not None and node.args.get("unit") else "day"
    interval, delay = _PERIODS.get(unit, ("1 DAY", "1d"))
    if isinstance(node, exp.DateBin):
        interval = node.this.sql("duckdb").replace("INTERVAL ", "")
    shown = show(expression.unalias())
    made = f"made by {show(node)}" if node is not None else "a DATE"
    return LeakageError(
        f"the timestamp {name} is {made}: it names the start of a period that is not yet over",
        where=where(parsed, node if node is not None else expression),
        hint=f"stamp the period's end: {shown} + INTERVAL {interval} AS {name}; "
        f'or state when rows are known: config(delay="{delay}")',
    )
