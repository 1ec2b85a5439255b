"""Types of which DuckDB takes different values for equal ones: 0.0 and -0.0, a month and 30 days.

DuckDB before 2.0 loses the sign of zero when it writes a table: a run of 0.0 and -0.0 becomes a run of the first of
them. With it the two are one value here, or every build would find anew what the catalog cannot hold."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

How = Literal["zero", "text", "interval"]
_WITHIN = re.compile(r"\b(?:FLOAT|DOUBLE|INTERVAL)\b")


def how(kind: str) -> How | None:
    """How ``lib/alike`` tells equal values of a type apart: a float by the sign of zero, an INTERVAL, and what holds
    either, by its text; "interval" by a text without that sign. None: what is equal is the same."""
    if not _WITHIN.search(kind):
        return None
    if _keeps_zeros():
        return "zero" if kind in ("FLOAT", "DOUBLE") else "text"
    return "interval" if "INTERVAL" in kind else None


@cache
def _keeps_zeros() -> bool:
    import duckdb

    return int(duckdb.__version__.split(".")[0]) > 1


def alike(types: Mapping[str, str]) -> dict[str, How]:
    """The columns whose values equality alone does not tell apart."""
    return {name: found for name, kind in types.items() if (found := how(kind))}
