"""Which rows of a source a build reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlforge.model import Span


@dataclass(frozen=True)
class Reading:
    """A part of a source's rows; the default is all of them.

    ``carry``: with the column ``_mlforge_part``. ``parts``: rows of these parts alone, of a slice those whose value is
    greater than the number, if there is one. ``column``, with ``spans``: rows of these times alone. ``keys``: rows
    whose columns equal a row of ``relation``, as pairs (column, key). ``kin``: every row of the unique keys found this
    way, tombstones and corrected rows too."""

    carry: bool = False
    parts: tuple[tuple[str, int | None], ...] | None = None
    column: str | None = None
    column_type: str = ""
    spans: tuple[Span, ...] | None = None
    keys: tuple[tuple[str, str], ...] = ()
    relation: str = ""
    kin: bool = False

    @property
    def narrows(self) -> bool:
        """Whether any row may be left out."""
        return self.parts is not None or bool(self.column and self.spans is not None) or bool(self.keys)

    @property
    def needs_part(self) -> bool:
        """Whether the part of each row must be known."""
        return self.carry or self.parts is not None


ALL = Reading()
