"""A unit test says what a build says: the same rows given, the same rows and values come out, for every kind of feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from tests.small import Small
from tests.unit_tests.running import passes, rows_of

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
name: small
sources:
  ev: {path: data/ev.parquet, timestamp: t}
  known: {path: data/ev.parquet, timestamp: t, loaded_at: loaded, unique_key: [k, t], deleted: "x > 90"}
entities:
  user: {key: k}
  pair: {key: [k, s]}
  made: {key: id, from: [k, s]}
vars: {least: 0}
"""
COLUMNS = "k BIGINT, t TIMESTAMP, x BIGINT, y DOUBLE, d DECIMAL(10,2), s VARCHAR, loaded TIMESTAMP, z TIMESTAMPTZ"
ROWS = [
    "1, '2024-01-01 10:00', 1, 0.1, 1.10, 'a', '2024-01-01 11:00', '2024-01-01 10:00:00+00'",
    "1, '2024-01-01 10:00', 2, 0.2, 2.20, 'b', '2024-01-01 12:00', '2024-01-01 10:00:00+00'",
    "1, '2024-01-03 10:00', 4, 'nan', 0.01, NULL, '2024-01-03 11:00', NULL",
    "1, '2024-01-09 10:00', NULL, 1e300, NULL, 'a', '2024-01-09 11:00', '2024-01-09 10:00:00+00'",
    "2, '2024-01-02 00:00', 7, NULL, 3.30, 'a', '2024-01-02 11:00', '2024-01-02 00:00:00+00'",
    "2, '2024-01-05 00:00', 95, 5.5, 4.40, 'b', '2024-01-05 11:00', '2024-01-05 00:00:00+00'",
    "NULL, '2024-01-05 00:00', 8, 5.5, 4.40, 'b', '2024-01-05 11:00', '2024-01-05 00:00:00+00'",
    "3, NULL, 9, 5.5, 4.40, 'b', NULL, NULL",
]
FEATURES = {
    "windows": """{{ config(entity="user", timestamp="t") }}
        SELECT k, t, x AS last_x, SUM(x) OVER last_7d, AVG(y) OVER last_2d, SUM(d) OVER ever,
            COUNT(*) FILTER (WHERE x > {{ var("least") }}) OVER last_30d AS n, STRING_AGG(s, '') OVER ever AS w,
            date_diff('hour', t, as_of()) AS hours FROM {{ source("ev") }}""",
    "windows_right": """{{ config(entity="user", timestamp="t", closed="right", delay="6h", ttl="3d") }}
        SELECT k, t, x AS last_x, COUNT(*) OVER last_30d FROM {{ source("ev") }}""",
    "daily": """{{ config(entity="user", timestamp="t", interval="1d") }}
        SELECT k, t, SUM(x) OVER last_3d, COUNT(*) OVER last_3d AS n FROM {{ source("ev") }}""",
    "midnights": """{{ config(entity="pair", timestamp="t", interval="1d", timezone="Asia/Tokyo", delay="1h") }}
        SELECT k, s, t, MEDIAN(x) OVER last_3d AS m, s || '!' AS last_s, date_diff('hour', t, as_of()) AS h
        FROM {{ source("ev") }}""",
    "plain": """{{ config(entity="user", timestamp="t", ttl="4d", delay="1d") }}
        SELECT k, t, x, y, d, s, z, [x, 1] AS l, {'a': y} AS st FROM {{ source("ev") }}""",
    "plain_left": """{{ config(entity="user", timestamp="t", closed="left") }}
        SELECT k, t, max(x) AS x FROM {{ source("ev") }} GROUP BY k, t""",
    "static": """{{ config(entity="user", assume_final=true) }}
        SELECT k, sum(x) AS total, avg(y) AS mean FROM {{ source("ev") }} GROUP BY k""",
    "surrogate": """{{ config(entity="made", timestamp="t") }}
        SELECT {{ surrogate_key("k", "s") }} AS id, t, COUNT(*) OVER ever AS n FROM {{ source("ev") }}""",
    "corrected": """{{ config(entity="user", timestamp="t") }}
        SELECT k, t, x, COUNT(*) OVER ever AS n FROM {{ source("known") }}""",
}
FEATURES["joined"] = """{{ config(entity="user", timestamp="t") }}
        SELECT e.k, e.t, e.x, w.n AS wn, d.n AS dn, p.x AS px, s.total, SUM(e.x + coalesce(w.n, 0)) OVER last_7d AS sn
        FROM {{ source("ev") }} e LEFT JOIN {{ ref("windows") }} w ON e.k = w.k
        LEFT JOIN {{ ref("daily") }} d ON e.k = d.k LEFT JOIN {{ ref("plain") }} p ON e.k = p.k
        LEFT JOIN {{ ref("static") }} s ON e.k = s.k"""
