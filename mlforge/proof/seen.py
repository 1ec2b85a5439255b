"""Proof by rows: a query that also says of each of its rows from which instant on it is known.

What a row is made of must all be known, so SEEN is the greatest of it. That is not enough: a row that was there and is
gone shows nothing. So a query is written only where every row that goes has a successor, which is SEEN later and has
the same values in the columns that do not change (``Rows``). If the stamp is such a column, and no row is SEEN later
than its stamp, nothing has gone either, and the rows stamped until an instant were known by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlforge.proof import seen_groups, seen_joins, seen_subqueries, seen_windows
from mlforge.proof.changing_rows import FIXED, PERIOD, Column, Rows, always, greatest, named, own, seen_of
from mlforge.proof.relations import SEEN, Leaking, Relations, Unproven
from mlforge.proof.seen_level import Env, Level, plain, reads_time
from mlforge.proof.settled import Settled, settled_source
from mlforge.render.functions import is_aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlglot import exp

    from mlforge.proof.changing_rows import Change, Scope
    from mlforge.proof.relations import Relation

_CLAUSES = {"expressions", "from_", "joins", "where", "group", "having", "qualify", "windows", "order", "distinct"}
_CLAUSES |= {"with_"}
_SIDES = ("_mlforge_left", "_mlforge_right")
_INSTEAD = dict.fromkeys(
    ("limit", "fetch"), "number the rows by the time: QUALIFY row_number() OVER (PARTITION BY ... ORDER BY t) <= n"
) | {
    "sample": "choose rows by a column, as in WHERE user_id % 10 = 0",
    "pivots": "name the columns: FOR g IN ('a', 'b')",
}
_WORDS = {"sample": "SAMPLE", "limit": "LIMIT", "offset": "OFFSET", "pivots": "PIVOT", "fetch": "FETCH"}


def with_seen(tree: exp.Query, query: exp.Query, stamp: str, relations: Relations) -> exp.Query:
    """The query with the same rows and columns, and last a column SEEN: the instant from which each row is known.
    ``query`` is the tree prepared, and is made into the result.

    If no row is SEEN later than its ``stamp`` plus the delay, the query does not leak on the rows that it was run over.
    Raises Unproven where the rules do not say from when on a row is known."""
    known = {(db.lower(), name.lower()): relation for (db, name), relation in relations.items()}
    if len(known) < len(relations):
        raise Unproven("two relations have the same name but for upper and lower case", tree)
    fixed = {key: settled_source(relation, query) for key, relation in known.items()}
    try:
        made, rows = _Writer(known, Settled(fixed)).query(query, Env(), ())
    except RecursionError as error:
        raise Unproven("it is nested too deeply", tree) from error
    column = rows.column(stamp.lower())
    if column is None:
        raise Unproven(f"it has no column {stamp}", tree)
    if rows.timed and column.change is not None:
        raise Leaking(
            f"the timestamp itself changes as later rows arrive: it is made of {column.change.what}",
            column.change.node or _item(made, stamp),
            _repair(column.change),
        )
    _rename(made, tree, relations)
    return _with_always(made, rows)


def _repair(change: Change) -> str:
    so_far = "; or, for a total up to each row, stamp the row's own time, and write SUM(x) OVER ever without GROUP BY"
    return change.repair + (so_far if change.repair == PERIOD else "")


def _item(query: exp.Query, name: str) -> exp.Expression:
    return next((item for item in query.selects if item.alias_or_name.lower() == name.lower()), query)


def _rename(query: exp.Query, tree: exp.Query, relations: Relations) -> None:
    """Give the columns their names in the letters of the user; they were made lower case."""
    from sqlglot import exp

    spelt = {name.lower(): name for relation in relations.values() for name in relation.columns}
    spelt |= {name.lower(): name for name in tree.named_selects}
    first: exp.Expression = query
    while isinstance(first, (exp.SetOperation, exp.Subquery)):
        first = first.this
    for item in first.expressions:
        name = spelt.get(item.alias_or_name, item.alias_or_name)
        if isinstance(item, exp.Alias) and name != item.alias:
            item.set("alias", exp.to_identifier(name, quoted=True))


@dataclass(frozen=True)
class _Writer:
    """Writes SEEN into a query, in place, or says why not."""

    sources: Mapping[tuple[str, str], Relation]
    settled: Settled

    def query(self, node: exp.Query, env: Env, outer: tuple[Scope, ...]) -> tuple[exp.Query, Rows]:
        """The query with a last column SEEN, if its rows have an instant, and what is known of them."""
        from sqlglot import exp

        while isinstance(node, exp.Subquery):
            node = node.this
        with_ = node.args.get("with_")
        if with_ is not None:
            env = self._ctes(with_, env, outer)
        if isinstance(node, exp.Select):
            made, rows = self._select(node, env, outer)
        elif isinstance(node, exp.SetOperation):
            made, rows = self._both(node, env, outer)
        elif isinstance(node, exp.Values) and not any(
            isinstance(n, (exp.Column, exp.Query)) for n in list(node.walk())[1:]
        ):
            return node, FIXED
        else:
            raise Unproven(f"{type(node).__name__.upper()} is not understood as a query", node)
        return made, rows

    def _ctes(self, with_: exp.With, env: Env, outer: tuple[Scope, ...]) -> Env:
        around = {alias: plain(rows) for scope in outer for alias, rows in scope.items()}
        env = env.copy()
        for cte in with_.expressions:
            if with_.args.get("recursive"):
                if reads_time(self, cte.this, env):
                    raise Unproven("a recursive CTE over rows with a time is not understood", cte)
            elif seen_joins.renamed(cte):
                raise Unproven(
                    "other names for columns, after an alias, are not understood",
                    cte,
                    "name them with AS in the SELECT",
                )
            settled = self.settled.query(cte.this, env.settled, around)
            made, rows = (cte.this, FIXED) if with_.args.get("recursive") else self.query(cte.this, env, outer)
            cte.set("this", made)
            env.rows[cte.alias], env.settled[cte.alias] = rows, settled
        return env

    # -- set operations

    def _both(self, node: exp.SetOperation, env: Env, outer: tuple[Scope, ...]) -> tuple[exp.Query, Rows]:
        from sqlglot import exp

        odd = [k for k in ("limit", "offset", "fetch", "by_name", "sample", "on", "side", "kind") if node.args.get(k)]
        if not reads_time(self, node, env):
            return node, FIXED
        if odd:
            repair = "list the same columns in the same order on both sides" if odd[0] == "by_name" else ""
            raise Unproven(f"{odd[0].replace('_', ' ').upper()} at a {_word(node)} is not understood", node, repair)
        _name_apart(node)
        (left, one), (right, other) = self.query(node.this, env, outer), self.query(node.expression, env, outer)
        if not isinstance(node, exp.Union):
            return self._common(node, (left, one), (right, other))
        columns = _merged(node, one, other)
        rows = Rows(columns, exact=one.exact and other.exact)
        node.set("order", None)
        node.set("this", exp.Subquery(this=_with_always(left, one)))
        node.set("expression", exp.Subquery(this=_with_always(right, other)))
        if not node.args.get("distinct"):
            return node, rows
        node.set("distinct", False)
        return distinct(node, rows, list(columns))

    def _common(
        self, node: exp.SetOperation, left: tuple[exp.Query, Rows], right: tuple[exp.Query, Rows]
    ) -> tuple[exp.Query, Rows]:
        """INTERSECT of rows that do not change: a row is known when it is on both sides."""
        from sqlglot import exp

        if not isinstance(node, exp.Intersect) or not node.args.get("distinct"):
            raise Leaking(f"{_word(node)} takes rows away as later rows arrive", node, "NOT EXISTS with AND b.t <= a.t")
        columns = _merged(node, left[1], right[1])
        change = next((c.change for c in columns.values() if c.change), None)
        if change is not None:
            raise Leaking(f"INTERSECT compares {change.what}, which changes as later rows arrive", node, change.repair)
        sides = []
        for place, (query, rows) in enumerate((left, right)):
            names = list(rows.columns) if rows.timed else query.named_selects
            inner = exp.Subquery(this=_with_always(query, rows), alias=exp.to_identifier("_mlforge_side", quoted=True))
            listed = [exp.column(name, "_mlforge_side", quoted=True) for name in names]
            seen = [exp.cast(exp.Null(), "BIGINT"), exp.cast(exp.Null(), "BIGINT")]
            seen[place] = seen_of("_mlforge_side")
            own = [exp.alias_(one, name, quoted=True) for one, name in zip(seen, _SIDES, strict=True)]
            sides.append(exp.select(*listed, *own).from_(inner))
        both = exp.Subquery(
            this=exp.Union(this=sides[0], expression=sides[1], distinct=False),
            alias=exp.to_identifier("_mlforge_each", quoted=True),
        )
        listed = [exp.column(name, "_mlforge_each", quoted=True) for name in columns]
        firsts: list[exp.Expression] = [exp.Min(this=exp.column(name, "_mlforge_each", quoted=True)) for name in _SIDES]
        found = [exp.Not(this=exp.Is(this=first.copy(), expression=exp.Null())) for first in firsts]
        made = exp.select(
            *(exp.alias_(one.copy(), one.name, quoted=True) for one in listed), exp_alias(greatest(firsts))
        )
        made = made.from_(both).group_by(*listed).having(*found)
        made.set("with_", node.args.get("with_"))
        return made, Rows({name: Column() for name in columns}, exact=left[1].exact and right[1].exact)

    # -- SELECT

    def _select(self, select: exp.Select, env: Env, outer: tuple[Scope, ...]) -> tuple[exp.Query, Rows]:
        if not reads_time(self, select, env):
            return select, FIXED
        for key, value in select.args.items():
            if value and key not in _CLAUSES:
                word = _WORDS.get(key, key.upper().strip("_"))
                raise Leaking(
                    f"{word} over rows with a time: later rows take the place of others",
                    _first(value) or select,
                    _INSTEAD.get(key, ""),
                )
        chosen = select.args.get("distinct")
        on = chosen is not None and chosen.args.get("on")
        order = select.args.get("order")
        if order is not None and not on and not any(is_aggregate(n) for n in own(order)):
            select.set("order", None)
        level = Level(self, select, env, outer)
        seen_joins.relations(level)
        seen_subqueries.where(level)
        seen_subqueries.values(level)
        seen_groups.grouped(level)
        seen_windows.windows(level)
        columns = level.listed()
        rows = Rows(columns, exact=level.exact)
        select.append("expressions", exp_alias(level.seen()))
        if chosen is None or on:
            return select, rows
        select.set("distinct", None)
        return distinct(select, rows, list(columns))


def exp_alias(seen: exp.Expression) -> exp.Expression:
    """The column SEEN."""
    from sqlglot import exp

    return exp.alias_(seen, SEEN, quoted=True)


def distinct(query: exp.Query, rows: Rows, names: list[str]) -> tuple[exp.Query, Rows]:
    """The rows of a query once each: known from the first of the same on, or from the last if a value may change."""
    from sqlglot import exp

    fixed = all(column.change is None for column in rows.columns.values())
    columns = [exp.column(name, "_mlforge_each", quoted=True) for name in names]
    seen = seen_of("_mlforge_each")
    made = exp.select(*(exp.alias_(c.copy(), c.name, quoted=True) for c in columns))
    made = made.select(exp_alias(exp.Min(this=seen) if fixed else exp.Max(this=seen)))
    made = made.from_(exp.Subquery(this=query, alias=exp.to_identifier("_mlforge_each", quoted=True))).group_by(
        *columns
    )
    lags = {name: Column(c.change, c.lag) for name, c in rows.columns.items()}
    return made, Rows(lags, exact=rows.exact)


def _name_apart(node: exp.SetOperation) -> None:
    """Give columns of the right side, of which only the places count, the names of the left where two have the same."""
    from sqlglot import exp

    right = node.expression
    while isinstance(right, exp.Subquery):
        right = right.this
    names = right.named_selects
    if isinstance(right, exp.Select) and len(set(names)) < len(names) == len(node.this.named_selects):
        listed = zip(right.expressions, node.this.named_selects, strict=True)
        right.set("expressions", [exp.alias_(item.unalias(), name, quoted=True) for item, name in listed])


def _merged(node: exp.SetOperation, one: Rows, other: Rows) -> dict[str, Column]:
    """The columns of both branches, by their places; a branch without a time has columns that never change."""
    names = node.this.named_selects
    others = node.expression.named_selects
    names = [n for n in names if n != SEEN]
    others = [n for n in others if n != SEEN]
    if len(names) != len(others):
        raise Unproven("the two sides have not the same number of columns", node)
    made = []
    for name, its in zip(names, others, strict=True):
        a, b = one.column(name) or Column(), other.column(its) or Column()
        lag = a.lag if a.lag == b.lag and one.timed and other.timed else None
        made.append((name, Column(a.change or b.change, lag)))
    return named(made, node)


def _with_always(query: exp.Query, rows: Rows) -> exp.Query:
    """A branch with SEEN, if it has none of its own."""
    from sqlglot import exp

    if rows.timed:
        return query
    inner = exp.Subquery(this=query, alias=exp.to_identifier("_mlforge_fixed", quoted=True))
    return exp.select("*", exp_alias(always())).from_(inner)


def _word(node: exp.SetOperation) -> str:
    return type(node).__name__.upper()


def _first(value: object) -> exp.Expression | None:
    from sqlglot import exp

    found = value[0] if isinstance(value, list) else value
    return found if isinstance(found, exp.Expression) else None
