"""Writing the tables of ``mlforge``, inside the caller's transaction. ``reader`` is the other half."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mlforge.masking import masked
from mlforge.sql.templates import sql, statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.model import (
        Entity,
        Run,
        Source,
        SourceState,
        StoredFeature,
        StoredSet,
        StoredVersion,
        Version,
    )
    from mlforge.records import BuildRecord, CheckResult, ColumnStats, Edge, Part, Statement

Change = Literal["new", "major", "minor", "patch"]

_BATCH = 100  # rows of one INSERT: larger ones take longer to parse than they save


def encode(value: Any) -> str:
    """A value as JSON text; what JSON has no form for becomes text."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def utc(text: str) -> datetime.datetime:
    """An ISO 8601 instant as the catalog keeps it: UTC without a zone. Without a zone it means UTC."""
    at = datetime.datetime.fromisoformat(text)
    return at.astimezone(datetime.UTC).replace(tzinfo=None) if at.tzinfo else at


def insert(con: DuckDBPyConnection, table: str, rows: Iterable[dict[str, Any]]) -> None:
    """Add rows, all with the same columns, to a table of ``mlforge``."""
    todo = list(rows)
    for start in range(0, len(todo), _BATCH):
        batch = todo[start : start + _BATCH]
        con.execute(sql("catalog/insert", table=table, columns=list(batch[0]), rows=[list(r.values()) for r in batch]))


def delete(con: DuckDBPyConnection, table: str, **where: Any) -> None:
    """Delete the rows of a table of ``mlforge`` that equal every given value."""
    con.execute(sql("catalog/delete", table=table, where=where))


def next_build(con: DuckDBPyConnection) -> int:
    """The number that the next build gets. Under the build lock nobody else gets it."""
    return int(con.execute(sql("catalog/next_build")).fetchall()[0][0])


def record_build(con: DuckDBPyConnection, record: BuildRecord) -> None:
    """Add one build."""
    start, end = utc(record.started_at), utc(record.finished_at)
    row = {
        "build": record.build,
        "status": record.status,
        "started_at": start,
        "finished_at": end,
        "seconds": (end - start).total_seconds(),
        "project": record.project,
        "profile": record.profile,
        "mlforge_version": record.mlforge_version,
        "duckdb_version": record.duckdb_version,
        "built": list(record.built),
        "failed": list(record.failed),
        "warnings": list(record.warnings),
        "arguments": encode(record.arguments),
    }
    insert(con, "builds", [row])


def put_feature(con: DuckDBPyConnection, feature: StoredFeature) -> None:
    """Add or replace a feature, and mark its current version, which must be written before or is there already."""
    config = feature.config
    row = {
        "feature": feature.name,
        "kind": feature.versions[-1].compiled.kind,
        "entity": config.entity,
        "current_version": str(feature.current),
        "held": feature.held,
        "description": config.description,
        "owner": config.owner,
        "tags": list(config.tags),
        "path": feature.path,
        "sql": feature.sql,
        "config": encode(config),
        "updated_at": datetime.datetime.now(datetime.UTC).replace(tzinfo=None),
    }
    delete(con, "features", feature=feature.name)
    insert(con, "features", [row])
    set_current(con, feature.name, feature.current, held=feature.held)


def set_current(con: DuckDBPyConnection, feature: str, version: Version, *, held: bool) -> None:
    """Point a feature at one of its versions. ``held``: builds do not move it until it is released."""
    script = sql("catalog/set_current", feature=feature, version=str(version), held=held)
    for statement in statements(script):
        con.execute(statement)


def put_versions(con: DuckDBPyConnection, versions: Sequence[tuple[StoredVersion, Change]]) -> None:
    """Add versions and their columns. None of them is current until ``put_feature`` or ``set_current``."""
    insert(con, "versions", (_version_row(stored, change) for stored, change in versions))
    insert(con, "columns", (row for stored, _ in versions for row in _column_rows(stored)))


