"""SQL that sees, or hides, the future: refused when it is planned, or failed by the rows, and builds once repaired.

Rows of user 1 are of 1 January (1), 20 January (50) and 1 June 2024 (100). A label of 3 January may see 1, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from mlforge.errors import MlforgeError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
name: small
strict: true
sources:
  src: {path: data/src.parquet, timestamp: day}
  days: {path: data/days.parquet, timestamp: day}
  prices: {path: data/prices.parquet, timestamp: xt}
entities: {user: {key: uid}}
"""
T = 'timestamp="t"'
LATER = "later row of src: uid=1, day=2024-"


@dataclass(frozen=True)
class Case:
    """A leaking form, words of the error that it meets, and its honest twin with what a label of 3 January sees then."""

    leaks: str
    error: str
    honest: str
    sees: object = 1
    config: str = T
    honest_config: str = T


MONTH = "strptime(strftime(day, '%Y-%m'), '%Y-%m')"
CASES = {
    "a static total": Case(
        "SELECT uid, SUM(x) AS v FROM @src GROUP BY uid",
        "holds for all time",
        "SELECT uid, day AS t, SUM(x) OVER ever AS v FROM @src",
        1,
        config="",
    ),
    "the least time with the total": Case(
        "SELECT uid, MIN(day) + INTERVAL 1 DAY AS t, SUM(x) AS v FROM @src GROUP BY uid",
        LATER + "06-01",
        "SELECT uid, MIN(day) + INTERVAL 1 DAY AS t, arg_min(x, day) AS v FROM @src GROUP BY uid",
    ),
    "the same by a CTE": Case(
        "WITH c AS (SELECT uid, MIN(day) AS m, SUM(x)::BIGINT AS v FROM @src GROUP BY uid) "
        "SELECT uid, m + INTERVAL 1 DAY AS t, v FROM c",
        LATER + "06-01",
        "WITH c AS (SELECT uid, MIN(day) AS m, arg_min(x, day) AS v FROM @src GROUP BY uid) "
        "SELECT uid, m + INTERVAL 1 DAY AS t, v FROM c",
    ),
    "a running total by value": Case(
        "SELECT uid, day AS t, SUM(x) OVER (PARTITION BY uid ORDER BY x DESC) AS v FROM @src",
        LATER,
        "SELECT uid, day AS t, SUM(x) OVER (PARTITION BY uid ORDER BY day) AS v FROM @src",
    ),
    "ordered by a constant": Case(
        "SELECT uid, day AS t, SUM(x) OVER (PARTITION BY uid ORDER BY 1) AS v FROM @src",
        LATER,
        "SELECT uid, day AS t, SUM(x) OVER (PARTITION BY uid ORDER BY epoch(day)) AS v FROM @src",
    ),
    "ordered by the year": Case(
        "SELECT uid, day AS t, SUM(x) OVER (PARTITION BY uid ORDER BY date_trunc('year', day)) AS v FROM @src",
        LATER,
        "SELECT uid, date_trunc('year', day) + INTERVAL 1 YEAR AS t, SUM(x) AS v FROM @src GROUP BY ALL",
        None,
    ),
    "ordered backwards": Case(
        "SELECT uid, day AS t, SUM(x) OVER (PARTITION BY uid ORDER BY -epoch(day)) AS v FROM @src",
        LATER,
        "SELECT uid, day AS t, SUM(x) OVER (PARTITION BY uid ORDER BY day) AS v FROM @src",
    ),
    "a rank by value": Case(
        "SELECT uid, day AS t, RANK() OVER (PARTITION BY uid ORDER BY x DESC) AS v FROM @src",
        LATER,
        "SELECT s.uid, s.day AS t, 1 + (SELECT count(*) FROM @src p WHERE p.uid = s.uid AND p.day <= s.day AND p.x > s.x) "
        "AS v FROM @src s",
    ),
    "a dense rank by value": Case(
        "SELECT uid, day AS t, DENSE_RANK() OVER (PARTITION BY uid ORDER BY x DESC) AS v FROM @src",
        LATER,
        "SELECT uid, day AS t, RANK() OVER (PARTITION BY uid ORDER BY day) AS v FROM @src",
    ),
    "the first value backwards": Case(
        "SELECT uid, day + INTERVAL 1 DAY AS t, FIRST_VALUE(x) OVER (PARTITION BY uid ORDER BY day DESC) AS v FROM @src",
        LATER,
        "SELECT uid, day + INTERVAL 1 DAY AS t, LAST_VALUE(x) OVER (PARTITION BY uid ORDER BY day) AS v FROM @src",
    ),
    "a month by its text": Case(
        f"SELECT uid, {MONTH} + INTERVAL 1 DAY AS t, SUM(x) AS v FROM @src GROUP BY ALL",
        LATER,
        f"SELECT uid, {MONTH} + INTERVAL 1 MONTH AS t, SUM(x) AS v FROM @src GROUP BY ALL",
        None,
    ),
    "a month by its parts": Case(
        "SELECT uid, make_timestamp(year(day), month(day), 1, 0, 0, 0.0) AS t, SUM(x) AS v FROM @src GROUP BY ALL",
        LATER,
        "SELECT uid, make_timestamp(year(day), month(day), 1, 0, 0, 0.0) + INTERVAL 1 MONTH AS t, SUM(x) AS v FROM @src "
        "GROUP BY ALL",
        None,
    ),
    "the next row by ASOF": Case(
        "SELECT e.uid, e.day AS t, p.y AS v FROM @src e ASOF JOIN @prices p ON e.uid = p.uid AND e.day <= p.xt",
        "later row of prices: uid=1, xt=2024-",
        "SELECT e.uid, e.day AS t, p.y AS v FROM @src e ASOF LEFT JOIN @prices p ON e.uid = p.uid AND e.day >= p.xt",
        None,
    ),
    "the greatest time": Case(
        "SELECT uid, MAX(day) AS t, SUM(x) AS v FROM @src GROUP BY uid",
        "the timestamp itself changes as later rows arrive",
        "SELECT uid, day AS t, SUM(x) OVER ever AS v FROM @src",
    ),
    "the latest row": Case(
        "SELECT uid, day AS t, x AS v FROM @src QUALIFY row_number() OVER (PARTITION BY uid ORDER BY day DESC) = 1",
        "retrieval takes the last",
        "SELECT uid, day AS t, x AS v FROM @src",
    ),
    "the latest row, a second later": Case(
        "SELECT uid, day + INTERVAL 1 SECOND AS t, x AS v FROM @src "
        "QUALIFY row_number() OVER (PARTITION BY uid ORDER BY x DESC) = 1",
        "retrieval takes the last",
        "SELECT uid, day + INTERVAL 1 SECOND AS t, x AS v FROM @src",
    ),
    "distinct on, backwards": Case(
        "SELECT * FROM (SELECT DISTINCT ON (uid) uid, day AS t, x AS v FROM @src ORDER BY uid, day DESC)",
        "retrieval takes the last",
        "SELECT uid, day AS t, x AS v FROM @src",
    ),
    "an untied NOT EXISTS": Case(
        "SELECT uid, day AS t, x AS v FROM @src a WHERE NOT EXISTS (FROM @src b WHERE b.uid = a.uid AND b.x > 60)",
        "b.day <= a.day",
        "SELECT uid, day AS t, x AS v FROM @src a WHERE NOT EXISTS (FROM @src b WHERE b.uid = a.uid AND b.x > 60 AND "
        "b.day <= a.day)",
    ),
    "an untied anti join": Case(
        "SELECT a.uid, a.day AS t, a.x AS v FROM @src a ANTI JOIN @prices b ON b.uid = a.uid AND b.y > 600",
        "b.xt <= a.day",
        "SELECT a.uid, a.day AS t, a.x AS v FROM @src a ANTI JOIN @prices b ON b.uid = a.uid AND b.y > 600 AND b.xt <= a.day",
    ),
    "unmatched by a left join": Case(
        "SELECT a.uid, a.day AS t, a.x AS v FROM @src a LEFT JOIN @prices b ON b.uid = a.uid AND b.y > 600 WHERE b.uid IS NULL",
        "b.xt <= a.day",
        "SELECT a.uid, a.day AS t, a.x AS v FROM @src a LEFT JOIN @prices b ON b.uid = a.uid AND b.y > 600 AND "
        "b.xt <= a.day WHERE b.uid IS NULL",
    ),
    "having few": Case(
        "SELECT uid, MIN(day) AS t, arg_min(x, day) AS v FROM @src GROUP BY uid HAVING count(*) < 3",
        "HAVING",
        "SELECT uid, date_trunc('day', day) + INTERVAL 1 DAY AS t, SUM(x) AS v FROM @src GROUP BY ALL HAVING count(*) < 3",
    ),
    "a date cast": Case(
        "SELECT uid, day::TIMESTAMP AS t, x AS v FROM @days",
        "later row of days: uid=1, day=2024-01-01",
        "SELECT uid, day AS t, x AS v FROM @days",
    ),
    "a date and nothing": Case(
        "SELECT uid, day + INTERVAL 0 SECOND AS t, x AS v FROM @days",
        "later row of days",
        "SELECT uid, day + INTERVAL 1 DAY AS t, x AS v FROM @days",
    ),
    "a date by its text": Case(
        "SELECT uid, strptime(day::VARCHAR, '%Y-%m-%d') AS t, x AS v FROM @days",
        "later row of days",
        "SELECT uid, strptime(day::VARCHAR, '%Y-%m-%d') AS t, x AS v FROM @days",
        honest_config=T + ', delay="1d"',
    ),
    "a year as microseconds": Case(
        "SELECT uid, make_timestamp(year(day)) AS t, SUM(x) AS v FROM @src GROUP BY ALL",
        LATER,
        "SELECT uid, make_timestamp(year(day) + 1, 1, 1, 0, 0, 0.0) AS t, SUM(x) AS v FROM @src GROUP BY ALL",
        None,
    ),
}


