"""The log of what was served: what is in it, that nothing waits for it, and that readers never see half a file."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import logging
import math
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from mlforge.errors import OnlineError, UsageError
from mlforge.online import Client
from mlforge.online.key_decoding import natural
from mlforge.online.key_encoding import encoder
from mlforge.online.packed_values import micros, moment
from mlforge.online.request_log import RequestLog
from mlforge.online.value_text import text
from mlforge.stores.sqlite import SQLiteStore
from tests.online.served import Served

if TYPE_CHECKING:
    from pathlib import Path

AT = "2024-03-01T12:30:00"
NAN = float("nan")


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path, SQLiteStore(tmp_path / "online.db"))
    made.rows_at_noon((1, 10), (2, 20))
    made.good()
    made.publish()
    return made


def serve(log: RequestLog, client: Client, features: Any, *rows: dict[str, Any], full_names: bool = False) -> None:
    """As a server does it."""
    at = micros(AT)
    answers = client.get_online_features(features, rows, at=moment(at), with_status=True, full_names=full_names)
    log.add(client.plan(features, full_names=full_names), at, rows, answers)


def logged(folder: Path, what: str = "*", tail: str = "") -> list[tuple[Any, ...]]:
    with duckdb.connect() as con:
        return con.execute(f"SELECT {what} FROM '{folder}/*.parquet' {tail}").fetchall()


def test_a_row_for_each_entity_row_and_feature_column(served: Served, tmp_path: Path) -> None:
    client, log = Client(served.store, "small"), RequestLog(tmp_path / "log", 1)
    serve(log, client, "both", {"k": 1, "other": "kept to itself"}, {"k": 9}, {"k": None})
    log.close()
    rows = logged(
        tmp_path / "log",
        "entity_row, feature, version, feature_column, name, keys, value, status, event_time, step",
        "ORDER BY ALL",
    )
    noon = dt.datetime(2024, 3, 1, 12)
    assert rows == [
        (0, "newest", "1.0.0", "x", "n_x", '{"k": 1}', "10", "PRESENT", noon, 0),
        (0, "spend", "1.0.0", "events", "events", '{"k": 1}', "1", "PRESENT", noon, 0),
        (0, "spend", "1.0.0", "spend_1h", "spend_1h", '{"k": 1}', "10", "PRESENT", noon, 0),
        (1, "newest", "1.0.0", "x", "n_x", '{"k": 9}', None, "MISSING", None, 0),
        (1, "spend", "1.0.0", "events", "events", '{"k": 9}', "0", "MISSING", None, 0),
        (1, "spend", "1.0.0", "spend_1h", "spend_1h", '{"k": 9}', None, "MISSING", None, 0),
        (2, "newest", "1.0.0", "x", "n_x", '{"k": null}', None, "MISSING", None, 0),
        (2, "spend", "1.0.0", "events", "events", '{"k": null}', None, "MISSING", None, 0),
        (2, "spend", "1.0.0", "spend_1h", "spend_1h", '{"k": null}', None, "MISSING", None, 0),
    ]
    (again,) = logged(tmp_path / "log", "list_distinct(list(asked_at)), count(DISTINCT request_id), any_value(built)")
    assert again[:2] == ([dt.datetime(2024, 3, 1, 12, 30)], 1)
    assert again[2] == client.manifest().tables["spend@1.0"].identity


def test_names_of_the_request_lead_back_to_features_and_keys(served: Served, tmp_path: Path) -> None:
    from mlforge import FeatureSpec

    client, log = Client(served.store, "small"), RequestLog(tmp_path / "log", 1)
    asked = [FeatureSpec("spend", columns=["events"], keys={"k": "payer"}), FeatureSpec("newest", prefix="p_")]
    serve(log, client, asked, {"payer": 2, "k": 1}, full_names=True)
    log.close()
    assert logged(tmp_path / "log", "feature, feature_column, name, keys, value", "ORDER BY ALL") == [
        ("newest", "x", "p_newest__x", '{"k": 1}', "10"),
        ("spend", "events", "spend__events", '{"k": 2}', "1"),
    ]


def test_request_columns_of_on_demand_features(served: Served, tmp_path: Path) -> None:
    served.feature(
        "share",
        '{{ config(entity="user", on_demand=true, request={"amount": "DOUBLE"}) }}\n'
        'SELECT amount / s.events AS share, as_of() AS at FROM {{ ref("spend") }} AS s',
    )
    served.good()
    served.publish()
    client, log = Client(served.store, "small"), RequestLog(tmp_path / "log", 1)
    serve(log, client, "share", {"k": 1, "amount": 0.1}, {"k": 1, "amount": NAN}, {"k": 2, "amount": None})
    log.close()
    rows = logged(tmp_path / "log", "request, value", "WHERE feature_column = 'share' ORDER BY entity_row")
    assert rows == [('{"amount": 0.1}', "0.1"), ('{"amount": "NaN"}', '"NaN"'), ('{"amount": null}', None)]
    at = logged(tmp_path / "log", "DISTINCT value", "WHERE feature_column = 'at'")
    assert at == [('"2024-03-01T12:30:00"',)]


def test_a_share_of_requests(tmp_path: Path) -> None:
    assert [RequestLog(tmp_path, share).wants() for share in (0, 1)] == [False, True]
    some = sum(RequestLog(tmp_path, 0.5).wants() for _ in range(2000))
    assert 800 < some < 1200
    for share in (-0.1, 1.1, NAN):
        with pytest.raises(UsageError, match="a share of requests is from 0 to 1"):
            RequestLog(tmp_path, share)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"requests cannot be logged into .*file/log"):
        RequestLog(tmp_path / "file" / "log", 1)


def test_a_full_queue_drops_and_says_so_once(served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client, log = Client(served.store, "small"), RequestLog(tmp_path / "log", 1, waiting=4)
    with caplog.at_level(logging.WARNING):
        for k in range(5):
            serve(log, client, "spend", {"k": k})
    assert log.dropped == 3  # two values each: two requests fit
    assert [r.message for r in caplog.records] == [
        "requests are not logged: more requests come than can be written; said once, RequestLog.dropped counts them"
    ]
    log.close()
    assert logged(tmp_path / "log", "DISTINCT keys", "ORDER BY ALL") == [('{"k": 0}',), ('{"k": 1}',)]
    serve(log, client, "spend", {"k": 7})
    assert log.dropped == 4


def test_a_disk_that_refuses(served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client, log = Client(served.store, "small"), RequestLog(tmp_path / "log", 1)
    (tmp_path / "log").rmdir()
    (tmp_path / "log").write_text("no folder any more")
    with caplog.at_level(logging.WARNING):
        serve(log, client, "spend", {"k": 1})
        serve(log, client, "spend", {"k": 2})
        log.close()
    assert log.dropped == 2
    assert "refuses" in caplog.records[0].message


def test_an_answer_of_other_names_is_dropped_and_the_rest_is_not(served: Served, tmp_path: Path) -> None:
    client, log = Client(served.store, "small"), RequestLog(tmp_path / "log", 1)
    serve(log, client, "spend", {"k": 1})
    log.add(client.plan("newest"), micros(AT), [{"k": 1}], [{"k": 1, "y": 3}])
    log.close()
    assert log.dropped == 1
    assert len(logged(tmp_path / "log")) == 2


def test_text_that_no_file_can_hold_ends_nothing(served: Served, tmp_path: Path) -> None:
    served.feature(
        "said",
        '{{ config(entity="user", on_demand=true, request={"word": "VARCHAR"}) }}\n'
        'SELECT word AS word_, s.events AS n FROM {{ ref("spend") }} AS s',
    )
    served.good()
    served.publish()
    client, log = Client(served.store, "small"), RequestLog(tmp_path / "log", 1, rows=1)
    (answer,) = client.get_online_features("said", [{"k": 1, "word": "x"}], at=AT, with_status=True)
    log.add(client.plan("said"), micros(AT), [{"k": 1, "word": "\ud800"}], [answer])
    serve(log, client, "spend", {"k": 1})
    log.close()
    assert log.dropped == 1
    assert logged(tmp_path / "log", "DISTINCT feature") == [("spend",)]


def test_files_come_by_size_and_by_time(served: Served, tmp_path: Path) -> None:
    client, log = Client(served.store, "small"), RequestLog(tmp_path / "log", 1, rows=4, seconds=600)
    for k in range(4):
        serve(log, client, "spend", {"k": k})
    log.close()
    assert len(list((tmp_path / "log").iterdir())) == 2
    soon = RequestLog(tmp_path / "soon", 1, seconds=0.01)
    serve(soon, client, "spend", {"k": 1})
    waited = threading.Event()
    while not list((tmp_path / "soon").glob("*.parquet")):
        waited.wait(0.01)
    assert len(logged(tmp_path / "soon")) == 2
    soon.close()


WORKER = """
import sys
from pathlib import Path
from mlforge.online import Client
from mlforge.online.request_log import RequestLog
from mlforge.online.packed_values import micros, moment

