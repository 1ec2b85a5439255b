"""How far an instant that is computed from a column can be from it: never further than ``bound`` says."""

from __future__ import annotations

import duckdb
import pytest
import sqlglot

from mlforge.proof.bounds import bound

UNITS = ("SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
MOVED = [f"t {sign} INTERVAL {n} {unit}" for unit in UNITS for n in (1, 2, 3, 5) for sign in "+-"]
STARTS = [f"date_trunc('{unit.lower()}', t)" for unit in UNITS]
ENDS = [f"date_trunc('{unit.lower()}', t) + INTERVAL {n} {unit}" for unit in UNITS for n in (1, 2)]
OTHERS = [
    *("t", "t::DATE", "t::DATE + INTERVAL 1 DAY", "last_day(t)", "last_day(t) + INTERVAL 1 DAY", "t::TIMESTAMPTZ"),
    *("t::TIMESTAMP(0)", "t::TIMESTAMP(3)", "t::TIMESTAMP_S", "t::TIMESTAMP_MS", "t::TIMESTAMP", "t::TIMESTAMP::DATE"),
    *("time_bucket(INTERVAL 7 DAY, t)", "time_bucket(INTERVAL 2 MONTH, t)", "time_bucket(INTERVAL '90 minutes', t)"),
    *("date_trunc('month', t) - INTERVAL 1 MONTH", "date_trunc('week', t - INTERVAL 1 MONTH) + INTERVAL 1 WEEK"),
]
UNKNOWN = {"t::TIMESTAMP(0)", "t::TIMESTAMP(3)", "t::TIMESTAMP_S", "t::TIMESTAMP_MS"}  # they round, up too


@pytest.fixture(scope="module")
def instants() -> duckdb.DuckDBPyConnection:
    """Each day of 14 years, at its first and last microsecond and at a time that rounds up; and some before 1970."""
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute(
        "CREATE TABLE instants AS SELECT d + to_microseconds(m) AS t FROM ("
        "FROM generate_series(TIMESTAMP '2019-01-01', TIMESTAMP '2032-12-31', INTERVAL 1 DAY) d(d) UNION ALL "
        "FROM generate_series(TIMESTAMP '1967-12-01', TIMESTAMP '1970-01-02', INTERVAL 1 DAY) d(d)), "
        "(VALUES (0), (86399999999), (43200600700)) m(m)"
    )
    return con


@pytest.mark.parametrize("text", [*MOVED, *STARTS, *ENDS, *OTHERS])
def test_no_instant_is_further_away(text: str, instants: duckdb.DuckDBPyConnection) -> None:
    found = bound(sqlglot.parse_one(text, dialect="duckdb"))
    assert (found is None) == (text in UNKNOWN)
    if found is not None:
        away = f"epoch_us(({text})::TIMESTAMP) - epoch_us(t)"
        least, most = instants.execute(f"SELECT min({away}), max({away}) FROM instants").fetchone()  # type: ignore[misc]
        assert found.low <= least <= most <= found.high
