"""Whether a query leaks on some rows, by running it again over what was known at every instant."""

from __future__ import annotations

import bisect
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import duckdb

from mlforge.model import Duration
from mlforge.proof.relations import Relation
from mlforge.sql.templates import literal

Row = tuple[Any, ...]
SCHEMA = "_mlforge_source"
NEVER = 2**62
LATE = "_late"  # a relation, where a column is read that is known later than its row
_PLACE = re.compile(rf'"?\b{SCHEMA}"?\."?(\w+)"?')
VERSIONS = 10  # of the rows of a table in one world: those that it has, and others


@dataclass(frozen=True)
class Table:
    """A source: columns with types, the one that says when a row happened, and how long after it a row is known.

    ``known``: a column that is known later than its row, and at which instant. ``settings``: how a project declares all
    that, with what decides which rows there are. ``rows`` are then loads of which some are replaced by others."""

    columns: dict[str, str]
    time: str | None = None
    delay: str = "0s"
    rows: tuple[Row, ...] = field(default=())
    others: tuple[tuple[Row, ...], ...] = field(default=())  # rows that may come later in place of these
    known: tuple[str, str] | None = None
    settings: str = ""

    @property
    def relation(self) -> Relation:
        delay = Duration.parse(self.delay)
        return Relation(
            columns=self.columns, time=self.time, delay=delay, known=dict([self.known] if self.known else [])
        )

    @property
    def seen(self) -> str:
        """SQL for the instant from which a row is known, but for the column that comes later."""
        if self.time is None:
            return f"{-NEVER}"
        return f"coalesce(epoch_us({self.time}) + {Duration.parse(self.delay).micros}, {NEVER})"

    @property
    def late(self) -> str:
        """The same of a row with the column that comes later."""
        assert self.known is not None
        return f"greatest({self.seen}, coalesce(epoch_us({self.known[1]}), {NEVER}))"

    def versions(self, world: int) -> dict[int, tuple[Row, ...]]:
        """Its rows, and those that may come in their place, each with a number of its own in all worlds."""
        return {VERSIONS * world + n: rows for n, rows in enumerate((self.rows, *self.others))}


def relations(tables: dict[str, Table]) -> dict[tuple[str, str], Relation]:
    return {(SCHEMA, name): table.relation for name, table in tables.items()}


class Truth:
    """Tables of which each row has the instant from which it is known, and queries over what was known at one."""

    def __init__(self, con: duckdb.DuckDBPyConnection, *worlds: dict[str, Table]) -> None:
        self.con, self.worlds, self.world = con, worlds, 0
        self.reads = _Reads(worlds[0])
        self.found: dict[tuple[int, str], list[int]] = {}  # world and relation -> the instants of its rows
        self.made: set[str] = set()  # tables of what is known of a relation at some instants
        con.execute("DROP SCHEMA IF EXISTS known CASCADE; CREATE SCHEMA known")
        for name, table in worlds[0].items():
            self._make(name, table)
            self._fill(name)

    @property
    def tables(self) -> dict[str, Table]:
        """The tables with the rows that are looked at."""
        return self.worlds[self.world]

    def _make(self, name: str, table: Table) -> None:
        columns = ", ".join(f'"{c}" {t}' for c, t in table.columns.items())
        self.con.execute(
            f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}; CREATE SCHEMA IF NOT EXISTS every; "
            f"CREATE TABLE IF NOT EXISTS every.{name} ({columns}, _version INTEGER); "
            f"CREATE VIEW IF NOT EXISTS {SCHEMA}.{name} AS SELECT * EXCLUDE (_version) FROM every.{name} WHERE _version = 0"
        )

    def _fill(self, name: str) -> None:
        versions = {
            n: rows for world, tables in enumerate(self.worlds) for n, rows in tables[name].versions(world).items()
        }
        rows = [(*row, n) for n, made in versions.items() for row in made]
        values = ", ".join("(" + ", ".join(map(literal, row)) + ")" for row in rows)
        insert = f"; INSERT INTO every.{name} VALUES {values}" if rows else ""
        self.con.execute(f"DELETE FROM every.{name}{insert}")

    # -- instants

    def _seen(self, relation: str) -> tuple[str, str]:
        """The table of a relation, and SQL for the instant from which a row of it is known."""
        name = relation.removesuffix(LATE)
        table = self.tables[name]
        return name, table.seen if name == relation else table.late

    def _instants(self, relation: str) -> list[int]:
        key = (self.world, relation)
        if key not in self.found:
            (name, seen), first = self._seen(relation), VERSIONS * self.world
            of = f"every.{name} WHERE _version BETWEEN {first} AND {first + VERSIONS - 1}"
            self.found[key] = sorted(t for (t,) in self.con.execute(f"SELECT DISTINCT {seen} FROM {of}").fetchall())
        return self.found[key]

    def instants(self, query: str) -> list[int]:
        """Every instant at which a row that the query reads becomes known."""
        every = set[int]().union(*(self._instants(relation) for relation in _PLACE.findall(query)))
        return sorted(every - {NEVER, -NEVER})

    def _known(self, relation: str, t: int, later: int) -> str:
        """A table with the rows of a relation that are known at ``t``, and of ``later`` those that are not."""
        place = bisect.bisect_right(self._instants(relation), t)
        base = VERSIONS * self.world
        made = f"known.{relation}_{base}_{place}" + (f"_{later}" if later > 0 else "")
        if made not in self.made:
            name, seen = self._seen(relation)
            after = f"_version = {base + later}" if later > 0 else "FALSE"
            self.con.execute(
                f"CREATE TABLE {made} AS SELECT * EXCLUDE (_version) FROM every.{name} "
                f"WHERE CASE WHEN {seen} <= {t} THEN _version = {base} ELSE {after} END"
            )
            self.made.add(made)
        return made

    # -- queries

    def at(self, query: str, t: int, later: int = -1) -> Counter[Row]:
        """The rows of a query over what is known at ``t``, and of ``later`` the rows that come after it; the stamp in
        microseconds first."""
        text = _PLACE.sub(lambda place: self._known(place[1], t, later), query)
        rows = self.con.execute(f"SELECT epoch_us(ts::TIMESTAMP) AS stamp_, * FROM ({text})").fetchall()
        return Counter(tuple(str(v) if isinstance(v, (list, dict)) else v for v in row) for row in rows)

    def leaks(self, query: str, delay: int = 0, *, replaced: bool = False) -> int | None:
        """The first instant at which the rows stamped until then are not those of all rows, or None. Over ``replaced``
        rows too: other rows come after it.

        Between two instants at which rows become known nothing changes but the stamps that are reached: the last
        microsecond is enough."""
        query = self.reads.spelt(query)
        everything = self.at(query, NEVER + 1)
        instants = [*(i - 1 for i in self.instants(query)), NEVER - 1]
        others = max(len(table.others) for table in self.tables.values()) if replaced else 0
        for later in (-1, *range(1, 1 + others)):
            for t in instants:
                if until(self.at(query, t, later), t - delay) != until(everything, t - delay):
                    return t
        return None


