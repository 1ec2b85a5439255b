"""``mlforge serve`` as a process on loopback: started, asked, stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

WAIT = 60.0
ROOT = Path(__file__).resolve().parent.parent.parent


def until(condition: Any, what: str) -> Any:
    """What ``condition`` returns once it is true."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"it did not happen: {what}")


class Server:
    """One server. What it prints goes to a file in ``folder``."""

    def __init__(self, folder: Path, *arguments: object, env: dict[str, str] | None = None) -> None:
        self.log = folder / "serve.log"
        command = [sys.executable, "-m", "mlforge", "serve", "--port", "0", *map(str, arguments)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFORGE_")}
        environment |= {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", **(env or {})}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        try:
            self.url = until(self._url, "the server says where it listens")
            self.client = httpx.Client(base_url=self.url, timeout=WAIT, trust_env=False)
            until(self._lives, "the server lives")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _url(self) -> str | None:
        assert self.process.poll() is None, self.said()
        found = re.search(r" at (http://\S+:\d+)\n", self.said())
        return found[1] if found else None

    def _lives(self) -> bool:
        try:
            return self.client.get("/health").status_code == 200
        except httpx.TransportError:
            assert self.process.poll() is None, self.said()
            return False

    def said(self) -> str:
        """What it printed."""
        return self.log.read_text()

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.client.post(path, json=body, **more)

    def rows(self, features: Any, *rows: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
        """What /features/online answers, which must be 200."""
        answer = self.post("/features/online", {"features": features, "entity_rows": list(rows), **more})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["rows"]
        return found

    def number(self, name: str, **labels: str) -> float:
        """A number of /metrics, summed over the labels that are not given; 0 if there is none."""
        total = 0.0
        for line in self.get("/metrics").text.splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(f'{k}="{v}"' in (match[1] or "") for k, v in labels.items()):
                total += float(match[2])
        return total

    def children(self) -> list[int]:
        """Its workers, without Python's own helper."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found}
        return [pid for pid, command in commands.items() if b"spawn_main" in command]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(WAIT)
