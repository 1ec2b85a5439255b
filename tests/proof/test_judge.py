"""What plan says of a feature's leaks, and the delay that it takes from its sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.duration import period_of
from mlforge.errors import MlforgeError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
name: small
sources:
  ev: {path: data/ev.parquet, timestamp: t}
  days: {path: data/days.parquet, timestamp: day}
  nights: {path: data/days.parquet, timestamp: day, delay: 29h}
  dawns: {path: data/days.parquet, timestamp: day, delay: 0s}
  texts: {path: data/texts.parquet, timestamp: day}
  bare: {path: data/ev.parquet}
  bare_texts: {path: data/texts.parquet}
  bare_days: {path: data/days.parquet}
  names: {path: data/names.parquet}
entities: {user: {key: k}}
"""
TIMED = '{{ config(entity="user", timestamp="t") }} '
NOBODY = "unproven: source bare declares no timestamp and has times (t), so nobody knows when its rows are known"


@pytest.fixture
def project(tmp_path: Path) -> Small:
    small = Small(tmp_path, CONFIG)
    small.rows("1, '2024-01-01', 1", "1, '2024-01-20', 50", "1, '2024-06-01', 100")
    small.write("data/days.parquet", "SELECT 1::BIGINT AS k, DATE '2024-01-01' AS day, 5 AS x")
    small.write("data/texts.parquet", "SELECT 1::BIGINT AS k, '01/02/2024' AS day, '01/02/2024 08' AS hour, 5 AS x")
    small.write("data/names.parquet", "SELECT 1::BIGINT AS k, 'a' AS name")
    return small


def said(project: Small, name: str = "f") -> str:
    """What the plan says of the leaks of a feature."""
    return next(str(s.candidate.compiled.proof) for s in project.forge.plan().steps if s.feature == name)


