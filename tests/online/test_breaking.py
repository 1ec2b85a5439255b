"""Publishing while servers and publishers are killed, full, slow or too many: readers see the version before or the new
one, or are told that the store is away; and after a repeat the store answers as if nothing had happened."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlforge.errors import StoreDownError
from mlforge.online import Client, open_store
from tests.online.served import Between, Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlforge.stores.store import Store
    from tests.online.servers import RedisServer

USERS = 2_300
AT = ("2024-03-01T11:58", "2024-03-01T12:30", "2024-03-01T13:00:00.000001")
ROOT = Path(__file__).resolve().parent.parent.parent


class Many(Served):
    """Very many users. Every value of one version is the same number; a different tenth of the users is away in each."""

    def version(self, number: int) -> None:
        """Bring a version into the catalog."""
        self.rows_at_noon(*((k, number) for k in range(USERS) if k % 10 != number % 10))
        self.good()

    def everything(self, store: Store) -> Any:
        """All that readers can see."""
        client = Client(store, "small")
        rows = [{"k": k} for k in range(USERS + 1)]
        return [client.get_online_features(["spend", "newest"], rows, at=at, with_status=True) for at in AT]

    def clean(self) -> Any:
        """All that readers would see if this catalog had been published into an empty store."""
        store = open_store(str(self.root / f"clean{time.monotonic_ns()}.db"))
        self.publish(store=store)
        try:
            return self.everything(store)
        finally:
            store.close()


class Readers:
    """Threads that read until the end of the block, and find only whole versions, one after another."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.wrong: list[Any] = []
        self.versions: set[int] = set()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._read, args=(n,)) for n in range(2)]

    def _read(self, number: int) -> None:
        client = Client(open_store({"kind": "redis", "url": self.url, "timeout": 1}), "small")
        rows = [{"k": k} for k in range(number * 50, number * 50 + 50)]
        last = 0
        while not self.stop.is_set():
            try:
                found = client.get_online_features(["spend", "newest"], rows, at=AT[1])
            except StoreDownError:
                time.sleep(0.01)
                continue
            seen = {row["x"] for row in found} | {row["spend_1h"] for row in found}
            version = max(seen - {None})
            there = [row for row in found if row["k"] % 10 != version % 10]
            if seen - {None} != {version} or version < last or any(row["x"] is None for row in there):
                self.wrong.append(found)
            last = version
            self.versions.add(version)
            time.sleep(0.005)
        client.close()

    def __enter__(self) -> Readers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def many(tmp_path: Path, own_redis: RedisServer) -> Iterator[Many]:
    made = Many(tmp_path / "project", open_store({"kind": "redis", "url": own_redis.url, "timeout": 1}))
    made.version(1)
    made.publish()
    yield made
    made.store.close()


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.long)])
def test_redis_is_killed_again_and_again(many: Many, own_redis: RedisServer, kills: int) -> None:
    chance = random.Random(kills)
    many.version(2)
    began = time.monotonic()
    many.publish()
    usual = time.monotonic() - began
    failures: list[tuple[int, str]] = []

    def kill(restarted: threading.Event) -> None:
        time.sleep(chance.uniform(0, usual))
        own_redis.kill()
        time.sleep(0.2)
        own_redis.start()
        restarted.set()

    with Readers(own_redis.url) as readers:
        for number in range(3, kills + 3):
            many.version(number)
            restarted = threading.Event()
            threading.Thread(target=kill, args=(restarted,)).start()
            try:
                many.publish(patience=0.0 if number % 2 else 30.0)
            except StoreDownError as error:
                failures.append((number % 2, error.message.partition(": ")[0]))
            assert restarted.wait(30)
            many.publish()
            assert many.everything(many.store) == many.clean()
    assert not readers.wrong
    assert len(readers.versions) > 1
    place = own_redis.url.removesuffix("/0")
    assert set(failures) <= {(1, f"Redis at {place}/0 does not answer as it should")}


