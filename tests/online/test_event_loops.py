"""Stores and clients in event loops: many requests at once, callers that leave, stores that make one wait."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis

from mlforge.errors import StoreDownError
from mlforge.online import AsyncClient
from mlforge.stores.opening import open_store
from mlforge.stores.redis import RedisStore
from mlforge.stores.sqlite import SQLiteStore
from mlforge.stores.store import Change
from tests.online.served import Served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mlforge.stores.store import Store
    from tests.online.servers import RedisServer

NAMES = [b"n%d" % n for n in range(2_000)]


def filled(store: Any) -> Any:
    store.swap([Change(name, None, name * 3) for name in NAMES])
    return store


def in_loop(store: Store, work: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        try:
            return await work()
        finally:
            await store.aclose()

    return asyncio.run(run())


def test_answers_go_to_those_who_asked(own_redis: RedisServer) -> None:
    """Small and large reads at once, some of which are given up while they are on their way."""
    store = filled(RedisStore(own_redis.url))

    async def one(number: int) -> None:
        names = NAMES[number : number + (1_000 if number % 50 == 0 else 3)]
        assert await store.aread([*names, b"none"]) == [*(n * 3 for n in names), None]

    async def work() -> int:
        tasks = [asyncio.create_task(one(number)) for number in range(1_000)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(d, asyncio.CancelledError) for d in done[::3])
        assert not [d for d in (*done[1::3], *done[2::3]) if d is not None]
        with redis.Redis.from_url(own_redis.url) as client:
            return int(client.info("clients")["connected_clients"])

    assert in_loop(store, work) <= 4, "two of the store's event loop, one of its writer, one that counts"


def test_a_server_that_is_silent_is_away_and_a_late_answer_is_nobodys(own_redis: RedisServer) -> None:
    store = filled(RedisStore(own_redis.url, timeout=0.3))

    async def work() -> None:
        assert await store.aread([b"n1"]) == [b"n1n1n1"]
        assert own_redis.process is not None
        own_redis.process.send_signal(signal.SIGSTOP)
        try:
            silent = await asyncio.gather(*(store.aread([n]) for n in NAMES[:20]), return_exceptions=True)
        finally:
            own_redis.process.send_signal(signal.SIGCONT)
        assert {str(error).partition("\n")[0].rpartition(": ")[2] for error in silent} == {"no answer in 0.3 s"}
        assert all(isinstance(error, StoreDownError) for error in silent)
        assert await store.aread([b"n2"]) == [b"n2n2n2"]

    in_loop(store, work)


def test_a_server_that_was_restarted_is_found_again(own_redis: RedisServer) -> None:
    store = filled(RedisStore(own_redis.url))

    async def work() -> None:
        assert await store.aread([b"n1"]) == [b"n1n1n1"]
        own_redis.kill()
        away = await asyncio.gather(*(store.aread([b"n1"]) for _ in range(10)), return_exceptions=True)
        assert all(isinstance(error, StoreDownError) for error in away)
        own_redis.start()
        assert await asyncio.gather(*(store.aread([b"n1"]) for _ in range(10))) == [[b"n1n1n1"]] * 10
        own_redis.kill()
        own_redis.start()
        assert await asyncio.gather(*(store.aread([b"n1"]) for _ in range(10))) == [[b"n1n1n1"]] * 10

    in_loop(store, work)


def test_users_passwords_and_databases(tmp_path: Path) -> None:
    from tests.online.servers import RedisServer

    server = RedisServer(tmp_path, "--requirepass", "open sesame")
    try:
        url = server.url.replace("//", "//:open%20sesame@").replace("/0", "/3")
        store = filled(RedisStore(url))
        assert in_loop(store, lambda: store.aread([b"n1"])) == [b"n1n1n1"]
        for wrong in (server.url, server.url.replace("//", "//:sesame@")):
            other = RedisStore(wrong)
            with pytest.raises(StoreDownError, match="refuses the user or password") as caught:
                in_loop(other, lambda other=other: other.aread([b"n1"]))  # type: ignore[misc]
            assert "sesame" not in str(caught.value)
    finally:
        server.stop()


def test_a_locked_file_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    store = filled(SQLiteStore(tmp_path / "online.db", timeout=30))
    store.close()
    locker = sqlite3.connect(tmp_path / "online.db", isolation_level=None, check_same_thread=False)
    locker.execute("PRAGMA locking_mode=EXCLUSIVE")
    locker.execute("BEGIN EXCLUSIVE")

    async def work() -> list[str]:
        happened: list[str] = []

        async def read() -> None:
            assert await store.aread([b"n1"]) == [b"n1n1n1"]
            happened.append("read")

        waiting = [asyncio.create_task(read()) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0.01)
        happened.append("the loop went on")
        locker.execute("COMMIT")
        locker.close()
        await asyncio.gather(*waiting)
        return happened

    assert in_loop(store, work) == ["the loop went on", "read", "read", "read"]


def test_a_file_that_is_locked_for_too_long_is_a_store_that_is_away(tmp_path: Path) -> None:
    filled(SQLiteStore(tmp_path / "online.db")).close()
    locker = sqlite3.connect(tmp_path / "online.db", isolation_level=None)
    locker.execute("PRAGMA locking_mode=EXCLUSIVE")
    locker.execute("BEGIN EXCLUSIVE")
    store = SQLiteStore(tmp_path / "online.db", timeout=0.1)
    with pytest.raises(StoreDownError, match="database is locked"):
        in_loop(store, lambda: store.aread([b"n1"]))
    locker.close()


def test_a_file_that_was_made_anew_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlforge.stores.sqlite.LOOK", 0.0)
    path = tmp_path / "online.db"
    store = filled(SQLiteStore(path))

    async def work() -> None:
        assert await store.aread([b"n1"]) == store.read([b"n1"]) == [b"n1n1n1"]
        for file in tmp_path.glob("online.db*"):
            file.unlink()
        assert await store.aread([b"n1"]) == store.read([b"n1"]) == [None]
        other = SQLiteStore(path)
        other.swap([Change(b"n1", None, b"new")])
        other.close()
        assert await store.aread([b"n1"]) == store.read([b"n1"]) == [b"new"]

    in_loop(store, work)


class Counting:
    """A store whose reads take a turn of the loop, and that counts the reads of manifests."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.manifests = 0

    async def aread(self, names: list[bytes]) -> list[bytes | None]:
        self.manifests += any(b"/manifest/" in name for name in names)
        await asyncio.sleep(0.001)
        return self.store.read(names)


