"""What the routes that read features answer: the same as the client in Python, as JSON."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import mlforge as mlf
from mlforge.online import Client
from tests.serve.shop import AT, NOON

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serve.server import Server

ADA = {"first": "Ada", "number": 1}
BOB = {"first": "Bob", "number": 2}


def test_a_feature_set_is_one_url(server: Server) -> None:
    row = {**ADA, "left": 1, "b": "x"}
    expected = {**row, "last_amount": 10.5, "total": 10.5, "clock": "12:30", "p_n": 1}
    for name in ("basket", "basket@1"):
        answer = server.post(f"/feature-sets/{name}", {"entity_rows": [row], "at": AT})
        assert (answer.status_code, answer.json()) == (200, {"rows": [expected]})
    assert answer.headers["content-type"] == "application/json"
    assert server.rows("basket", row, at=AT) == [expected]


def test_features_by_reference(server: Server) -> None:
    uid = mlf.surrogate_key("Ada", 1)
    assert server.rows("spend:total", ADA, {"uid": uid}, {"uid": None}, at=AT) == [
        {**ADA, "total": 10.5},
        {"uid": uid, "total": 10.5},
        {"uid": None, "total": None},
    ]
    (row,) = server.rows(["spend@1:total", "pairs"], {**ADA, "a": 1, "b": "x"}, at=AT, full_names=True)
    assert (row["spend__total"], row["pairs__n"]) == (10.5, 1)
    assert server.rows("spend", at=AT) == []


def test_the_long_form_of_a_reference(server: Server) -> None:
    spec = {"feature": "pairs", "columns": ["n"], "version": "1", "keys": {"a": "left"}, "prefix": "x_"}
    (row,) = server.rows([spec, "spend:total"], {**ADA, "left": 2, "b": "y"}, at=AT)
    assert row == {**ADA, "left": 2, "b": "y", "x_n": 1, "total": 10.5}


def test_status_of_every_value(server: Server) -> None:
    def status(row: dict[str, Any], at: str) -> dict[str, Any]:
        (found,) = server.rows("spend", row, at=at, with_status=True)
        value: dict[str, Any] = found["last_amount"]
        return value

    value = {"value": 10.5, "status": "PRESENT", "event_time": NOON, "version": "1.0.0", "step": 0}
    assert status(ADA, AT) == value
    assert status(ADA, "2024-03-01T13:00:01") == {**value, "value": None, "status": "EXPIRED"}
    assert status({"uid": "nobody"}, AT)["status"] == "MISSING"
    assert status(ADA, "2024-03-01T11:00")["status"] == "OUT_OF_RANGE"


def test_now_is_the_default(server: Server) -> None:
    (row,) = server.rows("spend:clock", ADA)
    now = dt.datetime.now(dt.UTC)
    assert row["clock"] in {f"{now - dt.timedelta(minutes=m):%H:%M}" for m in range(3)}


def test_request_columns_of_on_demand_features(server: Server) -> None:
    rows = server.rows("ratio", {**ADA, "price": 21}, {**ADA, "price": "5.25"}, {**ADA, "price": None}, at=AT)
    assert [row["share"] for row in rows] == [2.0, 0.5, None]


def test_a_batch_by_rows_and_by_columns(server: Server) -> None:
    rows = [ADA, BOB] * 12
    asked = {"features": ["spend:total"], "at": AT}
    by_rows = server.post("/features/batch", {**asked, "entity_rows": rows}).json()["rows"]
    columns = {name: [row[name] for row in rows] for name in ADA}
    by_columns = server.post("/features/batch", {**asked, "entity_columns": columns}).json()["rows"]
    assert by_rows == by_columns == [{**ADA, "total": 10.5}, {**BOB, "total": None}] * 12
    answer = server.post("/features/batch", {**asked, "entity_columns": columns, "columnar": True}).json()
    assert answer == {"columns": {**columns, "total": [10.5, None] * 12}}
    odd = [ADA, {"uid": None}]
    answer = server.post("/features/batch", {**asked, "entity_rows": odd, "columnar": True}).json()
    assert answer["columns"] == {
        "first": ["Ada", None],
        "number": [1, None],
        "total": [10.5, None],
        "uid": [None, None],
    }
    empty = server.post("/features/batch", {**asked, "entity_columns": {}, "columnar": True}).json()
    assert empty == {"columns": {}}


def test_what_json_lacks_is_text(server: Server) -> None:
    (row,) = server.rows("kinds", {"d": "2024-03-01"}, at=AT)
    assert row == {
        "d": "2024-03-01",
        "big": 9007199254740993,
        "exact": "1.50",
        "yes": True,
        "moment": "2024-03-01T01:02:03.500000",
        "id": "b0a4a2a6-5d5c-4b2a-9b43-0f4b5a1c2d3e",
        "raw": "qgA=",
        "nan": "NaN",
        "up": "Infinity",
        "down": "-Infinity",
        "listed": ["NaN", 1.5, None],
        "packed": {"n": 1, "x": "NaN"},
        "counted": {"1": "one"},
        "judged": {"true": 1.5},
        "nothing": None,
        "odd": 'ü"\\',
    }
    (row,) = server.rows("kinds:nan,judged", {"d": "2024-03-01"}, at=AT, with_status=True)
    assert (row["nan"]["value"], row["judged"]["value"]) == ("NaN", {"true": 1.5})
    answer = server.post(
        "/features/batch", {"features": "kinds:up", "entity_rows": [{"d": "2024-03-01"}], "columnar": True}
    )
    assert answer.json()["columns"]["up"] == ["Infinity"]


def test_surrogate_keys_made_of_what_json_lacks(server: Server) -> None:
    """The text of a date makes another key than the date."""
    person = {
        "name": "Ada",
        "born": {"$date": "1815-12-10"},
        "rank": {"$decimal": "1.5"},
        "id": {"$uuid": "b0a4a2a6-5d5c-4b2a-9b43-0f4b5a1c2d3e"},
    }
    plain = {"name": "Ada", "born": "1815-12-10", "rank": "1.5", "id": "b0a4a2a6-5d5c-4b2a-9b43-0f4b5a1c2d3e"}
    assert server.rows("people", person, plain, {"pid": "x"}) == [
        {**plain, "lucky": 7},
        {**plain, "lucky": None},
        {"pid": "x", "lucky": None},
    ]
    columns = {name: [value] for name, value in person.items()}
    answer = server.post("/features/batch", {"features": "people:lucky", "entity_columns": columns, "columnar": True})
    assert answer.json()["columns"]["lucky"] == [7]
    at_noon = {**ADA, "note": {"$timestamp": "2024-03-01T12:00"}, "more": {"a": 1, "$b": 2}, "other": {"a": 1}}
    assert server.rows("spend:total", at_noon, at=AT) == [
        {**ADA, "note": "2024-03-01T12:00:00", "more": {"a": 1, "$b": 2}, "other": {"a": 1}, "total": 10.5}
    ]


def test_the_answer_is_that_of_the_client_in_python(server: Server, shop: Path) -> None:
    client = Client(f"sqlite://{shop}/online.db", "shop")
    rows = [{**ADA, "left": 1, "b": "x"}, {**BOB, "left": 2, "b": "y"}, {"uid": "nobody", "left": 7, "b": ""}]
    try:
        for at in (AT, "2024-03-01T14:00:00", "2024-04-01"):
            assert server.rows("basket", *rows, at=at) == client.get_online_features("basket", rows, at=at)
    finally:
        client.close()
