"""Checks (validators) as SQL: one pass over a relation for all checks of one side of a feature."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from msgspec.structs import replace

from mlforge.errors import FeatureError, WarehouseError, did_you_mean, engine_words
from mlforge.records import CheckResult
from mlforge.render.conditions import CLOCK, condition
from mlforge.sql.missing import unknown_column
from mlforge.sql.templates import ident, literal, sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.errors import Where
    from mlforge.model import Check, Side

SAMPLE_ROWS = 10
CHECK_NAMES = (
    *("not_null", "unique", "greater_than", "greater_than_or_equal", "less_than", "less_than_or_equal"),
    *("in_range", "matches_regex", "is_in", "sql"),
)
_COMPARISONS = frozenset({"greater_than", "greater_than_or_equal", "less_than", "less_than_or_equal", "in_range"})
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_NUMBERS = _FLOATS | {
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "BIGNUM"),
}
_VALUES: dict[str, tuple[type, ...]] = {
    "number": (int, float, decimal.Decimal),
    "text": (str,),
    "boolean": (bool,),
    "temporal": (str, datetime.date, datetime.time),
    "uuid": (str, uuid.UUID),
}


class _Failing(NamedTuple):
    """A check with the SQL that is TRUE for rows that fail it."""

    check: Check
    x: str
    sql: str


def assign_sides(
    checks: Iterable[Check],
    output_columns: Iterable[str],
    input_columns: Iterable[str],
    *,
    feature: str | None = None,
    where: Where | None = None,
) -> tuple[list[Check], list[Check]]:
    """Checks of the event rows and checks of the output, each with its side and its column as the column is spelled.

    A name without a side means the output column if there is one, else the event row's; ``sql(...)`` without either
    is about the output. Raises FeatureError for a column that is on neither side."""
    columns: dict[Side, dict[str, str]] = {
        "output": {name.lower(): name for name in output_columns},
        "input": {name.lower(): name for name in input_columns},
    }
    assigned = [_assigned(check, columns, feature, where) for check in checks]
    return [c for c in assigned if c.side == "input"], [c for c in assigned if c.side == "output"]


def _assigned(check: Check, columns: dict[Side, dict[str, str]], feature: str | None, where: Where | None) -> Check:
    if check.column is None:
        return replace(check, side=check.side or "output")
    sides: tuple[Side, ...] = (check.side,) if check.side else ("output", "input")
    for side in sides:
        found = columns[side].get(check.column.lower())
        if found is not None:
            return replace(check, side=side, column=found)
    written = f"{check.side}.{check.column}" if check.side else check.column
    known = {name for side in sides for name in columns[side].values()}
    raise FeatureError(
        f"{_of(feature)}the check {check.label} names the column {written!r}, which does not exist",
        hint=did_you_mean(check.column, known),
        where=where,
    )


def _of(feature: str | None) -> str:
    return f"feature {feature!r}: " if feature else ""


def run_checks(
    con: DuckDBPyConnection,
    feature: str,
    checks: Sequence[Check],
    relation: str,
    *,
    columns: Mapping[str, str],
    keys: Sequence[str],
    timestamp: str | None,
) -> list[CheckResult]:
    """What checks find, in their order: all of the side that ``relation`` is, as ``assign_sides`` gives them.

    ``relation`` is what may stand in FROM: a quoted name, or a query in parentheses. ``columns`` maps its columns to
    DuckDB types. All checks share one scan (``unique`` groups once more); each failing one takes one further query
    for keys and time of up to ten failing rows. NULL passes all but not_null, NaN passes no comparison, and unique
    counts every row that shares its value. Raises FeatureError for a check that does not fit its column,
    WarehouseError if the engine fails for another reason."""
    if not checks:
        return []
    failing = [_failing(con, feature, check, relation, columns) for check in checks]
    rows, *counts = _run(con, feature, failing, relation)
    sample_columns = [*keys, *([timestamp] if timestamp and timestamp not in keys else [])]
    results = []
    for item, failed in zip(failing, counts, strict=True):
        sample = _sample(con, feature, item, relation, sample_columns) if failed and sample_columns else ()
        results.append(_result(feature, item.check, rows=rows, failed=failed, sample=sample))
    return results


def _result(feature: str, check: Check, *, rows: int, failed: int, sample: tuple[dict[str, Any], ...]) -> CheckResult:
    # Through the tolerance's decimal text: 0.29 * 100 is a little less than 29 in floats.
    allowed = decimal.Decimal(repr(check.tolerance)) * rows
    return CheckResult(
        feature=feature,
        check=check.label,
        column=check.column,
        side=check.side or "output",
        severity=check.severity,
        rows=rows,
        failed=failed,
        passed=failed <= allowed,
        sample=sample,
    )


def _run(con: DuckDBPyConnection, feature: str, failing: Sequence[_Failing], relation: str) -> tuple[int, ...]:
    import duckdb

    try:
        return _counts(con, failing, relation)
    except duckdb.Error as error:
        for item in failing:
            fault = _fault(con, item, relation)
            if fault is not None:
                _refuse(feature, item.check, engine_words(fault), cause=fault)
        raise WarehouseError(f"{_of(feature)}the checks did not run: {engine_words(error)}") from error


def _fault(con: DuckDBPyConnection, item: _Failing, relation: str) -> Exception | None:
    """The engine's error if this check alone does not bind or cannot convert a value."""
    import duckdb

    fault: Exception | None = None
    try:
        _counts(con, [item], relation)
    except (duckdb.DataError, duckdb.ProgrammingError, duckdb.NotSupportedError) as error:
        fault = error
    except duckdb.Error:
        pass  # of the whole pass, not of this check: memory, files
    return fault


