"""Moving a feature's current version by hand: back, where it is then held, and forward again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.building.catalog_views import named_versions, show_feature, show_set
from mlforge.catalog import reader, writer
from mlforge.catalog.commit import commit
from mlforge.errors import UsageError, did_you_mean
from mlforge.plan.versions import resolve_pin

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlforge.catalog.transaction import Transaction
    from mlforge.model import CatalogState, Pin, StoredFeature, Version


def target(state: CatalogState, name: str, pin: Pin | None, *, release: bool) -> Version:
    """The version that a roll back goes to: what ``pin`` names, without one the version before the current one, with
    ``release`` the newest. Raises UsageError where there is none."""
    feature = state.features.get(name)
    if feature is None:
        raise UsageError(f"the catalog has no feature {name!r}", hint=did_you_mean(name, state.features))
    if release:
        return max(v.version for v in feature.versions)
    if pin is not None:
        return resolve_pin(feature, pin).version
    older = [v.version for v in feature.versions if v.version < feature.current]
    if not older:
        raise UsageError(f"{name} has no version before {feature.current}", hint=f"mlforge versions {name} lists them")
    return max(older)


def move(catalog_path: str, name: str, version: Version, *, held: bool, lock_timeout: float) -> None:
    """Make a version current, with the views and macros that follow it. The caller holds the build lock.

    Raises CatalogError or LockedError with the catalog as it was."""

    def apply(tx: Transaction) -> None:
        state = reader.state(tx.con)
        feature = replace(state.features[name], current=version, held=held)
        state = replace(state, features={**state.features, name: feature})
        writer.set_current(tx.con, name, version, held=held)
        _show(tx.con, state, feature, catalog_path)

    commit(catalog_path, None, apply, lock_timeout=lock_timeout)


def _show(con: DuckDBPyConnection, state: CatalogState, feature: StoredFeature, catalog_path: str) -> None:
    show_feature(con, state, feature, named_versions(state, reader.naming(con, catalog_path)))
    for versions in state.feature_sets.values():
        for stored in versions:
            if any(m.name == feature.name for m in stored.members):
                show_set(con, state, stored, newest=stored is versions[-1])
