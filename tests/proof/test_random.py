"""No random query that leaks passes as proven, and few of those that do not leak fail to pass."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proof.figures import Judge, judged
from tests.proof.queries import KINDS, Queries


def test_no_random_query_that_is_proven_leaks() -> None:
    figures = judged(400, 5)
    print(figures.table())
    assert not figures.passed, figures.passed[0]
    assert figures.passing >= 0.97, figures.alarms
    assert figures.undecided <= 0.25, figures.reasons.keys()
    for kind in (*KINDS.values(), "delay of the feature", "time at which a column is known"):
        counts = figures.counts[kind]
        assert counts["proven at plan"] + counts["proven by rows"] > 0, kind
        assert counts["caught"] > 0, kind


@pytest.fixture(scope="module")
def judges() -> dict[int, Judge]:
    """Who judges over which rows, once they were made."""
    return {}


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(draw=st.randoms(use_true_random=False), rows=st.integers(0, 3))
def test_no_drawn_query_that_is_proven_leaks(draw: random.Random, rows: int, judges: dict[int, Judge]) -> None:
    if rows not in judges:
        judges[rows] = Judge()
        judges[rows].look_at(random.Random(rows))
    writer = Queries(draw)
    text = writer.query()
    query = judges[rows].judge(text, writer.used, writer.delay)
    assert not query.passed, query


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 110))
def test_no_random_query_of_many_that_is_proven_leaks(seed: int) -> None:
    figures = judged(500, seed)
    assert not figures.passed, figures.passed[0]
    assert figures.passing >= 0.95, figures.alarms
