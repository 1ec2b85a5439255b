"""A training set to a file, whole or not at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlforge.catalog.file import Instance
from mlforge.catalog.whole import sweep, whole_file
from mlforge.errors import RetrievalError, UsageError, engine_words
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

FORMATS = (".parquet", ".csv")


def check_target(path: Path) -> None:
    """Raise UsageError unless ``path`` has a suffix that can be written and lies in a folder that is there."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} has no suffix that mlforge writes", hint="name a .parquet or .csv file")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", hint="make it first")
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="name a file")


def write_table(table: pa.Table, path: Path) -> None:
    """Write an Arrow table as Parquet or CSV, as the suffix says; an older file stays until the new one is whole.

    Raises UsageError as ``check_target`` does, RetrievalError if the file cannot be written."""
    check_target(path)
    sweep(path.parent, re.escape(path.name))
    try:
        with whole_file(path) as (_, temporary):
            (_parquet if path.suffix.lower() == ".parquet" else _csv)(table, temporary)
    except OSError as error:
        raise RetrievalError(f"{path} cannot be written: {error.strerror or error}") from error


def _parquet(table: pa.Table, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.write_table(table, path)
    except pa.ArrowNotImplementedError as error:
        raise RetrievalError(
            f"Parquet cannot hold {', '.join(map(repr, _not_in_parquet(table)))}: {error}",
            hint="cast to another type, or write CSV",
        ) from error


def _not_in_parquet(table: pa.Table) -> list[str]:
    """The columns of types that Parquet does not have: intervals, unions ..."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for name in table.column_names:
        try:
            pq.write_table(table.select([name]).slice(0, 0), pa.BufferOutputStream())
        except pa.ArrowNotImplementedError:
            found.append(name)
    return found


def _csv(table: pa.Table, path: Path) -> None:
    import duckdb

    with Instance() as own:
        con = own.con
        con.register("training_rows", table)
        try:
            con.execute(sql("retrieve/copy_csv", relation="training_rows", path=str(path)))
        except duckdb.IOException as error:
            raise RetrievalError(f"the training set cannot be written: {engine_words(error)}") from error
