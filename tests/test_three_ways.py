"""Python, the command line and the macros give identical rows for every kind of feature, in any session's time zone."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mlforge as mlf
from tests.oracle.runner import bits, fetch

if TYPE_CHECKING:
    from pathlib import Path

YAML = """\
name: shop
sources:
  payments: {path: data/payments.csv, loaded_at: loaded}
  prices: {path: data/prices.json}
  users: {path: data/users.parquet}
entities:
  user: {key: user_id}
  item: {key: [shop, item]}
feature_sets:
  all_v1: [spend, daily, price, who, against, share]
"""

FEATURES = {
    "spend": """\
{{ config(entity="user", timestamp="paid_at", ttl="30d") }}
SELECT user_id, paid_at, shop AS last_shop,
    SUM(amount) OVER last_7d AS spend_7d,
    AVG(amount) OVER last_1mo,
    COUNT(*) FILTER (WHERE amount > 5) OVER ever AS big,
    COALESCE(MODE(shop) OVER ever, 'none') AS usual_shop,
    (LIST(amount) OVER ever)[-3:] AS last_amounts,
    STDDEV(amount) OVER last_1y AS spread,
    date_diff('hour', MAX(paid_at) OVER ever, as_of()) AS hours_since
FROM {{ source("payments") }}
""",
    "daily": """\
{{ config(entity="user", timestamp="paid_at", interval="1d", timezone="America/New_York", delay="1h") }}
SELECT user_id, paid_at, SUM(amount) OVER last_2d AS spend_2d, MEDIAN(amount) OVER last_1w AS middle, as_of() AS fresh
FROM {{ source("payments") }}
""",
    "price": """\
{{ config(entity="item", timestamp="since", ttl="60d") }}
SELECT shop, item, since, price, currency FROM {{ source("prices") }}
""",
    "who": """\
{{ config(entity="user") }}
SELECT user_id, born, country FROM {{ source("users") }}
""",
    "against": """\
{{ config(entity="user", timestamp="paid_at") }}
SELECT p.user_id, p.paid_at, r.price AS shop_price, AVG(p.amount - r.price) OVER last_30d AS above_price
FROM {{ source("payments") }} AS p
LEFT JOIN {{ ref("price") }} AS r ON p.shop = r.shop AND p.item = r.item
""",
    "share": """\
{{ config(entity="user", on_demand=true, request={"amount": "DOUBLE"}) }}
SELECT amount / NULLIF(s.spend_7d, 0) AS share_of_week FROM {{ ref("spend") }} AS s
""",
}
KINDS = list(FEATURES)

PAYMENTS = """\
user_id,paid_at,shop,item,amount,loaded
1,2024-03-01 00:00:00,north,1,2.5,2024-03-01 06:00:00
1,2024-03-01 00:00:00,south,1,7.25,2024-03-01 05:00:00
1,2024-03-07 23:59:59.999999,north,2,0.1,2024-03-08 00:00:00
1,2024-03-10 06:59:59,south,2,0.2,2024-03-10 07:00:00
2,2024-02-29 12:00:00,north,1,100,2024-03-01 00:00:00
2,2024-03-31 12:00:00,north,1,,2024-04-01 00:00:00
2,,north,1,5,2024-04-01 00:00:00
,2024-03-31 12:00:00,north,1,6,2024-04-01 00:00:00
"""
PRICES = """\
{"shop": "north", "item": 1, "since": "2024-01-15 00:00:00", "price": 2.0, "currency": "EUR"}
{"shop": "north", "item": 1, "since": "2024-03-01 00:00:00", "price": 2.25, "currency": "EUR"}
{"shop": "south", "item": 2, "since": "2024-03-10 06:59:59", "price": 0.15, "currency": null}
"""


def stamp(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def labels() -> pa.Table:
    times = [
        "2024-03-08T00:00",
        "2024-03-10T05:00",
        "2024-03-10T06:59:59",
        "2024-03-10T06:59:59.000001",
        "2024-03-08T00:00",
        "2024-03-31T12:00",
        "2024-04-01T00:00",
        "1999-01-01T00:00",
        "2024-04-30T00:00",
        None,
        "2024-04-01T00:00",
    ]
    users = [1, 1, 1, 1, 1, 2, 2, 2, 77, 1, None]
    return pa.table(
        {
            "paid_at": [f"mine {n}" for n in range(len(times))],
            "user_id": users,
            "label_time": pa.array([stamp(t) if t else None for t in times], pa.timestamp("us")),
            "shop": ["north", "south", "south", None, "north", "north", "north", "north", "east", "north", "north"],
            "item": pa.array([1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1], pa.int64()),
            "amount": [1.0, None, 0.0, 2.0, 1.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
        }
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built project whose sources are CSV, JSON and Parquet, with label rows beside it."""
    root = tmp_path_factory.mktemp("shop")
    for folder in ("data", "features"):
        (root / folder).mkdir()
    (root / "mlforge.yaml").write_text(YAML)
    (root / "data/payments.csv").write_text(PAYMENTS)
    (root / "data/prices.json").write_text(PRICES)
    users = {"user_id": [1, 2], "born": [dt.date(1990, 1, 1), None], "country": ["PT", "NO"]}
    pq.write_table(pa.table(users), root / "data/users.parquet")
    pq.write_table(labels(), root / "labels.parquet")
    for name, text in FEATURES.items():
        (root / f"features/{name}.sql").write_text(text)
    mlf.open(str(root)).build()
    return root


