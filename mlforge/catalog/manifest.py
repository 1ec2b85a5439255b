"""One deterministic JSON of everything the catalog defines, for git: no times, build numbers or absolute paths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from mlforge.catalog import reader
from mlforge.plan.fingerprint import meanings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlforge.model import StoredFeature, StoredVersion

FORMAT = 1
Row = dict[str, Any]


def manifest(con: DuckDBPyConnection, root: str | None) -> Row:
    """Features with their versions, sources, entities, feature sets and lineage. Paths below ``root`` are relative."""
    state = reader.state(con)
    return {
        "mlforge_manifest": FORMAT,
        "features": {name: _feature(con, feature) for name, feature in sorted(state.features.items())},
        "sources": {row["source"]: _source(row, root) for row in reader.sources(con)},
        "entities": {row["entity"]: _without(row, "entity") for row in reader.entities(con)},
        "feature_sets": {
            name: {str(s.version): [str(m) for m in s.members] for s in versions}
            for name, versions in sorted(state.feature_sets.items())
        },
    }


def encode(found: Row) -> str:
    """The manifest as text: keys in order, two spaces, a line end at the end."""
    text = msgspec.json.encode(found, enc_hook=str, order="sorted")
    return msgspec.json.format(text, indent=2).decode() + "\n"


def _feature(con: DuckDBPyConnection, feature: StoredFeature) -> Row:
    current = feature.get(feature.current)
    return {
        "path": feature.path,
        "kind": current.compiled.kind,
        "current": str(feature.current),
        "held": feature.held,
        "config": feature.config,
        "versions": {str(v.version): _version(v) for v in feature.versions},
        "lineage": [
            _without(edge, "feature", "version") for edge in reader.lineage(con, feature.name, feature.current)
        ],
    }


def _version(stored: StoredVersion) -> Row:
    """What decides a version: equal entries are equal definitions over equal sources."""
    definition = stored.definition
    digests = meanings(definition)
    return {
        "reason": stored.reason,
        "rows": stored.rows,
        "keys": {k.name: k.type for k in definition.keys},
        "timestamp": definition.timestamp,
        "columns": {c.name: {"type": c.type, "sql": c.sql, "meaning": digests[c.name]} for c in definition.columns},
        "reads": definition.refs,
        "sources": {name: state.digest for name, state in stored.source_states.items()},
        "sql": definition.sql,
    }


def _source(row: Row, root: str | None) -> Row:
    path = row["path"]
    if path and root and os.path.isabs(path):  # noqa: PTH117 - may be a URL or a glob
        path = os.path.relpath(path, root).replace(os.sep, "/")
    return {**_without(row, "source", "build", "files"), "path": path}


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
