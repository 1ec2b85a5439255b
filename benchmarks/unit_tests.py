"""What a unit test costs: the tests of examples/flights, repeated, in one process of ``mlforge test``."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import HERE, REPS, machine

REPEATS = 15


def repeated(text: str, times: int) -> str:
    """A file of tests with every test as often as asked, under names of their own."""
    head, *tests = text.split("  - name: ")
    head = head[head.index("tests:") :]
    return head + "".join(f"  - name: {n} {test}" for n in range(times) for test in tests)


def outcomes(root: Path) -> tuple[float, float, list[dict[str, object]]]:
    """CPU and wall seconds of a process that runs all tests of a project, and what it says of each."""
    before, begun = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "mlforge", "test", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, cwd=root)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, time.perf_counter() - begun, json.loads(done.stdout)


def measure(root: Path, times: int) -> tuple[int, float]:
    """Print one row: whole processes by the median, single tests by the median and the slowest of twenty.

    Returns how many tests there were and their CPU seconds."""
    for path in (HERE.parent / "examples/flights/tests").glob("*.yaml"):
        (root / "tests" / path.name).write_text(repeated(path.read_text(), times))
    runs = [outcomes(root) for _ in range(REPS)]
    each = sorted(float(str(o["seconds"])) * 1000 for run in runs for o in run[2])
    cpu, wall = (statistics.median(run[n] for run in runs) for n in (0, 1))
    slow = each[int(len(each) * 0.95)]
    print(f"| {len(runs[0][2])} | {cpu:.2f} | {wall:.2f} | {statistics.median(each):.0f} | {slow:.0f} |")
    return len(runs[0][2]), cpu


if __name__ == "__main__":
    print(f"\n### Unit tests of features\n\n{machine()}; {REPS} runs each; median\n")
    print("| tests | CPU s | wall s | ms a test | ms, 95 % |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "flights"
        shutil.copytree(HERE.parent / "examples/flights", target, ignore=shutil.ignore_patterns("catalog.duckdb*"))
        (few, start), (many, whole) = (measure(target, times) for times in (1, REPEATS))
    print(f"\nCPU of one more test: {(whole - start) / (many - few) * 1000:.0f} ms")
