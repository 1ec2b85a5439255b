"""``tests/*.yaml``: unit tests of features, read and checked; what they say of columns is checked when they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mlforge.errors import ProjectError, Where
from mlforge.project.environ import Environ
from mlforge.project.sections import Reader, mapping
from mlforge.project.unit_settings import UNIT_SECTIONS
from mlforge.project.yamldoc import Value, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FOLDER = "tests"
_SUFFIXES = (".yaml", ".yml")


class Row(Struct, frozen=True):
    """One row as the file states it: column -> value, with their places."""

    values: dict[str, Value]
    where: Where


class Given(Struct, frozen=True, kw_only=True):
    """Rows that stand for a source or for a feature that is read. ``columns`` are types that the test states."""

    name: str
    rows: tuple[Row, ...]
    columns: dict[str, str] = {}
    where: Where


class UnitTest(Struct, frozen=True, kw_only=True):
    """One unit test of a feature. Of ``expect`` and ``expect_at`` at least one is there; ``()`` expects no row."""

    name: str
    feature: str
    where: Where
    description: str | None = None
    vars: dict[str, Any] = {}
    given: dict[str, Given] = {}
    expect: tuple[Row, ...] | None = None
    expect_at: tuple[Row, ...] | None = None


def read_unit_tests(root: Path) -> list[UnitTest]:
    """The unit tests of the project in ``root``, in the order of files and lines.

    Raises ProjectError, with file and line, for a file of another form and for a name that two tests have."""
    found: list[UnitTest] = []
    for path in unit_test_files(root):
        found += parse_unit_tests(_read(path, root), path.relative_to(root).as_posix())
    _refuse_repeated(found)
    return found


def unit_test_files(root: Path) -> list[Path]:
    """The YAML files below tests/, without hidden ones, in a fixed order."""
    paths = (p for p in (root / FOLDER).rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    return sorted(p for p in paths if not any(part.startswith(".") for part in p.relative_to(root).parts))


def parse_unit_tests(text: str, file: str) -> list[UnitTest]:
    """The unit tests of one file's text. Raises ProjectError, with file and line."""
    reader = Reader(Environ({}, {}), UNIT_SECTIONS)
    document = parse(text, file)
    if document.data is None:
        raise ProjectError("this file holds no tests", where=document.where, hint=_FORM)
    if not isinstance(document.data, dict):
        raise ProjectError(f"a file of tests is a mapping, not {document.kind}", where=document.where, hint=_FORM)
    top = reader.section("file", document, "a file of tests")
    return [_unit_test(reader, value) for value in _items(top["tests"], "'tests'")]


_FORM = "write tests: and below it a list of tests, each with name, feature, given and expect"


def _read(path: Path, root: Path) -> str:
    where = Where(path.relative_to(root).as_posix())
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ProjectError("this file is not UTF-8 text", where=where, hint="save it as UTF-8") from None
    except OSError as error:
        raise ProjectError(f"this file cannot be read: {error.strerror}", where=where) from None


def _refuse_repeated(tests: Iterable[UnitTest]) -> None:
    first: dict[str, Where] = {}
    for test in tests:
        other = first.setdefault(test.name, test.where)
        if other is not test.where:
            raise ProjectError(f"the test {test.name!r} is also at {other}", where=test.where, hint="rename one")


def _items(value: Value, what: str) -> list[Value]:
    if not isinstance(value.data, list):
        raise ProjectError(f"{what} must be a list, not {value.kind}", where=value.where, hint=_FORM)
    return value.data


def _unit_test(reader: Reader, value: Value) -> UnitTest:
    name = value.data.get("name") if isinstance(value.data, dict) else None
    what = f"test {name.data!r}" if name is not None and isinstance(name.data, str) else "a test"
    found = reader.section("test", value, what)
    if found["expect"] is None and found["expect_at"] is None:
        hint = "expect: rows of the feature, or expect_at: values at label times; [] expects no row"
        raise ProjectError(f"{what} expects nothing", where=value.where, hint=hint)
    return UnitTest(
        name=found["name"],
        feature=found["feature"],
        where=value.where,
        description=found["description"],
        vars=found["vars"] or {},
        given={n: _given(reader, n, v, what) for n, v in _entries(found["given"], f"'given' of {what}").items()},
        expect=_rows(found["expect"], f"'expect' of {what}"),
        expect_at=_rows(found["expect_at"], f"'expect_at' of {what}"),
    )


def _entries(value: Value | None, what: str) -> Mapping[str, Value]:
    return {} if value is None else mapping(value, what)


def _given(reader: Reader, name: str, value: Value, what: str) -> Given:
    shown = f"{name!r} given to {what}"
    columns: dict[str, str] = {}
    if isinstance(value.data, dict):
        found = reader.section("given", value, shown)
        columns, value = found["columns"] or {}, found["rows"]
    rows = _rows(value, shown)
    assert rows is not None
    return Given(name=name, rows=rows, columns=columns, where=value.where)


def _rows(value: Value | None, what: str) -> tuple[Row, ...] | None:
    if value is None:
        return None
    if not isinstance(value.data, list):
        hint = "write one row a line: - {column: value, column: value}; [] for no row"
        raise ProjectError(f"{what} must be a list of rows, not {value.kind}", where=value.where, hint=hint)
    return tuple(_row(row, what) for row in value.data)


def _row(value: Value, what: str) -> Row:
    if not isinstance(value.data, dict):
        hint = "write it as {column: value, column: value}"
        raise ProjectError(f"a row of {what} must be a mapping, not {value.kind}", where=value.where, hint=hint)
    seen: dict[str, str] = {}
    for column in value.data:
        other = seen.setdefault(column.lower(), column)
        if other != column:
            raise ProjectError(f"{other!r} and {column!r} differ only in case", where=value.keys[column])
    return Row(value.data, value.where)
