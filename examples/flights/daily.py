"""A month of daily jobs: February's flights and weather arrive day by day, some rows late, one day corrected.

python examples/flights/daily.py [--days 28] [--folder FOLDER]

Each day is one file more and one `mlforge build`. A line for each day says what came, how many rows of each feature's
table changed, how long the build took and by how much the catalog grew. At the end everything is built once more from
nothing: the tables must be the same.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

import mlforge as mlf

HERE = Path(__file__).resolve().parent
SOURCES = ("flights", "weather")
FEATURES = (  # what reads them
    "airport_weather",
    "carrier_delays",
    "carrier_departures",
    "plane_delays",
    "plane_vs_carrier",
    "route_stats",
)
LATE = 2  # days by which every 200th flight is late
CORRECTED, CORRECTION = 2, 4  # the day that was wrong, and the day on which it comes again
MONTH = 28

# February's rows of one source, with the day on which each arrives; January is there from the start.
ARRIVALS = """
CREATE OR REPLACE TABLE arrivals AS
SELECT *, CASE WHEN "month" = 1 THEN 0
               WHEN name = 'flights' AND hash(t) % 200 = 0 THEN "day" + {late}
               ELSE "day" END AS arrives
FROM (SELECT '{name}' AS name, * FROM '{path}' WHERE "month" <= 2) t
"""
# The wrong delivery: the delays of one airline are an hour too long.
WRONG = "SELECT * REPLACE (CASE WHEN carrier = 'B6' THEN dep_delay + 60 ELSE dep_delay END AS dep_delay) FROM"


class Deliveries:
    """Writes the files of the sources as they arrive."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.con = duckdb.connect()
        self.con.execute("SET TimeZone = 'UTC'")
        for name in SOURCES:
            (data / name).mkdir(parents=True)
            self.con.execute(ARRIVALS.format(name=name, path=HERE / f"data/{name}.parquet", late=LATE))
            self.con.execute(f"ALTER TABLE arrivals RENAME TO {name}_arrivals")

    def arrive(self, day: int) -> int:
        """Write what arrives on a day of February, 0 being all of January. Returns the number of rows."""
        rows = sum(self._write(name, day) for name in SOURCES)
        if day == CORRECTION:
            rows += self._write("flights", CORRECTED)
        return rows

    def _write(self, name: str, day: int) -> int:
        path = self.data / name / (f"2013-02-{day:02}.parquet" if day else "2013-01.parquet")
        wrong = name == "flights" and day == CORRECTED and not path.exists()
        came = f"(SELECT * EXCLUDE (name, arrives) FROM {name}_arrivals WHERE arrives = {day})"
        query = f"{WRONG} {came}" if wrong else f"FROM {came}"
        return int(self.con.execute(f"COPY ({query}) TO '{path}'").fetchall()[0][0])


def copy_project(target: Path) -> None:
    """The example's own files; its two large sources become folders that files arrive in."""
    for name in ("features", "macros"):
        shutil.copytree(HERE / name, target / name)
    (target / "data").mkdir()
    for name in ("planes", "airports"):
        shutil.copy(HERE / f"data/{name}.parquet", target / "data")
    text = (HERE / "mlforge.yaml").read_text()
    for name in SOURCES:
        text = text.replace(f"path: data/{name}.parquet", f"path: data/{name}/*.parquet")
    (target / "mlforge.yaml").write_text(text)


def build(project: Path) -> Any:
    """One daily job. Raises SystemExit if a feature fails."""
    result = mlf.open(project).build()
    failed = [feature.error for feature in result.features if feature.error]
    if failed:
        sys.exit("\n".join(failed))
    return result


def stored(result: Any) -> dict[str, int]:
    """Rows that a build added to or closed in each feature's table."""
    return {f.feature: (f.added or 0) + (f.closed or 0) for f in result.features if f.status == "built"}


def run_days(project: Path, days: int) -> None:
    """Build day after day and print what each cost."""
    deliveries, catalog = Deliveries(project / "data"), project / "catalog.duckdb"
    print("day      arrived " + " ".join(f"{name:>18}" for name in FEATURES) + "  seconds  MB grown")
    for day in range(days + 1):
        arrived = deliveries.arrive(day)
        before = catalog.stat().st_size if catalog.exists() else 0
        start = time.perf_counter()
        changed = stored(build(project))
        seconds = time.perf_counter() - start
        grown = (catalog.stat().st_size - before) / 2**20
        shown = " ".join(f"{changed.get(name, 0):>18,}" for name in FEATURES)
        print(f"{f'Feb {day}' if day else 'January':<8}{arrived:>8,} {shown} {seconds:>8.2f} {grown:>9.2f}", flush=True)


def differences(one: Path, other: Path) -> list[str]:
    """Names of the features whose tables are not the same in two catalogs."""
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{one}' AS one (READ_ONLY); ATTACH '{other}' AS other (READ_ONLY)")
        views = "SELECT view_name FROM duckdb_views() WHERE database_name = 'one' AND schema_name = 'features'"
        names = [name for (name,) in con.execute(views).fetchall()]
        both = ("one", "other"), ("other", "one")
        query = "SELECT count(*) FROM (FROM {}.features.{n} EXCEPT ALL FROM {}.features.{n})"
        return [n for n in names if any(con.execute(query.format(*pair, n=n)).fetchall()[0][0] for pair in both)]


def main(days: int, folder: Path) -> None:
    """Build day by day, then all at once, and compare. Raises SystemExit if the tables differ."""
    daily, whole = folder / "daily", folder / "whole"
    for project in (daily, whole):
        project.mkdir(parents=True)
        copy_project(project)
    run_days(daily, days)
    for name in SOURCES:
        shutil.copytree(daily / "data" / name, whole / "data" / name)
    start = time.perf_counter()
    build(whole)
    size = (whole / "catalog.duckdb").stat().st_size / 2**20
    print(f"\nAll of it at once: {time.perf_counter() - start:.2f} seconds, {size:.2f} MB")
    wrong = differences(daily / "catalog.duckdb", whole / "catalog.duckdb")
    if wrong:
        sys.exit(f"not the same as a full rebuild: {', '.join(wrong)}")
    print("Every feature has the same rows as after the daily builds.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A month of daily builds of the flights example")
    parser.add_argument("--days", type=int, default=MONTH, help=f"days of February, up to {MONTH}")
    parser.add_argument("--folder", type=Path, help="where to work, kept afterwards; without it a temporary folder")
    options = parser.parse_args()
    if options.folder:
        main(options.days, options.folder)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(options.days, Path(temporary))
