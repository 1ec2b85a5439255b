"""Given rows to tables: of sources before the event rows are read, of features in the place of their building."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.errors import ProjectError, did_you_mean, engine_words
from mlforge.model import Duration, Output
from mlforge.sql.physical import Physical
from mlforge.sql.templates import ident, sql
from mlforge.unit.bench import SCHEMA, table_of
from mlforge.unit.given_values import as_sql, inferred, refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.model import Compiled
    from mlforge.project.unit_tests import Given, Row


def shape(given: Given | None, described: Mapping[str, str] | None, where: str) -> dict[str, str] | None:
    """The columns of a source for one test: as described, with the types that the test states; where nothing describes
    it, by the look of the values. None if nothing at all is known. Raises ProjectError for an unknown column."""
    if given is None:
        return dict(described) if described else None
    if described is None:
        names = dict.fromkeys(column for row in given.rows for column in row.values)
        found = {c: inferred([r.values[c].plain() for r in given.rows if c in r.values]) for c in names}
        return with_types(found, given.columns) or None
    columns = with_types(described, given.columns)
    check_columns(given.rows, columns, where)
    return columns


def with_types(found: Mapping[str, str], stated: Mapping[str, str]) -> dict[str, str]:
    """Columns with the types that a test states, whatever the case of their names."""
    lower = {c.lower(): c for c in found}
    return {**found, **{lower.get(c.lower(), c): kind for c, kind in stated.items()}}


def check_columns(rows: Sequence[Row], columns: Mapping[str, str], what: str) -> None:
    """Raise ProjectError, with the line and the nearest word, for a column that ``what`` does not have."""
    known = {c.lower() for c in columns}
    for row in rows:
        for column, value in row.values.items():
            if column.lower() not in known:
                message = f"{what} has no column {column!r}"
                raise ProjectError(message, where=value.where, hint=did_you_mean(column, columns))


def rows_as_sql(rows: Sequence[Row], columns: Mapping[str, str], what: str) -> list[list[str]]:
    """Rows as SQL values of these columns; what a row leaves out is NULL. Raises ProjectError at the value's line."""
    made = []
    for row in rows:
        by_name = {c.lower(): v for c, v in row.values.items()}
        made.append(
            [
                as_sql(by_name[c.lower()], kind, f"{c!r} of {what}") if c.lower() in by_name else "NULL"
                for c, kind in columns.items()
            ]
        )
    return made


def blame(con: DuckDBPyConnection, rows: Sequence[Row], columns: Mapping[str, str], what: str) -> ProjectError | None:
    """The first value that the engine refuses, as an error at its line."""
    import duckdb

    kinds = {c.lower(): (c, kind) for c, kind in columns.items()}
    for row in rows:
        for column, value in row.values.items():
            if column.lower() not in kinds:
                continue
            name, kind = kinds[column.lower()]
            try:
                con.execute(f"SELECT {as_sql(value, kind, name)}").fetchall()
            except duckdb.Error as error:
                return refused(value, kind, f"{name!r} of {what}", engine_words(error))
    return None


def fill(con: DuckDBPyConnection, table: str, rows: Sequence[Row], columns: Mapping[str, str], what: str) -> None:
    """Put rows into a table. Raises ProjectError, duckdb.Error for a value that only the engine refuses."""
    if rows:
        values = rows_as_sql(rows, columns, what)
        con.execute(sql("unit/fill", table=table, columns=list(columns), rows=values))


def values_sql(rows: Sequence[Row], columns: Mapping[str, str], what: str) -> str | None:
    """A query for rows as values of the engine, so that they can be compared with its own: _mlforge_n, the columns.
    None if there are none. Raises ProjectError at a value's line."""
    if not rows:
        return None
    return sql("unit/values", rows=rows_as_sql(rows, columns, what), columns=list(columns))


def fill_source(con: DuckDBPyConnection, given: Given, columns: Mapping[str, str]) -> None:
    """Put the given rows of a source into its table."""
    fill(con, table_of(given.name), given.rows, columns, given.name)


def view_columns(compiled: Compiled) -> dict[str, str]:
    """The columns of a feature as its view shows them."""
    columns = {k.name: k.type for k in compiled.keys}
    if compiled.timestamp:
        columns[compiled.timestamp] = "TIMESTAMP"
    return columns | {o.name: o.type for o in compiled.outputs}


def identity_of(compiled: Compiled) -> list[str]:
    """The columns in which the rows of a feature's view are unique."""
    return [*(k.name for k in compiled.keys), *([compiled.timestamp] if compiled.timestamp else [])]


def stand_in(compiled: Compiled) -> tuple[Compiled, int]:
    """A feature whose rows are given as its view shows them, and the microseconds from such a row's time to the instant
    from which it is read. The value is that of the newest row; before the first one, what an empty window gives."""
    shift = 0
    outputs = tuple(
        Output(name=o.name, sql=ident(o.name), type=o.type, empty="NULL" if "_mlforge_at" in o.empty else o.empty)
        for o in compiled.outputs
    )
    if compiled.kind == "windows" and compiled.interval is None:  # a row shows the value just after its instant
        shift = (compiled.delay.micros or 0) + (compiled.closed == "left")
        compiled = replace(compiled, interval=Duration(1, "s"))
    return replace(compiled, outputs=outputs, inputs=(), rows=(), aggregates=(), uses_as_of=False), shift


def make_stand_in(con: DuckDBPyConnection, compiled: Compiled, given: Given) -> Compiled:
    """Make the table of a feature whose rows are given. Raises ProjectError, duckdb.Error."""
    columns = view_columns(compiled)
    check_columns(given.rows, columns, compiled.feature)
    table = f"{ident(SCHEMA)}.{ident('_mlforge_ref_' + compiled.feature)}"
    con.execute(sql("unit/table", table=table, columns=columns))
    fill(con, table, given.rows, columns, compiled.feature)
    identity = identity_of(compiled)
    if con.execute(sql("feature/repeats", table=table, keys=identity)).fetchall():
        message = f"the rows given of {compiled.feature} repeat one {', '.join(identity)}"
        raise ProjectError(message, where=given.where, hint="its view is unique in these columns")
    made, shift = stand_in(compiled)
    physical = Physical(made, table)
    con.execute(sql("unit/stand_in", f=physical, table=f"store.{ident(made.table)}", given=table, shift=shift))
    return made
