"""explain: the numbers it names add up to the value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.running import Shop, mlforge

if TYPE_CHECKING:
    from pathlib import Path

EXACT = """\
{{ config(entity="user", timestamp="event_time", delay="1h") }}
SELECT
    user_id, event_time, merchant AS last_merchant,
    SUM(amount) OVER last_30d AS spend,
    COUNT(*) FILTER (WHERE amount > 100) OVER last_30d AS big,
    COUNT(*) OVER ever AS payments
FROM {{ source("transactions") }}
"""
AT = "2024-03-01T09:00"


def explained(root: Path, *arguments: object) -> Any:
    return mlforge("-C", root, "explain", *arguments, "--json").json


@pytest.fixture
def exact(shop: Shop) -> Shop:
    shop.path("features/exact.sql").write_text(EXACT)
    shop.path("data/transactions.csv").write_text(
        "transaction_id,user_id,event_time,merchant,amount,status\n"
        "1,7,2024-01-01 00:00:00,early,1.00,settled\n"
        "2,7,2024-01-31 08:00:00,edge,2.00,settled\n"  # the first instant of 30 days before 08:00
        "3,7,2024-02-20 00:00:00,bakery,300.00,settled\n"
        "4,7,2024-03-01 08:00:00,late,4.00,settled\n"  # an hour before T: not yet known
        "5,8,2024-02-20 00:00:00,other,5.00,settled\n"
    )
    shop.run("build", "-f", "exact")
    return shop


def test_exact_windows(exact: Shop) -> None:
    found = explained(exact.root, "exact", "--key", "7", "--at", AT)
    assert found["value"] == {"last_merchant": "bakery", "spend": "302.00", "big": 1, "payments": 3}
    month, ever = found["windows"]
    assert (month["window"], month["lower"], month["upper"]) == ("30d", "2024-01-31T08:00:00", "2024-03-01T08:00:00")
    assert (month["inside"], month["before"], month["after"]) == (2, 1, 1)
    assert month["columns"] == ["spend", "big"]
    assert month["filtered"] == {"amount > 100": 1}
    assert [r["amount"] for r in month["rows"]] == ["300.00", "2.00"]
    assert [r["event_time"] for r in month["rows_after"]] == ["2024-03-01T08:00:00"]
    assert (ever["window"], ever["lower"], ever["inside"]) == ("ever", None, 3)
    assert found["latest"]["merchant"] == "bakery"
    said = mlforge("-C", exact.root, "explain", "exact", "--key", "7", "--at", AT).out
    assert "2024-01-31 08:00:00 <= t < 2024-03-01 08:00:00" in said
    assert "1 row inside left out: FILTER (amount > 100) does not hold" in said
    assert "too late" in said
    assert "delay 1h" in said


def test_a_zone_is_taken_into_account(exact: Shop) -> None:
    here = explained(exact.root, "exact", "--key", "7", "--at", "2024-03-01T18:00+09:00")
    assert here == explained(exact.root, "exact", "--key", "7", "--at", AT)


def test_a_key_never_seen(exact: Shop) -> None:
    found = explained(exact.root, "exact", "--key", "99", "--at", AT)
    assert found["value"] == {"last_merchant": None, "spend": None, "big": 0, "payments": 0}
    assert found["latest"] is None
    assert [w["inside"] for w in found["windows"]] == [0, 0]


def test_an_interval_feature_reads_its_rows_from_the_sources(built: Path) -> None:
    found = explained(built, "user_spend", "--key", "user_id=7", "--at", AT)
    assert found["read_at"] == "2024-03-01T00:00:00"
    by_name = {w["window"]: w for w in found["windows"]}
    assert by_name["7d"]["inside"] == found["value"]["payments_7d"]
    assert found["stored"]["payments_7d"] == found["value"]["payments_7d"]
    assert "the rows were read from the sources as they are now" in found["notes"]


def test_an_interval_feature_of_a_bare_catalog_says_what_is_missing(built: Path) -> None:
    found = explained(built / "catalog.duckdb", "user_spend", "--key", "7", "--at", AT)
    assert found["windows"] == []
    assert found["notes"][0].startswith("an interval feature keeps snapshots, not rows")


def test_plain_and_static(built: Path) -> None:
    plain = explained(built, "user_last_purchase", "--key", "7", "--at", AT)
    assert plain["windows"][0]["window"] == "ttl 90d"
    assert plain["windows"][0]["rows"][0]["last_merchant"] == plain["value"]["last_merchant"]
    static = explained(built, "user_profile", "--key", "7", "--at", AT)
    assert static["latest"] == static["value"]


def test_on_demand_explains_what_it_reads(built: Path) -> None:
    found = explained(built, "payment_size", "--key", "7", "--at", AT, "--request", "amount=50")
    (read,) = found["reads"]
    assert read["feature"] == "user_spend"
    assert found["value"]["amount_to_usual"] == pytest.approx(50 / read["value"]["amount_avg_30d"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["user_spend", "--key", "7", "--at", "yesterday"], "'yesterday' is not an instant"),
        (["user_spend", "--key", "7", "--at", "0001-01-01T00:00+12:00"], "'0001-01-01T00:00+12:00' is not an instant"),
        (["user_spend", "--key", "id=7", "--at", AT], "the key or request does not fit"),
        (["user_spend", "--key", "x", "--at", AT], "the key or request does not fit"),
        (["user_spend", "--at", AT], "Missing option '--key'"),
        (["user_spend", "--key", "7"], "Missing option '--at'"),
        (["user_spnd", "--key", "7", "--at", AT], "the catalog has no feature 'user_spnd'"),
        (["payment_size", "--key", "7", "--at", AT], "payment_size needs the request columns amount"),
        (["payment_size", "--key", "7", "--at", AT, "--request", "amount"], "--request amount has no value"),
        (["payment_size", "--key", "7", "--at", AT, "--request", "amount=x"], "the key or request does not fit"),
    ],
)
def test_wrong_questions(built: Path, arguments: list[str], message: str) -> None:
    assert message in mlforge("-C", built, "explain", *arguments, code=2).err
