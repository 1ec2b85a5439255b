"""Builds that are killed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.crash.test_build_kills import Server

if TYPE_CHECKING:
    from pathlib import Path

USUAL = 0.6  # seconds that a small build takes


@pytest.fixture(scope="session")
def kill_a_build():
    """Starts a build of a project and kills it after so many usual builds' time."""
    server: list[Server] = []

    def kill(project: Path, after: float) -> None:
        if not server:
            server.append(Server())
        pid = server[0].start("build", project=str(project))
        time.sleep(after * USUAL)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        said = server[0].hear()
        assert "status" in said or "status" in server[0].hear()

    yield kill
    for one in server:
        one.stop()
