"""The soak of ``make soak``, for twenty seconds."""

from __future__ import annotations

import subprocess
import sys

from tests.serve.server import ROOT


def test_a_short_soak() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/soak.py"), "--seconds", "20", "--rate", "80", "--users", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrong 0  mixed 0  stale 0  refused 0  lost 0" in done.stdout
