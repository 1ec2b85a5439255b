"""Results that display themselves: in a REPL, with ``print``, and in a notebook."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlforge.display.blocks import Block


class Displayed:
    """The base of results. ``_blocks`` says what one holds: its ``repr`` is that as text, IPython shows HTML."""

    __slots__ = ()

    def _blocks(self) -> Iterable[Block]:
        raise NotImplementedError

    def __repr__(self) -> str:
        from mlforge.display.text import render

        return render(self._blocks(), shutil.get_terminal_size().columns)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from mlforge.display.html import render

        return render(self._blocks())
