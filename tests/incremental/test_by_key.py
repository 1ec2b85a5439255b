"""Builds of the keys that have new rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """name: small
sources:
  ev: {{path: "data/ev/*.parquet"{more}}}
entities:
  user: {{key: k}}
"""
HEAD = '{{ config(entity="user", incremental="by_key") }}\n'


def test_a_row_that_moved_to_another_key_leaves_that_key_alone(tmp_path: Path) -> None:
    """File 2 brings a new row of key a. Its build reads all that ids of key a became, also the row that is c's now; but
    not the other rows of c."""
    small = Small(tmp_path, CONFIG.format(more=", unique_key: id, loaded_at: seen"))
    small.feature("f", HEAD + 'SELECT k, SUM(x) AS total FROM {{ source("ev") }} GROUP BY k')
    columns = "SELECT id, k, seen::TIMESTAMP AS seen, x FROM (VALUES {}) t(id, k, seen, x)"
    first = (
        "(1, 'a', '2026-01-01', 1), (2, 'a', '2026-01-01', 10), (2, 'c', '2026-01-02', 20), (3, 'c', '2026-01-01', 100)"
    )
    small.write("data/ev/1.parquet", columns.format(first))
    small.good()
    assert small.view("f") == [("a", 1), ("c", 120)]
    small.write("data/ev/2.parquet", columns.format("(4, 'a', '2026-01-03', 1000)"))
    [made] = small.build().features
    assert (made.mode, made.added, made.closed) == ("by_key", 1, 1)
    assert small.view("f") == [("a", 1001), ("c", 120)]


@pytest.mark.parametrize(("rows", "key"), [("('a', 2), ('a', 3)", "3 rows for k = 'a'"), ("('b', 2), ('b', 3)", "'b'")])
def test_two_rows_of_a_key_without_a_time_are_refused(tmp_path: Path, rows: str, key: str) -> None:
    """As in a build of all rows; other features are built."""
    small = Small(tmp_path, CONFIG.format(more=""))
    small.feature("f", HEAD + 'SELECT k, x FROM {{ source("ev") }}')
    small.feature("g", '{{ config(entity="user") }}\nSELECT k, SUM(x) AS x FROM {{ source("ev") }} GROUP BY k')
    small.write("data/ev/1.parquet", "SELECT 'a' AS k, 1 AS x")
    small.good()
    small.write("data/ev/2.parquet", f"SELECT * FROM (VALUES {rows}) t(k, x)")
    refused, made = small.build().features
    assert (refused.feature, refused.status, made.status) == ("f", "failed", "built")
    assert key in (refused.error or "")
    assert small.view("f") == [("a", 1)]


def test_what_cannot_be_made_by_key_is_made_whole(tmp_path: Path) -> None:
    """Part of a slice that has grown is gone, which shows in the build alone. The builds after it are by key again."""
    small = Small(
        tmp_path,
        "name: small\nsources:\n  ev: {path: data/other.duckdb, table: ev, unique_key: id, loaded_at: seen}\n"
        "entities:\n  user: {key: k}\n",
    )
    small.feature("f", HEAD + 'SELECT k, SUM(x) AS total FROM {{ source("ev") }} GROUP BY k')

    def change(query: str) -> None:
        path = str(tmp_path / "data/other.duckdb")
        with duckdb.connect(path, config={"storage_compatibility_version": "v1.4.0"}) as con:
            con.execute(query)

    rows = "SELECT {} AS id, {} AS k, TIMESTAMP '2026-01-01' + to_minutes({}) AS seen, {} AS x"
    change(f"CREATE TABLE ev AS {rows.format(1, 1, 1, 10)} UNION ALL {rows.format(2, 2, 2, 20)}")
    small.good()
    change("DELETE FROM ev WHERE id = 1")
    change(f"INSERT INTO ev {rows.format(3, 1, 3, 100)} UNION ALL {rows.format(4, 2, 4, 200)}")
    [made] = small.build().features
    assert (made.status, made.mode, made.why) == ("built", "whole", "rows of ev changed that were taken in before")
    assert small.view("f") == [(1, 100), (2, 220)]
    change(f"INSERT INTO ev {rows.format(5, 1, 5, 1)}")
    [made] = small.build().features
    assert (made.status, made.mode) == ("built", "by_key")
    assert small.view("f") == [(1, 101), (2, 220)]
