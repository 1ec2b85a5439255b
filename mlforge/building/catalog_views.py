"""What a catalog shows of its versions: views, table macros, comments. All of it is derived and can be made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.catalog import writer
from mlforge.model import FeatureRef, proof_text
from mlforge.plan.versions import shared_name
from mlforge.sql.bind import bind, member_version
from mlforge.sql.physical import Physical, macro, member, view
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, StoredFeature, StoredSet
    from mlforge.sql.physical import Member


def show_feature(con: DuckDBPyConnection, state: CatalogState, feature: StoredFeature, named: Collection[str]) -> None:
    """Views and macro of one feature: its current version, the newest PATCH of each MINOR, and what is ``named``."""
    current = feature.get(feature.current)
    physical = bind(state, current)
    if physical.c.kind != "on_demand":
        con.execute(view("features", feature.name, physical))
        # the words are of the project as it is; a feature that is held, or that failed, shows an older version
        words = {name.lower(): text for name, text in feature.config.columns.items() if text}
        shown = [*(k.name for k in physical.c.keys), physical.c.timestamp or "", *(o.name for o in physical.c.outputs)]
        described = {name: words[name.lower()] for name in shown if name.lower() in words}
        text = f"leaks: {proof_text(current.compiled.proof)}"
        about = f"{feature.config.description} [{text}]" if feature.config.description else text
        writer.comment(con, feature.name, about, described)
    con.execute(macro("features", f"{feature.name}_asof", [_member(0, physical, None)]))
    _show_versions(con, state, feature, named)


def _show_versions(
    con: DuckDBPyConnection, state: CatalogState, feature: StoredFeature, named: Collection[str]
) -> None:
    newest = {(v.version.major, v.version.minor): v for v in feature.versions}
    for stored in feature.versions:
        if stored.compiled.kind == "on_demand":
            continue
        name = f"{feature.name}@{stored.version}"
        if stored is newest[stored.version.major, stored.version.minor] or name in named:
            con.execute(view("versions", name, bind(state, stored)))
        else:
            con.execute(sql("feature/drop_view", schema="versions", name=name))


def show_set(con: DuckDBPyConnection, state: CatalogState, stored: StoredSet, *, newest: bool) -> None:
    """The macro of one version of a feature set, and of the set's name if it is the newest. Where two members have a
    column of one name it is an error, as a training set of the set is."""
    members = [
        _member(n, bind(state, member_version(state.features[ref.name], ref)), ref)
        for n, ref in enumerate(stored.members)
    ]
    found = shared_name((m.feature.c.feature, [out for _, out in m.columns]) for m in members)
    refusal = found and f"feature set {stored.name}: {found}: give one of them a prefix, or name its columns"
    for name in [f"{stored.name}@{stored.version}", *([stored.name] if newest else [])]:
        con.execute(macro("feature_sets", name, members, refusal))


def _member(number: int, physical: Physical, ref: FeatureRef | None) -> Member:
    whole = ref or FeatureRef(name=physical.c.feature)
    return member(number, physical, whole, lambda _key, column, _type: ident(column))


def named_versions(state: CatalogState, datasets: Iterable[dict[str, object]]) -> set[str]:
    """Versions, as ``name@x.y.z``, that a record (of a training set, of a publish) or a feature set holds on to."""
    named = {str(f).split(":")[0] for d in datasets for f in d["features"]}  # type: ignore[attr-defined]
    for versions in state.feature_sets.values():
        for ref in (r for s in versions for r in s.members):
            if ref.name in state.features:
                named.add(f"{ref.name}@{member_version(state.features[ref.name], ref).version}")
    return named
