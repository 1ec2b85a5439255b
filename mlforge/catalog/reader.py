"""Reading the tables of ``mlforge`` on an open connection: as nouns for planning, as plain rows for display."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mlforge.catalog import migrations
from mlforge.errors import CatalogError
from mlforge.masking import masked
from mlforge.model import (
    CatalogState,
    Compiled,
    Definition,
    FeatureConfig,
    FeatureRef,
    Proof,
    Run,
    SourceState,
    StoredFeature,
    StoredSet,
    StoredVersion,
    Version,
)
from mlforge.records import Part
from mlforge.sql.templates import sql, statements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from duckdb import DuckDBPyConnection

T = TypeVar("T")
Row = dict[str, Any]


def state(con: DuckDBPyConnection) -> CatalogState:
    """All that planning and retrieval must know."""
    features, versions, sets = statements(sql("catalog/state"))
    stored = _stored_versions(con.execute(versions).fetchall())
    config = _decoder(FeatureConfig)
    return CatalogState(
        features={
            name: StoredFeature(
                name=name,
                current=Version.parse(current),
                held=held,
                versions=tuple(stored.get(name, ())),
                config=config(settings),
                path=path,
                sql=text,
            )
            for name, current, held, settings, path, text in con.execute(features).fetchall()
        },
        feature_sets=_stored_sets(con.execute(sets).fetchall()),
        last_build=int(con.execute(sql("catalog/next_build")).fetchall()[0][0]) - 1,
        runs=_last_runs(con),
    )


def _last_runs(con: DuckDBPyConnection) -> dict[str, dict[str, Run]]:
    if (migrations.found(con) or 0) < 2:
        return {}
    found: dict[str, dict[str, Run]] = {}
    for row in con.execute(sql("catalog/last_runs")).fetchall():
        run = Run(**dict(zip(Run.__struct_fields__, row, strict=True)))
        found.setdefault(run.feature, {})[run.mode] = run
    return found


def _decoder(kind: type[T]) -> Callable[[str], T]:
    """Decodes equal texts once: the PATCHes of one MINOR share their definition."""
    decoder = msgspec.json.Decoder(kind)

    @cache
    def decode(text: str) -> T:
        try:
            return decoder.decode(text)
        except msgspec.MsgspecError as error:
            raise CatalogError(
                f"the catalog holds what this mlforge cannot read: {error}", hint="upgrade mlforge, or build anew"
            ) from error

    return decode


def _stored_versions(rows: list[tuple[Any, ...]]) -> dict[str, list[StoredVersion]]:
    definition, compiled = _decoder(Definition), _decoder(Compiled)
    states = _decoder(dict[str, SourceState])
    result: dict[str, list[StoredVersion]] = {}
    for feature, major, minor, patch, meaning, plan, held, build, created_at, reason, count in rows:
        stored = StoredVersion(
            feature=feature,
            version=Version(major, minor, patch),
            definition=definition(meaning),
            compiled=compiled(plan),
            source_states=states(held),
            build=build,
            created_at=created_at,
            reason=reason,
            rows=count,
        )
        result.setdefault(feature, []).append(stored)
    return result


def _stored_sets(rows: list[tuple[Any, ...]]) -> dict[str, tuple[StoredSet, ...]]:
    members = _decoder(tuple[FeatureRef, ...])
    result: dict[str, tuple[StoredSet, ...]] = {}
    for name, version, listed, written in rows:
        stored = StoredSet(name=name, version=version, members=members(listed), written=tuple(written))
        result[name] = (*result.get(name, ()), stored)
    return result


_JSON = {
    "config",
    "definition",
    "compiled",
    "source_states",
    "sample",
    "quantiles",
    "top",
    "options",
    "members",
    "arguments",
    "record",
}


def rows(con: DuckDBPyConnection, table: str, columns: Sequence[str], order: Sequence[str], **where: Any) -> list[Row]:
    """Rows of a table of ``mlforge`` as dicts, those that equal every value of ``where`` that is not None."""
    given = {column: value for column, value in where.items() if value is not None}
    found = con.execute(sql("catalog/select", table=table, columns=columns, order=order, where=given)).fetchall()
    return [{c: _plain(c, v) for c, v in zip(columns, row, strict=True)} for row in found]


def _plain(column: str, value: Any) -> Any:
    return msgspec.json.decode(value) if column in _JSON and value is not None else value


def features(con: DuckDBPyConnection) -> list[Row]:
    """Features by name, without their SQL and configuration."""
    columns = (
        "feature",
        "kind",
        "entity",
        "current_version",
        "held",
        "description",
        "owner",
        "tags",
        "path",
        "updated_at",
    )
    return rows(con, "features", columns, ["feature"])


def versions(con: DuckDBPyConnection, feature: str | None = None) -> list[Row]:
    """Versions of one feature, or of all, oldest first."""
    columns = ("feature", "version", "is_current", "change", "reason", "build", "rows", "created_at")
    return rows(con, "versions", columns, ["feature", "major", "minor", "patch"], feature=feature)


def proof(con: DuckDBPyConnection, feature: str, version: Version) -> Proof | None:
    """What is known of a version's leaks; None if it was made before that was looked at."""
    (found,) = rows(con, "versions", ("compiled",), ["version"], feature=feature, version=str(version))
    return msgspec.convert(found["compiled"].get("proof"), Proof | None)


