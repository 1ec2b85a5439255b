"""Integer sums and COUNT_IF are BIGINT, as in trailing windows; DuckDB's own type for them, HUGEINT, is not stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.errors import FeatureError
from mlforge.render.syntax import outermost
from mlforge.sql.stars import alone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from sqlglot import exp

    Describe = Callable[[str, exp.Expression | None], dict[str, str]]


def with_bigint_sums(query: exp.Query, names: Collection[str], describe: Describe) -> exp.Query:
    """A copy of the query in which such calls in the named output columns are BIGINT; overflow is then an error.

    ``names`` are outputs that came out as HUGEINT. What is HUGEINT for another reason stays so."""
    from sqlglot import exp

    query = query.copy()
    selects = outermost(query)
    positions = [n for n, item in enumerate(selects[0].expressions) if item.alias in names]
    for select in selects:
        for item in (select.expressions[n] for n in positions):
            for node in list(_sums(item)):
                if _type(query, select, node, describe) == "HUGEINT":
                    node.replace(exp.cast(node.copy(), "BIGINT"))
    return query


def _sums(item: exp.Expression) -> Iterator[exp.Expression]:
    """Calls of SUM and COUNT_IF with their FILTER and OVER, outside subqueries."""
    from sqlglot import exp

    for node in item.walk(prune=lambda n: isinstance(n, exp.Query)):
        if isinstance(node, (exp.Sum, exp.CountIf)):
            while isinstance(node.parent, (exp.Filter, exp.Window)) and node.parent.this is node:
                node = node.parent
            yield node


def _type(query: exp.Query, select: exp.Select, node: exp.Expression, describe: Describe) -> str | None:
    try:
        return next(iter(describe(str(alone(query, select, node).sql("duckdb")), node).values()))
    except FeatureError:  # it uses another item's alias, so it cannot be asked about alone
        return None
