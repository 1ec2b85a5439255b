"""What sqlglot carries: DuckDB runs the user's text and the text made from the tree, and must answer the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from sqlglot import parse_one

from mlforge.render.roundtrip import check_round_trip, normalise
from tests.unit.feature_text import TX, check_error, parsed, refused, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent / "sql"


def lines(name: str) -> list[str]:
    return [line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if not line.startswith("# ")]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
    connection.execute((FOLDER / "table.sql").read_text(encoding="utf-8"))
    yield connection
    connection.close()


def outcome(engine: duckdb.DuckDBPyConnection, sql: str) -> tuple[str, ...]:
    """Types and rows of a query, or the class of error: engines differ in what they know, texts must not."""
    try:
        result = engine.execute(sql)
        types = str([column[1] for column in result.description])
        return (types, *sorted(str(row) for row in result.fetchall()))
    except duckdb.Error as error:
        return (type(error).__name__,)


def check_carried(engine: duckdb.DuckDBPyConnection, sql: str) -> None:
    feature = rendered(sql)
    tree = normalise(parse_one(sql, dialect="duckdb"))
    check_round_trip(feature, tree)
    assert outcome(engine, tree.sql("duckdb")) == outcome(engine, sql)


@pytest.mark.parametrize("expression", lines("expressions.txt"))
def test_expression_is_carried(engine: duckdb.DuckDBPyConnection, expression: str) -> None:
    window = " WINDOW w AS (ORDER BY i)" if "over w" in expression or "over (w" in expression else ""
    source = "" if " from t a" in expression else " FROM t"
    check_carried(engine, f"SELECT {expression}{source}{window}")


@pytest.mark.parametrize("query", lines("queries.txt"))
def test_query_is_carried(engine: duckdb.DuckDBPyConnection, query: str) -> None:
    check_carried(engine, query)


def test_the_lists_run_on_this_engine(engine: duckdb.DuckDBPyConnection) -> None:
    """Most lines must give rows, else the comparison above would compare errors."""
    queries = lines("queries.txt")
    ran = [q for q in queries if len(outcome(engine, q)) > 1 or outcome(engine, q)[0].startswith("[")]
    assert len(ran) > 0.95 * len(queries)


ARROWS = [
    ("list_transform(l, x -> x * 2)", "LIST_TRANSFORM(l, LAMBDA x : x * 2)"),
    ("list_filter(l, x -> x > 1)", "LIST_FILTER(l, LAMBDA x : x > 1)"),
    ("list_reduce(l, (a, b) -> a + b)", "LIST_REDUCE(l, LAMBDA a, b : a + b)"),
]


@pytest.mark.parametrize(("arrow", "written"), ARROWS)
def test_arrow_lambdas_become_lambda(arrow: str, written: str) -> None:
    assert written in parsed(f"SELECT k, ts, {arrow} AS y FROM {TX}").tree.sql("duckdb")


# Parsed and written without complaint by sqlglot, with another meaning. Evidence: user's text, sqlglot's own text.
SILENT = [
    ("""'{"a":{"b":1},"a.b":2}'::JSON ->> 'a.b'""", """CAST('{"a":{"b":1},"a.b":2}' AS JSON) ->> '$.a.b'"""),
    ("""json_extract('{"k":[1],"k[0]":4}'::JSON, 'k[0]')""", """CAST('{"k":[1],"k[0]":4}' AS JSON) -> '$.k[0]'"""),
    ("""'{"x:y":1}'::JSON -> 'x:y'""", """CAST('{"x:y":1}' AS JSON) -> '$.x.y'"""),
    ("""'{"a":1}'::JSON -> '*'""", """CAST('{"a":1}' AS JSON) -> '$*'"""),
    ("[1.0, 2.0]::DOUBLE[2] <=> [1.0, 2.0]::DOUBLE[2]", None),
    ("date_add(DATE '2024-01-01', to_days(2))", "CAST('2024-01-01' AS DATE) + INTERVAL (TO_DAYS(2)) DAY"),
]
CARRIED_NOW = {"date_add(DATE '2024-01-01', to_days(2))"}


@pytest.mark.parametrize(("text", "sqlglots"), SILENT)
def test_silently_changed_expressions(engine: duckdb.DuckDBPyConnection, text: str, sqlglots: str | None) -> None:
    """Each is refused, or rewritten to what it means."""
    if sqlglots is not None:
        assert parse_one(f"SELECT {text}", dialect="duckdb").sql("duckdb") == f"SELECT {sqlglots}"
        assert outcome(engine, f"SELECT {text}") != outcome(engine, f"SELECT {sqlglots}")
    feature = f"SELECT 1 AS k, TIMESTAMP '2024-01-01' AS ts,\n {text} AS y"
    if text in CARRIED_NOW:
        assert outcome(engine, parsed(feature).tree.sql("duckdb")) == outcome(engine, feature)
    else:
        check_error(refused(feature), 2, "mlforge cannot carry this expression")


LOST = [
    ("LAST(x IGNORE NULLS) OVER last_7d", "LAST(x IGNORE NULLS)"),
    ("FIRST(x IGNORE NULLS) OVER ever", "FIRST(x IGNORE NULLS)"),
    ("1 + upper(LAST(x IGNORE NULLS) OVER (ORDER BY ts))", "LAST(x IGNORE NULLS)"),
    ("percentile_cont(0.25) WITHIN GROUP (ORDER BY x DESC)", "percentile_cont(0.25"),
    ("s ~ 'a.*'", "s ~ 'a.*' (the operator ~)"),
    ("s !~ 'a.*'", "s !~ 'a.*' (the operator ~)"),
    ("[1.0] <=> [2.0]", "a <=> b"),
    ("j -> '$..z'", "the JSON path '$..z'"),
    ("json_extract(j, ['a', 'b.c'])", "the JSON path 'b.c'"),
]


@pytest.mark.parametrize(("text", "named"), LOST)
def test_lost_expressions_are_named(text: str, named: str) -> None:
    error = refused(f"SELECT k, ts,\n  upper(s) AS s,\n  {text} AS y\nFROM {TX}")
    check_error(error, 3, f"mlforge cannot carry this expression: {named}")
    assert error.hint


def test_round_trip_of_windows_and_as_of() -> None:
    sql = (
        f"SELECT k, ts, SUM(x) FILTER (WHERE y > 1) OVER (last_7d) AS a, "
        f"date_diff('hour', MAX(ts) OVER EVER, as_of()) AS b FROM {TX}"
    )
    text = parsed(sql).tree.sql("duckdb")
    assert "SUM(x) FILTER(WHERE y > 1) OVER last_7d" in text
    assert parsed(text).tree == parsed(sql).tree
