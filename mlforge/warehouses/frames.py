"""Tables that others hold, as Arrow tables that the engine can read.

What it cannot read (128-bit integers of Polars, half floats, sparse columns, objects of any kind ...) is left out, with
the reason."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from mlforge.render.names import RESERVED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

Left = dict[str, str]
"""Columns that the engine does not get, by their names in lower case, each with the reason."""


def from_pandas(frame: Any) -> tuple[pa.Table, Left]:
    """The columns of a pandas frame that Arrow can hold. The index is none of them."""
    import pyarrow as pa

    columns = ((str(name), frame.iloc[:, n]) for n, name in enumerate(frame.columns))
    return _each(columns, pa.Array.from_pandas, len(frame))


def from_polars(frame: Any) -> tuple[pa.Table, Left]:
    """The columns of a Polars frame that Arrow can hold. Objects would go over as their addresses in memory."""
    import polars as pl

    def converted(column: pl.Series) -> Any:
        if column.dtype == pl.Object:
            raise TypeError("Python objects of any kind")
        return column.to_frame().to_arrow().column(0)

    return _each(((c.name, c) for c in frame.get_columns()), converted, len(frame))


def _each(columns: Iterable[tuple[str, Any]], convert: Callable[[Any], Any], rows: int) -> tuple[pa.Table, Left]:
    import pyarrow as pa

    found, names, left = [], [], {}
    for name, column in columns:
        try:
            array = convert(column)
        except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
            left[name.lower()] = str(error).split("\n", 1)[0]
        else:
            names.append(name)
            found.append(array)
    if not found:  # a table without columns has no rows either
        return pa.table({RESERVED: pa.nulls(rows)}), left
    return pa.table(found, names=names), left


def readable(con: DuckDBPyConnection, table: pa.Table) -> tuple[pa.Table, Left]:
    """The columns of a table that the engine can read, each under a name of its own."""
    import pyarrow as pa

    left: Left = {}
    counts = Counter(name.lower() for name in table.column_names)
    chosen = []
    for n, name in enumerate(table.column_names):
        if name.lower().startswith(RESERVED):
            left[name.lower()] = f"names that start with {RESERVED} are mlforge's own"
        elif counts[name.lower()] > 1:
            left[name.lower()] = "more than one column has this name"
        else:
            chosen.append(n)
    if not _bound(con, table.select(chosen)):
        unread = {n: why for n in chosen if (why := _refused(con, table.select([n])))}
        left |= {table.column_names[n].lower(): why for n, why in unread.items()}
        chosen = [n for n in chosen if n not in unread]
    if not chosen:
        return pa.table({RESERVED: pa.nulls(len(table), pa.int8())}), left
    return table.select(chosen), left


def typed(table: pa.Table) -> pa.Table:
    """The table with text in place of columns without a type, which DuckDB 1.5 takes for integers."""
    import pyarrow as pa

    for n, field in enumerate(table.schema):
        if pa.types.is_null(field.type):
            table = table.set_column(n, field.name, pa.nulls(len(table), pa.string()))
    return table


def untyped(table: pa.Table) -> frozenset[str]:
    """The columns that hold nothing but NULLs and say no type, in lower case."""
    import pyarrow as pa

    return frozenset(field.name.lower() for field in table.schema if pa.types.is_null(field.type))


def _bound(con: DuckDBPyConnection, table: pa.Table) -> bool:
    return not table.num_columns or _refused(con, table) is None


def _refused(con: DuckDBPyConnection, table: pa.Table) -> str | None:
    """Why the engine refuses the types of a table, None if it does not."""
    import duckdb

    try:
        con.register("_mlforge_tried", table.slice(0, 0))
        con.execute("DESCRIBE _mlforge_tried").fetchall()
    except duckdb.Error as error:
        return f"DuckDB cannot read Arrow's {', '.join(str(t) for t in table.schema.types)}: {type(error).__name__}"
    finally:
        con.unregister("_mlforge_tried")
    return None
