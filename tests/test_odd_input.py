"""Input that once ended in a traceback: every one is an error with its file, or is taken for what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.building.candidates import render_each
from mlforge.errors import FeatureError
from mlforge.project.loader import load
from tests.cli.running import mlforge
from tests.small import CONFIG, Small

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}\n'
PYTHON = 'import mlforge as mlf\n{before}\n@mlf.feature(entity="user", timestamp="t"{more})\ndef odd():\n    {body}\n'


@pytest.fixture
def project(tmp_path: Path) -> Small:
    made = Small(tmp_path)
    made.rows("1, '2024-01-01', 5")
    made.feature("a", GOOD)
    return made


CALLED = {  # what a function does, and what is said of it, at the line of its body
    "an error": ("", "1 / 0", "features/odd.py:5: the function of 'odd' failed: ZeroDivisionError: division by zero"),
    "an error that is no Exception": ("", "raise BaseException('x')", "the function of 'odd' failed: BaseException: x"),
    "a generator's end": ("", "raise GeneratorExit", "features/odd.py:5: the function of 'odd' failed: GeneratorExit"),
    "an exit": ("import sys", "sys.exit(3)", "features/odd.py:5: the function of 'odd' failed: SystemExit: 3"),
    "no end": ("", "return odd()", "features/odd.py:5: the function of 'odd' failed: RecursionError"),
    "an error without words": (
        "class E(Exception):\n    def __str__(self): raise RuntimeError\n",
        "raise E",
        "the function of 'odd' failed: E",
    ),
    "nothing": ("", "return None", "features/odd.py:4: the function of 'odd' returns None"),
    "nonsense": ("", "return 5", "a feature cannot be a int"),
    "no text": ("class T:\n    to_sql = lambda self: 5\n", "return T()", "to_sql() gives a int, not a text"),
}


@pytest.mark.parametrize("case", CALLED)
def test_a_function_fails_alone(project: Small, case: str) -> None:
    before, body, message = CALLED[case]
    (project.root / "features/odd.py").write_text(PYTHON.format(before=before, body=body, more=""))
    analysis, failed = render_each(load(project.root))
    assert list(analysis.rendered) == ["a"]
    assert message in str(failed["odd"])
    assert failed["odd"].where is not None
    assert failed["odd"].where.file == "features/odd.py"


LOADED = {  # files that cannot be loaded, and what is said of them
    "an error that is no Exception": (
        "raise BaseException('x')",
        "features/odd.py:1: this file failed: BaseException: x",
    ),
    "an error without words": (
        "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E",
        "features/odd.py:3: this file failed: E",
    ),
    "too deep": ("x = " + "-" * 50_000 + "1", "features/odd.py: Python syntax: "),
    "no text": ("x = '\0'", "features/odd.py: Python syntax: "),
}


@pytest.mark.parametrize("case", LOADED)
def test_a_file_that_cannot_be_loaded(project: Small, case: str) -> None:
    text, message = LOADED[case]
    (project.root / "features/odd.py").write_text(text)
    with pytest.raises(FeatureError) as caught:
        load(project.root)
    assert str(caught.value).startswith(message)


def test_an_argument_that_cannot_be_shown(project: Small) -> None:
    before = "class A:\n    def __repr__(self): raise RuntimeError\n"
    text = PYTHON.format(before=before, body="return 'SELECT 1'", more=", tags=A()")
    (project.root / "features/odd.py").write_text(text)
    _, failed = render_each(load(project.root))
    assert failed["odd"].message == "tags must be a list of texts, not a A"


@pytest.mark.parametrize("wrapped", ["len", "f"])
def test_a_decorator_that_says_another_thing_than_it_wraps(project: Small, wrapped: str) -> None:
    text = "import mlforge as mlf\ndef f(): return 'SELECT 1 AS k'\n"
    text += f"f.__wrapped__ = {wrapped}\nodd = mlf.feature(entity='user', name='odd')(f)\n"
    (project.root / "features/odd.py").write_text(text)
    assert load(project.root).features["odd"].path == "features/odd.py"


def test_a_number_that_is_no_number(project: Small) -> None:
    project.feature("a", GOOD.replace("x FROM", "{{ 1e999 }} AS x FROM"))
    said = mlforge("-C", project.root, "plan", code=1)
    assert said.err.startswith("error: features/a.sql:2: this number is too large\n")


@pytest.mark.parametrize("days", [9_999_999, 10**20])
def test_days_that_no_calendar_has(project: Small, days: int) -> None:
    project.good()
    project.config(f"{CONFIG}keep: {{days: {days}}}\n")
    assert "deleted 0 versions" in mlforge("-C", project.root, "gc").out


def test_a_time_that_is_no_time_in_utc(project: Small) -> None:
    (project.root / "tests").mkdir()
    row = "{k: 1, t: 0001-01-01T00:00:00+14:00, x: 1}"
    (project.root / "tests/a.yaml").write_text(
        f"tests:\n- name: one\n  feature: a\n  given: {{ev: [{row}]}}\n  expect: []\n"
    )
    assert "tests/a.yaml:4" in mlforge("-C", project.root, "test", code=1).flat


def test_label_sql_that_is_no_text(project: Small) -> None:
    project.good()
    (project.root / "labels.sql").write_bytes(b"SELECT '\xff'")
    arguments = ["--features", "a", "--labels", project.root / "labels.sql", "--out", project.root / "o.parquet"]
    said = mlforge("-C", project.root, "training-set", *arguments, code=1)
    assert "labels.sql is not UTF-8 text" in said.err
