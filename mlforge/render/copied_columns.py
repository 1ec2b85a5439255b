"""Output columns that plainly copy a column of a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.render.scopes import find_cte
from mlforge.render.syntax import relations, source_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlglot import exp

Origin = tuple[str, str]
_DEEPEST = 50  # a recursive CTE feeds itself


def copied_column(tree: exp.Query, output: str) -> tuple[str, str] | None:
    """The (source, column) whose values an output column of the outermost SELECT holds unchanged, or None.

    Bare column references are followed through aliases, stars, CTEs and subqueries in FROM. None for an expression, for
    what could mean two things, for a column of a feature, and where the branches of a set operation have different
    origins. Names are compared without case; the column is spelled as the innermost mention spells it."""
    return _of_query(tree, output, 0)


def _of_query(query: exp.Expression, wanted: str | int, depth: int) -> Origin | None:
    """The origin of a column of a query, which is named or given by its position."""
    from sqlglot import exp

    if depth > _DEEPEST:
        return None
    if isinstance(query, exp.Subquery):
        return _of_query(query.this, wanted, depth + 1)
    if isinstance(query, exp.SetOperation):
        place = wanted if query.args.get("by_name") else _position(query, wanted)
        if place is None or (query.args.get("by_name") and isinstance(place, int)):
            return None
        left, right = (_of_query(branch, place, depth + 1) for branch in (query.this, query.expression))
        same = left and right and (left[0], left[1].lower()) == (right[0], right[1].lower())
        return left if same else None
    return _of_select(query, wanted, depth) if isinstance(query, exp.Select) else None


def _position(query: exp.Expression, wanted: str | int) -> int | None:
    """Where a column stands in the first SELECT of a set operation, by which its branches are matched."""
    from sqlglot import exp

    if isinstance(wanted, int):
        return wanted
    while isinstance(query, (exp.SetOperation, exp.Subquery)):
        query = query.this
    items = query.expressions if isinstance(query, exp.Select) else []
    found = [n for n, item in enumerate(items) if _output(item) == wanted.lower()]
    return found[0] if len(found) == 1 and not any(map(_is_star, items[: found[0]])) else None


def _is_star(item: exp.Expression) -> bool:
    from sqlglot import exp

    return item.is_star or item.find(exp.Columns) is not None


def _output(item: exp.Expression) -> str | None:
    """The name of an item in lower case; None for a star."""
    return None if _is_star(item) else str(item.alias_or_name).lower()


def _of_select(select: exp.Select, wanted: str | int, depth: int) -> Origin | None:
    items = select.expressions
    stars = [item for item in items if _is_star(item)]
    if isinstance(wanted, int):
        known = wanted < len(items) and not any(map(_is_star, items[: wanted + 1]))
        return _of_item(select, items[wanted], depth) if known else None
    named = [item for item in items if _output(item) == wanted.lower()]
    if len(named) == 1 and (depth == 0 or not any(_may_carry(star, wanted) for star in stars)):
        return _of_item(select, named[0], depth)
    return _of_star(select, stars[0], wanted, depth) if not named and len(stars) == 1 else None


def _may_carry(star: exp.Expression, name: str) -> bool:
    """Whether a star could bring a second column of a name. In the outermost SELECT that is refused elsewhere."""
    options = _star_options(star)
    return options is None or name.lower() not in [n.lower() for n in _excluded(options)]


def _star_options(item: exp.Expression) -> exp.Star | None:
    """The star of ``*`` or ``s.*``; None for COLUMNS()."""
    from sqlglot import exp

    star = item.this if isinstance(item, exp.Column) else item
    return star if isinstance(star, exp.Star) else None


def _excluded(star: exp.Star) -> list[str]:
    return [str(e.name) for e in star.args.get("except_") or []]


def _of_star(select: exp.Select, item: exp.Expression, name: str, depth: int) -> Origin | None:
    from sqlglot import exp

    star = _star_options(item)
    if star is None or not _may_carry(item, name):
        return None
    for replaced in star.args.get("replace") or []:
        if replaced.alias.lower() == name.lower():
            return _of_item(select, replaced, depth)
    for renamed in star.args.get("rename") or []:
        if renamed.alias.lower() == name.lower():
            if depth > 0:  # the relation may have a column of that name beside it
                return None
            name = renamed.this.name
            break
        if renamed.this.name.lower() == name.lower():
            return None
    relation = _relation(select, item.table if isinstance(item, exp.Column) else "")
    return _of_relation(relation, name, depth) if relation is not None else None


def _relation(select: exp.Select, qualifier: str) -> exp.Expression | None:
    """The one relation of FROM that a qualifier names, or that there is, where nothing qualifies."""
    found = [relation for relation, _ in relations(select)]
    if qualifier:
        found = [r for r in found if r.alias_or_name.lower() == qualifier.lower()]
    return found[0] if len(found) == 1 else None


def _of_item(select: exp.Select, item: exp.Expression, depth: int) -> Origin | None:
    from sqlglot import exp

    column = item.unalias()
    while isinstance(column, exp.Paren):
        column = column.this
    if not isinstance(column, exp.Column) or column.args.get("db") or _is_star(column):
        return None
    if not column.table and _is_earlier_alias(select.expressions, item, column.name):
        return None
    relation = _relation(select, column.table)
    return _of_relation(relation, column.name, depth) if relation is not None else None


def _is_earlier_alias(items: Sequence[exp.Expression], item: exp.Expression, name: str) -> bool:
    """A bare name may mean an earlier alias of the list, if no column of FROM has it."""
    from sqlglot import exp

    earlier = items[: items.index(item)] if item in items else items
    return any(isinstance(e, exp.Alias) and e.alias.lower() == name.lower() for e in earlier)


def _of_relation(relation: exp.Expression, name: str, depth: int) -> Origin | None:
    from sqlglot import exp

    if relation.args.get("pivots"):
        return None
    source = source_name(relation)
    if source is not None:
        return (source, name) if not relation.alias_column_names else None
    if isinstance(relation, exp.Subquery):
        wanted = _renamed(relation, name)
        return _of_query(relation.this, wanted, depth + 1) if wanted is not None else None
    cte = find_cte(relation)
    if cte is None:
        return None
    place = _renamed(relation, name)
    wanted = _renamed(cte, place) if isinstance(place, str) else place
    return _of_query(cte.this, wanted, depth + 1) if wanted is not None else None


def _renamed(relation: exp.Expression, name: str) -> str | int | None:
    """What a name means inside a relation: the same name, or a position where ``AS t(a, b)`` gives new names."""
    names = [c.lower() for c in getattr(relation, "alias_column_names", [])]
    if not names:
        return name
    return names.index(name.lower()) if names.count(name.lower()) == 1 else None
