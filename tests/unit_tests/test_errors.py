"""Tests that cannot be run: an unknown name, a value of another type, a feature that is wrong; each with file and line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.errors import UsageError
from tests.small import Small
from tests.unit_tests.running import FILE, error, outcome, passes, write_test

if TYPE_CHECKING:
    from pathlib import Path

WINDOWS = """{{ config(entity="user", timestamp="t") }}
SELECT k, t, SUM(x) OVER last_7d FROM {{ source("ev") }}"""
CONFIG = """\
name: small
sources:
  ev: {path: data/ev.parquet}
  gone: {path: data/gone.parquet}
  stated: {path: data/gone.csv, options: {columns: {k: BIGINT, name: VARCHAR}, header: true}}
  named: {path: data/named.parquet}
entities:
  user: {key: k}
"""
FEATURES = {
    "spend": WINDOWS,
    "latest": '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}',
    "static": '{{ config(entity="user") }}\nSELECT k, x FROM {{ source("ev") }}',
    "asked": '{{ config(entity="user", on_demand=true, request={"ask": "DOUBLE"}) }}\n'
    'SELECT ask * sum_x AS p FROM {{ ref("daily") }}',
    "daily": WINDOWS.replace('"t") ', '"t", interval="1d") ').replace("last_7d", "last_7d AS sum_x"),
    "lost": '{{ config(entity="user") }}\nSELECT k, name FROM {{ source("gone") }}',
    "declared": '{{ config(entity="user") }}\nSELECT k, name FROM {{ source("stated") }}',
    "cast": '{{ config(entity="user") }}\nSELECT k, CAST(name AS BIGINT) AS n FROM {{ source("named") }}',
    "picked": '{{ config(entity="user") }}\nSELECT k, {{ var("column") }} AS v FROM {{ source("ev") }}',
}


@pytest.fixture
def small(tmp_path: Path) -> Small:
    made = Small(tmp_path, CONFIG)
    made.rows("1, '2024-01-01', 1")
    made.write("data/named.parquet", "SELECT 1::BIGINT AS k, 'x' AS name")
    for name, text in FEATURES.items():
        made.feature(name, text)
    return made


def text_of(feature: str, *lines: str) -> str:
    return "\n".join(["tests:", "  - name: it", f"    feature: {feature}", *(f"    {line}" for line in lines)])


EV = "- {k: 1, t: 2024-01-01 09:00:00, x: 1}"
WRONG = {
    "feature": ("spnd", ["expect: []"], 2, "the project has no feature 'spnd'", "did you mean 'spend'?"),
    "source": ("spend", ["given:", "  evs: []", "expect: []"], 5, "spend does not read 'evs'", "did you mean 'ev'?"),
    "another source": ("spend", ["given:", "  gone: []", "expect: []"], 5, "spend does not read 'gone'", "known: ev"),
    "itself": ("spend", ["given:", "  spend: []", "expect: []"], 5, "spend does not read 'spend'", "known: ev"),
    "given column": (
        "spend",
        ["given:", "  ev:", "    - {k: 1, xx: 1}", "expect: []"],
        6,
        "source 'ev' has no column 'xx'",
        "did you mean 'x'?",
    ),
    "given value": (
        "spend",
        ["given:", "  ev:", "    - {k: 1, x: 1}", "    - {k: 1, x: a}", "expect: []"],
        7,
        "'x' of ev is BIGINT, and 'a' is not a number",
        "",
    ),
    "given value of the engine's": (
        "spend",
        ["given:", "  ev:", "    - {k: 1, x: 1}", "    - {k: 1, x: 9223372036854775808}", "expect: []"],
        7,
        "'x' of ev is BIGINT, and 9223372036854775808 is not: Conversion Error",
        "",
    ),
    "expected column": (
        "spend",
        ["expect:", "  - {k: 1, x_sum_7: 1}"],
        5,
        "spend has no column 'x_sum_7'",
        "did you mean 'x_sum_7d'?",
    ),
    "expected value": (
        "latest",
        ["expect:", "  - {k: 1, x: 1.5}"],
        5,
        "'x' of latest is BIGINT, and 1.5 is not a whole number",
        "",
    ),
    "expected value of the engine's": (
        "latest",
        ["expect:", "  - {k: 1, x: 9223372036854775808}"],
        5,
        "'x' of latest is BIGINT, and 9223372036854775808 is not: Conversion Error",
        "",
    ),
    "rows of what has none": (
        "asked",
        ["expect:", "  - {k: 1}"],
        2,
        "asked is computed on demand and has no rows",
        "write expect_at",
    ),
    "label column": (
        "spend",
        ["expect_at:", "  - {k: 1, label_tim: 2024-01-01, x_sum_7d: 1}"],
        5,
        "a label row of spend has no column 'label_tim'",
        "did you mean 'label_time'?",
    ),
    "no time": (
        "spend",
        ["expect_at:", "  - {k: 1, x_sum_7d: 1}"],
        5,
        "this row has no 'label_time'",
        "names k, label_time",
    ),
    "no key": (
        "static",
        ["expect_at:", "  - {x: 1}"],
        5,
        "this row has no 'k'",
        "names k, and the columns",
    ),
    "no request": (
        "asked",
        ["expect_at:", "  - {k: 1, label_time: 2024-01-01, p: 1}"],
        5,
        "this row has no 'ask'",
        "null",
    ),
    "nothing of the feature": (
        "spend",
        ["expect_at:", "  - {k: 1, label_time: 2024-01-01}"],
        5,
        "this row expects no column of spend",
        "its columns: x_sum_7d",
    ),
    "a label value": (
        "spend",
        ["expect_at:", "  - {k: 1, label_time: 1st of May, x_sum_7d: 1}"],
        5,
        "'label_time' of the label rows is TIMESTAMP, and '1st of May' is not a time",
        "",
    ),
    "two rows of a key": (
        "static",
        ["given:", "  ev: [{k: 1}, {k: 1}]", "expect: []"],
        None,
        "static has 2 rows for k = 1, and a static feature has one per key",
        "",
    ),
    "two given rows of an instant": (
        "asked",
        ["given:", "  daily:", "    - {k: 1, t: 2024-01-01}", "    - {k: 1, t: 2024-01-01}", "expect_at: []"],
        6,
        "the rows given of daily repeat one k, t",
        "unique",
    ),
    "given column of a feature": (
        "asked",
        ["given:", "  daily:", "    - {k: 1, t: 2024-01-01, sum: 1}", "expect_at: []"],
        6,
        "daily has no column 'sum'",
        "did you mean 'sum_x'?",
    ),
    "a source that is not there": (
        "lost",
        ["expect: []"],
        2,
        "no rows are given and no columns are known: source 'gone': no parquet file at data/gone.parquet",
        "columns",
    ),
    "a column that no row tells of": (
        "lost",
        ["given:", "  gone: [{k: 1}]", "expect: []"],
        None,
        "there is no column 'name' in gone",
        "columns of gone: k",
    ),
    "what the engine says": (
        "cast",
        ["given:", "  named: [{k: 1, name: abc}]", "expect: []"],
        2,
        "cast: Conversion Error: Could not convert string 'abc' to INT64",
        "the words are DuckDB's",
    ),
    "a type that is none": (
        "spend",
        ["given:", "  ev: {columns: {x: NUMBER}, rows: []}", "expect: []"],
        2,
        "the columns given to 'ev' cannot be: Catalog Error: Type with name NUMBER",
        "",
    ),
}


@pytest.mark.parametrize(("feature", "lines", "line", "message", "hint"), WRONG.values(), ids=WRONG)
def test_a_test_that_cannot_run(
    small: Small, feature: str, lines: list[str], line: int | None, message: str, hint: str
) -> None:
    said, where, advice = error(small, text_of(feature, *lines))
    assert message in said
    assert line is None or where == f"{FILE}:{line}"
    assert hint in advice


def test_a_feature_that_is_wrong_fails_its_tests_and_no_others(small: Small) -> None:
    small.feature("broken", '{{ config(entity="user") }}\nSELECT k, {{ nothing }} AS x FROM {{ source("ev") }}')
    one = text_of("broken", "expect: []")
    write_test(small, one + text_of("spend", "expect: []").replace("tests:", "").replace("name: it", "name: other"))
    broken, fine = small.forge.test()
    assert (broken.status, broken.where) == ("error", "features/broken.sql:2")
    assert "'nothing' is undefined" in (broken.message or "")
    assert fine.status == "passed"


def test_after_an_error_the_next_test_runs(small: Small) -> None:
    """The engine is shared: an aborted transaction, or rows of one test, must not reach the next."""
    broken = ["given:", "  named: [{k: 1, name: abc}]", "expect: []"]
    fine = ["given:", "  named: [{k: 2, name: '7'}]", "expect: [{k: 2, n: 7}]"]
    names = ["a", "b", "c", "d"]
    parts = [
        text_of("cast", *lines).replace("name: it", f"name: {n}").removeprefix("tests:\n")
        for n, lines in zip(names, [fine, broken, fine, ["expect: []"]], strict=True)
    ]
    write_test(small, "tests:\n" + "\n".join(parts))
    assert [o.status for o in small.forge.test()] == ["passed", "error", "passed", "passed"]


def test_a_variable_that_only_the_test_has(small: Small) -> None:
    passes(small, "picked", vars={"column": "x"}, given={"ev": [{"k": 1, "x": 4}]}, expect=[{"k": 1, "v": 4}])
    assert outcome(small, "picked", expect=[]).status == "error"
    wrong = outcome(small, "picked", vars={"column": "x"}, given={"ev": [{"k": 1, "x": 4}]}, expect=[{"k": 1, "v": 5}])
    assert [(c.column, c.expected, c.got) for d in wrong.differences for c in d.cells] == [("v", 5, 4)]


def test_a_source_that_is_not_there_has_the_types_that_its_rows_tell(small: Small) -> None:
    given = {"gone": [{"k": 1, "name": "a"}, {"k": 2}]}
    passes(small, "lost", given=given, expect=[{"k": 1, "name": "a"}, {"k": 2, "name": None}])
    typed = {"gone": {"columns": {"k": "BIGINT", "name": "DATE"}, "rows": [{"k": 1, "name": "2024-01-01"}]}}
    passes(small, "lost", given=typed, expect=[{"k": 1, "name": "2024-01-01"}])
    passes(small, "lost", given={"gone": {"columns": {"k": "BIGINT", "name": "DATE"}, "rows": []}}, expect=[])


def test_a_source_that_is_not_there_has_the_columns_that_are_declared(small: Small) -> None:
    passes(small, "declared", given={"stated": [{"k": 1}]}, expect=[{"k": 1, "name": None}])
    passes(small, "declared", expect=[])


def test_a_type_that_the_test_states_wins(small: Small) -> None:
    given = {"ev": {"columns": {"X": "DOUBLE"}, "rows": [{"k": 1, "t": "2024-01-01", "x": 1.5}]}}
    passes(small, "latest", given=given, expect=[{"k": 1, "x": 1.5}])


def test_a_name_that_a_source_and_a_feature_share_is_the_source(small: Small) -> None:
    """Also where it is the tested feature's own: what that one reads is made all the same."""
    small.feature("named", '{{ config(entity="user") }}\nSELECT k, x FROM {{ source("ev") }}')
    reads = 'SELECT e.k, e.x, s.x AS y FROM {{ source("ev") }} e LEFT JOIN {{ ref("static") }} s ON e.k = s.k'
    small.feature("ev", '{{ config(entity="user") }}\n' + reads)
    small.feature("above", '{{ config(entity="user") }}\nSELECT k, x + 1 AS z FROM {{ ref("ev") }}')
    given = {"ev": [{"k": 1, "x": 2}]}
    passes(small, "ev", given=given, expect=[{"k": 1, "x": 2, "y": 2}])
    passes(small, "above", given=given, expect=[{"k": 1, "z": 3}])


def test_names_that_no_test_has(small: Small) -> None:
    write_test(small, text_of("spend", "expect: []"))
    with pytest.raises(UsageError, match="there is no unit test 'spnd'") as caught:
        small.forge.test(["spnd"])
    assert caught.value.hint == "did you mean 'spend'?"
    assert [o.name for o in small.forge.test(["i*"])] == ["it"]
    assert [o.name for o in small.forge.test([FILE])] == ["it"]
    assert small.forge.test(select=["latest"]) == []
    assert [o.name for o in small.forge.test(select=["source:ev"])] == ["it"]
    with pytest.raises(UsageError):
        small.forge.test(select=["spnd"])
