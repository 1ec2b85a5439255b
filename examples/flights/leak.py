"""A leak, planted and caught: ``python examples/flights/leak.py``.

A folder of its own gets a copy of the project and one feature more, examples/flights/leak/carrier_wind.sql. It joins
two sources that have a time by hand, so flights see the wind of hours to come. ``strict: true`` refuses that at the
plan, and a build finds the rows. Here the one is switched off, and the feature says ``allow_lookahead=true``;
``mlforge verify`` finds the leak in the values."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def project(target: Path) -> Path:
    """The flights project with the leak in it, and without ``strict``."""
    shutil.copytree(HERE, target, ignore=shutil.ignore_patterns("catalog.duckdb*", "training.parquet", "__pycache__"))
    shutil.copy(HERE / "leak" / "carrier_wind.sql", target / "features")
    config = (target / "mlforge.yaml").read_text()
    (target / "mlforge.yaml").write_text(config.replace("strict: true", "strict: false", 1))
    return target


def mlforge(target: Path, *arguments: str) -> int:
    """Run a command in the project and return its exit code."""
    print(f"$ mlforge {' '.join(arguments)}", flush=True)
    return subprocess.run([sys.executable, "-m", "mlforge", "-C", str(target), *arguments], check=False).returncode


def main() -> None:
    """Build an honest feature and the leak; verify passes the one and fails the other."""
    with tempfile.TemporaryDirectory() as folder:
        target = project(Path(folder) / "flights")
        built = mlforge(target, "build", "--features", "airport_weather,carrier_wind")
        honest = mlforge(target, "verify", "airport_weather")
        caught = mlforge(target, "verify", "carrier_wind", "--sample", "50")
    if (built, honest, caught) != (0, 0, 1):
        sys.exit("the leak was not caught")
    print("caught: mlforge verify fails the feature that sees the future, and only that one")


if __name__ == "__main__":
    main()
