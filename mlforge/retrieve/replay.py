"""Making a recorded training set again, and saying what differs if it does not come out the same."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mlforge.errors import CatalogError, MlforgeError, UsageError, did_you_mean
from mlforge.masking import HIDDEN
from mlforge.model import FeatureRef, Pin, Version
from mlforge.retrieve.known_as_of import training_set_as_known
from mlforge.retrieve.request import resolve
from mlforge.retrieve.training import training_set

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, Project
    from mlforge.retrieve.training import TrainingSet

Record = dict[str, Any]


class Replay(Struct, frozen=True, kw_only=True):
    """A dataset made again. ``changed`` says what is not as it was; ``table`` is None if it cannot be made."""

    id: str
    same: bool
    expected: str  # content hash
    found: str | None
    changed: tuple[str, ...] = ()
    table: Any = None


def find(records: Sequence[Record], wanted: str) -> Record:
    """The record whose id is, or alone begins with, ``wanted``. Raises UsageError."""
    found = [r for r in records if r["id"] == wanted] or [r for r in records if r["id"].startswith(wanted)]
    if len(found) == 1:
        return found[0]
    ids = [r["id"] for r in records]
    if found:
        raise UsageError(f"{len(found)} datasets begin with {wanted!r}", hint="write more of the id")
    raise UsageError(f"there is no dataset {wanted!r}", hint=did_you_mean(wanted, ids[-5:]))


def replay(
    con: DuckDBPyConnection, state: CatalogState, record: Record, folder: Path, project: Project | None = None
) -> Replay:
    """Make a dataset again from its record. ``folder`` is the catalog's log folder, where label rows may be kept; the
    sources of ``project`` are read for datasets that were made with known_as_of."""
    changed = [*_versions_gone(state, record), *_labels_changed(record, folder)]
    made: TrainingSet | None = None
    if not any(text.endswith("is gone") for text in changed):
        try:
            made = _make(con, state, record, folder, project)
        except MlforgeError as error:
            changed.append(error.message)
    found = made.record["content_hash"] if made else None
    same = found == record["content_hash"]
    if made and not same:
        changed += _differences(record, made.record)
    return Replay(
        id=record["id"],
        same=same,
        expected=record["content_hash"],
        found=found,
        changed=() if same else tuple(dict.fromkeys(changed)),
        table=made and made.data,
    )


def _versions_gone(state: CatalogState, record: Record) -> list[str]:
    gone = []
    for reference in record["references"]:
        feature = state.features.get(reference["feature"])
        wanted = Version.parse(reference["version"])
        if feature is None or all(v.version != wanted for v in feature.versions):
            gone.append(f"version {wanted} of {reference['feature']} is gone")
    return gone


def _labels_changed(record: Record, folder: Path) -> list[str]:
    labels = record["labels"]
    if labels["kind"] == "path":
        path = Path(labels["text"])
        if not path.is_file():
            return [f"the label file {path} is gone"]
        with path.open("rb") as handle:
            same = hashlib.file_digest(handle, "sha256").hexdigest() == labels["digest"]
        return [] if same else [f"the label file {path} has changed"]
    if _is_kept(labels) and not kept(folder, record["id"]).is_file():
        return [f"the file of label rows {kept(folder, record['id'])} is gone"]
    return []


def _make(
    con: DuckDBPyConnection, state: CatalogState, record: Record, folder: Path, project: Project | None
) -> TrainingSet:
    labels = record["labels"]
    given = kept(folder, record["id"]) if _is_kept(labels) else labels["text"]
    if record.get("known_as_of"):
        if project is None:
            raise UsageError(
                "the dataset was made with known_as_of, from sources", hint="open the project, not a catalog"
            )
        return training_set_as_known(
            con,
            state,
            project,
            references(record),
            given,
            timestamp=record["label_time"] or "label_time",
            full_names=record.get("full_names", False),
            known_as_of=record["known_as_of"],
            ignore_loaded_at=record["ignore_loaded_at"],
        )
    return training_set(
        con,
        state,
        references(record),
        given,
        timestamp=record["label_time"] or "label_time",
        full_names=record.get("full_names", False),
    )


def references(record: Record) -> list[FeatureRef]:
    """The references of a record, each pinned to the version that was read."""
    return [
        FeatureRef(
            name=r["feature"],
            version=_pin(r["version"]),
            columns=tuple(r["columns"]),
            keys=r["keys"],
            prefix=r["prefix"],
        )
        for r in record["references"]
    ]


def _pin(text: str) -> Pin:
    version = Version.parse(text)
    return Pin(version.major, version.minor, version.patch)


def _differences(record: Record, made: Record) -> list[str]:
    """What of the outcome differs, where the inputs look the same."""
    if record["labels"]["kind"] == "sql" and record["labels"]["content_hash"] != made["labels"]["content_hash"]:
        return ["the SQL of the label rows returns other rows than it did"]
    if record["rows"] != made["rows"]:
        return [f"there are {made['rows']} label rows, and were {record['rows']}"]
    if record["columns"] != made["columns"]:
        return [f"the columns are {', '.join(made['columns'])}, and were {', '.join(record['columns'])}"]
    differ = "the values differ, though the label rows and versions are the same"
    if (then := record.get("duckdb")) == made["duckdb"]:
        return [f"{differ}: the catalog was changed by hand"]
    other = f"DuckDB {then}" if then else "another DuckDB, perhaps"
    return [
        f"{differ}: the dataset was made by {other}, and this is {made['duckdb']}; the last digits of ENTROPY, "
        "SKEWNESS, KURTOSIS and QUANTILE_CONT follow its version"
    ]


def _is_kept(labels: Record) -> bool:
    """Whether the record alone does not give the label rows again: they were in memory, or their SQL had a password."""
    return labels["kind"] not in ("path", "sql") or (labels["kind"] == "sql" and HIDDEN in labels["text"])


def kept(folder: Path, dataset: str) -> Path:
    """Where the label rows of a dataset are kept that cannot be had again."""
    return folder / f"labels-{dataset}.parquet"


def keep(state: CatalogState, made: TrainingSet, catalog_path: str, *, full_names: bool) -> None:
    """Keep the record of a training set, and what of its label rows it needs. Where that cannot be written, a warning
    says so, and the record has no ``id``."""
    from mlforge.catalog import log

    made.record["full_names"] = full_names
    made.record["id"] = log.new_id()
    folder = log.folder(catalog_path)
    try:
        keep_labels(state, made, folder)
        log.write(catalog_path, "dataset", made.record)
    except CatalogError as error:
        with suppress(OSError):
            kept(folder, made.record["id"]).unlink(missing_ok=True)
        del made.record["id"]
        log.not_recorded("the training set", error)


def keep_labels(state: CatalogState, made: TrainingSet, folder: Path) -> None:
    """Keep what of label rows that cannot be had again is needed to make the set again: keys, time and request columns.

    Raises CatalogError if the folder cannot be written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mlforge.catalog.lock import refused
    from mlforge.catalog.whole import whole_file

    if not _is_kept(made.record["labels"]):
        return
    table = _needed(state, made)
    path = kept(folder, made.record["id"])
    try:
        folder.mkdir(exist_ok=True)
        with whole_file(path) as (out, _):
            pq.write_table(table, out)
    except pa.ArrowNotImplementedError as error:
        raise CatalogError(f"the label rows cannot be kept for replay: {error}") from error
    except OSError as error:
        raise refused(error, path) from error


def _needed(state: CatalogState, made: TrainingSet) -> pa.Table:
    wanted = {(made.record["label_time"] or "").lower(), (made.record.get("known_as_of") or "").lower()}
    for request in resolve(state, references(made.record)):
        compiled = request.physical.c
        keys = [*request.physical.keys, *compiled.parts]
        wanted |= {request.ref.keys.get(k, k).lower() for k in keys}
        wanted |= {name.lower() for name in compiled.request}
    count = len(made.table.column_names) - len(made.record["columns"])
    return made.table.select([c for c in made.table.column_names[:count] if c.lower() in wanted])
