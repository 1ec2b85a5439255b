"""A server under load, while its store dies, hangs, is locked or replaced, while new versions come, and while it ends:
nothing that is answered is wrong, what is not answered is a 503 or a 504, and all is well again by itself."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import mlforge as mlf
from mlforge.building.options import BuildOptions, Selection
from mlforge.stores.opening import open_store
from tests.serve.load import MIXED, RIGHT, STALE, WRONG, Load, Stages
from tests.serve.pulse import Pulse, Stage
from tests.serve.raw import Answer, Connection, request
from tests.serve.server import Server, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.online.servers import RedisServer

USERS = 600
RATE = 120.0
SOON = 1.5
"""Seconds after which a server must have found its store again."""


class Live:
    """A project that is published again and again."""

    def __init__(self, root: Path, url: str) -> None:
        self.url = url
        self.pulse = Pulse(root, USERS)
        self.stages = Stages([])
        self.publish(Stage(0, 1))

    def publish(self, stage: Stage, url: str | None = None) -> None:
        """Build and publish a stage."""
        self.stages.begin(stage)
        self.pulse.write(stage)
        forge = mlf.open(self.pulse.project.root)
        assert not forge.build(Selection(), BuildOptions(upgrade_sets=True)).failed
        with closing(open_store(url or self.url)) as store:
            forge.publish(store=store)
        if url is None:
            self.stages.end()

    def load(self, server: Server, **more: Any) -> Load:
        return Load(server.url, self.pulse, self.stages, **{"rate": RATE, **more})


@pytest.fixture
def on_redis(tmp_path: Path, redis: RedisServer) -> Live:
    return Live(tmp_path / "project", redis.url)


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Live:
    return Live(tmp_path / "project", f"sqlite://{tmp_path}/online.db")


def start(starting: Callable[..., Server], live: Live, *more: object) -> Server:
    return starting("--store", live.url, "--namespace", "pulse", *more)


@contextmanager
def stopped(process: Any) -> Iterator[None]:
    """The process stands still."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def wait_for(load: Load, number: int) -> None:
    """Let that many more requests end."""
    wanted = load.total + number
    until(lambda: load.total >= wanted, f"{number} more requests")


def check(load: Load, *allowed: str) -> None:
    """Nothing but right answers and these; some of each."""
    assert set(load.seen.words) == {RIGHT, *allowed}, load.seen.examples
    assert load.seen.words[RIGHT] > load.total / 10


def test_the_checker_knows_what_is_wrong(on_sqlite: Live) -> None:
    """A load that could not see anything wrong would prove nothing."""
    live = on_sqlite
    load = Load("", live.pulse, Stages([Stage(0, 1), Stage(1, 1), Stage(1, 2)], done=1), rate=1)
    at = live.pulse.base + timedelta(seconds=0.5)
    old, new, flipped = (live.pulse.rows(stage, [1, 4], at) for stage in load.stages.begun)

    def judged(rows: list[dict[str, Any]], possible: range = range(3), at: datetime = at) -> str:
        answer = Answer(200, {}, json.dumps({"rows": rows}).encode())
        return load._judged(answer, [1, 4], (at,), possible)[0]

    assert [judged(rows) for rows in (old, new, flipped)] == [RIGHT] * 3
    assert judged(old, range(1, 3)) == judged(flipped, range(2)) == STALE
    assert judged([old[0], new[1]]) == judged([new[0], flipped[1]]) == MIXED
    assert judged([{**new[0], "b1": old[0]["b1"]}, new[1]]) == MIXED
    assert judged([{**old[0], "a1": 2}, old[1]]) == judged(old[::-1]) == WRONG
    assert judged(old, at=at + timedelta(minutes=51)) == WRONG
    assert load._judged(Answer(500, {}, b'{"error":{}}'), [1], (at,), range(1))[0] == "500"
    assert load._judged(Answer(503, {}, b'{"error":{}}'), [1], (at,), range(1))[0] == WRONG, "no Retry-After"


@pytest.mark.parametrize("workers", [1, 2])
def test_redis_is_killed_and_comes_back(
    on_redis: Live, redis: RedisServer, starting: Callable[..., Server], workers: int
) -> None:
    server = start(starting, on_redis, "--workers", workers)
    with on_redis.load(server) as load:
        wait_for(load, 60)
        redis.kill()
        wait_for(load, 60)
        redis.start()
        time.sleep(SOON)
        soon = time.monotonic()
        wait_for(load, 60)
        assert load.seen.last_bad < soon
    check(load, "503")
    assert server.stop() == 0
    assert "Traceback" not in server.said()


