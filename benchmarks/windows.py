"""Exact 7-day windows at 1M labels from 10M events: sum, count, avg, against prefix sums with two ASOF joins.

The exact raw form keeps mlforge's float rule (the same bits whatever other rows are there); the DOUBLE form does not,
and is shown for what the rule costs. mlforge reads its catalog, the raw forms a table of the same rows."""

from __future__ import annotations

import data
from harness import DATA, run
from projects import project

FEATURE = """
{{ config(entity="user", timestamp="event_time") }}
SELECT user_id, event_time,
  SUM(amount) OVER last_7d AS s, COUNT(amount) OVER last_7d AS c, AVG(amount) OVER last_7d AS a
FROM {{ source("events") }}
"""
EXACT = ("sum(CAST(amount * 1073741824.0::DOUBLE AS HUGEINT)) OVER w", "CAST({s} AS DOUBLE) * 9.313225746154785e-10")
DOUBLE = ("sum(amount) OVER w", "{s}")


def raw(form: tuple[str, str]) -> object:
    """Prefix sums over all events of a key, read just before T and just before T - 7 days."""
    import duckdb

    total, value = form
    con = duckdb.connect(str(DATA / "events.duckdb"), read_only=True)
    con.execute("SET threads = 2")
    s = value.format(s="(coalesce(p1.s, 0) - coalesce(p0.s, 0))")
    query = f"""
      WITH prefix AS MATERIALIZED (
        SELECT user_id, t, {total} AS s, count(amount) OVER w AS c FROM events
        WINDOW w AS (PARTITION BY user_id ORDER BY t RANGE UNBOUNDED PRECEDING))
      SELECT l.* EXCLUDE (o, t), CASE WHEN coalesce(p1.c, 0) > coalesce(p0.c, 0) THEN {s} END AS s,
             coalesce(p1.c, 0) - coalesce(p0.c, 0) AS c,
             CASE WHEN coalesce(p1.c, 0) > coalesce(p0.c, 0) THEN {s} / (p1.c - coalesce(p0.c, 0)) END AS a
      FROM (SELECT *, row_number() OVER () AS o, epoch_us(label_time) AS t FROM '{data.labels(1_000_000)}') l
      ASOF LEFT JOIN prefix p1 ON p1.user_id = l.user_id AND p1.t < l.t
      ASOF LEFT JOIN prefix p0 ON p0.user_id = l.user_id AND p0.t < l.t - 604800000000
      ORDER BY o"""
    result = con.execute(query)
    table = result.to_arrow_table() if hasattr(result, "to_arrow_table") else result.fetch_arrow_table()
    return _outcome(table)


def mlforge() -> object:
    """The public call on a catalog."""
    import mlforge as mlf

    fs = mlf.open(DATA / "projects" / "windows" / "catalog.duckdb")
    return _outcome(fs.get_training_data(["spend"], str(data.labels(1_000_000))))


def _outcome(table: object) -> object:
    import pyarrow.compute as pc

    return table.num_rows, pc.sum(table["c"]).as_py(), round(pc.sum(table["s"]).as_py(), 3)  # type: ignore[attr-defined]


def prepare() -> None:
    """The catalog, and the same events as a sorted table."""
    import duckdb

    import mlforge as mlf

    mlf.open(project("windows", {"events": data.events(10_000_000)}, {"spend": FEATURE}, keep=True)).build()
    path = DATA / "events.duckdb"
    if not path.exists():
        with duckdb.connect(str(path), config={"storage_compatibility_version": "v1.4.0"}) as con:
            con.execute(
                "CREATE TABLE events AS SELECT user_id, epoch_us(event_time) AS t, amount "
                f"FROM '{data.events(10_000_000)}' ORDER BY user_id, t"
            )


if __name__ == "__main__":
    import sys

    if len(sys.argv) == 1:
        prepare()
    forms = {"DuckDB, exact": lambda: raw(EXACT), "DuckDB, DOUBLE": lambda: raw(DOUBLE), "mlforge": mlforge}
    run("Exact 7-day windows, 10M events, 1M labels", forms, "DuckDB, exact")
