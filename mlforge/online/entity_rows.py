"""Entity rows in all the forms that they are given in, as a list of mappings; and the names of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlforge.errors import OnlineError

FORMS = "give a list of mappings, such as [{'user_id': 42}], a mapping of columns, an Arrow table or a data frame"

_NONE = object()


def rows_of(given: Any) -> Sequence[Mapping[str, Any]]:
    """Rows of a list of mappings as they are; of columns by name, an Arrow table, or a frame of pandas, Polars or
    anything else that speaks Arrow, with None for what is missing. Raises OnlineError for anything else."""
    if type(given) is list and not set(map(type, given)) - {dict}:
        return given
    if isinstance(given, Mapping):
        return _of_columns(given)
    if isinstance(given, Iterator) and not hasattr(given, "__arrow_c_stream__"):
        given = list(given)
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        wrong = next((row for row in given if not isinstance(row, Mapping)), _NONE)
        if wrong is _NONE:
            return given
        raise OnlineError(f"an entity row is a {type(wrong).__name__}, not a mapping", hint=FORMS)
    if hasattr(given, "to_dict") and hasattr(given, "columns") and type(given).__module__.startswith("pandas"):
        return _of_pandas(given)
    if hasattr(given, "collect") and hasattr(given, "collect_schema"):  # a lazy frame
        given = given.collect()
    if hasattr(given, "to_dicts"):  # Polars
        return list(given.to_dicts())
    if hasattr(given, "to_pylist") and hasattr(given, "schema"):  # Arrow
        _distinct(given.schema.names)
        return list(given.to_pylist())
    if hasattr(given, "__arrow_c_stream__"):
        import pyarrow as pa

        return rows_of(pa.table(given))
    raise OnlineError(f"entity rows are given as a {type(given).__name__}", hint=FORMS)


def _of_columns(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    columns = {name: _values(name, values) for name, values in given.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name!r} has {count}" for name, count in lengths.items())
        raise OnlineError(f"columns of the entity rows are not of one length: {said}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(name: str, values: Any) -> list[Any]:
    for way in ("to_pylist", "to_list", "tolist"):  # Arrow, pandas and Polars, numpy
        if hasattr(values, way):
            values = list(map(_present, getattr(values, way)()))
            break
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        return list(values)
    raise OnlineError(
        f"column {name!r} of the entity rows is a {type(values).__name__}, not values one for each row",
        hint="a row by itself goes into a list: [{...}]",
    )


def _of_pandas(given: Any) -> list[dict[str, Any]]:
    _distinct(given.columns)
    rows = given.to_dict("records")
    return [{name: _present(value) for name, value in row.items()} for row in rows]


def _present(value: Any) -> Any:
    """The value, None for what pandas and numpy call missing: NaN, NaT and NA."""
    if value is None or type(value) in (int, str, bool):
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - NaN


def _distinct(names: Any) -> None:
    seen: set[Any] = set()
    for name in names:
        if name in seen:
            raise OnlineError(f"the entity rows have two columns {name!r}")
        seen.add(name)


def value_of(row: Mapping[str, Any], column: str) -> Any:
    """What a row holds under a name, in whatever case it is written. Raises KeyError, and OnlineError where two columns
    differ in case only and neither is written so."""
    try:
        return row[column]
    except KeyError:
        wanted = column.lower()
        found = [name for name in row if isinstance(name, str) and name.lower() == wanted]
        if len(found) > 1:
            both = " and ".join(map(repr, found))
            raise OnlineError(f"columns {both} of an entity row are both {column!r}", hint="leave one away") from None
        if not found:
            raise
        return row[found[0]]
