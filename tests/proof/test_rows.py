"""Rows that are looked at while they are made: in every build, with the same values, and what a build says of a leak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlglot
from sqlglot import exp

from mlforge.errors import MlforgeError
from mlforge.render.rowwise import RowWise, row_wise
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
name: small
sources:
  ev: {path: data/ev, timestamp: t}
  prices: {path: data/prices.parquet, timestamp: moment, known: {settled: "greatest(moment, moment + INTERVAL 2 DAY)"}}
entities: {user: {key: k}}
"""
TIMED = '{{ config(entity="user", timestamp="ts") }} '
FIRST = "(1, TIMESTAMP '2024-01-01', 1), (1, TIMESTAMP '2024-01-02', 2), (2, TIMESTAMP '2024-01-02', 5), (2, TIMESTAMP '2024-01-02', 6)"


@pytest.fixture
def project(tmp_path: Path) -> Small:
    small = Small(tmp_path, CONFIG)
    add(small, "first", FIRST)
    values = "(1, TIMESTAMP '2024-01-01 12:00', 10, 11), (1, TIMESTAMP '2024-01-01 12:00', 12, 13), (2, TIMESTAMP '2024-01-01', 20, 21)"
    small.write(
        "data/prices.parquet",
        f"SELECT k::BIGINT AS k, moment, price, settled FROM (VALUES {values}) v(k, moment, price, settled)",
    )
    return small


def add(small: Small, name: str, values: str) -> None:
    small.write(f"data/ev/{name}.parquet", f"SELECT k::BIGINT AS k, t, x FROM (VALUES {values}) v(k, t, x)")


# rows prove them, not the SQL; ties among them are broken as in the feature that is not looked at
LOOKED_AT = {
    "a moved time": "SELECT k, greatest(t, t + to_days(x::INTEGER)) AS ts, x FROM {{ source('ev') }}",
    "the first": "SELECT k, MIN(t) AS ts, arg_min(x, t) AS x FROM {{ source('ev') }} GROUP BY k",
    "numbered": "SELECT k, greatest(t, t) AS ts, row_number() OVER (PARTITION BY k ORDER BY t) AS n FROM {{ source('ev') }}",
    "rows before": "SELECT k, greatest(t, t) AS ts, SUM(x) OVER (PARTITION BY k ORDER BY t ROWS 1 PRECEDING) AS s FROM {{ source('ev') }}",
    "asof": "SELECT e.k, greatest(e.t, e.t) AS ts, p.price FROM {{ source('ev') }} e ASOF LEFT JOIN {{ source('prices') }} p "
    "ON e.k = p.k AND e.t >= p.moment",
    "listed": "SELECT k, strptime(strftime(t, '%Y-%m-%d'), '%Y-%m-%d') + INTERVAL 1 DAY AS ts, LIST(x) AS xs, FIRST(x) AS f FROM {{ source('ev') }} GROUP BY ALL",
    "windows": "SELECT k, greatest(t, t) AS ts, SUM(x) OVER last_2d AS s, x AS last FROM {{ source('ev') }}",
    "a text": "SELECT k, strptime(t::VARCHAR, '%Y-%m-%d %H:%M:%S') AS ts, x FROM {{ source('ev') }}",
    "late columns": "SELECT k, moment + INTERVAL 2 DAY AS ts, settled FROM {{ source('prices') }}",
}


def proof(project: Small, name: str = "f") -> str:
    return next(str(s.candidate.compiled.proof) for s in project.forge.plan().steps if s.feature == name)


@pytest.mark.parametrize("name", LOOKED_AT)
def test_rows_that_are_looked_at_are_the_same_rows(name: str, project: Small) -> None:
    project.feature("f", TIMED + LOOKED_AT[name])
    project.feature("g", TIMED.replace(") }}", ", assume_final=true) }}") + LOOKED_AT[name])
    assert (proof(project), proof(project, "g")) == ("proven (rows)", "allowed: assume_final=true")
    project.good()
    assert project.view("f") == project.view("g") != []
    assert project.sql("SELECT comment FROM duckdb_views() WHERE view_name = 'f' AND schema_name = 'features'") == [
        ("leaks: proven (rows)",)
    ]
    add(project, "second", "(1, TIMESTAMP '2024-01-05', 3), (3, TIMESTAMP '2024-01-05', 4)")
    project.good()
    assert project.view("f") == project.view("g")


