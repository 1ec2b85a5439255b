"""A build in progress: what it made so far, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from mlforge.records import CheckResult, ColumnStats, Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlforge.building.affected_rows import Changes
    from mlforge.building.candidates import Analysis
    from mlforge.building.materialise import Runner
    from mlforge.model import CatalogState, StoredVersion
    from mlforge.plan.increments import Mode
    from mlforge.plan.steps import FeatureStep
    from mlforge.warehouses.duckdb import DuckDB
    from mlforge.warehouses.reading import Reading

Status = Literal["built", "unchanged", "failed", "skipped"]
EventKind = Literal[
    "feature_started", "feature_done", "feature_failed", "feature_skipped", "commit_started", "committed"
]


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened in a build, for progress and logs."""

    event: EventKind
    feature: str | None = None
    version: str | None = None
    action: str | None = None  # create, major, minor or patch
    mode: str | None = None  # of feature_done: whole, incremental or by_key
    rows: int | None = None
    seconds: float | None = None
    message: str | None = None


class FeatureResult(Struct, frozen=True, kw_only=True):
    """How one step of a build ended."""

    feature: str
    action: str
    version: str
    status: Status
    rows: int | None = None
    event_rows: int | None = None  # rows of the event relation that were new or read again
    nowhere: int = 0  # event rows with a NULL key or time
    ties: int = 0  # rows that share keys and time with another, where their order decides a value
    seconds: float = 0.0
    error: str | None = None
    checks: tuple[CheckResult, ...] = ()
    mode: str | None = None  # whole, incremental or by_key
    why: str | None = None  # of whole: why not less
    added: int | None = None  # rows added to the feature's table
    closed: int | None = None  # rows of it that belong to earlier PATCHes only from now on


@dataclass
class Staged:
    """What a build made of one feature, before the commit.

    ``parts`` are those of sources that it has taken in, ``gone`` those whose entries in the ledger end; where it was
    made whole, all do."""

    step: FeatureStep
    stored: StoredVersion
    stats: tuple[ColumnStats, ...]
    mode: Mode = "whole"
    why: str | None = None
    event_rows: int = 0
    added: int = 0
    closed: int = 0
    seconds: float = 0.0
    parts: tuple[Part, ...] = ()
    gone: tuple[tuple[str, str], ...] = ()


@dataclass
class Work:
    """A build in progress."""

    analysis: Analysis
    before: CatalogState  # as the build found it
    state: CatalogState  # with every staged version already in it
    warehouse: DuckDB
    runner: Runner
    build: int
    notify: Callable[[Event], None]
    attached: bool = False
    staged: dict[str, Staged] = field(default_factory=dict)
    results: dict[str, FeatureResult] = field(default_factory=dict)
    bound: dict[str, Reading] = field(default_factory=dict)
    warnings: list[tuple[str, str]] = field(default_factory=list)  # of a feature, or a source
    changes: dict[str, Changes] = field(default_factory=dict)  # of every feature that was made

    @property
    def failed(self) -> bool:
        """Whether any feature did not get its version."""
        return any(r.status in ("failed", "skipped") for r in self.results.values())
