"""Statistics of a feature's columns: one pass over its rows, and a bounded sample for what needs more than one."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from mlforge.errors import WarehouseError, engine_words
from mlforge.records import ColumnStats
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duckdb import DuckDBPyConnection

SAMPLE_ROWS = 50_000
BINS = 20
TOP_VALUES = 10
LOW_CARDINALITY = 1000
MANY_VALUES = 10_000  # distinct ones in the sample: from here on distinct values are estimated from an eighth of them
PROBABILITIES = ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99")
_TARGET = 0.98  # of SAMPLE_ROWS: more than four standard deviations below it
_TEXT_WIDTH = 200  # characters of a minimum, maximum or frequent value that are kept
_BOUND = "1e150"  # values beyond it are left out of mean and std, as infinity is: their squares are infinite
_SUMMARY_CELLS = 8
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_INTEGERS = frozenset(
    {
        *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
    }
)


class _Column(NamedTuple):
    """A column as the templates see it: ``x`` in the relation, ``v`` in the sample."""

    position: int
    name: str
    type: str
    x: str
    v: str
    family: str  # float, integer, decimal, text, boolean, other (an order), nested (none)
    shift: float = 0.0
    thin: bool = False
    inner: tuple[float, ...] = ()

    @property
    def is_float(self) -> bool:
        return self.family == "float"

    @property
    def number(self) -> bool:
        return self.family in ("float", "integer", "decimal")

    @property
    def ordered(self) -> bool:
        return self.family != "nested"


def collect_stats(
    con: DuckDBPyConnection,
    feature: str,
    relation: str,
    *,
    columns: Mapping[str, str],
    rows: int | None = None,
    previous_edges: Mapping[str, tuple[float, ...]] | None = None,
    sample_by: Sequence[str] = (),
) -> list[ColumnStats]:
    """Statistics of every column, in the order of ``columns`` (name to DuckDB type).

    ``relation`` is what may stand in FROM; ``rows`` is how many rows it has, if known. Counts, minimum, maximum, mean
    and standard deviation are of all rows; quantiles, histogram and frequent values of at most 50,000, chosen by a
    hash of ``sample_by`` (keys and time; all columns where empty). Histograms use the edges given for a column, with
    both outer bins open. The connection's temporary table ``_mlforge_sample`` is used and dropped.
    Raises WarehouseError if the engine fails."""
    import duckdb

    described = [_describe(i, name, type_) for i, (name, type_) in enumerate(columns.items())]
    if not described:
        return []
    try:
        return _collect(
            con, feature, relation, described, rows=rows, edges=previous_edges or {}, by=sample_by or list(columns)
        )
    except duckdb.Error as error:
        line = engine_words(error)
        raise WarehouseError(f"feature {feature!r}: no statistics could be taken: {line}") from error


def _describe(position: int, name: str, duckdb_type: str) -> _Column:
    return _Column(position, name, duckdb_type, ident(name), f"_mlforge_v{position}", _family(duckdb_type.upper()))


def _family(type_: str) -> str:
    if type_.endswith("]"):
        return "nested"
    if type_ in _FLOATS:
        return "float"
    if type_ in _INTEGERS:
        return "integer"
    for start, family in (("DECIMAL", "decimal"), ("ENUM(", "text"), ("VARCHAR", "text"), ("BOOLEAN", "boolean")):
        if type_.startswith(start):
            return family
    return "other" if type_ == "UUID" or type_.startswith(("DATE", "TIME")) else "nested"


def _collect(
    con: DuckDBPyConnection,
    feature: str,
    relation: str,
    columns: Sequence[_Column],
    *,
    rows: int | None,
    edges: Mapping[str, tuple[float, ...]],
    by: Sequence[str],
) -> list[ColumnStats]:
    if rows is None:
        rows = con.execute(sql("quality/count_rows", relation=relation)).fetchall()[0][0]
    whole = rows <= SAMPLE_ROWS
    _take_sample(con, relation, columns, None if whole else rows, by)
    found = _quantiles(con, columns)
    shifted = [c._replace(shift=found[c.name][0] or 0.0) if c.name in found else c for c in columns]
    if whole:
        source = [c._replace(x=c.v) for c in shifted]
        stats = _summary(con, feature, "_mlforge_sample", source, exact=True)
    else:
        stats = _summary(con, feature, relation, _thinned(con, shifted), exact=False)
    stats = _with_shapes(con, stats, shifted, found, edges)
    con.execute("DROP TABLE temp._mlforge_sample")
    return stats


def _take_sample(
    con: DuckDBPyConnection, relation: str, columns: Sequence[_Column], rows: int | None, by: Sequence[str]
) -> None:
    """Keep a sample of a relation of ``rows`` rows, or all of it where ``rows`` is None."""
    threshold = None if rows is None else int(2**64 * _TARGET * SAMPLE_ROWS) // rows
    con.execute(
        sql("quality/sample", columns=columns, relation=relation, threshold=threshold, by=by, limit=SAMPLE_ROWS)
    ).fetchall()


def _quantiles(con: DuckDBPyConnection, columns: Sequence[_Column]) -> dict[str, list[float | None]]:
    """For every numeric column: mean, minimum, maximum, then the quantiles of the sample."""
    numbers = [c for c in columns if c.number]
    if not numbers:
        return {}
    probabilities = [float(p) for p in PROBABILITIES]
    text = sql("quality/sample_quantiles", columns=numbers, probabilities=probabilities, bound=_BOUND)
    row = con.execute(text).fetchall()[0]
    none: list[float | None] = [None] * (3 + len(PROBABILITIES))  # no finite value
    return {c.name: cells or none for c, cells in zip(numbers, row, strict=True)}


def _thinned(con: DuckDBPyConnection, columns: Sequence[_Column]) -> list[_Column]:
    """Mark the columns of so many values that counting an eighth of them is as good."""
    counts = con.execute(sql("quality/sample_distinct", columns=columns)).fetchall()[0]
    return [c._replace(thin=n > MANY_VALUES) for c, n in zip(columns, counts, strict=True)]


def _summary(
    con: DuckDBPyConnection, feature: str, relation: str, columns: Sequence[_Column], *, exact: bool
) -> list[ColumnStats]:
    rows, cells = _summary_cells(con, relation, columns, exact=exact, careful=False)
    wild = [c for c in columns if c.is_float and not math.isfinite(cells[c.name][-1] or 0.0)]
    if wild:
        cells |= _summary_cells(con, relation, wild, exact=exact, careful=True)[1]
    return [_column_stats(feature, c, rows, cells[c.name]) for c in columns]


def _summary_cells(
    con: DuckDBPyConnection, relation: str, columns: Sequence[_Column], *, exact: bool, careful: bool
) -> tuple[int, dict[str, list[Any]]]:
    context = {"columns": columns, "relation": relation, "exact": exact, "careful": careful}
    rows, *cells = con.execute(sql("quality/summary", **context, bound=_BOUND, width=_TEXT_WIDTH)).fetchall()[0]
    starts = range(0, len(cells), _SUMMARY_CELLS)
    groups = (cells[start : start + _SUMMARY_CELLS] for start in starts)
    return rows, {c.name: group for c, group in zip(columns, groups, strict=True)}


def _column_stats(feature: str, column: _Column, rows: int, cells: list[Any]) -> ColumnStats:
    present, distinct, low, high, nans, n, total, squares = cells
    mean, std = _moments(n, total, squares, column.shift)
    return ColumnStats(
        feature=feature,
        column=column.name,
        type=column.type,
        rows=rows,
        nulls=rows - present,
        nans=nans,
        distinct=min(distinct, present),
        min=low,
        max=high,
        mean=mean,
        std=std,
    )


def _moments(n: int, total: float | None, squares: float | None, shift: float) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation from sums of (value - shift)."""
    if not n or total is None or squares is None:
        return None, None
    mean = _rounded(shift + total / n)
    if n == 1:
        return mean, None
    return mean, _rounded(math.sqrt(max(squares - total * total / n, 0.0) / (n - 1)))


