"""What only DuckDB can evaluate on reading: on-demand features, and expressions with ``as_of()`` beyond the small set.

The SQL was made when it was published; here it runs over lists of values, once for all rows of a request. DuckDB is
imported when it is first needed (extra ``online-sql``)."""

from __future__ import annotations

import datetime
import decimal
import math
import threading
import uuid
from typing import TYPE_CHECKING, Any

from mlforge.errors import CannotServeError, OnlineError, engine_words
from mlforge.online.key_encoding import scalar
from mlforge.online.python_times import holds, timely

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.online.published import Engine

_local = threading.local()
STATEMENTS = 500
"""Statements that a thread keeps."""


def run(engine: Engine, feature: str, lists: Sequence[list[Any]]) -> list[tuple[Any, ...]]:
    """One row of outputs for each element of the parameters' lists, in order.

    Raises CannotServeError if DuckDB is not installed, OnlineError if it refuses the values."""
    try:
        import duckdb
    except ImportError as error:
        raise CannotServeError(
            f"{', '.join(engine.outputs)} of {feature} need DuckDB to be evaluated, which is not installed",
            hint="pip install 'mlforge[online-sql]', or ask for stored columns only",
        ) from error
    try:
        con, statements = _connection()
        statement = statements.get(engine.sql)
        if statement is None:
            statement = _kept(statements, engine.sql, con)
        found = con.execute(statement, [[plain(v) for v in values] for values in lists]).fetchall()
    except duckdb.Error as error:
        first = engine_words(error)
        raise OnlineError(f"{feature} cannot be evaluated for these entity rows: {first}") from error
    if not any(map(holds, engine.trees)):
        return list(found)
    return [tuple(map(timely, row, engine.trees)) for row in found]


def _connection() -> tuple[DuckDBPyConnection, dict[str, Any]]:
    """One for each thread, in memory, and the statements that it has parsed.

    Things here are small: a second thread would only cost, and so would the optimizer, whose work on a few values takes
    longer than what it saves."""
    import duckdb

    if not hasattr(_local, "con"):
        offline = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        con: DuckDBPyConnection = duckdb.connect(":memory:", config={"threads": 1, **offline})
        con.execute("SET TimeZone = 'UTC'")
        con.execute("PRAGMA disable_optimizer")
        if int(duckdb.__version__.split(".")[0]) > 1:  # what was published before may divide by zero
            con.execute("SET error_on_division_by_zero = false")
        _local.con = con, {}
    found: tuple[DuckDBPyConnection, dict[str, Any]] = _local.con
    return found


def _kept(statements: dict[str, Any], sql: str, con: DuckDBPyConnection) -> Any:
    if len(statements) >= STATEMENTS:  # publishes bring others
        statements.clear()
    (statement,) = con.extract_statements(sql)
    statements[sql] = statement
    return statement


def plain(value: Any) -> Any:
    """Decimals, UUIDs and times as text: the parameter's type makes them what they were, whatever else the list holds,
    as the text of a time that Python does not have. NaN too, at any depth, which DuckDB takes for NULL otherwise. What
    numpy and Arrow have made is Python's own."""
    value = scalar(value)
    if isinstance(value, (decimal.Decimal, uuid.UUID)) or type(value) in (datetime.date, datetime.time):
        return str(value)
    if type(value) is datetime.datetime and value.tzinfo is None:
        return str(value)
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value
    if isinstance(value, (list, tuple)) or type(value).__module__ == "numpy":
        return [plain(v) for v in value]
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value
