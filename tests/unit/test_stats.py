"""Statistics of columns, compared with what the engine or plain Python says of the same rows."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from mlforge.errors import WarehouseError
from mlforge.model import Check
from mlforge.quality import collect_stats, run_checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlforge.records import ColumnStats

BIG = """
    SELECT (hash(i) % 5000)::BIGINT AS k, i AS t, (i % 1000) / 8.0::DOUBLE AS few, hash(i, 1)::DOUBLE / 2e15 AS many,
        i % 7 AS digit, CASE WHEN i % 10 > 0 THEN 'v' || i % 30 END AS word
    FROM range(250_000) r(i)
"""


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def collect(con: duckdb.DuckDBPyConnection, relation: str, **kwargs: Any) -> dict[str, ColumnStats]:
    columns = {row[0]: row[1] for row in con.execute(f"DESCRIBE FROM {relation}").fetchall()}
    found = collect_stats(con, "spend", relation, columns=columns, **kwargs)
    assert [s.column for s in found] == list(columns)
    assert all(s.feature == "spend" and s.type == columns[s.column] for s in found)
    assert con.execute("FROM duckdb_tables() WHERE table_name LIKE '_mlforge%'").fetchall() == []
    return {s.column: s for s in found}


def test_numbers(con: duckdb.DuckDBPyConnection) -> None:
    values = [5, 1, 1, 9, 4]
    con.execute("CREATE TABLE t AS SELECT unnest([5, 1, 1, 9, 4, NULL]) AS x")
    stats = collect(con, "t")["x"]
    assert (stats.rows, stats.nulls, stats.nans, stats.distinct, stats.sampled) == (6, 1, 0, 4, None)
    assert (stats.min, stats.max, stats.mean) == ("1", "9", 4.0)
    assert stats.std == pytest.approx(statistics.stdev(values))
    assert stats.quantiles["0.5"] == 4.0
    assert list(stats.quantiles) == ["0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99"]
    assert stats.edges == (0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5)
    assert stats.counts == (2, 0, 0, 1, 1, 0, 0, 0, 1)
    assert stats.top == (("1", 2), ("4", 1), ("5", 1), ("9", 1))


@pytest.mark.parametrize("type_", ["FLOAT", "DOUBLE"])
def test_nan_and_infinity_are_counted_and_left_out(con: duckdb.DuckDBPyConnection, type_: str) -> None:
    con.execute(f"CREATE TABLE t AS SELECT unnest(['nan', 'inf', '-inf', '1', '3', NULL])::{type_} AS x")
    stats = collect(con, "t")["x"]
    assert (stats.rows, stats.nulls, stats.nans) == (6, 1, 1)
    assert (stats.min, stats.max, stats.mean) == ("-inf", "inf", 2.0)
    assert stats.std == pytest.approx(math.sqrt(2))
    assert stats.quantiles["0.5"] == 2.0
    assert sum(stats.counts) == 4  # infinities lie in the open outer bins, NaN in none
    assert all(math.isfinite(edge) for edge in stats.edges)


def test_only_nan(con: duckdb.DuckDBPyConnection) -> None:
    stats = collect(con, "(SELECT 'nan'::DOUBLE AS x FROM range(3))")["x"]
    assert (stats.rows, stats.nans, stats.min, stats.max, stats.mean, stats.std) == (3, 3, None, None, None, None)
    assert (stats.quantiles, stats.edges, stats.counts, stats.top) == ({}, (), (), ())


def test_one_not_finite_column_does_not_touch_its_neighbour(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t AS SELECT unnest([1.0, 2.0])::DOUBLE AS a, unnest(['inf', '1e300'])::DOUBLE AS b")
    stats = collect(con, "t")
    assert (stats["a"].mean, stats["b"].mean) == (1.5, None)
    assert (stats["b"].min, stats["b"].max) == ("1e+300", "inf")


def test_sums_that_no_integer_holds(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(f"CREATE TABLE t AS SELECT {2**127 - 1}::HUGEINT AS h, 1e37::DECIMAL(38,0) AS d FROM range(9)")
    stats = collect(con, "t")
    assert (stats["h"].mean, stats["h"].std) == (pytest.approx(2.0**127), 0.0)
    assert (stats["d"].mean, stats["d"].std) == (pytest.approx(1e37), 0.0)
    assert stats["h"].max == str(2**127 - 1)


def test_a_small_spread_about_a_large_mean(con: duckdb.DuckDBPyConnection) -> None:
    # Plain sums of squares lose every digit of the spread here.
    con.execute("CREATE TABLE t AS SELECT 1e9 + i % 2 AS x FROM range(200_000) r(i)")
    stats = collect(con, "t")["x"]
    assert (stats.mean, stats.std) == (pytest.approx(1e9 + 0.5, rel=1e-11), pytest.approx(0.50000125, rel=1e-6))


def test_types_without_numbers(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("""
        CREATE TABLE t AS SELECT true AS b, 'it''s' AS "a ""word", DATE '2024-01-02' AS d,
            TIMESTAMP '2024-01-02 03:04:05' AS ts, TIMESTAMPTZ '2024-01-02 03:04:05+00' AS tz, TIME '01:02:03' AS ti,
            'happy'::ENUM('happy', 'sad') AS e, '00000000-0000-0000-0000-000000000001'::UUID AS u,
            [1, 2] AS l, ['a'] AS lt, {'x': 1} AS s, MAP {'a': 1} AS m, 'x'::BLOB AS bl, INTERVAL 1 DAY AS iv
        UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    """)
    stats = collect(con, "t")
    assert all((s.rows, s.nulls, s.nans, s.distinct) == (2, 1, 0, 1) for s in stats.values())
    assert all(s.mean is None and s.quantiles == {} and s.counts == () for s in stats.values())
    shown = {name: s.min for name, s in stats.items()}
    assert shown == {
        "b": "true",
        'a "word': "it's",
        "d": "2024-01-02",
        "ts": "2024-01-02 03:04:05",
        "tz": "2024-01-02 03:04:05+00",
        "ti": "01:02:03",
        "e": "happy",
        "u": "00000000-0000-0000-0000-000000000001",
    } | dict.fromkeys(["l", "lt", "s", "m", "bl", "iv"])
    assert stats['a "word'].top == (("it's", 1),)
    assert stats["l"].top == ()


def test_no_rows_and_no_columns(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t (x DOUBLE, w VARCHAR, l INTEGER[])")
    for stats in collect(con, "t", rows=0).values():
        assert (stats.rows, stats.nulls, stats.distinct, stats.min, stats.mean, stats.std) == (
            0,
            0,
            0,
            None,
            None,
            None,
        )
        assert (stats.quantiles, stats.edges, stats.counts, stats.top, stats.sampled) == ({}, (), (), (), None)
    assert collect_stats(con, "spend", "t", columns={}) == []


def test_a_failure_of_the_engine_is_told(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(WarehouseError) as caught:
        collect_stats(con, "spend", "absent", columns={"x": "INTEGER"})
    assert caught.value.message.startswith("feature 'spend': no statistics could be taken: Catalog Error: ")
    # What a failure left behind is not in the way of the next call.
    with pytest.raises(WarehouseError, match="Conversion Error"):
        collect_stats(con, "spend", "(SELECT 'a' AS w, w::INTEGER AS x)", columns={"x": "INTEGER"}, rows=1)
    assert collect(con, "(SELECT 1 AS x)")["x"].max == "1"


def test_failing_keys_that_are_absent_are_told(con: duckdb.DuckDBPyConnection) -> None:
    check = Check(name="not_null", column="x")
    with pytest.raises(WarehouseError, match="feature 'spend': no failing rows could be read: Binder Error"):
        run_checks(con, "spend", [check], "(SELECT NULL AS x)", columns={"x": "INTEGER"}, keys=["k"], timestamp=None)


def test_long_text_is_cut(con: duckdb.DuckDBPyConnection) -> None:
    stats = collect(con, "(SELECT repeat('é', 500) AS w)")["w"]
    assert stats.min == stats.max == "é" * 200
    assert stats.top == (("é" * 200, 1),)


def test_top_values_are_the_ten_most_frequent(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t AS SELECT 'w' || floor(sqrt(i))::INTEGER AS w FROM range(400) r(i)")
    top = collect(con, "t")["w"].top
    assert top == tuple((f"w{n}", 2 * n + 1) for n in range(19, 9, -1))


def test_a_sample_stands_for_many_rows(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(f"CREATE TABLE t AS {BIG}")
    stats = collect(con, "t", sample_by=["k", "t"])
    assert all(s.rows == 250_000 and 47_500 < (s.sampled or 0) <= 50_000 for s in stats.values())
    exact = con.execute("SELECT avg(many), stddev_samp(many), avg(few), stddev_samp(few) FROM t").fetchall()[0]
    found = (stats["many"].mean, stats["many"].std, stats["few"].mean, stats["few"].std)
    assert found == tuple(pytest.approx(value, rel=1e-9) for value in exact)
    assert stats["word"].nulls == 25_000
    assert stats["few"].quantiles["0.5"] == pytest.approx(62.5, rel=0.05)
    assert 150_000 < stats["many"].distinct <= 250_000
    assert 600 < stats["few"].distinct < 1500
    assert sum(stats["few"].counts) == stats["few"].sampled
    assert len(stats["many"].counts) == 20
    assert {value for value, _ in stats["digit"].top} == set("0123456")


def test_the_sample_is_the_same_on_any_threads_and_in_any_order(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(f"CREATE TABLE t AS {BIG}")
    con.execute("CREATE TABLE shuffled AS FROM t ORDER BY hash(t, 2)")
    con.execute("SET threads = 1")
    first = collect(con, "t", sample_by=["k", "t"], rows=250_000)
    con.execute("SET threads = 4")
    assert collect(con, "t", sample_by=["k", "t"]) == first
    assert collect(con, "shuffled", sample_by=["k", "t"]) == first


def test_rows_that_share_a_hash_do_not_break_the_bound(con: duckdb.DuckDBPyConnection) -> None:
    stats = collect(con, "(SELECT i % 3 AS x FROM range(300_000) r(i))")["x"]
    assert (stats.rows, stats.mean) == (300_000, 1.0)
    assert stats.sampled is not None
    assert stats.sampled <= 50_000


def test_given_edges_are_kept_and_their_outer_bins_are_open(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t AS SELECT unnest([-100, 0, 1, 2, 3, 1000]) AS x, 1 AS y")
    stats = collect(con, "t", previous_edges={"x": (0.0, 1.0, 2.0, 2.5), "absent": (1.0, 2.0), "y": ()})
    assert stats["x"].edges == (0.0, 1.0, 2.0, 2.5)
    assert stats["x"].counts == (2, 1, 3)
    assert sum(stats["y"].counts) == 6


def test_a_constant_column_has_bins_on_both_sides(con: duckdb.DuckDBPyConnection) -> None:
    stats = collect(con, "(SELECT 5.0::DOUBLE AS x FROM range(3))")["x"]
    assert stats.std == 0.0
    assert stats.edges[0] < 5.0 < stats.edges[-1]
    assert sum(stats.counts) == 3
    later = collect(con, "(SELECT 50.0::DOUBLE AS x FROM range(3))", previous_edges={"x": stats.edges})["x"]
    assert later.counts[-1] == 3
    assert stats.counts[-1] == 0


def test_a_wild_value_leaves_bins_for_the_others(con: duckdb.DuckDBPyConnection) -> None:
    stats = collect(con, "(SELECT CASE WHEN i = 0 THEN 1e12 ELSE i % 100 END::DOUBLE AS x FROM range(1000) r(i))")["x"]
    assert min(stats.counts) > 0
    assert sum(stats.counts) == 1000
