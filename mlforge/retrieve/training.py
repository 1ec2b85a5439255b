"""Making one training set from an open catalog."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mlforge.errors import RetrievalError, did_you_mean, engine_words
from mlforge.model import proof_text
from mlforge.retrieve import binary_search
from mlforge.retrieve import request as requests
from mlforge.retrieve.arrow_digest import content_hash
from mlforge.retrieve.labels import RELATION, Labels, arrow, column_types
from mlforge.retrieve.labels import label_rows as bound
from mlforge.sql.keys import lossless_cast_sql, require_convertible, surrogate_key_sql
from mlforge.sql.physical import training_set as training_sql
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, FeatureRef, StoredVersion
    from mlforge.retrieve.request import Request
    from mlforge.sql.physical import Member, Physical

GROUP = 3
"""Features a query. Several ASOF joins in one query take several times the memory of one at a time (measured)."""

_TIMES = ("TIMESTAMP", "DATE", '"NULL"')


class TrainingSet(Struct, frozen=True):
    """Label rows with feature columns, and the record of how they were made.

    ``table`` is an Arrow table of what an engine can read of them: see ``data`` for all of it."""

    table: Any  # pyarrow.Table
    kind: str
    record: dict[str, Any]
    labels: Labels | None = None

    @property
    def data(self) -> Any:
        """The label rows as they were given, in their form, with the feature columns behind them."""
        if self.labels is None:
            return self.table
        return self.labels.with_features(self.table.select(self.record["columns"]))


def training_set(
    con: DuckDBPyConnection,
    state: CatalogState,
    features: str | FeatureRef | Iterable[str | FeatureRef],
    label_rows: Any,
    *,
    timestamp: str = "label_time",
    full_names: bool = False,
    rebind: Callable[[StoredVersion], Physical] | None = None,
) -> TrainingSet:
    """Label rows one to one, in their order and with their columns untouched, plus the features' columns at each T.

    ``rebind`` gives the rows of a version where they are not those of the catalog. Raises UsageError for unknown
    features, RetrievalError where label rows and features do not fit together."""
    asked = requests.resolve(state, features)
    if rebind:
        asked = [dataclasses.replace(r, physical=rebind(r.stored)) for r in asked]
    with bound(con, label_rows) as labels:
        names = requests.named(asked, labels.names, full_names=full_names)
        types = column_types(con, RELATION, labels.untyped)
        members = requests.members(asked, names, KeySql(types, asked, labels.left))
        _require_request(members, types, labels.left)
        time_column = _time_column(types, timestamp, members, labels.left)
        columns, statements = _columns(con, members, types, time_column)
    table = labels.table
    for name, column in columns:
        table = table.append_column(name, column)
    record = _record(asked, labels, table, names, time_column, statements)
    return TrainingSet(table, labels.kind, record, labels)


class KeySql:
    """Turns label columns into key values: looked up by name, checked for type, surrogates made of their parts."""

    def __init__(self, types: dict[str, str], asked: Sequence[Request], left: Mapping[str, str] | None = None) -> None:
        self.types = {c.lower(): (c, t) for c, t in types.items()}
        self.left = left or {}
        self.parts = {k: r for r in asked for k in r.physical.keys if r.physical.c.parts}

    def __call__(self, key: str, column: str, key_type: str | None) -> str:
        """SQL over the label rows for a key that a label column holds. Raises RetrievalError if it cannot."""
        found = self.types.get(column.lower())
        if found is not None:
            name, kind = found
            if key_type is None:
                return ident(name)
            require_convertible(name, kind, key, key_type)
            return lossless_cast_sql(ident(name), kind, key_type)
        if key in self.parts:
            return self._surrogate(key)
        _refuse_left(self.left, column, "a key")
        raise RetrievalError(
            f"the label rows have no column {column!r}, a key",
            hint=f"{did_you_mean(column, [c for c, _ in self.types.values()])}; keys= maps a key to another column",
        )

    def _surrogate(self, key: str) -> str:
        request = self.parts[key]
        named = [request.ref.keys.get(p, p) for p in request.physical.c.parts]
        missing = [p for p in named if p.lower() not in self.types]
        for part in missing:
            _refuse_left(self.left, part, "part of a key")
        if missing:
            raise RetrievalError(
                f"the label rows have neither {key!r} nor {', '.join(repr(m) for m in missing)}, of which it is made",
                hint="give the natural columns, or the surrogate key itself",
            )
        found = [self.types[p.lower()] for p in named]
        return surrogate_key_sql([(ident(c), t) for c, t in found])


def _require_request(members: Sequence[Member], types: Mapping[str, str], left: Mapping[str, str]) -> None:
    """Raise RetrievalError where the label rows lack what an on-demand feature is asked with."""
    there = {c.lower() for c in types}
    for feature in (m.feature for m in members):
        for name, kind in feature.c.request.items():
            if name.lower() not in there:
                _refuse_left(left, name, f"a request column of {feature.c.feature}")
                raise RetrievalError(
                    f"the label rows have no column {name!r}, a request column of {feature.c.feature}",
                    hint=f"it is a {kind}; give NULL where it is not known",
                )


def _refuse_left(left: Mapping[str, str], column: str, what: str) -> None:
    """Raise RetrievalError for a column that is there, and that the engine cannot read."""
    if (why := left.get(column.lower())) is not None:
        raise RetrievalError(
            f"label column {column!r}, {what}, cannot be read: {why}", hint="cast it to an ordinary type, or rename it"
        )


def _time_column(
    types: dict[str, str], timestamp: str, members: Sequence[Member], left: Mapping[str, str]
) -> str | None:
    """The label rows' time column as it is spelled; None if there is none and no feature needs one."""
    name = {c.lower(): c for c in types}.get(timestamp.lower())
    if name is None and any(m.feature.timed for m in members):
        _refuse_left(left, timestamp, "their time")
    if name is None and not any(m.feature.timed for m in members):
        return None
    if name is None:
        raise RetrievalError(
            f"the label rows have no column {timestamp!r}, their time", hint=did_you_mean(timestamp, types)
        )
    if not types[name].startswith(_TIMES):
        raise RetrievalError(
            f"label column {name!r} is {types[name]}, not a time",
            hint="cast it to TIMESTAMP; text needs strptime with its format, or to_datetime of pandas",
        )
    return name