def _rounded(value: float) -> float:
    """Twelve significant digits: sums of floats differ in the last ones with the number of threads."""
    return float(f"{value:.12g}")


def _with_shapes(
    con: DuckDBPyConnection,
    stats: list[ColumnStats],
    columns: Sequence[_Column],
    found: Mapping[str, list[float | None]],
    previous_edges: Mapping[str, tuple[float, ...]],
) -> list[ColumnStats]:
    """The statistics with quantiles, histogram and frequent values of the sample."""
    size = con.execute(sql("quality/count_rows", relation="_mlforge_sample")).fetchall()[0][0]
    edges = {c.name: _edges(c, found[c.name], previous_edges.get(c.name, ())) for c in columns if c.number}
    counts = _histogram(con, columns, edges)
    top = _top(con, [c for c, s in zip(columns, stats, strict=True) if _wants_top(c, s)])
    return [
        replace(
            s,
            quantiles=_named(found.get(s.column, [])),
            edges=edges[s.column] if s.column in counts else (),
            counts=counts.get(s.column, ()),
            top=top.get(s.column, ()),
            sampled=None if size == s.rows else size,
        )
        for s in stats
    ]


def _named(cells: list[float | None]) -> dict[str, float]:
    pairs = zip(PROBABILITIES, cells[3:], strict=False)
    return {p: _rounded(value) for p, value in pairs if value is not None}


