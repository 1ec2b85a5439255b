"""Values of a training set that used rows which were loaded after the label's time, against counting by hand."""

from __future__ import annotations

import datetime
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pytest

import mlforge as mlf
from mlforge.retrieve import late
from tests.cli.running import mlforge
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOUR = datetime.timedelta(hours=1)
START = datetime.datetime(2024, 3, 1)
CONFIG = """\
name: small
sources:
  ev: {path: data/ev.parquet, timestamp: t, loaded_at: l}
  plain: {path: data/ev.parquet, timestamp: t}
entities:
  user: {key: k}
"""
FEATURES = {
    "windows": (
        'timestamp="t"',
        "SELECT k, t, SUM(x) OVER last_6h AS six, COUNT(*) FILTER (WHERE x > 2) OVER last_1d AS big, MAX(x) OVER ever AS top,"
        " x AS last, SUM(x) OVER last_6h / COUNT(*) OVER last_2h AS both, hour(as_of()) AS h FROM {{ source('ev') }}",
    ),
    "bounded": (
        'timestamp="t", delay="1h", closed="right", ttl="3h"',
        "SELECT k, t, COUNT(*) OVER last_6h AS six, x AS last FROM {{ source('ev') }} WHERE x <> 1",
    ),
    "daily": ('timestamp="t", interval="1d"', "SELECT k, t, COUNT(*) OVER last_2d AS n FROM {{ source('ev') }}"),
    "rows": ('timestamp="t"', "SELECT k, t, x, x + 1 AS y FROM {{ source('ev') }}"),
    "unique": ('timestamp="t", closed="left", ttl="5h"', "SELECT k, t, x FROM {{ source('ev') }}"),
}


class Event(NamedTuple):
    k: int
    t: datetime.datetime
    l: datetime.datetime | None  # noqa: E741 - the column's name
    x: int


Seen = tuple[Event, datetime.datetime]


def world(seed: int) -> tuple[list[Event], list[tuple[int, datetime.datetime | None]]]:
    dice = random.Random(seed)
    events = [
        Event(
            dice.randrange(4),
            at := START + dice.randrange(96) * HOUR,
            None if dice.random() < 0.1 else at + dice.choice([-2, 0, 0, 1, 3, 40]) * HOUR,
            dice.randrange(5),
        )
        for _ in range(120)
    ]
    labels = [(dice.randrange(5), START + dice.randrange(130) * HOUR) for _ in range(60)]
    return events, [*labels, (1, None)]


def within(events: list[Event], low: datetime.datetime | None, high: datetime.datetime, *, right: bool) -> list[Event]:
    if right:
        return [e for e in events if e.t <= high and (low is None or e.t > low)]
    return [e for e in events if e.t < high and (low is None or e.t >= low)]


def any_late(events: list[Event], label: datetime.datetime) -> bool:
    return any(e.l is not None and e.l > label for e in events)


def latest_late(events: list[Event], label: datetime.datetime, low: datetime.datetime | None, *, right: bool) -> bool:
    """By the greatest loaded_at of the latest rows, NULLs least."""
    last = max((e.t for e in events), default=None)
    rows = [e for e in events if e.t == last]
    if not rows or (low is not None and not within(rows, low, label, right=right)):
        return False
    return any_late(rows, label)


def by_hand(name: str, own: list[Event], at: datetime.datetime) -> dict[str, bool]:
    """For one label row: whether each column used a row that was loaded later."""
    right = name in ("bounded", "rows")
    if name == "bounded":
        own = [e for e in own if e.x != 1]
    until = {"bounded": at - HOUR, "daily": at.replace(hour=0)}.get(name, at)

    def window(hours: int, keep: Callable[[Event], bool] = lambda _: True) -> bool:
        rows = within(own, until - hours * HOUR, until, right=right)
        return any_late([e for e in rows if keep(e)], at)

    before = within(own, None, until, right=right)
    if name == "windows":
        return {
            "six": window(6),
            "big": window(24, lambda e: e.x > 2),
            "top": any_late(before, at),
            "last": latest_late(before, at, None, right=False),
            "both": window(6),
            "h": False,
        }
    if name == "daily":
        return {"n": window(48)}
    ttl = {"bounded": 3, "unique": 5}.get(name)
    low = until - ttl * HOUR if ttl else None
    last = max((e.t for e in before), default=None)
    inside = low is None or (last is not None and (last > low if right else last >= low))
    found = inside and any_late([e for e in before if e.t == last], at)
    return {"rows": {"x": found, "y": found}, "unique": {"x": found}}.get(name, {"six": window(6), "last": found})


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path, CONFIG)


