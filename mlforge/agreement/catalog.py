"""The catalog's side of a comparison: keys, request columns and instants in bulk, one text for each value out."""

from __future__ import annotations

import decimal
import re
from typing import TYPE_CHECKING, Any

from mlforge.errors import RetrievalError, engine_words
from mlforge.online.evaluate import plain
from mlforge.online.python_times import holds, timely
from mlforge.online.value_text import text
from mlforge.publishing.layout import key_sql, type_tree
from mlforge.retrieve.handover import dicts
from mlforge.retrieve.training import training_set
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from mlforge.agreement.targets import Found
    from mlforge.model import CatalogState
    from mlforge.sql.physical import Physical

AT = "instant of the online read"  # of label rows, whose columns may not have names of mlforge's own
NAMES = "_mlforge_names"
GIVEN = "_mlforge_given_names"
Texts = dict[str, list[str | None]]


def expected(
    con: DuckDBPyConnection,
    state: CatalogState,
    found: Found,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    at: Sequence[int],
) -> Texts:
    """What a training set holds for each entity row at its instant (microseconds since the epoch): a text for each
    value of each column. Raises RetrievalError."""
    c = found.physical.c
    types = {**{k.name: k.type for k in c.keys}, **c.request}
    labels = label_rows(con, [(n, t, [row.get(n) for row in rows]) for n, t in types.items()], at)
    made = training_set(con, state, [found.ref], labels, timestamp=AT, full_names=True).table
    outputs = {o.name: o.type for o in c.outputs}
    return {
        name: _texts(made.column(f"{c.feature}__{name}"), outputs[name], type_tree(outputs[name], c.feature, name))
        for name in columns
    }


def label_rows(con: DuckDBPyConnection, columns: Sequence[tuple[str, str, list[Any]]], at: Sequence[int]) -> pa.Table:
    """Label rows from lists: names, DuckDB types and values of the columns, and their instants as column ``AT``.

    Values become the types as an online read makes them, so that both sides see the same."""
    import duckdb

    query = sql("online/label_rows", columns=[(name, type_) for name, type_, _ in columns], at=AT)
    lists = [[plain(v) for v in values] for *_, values in columns]
    try:
        return con.sql(query, params=[*lists, list(at)]).to_arrow_table()
    except duckdb.Error as error:
        raise RetrievalError(f"these are no entity rows: {engine_words(error)}") from error


def _texts(column: pa.ChunkedArray, type_: str, tree: Any) -> list[str | None]:
    make = canonical(type_)
    if holds(tree):
        return [make(timely(v, tree)) for v in _with_texts(column, tree)]
    values = column.to_pylist()
    if "MAP(" in type_:
        values = dicts(values, type_)
    return [make(v) for v in values]


def _with_texts(column: pa.ChunkedArray, tree: Any) -> list[Any]:
    """The values with text for times: Arrow hands infinite ones, and nanoseconds, to Python as others or not at all."""
    import duckdb
    import pyarrow as pa

    relation = duckdb.from_arrow(pa.table({"v": column}))
    return [v for (v,) in relation.project(sql("online/timely", x=ident("v"), tree=tree)).fetchall()]


def canonical(type_: str) -> Callable[[Any], str | None]:
    """The text of a value of a DuckDB type, whatever Python type it came in: Arrow has no HUGEINT, say."""
    kind = _number(type_.upper())
    return text if kind is None else lambda value: None if value is None else text(kind(value))


def _number(type_: str) -> Callable[[Any], Any] | None:
    if re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", type_):
        return int
    if type_ in ("FLOAT", "DOUBLE"):
        return float
    return _decimal if re.fullmatch(r"DECIMAL\(\d+, ?\d+\)", type_) else None


def _decimal(value: Any) -> decimal.Decimal:
    return value if isinstance(value, decimal.Decimal) else decimal.Decimal(value)


def list_names(con: DuckDBPyConnection, feature: Physical) -> None:
    """Make the table of the names that the keys of a version have in a store (what follows the prefix)."""
    con.execute(sql("online/names", f=feature, key=key_sql(feature.c), table=NAMES))


def some_names(con: DuckDBPyConnection, count: int, seed: int) -> list[bytes]:
    """Some of the listed names, the same for the same seed."""
    found = con.execute(sql("online/some_names", table=NAMES, count=count, seed=seed)).fetchall()
    return [name.encode() for (name,) in found]


def not_listed(con: DuckDBPyConnection, names: Iterable[bytes]) -> list[bytes]:
    """Those of the names that are not listed, in no order."""
    import pyarrow as pa

    con.register(GIVEN, pa.table({"name": pa.array([n.decode(errors="replace") for n in names], pa.string())}))
    try:
        found = con.execute(sql("online/not_listed", table=NAMES, names=GIVEN)).fetchall()
    finally:
        con.unregister(GIVEN)
    return [name.encode() for (name,) in found]


def events(con: DuckDBPyConnection, found: Found, count: int, seed: int) -> list[int]:
    """Instants at which something happens to rows of a version: they become known, or leave windows."""
    from mlforge.verify.sample import stored_labels

    if found.stored.compiled.timestamp is None or not found.stored.compiled.table:
        return []
    import pyarrow as pa

    times = stored_labels(con, found.stored, count, seed).column("label_time")
    return [t for t in times.cast(pa.timestamp("us")).cast(pa.int64()).to_pylist() if t is not None]
