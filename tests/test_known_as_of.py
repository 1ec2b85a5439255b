"""known_as_of: values from the rows that were loaded by an instant, for every kind of feature."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mlforge as mlf
from mlforge.errors import RetrievalError

if TYPE_CHECKING:
    from pathlib import Path

YAML = """
name: known
sources:
  orders: {path: orders.parquet, timestamp: at, loaded_at: seen, unique_key: id}
  users: {path: users.parquet}
entities:
  user: {key: user_id}
"""
EXACT = """{{ config(entity="user", timestamp="at") }}
SELECT user_id, at, amount AS last_amount, SUM(amount) OVER last_7d AS spend_7d, COUNT(*) OVER last_7d AS orders_7d
FROM {{ source("orders") }}
"""
DAILY = """{{ config(entity="user", timestamp="at", interval="1d") }}
SELECT user_id, at, SUM(amount) OVER last_7d AS daily_7d FROM {{ source("orders") }}
"""
PLAIN = """{{ config(entity="user", timestamp="at") }}
SELECT user_id, at, amount FROM {{ source("orders") }}
"""
CHAIN = """{{ config(entity="user", timestamp="at") }}
SELECT o.user_id, o.at, e.spend_7d AS spend_before FROM {{ source("orders") }} o
LEFT JOIN {{ ref("exact") }} e ON e.user_id = o.user_id
"""
RATIO = """{{ config(entity="user", on_demand=true) }}
SELECT spend_7d / NULLIF(orders_7d, 0) AS mean_7d FROM {{ ref("exact") }}
"""
STATIC = """{{ config(entity="user") }}
SELECT user_id, country FROM {{ source("users") }}
"""


def day(n: int, hour: int = 0) -> dt.datetime:
    return dt.datetime(2024, 3, n, hour)


ORDERS = [  # id, user, at, seen, amount: order 1 was corrected on the 5th, order 3 came in late, on the 6th
    (1, 1, day(1, 9), day(1, 9), 10.0),
    (2, 1, day(2, 9), day(2, 9), 5.0),
    (1, 1, day(1, 9), day(5), 7.0),
    (3, 1, day(3, 9), day(6), 100.0),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("known")
    (root / "features").mkdir()
    (root / "mlforge.yaml").write_text(YAML)
    texts = {"exact": EXACT, "daily": DAILY, "plain": PLAIN, "chain": CHAIN, "ratio": RATIO, "static": STATIC}
    for name, text in texts.items():
        (root / "features" / f"{name}.sql").write_text(text)
    names = ("id", "user_id", "at", "seen", "amount")
    pq.write_table(pa.table(dict(zip(names, zip(*ORDERS, strict=True), strict=True))), root / "orders.parquet")
    pq.write_table(pa.table({"user_id": [1], "country": ["NL"]}), root / "users.parquet")
    assert not mlf.open(root).build().failed
    return root


def values(project: Path, features: list[str], known_as_of: object, *times: dt.datetime, **more: object) -> list[dict]:
    labels = pa.table({"user_id": [1] * len(times), "label_time": list(times)})
    found = mlf.open(project).get_training_data(features, labels, known_as_of=known_as_of, **more)
    return [{k: v for k, v in row.items() if k not in labels.column_names} for row in found.to_pylist()]


FEATURES = ["exact", "daily", "plain", "chain", "ratio"]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (
            day(4),
            {
                "last_amount": 5.0,
                "spend_7d": 15.0,
                "orders_7d": 2,
                "daily_7d": 15.0,
                "amount": 5.0,
                "spend_before": 10.0,
                "mean_7d": 7.5,
            },
        ),
        (
            day(5),
            {
                "last_amount": 5.0,
                "spend_7d": 12.0,
                "orders_7d": 2,
                "daily_7d": 12.0,
                "amount": 5.0,
                "spend_before": 7.0,
                "mean_7d": 6.0,
            },
        ),
        (
            day(6),
            {
                "last_amount": 100.0,
                "spend_7d": 112.0,
                "orders_7d": 3,
                "daily_7d": 112.0,
                "amount": 100.0,
                "spend_before": 12.0,
                "mean_7d": 112.0 / 3,
            },
        ),
    ],
)
def test_rows_loaded_later_are_not_there(project: Path, known: dt.datetime, expected: dict[str, object]) -> None:
    assert values(project, FEATURES, known, day(4)) == [expected]


def test_an_instant_in_words_is_utc(project: Path) -> None:
    assert values(project, ["exact"], "2024-03-05T09:00+09:00", day(4)) == values(project, ["exact"], day(5), day(4))


def test_without_it_everything_counts(project: Path) -> None:
    assert values(project, ["exact"], None, day(4))[0]["spend_7d"] == 112.0


def test_a_label_column_gives_each_row_its_own_instant(project: Path) -> None:
    labels = pa.table({"user_id": [1, 1, 2, 1], "label_time": [day(4)] * 4, "known": [day(6), day(4), day(6), day(5)]})
    made = mlf.open(project).training_set(["exact"], labels, known_as_of="known")
    assert made.table["spend_7d"].to_pylist() == [112.0, 15.0, None, 12.0]
    assert made.table.select(labels.column_names).equals(labels)
    assert made.record["known_as_of"] == "known"
    assert made.record["rows"] == 4


def test_it_can_be_replayed_from_the_project_only(project: Path) -> None:
    labels = pa.table({"user_id": [1], "label_time": [day(4)], "known": [day(5)]})
    forge = mlf.open(project)
    for known in ("known", day(5)):
        made = forge.training_set(["exact"], labels, known_as_of=known)
        assert forge.replay(made.record["id"]).same
    bare = mlf.open(project / "catalog.duckdb").replay(made.record["id"])
    assert not bare.same
    assert bare.changed == ("the dataset was made with known_as_of, from sources",)


def test_a_source_that_does_not_say_is_refused_unless_ignored(project: Path) -> None:
    with pytest.raises(RetrievalError, match=r"source 'users' of static does not say when its rows became known"):
        values(project, ["static"], day(4), day(4))
    assert values(project, ["static"], day(4), day(4), ignore_loaded_at=True) == [{"country": "NL"}]


def test_neither_column_nor_instant(project: Path) -> None:
    with pytest.raises(RetrievalError, match="'yesterday' is neither a label column nor an instant"):
        values(project, ["exact"], "yesterday", day(4))


def test_null_instants_are_refused(project: Path) -> None:
    labels = pa.table({"user_id": [1], "label_time": [day(4)], "known": pa.array([None], pa.timestamp("us"))})
    with pytest.raises(RetrievalError, match="label column 'known' has NULLs"):
        mlf.open(project).get_training_data(["exact"], labels, known_as_of="known")
