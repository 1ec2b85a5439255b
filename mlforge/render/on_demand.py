"""On-demand features: one SELECT of row expressions over ref()s and request columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.render.functions import function_name, is_aggregate
from mlforge.render.syntax import Parsed, ref_name, refuse, relations, show, source_name

if TYPE_CHECKING:
    from sqlglot import exp

_CLAUSES = {
    "with_": "WITH",
    "where": "WHERE",
    "group": "GROUP BY",
    "having": "HAVING",
    "distinct": "DISTINCT",
    "qualify": "QUALIFY",
    "windows": "WINDOW",
}
_HINT = "it computes one row from ref() and request columns; put the rest into a feature of its own and ref() that"


def check_on_demand(parsed: Parsed) -> None:
    """Refuse what an on-demand feature may not hold. Raises GrammarError."""
    from sqlglot import exp

    tree = parsed.tree
    if not isinstance(tree, exp.Select):
        raise refuse(parsed, tree, f"{tree.key.upper()} in an on-demand feature", _HINT)
    for key, name in _CLAUSES.items():
        if tree.args.get(key):
            raise refuse(parsed, tree.args[key], f"{name} in an on-demand feature", _HINT)
    for relation, join in relations(tree):
        _check_relation(parsed, relation, join)
    for item in tree.expressions:
        _check_expression(parsed, item)


def _check_relation(parsed: Parsed, relation: exp.Expression, join: exp.Join | None) -> None:
    if source_name(relation):
        raise refuse(parsed, relation, f"{show(relation)} in an on-demand feature", _HINT)
    if not ref_name(relation):
        raise refuse(parsed, relation, f"{show(relation)} in FROM of an on-demand feature", _HINT)
    if join is None:
        return
    if any(join.args.get(k) for k in ("on", "using", "side", "method")) or join.kind not in ("", "CROSS"):
        raise refuse(
            parsed,
            relation,
            f"{show(join).strip(' ,')}: ref()s of an on-demand feature are joined by the label's key and time",
            "write them with commas: FROM {{ ref('a') }} AS a, {{ ref('b') }} AS b",
        )


def _check_expression(parsed: Parsed, item: exp.Expression) -> None:
    from sqlglot import exp

    for node in item.walk():
        if isinstance(node, exp.Window):
            raise refuse(parsed, node, f"window {show(node)} in an on-demand feature", _HINT)
        if isinstance(node, exp.Query) and node.find(exp.From):
            raise refuse(parsed, node, f"subquery {show(node)} in an on-demand feature", _HINT)
        if function_name(node) == "unnest":
            raise refuse(parsed, node, f"{show(node)} in an on-demand feature", _HINT)
        if is_aggregate(node):
            raise refuse(parsed, node, f"aggregate {show(node)} in an on-demand feature", _HINT)
