"""Sources that change: folders of files, and tables. Each holds its rows as Python values beside what it writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import duckdb

from tests.incremental.rows import COLUMNS, DAY, HOUR, NOT_YET, SIDE, START, Draft, Row, time_of, values

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

KEYED = ", unique_key: id, loaded_at: loaded, deleted: gone"
KINDS = {
    "parquet": "{path: 'data/ev/*.parquet'}",
    "csv": "{path: 'data/ev/*.csv', options: {header: true, columns: {"
    + ", ".join(f"{name}: {kind}" for name, kind in COLUMNS.items())
    + "}}}",
    "keyed files": f"{{path: 'data/ev/*.parquet'{KEYED}}}",
    "loaded files": "{path: 'data/ev/*.parquet', loaded_at: loaded}",
    "table": "{path: data/other.duckdb, table: ev}",
    "loaded table": "{path: data/other.duckdb, table: ev, loaded_at: loaded}",
    "cursor table": "{path: data/other.duckdb, table: ev, cursor: seq}",
    "own table": "{table: main.raw.ev, cursor: seq}",
    "keyed table": f"{{path: data/other.duckdb, table: ev{KEYED}}}",
}
CITIES = {"a": "Aix", "b": "Bern", "c": "Cork"}


def config(kind: str) -> str:
    """mlforge.yaml of a project whose main source is of a kind."""
    return f"""\
name: changing
sources:
  ev: {KINDS[kind]}
  side: {{path: 'data/side/*.parquet'}}
  place: {{path: 'data/place/*.parquet'}}
entities:
  user: {{key: k}}
  shop: {{key: j}}
  pair: {{key: [k, j]}}
