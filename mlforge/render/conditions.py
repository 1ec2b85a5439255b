"""Conditions on a row, as ``sql("...")`` of a check and ``deleted`` of a source have them: one expression that sees its
own row only, parsed as features are and made again from its tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.errors import FeatureError
from mlforge.model import FeatureConfig, LineMap, Rendered
from mlforge.render.functions import function_name, is_aggregate
from mlforge.render.leaks import CLOCK, TABLE_FUNCTIONS, volatile_calls
from mlforge.render.parse import statement
from mlforge.render.roundtrip import check_round_trip, normalise
from mlforge.render.syntax import DIALECT, TOO_DEEP, show
from mlforge.render.tokens import check_tokens

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlglot import exp

__all__ = ["CLOCK", "condition"]

_HINT = "write one condition on the row's columns, as in amount >= 0"


def condition(text: str, *, allowed: Collection[str] = ()) -> str:
    """The condition that a text states, as SQL of its own. ``allowed``: calls that may change from run to run.

    Raises FeatureError, without a place, for anything that is not one expression over the columns of its row."""
    rendered = Rendered(name="", path="", sql=f"SELECT (\n{text}\n)", config=_CONFIG, lines=LineMap((("", 1),)))
    try:
        _check_brackets(text)
        tree = normalise(statement(rendered))
        check_tokens(rendered)
        found = _only_expression(tree)
        check_round_trip(rendered, tree)
        _check_row(found, allowed)
        return str(found.sql(DIALECT))
    except FeatureError as error:
        hint = (error.hint or _HINT).replace("near: SELECT (", "near:")
        raise FeatureError(error.message, hint=hint) from None
    except RecursionError:
        raise FeatureError(TOO_DEEP, hint=_HINT) from None


_CONFIG = FeatureConfig(entity="")


def _check_brackets(text: str) -> None:
    """The brackets around the text must not be closed within it: ``TRUE) FROM t --``."""
    import sqlglot
    from sqlglot.errors import TokenError
    from sqlglot.tokens import TokenType

    depth = 0
    try:
        tokens = sqlglot.tokenize(text, read=DIALECT)
    except TokenError:
        return  # parsing says what is wrong
    for token in tokens:
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if depth < 0:
            raise FeatureError("a closing bracket without an opening one", hint=_HINT)
        if token.token_type == TokenType.SEMICOLON:
            raise FeatureError("a semicolon in a condition", hint=_HINT)


def _only_expression(tree: exp.Query) -> exp.Expression:
    from sqlglot import exp

    clauses = [key for key, value in tree.args.items() if value and key != "expressions"]
    items = tree.expressions
    if not isinstance(tree, exp.Select) or clauses or len(items) != 1:
        raise FeatureError("this is not one expression", hint=_HINT)
    if isinstance(items[0], exp.Subquery) and not items[0].args.get("alias"):
        return items[0]
    if not isinstance(items[0], exp.Paren) or isinstance(items[0].this, (exp.Alias, exp.Star, exp.Tuple)):
        raise FeatureError("this is not one expression", hint=_HINT)
    return items[0].this


def _check_row(tree: exp.Expression, allowed: Collection[str]) -> None:
    from sqlglot import exp

    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Func) or function_name(table.this) not in TABLE_FUNCTIONS:
            raise FeatureError(f"{show(table)} in FROM: a condition sees its own row only", hint=_HINT)
    top = tree.find_ancestor(exp.Select)
    for node in tree.find_all(exp.Window, exp.Func):
        if isinstance(node, exp.Window) or (is_aggregate(node) and node.find_ancestor(exp.Query) is top):
            raise FeatureError(f"{show(node)}: a condition sees its own row only", hint=_HINT)
    for parameter in tree.find_all(exp.Placeholder, exp.Parameter):
        raise FeatureError(f"{show(parameter)} is a parameter: nothing gives it a value", hint=_HINT)
    for node, name in volatile_calls(tree):
        if name not in allowed:
            raise FeatureError(f"{show(node)} is not the same in every run", hint="derive it from columns")
