"""One SELECT while SEEN is written into it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mlforge.proof import settled as plan
from mlforge.proof.bounds import bound
from mlforge.proof.changing_rows import ALONG, PERIOD, RANKS, Change, Column, Rows, greatest, named, queries, text
from mlforge.proof.relations import Unproven
from mlforge.proof.window_order import resolved
from mlforge.render.functions import function_name, has_over, is_aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlglot import exp

    from mlforge.proof.changing_rows import Scope
    from mlforge.proof.relations import Relation

_NO_LEAD = "LAG looks back; and ASOF JOIN ... ON a.t >= b.t finds the row that holds at a time"


@dataclass
class Env:
    """The CTEs that a query sees: what is known of their rows, and what settles them."""

    rows: dict[str, Rows] = field(default_factory=dict)
    settled: dict[str, plan.Rows] = field(default_factory=dict)

    def copy(self) -> Env:
        """The same, to add to."""
        return Env(dict(self.rows), dict(self.settled))


class Writer(Protocol):
    """What writes SEEN into queries."""

    @property
    def sources(self) -> Mapping[tuple[str, str], Relation]: ...  # noqa: D102

    @property
    def settled(self) -> plan.Settled: ...  # noqa: D102

    def query(self, node: exp.Query, env: Env, outer: tuple[Scope, ...]) -> tuple[exp.Query, Rows]:  # noqa: D102
        ...


@dataclass
class Level:
    """``parts``: the instants that a row of FROM and WHERE has, of which it is known from the greatest on; ``later``:
    those that windows add; ``groups``: those of a group, in place of both. ``keys``: what groups or chosen rows are
    told by, as SQL; anything else of them changes; ``always``: those of every group. ``free``: windows and totals that
    are known when their row is."""

    writer: Writer
    select: exp.Select
    env: Env
    outer: tuple[Scope, ...]
    rows: dict[str, Rows] = field(default_factory=dict)
    parts: list[exp.Expression] = field(default_factory=list)
    exact: bool = True
    nullable: bool = False
    groups: list[exp.Expression] | None = None
    grouped: bool = False
    later: list[exp.Expression] = field(default_factory=list)
    keys: set[str] | None = None
    always: frozenset[str] = frozenset()
    why: Change | None = None
    laterals: int = 0
    free: set[int] = field(default_factory=set)

    def row_seen(self) -> exp.Expression:
        """The instant from which a row of FROM and WHERE is known."""
        return greatest(self.parts, nullable=self.nullable)

    def seen(self) -> exp.Expression:
        """The instant from which a row of the result is known."""
        if self.groups is not None:
            return greatest(self.groups, nullable=True)
        return greatest([*self.parts, *self.later], nullable=self.nullable)

    @property
    def single(self) -> bool:
        """Whether a row is known when its one relation with a time is."""
        return len({part.sql("duckdb") for part in self.parts}) == 1 and not self.later

    def find(self, column: exp.Column) -> Column:
        """What is known of a column, of this SELECT or of one around it."""
        from sqlglot import exp

        if isinstance(column.this, exp.Star):
            raise Unproven("a * that cannot be written out is not understood", column, "name the columns")
        for scope in (self.rows, *self.outer):
            if column.table in scope:
                found = scope[column.table].column(column.name)
                if found is not None:
                    return found
        item = self.named(column)
        if item is not column:
            return Column(self.change(item))
        raise Unproven(
            f"{column.name}, a column without its relation, is not understood", column, "write its relation before it"
        )

    def named(self, node: exp.Expression) -> exp.Expression:
        """The expression of the list that a bare name stands for, in ORDER BY; else the node itself."""
        from sqlglot import exp

        if not isinstance(node, exp.Column) or node.table:
            return node
        return next((i.unalias() for i in self.select.expressions if i.alias_or_name == node.name), node)

    def change(self, node: exp.Expression) -> Change | None:
        """Why the value of an expression changes as later rows arrive, or None if it does not."""
        from sqlglot import exp

        if self.keys is not None and text(node) in self.keys:
            return None
        if isinstance(node, exp.Columns):
            raise Unproven("COLUMNS(...) is not understood", node, "name the columns")
        if isinstance(node, exp.Query):
            return self._around(node)
        if isinstance(node, exp.Window):
            if id(node) in self.free:
                return self._each(node.this)
            ahead = function_name(node.this) == "lead"
            return Change(f"a window over other rows, {_short(node)}", _NO_LEAD if ahead else ALONG)
        if is_aggregate(node) and not has_over(node):
            return None if id(node) in self.free else Change(f"a total, {_short(node)}", PERIOD, node)
        if isinstance(node, exp.Column):
            found = self.find(node)
            return found.change or (self.why if self.keys is not None else None)
        return self._each(node)

    def _each(self, node: exp.Expression) -> Change | None:
        changes = (self.change(child) for child in node.iter_expressions())
        return next((change for change in changes if change is not None), None)

    def _around(self, query: exp.Query) -> Change | None:
        """The same of a subquery that is left as it is: by the columns of this SELECT that it reads."""
        from sqlglot import exp

        mine = (c for c in query.find_all(exp.Column) if c.table in self.rows)
        changes = (self.find(column).change for column in mine)
        return next((change for change in changes if change is not None), None)

    def lag(self, node: exp.Expression) -> int | None:
        """How long after an instant made of a column its row is known, exactly; None if that is not known."""
        if not self.exact or not self.single:
            return None
        made = bound(node)
        if made is None or made.low != made.high:
            return None
        base = self.find(made.column).lag if made.column.table in self.rows else None
        return None if base is None else base - made.low

    def timed_rows(self) -> dict[str, plan.Rows]:
        """The relations of FROM whose rows are known exactly by a column, as those who settle other rows."""
        return {alias: plain(rows) if self.exact else plan.Rows(timed=rows.timed) for alias, rows in self.rows.items()}

    def listed(self) -> dict[str, Column]:
        """What is known of the columns of the list."""

        found = []
        for item in self.select.expressions:
            node = item.unalias()
            lag = None if queries(node) or (self.grouped and not self.keys_settle(node)) else self.lag(node)
            found.append((item.alias_or_name, Column(self.change(node), lag, self._ranks(node))))
        return named(found, self.select)

    def _ranks(self, node: exp.Expression) -> frozenset[str] | None:
        """Which columns of the list have one value in all rows that a window function numbers."""
        from sqlglot import exp

        if not isinstance(node, exp.Window) or function_name(node.this) not in RANKS:
            return None
        args = self.select.args
        if args.get("qualify") or args.get("distinct") or self.select.find(exp.Explode, exp.Unnest):
            return None  # the first of them may not be among the rows
        partition = {text(p) for p in resolved(node, self.select)[0]}
        return frozenset(i.alias_or_name for i in self.select.expressions if text(i.unalias()) in partition)

    def keys_settle(self, node: exp.Expression) -> bool:
        """Whether an expression of the list is made of a key of all groups; one of some sets is NULL in others."""
        return any(text(n) in self.always for n in node.walk())


def _short(node: exp.Expression) -> str:
    written = node.sql("duckdb", identify=False).replace('"', "")
    return str(written if len(written) <= 60 else written[:57] + "...")


def plain(rows: Rows) -> plan.Rows:
    """What settles rows that are known exactly by a column."""
    lags = {name: c.lag for name, c in rows.columns.items() if c.lag is not None} if rows.exact else {}
    return plan.Rows(lags, timed=rows.timed)


def around(level: Level) -> dict[str, plan.Rows]:
    """What settles the relations of a SELECT and of those around it."""
    return {alias: plain(rows) for scope in (level.rows, *level.outer) for alias, rows in scope.items()}


def tie(node: exp.Expression, level: Level) -> str:
    """What to write so that a relation is tied to the row's time."""
    name, column, lag = next(
        ((a, c, n) for a, r in level.timed_rows().items() for c, n in r.lags.items()), ("a", "t", 0)
    )
    settled = level.writer.settled.relation(node, level.env.settled, around(level))
    its, after = next(iter(settled.lags.items()), ("t", 0))
    alias = node.alias_or_name or "b"
    apart = "" if alias != name else "name the two apart, as in AS b: "
    wait = f" + INTERVAL {_spelled(after - lag)}" if after > lag else ""
    return f"{apart}AND {'b' if apart else alias}.{its}{wait} <= {name}.{column}"


def _spelled(micros: int) -> str:
    """A length of time, as an interval is written."""
    units = {"DAY": 86_400_000_000, "HOUR": 3_600_000_000, "MINUTE": 60_000_000, "SECOND": 1_000_000}
    unit = next((unit for unit, length in units.items() if not micros % length), "MICROSECOND")
    return f"{micros // units.get(unit, 1)} {unit}"


def reads_time(writer: Writer, node: exp.Expression, env: Env) -> bool:
    """Whether a query reads rows that are not known always."""
    from sqlglot import exp

    for table in node.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            continue
        if table.db:
            relation = writer.sources.get((table.db, table.name))
            if relation is None:
                raise Unproven(f"{table.db}.{table.name} is no source and no feature", table)
            if relation.time is not None:
                return True
        elif table.name in env.rows and env.rows[table.name].timed:
            return True
        elif table.name not in env.rows and not _within(table, node):
            raise Unproven(f"{table.name} is no source and no feature", table)
    return False


def _within(table: exp.Table, node: exp.Expression) -> bool:
    """Whether a name is that of a CTE inside of the node."""
    from sqlglot import exp

    return any(cte.alias == table.name for cte in node.find_all(exp.CTE))
