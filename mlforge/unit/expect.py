"""What came of a feature against what a test expects: its rows, and its values for label rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mlforge.errors import ProjectError
from mlforge.retrieve.labels import arrow
from mlforge.retrieve.training import training_set
from mlforge.sql.bind import bind
from mlforge.sql.physical import view
from mlforge.sql.templates import ident, sql
from mlforge.unit import given as giving
from mlforge.unit.bench import sources_of
from mlforge.unit.compare import Difference, Expected, any_order, in_order
from mlforge.unit.given_values import inferred
from mlforge.unit.make import VERSION, compiled_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlforge.model import CatalogState, Compiled
    from mlforge.project.unit_tests import Row, UnitTest
    from mlforge.unit.bench import Bench

LABEL_TIME = "label_time"
_LABELS = "_mlforge_unit_labels"


def compare_rows(bench: Bench, test: UnitTest, state: CatalogState, rows: Sequence[Row]) -> list[Difference]:
    """Differences between ``expect`` and the feature's view. Raises ProjectError for what it does not have."""
    compiled = compiled_of(state, test.feature)
    if compiled.kind == "on_demand":
        hint = "write expect_at: label rows with the request's columns and the values that are expected"
        raise ProjectError(f"{test.feature} is computed on demand and has no rows", where=test.where, hint=hint)
    columns, got = view_rows(bench, state, test.feature)
    giving.check_columns(rows, columns, test.feature)
    plain = {c: "TIMESTAMP" if kind == "TIMESTAMP WITH TIME ZONE" else kind for c, kind in columns.items()}
    text = giving.values_sql(rows, plain, test.feature)
    values = bench.con.execute(text).fetchall() if text else []
    expected = _expected(rows, [dict(zip(plain, line[1:], strict=True)) for line in values])
    return any_order(expected, got, giving.identity_of(compiled))


def view_rows(bench: Bench, state: CatalogState, feature: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The types and the rows that ``features.<name>`` shows."""
    bench.con.execute(view("features", feature, bind(state, state.features[feature].get(VERSION))))
    relation = f"features.{ident(feature)}"
    columns = bench.warehouse.describe(f"FROM {relation}")
    rows = bench.con.execute(sql("unit/actual", relation=relation, columns=columns)).fetchall()
    return columns, [dict(zip(columns, row, strict=True)) for row in rows]


def _expected(rows: Sequence[Row], values: Sequence[Mapping[str, Any]]) -> list[Expected]:
    """Expected rows with values as the engine has them, under the feature's own names: the columns that a row names."""
    names = [{c.lower() for c in row.values} for row in rows]
    return [
        Expected({c: v for c, v in line.items() if c.lower() in named}, row.where.line)
        for line, named, row in zip(values, names, rows, strict=True)
    ]


def compare_values(bench: Bench, test: UnitTest, state: CatalogState, rows: Sequence[Row]) -> list[Difference]:
    """Differences between ``expect_at`` and a training set of these label rows. Raises ProjectError."""
    compiled = compiled_of(state, test.feature)
    labels = label_types(bench, test, compiled, rows)
    outputs = {o.name: o.type for o in compiled.outputs}
    asked, wanted = _only(rows, labels), _only(rows, outputs)
    for row in wanted:
        if not row.values:
            message = f"this row expects no column of {test.feature}"
            raise ProjectError(message, where=row.where, hint=f"its columns: {', '.join(outputs)}")
    got = values_at(bench, state, test.feature, asked, labels)
    text = giving.values_sql(wanted, outputs, test.feature)
    expected = _expected(wanted, arrow(bench.con, text).to_pylist() if text else [])
    return in_order(expected, got, [{c: v.plain() for c, v in row.values.items()} for row in asked])


def _only(rows: Sequence[Row], columns: Mapping[str, str]) -> list[Row]:
    """The rows with no other columns than these."""
    names = {c.lower() for c in columns}
    return [replace(row, values={c: v for c, v in row.values.items() if c.lower() in names}) for row in rows]


def values_at(
    bench: Bench, state: CatalogState, feature: str, rows: Sequence[Row], labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The feature's columns for label rows, by the way that training sets take. Raises RetrievalError."""
    if not rows:
        return []
    bench.con.execute(sql("unit/table", table=ident(_LABELS), columns=labels))
    giving.fill(bench.con, ident(_LABELS), rows, labels, "the label rows")
    text = f"SELECT * FROM {ident(_LABELS)}"  # not as an Arrow table: registering one imports pandas
    made = training_set(bench.con, state, feature, text, timestamp=LABEL_TIME).table
    found: list[dict[str, Any]] = made.select([o.name for o in compiled_of(state, feature).outputs]).to_pylist()
    return found


def label_types(bench: Bench, test: UnitTest, compiled: Compiled, rows: Sequence[Row]) -> dict[str, str]:
    """The columns of the label rows with their types: keys (or a surrogate's parts), time, request.

    Raises ProjectError for a column that is none of these and no output, and for a row that lacks one of them."""
    timed = _timed(bench, compiled)
    labels = {**_key_types(bench, test, compiled, rows), **({LABEL_TIME: "TIMESTAMP"} if timed else {})}
    labels |= compiled.request
    known = {LABEL_TIME: "TIMESTAMP", **labels, **{o.name: o.type for o in compiled.outputs}}
    giving.check_columns(rows, known, f"a label row of {test.feature}")
    for row in rows:
        named = {c.lower() for c in row.values}
        missing = next((c for c in labels if c.lower() not in named), None)
        if missing:
            hint = f"a label row names {', '.join(labels)}, and the columns that are expected; null is a value"
            raise ProjectError(f"this row has no {missing!r}", where=row.where, hint=hint)
    return labels


def _timed(bench: Bench, compiled: Compiled) -> bool:
    """Whether a label row of this feature needs a time."""
    if compiled.kind != "on_demand":
        return compiled.kind != "static"
    upstream = (bench.analysis.features[r.feature].candidate.compiled for r in compiled.refs)
    return compiled.uses_as_of or any(_timed(bench, u) for u in upstream)


def _key_types(bench: Bench, test: UnitTest, compiled: Compiled, rows: Sequence[Row]) -> dict[str, str]:
    keys = {k.name: k.type for k in compiled.keys}
    named = {c.lower() for row in rows for c in row.values}
    if not compiled.parts or any(k.lower() in named for k in keys):
        return keys
    shapes = [bench.shapes[s] for s in sources_of(bench.analysis, test.feature) if s in bench.shapes]
    real = {c.lower(): kind for columns in shapes for c, kind in columns.items()}
    given = [{c.lower(): v.plain() for c, v in row.values.items()} for row in rows]
    return {p: real.get(p.lower()) or inferred([row.get(p.lower()) for row in given]) for p in compiled.parts}
