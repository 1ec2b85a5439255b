"""Every store there is, each empty, for every test that asks for ``store``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlforge.stores.opening import open_store
from tests.online.servers import MotoServer, RedisCluster, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlforge.stores.store import Store

STORES = ("sqlite", "redis", "cluster", "dynamodb")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), "--appendonly", "no")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"), "--appendonly", "no")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    server = MotoServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of nobody."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be killed."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """A cluster of the test's own, with a replica of its first node."""
    cluster = RedisCluster(tmp_path / "cluster", replicas=1)
    yield cluster
    cluster.stop()


@pytest.fixture(params=STORES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The section ``online`` of a profile, for each kind of store."""
    if request.param == "sqlite":
        return {"kind": "sqlite", "path": str(tmp_path / "online.db")}
    if request.param == "dynamodb":
        moto: MotoServer = request.getfixturevalue("moto_server")
        moto.reset()
        return {"kind": "dynamodb", "table": "features", "endpoint": moto.endpoint, "create": True}
    if request.param == "cluster":
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        return {"kind": "redis", "url": cluster.url, "cluster": True}
    server: RedisServer = request.getfixturevalue("redis_server")
    found = {"kind": "redis", "url": server.url}
    import redis

    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return found


@pytest.fixture
def store(settings: dict[str, Any]) -> Iterator[Store]:
    made = open_store(settings)
    yield made
    made.close()
