"""Small definitions, candidates and catalogs for tests of plans."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mlforge.model import (
    Candidate,
    CatalogState,
    Column,
    Compiled,
    Definition,
    FeatureConfig,
    FeatureRef,
    Key,
    Pin,
    RefJoin,
    SourceState,
    StoredFeature,
    StoredVersion,
    Version,
)
from mlforge.plan import planner

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlforge.plan.steps import Plan


def plan(candidates: Mapping[str, Candidate], state: CatalogState, selection: Collection[str], **given: Any) -> Plan:
    """A plan; ``given`` are fields of ``Surroundings`` and of ``PlanOptions``."""
    around = {f.name: given.pop(f.name) for f in fields(planner.Surroundings) if f.name in given}
    return planner.plan(candidates, state, selection, planner.Surroundings(**around), planner.PlanOptions(**given))


ITEMS = {"a": "x", "b": "SUM(y) OVER last_7d"}


def definition(name: str = "f", items: dict[str, str] | None = None, where: str = "ok", **changes: Any) -> Definition:
    """A feature over one source; ``items`` are its columns with their expressions, all BIGINT."""
    items = ITEMS if items is None else items
    text = ", ".join(f"{sql} AS {column}" for column, sql in items.items())
    made = Definition(
        feature=name,
        kind="windows",
        entity="user",
        keys=(Key("user_id", "VARCHAR"),),
        timestamp="at",
        closed="left",
        sql=f'SELECT user_id, at, {text} FROM "_mlforge_source"."tx" WHERE {where}',
        columns=tuple(Column(name=c, type="BIGINT", sql=sql) for c, sql in items.items()),
        sources={"tx": {}},
    )
    return replace(made, **changes)


def candidate(made: Definition | None = None, *, data: str = "1", path: str | None = None, **config: Any) -> Candidate:
    """A compiled feature whose source ``tx`` has the digest ``data``."""
    made = made or definition()
    return Candidate(
        definition=made,
        compiled=Compiled(
            feature=made.feature,
            kind=made.kind,
            keys=made.keys,
            outputs=(),
            refs=tuple(RefJoin(alias="r", feature=f, version="0.0.0") for f in made.refs),
        ),
        config=FeatureConfig(entity="user", **config),
        path=path or f"features/{made.feature}.sql",
        sql=made.sql,
        source_states={"tx": SourceState(digest=data)},
    )


def stored_version(made: Candidate, version: Version, build: int = 1, created_at: str = "2024-01-01") -> StoredVersion:
    """A version as a build keeps it."""
    return StoredVersion(
        feature=made.definition.feature,
        version=version,
        definition=made.definition,
        compiled=made.compiled,
        source_states=made.source_states,
        build=build,
        created_at=created_at,
        reason="",
        rows=1,
    )


def stored(made: Candidate, *versions: str, current: str | None = None, held: bool = False) -> StoredFeature:
    """A feature with these versions, all of one definition."""
    kept = tuple(stored_version(made, Version.parse(v), n) for n, v in enumerate(versions or ("1.0.0",), 1))
    return StoredFeature(
        name=made.definition.feature,
        current=Version.parse(current) if current else kept[-1].version,
        held=held,
        versions=kept,
        config=made.config,
        path=made.path,
        sql=made.sql,
    )


def state(*features: StoredFeature, **changes: Any) -> CatalogState:
    """A catalog of these features."""
    return CatalogState(features={f.name: f for f in features}, **changes)


def graph(**refs: str) -> dict[str, tuple[FeatureRef, ...]]:
    """``g="f other@1"``: g reads f and MAJOR 1 of other."""
    return {name: tuple(ref(word) for word in words.split()) for name, words in refs.items()}


def ref(text: str, **extra: Any) -> FeatureRef:
    """``f``, ``f@2``, ``f@2.1:a,b``."""
    head, _, columns = text.partition(":")
    name, _, pin = head.partition("@")
    return FeatureRef(
        name=name,
        version=Pin(*(int(p) for p in pin.split(".") if p)),
        columns=tuple(c for c in columns.split(",") if c),
        **extra,
    )


def built(plan: Plan, before: CatalogState | None = None) -> CatalogState:
    """The catalog after a build of the plan."""
    before = before or CatalogState()
    features, build = dict(before.features), before.last_build + 1
    for step in plan.steps:
        old, made = features.get(step.feature), step.candidate
        new = (stored_version(made, step.version_to, build),) if step.builds else ()
        features[step.feature] = StoredFeature(
            name=step.feature,
            current=step.current_to,
            held=step.held,
            versions=(*(old.versions if old else ()), *new),
            config=made.config,
            path=made.path,
            sql=made.sql,
        )
    return replace(before, features=features, last_build=build)