def until(rows: Counter[Row], t: int) -> Counter[Row]:
    return Counter({row: n for row, n in rows.items() if row[0] is not None and row[0] <= t})


class _Reads:
    """Which places of a query read a column that is known later than its row.

    DuckDB says which columns a plan reads: those that nothing is made of are left out of it."""

    _MOST = 16  # places of one source in one query

    def __init__(self, tables: dict[str, Table]) -> None:
        self.late = {name: table.known[0] for name, table in tables.items() if table.known}
        if not self.late:
            return
        self.con = duckdb.connect()
        # what is computed from an empty table is not computed at all, seen from its statistics
        self.con.execute(
            f"SET disabled_optimizers = 'statistics_propagation'; CREATE SCHEMA {SCHEMA}; CREATE SCHEMA late"
        )
        for name, table in tables.items():
            columns = ", ".join(f'"{c}" {t}' for c, t in table.columns.items())
            self.con.execute(f"CREATE TABLE {SCHEMA}.{name} ({columns})")
            for n in range(self._MOST if table.known else 0):
                own = [f"late_{n}_" if c == self.late[name] else c for c in table.columns]
                typed = ", ".join(f"{c} {t}" for c, t in zip(own, table.columns.values(), strict=True))
                named = ", ".join(f"{c} AS {plain}" for c, plain in zip(own, table.columns, strict=True))
                self.con.execute(
                    f"CREATE TABLE late.{name}_{n} ({typed}); "
                    f"CREATE VIEW {SCHEMA}.{name}_{n} AS SELECT {named} FROM late.{name}_{n}"
                )

    def spelt(self, query: str) -> str:
        """The query with ``name_late`` at those places."""
        names = _PLACE.findall(query)
        if not self.late.keys() & set(names):
            return query
        assert len(names) <= self._MOST, query
        plan = str(self.con.execute(f"EXPLAIN (FORMAT json) {_named(query, self._numbered(names))}").fetchall())
        return _named(query, [name + LATE * (f"late_{n}_" in plan) for n, name in enumerate(names)])

    def _numbered(self, names: list[str]) -> list[str]:
        return [f"{name}_{n}" if name in self.late else name for n, name in enumerate(names)]


def _named(query: str, names: list[str]) -> str:
    """The query with its relations called otherwise, in their order."""
    left = iter(names)
    return _PLACE.sub(lambda _: f"{SCHEMA}.{next(left)}", query)