def test_redis_hangs(on_redis: Live, redis: RedisServer, starting: Callable[..., Server]) -> None:
    server = start(starting, on_redis, "--timeout", 0.4)
    with on_redis.load(server, callers=12) as load:
        wait_for(load, 60)
        with stopped(redis.process):
            wait_for(load, 40)
        wait_for(load, 60)
        redis.call("CLIENT", "PAUSE", 1500, "ALL")
        time.sleep(1.5 + SOON)
        soon = time.monotonic()
        wait_for(load, 60)
        assert load.seen.last_bad < soon
    check(load, *{"503", "504"} & set(load.seen.words))
    assert load.seen.words["503"] + load.seen.words["504"] > 40
    assert "Traceback" not in server.said()


def test_a_writer_locks_the_file(on_sqlite: Live, starting: Callable[..., Server], tmp_path: Path) -> None:
    server = start(starting, on_sqlite)
    with on_sqlite.load(server) as load, closing(sqlite3.connect(tmp_path / "online.db", isolation_level=None)) as con:
        con.execute("BEGIN EXCLUSIVE")
        con.execute("DELETE FROM items")
        wait_for(load, 100)
        con.execute("ROLLBACK")
        on_sqlite.publish(Stage(1, 1))
        wait_for(load, 30)
    check(load)
    assert load.seen.stages[1]


def test_the_file_is_replaced(on_sqlite: Live, starting: Callable[..., Server], tmp_path: Path) -> None:
    """By another that was made beside it, as when a node gets its data by copy."""
    server = start(starting, on_sqlite)
    with on_sqlite.load(server) as load:
        for number in (1, 2, 3):
            other = tmp_path / f"other{number}.db"
            on_sqlite.publish(Stage(number, 1 + number // 2), url=f"sqlite://{other}")
            other.replace(tmp_path / "online.db")
            until(lambda wanted=number: load.seen.stages[wanted] > 20, "the other file is read")
            on_sqlite.stages.end()
    check(load)
    assert "Traceback" not in server.said()


@pytest.mark.parametrize("workers", [1, 2])
def test_versions_change_again_and_again(on_redis: Live, starting: Callable[..., Server], workers: int) -> None:
    """Many keys a request: a publish comes in the middle of many of them."""
    server = start(starting, on_redis, "--workers", workers)
    flips = [Stage(1, 1), Stage(1, 2), Stage(2, 2), Stage(2, 3), Stage(3, 4)]
    with on_redis.load(server, rows=(1, 50, 300), rate=50) as load:
        for stage in flips:
            on_redis.publish(stage)
            wait_for(load, 10)
    check(load)
    assert all(load.seen.stages[number] for number in range(len(flips) + 1)), load.seen.stages


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_at_work_ends_before_the_server_does(
    on_redis: Live, redis: RedisServer, starting: Callable[..., Server], workers: int
) -> None:
    """The store stands still until the signal has come, so that every request is at work then."""
    server = start(starting, on_redis, "--workers", workers, "--timeout", 30)
    live = on_redis
    keys, at = list(range(40)), live.pulse.base + timedelta(seconds=0.5)
    body = {"features": ["left", "right"], "entity_rows": [{"k": k} for k in keys], "at": at.isoformat()}
    callers = [Connection(server.url, 60) for _ in range(12)]
    for caller in callers:
        caller.send(request("GET", "/health"))
        assert caller.answer().status == 200
    with stopped(redis.process):
        for caller in callers:
            caller.send(request("POST", "/features/online", json.dumps(body).encode()))
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert server.process.poll() is None
    right = {"rows": live.pulse.rows(Stage(0, 1), keys, at)}
    assert [caller.answer("POST").json() for caller in callers] == [right] * 12
    for caller in callers:
        caller.close()
    assert server.process.wait(30) == 0
    assert "Traceback" not in server.said()


def test_a_load_goes_on_until_the_server_has_ended(on_redis: Live, starting: Callable[..., Server]) -> None:
    server = start(starting, on_redis, "--workers", 2)
    with on_redis.load(server) as load:
        wait_for(load, 60)
        assert set(load.seen.words) == {RIGHT}
        assert server.stop() == 0
        wait_for(load, 10)
    check(load, "lost")
    assert "Traceback" not in server.said()
