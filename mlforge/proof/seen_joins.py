"""SEEN of the rows of FROM and WHERE: relations, joins, and subqueries in conditions and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.proof import settled as plan
from mlforge.proof.changing_rows import FIXED, Change, Changing, Column, Rows, conjuncts, queries, seen_of
from mlforge.proof.relations import SEEN, Leaking, Unproven
from mlforge.proof.seen_level import around, reads_time, tie
from mlforge.proof.seen_subqueries import lateral, tie_of
from mlforge.proof.settled import lag_after

if TYPE_CHECKING:
    from sqlglot import exp

    from mlforge.proof.relations import Relation
    from mlforge.proof.seen_level import Level

_INSTANTS = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


def renamed(node: exp.Expression) -> bool:
    """Whether an alias gives columns other names than they have: ``AS t(a, b)``."""
    alias = node.args.get("alias")
    columns = [c.name for c in alias.args.get("columns") or []] if alias is not None else []
    if columns and hasattr(node.this, "named_selects") and node.this.named_selects == columns:
        alias.set("columns", None)
        return False
    return bool(columns)


# -- FROM


def relations(level: Level) -> None:
    """Put SEEN into every relation of FROM, and say what is known of the joined rows."""
    from_ = level.select.args.get("from_")
    if from_ is None:
        return
    first = from_.this
    made, rows = _relation(first, level)
    from_.set("this", made)
    alias = first.alias_or_name
    level.rows[alias] = rows
    if rows.timed:
        level.parts.append(seen_of(alias))
    level.exact = rows.exact
    for join in list(level.select.args.get("joins") or []):
        _join(join, level)


def _relation(node: exp.Expression, level: Level) -> tuple[exp.Expression, Rows]:
    """A relation with SEEN, if its rows have an instant, and what is known of them."""
    from sqlglot import exp

    alias = node.alias_or_name
    if isinstance(node, (exp.Unnest, exp.Values)) or (isinstance(node, exp.Table) and isinstance(node.this, exp.Func)):
        return node, _made(node, level)
    odd = next((key for key, value in node.args.items() if value and key not in ("this", "db", "alias")), None)
    if odd is not None:
        if odd == "pivots":
            repair = "SUM(x) FILTER (WHERE g = 'a') AS a for PIVOT, unnest([x, y]) for UNPIVOT"
            raise Unproven("PIVOT and UNPIVOT are not understood", node, repair)
        raise Unproven(f"{odd.upper()} in FROM is not understood", node)
    if not alias or not isinstance(node, (exp.Table, exp.Subquery)):
        raise Unproven(f"{type(node).__name__.upper()} in FROM is not understood", node)
    if renamed(node):
        raise Unproven(
            "other names for columns, after an alias, are not understood", node, "name them with AS in the SELECT"
        )
    if isinstance(node, exp.Subquery):
        made, rows = level.writer.query(node.this, level.env, (dict(level.rows), *level.outer))
        node.set("this", made)
        return node, rows
    if not node.db:
        rows = level.env.rows[node.name]
        return node, rows
    return _source(node, level.writer.sources[node.db, node.name], level)


def _made(node: exp.Expression, level: Level) -> Rows:
    """Rows that are made of values: UNNEST, range(), VALUES."""
    from sqlglot import exp

    if node.find(exp.Query) not in (None, node):
        raise Unproven("a subquery in a table function is not understood", node)
    for column in node.find_all(exp.Column):
        change = level.find(column).change
        if change is not None:
            raise Leaking(f"rows are made of {change.what}, which changes as later rows arrive", node, change.repair)
    return FIXED


def _source(table: exp.Table, relation: Relation, level: Level) -> tuple[exp.Expression, Rows]:
    """A source as a subquery that adds SEEN to its columns."""
    import sqlglot
    from sqlglot import exp

    if relation.time is None:
        return table, FIXED
    alias = table.alias_or_name
    read = {c.name for c in level.select.find_all(exp.Column) if c.table == alias}
    late = [sql for name, sql in relation.known.items() if name.lower() in read]
    seen: exp.Expression = sqlglot.parse_one(relation.seen(alias), dialect="duckdb")
    for own_instant in late:
        known = sqlglot.parse_one(micros_of(own_instant), dialect="duckdb")
        for column in known.find_all(exp.Column):
            if not column.table:
                column.set("table", exp.to_identifier(alias, quoted=True))
        seen = exp.Greatest(this=seen, expressions=[known], ignore_nulls=True)
    name = exp.to_identifier(alias, quoted=True)
    star = exp.Column(this=exp.Star(), table=name.copy())
    query = exp.select(star, exp.alias_(seen, SEEN, quoted=True)).from_(table.copy())
    columns, after = {}, lag_after(relation, read)
    for column, kind in relation.columns.items():
        lag = after if column == relation.time and kind in _INSTANTS else None
        columns[column.lower()] = Column(lag=lag)
    return exp.Subquery(this=query, alias=exp.TableAlias(this=name)), Rows(columns)


def micros_of(instant: str) -> str:
    """SQL for the microseconds of a column's own instant; NEVER where it has none."""
    from mlforge.proof.relations import ALWAYS, NEVER
    from mlforge.sql.templates import sql

    return sql("proof/known", instant=instant, always=ALWAYS, never=NEVER)


