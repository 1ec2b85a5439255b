"""Refusing SQL that sqlglot would change: text made from a tree must parse to that tree again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.render.syntax import DIALECT, refuse, source_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlglot import exp

    from mlforge.errors import GrammarError
    from mlforge.model import Rendered

_MESSAGE = "mlforge cannot carry this expression: {text}"


def normalise(tree: exp.Query) -> exp.Query:
    """Write what only differs in spelling in one way, in place."""
    from sqlglot import exp

    for node in list(tree.walk()):
        node.pop_comments()
        if isinstance(node, exp.WithinGroup):
            node.replace(_within_group(node))
        elif isinstance(node, exp.DateAdd) and not node.args.get("unit"):
            node.replace(exp.Add(this=node.this, expression=node.expression))
        elif isinstance(node, exp.WindowSpec) and not node.args.get("end"):
            node.set("end", "CURRENT ROW")
        elif isinstance(node, exp.GroupConcat) and not node.args.get("separator"):
            node.set("separator", exp.Literal.string(","))
    return tree


def _within_group(node: exp.WithinGroup) -> exp.Expression:
    """``percentile_cont(p) WITHIN GROUP (ORDER BY x)`` as ``quantile_cont(x, p)``; other shapes as they are."""
    from sqlglot import exp

    call, order = node.this, node.expression.expressions
    if not isinstance(call, (exp.PercentileCont, exp.PercentileDisc)) or len(order) != 1 or order[0].args.get("desc"):
        return node
    return type(call)(this=order[0].this, expression=call.this)


def check_round_trip(rendered: Rendered, tree: exp.Query) -> None:
    """Raises GrammarError, naming the smallest expression that differs, if the tree does not survive being written."""
    from sqlglot import ErrorLevel, parse_one
    from sqlglot.errors import SqlglotError

    _check_tilde(rendered, tree)
    try:
        text = tree.sql(DIALECT, unsupported_level=ErrorLevel.IGNORE)
        again = parse_one(text, dialect=DIALECT)
    except SqlglotError as error:
        raise refuse(rendered, tree, f"mlforge cannot carry this SQL: {error}") from error
    left, right = _comparable(tree.copy()), _comparable(again)
    if left != right:
        raise _lost(rendered, *_smallest(left, right))


def _check_tilde(rendered: Rendered, tree: exp.Query) -> None:
    """``s ~ p`` matches all of s in DuckDB 1 and searches in DuckDB 2; sqlglot takes it for REGEXP_MATCHES, a search.

    Of the two, only calls have a position."""
    from sqlglot import exp

    for node in tree.find_all(exp.RegexpLike):
        if "start" not in node.meta:
            hint = "write regexp_matches(s, p) to search, regexp_full_match(s, p) to match all of s"
            raise refuse(rendered, node, _MESSAGE.format(text=f"{source_text(rendered, node)} (the operator ~)"), hint)


def _comparable(tree: exp.Expression) -> exp.Expression:
    """Undo what sqlglot adds or respells while writing, where it does not change the meaning."""
    from sqlglot import exp

    for node in list(tree.walk(bfs=False))[::-1]:
        if isinstance(node, (exp.LogicalAnd, exp.LogicalOr)) and isinstance(node.this, exp.Cast):
            node.set("this", node.this.this)
        elif isinstance(node, exp.Join) and isinstance(node.this, exp.Unnest):
            node.set("on", None if isinstance(node.args.get("on"), exp.Boolean) else node.args.get("on"))
        elif isinstance(node, exp.Paren) and node.parent:
            node.replace(node.this)
        elif isinstance(node, exp.Identifier):
            node.set("quoted", True)  # a name such as at is written quoted; DuckDB's names have no case either way
        elif isinstance(node, exp.DataType):
            node.replace(exp.DataType.build(node.sql(DIALECT), dialect=DIALECT, udt=True))
        elif _is_respelled(node) and node.parent:
            node.replace(_respelled(node))
    return tree


def _is_respelled(node: exp.Expression) -> bool:
    """Nodes that sqlglot writes in other, equal words: IF as CASE, extract(dow) as DAYOFWEEK."""
    from sqlglot import exp

    if isinstance(node, exp.If):
        return not isinstance(node.parent, exp.Case)
    literals = (exp.RawString, exp.National)
    calls = (exp.Trim, exp.Extract, exp.Date, exp.JSONExtract, exp.JSONExtractScalar)
    return isinstance(node, literals + calls)


def _respelled(node: exp.Expression) -> exp.Expression:
    from sqlglot import ErrorLevel, parse_one

    again = parse_one(node.sql(DIALECT, unsupported_level=ErrorLevel.IGNORE), dialect=DIALECT)
    return again.unnest()


def _smallest(left: exp.Expression, right: exp.Expression) -> tuple[exp.Expression, exp.Expression]:
    """The deepest pair of nodes below which all difference lies."""
    pairs = list(_children(left, right))
    differing = [(a, b) for a, b in pairs if a != b]
    if type(left) is type(right) and len(differing) == 1 and _same_shape(left, right):
        return _smallest(*differing[0])
    return left, right


def _children(left: exp.Expression, right: exp.Expression) -> Iterator[tuple[exp.Expression, exp.Expression]]:
    return zip(left.iter_expressions(), right.iter_expressions(), strict=False)


def _same_shape(left: exp.Expression, right: exp.Expression) -> bool:
    return [c.arg_key for c in left.iter_expressions()] == [c.arg_key for c in right.iter_expressions()]


def _lost(rendered: Rendered, left: exp.Expression, right: exp.Expression) -> GrammarError:
    text = source_text(rendered, left)
    return refuse(
        rendered,
        left,
        _MESSAGE.format(text=text),
        f"written out again it would read {right.sql(DIALECT)}; say it in another way",
    )
