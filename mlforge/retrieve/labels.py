"""Label rows in whatever form they come, as one Arrow table, and the result back in that form."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from mlforge.errors import RetrievalError, engine_words
from mlforge.masking import masked
from mlforge.render.names import RESERVED
from mlforge.retrieve.handover import joined, names_of, relation_table
from mlforge.retrieve.label_sql import HINT, check_select
from mlforge.sql.templates import sql
from mlforge.warehouses.frames import from_pandas, from_polars, library, readable, typed, untyped
from mlforge.warehouses.types import zoned_micros

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from msgspec import Struct
else:
    from msgspec import Struct

RELATION = "_mlforge_labels"

Kind = Literal["arrow", "pandas", "polars", "duckdb", "sql", "path"]
_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
_QUERY = re.compile(r"[\s(]*(select|from|with|values|table|pivot|unpivot|describe|summarize|show)\b", re.IGNORECASE)
_LONGEST = 1000  # characters of a path


class Labels(Struct, frozen=True):
    """Label rows as they were read, and where they came from."""

    table: Any  # pyarrow.Table: the columns that the engine can read
    kind: Kind
    given: Any  # all of them: an Arrow table, or a pandas or Polars frame
    text: str | None = None  # the path or the SQL
    digest: str | None = None  # of the file
    left: dict[str, str] = {}  # columns that the engine cannot read, in lower case, and why
    untyped: frozenset[str] = frozenset()  # columns that hold NULLs, or nothing, and say no type, in lower case
    types: dict[str, str] = {}  # of the columns of a DuckDB relation

    @property
    def record(self) -> dict[str, Any]:
        """Where they came from, as a dataset's record says it: without passwords."""
        text = masked(self.text) if self.text and self.kind == "sql" else self.text
        return {"kind": self.kind, "text": text, "digest": self.digest}

    @property
    def names(self) -> Sequence[str]:
        """Every column, also those that the engine cannot read."""
        return names_of(self.given)

    def with_features(self, features: pa.Table) -> Any:
        """The label rows as they were given, and feature columns behind them; Arrow for SQL and paths."""
        return joined(self.given, self.kind, features, self.types)


@contextmanager
def label_rows(con: DuckDBPyConnection, given: Any) -> Iterator[Labels]:
    """Label rows, which inside the block are also the relation ``RELATION`` of the connection.

    They are Arrow, pandas, Polars, a DuckDB relation, a path, or SQL text run on the catalog. Raises RetrievalError for
    what is none of these, or cannot be read."""
    if isinstance(given, (str, Path)):
        try:
            yield _from_text(con, given)
        finally:
            con.execute(sql("retrieve/forget_labels", relation=RELATION))
        return
    labels = _from_object(con, given)
    con.register(RELATION, typed(labels.table))
    try:
        yield labels
    finally:
        con.unregister(RELATION)


def _from_object(con: DuckDBPyConnection, given: Any) -> Labels:
    module = library(given)
    if module == "pyarrow":
        table = _arrow_table(given)
        return _seen(con, table, {}, "arrow", table)
    if module == "pandas" and hasattr(given, "columns"):
        return _seen(con, *from_pandas(given), "pandas", given)
    frame = given.collect() if module == "polars" and hasattr(given, "collect") else given
    if module == "polars" and hasattr(frame, "get_columns"):
        return _seen(con, *from_polars(frame), "polars", frame)
    if hasattr(given, "to_arrow_table"):
        table = relation_table(given)
        types = {c: str(t) for c, t in zip(given.columns, given.types, strict=True)}
        return replace(_seen(con, table, {}, "duckdb", table), types=types)
    raise RetrievalError(
        f"label rows cannot be of type {type(given).__qualname__}",
        hint="give an Arrow table, a pandas or Polars frame, a DuckDB relation, SQL text, or a path",
    )


def _seen(con: DuckDBPyConnection, table: pa.Table, left: dict[str, str], kind: Kind, given: Any) -> Labels:
    import pyarrow as pa

    if not table.num_rows:  # without rows a type is nobody's intention: pandas makes it up
        table = pa.table([pa.nulls(0)] * table.num_columns, names=table.column_names)
    found, more = readable(con, table)
    return Labels(found, kind, given, left={**left, **more}, untyped=untyped(table))


def column_types(con: DuckDBPyConnection, relation: str, untyped: Collection[str]) -> dict[str, str]:
    """DuckDB's types of label rows. Those without a type hold NULLs, which fit every key and time."""
    types = {c: t for c, t, *_ in con.execute(f"DESCRIBE {relation}").fetchall()}
    return {c: '"NULL"' if c.lower() in untyped else t for c, t in types.items()}