def _version_row(stored: StoredVersion, change: Change) -> dict[str, Any]:
    return {
        "feature": stored.feature,
        "version": str(stored.version),
        "major": stored.version.major,
        "minor": stored.version.minor,
        "patch": stored.version.patch,
        "is_current": False,
        "change": change,
        "reason": stored.reason,
        "build": stored.build,
        "rows": stored.rows,
        "table_name": stored.compiled.table,
        "definition": encode(stored.definition),
        "compiled": encode(stored.compiled),
        "source_states": encode(stored.source_states),
        "created_at": utc(stored.created_at),
    }


def _column_rows(stored: StoredVersion) -> Iterable[dict[str, Any]]:
    definition = stored.definition
    keys = {key.name for key in definition.keys}
    for position, column in enumerate(definition.columns, start=1):
        yield {
            "feature": stored.feature,
            "version": str(stored.version),
            "position": position,
            "column_name": column.name,
            "type": column.type,
            "is_key": column.name in keys,
            "is_timestamp": column.name == definition.timestamp,
            "description": column.description,
            "sql": column.sql,
        }


def put_checks(
    con: DuckDBPyConnection, build: int, results: Iterable[CheckResult], versions: Mapping[str, Version]
) -> None:
    """Add what the checks of a build found. ``versions``: what the build made; a feature may be missing there."""
    insert(con, "checks", (_check_row(build, r, versions.get(r.feature)) for r in results))


def _check_row(build: int, result: CheckResult, version: Version | None) -> dict[str, Any]:
    return {
        "build": build,
        "feature": result.feature,
        "version": None if version is None else str(version),
        "check_name": result.check,
        "column_name": result.column,
        "side": result.side,
        "severity": result.severity,
        "rows": result.rows,
        "failed": result.failed,
        "passed": result.passed,
        "sample": encode(result.sample),
    }


def put_stats(
    con: DuckDBPyConnection, build: int, stats: Iterable[ColumnStats], versions: Mapping[str, Version]
) -> None:
    """Add statistics, in the order of the columns. ``versions``: the version of each feature that they describe."""
    position: dict[str, int] = {}
    rows = []
    for found in stats:
        position[found.feature] = position.get(found.feature, 0) + 1
        rows.append(_stats_row(build, found, versions[found.feature], position[found.feature]))
    insert(con, "stats", rows)


def _stats_row(build: int, found: ColumnStats, version: Version, position: int) -> dict[str, Any]:
    return {
        "build": build,
        "feature": found.feature,
        "version": str(version),
        "position": position,
        "column_name": found.column,
        "type": found.type,
        "rows": found.rows,
        "nulls": found.nulls,
        "nans": found.nans,
        "distinct_count": found.distinct,
        "min": found.min,
        "max": found.max,
        "mean": found.mean,
        "std": found.std,
        "quantiles": encode(found.quantiles),
        "edges": list(found.edges),
        "counts": list(found.counts),
        "top": encode(found.top),
        "sampled": found.sampled,
        "scope": found.scope,
    }


def put_lineage(con: DuckDBPyConnection, feature: str, version: Version, edges: Iterable[Edge]) -> None:
    """Add what the columns of one version come from."""
    rows = (
        {
            "feature": feature,
            "version": str(version),
            "column_name": edge.column,
            "origin_kind": edge.kind,
            "origin": edge.origin,
            "origin_column": edge.origin_column,
        }
        for edge in edges
    )
    insert(con, "lineage", rows)


def put_sources(con: DuckDBPyConnection, build: int, sources: Iterable[tuple[Source, SourceState | None]]) -> None:
    """Add or replace sources, with what each held when the build read it."""
    rows = [_source_row(build, source, state) for source, state in sources]
    _replace(con, "sources", "source", rows)


def _source_row(build: int, source: Source, state: SourceState | None) -> dict[str, Any]:
    return {
        "source": source.name,
        "format": source.format,
        "path": source.path and masked(source.path),
        "table_name": source.table,
        "timestamp": source.timestamp,
        "loaded_at": source.loaded_at,
        "description": source.description,
        "options": masked(encode(source.options)),
        "build": build,
        "rows": state.rows if state else None,
        "files": len(state.files) if state else 0,
        "digest": state.digest if state else None,
    }


