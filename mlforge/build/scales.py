"""Choosing how sums of floats are kept exact: as integers x * 2^scale where all bits fit, else through sorted lists."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlforge.model import Compiled

_SUM_BITS = 126  # of a signed 128-bit integer, one kept free
_MANTISSA = 53
_LARGEST = 1000  # 2^scale must itself be a finite double


def with_scales(con: DuckDBPyConnection, compiled: Compiled, relation: str) -> Compiled:
    """The compiled feature with a scale for every float sum whose input allows it, found in one pass over the events.

    A scale is chosen so that no bit of any value is lost and no sum overflows; then every path gives the same bits."""
    names = sorted({a.args[0] for a in compiled.aggregates if a.method == "fixed"})
    if not names:
        return compiled
    rows, *found = con.execute(sql("feature/magnitudes", names=names, relation=relation)).fetchall()[0]
    scales = {name: _scale(rows, *found[3 * n : 3 * n + 3]) for n, name in enumerate(names)}
    fixed = tuple(replace(a, scale=scales[a.args[0]]) if a.method == "fixed" else a for a in compiled.aggregates)
    return replace(compiled, aggregates=fixed)


def _scale(rows: int, largest: float | None, smallest: float | None, finite: bool | None) -> int | None:
    if finite is False:
        return None
    if not largest or not smallest:
        return 0
    room = _SUM_BITS - (rows + 1).bit_length() - math.frexp(largest)[1]
    needed = _MANTISSA - math.frexp(smallest)[1]
    # Anything from needed to room is exact; the middle leaves space for later rows on both sides.
    scale = min((room + needed) // 2, _LARGEST)
    return scale if needed <= scale <= room else None
