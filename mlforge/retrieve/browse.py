"""Looking at the rows and the statistics of one version of a feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlforge.catalog import reader
from mlforge.errors import UsageError, did_you_mean, engine_words
from mlforge.project.ref_grammar import parse_ref
from mlforge.retrieve.request import resolve
from mlforge.sql.physical import view
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duckdb import DuckDBPyConnection

    from mlforge.retrieve.request import Request

VIEW = "_mlforge_shown"


def _only(con: DuckDBPyConnection, reference: str) -> Request:
    (request,) = resolve(reader.state(con), parse_ref(reference))
    return request


def show(
    con: DuckDBPyConnection, reference: str, limit: int, where: Mapping[str, str]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The newest rows of a version, as names and rows: keys, timestamp, the columns that were asked for.

    Raises UsageError for an unknown name, and for an on-demand feature, which has no rows."""
    import duckdb

    request = _only(con, reference)
    compiled = request.physical.c
    if compiled.kind == "on_demand":
        hint = f"mlforge training-set --features {compiled.feature} computes it for label rows"
        raise UsageError(f"{compiled.feature} is computed on demand and has no rows", hint=hint)
    keys = {k.name: k.type for k in compiled.keys}
    for name in where:
        if name not in keys:
            raise UsageError(f"{compiled.feature} has no key {name!r}", hint=did_you_mean(name, keys))
    columns = [*keys, *([compiled.timestamp] if compiled.timestamp else []), *request.columns]
    given = [(name, keys[name], value) for name, value in where.items()]
    con.execute(view("", VIEW, request.physical))
    text = sql("retrieve/show", view=VIEW, columns=columns, where=given, timestamp=compiled.timestamp, limit=limit)
    try:
        return columns, con.execute(text).fetchall()
    except duckdb.ConversionException as error:
        reason = engine_words(error)
        raise UsageError(f"the key does not fit: {reason}", hint=f"the key is {keys}") from error


def stats(con: DuckDBPyConnection, reference: str) -> list[dict[str, Any]]:
    """Statistics of the columns of a version. Raises UsageError for an unknown name."""
    request = _only(con, reference)
    asked = set(request.columns)
    rows = reader.stats(con, request.ref.name, request.stored.version)
    return [row for row in rows if row["column_name"] in asked]