store, folder = sys.argv[1:]
client, log, at = Client(store, "small"), RequestLog(Path(folder), 1, rows=200), micros("2024-03-01T12:30")
for k in range(1000):
    rows = [{"k": k}]
    answers = client.get_online_features("spend", rows, at=moment(at), with_status=True)
    log.add(client.plan("spend"), at, rows, answers)
log.close()
print(log.dropped)
"""


def test_several_processes_write_and_a_reader_never_sees_half_a_file(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    command = [sys.executable, "-c", WORKER, str(tmp_path / "online.db"), str(folder)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    seen = 0
    while any(w.poll() is None for w in workers):
        if list(folder.glob("*.parquet")):
            now = logged(folder, "count(*)")[0][0]
            assert now >= seen
            seen = now
    assert [w.communicate()[0].strip() for w in workers] == ["0", "0"]
    assert logged(folder, "count(*), count(DISTINCT request_id)") == [(4000, 2000)]
    assert not [p for p in folder.iterdir() if p.suffix != ".parquet"]


def test_a_plan_needs_something_that_was_read(served: Served) -> None:
    with pytest.raises(OnlineError, match="nothing has been read yet"):
        Client(served.store, "small").plan("spend")


KEYS = [
    ("text", "VARCHAR", "a/b:c"),
    ("text", "VARCHAR", ""),
    ("text", "VARCHAR", "ü€𝄞"),
    ("integer", "BIGINT", -(2**63)),
    ("boolean", "BOOLEAN", True),
    ("boolean", "BOOLEAN", False),
    ("date", "DATE", dt.date(1969, 12, 31)),
    ("timestamp", "TIMESTAMP", dt.datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ("decimal", "DECIMAL(18,3)", decimal.Decimal("-1.5")),
    ("uuid", "UUID", uuid.UUID(int=7)),
]


@pytest.mark.parametrize(("kind", "type_", "value"), KEYS)
def test_a_name_leads_back_to_its_key(kind: str, type_: str, value: Any) -> None:
    name = encoder(kind, type_)(value)
    assert natural(name) == (value,)
    assert natural(name + b"i1:7" + name) == (value, 7, value)


@pytest.mark.parametrize("name", [b"x1:a", b"s3:ab", b"s:a", b"i1:x", b"s-1:a", b"nonsense", b"d99:1"])
def test_what_is_no_name(name: bytes) -> None:
    with pytest.raises(OnlineError, match="is no key"):
        natural(name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, "true"),
        (2**63, "9223372036854775808"),
        (0.1 + 0.2, "0.30000000000000004"),
        (-0.0, "-0.0"),
        (1e300, "1e+300"),
        (NAN, '"NaN"'),
        (-math.inf, '"-Infinity"'),
        ('a"/ü', '"a\\"/ü"'),
        (decimal.Decimal("1.50"), '"1.5"'),
        (decimal.Decimal("-0.00"), '"0"'),
        (decimal.Decimal("1E+3"), '"1000"'),
        (dt.datetime(2024, 3, 1, 9, tzinfo=dt.timezone(dt.timedelta(hours=9))), '"2024-03-01T00:00:00"'),
        (dt.date(2024, 3, 1), '"2024-03-01"'),
        (b"\x00\xff", '"00ff"'),
        ([1, None, NAN], '[1,null,"NaN"]'),
        ({"a": {"b": decimal.Decimal(1)}}, '{"a":{"b":"1"}}'),
        ({1: "x"}, '[[1,"x"]]'),
    ],
)
def test_one_text_for_each_value(value: Any, expected: str | None) -> None:
    assert text(value) == expected
    assert expected is None or json.loads(expected) is not None
