"""Label rows in whatever form they come, as one Arrow table, and the result back in that form."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlforge.errors import RetrievalError
from mlforge.retrieve.fence import HINT, check_select
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from msgspec import Struct
else:
    from msgspec import Struct

RELATION = "_mlforge_labels"

Kind = Literal["arrow", "pandas", "polars", "duckdb", "sql", "path"]
_FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json",
    ".ndjson": "json", ".gz": "csv",
}  # fmt: skip


class Labels(Struct, frozen=True):
    """Label rows as they were read, and where they came from."""

    table: Any  # pyarrow.Table
    kind: Kind
    text: str | None = None  # the path or the SQL
    digest: str | None = None  # of the file


@contextmanager
def label_rows(con: DuckDBPyConnection, given: Any) -> Iterator[Labels]:
    """Label rows, which inside the block are also the relation ``RELATION`` of the connection.

    They are Arrow, pandas, Polars, a DuckDB relation, a path, or SQL text run on the catalog. Raises RetrievalError for
    what is none of these, or cannot be read."""
    if isinstance(given, (str, Path)):
        try:
            yield _from_text(con, str(given))
        finally:
            con.execute(sql("retrieve/forget_labels", relation=RELATION))
        return
    labels = _from_object(given)
    con.register(RELATION, labels.table)
    try:
        yield labels
    finally:
        con.unregister(RELATION)


def _from_object(given: Any) -> Labels:
    module = type(given).__module__.split(".")[0]
    if module == "pyarrow":
        return Labels(_arrow_table(given), "arrow")
    if module == "pandas":
        import pyarrow as pa

        return Labels(pa.Table.from_pandas(given, preserve_index=False), "pandas")
    if module == "polars":
        frame = given.collect() if hasattr(given, "collect") else given
        return Labels(frame.to_arrow(), "polars")
    if hasattr(given, "to_arrow_table"):
        return Labels(given.to_arrow_table(), "duckdb")
    raise RetrievalError(
        f"label rows cannot be of type {type(given).__qualname__}",
        hint="give an Arrow table, a pandas or Polars frame, a DuckDB relation, SQL text, or a path",
    )


def _arrow_table(given: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(given, pa.Table):
        return given
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if isinstance(given, pa.RecordBatchReader):
        return given.read_all()
    raise RetrievalError(f"label rows cannot be a pyarrow {type(given).__name__}", hint="give a Table")


def _from_text(con: DuckDBPyConnection, text: str) -> Labels:
    """A path, a file that holds SQL, or SQL itself."""
    path = Path(text)
    one_line = "\n" not in text and len(text) < 1000
    if one_line and path.suffix.lower() == ".sql" and path.is_file():
        return Labels(_select(con, path.read_text("utf-8")), "sql", path.read_text("utf-8"))
    if one_line and path.suffix.lower() in _FORMATS and " " not in text.strip():
        if not path.is_file():
            raise RetrievalError(f"there are no label rows at {text}", hint="check the path")
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return Labels(_query(con, _file(con, _FORMATS[path.suffix.lower()], str(path))), "path", text, digest)
    return Labels(_select(con, text), "sql", text)


def _select(con: DuckDBPyConnection, text: str) -> pa.Table:
    """The rows of the user's SELECT. Raises RetrievalError for anything else."""
    import duckdb

    try:
        check_select(con, text)
    except duckdb.Error as error:
        raise _unreadable(error) from error
    return _query(con, text)


def _file(con: DuckDBPyConnection, format_: str, path: str) -> str:
    """A query for the rows of a file, whose columns have types that all of its values have."""
    import duckdb

    from mlforge.warehouses.layouts import Misfit, Reader, look

    reader = Reader(format_, {})
    try:
        layout = look(con, reader, [path])[path]
    except Misfit as misfit:
        hint = "give the label rows as SQL that says what it is: SELECT ... FROM read_csv(..., types = {...})"
        raise RetrievalError(
            f"the label rows cannot be read: column {misfit.column!r}: {misfit}", hint=hint
        ) from misfit
    except duckdb.Error as error:
        first = str(error).split("\n", 1)[0]
        raise RetrievalError(
            f"the label rows cannot be read: {first}", hint="label rows are a SELECT or a file"
        ) from error
    return sql("retrieve/file", format=format_, path=path, options=reader.call(layout, layout.read_as()))


def _query(con: DuckDBPyConnection, text: str) -> pa.Table:
    """Keep the rows in a temporary table and hand them out: registering them instead would import pandas."""
    import duckdb

    try:
        con.execute(sql("retrieve/keep_labels", relation=RELATION, query=text.strip().rstrip(";")))
        return arrow(con, f"FROM {RELATION}")
    except duckdb.Error as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> RetrievalError:
    first = str(error).split("\n", 1)[0]
    return RetrievalError(f"the label rows cannot be read: {first}", hint=HINT)


def arrow(con: DuckDBPyConnection, query: str) -> pa.Table:
    """The rows of a query as an Arrow table. Raises RetrievalError if the text is no query.

    DuckDB 2.0 warns about Arrow from ``execute``, and has no ``fetch_arrow_table`` there."""
    relation = con.sql(query)
    if relation is None:
        raise RetrievalError("the label rows are no query", hint=HINT)
    return relation.to_arrow_table()


def as_given(table: pa.Table, kind: Kind) -> Any:
    """A table in the form that label rows came in; Arrow for SQL and paths."""
    if kind == "pandas":
        return table.to_pandas()
    if kind == "polars":
        import polars as pl

        return pl.from_arrow(table)
    if kind == "duckdb":
        import duckdb

        return duckdb.from_arrow(table)
    return table
