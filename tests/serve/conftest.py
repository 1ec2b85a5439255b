"""Projects that are published, and servers of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlforge.stores.opening import open_store
from tests.online.served import Served
from tests.online.servers import RedisServer
from tests.serve.server import Server
from tests.serve.shop import publish_shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project of many types, published to SQLite."""
    return publish_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def server(shop: Path) -> Iterator[Server]:
    """A server of it, which no test may disturb."""
    made = Server(shop, "--max-keys", 20, "--max-batch", 30, "--max-features", 5, "--max-body", 20_000)
    yield made
    made.stop()


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers in a folder of the test's own, and ends them."""
    made: list[Server] = []

    def start(*arguments: object, folder: Path = tmp_path, env: dict[str, str] | None = None) -> Server:
        made.append(Server(folder, *arguments, env=env))
        return made[-1]

    yield start
    for server in made:
        server.stop()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be killed."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture
def served(tmp_path: Path, redis: RedisServer) -> Iterator[Served]:
    """A small project, built, with two users; it is to be published to that server."""
    store: Any = open_store(redis.url)
    project = Served(tmp_path / "small", store)
    project.rows_at_noon((1, 10), (2, 20))
    project.good()
    yield project
    store.close()
