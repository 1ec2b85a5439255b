"""Generated worlds: what mlforge builds right, verify never fails; and with a turned comparison it fails some of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from mlforge.verify.result import VerifyOptions
from tests.oracle.project import label_table, write_project
from tests.oracle.runner import build
from tests.oracle.strategies import worlds
from tests.verify.planting import planted

if TYPE_CHECKING:
    from mlforge.forge import Forge
    from mlforge.verify.result import FeatureVerdict
    from tests.oracle.world import World

# Why a generated feature may be no proof: it joins a register, reads stored rows, needs a request, or has no rows at all.
KNOWN = ("has no time that it could be cut by", "as they are stored", "give label rows", "there is no label row")


def verdicts(world: World, forge: Forge) -> list[FeatureVerdict]:
    """Of every feature, with the world's own label rows and without any."""
    labels = world.labels[0]
    given_labels = forge.verify(world.names(), label_table(world, labels), VerifyOptions(timestamp=labels.time))
    return [*given_labels.features, *forge.verify(options=VerifyOptions(sample=40)).features]


def look(examples: int, draw: int = 0) -> int:
    """Verify so many worlds, the same in every run; the number of values that were compared."""
    compared = 0

    @seed(draw)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(worlds())
    def one(world: World) -> None:
        nonlocal compared
        with tempfile.TemporaryDirectory() as folder:
            write_project(world, Path(folder))
            for found in verdicts(world, build(Path(folder))):
                assert found.status != "failed", (world, found)
                assert all(reason.endswith(KNOWN) or reason.startswith(KNOWN) for reason in found.unproven), found
                compared += found.values

    one()
    return compared


def test_honest_worlds_do_not_fail() -> None:
    assert look(8) > 1000


@pytest.mark.long
@pytest.mark.parametrize("draw", range(1, 6))
def test_many_honest_worlds_do_not_fail(draw: int) -> None:
    assert look(200, draw) > 20_000


def test_a_turned_window_is_caught_in_generated_worlds() -> None:
    caught = 0

    @seed(0)
    @settings(
        max_examples=6, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(worlds())
    def one(world: World) -> None:
        nonlocal caught
        with tempfile.TemporaryDirectory() as folder:
            write_project(world, Path(folder))
            forge = build(Path(folder))
            with planted("lib/cores", '"1 PRECEDING" if f.c.closed == "left"', '"CURRENT ROW" if f.c.closed == "left"'):
                caught += any(v.status == "failed" for v in verdicts(world, forge))

    one()
    assert caught >= 3
