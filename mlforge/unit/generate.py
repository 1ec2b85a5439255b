"""Writing a unit test from real rows: what the feature makes of them now becomes what the test expects."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlforge.errors import BuildError, ProjectError, UsageError, Where, did_you_mean, engine_words
from mlforge.project.unit_tests import FOLDER, UnitTest, parse_unit_tests
from mlforge.retrieve.handover import dicts
from mlforge.unit.bench import sources_of
from mlforge.unit.expect import label_types, values_at, view_rows
from mlforge.unit.given_values import FLOATS, INTEGERS
from mlforge.unit.make import compiled_of, make
from mlforge.unit.run import differences
from mlforge.unit.sample import sample
from mlforge.unit.session import Session
from mlforge.unit.source_columns import sources_engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlforge.model import CatalogState, Project
    from mlforge.unit.bench import Bench

_LABELS = 2  # keys that values are expected of
_HEAD = "# Rows of the sources as they were, and what {feature} made of them: look whether it is what you mean.\n"


def generate(project: Project, feature: str, key: Sequence[str], rows: int, *, force: bool = False) -> str:
    """Write tests/<feature>.yaml and return its path in the project.

    Raises UsageError for an unknown feature or key, ProjectError if the file exists (unless ``force``) or a source
    cannot be read, FeatureError if the feature is wrong, BuildError if the engine refuses the rows."""
    import duckdb

    shown = f"{FOLDER}/{feature}.yaml"
    path = Path(project.root) / shown
    if feature not in project.features:
        raise UsageError(f"the project has no feature {feature!r}", hint=did_you_mean(feature, project.features))
    if path.exists() and not force:
        raise ProjectError("this file exists", where=Where(shown), hint="--force overwrites it")
    session = Session(project)
    try:
        text = _text(session, feature, key, rows, shown)
    except duckdb.Error as error:
        raise BuildError(f"{feature} cannot be made of these rows: {engine_words(error)}") from error
    finally:
        session.close()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return shown


def _text(session: Session, feature: str, key: Sequence[str], rows: int, shown: str) -> str:
    _refuse_unreadable(session, feature)
    probe = UnitTest(name=f"{feature} from real rows", feature=feature, where=Where(shown))
    bench = session.bench(probe)
    bench.compile(feature)
    with sources_engine(session.project) as warehouse:
        given = sample(bench, warehouse, feature, key, rows)
    stated: dict[str, Any] = {"name": probe.name, "feature": feature}
    stated["given"] = {name: [_without_nulls(row) for row in found] for name, found in given.items()}
    (test,) = parse_unit_tests(_yaml({**stated, "expect": []}), shown)
    expected = _expected(bench, test)
    if not expected:
        hint = "name another key with --key, or take more rows with --rows"
        raise UsageError(f"these rows make no row of {feature}: there is nothing to expect", hint=hint)
    text = _HEAD.format(feature=feature) + _yaml({**stated, **expected})
    (test,) = parse_unit_tests(text, shown)
    if differences(bench, test):
        raise BuildError(f"{feature} gives other values for the same rows", hint="is there something random in it?")
    return text


def _refuse_unreadable(session: Session, feature: str) -> None:
    if feature in session.broken:
        raise session.broken[feature]
    names = [n for n in sources_of(session.analysis, feature) if n in session.project.sources]
    session.shapes.look(names)
    for name in names:
        if name in session.shapes.errors:
            raise session.shapes.errors[name]


def _expected(bench: Bench, test: UnitTest) -> dict[str, Any]:
    """What the feature makes of the given rows: its rows, and its values an hour after the last of them."""
    bench.con.execute("BEGIN")
    try:
        state = make(bench, test)
        found: dict[str, Any] = {}
        if compiled_of(state, test.feature).kind != "on_demand":
            found["expect"] = [_plain(row) for row in view_rows(bench, state, test.feature)[1]]
        labels = _labels(bench, test, state)
        if labels:
            found["expect_at"] = _values(bench, test, state, labels)
        return {name: rows for name, rows in found.items() if rows}
    finally:
        bench.con.execute("ROLLBACK")


def _labels(bench: Bench, test: UnitTest, state: CatalogState) -> list[dict[str, Any]]:
    """Label rows for the first keys: an hour after the last row, of the feature or of what it reads, that says most."""
    compiled = compiled_of(state, test.feature)
    if compiled.kind == "static":
        return []
    name = compiled.refs[0].feature if compiled.kind == "on_demand" and compiled.refs else test.feature
    shown = compiled_of(state, name)
    if shown.kind == "on_demand":
        return []
    rows = view_rows(bench, state, name)[1]
    most = max((sum(v is not None for v in row.values()) for row in rows), default=0)
    full = [row for row in rows if sum(v is not None for v in row.values()) == most]
    times = [row[shown.timestamp] for row in full] if shown.timestamp else []
    at = {"label_time": max(times) + datetime.timedelta(hours=1)} if times else {}
    asked = {column: 1 if _is_number(kind) else None for column, kind in compiled.request.items()}
    keys = dict.fromkeys(tuple(row[k.name] for k in shown.keys) for row in rows)
    names = [k.name for k in compiled.keys]
    return [_plain(dict(zip(names, key, strict=True)) | at | asked) for key in list(keys)[:_LABELS]]


def _is_number(kind: str) -> bool:
    return kind in INTEGERS or kind in FLOATS or kind.startswith("DECIMAL")


def _values(bench: Bench, test: UnitTest, state: CatalogState, labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    stated = {"name": test.name, "feature": test.feature, "expect_at": labels}
    (asking,) = parse_unit_tests(_yaml(stated), test.where.file)
    assert asking.expect_at is not None
    compiled = compiled_of(state, test.feature)
    types = label_types(bench, test, compiled, asking.expect_at)
    found = values_at(bench, state, test.feature, asking.expect_at, types)
    for output in compiled.outputs:
        if "MAP(" in output.type:
            for row, value in zip(found, dicts([row[output.name] for row in found], output.type), strict=True):
                row[output.name] = value
    return [{**label, **_plain(row)} for label, row in zip(labels, found, strict=True)]


def _without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {column: value for column, value in _plain(row).items() if value is not None}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {str(column): _plain_value(value) for column, value in row.items()}  # keys of a MAP may be numbers


def _plain_value(value: Any) -> Any:
    """A value as YAML can hold it, without loss."""
    if isinstance(value, Decimal):
        number = float(value)
        return number if Decimal(repr(number)) == value else str(value)
    if isinstance(value, (uuid.UUID, datetime.time, datetime.datetime)):
        return str(value)  # PyYAML writes an instant within a row as !!timestamp
    if isinstance(value, (list, tuple)):
        return [_plain_value(v) for v in value]
    return _plain(value) if isinstance(value, dict) else value


def _yaml(test: dict[str, Any]) -> str:
    """A file of one test: one row a line, lists indented."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

    text = yaml.dump(
        {"tests": [test]}, Dumper=Dumper, default_flow_style=None, sort_keys=False, width=10_000, allow_unicode=True
    )
    return str(text)
