"""Binding stored versions to the tables that hold their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.model import Version
from mlforge.sql.physical import Physical, RefRead
from mlforge.sql.templates import ident

if TYPE_CHECKING:
    from mlforge.model import CatalogState, FeatureRef, StoredFeature, StoredVersion


def table_name(feature: str, version: Version) -> str:
    """The physical table of every PATCH of one MAJOR.MINOR."""
    return f"{feature}__{version.major}_{version.minor}"


def bind(state: CatalogState, stored: StoredVersion, catalog: str = "") -> Physical:
    """The physical form of a version. ``catalog`` is the quoted name and dot of an attached catalog, or empty."""
    compiled = stored.compiled
    refs = tuple(
        RefRead(r.alias, bind(state, state.features[r.feature].get(Version.parse(r.version)), catalog))
        for r in compiled.refs
    )
    relation = f"{catalog}store.{ident(compiled.table)}"
    return Physical(compiled, relation, stored.version.patch, refs)


def member_version(feature: StoredFeature, ref: FeatureRef) -> StoredVersion:
    """What an entry of a feature set means now: the newest version its pin allows; held features stay where they are.

    Raises KeyError if the pin allows none."""
    if ref.version.major is None or (feature.held and feature.current.matches(ref.version)):
        return feature.get(feature.current)
    allowed = [v for v in feature.versions if v.version.matches(ref.version)]
    if not allowed:
        raise KeyError(str(ref))
    return max(allowed, key=lambda v: v.version)
