"""A query as the proofs read it: names spelt out, and no columns that nothing reads, since what is computed and not
selected must not accuse. Nor may it choose among equal rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.proof.relations import Unproven, qualified
from mlforge.render.functions import function_name, has_over, is_aggregate
from mlforge.render.scopes import find_cte
from mlforge.render.syntax import relations as relations_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlglot import exp

    from mlforge.proof.relations import Relations

    Env = dict[str, set[str] | None]  # CTE -> the columns of it that are read; None: all
    # number of a SELECT -> of each relation of its FROM the alias and the columns, in lower case; None: all
    Read = dict[int, list[tuple[str, frozenset[str] | None]]]

_NAMED = ""  # among the columns that are read of a CTE: it stands in a FROM
#: Where the meta of a SELECT, which copies keep, has its number.
NUMBER = "mlforge_select"


def prepared(tree: exp.Query, relations: Relations) -> exp.Query:
    """A qualified copy of the query, without CTEs that nothing reads, and columns of subqueries and CTEs that nothing
    reads; the rows of each stay the same but for those columns. Raises Unproven for SQL that cannot be resolved so."""
    for number, select in enumerate(_selects(tree)):
        select.meta[NUMBER] = number
    query = qualified(tree, relations)
    try:
        _prune(query, None, {})
    except RecursionError as error:
        raise Unproven("it is nested too deeply", tree) from error
    return query


def _selects(tree: exp.Query) -> Iterator[exp.Select]:
    from sqlglot import exp

    yield from tree.find_all(exp.Select)


def read(query: exp.Query, relations: Relations) -> Read:
    """What tells the rows of relations apart, in each SELECT of the tree that ``query`` was prepared from: of a source
    all columns but those that are known later than their row and that this SELECT does not read; of others those that
    something reads. Rows that are equal in them are the same to whoever reads the query."""
    known = {(schema.lower(), name.lower()): relation for (schema, name), relation in relations.items()}
    found: Read = {}
    for select in _selects(query):
        number = select.meta.get(NUMBER)
        if number is not None:
            found[number] = [(r.alias_or_name.lower(), _read_of(select, r, known)) for r, _ in relations_of(select)]
    return found


def _read_of(select: exp.Select, relation: exp.Expression, known: Relations) -> frozenset[str] | None:
    from sqlglot import exp

    if isinstance(relation, exp.Table) and (relation.db, relation.name) in known:
        of = known[relation.db, relation.name]
        own = {column.name for column in select.find_all(exp.Column) if column.table == relation.alias_or_name}
        late = {column.lower() for column in of.known} - own
        return frozenset({column.lower() for column in of.columns} - late) if late else None
    cte = find_cte(relation)
    query = relation.this if cte is None else cte.this
    if cte is not None and cte.args["alias"].args.get("columns"):
        return None
    if _odd(relation) or not isinstance(query, exp.Query) or query.is_star:
        return None
    return frozenset(name.lower() for name in query.named_selects)


def _prune(node: exp.Expression, needed: set[str] | None, env: Env) -> None:
    from sqlglot import exp

    while isinstance(node, exp.Subquery):
        node = node.this
    with_ = node.args.get("with_")
    ctes = with_.expressions if with_ is not None else []
    inner: Env = {**env, **{cte.alias: set() for cte in ctes}}
    if isinstance(node, exp.SetOperation):
        keep = needed if _alike(node, needed) else None
        for branch in (node.this, node.expression):
            _prune(branch, keep, inner)
    elif isinstance(node, exp.Select):
        if needed is not None:
            node.set("expressions", _kept(node, needed))
        _read(node, inner)
    else:
        _everything(node, inner)
    for cte in reversed(ctes):
        renamed = cte.args["alias"].args.get("columns") or with_.args.get("recursive")
        _prune(cte.this, None if renamed else inner[cte.alias], inner)
        if inner[cte.alias] == set() and not with_.args.get("recursive"):
            cte.pop()
    if with_ is not None and not with_.expressions:
        with_.pop()
    for name in env.keys() - {cte.alias for cte in ctes}:
        env[name] = inner[name]


def _alike(node: exp.SetOperation, needed: set[str] | None) -> bool:
    """Whether the branches of a UNION ALL keep the same columns, by name and place."""
    from sqlglot import exp

    left, right = node.this, node.expression
    if needed is None or node.args.get("distinct") or node.args.get("by_name") or not isinstance(node, exp.Union):
        return False
    if not isinstance(left, exp.Select) or not isinstance(right, exp.Select) or node.args.get("order"):
        return False
    names = [[item.alias_or_name for item in _kept(branch, needed)] for branch in (left, right)]
    return left.named_selects == right.named_selects and names[0] == names[1]


def _kept(select: exp.Select, needed: set[str]) -> list[exp.Expression]:
    """The items of the list that are read, and those that decide which rows there are."""
    from sqlglot import exp

    distinct = select.args.get("distinct")
    every = distinct is not None and not distinct.args.get("on")
    every = every or any(select.args.get(key) for key in ("limit", "offset", "fetch", "sample"))
    if every or select.find(exp.Columns):
        return list(select.expressions)
    group = select.args.get("group")
    own = {column.name for column in select.find_all(exp.Column) if not column.table}  # aliases in ORDER BY
    dropped, kept, aggregates = [], [], 0
    for item in select.expressions:
        nodes = list(item.unalias().walk(prune=lambda n: isinstance(n, exp.Query)))
        aggregate = any(is_aggregate(n) and not has_over(n) for n in nodes)
        rows = any(function_name(n) == "unnest" for n in nodes)
        key = group is not None and group.args.get("all") and not aggregate
        if item.alias_or_name in needed or item.alias_or_name in own or rows or key or item.is_star:
            kept.append(item)
            aggregates += aggregate
        else:
            dropped.append((item, aggregate))
    one = group is None or (group.args.get("all") and not kept)
    if one and not aggregates and any(aggregate for _, aggregate in dropped):
        kept.append(next(item for item, aggregate in dropped if aggregate))  # it makes one row of all
    if not kept:
        kept.append(exp.alias_(exp.Literal.number(1), "_mlforge_none", quoted=True))
    return kept


def _read(select: exp.Select, env: Env) -> None:
    """Prune the relations of a SELECT and its subqueries to what is read of them."""
    from sqlglot import exp

    reads: dict[str, set[str]] = {}
    for column in select.find_all(exp.Column):
        reads.setdefault(column.table, set()).add(column.name)
    unnamed = reads.get("", set())  # of whichever relation has it
    joins = select.args.get("joins") or []
    sources = [join.this for join in joins] + ([select.args["from_"].this] if select.args.get("from_") else [])
    for source in sources:
        _source(source, reads.get(source.alias_or_name, set()) | unnamed, env)
    held = {id(source) for source in sources}
    for node in select.walk(prune=lambda n: n is not select and (isinstance(n, exp.Query) or id(n) in held)):
        inner = node is not select and isinstance(node, exp.Query) and id(node) not in held
        if inner and not isinstance(node.parent, exp.CTE):
            _prune(node, set() if isinstance(node.parent, exp.Exists) else None, env)


def _source(source: exp.Expression, columns: set[str], env: Env) -> None:
    from sqlglot import exp

    if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier) and not source.db:
        read = env.get(source.name)
        if source.name in env and read is not None:
            env[source.name] = None if _odd(source) else read | columns | {_NAMED}
    elif isinstance(source, exp.Subquery):
        _prune(source.this, None if _odd(source) else columns, env)
    else:
        _everything(source, env)


def _odd(source: exp.Expression) -> bool:
    """Whether more is done to a relation than to name it."""
    alias = source.args.get("alias")
    renamed = alias is not None and alias.args.get("columns")
    return bool(renamed) or any(value for key, value in source.args.items() if key not in ("this", "db", "alias"))


def _everything(node: exp.Expression, env: Env) -> None:
    """All columns of the CTEs that are named within a node are read."""
    from sqlglot import exp

    for table in node.find_all(exp.Table):
        if not table.db and table.name in env:
            env[table.name] = None
