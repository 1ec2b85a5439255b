"""Make the flights project anew, as if the end of 2013 were now: what is served are the values of this instant.

python examples/serving/project.py FOLDER [--days 60]

Features and settings are those of examples/flights. Its flights and its weather are moved by whole weeks, so that now
falls into the last week of 2013 at the same weekday and hour. They begin some days ago; what has not happened yet is
cut off. rows.json has the newest flights as entity rows, to ask for.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shutil
from pathlib import Path

import duckdb

FLIGHTS = Path(__file__).resolve().parent.parent / "flights"
END = dt.datetime(2013, 12, 30, 23)  # of the weather file
PROFILES = """
default_profile: sqlite
profiles:
  sqlite: {online: {kind: sqlite, path: online.db}}
  redis: {online: {kind: redis, url: "${REDIS_URL}"}}
"""
MOVED = """
COPY (
    SELECT * REPLACE (time_hour + to_days($weeks * 7) AS time_hour)
    FROM read_parquet($source) AS t
    WHERE (time_hour AT TIME ZONE 'UTC') BETWEEN $cutoff - to_days($days) AND $cutoff AND {happened}
) TO '{target}'
"""
ROWS = """
COPY (
    SELECT tailnum, carrier, origin, dest, distance::DOUBLE AS distance
    FROM read_parquet('{flights}') WHERE tailnum IS NOT NULL ORDER BY time_hour DESC, tailnum LIMIT 500
) TO '{rows}' (ARRAY true)
"""
HAPPENED = {  # a flight counts when it has landed; one that never left, when it should have
    "flights": """time_hour AT TIME ZONE 'UTC' + to_minutes("minute" + coalesce(dep_delay + air_time, 0)) < $cutoff""",
    "weather": "true",
}


def make(folder: Path, days: int = 60) -> None:
    """Write the project into ``folder``; its catalog and its store stay, if there are any."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name in ("features", "macros"):
        shutil.copytree(FLIGHTS / name, folder / name, dirs_exist_ok=True)
    text = (FLIGHTS / "mlforge.yaml").read_text()
    (folder / "mlforge.yaml").write_text(text[: text.index("default_profile:")] + PROFILES.lstrip())
    for name in ("planes", "airports", "airlines"):
        shutil.copy(FLIGHTS / f"data/{name}.parquet", folder / "data")
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    weeks = -((END - now) // dt.timedelta(weeks=1))
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for name, happened in HAPPENED.items():
            told = {"source": str(FLIGHTS / f"data/{name}.parquet"), "weeks": weeks, "days": days}
            target = folder / f"data/{name}.parquet"
            told["cutoff"] = now - dt.timedelta(weeks=weeks)
            con.execute(MOVED.format(happened=happened, target=target), told)
        con.execute(ROWS.format(flights=folder / "data/flights.parquet", rows=folder / "rows.json"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The flights project, as if the end of 2013 were now")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=60, help="days of flights and weather")
    options = parser.parse_args()
    make(options.folder, options.days)
