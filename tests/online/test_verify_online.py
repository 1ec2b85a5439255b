"""verify --online: nothing on honest stores, and each kind of damage by its name; requests that were logged, likewise."""

from __future__ import annotations

import datetime as dt
import json
import random
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mlforge.agreement.result import Agreement, AgreementOptions
from mlforge.agreement.session import verify_requests, verify_store
from mlforge.errors import NotPublishedError, UsageError
from mlforge.model import Keep
from mlforge.online import Client
from mlforge.online import published as m
from mlforge.online.packed_values import micros, moment, pack
from mlforge.online.request_log import RequestLog
from mlforge.stores.opening import open_store
from mlforge.stores.sqlite import SQLiteStore
from tests.cli.running import mlforge
from tests.online.agreement import publish_world, published_at
from tests.online.damage import altered, change_manifest, put, record, set_back
from tests.online.served import NOON, YAML, Served
from tests.oracle.project import write_project, write_sources
from tests.oracle.runner import build
from tests.oracle.strategies import worlds
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlforge.stores.store import Store
    from tests.online.servers import RedisServer
    from tests.oracle.world import World

NOW = micros("2024-03-01T12:40:00")
TIMES = ("2024-03-01T12:05", "2024-03-01T12:30")


def look(project: Any, store: Store, *asked: str, namespace: str = "small", **options: Any) -> Agreement:
    with project.forge._reading() as con:
        made = AgreementOptions(**{"now": NOW, **options})
        return verify_store(con, project.forge.catalog_path, Client(store, namespace), asked, made)


def differ(found: Agreement) -> dict[str, tuple[int, int, int]]:
    """Mismatch, missing and extra of each column that has any."""
    return {
        f"{f.feature}.{c.column}": (c.mismatch, c.missing, c.extra)
        for f in found.features
        for c in f.columns
        if c.differ
    }


