"""Every store there is, each empty, for every test that asks for ``store``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlforge.online.base import Store, open_store
from tests.online.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORES = ("sqlite", "redis")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), "--appendonly", "no")
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be killed."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture(params=STORES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The section ``online`` of a profile, for each kind of store."""
    if request.param == "sqlite":
        return {"kind": "sqlite", "path": str(tmp_path / "online.db")}
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
