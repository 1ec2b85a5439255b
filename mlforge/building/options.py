"""What the verbs on a project take and give."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from mlforge.building.work import FeatureResult
from mlforge.model import Duration
from mlforge.plan.increments import Scope
from mlforge.plan.versions import Adopted


class Selection(Struct, frozen=True, kw_only=True):
    """Which features a command is about; all of them when nothing is named. ``schedule``: of these only those with one
    of these tags, which are realtime, hourly, daily, weekly, monthly and on-demand."""

    features: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    schedule: tuple[str, ...] = ()


class BuildOptions(Struct, frozen=True, kw_only=True):
    """How a build runs. ``sample`` is a share of every source's rows: such a build is tried and never committed.
    ``scope`` says which event times it looks at; with ``batch`` what was never taken in is, in pieces of that length of
    event time that are each committed."""

    force: bool = False
    release: bool = False
    upgrade_sets: bool = False
    sample: float | None = None
    threads: int | None = None
    memory_limit: str | None = None
    lock_timeout: float = 60.0
    commit: str = "auto"
    scope: Scope = Scope()
    batch: Duration | None = None
    adopt: Adopted = Adopted()  # version numbers that a manifest gives


class BuildResult(Struct, frozen=True, kw_only=True):
    """What a build did. ``failed`` says whether any feature did not get its version; ``warnings`` are about rows, as
    (feature or source, message)."""

    plan: Any  # plan.steps.Plan
    build: int | None
    features: tuple[FeatureResult, ...] = ()
    failed: bool = False
    committed: Any = None  # catalog.commit.Committed, None if nothing was committed
    seconds: float = 0.0
    warnings: tuple[tuple[str, str], ...] = ()
