"""Names of output columns: the default where no alias is written, and the names that may not be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlforge.errors import GrammarError
from mlforge.render.functions import primary_name
from mlforge.render.windows import Call, aggregate_call, is_trailing, suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlglot import exp

    from mlforge.errors import Where

__all__ = ["RESERVED", "Call", "aggregate_call", "check_names", "default_name", "primary_name", "proposed_name"]

RESERVED = "_mlforge"


def default_name(projection: exp.Expression, where: Where | None = None) -> str:
    """The column name of an item of the select list: its alias, or the name that follows from its shape.

    Raises GrammarError, with a name to use, for what needs AS."""
    from sqlglot import exp

    if isinstance(projection, exp.Alias):
        return str(projection.alias)
    node = _bare(projection)
    if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
        return str(node.name)
    name = _window_name(node)
    if name is not None:
        return name
    proposal = proposed_name(projection)
    raise GrammarError(f"column {_short(projection)} needs a name", where=where, hint=f"write AS {proposal} after it")


def _window_name(node: exp.Expression) -> str | None:
    """``{col}_{agg}_{w}``, or None where the rule gives no name."""
    from sqlglot import exp

    if not is_trailing(node):
        return None
    assert isinstance(node, exp.Window)
    call = aggregate_call(node)
    if call.filter is not None:
        return None
    if call.function == "count" and not call.args:
        return f"count_{suffix(node)}"
    if len(call.args) != 1 or not isinstance(call.args[0], exp.Column):
        return None
    distinct = "_distinct" if call.distinct else ""
    return f"{call.args[0].name}_{call.function}{distinct}_{suffix(node)}"


def proposed_name(node: exp.Expression) -> str:
    """A name for an expression that has none: its columns, functions and trailing windows, in that order."""
    words = [w for part in (_columns(node), _functions(node), _windows(node)) for w in part]
    plain = (re.sub(r"\W+", "_", word).strip("_").lower() for word in words)
    name = "_".join([w for w in dict.fromkeys(plain) if w][:5]) or "value"
    return f"c_{name}" if name[0].isdigit() else name


def _columns(node: exp.Expression) -> list[str]:
    from sqlglot import exp

    return [column.name for column in node.find_all(exp.Column, bfs=False)]


def _functions(node: exp.Expression) -> list[str]:
    from sqlglot import exp

    silent = (exp.Cast, exp.Connector, exp.Case, exp.If)
    return [primary_name(call) for call in node.find_all(exp.Func, bfs=False) if not isinstance(call, silent)]


def _windows(node: exp.Expression) -> list[str]:
    from sqlglot import exp

    return [suffix(window) for window in node.find_all(exp.Window, bfs=False) if is_trailing(window)]


def check_names(names: Sequence[str], where: Callable[[int], Where | None] | None = None) -> None:
    """Refuse names that occur twice, differ only in case, or belong to mlforge.

    ``where`` gives the place of the n-th name. Raises GrammarError."""
    seen: dict[str, str] = {}
    for position, name in enumerate(names):
        at = where(position) if where else None
        if name.lower().startswith(RESERVED):
            raise GrammarError(
                f"column name {name!r} starts with {RESERVED}",
                where=at,
                hint="such names are mlforge's own: write another",
            )
        other = seen.setdefault(name.lower(), name)
        if position and other == name and names.index(name) != position:
            raise GrammarError(
                f"two columns are named {name!r}",
                where=at,
                hint="give one of them another name with AS, or leave it out of a star: * EXCLUDE (...)",
            )
        if other != name:
            raise GrammarError(
                f"columns {other!r} and {name!r} differ only in case",
                where=at,
                hint="DuckDB takes them for one: rename one",
            )


def _bare(node: exp.Expression) -> exp.Expression:
    from sqlglot import exp

    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _short(node: exp.Expression) -> str:
    from mlforge.render.syntax import show

    text = show(node)
    return text if len(text) <= 60 else text[:57] + "..."
