"""Whole builds that are killed at random moments, and that meet readers, writers, each other, and full disks."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

from tests.small import Small

SERVER = Path(__file__).with_name("forkserver.py")
CONFIG = """\
name: small
sources:
  ev: {path: data/ev.parquet}
entities:
  user: {key: k}
feature_sets:
  all_v1: ["plain:x", "windows:x2", "days:x3", "one:top", "asked"]
"""
FEATURES = {
    "plain": '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}\n',
    "windows": '{{ config(entity="user", timestamp="t") }}\n'
    'SELECT k, t, SUM(x) OVER ever AS x2, LAST(x) OVER ever AS x1 FROM {{ source("ev") }}\n',
    "days": '{{ config(entity="user", timestamp="t", interval="1d") }}\n'
    'SELECT k, t, SUM(x) OVER last_7d + MAX(x) OVER last_7d AS x3 FROM {{ source("ev") }}\n',
    "one": '{{ config(entity="user") }}\nSELECT k, MAX(x) AS top FROM {{ source("ev") }} GROUP BY k\n',
    "asked": '{{ config(entity="user", on_demand=true) }}\nSELECT p.x + w.x2 AS y FROM {{ ref("plain") }} AS p, {{ ref("windows") }} AS w\n',
}
KEYS = 300
KILLS = 50


class Server:
    """A running forkserver.py; one child at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "error::UserWarning", str(SERVER)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, do: str, **what: object) -> int:
        """Start a child and return its pid."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self.process.stdin.flush()
        return self.hear()["pid"]

    def hear(self) -> dict:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the server ended without a word"
        return json.loads(line)

    def build(self, small: Small, **what: object) -> dict:
        """A build to its end: what it said."""
        self.start("build", project=str(small.root), **what)
        said = self.hear()
        assert "status" not in said, said
        assert self.hear() == {"status": 0}
        return said

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def servers():
    made: list[Server] = []

    def start() -> Server:
        made.append(Server())
        return made[-1]

    yield start
    for server in made:
        server.stop()


@pytest.fixture
def server(servers) -> Server:
    return servers()


@pytest.fixture
def small(tmp_path: Path) -> Small:
    small = Small(tmp_path / "project", CONFIG)
    for name, text in FEATURES.items():
        small.feature(name, text)
    generation(small, 1)
    return small


def generation(small: Small, number: int) -> None:
    """Data in which every key has two rows of value ``number``, one of them new in every generation."""
    small.write(
        "data/ev.parquet",
        f"SELECT range // 2 AS k, TIMESTAMP '2024-01-01' + to_hours((range % 2 * {number})::BIGINT) AS t, {number} AS x "
        f"FROM range({2 * KEYS})",
    )


def seen(small: Small) -> int:
    """The generation that the catalog holds; every view, macro and table of it must agree."""
    with duckdb.connect(str(small.catalog), read_only=True) as con:
        con.execute(
            "CREATE TEMP VIEW labels AS SELECT range AS k, TIMESTAMP '2024-01-05' AS label_time FROM range(300)"
        )
        rows = con.execute("SELECT DISTINCT * EXCLUDE (k, label_time) FROM feature_sets.all_v1('labels')").fetchall()
        assert len(rows) == 1, rows
        found = rows[0][0]
        assert rows == [(found, 2 * found, 3 * found, found, 3 * found)]
        assert con.execute("SELECT DISTINCT x FROM features.plain").fetchall() == [(found,)]
        assert con.execute("SELECT count(*), min(top), max(top) FROM features.one").fetchall() == [(KEYS, found, found)]
        assert con.execute("SELECT count(*) FROM features.windows").fetchall() == [(2 * KEYS,)]
        current = con.execute("SELECT feature, current_version FROM mlforge.features ORDER BY 1").fetchall()
        marked = con.execute("SELECT feature, version FROM mlforge.versions WHERE is_current ORDER BY 1").fetchall()
        assert current == marked
        assert [name for name, _ in current] == sorted(FEATURES)
        assert len({version for _, version in current}) == 1
        builds, last = con.execute("SELECT count(*), max(build) FROM mlforge.builds WHERE status = 'done'").fetchall()[
            0
        ]
        assert builds == last
        assert con.execute(f'SELECT count(*) FROM versions."plain@{current[0][1]}"').fetchall() == [(2 * KEYS,)]
    return found


def beside(small: Small) -> list[str]:
    return sorted(p.name for p in small.root.iterdir())


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it was done sooner
        os.kill(pid, signal.SIGKILL)


NOTHING_LEFT = ["catalog.duckdb", "data", "features", "mlforge.yaml"]


def test_builds_killed_at_random_moments(server: Server, small: Small) -> None:
    moments = random.Random(20)
    assert server.build(small)["build"] == 1
    generation(small, 2)
    start = time.monotonic()
    server.build(small)
    seconds = time.monotonic() - start
    number = before = 2
    outcomes = []
    for _ in range(KILLS):
        number += 1
        generation(small, number)
        pid = server.start("build", project=str(small.root))
        time.sleep(moments.uniform(0, seconds * 1.1))
        kill(pid)
        said = server.hear()
        ended = said if "status" in said else server.hear()
        assert ended["status"] in (0, -signal.SIGKILL)
        now = seen(small)
        assert now in (before, number)
        outcomes.append(now == number)
        before = now
        if not outcomes[-1] and len(outcomes) % 2:
            assert server.build(small)["errors"] == []
            assert seen(small) == number
            before = number
    assert not all(outcomes)
    number += 1
    generation(small, number)
    assert server.build(small)["errors"] == []
    assert seen(small) == number
    assert beside(small) == NOTHING_LEFT


def test_first_builds_killed_at_random_moments(server: Server, small: Small) -> None:
    moments = random.Random(21)
    for _ in range(5):
        pid = server.start("build", project=str(small.root))
        time.sleep(moments.uniform(0, 0.5))
        kill(pid)
        said = server.hear()
        assert "status" in said or server.hear()
        if small.catalog.exists():
            assert seen(small) == 1
            small.catalog.unlink()
    assert server.build(small)["build"] == 1
    assert seen(small) == 1
    assert beside(small) == NOTHING_LEFT


@pytest.mark.parametrize("force", [False, True])
def test_two_builds_at_once(servers, small: Small, force: bool) -> None:
    one, two = servers(), servers()
    one.build(small)
    generation(small, 2)
    for server in (one, two):
        server.start("build", project=str(small.root), force=force)
    said = [server.hear() for server in (one, two)]
    assert [server.hear() for server in (one, two)] == [{"status": 0}] * 2
    assert [s.get("errors") for s in said] in ([[], []],)
    assert {s["build"] for s in said} == ({2, 3} if force else {2, None})
    assert seen(small) == 2
    assert beside(small) == NOTHING_LEFT


def test_a_reader_keeps_its_rows_while_a_build_replaces_the_file(servers, small: Small) -> None:
    builder, reader = servers(), servers()
    builder.build(small)
    pid = reader.start("hold", catalog=str(small.catalog), read_only=True)
    assert reader.hear() == {"ready": True}
    generation(small, 2)
    assert builder.build(small)["how"] == "replaced"
    assert seen(small) == 2
    os.kill(pid, signal.SIGKILL)
    generation(small, 3)
    assert reader.hear() == {"status": -signal.SIGKILL}
    assert builder.build(small)["how"] == "in place"
    assert seen(small) == 3


def test_a_writer_is_named(servers, small: Small) -> None:
    builder, writer = servers(), servers()
    builder.build(small)
    pid = writer.start("hold", catalog=str(small.catalog), read_only=False)
    assert writer.hear() == {"ready": True}
    generation(small, 2)
    said = builder.build(small, lock_timeout=0.2)
    assert said["error"] == "LockedError"
    assert str(pid) in said["message"]
    assert "--lock-timeout" in said["hint"]
    os.kill(pid, signal.SIGKILL)
    assert writer.hear() == {"status": -signal.SIGKILL}
    assert seen(small) == 1
    assert builder.build(small)["build"] == 2


@pytest.mark.parametrize("size", [1 << 12, 1 << 14, 1 << 16])
def test_a_full_disk_loses_nothing(server: Server, small: Small, size: int) -> None:
    server.build(small)
    generation(small, 2)
    said = server.build(small, largest_file=size)
    assert said.get("error") in ("BuildError", "CatalogError"), said
    assert said["message"].startswith("no space left")
    assert seen(small) == 1
    assert server.build(small)["errors"] == []
    assert seen(small) == 2
    assert beside(small) == NOTHING_LEFT


def test_a_disk_that_is_full_in_the_middle_of_a_feature(server: Server, small: Small) -> None:
    server.build(small)
    small.write(
        "data/ev.parquet",
        "SELECT range AS k, TIMESTAMP '2024-01-01' AS t, hash(range)::HUGEINT::DOUBLE AS x FROM range(300_000)",
    )
    said = server.build(small, largest_file=1 << 20, memory_limit="60MB", threads=1)
    assert said.get("error") == "BuildError", said
    assert said["message"].startswith("no space left for the staging files")
    assert seen(small) == 1


def test_a_folder_that_is_read_only(server: Server, small: Small) -> None:
    server.build(small)
    generation(small, 2)
    small.catalog.chmod(0o444)
    small.root.chmod(0o555)
    try:
        said = server.build(small, bound=True)
    finally:
        small.root.chmod(0o755)
        small.catalog.chmod(0o644)
    assert said["error"] == "CatalogError", said
    assert said["message"].startswith(f"cannot write {small.catalog}.lock")
    assert seen(small) == 1
    assert server.build(small)["errors"] == []
