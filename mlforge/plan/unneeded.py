"""Which versions nobody needs any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING

from mlforge.model import Version
from mlforge.plan.versions import newest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from mlforge.model import CatalogState, Keep, StoredFeature

Named = tuple[str, Version]


def collect(state: CatalogState, keep: Keep, named: Collection[Named], now: str) -> list[Named]:
    """The versions that may be deleted, oldest first within each feature.

    Kept are the newest ``keep.patches`` of each MINOR, what is younger than ``keep.days`` at ``now`` (UTC, ISO 8601),
    the current and the newest version, what feature sets and ``named`` (pins, datasets, publishes) name, and what a
    kept version reads when it is asked."""
    kept = {*named, *_in_sets(state)}
    today = _instant(now)
    limit = today - timedelta(days=min(keep.days, today.toordinal() - 1))  # no day is before year 1
    young = _first_young(state, limit)
    for feature in state.features.values():
        kept |= {(feature.name, version) for version in _by_policy(feature, keep.patches, young)}
    add_read(kept, state)
    everything = [(f.name, v.version) for f in state.features.values() for v in f.versions]
    return [version for version in everything if version not in kept]


def _first_young(state: CatalogState, limit: datetime) -> float:
    """The first build that made something after ``limit``. What later builds made is as young, whatever the clock said
    then: it may have been set back."""
    versions = (v for feature in state.features.values() for v in feature.versions)
    return min((v.build for v in versions if _instant(v.created_at) > limit), default=inf)


def _by_policy(feature: StoredFeature, patches: int, young: float) -> Iterator[Version]:
    yield feature.current
    yield from (v.version for v in feature.versions[-1:])
    yield from (v.version for v in feature.versions if v.build >= young)
    ordered = sorted(v.version for v in feature.versions)
    for _, minor in groupby(ordered, key=lambda v: (v.major, v.minor)):
        yield from list(minor)[-patches:] if patches else ()


def _in_sets(state: CatalogState) -> Iterator[Named]:
    """What each version of each feature set reads now."""
    for versions in state.feature_sets.values():
        for member in (m for stored in versions for m in stored.members):
            feature = state.features.get(member.name)
            found = newest((v.version for v in feature.versions), member.version) if feature else None
            if found:
                yield member.name, found


def add_read(kept: set[Named], state: CatalogState) -> None:
    """On-demand features read the very versions they were built against."""
    waiting = list(kept)
    while waiting:
        name, version = waiting.pop()
        stored = state.features.get(name)
        found = next((v for v in stored.versions if v.version == version), None) if stored else None
        for ref in found.compiled.refs if found else ():
            read = (ref.feature, Version.parse(ref.version))
            if read not in kept:
                kept.add(read)
                waiting.append(read)


def _instant(text: str) -> datetime:
    """An ISO instant; without a zone it is UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
