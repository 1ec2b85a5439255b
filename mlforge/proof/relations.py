"""What a proof works on: when rows of each relation become known, and the query with every name spelt out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from mlforge.duration import Duration
from mlforge.proof.origin import origin
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from sqlglot import exp

#: The column that carries, through a query, the instant from which a row is known: BIGINT microseconds, UTC.
SEEN = "_mlforge_seen"
#: Known always, and known never, in those microseconds.
ALWAYS, NEVER = -(2**63 - 1), 2**63 - 1


class Relation(Struct, frozen=True, kw_only=True):
    """A source, or the rows of a feature that is read: its columns, and when each of its rows is known."""

    columns: dict[str, str]  # name -> DuckDB type
    time: str | None = None  # the column whose instant a row is known at; None: always known
    format: str | None = None  # how that column's text is read, as strptime writes it
    delay: Duration = Duration(0, "s")  # so long after it
    known: dict[str, str] = {}  # column -> SQL over the row: its own instant, a timestamp

    def __str__(self) -> str:
        """When its rows are known, in words."""
        if self.time is None:
            return "always"
        read = f" read as {self.format}" if self.format else ""
        own = "".join(f"; {column}: {instant}" for column, instant in sorted(self.known.items()))
        return f"{self.delay} after {self.time}{read}{own}"

    def seen(self, alias: str) -> str:
        """SQL for the microseconds at which a row is known, over the columns of ``alias``; NEVER without a time."""
        if self.time is None:
            return str(ALWAYS)
        return sql(
            "proof/seen",
            alias=alias,
            column=self.time,
            type=self.columns[self.time],
            format=self.format,
            delay=self.delay,
            always=ALWAYS,
            never=NEVER,
        )


#: (schema, name) of a table in the query -> what it is.
Relations = Mapping[tuple[str, str], Relation]


class Unproven(Exception):
    """The rules do not decide a query: why, at which node, and what the user can write instead (or nothing)."""

    def __init__(self, why: str, node: exp.Expression | None = None, repair: str = "") -> None:
        super().__init__(why)
        self.why, self.node, self.repair = why, node, repair


class Leaking(Unproven):
    """The same of a query that is known to leak: on some rows a later one changes, or takes away, what was there."""


def qualified(tree: exp.Query, relations: Relations) -> exp.Query:
    """A copy of the query in which every column names its relation, stars and aliases of the list are written out,
    positions in GROUP BY and ORDER BY too, and USING is ON. Names are lower case; nodes keep their places in the
    user's text (``meta``). Raises Unproven for SQL that cannot be resolved so."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.qualify import qualify

    schema: dict[str, dict[str, dict[str, str]]] = {}
    for (db, name), relation in relations.items():
        schema.setdefault(db, {})[name] = dict(relation.columns)
    made = tree.copy()
    using = [(j, {c.name.lower() for c in j.args["using"]}) for j in made.find_all(exp.Join) if j.args.get("using")]
    try:
        found = qualify(made, schema=schema, dialect="duckdb", validate_qualify_columns=False, expand_alias_refs=True)
    except (SqlglotError, RecursionError) as error:
        raise Unproven(f"its names cannot be followed ({str(error).splitlines()[0]})", tree) from error
    row = found.find(exp.TableColumn)
    if row is not None:
        raise Unproven(f"{row.name}, a row as one value, is not understood", row, "name the columns")
    several = found.find(exp.Columns) if any(relation.known for relation in relations.values()) else None
    if several is not None:
        raise Unproven("COLUMNS(...) is not understood", several, "name the columns")
    for join, names in using:
        _expand(join, names, relations)
    return found


def _expand(join: exp.Join, names: set[str], relations: Relations) -> None:
    """Finish what USING means: of the last column ASOF meets the greatest that is not greater; and where the left row
    is always there, its value is that of the one column, which qualify writes as COALESCE of both."""
    from sqlglot import exp

    on = join.args.get("on")
    if join.method == "ASOF":
        last = on.expression if isinstance(on, exp.And) else on
        if not isinstance(last, exp.EQ):
            raise Unproven("ASOF JOIN with USING is not understood", join, "ON a.k = b.k AND a.t >= b.t")
        last.replace(exp.GTE(this=last.this, expression=last.expression))
    select = join.parent
    if not isinstance(select, exp.Select) or any(j.side not in ("", "LEFT") for j in select.args["joins"]):
        return
    read = {r.alias_or_name: r for r in (select.args["from_"].this, *(j.this for j in select.args["joins"]))}
    for node in list(select.find_all(exp.Coalesce)):
        parts = [node.this, *node.expressions]
        made = all(isinstance(p, exp.Column) and p.name in names for p in parts)
        if not made or parts[-1].table != join.this.alias_or_name or len({p.name for p in parts}) > 1:
            continue  # the user's own
        kinds = {_type(read.get(part.table), part.name, relations) for part in parts}
        if len(kinds) == 1 and None not in kinds:
            node.replace(node.this)


def _type(relation: exp.Expression | None, name: str, relations: Relations) -> str | None:
    """The type of a column of a relation that holds a source's or a feature's column as it is."""
    from sqlglot import exp

    found = (relation.db, relation.name, name) if isinstance(relation, exp.Table) else None
    if isinstance(relation, exp.Subquery) and not relation.alias_column_names:
        base = origin(relation.this, name)
        found = next(iter(base.columns)) if base.copied and len(base.columns) == 1 else None
    if found is None:
        return None
    lowered = {(db.lower(), table.lower()): r.columns for (db, table), r in relations.items()}
    columns = lowered.get((found[0], found[1]), {})
    return next((kind for column, kind in columns.items() if column.lower() == found[2]), None)
