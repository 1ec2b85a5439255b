"""A compact copy of a DuckDB file defines and holds the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from mlforge.catalog.compact import Compacted, compact, sentence
from mlforge.errors import CatalogError
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from pathlib import Path

CASES = {
    "views in any order": [
        "CREATE TABLE t(a INT)",
        "INSERT INTO t VALUES (1)",
        "CREATE VIEW z AS FROM t",
        "CREATE VIEW a AS FROM z",
        "CREATE OR REPLACE VIEW z AS FROM t WHERE a > 0",
    ],
    "a view over a later schema": [
        "CREATE TABLE t(a INT)",
        "CREATE VIEW v AS SELECT 1 AS x",
        "CREATE SCHEMA s2",
        "CREATE VIEW s2.w AS FROM t",
        "CREATE OR REPLACE VIEW v AS FROM s2.w",
    ],
    "a view of what is gone": ["CREATE TABLE t(a INT)", "CREATE VIEW v AS FROM t", "DROP TABLE t"],
    "macros": [
        "CREATE TABLE t(a INT)",
        "CREATE MACRO m(x) AS x + 1, (x, y) AS x + y",
        "CREATE VIEW v AS SELECT m(a) AS b FROM t",
        "CREATE MACRO tm(q) AS TABLE SELECT * FROM query_table(q)",
        "CREATE VIEW w AS FROM tm('t')",
        "COMMENT ON MACRO TABLE tm IS 'of a table'",
    ],
    "constraints": [
        "CREATE TABLE t(a INT PRIMARY KEY, b INT UNIQUE CHECK (b > 0), c INT DEFAULT 7)",
        "INSERT INTO t VALUES (1, 2, 3)",
    ],
    "sequences": [
        "CREATE SEQUENCE sq",
        "CREATE TABLE t(a INT DEFAULT nextval('sq'))",
        "INSERT INTO t DEFAULT VALUES",
        "INSERT INTO t DEFAULT VALUES",
    ],
    "types": ["CREATE TYPE mood AS ENUM ('a', 'b')", "CREATE TABLE t(m mood)", "INSERT INTO t VALUES ('a')"],
    "generated columns": ["CREATE TABLE t(a INT, b INT GENERATED ALWAYS AS (a * 2))", "INSERT INTO t(a) VALUES (4)"],
    "indexes": ["CREATE TABLE t AS SELECT range AS a FROM range(100)", "CREATE INDEX i ON t(a)"],
    "comments": [
        "CREATE TABLE t(a INT)",
        "CREATE VIEW v AS FROM t",
        "COMMENT ON VIEW v IS 'vv'",
        "COMMENT ON COLUMN v.a IS 'va'",
        "COMMENT ON TABLE t IS 'tt'",
        "COMMENT ON COLUMN t.a IS 'ta'",
    ],
    "odd names": [
        'CREATE SCHEMA "ver sions"',
        'CREATE TABLE "ver sions"."a@1.0.0"("x y" INT)',
        'INSERT INTO "ver sions"."a@1.0.0" VALUES (3)',
        'CREATE VIEW "ver sions"."b@1" AS SELECT "x y" FROM "ver sions"."a@1.0.0"',
    ],
}
BALLAST = [
    "CREATE TABLE ballast AS SELECT hash(range) AS h FROM range(300000)",
    "CHECKPOINT",
    "DROP TABLE ballast",
    "CHECKPOINT",
]


def made(path: Path, statements: list[str]) -> Path:
    with duckdb.connect(str(path), config={"storage_compatibility_version": "v1.4.0"}) as con:
        for statement in statements:
            con.execute(statement)
    return path


def contents(path: Path) -> list[object]:
    """What a file defines, and the rows of its tables and of its views that work."""
    with duckdb.connect(str(path), read_only=True) as con:
        found: list[object] = list(con.execute(sql("catalog/objects", database=path.stem)).fetchall())
        for kind, schema, name, *_ in found[:]:  # type: ignore[misc]
            if kind in ("table", "view") and (schema, name) != ("main", "v" if path.stem == "gone" else ""):
                found.append(con.execute(f'FROM "{schema}"."{name}" ORDER BY ALL').fetchall())
    return found


@pytest.mark.parametrize("name", CASES)
def test_everything_is_as_it_was(tmp_path: Path, name: str) -> None:
    stem = "gone" if "gone" in name else "c"
    path = made(tmp_path / f"{stem}.duckdb", [*CASES[name], *BALLAST])
    before = contents(path)
    found = compact(path)
    assert found.replaced
    assert found.after < found.before / 2
    assert contents(path) == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_sequence_goes_on_where_it_was(tmp_path: Path) -> None:
    path = made(tmp_path / "c.duckdb", [*CASES["sequences"], *BALLAST])
    compact(path)
    with duckdb.connect(str(path)) as con:
        assert con.execute("INSERT INTO t DEFAULT VALUES RETURNING a").fetchall() == [(3,)]


def test_rows_keep_their_order(tmp_path: Path) -> None:
    rows = "CREATE TABLE t AS SELECT range AS n, hash(range) AS h FROM range(1000000) ORDER BY h"
    path = made(tmp_path / "c.duckdb", [rows, "CHECKPOINT", "DELETE FROM t WHERE n % 3 = 0", "CHECKPOINT"])
    with duckdb.connect(str(path), read_only=True) as con:
        before = con.execute("SELECT n FROM t").fetchnumpy()["n"]
    assert compact(path, threads=4).replaced
    with duckdb.connect(str(path), read_only=True) as con:
        assert (con.execute("SELECT n FROM t").fetchnumpy()["n"] == before).all()


def test_what_cannot_be_copied_is_an_error_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should DuckDB ever leave something out."""
    path = made(tmp_path / "c.duckdb", [*CASES["views in any order"], *BALLAST])
    before = path.read_bytes()
    from mlforge.catalog import compact as module

    monkeypatch.setattr(module, "_digest", lambda _con, table: table)
    with pytest.raises(CatalogError, match=r"table main\.t would not be the same; the file is as it was"):
        compact(path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    real = module._rewrite

    def less(con: duckdb.DuckDBPyConnection, target: Path, catalog: Path) -> None:
        real(con, target, catalog)
        con.execute("DROP VIEW new.main.a")

    monkeypatch.setattr(module, "_rewrite", less)
    with pytest.raises(CatalogError, match=r"column main\.a\.a would not be the same"):
        compact(path)
    assert path.read_bytes() == before


def test_foreign_keys_are_kept_or_refused(tmp_path: Path) -> None:
    """Before 2.0 DuckDB copies tables in an order that changes from run to run: that a long chain of them is copied in
    the one order that works is as good as impossible."""
    tables = ["CREATE TABLE t12(a INT PRIMARY KEY)", "INSERT INTO t12 VALUES (1)"]
    for n in range(11, -1, -1):
        tables += [f"CREATE TABLE t{n}(a INT PRIMARY KEY REFERENCES t{n + 1}(a))", f"INSERT INTO t{n} VALUES (1)"]
    path = made(tmp_path / "c.duckdb", [*tables, *BALLAST])
    before, bytes_ = contents(path), path.read_bytes()
    if int(duckdb.__version__.split(".")[0]) >= 2:
        assert compact(path).replaced
    else:
        with pytest.raises(CatalogError, match=r"cannot be written anew: Constraint Error.*foreign key"):
            compact(path)
        assert path.read_bytes() == bytes_
    assert contents(path) == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    path = made(tmp_path / "c.duckdb", [*CASES["views in any order"], *BALLAST])
    link = tmp_path / "link.duckdb"
    link.symlink_to(path)
    assert compact(link).replaced
    assert link.is_symlink()
    assert path.stat().st_size < 2_000_000


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="there is no DuckDB file at"):
        compact(tmp_path / "none.duckdb")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            Compacted(before=5_000_000, after=1_000_000, replaced=True),
            "the file has 1.0 MB, 80% less than the 5.0 MB before",
        ),
        (
            Compacted(before=5_000_000, after=5_000_000, replaced=False),
            "the file has 5.0 MB and cannot be made smaller",
        ),
    ],
)
def test_in_words(found: Compacted, text: str) -> None:
    assert sentence(found) == text
