"""What a display is made of. A result says in blocks what it holds; text and HTML are made from the same blocks."""

from __future__ import annotations

import datetime
from typing import Any, Literal, TypeAlias

from msgspec import Struct

Style = Literal["", "bold", "dim", "green", "yellow", "red"]


class Line(Struct, frozen=True):
    """One sentence, or several lines of text that stay as they are."""

    text: str
    style: Style = ""


class Table(Struct, frozen=True, kw_only=True):
    """Rows under column names. ``more`` rows were left out at the end.

    ``data``: the rows are the user's, so names stay as they are, NULL is shown and no column is left out. In tables of
    ours, columns in which no row holds anything go, and ``_`` in names is a space."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""
    empty: str = "nothing to show"
    more: int = 0
    data: bool = False


class Details(Struct, frozen=True):
    """Names and values, one under another. What is not set (None, "", empty) is left out."""

    pairs: tuple[tuple[str, Any], ...]
    title: str = ""


Block: TypeAlias = Line | Table | Details


def cell(value: Any) -> str:
    """A value as a display shows it: floats to six digits, times to the microsecond they have, lists by commas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value))
    return str(value)


def shown(table: Table) -> tuple[list[str], list[list[str]], list[bool]]:
    """The heads, the cells as text, and which columns hold only numbers, of the columns that are shown."""
    kept = [
        n
        for n in range(len(table.columns))
        if table.data or any(row[n] not in (None, "", (), []) for row in table.rows)
    ]
    heads = [table.columns[n] if table.data else table.columns[n].replace("_", " ") for n in kept]
    cells = [[_cell(table, n, row[n]) for n in kept] for row in table.rows]
    return heads, cells, [all(_is_number(row[n]) for row in table.rows) for n in kept]


def _cell(table: Table, column: int, value: Any) -> str:
    if table.data:
        return "NULL" if value is None else cell(value)
    if isinstance(value, datetime.datetime) and table.columns[column].endswith("_at"):
        value = value.replace(microsecond=0)  # times of the catalog's own tables
    return cell(value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
