"""Expected rows against the rows that came: which are missing, which were not expected, which cells differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RELATIVE = 1e-9
"""How far two floats may be apart, as a share of the greater one."""
NEAR_ZERO = 1e-12
"""What counts as zero where zero is expected: nothing is near zero by a share of it."""


class Cell(Struct, frozen=True):
    """One value that is not what was expected."""

    column: str
    expected: Any
    got: Any


class Difference(Struct, frozen=True, kw_only=True):
    """One row that is not as expected. ``row`` says which: its key and time, or all that is known of it."""

    kind: Literal["differs", "missing", "unexpected"]
    row: dict[str, Any]
    line: int | None = None  # of the expected row
    cells: tuple[Cell, ...] = ()


class Expected(Struct, frozen=True):
    """One expected row: the columns that it names, with their values, and its line."""

    values: dict[str, Any]
    line: int | None


def same(expected: Any, got: Any) -> bool:
    """Whether two values are equal; floats within 1e-9 of each other, NaN equal to NaN; lists and structs by parts."""
    if isinstance(expected, float) and isinstance(got, float):
        if math.isnan(expected) or math.isnan(got):
            return math.isnan(expected) and math.isnan(got)
        return math.isclose(expected, got, rel_tol=RELATIVE, abs_tol=NEAR_ZERO if expected == 0 else 0.0)
    if isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        return len(expected) == len(got) and all(map(same, expected, got))
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(same(v, got[k]) for k, v in expected.items())
    return type(expected) is type(got) and bool(expected == got)


def cells(expected: Mapping[str, Any], got: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The named columns in which a row differs."""
    return tuple(Cell(c, value, got[c]) for c, value in expected.items() if not same(value, got[c]))


def in_order(
    expected: Sequence[Expected], got: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]]
) -> list[Difference]:
    """Differences of rows that belong together one to one. ``shown`` says which row each is."""
    found = []
    for want, row, named in zip(expected, got, shown, strict=True):
        wrong = cells(want.values, row)
        if wrong:
            found.append(Difference(kind="differs", row=dict(named), line=want.line, cells=wrong))
    return found


def any_order(
    expected: Sequence[Expected], got: Sequence[Mapping[str, Any]], identity: Sequence[str]
) -> list[Difference]:
    """Differences of two lists of rows, whatever their order. A row of the feature answers one expected row.

    Rows that answer none are held against the expected rows that are left: those of the same ``identity`` (keys and
    time), so that a wrong value is shown as such and not as a row too few and one too many."""
    answered = _matched(expected, got)
    left = [n for n in range(len(got)) if n not in answered.values()]
    found = []
    for number, want in enumerate(expected):
        if number in answered:
            continue
        near = next((n for n in left if _same_identity(want.values, got[n], identity)), None)
        if near is None:
            found.append(Difference(kind="missing", row=want.values, line=want.line))
            continue
        left.remove(near)
        wrong = cells(want.values, got[near])
        found.append(Difference(kind="differs", row={c: got[near][c] for c in identity}, line=want.line, cells=wrong))
    named = {*identity, *(c for want in expected for c in want.values)} if expected else None
    rest = ({c: v for c, v in got[n].items() if named is None or c in named} for n in left)
    return found + [Difference(kind="unexpected", row=row) for row in rest]


def _same_identity(want: Mapping[str, Any], row: Mapping[str, Any], identity: Sequence[str]) -> bool:
    named = [c for c in identity if c in want]
    return bool(named) and all(same(want[c], row[c]) for c in named)


def _matched(expected: Sequence[Expected], got: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """For as many expected rows as can be the row that answers each: a row that leaves out columns may fit several."""
    fits = [[n for n, row in enumerate(got) if not cells(want.values, row)] for want in expected]
    owner: dict[int, int] = {}

    def place(number: int, tried: set[int]) -> bool:
        for n in fits[number]:
            if n not in tried:
                tried.add(n)
                if n not in owner or place(owner[n], tried):
                    owner[n] = number
                    return True
        return False

    for number in range(len(expected)):
        place(number, set())
    return {number: n for n, number in owner.items()}
