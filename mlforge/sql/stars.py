"""Writing out ``*``, EXCLUDE, REPLACE, RENAME and COLUMNS() with the columns that the engine finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.render.names import default_name
from mlforge.render.syntax import outermost, refuse, show, where

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlglot import exp

    from mlforge.render.syntax import Parsed

Describe = "Callable[[str, exp.Expression | None], dict[str, str]]"


def expand_stars(parsed: Parsed, describe: Callable[[str, exp.Expression | None], dict[str, str]]) -> exp.Query:
    """A copy of the feature's tree in which every item of every outermost select list is one named column."""
    tree = parsed.tree.copy()
    for select in outermost(tree):
        items = [named for item in select.expressions for named in _expand(parsed, tree, select, item, describe)]
        select.set("expressions", items)
    return tree


def _expand(
    parsed: Parsed,
    tree: exp.Query,
    select: exp.Select,
    item: exp.Expression,
    describe: Callable[[str, exp.Expression | None], dict[str, str]],
) -> list[exp.Expression]:
    _refuse_patterns(parsed, item)
    if not _has_star(item):
        return [_named(parsed, item)]
    names = list(describe(str(alone(tree, select, item).sql("duckdb")), item))
    return [_star_column(item, name) for name in names]


def _has_star(item: exp.Expression) -> bool:
    from sqlglot import exp

    bare = item.unalias()
    if isinstance(bare, exp.Column) and isinstance(bare.this, exp.Star):
        return True
    return isinstance(bare, (exp.Star, exp.Columns))


def _refuse_patterns(parsed: Parsed, item: exp.Expression) -> None:
    """``* LIKE 'a%'`` reads as a comparison; DuckDB takes it for a choice of columns."""
    from sqlglot import exp

    bare = item.unalias()
    bare = bare.this if isinstance(bare, exp.Not) else bare
    compared = isinstance(bare, (exp.Like, exp.ILike, exp.SimilarTo, exp.Glob)) and _has_star(bare.this)
    if compared or (isinstance(bare, exp.Star) and bare.args.get("ilike")):
        hint = "name them, or choose them by a regular expression, as in COLUMNS('^a')"
        raise refuse(parsed, item, f"{show(item)} does not choose columns in a feature", hint)


def _named(parsed: Parsed, item: exp.Expression) -> exp.Expression:
    from sqlglot import exp

    if isinstance(item, exp.Alias):
        return item
    return exp.alias_(item, default_name(item, where(parsed, item)), quoted=True)


def _star_column(item: exp.Expression, name: str) -> exp.Expression:
    """The expression that a star stands for under one of its names: REPLACE's, the renamed column, or the column."""
    from sqlglot import exp

    star = item.this if isinstance(item, exp.Column) else item
    table = item.args.get("table") if isinstance(item, exp.Column) else None
    for replaced in star.args.get("replace") or []:
        if replaced.alias.lower() == name.lower():
            return exp.alias_(replaced.this.copy(), name, quoted=True)
    for renamed in star.args.get("rename") or []:
        if renamed.alias.lower() == name.lower():
            return exp.alias_(exp.column(renamed.this.name, table=table, quoted=True), name, quoted=True)
    return exp.alias_(exp.column(exp.to_identifier(name, quoted=True), table=table), name, quoted=True)


def alone(tree: exp.Query, select: exp.Select, item: exp.Expression) -> exp.Select:
    """The query that yields just this item, under the CTEs of the whole."""
    alone = select.copy()
    alone.set("expressions", [item.copy()])
    for clause in ("where", "group", "having", "qualify", "distinct"):
        alone.set(clause, None)
    if select is not tree and tree.args.get("with_"):
        alone.set("with_", tree.args["with_"].copy())
    return alone
