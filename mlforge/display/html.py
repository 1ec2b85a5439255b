"""Blocks to HTML for notebooks. Colours come from the page (``currentColor``), for light and dark pages alike."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from mlforge.display.blocks import Block, Details, Line, Table, cell, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_EDGE = "border-bottom:1px solid color-mix(in srgb, currentColor 25%, transparent)"
_CELL = "padding:2px 12px 2px 0;text-align:{};vertical-align:top"
_STYLES = {
    "": "",
    "bold": "font-weight:600",
    "dim": "opacity:0.65",
    "green": "color:#2e9e5b",
    "yellow": "color:#b7791f",
    "red": "color:#d64545",
}


def render(blocks: Iterable[Block]) -> str:
    """The blocks as one ``div`` without scripts, classes or requests. All text is escaped."""
    return f'<div class="mlforge" style="font-size:13px;line-height:1.5">{"".join(map(_block, blocks))}</div>'


def _block(block: Block) -> str:
    if isinstance(block, Line):
        return f'<div style="white-space:pre-wrap;{_STYLES[block.style]}">{escape(block.text)}</div>'
    title = f'<div style="{_STYLES["bold"]};margin-top:6px">{escape(block.title)}</div>' if block.title else ""
    if isinstance(block, Details):
        pairs = [(name, value) for name, value in block.pairs if value not in (None, "", [], ())]
        rows = "".join(f"<tr>{_th(name.replace('_', ' '))}{_td(cell(value))}</tr>" for name, value in pairs)
        return f"{title}<table>{rows}</table>"
    more = f'<div style="{_STYLES["dim"]}">({block.more:,} more)</div>' if block.more else ""
    return title + (_table(block) if block.rows else f"<div>{escape(block.empty)}</div>") + more


def _table(block: Table) -> str:
    heads, cells, numeric = shown(block)
    head = "".join(_th(text, right=right) for text, right in zip(heads, numeric, strict=True))
    body = "".join(
        f"<tr>{''.join(_td(text, right=right) for text, right in zip(row, numeric, strict=True))}</tr>" for row in cells
    )
    return f'<table><thead><tr style="{_EDGE}">{head}</tr></thead><tbody>{body}</tbody></table>'


def _th(text: str, *, right: bool = False) -> str:
    return f'<th style="{_CELL.format("right" if right else "left")};font-weight:600">{escape(text)}</th>'


def _td(text: str, *, right: bool = False) -> str:
    style = _CELL.format("right" if right else "left")
    return f'<td style="{style};white-space:pre-wrap">{escape(text)}</td>'
