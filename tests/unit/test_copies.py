"""Which source column an output column copies, and what is too clever to tell."""

from __future__ import annotations

import duckdb
import pytest
import sqlglot

from mlforge.render.copied_columns import copied_column

S = '"_mlforge_source"."s"'
O = '"_mlforge_source"."o"'  # noqa: E741 - the other source
R = '"_mlforge_ref"."f"'

COPIES = [
    ("a bare column", f"SELECT k, ts FROM {S}", ("s", "ts")),
    ("an alias", f"SELECT created AS ts FROM {S}", ("s", "created")),
    ("a prefix alias", f"SELECT ts: created FROM {S}", ("s", "created")),
    ("FROM first", f"FROM {S} SELECT created AS ts", ("s", "created")),
    ("parentheses", f"SELECT ((created)) AS ts FROM {S}", ("s", "created")),
    ("other case", f"SELECT Created AS TS FROM {S}", ("s", "Created")),
    ("qualified by the source", f"SELECT s.ts FROM {S} JOIN {O} USING (k)", ("s", "ts")),
    ("qualified by an alias", f"SELECT B.x AS ts FROM {S} a LEFT JOIN {O} b ON a.k = b.k", ("o", "x")),
    ("beside windows", f"SELECT k, ts, SUM(x) OVER last_7d AS y FROM {S} WHERE x > 0", ("s", "ts")),
    ("grouped", f"SELECT k, ts, count(*) AS n FROM {S} GROUP BY ALL", ("s", "ts")),
    ("a star", f"SELECT * FROM {S}", ("s", "ts")),
    ("no list", f"FROM {S}", ("s", "ts")),
    ("a star of one of two", f"SELECT s.*, o.x FROM {S} JOIN {O} ON o.k = s.k", ("s", "ts")),
    ("a star less others", f"SELECT * EXCLUDE (x) FROM {S}", ("s", "ts")),
    ("a star and a name of its own", f"SELECT *, created AS ts FROM {S}", ("s", "created")),
    ("a replacement", f"SELECT * REPLACE (created AS ts) FROM {S}", ("s", "created")),
    ("a renaming", f"SELECT * RENAME (created AS ts) FROM {S}", ("s", "created")),
    ("a CTE", f"WITH c AS (SELECT k, created AS t FROM {S}) SELECT k, t AS ts FROM c", ("s", "created")),
    (
        "a chain of CTEs",
        f"WITH c AS (FROM {S}), d AS (SELECT x, ts AS t FROM c q) SELECT d.t AS ts FROM d",
        ("s", "ts"),
    ),
    ("a CTE's own names", f"WITH c(k, ts) AS (SELECT k, created FROM {S}) SELECT ts FROM c", ("s", "created")),
    ("a subquery", f"SELECT ts FROM (SELECT created AS ts FROM {S} WHERE x > 1) q", ("s", "created")),
    ("a subquery's own names", f"SELECT q.ts FROM (SELECT k, created FROM {S}) q(k, ts)", ("s", "created")),
    (
        "a star with one column anew",
        f"SELECT ts FROM (SELECT * EXCLUDE (ts), created AS ts FROM {S})",
        ("s", "created"),
    ),
    ("equal branches", f"SELECT k, ts FROM {S} UNION ALL SELECT k, ts FROM {S}", ("s", "ts")),
    ("equal branches by name", f"SELECT k, ts FROM {S} UNION ALL BY NAME SELECT ts, k FROM {S}", ("s", "ts")),
    ("branches in parentheses", f"(SELECT ts, k FROM {S}) EXCEPT (SELECT TS, k FROM {S} WHERE x)", ("s", "ts")),
]

