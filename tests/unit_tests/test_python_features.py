"""Unit tests of features and projects that are stated in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

import mlforge as mlf
from tests.small import Small
from tests.unit_tests.running import outcome, passes, write_test

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FUNCTIONS = """\
import mlforge as mlf
import pyarrow as pa

@mlf.feature(entity="user", timestamp="t")
def spend():
    return f"SELECT k, t, SUM(x) OVER last_7d AS spend FROM {mlf.source('ev')}"

@mlf.feature(entity="user")
def listed():
    return pa.table({"k": [1, 2], "grade": ["a", "b"]})

@mlf.feature(entity="user", timestamp="t")
def graded():
    return f"SELECT e.k, t, x, grade FROM {mlf.source('ev')} e JOIN {mlf.ref('listed')} l ON e.k = l.k"
"""
EVENTS = [{"k": 1, "t": "2024-01-01", "x": 3}, {"k": 3, "t": "2024-01-01", "x": 3}]


def test_functions_that_return_sql_and_rows(tmp_path: Path) -> None:
    """Rows that a function returns are its own affair: they are what they are, unless the test gives others."""
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 1")
    (tmp_path / "features/all.py").write_text(FUNCTIONS)
    at = {"k": 1, "label_time": "2024-01-02"}
    passes(small, "spend", given={"ev": EVENTS}, expect_at=[{**at, "spend": 3}])
    passes(small, "listed", expect=[{"k": 1, "grade": "a"}, {"k": 2, "grade": "b"}])
    passes(small, "graded", given={"ev": EVENTS}, expect=[{"k": 1, "x": 3, "grade": "a"}])
    passes(small, "graded", given={"ev": EVENTS, "listed": [{"k": 3, "grade": "c"}]}, expect=[{"k": 3, "grade": "c"}])
    wrong = outcome(small, "listed", given={"_python_listed": []}, expect=[])
    assert (wrong.status, wrong.message) == ("error", "listed does not read '_python_listed'")


@mlf.feature(entity="user", timestamp="t")
def last_x() -> str:
    return f"SELECT k, t, x FROM {mlf.source('ev')}"


def test_a_project_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    events = pa.table({"k": [1], "t": pa.array([0], pa.timestamp("us")), "x": pa.array([1], pa.int8())})
    project = mlf.Definitions(
        "stated", features=[last_x], sources=[mlf.Source("ev", data=events)], entities=[mlf.Entity("user", key="k")]
    )
    project.generate_test("last_x")
    assert [o.status for o in project.test()] == ["passed"]
    write_test(Small(tmp_path), "tests: [{name: none, feature: last_x, expect: []}]")
    assert [(o.name, o.status) for o in project.test(["none"])] == [("none", "passed")]
