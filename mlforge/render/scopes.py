"""Following names down: which CTE a table means, which sources a relation reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.render.syntax import source_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlglot import exp


def find_cte(table: exp.Expression) -> exp.CTE | None:
    """The CTE that a table name means at its place, or None."""
    from sqlglot import exp

    if not isinstance(table, exp.Table) or table.db or not isinstance(table.this, exp.Identifier):
        return None
    child: exp.Expression = table
    while child.parent is not None:
        with_ = child if isinstance(child, exp.With) else child.parent.args.get("with_")
        cte = _visible(with_, table) if isinstance(with_, exp.With) else None
        if cte is not None:
            return cte
        child = child.parent
    return None


def _visible(with_: exp.With, table: exp.Table) -> exp.CTE | None:
    """A CTE sees those before it, and itself only if it is recursive."""
    around = {id(p) for p in _ancestors(table)}
    found = None
    for cte in with_.expressions:
        inside = id(cte) in around
        if cte.alias.lower() == table.name.lower() and (not inside or with_.args.get("recursive")):
            found = cte
        if inside:
            break
    return found


def _ancestors(node: exp.Expression) -> list[exp.Expression]:
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def timed_below(node: exp.Expression, timed: Collection[str], seen: frozenset[int] = frozenset()) -> set[str]:
    """The names among ``timed`` of the sources that a node reads, through CTEs and subqueries."""
    from sqlglot import exp

    found: set[str] = set()
    for table in node.find_all(exp.Table):
        name, cte = source_name(table), find_cte(table)
        if name in timed:
            found.add(str(name))
        elif cte is not None and id(cte) not in seen:
            found |= timed_below(cte.this, timed, seen | {id(cte)})
    return found


def timed_in_from(select: exp.Select, timed: Collection[str]) -> set[str]:
    """The timed sources that FROM and JOIN of one SELECT read."""
    clauses = [select.args.get("from_"), *(select.args.get("joins") or [])]
    return set().union(*(timed_below(c, timed) for c in clauses if c is not None))
