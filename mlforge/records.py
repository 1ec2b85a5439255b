"""What a build records beside the versions it makes: checks, statistics, lineage, the SQL that ran."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from mlforge.model import Severity, Side


class CheckResult(Struct, frozen=True, kw_only=True):
    """What one check found. ``sample`` holds keys (and the time) of up to ten failing rows."""

    feature: str
    check: str  # Check.label
    column: str | None
    side: Side
    severity: Severity
    rows: int
    failed: int
    passed: bool
    sample: tuple[dict[str, Any], ...] = ()


class Part(Struct, frozen=True, kw_only=True):
    """A part of a source that a version has taken in: a file, a slice of a table, or all of it (``""``)."""

    source: str
    part: str
    digest: str
    rows: int | None = None  # event rows that came from it; None: its rows are not followed one by one
    first: int | None = None  # time of its first event row, microseconds since the epoch
    last: int | None = None


class ColumnStats(Struct, frozen=True, kw_only=True):
    """Statistics of one output column of one build. Quantiles leave out NULL and NaN, which are counted."""

    feature: str
    column: str
    type: str
    rows: int
    nulls: int
    nans: int
    distinct: int  # approximate
    min: str | None
    max: str | None
    mean: float | None
    std: float | None
    quantiles: dict[str, float] = {}  # "0.01" ... "0.99"
    edges: tuple[float, ...] = ()  # of the histogram: n + 1 edges, n counts
    counts: tuple[int, ...] = ()
    top: tuple[tuple[str, int], ...] = ()  # most frequent values
    scope: Literal["all", "added"] = "all"  # added: of the rows that the PATCH added
    sampled: int | None = None  # rows that quantiles, histogram and top values were taken from, if not all


class Edge(Struct, frozen=True, kw_only=True):
    """One thing that a column of a feature comes from. ``column`` None: the feature as a whole, as by a filter."""

    column: str | None
    kind: Literal["source", "feature"]
    origin: str  # name of the source or feature
    origin_column: str | None = None  # None: all of it


class Statement(Struct, frozen=True, kw_only=True):
    """One SQL statement that a build ran."""

    feature: str | None
    step: str  # what it was run for
    sql: str
    seconds: float | None = None
    rows: int | None = None  # rows it wrote, where that is known


class BuildRecord(Struct, frozen=True, kw_only=True):
    """What is kept of one build. Times are UTC, ISO 8601."""

    build: int
    status: Literal["done", "partial", "failed"]
    started_at: str
    finished_at: str
    mlforge_version: str
    duckdb_version: str
    project: str | None = None
    profile: str | None = None
    built: tuple[str, ...] = ()  # name@x.y.z
    failed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    arguments: dict[str, Any] = {}