def _arrow_table(given: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(given, pa.Table):
        return given
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if isinstance(given, pa.RecordBatchReader):
        return given.read_all()
    raise RetrievalError(f"label rows cannot be a pyarrow {type(given).__name__}", hint="give a Table")


def _from_text(con: DuckDBPyConnection, given: str | Path) -> Labels:
    """A path, a file that holds SQL, or SQL itself. What is a file is never taken for SQL."""
    text = str(given)
    path = _path(given)
    if path is None:
        return _selected(con, text)
    suffix = _suffix(path)
    if not path.is_file():
        raise RetrievalError(f"there are no label rows at {text}", hint="check the path")
    if suffix == ".sql":
        try:
            return _selected(con, path.read_text("utf-8-sig"))
        except UnicodeDecodeError:
            raise RetrievalError(f"{text} is not UTF-8 text", hint="save it as UTF-8") from None
    if suffix not in _FORMATS:
        raise RetrievalError(
            f"the name of {text} does not tell its format", hint=f"label files end in {', '.join(_FORMATS)} or .sql"
        )
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    labels = _kept(con, _file(con, _FORMATS[suffix], str(path)), "path", text, digest)
    if labels.table.num_rows or suffix not in (".csv", ".tsv"):
        return labels
    return replace(labels, untyped=frozenset(c.lower() for c in labels.names))  # nothing but a header


def _selected(con: DuckDBPyConnection, text: str) -> Labels:
    """The rows of the user's SELECT. Raises RetrievalError for anything else."""
    import duckdb

    try:
        check_select(con, text)
    except duckdb.Error as error:
        raise _unreadable(error) from error
    return _kept(con, text, "sql", text)


def _file(con: DuckDBPyConnection, format_: str, path: str) -> str:
    """A query for the rows of a file, whose columns have types that all of its values have."""
    import duckdb

    from mlforge.warehouses.layouts import look
    from mlforge.warehouses.misfits import Misfit, Reader

    reader = Reader(format_, {})
    try:
        layout = look(con, reader, [path])[path]
    except Misfit as misfit:
        hint = "give the label rows as SQL that says what it is: SELECT ... FROM read_csv(..., types = {...})"
        raise RetrievalError(f"the label rows cannot be read: {misfit.words}", hint=hint) from misfit
    except duckdb.Error as error:
        raise _unreadable(error) from error
    return sql("retrieve/file", format=format_, path=path, options=reader.call(layout, layout.read_as()))


def _path(given: str | Path) -> Path | None:
    """The path that is given, None for SQL: a text that is no file, and is not one with a typing error."""
    if isinstance(given, Path):
        return given
    if "\n" in given or len(given) >= _LONGEST:
        return None
    path = Path(given.strip())
    if os.path.isfile(path):  # noqa: PTH113 - is_file() raises for what is too long for a name
        return path
    return None if _QUERY.match(given) or _suffix(path) not in (*_FORMATS, ".sql") else path


def _suffix(path: Path) -> str:
    """The suffix that says the format, without that of a compression."""
    name = Path(path.name.lower())
    return (Path(name.stem).suffix or ".csv") if name.suffix in (".gz", ".zst") else name.suffix


def _kept(con: DuckDBPyConnection, query: str, kind: Kind, text: str, digest: str | None = None) -> Labels:
    """The rows of a query. The engine has them as a table, which loses the names that are mlforge's own, and of times
    with a zone the nanoseconds."""
    given = table = _query(con, query)
    own = [c for c in table.column_names if c.lower().startswith(RESERVED)]
    if len(own) == table.num_columns:
        own = []
    nanos = {c: zoned_micros(t) for c, t in column_types(con, RELATION, ()).items() if t != zoned_micros(t)}
    if own or nanos:
        table = _query(con, sql("retrieve/readable", relation=RELATION, without=own, nanos=nanos))
    left = dict.fromkeys((c.lower() for c in own), f"names that start with {RESERVED} are mlforge's own")
    return Labels(table, kind, given, text, digest, left)


def _query(con: DuckDBPyConnection, text: str) -> pa.Table:
    """Keep the rows in a temporary table and hand them out: registering them instead would import pandas."""
    import duckdb

    try:
        con.execute(sql("retrieve/keep_labels", relation=RELATION, query=text.strip().rstrip(";")))
        return relation_table(con.sql(f"FROM {RELATION}"))
    except duckdb.Error as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> RetrievalError:
    return RetrievalError(f"the label rows cannot be read: {engine_words(error)}", hint=HINT)


def arrow(con: DuckDBPyConnection, query: str) -> pa.Table:
    """The rows of a query as an Arrow table. Raises RetrievalError if the text is no query.

    DuckDB 2.0 warns about Arrow from ``execute``, and has no ``fetch_arrow_table`` there."""
    relation = con.sql(query)
    if relation is None:
        raise RetrievalError("the label rows are no query", hint=HINT)
    return relation.to_arrow_table()
