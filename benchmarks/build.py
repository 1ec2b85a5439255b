"""An interval build against the best hand-written DuckDB SQL for the same table.

sum, avg and count of one DOUBLE over 7 and 30 days, refreshed daily; 100,000 keys. The same rows (every key and day at
which a row enters or leaves a window) and the same float rule (exact sums) for all forms; mlforge's time includes
checks, statistics, the commit, and Python's start. MLFORGE_BENCH_EVENTS sets the number of events."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import data
from harness import DATA, run
from projects import project

EVENTS = int(os.environ.get("MLFORGE_BENCH_EVENTS", "10000000"))
MEMORY = os.environ.get("MLFORGE_BENCH_MEMORY", "4GB")
FEATURE = """
{{ config(entity="user", timestamp="event_time", interval="1d",
          validators={"input.amount": [not_null(), greater_than(0)], "spend_30d": [greater_than_or_equal(0)]}) }}
SELECT user_id, event_time,
  SUM(amount) OVER last_7d AS spend_7d, AVG(amount) OVER last_7d AS avg_7d, COUNT(amount) OVER last_7d AS n_7d,
  SUM(amount) OVER last_30d AS spend_30d, AVG(amount) OVER last_30d AS avg_30d, COUNT(amount) OVER last_30d AS n_30d
FROM {{ source("events") }}
"""
DAY = 86_400_000_000
DAILY = f"""
  SELECT user_id, (epoch_us(event_time) // {DAY} + 1) * {DAY} AS t,
         sum(CAST(amount * 1073741824.0::DOUBLE AS HUGEINT)) AS s, count(amount) AS c
  FROM '{{events}}' GROUP BY ALL"""
FRAMES = f"""
CREATE TABLE result AS
WITH daily AS ({DAILY}),
change AS (
  SELECT user_id, t, sum(s) AS s, CAST(sum(c) AS BIGINT) AS c
  FROM (FROM daily
        UNION ALL SELECT user_id, t + {7 * DAY}, NULL, 0 FROM daily
        UNION ALL SELECT user_id, t + {30 * DAY}, NULL, 0 FROM daily)
  GROUP BY ALL)
SELECT user_id, t, s7 * 9.313225746154785e-10 AS spend_7d, s7 * 9.313225746154785e-10 / nullif(c7, 0) AS avg_7d,
       c7 AS n_7d,
       s30 * 9.313225746154785e-10 AS spend_30d, s30 * 9.313225746154785e-10 / nullif(c30, 0) AS avg_30d, c30 AS n_30d
FROM (
  SELECT user_id, t, CAST(sum(s) OVER w7 AS DOUBLE) AS s7, CAST(sum(c) OVER w7 AS BIGINT) AS c7,
         CAST(sum(s) OVER w30 AS DOUBLE) AS s30, CAST(sum(c) OVER w30 AS BIGINT) AS c30
  FROM change
  WINDOW w7 AS (PARTITION BY user_id ORDER BY t RANGE BETWEEN {6 * DAY} PRECEDING AND CURRENT ROW),
         w30 AS (PARTITION BY user_id ORDER BY t RANGE BETWEEN {29 * DAY} PRECEDING AND CURRENT ROW))"""
DELTAS = f"""
CREATE TABLE result AS
WITH daily AS ({DAILY}),
delta AS (
  SELECT user_id, t, sum(s7) AS s7, CAST(sum(c7) AS BIGINT) AS c7, sum(s30) AS s30, CAST(sum(c30) AS BIGINT) AS c30
  FROM (SELECT user_id, t, s AS s7, c AS c7, s AS s30, c AS c30 FROM daily
        UNION ALL SELECT user_id, t + {7 * DAY}, -s, -c, 0, 0 FROM daily
        UNION ALL SELECT user_id, t + {30 * DAY}, 0, 0, -s, -c FROM daily)
  GROUP BY ALL)
SELECT user_id, t, CASE WHEN c7 > 0 THEN s7 * 9.313225746154785e-10 END AS spend_7d,
       CASE WHEN c7 > 0 THEN s7 * 9.313225746154785e-10 / c7 END AS avg_7d, c7 AS n_7d,
       CASE WHEN c30 > 0 THEN s30 * 9.313225746154785e-10 END AS spend_30d,
       CASE WHEN c30 > 0 THEN s30 * 9.313225746154785e-10 / c30 END AS avg_30d, c30 AS n_30d
FROM (
  SELECT user_id, t, CAST(sum(s7) OVER w AS DOUBLE) AS s7, CAST(sum(c7) OVER w AS BIGINT) AS c7,
         CAST(sum(s30) OVER w AS DOUBLE) AS s30, CAST(sum(c30) OVER w AS BIGINT) AS c30
  FROM delta WINDOW w AS (PARTITION BY user_id ORDER BY t ROWS UNBOUNDED PRECEDING))"""
CHECK = "SELECT count(*), sum(n_7d), round(sum(spend_30d), 3) FROM {table}"


def raw(script: str) -> str:
    """Run a hand-written script into a new DuckDB file."""
    import duckdb

    path = DATA / "raw.duckdb"
    path.unlink(missing_ok=True)
    con = duckdb.connect(str(path), config={"storage_compatibility_version": "v1.4.0"})
    con.execute(f"SET threads = 2; SET memory_limit = '{MEMORY}'")
    con.execute(script.replace("{events}", str(data.events(EVENTS))))
    con.execute("CHECKPOINT")
    return str(con.execute(CHECK.format(table="result")).fetchall()[0])


def mlforge() -> str:
    """Build the same table with mlforge."""
    import duckdb

    import mlforge as mlf
    from mlforge.forge import BuildOptions

    root = project("build", {"events": data.events(EVENTS)}, {"spend": FEATURE})
    result = mlf.open(root).build(options=BuildOptions(threads=2, memory_limit=MEMORY))
    assert not result.failed, result
    with duckdb.connect(str(Path(root) / "catalog.duckdb"), read_only=True) as con:
        return str(con.execute(CHECK.format(table="features.spend")).fetchall()[0])


if __name__ == "__main__":
    data.events(EVENTS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    forms = {"DuckDB, frames": lambda: raw(FRAMES), "DuckDB, deltas": lambda: raw(DELTAS), "mlforge build": mlforge}
    run(f"Interval build, {EVENTS:,} events, memory limit {MEMORY}", forms, "DuckDB, frames")
