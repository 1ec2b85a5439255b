"""What sources held when a build read them. All are frozen values; none of them does I/O."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class FileLayout(Struct, frozen=True, kw_only=True):
    """What the files of a source that are alike hold: their columns, with the types that all of their values have."""

    types: dict[str, str]
    dialect: dict[str, Any] = {}  # options of the reader, as far as they were found
    padded: dict[str, int] = {}  # columns of whole numbers, all of one width, some with leading zeros
    truths: dict[str, dict[str, str]] = {}  # columns of truth values: how true and false are spelled

    def read_as(self) -> dict[str, str]:
        """The types as a reader is asked for them, to which a column without any value is text."""
        return {c: "VARCHAR" if t == '"NULL"' else t for c, t in self.types.items()}


class FileState(Struct, frozen=True, kw_only=True):
    """One source file as a build saw it. ``digest`` is the SHA-256 of its bytes, hexadecimal."""

    path: str
    size: int
    mtime_ns: int
    digest: str
    layout: int | None = None  # which one of the source's layouts; None: unknown


class TypeChange(Struct, frozen=True, kw_only=True):
    """A column of a source that has another type than a version read it with, and what did it."""

    column: str
    old: str
    new: str
    file: str | None = None  # None: the project says so
    row: int | None = None
    value: str | None = None

    def __str__(self) -> str:
        at = "as the project says" if self.file is None else f"for {self.file}"
        row = "" if self.row is None else f", row {self.row}: {self.value}"
        return f"column {self.column} is {self.new} now, not {self.old}, {at}{row}"


class Slice(Struct, frozen=True, kw_only=True):
    """The rows of a table whose ``loaded_at`` or ``cursor`` lies in one day (or one block of numbers)."""

    name: str
    rows: int
    total: str  # sum of the column's values: microseconds, or the numbers themselves
    last: int | None  # the greatest of them


Span = tuple[int | None, int | None]
"""Event times from the first up to, and without, the second: microseconds since the epoch; None is no bound."""


class SourceState(Struct, frozen=True, kw_only=True):
    """What a source held when a build read it. Equal digests mean equal rows.

    In a stored version it is what the version has taken in: ``spans``, if there are any, are the only event times of
    which rows were taken."""

    digest: str
    files: tuple[FileState, ...] = ()
    slices: tuple[Slice, ...] = ()
    rows: int | None = None  # tables and data objects
    shape: str = ""  # how CSV and JSON files were read, in versions that did not keep their layouts
    layouts: tuple[FileLayout, ...] = ()
    types: dict[str, str] = {}  # columns of files and folders -> the types they are read with
    changes: tuple[TypeChange, ...] = ()  # against the version before
    spans: tuple[Span, ...] = ()

    @property
    def parts(self) -> dict[str, str]:
        """What can change by itself, files or slices, and a digest of each. A source without any is one part."""
        if self.slices:
            return {s.name: f"{s.rows}:{s.total}:{s.last}" for s in self.slices}
        return {f.path: f.digest for f in self.files} or {"": self.digest}
