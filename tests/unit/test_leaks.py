"""What could see the future, or would answer differently tomorrow: each refused with its line and a way out."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from mlforge.errors import FeatureError, GrammarError, LeakageError
from mlforge.render.leaks import TABLE_FUNCTIONS, VOLATILE, check_lookahead, check_repeatable
from mlforge.render.stamps import check_timestamp
from tests.unit.feature_text import PAY, REF, TX, check_error, parsed

TIMED = {"tx", "pay"}


def passes(sql: str, timed: set[str] = TIMED, **config: Any) -> None:
    feature = parsed(sql, **config)
    check_repeatable(feature)
    check_lookahead(feature, dict.fromkeys(timed, "ts"))


def leak(sql: str, error: type[FeatureError] = LeakageError, timed: set[str] = TIMED, **config: Any) -> FeatureError:
    with pytest.raises(error) as caught:
        passes(sql, timed, **config)
    return caught.value


BARE = (
    "current_date",
    "current_timestamp",
    "current_time",
    "localtimestamp",
    "localtime",
    "current_user",
    "session_user",
)


@pytest.mark.parametrize(
    "call", [*BARE, *(f"{name}()" for name in sorted(VOLATILE - {"user", "ago", "current_role", "current_schemas"}))]
)
def test_volatile_functions(call: str) -> None:
    error = leak(f"SELECT k, ts,\n {call} AS v\nFROM {TX}")
    check_error(error, 2, "is not the same in every run")
    assert error.hint


VOLATILE_PLACES = [
    (f"SELECT k, ts FROM {TX}\nWHERE ts < now()", 2),
    (f"WITH a AS (SELECT *,\n random() AS r FROM {TX}) SELECT k, ts FROM a", 2),
    (f"SELECT k, ts, SUM(x) FILTER (WHERE\n ts > today()) OVER ever AS s FROM {TX}", 2),
    (f"SELECT k, ts FROM {TX} a ASOF JOIN {PAY} b\n ON a.k = b.k AND b.ts < current_timestamp AND a.ts >= b.ts", 2),
    (f"SELECT k, ts,\n age(ts) AS a FROM {TX}", 2),
    (f"SELECT k, ts,\n ts.age() AS a FROM {TX}", 2),
    (f"SELECT k, ts,\n ago(INTERVAL 1 DAY) AS a FROM {TX}", 2),
    (f"SELECT k, ts FROM {TX} UNION ALL\n SELECT k, get_current_timestamp() FROM {TX}", 2),
]


@pytest.mark.parametrize(("sql", "line"), VOLATILE_PLACES)
def test_volatile_functions_anywhere(sql: str, line: int) -> None:
    check_error(leak(sql), line, "is not the same in every run: past values could not be repeated")


def test_the_clock_has_a_way_out() -> None:
    assert "as_of()" in str(leak(f"SELECT k, ts, now() AS v FROM {TX}").hint)
    static = leak(f"SELECT k, now() AS v FROM {TX}", timestamp=None)
    assert "on-demand" in str(static.hint)
    assert "columns" in str(leak(f"SELECT k, ts, random() AS v FROM {TX}").hint)


@pytest.mark.parametrize("call", ["age(ts, TIMESTAMP '2020-01-01')", "hash(k)", "as_of()", "md5(s)", "epoch(ts)"])
def test_stable_functions(call: str) -> None:
    passes(f"SELECT k, ts, {call} AS v FROM {TX}")


# An overload that takes arguments and a zoned type depends on the session's zone, which is UTC, and not on the clock.
ZONE_ALONE = "len(parameter_types) > 0 AND CAST(parameter_types AS VARCHAR) || return_type SIMILAR TO '.*(TIMESTAMPTZ|WITH TIME ZONE).*'"


def unstable_functions() -> set[str]:
    """Functions of the installed DuckDB whose result changes between calls or queries, zones aside."""
    query = f"""
        SELECT DISTINCT function_name FROM duckdb_functions()
        WHERE function_type = 'scalar'
          AND (stability = 'VOLATILE' OR stability = 'CONSISTENT_WITHIN_QUERY' AND NOT ({ZONE_ALONE}))
    """
    with duckdb.connect() as con:
        return {name for (name,) in con.execute(query).fetchall()}


def test_every_volatile_function_of_the_engine_is_known() -> None:
    harmless = {"error", "version"}  # error() only fails
    assert unstable_functions() - VOLATILE - harmless == set()
    assert {"now", "current_date", "random", "txid_current"} <= unstable_functions()


def test_every_stability_of_the_engine_is_known() -> None:
    with duckdb.connect() as con:
        found = con.execute(
            "SELECT DISTINCT stability FROM duckdb_functions() WHERE function_type = 'scalar'"
        ).fetchall()
    assert {kind for (kind,) in found} == {"CONSISTENT", "CONSISTENT_WITHIN_QUERY", "VOLATILE"}


ZONED_CALLS = [
    "hour(ts::TIMESTAMPTZ)",
    "ts::TIMESTAMPTZ + INTERVAL 1 DAY",
    "date_trunc('day', ts::TIMESTAMPTZ)",
    "strftime(ts::TIMESTAMPTZ, '%H')",
    "timezone('Asia/Tokyo', ts::TIMESTAMPTZ)",
    "make_timestamptz(2024, 1, 1, 0, 0, 0.0)",
]


@pytest.mark.parametrize("call", ZONED_CALLS)
def test_functions_of_the_zone_are_stable(call: str) -> None:
    passes(f"SELECT k, ts, {call} AS v FROM {TX}")


FILES = [
    ("read_parquet('a.parquet')", "read_parquet('a.parquet') in FROM reads from outside the project"),
    ("read_csv('a.csv')", "read_csv('a.csv') in FROM"),
    ("read_json_auto('a.json')", "read_json_auto('a.json') in FROM"),
    ("read_text('a')", "read_text('a') in FROM"),
    ("glob('*')", "glob('*') in FROM"),
    ("sniff_csv('a.csv')", "sniff_csv('a.csv') in FROM"),
    ("query('SELECT 1')", "query('SELECT 1') in FROM"),
    ("query_table('t')", "query_table('t') in FROM"),
    ("parquet_scan('a')", "parquet_scan('a') in FROM"),
    ("delta_scan('a')", "delta_scan('a') in FROM"),
    ("duckdb_tables()", "duckdb_tables() in FROM"),
    ("'data/a.parquet'", "'data/a.parquet' in FROM reads a file directly"),
    ("'a.csv'", "'a.csv' in FROM reads a file directly"),
    ('"s3://b/*.json"', "'s3://b/*.json' in FROM reads a file directly"),
]


@pytest.mark.parametrize(("relation", "message"), FILES)
def test_files_must_be_declared(relation: str, message: str) -> None:
    error = leak(f"SELECT k, ts\nFROM\n {relation} AS t", GrammarError)
    check_error(error, 3, message, "declare it as a source in mlforge.yaml")


TABLES = [
    ("SELECT k, ts\nFROM orders", "orders is neither a CTE nor a source", '{{ source("orders") }}'),
    ("SELECT k, ts\nFROM main.raw.orders", "orders is neither a CTE nor a source", ""),
    ("SELECT k, ts\nFROM txx", "txx is neither a CTE nor a source", "did you mean 'tx'?"),
    ("WITH spend AS (SELECT 1 AS k, 2 AS ts) SELECT k, ts\nFROM spent", "spent is neither", "did you mean 'spend'?"),
    ("WITH a AS (SELECT *\nFROM a) SELECT * FROM a", "a is neither a CTE nor a source", ""),
    ("WITH a AS (SELECT *\nFROM b), b AS (SELECT 1) SELECT * FROM a", "b is neither a CTE nor a source", ""),
    (f"SELECT * FROM {TX} WHERE k IN (SELECT k\nFROM vip)", "vip is neither a CTE nor a source", ""),
    (
        f"SELECT * FROM (WITH v AS (SELECT 1 AS k) SELECT * FROM v) JOIN\n v USING (k) JOIN {TX} USING (k)",
        "v is neither",
        "",
    ),
]


@pytest.mark.parametrize(("sql", "message", "hint"), TABLES)
def test_tables_must_be_sources_or_ctes(sql: str, message: str, hint: str) -> None:
    check_error(leak(sql, GrammarError), 2, message, hint)


RELATIONS = [
    "WITH RECURSIVE a AS (SELECT 1 AS k, 2 AS ts UNION ALL SELECT k + 1, ts FROM a WHERE k < 3) SELECT * FROM a",
    "WITH A AS (SELECT 1 AS k, 2 AS ts), b AS (SELECT * FROM a) SELECT * FROM b",
    "WITH a AS (SELECT 1 AS k, 2 AS ts) SELECT * FROM (SELECT * FROM (SELECT * FROM a))",
    "SELECT n AS k, ts FROM range(5) r(n), unnest([1]) AS u(ts)",
    "SELECT * FROM (VALUES (1, 2)) v(k, ts)",
    "SELECT k, ts, g FROM generate_series(1, 3) AS s(g), (SELECT 1 AS k, 2 AS ts)",
    f"SELECT k, ts, (SELECT SUM(v) FROM unnest(l) u(v)) AS s FROM {TX}",
    f"SELECT k, ts FROM {TX} a LEFT JOIN {REF} r ON r.k = a.k",
    f"SELECT k, ts, x.m FROM {TX} t, LATERAL (SELECT t.k * 2 AS m) x",
]


@pytest.mark.parametrize("sql", RELATIONS)
def test_relations_that_are_fine(sql: str) -> None:
    passes(sql)


def test_table_functions_that_only_read_their_arguments_exist() -> None:
    rows = duckdb.connect().execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()
    assert {*TABLE_FUNCTIONS} - {name for (name,) in rows} <= {"values", "generate_subscripts"}


AHEAD = [
    ("lead(x) OVER (ORDER BY ts)", "LEAD(x) sees rows behind its own", "LAG looks back"),
    ("lead(x, 2, 0) OVER w", "LEAD(x, 2, 0) sees rows behind its own", "allow_lookahead=true"),
    ("lag(x, -1) OVER (ORDER BY ts)", "LAG(x, -1) sees rows behind its own", "allow_lookahead"),
    ("fill(x) OVER (ORDER BY ts)", "FILL(x) sees rows behind", "allow_lookahead"),
    ("percent_rank() OVER (ORDER BY ts)", "PERCENT_RANK() sees rows behind", "allow_lookahead"),
    ("cume_dist() OVER (ORDER BY ts)", "CUME_DIST() sees rows behind", "allow_lookahead"),
    ("ntile(4) OVER (ORDER BY ts)", "NTILE(4) sees rows behind", "allow_lookahead"),
    ("SUM(x) OVER (ORDER BY ts ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)", "reaches FOLLOWING rows", "CURRENT ROW"),
    (
        "SUM(x) OVER (ORDER BY ts ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
        "reaches FOLLOWING rows",
        "CURRENT ROW",
    ),
    ("SUM(x) OVER (ORDER BY ts ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING)", "reaches FOLLOWING rows", "CURRENT ROW"),
    ("SUM(x) OVER (w RANGE BETWEEN CURRENT ROW AND INTERVAL 1 DAY FOLLOWING)", "reaches FOLLOWING rows", ""),
    ("SUM(x) OVER (PARTITION BY k)", "SUM(x) OVER (PARTITION BY k) has no ORDER BY", "add ORDER BY ts"),
    ("COUNT(*) OVER ()", "COUNT(*) OVER () has no ORDER BY", "OVER ever"),
    ("row_number() OVER (PARTITION BY k)", "has no ORDER BY", ""),
    ("SUM(x) OVER p", "SUM(x) OVER p has no ORDER BY: it sees all rows, later ones too", "allow_lookahead=true"),
    ("row_number() OVER (PARTITION BY k ORDER BY ts DESC)", "runs backwards in time", "order by ts without DESC"),
]


@pytest.mark.parametrize(("item", "message", "hint"), AHEAD)
def test_look_ahead(item: str, message: str, hint: str) -> None:
    sql = f"SELECT k, ts,\n {item} AS v\nFROM {TX} WINDOW w AS (ORDER BY ts), p AS (PARTITION BY k)"
    check_error(leak(sql), 2, message, hint)
    passes(sql, allow_lookahead=True)


@pytest.mark.parametrize(
    "sql",
    [
        f"WITH a AS (SELECT k, ts,\n lead(x) OVER (ORDER BY ts) AS x FROM {TX}) SELECT k, ts, x FROM a",
        f"SELECT k, ts FROM {TX} QUALIFY\n row_number() OVER (PARTITION BY k ORDER BY ts DESC) = 1",
        f"SELECT k, ts, SUM(x) OVER f FROM {TX} WINDOW\n f AS (ORDER BY ts ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
        f"SELECT k FROM {TX} QUALIFY\n COUNT(*) OVER (PARTITION BY k) > 1",
    ],
)
def test_look_ahead_anywhere(sql: str) -> None:
    error = leak(sql)
    assert error.where is not None
    assert error.where.line == 11


BACK = [
    "lag(x) OVER (ORDER BY ts)",
    "lag(x, 2) OVER w",
    "SUM(x) OVER w",
    "SUM(x) OVER (p ORDER BY ts)",
    "first_value(x) OVER w",
    "last_value(x) OVER w",
    "row_number() OVER (PARTITION BY k ORDER BY ts)",
    "rank() OVER w",
    "COUNT(*) OVER (PARTITION BY k, ts)",
    "SUM(x) OVER (ORDER BY ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)",
    "SUM(x) OVER (ORDER BY ts RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)",
    "SUM(x) OVER last_7d",
    "COUNT(*) OVER ever",
]


@pytest.mark.parametrize("item", BACK)
def test_windows_that_look_back(item: str) -> None:
    passes(f"SELECT k, ts, {item} AS v FROM {TX} WINDOW w AS (ORDER BY ts), p AS (PARTITION BY k)")


def test_windows_over_rows_without_time() -> None:
    share = "x / SUM(x) OVER (PARTITION BY g)"
    passes(f'SELECT k, {share} AS s FROM "_mlforge_source"."planes"', timestamp=None)
    passes(
        f'WITH p AS (SELECT k, {share} AS s FROM "_mlforge_source"."planes") '
        f"SELECT t.k, ts, s FROM {TX} t JOIN p USING (k)"
    )
    leak(f"SELECT k, {share} AS s FROM {TX}", timestamp=None)
    leak(f"SELECT k, ts, {share} AS s FROM {TX}", timed=set())


SUBQUERIES = [
    f"SELECT k, ts, x - (SELECT\n AVG(x) FROM {PAY}) AS v FROM {TX}",
    f"SELECT k, ts FROM {TX} WHERE x > (SELECT\n MAX(x) FROM {PAY})",
    f"SELECT k, ts FROM {TX} WHERE x IN (SELECT\n MAX(x) FROM {PAY} GROUP BY k)",
    f"WITH p AS (SELECT * FROM {PAY}) SELECT k, ts, (SELECT\n MIN(x) + 1 FROM p) AS v FROM {TX}",
    f"SELECT k, ts, (SELECT\n quantile_cont(x, 0.5) FROM {TX} t) AS v FROM {TX}",
]


@pytest.mark.parametrize("sql", SUBQUERIES)
def test_uncorrelated_aggregates(sql: str) -> None:
    error = leak(sql)
    check_error(error, 2, "later rows too", "allow_lookahead=true")
    passes(sql, allow_lookahead=True)


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT k, ts, (SELECT MAX(p.x) FROM {PAY} p WHERE p.ts < t.ts) AS v FROM {TX} t",
        f'SELECT k, ts, (SELECT AVG(x) FROM "_mlforge_source"."lookup") AS v FROM {TX}',
        f"SELECT k, ts, (SELECT SUM(v) FROM unnest(l) u(v)) AS v FROM {TX}",
        f"SELECT k, ts FROM {TX} WHERE k IN (SELECT k FROM {PAY})",
        f"SELECT k, ts, m FROM {TX} t ASOF JOIN (SELECT k, ts, MAX(x) AS m FROM {PAY} GROUP BY ALL) p USING (k, ts)",
    ],
)
def test_subqueries_that_are_fine(sql: str) -> None:
    passes(sql)


# -- timestamps of periods


def stamp(sql: str, kind: str = "TIMESTAMP", **config: Any) -> LeakageError:
    feature = parsed(sql, **config)
    with pytest.raises(LeakageError) as caught:
        check_timestamp(feature, kind)
    return caught.value


STARTS = [
    ("date_trunc('day', t)", "DATE_TRUNC('DAY', t)", "DATE_TRUNC('DAY', t) + INTERVAL 1 DAY AS ts", "1d"),
    ("date_trunc('hour', t)", "DATE_TRUNC('HOUR', t)", "+ INTERVAL 1 HOUR AS ts", "1h"),
    ("date_trunc('week', t)", "DATE_TRUNC('WEEK', t)", "+ INTERVAL 7 DAY AS ts", "7d"),
    ("date_trunc('month', t)", "DATE_TRUNC('MONTH', t)", "+ INTERVAL 1 MONTH AS ts", "31d"),
    ("datetrunc('quarter', t)", "DATE_TRUNC('QUARTER', t)", "+ INTERVAL 3 MONTH AS ts", "92d"),
    ("time_bucket(INTERVAL '15 minutes', t)", "TIME_BUCKET(", "+ INTERVAL '15' MINUTES AS ts", "1d"),
    ("t::DATE", "CAST(t AS DATE)", "CAST(t AS DATE) + INTERVAL 1 DAY AS ts", "1d"),
    ("TRY_CAST(t AS DATE)", "TRY_CAST(t AS DATE)", "+ INTERVAL 1 DAY", "1d"),
    ("t::DATE::TIMESTAMP", "CAST(t AS DATE)", "+ INTERVAL 1 DAY", "1d"),
    ("date(t)", "CAST(t AS DATE)", "+ INTERVAL 1 DAY", "1d"),
    ("make_date(2024, 1, 1)", "MAKE_DATE(2024, 1, 1)", "+ INTERVAL 1 DAY", "1d"),
    ("last_day(t)", "LAST_DAY(t)", "+ INTERVAL 1 DAY", "1d"),
    ("strptime(strftime(t, '%Y-%m-%d'), '%Y-%m-%d')", "STRFTIME(t, '%Y-%m-%d')", "+ INTERVAL 1 DAY", "1d"),
    ("date_trunc('day', t) - INTERVAL 1 DAY", "DATE_TRUNC('DAY', t)", "+ INTERVAL 1 DAY", "1d"),
    ("date_trunc('day', t AT TIME ZONE 'UTC') AT TIME ZONE 'Asia/Tokyo'", "DATE_TRUNC('DAY'", "+ INTERVAL 1 DAY", "1d"),
    ("coalesce(NULL, date_trunc('day', t))", "DATE_TRUNC('DAY', t)", "+ INTERVAL 1 DAY", "1d"),
    ("CASE WHEN x > 1 THEN t ELSE date_trunc('day', t) END", "DATE_TRUNC('DAY', t)", "+ INTERVAL 1 DAY", "1d"),
    ("MAX(date_trunc('day', t))", "DATE_TRUNC('DAY', t)", "+ INTERVAL 1 DAY", "1d"),
]


@pytest.mark.parametrize(("expression", "made", "end", "delay"), STARTS)
def test_start_of_a_period(expression: str, made: str, end: str, delay: str) -> None:
    sql = f"SELECT k,\n {expression} AS ts, SUM(x) AS s\nFROM {TX} GROUP BY ALL"
    error = stamp(sql)
    check_error(error, 2, f"the timestamp ts is made by {made}", end)
    assert str(error.hint).endswith(f'or state when rows are known: config(delay="{delay}")')
    for stated in ("1d", "0s"):
        check_timestamp(parsed(sql, delay=stated), "TIMESTAMP")


FOLLOWED = [
    f"WITH a AS (SELECT k,\n date_trunc('day', t) AS d FROM {TX}) SELECT k, d AS ts FROM a",
    f"WITH a AS (SELECT k,\n t::DATE AS d FROM {TX}), b AS (SELECT * FROM a) SELECT k, b.d::TIMESTAMP AS ts FROM b",
    f"SELECT k, ts FROM (SELECT k,\n date_trunc('day', t) AS ts FROM {TX})",
    f"SELECT * FROM (SELECT k,\n date_trunc('day', t) AS ts FROM {TX})",
    f"SELECT x.* FROM (SELECT k,\n date_trunc('day', t) AS ts FROM {TX}) AS x",
    f"SELECT * REPLACE (\n date_trunc('day', ts) AS ts) FROM {TX}",
    f"WITH a(k, ts) AS (SELECT k,\n date_trunc('day', t) AS d FROM {TX}) SELECT k, ts FROM a",
    f"WITH a AS (SELECT k, t AS ts FROM {TX} UNION ALL SELECT k,\n t::DATE FROM {PAY}) SELECT k, ts FROM a",
    f"SELECT k, t AS ts FROM {TX} UNION ALL SELECT k,\n t::DATE FROM {PAY}",
    f"WITH a AS (SELECT k,\n t::DATE AS d FROM {TX}) SELECT k, d AS ts, SUM(x) OVER last_7d AS s FROM a",
]


@pytest.mark.parametrize("sql", FOLLOWED)
def test_start_of_a_period_is_followed(sql: str) -> None:
    check_error(stamp(sql), 2, "it names the start of a period that is not yet over", "stamp the period's end")


ENDS = [
    (f"SELECT k, ts FROM {TX}", "TIMESTAMP"),
    (f"SELECT * FROM {TX}", "TIMESTAMPTZ"),
    (f"SELECT k, date_trunc('day', t) + INTERVAL 1 DAY AS ts FROM {TX}", "TIMESTAMP"),
    (f"SELECT k, date_add(date_trunc('day', t), INTERVAL 1 DAY) AS ts FROM {TX}", "TIMESTAMP"),
    (f"SELECT k, date_trunc('day', t) + to_days(1) AS ts FROM {TX}", "TIMESTAMP"),
    (f"SELECT k, t::DATE + 1 AS ts FROM {TX}", "DATE"),
    (f"WITH a AS (SELECT k, t::DATE AS d FROM {TX}) SELECT k, d + INTERVAL 1 DAY AS ts FROM a", "TIMESTAMP"),
    (f"WITH a AS (SELECT k, (t::DATE + 1)::TIMESTAMP AS d FROM {TX}) SELECT k, d AS ts FROM a", "TIMESTAMP"),
    (f"SELECT k, MAX(t) AS ts FROM {TX} GROUP BY k, date_trunc('day', t)", "TIMESTAMP"),
    (f"SELECT k, t + to_minutes(delay) AS ts, date_trunc('day', t) AS d FROM {TX}", "TIMESTAMP"),
    (f"SELECT date_trunc('day', ts) AS d, k, ts FROM {TX}", "TIMESTAMP"),
    (f"SELECT k, date_trunc('day', t) AS other, ts FROM {TX}", "TIMESTAMP"),
    (
        f"WITH RECURSIVE a AS (SELECT k, t AS ts FROM {TX} UNION ALL SELECT k, ts FROM a) SELECT k, ts FROM a",
        "TIMESTAMP",
    ),
]


@pytest.mark.parametrize(("sql", "kind"), ENDS)
def test_timestamps_that_are_fine(sql: str, kind: str) -> None:
    check_timestamp(parsed(sql), kind)


def test_a_date_is_the_start_of_a_day() -> None:
    error = stamp(f"SELECT k,\n ts\nFROM {TX}", "DATE")
    check_error(error, 2, "the timestamp ts is a DATE: it names the start", "ts + INTERVAL 1 DAY AS ts")
    check_timestamp(parsed(f"SELECT k, ts FROM {TX}", delay="0s"), "DATE")


def test_static_features_have_no_timestamp() -> None:
    check_timestamp(parsed(f"SELECT k, t::DATE AS ts FROM {TX}", timestamp=None), "DATE")
