"""What a verification found."""

from __future__ import annotations

import datetime
from typing import Any, Literal

from msgspec import Struct

Row = dict[str, Any]
Status = Literal["passed", "failed", "unproven"]


class VerifyOptions(Struct, frozen=True, kw_only=True):
    """How a verification samples and reads. ``sample`` label rows are taken, the same ones for the same ``seed``; with
    ``all`` every key at every instant of its sources, if these are few. ``timestamp``, ``known_as_of`` and
    ``ignore_loaded_at`` are those of a training set."""

    timestamp: str = "label_time"
    sample: int = 1000
    seed: int = 0
    all: bool = False
    known_as_of: Any = None  # an instant, or the name of a label column
    ignore_loaded_at: bool = False


class Mismatch(Struct, frozen=True, kw_only=True):
    """A retrieved value that the rows which its label may see do not give.

    ``until`` is where those rows end. ``reason`` says which wrong bounds give the retrieved value, if any do; ``rows``
    are those that these bounds let in and the label may not see (without such bounds: the first rows after the end),
    ``inside`` the newest rows that it may see."""

    feature: str
    version: str
    column: str
    label: Row
    at: datetime.datetime | None
    until: datetime.datetime | None
    retrieved: Any
    recomputed: Any
    reason: str | None = None
    rows: tuple[Row, ...] = ()
    inside: tuple[Row, ...] = ()


class FeatureVerdict(Struct, frozen=True, kw_only=True):
    """One feature of a verification. ``unproven`` says why equal values prove nothing; a mismatch fails all the same.

    ``known_late`` counts rows, over all labels, that a label may see by their time and that were loaded after it."""

    feature: str
    version: str
    columns: tuple[str, ...]
    status: Status
    labels: int = 0
    values: int = 0
    mismatched: int = 0
    mismatches: tuple[Mismatch, ...] = ()  # the first ones
    unproven: tuple[str, ...] = ()
    known_late: int = 0
    late_labels: int = 0
    seconds: float = 0.0


class Verification(Struct, frozen=True, kw_only=True):
    """Every feature that was verified: ``failed`` if a value differs, ``passed`` if none does and all is proven."""

    id: str
    features: tuple[FeatureVerdict, ...]
    sample: int
    seed: int
    all: bool = False
    known_as_of: str | None = None

    @property
    def status(self) -> Status:
        """The worst of its features."""
        found = {f.status for f in self.features}
        return "failed" if "failed" in found else "unproven" if "unproven" in found or not found else "passed"

    @property
    def passed(self) -> bool:
        """Whether all was recomputed and is the same."""
        return self.status == "passed"

    @property
    def failed(self) -> bool:
        """Whether a value differs."""
        return self.status == "failed"

    @property
    def values(self) -> int:
        """Values that were compared."""
        return sum(f.values for f in self.features)

    @property
    def mismatched(self) -> int:
        """Values that differ."""
        return sum(f.mismatched for f in self.features)

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """The first ones of every feature."""
        return tuple(m for f in self.features for m in f.mismatches)
