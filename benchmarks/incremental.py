"""What a PATCH costs as a share of a full build, and whether one more day costs more after a longer history.

100,000 users; sums, averages and counts of one DOUBLE over 7 and 30 days, refreshed daily; one Parquet file per month
of history, then one per new day. ``share``: 1 % new rows, in order, behind three years of history. ``late``: as many
rows, spread over all of it. ``day``: one day more, of the same number of rows, behind histories of different length
(the rows per day are the same, so more rows are more days). All histories end on the same day of the past: rows of the
future are kept as if they could still change.

python benchmarks/incremental.py [share] [late] [day] [--rows 50000000] [--histories 10000000 50000000 100000000]

CPU seconds include Python's start and imports; bytes are the growth of the catalog file."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import data
from harness import DATA, cpu, machine

YEARS_3 = 1096  # days
PER_MONTH = 30  # days in one file of the history
MEMORY = os.environ.get("MLFORGE_BENCH_MEMORY", "4GB")
FEATURE = """
{{ config(entity="user", timestamp="event_time", interval="1d") }}
SELECT user_id, event_time,
  SUM(amount) OVER last_7d AS spend_7d, AVG(amount) OVER last_7d AS avg_7d, COUNT(amount) OVER last_7d AS n_7d,
  SUM(amount) OVER last_30d AS spend_30d, AVG(amount) OVER last_30d AS avg_30d, COUNT(amount) OVER last_30d AS n_30d
FROM {{ source("events") }}
"""
CONFIG = """
name: bench
entities:
  user: {key: user_id}
sources:
  events: {path: "events/*.parquet", timestamp: event_time}
"""


def history(rows: int, days: int, end: int) -> Path:
    """A project whose events cover so many days up to a day of the stream, in files of a month; not built yet."""
    root = DATA / "projects" / f"incremental_{rows}_{days}"
    shutil.rmtree(root, ignore_errors=True)
    (root / "features").mkdir(parents=True)
    (root / "features/spend.sql").write_text(FEATURE)
    (root / "mlforge.yaml").write_text(CONFIG)
    first = 0
    for month in range(0, days, PER_MONTH):
        length = min(PER_MONTH, days - month)
        number = rows * length // days
        data.stream(root / f"events/{month:05}.parquet", first, number, end - days + month, length)
        first += number
    return root


def build(root: Path) -> dict[str, Any]:
    """One build in a process of its own: CPU and wall seconds, peak memory, and by how many bytes the catalog grew."""
    catalog = root / "catalog.duckdb"
    before = catalog.stat().st_size if catalog.exists() else 0
    command = [sys.executable, str(Path(__file__).resolve()), "--build", str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"bytes": catalog.stat().st_size - before}


def build_here(root: Path) -> None:
    """Build in this process and print what it took."""
    import mlforge as mlf
    from mlforge.building.options import BuildOptions

    start = time.perf_counter()
    result = mlf.open(root).build(options=BuildOptions(threads=2, memory_limit=MEMORY))
    assert not result.failed, result
    [feature] = result.features
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"cpu": cpu(), "wall": time.perf_counter() - start, "peak": peak, "mode": feature.mode}
    print(json.dumps(found | {"rows": feature.rows, "added": feature.added, "closed": feature.closed}))


def show(title: str, measured: dict[str, dict[str, Any]], base: str) -> None:
    """A table: each build beside the one that is the base of the shares."""
    print(f"\n### {title}\n\n{machine()}; one run each\n")
    print("| build | mode | CPU s | share | wall s | share | MB grown | share | peak MB | rows added | closed |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    whole = measured[base]
    for name, m in measured.items():
        shares = [f"{m[k] / whole[k]:.1%}" for k in ("cpu", "wall", "bytes")]
        cells = [name, m["mode"], f"{m['cpu']:.2f}", shares[0], f"{m['wall']:.2f}", shares[1]]
        cells += [f"{m['bytes'] / 2**20:.1f}", shares[2], f"{m['peak']:.0f}", f"{m['added']:,}", f"{m['closed']:,}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def share(rows: int) -> None:
    """1 % new rows as new daily files behind three years: about eleven days' worth."""
    root, full = history(rows, YEARS_3, YEARS_3), f"full build of {rows:,}"
    measured = {full: build(root)}
    days = round(YEARS_3 / 100)
    for day in range(days):
        more(root, YEARS_3 + day, rows + day * (rows // 100 // days), rows // 100 // days)
    measured[f"{days} more days, 1 %"] = build(root)
    show(f"1 % new rows behind {rows:,}", measured, full)


def late(rows: int) -> None:
    """As many rows that come late, spread over all of the history."""
    root, full = history(rows, YEARS_3, YEARS_3), f"full build of {rows:,}"
    measured = {full: build(root)}
    data.stream(root / "events/late.parquet", rows, rows // 100, 0, YEARS_3)
    measured["1 % late rows"] = build(root)
    show(f"1 % late rows among {rows:,}", measured, full)


def day(histories: list[int]) -> None:
    """One day more, three times, behind histories of the same rows a day; the median of the three."""
    daily, measured = 50_000_000 // YEARS_3, {}
    for rows in histories:
        days = rows // daily
        root = history(rows, days, YEARS_3)
        whole, runs = build(root), []
        for n in range(3):
            more(root, YEARS_3 + n, rows + n * daily, daily)
            runs.append(build(root))
        measured[f"full build of {rows:,}"] = whole
        measured[f"one more day behind {rows:,}"] = sorted(runs, key=lambda run: run["cpu"])[1]
        shutil.rmtree(root)
    show("One more day", measured, f"full build of {histories[0]:,}")


def more(root: Path, day: int, first: int, rows: int) -> None:
    """One day's file."""
    data.stream(root / f"events/new_{day:05}.parquet", first, rows, day, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What a PATCH costs")
    parser.add_argument("which", nargs="*", choices=["share", "late", "day", []], help="all of them when none is named")
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--histories", type=int, nargs="+", default=[10_000_000, 50_000_000, 100_000_000])
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build_here(options.build)
        raise SystemExit
    which = options.which or ["share", "late", "day"]
    if "share" in which:
        share(options.rows)
    if "late" in which:
        late(options.rows)
    if "day" in which:
        day(options.histories)