FEATURES["joined_right"] = FEATURES["joined"].replace('"windows"', '"windows_right"').replace("w.n", "w.count_30d")
FEATURES["asked"] = """{{ config(entity="user", on_demand=true, request={"ask": "DOUBLE"}) }}
        SELECT ask * coalesce(w.n, -1) AS product, w.hours AS hours FROM {{ ref("windows") }} w"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    made = Small(tmp_path_factory.mktemp("same"), CONFIG)
    made.rows(*ROWS, columns=COLUMNS)
    for name, text in FEATURES.items():
        made.feature(name, text)
    made.good()
    return made


@pytest.fixture(scope="module")
def given(small: Small) -> list[dict[str, Any]]:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        query = f"SELECT * REPLACE (CAST(z AS TIMESTAMP) AS z) FROM '{small.root}/data/ev.parquet'"
        result = con.execute(query)
        names = [c[0] for c in result.description]
        return [{n: v for n, v in zip(names, row, strict=True) if v is not None} for row in result.fetchall()]


STORED = [name for name in FEATURES if name != "asked"]


@pytest.mark.parametrize("feature", STORED)
def test_the_same_rows(small: Small, given: list[dict[str, Any]], feature: str) -> None:
    names = [n for n, *_ in small.sql(f"DESCRIBE FROM features.{feature}")]
    shown = ", ".join(f"CAST({n} AS TIMESTAMP) AS {n}" if n == "z" else n for n in names)
    expect = rows_of(small, f"(SELECT {shown} FROM features.{feature})")
    assert expect
    source = "known" if feature == "corrected" else "ev"
    passes(small, feature, given={source: given}, expect=expect)


LABELS = [(k, f"2024-01-{day:02} {hour}") for k in (1, 2, 9) for day in (1, 3, 5, 9, 12) for hour in ("10:00", "23:30")]


@pytest.mark.parametrize("feature", FEATURES)
def test_the_same_values(small: Small, given: list[dict[str, Any]], feature: str) -> None:
    more = {"asked": ", 2.5 AS ask", "midnights": ", 'a' AS s", "surrogate": ", 'a' AS s"}.get(feature, "")
    values = ", ".join(f"({k}, TIMESTAMP '{at}')" for k, at in LABELS)
    table = small.forge.get_training_data(feature, f"SELECT *{more} FROM (VALUES {values}) v(k, label_time)")
    rows = table.to_pylist()
    for row in rows:
        if row.get("z"):
            row["z"] = row["z"].replace(tzinfo=None)
    assert len(rows) == len(LABELS)
    source = "known" if feature == "corrected" else "ev"
    passes(small, feature, given={source: given}, expect_at=rows)


@pytest.mark.parametrize("feature", ["joined", "joined_right", "asked"])
def test_rows_given_of_what_is_read(small: Small, given: list[dict[str, Any]], feature: str) -> None:
    """The rows that the views of the features show, given in their place, make the same of what reads them: as long as no
    row leaves an exact window, which its view does not show."""
    reads = {
        "joined": ("windows", "daily", "plain", "static"),
        "joined_right": ("windows_right", "daily", "plain", "static"),
        "asked": (),
    }[feature]
    views: dict[str, Any] = {}
    for name in reads:
        columns = [n for n, *_ in small.sql(f"DESCRIBE FROM features.{name}") if n != "z"]
        views[name] = rows_of(small, f"(SELECT {', '.join(columns)} FROM features.{name})")
    if not views:
        at = {"k": 1, "t": "2024-01-03 10:00:00", "n": 3, "hours": 5}
        labels = [
            {"k": 1, "label_time": "2024-01-03 10:00:00", "ask": 2, "product": 0},
            {"k": 1, "label_time": "2024-01-03 10:00:00.000001", "ask": 2, "product": 6, "hours": 5},
        ]
        passes(small, feature, given={"windows": [at]}, expect_at=labels)
        return
    passes(small, feature, given={"ev": given, **views}, expect=rows_of(small, f"features.{feature}"))
    wrong = {**views, reads[0]: []}
    with pytest.raises(AssertionError, match="differs"):
        passes(small, feature, given={"ev": given, **wrong}, expect=rows_of(small, f"features.{feature}"))


def test_vars_take_the_place_of_those_of_the_project(small: Small, given: list[dict[str, Any]]) -> None:
    label = {"k": 1, "label_time": "2024-01-03 12:00:00"}
    passes(small, "windows", given={"ev": given}, expect_at=[{**label, "n": 3}])
    passes(small, "windows", given={"ev": given}, expect_at=[{**label, "n": 2}], vars={"least": 1})


def test_the_zone_of_the_session_does_not_matter(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    given = [{"k": 1, "t": "2024-01-01 10:00:00", "z": "2024-01-01 12:00:00+02:00"}]
    passes(small, "plain", given={"ev": given}, expect=[{"k": 1, "z": "2024-01-01 10:00:00"}])
    at = {"k": 1, "label_time": "2024-01-03 12:00:00"}
    passes(small, "plain", given={"ev": given}, expect_at=[{**at, "z": "2024-01-01 11:00:00+01:00"}])


def test_the_catalog_is_not_touched_and_not_needed(small: Small, tmp_path: Path) -> None:
    other = Small(tmp_path, CONFIG)
    other.rows(*ROWS, columns=COLUMNS)
    other.feature("static", FEATURES["static"])
    passes(other, "static", given={"ev": [{"k": 1, "x": 2}, {"k": 1, "x": 3}]}, expect=[{"k": 1, "total": 5}])
    assert not other.catalog.exists()
