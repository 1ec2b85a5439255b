"""Sets of event times, as sorted spans: from the first bound up to, and without, the second; None is no bound."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlforge.model import Span

Spans = tuple["Span", ...]

EVERYTHING: Spans = ((None, None),)
_LOW, _HIGH = -(1 << 80), 1 << 80


def _numbers(spans: Iterable[Span]) -> list[tuple[int, int]]:
    found = ((_LOW if lo is None else lo, _HIGH if hi is None else hi) for lo, hi in spans)
    return sorted((lo, hi) for lo, hi in found if lo < hi)


def _spans(numbers: Iterable[tuple[int, int]]) -> Spans:
    return tuple((None if lo <= _LOW else lo, None if hi >= _HIGH else hi) for lo, hi in numbers)


def union(*many: Iterable[Span]) -> Spans:
    """All times of any of them, spans that touch joined."""
    result: list[tuple[int, int]] = []
    for lo, hi in _numbers(span for spans in many for span in spans):
        if result and lo <= result[-1][1]:
            result[-1] = (result[-1][0], max(hi, result[-1][1]))
        else:
            result.append((lo, hi))
    return _spans(result)


def intersect(one: Iterable[Span], other: Iterable[Span]) -> Spans:
    """The times that both hold."""
    pairs = [(max(a, c), min(b, d)) for a, b in _numbers(one) for c, d in _numbers(other)]
    return union(_spans(pair for pair in pairs if pair[0] < pair[1]))


def subtract(one: Iterable[Span], other: Iterable[Span]) -> Spans:
    """The times of ``one`` that ``other`` does not hold."""
    rest = _numbers(one)
    for c, d in _numbers(other):
        rest = [piece for a, b in rest for piece in ((a, min(b, c)), (max(a, d), b)) if piece[0] < piece[1]]
    return union(_spans(rest))


def at_most(spans: Iterable[Span], most: int) -> Spans:
    """The same times and some more, in at most so many spans: the smallest gaps are closed."""
    found = _numbers(union(spans))
    while len(found) > most:
        gaps = [b[0] - a[1] for a, b in pairwise(found)]
        n = gaps.index(min(gaps))
        found[n : n + 2] = [(found[n][0], found[n + 1][1])]
    return _spans(found)


def moved(spans: Iterable[Span], before: int | None, after: int | None) -> Spans:
    """Every span from ``before`` microseconds earlier to ``after`` later; None takes that bound away."""
    return union(
        (None if lo is None or before is None else lo - before, None if hi is None or after is None else hi + after)
        for lo, hi in spans
    )
