"""What a sync with a manifest found."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

#: same; definition: means something else here; rows: same definition, other rows; number: the version number is taken
#: or passed here; blocked: what it reads is not the same; held: rolled back where the manifest was written; failed: did
#: not build; missing: not in the project; extra: not in the manifest.
Status = Literal["same", "definition", "rows", "number", "blocked", "held", "failed", "missing", "extra"]


class SourceDiff(Struct, frozen=True, kw_only=True):
    """What a source holds here against what it held there. ``note`` is for what has no files."""

    source: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    note: str | None = None


class Compared(Struct, frozen=True, kw_only=True):
    """One feature: the manifest's version, and whether this catalog holds the same. ``content`` are hashes of rows."""

    feature: str
    status: Status
    version: str | None = None
    built: bool = False  # by this run
    reasons: tuple[str, ...] = ()
    content: str | None = None
    content_here: str | None = None
    rows: int | None = None
    rows_here: int | None = None
    sources: tuple[SourceDiff, ...] = ()


class ComparedSet(Struct, frozen=True, kw_only=True):
    """One feature set, by its newest version in the manifest."""

    feature_set: str
    status: Status
    version: int | None = None
    reasons: tuple[str, ...] = ()


class Synced(Struct, frozen=True, kw_only=True):
    """What a sync found. ``build`` is the number of the build it made, None if nothing had to be built."""

    features: tuple[Compared, ...]
    feature_sets: tuple[ComparedSet, ...] = ()
    build: int | None = None

    @property
    def same(self) -> bool:
        """Whether this catalog holds what the manifest says, and the project nothing else."""
        statuses = [f.status for f in self.features] + [s.status for s in self.feature_sets]
        return all(status == "same" for status in statuses)
