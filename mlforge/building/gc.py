"""Deleting versions that nobody needs, with their rows, in one commit."""

from __future__ import annotations

import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from mlforge.building.catalog_views import named_versions
from mlforge.catalog import log, reader, writer
from mlforge.catalog.commit import commit
from mlforge.catalog.compact import Compacted
from mlforge.catalog.compact import compact as rewrite
from mlforge.catalog.lock import deleting
from mlforge.model import Version
from mlforge.plan.unneeded import add_read, collect
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from mlforge.catalog.transaction import Transaction
    from mlforge.model import CatalogState, Keep
    from mlforge.plan.unneeded import Named


class Collected(Struct, frozen=True, kw_only=True):
    """What gc deletes, or would: versions as ``name@x.y.z``, whole tables, and rows of tables that stay."""

    versions: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    rows: int | None = None  # None: not counted, as nothing was deleted
    records: int = 0  # of the log folder, moved into the catalog
    compacted: Compacted | None = None


def goners(con: DuckDBPyConnection, state: CatalogState, keep: Keep, catalog_path: str) -> list[Named]:
    """The versions that the policy lets go now."""
    named = _held(con, state, catalog_path)
    return collect(state, keep, named, datetime.datetime.now(datetime.UTC).isoformat())


def _held(con: DuckDBPyConnection, state: CatalogState, catalog_path: str) -> list[Named]:
    """The versions that records name now."""
    pairs = (text.partition("@") for text in named_versions(state, reader.naming(con, catalog_path)))
    return [(feature, Version.parse(version)) for feature, _, version in pairs]


def preview(state: CatalogState, gone: Sequence[Named]) -> Collected:
    """What a run would delete."""
    return Collected(versions=tuple(f"{f}@{v}" for f, v in gone), tables=tuple(_empty_tables(state, gone)))


def _empty_tables(state: CatalogState, gone: Sequence[Named]) -> list[str]:
    """Tables of a MAJOR.MINOR of which no PATCH stays."""
    lost = set(gone)
    return [table for table, versions in _by_table(state) if all(v in lost for v in versions)]


def _by_table(state: CatalogState) -> list[tuple[str, list[Named]]]:
    """Physical tables with the versions that read each; on-demand features have none."""
    everything = [v for feature in state.features.values() for v in feature.versions if v.compiled.kind != "on_demand"]
    pairs = sorted((v.compiled.table, (v.feature, v.version)) for v in everything)
    return [(table, [named for _, named in group]) for table, group in groupby(pairs, key=lambda pair: pair[0])]


def run(
    catalog_path: str, state: CatalogState, gone: Sequence[Named], *, lock_timeout: float, compact: bool = False
) -> Collected:
    """Delete versions, their rows and views, and move the log folder's records in; then write the file anew, if asked.
    The caller holds the build lock.

    Raises CatalogError or LockedError with the catalog as it was."""
    swept: list[int] = []
    drained: list[Path] = []

    def apply(tx: Transaction) -> None:
        nonlocal gone
        held = set(_held(tx.con, state, catalog_path))  # by now: a publish or a training set may have begun since
        add_read(held, state)
        gone = [version for version in gone if version not in held]
        drained[:] = log.drain(tx.con, catalog_path)
        for feature, group in groupby(gone, key=lambda pair: pair[0]):
            _forget(tx.con, feature, [version for _, version in group])
        swept[:] = _sweep(tx, state, gone)

    log.sweep(catalog_path)
    with deleting(catalog_path):
        commit(catalog_path, None, apply, lock_timeout=lock_timeout)
    for path in drained:
        path.unlink(missing_ok=True)
    compacted = rewrite(catalog_path, lock_timeout=lock_timeout) if compact else None
    return replace(preview(state, gone), rows=sum(swept), records=len(drained), compacted=compacted)


def _forget(con: DuckDBPyConnection, feature: str, versions: list[Version]) -> None:
    for version in versions:
        con.execute(sql("feature/drop_view", schema="versions", name=f"{feature}@{version}"))
    writer.delete_versions(con, feature, versions)


def _sweep(tx: Transaction, state: CatalogState, gone: Sequence[Named]) -> list[int]:
    """Drop the tables that nothing reads, and delete rows of the others. Returns the rows deleted of each."""
    lost = set(gone)
    counts = []
    for table, versions in _by_table(state):
        kept = [version.patch for name, version in versions if (name, version) not in lost]
        if not kept:
            tx.drop_table(table)
        elif len(kept) < len(versions):
            counts.append(tx.sweep(table, kept))
    return counts