"""


class Folder:
    """Files of rows, each of which can grow, change, move and vanish."""

    def __init__(self, path: Path, suffix: str, columns: dict[str, str]) -> None:
        self.path, self.suffix, self.columns = path, suffix, columns
        self.parts: dict[str, list[Row]] = {}
        self.made = 0
        self.con = duckdb.connect()
        path.mkdir(parents=True)

    def close(self) -> None:
        self.con.close()

    def add(self, rows: list[Row]) -> None:
        self.made += 1
        self._write(f"{self.made:04}", rows)

    def put(self, name: str, rows: list[Row]) -> None:
        self._write(name, rows)

    def drop(self, name: str) -> None:
        if len(self.parts) > 1:  # a source without files is an error
            self._file(name).unlink()
            del self.parts[name]

    def touch(self, name: str) -> None:
        """The same content at another time."""
        stat = self._file(name).stat()
        os.utime(self._file(name), ns=(stat.st_atime_ns, stat.st_mtime_ns + 5_000_000_000))

    def rename(self, name: str) -> None:
        self.made += 1
        self._file(name).rename(self._file(f"{self.made:04}"))
        self.parts[f"{self.made:04}"] = self.parts.pop(name)

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.{self.suffix}"

    def _write(self, name: str, rows: list[Row]) -> None:
        path, before = self._file(name), self.parts.get(name)
        old = path.stat() if before is not None else None
        self.con.execute(f"COPY ({values(rows, self.columns)}) TO '{path}'")
        self.parts[name] = list(rows)
        if old and old.st_size == path.stat().st_size and old.st_mtime_ns == path.stat().st_mtime_ns:
            self.touch(name)  # a coarse clock: nothing could tell that the file is another


class Table:
    """A table of a DuckDB file; its one part is the whole table."""

    def __init__(self, path: Path, schema: str = "main") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.schema = schema
        self.parts: dict[str, list[Row]] = {"ev": []}
        with self._open() as con:
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            con.execute(f"CREATE TABLE {schema}.ev AS {values([], COLUMNS)}")

    def copy(self, path: Path) -> None:
        """The same table in another file."""
        other = Table(path, self.schema)
        other.add(self.parts["ev"])

    def close(self) -> None: ...

    def add(self, rows: list[Row]) -> None:
        if rows:
            with self._open() as con:
                con.execute(f"INSERT INTO {self.schema}.ev {values(rows, COLUMNS)}")
            self.parts["ev"] += rows

    def put(self, _name: str, rows: list[Row]) -> None:
        """Make the table hold these rows, by deleting those that are not among them and inserting the others."""
        old = self.parts["ev"]
        gone, new = [r for r in old if r not in rows], [r for r in rows if r not in old]
        self.parts["ev"] = list(rows)
        with self._open() as con:
            for row in gone:
                con.execute(
                    f"DELETE FROM {self.schema}.ev WHERE id IS NOT DISTINCT FROM ? AND seq = ?", [row["id"], row["seq"]]
                )
            if new:
                con.execute(f"INSERT INTO {self.schema}.ev {values(new, COLUMNS)}")

    def drop(self, name: str) -> None:
        """A table cannot vanish as a file can: it loses its older half."""
        self.put(name, self.parts[name][len(self.parts[name]) // 2 :])

    def touch(self, _name: str) -> None:
        with self._open() as con:
            con.execute("CHECKPOINT")

    def rename(self, _name: str) -> None:
        """The rows in another order."""
        with self._open() as con:
            con.execute(f"CREATE OR REPLACE TABLE {self.schema}.ev AS FROM {self.schema}.ev ORDER BY hash(id)")

    def _open(self) -> DuckDBPyConnection:
        return duckdb.connect(str(self.path), config={"storage_compatibility_version": "v1.4.0"})


class Main:
    """The source ``ev``, and the rules by which its kind of source is changed."""

    def __init__(self, root: Path, kind: str) -> None:
        self.kind = kind
        self.keyed = kind.startswith("keyed")
        suffix = "csv" if kind == "csv" else "parquet"
        self.store: Folder | Table
        if kind == "own table":
            self.store = Table(root / "catalog.duckdb", "raw")
        elif kind.endswith("table"):
            self.store = Table(root / "data/other.duckdb")
        else:
            self.store = Folder(root / "data/ev", suffix, COLUMNS)
        self.clock = 0

    def rows(self) -> list[Row]:
        """All rows that the source's parts hold, old states and tombstones of keyed sources among them."""
        return [row for part in self.store.parts.values() for row in part]

    def part(self, n: int) -> str:
        names = sorted(self.store.parts)
        return names[n % len(names)]

    def made(self, drafts: tuple[Draft, ...], *, id_: int | None = None) -> list[Row]:
        """Rows of drafts, each placed among those before it. What is made later is loaded later, or at once."""
        rows: list[Row] = []
        for draft in drafts:
            self.clock += 1
            at = time_of(draft, self.rows() + rows)
            loaded = START + self.clock // 3 * HOUR
            if draft.when == "future" and not self.keyed:
                loaded = NOT_YET + draft.n * DAY  # a clock that is wrong
            unkeyed = self.keyed and draft.n % 5 == 0  # a key of NULL is no key: each such row is one of its own
            row = {
                "id": (None if unkeyed else self.clock) if id_ is None else id_,
                "t": at,
                "loaded": loaded,
                "seq": self.clock,
                "gone": False,
            }
            rows.append(row | {name: getattr(draft, name) for name in "kjxis"})
        return rows

    def replace(self, n: int, drafts: tuple[Draft, ...]) -> None:
        """Other rows in place of a part's."""
        self.clock += 3
        self.store.put(self.part(n), self.made(drafts))

    def change(self, n: int, draft: Draft) -> None:
        """Another row in place of one: a later state of it where rows have a key."""
        found = self._nth(n)
        if found is None:
            return
        name, row = found
        self.clock += 3  # is loaded later than the row
        new = self.made((draft,), id_=row["id"])
        if self.keyed:
            self.store.add(new)
        else:
            self.store.put(name, [r for r in self.store.parts[name] if r is not row] + new)

    def remove(self, n: int) -> None:
        """One row less: a tombstone where rows have a key."""
        found = self._nth(n)
        if found is None:
            return
        name, row = found
        if self.kind == "loaded table" and row["loaded"] >= START + self.clock // 3 * HOUR:
            return  # one that comes in the same instant would look like the one that goes
        self.clock += 3
        if self.keyed:
            self.store.add([row | {"loaded": START + self.clock // 3 * HOUR, "seq": self.clock, "gone": True}])
        else:
            self.store.put(name, [r for r in self.store.parts[name] if r is not row])

    def _nth(self, n: int) -> tuple[str, Row] | None:
        every = [(name, row) for name in sorted(self.store.parts) for row in self.store.parts[name]]
        return every[n % len(every)] if every else None


class Side:
    """The sources ``side`` and ``place``."""

    def __init__(self, root: Path) -> None:
        self.prices = Folder(root / "data/side", "parquet", SIDE)
        self.places = Folder(root / "data/place", "parquet", {"j": "VARCHAR", "city": "VARCHAR", "weight": "DOUBLE"})
        self.prices.add([self._price(n, j, START + n * 5 * DAY, n / 4) for n, j in enumerate("abacbabc")])
        self.places.add(self._listed(0))

    def close(self) -> None:
        self.prices.close()
        self.places.close()

    @staticmethod
    def _price(n: int, j: str | None, at: int | None, price: float | None) -> Row:
        return {"id": n, "j": j, "t": at, "k": n % 3 + 1, "price": price}

    def _listed(self, n: int) -> list[Row]:
        cities = {j: city for j, city in CITIES.items() if n % 4 != 3 or j != "c"}
        return [{"j": j, "city": city, "weight": 1.0 + (n if j == "b" else 0)} for j, city in cities.items()]

    def price(self, draft: Draft, *, rewrite: bool) -> None:
        """A price more, or another in place of one."""
        rows = [row for part in self.prices.parts.values() for row in part]
        new = self._price(len(rows) + self.prices.made, draft.j, time_of(draft, rows), draft.x)
        if rewrite:
            name = sorted(self.prices.parts)[draft.n % len(self.prices.parts)]
            self.prices.put(name, [*self.prices.parts[name][1:], new])
        else:
            self.prices.add([new])

    def place(self, n: int) -> None:
        """The weight of one place changed, or a place gone."""
        self.places.put("0001", self._listed(n))
