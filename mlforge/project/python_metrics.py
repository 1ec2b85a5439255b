"""Trailing windows stated in Python. Each becomes a call of ``rolling()`` over what the feature's function returns."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlforge.errors import FeatureError
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlforge.model import Closed


@dataclass(frozen=True)
class Timestamp:
    """The time column of a feature; ``format`` reads it from text, as in DuckDB's strptime."""

    column: str
    format: str | None = None


@dataclass(frozen=True)
class Metric:
    """One aggregate of one column over trailing windows. With a name the outputs are ``<name>_<window>``."""

    aggregate: str
    column: str
    windows: tuple[str, ...]
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rolling:
    """Every aggregation of every column over every window. ``closed`` says which end of a window belongs to it."""

    windows: Sequence[str]
    aggregations: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    closed: Closed = "left"

    def metrics(self) -> list[Metric]:
        """The same, one by one."""
        windows = _windows("Rolling", self.windows)
        pairs = [(column, a) for column, given in self.aggregations.items() for a in _each(given)]
        return [Metric(aggregate, column, windows) for column, aggregate in pairs]


def _each(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _windows(what: str, given: str | Iterable[str]) -> tuple[str, ...]:
    windows = tuple(_each(given))
    if not windows:
        raise FeatureError(f"{what}() has no windows", hint='windows=["7d", "30d"]')
    return windows


def _metric(what: str, aggregate: str, column: str, windows: str | Iterable[str], name: str | None) -> Metric:
    if not isinstance(column, str):
        raise FeatureError(f"{what}() takes the name of a column, not {column!r}")
    return Metric(aggregate, column, _windows(what, windows), name)


def Sum(column: str, *, windows: str | Iterable[str], name: str | None = None) -> Metric:  # noqa: N802
    """The sum of a column."""
    return _metric("Sum", "sum", column, windows, name)


def Count(column: str = "*", *, windows: str | Iterable[str], name: str | None = None) -> Metric:  # noqa: N802
    """How many rows there are, or how many values of a column are not NULL."""
    return _metric("Count", "count", column, windows, name)


def Mean(column: str, *, windows: str | Iterable[str], name: str | None = None) -> Metric:  # noqa: N802
    """The mean of a column."""
    return _metric("Mean", "avg", column, windows, name)


def Min(column: str, *, windows: str | Iterable[str], name: str | None = None) -> Metric:  # noqa: N802
    """The least value of a column."""
    return _metric("Min", "min", column, windows, name)


def Max(column: str, *, windows: str | Iterable[str], name: str | None = None) -> Metric:  # noqa: N802
    """The greatest value of a column."""
    return _metric("Max", "max", column, windows, name)


def Std(column: str, *, windows: str | Iterable[str], name: str | None = None) -> Metric:  # noqa: N802
    """The sample standard deviation of a column."""
    return _metric("Std", "stddev", column, windows, name)


def Median(column: str, *, windows: str | Iterable[str], name: str | None = None) -> Metric:  # noqa: N802
    """The median of a column."""
    return _metric("Median", "median", column, windows, name)


def closed_of(metrics: Iterable[Metric | Rolling], stated: Closed | None) -> Closed | None:
    """Which end of the windows belongs to them. Raises FeatureError if two answers are given."""
    answers = {m.closed for m in metrics if isinstance(m, Rolling)} | ({stated} if stated else set())
    if len(answers) > 1:
        raise FeatureError("closed is said in two ways", hint="a feature has one: 'left' or 'right'")
    return next(iter(answers), None)


def over(query: str, metrics: Iterable[Metric | Rolling], keys: Sequence[str], timestamp: str) -> str:
    """The text of a feature that computes metrics over the rows of a query, which is not changed in it."""
    single = [m for given in metrics for m in (given.metrics() if isinstance(given, Rolling) else [given])]
    columns = [column for metric in single for column in _columns(metric)]
    return sql("python/metrics", query=query, keys=keys, timestamp=timestamp, columns=columns)


def _columns(metric: Metric) -> list[str]:
    column, aggregate = json.dumps(metric.column), json.dumps(metric.aggregate)
    if metric.name is None:
        return [f"{{{{ rolling({column}, {aggregate}, {json.dumps(metric.windows)}) }}}}"]
    names = [ident(f"{metric.name}_{w.strip().lower().removeprefix('last_')}") for w in metric.windows]
    calls = [f"{{{{ rolling({column}, {aggregate}, {json.dumps(w)}) }}}}" for w in metric.windows]
    return [f"{call} AS {name}" for call, name in zip(calls, names, strict=True)]