@pytest.mark.parametrize("name", LOOKED_AT)
def test_rows_come_one_by_one_whether_looked_at_or_not(name: str, project: Small) -> None:
    project.feature("f", TIMED + LOOKED_AT[name])
    (step,) = project.forge.plan().steps
    plain, looked_at = (row_wise(text) for text in (step.candidate.compiled.event_sql, step.candidate.seen_sql))
    assert isinstance(plain, RowWise) is isinstance(looked_at, RowWise)
    if isinstance(plain, RowWise) and isinstance(looked_at, RowWise):
        assert (plain.source, plain.beside) == (looked_at.source, looked_at.beside)


LEAKS = {
    "a time before": (
        "SELECT k, least(t, t - to_days(x::INTEGER)) AS ts, x FROM {{ source('ev') }}",
        """f: 4 rows hold what was not known at the row's time
  k=2: stamped 2023-12-27 00:00:00, known at 2024-01-02 00:00:00
  k=2: stamped 2023-12-28 00:00:00, known at 2024-01-02 00:00:00
  k=1: stamped 2023-12-31 00:00:00, known at 2024-01-01 00:00:00
  k=1: stamped 2023-12-31 00:00:00, known at 2024-01-02 00:00:00
  later row of ev: k=2, t=2024-01-02 00:00:00, x=5""",
    ),
    "a column that comes later": (
        "SELECT k, moment AS ts, settled FROM {{ source('prices') }} WHERE k = 2",
        """f: 1 row holds what was not known at the row's time
  k=2: stamped 2024-01-01 00:00:00, known at 2024-01-03 00:00:00
  later value of prices.settled: k=2, moment=2024-01-01 00:00:00, price=""",
    ),
}


@pytest.mark.parametrize("name", LEAKS)
def test_what_a_build_says_of_a_leak(name: str, project: Small) -> None:
    text, said = LEAKS[name]
    project.feature("f", TIMED + text)
    project.feature("good", TIMED + "SELECT k, t AS ts, x FROM {{ source('ev') }}")
    result = project.build()
    failed, built = sorted(result.features, key=lambda f: f.feature)
    assert (failed.status, built.status) == ("failed", "built")
    error = failed.error or ""
    first, _, hint = error.partition("\n  hint: ")
    assert first.removeprefix("features/f.sql:1: ").split("\n")[0] == said.split("\n")[0]
    for line in said.split("\n"):
        assert line in first, first
    assert "b.t <= a.t" in hint
    assert project.stored("f") == {}


def test_a_later_build_that_leaks_leaves_the_last_version(project: Small) -> None:
    project.feature(
        "f",
        TIMED + "SELECT k, greatest(t, TIMESTAMP '2024-01-01' + to_days(x::INTEGER)) - INTERVAL 1 MICROSECOND AS ts, x "
        "FROM {{ source('ev') }} WHERE x > 1",
    )
    assert project.good() == {"f": "1.0.0"}
    before = project.view("f")
    add(project, "second", "(1, TIMESTAMP '2024-01-05', 3), (3, TIMESTAMP '2024-01-09', 30)")
    assert project.forge.plan().steps[0].increment.mode == "incremental"
    (failed,) = project.build().features
    assert "f: 1 row holds what was not known at the row's time" in (failed.error or "")
    assert "later row of ev: k=1, t=2024-01-05 00:00:00, x=3" in (failed.error or "")
    assert project.view("f") == before
    add(project, "second", "(3, TIMESTAMP '2024-01-09', 30)")
    assert project.good() == {"f": "1.0.1"}


EARLY = (
    TIMED
    + "SELECT k, moment + INTERVAL 0 MINUTE + INTERVAL 1 HOUR AS ts, price FROM {{ source('prices') }} WHERE abs(k) > 0"
)
BESIDE = TIMED + (
    "SELECT e.k, greatest(e.t, e.t) AS ts, p.price FROM {{ source('ev') }} e ASOF LEFT JOIN {{ source('prices') }} p "
    "ON e.k = p.k AND e.t >= p.moment"
)
LATE = TIMED + "SELECT k, t - to_days(x::INTEGER) AS ts, x FROM {{ source('ev') }}"
FINAL = LATE.replace(") }}", ", assume_final=true) }}", 1)
# the feature, what is changed in the settings, the feature then, and how many rows leak
SAID_LATER = {
    "a delay": (EARLY, ("timestamp: moment,", "timestamp: moment, delay: 3d,"), EARLY, 3),
    "a delay beside": (BESIDE, ("timestamp: moment,", "timestamp: moment, delay: 3d,"), BESIDE, 3),
    "an instant of a column": (EARLY, ("settled:", "price:"), EARLY, 3),
    "a line that is gone": (FINAL, ("", ""), LATE, 4),
}


