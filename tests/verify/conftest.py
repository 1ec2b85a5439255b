"""A small project whose rows are easy to reckon with: user 1 has one event an hour, of amount 1, 2, 3 ..."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
name: small
sources:
  ev: {path: data/ev.parquet, timestamp: t}
  price: {path: data/price.parquet, timestamp: t}
  plain: {path: data/ev.parquet}
  late: {path: data/late.parquet, timestamp: t, loaded_at: loaded}
  dim: {path: data/dim.parquet}
entities:
  user: {key: k}
"""
HOURLY = """
SELECT k::BIGINT AS k, TIMESTAMP '2024-01-01' + to_hours(n::INTEGER) AS t, n::BIGINT AS n, n / 4.0 AS x, 'c' || n % 3 AS c
FROM range(3) u(k), range(1, 24 * 20) r(n) WHERE k > 0
"""


@pytest.fixture
def project(tmp_path: Path) -> Small:
    made = Small(tmp_path, CONFIG)
    made.write("data/ev.parquet", HOURLY)
    made.write(
        "data/price.parquet", f"SELECT k, t + INTERVAL 30 MINUTE AS t, x AS price FROM ({HOURLY}) WHERE n % 24 = 0"
    )
    made.write(
        "data/late.parquet",
        f"SELECT *, t + to_minutes(CASE WHEN n % 10 = 0 THEN 180 ELSE 1 END) AS loaded FROM ({HOURLY})",
    )
    made.write("data/dim.parquet", "SELECT k::BIGINT AS k, k * 10 AS size FROM range(3) u(k)")
    return made
