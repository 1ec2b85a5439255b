"""tests/*.yaml: what is read, and what is said, with file and line, of a file of another form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from mlforge.errors import ProjectError
from mlforge.project.unit_settings import unit_schema
from mlforge.project.unit_tests import parse_unit_tests, read_unit_tests

ROOT = Path(__file__).resolve().parents[2]
WHOLE = """\
tests:
  - name: a name, of any words
    feature: spend
    description: what it shows
    vars: {days: 7}
    given:
      payments:
        - {user_id: 1, paid_at: 2024-03-01 09:00:00, amount: 2.50}
        - {user_id: 2}
      users: []
      plans:
        columns: {price: "DECIMAL(10,2)"}
        rows:
          - {price: 1}
    expect:
      - {user_id: 1}
    expect_at: []
  - {name: second, feature: other, expect: []}
"""


def test_a_whole_file() -> None:
    first, second = parse_unit_tests(WHOLE, "tests/spend.yaml")
    assert (first.name, first.feature, first.description) == ("a name, of any words", "spend", "what it shows")
    assert (str(first.where), str(second.where)) == ("tests/spend.yaml:2", "tests/spend.yaml:18")
    assert first.vars == {"days": 7}
    assert {n: len(g.rows) for n, g in first.given.items()} == {"payments": 2, "users": 0, "plans": 1}
    assert first.given["plans"].columns == {"price": "DECIMAL(10,2)"}
    assert str(first.given["payments"].rows[1].where) == "tests/spend.yaml:9"
    assert first.expect is not None
    assert {c: v.plain() for c, v in first.expect[0].values.items()} == {"user_id": 1}
    assert first.expect_at == ()
    assert (second.expect, second.expect_at, second.given) == ((), None, {})


def test_rows_are_shared_by_an_anchor() -> None:
    test = "  - {{name: {0}, feature: f, given: {{ev: {1}}}, expect: []}}\n"
    first, second = parse_unit_tests("tests:\n" + test.format("a", "&ev [{k: 1}]") + test.format("b", "*ev"), "a.yaml")
    assert first.given["ev"].rows == second.given["ev"].rows != ()


TEST = "tests:\n  - name: a\n    feature: f\n"
WRONG = {
    "empty file": ("", 1, "this file holds no tests", "write tests:"),
    "a list": ("- name: a", 1, "a file of tests is a mapping, not a list", "write tests:"),
    "text": ("tests", 1, "a file of tests is a mapping, not text", "write tests:"),
    "no tests": ("{}", 1, "a file of tests has no 'tests'", None),
    "an unknown key at the top": ("unit_tests: []", 1, "a file of tests has no setting 'unit_tests'", "'tests'"),
    "tests is a mapping": ("tests:\n  a: {feature: f}", 2, "'tests' must be a list, not a mapping", "write tests:"),
    "tests is nothing": ("tests:", 1, "a file of tests has no 'tests'", None),
    "a test is text": ("tests:\n  - a", 2, "a test must be a mapping, not text", None),
    "no name": ("tests:\n  - feature: f\n    expect: []", 2, "a test has no 'name'", "Name of the test"),
    "no feature": ("tests:\n  - name: a\n    expect: []", 2, "test 'a' has no 'feature'", "The feature that"),
    "a name that is a number": ("tests:\n  - name: 1\n    feature: f", 2, "'name' of a test must be text", "quotes"),
    "an unknown key": (TEST + "    expected: []", 4, "test 'a' has no setting 'expected'", "did you mean 'expect'?"),
    "nothing expected": (TEST, 2, "test 'a' expects nothing", "[] expects no row"),
    "expect is empty": (TEST + "    expect:", 2, "test 'a' expects nothing", "[] expects no row"),
    "expect is a row": (
        TEST + "    expect: {k: 1}",
        4,
        "'expect' of test 'a' must be a list of rows",
        "one row a line",
    ),
    "expect is text": (TEST + "    expect: none", 4, "'expect' of test 'a' must be a list of rows, not text", None),
    "a row is a list": (TEST + "    expect:\n      - [1]", 5, "a row of 'expect' of test 'a' must be a mapping", None),
    "given is a list": (TEST + "    given: [x]\n    expect: []", 4, "'given' of test 'a' must be a mapping", None),
    "given nothing": (TEST + "    given:\n      ev:\n    expect: []", 5, "'ev' given to test 'a' must be a list", "[]"),
    "given without rows": (TEST + "    given:\n      ev: {columns: {a: INT}}\n    expect: []", 5, "no 'rows'", None),
    "given and unknown": (TEST + "    given:\n      ev: {row: []}\n    expect: []", 5, "no setting 'row'", "'rows'"),
    "types that are numbers": (
        TEST + "    given:\n      ev: {columns: {a: 1}, rows: []}\n    expect: []",
        5,
        "must be text",
        None,
    ),
    "vars is a list": (TEST + "    vars: [1]\n    expect: []", 4, "'vars' of test 'a' must be a mapping", None),
    "case": (TEST + "    expect:\n      - {k: 1, K: 2}", 5, "'k' and 'K' differ only in case", None),
    "a column twice": (TEST + "    expect:\n      - {k: 1, k: 2}", 5, "'k' stands twice: first in line 5", None),
    "a column without text": (TEST + "    expect:\n      - {1: 2}", 5, "a key must be text, and '1' is not", "quotes"),
    "a key twice": (TEST + "    feature: g\n    expect: []", 4, "'feature' stands twice", None),
    "no YAML": (TEST + "    expect: [", 5, "this is not YAML", None),
    "a tab": (TEST + "\texpect: []", 4, "found a tab character that violates indentation", None),
    "no such day": (TEST + "    expect:\n      - {t: 2024-02-31}", 5, "cannot be read as a timestamp", "quotes"),
}


@pytest.mark.parametrize(("text", "line", "message", "hint"), WRONG.values(), ids=WRONG)
def test_a_file_of_another_form(text: str, line: int, message: str, hint: str | None) -> None:
    with pytest.raises(ProjectError) as caught:
        parse_unit_tests(text, "tests/f.yaml")
    assert message in caught.value.message
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == ("tests/f.yaml", line)
    assert hint is None or hint in (caught.value.hint or "")


def test_files_are_read_in_order_and_names_are_unique(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "deep"
    (folder / ".hidden").mkdir(parents=True)
    (tmp_path / "tests/b.yaml").write_text("tests: [{name: b, feature: f, expect: []}]")
    (folder / "a.yml").write_text("tests: [{name: a, feature: f, expect: []}]")
    (folder / ".hidden/x.yaml").write_text("no tests at all")
    (folder / "notes.txt").write_text("no tests at all")
    assert [(t.name, t.where.file) for t in read_unit_tests(tmp_path)] == [
        ("b", "tests/b.yaml"),
        ("a", "tests/deep/a.yml"),
    ]
    (folder / "c.yaml").write_text("tests:\n  - {name: b, feature: g, expect: []}")
    with pytest.raises(ProjectError, match=r"the test .b. is also at tests/b\.yaml:1") as caught:
        read_unit_tests(tmp_path)
    assert str(caught.value.where) == "tests/deep/c.yaml:2"


def test_a_project_without_tests_has_none(tmp_path: Path) -> None:
    assert read_unit_tests(tmp_path) == []


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/a.yaml").write_bytes(b"tests: \xff\xfe")
    with pytest.raises(ProjectError, match="not UTF-8") as caught:
        read_unit_tests(tmp_path)
    assert str(caught.value.where) == "tests/a.yaml"


SHIPPED = [*(ROOT / "examples").rglob("tests/*.yaml"), *(ROOT / "sql_templates/project/tests").glob("*.yaml")]


def plain(text: str) -> Any:
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


@pytest.mark.parametrize("path", sorted(SHIPPED), ids=lambda p: p.name)
def test_the_schema_accepts_what_is_shipped(path: Path) -> None:
    assert not list(Draft202012Validator(unit_schema()).iter_errors(plain(path.read_text())))


def test_the_schema_accepts_a_whole_file() -> None:
    Draft202012Validator.check_schema(unit_schema())
    assert not list(Draft202012Validator(unit_schema()).iter_errors(plain(WHOLE)))


STRUCTURAL = [
    *("an unknown key at the top", "tests is a mapping", "a test is text", "no name", "no feature", "an unknown key"),
    *("nothing expected", "expect is a row", "a row is a list", "given is a list", "given without rows"),
    *("given and unknown", "vars is a list", "a list", "a name that is a number"),
]


@pytest.mark.parametrize("name", STRUCTURAL)
def test_the_schema_refuses_what_the_reader_refuses(name: str) -> None:
    assert list(Draft202012Validator(unit_schema()).iter_errors(plain(WRONG[name][0])))