@pytest.mark.parametrize("case", SAID_LATER)
def test_rows_are_looked_at_again_where_they_are_known_at_other_times(case: str, project: Small) -> None:
    before, (was, now), after, count = SAID_LATER[case]
    project.feature("f", before)
    assert project.good() == {"f": "1.0.0"}
    assert project.actions() == {"f": "none"}
    project.config(CONFIG.replace(was, now))
    project.feature("f", after)
    for _ in range(2):  # and again, until it is mended
        (failed,) = project.build().features
        assert f"f: {count} rows hold what was not known" in (failed.error or "")


def test_a_patch_does_not_prove_rows_that_nobody_looked_at(project: Small) -> None:
    project.feature("f", FINAL)
    assert project.good() == {"f": "1.0.0"}
    project.feature("f", LATE)
    add(project, "second", "(7, TIMESTAMP '2025-01-01', 0)")
    (step,) = project.forge.plan().steps
    assert (step.action, step.increment.mode) == ("patch", "whole")
    (failed,) = project.build().features
    assert "f: 4 rows hold what was not known" in (failed.error or "")


def test_what_the_sql_proves_is_not_made_again_for_another_delay(project: Small) -> None:
    project.feature("f", TIMED + "SELECT k, t AS ts, x FROM {{ source('ev') }}")
    project.feature(
        "g",
        TIMED
        + "SELECT e.k, e.t AS ts, (SELECT max(price) FROM {{ source('prices') }} p WHERE p.moment + INTERVAL 3 DAY "
        "<= e.t) AS x FROM {{ source('ev') }} e",
    )
    project.good()
    project.config(CONFIG.replace("timestamp: moment,", "timestamp: moment, delay: 3d,"))
    assert project.actions() == {"f": "none", "g": "none"}


def test_a_feature_that_is_refused_now_keeps_its_last_version(project: Small) -> None:
    newest = (
        "SELECT k, t AS ts, x FROM {{ source('ev') }} QUALIFY row_number() OVER (PARTITION BY k ORDER BY t DESC) = 1"
    )
    project.feature("f", TIMED.replace(") }}", ", allow_lookahead=true) }}") + newest)
    project.feature("g", TIMED + "SELECT k, t AS ts, x FROM {{ source('ev') }}")
    project.good()
    before = project.view("f")
    project.feature("f", TIMED + newest)
    add(project, "second", "(3, TIMESTAMP '2024-01-09', 30)")
    result = project.build()
    assert {f.feature: f.status for f in result.features} == {"f": "failed", "g": "built"}
    assert project.view("f") == before
    with pytest.raises(MlforgeError) as error:
        project.build("f")
    assert (error.value.where and error.value.where.line, error.value.message) == (
        1,
        "the timestamp itself changes as later rows arrive: it is made of the row that is chosen",
    )


def test_names_of_sources_and_columns_keep_their_letters(tmp_path: Path) -> None:
    small = Small(
        tmp_path, "name: small\nsources: {Ev: {path: data/Ev.parquet, timestamp: At}}\nentities: {user: {key: K}}\n"
    )
    small.write("data/Ev.parquet", "SELECT 1::BIGINT AS K, TIMESTAMP '2024-01-01' AS At, 5 AS \"Odd name\"")
    small.feature(
        "f",
        '{{ config(entity="user", timestamp="Ts") }} SELECT K, greatest(At, At) AS Ts, "Odd name" FROM {{ source("Ev") }}',
    )
    assert proof(small) == "proven (rows)"
    small.good()
    (step,) = small.forge.plan().steps
    tables = [t.name for t in sqlglot.parse_one(step.candidate.seen_sql, dialect="duckdb").find_all(exp.Table)]
    assert tables == ["Ev"]
    assert small.sql("SELECT column_name FROM (DESCRIBE features.f)") == [("K",), ("Ts",), ("Odd name",)]


def test_a_text_that_sql_reads_as_another_day(project: Small) -> None:
    add(project, "second", "(1, TIMESTAMP '2024-01-20', 9)")
    project.feature(
        "f",
        '{{ config(entity="user", timestamp="ts", timestamp_format="%Y-%d-%m") }} '
        "WITH c AS (SELECT unnest(['2024-02-01', '2024-07-01']) AS ts) SELECT e.k, c.ts, max(e.x) AS x FROM c "
        "JOIN {{ source('ev') }} e ON e.t < c.ts::TIMESTAMP GROUP BY ALL",
    )
    (failed,) = project.build().features
    assert "f: 2 rows hold what was not known" in (failed.error or "")
    assert "k=1: stamped 2024-01-02 00:00:00, known at 2024-01-20 00:00:00" in (failed.error or "")
