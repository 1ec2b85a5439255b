"""How files are read, how many of their values are of a type, and the first that is not."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mlforge.sql.templates import sql
from mlforge.warehouses.nested import shape, texts
from mlforge.warehouses.types import common, is_number, normal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from duckdb import DuckDBPyConnection

    from mlforge.model import FileLayout, Source
    from mlforge.warehouses.nested import Steps

_FILE = "_mlforge_file"
_OURS = {"columns", "types", "names", "all_varchar", "sample_size", "union_by_name", "filename"}
_FOLDERS = {"hive_partitioning", "hive_types"}
ZONED = "TIMESTAMP WITH TIME ZONE"
GUESSED = 20_480  # rows
_DECIMALS = ("DECIMAL(38,9)", "DECIMAL(38,18)")  # of whole numbers beside fractions
_NUMBER = re.compile(r"\s*[+-]?\d*(\d|\.\d+)\s*")
_SPOILED = ("DOUBLE", "DATE", ZONED)  # what a column would be without a word among its values


class Misfit(Exception):
    """A value or a file whose type does not fit its column. ``types`` are what it has, and what it should have."""

    def __init__(
        self, column: str, text: str, types: Iterable[str], value: str | None = None, keeps: str | None = None
    ) -> None:
        """``keeps``: the type that would keep every value, where the types do not say it."""
        super().__init__(text)
        self.column = column
        self.types = tuple(types)
        self.value = value
        self.keeps = keeps
        self.word: str | None = None  # a text of a CSV file that may mean nothing

    @property
    def words(self) -> str:
        """What does not fit, with the column."""
        return f"column {self.column!r}: {self}"

    @property
    def hint(self) -> str:
        """What to do about it."""
        if not self.types:
            return "check the names of the columns"
        say = f"say what it is: {self.declared}; or mend the files"
        return f"{nothing(self.word)}; else {say}" if self.word else say

    @property
    def declared(self) -> str:
        """What to write so that the column has one type."""
        return f"types: {{{_plain(self.column)}: {self.proposed}}}"

    @property
    def proposed(self) -> str:
        """The type that keeps every value, as it is written there."""
        kind = self.keeps or self.candidates[0]
        return f"'{kind}'" if re.search(r"[^\w ]", kind) else kind

    @property
    def candidates(self) -> list[str]:
        """Types that may keep every value, the best first; the last one does."""
        old, new = self.types
        instant = next((t for t in (ZONED, *self.types) if t in self.types and t.startswith("TIMESTAMP")), None)
        if instant and all(t == "DATE" or t.startswith("TIMESTAMP") for t in self.types):
            return ["TIMESTAMPTZ" if instant == ZONED else instant]
        if all(t.endswith("[]") for t in self.types):
            return ["VARCHAR[]"]
        if is_number(old) and is_number(new):
            return list(dict.fromkeys([old, common(old, new) or old, *_DECIMALS, "VARCHAR"]))
        number = old == "VARCHAR" and is_number(new) and _NUMBER.fullmatch(self.value or "")
        return ["BIGINT", "DOUBLE", "DECIMAL(38,0)", *_DECIMALS, "VARCHAR"] if number else ["VARCHAR"]


def _plain(text: str) -> str:
    """A text as it can stand between the braces of YAML."""
    return text if re.fullmatch(r"[\w ]*\w", text) else json.dumps(text, ensure_ascii=False)


class Misread(Misfit):
    """A file that would not be read as it is meant, whatever its columns hold."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__("", text, ())
        self._hint = hint

    @property
    def words(self) -> str:
        """What is wrong with the file."""
        return str(self)

    @property
    def hint(self) -> str:
        """What to do about it."""
        return self._hint


@dataclass(frozen=True)
class Reader:
    """How the files of a source are read."""

    format: str
    options: Mapping[str, Any]  # as the user gave them
    declared: Mapping[str, str] = field(default_factory=dict)  # column in lower case -> its type
    shown: Callable[[str], str] = str  # a path as messages name it

    @classmethod
    def of(cls, source: Source, shown: Callable[[str], str]) -> Reader:
        """The reader of a source. ``columns`` and ``types`` among its options declare types as ``types`` does."""
        given = source.options
        stated = {**(given.get("columns") or {}), **(given.get("types") or {}), **source.types}
        return cls(source.format, given, {c.lower(): normal(t) for c, t in stated.items()}, shown)

    def with_header(self) -> Reader:
        """The reader of files that are known to have a header."""
        return replace(self, options={**self.options, "header": True})

    @property
    def passed(self) -> dict[str, Any]:
        """The user's options of the reader itself."""
        return {k: v for k, v in self.options.items() if k not in _OURS | _FOLDERS}

    def physical(self, column: str, found: str) -> str:
        """The type that a column is read with from a file of text: what is declared is proven text by text, also within
        lists and objects of JSON."""
        kind = self.declared.get(column.lower())
        if kind is None:
            return found
        return texts(kind) if self.format == "json" else "VARCHAR"

    def call(self, layout: FileLayout, types: Mapping[str, str]) -> dict[str, Any]:
        """Options that read files of a layout, with these types where the files do not say their own."""
        if self.format == "parquet":
            return self.passed
        fixed = {**layout.dialect, "auto_detect": False} if self.format == "csv" else {}
        return {**fixed, **self.passed, "columns": dict(types)}

    def how(self, layout: FileLayout) -> dict[str, Any]:
        """What a cast from text must know."""
        return {**layout.dialect, **self.passed}

    def key(self) -> str:
        """What of the settings decides how a file is looked at; a file that is the same need not be looked at again."""
        if self.format == "parquet":
            return ""
        return msgspec.json.encode([self.format, self.options, sorted(self.declared)], order="deterministic").decode()