def _edges(column: _Column, cells: list[float | None], previous: tuple[float, ...]) -> tuple[float, ...]:
    """The edges of the last build if it had any, so that builds can be compared; else new ones from the sample."""
    if len(previous) > 1:
        return previous
    _, least, greatest, low, *_, high = cells
    if least is None or greatest is None or low is None or high is None:
        return ()
    if column.family == "integer" and greatest - least < BINS and greatest > least and abs(greatest) < 2**50:
        return tuple(least - 0.5 + i for i in range(int(greatest - least) + 2))
    # From the 1 % to the 99 % quantile: one wild value must not leave a single bin for all others.
    for start, end in ((low, high), (least, greatest), _around(least)):
        edges = tuple(_rounded(start + (end - start) * (i / BINS)) for i in range(BINS + 1))
        if all(math.isfinite(e) for e in edges) and all(a < b for a, b in itertools.pairwise(edges)):
            return edges
    return ()


def _around(value: float) -> tuple[float, float]:
    """A range about the one value of a constant column, so that a later change of it shows."""
    half = max(abs(value), 1.0)
    return value - half, value + half


def _histogram(
    con: DuckDBPyConnection, columns: Sequence[_Column], edges: Mapping[str, tuple[float, ...]]
) -> dict[str, tuple[int, ...]]:
    binned = [c._replace(inner=edges[c.name][1:-1]) for c in columns if edges.get(c.name)]
    if not binned:
        return {}
    row = con.execute(sql("quality/sample_histogram", columns=binned)).fetchall()[0]
    return {c.name: _bins(c.inner, found or {}) for c, found in zip(binned, row, strict=True)}


def _bins(inner: Sequence[float], found: Mapping[float, int]) -> tuple[int, ...]:
    return tuple(found.get(below, 0) for below in (math.inf, *(-edge for edge in inner)))


def _wants_top(column: _Column, stats: ColumnStats) -> bool:
    if column.family in ("text", "boolean"):
        return True
    return column.family in ("integer", "decimal", "other") and stats.distinct <= LOW_CARDINALITY


def _top(con: DuckDBPyConnection, columns: Sequence[_Column]) -> dict[str, tuple[tuple[str, int], ...]]:
    if not columns:
        return {}
    top: dict[int, list[tuple[str, int]]] = {}
    for position, value, count in con.execute(sql("quality/sample_top", columns=columns, limit=TOP_VALUES)).fetchall():
        top.setdefault(position, []).append((value[:_TEXT_WIDTH], count))
    return {c.name: tuple(top.get(c.position, ())) for c in columns}
