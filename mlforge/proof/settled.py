"""Proof from the SQL alone: every use of another row says that it is not later than the row's own time.

A relation is settled by its column c with lag L if for every instant T its rows with c + L at or before T are the same
over the source rows known by T as over all of them. A source is settled by its time, with its delay as the lag. A row
filter keeps that, and so do grouping by c, windows that run along c, and joins and subqueries that say ``b.t <= a.c``.
A feature whose timestamp settles it cannot leak, whatever the data. What is not understood here is not settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlforge.proof.bounds import bound
from mlforge.proof.relations import Unproven
from mlforge.proof.window_order import runs_along
from mlforge.render.functions import has_over, is_aggregate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlglot import exp

    from mlforge.duration import Duration
    from mlforge.proof.relations import Relation, Relations

Name = tuple[str, str]  # relation, column
_INSTANTS = ("DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE")
_CLAUSES = {"expressions", "from_", "joins", "where", "group", "having", "qualify", "windows", "order", "distinct"}
_CLAUSES |= {"with_"}
_BOUNDED = {*_CLAUSES, "limit", "offset"} - {"joins", "with_"}
_ALWAYS = -(2**62)  # the lag of what is the same at every instant


@dataclass(frozen=True)
class Rows:
    """The rows of a relation: the columns that settle it, each with its lag; and whether they can change at all."""

    lags: Mapping[str, int] = field(default_factory=dict)
    timed: bool = True


_UNKNOWN = Rows()
_FIXED = Rows(timed=False)


def settled(query: exp.Query, stamp: str, delay: Duration, relations: Relations) -> bool:
    """Whether a query, prepared, cannot leak, for any data: its column ``stamp``, plus ``delay``, settles it."""
    known = {(db.lower(), name.lower()): relation for (db, name), relation in relations.items()}
    if len(known) < len(relations):
        return False
    try:
        rows = Settled({key: settled_source(relation, query) for key, relation in known.items()}).query(query, {}, {})
    except (Unproven, RecursionError):
        return False
    lag = rows.lags.get(stamp.lower())
    return not rows.timed or (lag is not None and lag <= (delay.micros or 0))


def settled_source(relation: Relation, query: exp.Query) -> Rows:
    """What settles a source, or a feature that is read."""
    from sqlglot import exp

    if relation.time is None:
        return _FIXED
    lag = lag_after(relation, {column.name for column in query.find_all(exp.Column)})
    if lag is None or (relation.columns[relation.time] == "TIMESTAMP_NS" and _cut(query)):
        return _UNKNOWN
    return Rows({relation.time.lower(): lag})


def lag_after(relation: Relation, read: Collection[str]) -> int | None:
    """How long after its time, always, a row is known of which these columns (lower case) are read; None if not always
    so long."""
    import sqlglot

    lag = relation.delay.micros
    if relation.time is None or relation.columns[relation.time] not in _INSTANTS or lag is None:
        return None
    for name, instant in relation.known.items():
        if name.lower() in read:
            made = bound(sqlglot.parse_one(instant, dialect="duckdb"))
            if made is None or made.column.name.lower() != relation.time.lower() or made.low != made.high:
                return None
            lag = max(lag, made.low)
    return lag


def _cut(query: exp.Query) -> bool:
    """Whether an instant is made shorter in a query: DuckDB 2 rounds nanoseconds, up too, before it does so."""
    from sqlglot import exp

    cuts = (exp.TimestampTrunc, exp.DateTrunc, exp.DateBin, exp.LastDay)
    return query.find(*cuts) is not None or any(
        c.to.is_type("date", "timestamp", "timestampntz", "timestamptz") for c in query.find_all(exp.Cast)
    )


@dataclass(frozen=True)
class Settled:
    """What settles each query over sources."""

    sources: Mapping[Name, Rows]

    def query(self, node: exp.Expression, env: Mapping[str, Rows], around: Mapping[str, Rows]) -> Rows:
        """What settles a query. ``env``: the CTEs that it sees; ``around``: relations of the query around it."""
        from sqlglot import exp

        while isinstance(node, exp.Subquery):
            node = node.this
        with_ = node.args.get("with_")
        if with_ is not None:
            if with_.args.get("recursive"):
                return _UNKNOWN
            env = dict(env)
            for cte in with_.expressions:
                env[cte.alias] = _UNKNOWN if _renames(cte) else self.query(cte.this, env, around)
        if isinstance(node, exp.SetOperation):
            return self._both(node, env, around)
        return self._select(node, env, around) if isinstance(node, exp.Select) else _UNKNOWN

    def _both(self, node: exp.SetOperation, env: Mapping[str, Rows], around: Mapping[str, Rows]) -> Rows:
        if any(node.args.get(k) for k in ("limit", "offset", "fetch", "by_name", "sample", "on", "side", "kind")):
            return _UNKNOWN
        left, right = (self.query(branch, env, around) for branch in (node.this, node.expression))
        names, others = node.this.named_selects, node.expression.named_selects
        lags: dict[str, int] = {}
        for one, other in zip(names, others, strict=False):
            lag = left.lags.get(one) if left.timed else _ALWAYS
            too = right.lags.get(other) if right.timed else _ALWAYS
            unique = names.count(one) == others.count(other) == 1
            if unique and lag is not None and too is not None:
                lags[one] = max(lag, too)
        return Rows(lags, left.timed or right.timed)

    # -- FROM

    def relation(self, node: exp.Expression, env: Mapping[str, Rows], around: Mapping[str, Rows]) -> Rows:
        """What settles a relation of FROM."""
        from sqlglot import exp

        if _renames(node) and not isinstance(node, exp.Unnest):
            return _UNKNOWN
        if isinstance(node, exp.Unnest):
            return _UNKNOWN if node.find(exp.Query) else _FIXED
        if any(value for key, value in node.args.items() if key not in ("this", "db", "alias")):
            return _UNKNOWN
        if isinstance(node, exp.Subquery):
            return self.query(node.this, env, around)
        if not isinstance(node, exp.Table):
            return _UNKNOWN
        if not isinstance(node.this, exp.Identifier):
            return _UNKNOWN if node.find(exp.Query) or node.find(exp.Column) else _FIXED
        if not node.db:
            return env.get(node.name, _UNKNOWN)
        return self.sources.get((node.db, node.name), _UNKNOWN)

    def _from(
        self, select: exp.Select, env: Mapping[str, Rows], around: Mapping[str, Rows]
    ) -> tuple[dict[str, Rows], dict[str, list[exp.Expression]], list[exp.Expression], set[Name]] | None:
        """The relations of FROM by alias; the conditions of those that may stay unmatched; those that hold of all; and
        the columns that bound those which are made for each row."""
        first = select.args["from_"].this
        rows = {first.alias_or_name: self.relation(first, env, around)}
        own: dict[str, list[exp.Expression]] = {}
        everywhere: list[exp.Expression] = []
        tied: set[Name] = set()
        for join in select.args.get("joins") or []:
            alias, on = join.this.alias_or_name, _conjuncts(join.args.get("on"))
            plain = join.method in ("", "ASOF") and join.kind in ("", "INNER", "CROSS", "OUTER", "SEMI", "ANTI")
            if alias in rows or not plain or join.args.get("using") or any(_queries(o) for o in on):
                return None
            column = self.each(join, rows, env, around)
            rows[alias] = _FIXED if column else self.relation(join.this, env, around)
            tied |= {column} if column else set()
            if join.side not in ("", "LEFT") and any(r.timed for r in rows.values()):
                return None
            if join.side == "LEFT" or join.kind in ("SEMI", "ANTI") or join.method == "ASOF":
                own[alias] = on
            else:
                everywhere += on
        return rows, own, everywhere, tied

    # -- SELECT

    def _select(self, select: exp.Select, env: Mapping[str, Rows], around: Mapping[str, Rows]) -> Rows:
        from sqlglot import exp

        if any(value for key, value in select.args.items() if key not in _CLAUSES):
            return _UNKNOWN
        if select.args.get("from_") is None:
            return _UNKNOWN if select.find(exp.Table) else _FIXED
        found = self._from(select, env, around)
        if found is None:
            return _UNKNOWN
        rows, own, everywhere, each = found
        where = _conjuncts(select.args["where"].this) if select.args.get("where") else []
        lags = _covered(select, rows, own, everywhere + where)
        tied = self._tied(select, rows, env, around)
        if tied is None:
            return _UNKNOWN
        tied |= each
        lags = {name: lag for name, lag in lags.items() if all(name == other for other in tied)}
        timed = any(r.timed for r in rows.values()) or bool(tied)
        windows = [w for w in _own(select) if isinstance(w, exp.Window)]
        lags = {name: lag for name, lag in lags.items() if all(runs_along(w, select, name) for w in windows)}
        return Rows(_listed(select, lags, bool(windows)), timed)

    def _tied(
        self, select: exp.Select, rows: Mapping[str, Rows], env: Mapping[str, Rows], around: Mapping[str, Rows]
    ) -> set[Name] | None:
        """The columns that subqueries in expressions are bounded by; None if one of them is bounded by none."""

        found: set[Name] = set()
        for part in _parts(select):
            for query in _queries(part):
                if not self._changes(query, env):
                    continue
                column = self.bounded(query, rows, env, around)
                if column is None:
                    return None
                found.add(column)
        return found

    def each(
        self, join: exp.Join, rows: Mapping[str, Rows], env: Mapping[str, Rows], around: Mapping[str, Rows]
    ) -> Name | None:
        """The column of the relations before a join that its rows, made for each of theirs, are bounded by."""
        from sqlglot import exp

        if not isinstance(join.this, (exp.Lateral, exp.Subquery)) or join.method or join.side not in ("", "LEFT"):
            return None
        if join.kind not in ("", "INNER", "CROSS", "OUTER") or _renames(join.this):
            return None
        return self.bounded(join.this.this, rows, env, around)

    def _changes(self, query: exp.Expression, env: Mapping[str, Rows]) -> bool:
        """Whether a subquery reads anything whose rows depend on the instant."""
        from sqlglot import exp

        tables = [t for t in query.find_all(exp.Table) if isinstance(t.this, exp.Identifier)]
        return any(query.find_all(exp.With)) or any(self.relation(_bare(t), env, {}).timed for t in tables)

    def bounded(
        self, query: exp.Expression, rows: Mapping[str, Rows], env: Mapping[str, Rows], around: Mapping[str, Rows]
    ) -> Name | None:
        """The column of the SELECT around it that a subquery's rows are not later than, by a guard in its WHERE."""
        from sqlglot import exp

        while isinstance(query, exp.Subquery):
            query = query.this
        clauses = {key for key, value in query.args.items() if value}
        if not isinstance(query, exp.Select) or clauses - _BOUNDED or "from_" not in clauses:
            return None
        if sum(1 for node in query.walk() if isinstance(node, exp.Select)) > 1 + _selects(query.args["from_"]):
            return None
        inner = query.args["from_"].this
        alias = inner.alias_or_name
        if alias in rows or alias in around:
            return None
        lags = self.relation(inner, env, {**around, **rows}).lags
        guards = _conjuncts(query.args["where"].this) if query.args.get("where") else []
        for outer, outer_rows in rows.items():
            for column, lag in outer_rows.lags.items():
                for own, own_lag in lags.items():
                    if any(lag_of(g, (alias, own), own_lag, (outer, column), lag) == lag for g in guards):
                        return outer, column
        return None


