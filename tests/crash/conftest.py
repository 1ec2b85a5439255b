"""Starting workers and talking to them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlforge.catalog import file

TABLES = ("mlforge.builds", "store.t1")
WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """A running worker.py."""

    def __init__(self, **what) -> None:
        what["catalog"] = str(what["catalog"])
        command = [sys.executable, "-W", "error", str(WORKER), json.dumps(what)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> dict:
        """The next message."""
        line = self.process.stdout.readline()
        assert line, f"the worker ended with {self.process.wait()} and without a word"
        return json.loads(line)

    def go_on(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Let it finish, and return its exit code."""
        self.process.communicate()
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        if not self.process.stdin.closed:
            self.end()


@pytest.fixture
def start():
    """Starts a worker; all of them are gone after the test."""
    workers: list[Worker] = []

    def start(**what) -> Worker:
        workers.append(Worker(**what))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def catalog(tmp_path) -> Path:
    return tmp_path / "catalog.duckdb"


@pytest.fixture
def build(start, catalog):
    """Runs one build to its end and returns what it said."""

    def build(**what) -> dict:
        worker = start(do="build", catalog=catalog, **what)
        said = worker.hear()
        assert worker.end() == 0
        return said

    return build


@pytest.fixture
def look(catalog):
    """What is in the catalog: (builds, rows of the first table)."""

    def look() -> tuple[int, int]:
        with file.open_read(catalog) as con:
            builds, rows = (con.execute(f"SELECT count(*) FROM {t}").fetchall()[0][0] for t in TABLES)
        return builds, rows

    return look
