"""Which stored version a pin means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from mlforge.errors import UsageError, did_you_mean
from mlforge.model import SourceState, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlforge.model import CatalogState, Pin, StoredFeature, StoredSet, StoredVersion
    from mlforge.plan.diff import Bump


class Adopted(Struct, frozen=True, kw_only=True):
    """What a manifest says of what a build makes here: the numbers of versions of features and of feature sets, and the
    types that columns of sources had where it was written."""

    features: dict[str, Version] = {}
    sets: dict[str, int] = {}
    types: dict[str, dict[str, str]] = {}

    def known(self, states: Mapping[str, SourceState]) -> dict[str, SourceState]:
        """What builds found in sources: here, else where the manifest was written."""
        return {name: SourceState(digest="", types=types) for name, types in self.types.items()} | dict(states)

    def after(self, feature: str, last: Version, bump: Bump | None) -> Version | None:
        """The number of the version that comes after ``last``, or None if the manifest's cannot follow it: it is not
        greater, or would put another definition into the MAJOR.MINOR of ``last``."""
        wanted = self.features.get(feature)
        if wanted is None or wanted <= last:
            return None
        return None if bump and (wanted.major, wanted.minor) == (last.major, last.minor) else wanted


def resolve_pin(feature: StoredFeature, pin: Pin) -> StoredVersion:
    """The newest version that the pin allows; without a pin the current one. Raises UsageError that lists them."""
    if pin.major is None:
        return feature.get(feature.current)
    found = newest((v.version for v in feature.versions), pin)
    if found is None:
        listed = ", ".join(str(v.version) for v in feature.versions)
        raise UsageError(f"{feature.name} has no version {pin}", hint=f"versions in the catalog: {listed}")
    return feature.get(found)


def newest(versions: Iterable[Version], pin: Pin) -> Version | None:
    """The greatest of the versions that a pin allows, or None."""
    return max((v for v in versions if v.matches(pin)), default=None)


def resolve_set(state: CatalogState, reference: str) -> StoredSet:
    """The version of a feature set that ``delay_v1`` (its newest) or ``delay_v1@2`` names.

    Raises UsageError for an unknown set or version."""
    name, at, wanted = reference.partition("@")
    versions = state.feature_sets.get(name)
    if not versions:
        raise UsageError(f"unknown feature set {name!r}", hint=did_you_mean(name, state.feature_sets))
    if not at:
        return versions[-1]
    for stored in versions:
        if str(stored.version) == wanted:
            return stored
    listed = ", ".join(str(s.version) for s in versions)
    raise UsageError(f"feature set {name} has no version {wanted!r}", hint=f"versions in the catalog: {listed}")


def shared_name(given: Iterable[tuple[str, Sequence[str]]]) -> str | None:
    """Which name of a column two of them have, in whatever case, as a sentence; of each, what it is and its columns."""
    owners: dict[str, str] = {}
    for owner, names in given:
        for name in names:
            if name.lower() in owners:
                return f"column {name!r} comes from {owners[name.lower()]} and from {owner}"
            owners[name.lower()] = owner
    return None
