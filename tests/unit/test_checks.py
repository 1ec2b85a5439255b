"""Checks: what fails, what passes, what is refused, on real DuckDB tables."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from msgspec.structs import replace

from mlforge.errors import FeatureError, WarehouseError, Where
from mlforge.model import Check
from mlforge.quality import assign_sides, run_checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlforge.records import CheckResult


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def run(con: duckdb.DuckDBPyConnection, relation: str, *checks: Check, **kwargs: Any) -> list[CheckResult]:
    columns = {row[0]: row[1] for row in con.execute(f"DESCRIBE FROM {relation}").fetchall()}
    kwargs = {"keys": ["k"] if "k" in columns else [], "timestamp": None} | kwargs
    sided = [replace(check, side="output") for check in checks]
    return run_checks(con, "spend", sided, relation, columns=columns, **kwargs)


def failed_values(con: duckdb.DuckDBPyConnection, values: str, type_: str, check: Check) -> list[int]:
    """Numbers, from 1, of the values that fail."""
    con.execute(f"CREATE TABLE v (k INTEGER, x {type_})")
    for k, value in enumerate(values.split(", "), 1):
        con.execute(f"INSERT INTO v VALUES ({k}, {value})")
    (result,) = run(con, "v", check)
    assert result.failed == len(result.sample)
    assert result.passed == (result.failed == 0)
    return [row["k"] for row in result.sample]


@pytest.mark.parametrize(
    ("values", "type_", "check", "failing"),
    [
        ("1, NULL, 3", "INTEGER", ("not_null", {}), [2]),
        ("'nan', NULL", "DOUBLE", ("not_null", {}), [2]),
        ("1, 2, 2, NULL, NULL, 3, 2", "INTEGER", ("unique", {}), [2, 3, 7]),
        ("'a', 'b', NULL, NULL", "VARCHAR", ("unique", {}), []),
        ("'nan', 'nan', 1", "DOUBLE", ("unique", {}), [1, 2]),
        ("-1, 0, 1, NULL", "INTEGER", ("greater_than", {"value": 0}), [1, 2]),
        ("-1, 0, 1, NULL", "HUGEINT", ("greater_than_or_equal", {"value": 0}), [1]),
        ("[1], [2], [3], NULL", "UINTEGER[]", ("not_null", {}), [4]),
        ("0, 1, 2", "UBIGINT", ("less_than", {"value": 1}), [2, 3]),
        ("0.10, 0.11", "DECIMAL(5,2)", ("less_than_or_equal", {"value": 0.1}), [2]),
        ("0.10, 0.11", "DECIMAL(5,2)", ("greater_than", {"value": Decimal("0.10")}), [1]),
        ("'nan', 'inf', '-inf', 1, NULL", "DOUBLE", ("greater_than", {"value": 0}), [1, 3]),
        ("'nan', 'inf', '-inf', 1, NULL", "FLOAT", ("greater_than_or_equal", {"value": 0.5}), [1, 3]),
        ("'nan', 'inf', '-inf', 1", "DOUBLE", ("less_than", {"value": 5}), [1, 2]),
        ("'nan', 'inf', '-inf', 1", "DOUBLE", ("less_than_or_equal", {"value": float("inf")}), [1]),
        ("'nan', 0, 1, 2, 3, NULL", "DOUBLE", ("in_range", {"min": 1, "max": 2}), [1, 2, 5]),
        ("'nan', 0, 1, 2, 3", "DOUBLE", ("in_range", {"min": 0, "max": 3, "inclusive": False}), [1, 2, 5]),
        ("'nan', 0, 1", "DOUBLE", ("in_range", {"min": 1}), [1, 2]),
        ("0, 1, 2", "TINYINT", ("in_range", {"min": None, "max": 1.5}), [3]),
        ("'abc', 'xbz', 'c', NULL, ''", "VARCHAR", ("matches_regex", {"pattern": "b"}), [3, 5]),
        ("'it''s', 'x'", "VARCHAR", ("matches_regex", {"pattern": "^it's$"}), [2]),
        ("'a', 'c', NULL", "VARCHAR", ("is_in", {"values": ["a", "b", None]}), [2]),
        ("0.1, 0.2", "FLOAT", ("is_in", {"values": [0.1]}), [2]),
        ("1, 2, NULL", "BIGINT", ("is_in", {"values": (1, 2.0)}), []),
        ("true, false, NULL", "BOOLEAN", ("is_in", {"values": [True]}), [2]),
        ("'2024-01-01', '2024-01-02'", "DATE", ("greater_than", {"value": "2024-01-01"}), [1]),
        ("'2024-01-01', '2024-01-02'", "DATE", ("is_in", {"values": [datetime.date(2024, 1, 2)]}), [1]),
        ("'2024-01-01', '2024-01-02'", "TIMESTAMP", ("less_than", {"value": datetime.datetime(2024, 1, 2)}), [2]),
        ("'10:00', '12:00'", "TIME", ("less_than", {"value": datetime.time(11)}), [2]),
        ("'00000000-0000-0000-0000-000000000001'", "UUID", ("is_in", {"values": [uuid.UUID(int=1)]}), []),
        ("'b', 'a'", "VARCHAR", ("greater_than", {"value": "a"}), [2]),
        ("'happy', 'sad'", "ENUM('happy', 'sad')", ("is_in", {"values": ["happy", "glad"]}), [2]),
        ("'happy', 'sad'", "ENUM('happy', 'sad')", ("matches_regex", {"pattern": "^h"}), [2]),
    ],
)
def test_what_fails(
    con: duckdb.DuckDBPyConnection, values: str, type_: str, check: tuple[str, dict[str, Any]], failing: list[int]
) -> None:
    assert failed_values(con, values, type_, Check(name=check[0], column="x", args=check[1])) == failing


def test_many_checks_keep_their_order_and_share_the_counts(con: duckdb.DuckDBPyConnection) -> None:
    con.execute('CREATE TABLE t (k INTEGER, "at ""t""" TIMESTAMP, "an amount" DOUBLE, c VARCHAR)')
    con.execute(
        "INSERT INTO t VALUES (2, '2024-01-01', 1, 'a'), (1, '2024-01-02', -1, 'a'), (1, '2024-01-01', -2, NULL)"
    )
    results = run(
        con,
        "t",
        Check(name="greater_than", column="an amount", args={"value": 0}, severity="warn"),
        Check(name="unique", column="c"),
        Check(name="sql", args={"expression": '"an amount" > -2 OR c IS NOT NULL -- a comment'}),
        Check(name="not_null", column="k"),
        timestamp='at "t"',
    )
    assert [(r.check, r.column, r.failed, r.rows, r.passed, r.severity) for r in results] == [
        ("greater_than(0)", "an amount", 2, 3, False, "warn"),
        ("unique()", "c", 2, 3, False, "error"),
        ("sql('\"an amount\" > -2 OR c IS NOT NULL -- a comment')", None, 1, 3, False, "error"),
        ("not_null()", "k", 0, 3, True, "error"),
    ]
    assert results[0].sample == (
        {"k": 1, 'at "t"': "2024-01-01 00:00:00"},
        {"k": 1, 'at "t"': "2024-01-02 00:00:00"},
    )
    assert all(r.feature == "spend" and r.side == "output" for r in results)


