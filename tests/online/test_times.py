"""Times that Python does not have: nanoseconds, infinity, years beyond 9999. What readers of a store get."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlforge as mlf
from mlforge.online.python_times import ENDLESS, instant, said
from mlforge.serve.answers import encoded
from tests.small import Small

YAML = """name: odd
sources:
  ev: {path: data/ev.parquet}
entities:
  user: {key: k}
profiles:
  dev: {warehouse: {kind: duckdb, path: catalog.duckdb}, online: {kind: sqlite, path: online.db}}
default_profile: dev
"""
SOURCE = """SELECT k, TIMESTAMP '2024-01-01' AS t, ns::TIMESTAMP_NS AS ns, ts::TIMESTAMP AS ts, d::DATE AS d, tm::TIME AS tm FROM (VALUES
  (1, '1969-12-31 23:59:59.123456789', '2024-01-01 09:00:00.5', '2024-02-29', '09:00:00.25'),
  (2, '2024-01-01 00:00:00.999999999', 'infinity', 'infinity', '24:00:00'),
  (3, 'infinity', '-infinity', '-infinity', NULL),
  (4, '-infinity', '12026-01-01 00:00:00', '12026-01-01', '00:00:00'),
  (5, '1677-09-22 00:00:00.000000001', '0044-03-15 (BC) 01:00:00', '0044-03-15 (BC)', NULL),
  (6, NULL, NULL, NULL, NULL)) v(k, ns, ts, d, tm)"""
COLUMNS = (
    "ns, ts, d, tm, [ns, NULL] AS many, {'at': ts, 'n': 1} AS s, "
    "CASE WHEN ts IS NOT NULL THEN MAP {'x': [{'d': d}]} END AS m"
)
FEATURES = {
    "latest": f'{{{{ config(entity="user", timestamp="t") }}}}\nSELECT k, t, {COLUMNS} FROM {{{{ source("ev") }}}}',
    "fixed": f'{{{{ config(entity="user") }}}}\nSELECT k, {COLUMNS} FROM {{{{ source("ev") }}}}',
    "moving": """{{ config(entity="user", timestamp="t") }}
SELECT k, t, date_diff('hour', MAX(ts) OVER ever, as_of()) AS hours, coalesce(MAX(ts) OVER ever, as_of()) AS last,
    epoch_us(MAX(ts) OVER ever) + epoch_us(as_of()) AS us, date_diff('month', MAX(ts) OVER ever, as_of()) AS months,
    epoch_ns(MAX(ns) OVER ever) % 1000 + minute(as_of()) AS apart, greatest(MAX(ns) OVER ever, as_of()::TIMESTAMP_NS) AS most
FROM {{ source("ev") }}""",
    "asked": """{{ config(entity="user", on_demand=true) }}
SELECT epoch_ns(l.ns) AS digits, l.ns AS ns, l.ts AS ts, [l.d] AS ds, l.tm AS tm FROM {{ ref("latest") }} AS l""",
}
D = dt.datetime
NS = [
    D(1969, 12, 31, 23, 59, 59, 123456),
    D(2024, 1, 1, 0, 0, 0, 999999),
    "infinity",
    "-infinity",
    D(1677, 9, 22),
    None,
]
TS = [D(2024, 1, 1, 9, 0, 0, 500000), "infinity", "-infinity", "12026-01-01 00:00:00", "0044-03-15 (BC) 01:00:00", None]
DATES = [dt.date(2024, 2, 29), "infinity", "-infinity", "12026-01-01", "0044-03-15 (BC)", None]
CLOCKS = [dt.time(9, 0, 0, 250000), "24:00:00", None, dt.time(0), None, None]
KEYS = [{"k": n} for n in range(1, 7)]
AT = "2024-03-01T00:00"


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Any:
    small = Small(tmp_path_factory.mktemp("odd"), YAML)
    small.write("data/ev.parquet", SOURCE)
    for name, text in FEATURES.items():
        small.feature(name, text)
    small.good()
    found = mlf.open(small.root)
    assert not found.publish().refused
    return found


def column(forge: Any, feature: str, name: str) -> list[Any]:
    rows = forge.get_online_features(features=feature, entity_rows=KEYS)
    plain = [row[name] for row in rows]
    status = forge.get_online_features(features=feature, entity_rows=KEYS, with_status=True)
    assert [row[name].value for row in status] == plain
    alone = [forge.get_online_features(features=f"{feature}:{name}", entity_rows=[k])[0][name] for k in KEYS]
    assert alone == plain
    return plain


@pytest.mark.parametrize("feature", ["latest", "fixed"])
def test_stored_times(forge: Any, feature: str) -> None:
    assert column(forge, feature, "ns") == NS
    assert column(forge, feature, "ts") == TS
    assert column(forge, feature, "d") == DATES
    assert column(forge, feature, "tm") == CLOCKS
    assert column(forge, feature, "many") == [[n, None] for n in NS]
    assert column(forge, feature, "s") == [{"at": t, "n": 1} for t in TS]
    assert column(forge, feature, "m") == [
        None if t is None else {"x": [{"d": d}]} for t, d in zip(TS, DATES, strict=True)
    ]


def test_what_duckdb_evaluates_sees_all_digits(forge: Any) -> None:
    assert column(forge, "asked", "digits")[:2] == [-876543211, 1704067200999999999]
    assert column(forge, "asked", "ns") == NS
    assert column(forge, "asked", "ts") == TS
    assert column(forge, "asked", "ds") == [[d] for d in DATES]
    assert column(forge, "asked", "tm") == CLOCKS


def test_json_has_the_same(forge: Any) -> None:
    rows = forge.get_online_features(features="latest:ns,ts", entity_rows=KEYS[:2])
    assert encoded("rows", rows) == (
        b'{"rows":[{"k":1,"ns":"1969-12-31T23:59:59.123456","ts":"2024-01-01T09:00:00.500000"},'
        b'{"k":2,"ns":"2024-01-01T00:00:00.999999","ts":"infinity"}]}'
    )


def test_a_training_set_agrees(forge: Any) -> None:
    """Every value of every feature, at the publish and later."""
    found = forge.verify_online()
    assert {f.feature: (f.status, f.examples, f.unproven) for f in found.features} == dict.fromkeys(
        FEATURES, ("passed", (), ())
    )
    assert all(f.compared >= 6 * 6 for f in found.features)


@settings(deadline=None, max_examples=20)
@given(instants=st.lists(st.integers(-(2**61), 2**61), min_size=50))
def test_instants_and_their_texts(instants: list[int]) -> None:
    """As DuckDB writes and reads them."""
    with duckdb.connect() as con:
        texts = con.execute("SELECT make_timestamp(unnest($1::BIGINT[]))::VARCHAR", [instants]).fetchall()
    for at, (text,) in zip(instants, texts, strict=True):
        found = said(at)
        assert (found.isoformat(" ").rstrip("0") if isinstance(found, D) and found.microsecond else str(found)) == text
        assert instant(found) == instant(text) == at


def test_the_ends_of_time() -> None:
    assert [said(instant(x)) for x in ("infinity", "-infinity")] == ["infinity", "-infinity"]
    assert [said(ENDLESS), said(-ENDLESS)] == ["infinity", "-infinity"]