class Place(NamedTuple):
    """A column of one file."""

    file: str
    layout: FileLayout
    column: str


class Wanted(NamedTuple):
    """What values should be: of a type, which the user ``declared`` or DuckDB guessed; with ``width`` texts of this
    width, with ``said`` those that say a truth value in this way."""

    type: str
    width: int | None = None
    said: str | None = None
    declared: bool = False


def find(con: DuckDBPyConnection, reader: Reader, place: Place, old: str, wanted: Wanted) -> tuple[int, str] | None:
    """The first row, and its value, where a column that is read as ``old`` holds what is not ``wanted``; of a list or
    an object, where it lies within."""
    (file, layout, column), new = place, wanted.type
    text = texts(new) if old == "VARCHAR" else old
    kinds = dict.fromkeys(layout.types, "VARCHAR")
    kinds |= {c: text if reader.format == "json" else old for c in kinds if c.lower() == column.lower()}
    places: list[tuple[Steps, str]] = [((), new)]
    if text != old:  # every value in a list is looked at; of CSV the text of the list, too
        places = [*([((), text)] if reader.format == "csv" else []), *shape(new).leaves()]
    found: list[tuple[int, str]] = []
    for steps, kind in places:
        found += con.execute(
            sql(
                "warehouse/find_misfit",
                format=reader.format,
                file=file,
                options=reader.call(layout, kinds),
                column=column,
                old=old,
                new=kind,
                width=wanted.width,
                said=wanted.said,
                steps=steps,
                texts=text,
                how={**reader.how(layout), "guessed": not wanted.declared},
            )
        ).fetchall()
    return min(found, default=None)


def keeping(
    con: DuckDBPyConnection, reader: Reader, layouts: Mapping[str, FileLayout], column: str, kinds: Iterable[str]
) -> str:
    """The first of these types that every value of a column in these files is, or else the last."""
    *tried, last = kinds
    held = [
        (Place(file, layout, name), "VARCHAR" if reader.format != "parquet" else old)
        for file, layout in layouts.items()
        for name, old in layout.types.items()
        if name.lower() == column.lower()
    ]
    for kind in tried:
        if not any(find(con, reader, *at, Wanted(kind, declared=True)) for at in held):
            return kind
    return last


Counts = dict[tuple[str, str, str], list[int]]


def count(
    con: DuckDBPyConnection,
    reader: Reader,
    layout: FileLayout,
    files: list[str],
    asked: list[tuple[str, str]],
    rows: int | None = None,
) -> tuple[Counts, dict[tuple[str, str], list[str | None]]]:
    """For each file, column and type asked for what ``count_fits`` counts, in the first ``rows`` of them all, and how
    files spell truth values."""
    options = {**reader.call(layout, dict.fromkeys(layout.types, "VARCHAR")), "filename": _FILE}
    found = con.execute(
        sql(
            "warehouse/count_fits",
            format=reader.format,
            files=files,
            options=options,
            asked=asked,
            rows=rows,
            how={**reader.how(layout), "guessed": True},
        )
    ).fetchall()
    counts = {(file, c, k): n for file, *numbers, _ in found for (c, k), n in zip(asked, numbers, strict=True)}
    truths = [c for c, kind in asked if kind == "BOOLEAN"]
    spelled = {(row[0], c): row[-1][4 * n : 4 * n + 4] for row in found for n, c in enumerate(truths)}
    return counts, spelled


def nothing(word: str) -> str:
    """The hint for a word where a value should be, such as N/A."""
    quoted = word if word == "N/A" else "'" + word.replace("'", "''") + "'"
    return f"if it means that there is none: options: {{nullstr: {quoted}}} of the source"


def is_word(text: str) -> bool:
    """Whether a text cannot have been meant as a number or a time."""
    return not any(c.isdigit() for c in text)


def odd_one(con: DuckDBPyConnection, reader: Reader, place: Place) -> tuple[str, int, str] | None:
    """Of a column of text that holds numbers or times but for a few words: their type, the first row with a word, and
    that word. The rows from which DuckDB guesses say it: of a word behind them a column is no text."""
    file, layout, column = place
    counts, _ = count(con, reader, layout, [file], [(column, kind) for kind in _SPOILED], GUESSED)
    for kind in _SPOILED:
        values, fit = counts.get((file, column, kind), [0, 0])[:2]
        if fit < values < 2 * fit and (found := find(con, reader, place, "VARCHAR", Wanted(kind))):
            return kind, *found
    return None


def mixed_width(file: str, found: tuple[int, str], beside: str) -> str:
    """The words for numbers that would be merged, as 7 and 007."""
    return f"row {found[0]} of {file} says {found[1]!r}, beside {beside}: as numbers 7 and 007 would be one"


def two_truths(column: str, file: str, row: int, text: str, beside: str, truth: str) -> Misfit:
    """The error for texts that would be merged, as t and true."""
    words = f"row {row} of {file} says {text!r}, beside {beside}: as BOOLEAN both would be {truth}"
    return Misfit(column, words, ("VARCHAR", "BOOLEAN"))
