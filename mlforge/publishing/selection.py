"""What a publish is asked for, resolved against the catalog: versions, the names of their tables, and feature sets."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct

from mlforge.errors import UsageError, did_you_mean
from mlforge.model import FeatureRef, StoredVersion, Version
from mlforge.online.published import Member, Set
from mlforge.plan.versions import resolve_pin, resolve_set
from mlforge.project.ref_grammar import parse_ref
from mlforge.sql.bind import member_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlforge.model import CatalogState, StoredSet
    from mlforge.online.published import Manifest


class Wanted(Struct, frozen=True, kw_only=True):
    """What is to be published. ``tables`` and ``current`` name features of every kind, on-demand ones too."""

    tables: dict[str, StoredVersion]
    current: dict[str, str]
    sets: dict[str, Set]


def select(
    state: CatalogState, features: Sequence[str], feature_sets: Sequence[str], published: Manifest | None
) -> Wanted:
    """The versions that references and sets mean; without either, all current features and the newest sets.

    A feature that is published on demand goes along with what it reads. Raises UsageError for unknown names."""
    asked = [parse_ref(text) for text in features]
    sets = [resolve_set(state, text) for text in feature_sets]
    if not features and not feature_sets:
        asked = [FeatureRef(name=name) for name in state.features]
        sets = [versions[-1] for versions in state.feature_sets.values()]
    found = {(ref.name, str(ref.version)): _version(state, ref) for ref in asked}
    for ref in asked:
        if ref.columns:
            raise UsageError(f"{ref} names columns, and features are published whole", hint=f"write {ref.name}")
    members = [(s, [(m, member_version(state.features[m.name], m)) for m in s.members]) for s in sets]
    versions = [*found.values(), *(v for _, listed in members for _, v in listed)]
    versions += _readers(state, versions, published)
    names = _names(_with_refs(state, versions))
    current = {
        v.feature: names[v.feature, v.version] for v in versions if v.version == state.features[v.feature].current
    }
    return Wanted(
        tables={id_: state.features[feature].get(version) for (feature, version), id_ in names.items()},
        current=current,
        sets={n: made for s, listed in members for n, made in _named(state, s, listed, names).items()},
    )


def _version(state: CatalogState, ref: FeatureRef) -> StoredVersion:
    if ref.name not in state.features:
        raise UsageError(f"the catalog has no feature {ref.name!r}", hint=did_you_mean(ref.name, state.features))
    return resolve_pin(state.features[ref.name], ref.version)


def _readers(state: CatalogState, versions: Iterable[StoredVersion], published: Manifest | None) -> list[StoredVersion]:
    """On-demand features that are published already and read one of these features."""
    names = {v.feature for v in versions}
    listed = {o.feature for o in published.on_demand.values()} if published else set()
    found = [state.features[n].get(state.features[n].current) for n in sorted(listed - names) if n in state.features]
    return [v for v in found if any(r.feature in names for r in v.compiled.refs)]


def _with_refs(state: CatalogState, versions: Iterable[StoredVersion]) -> list[StoredVersion]:
    """With the very versions that on-demand features were built against."""
    found = {(v.feature, v.version): v for v in versions}
    for version in list(found.values()):
        for ref in version.compiled.refs:
            read = state.features[ref.feature].get(Version.parse(ref.version))
            found.setdefault((read.feature, read.version), read)
    return list(found.values())


def _names(versions: Iterable[StoredVersion]) -> dict[tuple[str, Version], str]:
    """Table names: the newest wanted PATCH of a MINOR goes by ``feature@MAJOR.MINOR``, so that it can move on."""
    groups: dict[tuple[str, int, int], list[Version]] = defaultdict(list)
    for v in versions:
        groups[v.feature, v.version.major, v.version.minor].append(v.version)
    names = {}
    for (feature, major, minor), listed in groups.items():
        for version in listed:
            newest = version == max(listed)
            names[feature, version] = f"{feature}@{major}.{minor}" if newest else f"{feature}@{version}"
    return names


def _named(
    state: CatalogState,
    stored: StoredSet,
    listed: Sequence[tuple[FeatureRef, StoredVersion]],
    names: dict[tuple[str, Version], str],
) -> dict[str, Set]:
    """A set under ``name@version``, and under its name if it is the newest."""
    members = [
        Member(table=names[v.feature, v.version], columns=list(m.columns), keys=m.keys, prefix=m.prefix)
        for m, v in listed
    ]
    made = Set(name=stored.name, version=stored.version, members=members)
    newest = state.feature_sets[stored.name][-1].version == stored.version
    return {f"{stored.name}@{stored.version}": made, **({stored.name: made} if newest else {})}