@pytest.fixture
def project(tmp_path: Path) -> Small:
    small = Small(tmp_path, CONFIG)
    rows = "(1::BIGINT, TIMESTAMP '2024-01-01', 1), (1, TIMESTAMP '2024-01-20', 50), (1, TIMESTAMP '2024-06-01', 100)"
    small.write("data/src.parquet", f"SELECT * FROM (VALUES {rows}) v(uid, day, x)")
    small.write("data/days.parquet", f"SELECT uid, day::DATE AS day, x FROM (VALUES {rows}) v(uid, day, x)")
    small.write(
        "data/prices.parquet",
        f"SELECT uid, day + INTERVAL 3 DAY AS xt, x * 10 AS y FROM (VALUES {rows}) v(uid, day, x)",
    )
    return small


def feature(config: str, text: str) -> str:
    for name in ("src", "days", "prices"):
        text = text.replace(f"@{name}", f'{{{{ source("{name}") }}}}')
    more = f", {config}" if config else ""
    return f'{{{{ config(entity="user"{more}) }}}}\n{text}'


def refusal(project: Small) -> str:
    """What plan or build says against the project's one feature; nothing was stored."""
    try:
        result = project.build()
    except MlforgeError as error:
        return str(error)
    (failed,) = result.features
    assert failed.status == "failed"
    assert not project.catalog.exists() or project.stored("f") == {}
    return failed.error or ""


@pytest.mark.parametrize("name", CASES)
def test_what_leaks_is_refused_and_its_repair_builds(name: str, project: Small) -> None:
    case = CASES[name]
    project.feature("f", feature(case.config, case.leaks))
    assert case.error in refusal(project)
    project.feature("f", feature(case.honest_config, case.honest))
    project.good()
    label = "SELECT 1::BIGINT AS uid, TIMESTAMP '2024-01-03' AS label_time"
    assert project.forge.get_training_data("f", label)["v"].to_pylist() == [case.sees]
    assert project.forge.verify("f").passed
