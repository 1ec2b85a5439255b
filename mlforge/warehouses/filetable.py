"""The files of a source as one table: a type for each column, and how each group of files is read into it."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from msgspec.structs import replace

from mlforge.errors import ProjectError
from mlforge.model import FileLayout, TypeChange
from mlforge.sql.templates import sql
from mlforge.warehouses.layouts import look
from mlforge.warehouses.misfits import (
    Misfit,
    Misread,
    Place,
    Wanted,
    find,
    is_word,
    keeping,
    mixed_width,
    nothing,
    odd_one,
    two_truths,
)
from mlforge.warehouses.nested import Shape, shape, texts
from mlforge.warehouses.ragged import values
from mlforge.warehouses.types import NULL, common, is_number, is_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from duckdb import DuckDBPyConnection

    from mlforge.errors import Where
    from mlforge.model import SourceState
    from mlforge.warehouses.misfits import Reader

_MUCH = 10_000_000  # bytes of text that take time to read


@dataclass(frozen=True)
class Item:
    """A column of the table as a group of files has it: None in ``old`` if it has none."""

    name: str
    old: str | None
    new: str
    proven: bool  # every value is known to keep what it is

    @property
    def within(self) -> Shape | None:
        """The new type as a tree, if it is of lists or objects whose values are proven one by one."""
        made = shape(self.new)
        return made if made.kind != "value" and self.old in ("VARCHAR", self.texts) else None

    @property
    def texts(self) -> str:
        """The new type with text for every value."""
        return texts(self.new)


@dataclass(frozen=True)
class Group:
    """Files that are read alike."""

    files: tuple[str, ...]
    options: dict[str, Any]
    items: tuple[Item, ...]
    how: dict[str, Any]

    @property
    def plain(self) -> bool:
        """Whether the reader gives the table's columns by itself."""
        return all(i.old == i.new for i in self.items)


