"""The validators of ``config(validators={...})``, and how they become checks."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mlforge.errors import FeatureError
from mlforge.model import Check, Severity, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_VALUES = (int, float, str, Decimal, date)  # date: datetime too


class Validator(Struct, frozen=True, kw_only=True):
    """A validator before it is tied to a column."""

    name: str
    args: dict[str, Any] = {}
    severity: Severity = "error"
    tolerance: float = 0.0

    def __str__(self) -> str:
        hint = f'config(validators={{"column": {self.name}(...)}})'
        raise FeatureError(f"{self.name}() stands outside validators", hint=hint)


def not_null(*, severity: Severity = "error", tolerance: float = 0.0) -> Validator:
    """No NULL."""
    return _validator("not_null", severity, tolerance)


def unique(*, severity: Severity = "error", tolerance: float = 0.0) -> Validator:
    """No value twice; NULLs do not count."""
    return _validator("unique", severity, tolerance)


def greater_than(value: Any, *, severity: Severity = "error", tolerance: float = 0.0) -> Validator:
    """Above a bound."""
    return _validator("greater_than", severity, tolerance, value=_bound("greater_than", value))


def greater_than_or_equal(value: Any, *, severity: Severity = "error", tolerance: float = 0.0) -> Validator:
    """At a bound or above."""
    return _validator("greater_than_or_equal", severity, tolerance, value=_bound("greater_than_or_equal", value))


def less_than(value: Any, *, severity: Severity = "error", tolerance: float = 0.0) -> Validator:
    """Below a bound."""
    return _validator("less_than", severity, tolerance, value=_bound("less_than", value))


def less_than_or_equal(value: Any, *, severity: Severity = "error", tolerance: float = 0.0) -> Validator:
    """At a bound or below."""
    return _validator("less_than_or_equal", severity, tolerance, value=_bound("less_than_or_equal", value))


def in_range(
    min: Any = None, max: Any = None, inclusive: bool = True, *, severity: Severity = "error", tolerance: float = 0.0
) -> Validator:
    """Between two bounds, of which one may be missing; ``inclusive=False`` leaves both out."""
    bounds = [_bound("in_range", value) for value in (min, max) if value is not None]
    if not bounds:
        raise FeatureError("in_range() needs min, max or both", hint="in_range(0, 1)")
    try:
        empty = bounds[0] > bounds[-1]
    except TypeError:
        raise FeatureError(f"in_range() cannot compare {min!r} with {max!r}", hint="write both as one type") from None
    if empty:
        raise FeatureError(f"in_range({min!r}, {max!r}) holds nothing", hint="write the smaller bound first")
    if not isinstance(inclusive, bool):
        raise FeatureError("inclusive of in_range() must be true or false")
    return _validator("in_range", severity, tolerance, min=min, max=max, inclusive=inclusive)


def matches_regex(pattern: str, *, severity: Severity = "error", tolerance: float = 0.0) -> Validator:
    """Some part of the text matches an RE2 pattern."""
    return _validator("matches_regex", severity, tolerance, pattern=_text("matches_regex", pattern))


def is_in(values: Any, *, severity: Severity = "error", tolerance: float = 0.0) -> Validator:
    """One of the listed values."""
    if not isinstance(values, (list, tuple)) or not values:
        raise FeatureError("is_in() takes a list of values", hint='is_in(["a", "b"])')
    for value in values:
        if not isinstance(value, (bool, *_VALUES)):
            raise FeatureError(f"is_in() cannot compare with {value!r}", hint="list texts, numbers, true or false")
    return _validator("is_in", severity, tolerance, values=list(values))


def sql(expression: str, *, severity: Severity = "error", tolerance: float = 0.0) -> Validator:
    """A SQL condition on a row; NULL passes."""
    return _validator("sql", severity, tolerance, expression=_text("sql", expression))


sql_check = sql  # its name in Python, where mlforge.sql is a package


VALIDATORS = {
    f.__name__: f
    for f in (
        not_null,
        unique,
        greater_than,
        greater_than_or_equal,
        less_than,
        less_than_or_equal,
        in_range,
        matches_regex,
        is_in,
        sql,
    )
}


def _validator(name: str, severity: Severity, tolerance: float, **args: Any) -> Validator:
    if severity not in ("error", "warn"):
        raise FeatureError(f"severity of {name}() cannot be {severity!r}", hint="'error' or 'warn'")
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance <= 1:
        raise FeatureError(f"tolerance of {name}() must be a share of rows from 0 to 1, not {tolerance!r}")
    return Validator(name=name, args=args, severity=severity, tolerance=float(tolerance))


def _bound(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, _VALUES) or str(value).lower() == "nan":
        raise FeatureError(f"{name}() compares with a number, a text or a date, not {value!r}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise FeatureError(f"{name}() takes a text", hint=f'{name}("...")')
    return value


def to_checks(validators: Mapping[str, Any], at: Callable[[str], None] = lambda _: None) -> tuple[Check, ...]:
    """Checks from ``{"column": validator or list of them}``. Keys may begin with ``input.`` or ``output.``; for
    ``sql(...)`` the key may be ``input`` or ``output`` alone. ``at`` is told each key before it is read.

    Raises FeatureError for what is not a validator."""
    found: list[Check] = []
    for key, given in validators.items():
        at(key)
        found += _checks(key, given)
    return tuple(found)


def _checks(key: str, given: Any) -> list[Check]:
    column, side = _target(key)
    if not column:
        raise FeatureError(f"{key!r} names no column")
    values = given if isinstance(given, (list, tuple)) else [given]
    return [_check(key, column, side, value) for value in values]


def _target(key: str) -> tuple[str, Side | None]:
    side, dot, column = key.partition(".")
    if dot and side == "input":
        return column, "input"
    if dot and side == "output":
        return column, "output"
    return key, None


def _check(key: str, column: str, side: Side | None, value: Any) -> Check:
    if not isinstance(value, Validator):
        shown = getattr(value, "name", value)
        hint = f"write {shown}()" if shown in VALIDATORS else f"known: {', '.join(f'{n}()' for n in VALIDATORS)}"
        raise FeatureError(f"{shown!r} for {key!r} is not a validator", hint=hint)
    whole_row: dict[str, Side] = {"input": "input", "output": "output"}
    if value.name == "sql" and key in whole_row:
        column, side = "", whole_row[key]
    if value.name == "sql":
        _check_condition(value.args["expression"])
    return Check(
        name=value.name,
        column=column or None,
        side=side,
        args=value.args,
        severity=value.severity,
        tolerance=value.tolerance,
    )


def _check_condition(text: str) -> None:
    from mlforge.render.conditions import CLOCK, condition

    try:
        condition(text, allowed=CLOCK)
    except FeatureError as error:
        raise FeatureError(f"sql({text!r}): {error.message}", hint=error.hint) from None