def _counts(con: DuckDBPyConnection, failing: Sequence[_Failing], relation: str) -> tuple[int, ...]:
    checks = [{"unique": f.check.name == "unique", "x": f.x, "failing": f.sql} for f in failing]
    row = con.execute(sql("quality/run_checks", checks=checks, relation=relation)).fetchall()[0]
    # Over no rows DuckDB gives NULL for the subquery of unique.
    return tuple(n or 0 for n in row)


def _sample(
    con: DuckDBPyConnection, feature: str, item: _Failing, relation: str, columns: Sequence[str]
) -> tuple[dict[str, Any], ...]:
    import duckdb

    text = sql("quality/failing_rows", columns=columns, relation=relation, failing=item.sql, limit=SAMPLE_ROWS)
    try:
        rows = con.execute(text).fetchall()
    except duckdb.Error as error:
        raise WarehouseError(f"{_of(feature)}no failing rows could be read: {engine_words(error)}") from error
    return tuple({name: _plain(v) for name, v in zip(columns, row, strict=True)} for row in rows)


def _plain(value: Any) -> Any:
    """A value that JSON can hold: keys that are no number of 64 bits, text or boolean become text."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _failing(
    con: DuckDBPyConnection, feature: str, check: Check, relation: str, columns: Mapping[str, str]
) -> _Failing:
    if check.name not in CHECK_NAMES:
        raise FeatureError(
            f"{_of(feature)}there is no check {check.name!r}", hint=did_you_mean(check.name, CHECK_NAMES)
        )
    if check.name == "sql":
        return _Failing(check, "", _sql_failing(con, feature, check, relation, columns))
    if check.column is None or check.column not in columns:
        _refuse(feature, check, "the column does not exist", did_you_mean(str(check.column), columns))
    type_ = columns[check.column].upper()
    if check.name == "matches_regex":
        _check_regex(con, feature, check, type_)
    x = ident(check.column)
    if type_.startswith("ENUM("):
        x = f"{x}::VARCHAR"
    text = sql(
        "quality/failing",
        name=check.name,
        x=x,
        values=_values(feature, check, type_),
        is_float=type_ in _FLOATS,
        inclusive=check.args.get("inclusive", True),
        relation=relation,
    )
    return _Failing(check, x, text)


def _sql_failing(con: DuckDBPyConnection, feature: str, check: Check, relation: str, columns: Mapping[str, str]) -> str:
    import duckdb

    try:
        expression = condition(_text(feature, check), allowed=CLOCK)
    except FeatureError as error:
        _refuse(feature, check, error.message, error.hint)
    try:
        con.execute(sql("quality/bind_expression", expression=expression, relation=relation)).fetchall()
    except duckdb.Error as error:
        words, hint = unknown_column(engine_words(error), columns) or (engine_words(error), None)
        _refuse(feature, check, words, hint, error)
    found = [str(column[1]) for column in con.description or ()]
    if found != ["BOOLEAN"]:
        _refuse(feature, check, f"the expression is {', '.join(found)}, not one BOOLEAN", "write a comparison")
    return sql("quality/failing", name="sql", expression=expression, x="", is_float=False)


def _check_regex(con: DuckDBPyConnection, feature: str, check: Check, type_: str) -> None:
    import duckdb

    if _family(type_) != "text":
        _refuse(feature, check, f"the column is {type_}, and a pattern needs text")
    try:
        con.execute(sql("quality/bind_regex", pattern=_text(feature, check))).fetchall()
    except duckdb.InvalidInputException as error:
        hint = "patterns are RE2: no look-ahead, no back-references"
        _refuse(feature, check, f"the pattern is not valid: {engine_words(error)}", hint, error)


def _text(feature: str, check: Check) -> str:
    value = _only(feature, check)
    if not isinstance(value, str):
        _refuse(feature, check, f"it takes text, not {value!r}")
    return value


def _only(feature: str, check: Check) -> Any:
    values = list(check.args.values())
    if len(values) != 1:
        _refuse(feature, check, "it takes exactly one argument")
    return values[0]


def _values(feature: str, check: Check, type_: str) -> list[str | None]:
    """The check's arguments as literals that compare with a column of the type."""
    if check.name in ("not_null", "unique"):
        return []
    if check.name in _COMPARISONS and _family(type_) in ("boolean", "uuid", None):
        _refuse(feature, check, f"the column is {type_}, which has no order to compare by")
    return [None if v is None else _literal(feature, check, v, type_) for v in _arguments(feature, check)]


