"""Instants with a zone in what is evaluated on reading: UTC in every way in, whatever zone a session has."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest

from tests.small import Small

YAML = """name: small
sources:
  ev: {path: data/ev.parquet}
entities:
  user: {key: k}
profiles:
  dev: {warehouse: {kind: duckdb, path: catalog.duckdb}, online: {kind: sqlite, path: online.db}}
default_profile: dev
"""
FROM = ' FROM {{ source("ev") }}'
D = dt.datetime
ASKED = {  # over l.ts, 20:00 on 1 January, and Asked, 23:30 UTC
    "Asked": D(2024, 1, 1, 23, 30),
    "l.Ts::TIMESTAMPTZ": D(2024, 1, 1, 20),
    "l.ts AT TIME ZONE 'Asia/Tokyo'": D(2024, 1, 1, 11),
    "asked AT TIME ZONE 'Asia/Tokyo'": D(2024, 1, 2, 8, 30),
    "date_trunc('day', asked)": D(2024, 1, 1),
    "hour(asked)": 23,
    "date_diff('hour', l.ts, asked)": 3,
    "date_diff('day', l.ts::TIMESTAMPTZ, asked + INTERVAL 1 HOUR)": 1,
    "[asked, l.ts]": [D(2024, 1, 1, 23, 30), D(2024, 1, 1, 20)],
    "{'a': asked}": {"a": D(2024, 1, 1, 23, 30)},
    "hour(as_of()::TIMESTAMPTZ)": 0,
    "asked > as_of()": False,
}
STORED = {
    "(LAST(ts) OVER ever)::TIMESTAMPTZ": D(2024, 1, 1, 20),
    "hour(CAST(LAST(ts) OVER ever AS TIMESTAMPTZ))": 20,
    "as_of()::TIMESTAMPTZ": D(2024, 1, 2),
}
LABELS = "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-02' AS label_time, TIMESTAMPTZ '2024-01-01 23:30:00+00' AS asked"


def columns(expressions: dict[str, Any]) -> str:
    return ", ".join(f"{text} AS c{n}" for n, text in enumerate(expressions))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    small = Small(tmp_path_factory.mktemp("zones"), YAML)
    small.rows("1, '2024-01-01', '2024-01-01 20:00:00'", columns="k BIGINT, t TIMESTAMP, ts TIMESTAMP")
    head = '{{ config(entity="user", timestamp="t") }}\n'
    small.feature("l", head + "SELECT k, t, ts" + FROM)
    small.feature("stored", head + f"SELECT k, t, COUNT(*) OVER ever AS n, {columns(STORED)}" + FROM)
    request = '{{ config(entity="user", on_demand=true, request={"asked": "TIMESTAMPTZ"}) }}\n'
    small.feature("f", request + f'SELECT {columns(ASKED)} FROM {{{{ ref("l") }}}} AS l')
    small.good()
    assert not small.forge.publish().refused
    return small


def macro(small: Small, name: str, zone: str) -> list[Any]:
    with duckdb.connect(str(small.catalog), read_only=True) as con:
        con.execute(f"SET TimeZone = '{zone}'")
        rows = con.execute(
            f"WITH l AS ({LABELS}) SELECT COLUMNS('^c[0-9]+$') FROM features.{name}_asof('l')"
        ).fetchall()
        return list(rows[0])


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize(("name", "wanted"), [("f", ASKED), ("stored", STORED)])
def test_every_session_gets_utc(small: Small, name: str, wanted: dict[str, Any], zone: str) -> None:
    assert dict(zip(wanted, macro(small, name, zone), strict=True)) == wanted


@pytest.mark.parametrize(("name", "wanted"), [("f", ASKED), ("stored", STORED)])
def test_training_sets_and_the_online_store_agree(small: Small, name: str, wanted: dict[str, Any]) -> None:
    made = small.forge.get_training_data(name, LABELS)
    assert {e: made.column(f"c{n}").to_pylist()[0] for n, e in enumerate(wanted)} == wanted
    asked = dt.datetime(2024, 1, 2, 8, 30, tzinfo=dt.timezone(dt.timedelta(hours=9)))
    row = {"k": 1, "asked": asked}
    at = max(D(2024, 1, 2), D.now(dt.UTC).replace(tzinfo=None)).isoformat()
    [online] = small.forge.get_online_features(features=name, entity_rows=[row], at=at)
    fixed = {e: online[f"c{n}"] for n, e in enumerate(wanted) if "as_of" not in e}
    assert fixed == {e: wanted[e] for e in fixed}
