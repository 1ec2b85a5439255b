"""A backfill in thirty batches that is killed again and again ends as one that nobody disturbed."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.crash.test_build_kills import NOTHING_LEFT, Server, beside, kill
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = "name: small\nsources:\n  ev: {path: 'data/*.parquet'}\nentities:\n  user: {key: k}\n"
FEATURES = {
    "days": '{{ config(entity="user", timestamp="t", interval="1d") }}\n'
    'SELECT k, t, SUM(x) OVER last_7d AS x7, COUNT(*) OVER last_3d AS n3 FROM {{ source("ev") }}\n',
    "exact": '{{ config(entity="user", timestamp="t") }}\n'
    'SELECT k, t, AVG(x) OVER last_7d AS a7, x AS last_x FROM {{ source("ev") }}\n',
    "of_days": '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x7 FROM {{ ref("days") }}\n',
}
DAYS = 30
LEDGER = "SELECT * EXCLUDE (build) FROM mlforge.intervals ORDER BY ALL"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def project(root: Path, names: tuple[str, ...]) -> Small:
    """Events of thirty days in three files, which do not end where days end; some come late."""
    small = Small(root, CONFIG)
    for name in names:
        small.feature(name, FEATURES[name])
    events = (
        "SELECT i % 5 AS k, TIMESTAMP '2024-03-01' + to_minutes(CAST(i * 53 % 43200 AS BIGINT)) AS t, i * 0.1::DOUBLE AS x "
        f"FROM range({40 * DAYS}) t(i)"
    )
    for part in range(3):
        small.write(
            f"data/{part}.parquet",
            f"FROM ({events}) WHERE (epoch_us(t) // 1000000 // 90000 + (x > 100)::INT) % 3 = {part}",
        )
    return small


def everything(small: Small, names: tuple[str, ...]) -> dict[str, list[str]]:
    """The tables with the PATCH of every row, what is seen of them, the ledger, and the versions."""
    queries = {name: f"FROM store.{name}__1_0 ORDER BY ALL" for name in names}
    queries |= {f"features.{name}": f"FROM features.{name} ORDER BY ALL" for name in names}
    queries |= {"ledger": LEDGER, "versions": "SELECT feature, version, rows FROM mlforge.versions ORDER BY ALL"}
    return {name: [repr(row) for row in small.sql(query)] for name, query in queries.items()}


def batches(small: Small) -> int:
    """How many batches are committed."""
    return small.sql("SELECT max(build) FROM mlforge.builds")[0][0] if small.catalog.exists() else 0


def build_and_kill(server: Server, small: Small, seconds: float) -> int:
    """Kill the backfill, which takes so many seconds, at random moments until one run of it ends by itself. Returns how
    many were killed. Runs get more time while none gets as far as a commit, as on a machine that has other work."""
    moments, longest, before, killed = random.Random(30), seconds / 4, 0, 0
    while True:
        pid = server.start("build", project=str(small.root), batch="1d")
        time.sleep(moments.uniform(0, longest))
        kill(pid)
        said = server.hear()
        if "status" not in said:  # it was done sooner
            assert said["errors"] == []
            assert server.hear()["status"] in (0, -signal.SIGKILL)
            return killed
        killed += 1
        done = batches(small)
        longest, before = longest * (1.3 if done == before else 1), done


@pytest.mark.parametrize("names", [("days",), pytest.param(tuple(FEATURES), marks=pytest.mark.long)], ids=len)
def test_a_backfill_that_is_killed_again_and_again(server: Server, tmp_path: Path, names: tuple[str, ...]) -> None:
    quiet, small = project(tmp_path / "quiet", names), project(tmp_path / "killed", names)
    start = time.monotonic()
    assert server.build(quiet, batch="1d")["errors"] == []
    assert batches(quiet) == DAYS
    assert build_and_kill(server, small, time.monotonic() - start) >= 3
    undisturbed = everything(quiet, names)
    assert everything(small, names) == undisturbed
    assert len(undisturbed["versions"]) == DAYS * len(names)
    assert beside(small) == NOTHING_LEFT
    whole = project(tmp_path / "whole", names)
    whole.good()
    assert {n: small.view(n) for n in names} == {n: whole.view(n) for n in names}
    assert small.good() == {}
