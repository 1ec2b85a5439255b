"""Printing: tables, JSON, colours. Rich is imported only where a terminal shows it."""

from __future__ import annotations

import datetime
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]
_WIDEST = 60  # characters of a cell in a plain table


def echo(text: str = "", *, err: bool = False, end: str = "\n") -> None:
    """Print a line as it is."""
    print(text, file=sys.stderr if err else sys.stdout, end=end)


def styled(text: str, style: str, *, err: bool = False) -> str:
    """The text in a colour, where a terminal shows it and NO_COLOR is not set."""
    import os

    stream = sys.stderr if err else sys.stdout
    codes = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2, "bold": 1}
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return "".join(f"\033[{codes[s]}m" for s in style.split()) + text + "\033[0m"


def encode(value: Any) -> bytes:
    """A value as compact JSON; times and exact numbers become text."""
    import msgspec

    return msgspec.json.encode(value, enc_hook=str)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    import msgspec

    sys.stdout.write(msgspec.json.format(encode(value), indent=2).decode() + "\n")


def cell(value: Any) -> str:
    """A value as a table shows it."""
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


def table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str = "nothing to show", data: bool = False
) -> None:
    """Print rows as a table with these columns, ``empty`` if there are none.

    ``data``: the rows are the user's, so names stay as they are and NULL is shown."""
    if not rows:
        echo(empty)
        return
    show = _data_cell if data else _meta_cell
    cells = [[show(c, row.get(c)) for c in columns] for row in rows]
    heads = list(columns) if data else [c.replace("_", " ") for c in columns]
    numeric = [all(_is_number(row.get(c)) for row in rows) for c in columns]
    if sys.stdout.isatty():
        _rich_table(cells, heads, numeric)
    else:
        _plain_table(cells, heads, numeric)


def _data_cell(_column: str, value: Any) -> str:
    return "NULL" if value is None else cell(value)


def _meta_cell(column: str, value: Any) -> str:
    """Times of the catalog's own tables, created_at and the like, to the second."""
    timed = column.endswith("_at") and isinstance(value, datetime.datetime)
    return cell(value.replace(microsecond=0) if timed else value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _rich_table(cells: list[list[str]], heads: list[str], numeric: list[bool]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head, right in zip(heads, numeric, strict=True):
        made.add_column(head, justify="right" if right else "left")
    for row in cells:
        made.add_row(*(Text(c) for c in row))
    Console().print(made)


def _plain_table(cells: list[list[str]], heads: list[str], numeric: list[bool]) -> None:
    shown = [[_short(c) for c in row] for row in cells]
    widths = [max(len(head), *(len(row[n]) for row in shown)) for n, head in enumerate(heads)]
    for row in [heads, ["-" * w for w in widths], *shown]:
        parts = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True)]
        echo("  ".join(parts).rstrip())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST else line[: _WIDEST - 1] + "…"


def details(pairs: Mapping[str, Any]) -> None:
    """Print names and values, one a line, leaving out what is not set."""
    shown = {k.replace("_", " "): cell(v) for k, v in pairs.items() if v not in (None, "", [], ())}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        echo(f"{name.ljust(width)}  {value}")


def count(number: int, noun: str) -> str:
    """``1 row``, ``2 rows``, ``1,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
