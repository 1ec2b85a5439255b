"""Where the columns of a feature come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.records import Edge

if TYPE_CHECKING:
    from sqlglot import exp

    from mlforge.model import Definition


def edges(definition: Definition) -> list[Edge]:
    """The sources and features that each output column is made of, with their columns where the SQL names them.

    Names are followed through CTEs and subqueries by name; what cannot be followed is attributed to the feature as a
    whole (``column`` None), so that nothing upstream is ever missing."""
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(definition.sql, dialect="duckdb")
    asked = {name.lower() for name in definition.request}
    for used in list(tree.find_all(exp.Column)):
        if not used.table and used.name.lower() in asked:
            used.replace(exp.null())  # given with the request: it comes from nothing upstream
    found = [Edge(column=None, kind="source", origin=s) for s in sorted(definition.sources)]
    found += [Edge(column=None, kind="feature", origin=r) for r in sorted(definition.refs)]
    for column in definition.columns:
        item = _item(tree, column.name)
        if item is not None:
            found += sorted(_of(tree, item, column.name, set()), key=_place)
    return found


def _place(edge: Edge) -> tuple[str, str, str]:
    return edge.kind, edge.origin, edge.origin_column or ""


def _item(query: exp.Expression, name: str) -> exp.Expression | None:
    from sqlglot import exp

    selects = [query] if isinstance(query, exp.Select) else list(query.find_all(exp.Select))[:1]
    items = [i for s in selects for i in s.expressions]
    return next((i for i in items if i.alias_or_name.lower() == name.lower()), None)


def _of(tree: exp.Expression, item: exp.Expression, column: str, seen: set[tuple[int, str]]) -> set[Edge]:
    """Edges of one item of a select list."""
    from sqlglot import exp

    select = item.find_ancestor(exp.Select) or tree
    result: set[Edge] = set()
    for used in item.find_all(exp.Column):
        for table in _tables(select, used):
            result |= _through(tree, table, used.name, column, seen)
    return result


def _tables(select: exp.Expression, used: exp.Column) -> list[exp.Expression]:
    """The relations of FROM that a column may belong to."""
    from_ = select.args.get("from_")
    tables = [*([from_.this] if from_ else []), *(j.this for j in select.args.get("joins") or [])]
    named = [t for t in tables if used.table and t.alias_or_name.lower() == used.table.lower()]
    return named or ([] if used.table else tables[:1] if len(tables) == 1 else [])


def _through(
    tree: exp.Expression, table: exp.Expression, name: str, column: str, seen: set[tuple[int, str]]
) -> set[Edge]:
    from sqlglot import exp

    if isinstance(table, exp.Table) and table.db in ("_mlforge_source", "_mlforge_ref"):
        kind = "source" if table.db == "_mlforge_source" else "feature"
        return {Edge(column=column, kind=kind, origin=table.name, origin_column=name)}  # type: ignore[arg-type]
    inner = table.this if isinstance(table, exp.Subquery) else _cte(tree, table.name)
    if inner is None or (id(inner), name) in seen:
        return set()
    seen.add((id(inner), name))
    item = _item(inner, name)
    return _of(tree, item, column, seen) if item is not None else set()


def _cte(tree: exp.Expression, name: str) -> exp.Expression | None:
    from sqlglot import exp

    return next((c.this for c in tree.find_all(exp.CTE) if c.alias.lower() == name.lower()), None)
