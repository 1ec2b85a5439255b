"""Choosing how sums of floats are kept exact: as integers x * 2^scale where all bits fit, else through sorted lists."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.model import Magnitude
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlforge.model import Compiled

_SUM_BITS = 126  # of a signed 128-bit integer, one kept free
_MANTISSA = 53
_LARGEST = 1000  # 2^scale must itself be a finite double


def with_scales(con: DuckDBPyConnection, compiled: Compiled, relation: str) -> Compiled:
    """The compiled feature with a scale for every float sum whose input allows it, found in one pass over the events.

    A scale is chosen so that no bit of any value is lost and no sum overflows; then every path gives the same bits.
    The magnitudes that ``compiled`` has already are those of rows that were taken in before."""
    names = sorted({a.args[0] for a in compiled.aggregates if a.method == "fixed"})
    if not names:
        return compiled
    rows, *found = con.execute(sql("feature/magnitudes", names=names, relation=relation)).fetchall()[0]
    magnitudes = {
        name: _both(compiled.magnitudes.get(name), _magnitude(rows, *found[3 * n : 3 * n + 3]))
        for n, name in enumerate(names)
    }
    fixed = tuple(
        replace(a, scale=_scale(magnitudes[a.args[0]])) if a.method == "fixed" else a for a in compiled.aggregates
    )
    return replace(compiled, aggregates=fixed, magnitudes=magnitudes)


def _magnitude(rows: int, largest: float | None, smallest: float | None, finite: bool | None) -> Magnitude:
    if finite is False:
        return Magnitude(rows, None, None, finite=False)
    return Magnitude(rows, _exponent(largest), _exponent(smallest))


def _exponent(x: float | None) -> int | None:
    return math.frexp(x)[1] if x else None


def _both(old: Magnitude | None, new: Magnitude) -> Magnitude:
    """Of all rows together."""
    if old is None:
        return new
    largest = [x for x in (old.largest, new.largest) if x is not None]
    smallest = [x for x in (old.smallest, new.smallest) if x is not None]
    return Magnitude(
        old.rows + new.rows, max(largest, default=None), min(smallest, default=None), old.finite and new.finite
    )


def _scale(m: Magnitude) -> int | None:
    if not m.finite:
        return None
    if m.largest is None or m.smallest is None:
        return 0
    room = _SUM_BITS - (m.rows + 1).bit_length() - m.largest
    needed = _MANTISSA - m.smallest
    # Anything from needed to room is exact; the middle leaves space for later rows on both sides.
    scale = min((room + needed) // 2, _LARGEST)
    return scale if needed <= scale <= room else None