def by_python(root: Path, **asked: object) -> pa.Table:
    return mlf.open(str(root)).get_training_data(entity_df=labels(), timestamp="label_time", **asked)


def by_command(root: Path, *asked: str, zone: str) -> pa.Table:
    program = "import sys; from mlforge.cli.app import main; sys.exit(main())"
    out = root / "out.parquet"
    command = [sys.executable, "-c", program, "training-set", "--labels", "labels.parquet"]
    command += ["--timestamp", "label_time", "--out", str(out), *asked]
    done = subprocess.run(command, cwd=root, env=os.environ | {"TZ": zone}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return pq.read_table(out)


def by_macro(root: Path, macro: str, zone: str) -> pa.Table:
    with duckdb.connect(str(root / "catalog.duckdb"), read_only=True) as con:
        con.execute(f"SET TimeZone = '{zone}'")
        con.register("my_labels", labels())
        return fetch(con, f"FROM {macro}('my_labels')")


def same(left: pa.Table, right: pa.Table) -> None:
    assert left.column_names == right.column_names
    for name in left.column_names:
        assert left[name].type == right[name].type, name
        assert bits(left[name]) == bits(right[name]), name


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("kind", KINDS)
def test_identical_rows_for_each_kind(shop: Path, kind: str, zone: str) -> None:
    python = by_python(shop, features=[kind])
    same(python, by_macro(shop, f"features.{kind}_asof", zone))
    same(python, by_command(shop, "--features", kind, zone=zone))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_identical_rows_for_a_feature_set(shop: Path, zone: str) -> None:
    python = by_python(shop, features="all_v1")
    same(python, by_macro(shop, "feature_sets.all_v1", zone))
    same(python, by_command(shop, "--feature-set", "all_v1", zone=zone))
    same(python, by_python(shop, features=KINDS))


def column(table: pa.Table, name: str) -> list[object]:
    return table[name].to_pylist()


def test_values_worked_out_by_hand(shop: Path) -> None:
    rows = by_python(shop, features="all_v1")
    assert rows.column_names[: labels().num_columns] == labels().column_names
    assert column(rows, "paid_at") == column(labels(), "paid_at")
    none = [None] * 6
    week, few = pytest.approx(9.85), pytest.approx(0.3)
    assert column(rows, "spend_7d") == [week, 0.1, 0.1, few, week, *none]
    assert column(rows, "last_shop") == ["north", "north", "north", "south", "north", None, "north", *none[:4]]
    assert column(rows, "big") == [1, 1, 1, 1, 1, 1, 1, 0, 0, None, None]
    usual = ["north", "north", "north", "south", "north", "north", "north", "none", "none", None, None]
    assert column(rows, "usual_shop") == usual  # at row 3 both came twice, and south was loaded first
    assert column(rows, "hours_since") == [1, 54, 55, 0, 1, 744, 12, *none[:4]]
    assert column(rows, "price") == [2.25, None, 0.15, None, 2.25, 2.25, 2.25, None, None, None, 2.25]
    assert column(rows, "country") == ["PT"] * 5 + ["NO"] * 3 + none[:3]
    assert column(rows, "shop_price") == [None, None, None, 0.15, None, 2.0, 2.25, *none[:4]]
    one, two = pytest.approx(1 / 9.85), pytest.approx(2 / 0.3)
    assert column(rows, "share_of_week") == [one, None, 0.0, two, one, *none]
