"""``<catalog>.log/``: small files that are never changed, for what read-only work has to record.

Retrieval opens the catalog read-only, so what it records lies here until the next build or gc moves it into the tables.
One record is one JSON file ``<kind>-<id>.json``; ids sort by time."""

from __future__ import annotations

import datetime
import os
import uuid
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlforge.catalog import whole, writer
from mlforge.catalog.lock import refused
from mlforge.catalog.log_records import typed
from mlforge.catalog.whole import whole_file
from mlforge.errors import CatalogError, RecordWarning
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from duckdb import DuckDBPyConnection

PUBLISH, SHOWING = "publish", "showing"
"""Records of publishes that are done, and notes of what one is about to show, which are no tables' (recording.py)."""


_READING = "reading"


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
    content = {"created_at": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z", **record, "id": name}
    path = folder(catalog_path) / f"{kind}-{name}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as (out, _):
            out.write(msgspec.json.encode(content, enc_hook=str))
    except OSError as error:
        raise refused(error, path) from error
    return str(name)


def _files(catalog_path: str | Path, kind: str) -> list[Path]:
    return sorted(folder(catalog_path).glob(f"{kind}-*.json"))


def read(catalog_path: str | Path, kind: str) -> list[dict[str, Any]]:
    """The records of one kind that still lie in the folder, oldest first. A file that is none is left out, with a
    warning."""
    return [record for _, record in _read(_files(catalog_path, kind), kind, "is left out")]


def fitting(kind: str, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the catalog's own records that are of the kind's shape; a warning names the others, which an earlier
    mlforge took in unseen."""
    found = []
    for record in records:
        try:
            typed(kind, record)
        except msgspec.ValidationError as error:
            _warn(f"record {record.get('id')!r} of the catalog is no {kind} record of mlforge and is left out: {error}")
        else:
            found.append(record)
    return found


def _read(paths: Iterable[Path], kind: str, otherwise: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The files that are records of this kind; ``otherwise`` says what becomes of the others."""
    for path in paths:
        try:
            yield path, _decode(path, kind)
        except FileNotFoundError:  # a build has just moved it into the tables
            continue
        except (OSError, msgspec.DecodeError, RecursionError) as error:
            if otherwise == ASIDE and not isinstance(error, PermissionError):
                with suppress(OSError):
                    path.rename(path.with_name(path.name + ".aside"))
            _warn(f"{path} is not a {kind} record of mlforge and {otherwise}: {error}")


ASIDE = "is set aside, as a file that ends in .aside"


def _decode(path: Path, kind: str) -> dict[str, Any]:
    found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    if typed(kind, found).id != path.name[len(kind) + 1 : -len(".json")]:
        raise msgspec.ValidationError("its id is not the one in its name")
    return found


def _warn(text: str) -> None:
    warnings.warn(text, RecordWarning, stacklevel=2)


def sweep(catalog_path: str | Path) -> None:
    """Delete what processes left in the folder that died while they wrote into it."""
    whole.sweep(folder(catalog_path))


@contextmanager
def reading(catalog_path: str | Path, features: list[str]) -> Iterator[None]:
    """Note, until the block ends, versions that are read for what will be recorded. The note of a process that died is
    swept. Where none can be written nothing can be recorded either."""
    path = folder(catalog_path) / f"{_READING}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        note = whole.Note(path, msgspec.json.encode({"features": features}))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        note.delete()


def being_read(catalog_path: str | Path) -> list[dict[str, Any]]:
    """The notes of what is read now. Whoever is still writing one waits for gc, and then looks again."""
    found = []
    for path in folder(catalog_path).glob(f".{_READING}.json.*"):
        with suppress(OSError, msgspec.DecodeError):
            found.append(msgspec.json.decode(path.read_bytes(), type=dict[str, Any]))
    return found


def drop(catalog_path: str | Path, kind: str, which: Callable[[dict[str, Any]], bool]) -> None:
    """Delete the records of one kind that ``which`` holds for; one that cannot be deleted stays."""
    for path, record in _read(_files(catalog_path, kind), kind, "is left out"):
        if which(record):
            with suppress(OSError):
                path.unlink()


def write_if_possible(catalog_path: str | Path, kind: str, record: dict[str, Any], what: str) -> bool:
    """``write`` for the record of what is done: where it cannot be written, a warning says so. Whether it was."""
    try:
        write(catalog_path, kind, record)
    except CatalogError as error:
        not_recorded(what, error)
        return False
    return True


def not_recorded(what: str, error: CatalogError) -> None:
    """Warn that something was done and could not be written down: its outcome is not thrown away for that."""
    text = f"{what} could not be recorded: {error.message}"
    _warn(f"{text} ({error.hint})" if error.hint else text)


def drain(con: DuckDBPyConnection, catalog_path: str | Path) -> list[Path]:
    """Move records of datasets, publishes and verifications into their tables, in the caller's transaction.

    Returns the files that the caller deletes after COMMIT. A crash between leaves files whose records are in the table
    already: they are recognised by id, here and by readers. A file that is no record is set aside, with a warning."""
    return [
        *_drain(con, catalog_path, "dataset", "datasets", _dataset),
        *_drain(con, catalog_path, PUBLISH, "publishes", _publish),
        *_drain(con, catalog_path, "verification", "verifications", _verification),
    ]


def _drain(
    con: DuckDBPyConnection,
    catalog_path: str | Path,
    kind: str,
    table: str,
    row: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[Path]:
    ids = con.execute(sql("catalog/select", table=table, columns=["id"], order=[], where={})).fetchall()
    known = {found[0] for found in ids}
    found = list(_read(_files(catalog_path, kind), kind, ASIDE))
    writer.insert(con, table, (row(record) for _, record in found if record["id"] not in known))
    return [path for path, _ in found]


def _dataset(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": record["id"],
        "created_at": writer.utc(record["created_at"]),
        "features": record["features"],
        "label_kind": record["labels"]["kind"],
        "label_time": record["label_time"],
        "keys": record["keys"],
        "rows": record["rows"],
        "content_hash": record["content_hash"],
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
