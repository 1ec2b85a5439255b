"""Training sets of generated worlds against the brute-force oracle, from Python and from the macros.

A case is one feature and one set of label rows. Both ways in must answer what the oracle expects, and the same bits.
To look at a failure, print ``minimise(world)`` of tests/oracle/runner.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.oracle.runner import check
from tests.oracle.strategies import worlds

if TYPE_CHECKING:
    from tests.oracle.world import World

CASES = 2_000
LONG = 50_000
SHARDS = 10  # of the long run, side by side
A_WORLD = 16  # cases of the smallest world: eight features, two label sets


def compare_worlds(cases: int, draw: int = 0) -> int:
    """Compare at least so many cases, the same in every run; the number that were. ``draw`` names other worlds."""
    compared = 0

    @seed(draw)
    @settings(
        max_examples=cases // A_WORLD,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(worlds())
    def compare(world: World) -> None:
        nonlocal compared
        if compared < cases:
            compared += check(world)

    compare()
    return compared


def test_worlds_agree_with_the_oracle(record_property: pytest.RecordProperty) -> None:
    compared = compare_worlds(CASES)
    record_property("cases", compared)
    print(f"{compared} cases compared")
    assert compared >= CASES


@pytest.mark.long
@pytest.mark.parametrize("draw", range(1, SHARDS + 1))
def test_many_worlds_agree_with_the_oracle(draw: int, record_property: pytest.RecordProperty) -> None:
    compared = compare_worlds(LONG // SHARDS, draw)
    record_property("cases", compared)
    print(f"{compared} cases compared")
    assert compared >= LONG // SHARDS
