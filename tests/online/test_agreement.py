"""What stores answer is what retrieval on the published version gives, at any instant after the publish.

Worlds are those of the oracle: every kind of feature, ties, ends of months, changes of clocks, NULLs. Each is published
to every store, some at once into few points a key; some a second time after the sources changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.online.agreement import check
from tests.oracle.strategies import worlds

if TYPE_CHECKING:
    from pathlib import Path

    from tests.online.servers import MotoServer, RedisCluster, RedisServer
    from tests.oracle.world import World

CASES = 20_000
LONG = 400_000


def compare_worlds(
    folder: Path, server: RedisServer, cluster: RedisCluster, moto: MotoServer, cases: int, draw: int = 0
) -> int:
    """Compare at least so many values, the same in every run; the number that were."""
    compared = 0
    number = 0

    @seed(draw)
    @settings(
        max_examples=cases // 200,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(worlds(), st.integers(0, 2**32))
    def compare(world: World, chance: int) -> None:
        nonlocal compared, number
        if compared >= cases:
            return
        number += 1
        import redis

        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        cluster.flush()
        stores: list[dict[str, Any]] = [
            {"kind": "sqlite", "path": str(folder / f"{number}.db")},
            {"kind": "redis", "url": server.url},
            {"kind": "redis", "url": cluster.url, "cluster": True},
        ]
        if number % 4 == 1:  # a hundred times slower here than the others
            moto.reset()
            stores.append({"kind": "dynamodb", "table": "features", "endpoint": moto.endpoint, "create": True})
        compared += check(world, chance, stores)

    compare()
    return compared


def test_reads_agree_with_retrieval(
    tmp_path: Path,
    redis_server: RedisServer,
    redis_cluster: RedisCluster,
    moto_server: MotoServer,
    record_property: pytest.RecordProperty,
) -> None:
    compared = compare_worlds(tmp_path, redis_server, redis_cluster, moto_server, CASES)
    record_property("cases", compared)
    print(f"{compared} values compared")
    assert compared >= CASES


@pytest.mark.long
@pytest.mark.parametrize("draw", range(1, 5))
def test_many_reads_agree_with_retrieval(
    tmp_path: Path,
    redis_server: RedisServer,
    redis_cluster: RedisCluster,
    moto_server: MotoServer,
    draw: int,
    record_property: pytest.RecordProperty,
) -> None:
    compared = compare_worlds(tmp_path, redis_server, redis_cluster, moto_server, LONG // 4, draw)
    record_property("cases", compared)
    print(f"{compared} values compared")
    assert compared >= LONG // 4
