"""Label rows made of an entity's known keys and a range of times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.duration import in_utc
from mlforge.errors import UsageError, did_you_mean
from mlforge.model import Duration
from mlforge.retrieve.labels import arrow
from mlforge.sql.bind import bind
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    import datetime

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState

_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


def label_grid(
    con: DuckDBPyConnection,
    state: CatalogState,
    entity: str,
    *,
    start: datetime.datetime | str,
    end: datetime.datetime | str,
    every: str,
    timestamp: str = "label_time",
) -> pa.Table:
    """Every key of the entity that a stored feature has, at ``start``, ``start + every`` ... before ``end`` (UTC).

    Rows are sorted by keys and time. Raises UsageError for an unknown entity, a bad duration or an empty range."""
    stored = [f.get(f.current) for f in state.features.values() if f.config.entity == entity]
    tables = [bind(state, s) for s in stored if s.compiled.kind != "on_demand"]
    if not tables:
        known = {f.config.entity for f in state.features.values()}
        raise UsageError(f"no feature of entity {entity!r} is in the catalog", hint=did_you_mean(entity, known))
    first, last = _instant(start, "start"), _instant(end, "end")
    if first >= last:
        raise UsageError(f"the range from {first} to {last} is empty", hint="end lies after start")
    try:
        step = Duration.parse(every)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not step.n:
        raise UsageError("every cannot be 0", hint="write 1d, 1h ...")
    query = sql(
        "retrieve/grid", tables=tables, start=first, end=last, n=step.n, unit=_UNITS[step.unit], timestamp=timestamp
    )
    return arrow(con, query)


def _instant(given: datetime.datetime | str, what: str) -> datetime.datetime:
    """UTC without a zone. Without a zone it means UTC."""
    import datetime as dt

    try:
        return in_utc(dt.datetime.fromisoformat(given) if isinstance(given, str) else given)
    except ValueError as error:
        shown = given if isinstance(given, str) else str(given)
        raise UsageError(f"{what}={shown!r} is no instant", hint="write 2024-03-01 or 2024-03-01T09:00") from error
