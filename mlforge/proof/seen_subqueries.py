"""SEEN of subqueries: in WHERE, as the values of the list, and of SEMI JOIN."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlforge.proof.changing_rows import (
    CHOSEN,
    WRITE_ROWS,
    Change,
    Changing,
    Rows,
    aggregated,
    conjuncts,
    first_of,
    own,
    queries,
    seen_of,
)
from mlforge.proof.relations import SEEN, Leaking, Unproven
from mlforge.proof.seen_level import around, reads_time, tie

if TYPE_CHECKING:
    from sqlglot import exp

    from mlforge.proof.seen_level import Level


def lateral(query: exp.Query, level: Level, *, after: exp.Join | None = None) -> str:
    """Join a subquery that gives one row to each row, and take its SEEN as one of the row's."""
    from sqlglot import exp

    level.laterals += 1
    name = f"_mlforge_{level.laterals}"
    body = exp.Subquery(this=query)
    this = exp.Lateral(this=body, alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
    level.select.append("joins", exp.Join(this=this, kind="CROSS"))
    level.parts.append(seen_of(name))
    if after is not None:
        matched(level, name)
    return name


def matched(level: Level, name: str) -> exp.Expression:
    """The condition that a subquery found a row; for SEMI JOIN it is added to WHERE."""
    from sqlglot import exp

    found = exp.Not(this=exp.Is(this=seen_of(name), expression=exp.Null()))
    level.select.where(found, copy=False)
    return found


def where(level: Level) -> None:
    """WHERE: what it reads must not change; a subquery that must find a row makes this one known later."""
    from sqlglot import exp

    clause = level.select.args.get("where")
    guards = conjuncts(clause.this) if clause is not None else []
    guards = [guard for guard in guards if not _chooses(guard, level)]
    for guard in guards:
        node, negated = guard, False
        while isinstance(node, (exp.Paren, exp.Not)):
            negated ^= isinstance(node, exp.Not)
            node = node.this
        if isinstance(node, exp.Exists) or (isinstance(node, exp.In) and node.args.get("query") is not None):
            _exists(guard, node, level, negated=negated)
            continue
        for query in queries(guard):
            if not left_alone(query, level):
                raise Leaking(
                    "WHERE compares the value of a subquery, which changes as later rows arrive",
                    query,
                    tie_of(query, level),
                )
        if isinstance(guard, exp.Is) or not _is_lateral(guard):
            change = None if _is_lateral(guard) else level.change(guard)
            if change is not None:
                raise Leaking(f"WHERE reads {change.what}, which changes as later rows arrive", guard, _repair(change))


def _chooses(guard: exp.Expression, level: Level) -> bool:
    """Whether a condition keeps the first rows of each partition, as numbered below: others are as rows arrive."""
    from sqlglot import exp

    column = first_of(guard)
    if not isinstance(column, exp.Column) or len(level.rows) != 1 or column.table not in level.rows:
        return False
    found = level.find(column)
    if found.change is None or found.ranks is None:
        return False
    rows = level.rows[column.table]
    changed = rows.changed(replace(CHOSEN, node=guard)).columns
    # The row that is first by this rank need not be by another one, so that no other may choose among these rows.
    columns = {n: replace(c if n in found.ranks else changed[n], ranks=None) for n, c in rows.columns.items()}
    level.rows[column.table] = replace(rows, columns=columns, exact=False)
    level.exact = False
    return True


def _repair(change: Change) -> str:
    return change.repair or WRITE_ROWS


def _is_lateral(guard: exp.Expression) -> bool:
    from sqlglot import exp

    return any(c.table.startswith("_mlforge_") and c.name == SEEN for c in guard.find_all(exp.Column))


def left_alone(query: exp.Query, level: Level) -> bool:
    """Whether a subquery gives the same at every instant from which its row is known on: it stays as it is."""
    if not reads_time(level.writer, query, level.env):
        return True
    if not level.exact:
        return False
    return level.writer.settled.bounded(query, level.timed_rows(), level.env.settled, around(level)) is not None


def tie_of(query: exp.Query, level: Level) -> str:
    """The same for a subquery."""
    from sqlglot import exp

    inner = query
    while isinstance(inner, exp.Subquery):
        inner = inner.this
    from_ = inner.args.get("from_")
    return tie(from_.this if from_ is not None else inner, level)


def _exists(guard: exp.Expression, node: exp.Expression, level: Level, *, negated: bool) -> None:
    from sqlglot import exp

    is_in = isinstance(node, exp.In)
    query = node.args["query"] if is_in else node.this
    change = level.change(node.this) if is_in else None
    if change is None:
        change = level.change(query)
    if change is not None:
        raise Leaking(f"WHERE reads {change.what}, which changes as later rows arrive", guard, _repair(change))
    if reads_time(level.writer, query, level.env) is False or left_alone(query, level):
        return
    word = ("NOT " if negated else "") + ("IN" if is_in else "EXISTS")
    if negated:
        raise Leaking(f"{word}: a later row takes this one away", node, tie_of(query, level))
    made, rows = level.writer.query(query, level.env, (dict(level.rows), *level.outer))
    inner = exp.select(exp.alias_(exp.Min(this=seen_of("_mlforge_in")), SEEN, quoted=True))
    inner = inner.from_(exp.Subquery(this=made, alias=exp.to_identifier("_mlforge_in", quoted=True)))
    if is_in:
        if len(rows.columns) != 1 or isinstance(node.this, exp.Tuple):
            raise Unproven("IN of several columns is not understood", node, "EXISTS")
        name, column = next(iter(rows.columns.items()))
        if column.change is not None:
            raise Leaking(
                f"IN compares {column.change.what}, which changes as later rows arrive", node, column.change.repair
            )
        inner = inner.where(exp.EQ(this=exp.column(name, "_mlforge_in", quoted=True), expression=node.this.copy()))
    level.exact = level.exact and rows.exact
    name = lateral(inner, level)
    guard.replace(exp.Not(this=exp.Is(this=seen_of(name), expression=exp.Null())))


def values(level: Level) -> None:
    """Subqueries in the list: one aggregate, or EXISTS, of rows that may be later than the row."""
    from sqlglot import exp

    parts = [*level.select.expressions, *(level.select.args.get(k) for k in ("group", "having", "qualify", "distinct"))]
    parts += [level.select.args.get("order"), *(level.select.args.get("windows") or [])]
    listed = {id(item) for item in level.select.expressions}
    for part in parts:
        for query in queries(part) if part is not None else []:
            if left_alone(query, level):
                continue
            if isinstance(query.parent, exp.In):
                raise Leaking("IN (SELECT ...) as a value changes as later rows arrive", query, tie_of(query, level))
            if id(part) not in listed or any(isinstance(n, exp.Window) for n in own(part)) or aggregated(level.select):
                raise Unproven(
                    "a subquery beside totals or windows is not understood", query, "compute it in a CTE first"
                )
            _value(query, level)


def _value(query: exp.Query, level: Level) -> None:
    from sqlglot import exp

    repair = tie_of(query, level)
    exists = isinstance(query.parent, exp.Exists)
    change = level.change(query)
    if change is not None:
        raise Leaking(f"a subquery reads {change.what}, which changes as later rows arrive", query, change.repair)
    inner = query
    while isinstance(inner, exp.Subquery):
        inner = inner.this
    one = (
        isinstance(inner, exp.Select)
        and len(inner.expressions) == 1
        and aggregated(inner)
        and not inner.args.get("group")
    )
    if not exists and (not one or inner.args.get("having") or inner.args.get("qualify")):
        raise Leaking("a subquery that is not one total may give another row as later rows arrive", query, repair)
    place = query.parent if exists else query
    hole = exp.Placeholder()
    place.replace(hole)
    made, _ = level.writer.query(inner, level.env, (dict(level.rows), *level.outer))
    if exists:
        seen = exp.alias_(exp.Min(this=seen_of("_mlforge_in")), SEEN, quoted=True)
        made = exp.select(seen).from_(
            exp.Subquery(this=made.copy(), alias=exp.to_identifier("_mlforge_in", quoted=True))
        )
    name = lateral(made, level)
    level.nullable = True
    level.exact = False
    value = f"_mlforge_value_{level.laterals}"
    if exists:
        hole.replace(exp.Paren(this=exp.Not(this=exp.Is(this=seen_of(name), expression=exp.Null()))))
    else:
        made.expressions[0].set("alias", exp.to_identifier(value, quoted=True))
        hole.replace(exp.column(value, name, quoted=True))
    level.rows[name] = Rows(Changing(Change("a subquery over other rows", repair)), timed=True, exact=False)