@pytest.fixture
def served(tmp_path: Path) -> Any:
    store = open_store(f"sqlite://{tmp_path}/online.db")
    project = Served(tmp_path, store)
    project.rows_at_noon((1, 10), (2, 20))
    project.good()
    project.publish()
    yield project
    store.close()


def test_a_hundred_requests_after_a_publish_read_one_manifest(served: Served) -> None:
    store = Counting(served.store)
    client = AsyncClient(store, "small")  # type: ignore[arg-type]

    async def hundred() -> set[tuple[int, int]]:
        rows = [{"k": 1}, {"k": 2}]
        calls = (client.get_online_features("newest", rows, at="2024-03-01T12:30") for _ in range(100))
        return {(a["x"], b["x"]) for a, b in await asyncio.gather(*calls)}

    async def work() -> None:
        assert (await hundred(), store.manifests) == ({(10, 20)}, 1)
        served.rows_at_noon((1, 11), (2, 21))
        served.good()
        served.publish(at="2024-03-01T12:06")
        assert await hundred() == {(11, 21)}
        assert store.manifests <= 3

    asyncio.run(work())


def test_one_who_leaves_takes_nobody_along(served: Served) -> None:
    client = AsyncClient(Counting(served.store), "small")  # type: ignore[arg-type]

    async def work() -> None:
        first, *others = [
            asyncio.create_task(client.get_online_features("newest", [{"k": 1}], at="2024-03-01T12:30"))
            for _ in range(10)
        ]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == [[{"k": 1, "x": 10}]] * 9

    asyncio.run(work())


def test_many_rows_are_worked_at_in_a_thread_and_counted(served: Served) -> None:
    client = AsyncClient(served.store, "small")
    client.counts = [0] * 5

    async def work() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{"k": n % 4} for n in range(1_000)]
        big, small = await asyncio.gather(
            client.get_online_features("newest", rows, at="2024-03-01T12:30"),
            client.get_online_features("newest", rows[:2], at="2024-03-01T12:30"),
        )
        assert small == big[:2]
        return big

    assert {(row["k"], row["x"]) for row in asyncio.run(work())} == {(0, None), (1, 10), (2, 20), (3, None)}
    assert client.counts == [501, 0, 501, 0, 0]


IMPORTS = """
import asyncio, sys, threading
from importlib.abc import MetaPathFinder
from mlforge.online import AsyncClient

class Watch(MetaPathFinder):
    threads = set()
    def find_spec(self, name, path, target=None):
        if name == "duckdb":
            self.threads.add(threading.current_thread() is threading.main_thread())

async def main():
    client = AsyncClient(sys.argv[1], "small")
    for features in ("spend", "half", "half"):
        sys.meta_path.insert(0, Watch())
        print(features, await client.get_online_features(features, [{"k": 1}], at="2024-03-01T12:30"), Watch.threads)
    await client.close()

asyncio.run(main())
"""


def test_duckdb_is_imported_beside_the_loop(served: Served, tmp_path: Path) -> None:
    served.feature(
        "half",
        '{{ config(entity="user", on_demand=true) }} SELECT s.spend_1h / 2 AS half FROM {{ ref("spend") }} s',
    )
    served.good()
    served.publish()
    command = [sys.executable, "-c", IMPORTS, f"sqlite://{tmp_path}/online.db"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert said == [
        "spend [{'k': 1, 'spend_1h': 10, 'events': 1}] set()",
        "half [{'k': 1, 'half': 5.0}] {False}",
        "half [{'k': 1, 'half': 5.0}] {False}",
    ]
