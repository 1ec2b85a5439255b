"""A server over time: publishes and builds beside it, a store that goes away and comes back, signals, several workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.serve.server import Server, until

if TYPE_CHECKING:
    from tests.online.served import Served
    from tests.online.servers import RedisServer

NOON_30 = "2024-03-01T12:30"
Starting = Any  # Callable[..., Server]


def store(redis: RedisServer, *more: object) -> tuple[object, ...]:
    return ("--store", redis.url, "--namespace", "small", *more)


def events(server: Server, k: int = 1) -> Any:
    (row,) = server.rows("spend:events", {"k": k}, at=NOON_30)
    return row["events"]


def ask(server: Server) -> httpx.Response:
    return server.post("/features/online", {"features": "spend", "entity_rows": [{"k": 1}], "at": NOON_30})


def test_publishes_are_seen_without_a_restart(served: Served, redis: RedisServer, starting: Starting) -> None:
    server = starting(*store(redis))
    assert server.get("/health").status_code == 200
    answer = server.get("/ready")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert "nothing is published as 'small'" in answer.json()["error"]["message"]
    assert answer.headers["retry-after"] == "1"
    assert (ask(server).status_code, ask(server).json()["error"]["code"]) == (404, "not_published")
    assert server.get("/features").status_code == 404
    assert (server.number("mlforge_store_up"), server.number("mlforge_publish_generation")) == (1, 0)
    served.publish()
    assert events(server) == 1
    assert server.get("/ready").json()["generation"] == 1
    served.rows_at_noon((1, 10), (1, 5), (2, 20), (3, 7))
    served.good()
    assert events(server) == 1
    served.publish(at="2024-03-01T12:06")
    assert (events(server), events(server, 3)) == (2, 1)
    served.feature(
        "newest", served.root.joinpath("features/newest.sql").read_text().replace("x FROM", "x + 1 AS x FROM")
    )
    served.good()
    served.publish(at="2024-03-01T12:07")
    assert server.rows("newest", {"k": 3}, at=NOON_30) == [{"k": 3, "x": 8}]
    found = server.get("/features/newest").json()["features"]  # the feature set stays on the first MAJOR
    assert [(f["version"], f["current"]) for f in found] == [("1.0.1", False), ("2.0.0", True)]
    assert server.number("mlforge_publish_generation") == 3


def test_builds_go_on_beside_it_and_it_opens_no_catalog(served: Served, redis: RedisServer, starting: Starting) -> None:
    served.publish()
    config = served.root / "mlforge.yaml"
    profiles = f"profiles:\n  dev: {{online: {{kind: redis, url: '{redis.url}'}}}}\n"
    config.write_text(config.read_text() + profiles)
    server = starting("--profile", "dev", folder=served.root)
    assert events(server) == 1
    for number in range(3):
        served.rows_at_noon((1, 10), (1, number))
        assert served.good()
        assert events(server) == 1
    opened = [str(f.readlink()) for f in Path(f"/proc/{server.process.pid}/fd").iterdir() if f.exists()]
    assert not [path for path in opened if "catalog" in path]
    lines = Path(f"/proc/{server.process.pid}/maps").read_text().splitlines()
    mapped = {Path(line.split(maxsplit=5)[5]).name for line in lines if len(line.split(maxsplit=5)) == 6}
    assert not [name for name in mapped if "duckdb" in name or "arrow" in name]


def test_a_store_that_dies_and_comes_back(served: Served, redis: RedisServer, starting: Starting) -> None:
    served.publish()
    server = starting(*store(redis))
    assert events(server) == 1
    redis.kill()
    for answer in (ask(server), ask(server), server.get("/features"), server.get("/ready")):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "store_down"
        assert str(redis.port) not in answer.text
    assert server.get("/health").status_code == 200
    assert server.number("mlforge_store_up") == 0
    assert server.number("mlforge_store_errors_total") >= 4
    redis.start()
    assert events(server) == 1
    assert server.get("/ready").status_code == 200
    assert server.number("mlforge_store_up") == 1
    assert "Traceback" not in server.said()


def test_a_server_that_is_up_before_its_store(served: Served, redis: RedisServer, starting: Starting) -> None:
    served.publish()
    redis.kill()
    server = starting(*store(redis))
    assert (server.get("/health").status_code, server.get("/ready").status_code) == (200, 503)
    assert ask(server).status_code == 503
    redis.start()
    assert events(server) == 1


def test_a_store_that_hangs(served: Served, redis: RedisServer, starting: Starting) -> None:
    """Answers that come after a caller has left go to nobody else."""
    served.publish()
    quick, patient = starting(*store(redis, "--timeout", 0.3)), starting(*store(redis, "--timeout", 30))
    assert events(quick) == events(patient) == 1
    assert redis.process is not None
    redis.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(3):
            answer = ask(quick)
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        answer = ask(patient)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_down")
        assert quick.get("/health").status_code == 200
    finally:
        redis.process.send_signal(signal.SIGCONT)
    for k in (1, 2, 3):
        until(lambda: ask(quick).status_code == 200, "the store answers")
        assert events(quick, k) == events(patient, k) == (0 if k == 3 else 1)


def half_sent(server: Server, body: bytes) -> socket.socket:
    """A request whose handler waits for the second half of its body."""
    host, port = server.url.removeprefix("http://").split(":")
    raw = socket.create_connection((host, int(port)), timeout=30)
    raw.sendall(
        b"POST /features/online HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body)
    )
    assert raw.recv(100).startswith(b"HTTP/1.1 100")
    raw.sendall(body[: len(body) // 2])
    return raw


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_at_work_end_before_the_server_does(
    served: Served, redis: RedisServer, starting: Starting, workers: int, number: int
) -> None:
    served.publish()
    server = starting(*store(redis, "--workers", workers, "--timeout", 30))
    asked = {"features": "spend:events", "entity_rows": [{"k": 1}], "at": NOON_30}
    body = json.dumps(asked).encode()
    with half_sent(server, body) as raw:
        server.process.send_signal(number)
        until(lambda: refused(server), "no more connections are taken")
        raw.sendall(body[len(body) // 2 :])
        answer = b""
        while more := raw.recv(10_000):
            answer += more
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'{"rows":[{"k":1,"events":1}]}')
    assert server.process.wait(30) == 0
    assert "Traceback" not in server.said()


def refused(server: Server) -> bool:
    host, port = server.url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_request_that_does_not_end_is_cut_off_after_the_grace(
    served: Served, redis: RedisServer, starting: Starting
) -> None:
    served.publish()
    server = starting(*store(redis, "--timeout", 60, "--grace", 0))
    with half_sent(server, b"0123456789"):
        assert server.stop() == 0


def test_a_body_that_does_not_come_is_not_waited_for(served: Served, redis: RedisServer, starting: Starting) -> None:
    server = starting(*store(redis, "--timeout", 0.2))
    with half_sent(server, b"0123456789") as raw:
        assert raw.recv(1000).startswith(b"HTTP/1.1 408")


def test_workers_count_together_and_are_replaced(
    served: Served, redis: RedisServer, starting: Starting, tmp_path: Path
) -> None:
    served.publish()
    server = starting(*store(redis, "--workers", 2), env={"TMPDIR": str(tmp_path)})

    def count() -> float:
        return server.number("mlforge_request_seconds_count", route="/features/online", status="200")

    def ask_on_new_connections(number: int) -> None:
        for _ in range(number):
            with httpx.Client(base_url=server.url, trust_env=False) as client:
                body = {"features": "spend", "entity_rows": [{"k": 1}, {"k": 9}], "at": NOON_30}
                assert client.post("/features/online", json=body).status_code == 200

    ask_on_new_connections(20)
    workers = until(lambda: len(server.children()) == 2 and server.children(), "two workers")
    assert count() == 20
    assert server.number("mlforge_values_read_total", status="present") == 20
    assert server.number("mlforge_values_read_total", status="missing") == 20
    assert server.number("mlforge_entity_rows_total") == 40
    os.kill(workers[0], signal.SIGKILL)
    until(lambda: len(set(server.children()) - {workers[0]}) == 2, "another worker")
    ask_on_new_connections(10)
    assert count() == 30
    assert list(tmp_path.glob("mlforge-metrics-*"))
    assert server.stop() == 0
    assert not list(tmp_path.glob("mlforge-metrics-*"))


def test_workers_do_not_outlive_the_process_that_started_them(
    served: Served, redis: RedisServer, starting: Starting
) -> None:
    server = starting(*store(redis, "--workers", 2))
    workers = until(lambda: len(server.children()) == 2 and server.children(), "two workers")
    server.process.kill()
    server.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers end")


def test_many_requests_at_once_over_publishes_and_kills(served: Served, redis: RedisServer, starting: Starting) -> None:
    """Rows of one answer are always of one publish, and what is not answered is a 503."""
    served.publish()
    server = starting(*store(redis))
    seen: list[tuple[int, Any]] = []
    ended = threading.Event()

    def reader() -> None:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            body = {"features": "newest:x", "entity_rows": [{"k": 1}, {"k": 2}], "at": NOON_30}
            while not ended.is_set():
                answer = client.post("/features/online", json=body)
                seen.append((answer.status_code, [row["x"] for row in answer.json().get("rows", [])]))

    readers = [threading.Thread(target=reader) for _ in range(6)]
    for thread in readers:
        thread.start()
    try:
        for number in range(1, 5):
            served.rows_at_noon((1, number), (2, number))
            served.good()
            served.publish(at=f"2024-03-01T12:0{number + 5}")
            if number == 2:
                redis.kill()
                until(lambda: seen[-1][0] == 503, "the store is missed")
                redis.start()
            until(lambda wanted=number: seen[-1] == (200, [wanted, wanted]), "the publish is seen")
    finally:
        ended.set()
        for thread in readers:
            thread.join()
    answers = [tuple(values) for status, values in seen if status == 200]
    assert {status for status, _ in seen} == {200, 503}
    assert set(answers) <= {(10, 20), (1, 1), (2, 2), (3, 3), (4, 4)}


def test_what_cannot_be_served_is_said_at_once(redis: RedisServer, tmp_path: Path) -> None:
    from tests.cli.running import mlforge

    said = mlforge("serve", *store(redis), "--port", redis.port, code=2)
    assert f"cannot listen on 127.0.0.1:{redis.port}: Address already in use" in said.flat
    said = mlforge("serve", *store(redis), "--host", "256.0.0.1", code=2)
    assert "256.0.0.1 is no address to listen on" in said.flat
    said = mlforge("serve", "--store", redis.url, code=2)
    assert "--store needs --namespace" in said.flat
    said = mlforge("serve", "--store", "ridis://x", "--namespace", "small", code=2)
    assert "unknown kind of online store 'ridis' hint: did you mean 'redis'?" in said.flat
    said = mlforge("serve", *store(redis), "--workers", 2, "--log-requests", "/dev/null/here", code=2)
    assert "requests cannot be logged into /dev/null/here" in said.flat
    said = mlforge("-C", tmp_path, "serve", code=1)
    assert "no mlforge.yaml here or above" in said.flat
