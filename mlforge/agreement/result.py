"""What a comparison of served values with the catalog found."""

from __future__ import annotations

import datetime
from typing import Any, Literal

from msgspec import Struct, to_builtins

Row = dict[str, Any]
Status = Literal["passed", "failed", "unproven"]
Kind = Literal["mismatch", "missing", "extra"]


class AgreementOptions(Struct, frozen=True, kw_only=True):
    """How a store is compared with the catalog. ``keys`` of each feature are taken, the same ones for the same
    ``seed``; ``instants`` are chosen beside now, the publish and the earliest that can be read, unless ``at`` states
    them all. ``threshold``: the share of values that may differ. Without ``scan`` the store's names are not listed, so
    that keys which the catalog does not have are not found."""

    keys: int = 1000
    instants: int = 5
    at: tuple[datetime.datetime | str, ...] = ()
    seed: int = 0
    threshold: float = 0.0
    scan: bool = True
    now: int | None = None  # microseconds since the epoch


class Example(Struct, frozen=True, kw_only=True):
    """One value that differs, both as JSON text (online/value_text.py; None is NULL). ``at``: the instant that was
    asked for; a key that is kept at a ``step`` (microseconds) is compared at its last multiple."""

    kind: Kind
    column: str
    key: Row
    at: datetime.datetime | None
    served: str | None
    expected: str | None
    status: str
    step: int = 0


class ColumnAgreement(Struct, frozen=True, kw_only=True):
    """One column: ``missing`` values are in the catalog only, ``extra`` ones are served only, ``mismatch`` is another
    value."""

    column: str
    compared: int = 0
    matches: int = 0
    mismatch: int = 0
    missing: int = 0
    extra: int = 0

    @property
    def differ(self) -> int:
        """Values that are not the same."""
        return self.mismatch + self.missing + self.extra


class FeatureAgreement(Struct, frozen=True, kw_only=True):
    """One published version of a feature. ``unproven`` says what could not be compared, and why.

    ``keys`` were compared, among them those that neither side should know; ``extra_keys`` are in the store and not in
    the catalog's version. ``out_of_range``: values asked for at instants before what was published. ``coarse``: values
    of on-demand features that read a key kept at a step, at an instant between two steps. ``current``: the catalog's
    newer version, if there is one."""

    feature: str
    version: str
    status: Status
    columns: tuple[ColumnAgreement, ...] = ()
    keys: int = 0
    extra_keys: int = 0
    instants: tuple[datetime.datetime | None, ...] = ()
    out_of_range: int = 0
    coarse: int = 0
    examples: tuple[Example, ...] = ()  # the first ones of each column and kind
    unproven: tuple[str, ...] = ()
    current: str | None = None
    seconds: float = 0.0

    @property
    def compared(self) -> int:
        """Values that were compared."""
        return sum(c.compared for c in self.columns)

    @property
    def differ(self) -> int:
        """Values that are not the same."""
        return sum(c.differ for c in self.columns)


class Agreement(Struct, frozen=True, kw_only=True):
    """Every feature that was compared. ``problems`` are about the store as a whole, and fail whatever the values say.

    ``store``: its kind and place, or where the logged requests lie; ``generation`` and ``published_at`` are those of
    the publish that was compared."""

    id: str
    kind: Literal["online", "requests"]
    store: str
    namespace: str
    features: tuple[FeatureAgreement, ...]
    seed: int = 0
    sample: int = 0
    threshold: float = 0.0
    generation: int | None = None
    published_at: datetime.datetime | None = None
    problems: tuple[str, ...] = ()

    @property
    def values(self) -> int:
        """Values that were compared."""
        return sum(f.compared for f in self.features)

    @property
    def mismatched(self) -> int:
        """Values that are not the same: mismatches, missing and extra ones."""
        return sum(f.differ for f in self.features)

    @property
    def share(self) -> float:
        """The share of values that are not the same."""
        return self.mismatched / self.values if self.values else 0.0

    @property
    def failed(self) -> bool:
        """Whether more values differ than the threshold allows, or the store as a whole is not as it should be."""
        return bool(self.problems) or self.share > self.threshold

    @property
    def status(self) -> Status:
        """``unproven`` if not everything could be compared, and what could be did not fail."""
        if self.failed:
            return "failed"
        proven = self.features and all(f.status != "unproven" for f in self.features)
        return "passed" if proven else "unproven"


def record(found: Agreement) -> Row:
    """A comparison as plain values, with its totals: as JSON shows it, and as the catalog keeps it."""
    whole: Row = to_builtins(found, enc_hook=str)
    totals = {"status": found.status, "values": found.values, "mismatched": found.mismatched, "share": found.share}
    return {**totals, "known_as_of": None, **whole}
