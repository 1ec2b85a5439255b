"""``<catalog>.log/``: small files that are never changed, for what read-only work has to record.

Retrieval opens the catalog read-only, so what it records lies here until the next build or gc moves it into the tables.
One record is one JSON file ``<kind>-<id>.json``; ids sort by time."""

from __future__ import annotations

import datetime
import os
import uuid
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlforge.catalog import writer
from mlforge.catalog.lock import refused
from mlforge.errors import CatalogError, NotRecorded
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from duckdb import DuckDBPyConnection

PUBLISH, SHOWING = "publish", "showing"
"""Records of publishes that are done, and notes of what one is about to show, which are no tables' (recording.py)."""


def folder(catalog_path: str | Path) -> Path:
    """The log folder of a catalog; it may not be there."""
    catalog = Path(os.path.realpath(catalog_path))
    return catalog.with_name(catalog.name + ".log")


def new_id() -> str:
    """A name for a record: UTC to the microsecond, then something random."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"


def write(catalog_path: str | Path, kind: str, record: dict[str, Any]) -> str:
    """Add a record and return its id, which is ``record["id"]`` if it has one. ``created_at`` is added if missing.

    Raises CatalogError if the folder cannot be written."""
    name = record.get("id") or new_id()
    now = datetime.datetime.now(datetime.UTC)
    whole = {"created_at": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z", **record, "id": name}
    path = folder(catalog_path) / f"{kind}-{name}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        _write_once(path, msgspec.json.encode(whole, enc_hook=str))
    except OSError as error:
        raise refused(error, path) from error
    return str(name)


def _write_once(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("xb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _files(catalog_path: str | Path, kind: str) -> list[Path]:
    return sorted(folder(catalog_path).glob(f"{kind}-*.json"))


def read(catalog_path: str | Path, kind: str) -> list[dict[str, Any]]:
    """The records of one kind that still lie in the folder, oldest first. Raises CatalogError for a broken file."""
    found = []
    for path in _files(catalog_path, kind):
        try:
            found.append(_decode(path))
        except FileNotFoundError:  # a build has just moved it into the tables
            continue
    return found


def _decode(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise CatalogError(f"{path} is not a record of mlforge: {error}", hint="move the file away") from error


def drop(catalog_path: str | Path, kind: str, which: Callable[[dict[str, Any]], bool]) -> None:
    """Delete the records of one kind that ``which`` holds for; one that cannot be deleted stays."""
    for path in _files(catalog_path, kind):
        with suppress(OSError):
            if which(_decode(path)):
                path.unlink()


def not_recorded(what: str, error: CatalogError) -> None:
    """Warn that something was done and could not be written down: its outcome is not thrown away for that."""
    text = f"{what} could not be recorded: {error.message}"
    warnings.warn(f"{text} ({error.hint})" if error.hint else text, NotRecorded, stacklevel=2)


def drain(con: DuckDBPyConnection, catalog_path: str | Path) -> list[Path]:
    """Move records of datasets, publishes and verifications into their tables, in the caller's transaction.

    Returns the files that the caller deletes after COMMIT. A crash between leaves files whose records are in the table
    already: they are recognised by id, here and by readers."""
    return [
        *_drain(con, catalog_path, "dataset", "datasets", _dataset),
        *_drain(con, catalog_path, PUBLISH, "publishes", _publish),
        *_drain(con, catalog_path, "verification", "verifications", _verification),
    ]


def _drain(
    con: DuckDBPyConnection, catalog_path: str | Path, kind: str, table: str,
    row: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[Path]:  # fmt: skip
    paths = _files(catalog_path, kind)
    ids = con.execute(sql("catalog/select", table=table, columns=["id"], order=[], where={})).fetchall()
    known = {found[0] for found in ids}
    records = [_decode(path) for path in paths]
    writer.insert(con, table, (row(record) for record in records if record["id"] not in known))
    return paths


def _dataset(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": record["id"],
        "created_at": writer.utc(record["created_at"]),
        "features": list(record.get("features") or []),
        "label_kind": (record.get("labels") or {}).get("kind"),
        "label_time": record.get("label_time"),
        "keys": list(record.get("keys") or []),
        "rows": record.get("rows"),
        "content_hash": record.get("content_hash"),
        "record": writer.encode(record),
    }


def _publish(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": record["id"],
        "created_at": writer.utc(record["created_at"]),
        **{name: record[name] for name in ("kind", "store", "namespace", "generation", "features")},
        "record": writer.encode(record),
    }


def _verification(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": record["id"],
        "created_at": writer.utc(record["created_at"]),
        "status": record["status"],
        "features": [f"{f['feature']}@{f['version']}" for f in record["features"]],
        "labels": record["sample"],
        "seed": record["seed"],
        "known_as_of": record["known_as_of"],
        "values": record["values"],
        "mismatched": record["mismatched"],
        "record": writer.encode(record),
    }