def _arguments(feature: str, check: Check) -> list[Any]:
    if check.name == "in_range":
        low, high = check.args.get("min"), check.args.get("max")
        if low is None and high is None:
            _refuse(feature, check, "it needs min, max or both")
        return [low, high]
    if check.name == "is_in":
        given = _only(feature, check)
        # x NOT IN (1, NULL) is never true: a NULL in the list would let every value pass.
        values = [v for v in given if v is not None] if isinstance(given, (list, tuple)) else []
        if not values:
            _refuse(feature, check, "it needs a list of at least one value")
        return values
    return [_only(feature, check)]


def _literal(feature: str, check: Check, value: Any, type_: str) -> str:
    family = _family(type_)
    fits = family is not None and isinstance(value, _VALUES[family])
    if not fits or (isinstance(value, bool) and family != "boolean"):
        _refuse(feature, check, f"the column is {type_}, which does not compare with {value!r}")
    if isinstance(value, (uuid.UUID, datetime.time)):
        value = str(value)
    # FLOAT holds 0.1 as 0.100000001: compared as DOUBLE it would not be in [0.1].
    cast = type_ if type_ == "FLOAT" or (isinstance(value, str) and family != "text") else None
    return f"CAST({literal(value)} AS {cast})" if cast else literal(value)


def _family(type_: str) -> str | None:
    if type_ in _NUMBERS or (type_.startswith("DECIMAL") and not type_.endswith("]")):
        return "number"
    if type_ == "VARCHAR" or (type_.startswith("ENUM(") and not type_.endswith("]")):
        return "text"
    if type_ in ("BOOLEAN", "UUID"):
        return type_.lower()
    return "temporal" if type_.startswith(("DATE", "TIME")) and not type_.endswith("]") else None


def _refuse(feature: str, check: Check, what: str, hint: str | None = None, cause: Exception | None = None) -> NoReturn:
    side = f"{check.side}." if check.side else ""
    on = f" on {side}{check.column}" if check.column else ""
    raise FeatureError(f"{_of(feature)}the check {check.label}{on}: {what}", hint=hint) from cause
