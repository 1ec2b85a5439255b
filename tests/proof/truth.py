"""Whether a query leaks on some rows, by running it again over what was known at every instant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlforge.model import Duration
from mlforge.proof.known import Relation
from mlforge.sql.templates import literal

if TYPE_CHECKING:
    import duckdb

Row = tuple[Any, ...]
SCHEMA = "_mlforge_source"
NEVER = 2**62
_VERSIONS = 10  # of the rows of a table in one world: those that it has, and others


@dataclass(frozen=True)
class Table:
    """A source: columns with types, the one that says when a row happened, and how long after it a row is known."""

    columns: dict[str, str]
    time: str | None = None
    delay: str = "0s"
    rows: tuple[Row, ...] = field(default=())
    others: tuple[tuple[Row, ...], ...] = field(default=())  # rows that may come later in place of these
    unique: tuple[str, ...] = ()

    @property
    def relation(self) -> Relation:
        delay = Duration.parse(self.delay)
        return Relation(columns=self.columns, time=self.time, delay=delay, unique=frozenset(self.unique))


def relations(tables: dict[str, Table]) -> dict[tuple[str, str], Relation]:
    return {(SCHEMA, name): table.relation for name, table in tables.items()}


class Truth:
    """Tables of which each row has the instant from which it is known, and queries over what was known at one."""

    def __init__(self, con: duckdb.DuckDBPyConnection, *worlds: dict[str, Table]) -> None:
        self.con, self.worlds, self.world = con, worlds, 0
        for name, table in worlds[0].items():
            self._make(name, table)
            self._fill(name)

    @property
    def tables(self) -> dict[str, Table]:
        """The tables with the rows that are looked at."""
        return self.worlds[self.world]

    def _make(self, name: str, table: Table) -> None:
        made = self.con.execute(
            "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'every' AND table_name = ?", [name]
        ).fetchone()
        if made:
            return
        columns = ", ".join(f'"{c}" {t}' for c, t in table.columns.items())
        delay = table.relation.delay.micros
        seen = f"coalesce(epoch_us({table.time}) + {delay}, {NEVER})" if table.time else f"{-NEVER}"
        self.con.execute(
            f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}; CREATE SCHEMA IF NOT EXISTS every; "
            f"CREATE TABLE every.{name} ({columns}, _version INTEGER); "
            f"CREATE VIEW {SCHEMA}.{name} AS SELECT * EXCLUDE (_version) FROM every.{name} WHERE "
            f"CASE WHEN {seen} <= getvariable('cut') THEN _version = getvariable('base') ELSE _version = getvariable('later') END"
        )

    def _fill(self, name: str) -> None:
        tables = [(_VERSIONS * world, tables[name]) for world, tables in enumerate(self.worlds)]
        rows = [(*row, first) for first, table in tables for row in table.rows]
        for first, table in tables:
            rows += [(*row, first + n) for n, made in enumerate(table.others, 1) for row in made]
        values = ", ".join("(" + ", ".join(map(literal, row)) + ")" for row in rows)
        insert = f"; INSERT INTO every.{name} VALUES {values}" if rows else ""
        self.con.execute(f"DELETE FROM every.{name}{insert}")

    def instants(self) -> list[int]:
        """Every instant at which a row becomes known."""
        found: set[int] = set()
        first = _VERSIONS * self.world
        for name, table in self.tables.items():
            if table.time:
                seen = f"epoch_us({table.time}) + {table.relation.delay.micros}"
                of = f"every.{name} WHERE _version BETWEEN {first} AND {first + _VERSIONS - 1}"
                rows = self.con.execute(f"SELECT DISTINCT {seen} FROM {of}").fetchall()
                found |= {t for (t,) in rows if t is not None}
        return sorted(found)

    def show_all(self) -> None:
        """Let the sources have all of their rows."""
        self.con.execute(f"SET VARIABLE cut = {NEVER + 1}; SET VARIABLE later = -1")

    def at(self, query: str, t: int, later: int = -1) -> Counter[Row]:
        """The rows of a query over what is known at ``t``, and of ``later`` the rows that come after it; the stamp in
        microseconds first."""
        base = _VERSIONS * self.world
        later = base + later if later > 0 else -1
        self.con.execute(f"SET VARIABLE cut = {t}; SET VARIABLE base = {base}; SET VARIABLE later = {later}")
        rows = self.con.execute(f"SELECT epoch_us(ts::TIMESTAMP) AS stamp_, * FROM ({query})").fetchall()
        return Counter(tuple(str(v) if isinstance(v, (list, dict)) else v for v in row) for row in rows)

    def leaks(self, query: str, delay: int = 0, *, replaced: bool = False) -> int | None:
        """The first instant at which the rows stamped until then are not those of all rows, or None. Over ``replaced``
        rows too: other rows come after it.

        Between two instants at which rows become known nothing changes but the stamps that are reached: the last
        microsecond is enough."""
        everything = self.at(query, NEVER + 1)
        instants = self.instants()
        for t in [*(i - 1 for i in instants), NEVER - 1]:
            then = until(self.at(query, t), t - delay)
            if then != until(everything, t - delay):
                return t
            others = range(1, 1 + max(len(table.others) for table in self.tables.values())) if replaced else ()
            if any(until(self.at(query, t, other), t - delay) != then for other in others):
                return t
        return None


def until(rows: Counter[Row], t: int) -> Counter[Row]:
    return Counter({row: n for row, n in rows.items() if row[0] is not None and row[0] <= t})
