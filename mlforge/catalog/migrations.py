"""The numbered changes of the catalog's own shape (schema ``mlforge``), and which of them a file has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mlforge.sql.templates import sql, statements

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Migration(NamedTuple):
    """One change. ``template`` is a script below ``sql_templates/``, never edited once released."""

    id: int
    name: str
    template: str


MIGRATIONS = (
    Migration(1, "init", "catalog/001_init"),
    Migration(2, "intervals", "catalog/002_intervals"),
    Migration(3, "publishes", "catalog/003_publishes"),
    Migration(4, "verifications", "catalog/004_verifications"),
)

OLDEST_READABLE = 1
"""Catalogs from this migration on can be read without migrating them: what came later only added."""


def latest() -> int:
    """The newest migration this mlforge knows."""
    return MIGRATIONS[-1].id


def found(con: DuckDBPyConnection) -> int | None:
    """The newest migration of the open catalog; None if the file holds no catalog of mlforge."""
    if not con.execute(sql("catalog/has_catalog")).fetchall():
        return None
    rows = con.execute("SELECT coalesce(max(id), 0) FROM mlforge.migrations").fetchall()
    return int(rows[0][0])


def migrate(con: DuckDBPyConnection) -> list[int]:
    """Apply what is missing, inside the caller's transaction. Returns the migrations that were applied."""
    have = found(con) or 0
    missing = [m for m in MIGRATIONS if m.id > have]
    for migration in missing:
        for statement in statements(sql(migration.template)):
            con.execute(statement)
        con.execute(sql("catalog/record_migration", id=migration.id, name=migration.name, version=_mlforge_version()))
    return [m.id for m in missing]


def _mlforge_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mlforge")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "unknown"