def test_the_sample_holds_ten_rows_in_the_order_of_the_keys(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t AS SELECT 999 - i AS k, NULL::INTEGER AS x FROM range(1000) r(i)")
    (result,) = run(con, "t", Check(name="not_null", column="x"))
    assert result.failed == 1000
    assert [row["k"] for row in result.sample] == list(range(10))


def test_keys_in_the_sample_are_what_json_can_hold(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(f"""CREATE TABLE t AS SELECT {2**100}::HUGEINT AS h, 7 AS i, true AS b, 1.50::DECIMAL(4,2) AS d,
        DATE '2024-01-02' AS day, '00000000-0000-0000-0000-000000000001'::UUID AS u, NULL::INTEGER AS x""")
    (result,) = run(con, "t", Check(name="not_null", column="x"), keys=["h", "i", "b", "d", "day", "u"])
    uid = str(uuid.UUID(int=1))
    expected = {"h": str(2**100), "i": 7, "b": True, "d": "1.50", "day": "2024-01-02", "u": uid}
    assert result.sample == (expected,)


def test_no_keys_no_sample(con: duckdb.DuckDBPyConnection) -> None:
    (result,) = run(con, "(SELECT NULL::INTEGER AS x)", Check(name="not_null", column="x"))
    assert (result.failed, result.sample) == (1, ())


@pytest.mark.parametrize(
    ("tolerance", "failing", "passed"), [(0.0, 1, False), (0.29, 29, True), (0.29, 30, False), (1.0, 100, True)]
)
def test_tolerance_is_a_share_of_rows(
    con: duckdb.DuckDBPyConnection, tolerance: float, failing: int, passed: bool
) -> None:
    relation = f"(SELECT i AS k, CASE WHEN i >= {failing} THEN 1 END AS x FROM range(100) r(i))"
    (result,) = run(con, relation, Check(name="not_null", column="x", tolerance=tolerance))
    assert (result.failed, result.passed) == (failing, passed)


def test_an_empty_relation_passes_everything(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t (k INTEGER, x DOUBLE)")
    checks = [Check(name=n, column="x") for n in ("not_null", "unique")]
    results = run(con, "t", *checks, Check(name="sql", args={"expression": "x > 0"}))
    assert [(r.rows, r.failed, r.passed) for r in results] == [(0, 0, True)] * 3


def test_no_checks_ask_nothing(con: duckdb.DuckDBPyConnection) -> None:
    assert run_checks(con, "spend", [], "no_such_table", columns={}, keys=[], timestamp=None) == []


@pytest.mark.parametrize(
    ("name", "column", "args", "message"),
    [
        ("greater_than", "s", {"v": 0}, "greater_than(0) on output.s: the column is VARCHAR"),
        ("greater_than", "n", {"v": "x"}, "the column is INTEGER, which does not compare with 'x'"),
        ("less_than", "n", {"v": True}, "does not compare with True"),
        ("less_than", "b", {"v": True}, "the column is BOOLEAN, which has no order"),
        ("in_range", "l", {"min": 1}, "the column is INTEGER[], which has no order"),
        ("in_range", "n", {}, "it needs min, max or both"),
        ("is_in", "l", {"v": [1]}, "the column is INTEGER[], which does not compare with 1"),
        ("is_in", "n", {"v": [None]}, "a list of at least one value"),
        ("is_in", "n", {"v": 3}, "a list of at least one value"),
        ("is_in", "n", {}, "exactly one argument"),
        ("matches_regex", "n", {"p": "a"}, "the column is INTEGER, and a pattern needs text"),
        ("matches_regex", "s", {"p": "(?=a)"}, "the pattern is not valid"),
        ("matches_regex", "s", {"p": 3}, "it takes text, not 3"),
        ("greater_than", "d", {"v": "soon"}, "greater_than('soon') on output.d: Conversion Error"),
        ("sql", None, {"e": "zz > 0"}, "sql('zz > 0'): there is no column 'zz'"),
        ("sql", None, {"e": "n >"}, "sql('n >'): SQL syntax: "),
        ("sql", None, {"e": "sum(n) > 0"}, "SUM(n): a condition sees its own row only"),
        ("sql", None, {"e": "n"}, "the expression is INTEGER, not one BOOLEAN"),
        ("sql", None, {"e": "s::INTEGER > 0"}, "Conversion Error: Could not convert string 'a'"),
        ("no_null", "n", {}, "there is no check 'no_null'"),
        ("not_null", "m", {}, "the column does not exist"),
    ],
)
def test_a_check_that_does_not_fit_is_refused(
    con: duckdb.DuckDBPyConnection, name: str, column: str | None, args: dict[str, Any], message: str
) -> None:
    con.execute("CREATE TABLE t AS SELECT 1 AS k, 'a' AS s, 1 AS n, true AS b, [1] AS l, DATE '2024-01-01' AS d")
    with pytest.raises(FeatureError) as caught:
        run(con, "t", Check(name="not_null", column="k"), Check(name=name, column=column, args=args))
    assert message in caught.value.message
    assert caught.value.message.startswith("feature 'spend': ")
    assert "\n" not in caught.value.message


def test_the_nearest_word_is_offered(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t AS SELECT 1 AS amount")
    with pytest.raises(FeatureError) as caught:
        run(con, "t", Check(name="not_nul", column="amount"))
    assert caught.value.hint == "did you mean 'not_null'?"


def test_a_failure_that_no_check_causes_is_the_engines(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(WarehouseError, match="the checks did not run: "):
        run_checks(
            con,
            "spend",
            [Check(name="not_null", column="x")],
            "read_csv('missing.csv')",
            columns={"x": "INTEGER"},
            keys=[],
            timestamp=None,
        )


@pytest.mark.parametrize(
    ("check", "side", "column"),
    [
        (Check(name="not_null", column="amount"), "input", "amount"),
        (Check(name="not_null", column="SPEND"), "output", "spend"),
        (Check(name="not_null", column="both"), "output", "both"),
        (Check(name="not_null", column="both", side="input"), "input", "Both"),
        (Check(name="sql", args={"e": "spend > 0"}), "output", None),
        (Check(name="sql", args={"e": "amount > 0"}, side="input"), "input", None),
    ],
)
def test_a_name_means_the_output_first(check: Check, side: str, column: str | None) -> None:
    inputs, outputs = assign_sides([check], ["spend", "both"], ["amount", "Both"])
    (found,) = inputs + outputs
    assert (found.side, found.column) == (side, column)
    assert (found in inputs) == (side == "input")


@pytest.mark.parametrize(
    ("column", "side", "written", "hint"),
    [
        ("amont", None, "'amont'", "did you mean 'amount'?"),
        ("amount", "output", "'output.amount'", "known: spend"),
        ("spend", "input", "'input.spend'", "known: amount"),
    ],
)
def test_a_check_on_an_absent_column_is_refused(column: str, side: Any, written: str, hint: str) -> None:
    with pytest.raises(FeatureError) as caught:
        assign_sides(
            [Check(name="not_null", column=column, side=side)],
            ["spend"],
            ["amount"],
            feature="f",
            where=Where("features/f.sql", 3),
        )
    assert caught.value.message == f"feature 'f': the check not_null() names the column {written}, which does not exist"
    assert caught.value.hint == hint
    assert str(caught.value.where) == "features/f.sql:3"
