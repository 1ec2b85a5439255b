"""The leak that is planted in the flights example."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "examples/flights/leak.py"


def test_the_planted_leak_of_the_example_is_caught() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differs carrier_wind@1.0.0 for carrier = " in done.stdout
    assert "rows of source weather that lie after the label's time have a part in it" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("caught:")
