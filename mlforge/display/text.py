"""Blocks to text of a width. Nothing is cut: what is too wide for a table becomes a block for each row, as in psql."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from mlforge.display.blocks import Block, Details, Line, Table, cell, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_GAP = 2
_NARROWEST = 24  # characters that a column of sentences keeps before a table is given up


def render(blocks: Iterable[Block], width: int = 80, style: Callable[[str, str], str] = lambda text, _: text) -> str:
    """The blocks, a blank line between them where one of two is no line. ``style`` puts text into a colour."""
    parts: list[str] = []
    before: Block | None = None
    for block in blocks:
        if before is not None and not (isinstance(block, Line) and isinstance(before, Line)):
            parts.append("")
        parts += _lines(block, width, style)
        before = block
    return "\n".join(parts)


def _lines(block: Block, width: int, style: Callable[[str, str], str]) -> list[str]:
    if isinstance(block, Line):
        return [style(line, block.style) for line in block.text.split("\n")]
    title = [style(block.title, "bold")] if block.title else []
    if isinstance(block, Details):
        return title + details(block.pairs, width)
    more = [f"({block.more:,} more)"] if block.more else []
    return title + (table(block, width) if block.rows else [block.empty]) + more


def details(pairs: Sequence[tuple[str, object]], width: int) -> list[str]:
    """Names and values, one a line; a long value goes on below its beginning."""
    set_ = [(name.replace("_", " "), cell(value)) for name, value in pairs if value not in (None, "", [], ())]
    return _pairs(set_, width)


def _pairs(pairs: Sequence[tuple[str, str]], width: int) -> list[str]:
    indent = max((wide(name) for name, _ in pairs), default=0) + _GAP
    lines = []
    for name, value in pairs:
        head, *rest = wrapped(value, width - indent)
        lines.append(f"{pad(name, indent)}{head}".rstrip())
        lines += [" " * indent + line for line in rest]
    return lines


def table(block: Table, width: int) -> list[str]:
    """A table where it fits, its columns of sentences wrapped if need be; else one block for each row."""
    heads, cells, numeric = shown(block)
    fitting = _widths(heads, cells, width)
    if fitting is None:
        return _records(heads, cells, width)
    lines = [*_row(heads, fitting, numeric), "  ".join("-" * w for w in fitting)]
    for row in cells:
        lines += _row(row, fitting, numeric)
    return lines


def _widths(heads: list[str], cells: list[list[str]], width: int) -> list[int] | None:
    """The width of each column, None where no table fits. Only what has spaces is wrapped, and only between words."""
    columns = list(zip(heads, *cells, strict=True))
    natural = [max(wide(line) for text in column for line in text.split("\n")) for column in columns]
    widths, room = list(natural), width - _GAP * (len(columns) - 1)
    least = [max(min(_NARROWEST, natural[n]), *(longest_word(text) for text in c)) for n, c in enumerate(columns)]
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda n: widths[n] - least[n], default=-1)
        if widest < 0 or widths[widest] <= least[widest]:
            return None
        widths[widest] -= min(widths[widest] - least[widest], sum(widths) - room)
    return widths


def _row(row: list[str], widths: list[int], numeric: list[bool]) -> list[str]:
    parts = [wrapped(text, w) for text, w in zip(row, widths, strict=True)]
    lines = []
    for n in range(max(map(len, parts))):
        texts = [part[n] if n < len(part) else "" for part in parts]
        padded = (pad(t, w, right=right) for t, w, right in zip(texts, widths, numeric, strict=True))
        lines.append((" " * _GAP).join(padded).rstrip())
    return lines


def _records(heads: list[str], cells: list[list[str]], width: int) -> list[str]:
    lines = []
    for number, row in enumerate(cells, 1):
        lines.append(f"-[ {number} ]".ljust(min(width, 40), "-"))
        lines += _pairs(list(zip(heads, row, strict=True)), width)
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most a width, broken between words; a word that is longer stays whole."""
    lines: list[str] = []
    for line in text.split("\n"):
        lines += textwrap.wrap(line, max(width, 1), break_long_words=False, break_on_hyphens=False) or [""]
    return lines


def longest_word(text: str) -> int:
    """The width of the longest word."""
    return max(map(wide, text.split()), default=0)


def wide(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Text filled to a width, at its end or, for ``right``, its beginning."""
    space = " " * (width - wide(text))
    return space + text if right else text + space