def put_entities(con: DuckDBPyConnection, entities: Iterable[tuple[Entity, Sequence[str]]]) -> None:
    """Add or replace entities, each with the DuckDB types of its key columns."""
    rows = [
        {
            "entity": entity.name,
            "keys": list(entity.keys),
            "types": list(types),
            "parts": list(entity.parts),
            "description": entity.description,
        }
        for entity, types in entities
    ]
    _replace(con, "entities", "entity", rows)


def _replace(con: DuckDBPyConnection, table: str, key: str, rows: list[dict[str, Any]]) -> None:
    names = [row[key] for row in rows]
    con.execute(sql("catalog/delete_listed", table=table, column=key, listed=names, feature=None))
    insert(con, table, rows)


def put_feature_set(
    con: DuckDBPyConnection, stored: StoredSet, *, build: int, created_at: str, description: str | None = None
) -> None:
    """Add a version of a feature set, which becomes the newest."""
    row = {
        "feature_set": stored.name,
        "version": stored.version,
        "is_current": True,
        "features": [str(member) for member in stored.members],
        "written": list(stored.written),
        "members": encode(stored.members),
        "description": description,
        "build": build,
        "created_at": utc(created_at),
    }
    con.execute(sql("catalog/retire_sets", name=stored.name))
    insert(con, "feature_sets", [row])


def put_parts(con: DuckDBPyConnection, build: int, feature: str, version: Version, parts: Iterable[Part]) -> None:
    """Add what a version has taken in to the ledger."""
    rows = (
        {
            "feature": feature,
            "major": version.major,
            "minor": version.minor,
            "patch_from": version.patch,
            "patch_to": None,
            "source": p.source,
            "part": p.part,
            "digest": p.digest,
            "rows": p.rows,
            "first": _instant(con, p.first),
            "last": _instant(con, p.last),
            "build": build,
        }
        for p in parts
    )
    insert(con, "intervals", rows)


def _instant(con: DuckDBPyConnection, micros: int | None) -> datetime.datetime | str | None:
    """Microseconds as a value that DuckDB takes for a TIMESTAMP: its years go far beyond those of Python."""
    if micros is None:
        return None
    try:
        return datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
    except OverflowError:
        return str(con.execute(f"SELECT CAST(make_timestamp({micros}) AS VARCHAR)").fetchall()[0][0])


def end_parts(con: DuckDBPyConnection, feature: str, version: Version, parts: Sequence[tuple[str, str]] | None) -> None:
    """End entries of the ledger with a PATCH: those of the (source, part) listed, or with None all of them."""
    if parts is None or parts:
        con.execute(sql("catalog/end_intervals", feature=feature, version=version, parts=parts))


def put_runs(con: DuckDBPyConnection, build: int, runs: Iterable[Run]) -> None:
    """Add what a build did for each feature."""
    insert(con, "runs", ({"build": build, **msgspec.structs.asdict(run)} for run in runs))


def put_statements(con: DuckDBPyConnection, build: int, ran: Iterable[Statement]) -> None:
    """Add the SQL that a build ran, in order."""
    rows = (
        {"build": build, "position": position, **msgspec.structs.asdict(statement)}
        for position, statement in enumerate(ran, start=1)
    )
    insert(con, "statements", rows)


def delete_versions(con: DuckDBPyConnection, feature: str, versions: Iterable[Version]) -> None:
    """Forget versions of a feature, for gc, and what they alone took in. Builds and the SQL they ran stay; views and
    rows are not touched."""
    names = [str(version) for version in versions]
    for table in ("versions", "columns", "stats", "checks", "lineage"):
        con.execute(sql("catalog/delete_listed", table=table, column="version", listed=names, feature=feature))
    con.execute(sql("catalog/sweep_intervals"))


def comment(con: DuckDBPyConnection, feature: str, description: str, columns: Mapping[str, str]) -> None:
    """Comments on the view ``features.<feature>`` and on its columns, which must be there."""
    script = sql("catalog/comments", feature=feature, description=description, columns=list(columns.items()))
    for statement in statements(script):
        con.execute(statement)
