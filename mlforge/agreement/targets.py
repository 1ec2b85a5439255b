"""What is to be compared: published features, and the very versions of the catalog that were published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlforge.model import FeatureRef, Pin, Version
from mlforge.online.read_plan import Planner
from mlforge.sql.bind import bind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlforge.model import CatalogState, StoredVersion
    from mlforge.online.published import Manifest, OnDemand, Output, Table
    from mlforge.sql.physical import Physical


@dataclass(frozen=True)
class Found:
    """A version of the catalog, ready to be read."""

    stored: StoredVersion
    physical: Physical

    @property
    def ref(self) -> FeatureRef:
        """A reference to this version and no other."""
        return pinned(self.stored.feature, self.stored.version)


@dataclass
class Target:
    """One published feature. ``columns``: those to compare."""

    feature: Table | OnDemand
    columns: list[Output] = field(default_factory=list)

    @property
    def ref(self) -> FeatureRef:
        """A reference to this version and no other."""
        return pinned(self.feature.feature, Version.parse(self.feature.version))


def pinned(feature: str, version: Version) -> FeatureRef:
    """A reference to one version of a feature."""
    return FeatureRef(name=feature, version=Pin(version.major, version.minor, version.patch))


def targets(namespace: str, manifest: Manifest, asked: Sequence[str]) -> list[Target]:
    """The features that references and sets mean, with the columns that they name; without any, all that is published.

    Raises NotPublishedError, OnlineError for what is not there."""
    if not asked:
        everything: Iterable[Table | OnDemand] = [*manifest.tables.values(), *manifest.on_demand.values()]
        return [Target(f, list(f.outputs)) for f in everything]
    planner = Planner(namespace, manifest)
    found: dict[tuple[str, str], Target] = {}
    for item in asked:
        for part in planner.plan(item, full_names=True).parts:
            target = found.setdefault((part.feature.feature, part.feature.version), Target(part.feature))
            target.columns += [o for _, o in part.columns if o not in target.columns]
    return list(found.values())


def find(state: CatalogState, feature: str, version: str, built: str | None) -> Found | str:
    """A version in the catalog, or why it is not there. ``built`` tells it from another catalog's; None: not known."""
    wanted = Version.parse(version)
    there = state.features.get(feature)
    if there is None:
        return f"this catalog has no feature {feature}"
    if all(v.version != wanted for v in there.versions):
        return f"this catalog does not have {feature}@{version} any more, or never had it"
    stored = there.get(wanted)
    if built is not None and stored.created_at != built:
        return f"{feature}@{version} of this catalog is another one: built at {stored.created_at}, not at {built}"
    for ref in stored.compiled.refs:
        if isinstance(read := find(state, ref.feature, ref.version, None), str):
            return f"{read}, which {feature}@{version} reads"
    return Found(stored, bind(state, stored))


def newer(state: CatalogState, feature: str, version: str) -> str | None:
    """The catalog's current version, if it is newer than a published one."""
    there = state.features.get(feature)
    return str(there.current) if there and there.current > Version.parse(version) else None
