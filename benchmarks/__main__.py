"""Run every benchmark: ``python -m benchmarks``, or some of them: ``python -m benchmarks build training``.

MLFORGE_BENCH_DATA is where data and projects are kept (a few GB), MLFORGE_BENCH_REPS how often each form runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("startup", "build", "leaks", "incremental", "training", "windows", "unit_tests", "online", "rest")

if __name__ == "__main__":
    for name in sys.argv[1:] or SCRIPTS:
        script = Path(__file__).with_name(f"{name}.py")
        if not script.is_file():
            sys.exit(f"no benchmark {name!r}; there are: {', '.join(SCRIPTS)}")
        subprocess.run([sys.executable, str(script)], check=True)
