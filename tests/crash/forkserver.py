"""A process that has imported everything and forks a child for each line on stdin, so that a build starts at once.

A line is JSON: what to do, and with what. The child's first word is its pid, its last one how it ended. Nothing of
DuckDB is opened before a fork: its threads would be missing in the child."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback

import duckdb
import jinja2  # noqa: F401 - here and below: imported before a fork
import pyarrow.compute  # noqa: F401
import rights
import sqlglot.optimizer  # noqa: F401

import mlforge as mlf
from mlforge.building.options import BuildOptions
from mlforge.catalog import commit as commits
from mlforge.errors import MlforgeError
from mlforge.model import Duration

for name in (
    "building.candidates",
    "building.committing",
    "building.run",
    "catalog.staging",
    "plan.planner",
    "retrieve",
):
    importlib.import_module(f"mlforge.{name}")


def say(**message) -> None:
    os.write(1, (json.dumps(message) + "\n").encode())


def build(
    project: str, *, largest_file: int | None = None, bound: bool = False, batch: str | None = None, **options
) -> None:
    commits.PATIENCE = 0.2
    if batch:
        options["batch"] = Duration.parse(batch)
    if largest_file:  # a write past it fails as it does on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if bound:
        rights.bind()
    try:
        result = mlf.open(project).build(options=BuildOptions(**options))
    except MlforgeError as error:
        say(error=type(error).__name__, message=error.message, hint=error.hint)
    else:
        how = result.committed.how if result.committed else None
        say(build=result.build, how=how, errors=[f.error for f in result.features if f.error])


def hold(catalog: str, *, read_only: bool) -> None:
    """Have the catalog open until killed; as a reader, tell what is in it once a line comes."""
    with duckdb.connect(catalog, read_only=read_only):
        say(ready=True)
        time.sleep(600)


def main() -> None:
    for line in sys.stdin:
        what = json.loads(line)
        pid = os.fork()
        if pid == 0:
            say(pid=os.getpid())
            try:
                globals()[what.pop("do")](**what)
            except BaseException:  # noqa: BLE001 - whatever it was, this child must not go on as a server
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        say(status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main()
