"""One deterministic JSON of everything the catalog defines, for git: no times, build numbers or absolute paths."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from mlforge.catalog import reader
from mlforge.catalog.version_digest import version_hash
from mlforge.errors import ProjectError, UsageError, Where
from mlforge.model import Definition, Span, Version
from mlforge.plan.fingerprint import meanings
from mlforge.plan.sets import written

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, SourceState, StoredFeature

FORMAT = 2
Row = dict[str, Any]


class SourceEntry(Struct, frozen=True, kw_only=True):
    """What a source held: its parts, which are files with their SHA-256 or slices of a table, and its rows."""

    parts: dict[str, str] = {}
    rows: int | None = None


class VersionEntry(Struct, frozen=True, kw_only=True):
    """One version. ``sources`` are digests; ``content`` of its rows is there for the newest and the current version.

    ``spans``: sources of which only some event times were taken in, and which."""

    reason: str
    rows: int
    sources: dict[str, str]
    spans: dict[str, tuple[Span, ...]] = {}
    content: str | None = None


class DefinitionEntry(Struct, frozen=True, kw_only=True):
    """What every PATCH of a MAJOR.MINOR means. ``meaning``: column -> digest, for people and scripts; mlforge compares
    definitions by its running code."""

    definition: Definition
    meaning: dict[str, str]


class FeatureEntry(Struct, frozen=True, kw_only=True):
    """A feature: its definitions by MAJOR.MINOR, its versions, and which of them readers get."""

    path: str
    kind: str
    current: str
    held: bool
    config: Any
    definitions: dict[str, DefinitionEntry]
    versions: dict[str, VersionEntry]
    lineage: list[Row] = []

    @property
    def newest(self) -> Version:
        """The greatest version."""
        return max(map(Version.parse, self.versions))

    def definition(self, version: Version) -> Definition:
        """What a version means. Raises KeyError."""
        return self.definitions[f"{version.major}.{version.minor}"].definition


class Manifest(Struct, frozen=True, kw_only=True):
    """All that a catalog defines. ``states``: what sources held, by digest, for versions that have a ``content``."""

    mlforge_manifest: int
    features: dict[str, FeatureEntry]
    sources: dict[str, Row] = {}
    states: dict[str, SourceEntry] = {}
    entities: dict[str, Row] = {}
    feature_sets: dict[str, dict[str, list[str]]] = {}

    @property
    def types(self) -> dict[str, dict[str, str]]:
        """The types that columns of files had in builds. Manifests of earlier versions do not say them."""
        return {name: row["types"] for name, row in self.sources.items() if row.get("types")}


def manifest(con: DuckDBPyConnection, root: str | None) -> Manifest:
    """Features with their versions, sources, entities, feature sets and lineage. Paths below ``root`` are relative.

    The rows of every feature's newest and current version are read."""
    state = reader.state(con)
    states = state.source_states
    described = [v for f in state.features.values() for v in f.versions if v.version in _described(f)]
    return Manifest(
        mlforge_manifest=FORMAT,
        features={name: _feature(con, state, feature, root) for name, feature in sorted(state.features.items())},
        sources={row["source"]: _source(row, root, states.get(row["source"])) for row in reader.sources(con)},
        states={digest(s, root): entry(s, root) for v in described for s in v.source_states.values()},
        entities={row["entity"]: _without(row, "entity") for row in reader.entities(con)},
        feature_sets={
            name: {str(s.version): [written(m) for m in s.members] for s in versions}
            for name, versions in sorted(state.feature_sets.items())
        },
    )


def encode(found: Manifest) -> str:
    """The manifest as text: keys in order, two spaces, a line end at the end."""
    text = msgspec.json.encode(found, enc_hook=str, order="sorted")
    return msgspec.json.format(text, indent=2).decode() + "\n"


def read(path: Path) -> Manifest:
    """The manifest in a file. Raises UsageError if there is no such file, ProjectError if it is no manifest, or not one
    that this mlforge can read."""
    where = Where(str(path))
    try:
        text = path.read_bytes()
    except OSError as error:
        hint = "where the features were built: mlforge manifest --out manifest.json, and commit it"
        raise UsageError(f"there is no manifest at {path}: {error.strerror}", hint=hint) from error
    try:
        found = msgspec.json.decode(text, type=_Format).mlforge_manifest
        _refuse_other_formats(found, where)
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        hint = "mlforge manifest --out manifest.json writes one"
        raise ProjectError(f"this is no manifest: {error}", where=where, hint=hint) from error


class _Format(Struct):
    mlforge_manifest: int


def _refuse_other_formats(found: int, where: Where) -> None:
    if found == FORMAT:
        return
    older = found < FORMAT
    message = "has no content hashes" if older else f"this mlforge reads formats up to {FORMAT}"
    hint = "write it again, where the features were built: mlforge manifest --out manifest.json"
    raise ProjectError(
        f"the manifest is of format {found}: {message}", where=where, hint=hint if older else "upgrade mlforge"
    )


def digest(state: SourceState, root: str | None) -> str:
    """The digest of what a source held that is the same wherever the project lies."""
    if not state.files:
        return state.digest
    lines = (f"{path}\0{found}" for path, found in sorted(entry(state, root).parts.items()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def entry(state: SourceState, root: str | None) -> SourceEntry:
    """What a source held, as a manifest says it."""
    parts = {_relative(path, root): found for path, found in state.parts.items() if path}
    return SourceEntry(parts=parts, rows=state.rows)


def _described(feature: StoredFeature) -> set[Version]:
    """The versions that another machine could make again: the newest one, and what readers get."""
    return {feature.current, max(v.version for v in feature.versions)}


def _feature(con: DuckDBPyConnection, state: CatalogState, feature: StoredFeature, root: str | None) -> FeatureEntry:
    edges = reader.lineage(con, feature.name, feature.current)
    described = _described(feature)
    return FeatureEntry(
        path=feature.path,
        kind=feature.get(feature.current).compiled.kind,
        current=str(feature.current),
        held=feature.held,
        config=feature.config,
        definitions={
            f"{v.version.major}.{v.version.minor}": DefinitionEntry(
                definition=v.definition, meaning=meanings(v.definition)
            )
            for v in feature.versions
        },
        versions={
            str(v.version): VersionEntry(
                reason=v.reason,
                rows=v.rows,
                sources={name: digest(s, root) for name, s in v.source_states.items()},
                spans={name: s.spans for name, s in v.source_states.items() if s.spans},
                content=version_hash(con, state, v) if v.version in described else None,
            )
            for v in feature.versions
        },
        lineage=[_without(edge, "feature", "version") for edge in edges],
    )


def _source(row: Row, root: str | None, state: SourceState | None) -> Row:
    """A source as the project states it, and the types that its columns keep."""
    path, said = row["path"], _without(row, "source", "build", "files", "rows", "digest")
    return {**said, "path": path and _relative(path, root), "types": state.types if state else {}}


def _relative(path: str, root: str | None) -> str:
    """A path as seen from the project; URLs stay as they are."""
    if root and os.path.isabs(path):  # noqa: PTH117 - may be a URL or a glob
        return os.path.relpath(path, root).replace(os.sep, "/")
    return path


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
