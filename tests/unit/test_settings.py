"""Settings of DuckDB whose defaults differ between its versions are stated by mlforge, or change no answer."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from mlforge.catalog import file

#: Defaults of DuckDB 1.5.5, without those that follow from the machine, the process or the client.
OLD = dict(line.split("=", 1) for line in Path(__file__).with_name("duckdb-1.5.5.settings").read_text().splitlines())
#: Defaults that moved, and what they decide: nothing that a feature could see.
HARMLESS = {
    "enable_progress_bar": "on where Python runs without a file; catalog/configure.sql.j2 states it",
    "allocator_flush_threshold": "when memory goes back to the system; the same number, written otherwise",
    "preserve_identifier_case": "was a boolean, is a word: both keep the case as it is written",
    "streaming_buffer_size": "how much of a result waits for its reader",
}


def defaults(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return {name: str(value) for name, value in con.execute("SELECT name, value FROM duckdb_settings()").fetchall()}


def test_every_default_that_moved_is_stated_or_harmless() -> None:
    """A newer DuckDB that moves another default fails here: state it in catalog/configure.sql.j2 or file.CONFIG."""
    with duckdb.connect() as con:
        now = defaults(con)
    moved = {name for name, value in OLD.items() if name in now and now[name] != value}
    assert moved - HARMLESS.keys() <= file.CONFIG.keys(), {name: (OLD[name], now[name]) for name in moved}


CHANGED = {
    "default_null_order": "NULLS_FIRST",
    "default_order": "DESC",
    "integer_division": "true",
    "ieee_floating_point_ops": "false",
    "scalar_subquery_error_on_multiple_rows": "false",
    "TimeZone": "Asia/Tokyo",
    "asof_loop_join_threshold": "64",
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_decides_an_answer_is_stated(name: str) -> None:
    with duckdb.connect() as con:
        con.execute(f"SET {name} = '{CHANGED[name]}'")
        file.configure(con)
        value = defaults(con)[name]
    stated = {**OLD, "TimeZone": "UTC", "asof_loop_join_threshold": "0"}[name]
    assert value == stated or stated.startswith(value)  # DuckDB writes ASCENDING as ASC once it was set


def test_division_by_zero_is_null_on_connections_of_mlforge() -> None:
    """Versions made before mlforge wrote NULLIF divide plainly."""
    with duckdb.connect() as con:
        file.configure(con)
        con.execute("CREATE TABLE t AS SELECT 7 AS a, 0 AS b")
        assert con.execute(
            "SELECT a // b, a % b, INTERVAL 1 DAY / b, sum(a // b) FILTER (WHERE b > 0) FROM t GROUP BY a, b"
        ).fetchall() == [(None, None, None, None)]