# -- joins


def _join(join: exp.Join, level: Level) -> None:
    from sqlglot import exp

    alias, repair = join.this.alias_or_name, f"{tie(join.this, level)} in ON"
    side, kind, method = (str(x or "").upper() for x in (join.side, join.kind, join.method))
    if (
        method not in ("", "ASOF")
        or kind not in ("", "INNER", "CROSS", "OUTER", "SEMI", "ANTI")
        or join.args.get("using")
    ):
        words = " ".join(w for w in (method, side, kind) if w)
        raise Unproven(f"{words or 'USING'} JOIN is not understood", join, "JOIN ... ON")
    if alias in level.rows:
        raise Unproven(f"two relations named {alias} are not understood", join, "give each its own name with AS")
    on = conjuncts(join.args.get("on"))
    if any(queries(guard) for guard in on):
        raise Unproven("a subquery in ON is not understood", join, "a condition in WHERE")
    if level.exact and level.writer.settled.each(join, level.timed_rows(), level.env.settled, around(level)):
        level.rows[alias] = FIXED  # the same for its row at every instant from which that is known on
        return
    if isinstance(join.this, exp.Lateral):
        raise Unproven(
            "LATERAL over rows that may be later is not understood",
            join,
            f"{tie_of(join.this.this, level)} in its WHERE",
        )
    settled = level.writer.settled.relation(join.this, level.env.settled, around(level))
    guards = list(on)
    if not side and kind not in ("SEMI", "ANTI") and method != "ASOF":
        guards += conjuncts(level.select.args["where"].this) if level.select.args.get("where") else []
    if settled.timed and side in ("", "LEFT") and _tied(alias, settled, guards, level):
        level.rows[alias] = FIXED  # its rows that can match are there when the row is
        return
    _refused(join, side, kind, level, repair)
    made, rows = _relation(join.this, level)
    join.set("this", made)
    if kind in ("SEMI", "ANTI"):
        _semi(join, rows, on, level)
    else:
        _beside(join, rows, on, level)
    changing = (side == "LEFT" or method == "ASOF") and (rows.timed or _changing(on, level))
    level.rows[alias] = _outer(rows, repair) if changing else level.rows.get(alias, rows)


def _tied(alias: str, settled: plan.Rows, guards: list[exp.Expression], level: Level) -> bool:
    """Whether a condition says that the rows of a relation are not later than a row that it is joined to."""
    if not level.exact:
        return False
    for outer, rows in level.timed_rows().items():
        for column, lag in rows.lags.items():
            for own_column, own_lag in settled.lags.items():
                low, high = (alias, own_column), (outer, column)
                if any(plan.lag_of(guard, low, own_lag, high, lag) == lag for guard in guards):
                    return True
    return False


