"""A feature that cannot be stored is refused by itself: what it was stays, the others are published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from mlforge.errors import OnlineError
from mlforge.online import Client, open_store
from mlforge.stores.dynamodb import DynamoDBStore
from tests.online.served import NOON, Between, Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.online.servers import MotoServer

BIG = '{{ config(entity="user") }} SELECT k, x, repeat(\'é\', n) AS note FROM {{ source("ev") }}'
READS = """{{ config(entity="user", on_demand=true, request={"y": "BIGINT"}) }}
SELECT big.x + y AS z FROM {{ ref("big") }} AS big"""


class Notes(Served):
    """``big`` has notes of any length, ``newest`` and ``spend`` do not; ``reads`` and the set ``notes`` read ``big``."""

    def __init__(self, root: Path, store: Any) -> None:
        super().__init__(root, store)
        self.config((root / "mlforge.yaml").read_text() + "  notes: [big, newest]\n")
        self.feature("big", BIG)
        self.feature("reads", READS)

    def notes(self, *rows: tuple[int, int, int]) -> None:
        """Users, each with an x and the length of the note in bytes."""
        listed = (f"{k}, TIMESTAMP '{NOON}', {x}, {n // 2}" for k, x, n in rows)
        self.rows(*listed, columns="k BIGINT, t TIMESTAMP, x BIGINT, n BIGINT")
        self.good()

    def seen(self, *keys: int) -> list[tuple[Any, ...]]:
        """x and the length of the note in bytes, and x by ``newest``."""
        old, new = self.get("big", *keys), self.get("newest", *keys)
        return [(a["x"], a["note"] and 2 * len(a["note"]), b["x"]) for a, b in zip(old, new, strict=True)]


@pytest.fixture
def store(moto_server: MotoServer) -> Iterator[DynamoDBStore]:
    moto_server.reset()
    made = open_store({"kind": "dynamodb", "table": "features", "endpoint": moto_server.endpoint, "create": True})
    assert isinstance(made, DynamoDBStore)
    yield made
    made.close()


@pytest.fixture
def notes(tmp_path: Path, store: DynamoDBStore) -> Notes:
    return Notes(tmp_path / "project", store)


def test_a_value_that_is_too_large_stops_its_feature_only(notes: Notes) -> None:
    notes.notes((1, 10, 100), (2, 20, 500_000))
    done = notes.publish()
    assert [r.name for r in done.refused] == ["big@1.0.0", "reads@1.0.0", "notes@1"]
    assert done.refused[0].error.startswith(
        "big@1.0.0: column 'note' of key k = 2 has 500,005 bytes, and dynamodb holds 409,536 bytes for all values of a key"
    )
    assert [r.error for r in done.refused[1:]] == [
        "it reads big@1.0.0, which is refused",
        "it names big@1.0.0, which is refused",
    ]
    assert done.versions == ["newest@1.0.0", "spend@1.0.0"]
    assert [row["x"] for row in notes.get("newest", 1, 2)] == [10, 20]
    assert not [name for name in notes.names() if name.startswith(b"small/t/big@")], "not a row of it was written"
    again = notes.publish()
    assert again.nothing_to_do
    assert again.refused == done.refused
    with pytest.raises(OnlineError, match="column 'note' of key k = 2"):
        notes.publish("big")
    notes.notes((1, 11, 100), (2, 21, 300_000))
    done = notes.publish()
    assert done.refused == ()
    assert notes.seen(1, 2) == [(11, 100, 11), (21, 300_000, 21)]


def test_what_was_published_stays_as_it_was(notes: Notes) -> None:
    notes.notes((1, 10, 100), (2, 20, 200))
    first = notes.publish()
    notes.notes((1, 11, 500_000), (2, 21, 201))
    done = notes.publish()
    assert [r.name for r in done.refused] == ["big@1.0.1", "reads@1.0.1"]
    assert done.versions == ["big@1.0.0", "newest@1.0.1", "reads@1.0.0", "spend@1.0.1"]
    assert done.sets == first.sets
    assert notes.seen(1, 2) == [(10, 100, 11), (20, 200, 21)]
    client = Client(notes.store, "small")
    (row,) = client.get_online_features("reads", [{"k": 1, "y": 5}], at="2024-03-01T12:30")
    assert row["z"] == 15
    notes.notes((1, 12, 300), (2, 22, 202))
    assert notes.publish().refused == ()
    assert notes.seen(1, 2) == [(12, 300, 12), (22, 202, 22)]


@pytest.mark.parametrize("measured", [True, False])
def test_an_old_and_a_new_value_that_do_not_fit_together(notes: Notes, measured: bool) -> None:
    """The table is written anew: readers need both for a while. Tables of an older mlforge say nothing of sizes."""
    notes.notes((1, 10, 300_000), (2, 20, 200))
    notes.publish()
    if not measured:
        forget_sizes(notes)
    notes.notes((1, 11, 320_000), (2, 20, 200))
    done = notes.publish()
    assert notes.written(done)["big@1.0"] == ("new", 2, 0)
    assert notes.written(done)["newest@1.0"] == ("changed", 1, 0)
    assert notes.seen(1, 2) == [(11, 320_000, 11), (20, 200, 20)]
    notes.notes((1, 11, 320_000), (2, 21, 200))
    assert notes.written(notes.publish())["big@1.0"] == ("changed", 1, 0), "only what is written must fit"
    assert notes.seen(1, 2) == [(11, 320_000, 11), (21, 200, 21)]


def forget_sizes(notes: Notes) -> None:
    from msgspec.structs import replace

    from mlforge.online import published as m
    from mlforge.stores.store import Change

    made = Client(notes.store, "small").manifest()
    tables = {id_: replace(t, greatest=None) for id_, t in made.tables.items()}
    name = m.name("small", "manifest", str(made.generation))
    (held,) = notes.store.read([name])
    assert notes.store.swap([Change(name, held, m.encode(replace(made, tables=tables)))]) == [True]


def test_what_is_within_the_limit_is_taken(notes: Notes) -> None:
    """Names, attributes and all. The server here takes 405,000 bytes, DynamoDB 409,600."""
    assert notes.store.largest == 409_600 - 64
    notes.store.largest = 405_000 - 64
    name, entry, head, point, x = len("small/t/big@1.0~1/i1:1"), 8, 12, 12, len(b"\x93\xc0\x00\x0a\xdb....")
    room = (notes.store.largest - name - entry - head - point - x) // 2 * 2
    notes.notes((1, 10, room + 2))
    (refused, *_) = notes.publish().refused
    assert refused.name == "big@1.0.0"
    notes.notes((1, 10, room))
    assert notes.publish().refused == ()
    assert notes.seen(1) == [(10, room, 10)]


def test_names_of_very_many_keys_that_vanish(tmp_path: Path, store: DynamoDBStore) -> None:
    """They are noted in records that an item can hold."""
    served = Served(tmp_path / "project", store)
    served.feature("newest", '{{ config(entity="user") }} SELECT k, x FROM {{ source("ev") }}')
    (served.root / "features/spend.sql").unlink()
    served.config((served.root / "mlforge.yaml").read_text().partition("feature_sets")[0])
    for count in (260, 1):
        served.write(
            "data/ev.parquet",
            f"SELECT lpad(range::VARCHAR, 1900, 'k') AS k, TIMESTAMP '{NOON}' AS t, range AS x FROM range({count})",
        )
        served.good()
        served.publish()
    assert len(served.names(expiring=False)) == 1


def test_a_type_that_no_store_carries_stops_its_feature_only(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "project", open_store(str(tmp_path / "online.db")))
    notes.feature(
        "odd", '{{ config(entity="user") }} SELECT k, union_value(u := max(x)) AS b FROM {{ source("ev") }} GROUP BY k'
    )
    notes.notes((1, 10, 100))
    done = notes.publish()
    assert [(r.name, r.error) for r in done.refused] == [
        ("odd@1.0.0", "column 'b' of odd is UNION(u BIGINT), which an online store cannot carry")
    ]
    assert notes.seen(1) == [(10, 100, 10)]


@pytest.mark.parametrize("full", [False, True])
def test_values_that_cannot_be_made_in_the_middle(tmp_path: Path, full: bool) -> None:
    """Some of the feature's rows are in the store by then: nobody ever sees them."""
    notes = Notes(tmp_path / "project", open_store(str(tmp_path / "online.db")))
    notes.feature("wide", '{{ config(entity="user") }} SELECT k, [x] AS w FROM {{ source("ev") }}')
    notes.notes(*((k, 0, 2) for k in range(3_000)))
    notes.publish()
    notes.notes(*((k, int(k > 2_990), 2) for k in range(1, 3_000)))
    with duckdb.connect(str(notes.catalog)) as con:  # as a catalog has it that holds what a store does not
        con.execute("ALTER TABLE store.wide__1_0 ALTER w TYPE HUGEINT[]")
        con.execute("UPDATE store.wide__1_0 SET w = [w[1] * 100_000_000_000_000_000_000_000]")
    done = notes.publish(full=full)
    (refused,) = done.refused
    assert refused.name == "wide@1.0.1"
    assert refused.error.startswith("the values of wide@1.0.1 cannot be made for the online store: ")
    assert [row["w"] for row in notes.get("wide", 0, 1, 2_999)] == [[0], [0], [0]]
    assert notes.seen(0, 2_999) == [(None, None, None), (1, 2, 1)]
    notes.notes(*((k, 0, 2) for k in range(2, 3_000)))
    assert notes.publish().refused == ()
    assert [row["w"] for row in notes.get("wide", 0, 1, 2, 2_999)] == [None, None, [0], [0]]


def test_a_limit_that_is_met_on_writing(tmp_path: Path) -> None:
    """Of stores with a far limit nothing is measured first."""
    notes = Notes(tmp_path / "project", open_store(str(tmp_path / "online.db")))
    bounded = Between(notes.store)
    bounded.largest = 17 * 1024 * 1024
    notes.notes((1, 10, 100), (2, 20, 18_000_000))
    done = notes.publish(store=bounded)
    assert [r.name for r in done.refused] == ["big@1.0.0", "reads@1.0.0", "notes@1"]
    assert "column 'note' of key k = 2 has 18,000,005 bytes, and sqlite holds 17,825,792 bytes" in done.refused[0].error
    assert [row["x"] for row in notes.get("newest", 1, 2)] == [10, 20]
