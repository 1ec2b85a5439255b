"""What ``list`` and ``inspect`` show: rows of the catalog, together with what the project says and nobody built yet."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, get_args

from mlforge.catalog import reader
from mlforge.errors import UsageError, did_you_mean
from mlforge.masking import masked
from mlforge.model import Version, proof_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlforge.model import Project

Row = dict[str, Any]
What = Literal["features", "entities", "sources", "versions", "feature-sets", "tags", "datasets", "builds"]
WHAT: tuple[What, ...] = get_args(What)
Noun = Literal["feature", "entity", "source"]
NOUNS: tuple[Noun, ...] = get_args(Noun)


def listing(con: DuckDBPyConnection | None, project: Project | None, catalog_path: str, what: What) -> list[Row]:
    """All things of one kind. ``con`` is None if there is no catalog yet, ``project`` if only a catalog was opened.

    Raises UsageError for another kind."""
    if what not in WHAT:
        raise UsageError(f"there is nothing called {what!r} to list", hint=did_you_mean(what, WHAT))
    if what == "tags":
        return _tags(_built(con, catalog_path, "features"))
    rows = _built(con, catalog_path, what)
    return rows + _unbuilt(project, what, {row.get(_KEY.get(what, "")) for row in rows})


_KEY = {"features": "feature", "entities": "entity", "sources": "source", "feature-sets": "feature_set"}


def _built(con: DuckDBPyConnection | None, catalog_path: str, what: What) -> list[Row]:
    if con is None:
        return []
    if what == "datasets":
        return [_dataset(record) for record in reader.datasets(con, catalog_path)]
    readers = {
        "features": reader.features,
        "entities": reader.entities,
        "sources": reader.sources,
        "versions": reader.versions,
        "feature-sets": reader.feature_sets,
        "builds": reader.builds,
    }
    return readers[what](con)


def _dataset(record: Row) -> Row:
    names = ("id", "created_at", "rows", "features", "content_hash")
    return {name: record.get(name) for name in names}


def _unbuilt(project: Project | None, what: What, known: set[Any]) -> list[Row]:
    """What the project defines and the catalog does not have."""
    if project is None or what not in _KEY:
        return []
    key = _KEY[what]
    if what == "features":
        return [{key: f.name, "path": f.path} for n, f in project.features.items() if n not in known]
    if what == "entities":
        return [
            {key: e.name, "keys": e.keys, "description": e.description}
            for e in project.entities.values()
            if e.name not in known
        ]
    if what == "sources":
        return [
            {
                key: s.name,
                "format": s.format,
                "path": s.path and masked(s.path),
                "timestamp": s.timestamp,
                "description": s.description,
            }
            for s in project.sources.values()
            if s.name not in known
        ]
    return [
        {key: s.name, "features": [str(m) for m in s.members], "description": s.description}
        for s in project.feature_sets.values()
        if s.name not in known
    ]


def _tags(features: list[Row]) -> list[Row]:
    counts = Counter(tag for row in features for tag in row["tags"] or ())
    named = {tag: [r["feature"] for r in features if tag in (r["tags"] or ())] for tag in counts}
    return [{"tag": tag, "count": counts[tag], "features": named[tag]} for tag in sorted(counts)]


def inspect(con: DuckDBPyConnection, noun: Noun, name: str) -> Row:
    """All that the catalog says of one feature, entity or source. Raises UsageError for an unknown one."""
    found = {"feature": _feature, "entity": _entity, "source": _source}.get(noun)
    if found is None:
        raise UsageError(f"{noun!r} cannot be inspected", hint=did_you_mean(noun, NOUNS))
    return found(con, name)


def versions(con: DuckDBPyConnection, name: str) -> list[Row]:
    """Versions of a feature, or of a feature set, oldest first. Raises UsageError for an unknown name."""
    rows = reader.versions(con, name) or reader.feature_sets(con, name)
    if not rows:
        known = [r["feature"] for r in reader.features(con)] + [r["feature_set"] for r in reader.feature_sets(con)]
        raise UsageError(f"the catalog has no feature {name!r}", hint=did_you_mean(name, known))
    return rows


def pick(rows: list[Row], key: str, name: str, noun: str) -> Row:
    """The row with that name. Raises UsageError with the nearest one."""
    for row in rows:
        if row[key] == name:
            return row
    raise UsageError(f"the catalog has no {noun} {name!r}", hint=did_you_mean(name, [row[key] for row in rows]))


def _feature(con: DuckDBPyConnection, name: str) -> Row:
    row = pick(reader.features(con), "feature", name, "feature")
    version = Version.parse(row["current_version"])
    versions = reader.versions(con, name)
    current = next(v for v in versions if v["version"] == row["current_version"])
    checks = [c for c in reader.checks(con, name, version) if c["build"] == current["build"]]
    return {
        **row,
        "rows": current["rows"],
        "proof": proof_text(reader.proof(con, name, version)),
        "columns": reader.columns(con, name, version),
        "versions": versions,
        "checks": checks,
        "lineage": reader.lineage(con, name, version),
        "read_by": _readers(con, "feature", name),
    }


def _entity(con: DuckDBPyConnection, name: str) -> Row:
    row = pick(reader.entities(con), "entity", name, "entity")
    return {**row, "features": [f["feature"] for f in reader.features(con) if f["entity"] == name]}


def _source(con: DuckDBPyConnection, name: str) -> Row:
    row = pick(reader.sources(con), "source", name, "source")
    return {**row, "read_by": _readers(con, "source", name)}


def _readers(con: DuckDBPyConnection, kind: str, name: str) -> list[str]:
    """Features of which any version reads that source or feature."""
    edges = reader.lineage(con)
    return sorted({e["feature"] for e in edges if (e["origin_kind"], e["origin"]) == (kind, name)})