SAID = {
    "a source's rows": (TIMED + "SELECT k, t, x FROM {{ source('ev') }}", "proven (plan)"),
    "windows": (TIMED + "SELECT k, t, SUM(x) OVER last_7d AS s FROM {{ source('ev') }}", "proven (plan)"),
    "a source without a time": (
        TIMED + "SELECT e.k, e.t, n.name FROM {{ source('ev') }} e JOIN {{ source('names') }} n USING (k)",
        "proven (plan); names is taken as known always",
    ),
    "a source that declares none": (
        TIMED + "SELECT k, t, x FROM {{ source('bare') }}",
        "proven (plan); t is taken as the time at which rows of source bare are known: declare its timestamp",
    ),
    "a source that declares none, and its time moved": (
        TIMED + "WITH a AS (SELECT k, t AS u, x FROM {{ source('bare') }}) SELECT k, u + INTERVAL 1 DAY AS t, x FROM a",
        "proven (plan); t is taken as the time at which rows of source bare are known: declare its timestamp",
    ),
    "a source that declares none, and its time is two columns": (
        TIMED + "SELECT k, t + to_days(x::INTEGER) AS t, x FROM {{ source('bare') }}",
        "unproven: source bare declares no timestamp and has times (t), so nobody knows when its rows are known",
    ),
    "another source that has times and declares none": (
        TIMED
        + "SELECT e.k, e.t, SUM(b.x) AS s FROM {{ source('ev') }} e LEFT JOIN {{ source('bare') }} b USING (k) GROUP BY ALL",
        "unproven: source bare declares no timestamp and has times (t), so nobody knows when its rows are known",
    ),
    "another source that has days and declares none": (
        TIMED
        + "SELECT e.k, e.t, (SELECT MAX(b.x) FROM {{ source('bare_days') }} b WHERE b.k = e.k) AS s FROM {{ source('ev') }} e",
        "unproven: source bare_days declares no timestamp and has times (day), so nobody knows when its rows are known",
    ),
    "totals of a source that has times and declares none": (
        '{{ config(entity="user") }} SELECT k, SUM(x) AS s FROM {{ source("bare") }} GROUP BY k',
        "unproven: source bare declares no timestamp and has times (t), so nobody knows when its rows are known",
    ),
    "the newest of a source that has times and declares none": (
        '{{ config(entity="user") }} WITH a AS (SELECT *, row_number() OVER (PARTITION BY k ORDER BY t DESC) AS n '
        'FROM {{ source("bare") }}) SELECT k, x FROM a WHERE n = 1',
        "unproven: source bare declares no timestamp and has times (t), so nobody knows when its rows are known",
    ),
    "totals that are said to be final": (
        '{{ config(entity="user", assume_final=true) }} SELECT k, SUM(x) AS s FROM {{ source("bare") }} GROUP BY k',
        "allowed: assume_final=true",
    ),
    "rows that are looked up": (
        '{{ config(entity="user") }} SELECT k, x FROM {{ source("bare_days") }}',
        "proven (plan); bare_days is taken as known always",
    ),
    "totals of a source without any times": (
        '{{ config(entity="user") }} SELECT k, COUNT(*) AS n FROM {{ source("names") }} GROUP BY k',
        "proven (plan); names is taken as known always",
    ),
    "a source that declares none, and is tied": (
        TIMED
        + "SELECT e.k, e.t, b.x FROM {{ source('ev') }} e JOIN {{ source('bare_days') }} b ON b.k = e.k AND b.day = e.t::DATE",
        "proven (plan); day is taken as the time at which rows of source bare_days are known: declare its timestamp",
    ),
    "a source that declares none, beside the time": (
        TIMED
        + "SELECT e.k, e.t, (SELECT SUM(x) FROM {{ source('bare') }} b WHERE b.k = e.k)::BIGINT AS x FROM {{ source('ev') }} e",
        NOBODY,
    ),
    "a source that declares none, and a time that cannot be followed": (
        TIMED
        + "WITH RECURSIVE a AS (SELECT k, t, max(x) OVER (PARTITION BY k ORDER BY x DESC) AS x FROM {{ source('bare') }}) "
        "SELECT k, t, x FROM a",
        NOBODY,
    ),
    "a source that declares none, and a time from a list": (
        TIMED
        + "SELECT k, u.t, s FROM (SELECT k, list(t) AS l, max(x) AS s FROM {{ source('bare') }} GROUP BY k), UNNEST(l) u(t)",
        NOBODY,
    ),
    "totals of a source that declares none": (
        '{{ config(entity="user") }} SELECT k, max(x) AS x FROM {{ source("bare") }} GROUP BY k',
        NOBODY,
    ),
    "whether a source that declares none has a row": (
        '{{ config(entity="user") }} SELECT k, k IN (SELECT k FROM {{ source("bare") }}) AS x FROM {{ source("names") }}',
        NOBODY + "; names is taken as known always",
    ),
    "rows of a source that declares none": (
        '{{ config(entity="user") }} SELECT k, x FROM {{ source("bare") }}',
        "proven (plan); bare is taken as known always",
    ),
    "static": (
        '{{ config(entity="user") }} SELECT k, name FROM {{ source("names") }}',
        "proven (plan); names is taken as known always",
    ),
    "rows without the time": (
        '{{ config(entity="user") }} SELECT k, x FROM {{ source("ev") }}',
        "unproven: it has no timestamp, and what it reads has: ev",
    ),
    "said to be final": (
        '{{ config(entity="user", assume_final=true) }} SELECT k, sum(x) AS s FROM {{ source("ev") }} GROUP BY k',
        "allowed: assume_final=true",
    ),
    "said to look ahead": (
        '{{ config(entity="user", timestamp="t", allow_lookahead=true) }} '
        "SELECT k, t, lead(x) OVER (PARTITION BY k ORDER BY t) AS x FROM {{ source('ev') }}",
        "allowed: allow_lookahead=true",
    ),
    "late": (
        TIMED
        + "SELECT e.k, e.t, d.x FROM {{ source('ev') }} e ASOF JOIN {{ source('days') }} d ON e.k = d.k AND d.day <= e.t",
        "proven (rows)",
    ),
    "text": (
        '{{ config(entity="user", timestamp="t") }} SELECT k, strptime(day, \'%d/%m/%Y\') AS t, x FROM {{ source("texts") }}',
        "unproven: day, the time of source texts, is text that nobody says how to read",
    ),
    "text of an undeclared source": (
        '{{ config(entity="user", timestamp="t") }} SELECT k, strptime(day, \'%d/%m/%Y\') + INTERVAL 1 DAY AS t, x '
        'FROM {{ source("bare_texts") }}',
        "unproven: day, the time of source bare_texts, is text that nobody says how to read; "
        "day is taken as the time at which rows of source bare_texts are known: declare its timestamp",
    ),
    "a text that SQL reads as another day": (
        '{{ config(entity="user", timestamp="t", timestamp_format="%Y-%d-%m") }} '
        "WITH c AS (SELECT unnest(['2024-05-01', '2024-07-01']) AS t) SELECT e.k, c.t, max(e.x) AS x FROM c "
        "JOIN {{ source('ev') }} e ON e.t <= c.t::TIMESTAMP GROUP BY ALL",
        "proven (rows)",
    ),
    "not understood": (
        TIMED
        + "WITH RECURSIVE r AS (SELECT k, t, x FROM {{ source('ev') }} UNION ALL SELECT k, t + INTERVAL 1 DAY, x - 1 FROM r "
        "WHERE x > 0) SELECT k, t, x FROM r",
        "unproven: a recursive CTE over rows with a time is not understood",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_plan_says(case: str, project: Small) -> None:
    text, expected = SAID[case]
    project.feature("f", text)
    assert said(project) == expected


def test_a_source_that_has_times_and_declares_none_says_what_to_write(project: Small) -> None:
    project.feature("f", SAID["another source that has times and declares none"][0])
    (warning,) = project.forge.plan().warnings
    assert warning[1] == (
        "features/f.sql:1: it may leak, unproven: source bare declares no timestamp and has times (t), so nobody knows when its "
        "rows are known\n  hint: declare which column says when a row happened, timestamp: t, at source bare in mlforge.yaml; if "
        "its rows hold always, read them through a feature without a timestamp and ref(); if rows do not change after their "
        "time, state config(assume_final=true)"
    )
    project.feature("up", '{{ config(entity="user") }} SELECT k, x FROM {{ source("bare_days") }}')
    project.feature(
        "f", TIMED + "SELECT e.k, e.t, u.x FROM {{ source('ev') }} e LEFT JOIN {{ ref('up') }} u ON e.k = u.k"
    )
    assert said(project) == "proven (plan); bare_days is taken as known always"
    project.config(CONFIG.replace("bare: {path: data/ev.parquet}", "bare: {path: data/ev.parquet, timestamp: t}"))
    project.feature("f", SAID["another source that has times and declares none"][0])
    assert "later row of bare: " in str(next(s.error for s in project.build().features if s.feature == "f"))


def test_what_is_undeclared_does_not_hide_a_leak_of_what_is_declared(project: Small) -> None:
    sql = TIMED + (
        "SELECT e.k, e.t, SUM(f.x) AS s FROM {{ source('ev') }} e JOIN {{ source('bare_days') }} b ON b.k = e.k "
        "JOIN {{ source('ev') }} f ON f.k = e.k GROUP BY ALL"
    )
    project.feature("f", sql)
    assert said(project).startswith("unproven: source bare_days declares no timestamp")
    (failed,) = project.build().features
    assert "f: 2 rows hold what was not known at the row's time" in (failed.error or "")


def of_days(source: str, config: str = "") -> str:
    return (
        f'{{{{ config(entity="user", timestamp="day"{config}) }}}} SELECT k, day, x FROM {{{{ source("{source}") }}}}'
    )


# source, more of the config -> the delay that the feature has, and what is said beside "proven (plan)"
DELAYS = {
    ("days", ""): ("1d", "; its rows are known 1d after their time, as those of source days are"),
    ("nights", ""): ("29h", "; its rows are known 29h after their time, as those of source nights are"),
    ("dawns", ""): ("0s", ""),
    ("nights", ', delay="30h"'): ("30h", ""),
    ("bare_days", ""): (
        "1d",
        "; day is taken as the time at which rows of source bare_days are known: declare its timestamp"
        "; its rows are known 1d after their time, as those of source bare_days are",
    ),
}


@pytest.mark.parametrize("case", DELAYS)
def test_a_feature_takes_the_delay_of_its_source(case: tuple[str, str], project: Small) -> None:
    project.feature("f", of_days(*case))
    delay, more = DELAYS[case]
    assert said(project) == "proven (plan)" + more
    project.good()
    assert str(project.forge.plan().steps[0].candidate.compiled.delay) == delay
    hours = {"1d": 24, "29h": 29, "0s": 0, "30h": 30}[delay]
    labels = f"(1, TIMESTAMP '2024-01-01' + INTERVAL {hours} HOUR - INTERVAL 1 MICROSECOND), (1, TIMESTAMP '2024-01-01' + INTERVAL {hours} HOUR)"
    assert project.ask("f", labels, "x") == [(None,), (5,)]


def test_a_delay_below_that_of_the_source_is_not_proven(project: Small) -> None:
    project.feature("f", of_days("nights", ', delay="28h"'))
    assert said(project) == "proven (rows)"  # once they are looked at
    (failed,) = project.build().features
    assert "f: 1 row holds what was not known at the row's time, 28h of delay included" in (failed.error or "")
    assert "later row of nights: k=1, day=2024-01-01, x=5" in (failed.error or "")


def test_text_is_a_date_unless_its_format_has_a_time_of_day(project: Small) -> None:
    text = '{{{{ config(entity="user", timestamp="{0}", timestamp_format="{1}") }}}} SELECT k, {0}, x FROM {{{{ source("texts") }}}}'
    project.feature("f", text.format("day", "%d/%m/%Y"))
    assert str(project.forge.plan().steps[0].candidate.compiled.delay) == "1d"
    project.config(CONFIG.replace("timestamp: day}\n  bare", "timestamp: hour}\n  bare"))
    project.feature("f", text.format("hour", "%d/%m/%Y %-H"))
    assert str(project.forge.plan().steps[0].candidate.compiled.delay) == "0s"


PERIODS = {
    "%d/%m/%Y": "1d",
    "%-d.%-m.%y": "1d",
    "%Y%j": "1d",
    "%x": "1d",
    "%G-W%V-%u": "1d",
    "%G-W%V": "7d",
    "%Y week %W": "7d",
    "%Y-%m": "31d",
    "%b %Y": "31d",
    "%Y": "366d",
    "%%d of %Y": "366d",
    "%Y-%m %H": "0s",
    "%c": "0s",
}


@pytest.mark.parametrize("format_", PERIODS)
def test_text_that_names_a_period_is_known_when_that_is_over(format_: str) -> None:
    assert str(period_of(format_)) == PERIODS[format_]


def test_text_that_names_a_month(project: Small) -> None:
    project.write("data/texts.parquet", "SELECT 1::BIGINT AS k, '2024-02' AS day, 5 AS x")
    project.feature(
        "f",
        '{{ config(entity="user", timestamp="day", timestamp_format="%Y-%m") }} SELECT k, day, x FROM {{ source("texts") }}',
    )
    project.good()
    assert project.ask("f", "(1, '2024-02-29'), (1, '2024-03-03 00:00')") == [(None,), (5,)]


def test_a_feature_takes_the_delay_of_the_feature_whose_rows_it_reads(project: Small) -> None:
    project.feature("up", of_days("nights"))
    project.feature("f", '{{ config(entity="user", timestamp="day") }} SELECT k, day, x + 1 AS y FROM {{ ref("up") }}')
    assert said(project) == "proven (plan); its rows are known 29h after their time, as those of feature up are"


def test_the_weakest_part_decides(project: Small) -> None:
    project.feature("up", SAID["not understood"][0])
    project.feature(
        "f", TIMED + "SELECT e.k, e.t, e.x + u.x AS y FROM {{ source('ev') }} e JOIN {{ ref('up') }} u ON e.k = u.k"
    )
    project.feature(
        "asked",
        '{{ config(entity="user", on_demand=true, request={"z": "BIGINT"}) }} SELECT y + z AS w FROM {{ ref("f") }}',
    )
    why = f"which is {SAID['not understood'][1]}"
    assert said(project) == f"unproven: it reads up, {why}"
    assert said(project, "asked") == f"unproven: it reads f, which is {said(project)}"
    project.feature("up", SAID["late"][0])
    assert said(project, "asked") == "proven (rows)"
    project.feature("up", SAID["windows"][0].replace("AS s", "AS x"))
    assert said(project, "asked") == "proven (plan)"


def test_the_catalog_keeps_what_was_said(project: Small) -> None:
    project.feature("f", SAID["a source without a time"][0])
    project.good()
    assert project.forge.inspect("feature", "f")["proof"] == "proven (plan); names is taken as known always"


BAD = {
    "timestamp: t, delay: 3x": "delay of source",
    "timestamp: t, delay: 1mo": "delay of source 'ev' must be of one length, not 1mo",
    "delay: 3h": "source 'ev' has delay but no timestamp",
}


@pytest.mark.parametrize("text", BAD)
def test_delays_that_are_none(text: str, tmp_path: Path) -> None:
    small = Small(
        tmp_path, f"name: small\nsources:\n  ev: {{path: data/ev.parquet, {text}}}\nentities: {{user: {{key: k}}}}\n"
    )
    with pytest.raises(MlforgeError) as error:
        small.forge.plan()
    assert BAD[text] in error.value.message
    assert error.value.where is not None
    assert error.value.where.line == 3


AHEAD = (
    '{{ config(entity="user", timestamp="t", allow_lookahead=true) }} SELECT k, t, lead(x) OVER (PARTITION BY k ORDER BY t) AS x '
    'FROM {{ source("ev") }}'
)
LATER = '{{ config(entity="user", timestamp="t", delay="36h") }} SELECT k, t, x FROM {{ source("ev") }}'
HELD = {
    "one that looks ahead": (AHEAD, "allowed: it reads a, which is allowed: allow_lookahead=true"),
    "one that is known later": (
        LATER,
        "unproven: the version of a that it reads has rows that are known 36h after their time",
    ),
}
READERS = {
    "rows": TIMED + "SELECT k, t, x FROM {{ ref('a') }}",
    "joined": TIMED + "SELECT e.k, e.t, a.x FROM {{ source('ev') }} e LEFT JOIN {{ ref('a') }} a ON a.k = e.k",
    "asked": '{{ config(entity="user", on_demand=true, request={"n": "DOUBLE"}) }} SELECT a.x + n AS y FROM {{ ref("a") }} a',
}


@pytest.mark.parametrize("held", HELD)
def test_what_reads_a_held_version_is_judged_by_that(held: str, project: Small) -> None:
    text, expected = HELD[held]
    project.feature("a", text)
    project.good()
    project.feature("a", TIMED + "SELECT k, t, x FROM {{ source('ev') }}")
    assert project.good() == {"a": "2.0.0"}
    project.forge.rollback("a", "1.0.0")
    for name, reader in READERS.items():
        project.feature(name, reader)
    project.good()
    proofs = {name: said(project, name) for name in READERS}
    assert proofs == dict.fromkeys(READERS, expected)
    record = project.forge.training_set(
        ["rows", "joined:x"], "SELECT 1 AS k, TIMESTAMP '2024-03-01' AS label_time", full_names=True
    )
    assert set(record.record["proofs"].values()) == {expected}
    project.forge.rollback("a", release=True)
    project.good()
    assert {said(project, name) for name in READERS} == {"proven (plan)"}


ROWS_OF_PYTHON = """
import datetime
import mlforge as mlf
import pyarrow as pa

@mlf.feature(entity="user", timestamp="t"{0})
def made():
    return pa.table({{"k": [1], "t": [datetime.datetime(2024, 1, 1)], "x": [1]}})

@mlf.feature(entity="user"{0})
def still():
    return pa.table({{"k": [1], "x": [1]}})
"""


def test_rows_that_a_python_function_makes_are_not_proven(project: Small) -> None:
    file = project.root / "features/made.py"
    file.write_text(ROWS_OF_PYTHON.format(""))
    project.feature("f", TIMED + "SELECT k, t, x FROM {{ ref('made') }}")
    why = "a Python function made its rows, and what those are made of cannot be seen"
    assert said(project, "made").startswith(f"unproven: {why}")
    assert said(project, "still").startswith(f"unproven: {why}")
    assert said(project).startswith(f"unproven: it reads made, which is unproven: {why}")
    project.good()
    project.config(CONFIG.replace("name: small", "name: small\nstrict: true"))
    with pytest.raises(MlforgeError) as error:
        project.build("made")
    assert (error.value.message, error.value.where and error.value.where.file) == (why, "features/made.py")
    file.write_text(ROWS_OF_PYTHON.format(", assume_final=True"))
    assert said(project, "made").startswith("allowed: assume_final=true")
    project.good()
