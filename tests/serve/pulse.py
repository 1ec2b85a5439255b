"""A project whose values tell which data and which version made them, and what is right at any instant.

Stage after stage is published: new rows of a third of the users, or new versions of both features with other names of
columns. The value of user k from data d is ``d * SPAN + k``, and the other feature's is the same below zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPAN = 10_000_000
HOUR = timedelta(hours=1)
YAML = """\
name: pulse
sources:
  ev: {path: data/ev.parquet}
entities:
  user: {key: k}
feature_sets:
  both: [left, right]
"""
LEFT = """{{{{ config(entity="user", timestamp="t") }}}}
SELECT k, t, x AS a{major}, COUNT(*) OVER last_1h AS n{major} FROM {{{{ source("ev") }}}}"""
RIGHT = """{{{{ config(entity="user", timestamp="t") }}}} SELECT k, t, -x AS b{major} FROM {{{{ source("ev") }}}}"""


class Stage(NamedTuple):
    """What is published: data up to ``data``, features of this MAJOR."""

    data: int
    major: int


def has_row(k: int, data: int) -> bool:
    """Whether data brought a row of this user."""
    return data == 0 or k % 3 == data % 3


class Pulse:
    """The project. ``base`` is when it began; all of its events are earlier."""

    def __init__(self, root: Path, users: int, more: str = "") -> None:
        self.users = users
        self.base = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        self.first = self.base - timedelta(minutes=10)
        self.project = Small(root, YAML + more)
        self.write(Stage(0, 1))

    def write(self, stage: Stage) -> None:
        """Write the sources and the features of a stage. What is a new MAJOR has to be built with upgrade_sets."""
        rows = f"""SELECT k, TIMESTAMP '{self.first}' + to_seconds(d) AS t, d * {SPAN} + k AS x
            FROM range({self.users}) a(k), range({stage.data + 1}) b(d) WHERE d = 0 OR k % 3 = d % 3"""
        self.project.write("data/ev.parquet", rows)
        self.project.feature("left", LEFT.format(major=stage.major))
        self.project.feature("right", RIGHT.format(major=stage.major))

    def row(self, stage: Stage, k: int, at: datetime) -> dict[str, Any]:
        """The right answer for one user."""
        had = [d for d in range(stage.data + 1) if has_row(k, d)] if k < self.users else []
        newest = had[-1] * SPAN + k if had else None
        counted = sum(self.first + timedelta(seconds=d) > at - HOUR for d in had)
        names = (f"a{stage.major}", f"n{stage.major}", f"b{stage.major}")
        return {"k": k, **dict(zip(names, (newest, counted, None if newest is None else -newest), strict=True))}

    def rows(self, stage: Stage, keys: Sequence[int], at: datetime) -> list[dict[str, Any]]:
        """The right answer."""
        return [self.row(stage, k, at) for k in keys]
