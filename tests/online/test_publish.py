"""Publishing: what is written, what readers see meanwhile, and what happens when it dies, races or comes too late."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mlforge.errors import OnlineError, StoreDownError, UsageError
from mlforge.online import Client
from mlforge.online.packed_values import micros
from mlforge.stores.opening import open_store
from mlforge.stores.store import Change
from tests.online.served import NOON, Between, Served

if TYPE_CHECKING:
    from pathlib import Path

    from mlforge.stores.store import Store
    from tests.online.servers import RedisServer


@pytest.fixture
def served(tmp_path: Path, store: Store) -> Served:
    made = Served(tmp_path / "project", store)
    made.rows_at_noon((1, 10), (2, 20), (3, 30))
    made.good()
    return made


def test_only_what_changed_is_written(served: Served) -> None:
    assert served.written(served.publish()) == {"newest@1.0": ("new", 3, 0), "spend@1.0": ("new", 3, 0)}
    again = served.publish()
    assert again.nothing_to_do
    assert again.generation == 1
    served.rows_at_noon((1, 10), (2, 25), (3, 30), (4, 40))
    served.good()
    done = served.publish()
    assert served.written(done) == {"newest@1.0": ("changed", 2, 0), "spend@1.0": ("changed", 2, 0)}
    assert done.generation == 2
    assert [r["x"] for r in served.get("newest", 1, 2, 3, 4, 5)] == [10, 25, 30, 40, None]
    assert served.written(served.publish(full=True)) == {"newest@1.0": ("new", 4, 0), "spend@1.0": ("new", 4, 0)}
    assert [r["x"] for r in served.get("newest", 1, 2, 3, 4, 5)] == [10, 25, 30, 40, None]


def test_values_move_on_by_themselves(served: Served) -> None:
    served.publish()
    assert served.get("spend", 1, at="2024-03-01T13:00") == [{"k": 1, "spend_1h": 10, "events": 1}]
    assert served.get("spend", 1, at="2024-03-01T13:00:00.000001") == [{"k": 1, "spend_1h": None, "events": 1}]
    assert served.get("spend", 1, at="2034-03-01T13:00") == [{"k": 1, "spend_1h": None, "events": 1}]


def test_keys_that_vanish_are_removed_after_the_grace_period(served: Served) -> None:
    served.publish()
    served.rows_at_noon((1, 10), (3, 30))
    served.good()
    done = served.publish(at="2024-03-01T12:06", grace=600.0)
    assert served.written(done) == {"newest@1.0": ("changed", 0, 1), "spend@1.0": ("changed", 0, 1)}
    assert served.get("newest", 2) == [{"k": 2, "x": None}]
    assert served.statuses("newest", 1, 2) == [{"x": "PRESENT"}, {"x": "MISSING"}]
    assert sum(n.endswith(b"/i1:2") for n in served.names()) == 2  # for readers that began before
    assert served.publish(at="2024-03-01T12:17", grace=600.0).nothing_to_do
    assert sum(n.endswith(b"/i1:2") for n in served.names(expiring=False)) == 0
    assert len(served.names(expiring=False)) == 4


def test_a_new_major_is_written_beside_the_old_one(served: Served) -> None:
    served.publish()
    served.feature("newest", '{{ config(entity="user", timestamp="t") }} SELECT k, t, -x AS x FROM {{ source("ev") }}')
    assert served.good() == {"newest": "2.0.0"}
    done = served.publish(at="2024-03-01T12:06")
    assert served.written(done)["newest@2.0"] == ("new", 3, 0)
    assert served.get("newest", 1) == [{"k": 1, "x": -10}]
    assert (
        served.get("both:x" if False else "both", 1)[0]["n_x"] == 10
    )  # the set stays on the MAJOR it was written with
    with pytest.raises(OnlineError, match=r"newest@3 is not published"):
        served.get("newest@3", 1)
    assert served.get("newest@1", 1) == [{"k": 1, "x": 10}]


def test_tables_that_nobody_names_go_after_the_grace_period(served: Served) -> None:
    served.config((served.root / "mlforge.yaml").read_text().split("feature_sets")[0])
    served.good()
    served.publish("newest", "spend")
    served.feature("newest", '{{ config(entity="user", timestamp="t") }} SELECT k, t, -x AS x FROM {{ source("ev") }}')
    served.good()
    served.publish("newest", at="2024-03-01T12:06", grace=60.0)
    assert len(served.names()) == 9
    served.publish("newest", at="2024-03-01T12:08", grace=60.0)
    assert len(served.names(expiring=False)) == 6
    assert served.get(["newest", "spend"], 1) == [{"k": 1, "x": -10, "spend_1h": 10, "events": 1}]


def test_some_features_and_sets_only(served: Served) -> None:
    assert served.publish("newest").versions == ["newest@1.0.0"]
    with pytest.raises(OnlineError, match="'spend' is not published"):
        served.get("spend", 1)
    served.publish(feature_sets=("both",))
    assert served.get("both", 1) == [{"k": 1, "spend_1h": 10, "events": 1, "n_x": 10}]
    assert served.get(["newest", "both@1"], 1) == [{"k": 1, "x": 10, "spend_1h": 10, "events": 1, "n_x": 10}]


@pytest.mark.parametrize(
    ("features", "sets", "message"),
    [
        (("newst",), (), "the catalog has no feature 'newst'"),
        (("newest@4",), (), "newest has no version 4"),
        (("newest:x",), (), "newest:x names columns, and features are published whole"),
        ((), ("bth",), "unknown feature set 'bth'"),
    ],
)
def test_unknown_names(served: Served, features: tuple[str, ...], sets: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        served.publish(*features, feature_sets=sets)
    assert served.names() == []


def test_a_type_that_no_store_carries(served: Served) -> None:
    served.feature(
        "odd",
        '{{ config(entity="user") }} SELECT k, union_value(u := max(x)) AS b FROM {{ source("ev") }} GROUP BY k',
    )
    served.good("odd")
    with pytest.raises(
        OnlineError, match="column 'b' of odd is UNION\\(u BIGINT\\), which an online store cannot carry"
    ):
        served.publish("odd")


# -- death, races, clocks


def two_versions(served: Served) -> None:
    """The first version is published; the catalog holds a second, in which user 1 moved, 2 went and 4 came."""
    served.publish()
    served.rows_at_noon((1, 11), (3, 30), (4, 40))
    served.good()


OLD = [(10, 10), (20, 20), (30, 30), (None, None)]
NEW = [(11, 11), (None, None), (30, 30), (40, 40)]


def seen(served: Served) -> list[tuple[int | None, int | None]]:
    rows = served.get(["spend", "newest"], 1, 2, 3, 4)
    return [(row["spend_1h"], row["x"]) for row in rows]


class Died(Exception):
    pass


def die() -> None:
    raise Died


@pytest.mark.parametrize("full", [False, True])
def test_a_publish_that_dies_anywhere_is_not_seen_and_can_be_repeated(served: Served, full: bool) -> None:
    two_versions(served)
    before = everything(served.store)
    counting = Between(served.store)
    served.publish(store=counting, full=full)
    assert seen(served) == NEW
    for step in range(counting.swaps):
        restore(served.store, before)
        assert seen(served) == OLD
        with pytest.raises(Died):
            served.publish(store=Between(served.store, step, die), full=full)
        state = seen(served)
        assert state in (OLD, NEW), f"died before swap {step}: {state}"
        done = served.publish(full=full, at="2024-03-01T12:07")
        assert seen(served) == NEW, step
        assert done.generation == 2 or full  # it went on where it was, or it was done but for the cleaning


def everything(store: Store) -> dict[bytes, bytes]:
    names = [n for part in store.scan(b"") for n in part]
    return {n: v for n, v in zip(names, store.read(names), strict=True) if v is not None}


def restore(store: Store, wanted: dict[bytes, bytes]) -> None:
    there = everything(store)
    changes = [Change(n, there.get(n), wanted.get(n)) for n in {*there, *wanted} if there.get(n) != wanted.get(n)]
    assert all(store.swap(changes))


def test_another_publish_after_one_that_died(served: Served) -> None:
    two_versions(served)
    with pytest.raises(Died):
        served.publish(store=Between(served.store, 3, die))
    served.rows_at_noon((1, 12), (3, 30))
    served.good()
    done = served.publish()
    assert not done.resumed
    assert seen(served) == [(12, 12), (None, None), (30, 30), (None, None)]
    assert done.generation == 3


def test_two_publishes_race(tmp_path: Path, store: Store) -> None:
    """A second publish, of something else, runs whole before the n-th write of the first, for every n."""
    first = Served(tmp_path / "project", store)
    first.rows_at_noon((1, 10), (2, 20), (3, 30))
    first.good()
    two_versions(first)
    other = Served(tmp_path / "other", store)
    shutil.copy(first.catalog, other.catalog)
    other.rows_at_noon((1, 99), (2, 20), (3, 33))
    other.good()
    third = [(99, 99), (20, 20), (33, 33), (None, None)]
    before = everything(store)
    counting = Between(store)
    first.publish(store=counting)
    for step in range(counting.swaps):
        restore(store, before)
        assert is_lost(first, Between(store, step, lambda: [other.publish(force=True)])), step
        assert seen(first) == third, step
        first.publish(force=True)
        assert seen(first) == NEW


@pytest.mark.parametrize("full", [False, True])
def test_a_publish_that_is_slow_and_taken_for_dead(tmp_path: Path, full: bool) -> None:
    """A second publish takes the first for dead before its n-th write, for every n, and dies itself at its m-th; a third,
    after the grace period, has nothing to publish and deletes what was let go.

    The first either goes on to the end or is told that it is lost, and readers see all of what they see."""
    store = open_store(f"sqlite://{tmp_path}/online.db")
    first = Served(tmp_path / "project", store)
    first.rows_at_noon((1, 10), (2, 20), (3, 30))
    first.good()
    unchanged = Served(tmp_path / "unchanged", store)
    shutil.copy(first.catalog, unchanged.catalog)
    two_versions(first)
    other = Served(tmp_path / "other", store)
    shutil.copy(first.catalog, other.catalog)
    other.rows_at_noon((1, 99), (2, 20), (3, 33))
    other.good()

    def begin_and_die(at: int) -> None:
        with pytest.raises(Died):
            other.publish(store=Between(store, at, die), force=True, full=True)
        assert unchanged.publish(at="2024-03-01T12:25", force=True).nothing_to_do or not full

    before = everything(store)
    counting = Between(store)
    first.publish(store=counting, full=full)
    told = set()
    for step in range(counting.swaps):
        for at in (1, 2, 4):
            restore(store, before)
            lost = is_lost(first, Between(store, step, lambda at=at: begin_and_die(at)), full=full)
            told.add(lost)
            assert seen(first) in ((OLD, NEW) if lost else (NEW,)), (step, at)
            first.publish(at="2024-03-01T12:26", force=True)
            assert seen(first) == NEW, (step, at)
    assert told == {True, False}
    store.close()


def is_lost(served: Served, store: Store, **more: Any) -> bool:
    try:
        served.publish(store=store, force=True, **more)
    except OnlineError as error:
        return error.message == "another publish to this store began later and went ahead"
    return False


def test_a_stale_publish_after_a_newer_one(served: Served, tmp_path: Path) -> None:
    stale = Served(tmp_path / "stale", served.store)
    two_versions(served)
    shutil.copy(served.catalog, tmp_path / "new.duckdb")
    served.rows_at_noon((1, 12), (3, 30))
    served.good()
    served.publish()
    shutil.copy(tmp_path / "new.duckdb", stale.catalog)  # a copy from before
    with pytest.raises(OnlineError) as caught:
        stale.publish()
    assert caught.value.message in [
        f"{name}@1.0.2 is published, and this catalog has only come to 1.0.1" for name in ("newest", "spend")
    ]
    assert seen(served)[0] == (12, 12)
    stale.publish(force=True)
    assert seen(served) == NEW


def test_after_a_rollback_the_older_version_is_published(served: Served) -> None:
    two_versions(served)
    served.publish()
    served.forge.rollback("newest", "1.0.0")
    served.publish("newest")
    assert [r["x"] for r in served.get("newest", 1, 2, 3, 4)] == [10, 20, 30, None]
    served.forge.rollback("newest", release=True)
    served.publish("newest")
    assert [r["x"] for r in served.get("newest", 1, 2, 3, 4)] == [11, None, 30, 40]


def test_a_clock_that_runs_backwards(served: Served) -> None:
    served.publish(at="2024-03-01T12:05")
    served.rows_at_noon((1, 11), (3, 30), (4, 40))
    served.good()
    done = served.publish(at="2024-03-01T11:00")
    assert done.generation == 2
    assert seen(served) == NEW
    assert served.get("newest", 1, at="2024-03-01T11:59:59") == [{"k": 1, "x": None}]
    assert served.statuses("newest", 1, at="2024-03-01T10:49:59") == [{"x": "OUT_OF_RANGE"}]


def test_readers_never_mix_versions(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Threads read two features of all users while versions come and go; every row of every answer is of one."""
    served = Served(tmp_path / "project", open_store(settings))
    served.rows_at_noon(*((k, 0) for k in range(20)))
    served.good()
    served.publish()
    stop = threading.Event()
    wrong: list[Any] = []
    counts = [0, 0, 0]

    def read(number: int) -> None:
        store = open_store(settings)
        client = Client(store, "small")
        while not stop.is_set():
            rows = client.get_online_features(["spend", "newest"], [{"k": k} for k in range(20)], at="2024-03-01T12:30")
            found = {row["x"] for row in rows} | {row["spend_1h"] for row in rows}
            if len(found) != 1:
                wrong.append(rows)
            counts[number] += 1
        client.close()

    threads = [threading.Thread(target=read, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for version in range(1, 6):
            served.rows_at_noon(*((k, version) for k in range(20)))
            served.good()
            served.publish(grace=0.0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert min(counts) > 5
    served.store.close()


@pytest.mark.parametrize("patience", [0.0, 30.0])
def test_redis_is_killed_in_the_middle_of_a_publish(tmp_path: Path, own_redis: RedisServer, patience: float) -> None:
    served = Served(tmp_path / "project", open_store(own_redis.url))
    served.rows_at_noon((1, 10), (2, 20), (3, 30))
    served.good()
    two_versions(served)

    def kill() -> None:
        own_redis.kill()
        if patience:
            threading.Timer(0.5, own_redis.start).start()

    def run() -> Any:
        return served.publish(store=Between(served.store, 3, kill), patience=patience)

    if patience:
        assert run().generation == 2
    else:
        with pytest.raises(StoreDownError, match="does not answer as it should"):
            run()
        with pytest.raises(StoreDownError):
            seen(served)
        own_redis.start()
        assert seen(served) == OLD
        assert served.publish().resumed
    assert seen(served) == NEW
    served.store.close()


def test_a_store_that_forgot_everything(served: Served) -> None:
    two_versions(served)
    restore(served.store, {})
    with pytest.raises(OnlineError, match="nothing is published as 'small' here"):
        seen(served)
    served.publish()
    assert seen(served) == NEW


def test_a_reader_of_a_store_that_forgot_everything_and_was_filled_anew(served: Served) -> None:
    """The same generation as before, of something else."""
    served.publish()
    client = Client(served.store, "small")
    asked: Any = (["newest"], [{"k": 1}, {"k": 9}])
    assert client.get_online_features(*asked, at="2024-03-01T12:30") == [{"k": 1, "x": 10}, {"k": 9, "x": None}]
    restore(served.store, {})
    served.feature("newest", '{{ config(entity="user", timestamp="t") }} SELECT k, t, -x AS x FROM {{ source("ev") }}')
    served.rows_at_noon((1, 10), (9, 90))
    served.good()
    assert served.publish().generation == 1
    assert client.get_online_features(*asked, at="2024-03-01T12:30") == [{"k": 1, "x": -10}, {"k": 9, "x": -90}]


def test_a_catalog_made_anew_is_published_whole(served: Served, tmp_path: Path) -> None:
    """Equal version numbers of another catalog mean nothing."""
    served.publish()
    other = Served(tmp_path / "other", served.store)
    other.rows_at_noon((1, 7), (9, 9))
    other.good()
    assert served.written(other.publish()) == {"newest@1.0": ("new", 2, 0), "spend@1.0": ("new", 2, 0)}
    assert [r["x"] for r in other.get("newest", 1, 2, 9)] == [7, None, 9]


@pytest.mark.parametrize(("most", "step"), [(500, 0), (40, 1_000_000), (3, 60_000_000)])
def test_keys_with_very_many_changes_are_kept_at_a_step(tmp_path: Path, store: Store, most: int, step: int) -> None:
    served = Served(tmp_path / "project", store)
    served.rows(*(f"1, TIMESTAMP '{NOON}' + to_milliseconds({n * 500}), 1" for n in range(60)))
    served.good()
    served.publish(at="2024-03-01T12:58:00", max_points=most)
    client = Client(store, "small")
    for at, exact in [("2024-03-01T13:00:00.400", 59), ("2024-03-01T13:00:10", 40), ("2024-03-01T13:00:10.900", 38)]:
        (row,) = client.get_online_features("spend:spend_1h", [{"k": 1}], at=at, with_status=True)
        value = row["spend_1h"]
        assert value.step == step
        if step == 0:
            assert value.value == exact
        else:
            whole = micros(at) - micros(at) % step
            seconds = (whole - micros("2024-03-01T13:00:00")) / 1_000_000
            assert value.value == 60 - sum(n * 0.5 < seconds for n in range(60))


def test_progress_is_told(served: Served) -> None:
    told: list[Any] = []
    served.publish(notify=told.append)
    assert [(p.table, p.keys, p.total) for p in told] == [("newest@1.0", 3, 3), ("spend@1.0", 3, 3)]


def test_gc_keeps_what_is_published(tmp_path: Path) -> None:
    served = Served(tmp_path / "project", open_store(str(tmp_path / "project/online.db")))
    served.rows_at_noon((1, 10))
    served.good()
    served.forge.publish()
    for x in (11, 12, 13):
        served.rows_at_noon((1, x))
        served.good()
    gone = served.forge.gc(served.forge.keep(patches=1, days=0)).versions
    assert "newest@1.0.1" in gone
    assert "newest@1.0.0" not in gone
    assert served.sql("SELECT kind, namespace, generation, features FROM mlforge.publishes") == [
        ("sqlite", "small", 1, ["newest@1.0.0", "spend@1.0.0"])
    ]
    served.forge.publish()
    assert [r["x"] for r in served.forge.get_online_features("newest", [{"k": 1}])] == [13]
    assert "newest@1.0.0" in served.forge.gc(served.forge.keep(patches=1, days=0)).versions