def _covered(
    select: exp.Select,
    rows: Mapping[str, Rows],
    own: Mapping[str, list[exp.Expression]],
    everywhere: Sequence[exp.Expression],
) -> dict[Name, int]:
    """The columns that all relations of a SELECT are settled by, with their lags: each relation that changes must be
    bounded by the column in a condition that all its rows, or all its matches, fulfil."""
    from sqlglot import exp

    starts = {(alias, column): lag for alias, r in rows.items() for column, lag in r.lags.items()}
    for column in select.find_all(exp.Column):  # a calendar's instants are the same always, and may bound others
        if column.table in rows and not rows[column.table].timed:
            starts[column.table, column.name] = _ALWAYS
    found: dict[Name, int] = {}
    for name, start in starts.items():
        lag: int | None = start
        for alias, r in rows.items():
            if r.timed and alias != name[0] and lag is not None:
                guards = own.get(alias, everywhere)
                needs = [
                    need
                    for guard in guards
                    for column, column_lag in r.lags.items()
                    if (need := lag_of(guard, (alias, column), column_lag, name, lag)) is not None
                ]
                lag = min(needs, default=None)
        if lag is not None and name[0] not in own:  # a column of an outer side may be NULL, or come later
            found[name] = lag
    return found


def lag_of(guard: exp.Expression, low: Name, low_lag: int, high: Name, lag: int) -> int | None:
    """The lag with which ``high`` settles rows that ``low`` settles, by a condition that says low <= high; at least
    ``lag``. None if the condition does not say that."""
    for smaller, greater in _sides(guard):
        one, other = bound(smaller), bound(greater)
        if one is None or other is None:
            continue
        if (one.column.table, one.column.name) == low and (other.column.table, other.column.name) == high:
            return max(lag, low_lag - one.low + other.high)
    return None


