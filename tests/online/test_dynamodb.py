"""What only DynamoDB does: items that expire, items that it leaves out of an answer, and throttling."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

import pytest

from mlforge.errors import StoreDownError, StoreRefusedError
from mlforge.online import open_store
from mlforge.stores.dynamodb import DynamoDBStore
from mlforge.stores.store import Change
from tests.online.served import Between, Served, expiries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlforge.stores.store import Store
    from tests.online.servers import MotoServer

DAY = 86_400


def opened(moto: MotoServer, **more: Any) -> DynamoDBStore:
    store = open_store({"kind": "dynamodb", "table": "features", "endpoint": moto.endpoint, "create": True, **more})
    assert isinstance(store, DynamoDBStore)
    return store


@pytest.fixture
def store(moto_server: MotoServer) -> Iterator[DynamoDBStore]:
    moto_server.reset()
    made = opened(moto_server)
    yield made
    made.close()


@pytest.fixture
def served(tmp_path: Path, store: DynamoDBStore) -> Served:
    made = Served(tmp_path / "project", store)
    made.feature(
        "newest", '{{ config(entity="user", timestamp="t", ttl="1h") }} SELECT k, t, x FROM {{ source("ev") }}'
    )
    made.rows_at_noon((1, 10), (2, 20), (3, 30))
    made.good()
    made.publish()
    return made


def switch_off(store: DynamoDBStore) -> None:
    off = {"Enabled": False, "AttributeName": "expires"}
    store._client.update_time_to_live(TableName=store.table, TimeToLiveSpecification=off)


def test_keys_that_vanished_expire_after_the_grace_period_and_a_day(served: Served) -> None:
    assert expiries(served.store) == {}
    served.rows_at_noon((1, 10), (3, 31))
    served.good()
    before = time.time()
    served.publish(grace=600.0)
    found = expiries(served.store)
    assert list(found) == [n for n in served.names() if n.endswith(b"/i1:2")]
    assert len(found) == 2
    for at in found.values():
        assert before + 600 + DAY - 1 <= at <= time.time() + 600 + DAY
    assert served.get("newest", 1, 2, 3) == [{"k": 1, "x": 10}, {"k": 2, "x": None}, {"k": 3, "x": 31}]


def test_what_expired_may_be_deleted_and_nobody_sees_it(served: Served) -> None:
    served.rows_at_noon((1, 10), (3, 31))
    served.good()
    served.publish()
    asked: list[Any] = [("newest", 1, 2, 3), ("spend", 1, 2, 3)]
    seen = [[served.get(*a, at=at), served.statuses(*a, at=at)] for a in asked for at in AT]
    gone = list(expiries(served.store))
    assert (
        served.store.swap([Change(n, r, None) for n, r in zip(gone, served.store.read(gone), strict=True)])
        == [True] * 2
    )
    assert [[served.get(*a, at=at), served.statuses(*a, at=at)] for a in asked for at in AT] == seen
    served.rows_at_noon((1, 10), (2, 22), (3, 31))
    served.good()
    served.publish()
    assert served.get("newest", 2) == [{"k": 2, "x": 22}]


AT = ("2024-03-01T11:59", "2024-03-01T12:30", "2024-03-01T14:00", "2034-03-01T12:00")


def test_values_that_the_ttl_ends_stay_with_their_event_time(served: Served) -> None:
    served.publish(full=True, at="2024-03-03T12:00")
    assert served.statuses("newest", 1, at="2024-03-03T12:00") == [{"x": "EXPIRED"}]
    live = [n for n in served.names() if b"~2/" in n]
    assert len(live) == 6
    assert not set(live) & set(expiries(served.store))


def test_a_key_that_comes_back_does_not_expire(served: Served) -> None:
    served.rows_at_noon((1, 10))
    served.good()
    served.publish()
    assert len(expiries(served.store)) == 4
    served.rows_at_noon((1, 10), (2, 22))
    served.good()
    served.publish()
    assert {n.rpartition(b":")[2] for n in expiries(served.store)} == {b"3"}
    assert served.get("newest", 2) == [{"k": 2, "x": 22}]


def test_versions_that_were_replaced_expire(served: Served) -> None:
    served.publish(full=True)
    assert set(expiries(served.store)) == {n for n in served.names() if b"~1/" in n}
    assert len(served.names(expiring=False)) == 6
    assert served.publish(at="2024-03-09T12:00").nothing_to_do  # a scan is charged for: nothing is left to look for
    assert len(served.names()) == 12


def test_without_time_to_live_the_next_publish_deletes(served: Served) -> None:
    switch_off(served.store)  # type: ignore[arg-type]
    served.publish(full=True)
    assert expiries(served.store) == {}
    assert len(served.names()) == 12
    served.publish(at="2024-03-01T13:00")
    assert len(served.names()) == 6


def test_a_changed_item_does_not_expire(store: DynamoDBStore) -> None:
    assert store.swap([Change(b"a", None, b"1"), Change(b"b", None, b"1")]) == [True, True]
    assert store.forgets
    store.expire([Change(b"a", b"0", None), Change(b"b", b"1", None), Change(b"c", b"1", None)], 2_000_000_000)
    assert expiries(store) == {b"b": 2_000_000_000}
    assert store.read([b"a", b"b", b"c"]) == [b"1", b"1", None]


def test_what_an_answer_leaves_out_is_asked_for_again(store: DynamoDBStore) -> None:
    """DynamoDB gives 16 MB at once."""
    names = [b"n%d" % n for n in range(60)]
    assert all(store.swap([Change(n, None, n * 100_000) for n in names]))
    assert store.read(names) == [n * 100_000 for n in names]


class Throttling:
    """Passes requests on to moto, but refuses ``left`` of them first, as a busy DynamoDB does."""

    def __init__(self, moto: MotoServer) -> None:
        self.left = 0
        self.refused = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = outer.refusal() or outer.passed(moto, dict(self.headers), body)
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def refusal(self) -> tuple[int, bytes] | None:
        if self.left <= 0:
            return None
        self.left -= 1
        self.refused += 1
        kind = b"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
        return 400, b'{"__type": "%b", "message": "slow down"}' % kind

    def passed(self, moto: MotoServer, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        request = urllib.request.Request(moto.endpoint, body, headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def throttling(moto_server: MotoServer) -> Iterator[Throttling]:
    moto_server.reset()
    made = Throttling(moto_server)
    yield made
    made.stop()


def test_a_publish_waits_while_dynamodb_throttles(tmp_path: Path, throttling: Throttling) -> None:
    served = Served(tmp_path / "project", opened(throttling))  # type: ignore[arg-type]
    served.rows_at_noon((1, 10), (2, 20), (3, 30))
    served.good()
    served.publish()
    served.rows_at_noon((1, 11), (2, 20), (4, 40))
    served.good()

    def throttle() -> None:
        throttling.left = 5

    served.publish(store=cast("Store", Between(served.store, 3, throttle)), patience=30.0)
    assert throttling.refused == 5
    assert [r["x"] for r in served.get("newest", 1, 2, 3, 4)] == [11, 20, None, 40]
    served.store.close()


def test_throttling_that_does_not_end_is_a_clear_error(throttling: Throttling) -> None:
    store = opened(throttling)  # type: ignore[arg-type]
    throttling.left = 10_000
    for call in (lambda: store.read([b"a"]), lambda: store.swap([Change(b"a", None, b"1")])):
        with pytest.raises(StoreDownError, match="slow down") as caught:
            call()
        assert (caught.value.hint or "").startswith("it throttles")
        assert not isinstance(caught.value, StoreRefusedError)
    store.close()