def test_redis_is_full_in_the_middle_of_a_publish(many: Many, own_redis: RedisServer) -> None:
    old = many.everything(many.store)
    many.version(2)
    used = int(str(own_redis.call("INFO", "MEMORY")).partition("used_memory:")[2].split()[0])
    own_redis.call("CONFIG", "SET", "maxmemory", used + 200_000)
    with Readers(own_redis.url) as readers:
        with pytest.raises(StoreDownError) as caught:
            many.publish(full=True)
        assert caught.value.hint == "its memory is full: raise maxmemory, or publish less"
        assert many.everything(many.store) == old
        own_redis.call("CONFIG", "SET", "maxmemory", 0)
        assert many.publish(full=True).resumed
    assert many.everything(many.store) == many.clean()
    assert not readers.wrong


@pytest.mark.parametrize("patience", [0.0, 30.0])
def test_redis_is_slow_in_the_middle_of_a_publish(many: Many, own_redis: RedisServer, patience: float) -> None:
    """Longer than a call may take. What the server does late, after nobody waits for it any more, does no harm."""
    many.version(2)
    slow = Between(many.store, 3, lambda: own_redis.call("CLIENT", "PAUSE", 5_000))
    with Readers(own_redis.url) as readers:
        if patience:
            many.publish(store=slow, patience=patience)
        else:
            with pytest.raises(StoreDownError, match="does not answer as it should: Timeout"):
                many.publish(store=slow, patience=patience)
            assert many.publish(patience=30.0).resumed
    assert many.everything(many.store) == many.clean()
    assert not readers.wrong


class Publisher:
    """tests/online/publisher.py, in a process of its own."""

    def __init__(self, served: Served, settings: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "tests.online.publisher", str(served.root), json.dumps(settings)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self) -> None:
        """Let it publish; returns when it does."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.answer() == "begins"

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate(timeout=60)


def settings_of(name: str, tmp_path: Path, own_redis: RedisServer) -> dict[str, Any]:
    if name == "redis":
        return {"kind": "redis", "url": own_redis.url}
    return {"kind": "sqlite", "path": str(tmp_path / "online.db")}


@pytest.mark.parametrize("name", ["redis", "sqlite"])
@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.long)])
def test_a_publishing_process_is_killed(tmp_path: Path, own_redis: RedisServer, name: str, kills: int) -> None:
    chance = random.Random(kills)
    settings = settings_of(name, tmp_path, own_redis)
    many = Many(tmp_path / "project", open_store(settings))
    many.version(1)
    began = time.monotonic()
    many.publish()
    usual = time.monotonic() - began
    for number in range(2, kills + 2):
        old = many.everything(many.store)
        many.version(number)
        new = many.clean()
        publisher = Publisher(many, settings)
        publisher.begin()
        time.sleep(chance.uniform(0, usual))
        publisher.end(kill=True)
        assert many.everything(many.store) in (old, new)
        many.publish(full=True, force=True)
        assert many.everything(many.store) == new
    many.store.close()


@pytest.mark.parametrize("name", ["redis", "sqlite"])
@pytest.mark.parametrize("races", [3, pytest.param(60, marks=pytest.mark.long)])
def test_two_publishing_processes_race(tmp_path: Path, own_redis: RedisServer, name: str, races: int) -> None:
    settings = settings_of(name, tmp_path, own_redis)
    one = Many(tmp_path / "one", open_store(settings))
    one.version(1)
    one.publish()
    two = Many(tmp_path / "two", one.store)
    shutil.copy(one.catalog, two.catalog)
    one.version(2)
    two.version(3)
    ends = [one.clean(), two.clean()]
    publishers = [Publisher(one, settings), Publisher(two, settings)]
    for _ in range(races):
        for publisher in publishers:
            publisher.begin()
        answers = [publisher.answer() for publisher in publishers]
        found = one.everything(one.store)
        assert found in ends
        lost = "online: another publish to this store began later and went ahead"
        assert all(a.startswith("generation ") or a == lost for a in answers), answers
        assert any(a.startswith("generation ") for a in answers)
    for publisher in publishers:
        publisher.end()
    one.store.close()