def _sides(guard: exp.Expression) -> list[tuple[exp.Expression, exp.Expression]]:
    """Pairs of which a condition says that the first is not greater than the second."""
    from sqlglot import exp

    while isinstance(guard, exp.Paren):
        guard = guard.this
    if isinstance(guard, (exp.LT, exp.LTE)):
        return [(guard.this, guard.expression)]
    if isinstance(guard, (exp.GT, exp.GTE)):
        return [(guard.expression, guard.this)]
    if isinstance(guard, exp.EQ):
        return [(guard.this, guard.expression), (guard.expression, guard.this)]
    if isinstance(guard, exp.Between) and not guard.args.get("symmetric"):
        return [(guard.args["low"], guard.this), (guard.this, guard.args["high"])]
    return []


def _listed(select: exp.Select, lags: Mapping[Name, int], windows: bool) -> dict[str, int]:
    """The columns of the select list that settle it, after groups and DISTINCT."""
    group = select.args.get("group")
    aggregates = any(is_aggregate(n) and not has_over(n) for n in _own(select))
    grouped = group is not None or aggregates or select.args.get("having") is not None
    keys: set[str] = set()
    if grouped:
        if group is None or windows or any(group.args.get(k) for k in ("grouping_sets", "cube", "rollup", "totals")):
            return {}
        listed = [i.unalias() for i in select.expressions if not any(map(is_aggregate, i.walk()))]
        keys = {_text(k) for k in (listed if group.args.get("all") else group.expressions)}
    found = {}
    for item in select.expressions:
        made = bound(item.unalias())
        if made is None or (grouped and not any(_text(n) in keys for n in item.unalias().walk())):
            continue
        lag = lags.get((made.column.table, made.column.name))
        if lag is not None and select.named_selects.count(item.alias_or_name) == 1 and _first(select, made.column):
            found[item.alias_or_name] = lag - made.low
    return {} if grouped and select.args.get("distinct") and select.args["distinct"].args.get("on") else found