def _columns(
    con: DuckDBPyConnection, members: Sequence[Member], types: dict[str, str], time_column: str | None
) -> tuple[list[tuple[str, pa.ChunkedArray]], list[str]]:
    """The feature columns in label order and the SQL that says the same; by binary search where that fits."""
    time_sql = ident(time_column) if time_column else None
    time_type = types[time_column] if time_column else None
    found: dict[str, list[tuple[str, pa.ChunkedArray]]] = {}
    if time_sql and time_type and binary_search.available():
        finder = binary_search.Finder(con, RELATION, time_sql, time_type)
        for m in members:
            rows = _rows(con, m) if m.feature.c.table else 0
            if m.feature.c.table and binary_search.fits(m, rows):
                with _in_words():
                    columns = finder.columns(m, rows)
                if columns is not None:
                    found[m.name] = columns
    left = [m for m in members if m.name not in found]
    for start in range(0, len(left), GROUP):
        group = left[start : start + GROUP]
        table = _queried(con, _query(group, time_sql, time_type))
        # DuckDB 2 spells a column as the one it comes from, in whatever case that is.
        table = table.rename_columns(["_mlforge_row", *(out for m in group for _, out in m.columns)])
        for m in group:
            found[m.name] = [(out, table.column(out)) for _, out in m.columns]
    ran = [_query(members[n : n + GROUP], time_sql, time_type) for n in range(0, len(members), GROUP)]
    return [column for m in members for column in found[m.name]], ran


def _rows(con: DuckDBPyConnection, member: Member) -> int:
    """About how many rows the table of a member has, without reading it."""
    rows = con.execute(sql("retrieve/table_rows", table=member.feature.c.table)).fetchall()
    return int(rows[0][0]) if rows else 0


def _query(group: Sequence[Member], time_sql: str | None, time_type: str | None) -> str:
    return training_sql(group, RELATION, label_time=time_sql, label_type=time_type, with_labels=False)


@contextmanager
def _in_words() -> Iterator[None]:
    """What the engine refuses, such as a key that does not fit, is about these label rows."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        first = engine_words(error)
        raise RetrievalError(f"the features cannot be read for these label rows: {first}") from error


def _queried(con: DuckDBPyConnection, query: str) -> pa.Table:
    with _in_words():
        table = arrow(con, query)
    _check_order(table.column("_mlforge_row"))
    return table


def _check_order(rows: pa.ChunkedArray) -> None:
    """DuckDB 2.0 has handed ordered rows over out of order; columns are put side by side, so that must not pass."""
    import pyarrow as pa
    import pyarrow.compute as pc

    count = len(rows)
    flat = rows.combine_chunks()
    if count and (
        flat[0].as_py() != 1
        or flat[-1].as_py() != count
        or (count > 1 and not pc.all(pc.equal(pc.subtract(flat[1:], flat[:-1]), pa.scalar(1, pa.int64()))).as_py())
    ):
        raise RetrievalError("the engine returned label rows out of order", hint="report this with the DuckDB version")


def _record(
    asked: Sequence[Request],
    labels: Labels,
    table: pa.Table,
    names: Sequence[tuple[str, ...]],
    time_column: str | None,
    statements: Sequence[str],
) -> dict[str, Any]:
    import duckdb

    made = [n for part in names for n in part]
    keys = sorted({r.ref.keys.get(k, k) for r in asked for k in r.physical.keys} & set(labels.table.column_names))
    hashed = [*keys, *([time_column] if time_column and time_column not in keys else []), *made]
    return {
        "features": [r.shown for r in asked],
        "references": [
            {
                "feature": r.ref.name,
                "version": str(r.stored.version),
                "columns": list(r.ref.columns),
                "keys": r.ref.keys,
                "prefix": r.ref.prefix,
            }
            for r in asked
        ],
        "labels": {**labels.record, "content_hash": None if labels.digest else content_hash(labels.table)},
        "label_time": time_column,
        "keys": keys,
        "columns": made,
        "proofs": {n: proof_text(r.stored.compiled.proof) for r, part in zip(asked, names, strict=True) for n in part},
        "rows": table.num_rows,
        "duckdb": duckdb.__version__,
        "hashed": hashed,
        "content_hash": content_hash(table.select(hashed)),
        "sql": list(statements),
    }
