"""Runs forms side by side: each in its own process, in turn, CPU seconds and peak memory from the operating system.

A form is a function that does one job and returns the rows it made. `run(forms, base)` prints a table with the ratio of
each form's median CPU seconds to those of ``base``, and stops if forms that must agree do not."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("MLFORGE_BENCH_DATA", HERE / "data"))
REPS = int(os.environ.get("MLFORGE_BENCH_REPS", "3"))


def cpu() -> float:
    """User and system seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def machine() -> str:
    """What the figures were measured on."""
    import duckdb

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, DuckDB {duckdb.__version__}"
    )


def run(title: str, forms: dict[str, Callable[[], Any]], base: str) -> dict[str, dict[str, float]]:
    """Measure the forms of the calling script; with a form's name as argument, only do that one, in this process."""
    if len(sys.argv) > 1 and sys.argv[1] in forms:
        _one(forms[sys.argv[1]])
        raise SystemExit
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in forms}
    for _ in range(REPS):
        for name in forms:
            figures[name].append(_spawn(name))
    return _table(title, figures, base)


def _one(form: Callable[[], Any]) -> None:
    start, begun = cpu(), time.perf_counter()
    outcome = form()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"cpu": cpu() - start, "wall": time.perf_counter() - begun, "peak": peak, "outcome": outcome}
    sys.stdout.write(json.dumps(result, default=str) + "\n")


def _spawn(name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, sys.argv[0], name], check=True, capture_output=True, text=True, cwd=HERE.parent
    )
    return json.loads(done.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]


def _table(title: str, figures: dict[str, list[dict[str, Any]]], base: str) -> dict[str, dict[str, float]]:
    medians = {
        name: {key: statistics.median(r[key] for r in runs) for key in ("cpu", "wall", "peak")}
        for name, runs in figures.items()
    }
    print(f"\n### {title}\n\n{machine()}; {REPS} runs each, in turn; median\n")
    print("| form | CPU s | wall s | peak MB | CPU / base | outcome |\n|---|---|---|---|---|---|")
    for name, m in medians.items():
        outcome = figures[name][0]["outcome"]
        ratio = m["cpu"] / medians[base]["cpu"]
        print(f"| {name} | {m['cpu']:.2f} | {m['wall']:.2f} | {m['peak']:.0f} | {ratio:.2f} | {outcome} |")
    return medians
