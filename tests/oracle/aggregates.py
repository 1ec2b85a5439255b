"""Every aggregate over a plain list of values, exact where mathematics is.

Each function takes the window's rows in row order, already filtered, as tuples of arguments, and returns an
``Expected``: the exact value and how far a double may be from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

EPSILON = 1e-9


@dataclass(frozen=True)
class Expected:
    """A value, and what counts as equal to it.

    how: ``exact``; ``near`` (within ``slack``); ``squares`` (squares within ``slack``: standard deviations);
    ``between`` (``value`` is a pair); ``weird`` (any of NaN, Infinity, -Infinity, NULL); ``any``."""

    value: Any
    slack: float = 0.0
    how: str = "exact"


NULL = Expected(None)
Args = list[tuple[Any, ...]]


def order(value: Any) -> tuple[Any, ...]:
    """A sort key: NULL smallest, NaN greatest, text by the bytes of UTF-8."""
    if value is None:
        return (0,)
    if isinstance(value, float) and math.isnan(value):
        return (2,)
    if isinstance(value, (list, tuple)):
        return (1, tuple(order(v) for v in value))
    return (1, value.encode() if isinstance(value, str) else value)


def finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _first_arg(rows: Args) -> list[Any]:
    return [row[0] for row in rows if row[0] is not None]


def _exact_sum(values: list[Any]) -> Fraction:
    return sum((Fraction(v) for v in values), Fraction(0))


def _weird_sum(values: list[Any]) -> Expected:
    return Expected(sum(float(v) for v in values if not finite(v)))  # inf, -inf or nan


def count_star(rows: Args, _: Any) -> Expected:
    return Expected(len(rows))


def count(rows: Args, _: Any) -> Expected:
    return Expected(len(_first_arg(rows)))


def count_distinct(rows: Args, _: Any) -> Expected:
    return Expected(len({order(v) for v in _first_arg(rows)}))


def total(rows: Args, _: Any) -> Expected:
    values = _first_arg(rows)
    if not values:
        return NULL
    if not isinstance(values[0], float):
        return Expected(sum(values, type(values[0])(0)))
    if not all(map(finite, values)):
        return _weird_sum(values)
    return Expected(float(_exact_sum(values)), _slack(values), "near")


def _slack(values: list[Any]) -> float:
    return EPSILON * float(sum(abs(Fraction(v)) for v in values))


def mean(rows: Args, _: Any) -> Expected:
    values = _first_arg(rows)
    if not values:
        return NULL
    if not all(map(finite, values)):
        return _weird_sum(values)
    return Expected(float(_exact_sum(values) / len(values)), _slack(values) / len(values), "near")


def _variance(rows: Args, lost: int, how: str) -> Expected:
    values = _first_arg(rows)
    if not all(map(finite, values)):
        return Expected(None, how="weird")  # NaN or NULL; DuckDB itself refuses to answer
    if len(values) <= lost:
        return NULL
    middle = _exact_sum(values) / len(values)
    exact = sum((Fraction(v) - middle) ** 2 for v in values) / (len(values) - lost)
    slack = EPSILON * float(sum(Fraction(v) ** 2 for v in values) / (len(values) - lost))
    return Expected(float(exact) if how == "near" else math.sqrt(exact), slack, how)


def minimum(rows: Args, _: Any) -> Expected:
    return Expected(min(_first_arg(rows), key=order, default=None))


def maximum(rows: Args, _: Any) -> Expected:
    return Expected(max(_first_arg(rows), key=order, default=None))


def quantile(rows: Args, share: Any) -> Expected:
    """Linear interpolation between neighbours at (n - 1) * share."""
    values = sorted(_first_arg(rows), key=order)
    if not values:
        return NULL
    place = (len(values) - 1) * Fraction(str(share))
    low, high, part = values[math.floor(place)], values[math.ceil(place)], place % 1
    if part == 0 and not finite(low):
        return Expected(low)
    if not (finite(low) and finite(high)):
        return Expected(None, how="weird")
    exact = Fraction(low) + (Fraction(high) - Fraction(low)) * part
    return Expected(float(exact), EPSILON * (abs(float(low)) + abs(float(high))), "near")


def median(rows: Args, _: Any) -> Expected:
    return quantile(rows, "0.5")


def approx_quantile(rows: Args, _: Any) -> Expected:
    values = _first_arg(rows)
    if not values:
        return NULL
    if not all(map(finite, values)):
        return Expected(None, how="any")
    return Expected((min(values), max(values)), EPSILON * max(abs(float(v)) for v in values), "between")


def first(rows: Args, _: Any) -> Expected:
    return Expected(rows[0][0] if rows else None)


def last(rows: Args, _: Any) -> Expected:
    return Expected(rows[-1][0] if rows else None)


def _arg_best(rows: Args, better: Callable[[Any, Any], bool]) -> Expected:
    best = None
    for value, by in rows:
        if value is not None and by is not None and (best is None or better(order(by), order(best[1]))):
            best = (value, by)
    return Expected(best[0] if best else None)


def arg_max(rows: Args, _: Any) -> Expected:
    return _arg_best(rows, lambda new, old: new > old)


def arg_min(rows: Args, _: Any) -> Expected:
    return _arg_best(rows, lambda new, old: new < old)


def mode(rows: Args, _: Any) -> Expected:
    """The most frequent value; of several, the one that appears first."""
    counts: dict[Any, list[Any]] = {}
    for value in _first_arg(rows):
        counts.setdefault(order(value), []).append(value)
    if len(counts.get(order(math.nan), [])) > 1:
        return Expected(None, how="any")  # DuckDB's mode takes no NaN for equal to another
    return Expected(max(counts.values(), key=len)[0] if counts else None)  # max keeps the first of equals


def bool_and(rows: Args, _: Any) -> Expected:
    values = _first_arg(rows)
    return Expected(all(values) if values else None)


def bool_or(rows: Args, _: Any) -> Expected:
    values = _first_arg(rows)
    return Expected(any(values) if values else None)


def last_k(rows: Args, k: Any) -> Expected:
    """``(LIST(x) OVER w)[-k:]``: NULL elements stay, an empty window gives NULL."""
    return Expected([row[0] for row in rows][-k:] if rows else None)


def string_agg(rows: Args, separator: Any) -> Expected:
    values = _first_arg(rows)
    return Expected(separator.join(values) if values else None)


AGGREGATES: dict[str, Callable[[Args, Any], Expected]] = {
    "count_star": count_star,
    "count": count,
    "count_distinct": count_distinct,
    "sum": total,
    "avg": mean,
    "min": minimum,
    "max": maximum,
    "stddev_samp": lambda rows, _: _variance(rows, 1, "squares"),
    "stddev_pop": lambda rows, _: _variance(rows, 0, "squares"),
    "var_samp": lambda rows, _: _variance(rows, 1, "near"),
    "var_pop": lambda rows, _: _variance(rows, 0, "near"),
    "median": median,
    "quantile_cont": quantile,
    "approx_quantile": approx_quantile,
    "approx_count_distinct": count_distinct,  # no sketch
    "first": first,
    "last": last,
    "arg_max": arg_max,
    "arg_min": arg_min,
    "mode": mode,
    "bool_and": bool_and,
    "bool_or": bool_or,
    "list": last_k,
    "string_agg": string_agg,
}


def matches(expected: Expected, actual: Any) -> bool:
    """Whether an answer counts as equal to what is expected."""
    value, how = expected.value, expected.how
    if how in ("any", "weird"):
        return how == "any" or actual is None or not finite(actual)
    if actual is None or value is None:
        return actual is None and value is None
    if how == "exact":
        return order(actual) == order(value)
    if not finite(actual):
        return False
    if how == "between":
        return bool(float(value[0]) - expected.slack <= float(actual) <= float(value[1]) + expected.slack)
    if how == "squares":
        return abs(float(actual) ** 2 - value**2) <= expected.slack
    return _distance(actual, value) <= expected.slack


def _distance(actual: Any, value: Any) -> float:
    if isinstance(actual, (Decimal, int)) and isinstance(value, (Decimal, int)):
        return float(abs(Decimal(actual) - Decimal(value)))
    return abs(float(actual) - float(value))