def _first(select: exp.Select, column: exp.Column) -> bool:
    """Whether DISTINCT ON leaves the rows that are first by the column, or one for each of its values."""
    distinct = select.args.get("distinct")
    if distinct is None or distinct.args.get("on") is None:
        return True
    on = [_text(e) for e in distinct.args["on"].expressions]
    if _text(column) in on:
        return True
    order = select.args["order"].expressions if select.args.get("order") else []
    rest = [o for o in order if _text(o.this) not in on]
    return (
        bool(rest)
        and _text(rest[0].this) == _text(column)
        and not rest[0].args.get("desc")
        and not (rest[0].args.get("nulls_first"))
    )


# -- trees


def _text(node: exp.Expression) -> str:
    from sqlglot import exp

    while isinstance(node, exp.Paren):
        node = node.this
    return str(node.sql("duckdb"))


def _selects(node: exp.Expression) -> int:
    from sqlglot import exp

    return sum(1 for _ in node.find_all(exp.Select))


def _bare(table: exp.Table) -> exp.Table:
    """A table without what a query does to it."""
    from sqlglot import exp

    return exp.Table(this=table.this.copy(), db=table.args["db"].copy() if table.args.get("db") else None)


def _renames(node: exp.Expression) -> bool:
    """Whether an alias gives the columns other names: ``AS t(a, b)``."""
    alias = node.args.get("alias")
    return alias is not None and bool(alias.args.get("columns"))


def _conjuncts(node: exp.Expression | None) -> list[exp.Expression]:
    from sqlglot import exp

    while isinstance(node, exp.Paren):
        node = node.this
    if node is None:
        return []
    return _conjuncts(node.this) + _conjuncts(node.expression) if isinstance(node, exp.And) else [node]


def _parts(select: exp.Select) -> list[exp.Expression]:
    """The clauses of a SELECT whose expressions decide its rows; the order of a bag of rows does not."""
    clauses = [select.args.get(k) for k in ("where", "group", "having", "qualify", "distinct")]
    ordered = select.args.get("order") if select.args.get("distinct") else None
    windows = select.args.get("windows") or []
    return [p for p in (*select.expressions, *clauses, ordered, *windows) if p is not None]


def _queries(node: exp.Expression) -> list[exp.Expression]:
    """The subqueries of an expression, not those within them."""
    from sqlglot import exp

    found = node.walk(prune=lambda n: isinstance(n, exp.Query))
    return [n for n in found if isinstance(n, exp.Query)]


def _own(select: exp.Select) -> Iterator[exp.Expression]:
    """The nodes of a SELECT's expressions, without those of subqueries."""
    from sqlglot import exp

    for part in _parts(select):
        for node in part.walk(prune=lambda n: isinstance(n, exp.Query)):
            if not isinstance(node, exp.Query):
                yield node
