"""What DuckDB answers wrongly, and features do not: greatest values that are negative, and powers of two in macros."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """{{ config(entity="user", timestamp="t"%s) }}
SELECT k, t, APPROX_QUANTILE(x, 0.9) OVER ever AS q, APPROX_QUANTILE(x, [0.1, 0.9]) OVER ever AS qs,
  APPROX_QUANTILE(x::DOUBLE, 0.9) OVER ever AS qd
FROM {{ source("ev") }}
"""


@pytest.mark.parametrize("more", ["", ', interval="1d"'])
def test_a_quantile_of_negative_values_is_one_of_them(tmp_path: Path, more: str) -> None:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', -3", "1, '2024-01-01', -3", "2, '2024-01-01', 4", "3, '2024-01-01', NULL")
    small.feature("f", TEXT % more)
    small.good()
    assert [row[2:] for row in small.view("f")] == [(-3, [-3, -3], -3.0), (4, [4, 4], 4.0), (None, None, None)]
    found = small.forge.verify("f")
    assert found.status == "passed", found.features


def test_duckdb_still_takes_0_for_it() -> None:
    with duckdb.connect() as con:
        assert con.execute("SELECT approx_quantile(x, 0.9) FROM (VALUES (-3), (-3)) v(x)").fetchall() == [(0,)]


def test_a_macro_keeps_the_scale_of_a_sum(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 0.1", columns="k BIGINT, t TIMESTAMP, x DOUBLE")
    small.feature(
        "f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, SUM(x) OVER ever AS s FROM {{ source("ev") }}'
    )
    small.good()
    scale = small.forge.state().features["f"].versions[-1].compiled.aggregates[0].scale
    assert scale == 91, "the number that DuckDB misprints"
    with duckdb.connect(str(small.catalog), read_only=True) as con:
        con.execute("CREATE TEMP TABLE labels AS SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-02' AS label_time")
        assert con.execute("SELECT s FROM features.f_asof('labels')").fetchall() == [(0.1,)]
