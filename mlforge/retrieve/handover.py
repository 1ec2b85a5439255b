"""A training set in the form that its label rows came in: they are as they were, with the features behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlforge.sql.outputs import lost_in_arrow
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa
    from duckdb import DuckDBPyRelation


def relation_table(relation: DuckDBPyRelation) -> pa.Table:
    """The rows of a DuckDB relation; what Arrow has no values for as text."""
    types = {c: str(t) for c, t in zip(relation.columns, relation.types, strict=True)}
    text = {c: "VARCHAR" for c, t in types.items() if lost_in_arrow(t)}
    return (relation.project(_casts(types, text)) if text else relation).to_arrow_table()


def as_relation(table: pa.Table, types: Mapping[str, str]) -> DuckDBPyRelation:
    """A table as a relation of DuckDB's own connection, with the types that columns had."""
    import duckdb

    found = duckdb.from_arrow(table)
    now = {c: str(t) for c, t in zip(found.columns, found.types, strict=True)}
    changed = {c: t for c, t in types.items() if now[c] != t}
    return found.project(_casts(now, changed)) if changed else found


def _casts(columns: Iterable[str], types: Mapping[str, str]) -> str:
    return sql("retrieve/casts", columns=columns, types=types).strip()


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of an Arrow table in Python; columns with times that Python does not have as text."""
    import duckdb
    import pyarrow as pa

    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            columns.append(column.to_pylist())
        except (OverflowError, ValueError):
            found = duckdb.from_arrow(pa.table({name: column}))
            columns.append([v for (v,) in found.project(_casts([name], {name: "VARCHAR"})).fetchall()])
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def dicts(values: Iterable[Any], type_: str) -> list[Any]:
    """Values of a DuckDB type with their maps, which Arrow makes lists of pairs, as dicts."""
    import duckdb

    kind = duckdb.sqltype(type_)
    return [_dicts(value, kind) for value in values]


def _dicts(value: Any, kind: Any) -> Any:
    children = dict(kind.children) if value is not None and kind.id in ("list", "array", "struct", "map") else {}
    if kind.id == "map" and children:
        return {key: _dicts(inner, children["value"]) for key, inner in value}
    if kind.id == "struct" and children:
        return {name: _dicts(value[name], child) for name, child in children.items()}
    return [_dicts(v, children["child"]) for v in value] if children else value


def joined_pandas(frame: pd.DataFrame, features: pa.Table) -> pd.DataFrame:
    """The frame as it is, with its index, and the features behind it: Arrow-backed if all its columns are.

    Whole numbers and truth values among which are NULLs have pandas' types for that: floats would lose digits."""
    import pandas as pd

    backed = len(frame.columns) > 0 and all(isinstance(t, pd.ArrowDtype) for t in frame.dtypes)
    columns = {n: _series(c, backed=backed) for n, c in zip(features.column_names, features.columns, strict=True)}
    made = pd.DataFrame(columns)
    made.index = frame.index
    joined = pd.concat([frame, made], axis=1)
    joined.attrs = dict(frame.attrs)
    return joined


def _series(column: pa.ChunkedArray, *, backed: bool) -> Any:
    import pandas as pd
    import pyarrow as pa

    if backed:
        return column.to_pandas(types_mapper=pd.ArrowDtype)
    kind = column.type
    if column.null_count and (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        name = "boolean" if pa.types.is_boolean(kind) else str(kind).replace("int", "Int").replace("uInt", "UInt")
        nullable = pd.api.types.pandas_dtype(name)
        return column.to_pandas(types_mapper=lambda _kind: nullable)
    return column.to_pandas(integer_object_nulls=True)


def joined(given: Any, kind: str, features: pa.Table, types: Mapping[str, str]) -> Any:
    """Label rows as they were given, and the features' columns behind them. ``types``: of a relation's columns."""
    if kind == "pandas":
        return joined_pandas(given, features)
    if kind == "polars":
        import polars as pl

        made: Any = pl.from_arrow(features)
        return given.hstack(made.get_columns())
    table = given
    for name, column in zip(features.column_names, features.columns, strict=True):
        table = table.append_column(name, column)
    return as_relation(table, types) if kind == "duckdb" else table


def names_of(given: Any) -> Sequence[str]:
    """The names of the columns of label rows in any of their forms."""
    return [str(c) for c in (given.column_names if hasattr(given, "column_names") else given.columns)]
