"""Builds in which something goes wrong: what fails, what goes on, and what is still there afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.errors import FeatureError, MlforgeError, ProjectError
from tests.small import CONFIG, Small

if TYPE_CHECKING:
    from pathlib import Path

    from mlforge.building.options import BuildResult
    from mlforge.building.work import FeatureResult

GOOD = """\
{{ config(entity="user", timestamp="t") }}
SELECT k, t, x FROM {{ source("ev") }}
"""
READER = """\
{{ config(entity="user", timestamp="t") }}
SELECT k, t, SUM(y) OVER ever AS total FROM {{ ref("f") }}
"""
LAST = """\
{{ config(entity="user", on_demand=true) }}
SELECT r.total + 1 AS more FROM {{ ref("reader") }} AS r
"""


@pytest.fixture
def small(tmp_path: Path) -> Small:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 1", "1, '2024-01-02', 2", "2, '2024-01-01', 5")
    small.feature("good", GOOD)
    return small


def result(built: BuildResult, feature: str) -> FeatureResult:
    return next(f for f in built.features if f.feature == feature)


def with_f(small: Small, expression: str, config: str = "") -> None:
    config = f", {config}" if config else ""
    head = f'{{{{ config(entity="user", timestamp="t"{config}) }}}}'
    small.feature("f", head + f'\nSELECT k, t, {expression} AS y FROM {{{{ source("ev") }}}}\n')


CHECKS = {
    "output": ('validators={"y": [less_than(5)]}', "check output.y: less_than(5) failed for 1 of 3 rows"),
    "input": ('validators={"input.x": [less_than(5)]}', "check input.x: less_than(5) failed for 1 of 3 rows"),
    "sql": ('validators={"y": [sql("y < 5")]}', "failed for 1 of 3 rows"),
}


@pytest.mark.parametrize("side", CHECKS)
def test_a_failed_check_keeps_the_feature_and_its_readers_at_the_last_good_version(small: Small, side: str) -> None:
    config, message = CHECKS[side]
    with_f(small, "x", config)
    small.feature("reader", READER)
    small.feature("last", LAST)
    small.rows("1, '2024-01-01', 1")
    small.good()
    small.rows("1, '2024-01-01', 2", "1, '2024-01-02', 3", "2, '2024-01-01', 5")
    built = small.build()
    assert built.failed
    assert {f.feature: f.status for f in built.features} == {
        "f": "failed",
        "good": "built",
        "reader": "skipped",
        "last": "skipped",
    }
    assert message in result(built, "f").error
    assert "reads f, which failed" in result(built, "reader").error
    assert small.sql("SELECT feature, current_version FROM mlforge.features ORDER BY 1") == [
        ("f", "1.0.0"),
        ("good", "1.0.1"),
        ("last", "1.0.0"),
        ("reader", "1.0.0"),
    ]
    assert small.ask(["f", "last"], "(1, '2024-02-01')") == [(1, 2)]
    assert small.ask(["good"], "(1, '2024-02-01')") == [(3,)]
    assert small.sql("SELECT status, failed FROM mlforge.builds WHERE build = 2") == [
        ("partial", ["f", "reader", "last"])
    ]
    kept = small.sql("SELECT build, version, failed, passed, sample FROM mlforge.checks WHERE NOT passed")
    assert [row[:4] for row in kept] == [(2, None, 1, False)]
    assert '"k":2' in kept[0][4]

    small.rows("1, '2024-01-01', 4")
    assert small.good() == {"f": "1.0.1", "good": "1.0.2", "reader": "1.0.1", "last": "1.0.1"}
    assert small.ask(["last"], "(1, '2024-02-01')") == [(5,)]


def test_a_warning_is_recorded_and_the_version_made(small: Small) -> None:
    with_f(small, "x", 'validators={"y": [less_than(5, severity="warn")]}')
    built = small.build()
    assert not built.failed
    [check] = result(built, "f").checks
    assert (check.passed, check.failed, check.severity) == (False, 1, "warn")
    assert small.sql("SELECT version, severity, failed, passed FROM mlforge.checks") == [("1.0.0", "warn", 1, False)]


def test_a_share_of_rows_may_fail(small: Small) -> None:
    with_f(small, "x", 'validators={"y": [less_than(5, tolerance=0.34)]}')
    assert not small.build().failed


ENGINE = {
    "cast": ("CAST(CASE WHEN x = 5 THEN 'five' ELSE x::VARCHAR END AS INTEGER)", "Could not convert string 'five'"),
    "overflow": ("(x + 9223372036854775805)", "Overflow"),
    "division of a decimal": ("CAST(x * 100000 AS DECIMAL(5, 0))", "DECIMAL(5,0)"),
    "strptime": ("strptime('2024-01-0' || x || 'z', '%Y-%m-%d')", "Could not parse string"),
    "error()": ("CASE WHEN x = 5 THEN error('not five!') ELSE x END", "not five!"),
}


@pytest.mark.parametrize("what", ENGINE)
def test_a_row_that_the_engine_cannot_compute_fails_its_feature_only(small: Small, what: str) -> None:
    expression, message = ENGINE[what]
    with_f(small, expression)
    built = small.build()
    assert built.failed
    assert message in result(built, "f").error
    assert result(built, "f").error.startswith("features/f.sql: f: ")
    assert result(built, "good").status == "built"
    assert small.sql("SELECT feature FROM mlforge.features") == [("good",)]


def test_a_sum_of_integers_that_overflows_is_an_error(small: Small) -> None:
    small.feature(
        "f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, SUM(x) OVER ever AS y FROM {{ source("ev") }}\n'
    )
    small.rows("1, '2024-01-01', 9223372036854775807", "1, '2024-01-02', 1")
    built = small.build()
    assert "out of range" in result(built, "f").error
    assert result(built, "good").status == "built"


def test_a_sum_of_tiles_that_overflows_is_an_error(small: Small) -> None:
    small.feature(
        "f",
        '{{ config(entity="user", timestamp="t", interval="1d") }}\n'
        'SELECT k, t, SUM(x) OVER last_2d AS y FROM {{ source("ev") }}\n',
    )
    small.rows("1, '2024-01-01', 9223372036854775807", "1, '2024-01-02', 1")
    built = small.build()
    assert "out of range" in result(built, "f").error
    small.rows("1, '2024-01-01', 9223372036854775807", "1, '2024-01-03 12:00', -1")
    small.good()
    assert small.ask(["f"], "(1, '2024-01-02')") == [(9223372036854775807,)]


def test_a_first_build_in_which_everything_fails_leaves_no_catalog(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 1")
    with_f(small, "error('no')::INTEGER")
    built = small.build()
    assert built.failed
    assert built.build is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "features", "mlforge.yaml"]


def test_a_later_build_in_which_everything_fails_is_recorded(small: Small) -> None:
    small.good()
    (small.root / "features/good.sql").unlink()
    with_f(small, "error('no')::INTEGER")
    assert small.build().failed
    assert small.sql("SELECT build, status, failed FROM mlforge.builds") == [(1, "done", []), (2, "failed", ["f"])]


def test_static_features_have_one_row_per_key(small: Small) -> None:
    small.feature("f", '{{ config(entity="user") }}\nSELECT k, x FROM {{ source("ev") }}\n')
    error = result(small.build(), "f").error
    assert error.startswith("features/f.sql: f has 2 rows for k = 1")
    assert "QUALIFY" in error
    small.feature(
        "f",
        '{{ config(entity="user") }}\nSELECT k, x FROM {{ source("ev") }}\n'
        "QUALIFY row_number() OVER (PARTITION BY k ORDER BY t) = 1\n",
    )
    small.good()
    assert small.view("f") == [(1, 1), (2, 5)]


def test_a_feature_that_cannot_be_bound_stops_the_build_before_any_row_is_read(small: Small) -> None:
    with_f(small, "y + 1")
    with pytest.raises(FeatureError, match=r"features/f\.sql:2: there is no column 'y' in ev") as caught:
        small.build()
    assert caught.value.where.line == 2
    assert not small.catalog.exists()


def test_the_error_of_a_skipped_reader_names_all_that_failed(small: Small) -> None:
    with_f(small, "error('no')::INTEGER")
    small.feature("g", (small.root / "features/f.sql").read_text())
    small.feature(
        "both",
        '{{ config(entity="user", timestamp="t") }}\nSELECT e.k, e.t, f.y AS a, g.y AS b FROM {{ source("ev") }} AS e '
        'LEFT JOIN {{ ref("f") }} AS f ON f.k = e.k LEFT JOIN {{ ref("g") }} AS g ON g.k = e.k\n',
    )
    assert result(small.build(), "both").error == "reads f, g, which failed"


@pytest.mark.parametrize(
    ("columns", "ties"),
    [("x", 2), ("x, COUNT(*) OVER ever AS n", 2), ("LAST(x) OVER ever AS y", 2), ("SUM(x) OVER ever AS y", 0)],
)
def test_ties_are_counted_where_their_order_decides(small: Small, columns: str, ties: int) -> None:
    config = '{{ config(entity="user", timestamp="t") }}'
    small.feature("tied", f'{config}\nSELECT k, t, {columns} FROM {{{{ source("ev") }}}}')
    small.rows(
        "1, '2024-01-01', 1", "1, '2024-01-01', 2", "1, '2024-01-01', 3", "2, '2024-01-01', 1", "1, '2024-01-02', 1"
    )
    assert result(small.build("tied"), "tied").ties == ties


def test_rows_that_belong_to_nothing_are_counted(small: Small) -> None:
    small.rows("1, '2024-01-01', 1", "NULL, '2024-01-01', 1", "1, NULL, 1", "NULL, NULL, 1", "1, 'infinity', 1")
    built = small.build()
    found = result(built, "good")
    assert (found.rows, found.event_rows, found.nowhere) == (1, 5, 4)


def test_a_build_on_a_sample_commits_nothing(small: Small) -> None:
    small.rows(*(f"{n}, '2024-01-01', {n}" for n in range(200)))
    built = small.build(sample=0.25)
    assert 10 < result(built, "good").rows < 100
    assert built.build is None
    assert not small.catalog.exists()
    assert small.good() == {"good": "1.0.0"}
    assert small.sql("SELECT count(*) FROM features.good") == [(200,)]


def test_large_data_within_a_small_memory_limit(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.write(
        "data/ev.parquet",
        "SELECT hash(range) % 5000 AS k, TIMESTAMP '2024-01-01' + to_seconds((hash(range + 1) % 8000000)::BIGINT) AS t, "
        "range::DOUBLE / 3 AS x, md5(range::VARCHAR) AS note FROM range(600_000)",
    )
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, note, x FROM {{ source("ev") }}\n')
    assert small.good(memory_limit="100MB", threads=2) == {"f": "1.0.0"}
    assert small.sql("SELECT count(*) > 590_000 FROM features.f") == [(True,)]
    assert [p.name for p in tmp_path.iterdir() if ".tmp" in p.name or "spill" in p.name] == []


def test_too_little_memory_says_what_to_do(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.write(
        "data/ev.parquet",
        "SELECT range % 3 AS k, TIMESTAMP '2024-01-01' AS t, md5(range::VARCHAR) AS x FROM range(400_000)",
    )
    small.feature("f", '{{ config(entity="user") }}\nSELECT k, LIST(x) AS xs FROM {{ source("ev") }} GROUP BY k\n')
    error = result(small.build(memory_limit="20MB", threads=2), "f").error
    assert "--memory-limit" in error


def test_a_folder_that_cannot_be_written(small: Small) -> None:
    config = CONFIG + "profiles:\n  dev: {warehouse: {kind: duckdb, path: nowhere/at/all/catalog.duckdb}}\n"
    small.config(config + "default_profile: dev\n")
    with pytest.raises(MlforgeError, match="nowhere"):
        small.build()


def test_a_source_that_disappears_keeps_the_catalog(small: Small) -> None:
    small.good()
    (small.root / "data/ev.parquet").unlink()
    with pytest.raises(ProjectError, match=r"no parquet file at data/ev\.parquet"):
        small.build()
    assert small.ask(["good"], "(1, '2024-02-01')") == [(2,)]
