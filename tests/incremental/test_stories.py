"""Random stories of a project - rows that come late, are corrected, vanish; builds that are killed, rolled back, run in
part - end, after every build, in the tables that a full rebuild of the same sources makes; and no version that is kept
ever changes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.incremental.runner import Player
from tests.incremental.sources import KINDS
from tests.incremental.story import stories

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.incremental.story import Story

STORIES = 2  # of each kind of source
LONG = 100


def tell(kind: str, number: int, draw: int, kill: Callable[[Path, float], None]) -> int:
    """Play so many stories, the same in every run; how many builds were compared. ``draw`` names other stories."""
    builds = 0

    @seed(draw)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(stories(kind))
    def play(story: Story) -> None:
        nonlocal builds
        with tempfile.TemporaryDirectory() as folder:
            builds += Player(Path(folder), story, kill).play()

    play()
    return builds


@pytest.mark.parametrize("kind", KINDS)
def test_stories_end_as_a_full_rebuild(kind: str, kill_a_build: Callable[[Path, float], None]) -> None:
    draw = 1 + sorted(KINDS).index(kind)
    assert tell(kind, STORIES, draw, kill_a_build) >= 2 * STORIES


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_many_stories_end_as_a_full_rebuild(kind: str, kill_a_build: Callable[[Path, float], None]) -> None:
    assert tell(kind, LONG, 100, kill_a_build) >= 2 * LONG
