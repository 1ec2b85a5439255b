"""A small project with an online store, and a store that lets tests in between its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlforge.catalog import reader
from mlforge.online import Client
from mlforge.online.packed_values import micros
from mlforge.publishing.run import Published, Settings, publish
from mlforge.stores.dynamodb import DynamoDBStore
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mlforge.stores.store import Change, Store

NOON = "2024-03-01T12:00:00"
YAML = """\
name: small
sources:
  ev: {path: data/ev.parquet}
entities:
  user: {key: k}
feature_sets:
  both: [spend, {feature: newest, prefix: n_}]
"""
SPEND = """{{ config(entity="user", timestamp="t") }}
SELECT k, t, SUM(x) OVER last_1h AS spend_1h, COUNT(*) OVER ever AS events FROM {{ source("ev") }}"""
NEWEST = """{{ config(entity="user", timestamp="t") }}
SELECT k, t, x FROM {{ source("ev") }}"""


class Served(Small):
    """Features ``spend`` and ``newest`` of users, and a feature set of both."""

    def __init__(self, root: Path, store: Store) -> None:
        super().__init__(root, YAML)
        self.store = store
        self.feature("spend", SPEND)
        self.feature("newest", NEWEST)

    def rows_at_noon(self, *pairs: tuple[int, int]) -> None:
        """One event each of some users, (k, x), at noon."""
        self.rows(*(f"{k}, TIMESTAMP '{NOON}', {x}" for k, x in pairs))

    def publish(
        self, *features: str, at: str = "2024-03-01T12:05", store: Store | None = None, **more: Any
    ) -> Published:
        sets = more.pop("feature_sets", ())
        with self.forge._reading() as con:
            settings = Settings("small", now=micros(at), **{"patience": 0.0, **more})
            return publish(con, reader.state(con), store or self.store, settings, features, sets)

    def written(self, done: Published) -> dict[str, tuple[str, int, int]]:
        return {t.table: (t.action, t.keys, t.gone) for t in done.tables}

    def get(self, features: Any, *keys: int, at: str = "2024-03-01T12:30") -> list[dict[str, Any]]:
        return Client(self.store, "small").get_online_features(features, [{"k": k} for k in keys], at=at)

    def statuses(self, features: Any, *keys: int, at: str = "2024-03-01T12:30") -> list[dict[str, str]]:
        rows = Client(self.store, "small").get_online_features(
            features, [{"k": k} for k in keys], at=at, with_status=True
        )
        return [{n: v.status for n, v in row.items() if n != "k"} for row in rows]

    def names(self, *, expiring: bool = True) -> list[bytes]:
        """The names of records; without ``expiring``, only of those that the store will not delete by itself."""
        found = {n for part in self.store.scan(b"small/t/") for n in part}
        return sorted(found if expiring else found - set(expiries(self.store)))


def expiries(store: Store) -> dict[bytes, int]:
    """When names expire that do (seconds since the epoch)."""
    if not isinstance(store, DynamoDBStore):
        return {}
    items = store._client.scan(TableName=store.table, ConsistentRead=True)["Items"]
    return {item["name"]["B"]: int(item["expires"]["N"]) for item in items if "expires" in item}


class Between:
    """A store that calls ``then`` before its ``number``-th swap; without a number it only counts."""

    def __init__(self, store: Store, number: int = -1, then: Callable[[], object] = lambda: None) -> None:
        self.store = store
        self.kind = store.kind
        self.number = number
        self.then = then
        self.swaps = 0
        self.largest: int | None = getattr(store, "largest", None)

    def read(self, names: Sequence[bytes]) -> list[bytes | None]:
        return self.store.read(names)

    async def aread(self, names: Sequence[bytes]) -> list[bytes | None]:
        return await self.store.aread(names)

    def swap(self, changes: Sequence[Change]) -> list[bool]:
        if self.swaps == self.number:
            self.swaps += 1
            self.then()
        else:
            self.swaps += 1
        return self.store.swap(changes)

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        return self.store.scan(prefix)

    def status(self) -> dict[str, Any]:
        return self.store.status()

    def close(self) -> None:
        self.store.close()

    async def aclose(self) -> None:
        await self.store.aclose()