def columns(con: DuckDBPyConnection, feature: str, version: Version) -> list[Row]:
    """Columns of one version, in order."""
    names = ("position", "column_name", "type", "is_key", "is_timestamp", "description", "sql")
    return rows(con, "columns", names, ["position"], feature=feature, version=str(version))


def checks(
    con: DuckDBPyConnection, feature: str | None = None, version: Version | None = None, build: int | None = None
) -> list[Row]:
    """Results of checks, by build, narrowed by what is given."""
    names = (
        "build",
        "feature",
        "version",
        "check_name",
        "column_name",
        "side",
        "severity",
        "rows",
        "failed",
        "passed",
        "sample",
    )
    order = ("build", "feature", "side", "column_name", "check_name")
    return rows(con, "checks", names, order, feature=feature, version=version and str(version), build=build)


def stats(con: DuckDBPyConnection, feature: str, version: Version) -> list[Row]:
    """Statistics of the columns of one version, in order."""
    names = [
        "build",
        "column_name",
        "type",
        "rows",
        "nulls",
        "nans",
        "distinct_count",
        "min",
        "max",
        "mean",
        "std",
        "quantiles",
        "edges",
        "counts",
        "top",
        "sampled",
    ]
    names += ["scope"] if (migrations.found(con) or 0) >= 2 else []
    return rows(con, "stats", names, ["build", "position"], feature=feature, version=str(version))


def lineage(con: DuckDBPyConnection, feature: str | None = None, version: Version | None = None) -> list[Row]:
    """What columns come from, narrowed by what is given."""
    names = ("feature", "version", "column_name", "origin_kind", "origin", "origin_column")
    return rows(con, "lineage", names, names, feature=feature, version=version and str(version))


def sources(con: DuckDBPyConnection) -> list[Row]:
    """Sources as of the newest build that read each. Builds before this mlforge kept paths with their passwords."""
    names = (
        "source",
        "format",
        "path",
        "table_name",
        "timestamp",
        "loaded_at",
        "description",
        "options",
        "build",
        "rows",
        "files",
        "digest",
    )
    return [{**row, "path": row["path"] and masked(row["path"])} for row in rows(con, "sources", names, ["source"])]


def entities(con: DuckDBPyConnection) -> list[Row]:
    """Entities by name."""
    return rows(con, "entities", ("entity", "keys", "types", "parts", "description"), ["entity"])


def feature_sets(con: DuckDBPyConnection, name: str | None = None) -> list[Row]:
    """Versions of one feature set, or of all, oldest first."""
    names = (
        "feature_set",
        "version",
        "is_current",
        "features",
        "written",
        "members",
        "description",
        "build",
        "created_at",
    )
    return rows(con, "feature_sets", names, ["feature_set", "version"], feature_set=name)


