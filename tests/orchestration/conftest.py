"""The examples of examples/orchestration, really run. Airflow and Dagster have environments of their own, which ``make
test-orchestration`` makes; without it only cron's script is tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlforge.project.scaffold import create

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples/orchestration"

collect_ignore = [] if os.environ.get("MLFORGE_ORCHESTRATORS") else ["test_airflow.py", "test_dagster.py"]


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command ``mlforge`` of this environment, for processes that have another one."""
    script = tmp_path_factory.mktemp("bin") / "mlforge"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m mlforge "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What ``mlforge init`` writes, not built."""
    create(tmp_path / "shop", "shop")
    return tmp_path / "shop"


@pytest.fixture
def environment(command: Path, project: Path, tmp_path: Path) -> dict[str, str]:
    """A process's variables: a home of its own, no proxies, nothing of this environment's Python."""
    return {
        "PATH": f"{command.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "MLFORGE": str(command),
        "MLFORGE_PROJECT": str(project),
        "NO_COLOR": "1",
    }


def python_of(name: str) -> Path:
    """The Python of an orchestrator's environment; the tests that need it are skipped where it is not installed."""
    home = ROOT / f".venv-{name}"
    if not (home / f"bin/{name}").exists():
        refused = home / "refused"
        why = refused.read_text().strip().splitlines()[-1] if refused.exists() else "make test-orchestration does that"
        pytest.skip(f"{name} is not installed: {why}", allow_module_level=True)
    return home / "bin/python"


def run(command: list[object], environment: dict[str, str], *, code: int = 0, cwd: Path | None = None) -> str:
    """What a process printed, both streams; another exit code is an AssertionError that shows it."""
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}"
    return done.stdout
