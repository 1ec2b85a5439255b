"""Running a server: one socket, one or more workers, and an end without loss when SIGTERM or SIGINT comes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from mlforge.errors import OnlineError, UsageError
from mlforge.serve.logs import log_config
from mlforge.serve.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from mlforge.serve.server_settings import ServeSettings

BACKLOG = 2048
KEEP_ALIVE = 65
"""Seconds that an idle connection stays open: longer than the 60 of usual load balancers, so that they close first."""


def serve(
    settings: ServeSettings,
    *,
    host: str,
    port: int,
    workers: int,
    grace: int,
    notify: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve until a signal comes; requests that are at work then have ``grace`` seconds to end.

    ``notify`` gets the address as soon as connections are taken. Raises UsageError for settings that do not fit and
    for an address that cannot be listened on, OnlineError if the server does not start."""
    settings.check()
    listening = _listen(host, port)
    config = uvicorn.Config(
        partial(_worker, settings),
        factory=True,
        workers=workers,
        lifespan="on",
        log_config=log_config(settings),
        log_level=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace,
        timeout_keep_alive=KEEP_ALIVE,
        backlog=BACKLOG,
        http=Protocol,
        ws="none",
    )
    with listening:
        notify(_url(listening))
        started = _one(config, listening) if workers == 1 else _several(config, listening)
    if not started:
        raise OnlineError("the server did not start", hint="the lines above say why")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(family)
    except OSError as error:
        raise UsageError(f"{host} is no address to listen on: {error.strerror}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.set_inheritable(True)
    except (OSError, OverflowError) as error:
        made.close()
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot listen on {host}:{port}: {why}", hint="--port 0 takes a port that is free") from error
    return made


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _one(config: uvicorn.Config, listening: socket.socket) -> bool:
    server = uvicorn.Server(config)

    def stop(*_: Any) -> None:  # uvicorn raises the signal anew once it has shut down, and this must not kill
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run([listening])
    except SystemExit as error:
        if error.code == STARTUP_FAILURE:
            return False
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return server.started


def _several(config: uvicorn.Config, listening: socket.socket) -> bool:
    with _numbers_together():
        supervisor = _Supervisor(config, [listening])
        supervisor.run()
        return all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)


class _Supervisor(Multiprocess):
    def terminate_all(self) -> None:
        """Ends the workers. The socket is closed first: nobody would answer who gets in while they end."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


@contextmanager
def _numbers_together() -> Iterator[None]:
    """A folder in which workers put their numbers for Prometheus."""
    name = "PROMETHEUS_MULTIPROC_DIR"
    before, folder = os.environ.get(name), tempfile.mkdtemp(prefix="mlforge-metrics-")
    os.environ[name] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _worker(settings: ServeSettings) -> FastAPI:
    """The application of one process, which ends when the process that started it is gone."""
    from prometheus_client import disable_created_metrics

    from mlforge.serve.app import make_app

    disable_created_metrics()  # type: ignore[no-untyped-call]
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True, name="mlforge-parent").start()
    return make_app(settings)


def _follow(parent: int) -> None:
    wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)