def put(small: Small, events: list[Event]) -> None:
    import pyarrow.parquet as pq

    stamp = pa.timestamp("us")
    columns = {"k": pa.int64(), "t": stamp, "l": stamp, "x": pa.int64()}
    rows = {n: pa.array([getattr(e, n) for e in events], kind) for n, kind in columns.items()}
    pq.write_table(pa.table(rows), small.root / "data/ev.parquet")


def table(labels: list[tuple[int, datetime.datetime | None]]) -> pa.Table:
    times = pa.array([at for _, at in labels], pa.timestamp("us"))
    return pa.table({"k": pa.array([k for k, _ in labels], pa.int64()), "label_time": times})


def found(small: Small, features: list[str], labels: Any) -> Any:
    return small.forge.training_set(features, labels, full_names=True, record=False, late=True).record["late"]


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_those_made_by_hand(small: Small, seed: int) -> None:
    events, labels = world(seed)
    put(small, events)
    for name, (config, text) in FEATURES.items():
        small.feature(name, f'{{{{ config(entity="user", {config}) }}}}\n{text}\n')
    small.good()
    got = {f["feature"].partition("@")[0]: f for f in found(small, list(FEATURES), table(labels))["features"]}
    for name in FEATURES:
        hands = [by_hand(name, [e for e in events if e.k == k], at) for k, at in labels if at is not None]
        assert got[name]["unknown"] is None, got[name]
        assert got[name]["columns"] == {c: sum(h[c] for h in hands) for c in hands[0]}, name
        assert got[name]["labels"] == sum(any(h.values()) for h in hands), name
        assert got[name]["labels"] > 0


def test_the_sum_and_what_is_unknown(small: Small) -> None:
    put(small, [Event(1, START, START + HOUR, 5), Event(1, START + 5 * HOUR, START + 5 * HOUR, 6)])
    config = '{{ config(entity="user", timestamp="t") }}\n'
    small.feature("f", config + "SELECT k, t, SUM(x) OVER last_6h AS s, x AS y FROM {{ source('ev') }}")
    small.feature("silent", config + "SELECT k, t, x FROM {{ source('plain') }}")
    small.feature(
        "reads", config + "SELECT s.k, s.t, f.y AS z FROM {{ source('ev') }} s LEFT JOIN {{ ref('f') }} f ON f.k = s.k"
    )
    small.feature(
        "flat",
        '{{ config(entity="user", assume_final=true) }}\nSELECT k, max(x) AS m FROM {{ source("ev") }} GROUP BY k',
    )
    small.feature("ask", '{{ config(entity="user", on_demand=true) }}\nSELECT y + 1 AS w FROM {{ ref("f") }}')
    small.good()
    labels = table([(1, START + HOUR / 2), (1, START + HOUR), (1, START + 6 * HOUR), (1, START + 6 * HOUR)])
    late_ = found(small, ["f", "silent", "reads", "flat", "ask"], labels)
    features = late_.pop("features")
    assert late_ == {"rows": 4, "looked_at": 4, "values": 8, "late": 2}
    assert features[0] == {"feature": "f@1.0.0", "labels": 1, "columns": {"s": 1, "y": 1}, "unknown": None}
    assert [f["unknown"] for f in features[1:]] == [
        "its rows do not say when they were loaded",
        "it reads other features",
        "it has no time",
        "it is computed on demand, from other features",
    ]


