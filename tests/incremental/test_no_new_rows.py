"""New files of which a feature keeps no row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
name: small
sources:
  ev: {path: data/ev}
  fx: {path: data/fx.parquet}
entities:
  user: {key: k}
"""
LAST = """{{ config(entity="user", timestamp="t") }}
SELECT k, t, x AS x_last FROM {{ source("ev") }} WHERE x > 0
"""
TREND = """{{ config(entity="user", timestamp="t") }}
SELECT f.k, f.t, s.x_last * 2 AS doubled FROM {{ source("fx") }} f LEFT JOIN {{ ref("last") }} s ON s.k = f.k
"""


def test_a_file_without_rows_for_a_feature_is_a_patch_of_the_same_rows(tmp_path: Path) -> None:
    small = Small(tmp_path, CONFIG)
    small.write("data/ev/1.parquet", "SELECT 1 AS k, TIMESTAMP '2024-01-01 10:00' AS t, 5 AS x")
    small.write("data/fx.parquet", "SELECT 1 AS k, TIMESTAMP '2024-01-02 10:00' AS t")
    small.feature("last", LAST)
    small.feature("trend", TREND)
    small.good()
    before = {name: small.view(name) for name in ("last", "trend")}
    small.write("data/ev/2.parquet", "SELECT 1 AS k, TIMESTAMP '2024-01-01 11:00' AS t, -5 AS x")
    assert small.good() == {"last": "1.0.1", "trend": "1.0.1"}
    assert {name: small.view(name) for name in before} == before
    assert small.stored("last") == {"last__1_0": 1}


def test_columns_may_have_the_names_that_a_comparison_could_use(tmp_path: Path) -> None:
    small = Small(tmp_path, CONFIG.replace("data/ev", "data/ev.parquet"))
    small.feature(
        "odd",
        '{{ config(entity="user", timestamp="t") }}\n'
        'SELECT k, t, x AS row_id, x + 1 AS old_t, x + 2 AS "new", x + 3 AS a, x + 4 AS b FROM {{ source("ev") }}',
    )
    row = "SELECT 1 AS k, TIMESTAMP '2024-01-01 10:00' AS t, {} AS x"
    small.write("data/ev.parquet", row.format(5))
    small.good()
    small.write("data/ev.parquet", row.format(70))
    assert small.good() == {"odd": "1.0.1"}
    assert [values[2:] for values in small.view("odd")] == [(70, 71, 72, 73, 74)]
