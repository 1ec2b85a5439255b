"""Python features that fail: each fails alone, with what reads it, and names its file and line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import mlforge as mlf
from mlforge.building.options import BuildOptions, Selection
from mlforge.errors import FeatureError, ProjectError, UsageError
from mlforge.model import Duration
from tests.cli.running import mlforge
from tests.small import CONFIG, Small

if TYPE_CHECKING:
    from pathlib import Path

    from mlforge.building.options import BuildResult
    from tests.cli.running import Said

ROWS = {
    "int128": (
        "import polars as pl",
        "pl.DataFrame({'k': [1], 'v': [1]}).cast({'v': pl.Int128})",
        "cannot be read: Invalid",
    ),
    "decimal256": (
        "import pyarrow as pa",
        "pa.table({'k': [1], 'v': pa.nulls(1, pa.decimal256(60))})",
        "cannot read Arrow's decimal256",
    ),
    "half": (
        "import pyarrow as pa",
        "pa.table({'k': [1], 'v': pa.nulls(1, pa.float16())})",
        "cannot read Arrow's halffloat",
    ),
    "interval": ("import pyarrow as pa", "pa.table({'k': [1], 'v': pa.nulls(1, pa.duration('s'))})", "type INTERVAL"),
    "no key": ("import pyarrow as pa", "pa.table({'v': [1]})", "k"),
    "a relation of a table that is gone": (
        "import duckdb\ncon = duckdb.connect()\ncon.execute('CREATE TABLE t AS SELECT 1 AS k, 2 AS v')\n"
        "gone = con.table('t')\ncon.execute('DROP TABLE t')",
        "gone",
        "the function of 'bad' failed: CatalogException: Catalog Error: Table with name t does not exist",
    ),
}
EV = '{{ source("ev") }}'
SQL = {  # what is before the function, what it returns, the line after `return` (0: of the return), what is said
    "raises": ("", "{}['v']", 0, "the function of 'bad' failed: KeyError: 'v'"),
    "raises below": (
        "def inner():\n    raise ValueError('no\\n  such\\tthing')",
        "inner()",
        -6,
        "failed: ValueError: no such thing",
    ),
    "raises no Exception": ("", "exit(3)", 0, "the function of 'bad' failed: SystemExit: 3"),
    "nothing": ("", "None", -1, "the function of 'bad' returns None"),
    "no text": ("", "5", -1, "a feature cannot be a int"),
    "no SQL": ("", f"'SELECT k, FROM WHERE {EV}'", 0, ""),
    "two statements": ("", f"'SELECT k FROM {EV}; SELECT 1'", 0, "2 statements in one file"),
    "a shape that no feature has": ("", f"'SELECT k, x FROM {EV} LIMIT 1'", 0, "LIMIT"),
    "a column that is not there": ("", f"'SELECT k, y AS v FROM {EV}'", 0, "there is no column 'y' in ev"),
    "a function that is not there": ("", f"'SELECT k, summ(x) AS v FROM {EV} GROUP BY k'", 0, "summ"),
    "types that do not fit": ("", f"'SELECT k, x + TRUE AS v FROM {EV}'", 0, "+(BIGINT, BOOLEAN)"),
    "a source that is not there": ("", "'SELECT k FROM {{ source(\"evv\") }}'", 0, "evv"),
    "Jinja that fails": ("", "'SELECT {{ nobody }}'", 0, "'nobody' is undefined"),
    "too deep": ("", f"'SELECT k, ' + 'abs(' * 600 + 'x' + ')' * 600 + f' AS v FROM {EV}'", None, "deep"),
    "what leaks": ("", f"'SELECT k, x, random() AS v FROM {EV}'", 0, "RANDOM() is not the same in every run"),
}
READS = """{{ config(entity="user") }}
SELECT e.k, max(b.v) AS top FROM {{ source("ev") }} AS e JOIN {{ ref("bad") }} AS b ON e.k = b.k GROUP BY e.k"""
ON = """{{ config(entity="user") }} SELECT k, top FROM {{ ref("reads") }}"""
GOOD = """{{ config(entity="user") }} SELECT k, max(x) AS m FROM {{ source("ev") }} GROUP BY k"""


@pytest.fixture
def small(tmp_path: Path) -> Small:
    made = Small(tmp_path, CONFIG + "feature_sets:\n  both: [good, bad]\n  one: [good]\n")
    made.feature("good", GOOD)
    made.feature("reads", READS)
    made.feature("on", ON)
    made.rows("1, TIMESTAMP '2024-01-01', 3")
    return made


def bad(small: Small, before: str, value: str) -> int:
    """Write the feature ``bad``; returns the line of its return."""
    text = f"{before}\nimport mlforge as mlf\n\n\n@mlf.feature(entity='user', tags=['odd'])\ndef bad():\n    return {value}\n"
    (small.root / "features/bad.py").write_text(text)
    return text.count("\n")


def found(result: BuildResult) -> dict[str, tuple[str, Any]]:
    return {f.feature: (f.status, f.error) for f in result.features}


def see_that_it_fails_alone(small: Small, start: str, message: str) -> None:
    result = small.build()
    seen = found(result)
    assert result.failed
    assert seen["good"] == ("built", None)
    assert seen["bad"][0] == "failed"
    first = seen["bad"][1].splitlines()[0]
    assert first.startswith(start)
    assert message in first
    assert "Traceback" not in seen["bad"][1]
    assert seen["reads"] == ("skipped", "reads bad, which failed")
    assert seen["on"] == ("skipped", "reads reads, which failed")
    assert small.view("good") == [(1, 3)]
    assert small.sql("SELECT feature_set, version FROM mlforge.feature_sets") == [("one", 1)]
    assert small.sql("SELECT status, failed FROM mlforge.builds") == [("partial", ["bad", "reads", "on"])]
    with pytest.raises((FeatureError, ProjectError)) as caught:
        small.build("bad")
    assert str(caught.value).startswith(start)


@pytest.mark.parametrize("kind", ROWS)
def test_rows_that_cannot_be_a_feature(small: Small, kind: str) -> None:
    before, value, message = ROWS[kind]
    bad(small, before, value)
    see_that_it_fails_alone(small, "features/bad.py:", message)


@pytest.mark.parametrize("kind", SQL)
def test_functions_that_fail_and_sql_that_is_none(small: Small, kind: str) -> None:
    before, value, after, message = SQL[kind]
    line = bad(small, before, value)
    see_that_it_fails_alone(small, "features/bad.py:" + ("" if after is None else f"{line + after}:"), message)


def test_it_fails_again_where_nothing_else_is_to_be_done(small: Small) -> None:
    line = bad(small, "", "1 / 0")
    assert small.build().failed
    assert small.build().failed
    assert small.sql("SELECT status, failed FROM mlforge.builds ORDER BY build") == [
        ("partial", ["bad", "reads", "on"]),
        ("failed", ["bad", "reads", "on"]),
    ]
    with pytest.raises(FeatureError, match=rf"^features/bad\.py:{line}: the function of 'bad' failed"):
        small.build("on")
    assert not small.build("good").failed, "who does not ask for it is not told of it"


def test_it_stays_at_its_last_good_version(small: Small) -> None:
    bad(small, "import pyarrow as pa", "pa.table({'k': [1], 'v': [7]})")
    assert small.good() == {"bad": "1.0.0", "good": "1.0.0", "reads": "1.0.0", "on": "1.0.0"}
    for before, value in (("import pyarrow as pa", ROWS["half"][1]), ("", "1 / 0")):
        bad(small, before, value)
        small.rows(f"1, TIMESTAMP '2024-01-01', {len(value)}")
        result = small.build()
        assert {f.feature: f.status for f in result.features} == {
            "good": "built",
            "bad": "failed",
            "reads": "skipped",
            "on": "skipped",
        }
        assert small.view("good") == [(1, len(value))]
        assert small.view("bad") == [(1, 7)]
        assert result.plan.removed == ()
        assert not any("is not selected" in note for note in result.plan.notes)
        assert small.sql("SELECT version FROM mlforge.feature_sets WHERE feature_set = 'both'") == [(1,)]


def test_an_sql_file_that_is_wrong_stops_the_build_also_beside_it(small: Small) -> None:
    bad(small, "", "1 / 0")
    small.feature("sql", '{{ config(entity="user") }}\nSELECT k,\nFROM WHERE {{ source("ev") }}')
    with pytest.raises(FeatureError, match=r"^features/sql\.sql:\d"):
        small.build()
    small.feature("sql", '{{ config(entity="user") }}\nSELECT k, y AS v\nFROM {{ source("ev") }}')
    with pytest.raises(FeatureError, match=r"^features/sql\.sql:2: there is no column 'y'"):
        small.build()
    assert not small.catalog.exists()


def test_what_the_commands_say(small: Small) -> None:
    line = bad(small, "", "{}['v']")
    said = f"features/bad.py:{line}: the function of 'bad' failed: KeyError: 'v'"

    def run(*arguments: str, code: int = 1) -> Said:
        return mlforge("-C", small.root, *arguments, code=code)

    planned = run("plan")
    assert f"failed    bad: {said}\nskipped   reads: reads bad, which failed\n" in planned.out
    assert planned.out.endswith("plan: 1 new, 1 feature set, 3 failed\n")
    assert planned.err == ""
    assert not small.catalog.exists()
    run("build", "--dry-run")
    run("plan", "--exit-code")
    assert run("plan", "--json").json["failed"][0] == {"feature": "bad", "status": "failed", "message": said}
    events = [json.loads(text) for text in run("build", "--json").out.splitlines()]
    lost = ("feature_failed", "feature_skipped")
    assert [(e["feature"], e["event"], e["message"]) for e in events if e["event"] in lost] == [
        ("bad", "feature_failed", said),
        ("reads", "feature_skipped", "reads bad, which failed"),
        ("on", "feature_skipped", "reads reads, which failed"),
    ]
    last = events[-1]
    assert (last["exit_code"], last["failed"], last["build"], last["error"]) == (1, True, 1, None)
    again = run("build")
    assert f"failed   bad  {said}" in again.out
    assert "Traceback" not in again.out + again.err
    assert run("build", "--features", "on").err == f"error: {said}\n"
    run("build", "--features", "good", code=0)


def test_selectors_know_it_by_what_its_decorator_says(small: Small) -> None:
    bad(small, "", "1 / 0")
    small.build()

    def lost(**selection: Any) -> set[str]:
        return {f.feature for f in small.forge.plan(Selection(**selection)).failed}

    assert lost(tags=("odd",), features=("good",)) == {"bad"}
    assert lost(select=("bad+", "good")) == {"bad", "reads", "on"}
    assert lost(select=("good",)) == set()
    assert lost(select=("path:features/*.py", "good")) == {"bad"}
    assert lost(select=("state:changed", "good")) == {"bad", "reads", "on"}
    assert lost(exclude=("bad", "on")) == {"reads", "bad"}, "reads reads it"
    with pytest.raises(UsageError, match="unknown feature 'badd'"):
        small.build("badd")


def test_a_backfill_in_pieces_goes_on_beside_it(small: Small) -> None:
    small.feature("timed", '{{ config(entity="user", timestamp="t") }} SELECT k, t, x FROM {{ source("ev") }}')
    small.rows(*(f"1, TIMESTAMP '2024-01-0{day}', {day}" for day in range(1, 6)))
    bad(small, "", "1 / 0")
    result = small.build(batch=Duration(2, "d"))
    assert result.failed
    assert [row[2] for row in small.view("timed")] == [1, 2, 3, 4, 5]


def test_others_are_rendered_validated_and_tested_beside_it(small: Small) -> None:
    line = bad(small, "", "1 / 0")
    assert "max(x)" in small.forge.render("good")
    with pytest.raises(
        FeatureError, match=rf"^features/bad\.py:{line}: the function of 'bad' failed: ZeroDivisionError"
    ):
        small.forge.render("bad")
    seen = {v.feature: (v.status, v.error) for v in small.forge.validate()}
    assert seen == {
        "good": ("ok", None),
        "bad": ("failed", "the function of 'bad' failed: ZeroDivisionError: division by zero"),
        "reads": ("failed", "reads bad, which failed"),
        "on": ("failed", "reads reads, which failed"),
    }


def test_a_sync_says_that_it_failed_and_makes_the_others(small: Small, tmp_path: Path) -> None:
    bad(small, "import pyarrow as pa", "pa.table({'k': [1], 'v': [7]})")
    small.good()
    written = tmp_path / "manifest.json"
    written.write_text(small.forge.manifest())
    small.catalog.unlink()
    line = bad(small, "", "1 / 0")
    synced = mlf.open(small.root).sync(written, BuildOptions())
    assert {f.feature: (f.status, f.reasons) for f in synced.features} == {
        "good": ("same", ()),
        "bad": (
            "failed",
            (f"features/bad.py:{line}: the function of 'bad' failed: ZeroDivisionError: division by zero",),
        ),
        "reads": ("blocked", ("reads bad, which failed",)),
        "on": ("blocked", ("reads reads, which failed",)),
    }
