"""Trailing windows: telling them from ordinary ones, reading their lengths, and taking their calls apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlforge.model import Duration
from mlforge.render.functions import primary_name

if TYPE_CHECKING:
    from sqlglot import exp

_NAME = re.compile(r"last_(?P<length>[1-9][0-9]*(?:s|m|h|d|w|mo|y))|ever", re.IGNORECASE)
_ROUGH = re.compile(r"[a-z]{2,7}?_?(?P<n>[0-9]+)_?(?P<unit>[a-z]*)", re.IGNORECASE)
_UNITS = {
    "s": "s sec secs second seconds",
    "m": "m min mins minute minutes",
    "h": "h hr hrs hour hours",
    "d": "d day days",
    "w": "w wk week weeks",
    "mo": "mo mon month months",
    "y": "y yr yrs year years",
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_LONGEST_MONTHS = 12_000  # a thousand years: longer lengths overflow timestamps, and ``ever`` says the same


@dataclass(frozen=True)
class Call:
    """The aggregate call under a trailing window. ``args`` is empty for COUNT(*)."""

    function: str  # DuckDB's primary name, lower case
    args: tuple[exp.Expression, ...]
    distinct: bool = False
    filter: exp.Expression | None = None


def window_name(node: exp.Window) -> str | None:
    """The name after OVER, with or without parentheses, or None."""
    return str(node.args["alias"].name) if node.args.get("alias") else None


def is_trailing_name(name: str) -> bool:
    """Whether a window name is ``last_<n><unit>`` or ``ever``."""
    return _NAME.fullmatch(name) is not None


def is_trailing(node: exp.Expression) -> bool:
    """Whether a node is an aggregate over a trailing window."""
    from sqlglot import exp

    return isinstance(node, exp.Window) and is_trailing_name(window_name(node) or "")


def length(node: exp.Window) -> Duration | None:
    """How far a trailing window reaches back; None for ``ever``."""
    match = _NAME.fullmatch(window_name(node) or "")
    if match is None:
        raise ValueError("not a trailing window")
    return Duration.parse(match["length"]) if match["length"] else None


def suffix(node: exp.Window) -> str:
    """The part of a default column name that a trailing window gives: ``7d`` or ``ever``."""
    duration = length(node)
    return "ever" if duration is None else str(duration)


def is_too_long(duration: Duration | None) -> bool:
    """Whether a length is beyond what timestamps can carry."""
    if duration is None:
        return False
    months = duration.months or (duration.micros or 0) / Duration(1, "d").micros / 30  # type: ignore[operator]
    return months > _LONGEST_MONTHS


def nearest_form(name: str) -> str | None:
    """The trailing window a malformed name was perhaps meant to be: ``last_7d`` for ``last_7days``."""
    match = _ROUGH.fullmatch(name)
    if not match:
        return "ever" if name.lower() in ("evr", "eve", "forever", "always", "all", "all_time", "last_ever") else None
    unit = _UNIT_OF.get(match["unit"].lower(), "d" if not match["unit"] else "")
    return f"last_{int(match['n']) or 1}{unit}" if unit else None


def aggregate_call(window: exp.Window) -> Call:
    """Take the call under a window apart, so that callers need not know how sqlglot stores each function."""
    from sqlglot import exp

    inner, where = window.this, None
    while isinstance(inner, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
        where = inner.expression.this if isinstance(inner, exp.Filter) else where
        inner = inner.this
    args, distinct = _arguments(inner)
    return Call(primary_name(inner), tuple(args), distinct, where)


def _arguments(function: exp.Expression) -> tuple[list[exp.Expression], bool]:
    """Positional arguments in DuckDB's order, and whether DISTINCT stands before them."""
    from sqlglot import exp

    args: list[exp.Expression] = []
    distinct = False
    for value in (function.args.get(key) for key in function.arg_types):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, exp.Distinct):
                distinct = True
                args += item.expressions
            elif isinstance(item, exp.Expression):
                args.append(item)
    return [a for a in args if not (isinstance(a, exp.Star) and isinstance(function, exp.Count))], distinct
