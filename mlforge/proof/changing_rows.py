"""What the proof by rows knows of a relation: which of its columns change as later rows arrive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mlforge.proof.relations import ALWAYS, SEEN, Unproven
from mlforge.render.functions import has_over, is_aggregate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlglot import exp

WRITE_ROWS = "write the rows: retrieval takes the last"
PERIOD = "add the period to GROUP BY, and stamp its end"
ALONG = "order the window by the time, ascending"
#: Window functions that number the rows before a row.
RANKS = frozenset(["row_number", "rank", "dense_rank", "rank_dense"])


@dataclass(frozen=True)
class Change:
    """Why a value of a row is another one at another instant, and what to write instead."""

    what: str
    repair: str = ""
    node: exp.Expression | None = field(default=None, compare=False)  # that makes it so


@dataclass(frozen=True)
class Column:
    """``lag``: the row is known exactly so many microseconds after the column's instant.
    ``ranks``: it numbers the rows that have the same values in these columns."""

    change: Change | None = None
    lag: int | None = None
    ranks: frozenset[str] | None = None


@dataclass(frozen=True)
class Rows:
    """The rows of a relation, each with the instant SEEN. Whatever else is true of them:

    - a row is there at every instant from SEEN on, with these values, and
    - a row that was there at an instant and is no more has a successor, with the same values in every column that does
      not change, that is SEEN later than that instant.

    ``exact``: from SEEN on and not before, so that no value changes. ``timed``: the relation has the column SEEN; the
    others are the same at every instant, all columns of them, whatever they are."""

    columns: Mapping[str, Column] = field(default_factory=dict)
    timed: bool = True
    exact: bool = True

    def column(self, name: str) -> Column | None:
        """What is known of a column; None if there is none of that name."""
        return self.columns.get(name) if self.timed else self.columns.get(name, Column())

    def changed(self, change: Change) -> Rows:
        """The rows with every column changing."""
        columns = {name: replace(c, change=c.change or change, lag=None) for name, c in self.columns.items()}
        return replace(self, columns=columns, exact=False)


class Changing(dict[str, Column]):
    """Columns that all change, whatever their names."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.of = Column(change)

    def get(self, key: str, default: object = None) -> Column:
        """The column, of any name."""
        return self.of


CHOSEN = Change("the row that is chosen", WRITE_ROWS)
FIXED = Rows(timed=False)
Scope = Mapping[str, Rows]  # alias -> what stands in FROM


def named(columns: Iterable[tuple[str, Column]], node: exp.Expression) -> dict[str, Column]:
    """Columns by name. Raises Unproven for two of the same name."""
    found: dict[str, Column] = {}
    for name, column in columns:
        if name == SEEN:
            raise Unproven(
                f"{SEEN}, a name of mlforge's own, is not understood", node, "give the column another name with AS"
            )
        if name in found or not name:
            raise Unproven(f"two columns named {name!r} are not understood", node, "give each its own name with AS")
        found[name] = column
    return found


# -- trees


def text(node: exp.Expression) -> str:
    """A node as SQL, without parentheses around it, to compare it."""
    from sqlglot import exp

    while isinstance(node, exp.Paren):
        node = node.this
    return str(node.sql("duckdb"))


def first_of(guard: exp.Expression) -> exp.Expression | None:
    """What a condition compares that keeps the first so many: ``rank = 1`` or ``rank <= 3``."""
    from sqlglot import exp

    while isinstance(guard, exp.Paren):
        guard = guard.this
    if not isinstance(guard, (exp.EQ, exp.LT, exp.LTE)) or not isinstance(guard.expression, exp.Literal):
        return None
    return None if isinstance(guard, exp.EQ) and guard.expression.name != "1" else guard.this


def conjuncts(node: exp.Expression | None) -> list[exp.Expression]:
    """The conditions that AND holds together."""
    from sqlglot import exp

    while isinstance(node, exp.Paren):
        node = node.this
    if node is None:
        return []
    return conjuncts(node.this) + conjuncts(node.expression) if isinstance(node, exp.And) else [node]


def queries(node: exp.Expression) -> list[exp.Query]:
    """The subqueries of an expression, not those within them."""
    from sqlglot import exp

    return [n for n in node.walk(prune=lambda n: isinstance(n, exp.Query)) if isinstance(n, exp.Query)]


def own(node: exp.Expression) -> Iterator[exp.Expression]:
    """The nodes of an expression, without subqueries."""
    from sqlglot import exp

    for found in node.walk(prune=lambda n: isinstance(n, exp.Query)):
        if not isinstance(found, exp.Query):
            yield found


def seen_of(alias: str) -> exp.Column:
    """The column SEEN of a relation."""
    from sqlglot import exp

    return exp.column(SEEN, table=alias, quoted=True)


def always() -> exp.Expression:
    """What is known always, as SQL."""
    from sqlglot import exp

    return exp.cast(exp.Literal.number(ALWAYS) if ALWAYS >= 0 else exp.Neg(this=exp.Literal.number(-ALWAYS)), "BIGINT")


def greatest(parts: list[exp.Expression], *, nullable: bool = False) -> exp.Expression:
    """The latest of several instants, each once; NULLs are skipped. ALWAYS if there is none."""
    from sqlglot import exp

    distinct = list({part.sql("duckdb"): part for part in parts}.values())
    if not distinct:
        return always()
    first, *others = (part.copy() for part in distinct)
    latest = exp.Greatest(this=first, expressions=others, ignore_nulls=True) if others else first
    return exp.Coalesce(this=latest, expressions=[always()]) if nullable else latest


def call(name: str, *args: exp.Expression, where: exp.Expression | None = None) -> exp.Expression:
    """An aggregate of rows, those that fulfil ``where`` only."""
    from sqlglot import exp

    made = exp.func(name, *(a.copy() for a in args), dialect="duckdb")
    return made if where is None else exp.Filter(this=made, expression=exp.Where(this=where.copy()))


def aggregated(select: exp.Select) -> bool:
    """Whether a SELECT makes one row of several."""
    if select.args.get("group") or select.args.get("having"):
        return True
    parts = [*select.expressions, *(select.args.get(key) for key in ("qualify", "order"))]
    return any(is_aggregate(n) and not has_over(n) for part in parts if part is not None for n in own(part))