@dataclass
class FileTable:
    """The files of a source as one table. ``types`` are those of its columns, folders' last."""

    con: DuckDBPyConnection
    reader: Reader
    layouts: dict[str, FileLayout]  # file -> its layout, in the order of the files
    pinned: Mapping[str, str] = field(default_factory=dict)
    shown: Callable[[str], str] = str
    where: Where | None = None  # the source is stated there
    types: dict[str, str] = field(init=False, default_factory=dict)
    folders: dict[str, str] = field(init=False, default_factory=dict)  # column -> type
    read: int = field(init=False, default=0)  # bytes of files that had to be read for their types
    lacking: dict[str, list[str]] = field(init=False, default_factory=dict)  # new file -> columns of others

    def __post_init__(self) -> None:
        self._pins = {c.lower(): t for c, t in self.pinned.items()}
        self._distinct = {id(layout): (layout, file) for file, layout in reversed(self.layouts.items())}
        self._refuse_strangers()
        self._refuse_strangers()
        for layout, file in reversed(self._distinct.values()):
            self._add(layout, file)
        self._unknown()
        for column in self.types:
            self._refuse_merged(column)
            self._refuse_two_truths(column)
        self._find_folders()

    def _add(self, layout: FileLayout, file: str) -> None:
        spelled = {c.lower(): c for c in self.types}
        for column, kind in layout.types.items():
            low = column.lower()
            name = spelled.setdefault(low, column)
            declared = self.reader.declared.get(low)
            if declared:
                self.types[name] = declared
                continue
            before = self.types.get(name) or self._pins.get(low, NULL)
            new = common(before, kind)
            if new is None:
                raise self._misfit(name, before, kind, file, layout)
            self.types[name] = new

    def _refuse_strangers(self) -> None:
        """Refuse a file that shares no column with the others: their columns would be NULL in all of its rows."""
        named = [({c.lower() for c in la.types}, file) for la, file in reversed(self._distinct.values()) if la.types]
        files = Counter(itertools.chain.from_iterable(names for names, _ in named))
        found = [(names, file) for names, file in named if max(files[c] for c in names) == 1]
        if not found or len(named) == 1:
            return
        _, file = next((f for f in found if not f[0] & self._pins.keys()), found[0])
        other = next(f for _, f in named if f != file)
        ours, theirs = (", ".join(self.layouts[f].types) for f in (file, other))
        raise Misread(
            f"{self.shown(file)} has no column of the other files: {ours}; in {self.shown(other)} there are {theirs}",
            f"give it {'a header with ' if self.reader.format == 'csv' else ''}their columns, or keep it elsewhere",
        )

    def _misfit(self, column: str, before: str, kind: str, file: str, layout: FileLayout) -> Misfit:
        """Another type than the files before have, or than the last build found."""
        low = column.lower()
        known = next((f for f, lay in self.layouts.items() if (low, before) in _lowered(lay)), None)
        built = self._pins.get(low) == before
        where = f"in {self.shown(known)}" if known else "in every build so far" if built else "in the files before it"
        text = f"it is {kind} in {self.shown(file)} and {before} {where}"
        misfit = Misfit(column, text, (kind, before))
        if self.reader.format != "parquet":
            said, other = (file, before) if kind == "VARCHAR" else (known, kind)
            found = self._first_misfit(said, column, other) if said else None
            if found and said:
                misfit = Misfit(
                    column, f"{text}: row {found[0]} of {self.shown(said)} says {found[1]!r}", (kind, before)
                )
                misfit.word = found[1] if self.reader.format == "csv" and is_word(found[1]) else None
        misfit.keeps = keeping(self.con, self.reader, self.layouts, column, misfit.candidates)
        return misfit

    def _first_misfit(self, file: str, column: str, kind: str) -> tuple[int, str] | None:
        """The first row that holds no value of a type; of texts that all would be one, as 007, the first."""
        place = Place(file, self.layouts[file], column)
        found = find(self.con, self.reader, place, "VARCHAR", Wanted(kind))
        return found or find(self.con, self.reader, place, "VARCHAR", Wanted(kind, width=0))

    def _unknown(self) -> None:
        for column in self.reader.declared:
            if column not in {c.lower() for c in self.types} and not self._is_folder(column):
                raise Misfit(column, f"no file has it; there are {', '.join(self.types)}", ())

    def _refuse_merged(self, column: str) -> None:
        """Refuse numbers with leading zeros beside others of another width, which would be one number."""
        low = column.lower()
        padded = {file: n for file, lay in self.layouts.items() for c, n in lay.padded.items() if c.lower() == low}
        if not padded or not is_number(self.types[column]) or low in self.reader.declared:
            return
        first, width = next(iter(padded.items()))
        for file, layout in self.layouts.items():
            name = next((c for c in layout.types if c.lower() == low and layout.types[c] != NULL), None)
            if name is None or padded.get(file) == width:
                continue
            other = find(self.con, self.reader, Place(file, layout, name), "VARCHAR", Wanted("BIGINT", width))
            if other:
                beside = f"numbers of {width} digits with leading zeros in {self.shown(first)}"
                raise Misfit(column, mixed_width(self.shown(file), other, beside), ("VARCHAR", "BIGINT"))

    def _refuse_two_truths(self, column: str) -> None:
        """Refuse texts of different files that would be one truth value, as t and true."""
        low = column.lower()
        if self.types[column] != "BOOLEAN" or low in self.reader.declared:
            return
        known: dict[str, tuple[str, str]] = {}
        for layout, file in reversed(self._distinct.values()):
            for truth, text in next((t for c, t in layout.truths.items() if c.lower() == low), {}).items():
                first, said = known.setdefault(truth, (file, text))
                if said != text:
                    name = next(c for c in layout.types if c.lower() == low)
                    place, other = Place(file, layout, name), Wanted("BOOLEAN", said=said)
                    row, _ = find(self.con, self.reader, place, "VARCHAR", other) or (0, "")
                    beside = f"{said!r} in {self.shown(first)}"
                    raise two_truths(column, self.shown(file), row, text, beside, truth)

    def _is_folder(self, column: str) -> bool:
        return any(column == name.lower() for name, _ in _pairs(next(iter(self.layouts), "")))

    def _find_folders(self) -> None:
        """The columns that folders named ``key=value`` make, with the types that were found at first."""
        options = self.reader.options
        pairs = dict(_pairs(next(iter(self.layouts), "")))
        if not pairs or options.get("hive_partitioning") is False:
            return
        files = list(self.layouts)
        call = {**self._call(self.layouts[files[0]]), **self._given_folders(options)}
        rows = self.con.execute(
            sql("warehouse/describe_files", format=self.reader.format, files=files, options=call)
        ).fetchall()
        found = {name: kind for name, kind, *_ in rows if name.lower() in {p.lower() for p in pairs}}
        stated = {c.lower() for c in options.get("hive_types") or {}}
        for column, kind in found.items():
            low = column.lower()
            wanted = self.reader.declared.get(low) or (kind if low in stated else self._pins.get(low, kind))
            self._check_folder(column, wanted, fixed=low in stated or low in self.reader.declared)
            self.folders[column] = wanted
            self.types.pop(next((c for c in self.types if c.lower() == low), ""), None)
        self.types |= self.folders

    def _given_folders(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {k: options[k] for k in ("hive_partitioning", "hive_types") if k in options}

    def _check_folder(self, column: str, kind: str, *, fixed: bool) -> None:
        """Refuse a folder whose name is no value of its column's type, and two that would be one."""
        named: dict[str, str] = {}
        for file in self.layouts:
            text = {n.lower(): v for n, v in _pairs(file)}.get(column.lower())
            if text is not None:
                named.setdefault(text, file)
        rows = self.con.execute(sql("warehouse/folder_values", values=list(named), type=kind)).fetchall()
        seen: dict[str, str] = {}
        for text, value, same in rows:
            folder = (
                self.shown(named[text].rpartition(f"={text}")[0] + f"={text}") if f"={text}" in named[text] else text
            )
            if value is None or not (same or fixed):
                raise Folder(column, f"folder {folder} is no {kind}, which {column} is in every build so far")
            if value in seen:
                raise Folder(column, f"folders {seen[value]} and {text} would both be {value}")
            seen[value] = text

    def _call(self, layout: FileLayout) -> dict[str, Any]:
        return self.reader.call(layout, layout.read_as())

    def groups(self, wanted: Callable[[str], bool] = lambda _file: True) -> list[Group]:
        """How the files are read, at least the first of them."""
        alike: dict[str, tuple[FileLayout, list[str]]] = {}
        first = next(iter(self.layouts))
        files = [f for f in self.layouts if wanted(f)] or [first]
        for file in files:
            layout = self._read_as(self.layouts[file])
            key = json.dumps([layout.types, layout.dialect], sort_keys=False, default=str)
            alike.setdefault(key, (layout, []))[1].append(file)
        return [self._group(layout, tuple(members)) for layout, members in alike.values()]

    def _read_as(self, layout: FileLayout) -> FileLayout:
        """The layout with the types that the reader is asked for. JSON is read straight into what it fits, and a column
        without any value as any type."""
        if self.reader.format == "parquet":
            return layout
        if self.reader.format == "csv":
            kinds = {c.lower(): t for c, t in self.types.items()}
            return replace(layout, types={c: kinds[c.lower()] if t == NULL else t for c, t in layout.types.items()})
        lower = {c.lower(): t for c, t in layout.types.items()}
        types = {}
        for column, new in self.types.items():
            if column in self.folders:
                continue
            old = lower.get(column.lower(), NULL)
            if column.lower() in self.reader.declared:
                types[column] = self.reader.physical(column, new)
            elif new.startswith("DECIMAL("):  # the reader would go through a DOUBLE
                types[column] = "VARCHAR"
            else:
                types[column] = new if is_safe(old, new) else old
        return FileLayout(types=types)

    def _group(self, layout: FileLayout, files: tuple[str, ...]) -> Group:
        lower = {c.lower(): t for c, t in layout.types.items()}
        items = tuple(self._item(column, kind, lower.get(column.lower())) for column, kind in self.types.items())
        options = self.reader.call(layout, layout.read_as())
        if self.folders:
            options |= {"hive_partitioning": True, "hive_types": dict(self.folders)}
        elif "hive_partitioning" in self.reader.options:
            options["hive_partitioning"] = self.reader.options["hive_partitioning"]
        return Group(files, options, items, self.reader.how(layout))

    def _item(self, column: str, kind: str, held: str | None) -> Item:
        empty = "INTEGER" if self.reader.format == "parquet" else "VARCHAR"  # what the reader makes of nothing
        new = empty if kind == NULL else kind
        if column in self.folders:
            return Item(column, new, new, proven=True)
        old = empty if held == NULL else held
        return Item(column, old, new, proven=held is None or is_safe(held, new))

    def why_text(self, column: str) -> tuple[str, str] | None:
        """Why a column is text though most of its values are numbers or times, and a hint."""
        is_csv = self.reader.format == "csv"
        for layout, file in reversed(self._distinct.values()):
            name = next((c for c, t in layout.types.items() if c.lower() == column.lower() and t == "VARCHAR"), None)
            if name is None or column.lower() in self.reader.declared:
                continue
            if found := odd_one(self.con, self.reader, Place(file, layout, name)):
                kind, row, value = found
                hint = f"{nothing(value)}, or" if is_csv and is_word(value) else "mend the file; or use"
                said = f"{self.shown(file)}, row {row} says {value!r}, among values that are {kind}"
                return said, f"{hint} nullif() and a CAST"
        return None

    def notes(self, source: str) -> list[str]:
        """New files without columns that others have; and what finding the types cost, where that is much, and the way
        out."""
        found = []
        if self.lacking:
            (file, columns), *more = self.lacking.items()
            such = f" (one of {len(more) + 1} such files)" if more else ""
            found.append(
                f"source {source}: {self.shown(file)} has no column {', '.join(columns)}: NULL in its rows{such}"
            )
        if self.read >= _MUCH:
            found.append(
                f"source {source}: {self.read / 1e6:,.0f} MB were read to find types that every value has; of a file"
                " that is built it is done once, and not at all where types: of the source names the type of every"
                " column"
            )
        return found

    def misfit(self, column: str, value: str, old: str, new: str, said: str) -> Misfit:
        """The error for a value of a file that does not fit its column, with its row. ``said`` begins with the file."""
        file = max((f for f in self.layouts if said.startswith(f)), key=len, default=None)
        whole = self.types[column] if old == "VARCHAR" else new  # of a list, what it is a list of
        place = Place(file, self.layouts[file], column) if file else None
        row = find(self.con, self.reader, place, old, Wanted(whole, declared=True)) if place else None
        at = f"{self.shown(file or said)}{f', row {row[0]}' if row else ''}"
        found = Misfit(column, f"column {column!r} is {whole}, and {at} holds {value!r} ({old})", (old, new), value)
        kinds = found.candidates
        if whole != new:
            leaves = [steps for steps, kind in shape(whole).leaves() if kind == new]
            kinds = [shape(whole).with_leaves(dict.fromkeys(leaves, kind)) for kind in kinds]
        found.keeps = keeping(self.con, self.reader, self.layouts, column, kinds)
        found.word = value if self.reader.format == "csv" and is_word(value) else None
        return found

    def changes(self, before: Mapping[str, str]) -> Iterator[TypeChange]:
        """The columns that have another type than before, and the file that did it."""
        now = {c.lower(): (c, t) for c, t in self.types.items()}
        for column, old in before.items():
            name, new = now.get(column.lower(), (column, old))
            if new != old:
                yield self._change(name, old, new)

    def _change(self, column: str, old: str, new: str) -> TypeChange:
        low = column.lower()
        if low not in self.reader.declared:
            for file, layout in self.layouts.items():
                kind = next((t for c, t in layout.types.items() if c.lower() == low), NULL)
                if common(old, kind) != old:
                    row, value = self._cause(file, layout, column, old)
                    return TypeChange(column=column, old=old, new=new, file=self.shown(file), row=row, value=value)
        return TypeChange(column=column, old=old, new=new)

    def _cause(self, file: str, layout: FileLayout, column: str, old: str) -> tuple[int | None, str | None]:
        if self.reader.format == "parquet" or old == NULL:
            return None, None
        return find(self.con, self.reader, Place(file, layout, column), "VARCHAR", Wanted(old)) or (None, None)


_NO_FIT = re.compile(
    r"source (?P<source>\w+): column (?P<column>.*?) holds (?P<value>.*) \((?P<old>.*?)\), "
    r"which is no (?P<new>.*?), in (?P<said>.*)",
    re.DOTALL,
)


def explained(tables: Mapping[str, FileTable], error: Exception) -> ProjectError | None:
    """The error for a value that does not fit its column, if another one is about that."""
    found = _NO_FIT.search(str(error))
    if not found or (table := tables.get(found["source"])) is None:
        return None
    misfit = table.misfit(*found.group("column", "value", "old", "new", "said"))
    return ProjectError(f"source {found['source']!r}: {misfit}", where=table.where, hint=misfit.hint)


class Folder(Misfit):
    """A folder whose name does not fit the column that it makes."""

    def __init__(self, column: str, text: str) -> None:
        super().__init__(column, text, ("VARCHAR",))

    @property
    def declared(self) -> str:
        """The type that keeps what folders are named."""
        return f"options: {{hive_types: {{{self.column}: VARCHAR}}}}"


def _lowered(layout: FileLayout) -> set[tuple[str, str]]:
    return {(column.lower(), kind) for column, kind in layout.types.items()}


def _pairs(file: str) -> list[tuple[str, str]]:
    """What the folders of a file say: ``key=value``."""
    found = []
    for part in PurePath(file).parts[:-1]:
        key, equals, value = part.partition("=")
        if equals and key:
            found.append((unquote(key), unquote(value)))
    return found


def known_layouts(state: SourceState | None, key: str) -> dict[tuple[str, int, int], FileLayout]:
    """Layouts that a build found, by the name, size and time of the file."""
    if state is None or state.shape != key:
        return {}
    return {(f.path, f.size, f.mtime_ns): state.layouts[f.layout] for f in state.files if f.layout is not None}


def _headed(found: Mapping[str, FileLayout], names: set[str]) -> list[str]:
    """The files whose first line holds names of other files' columns, though DuckDB takes it for a row: it does where
    nothing but text follows, or nothing at all."""
    unnamed = {file: layout.dialect for file, layout in found.items() if not layout.dialect["header"]}
    lines = {file: values(file, said["delim"], said["skip"]) for file, said in unnamed.items()}
    return [file for file, line in lines.items() if line and all(v.lower() in names for v in line)]


def table_of(
    con: DuckDBPyConnection,
    reader: Reader,
    files: Mapping[str, tuple[str, int, int]],
    known: SourceState | None,
    key: str,
    shown: Callable[[str], str],
    where: Where,
) -> FileTable:
    """The table of these files, each with its name, size and time. Only files that no build knows are opened."""
    if reader.format != "parquet":  # an empty file has no columns, and no rows to lose
        files = {file: mark for file, mark in files.items() if mark[1]} or files
    seen = known_layouts(known, key)
    new = look(con, reader, [file for file, mark in files.items() if mark not in seen])
    if reader.format == "csv" and "header" not in reader.options:
        named = [*seen.values(), *(layout for layout in new.values() if layout.dialect["header"])]
        new |= look(con, reader.with_header(), _headed(new, {c.lower() for lay in named for c in lay.types}))
    layouts = {file: seen[mark] if mark in seen else new[file] for file, mark in files.items()}
    table = FileTable(con, reader, layouts, known.types if known else {}, shown, where)
    if known:
        there = [c for c in known.types if c not in table.folders]
        for file, layout in new.items():
            names = {c.lower() for c in layout.types}
            if names and (lost := [c for c in there if c.lower() not in names]):
                table.lacking[file] = lost
    found = [layout for layout in new.values() if any(c.lower() not in reader.declared for c in layout.types)]
    if found and reader.format != "parquet":
        table.read = sum(files[file][1] for file in new)
    return table
