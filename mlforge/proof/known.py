"""What a proof works on: when rows of each relation become known, and the query with every name spelt out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from mlforge.duration import Duration
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
    delay: Duration = Duration(0, "s")  # so long after it
    known: dict[str, str] = {}  # column -> SQL over the row: its own instant, a timestamp
    unique: frozenset[str] = frozenset()  # columns that are unique by themselves

    def seen(self, alias: str) -> str:
        """SQL for the microseconds at which a row is known, over the columns of ``alias``; NEVER without a time."""
        if self.time is None:
            return str(ALWAYS)
        return sql(
            "proof/seen", alias=alias, column=self.time, type=self.columns[self.time], delay=self.delay, never=NEVER
        )


#: (schema, name) of a table in the query -> what it is.
Relations = Mapping[tuple[str, str], Relation]


class Unproven(Exception):
    """The rules do not decide a query: why, at which node, and what the user can write instead (or nothing)."""

    def __init__(self, why: str, node: exp.Expression | None = None, repair: str = "") -> None:
        super().__init__(why)
        self.why, self.node, self.repair = why, node, repair


def qualified(tree: exp.Query, relations: Relations) -> exp.Query:
    """A copy of the query in which every column names its relation, stars and aliases of the list are written out,
    positions in GROUP BY and ORDER BY too, and USING is ON. Names are lower case; nodes keep their places in the
    user's text (``meta``). Raises Unproven for SQL that cannot be resolved so."""
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.qualify import qualify

    schema: dict[str, dict[str, dict[str, str]]] = {}
    for (db, name), relation in relations.items():
        schema.setdefault(db, {})[name] = dict(relation.columns)
    try:
        return qualify(
            tree.copy(), schema=schema, dialect="duckdb", validate_qualify_columns=False, expand_alias_refs=True
        )
    except (SqlglotError, RecursionError) as error:
        raise Unproven(f"its names cannot be followed ({str(error).splitlines()[0]})", tree) from error
