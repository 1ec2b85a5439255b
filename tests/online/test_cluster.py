"""A Redis Cluster whose slots move, whose nodes hang, die and are replaced, under a store that is in use."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mlforge.errors import StoreDownError, StoreRefusedError, UsageError
from mlforge.online import AsyncClient, Client, open_store
from mlforge.stores.slots import slot
from mlforge.stores.store import Change
from tests.online.served import Between, Served
from tests.online.servers import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlforge.stores.store import Store
    from tests.online.servers import RedisCluster, RedisServer

NAMES = [b"n%d" % n for n in range(200)]


def settings(cluster: RedisCluster, **more: Any) -> dict[str, Any]:
    return {"kind": "redis", "url": cluster.url, "cluster": True, **more}


def read(store: Store, names: Sequence[bytes]) -> list[bytes | None]:
    return store.read(names)


def aread(store: Store, names: Sequence[bytes]) -> list[bytes | None]:
    async def run() -> list[bytes | None]:
        try:
            return await store.aread(names)
        finally:
            await store.aclose()

    return asyncio.run(run())


def filled(cluster: RedisCluster, **more: Any) -> Store:
    store = open_store(settings(cluster, **more))
    assert all(store.swap([Change(n, None, n) for n in NAMES]))
    return store


@pytest.mark.parametrize("name", ["plain", "{tag}rest", "a{tag}b", "a{}b", "a{", "}a{b}", "{{x}}", "", "é{ü}", "a}b{c"])
def test_slots_are_those_of_the_server(redis_cluster: RedisCluster, name: str) -> None:
    assert slot(name.encode()) == redis_cluster.call(0, "CLUSTER", "KEYSLOT", name)


@pytest.mark.parametrize("place", ["127.0.0.1:{}", "127.0.0.1:{}/0", "localhost:1,127.0.0.1:{}"])
def test_a_cluster_by_its_url(redis_cluster: RedisCluster, place: str) -> None:
    redis_cluster.flush()
    store = open_store("redis+cluster://" + place.format(redis_cluster.nodes[2].port))
    assert all(store.swap([Change(n, None, n) for n in NAMES]))
    assert store.read(NAMES) == NAMES
    status = store.status()
    assert (status["kind"], status["nodes"], status["names"], status["eviction"]) == ("redis", 3, 200, "noeviction")
    store.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "redis://here:7000/1"}, "a cluster has neither sockets nor databases"),
        ({"url": "unix:///run/redis.sock"}, "a cluster has neither sockets nor databases"),
        ({"url": "redis://here:7000,there:port"}, "is not a host and a port"),
        ({"options": {"client_name": "me"}}, "unknown options client_name; known: password, ssl_ca_certs"),
    ],
)
def test_settings_that_do_not_fit_a_cluster(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store({"kind": "redis", "cluster": True, **given})
    assert message in caught.value.message


@pytest.mark.parametrize("get", [read, aread])
def test_a_server_that_is_no_cluster(redis_server: RedisServer, get: Any) -> None:
    store = open_store({"kind": "redis", "url": redis_server.url, "cluster": True})
    with pytest.raises(StoreRefusedError, match=r"Redis at redis://127\.0\.0\.1:\d+/0 is not a cluster") as caught:
        get(store, NAMES)
    assert caught.value.hint == "leave cluster: true away"


def test_a_cluster_without_the_setting(redis_cluster: RedisCluster) -> None:
    store = open_store(redis_cluster.url)
    calls: list[Any] = [lambda n=n: store.read([n]) for n in NAMES[:20]]  # some are elsewhere
    calls += [lambda n=n: store.swap([Change(n, None, b"1")]) for n in NAMES[:20]]
    for call in (lambda: store.read(NAMES), lambda: aread(store, NAMES), lambda: [c() for c in calls]):
        with pytest.raises(StoreRefusedError, match="is a node of a cluster") as caught:
            call()
        assert caught.value.hint == "set cluster: true"
    store.close()


@pytest.mark.parametrize("get", [read, aread])
def test_a_slot_that_moves_while_it_is_used(redis_cluster: RedisCluster, get: Any) -> None:
    """Before, while some of its keys are here and some there, after, and back again."""
    redis_cluster.flush()
    store = filled(redis_cluster)
    tagged = [b"{moves}%d" % n for n in range(10)]
    assert all(store.swap([Change(n, None, b"0") for n in tagged]))
    number = slot(b"moves")
    source = next(n for n in range(3) if redis_cluster.call(n, "CLUSTER", "COUNTKEYSINSLOT", number))
    target = (source + 1) % 3
    held = b"0"
    for origin, place in ((source, target), (target, source)):
        redis_cluster.call(place, "CLUSTER", "SETSLOT", number, "IMPORTING", redis_cluster.id(origin))
        redis_cluster.call(origin, "CLUSTER", "SETSLOT", number, "MIGRATING", redis_cluster.id(place))
        for name in (*tagged[5:], *tagged[:5]):
            redis_cluster.call(origin, "MIGRATE", "127.0.0.1", redis_cluster.nodes[place].port, name, 0, 5000)
            assert get(store, [*tagged, *NAMES, b"{moves}none"]) == [held] * 10 + NAMES + [None]
            new = b"%d" % (int(held) + 1)
            assert store.swap([Change(n, held, new) for n in tagged]) == [True] * 10
            assert store.swap([Change(n, held, new) for n in tagged]) == [False] * 10
            held = new
        assert store.swap([Change(b"{moves}new", None, b"1")]) == [True]
        assert store.swap([Change(b"{moves}new", b"1", None)]) == [True]
        for node in (place, origin, 3 - origin - place):
            redis_cluster.call(node, "CLUSTER", "SETSLOT", number, "NODE", redis_cluster.id(place))
        assert get(store, [*tagged, *NAMES]) == [held] * 10 + NAMES
    assert sorted(n for part in store.scan(b"{moves}") for n in part) == tagged
    store.close()


def test_a_node_is_killed_and_comes_back(own_cluster: RedisCluster) -> None:
    store = filled(own_cluster)
    assert aread(store, NAMES) == NAMES
    own_cluster.nodes[1].kill()
    for call in (lambda: store.read(NAMES), lambda: aread(store, NAMES), lambda: swap_all(store), store.status):
        with pytest.raises(StoreDownError, match=r"Redis at redis://127\.0\.0\.1:\d+ does not answer as it should"):
            call()
    own_cluster.nodes[1].start()
    until(own_cluster.is_ready)
    assert store.read(NAMES) == aread(store, NAMES) == NAMES
    assert swap_all(store) == [True] * 200
    store.close()


def swap_all(store: Store) -> list[bool]:
    return store.swap([Change(n, n, n) for n in NAMES])


def test_a_replica_takes_the_place_of_a_node_that_died(own_cluster: RedisCluster) -> None:
    store = filled(own_cluster)

    def is_primary() -> bool:
        return "role:master" in own_cluster.call(3, "INFO", "REPLICATION") and own_cluster.is_ready()

    until(lambda: own_cluster.call(3, "DBSIZE") == own_cluster.call(0, "DBSIZE"))
    own_cluster.nodes[0].kill()  # which the settings name
    until(is_primary)
    assert store.read(NAMES) == aread(store, NAMES) == NAMES
    assert swap_all(store) == [True] * 200
    assert store.status()["names"] == 200
    store.close()


@pytest.mark.parametrize("get", [read, aread])
def test_a_node_that_hangs(own_cluster: RedisCluster, get: Any) -> None:
    store = filled(own_cluster, timeout=1)
    assert get(store, NAMES) == NAMES
    process = own_cluster.nodes[2].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreDownError, match="does not answer as it should: timed out"):
            get(store, NAMES)
    finally:
        process.send_signal(signal.SIGCONT)
    until(own_cluster.is_ready)
    assert get(store, NAMES[::-1]) == NAMES[::-1]  # not the answers to the question before
    store.close()


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_a_node_is_killed_in_the_middle_of_a_publish(
    tmp_path: Path, own_cluster: RedisCluster, patience: float
) -> None:
    served = Served(tmp_path / "project", open_store(settings(own_cluster)))
    served.rows_at_noon(*((k, 1) for k in range(50)))
    served.good()
    served.publish()
    served.rows_at_noon(*((k, 2) for k in range(50)))
    served.good()

    def kill() -> None:
        own_cluster.nodes[1].kill()
        if patience:
            threading.Timer(0.5, own_cluster.nodes[1].start).start()

    def seen() -> set[int]:
        return {row[c] for row in served.get(["spend", "newest"], *range(50)) for c in ("x", "spend_1h")}

    slow = Between(served.store, 3, kill)
    if patience:
        served.publish(store=slow, patience=patience)
    else:
        with pytest.raises(StoreDownError, match="does not answer as it should"):
            served.publish(store=slow)
        own_cluster.nodes[1].start()
        until(own_cluster.is_ready)
        assert seen() == {1}
        assert served.publish().resumed
    assert seen() == {2}
    served.store.close()


def test_answers_never_mix_versions_while_slots_move(tmp_path: Path, redis_cluster: RedisCluster) -> None:
    """A publisher moves the head again and again, and a slot wanders, while threads and an event loop read."""
    redis_cluster.flush()
    served = Served(tmp_path / "project", open_store(settings(redis_cluster)))
    served.rows_at_noon(*((k, 0) for k in range(20)))
    served.good()
    served.publish()
    stop = threading.Event()
    wrong: list[Any] = []
    counts = [0, 0]

    def check(rows: list[dict[str, Any]], number: int) -> None:
        if len({row["x"] for row in rows} | {row["spend_1h"] for row in rows}) != 1:
            wrong.append(rows)
        counts[number] += 1

    asked: Any = (["spend", "newest"], [{"k": k} for k in range(20)])

    def in_thread() -> None:
        client = Client(settings(redis_cluster), "small")
        while not stop.is_set():
            check(client.get_online_features(*asked, at="2024-03-01T12:30"), 0)
        client.close()

    async def in_loop() -> None:
        client = AsyncClient(settings(redis_cluster), "small")
        while not stop.is_set():
            check(await client.get_online_features(*asked, at="2024-03-01T12:30"), 1)
        await client.close()

    threads = [threading.Thread(target=in_thread), threading.Thread(target=lambda: asyncio.run(in_loop()))]
    for thread in threads:
        thread.start()
    try:
        for version in range(1, 5):
            served.rows_at_noon(*((k, version) for k in range(20)))
            served.good()
            wander(redis_cluster, served.names()[version])
            served.publish()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert min(counts) > 5
    served.store.close()


def wander(cluster: RedisCluster, name: bytes) -> None:
    """Move the slot of a name to the next node, and leave it there."""
    number = slot(name)
    source = next(n for n in range(3) if cluster.call(n, "CLUSTER", "COUNTKEYSINSLOT", number))
    target = (source + 1) % 3
    cluster.call(target, "CLUSTER", "SETSLOT", number, "IMPORTING", cluster.id(source))
    cluster.call(source, "CLUSTER", "SETSLOT", number, "MIGRATING", cluster.id(target))
    while names := cluster.call(source, "CLUSTER", "GETKEYSINSLOT", number, 10):
        for held in names:
            cluster.call(source, "MIGRATE", "127.0.0.1", cluster.nodes[target].port, held, 0, 5000)
    for node in (target, source, 3 - source - target):
        cluster.call(node, "CLUSTER", "SETSLOT", number, "NODE", cluster.id(target))