def _refused(join: exp.Join, side: str, kind: str, level: Level, repair: str) -> None:
    """Raises Unproven for joins that take rows away as later ones arrive."""
    timed = reads_time(level.writer, join.this, level.env)
    if side == "FULL" and (timed or level.parts):
        both = "a LEFT JOIN from each side, and UNION ALL"
        raise Leaking("FULL JOIN over rows with a time: a row without a match turns into one with a match", join, both)
    if kind == "ANTI" and timed:
        raise Leaking("ANTI JOIN: a later row takes this one away", join, repair)


def _beside(join: exp.Join, rows: Rows, on: list[exp.Expression], level: Level) -> None:
    """The other joins: INNER, CROSS, LEFT, RIGHT and ASOF."""
    alias = join.this.alias_or_name
    side, asof = str(join.side or "").upper(), str(join.method or "").upper() == "ASOF"
    level.rows[alias] = rows
    if not side and not asof:
        _unchanging(on, level, "JOIN", join)
    elif side == "LEFT" or asof:
        _unchanging(on, level, "ASOF JOIN" if asof else "LEFT JOIN", join, only=None if asof and not side else {alias})
    if rows.timed:
        part = seen_of(alias)
        level.parts.append(part)
        level.nullable |= side == "LEFT"
    if side == "RIGHT":
        if level.laterals:
            raise Unproven("RIGHT JOIN after a SEMI JOIN is not understood", join)
        _unchanging(on, level, "RIGHT JOIN", join, only=set(level.rows) - {alias})
        level.nullable = True
        timed = any(r.timed for a, r in level.rows.items() if a != alias)
        for other, its in list(level.rows.items()):
            if other != alias and (timed or _changing(on, level)):
                level.rows[other] = _outer(its, "a LEFT JOIN from the other side")
        level.exact = rows.exact and not timed
    elif side == "LEFT" or asof:
        level.exact = level.exact and not rows.timed
    else:
        level.exact = level.exact and rows.exact


def _outer(rows: Rows, repair: str) -> Rows:
    """Rows that an outer join finds or does not."""
    change = Change("the outer side of a join", repair)
    if not rows.timed:
        return Rows(Changing(change), timed=True, exact=False)
    return rows.changed(change)


def _changing(on: list[exp.Expression], level: Level) -> bool:
    return any(level.change(guard) is not None for guard in on)


def _unchanging(
    on: list[exp.Expression], level: Level, word: str, node: exp.Expression, *, only: set[str] | None = None
) -> None:
    """Raises Unproven if a join compares what changes as later rows arrive."""
    from sqlglot import exp

    for guard in on:
        for column in guard.find_all(exp.Column):
            change = level.find(column).change if only is None or column.table in only else None
            if change is not None:
                raise Leaking(
                    f"{word} compares {column.name}, which changes as later rows arrive: it is {change.what}",
                    guard,
                    change.repair,
                )


def _semi(join: exp.Join, rows: Rows, on: list[exp.Expression], level: Level) -> None:
    """SEMI JOIN, as EXISTS; ANTI JOIN of rows that are known always."""
    from sqlglot import exp

    alias = join.this.alias_or_name
    level.rows[alias] = rows
    _unchanging(on, level, f"{join.kind} JOIN", join)
    del level.rows[alias]
    if not rows.timed:
        return
    inner = exp.select(exp.alias_(exp.Min(this=seen_of(alias)), SEEN, quoted=True)).from_(join.this.copy())
    if on:
        inner = inner.where(*(guard.copy() for guard in on))
    level.exact = level.exact and rows.exact
    lateral(inner, level, after=join)
    join.pop()
