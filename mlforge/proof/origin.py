"""The columns of sources and features that a column of a query is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlglot import exp


@dataclass(frozen=True)
class Origin:
    """What a column is made of: (schema, table, column) of each column that its expression names, through CTEs and
    subqueries. ``copied``: it holds the value of one of them unchanged, in every branch of a set operation."""

    columns: frozenset[tuple[str, str, str]] = frozenset()
    copied: bool = False


def origin(query: exp.Expression, column: str) -> Origin:
    """The origin of a column of a query whose names are qualified (``known.qualified``). Of a constant, and of what
    cannot be followed, there are no columns."""
    return _of_query(query, column.lower(), {})


def _of_query(query: exp.Expression, wanted: str | int, around: Mapping[str, exp.Expression]) -> Origin:
    from sqlglot import exp

    while isinstance(query, exp.Subquery):
        query = query.this
    with_ = query.args.get("with_")
    if with_ is not None:
        if with_.args.get("recursive"):
            return Origin()
        around = dict(around)
        for cte in with_.expressions:
            around[cte.alias] = cte
    if isinstance(query, exp.SetOperation):
        place = query.named_selects.index(wanted) if wanted in query.named_selects else wanted
        left, right = (_of_query(branch, place, around) for branch in (query.this, query.expression))
        return Origin(left.columns | right.columns, left.copied and right.copied)
    if not isinstance(query, exp.Select):
        return Origin()
    names = query.named_selects
    place = names.index(wanted) if wanted in names else wanted
    if not isinstance(place, int) or place >= len(names):
        return Origin()
    item = query.expressions[place].unalias()
    while isinstance(item, exp.Paren):
        item = item.this
    found = [_of_column(query, c, around) for c in item.find_all(exp.Column)]
    columns = frozenset[tuple[str, str, str]]().union(*(o.columns for o in found))
    return Origin(columns, isinstance(item, exp.Column) and found[0].copied)


def _of_column(select: exp.Select, column: exp.Column, around: Mapping[str, exp.Expression]) -> Origin:
    from sqlglot import exp

    clauses = [select.args["from_"], *(select.args.get("joins") or [])] if select.args.get("from_") else []
    relation = next((c.this for c in clauses if c.this.alias_or_name == column.table), None)
    if isinstance(relation, exp.Subquery) and not relation.alias_column_names:
        return _of_query(relation.this, column.name, around)
    if not isinstance(relation, exp.Table) or not isinstance(relation.this, exp.Identifier):
        return Origin()
    if relation.db:
        return Origin(frozenset([(relation.db, relation.name, column.name)]), copied=True)
    cte = around.get(relation.name)
    return _of_query(cte.this, column.name, _before(cte, around)) if isinstance(cte, exp.CTE) else Origin()


def _before(cte: exp.Expression, around: Mapping[str, exp.Expression]) -> Mapping[str, exp.Expression]:
    """The CTEs that one may read: a name that is its own is that of another, further out, or a table's."""
    return {name: other for name, other in around.items() if other is not cte}
