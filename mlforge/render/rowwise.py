"""Whether each event row comes from one row of one source: then a change of some rows changes only what they made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlforge.render.functions import is_aggregate
from mlforge.render.scopes import find_cte
from mlforge.render.syntax import ref_name, relations, source_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlglot import exp

PART = "_mlforge_part"
"""Column of a source's view that says which file, or which slice of a table, a row comes from."""

_JOINS = ("", "INNER", "CROSS", "OUTER", "SEMI", "ANTI")


@dataclass(frozen=True)
class RowWise:
    """The relation whose rows become event rows, and the event relation with ``PART`` carried along.

    ``source`` None: the rows are those of the feature ``ref``, and ``query`` is unchanged, as it is with keys.
    ``beside`` are the sources that are joined or looked into: while they stay as they are, each event row depends on
    its own row alone."""

    source: str | None
    ref: str | None
    query: str
    beside: tuple[str, ...] = ()


class _Not(Exception):
    """Why a query is not row-wise."""


def row_wise(query: str, *, keys: Sequence[str] = ()) -> RowWise | str:
    """Analyse an event relation; a text says why its rows do not come one by one from rows of one relation.

    With ``keys``, output columns, aggregates and windows are allowed as long as they stay within one key."""
    import sqlglot

    tree = sqlglot.parse_one(query, dialect="duckdb")
    try:
        path = list(_path(tree, tuple(keys)))
    except _Not as reason:
        return str(reason)
    main = path[-1].relation
    name, ref = source_name(main), ref_name(main)
    sources = [n for t in tree.find_all(type(main)) if (n := source_name(t)) is not None]
    if sources.count(name or "") > 1 or (ref and [ref_name(t) for t in tree.find_all(type(main))].count(ref) > 1):
        return f"it reads {name or ref} more than once"
    carried = bool(name) and not keys
    for step in reversed(path) if carried else ():
        _carry(step)
    beside = tuple(dict.fromkeys(n for n in sources if n != name))
    return RowWise(name, ref, str(tree.sql("duckdb")) if carried else query, beside)


@dataclass(frozen=True)
class _Step:
    """One SELECT on the way from the outermost one to the table, and the relation of its FROM that leads on."""

    select: exp.Select
    relation: exp.Expression


def _path(query: exp.Expression, keys: tuple[str, ...]) -> Iterator[_Step]:
    from sqlglot import exp

    while isinstance(query, exp.Subquery):
        query = query.this
    if not isinstance(query, exp.Select):
        raise _Not("it is a set operation")
    found = relations(query)
    if not found:
        raise _Not("it has no FROM")
    relation = found[0][0]
    _check_select(query, relation, keys)
    yield _Step(query, relation)
    if isinstance(relation, exp.Subquery):
        yield from _path(relation.this, _below(query, keys))
    elif source_name(relation) is None and ref_name(relation) is None:
        cte = find_cte(relation)
        if cte is None:
            raise _Not("its first relation is neither a source nor a feature")
        if _uses(query.root(), cte) > 1:
            raise _Not(f"it reads {cte.alias} more than once")
        if cte.alias_column_names:
            raise _Not(f"{cte.alias} names its columns in a list")
        yield from _path(cte.this, _below(query, keys))


def _below(select: exp.Select, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The names that the keys have in the relation below, where they are bare columns."""
    from sqlglot import exp

    names = []
    items = {i.alias_or_name.lower(): i.unalias() for i in select.expressions if not i.is_star}
    for key in keys:
        item = items.get(key.lower())
        if item is None and any(i.is_star for i in select.expressions):
            names.append(key)
        elif isinstance(item, exp.Column):
            names.append(item.name)
        else:
            raise _Not(f"its key {key} is computed")
    return tuple(names)


def _uses(tree: exp.Expression, cte: exp.CTE) -> int:
    from sqlglot import exp

    return sum(find_cte(t) is cte for t in tree.find_all(exp.Table))


def _check_select(select: exp.Select, relation: exp.Expression, keys: tuple[str, ...]) -> None:
    from sqlglot import exp

    clauses = {"limit": "LIMIT", "offset": "OFFSET", "connect": "CONNECT"}
    if not keys:
        clauses |= {"group": "GROUP BY", "having": "HAVING", "distinct": "DISTINCT", "qualify": "QUALIFY"}
    for clause, word in clauses.items():
        if select.args.get(clause) or relation.args.get(clause):
            raise _Not(f"it has {word}")
    if relation.args.get("pivots") or getattr(relation, "alias_column_names", []):
        raise _Not("its relation is pivoted or renames its columns")
    for _, join in relations(select)[1:]:
        _check_join(join)
    below = {k.lower() for k in _below(select, keys)}
    for node in _own(select):
        if isinstance(node, exp.Columns):
            raise _Not("it uses COLUMNS()")
        if isinstance(node, exp.Window) and not _within(node, below):
            raise _Not("it has a window" + (" that crosses keys" if keys else ""))
        if is_aggregate(node) and not keys and not isinstance(node.parent, exp.Window):
            raise _Not("it aggregates")
        if is_aggregate(node) and keys and not select.args.get("group") and not node.find_ancestor(exp.Window):
            raise _Not("it aggregates over all keys")
        if isinstance(node, exp.Column) and not node.table and node.name.lower() in _aliases(select):
            raise _Not("it uses a whole row as a value")


def _within(window: exp.Window, keys: set[str]) -> bool:
    """Whether a window stays within one key."""
    from sqlglot import exp

    partition = {c.name.lower() for c in window.args.get("partition_by") or [] if isinstance(c, exp.Column)}
    return bool(keys) and keys <= partition


def _aliases(select: exp.Select) -> set[str]:
    return {r.alias_or_name.lower() for r, _ in relations(select)}


def _check_join(join: exp.Join | None) -> None:
    if join is None:
        return
    if join.side not in ("", "LEFT") or join.kind not in _JOINS or join.method not in ("", "ASOF"):
        words = " ".join(w for w in (join.method, join.side, join.kind) if w)
        raise _Not(f"its {words} JOIN has rows of its own")


def _own(select: exp.Select) -> Iterator[exp.Expression]:
    """The nodes of a SELECT without those of queries inside it."""
    from sqlglot import exp

    def inner(node: exp.Expression) -> bool:
        return node is not select and isinstance(node, (exp.Query, exp.With))

    return (n for n in select.walk(prune=inner) if not inner(n))


def _carry(step: _Step) -> None:
    """Add the part to a SELECT's list, unless a star brings it."""
    from sqlglot import exp

    alias = step.relation.alias_or_name
    for item in step.select.expressions:
        star = item.this if isinstance(item, exp.Column) else item
        if isinstance(star, exp.Star) and (item is star or item.table.lower() == alias.lower()):
            return
    column = exp.column(PART, table=exp.to_identifier(alias, quoted=True) if alias else None, quoted=True)
    step.select.append("expressions", exp.alias_(column, PART, quoted=True))
