"""Which objects of Python hold rows: Arrow tables, Polars and pandas frames, DuckDB relations."""

from __future__ import annotations

from typing import Any

_TYPES = {
    *(("pyarrow", name) for name in ("Table", "RecordBatch", "RecordBatchReader")),
    *(("polars", name) for name in ("DataFrame", "LazyFrame")),
    *(("pandas", "DataFrame"), ("duckdb", "DuckDBPyRelation"), ("_duckdb", "DuckDBPyRelation")),
}
WORDS = "an Arrow table, a Polars or pandas frame, or a DuckDB relation"


def is_rows(value: Any) -> bool:
    """Whether an object is of a kind that is read as rows. Nothing is imported to find out."""
    return any((kind.__module__.partition(".")[0], kind.__name__) in _TYPES for kind in type(value).__mro__)


def kept(value: Any) -> Any:
    """Rows as they are now, which can be read more than once: relations, lazy frames and Arrow readers are computed."""
    if hasattr(value, "to_arrow_table"):  # a DuckDB relation
        return value.to_arrow_table()
    if hasattr(value, "collect"):  # a Polars lazy frame
        return value.collect()
    if hasattr(value, "read_all"):  # an Arrow reader
        return value.read_all()
    if type(value).__name__ == "RecordBatch":
        import pyarrow as pa

        return pa.Table.from_batches([value])
    return value