@pytest.fixture(params=["sqlite", "redis"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """Users 1, 2 and 3, published five minutes after their events."""
    given = {"kind": "sqlite", "path": "online.db"}
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        given = {"kind": "redis", "url": server.url}
        import redis

        with redis.Redis.from_url(server.url) as client:
            client.flushall()
    store = open_store({**given, "path": str(tmp_path / "online.db")} if request.param == "sqlite" else given)
    made = Served(tmp_path, store)
    made.config(f"{YAML}default_profile: dev\nprofiles: {{dev: {{online: {json.dumps(given)}}}}}\n")
    made.rows_at_noon((1, 10), (2, 20), (3, 30))
    made.good()
    made.publish()
    yield made
    store.close()


def test_an_honest_store_agrees(tmp_path: Path, store: Store) -> None:
    served = Served(tmp_path, store)
    served.rows_at_noon(*((k, 10 * k) for k in range(50)))
    served.good()
    served.publish()
    found = look(served, store)
    assert (found.status, found.mismatched, found.problems) == ("passed", 0, ())
    assert {f.feature: f.version for f in found.features} == {"spend": "1.0.0", "newest": "1.0.0"}
    for f in found.features:
        assert f.keys == 50 + 3 + 1  # those of the catalog, three never seen, one NULL
        assert len(f.instants) == 8
        assert set(f.instants) >= {moment(micros(f"2024-03-01T{t}")) for t in ("11:55", "12:05", "12:40")}
        assert all(c.compared == c.matches == 54 * 8 for c in f.columns)


def test_one_seed_one_sample(shop: Served) -> None:
    def asked(**options: Any) -> Any:
        return [(f.instants, f.keys) for f in look(shop, shop.store, **options).features]

    assert asked(keys=2) == asked(keys=2)
    assert asked(keys=2) != asked(keys=2, seed=1)
    assert [keys for _, keys in asked(keys=2)] == [6, 6]


def test_a_changed_value(shop: Served) -> None:
    name, held = record(shop.store, "small", "newest", b"i1:2")
    assert held[-1] == 20
    put(shop.store, name, held[:-1] + b"\x15")
    found = look(shop, shop.store, at=TIMES)
    assert (found.status, differ(found)) == ("failed", {"newest.x": (2, 0, 0)})
    (first, _) = next(f for f in found.features if f.feature == "newest").examples
    assert (first.kind, first.key, first.at) == ("mismatch", {"k": 2}, dt.datetime(2024, 3, 1, 12, 5))
    assert (first.served, first.expected, first.status) == ("21", "20", "PRESENT")


def test_a_value_that_comes_at_another_time(shop: Served) -> None:
    name, held = record(shop.store, "small", "newest", b"i1:2")
    noon, late = (struct.pack("<q", micros(f"2024-03-01T{t}")) for t in ("12:00", "12:20"))
    assert noon in held
    put(shop.store, name, held.replace(noon, late))
    assert differ(look(shop, shop.store, at=TIMES)) == {"newest.x": (0, 1, 0)}


def test_a_deleted_record(shop: Served) -> None:
    put(shop.store, record(shop.store, "small", "spend", b"i1:1")[0], None)
    found = look(shop, shop.store, at=TIMES)
    assert (found.status, differ(found)) == ("failed", {"spend.spend_1h": (0, 2, 0), "spend.events": (0, 2, 0)})
    example = next(e for f in found.features for e in f.examples if e.column == "events")
    assert (example.served, example.expected, example.status) == ("0", "1", "MISSING")


def test_an_added_record(shop: Served) -> None:
    name, held = record(shop.store, "small", "spend", b"i1:3")
    put(shop.store, name[:-4] + b"i2:77", held)
    found = look(shop, shop.store, at=TIMES)
    assert differ(found) == {"spend.spend_1h": (0, 0, 2), "spend.events": (0, 0, 2)}
    assert {f.feature: f.extra_keys for f in found.features} == {"spend": 1, "newest": 0}
    assert {e.key["k"] for f in found.features for e in f.examples} == {77}
    assert look(shop, shop.store, at=TIMES, scan=False).status == "passed"


def test_what_is_said_of_keys_never_seen(shop: Served) -> None:
    def spoiled(manifest: m.Manifest) -> m.Manifest:
        table = manifest.tables["spend@1.0"]
        return replace(
            manifest, tables={**manifest.tables, "spend@1.0": replace(table, empty=pack((None, 2, None, 5)))}
        )

    change_manifest(shop.store, "small", spoiled)
    assert differ(look(shop, shop.store, at=TIMES)) == {"spend.events": (6, 0, 0)}


@pytest.mark.parametrize("cut", [9, 20, 30])
def test_a_record_cut_short_is_named_and_the_others_are_compared(shop: Served, cut: int) -> None:
    name, held = record(shop.store, "small", "spend", b"i1:2")
    put(shop.store, name, held[:cut])
    found = look(shop, shop.store, at=TIMES)
    assert differ(found) == {"spend.spend_1h": (2, 0, 0), "spend.events": (2, 0, 0)}
    examples = [e for f in found.features for e in f.examples]
    assert {(e.status, e.key["k"]) for e in examples} == {("UNREADABLE", 2)}


def test_a_step_that_is_none(shop: Served) -> None:
    name, held = record(shop.store, "small", "spend", b"i1:2")
    put(shop.store, name, held[:8] + struct.pack("<q", 3) + held[16:])
    found = look(shop, shop.store, at=TIMES)
    assert differ(found) == {"spend.spend_1h": (2, 0, 0), "spend.events": (2, 0, 0)}
    assert "kept at a step of 3 microseconds" in str(found.features[1].examples[0].served) + str(
        found.features[0].examples
    )


def test_a_head_that_was_set_back(shop: Served) -> None:
    shop.forge.publish()
    (mark,) = shop.store.read([b"small/head"])
    assert mark is not None
    shop.rows_at_noon((1, 11), (2, 20), (3, 30))
    shop.good()
    done = shop.forge.publish()
    assert look(shop, shop.store, now=None).problems == ()
    set_back(shop.store, "small", mark)
    found = look(shop, shop.store, now=None)
    assert (found.status, found.failed) == ("failed", True)
    assert found.problems[0].startswith(
        f"stale: the store shows generation {done.generation - 1}, and generation {done.generation} was published there"
    )


def test_a_store_that_was_emptied_and_published_anew_is_not_stale(tmp_path: Path) -> None:
    served = Served(tmp_path, SQLiteStore(tmp_path / "online.db"))
    served.rows_at_noon((1, 10))
    served.good()
    served.forge.publish()
    served.forge.publish(full=True)
    served.store.close()
    for file in tmp_path.glob("online.db*"):
        file.unlink()
    assert served.forge.publish().generation == 1
    assert look(served, served.store, now=None).status == "passed"


def test_a_catalog_that_moved_on_is_compared_at_what_was_published(shop: Served) -> None:
    shop.rows_at_noon((1, 99), (2, 20), (4, 40))
    shop.good()
    found = look(shop, shop.store)
    assert (found.status, found.mismatched) == ("passed", 0)
    assert {f.feature: (f.version, f.current) for f in found.features} == {
        "spend": ("1.0.0", "1.0.1"),
        "newest": ("1.0.0", "1.0.1"),
    }
    shop.publish(at="2024-03-01T12:06")
    found = look(shop, shop.store)
    assert (found.status, {f.version for f in found.features}, {f.extra_keys for f in found.features}) == (
        "passed",
        {"1.0.1"},
        {0},
    )


def test_a_version_that_is_gone_is_unproven(shop: Served) -> None:
    shop.rows_at_noon((1, 99), (2, 20))
    shop.good()
    shop.forge.gc(Keep(patches=1, days=0))
    found = look(shop, shop.store)
    assert (found.status, found.values, found.failed) == ("unproven", 0, False)
    assert {f.unproven for f in found.features} == {
        (f"this catalog does not have {f.feature}@1.0.0 any more, or never had it",) for f in found.features
    }


def test_another_catalog_is_unproven(shop: Served, tmp_path: Path) -> None:
    other = Served(tmp_path / "other", shop.store)
    other.rows_at_noon((1, 10), (2, 20), (3, 30))
    other.good()
    found = look(other, shop.store, "spend")
    assert found.status == "unproven"
    assert "spend@1.0.0 of this catalog is another one: built at" in found.features[0].unproven[0]
    none = Small(tmp_path / "none", YAML.replace("feature_sets:", "").replace("both: [", "# "))
    none.rows("1, TIMESTAMP '2024-03-01', 1")
    none.feature("other", '{{ config(entity="user", timestamp="t") }} SELECT k, t, x FROM {{ source("ev") }}')
    none.good()
    assert look(none, shop.store, "spend").features[0].unproven == ("this catalog has no feature spend",)


def test_what_is_asked_for(shop: Served) -> None:
    def columns(*asked: str) -> list[tuple[str, list[str]]]:
        return [(f.feature, [c.column for c in f.columns]) for f in look(shop, shop.store, *asked).features]

    assert columns("spend:events") == [("spend", ["events"])]
    assert columns("both") == [("spend", ["spend_1h", "events"]), ("newest", ["x"])]
    assert columns("spend:events", "both@1") == [("spend", ["events", "spend_1h"]), ("newest", ["x"])]
    assert columns("spend@1.0.0") == [("spend", ["spend_1h", "events"])]
    with pytest.raises(NotPublishedError, match="'spent' is not published"):
        columns("spent")


def test_a_threshold(shop: Served) -> None:
    name, held = record(shop.store, "small", "newest", b"i1:2")
    put(shop.store, name, held[:-1] + b"\x15")
    found = look(shop, shop.store, "newest", at=TIMES)  # 2 of 14 values
    assert (found.values, found.mismatched) == (14, 2)
    assert look(shop, shop.store, "newest", at=TIMES, threshold=0.1).status == "failed"
    assert look(shop, shop.store, "newest", at=TIMES, threshold=0.15).status == "passed"


def test_instants_before_the_publish_are_not_counted(shop: Served) -> None:
    found = look(shop, shop.store, "newest", at=("2024-03-01T11:00", "2024-03-01T12:30"))
    assert (found.status, found.values, found.features[0].out_of_range) == (
        "passed",
        8,
        6,
    )  # NULL has no values at any time
    only = look(shop, shop.store, "newest", at=("2024-03-01T11:00",), keys=1)
    assert (only.status, only.values) == ("passed", 1)


def test_keys_that_vanished_are_not_extra(shop: Served) -> None:
    shop.rows_at_noon((1, 10))
    shop.good()
    shop.publish(at="2024-03-01T12:06")
    assert any(n.endswith(b"i1:3") for n in shop.names())
    found = look(shop, shop.store)
    assert (found.status, [f.extra_keys for f in found.features]) == ("passed", [0, 0])


def test_keys_at_a_step_and_what_reads_them_on_demand(shop: Served) -> None:
    shop.feature(
        "share",
        '{{ config(entity="user", on_demand=true) }}\n'
        'SELECT s.events / 7 AS share, as_of() AS at FROM {{ ref("spend") }} AS s',
    )
    shop.rows(*(f"{k}, TIMESTAMP '{NOON}' + INTERVAL {7 * i + k} SECOND, 1" for k in (1, 2) for i in range(40)))
    shop.good()
    shop.publish(max_points=4, full=True)
    found = look(shop, shop.store, instants=20)
    assert (found.status, found.mismatched) == ("passed", 0)
    by = {f.feature: f for f in found.features}
    assert by["spend"].compared > 0
    assert by["share"].coarse > 0
    assert by["share"].compared > 0
    name, held = record(shop.store, "small", "spend", b"i1:2")
    put(shop.store, name, altered(held, Client(shop.store, "small").manifest().tables["spend@1.0"], 1))
    assert set(differ(look(shop, shop.store))) == {"spend.events", "share.share"}


def test_an_on_demand_feature_with_request_columns_is_unproven(shop: Served) -> None:
    shop.feature(
        "share",
        '{{ config(entity="user", on_demand=true, request={"amount": "DOUBLE"}) }}\n'
        'SELECT amount / s.events AS share FROM {{ ref("spend") }} AS s',
    )
    shop.good()
    shop.publish()
    found = look(shop, shop.store)
    assert (found.status, found.mismatched) == ("unproven", 0)
    by = {f.feature: f for f in found.features}
    assert by["share"].unproven == ("it needs amount with the request: --requests compares what was served",)
    assert (by["spend"].status, by["newest"].status) == ("passed", "passed")


KINDS = "name VARCHAR, day DATE, seen TIMESTAMP, n DECIMAL(9,3), u UUID, b BOOLEAN, k UTINYINT, t TIMESTAMP, x DOUBLE"
MANY = """\
name: small
sources:
  ev: {path: data/ev.parquet}
entities:
  text: {key: name}
  all: {key: [name, day, seen, n, u, b, k]}
  made: {key: id, from: [name, day]}
"""


def test_keys_of_every_type_and_features_of_every_kind(tmp_path: Path, store: Store) -> None:
    made = Small(tmp_path, MANY)
    for name, text in {
        "a": '{{ config(entity="text", timestamp="t", ttl="1h", delay="5m") }} SELECT name, t, x, [x, NULL] AS xs,'
        " {'a': x, 'b': name} AS s, x::DECIMAL(9,3) AS dec, day, u, b, 'NaN'::DOUBLE AS nan, seen, encode(name) AS raw, MAP([name], [x]) AS mp, t::TIME AS clock, t::TIMESTAMPTZ AS tz, [x::DECIMAL(9,3)] AS ds,"
        " [MAP([name], [x]), NULL, MAP {}] AS mps, {'m': [MAP([name], [[x]])], 'n': MAP([n], [MAP([name], [NULL::INT])])} AS sm"
        ' FROM {{ source("ev") }}',
        "b": '{{ config(entity="all", timestamp="t") }} SELECT name, day, seen, n, u, b, k, t, SUM(x) OVER last_1h AS s,'
        " date_diff('second', MAX(t) OVER ever, as_of()) AS age, COUNT(*) OVER last_1mo AS c"
        ' FROM {{ source("ev") }}',
        "c": '{{ config(entity="made", timestamp="t", interval="1h") }} SELECT {{ surrogate_key("name", "day") }} AS id,'
        ' t, AVG(x) OVER last_1d AS mean FROM {{ source("ev") }}',
        "d": '{{ config(entity="text") }} SELECT name, MAX(x) AS most FROM {{ source("ev") }} GROUP BY name',
        "e": '{{ config(entity="text", on_demand=true) }} SELECT a.x * 2 AS twice, d.most IS NULL AS none'
        ' FROM {{ ref("a") }} AS a, {{ ref("d") }} AS d',
    }.items():
        made.feature(name, text)
    names = ("a/b", "", "ü:1", "s3:abc", "'quoted'")
    made.rows(
        *(
            f"'{n.replace(chr(39), chr(39) * 2)}', DATE '2024-02-29', TIMESTAMP '1969-12-31 23:59:59.5', {i}.5, "
            f"'00000000-0000-0000-0000-00000000000{i}', {i % 2 == 0}, {i + 250}, TIMESTAMP '{NOON}' - INTERVAL {i} MINUTE, "
            f"{i} / 3.0"
            for i, n in enumerate(names)
        ),
        columns=KINDS,
    )
    made.good()
    Served.publish(_as_served(made, store))
    found = look(made, store)
    assert (found.status, found.mismatched, [f.unproven for f in found.features]) == ("passed", 0, [()] * 5)
    assert all(f.keys > 5 for f in found.features)


def _as_served(made: Small, store: Store) -> Any:
    made.store = store  # type: ignore[attr-defined]
    return made


def test_what_was_found_is_kept_in_the_catalog(shop: Served) -> None:
    put(shop.store, record(shop.store, "small", "spend", b"i1:1")[0], None)
    found = look(shop, shop.store, at=TIMES)
    shop.rows_at_noon((1, 10))
    shop.good()
    rows = shop.sql('SELECT id, status, features, "values", mismatched, record FROM mlforge.verifications')
    assert [row[:5] for row in rows] == [
        (found.id, "failed", [f"{f.feature}@1.0.0" for f in found.features], found.values, 4)
    ]
    kept = json.loads(rows[0][5])
    assert (kept["kind"], kept["generation"], kept["namespace"]) == ("online", 1, "small")
    assert kept["features"][0]["columns"][0].keys() == {
        "column",
        "compared",
        "matches",
        "mismatch",
        "missing",
        "extra",
    }


def test_a_store_that_is_published_meanwhile_is_compared_again(shop: Served) -> None:
    class Once(Client):
        reads = 0

        def get_online_features(self, *args: Any, **more: Any) -> Any:
            Once.reads += 1
            if Once.reads == 3:
                shop.rows_at_noon((1, 99), (2, 20), (3, 30))
                shop.good()
                shop.publish(at="2024-03-01T12:06")
            return super().get_online_features(*args, **more)

    shop.rows_at_noon((1, 99), (2, 20), (3, 30))
    shop.good()  # the catalog that is compared has both
    with shop.forge._reading() as con:
        found = verify_store(con, shop.forge.catalog_path, Once(shop.store, "small"), (), AgreementOptions(now=NOW))
    assert (found.status, {f.version for f in found.features}, found.generation) == ("passed", {"1.0.1"}, 2)


# -- the command


def test_the_command(shop: Served) -> None:
    said = mlforge("-C", shop.root, "verify", "--online")
    assert "verify: passed" in said.out
    name, held = record(shop.store, "small", "newest", b"i1:2")
    put(shop.store, name, held[:-1] + b"\x15")
    said = mlforge("-C", shop.root, "verify", "--online", "--profile", "dev", "--at", "2024-03-01T12:30", code=1)
    assert (
        "mismatch newest@1.0.0 for k = 2 at 2024-03-01 12:30:00 x: served 21 (PRESENT), the catalog has 20" in said.flat
    )
    found = mlforge("-C", shop.root, "verify", "newest", "--online", "--json", "--keys", 100, code=1).json
    assert (found["status"], found["kind"], found["features"][0]["columns"][0]["mismatch"]) == ("failed", "online", 7)
    mlforge("-C", shop.root, "verify", "newest", "--online", "--threshold", 0.5)
    mlforge(
        "-C", shop.root, "verify", "--online", "--feature-set", "both", "--keys", 1, "--no-scan", "-f", "spend", code=0
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--online", "--labels", "x.csv"], "--labels does not go with --online"),
        (["--requests", "log", "--sample", "3"], "--sample does not go with --requests"),
        (["--threshold", "0.5"], "--threshold needs --online or --requests"),
        (["--requests", "nowhere"], "no logged requests can be read from"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, options: list[str], message: str) -> None:
    served = Served(tmp_path, SQLiteStore(tmp_path / "online.db"))
    served.rows_at_noon((1, 10))
    served.good()
    assert message in mlforge("-C", tmp_path, "verify", *options, code=2).flat


def test_a_store_that_is_not_there(tmp_path: Path, own_redis: RedisServer) -> None:
    served = Served(tmp_path, SQLiteStore(tmp_path / "online.db"))
    served.rows_at_noon((1, 10))
    served.good()
    said = mlforge("-C", tmp_path, "verify", "--online", code=1)
    assert "nothing is published as 'small' here" in said.flat
    served.config(
        f"{YAML}default_profile: dev\nprofiles: {{dev: {{online: {{kind: redis, url: '{own_redis.url}'}}}}}}\n"
    )
    mlforge("-C", tmp_path, "publish")
    own_redis.stop()
    said = mlforge("-C", tmp_path, "verify", "--online", code=1)
    assert "passed" not in said.flat
    assert "Connection refused" in said.flat


# -- logged requests


def serve(shop: Served, log: RequestLog, features: Any, rows: list[dict[str, Any]], *times: str) -> None:
    client = Client(shop.store, "small")
    for time in times or ("2024-03-01T12:30",):
        at = micros(time)
        answers = client.get_online_features(features, rows, at=moment(at), with_status=True)
        log.add(client.plan(features), at, rows, answers)


def compare(shop: Served, *asked: str, folder: str = "log", **options: Any) -> Agreement:
    with shop.forge._reading() as con:
        return verify_requests(
            con, shop.forge.catalog_path, str(shop.root / folder), asked, AgreementOptions(**options)
        )


ROWS: list[dict[str, Any]] = [{"k": 1}, {"k": 2}, {"k": 3}, {"k": 9}, {"k": None}]
SHARE = (
    '{{ config(entity="user", on_demand=true, request={"amount": "DOUBLE", "word": "VARCHAR"}) }}\n'
    "SELECT amount / s.events AS share, word || '!' AS word_, as_of() AS at FROM {{ ref(\"spend\") }} AS s"
)


def test_requests_agree_whatever_was_built_and_published_since(shop: Served) -> None:
    shop.feature("share", SHARE)
    shop.good()
    shop.publish()
    log = RequestLog(shop.root / "log", 1)
    with_request = [
        row | {"amount": amount, "word": 'a"/b'}
        for row, amount in zip(ROWS, (0.1, float("nan"), None, 3, 1), strict=True)
    ]
    serve(shop, log, "both", ROWS, "2024-03-01T12:00", "2024-03-01T12:30", "2024-03-01T13:00:00.000001")
    serve(shop, log, "share", with_request)
    shop.rows_at_noon((1, 99), (2, 20), (9, 90))
    shop.good()
    shop.publish(at="2024-03-01T12:10")
    serve(shop, log, "both", ROWS)
    log.close()
    assert log.dropped == 0
    found = compare(shop)
    assert (found.status, found.mismatched, found.problems) == ("passed", 0, ())
    assert {(f.feature, f.version): f.compared for f in found.features} == {
        ("newest", "1.0.0"): 15,
        ("newest", "1.0.1"): 5,
        ("spend", "1.0.0"): 30,
        ("spend", "1.0.1"): 10,
        ("share", "1.0.0"): 15,
    }
    assert {f.feature: f.current for f in found.features if f.version == "1.0.0"}["spend"] == "1.0.1"


def test_requests_that_were_served_wrong_values(shop: Served) -> None:
    log = RequestLog(shop.root / "log", 1)
    name, held = record(shop.store, "small", "newest", b"i1:2")
    put(shop.store, name, held[:-1] + b"\x15")
    name, held = record(shop.store, "small", "spend", b"i1:1")
    put(shop.store, name, None)
    put(shop.store, name[:-1] + b"9", held)
    serve(shop, log, "both", ROWS)
    log.close()
    found = compare(shop)
    assert (found.status, differ(found)) == (
        "failed",
        {"newest.x": (1, 0, 0), "spend.spend_1h": (0, 1, 1), "spend.events": (0, 1, 1)},
    )
    assert compare(shop, "spend:events").values == 5
    assert compare(shop, "both@1", threshold=0.5).status == "passed"
    said = mlforge("-C", shop.root, "verify", "--requests", shop.root / "log" / "*.parquet", "--json", code=1)
    assert (said.json["kind"], said.json["mismatched"]) == ("requests", 5)
    assert (
        "extra spend@1.0.0 for k = 9"
        in mlforge("-C", shop.root, "verify", "--requests", shop.root / "log", code=1).flat
    )


def test_requests_before_what_was_published_are_not_counted(shop: Served) -> None:
    log = RequestLog(shop.root / "log", 1)
    serve(shop, log, "newest", [{"k": 1}, {"k": 9}], "2024-03-01T11:00", "2024-03-01T12:00")
    log.close()
    (f,) = compare(shop).features
    assert (f.status, f.compared, f.out_of_range) == ("passed", 2, 2)


def test_requests_of_a_version_that_is_gone(shop: Served) -> None:
    log = RequestLog(shop.root / "log", 1)
    serve(shop, log, "both", ROWS)
    log.close()
    shop.rows_at_noon((1, 99), (2, 20))
    shop.good()
    shop.forge.gc(Keep(patches=1, days=0))
    found = compare(shop)
    assert (found.status, found.values) == ("unproven", 0)
    spend = next(f for f in found.features if f.feature == "spend")
    assert spend.unproven == (
        "this catalog does not have spend@1.0.0 any more, or never had it: 10 values were served from it",
    )


def test_requests_at_a_step(shop: Served) -> None:
    shop.feature("share", SHARE)
    shop.rows(*(f"{k}, TIMESTAMP '{NOON}' + INTERVAL {7 * i + k} SECOND, 1" for k in (1, 2) for i in range(40)))
    shop.good()
    shop.publish(max_points=4, full=True)
    log = RequestLog(shop.root / "log", 1)
    rows = [{"k": k, "amount": 1.5, "word": ""} for k in (1, 2)]
    serve(shop, log, ["spend", "share"], rows, "2024-03-01T12:07:03", "2024-03-01T12:59:59", "2024-03-02T00:00:00")
    log.close()
    by = {f.feature: f for f in compare(shop).features}
    assert (by["spend"].status, by["spend"].compared, by["spend"].differ) == ("passed", 12, 0)
    assert (by["share"].status, by["share"].compared, by["share"].coarse) == ("unproven", 6, 12)
    assert by["share"].unproven == ("12 values read keys that are kept at a step, between two steps",)


def test_what_requests_are_asked_for(shop: Served) -> None:
    log = RequestLog(shop.root / "log", 1)
    serve(shop, log, "newest", ROWS)
    log.close()
    with pytest.raises(UsageError, match="no request for spend is logged there"):
        compare(shop, "spend")
    with pytest.raises(UsageError, match="no logged requests can be read from"):
        compare(shop, folder="data")


# -- any world


def damaged(store: Store, chance: random.Random) -> str:
    """Change one column of one key at every instant; the name of the column. Nothing is stored: the empty text."""
    found = Client(store, "world").manifest()
    tables = [(t, o) for t in found.tables.values() for o in t.outputs if o.position is not None]
    chance.shuffle(tables)
    for table, output in tables:
        names = sorted(n for part in store.scan(m.name("world", "t", table.prefix, "")) for n in part)
        if names:
            name = chance.choice(names)
            (held,) = store.read([name])
            assert held is not None
            put(store, name, altered(held, table, output.position or 0))
            return f"{table.feature}.{output.name}"
    return ""


def check(world: World, draw: int) -> tuple[int, bool]:
    """Values that were compared, and whether something was damaged."""
    chance = random.Random(draw)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_project(world, root)
        forge = build(root)
        now = published_at(world, chance)
        store = open_store({"kind": "sqlite", "path": str(root / "online.db")})
        try:
            publish_world(forge, store, now, chance.choice([500, 500, 2, 4]))
            if world.later is not None:
                write_sources(world.at_second_build(), root)
                forge = build(root)
                if chance.random() < 0.5:
                    now += chance.choice([0, 1, 3_600_000_000])
                    publish_world(forge, store, now, 500)
            later = now + chance.choice([0, 1, 3_600_000_000, 40 * 86_400_000_000])

            def looked() -> Agreement:
                with forge._reading() as con:
                    options = AgreementOptions(now=later, seed=draw)
                    return verify_store(con, forge.catalog_path, Client(store, "world"), (), options)

            honest = looked()
            assert (honest.mismatched, honest.problems) == (0, ()), [f.examples for f in honest.features]
            column = damaged(store, chance)
            assert not column or column in differ(looked()), column
        finally:
            store.close()
    return honest.values, bool(column)


def check_worlds(count: int, draw: int) -> None:
    compared, planted, number = 0, 0, 0

    @seed(draw)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(worlds(), st.integers(0, 2**32))
    def worlds_agree(world: World, draw: int) -> None:
        nonlocal compared, planted, number
        values, damage = check(world, draw)
        compared, planted, number = compared + values, planted + damage, number + 1

    worlds_agree()
    print(f"{compared} values compared, {planted} planted changes found in {number} worlds")
    assert compared > 200 * number
    assert planted > number // 2


def test_nothing_on_honest_stores_and_any_planted_change() -> None:
    check_worlds(14, 3)


@pytest.mark.long
@pytest.mark.parametrize("draw", range(4, 8))
def test_nothing_on_many_honest_stores_and_any_planted_change(draw: int) -> None:
    check_worlds(100, draw)