UNCLEAR = [
    ("an expression", f"SELECT ts + INTERVAL 1 DAY AS ts FROM {S}"),
    ("a cast", f"SELECT ts::TIMESTAMP AS ts FROM {S}"),
    ("an aggregate", f"SELECT k, max(ts) AS ts FROM {S} GROUP BY k"),
    ("a field of a struct", f"SELECT s.p.ts FROM {S}"),
    ("a field of a struct, by name", f"SELECT p.ts FROM {S}"),
    ("no such column", f"SELECT k FROM {S}"),
    ("two of a name", f"SELECT a AS ts, b AS ts FROM {S}"),
    ("two relations", f"SELECT ts FROM {S}, {O}"),
    ("USING", f"SELECT ts FROM {S} FULL JOIN {O} USING (ts)"),
    ("a star of two", f"SELECT * FROM {S} JOIN {O} USING (k)"),
    ("two stars", f"SELECT s.*, o.* FROM {S} JOIN {O} USING (k)"),
    ("COLUMNS", f"SELECT COLUMNS('t.*') FROM {S}"),
    ("left out", f"SELECT * EXCLUDE (ts) FROM {S}"),
    ("replaced", f"SELECT * REPLACE (ts + INTERVAL 1 DAY AS ts) FROM {S}"),
    ("renamed away", f"SELECT * RENAME (ts AS created) FROM {S}"),
    ("an earlier alias", f"SELECT x + INTERVAL 1 DAY AS known, known AS ts FROM {S}"),
    ("a ref", f"SELECT ts FROM {R}"),
    ("a ref in a CTE", f"WITH c AS (FROM {R}) SELECT ts FROM c"),
    ("a table function", "SELECT ts FROM range(3) t(ts)"),
    ("VALUES", "SELECT ts FROM (VALUES (1)) v(ts)"),
    ("UNNEST", f"SELECT u.ts FROM {S}, UNNEST(s.times) u(ts)"),
    ("PIVOT", f"SELECT ts FROM {S} PIVOT (sum(x) FOR y IN (1, 2))"),
    ("positions of a source", f"SELECT ts FROM {S} t(ts)"),
    ("fewer names than columns", f"SELECT ts FROM (SELECT k, ts FROM {S}) q(a)"),
    ("made in a CTE", f"WITH c AS (SELECT ts + INTERVAL 1 DAY AS ts FROM {S}) SELECT ts FROM c"),
    ("twice in a CTE", f"WITH c AS (SELECT *, created AS ts FROM {S}) SELECT ts FROM c"),
    ("twice by a renaming", f"SELECT ts FROM (SELECT * RENAME (created AS ts) FROM {S})"),
    ("different sources", f"SELECT ts FROM {S} UNION ALL SELECT ts FROM {O}"),
    ("different columns", f"SELECT ts, k FROM {S} UNION ALL SELECT created, k FROM {S}"),
    ("different columns by name", f"SELECT ts, a FROM {S} UNION BY NAME SELECT a, created AS ts FROM {S}"),
    ("branches of stars", f"SELECT *, ts FROM {S} UNION ALL SELECT *, created FROM {S}"),
    ("a recursive CTE", f"WITH RECURSIVE c AS (SELECT ts FROM {S} UNION ALL SELECT ts FROM c) SELECT ts FROM c"),
    ("a join in parentheses", f"SELECT q.ts FROM ({S} JOIN {O} USING (k)) q"),
    ("a lateral of the outer column", f"SELECT l.ts FROM {S}, LATERAL (SELECT s.ts) l"),
]


@pytest.mark.parametrize(("sql", "expected"), [c[1:] for c in COPIES], ids=[c[0] for c in COPIES])
def test_copies_are_followed_to_the_source(sql: str, expected: tuple[str, str]) -> None:
    assert copied_column(sqlglot.parse_one(sql, dialect="duckdb"), "ts") == expected


@pytest.mark.parametrize("sql", [c[1] for c in UNCLEAR], ids=[c[0] for c in UNCLEAR])
def test_everything_else_is_unknown(sql: str) -> None:
    assert copied_column(sqlglot.parse_one(sql, dialect="duckdb"), "ts") is None


@pytest.mark.parametrize(("sql", "expected"), [c[1:] for c in COPIES if "OVER last" not in c[1]])
def test_duckdb_agrees_that_the_values_are_equal(sql: str, expected: tuple[str, str]) -> None:
    """Every cell of the two sources differs from every other, so that equal values mean the same column."""
    con = duckdb.connect(":memory:")
    con.execute('CREATE SCHEMA "_mlforge_source"')
    cells = "'{0}k' AS k, '{0}ts' AS ts, '{0}created' AS created, true AS x, 1 AS a, 2 AS b, {{'ts': '{0}p'}} AS p"
    for name in ("s", "o"):
        made = cells.format(name).replace(f"'{name}k'", "'one'").replace("true AS x", f"{name == 's'} AS x")
        con.execute(f'CREATE TABLE "_mlforge_source".{name} AS SELECT {made}')
    ready = sql.replace("x > 0", "x").replace("x > 1", "x").replace("EXCEPT", "UNION ALL")
    con.execute(ready)
    names = [d[0].lower() for d in con.description or []]
    rows, last = con.fetchall(), max(n for n, name in enumerate(names) if name == "ts")
    source, column = expected
    wanted = con.execute(f'SELECT {column} FROM "_mlforge_source".{source}').fetchall()[0][0]
    assert {row[last] for row in rows} == {wanted}