def test_only_columns_that_were_asked_for_count(small: Small) -> None:
    put(small, [Event(1, START, START + 3 * HOUR, 5)])
    text = "SELECT k, t, COUNT(*) OVER last_1h AS one, COUNT(*) OVER last_6h AS six FROM {{ source('ev') }}"
    small.feature("f", f'{{{{ config(entity="user", timestamp="t") }}}}\n{text}')
    small.good()
    labels = table([(1, START + 2 * HOUR)])
    assert found(small, ["f:one"], labels)["features"][0] == {
        "feature": "f@1.0.0:one",
        "labels": 0,
        "columns": {"one": 0},
        "unknown": None,
    }
    assert found(small, ["f"], labels)["features"][0]["columns"] == {"one": 0, "six": 1}


def test_keys_may_have_other_names_and_other_types(small: Small) -> None:
    put(small, [Event(1, START, START + 3 * HOUR, 5)])
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}')
    small.good()
    labels = pa.table({"id": pa.array([1], pa.int16()), "at": pa.array([START.date() + datetime.timedelta(1)])})
    labels = labels.set_column(1, "at", pa.array([START + HOUR], pa.timestamp("ns")))
    made = small.forge.training_set(
        [mlf.FeatureSpec("f", keys={"k": "id"}, prefix="p_")], labels, timestamp="at", record=False, late=True
    )
    assert made.record["late"]["features"][0]["columns"] == {"x": 1}


def test_many_label_rows_are_sampled_always_alike(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "SAMPLE", 100)
    put(small, [Event(k, START, START + 3 * HOUR, 5) for k in range(4)])
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}')
    small.good()
    labels = table([(n % 8, START + HOUR) for n in range(1000)])
    first, again = (found(small, ["f"], labels) for _ in range(2))
    assert first == again
    assert (first["rows"], first["looked_at"], first["values"]) == (1000, 100, 100)
    assert 35 <= first["late"] <= 65


def test_sources_that_cannot_be_read_make_it_unknown(small: Small) -> None:
    put(small, [Event(1, START, START + 3 * HOUR, 5)])
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}')
    small.good()
    labels = table([(1, START + HOUR)])
    (small.root / "data/ev.parquet").rename(small.root / "data/away.parquet")
    feature = found(small, ["f"], labels)["features"][0]
    assert (feature["labels"], feature["unknown"]) == (None, "source 'ev': no parquet file at data/ev.parquet")
    small.write("data/ev.parquet", "SELECT 1 AS k, TIMESTAMP '2024-01-01' AS t, TIMESTAMP '2024-01-01' AS l")
    assert "x" in str(found(small, ["f"], labels)["features"][0]["unknown"])
    small.config("name: small\nsources:\n  ov: {path: data/ev.parquet}\nentities:\n  user: {key: k}\n")
    assert found(small, ["f"], labels)["features"][0]["unknown"] == "the project has no source 'ev' any more"


def test_the_command_says_it_and_records_it(small: Small) -> None:
    put(small, [Event(1, START, START + 3 * HOUR, 5)])
    config = '{{ config(entity="user", timestamp="t") }}\n'
    small.feature("f", config + "SELECT k, t, x, x + 1 AS y FROM {{ source('ev') }}")
    small.feature("silent", config + "SELECT k, t, x AS z FROM {{ source('plain') }}")
    small.good()
    labels = "SELECT 1 AS k, TIMESTAMP '2024-03-01 01:00' + to_hours(2 * unnest([0, 1])::INT) AS label_time"

    def run(*arguments: str) -> Any:
        return mlforge("-C", small.root, "training-set", "--labels", labels, *arguments)

    said = run("-f", "f", "-f", "silent").out
    assert "2 of 4 values (50.00%) used rows that were loaded after the label's time\n  f@1.0.0: x 1, y 1\n" in said
    assert "  silent@1.0.0: unknown: its rows do not say when they were loaded\n" in said
    assert "loaded" not in run("-f", "silent").out
    assert "loaded" not in run("-f", "f", "--no-late").out
    assert "loaded" not in run("-f", "f", "--known-as-of", "label_time").out
    record = run("-f", "f", "--json").json
    assert record["late"]["late"] == 2
    assert "late" not in run("-f", "f", "--known-as-of", "label_time", "--json").json
    mlforge("-C", small.root, "replay", record["id"])
    bare = mlforge("-C", small.catalog, "training-set", "--labels", labels, "-f", "f", "--json").json
    assert "late" not in bare
