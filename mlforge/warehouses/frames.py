"""Tables that others hold, as Arrow tables that the engine can read.

What it cannot read (128-bit integers of Polars, half floats, sparse columns, objects of any kind ...) is left out, with
the reason."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from mlforge.render.names import RESERVED
from mlforge.warehouses.objects import from_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

Left = dict[str, str]
"""Columns that the engine does not get, by their names in lower case, each with the reason."""


def library(rows: Any) -> str:
    """The package that rows are of, such as pandas, also where their class is another's that builds on it."""
    packages = (kind.__module__.partition(".")[0] for kind in type(rows).__mro__)
    return next((p for p in packages if p in ("pyarrow", "pandas", "polars")), "")


def from_pandas(frame: Any) -> tuple[pa.Table, Left]:
    """The columns of a pandas frame that Arrow can hold. The index is none of them; what is missing, NaN too, is NULL
    but in columns that Arrow backs."""
    columns = ((str(name), frame.iloc[:, n]) for n, name in enumerate(frame.columns))
    return _each(columns, _from_series, len(frame))


def _from_series(column: pd.Series) -> pa.Array | pa.ChunkedArray:
    import pandas as pd
    import pyarrow as pa

    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype) and kind.categories.dtype == object:
        column = column.astype(object)
    if column.dtype == object:
        array = from_objects(column.to_numpy())
    elif isinstance(kind, (pd.SparseDtype, pd.PeriodDtype, pd.IntervalDtype)):  # Arrow would keep half of what they say
        raise TypeError(f"a column of {kind}")
    else:
        array = pa.array(column, from_pandas=True)
    return array.cast(pa.float32()) if pa.types.is_float16(array.type) else array


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
        except (pa.ArrowException, TypeError, ValueError, ArithmeticError, NotImplementedError) as error:
            left[name.lower()] = str(error).split("\n", 1)[0]
        else:
            names.append(name)
            found.append(array)
    if not found:  # a table without columns has no rows either
        return pa.table({RESERVED: pa.nulls(rows)}), left
    return pa.table(found, names=names), left


def as_arrow(con: DuckDBPyConnection, data: Any) -> tuple[Any, Left]:
    """An object of Arrow, Polars, pandas or DuckDB as an Arrow table that the engine can read, and what it cannot."""
    if hasattr(data, "to_arrow_table"):  # a DuckDB relation, perhaps of another connection
        data = data.to_arrow_table()
    if hasattr(data, "collect"):  # a Polars lazy frame
        data = data.collect()
    left: Left = {}
    if library(data) == "polars":
        data, left = from_polars(data)
    elif library(data) == "pandas":
        data, left = from_pandas(data)
    if hasattr(data, "select"):
        data, more = readable(con, data)
        left |= more
    return data, left


def readable(con: DuckDBPyConnection, table: pa.Table) -> tuple[pa.Table, Left]:
    """The columns of a table that the engine can read, each under a name of its own."""
    import pyarrow as pa

    table, left = _in_micros(table)
    counts = Counter(name.lower() for name in table.column_names)
    chosen = []
    for n, name in enumerate(table.column_names):
        if name.lower().startswith(RESERVED):
            left[name.lower()] = f"names that start with {RESERVED} are mlforge's own"
        elif name.lower() in left:
            continue
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


def _in_micros(table: pa.Table) -> tuple[pa.Table, Left]:
    """The table with microseconds where the engine has no nanoseconds, or rounds them: times with a zone are floored,
    durations must be whole."""
    import pyarrow as pa
    import pyarrow.compute as pc

    left: Left = {}
    for n, field in enumerate(table.schema):
        kind, column = field.type, table.column(n)
        if pa.types.is_timestamp(kind) and kind.unit == "ns" and kind.tz:
            floored = pc.floor_temporal(column.cast(pa.timestamp("ns")), unit="microsecond")
            table = table.set_column(n, field.name, floored.cast(pa.timestamp("us")).cast(pa.timestamp("us", kind.tz)))
        elif kind == pa.duration("ns"):
            micros = column.cast(pa.duration("us"), safe=False)
            if (row := pc.index(pc.equal(micros.cast(kind), column), False).as_py()) >= 0:
                nanos = column[row].cast(pa.int64())
                left[field.name.lower()] = f"row {row + 1} holds {nanos} nanoseconds ({kind}), which no INTERVAL is"
            table = table.set_column(n, field.name, micros)
        elif "duration[ns]" in str(kind):
            left[field.name.lower()] = f"an INTERVAL has no nanoseconds, and these are {kind}"
    return table, left


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
