"""Doubts about the times of rows: what raises each, with its count, and the line that answers it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from mlforge.cli.app import app
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

    from mlforge.building.options import BuildResult

SOURCES = {
    "ev": "timestamp: t",
    "known": "timestamp: t, delay: 0s",
    "late": "timestamp: t, delay: 1d",
    "bare": "",
    "due": "timestamp: other",
    "loads": "timestamp: t, loaded_at: l",
    "keyed": "timestamp: t, loaded_at: l, unique_key: id",
    "texts": "timestamp: text",
}
CONFIG = "name: small\nsources: {{\n{sources}}}\nentities: {{user: {{key: k}}}}\n"
HOURS = "TIMESTAMP '2024-01-01 10:00:00' + to_hours(i::INTEGER)"
DAYS = "TIMESTAMP '2024-01-01' + to_days(i::INTEGER)"
AHEAD = f"if(i < 3, TIMESTAMP '2999-01-01 10:00:00' + to_days(i::INTEGER), {HOURS})"
SIGN_UP = "TIMESTAMP '2024-01-01 10:00:00' + to_days((i % 10)::INTEGER)"
WINDOW = "SELECT k, t, SUM(x) OVER last_7d AS s FROM {{ source('ev_a') }}"
MIDNIGHT = "all 20 rows have a time of 00:00 UTC: rows of a day are seldom known as it begins, but when it is over; "
EPOCH = (
    "have a time in 1970: numbers are read by to_timestamp(seconds), epoch_ms(milliseconds) or "
    'make_timestamp(microseconds); if they are right: config(plausible=["epoch"])'
)
FUTURE = (
    "it is to say, in UTC, when a row became known, not what it is planned for; if they are right: "
    'config(plausible=["future"])'
)
LOADED = (
    "rows have a time later than their loaded_at: no row is loaded before it is known, so one of them is in another "
    'zone, or cut; if they are right: config(plausible=["loaded"])'
)
CONSTANT = (
    "keys that have several rows has one time for all of them: a time that belongs to the key does not say when its "
    'rows became known; if they are right: config(plausible=["constant"])'
)


def config(folders: str = "a", **more: bool) -> str:
    """A project whose sources read these folders: ``ev_a`` ..."""
    listed = [
        f"  {name}_{f}: {{path: data/{f}/*.parquet, {said}}},\n"
        for f in folders.split()
        for name, said in SOURCES.items()
    ]
    return CONFIG.format(sources="".join(listed)) + "".join(f"{key}: true\n" for key in more)


@pytest.fixture
def project(tmp_path: Path) -> Small:
    return Small(tmp_path, config())


def rows(
    project: Small,
    t: str,
    n: int = 20,
    loaded: str = "NULL::TIMESTAMP",
    file: str = "a/1",
    first: int = 0,
    key: str = "i % 10",
) -> None:
    """Write rows numbered i, with the time ``t`` of i."""
    project.write(
        f"data/{file}.parquet",
        f"SELECT i AS id, {key} AS k, {t} AS t, 1 AS x, {HOURS} AS other, CAST({t} AS VARCHAR) AS text, {loaded} AS l "
        f"FROM range({first}, {first + n}) r(i)",
    )


def built(project: Small, sql: str, more: str = "") -> list[str]:
    """What a build warns of feature f, which it makes."""
    project.feature("f", f'{{{{ config(entity="user", timestamp="t"{more}) }}}}\n{sql}')
    return warned(project.build(force=True))


def warned(result: BuildResult) -> list[str]:
    assert [f.error for f in result.features] == [None]
    assert all(about == "f" for about, _ in result.warnings)
    return [text for _, text in result.warnings]


DOUBTED = {
    "midnight": (DAYS, WINDOW, MIDNIGHT + "state ev_a: {delay: 1d} among the sources, or delay: 0s if they are"),
    "midnight, through a CTE": (
        DAYS,
        "WITH a AS (SELECT k, t AS u, x FROM {{ source('ev_a') }}) SELECT k, u AS t, x FROM a",
        MIDNIGHT + "state ev_a: {delay: 1d} among the sources, or delay: 0s if they are",
    ),
    "midnight, of a source that declares no time": (
        DAYS,
        "SELECT k, t, x FROM {{ source('bare_a') }}",
        MIDNIGHT + "state bare_a: {timestamp: t, delay: 1d} among the sources, or delay: 0s if they are",
    ),
    "midnight, of several sources": (
        DAYS,
        "SELECT k, t, x FROM {{ source('bare_a') }} WHERE k < 5 UNION ALL SELECT k, t, x FROM {{ source('ev_a') }} WHERE k >= 5",
        MIDNIGHT
        + "state bare_a: {timestamp: t, delay: 1d}, ev_a: {delay: 1d} among the sources, or delay: 0s if they are",
    ),
    "midnight, of two sources of which one says so": (
        DAYS,
        "SELECT k, t, x FROM {{ source('known_a') }} WHERE k < 5 UNION ALL SELECT k, t, x FROM {{ source('ev_a') }} WHERE k >= 5",
        MIDNIGHT + "state ev_a: {delay: 1d} among the sources, or delay: 0s if they are",
    ),
    "seconds as microseconds": (
        "1700000000 + i",
        "SELECT k, make_timestamp(t) AS t, x FROM {{ source('bare_a') }}",
        f"all 20 rows {EPOCH}",
    ),
    "seconds as milliseconds": (
        "1700000000 + i",
        "SELECT k, epoch_ms(t) AS t, x FROM {{ source('bare_a') }}",
        f"all 20 rows {EPOCH}",
    ),
    "years as microseconds": (
        "2024 + i",
        "SELECT k, make_timestamp(t) AS t, x FROM {{ source('bare_a') }}",
        f"all 20 rows {EPOCH}",
    ),
    "the end of 1970": (
        "TIMESTAMP '1970-12-31 23:59:59.999999' - to_hours(i::INTEGER)",
        WINDOW,
        f"all 20 rows {EPOCH}",
    ),
    "future": (AHEAD, WINDOW, f"3 of 20 rows have a time later than now, the last 2999-01-03 10:00:00: {FUTURE}"),
    "microseconds as milliseconds": (
        "1700000000000000 + i",
        "SELECT k, epoch_ms(t) AS t, x FROM {{ source('bare_a') }}",
        f"20 of 20 rows have a time more than a year from now, the last 55840-11-08 22:13:20.019: {FUTURE}",
    ),
    "constant": (SIGN_UP, WINDOW, f"each of the 10 {CONSTANT}"),
    "constant, beside others": (
        SIGN_UP,
        "SELECT k, t, SUM(x) OVER last_7d AS s, COUNT(*) OVER ever AS n FROM {{ source('ev_a') }} WHERE x = 1",
        f"each of the 10 {CONSTANT}",
    ),
    "constant, of plain rows": (SIGN_UP, "SELECT k, t, x FROM {{ source('ev_a') }}", f"each of the 10 {CONSTANT}"),
    "constant, joined": (
        SIGN_UP,
        "SELECT e.k, e.t, e.x FROM {{ source('ev_a') }} e JOIN (SELECT unnest(range(10)) AS k) s ON s.k = e.k",
        f"each of the 10 {CONSTANT}",
    ),
}


NOT_DOUBTED = {
    "hours": (HOURS, 20, WINDOW),
    "midnight, few rows": (DAYS, 19, WINDOW),
    "midnight, and a row that is not": (f"if(i = 7, {HOURS}, {DAYS})", 40, WINDOW),
    "midnight, and the source says when": (DAYS, 20, "SELECT k, t, x FROM {{ source('late_a') }}"),
    "midnight, and the source says that it is right": (DAYS, 20, "SELECT k, t, x FROM {{ source('known_a') }}"),
    "dates, which are known when they are over": (f"({DAYS})::DATE", 20, "SELECT k, t, x FROM {{ source('ev_a') }}"),
    "midnight, computed": (DAYS, 20, "SELECT k, t + INTERVAL 1 DAY AS t, x FROM {{ source('ev_a') }}"),
    "midnight, of another column than the source's time": (
        f"{DAYS} + INTERVAL 1 DAY",
        20,
        "SELECT k, t, x FROM {{ source('due_a') }}",
    ),
    "one row of 1970": ("TIMESTAMP '1970-01-01 10:00:00'", 1, WINDOW),
    "1970 and later": (f"if(i < 10, TIMESTAMP '1970-01-01 10:00:00', {HOURS})", 20, WINDOW),
    "before 1970": ("TIMESTAMP '1969-12-31 23:59:59.999999' - to_hours(i::INTEGER)", 20, WINDOW),
    "1971": ("TIMESTAMP '1971-01-01' + to_hours(i::INTEGER)", 20, WINDOW),
    "the end of a period that is not over": (
        "now()::TIMESTAMP - to_hours(i::INTEGER)",
        20,
        "SELECT k, date_trunc('month', t) + INTERVAL 1 MONTH AS t, SUM(x) AS s FROM {{ source('ev_a') }} GROUP BY ALL",
    ),
    "infinity": (f"if(i < 3, 'infinity'::TIMESTAMP, {HOURS})", 20, WINDOW),
    "few keys with one time": (SIGN_UP, 19, WINDOW),
    "keys with one row": (HOURS, 10, WINDOW),
    "one key with two times": (f"if(i = 0, TIMESTAMP '2024-05-05 10:00:00', {SIGN_UP})", 40, WINDOW),
    "one time for all": ("TIMESTAMP '2024-05-05 10:00:00'", 40, WINDOW),
}


LOADS = "SELECT k, t, SUM(x) OVER last_7d AS s FROM {{ source('loads_a') }}"
LOADED_AT = {
    "more than half": (f"{HOURS} - to_hours(if(i < 11, 1, -1))", 20, [f"11 of 20 {LOADED}"]),
    "half": (f"{HOURS} - to_hours(if(i < 10, 1, -1))", 20, []),
    "the day": (f"({HOURS})::DATE", 40, [f"38 of 40 {LOADED}"]),
    "at once": (HOURS, 40, []),
    "few rows": (f"{HOURS} - INTERVAL 1 HOUR", 19, []),
    "of those that say so": (f"if(i < 15, NULL, {HOURS} - INTERVAL 1 HOUR)", 40, [f"25 of 25 {LOADED}"]),
    "few of those that say so": (f"if(i < 15, NULL, {HOURS} - INTERVAL 1 HOUR)", 34, []),
    "infinity": ("'-infinity'::TIMESTAMP", 20, []),
}
NONE = "NULL::TIMESTAMP"
CASES = {
    **{name: (times, 20, NONE, sql, [said]) for name, (times, sql, said) in DOUBTED.items()},
    **{name: (times, n, NONE, sql, []) for name, (times, n, sql) in NOT_DOUBTED.items()},
    **{f"loaded: {name}": (HOURS, n, loaded, LOADS, said) for name, (loaded, n, said) in LOADED_AT.items()},
}


@pytest.fixture(scope="module")
def all_built(tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    """Every case as a feature of one project, over rows of its own."""
    folders = [f"c{n}" for n in range(len(CASES))]
    project = Small(tmp_path_factory.mktemp("plausible"), config(" ".join(folders)))
    for folder, (times, n, loaded, sql, _) in zip(folders, CASES.values(), strict=True):
        rows(project, times, n, loaded, f"{folder}/1")
        project.feature(folder, '{{ config(entity="user", timestamp="t") }}\n' + sql.replace("_a')", f"_{folder}')"))
    return project.build()


@pytest.mark.parametrize("case", CASES)
def test_what_is_doubted(case: str, all_built: BuildResult) -> None:
    """A warned feature is made all the same."""
    folder = f"c{list(CASES).index(case)}"
    assert [(f.status, f.error) for f in all_built.features if f.feature == folder] == [("built", None)]
    said = [text.replace(f"_{folder}:", "_a:") for about, text in all_built.warnings if about == folder]
    assert said == CASES[case][-1]


def test_rows_of_no_key_do_not_count(project: Small) -> None:
    rows(project, AHEAD, key="if(i < 2, NULL, i % 10)")
    said = f"1 of 18 rows have a time later than now, the last 2999-01-03 10:00:00: {FUTURE}"
    assert built(project, WINDOW) == [said]
    assert project.sql("SELECT warnings FROM mlforge.builds") == [([f"f: {said}"],)]


def test_text_that_names_minutes(project: Small) -> None:
    """Text is known as a day ends only where its format has no time of day."""
    rows(project, DAYS)
    sql = "SELECT k, text AS t, x FROM {{ source('texts_a') }}"
    said = built(project, sql, ', timestamp_format="%Y-%m-%d %H:%M:%S"')
    assert said == [MIDNIGHT + "state texts_a: {delay: 1d} among the sources, or delay: 0s if they are"]


# -- answers, and strict

ANSWERS = {
    "midnight": (DAYS, WINDOW, ', delay="1d"'),
    "midnight, known as it begins": (DAYS, WINDOW, ', delay="0s"'),
    "midnight, by name": (DAYS, WINDOW, ', plausible="midnight"'),
    "epoch": ("TIMESTAMP '1970-01-02 10:00:00' + to_hours(i::INTEGER)", WINDOW, ', plausible=["epoch"]'),
    "future": (AHEAD, WINDOW, ', plausible=["future"]'),
    "loaded": (HOURS, LOADS, ', plausible=["loaded"]'),
    "constant": (SIGN_UP, WINDOW, ', plausible=["constant"]'),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_line_that_answers(case: str, project: Small) -> None:
    """It is recorded, and makes the feature build under strict."""
    times, sql, answer = ANSWERS[case]
    project.config(config(strict=True))
    rows(project, times, loaded="TIMESTAMP '2024-01-01'" if case == "loaded" else "NULL::TIMESTAMP")
    project.feature("f", '{{ config(entity="user", timestamp="t") }}\n' + sql)
    assert project.build().failed
    assert built(project, sql, answer) == []
    stored = json.loads(project.sql("SELECT config FROM mlforge.features")[0][0]) if "plausible" in answer else {}
    assert stored.get("plausible", []) == ([case.partition(",")[0]] if "plausible" in answer else [])


def test_an_answer_to_one_leaves_the_others(project: Small) -> None:
    times = "TIMESTAMP '2999-01-01 10:00:00' + to_days((i % 10)::INTEGER)"
    rows(project, times)
    future = f"20 of 20 rows have a time later than now, the last 2999-01-10 10:00:00: {FUTURE}"
    constant = f"each of the 10 {CONSTANT}"
    assert built(project, WINDOW) == [future, constant]
    assert built(project, WINDOW, ', plausible=["constant"]') == [future]
    assert built(project, WINDOW, ', plausible=["future"]') == [constant]
    assert built(project, WINDOW, ', plausible=["future", "constant"]') == []


def test_an_answer_alone_builds_nothing(project: Small) -> None:
    rows(project, AHEAD)
    assert len(built(project, WINDOW)) == 1
    project.feature("f", '{{ config(entity="user", timestamp="t", plausible=["future"]) }}\n' + WINDOW)
    (step,) = project.forge.plan().steps
    assert (step.action, step.reasons[0]) == ("metadata", "plausible changed")


def test_strict_stops_the_feature_alone(project: Small) -> None:
    rows(project, "TIMESTAMP '2999-01-01 10:00:00' + to_days((i % 10)::INTEGER)")
    project.feature(
        "f", '{{ config(entity="user", timestamp="t") }}\nSELECT\n  k,\n  t,\n  x\nFROM {{ source("ev_a") }}'
    )
    project.feature("g", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x AS y FROM {{ ref("f") }}')
    project.feature("h", '{{ config(entity="user", timestamp="t", plausible=["future", "constant"]) }}\n' + WINDOW)
    said = CliRunner().invoke(app, ["--project", str(project.root), "build", "--strict", "--json"])
    result = json.loads(said.stdout.splitlines()[-1])
    assert (said.exit_code, result["warnings"]) == (1, [])
    assert {f["feature"]: (f["status"], f["error"]) for f in result["features"]} == {
        "f": (
            "failed",
            "features/f.sql:4: f: 20 of 20 rows have a time later than now, the last 2999-01-10 10:00:00; each of the 10 "
            "keys that have several rows has one time for all of them\n"
            f"  hint: {FUTURE}; {CONSTANT.split(': ', 1)[1]}",
        ),
        "g": ("skipped", "reads f, which failed"),
        "h": ("built", None),
    }
    assert project.stored("f") == {}
    said = CliRunner().invoke(app, ["--project", str(project.root), "build", "--json"])
    result = json.loads(said.stdout.splitlines()[-1])
    assert said.exit_code == 0
    assert [w["about"] for w in result["warnings"]] == ["f", "f"]
    assert result["warnings"][1]["message"] == f"each of the 10 {CONSTANT}"


def test_the_place_of_a_time_that_a_star_brings(project: Small) -> None:
    project.config(config(strict=True))
    rows(project, AHEAD)
    project.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT * FROM {{ source("ev_a") }}')
    (failed,) = project.build().features
    assert failed.error is not None
    assert failed.error.startswith("features/f.sql: f: 3 of 20 rows have a time later than now")


# -- new rows


def test_new_rows_are_doubted_by_themselves(project: Small) -> None:
    rows(project, HOURS, 100)
    assert built(project, WINDOW) == []
    rows(project, AHEAD, 5, file="a/2")
    result = project.build()
    assert result.features[0].mode == "incremental"
    assert warned(result) == [f"3 of 5 rows have a time later than now, the last 2999-01-03 10:00:00: {FUTURE}"]
    rows(project, DAYS, 20, file="a/3", first=60)
    assert warned(project.build()) == [MIDNIGHT + "state ev_a: {delay: 1d} among the sources, or delay: 0s if they are"]
    rows(project, HOURS, 20, file="a/4", first=100)
    assert warned(project.build()) == []


def test_strict_keeps_the_last_version(project: Small) -> None:
    project.config(config(strict=True))
    rows(project, HOURS, 30)
    assert built(project, WINDOW) == []
    before = project.view("f")
    rows(project, AHEAD, 5, file="a/2")
    (failed,) = project.build().features
    assert (failed.status, project.view("f")) == ("failed", before)
    assert (failed.error or "").startswith(
        "features/f.sql:2: f: 3 of 5 rows have a time later than now, the last 2999-01-03 10:00:00\n  hint: it is to say"
    )
    rows(project, HOURS, 5, file="a/2", first=30)
    assert warned(project.build()) == []
    assert len(project.view("f")) == 35


def test_new_rows_of_keys(project: Small) -> None:
    rows(project, HOURS, 100)
    by_key = ', incremental="by_key"'
    sql = "SELECT k, t, SUM(x) OVER (PARTITION BY k ORDER BY t) AS s FROM {{ source('ev_a') }}"
    assert built(project, sql, by_key) == []
    rows(project, AHEAD, 5, file="a/2", first=0)
    result = project.build()
    assert result.features[0].mode == "by_key"
    assert warned(result) == [f"3 of 55 rows have a time later than now, the last 2999-01-03 10:00:00: {FUTURE}"]


def test_a_row_that_another_replaces_is_not_doubted(project: Small) -> None:
    """New rows come with the older ones of their unique key, to see which of them stays."""
    sql = "SELECT k, t, x FROM {{ source('keyed_a') }}"
    rows(project, AHEAD, 5, loaded="TIMESTAMP '2999-01-01'")
    assert built(project, sql) == [f"3 of 5 rows have a time later than now, the last 2999-01-03 10:00:00: {FUTURE}"]
    rows(project, HOURS, 5, loaded="TIMESTAMP '2999-01-02'", file="a/2")
    result = project.build()
    assert result.features[0].mode == "incremental"
    assert warned(result) == []


def test_rows_that_are_to_wait_are_not_doubted(project: Small) -> None:
    from mlforge.plan.increments import Scope

    rows(project, HOURS, 30)
    assert built(project, WINDOW) == []
    rows(project, AHEAD, 5, file="a/2")
    until = 1_735_689_600_000_000  # 2025-01-01
    assert warned(project.build(scope=Scope(until=until))) == []
    assert warned(project.build()) != []
