"""A plan as a value: what a build will do, in order, and why. Printing and building read the same steps."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from msgspec import Struct

from mlforge.model import Candidate, FeatureRef, SourceState, Version
from mlforge.plan.diff import ColumnChange
from mlforge.plan.estimates import Estimate
from mlforge.plan.increments import Increment

Action = Literal["create", "major", "minor", "patch", "metadata", "release", "none"]

#: Actions that make a version.
BUILDING = frozenset({"create", "major", "minor", "patch"})


class FeatureStep(Struct, frozen=True, kw_only=True):
    """What happens to one feature.

    ``version_from`` is the newest stored version (None for a new feature), ``version_to`` the newest one after the
    step. ``current_to`` is what readers get after it: a held feature keeps its current version. ``candidate`` names the
    planned versions of upstream features, in ``definition.refs`` and ``compiled.refs``."""

    feature: str
    action: Action
    version_from: Version | None
    version_to: Version
    current_to: Version
    candidate: Candidate
    reasons: tuple[str, ...] = ()
    columns: tuple[ColumnChange, ...] = ()
    held: bool = False  # after this step
    upstream: dict[str, Version] = {}  # feature that is read -> the version of it that is read
    dependents: tuple[str, ...] = ()  # all features downstream, in the project's order
    increment: Increment = Increment()  # how much of it is made
    estimate: Estimate | None = None  # what that will cost

    @property
    def builds(self) -> bool:
        """Whether the step makes a version."""
        return self.action in BUILDING

    @property
    def new_table(self) -> bool:
        """Whether the step starts a physical table: every MAJOR.MINOR has its own."""
        return self.action in BUILDING - {"patch"}


class SetStep(Struct, frozen=True, kw_only=True):
    """A new version of a feature set."""

    name: str
    version_from: int | None
    version_to: int
    members: tuple[FeatureRef, ...]  # every one names at least its MAJOR
    written: tuple[str, ...]  # the entries as the project wrote them
    reasons: tuple[str, ...] = ()


class Failure(Struct, frozen=True, kw_only=True):
    """A feature that cannot be planned: it failed, or is skipped as it reads one that did."""

    feature: str
    status: Literal["failed", "skipped"]
    message: str


class Plan(Struct, frozen=True, kw_only=True):
    """Steps of all selected features, upstream ones first; then the feature sets."""

    steps: tuple[FeatureStep, ...] = ()
    sets: tuple[SetStep, ...] = ()
    removed: tuple[str, ...] = ()  # in the catalog, not in the project: shown, never deleted
    notes: tuple[str, ...] = ()  # what the user should know and no step says
    warnings: tuple[tuple[str, str], ...] = ()  # feature, message
    failed: tuple[Failure, ...] = ()  # selected features that have no step; they stay at their last good version

    @property
    def nothing_to_do(self) -> bool:
        """Whether a build of this plan would change nothing."""
        return not self.sets and all(step.action == "none" for step in self.steps)

    @property
    def builds(self) -> tuple[FeatureStep, ...]:
        """The steps that make a version, in order."""
        return tuple(step for step in self.steps if step.builds)

    @property
    def source_states(self) -> dict[str, SourceState]:
        """What the sources hold that the steps read."""
        return {name: state for step in self.steps for name, state in step.candidate.source_states.items()}

    def step(self, feature: str) -> FeatureStep | None:
        """The step of one feature, or None if it is not part of the plan."""
        return next((step for step in self.steps if step.feature == feature), None)

    def summary(self) -> str:
        """One line: ``1 new, 2 major, 3 unchanged, 1 feature set``."""
        counts = Counter(step.action for step in self.steps)
        parts = [f"{counts[action]} {word}" for action, word in _WORDS.items() if counts[action]]
        if self.sets:
            parts.append(f"{len(self.sets)} feature set{'s' if len(self.sets) > 1 else ''}")
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        return ", ".join(parts) or "no features selected"


_WORDS: dict[Action, str] = {
    "create": "new",
    "major": "major",
    "minor": "minor",
    "patch": "patch",
    "metadata": "metadata only",
    "release": "released",
    "none": "unchanged",
}
