"""What a command costs before it does anything: whole processes, CPU seconds of user and system."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

import data
from harness import REPS, machine
from projects import project

FEATURE = """
{{ config(entity="user", timestamp="event_time", tags=["t%d"]) }}
SELECT user_id, event_time, SUM(amount) OVER last_7d AS s%d, COUNT(*) OVER last_30d AS c%d,
  SUM(amount) OVER last_7d / NULLIF(SUM(amount) OVER last_30d, 0) AS r%d
FROM {{ source("events") }}
WHERE amount > %d
"""


def children() -> float:
    """CPU seconds of finished child processes."""
    times = os.times()
    return times.children_user + times.children_system


def measure(*command: str, cwd: str) -> float:
    """Median CPU seconds of a command."""
    spent = []
    for _ in range(max(REPS, 5)):
        before = children()
        subprocess.run([sys.executable, "-m", "mlforge", *command], check=True, capture_output=True, cwd=cwd)
        spent.append(children() - before)
    return statistics.median(spent)


if __name__ == "__main__":
    features = {f"f{n}": FEATURE % (n, n, n, n, n) for n in range(100)}
    root = str(project("hundred", {"events": data.events(100_000)}, features))
    subprocess.run([sys.executable, "-m", "mlforge", "build"], check=True, capture_output=True, cwd=root)
    print(f"\n### Start-up, 100 features\n\n{machine()}\n\n| command | CPU s | promise |\n|---|---|---|")
    promises = {("--help",): 0.25, ("list", "features"): 0.5, ("build",): 2.0}
    for command, promise in promises.items():
        print(f"| mlforge {' '.join(command)} | {measure(*command, cwd=root):.2f} | {promise} |")