def builds(con: DuckDBPyConnection, build: int | None = None) -> list[Row]:
    """Builds, oldest first."""
    names = (
        "build",
        "status",
        "started_at",
        "finished_at",
        "seconds",
        "project",
        "profile",
        "mlforge_version",
        "duckdb_version",
        "built",
        "failed",
        "warnings",
        "arguments",
    )
    return rows(con, "builds", names, ["build"], build=build)


def ledger(con: DuckDBPyConnection, catalog: str, feature: str, version: Version) -> list[Part]:
    """What the newest PATCH of a MAJOR.MINOR has taken in, from an attached catalog; nothing if that is not known."""
    if not con.execute(sql("catalog/has_ledger", catalog=catalog)).fetchall():
        return []
    found = con.execute(sql("catalog/ledger", catalog=catalog, feature=feature, version=version)).fetchall()
    names = ("source", "part", "digest", "rows", "first", "last")
    return [Part(**dict(zip(names, row, strict=True))) for row in found]


def intervals(con: DuckDBPyConnection, feature: str | None = None) -> list[Row]:
    """The ledger: parts of sources that versions have taken in, narrowed by what is given."""
    names = (
        "feature",
        "major",
        "minor",
        "patch_from",
        "patch_to",
        "source",
        "part",
        "digest",
        "rows",
        "first",
        "last",
        "build",
    )
    order = ("feature", "major", "minor", "source", "part", "patch_from")
    return rows(con, "intervals", names, order, feature=feature)


def runs(con: DuckDBPyConnection, feature: str | None = None) -> list[Row]:
    """What each build did for each feature, oldest first."""
    names = ("build", "feature", "version", "mode", "why", "event_rows", "added", "closed", "seconds")
    return rows(con, "runs", names, ["build", "feature"], feature=feature)


def statements_of(con: DuckDBPyConnection, build: int, feature: str | None = None) -> list[Row]:
    """The SQL that a build ran, in order."""
    names = ("position", "feature", "step", "sql", "seconds", "rows")
    return rows(con, "statements", names, ["position"], build=build, feature=feature)


def publishes(con: DuckDBPyConnection, catalog_path: str | Path) -> list[Row]:
    """Records of publishes to online stores, oldest first: those in the table and those in the log folder."""
    from mlforge.catalog import log

    there = (migrations.found(con) or 0) >= 3
    in_table = [row["record"] for row in rows(con, "publishes", ["record"], [])] if there else []
    in_table = log.fitting(log.PUBLISH, in_table)
    by_id = {record["id"]: record for record in [*log.read(catalog_path, log.PUBLISH), *in_table]}
    return sorted(by_id.values(), key=lambda record: (record["created_at"], record["id"]))


def published(con: DuckDBPyConnection, catalog_path: str | Path) -> list[Row]:
    """The newest publish to each store and namespace: what readers see there, as far as this catalog knows."""
    newest = {(r["kind"], r["store"], r["namespace"]): r for r in publishes(con, catalog_path)}
    return list(newest.values())


def naming(con: DuckDBPyConnection, catalog_path: str | Path) -> list[Row]:
    """Records whose ``features`` must stay readable: training sets, those that are made right now too, what online
    stores hold, and what they may hold by now, since a publish began that has not come to its end."""
    from mlforge.catalog import log

    now = (*log.read(catalog_path, log.SHOWING), *log.being_read(catalog_path))
    return [*datasets(con, catalog_path), *published(con, catalog_path), *now]


def datasets(con: DuckDBPyConnection, catalog_path: str | Path) -> list[Row]:
    """Records of training sets, oldest first: those in the table and those that still lie in the log folder."""
    from mlforge.catalog import log

    in_table = log.fitting("dataset", (row["record"] for row in rows(con, "datasets", ["record"], [])))
    by_id = {record["id"]: record for record in [*log.read(catalog_path, "dataset"), *in_table]}
    return sorted(by_id.values(), key=lambda record: (record["created_at"], record["id"]))
