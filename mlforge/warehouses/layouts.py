"""What single files hold: their columns, with types that all of their values have."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from mlforge.model import FileLayout
from mlforge.sql.templates import sql
from mlforge.warehouses.nested import shape, texts
from mlforge.warehouses.types import NULL, is_integer, is_number, normal, zoned_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from duckdb import DuckDBPyConnection

    from mlforge.model import Source
    from mlforge.warehouses.nested import Steps

FILE = "_mlforge_file"
_WHOLE = "DECIMAL(38,0)"  # whole numbers that a BIGINT cannot hold
_OTHERS = {"BIGINT": (_WHOLE, "DOUBLE"), "DOUBLE": (_WHOLE,)}  # what a column is that is not what its first rows are
_DIALECT = ("delim", "quote", "escape", "new_line", "comment", "skip", "header", "dateformat", "timestampformat")
_ORDERS = {"dateformat": "DATE", "timestampformat": "TIMESTAMP"}
_ZONED = "TIMESTAMP WITH TIME ZONE"
_YEAR = "%Y"  # what begins with the whole year is read in one way only
_OURS = {"columns", "types", "names", "all_varchar", "sample_size", "union_by_name", "filename"}
_FOLDERS = {"hive_partitioning", "hive_types"}
_KINDS = {"VARCHAR": "text", "BOOLEAN": "BOOLEAN", "ARRAY": "", "OBJECT": "", "NULL": ""}


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

    @property
    def words(self) -> str:
        """What does not fit, with the column."""
        return f"column {self.column!r}: {self}"

    @property
    def hint(self) -> str:
        """What to do about it."""
        return f"say what it is: {self.declared}; or mend the files" if self.types else "check the names of the columns"

    @property
    def declared(self) -> str:
        """What to write so that the column has one type."""
        return f"types: {{{self.column}: {self.proposed}}}"

    @property
    def proposed(self) -> str:
        """The type that keeps every value, as it is written there."""
        if self.keeps:
            return f"'{self.keeps}'"
        old, new = self.types
        instant = next((t for t in self.types if t.startswith("TIMESTAMP")), None)
        if instant and "DATE" in self.types:
            return instant
        if is_number(old) and is_number(new):
            return "DECIMAL(38,9)" if is_integer(old) else "DOUBLE"
        return "DOUBLE" if old == "VARCHAR" and is_integer(new) and _is_fraction(self.value or "") else "VARCHAR"


class Skipped(Misfit):
    """Lines at the beginning of a CSV file that DuckDB would leave out by itself."""

    def __init__(self, file: str, lines: int) -> None:
        text = f"the first {lines} lines of {file} do not look like the others, and would be left out"
        super().__init__("", text, ())
        self.lines = lines

    @property
    def words(self) -> str:
        """What would be left out."""
        return str(self)

    @property
    def hint(self) -> str:
        """How to say that these lines are no rows."""
        return f"mend the file; or, if they are no rows: options: {{skip: {self.lines}}}"


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


def look(con: DuckDBPyConnection, reader: Reader, files: list[str]) -> dict[str, FileLayout]:
    """The layouts of these files. Raises Misfit, and duckdb.Error for what cannot be read."""
    if not files:
        return {}
    return {"parquet": _parquet, "csv": _csv, "json": _json}[reader.format](con, reader, files)


def find(
    con: DuckDBPyConnection, reader: Reader, file: str, layout: FileLayout, column: str, old: str, new: str,
    width: int | None = None, said: str | None = None, *, declared: bool = False,
) -> tuple[int, str] | None:  # fmt: skip
    """The first row of a file, and its value, where a column holds what is no value of the type ``new``, which the
    user ``declared`` or DuckDB guessed; of a list or an object, where it lies within. With ``width`` the first text of
    another width, with ``said`` the first that says the same truth value in another way."""
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
                "warehouse/find_misfit", format=reader.format, file=file, options=reader.call(layout, kinds),
                column=column, old=old, new=kind, width=width, said=said, steps=steps,
                texts=text,
                how={**reader.how(layout), "guessed": not declared},
            )
        ).fetchall()  # fmt: skip
    return min(found, default=None)


def _parquet(con: DuckDBPyConnection, reader: Reader, files: list[str]) -> dict[str, FileLayout]:
    options = {**reader.passed, "hive_partitioning": False}
    found = {f: _described(con, "parquet", f, options) for f in files}
    if any("INTEGER" in types.values() for types in found.values()):
        for file, column in con.execute(sql("warehouse/null_columns", files=files)).fetchall():
            found[file] = {c: NULL if c == column else t for c, t in found[file].items()}
    return {f: FileLayout(types=types) for f, types in found.items()}


def _described(con: DuckDBPyConnection, format_: str, file: str, options: Mapping[str, Any]) -> dict[str, str]:
    rows = con.execute(sql("warehouse/describe_files", format=format_, files=[file], options=options)).fetchall()
    return {name: zoned_micros(kind) for name, kind, *_ in rows}


def _csv(con: DuckDBPyConnection, reader: Reader, files: list[str]) -> dict[str, FileLayout]:
    alike: dict[bytes, list[str]] = defaultdict(list)
    guesses = {}
    for file in files:
        guess = _sniffed(con, reader, file)
        key = msgspec.json.encode(guess)
        guesses[key] = guess
        alike[key].append(file)
    found: dict[str, FileLayout] = {}
    for key, members in alike.items():
        found |= _quoted(con, reader, guesses[key], members)
    return found


def _quoted(con: DuckDBPyConnection, reader: Reader, guess: FileLayout, files: list[str]) -> dict[str, FileLayout]:
    """The layouts of files that look alike. Where the first rows have no quotes later ones may, and do as a rule."""
    import duckdb

    open_ = {k: v for k, v in guess.dialect.items() if v or k not in ("quote", "escape")}
    if open_ != guess.dialect:
        try:
            return _proven(con, reader, replace(guess, dialect=open_), files)
        except duckdb.Error:
            pass
    return _proven(con, reader, guess, files)


def _sniffed(con: DuckDBPyConnection, reader: Reader, file: str) -> FileLayout:
    """What DuckDB guesses from the first rows."""
    kept = reader.passed | {k: v for k, v in reader.options.items() if k in ("names", "sample_size")}
    *dialect, columns = con.execute(sql("warehouse/sniff", file=file, options=kept)).fetchall()[0]
    said = dict(zip(_DIALECT, dialect, strict=True))
    if said["skip"] and "skip" not in reader.options and not _are_blank(file, said["skip"]):
        raise Skipped(reader.shown(file), said["skip"])
    for name in ("quote", "escape", "comment"):
        said[name] = "" if said[name] == "(empty)" else said[name]
    said["new_line"] = None  # DuckDB finds the ends of lines by itself
    columns = _without_orders(con, file, kept, said, columns)
    names = _names(reader, file, [c["name"] for c in columns], header=said["header"])
    kinds = {
        n: "VARCHAR" if reader.options.get("all_varchar") else c["type"] for n, c in zip(names, columns, strict=True)
    }
    types = {c: reader.physical(c, t) for c, t in kinds.items()}
    return FileLayout(types=types, dialect={k: v for k, v in said.items() if v is not None})


def _without_orders(
    con: DuckDBPyConnection, file: str, kept: Mapping[str, Any], said: dict[str, Any], columns: list[dict[str, str]]
) -> list[dict[str, str]]:
    """The columns, as text where DuckDB guesses which of 01/02/24 is the day, the month or the year."""
    unsure = [o for o in _ORDERS if o not in kept and not (said[o] or _YEAR).startswith(_YEAR)]
    kinds = [_ORDERS[o] for o in unsure]
    others = columns
    if "DATE" in kinds:  # DuckDB took the dates of other columns for TIMESTAMPs
        options = {**kept, "dateformat": f"{_YEAR}-%m-%d"}
        others = con.execute(sql("warehouse/sniff", file=file, options=options)).fetchall()[0][-1]
    said |= dict.fromkeys(unsure)
    return [{**c, "type": "VARCHAR"} if c["type"] in kinds else other for c, other in zip(columns, others, strict=True)]


def _are_blank(file: str, lines: int) -> bool:
    """Whether the first lines of a file hold nothing; of what is remote or compressed nobody looks."""
    try:
        with open(file, encoding="utf-8") as text:  # noqa: PTH123 - may be a URL
            return not any(line.strip() for line in itertools.islice(text, lines))
    except (OSError, UnicodeDecodeError):
        return False


def _names(reader: Reader, file: str, found: list[str], *, header: bool) -> list[str]:
    """The names of a file's columns: those that ``columns`` states, in the file's order."""
    stated = list(reader.options.get("columns") or {})
    if not stated or (header and [c.lower() for c in stated] == [c.lower() for c in found]):
        return stated or found
    if header or len(stated) != len(found):
        words = f"its header says {', '.join(found)}" if header else f"it has {len(found)} columns"
        raise Misfit(stated[0], f"{reader.shown(file)} has other columns than the option columns states: {words}", ())
    return stated


def _proven(
    con: DuckDBPyConnection, reader: Reader, guess: FileLayout, files: list[str]
) -> dict[str, FileLayout]:  # fmt: skip
    """The layouts of files that look alike at their beginning, from all of their rows."""
    asked = [
        (c, _WHOLE if t.endswith("HUGEINT") else t) for c, t in guess.types.items() if c.lower() not in reader.declared
    ]
    if not asked:
        return dict.fromkeys(files, guess)
    counts, truths = _counts(con, reader, guess, files, asked)
    found = {}
    for file in files:
        types, padded = dict(guess.types), {}
        for column, kind in asked:
            types[column], width = _type_of(con, reader, guess, file, column, kind, counts.get((file, column, kind)))
            if width:
                padded[column] = width
        spelled = {c: _spelled(con, reader, guess, file, c, t) for (f, c), t in truths.items() if f == file}
        found[file] = FileLayout(types=types, dialect=guess.dialect, padded=padded, truths=spelled)
    return found


def _spelled(
    con: DuckDBPyConnection, reader: Reader, layout: FileLayout, file: str, column: str, ends: list[str | None]
) -> dict[str, str]:  # fmt: skip
    """How a column of a file spells true and false. Raises Misfit where it has two ways, which would be one."""
    said: dict[str, str] = {}
    for truth, first, last in (("true", *ends[:2]), ("false", *ends[2:])):
        if first is not None and last is not None:
            said[str(truth)] = first
            if first != last:
                row, text = find(con, reader, file, layout, column, "VARCHAR", "BOOLEAN", said=first) or (0, last)
                raise two_truths(column, reader.shown(file), row, text, repr(first), str(truth))
    return said


def two_truths(column: str, file: str, row: int, text: str, beside: str, truth: str) -> Misfit:
    """The error for texts that would be merged, as t and true."""
    words = f"row {row} of {file} says {text!r}, beside {beside}: as BOOLEAN both would be {truth}"
    return Misfit(column, words, ("VARCHAR", "BOOLEAN"))


_Counts = dict[tuple[str, str, str], list[int]]


def _counts(
    con: DuckDBPyConnection, reader: Reader, layout: FileLayout, files: list[str], asked: list[tuple[str, str]]
) -> tuple[_Counts, dict[tuple[str, str], list[str | None]]]:
    options = {**reader.call(layout, dict.fromkeys(layout.types, "VARCHAR")), "filename": FILE}
    rows = con.execute(
        sql(
            "warehouse/count_fits",
            format=reader.format,
            files=files,
            options=options,
            asked=asked,
            how={**reader.how(layout), "guessed": True},
        )
    ).fetchall()
    counts = {(file, c, k): n for file, *found, _ in rows for (c, k), n in zip(asked, found, strict=True)}
    truths = [c for c, kind in asked if kind == "BOOLEAN"]
    spelled = {(row[0], c): row[-1][4 * n : 4 * n + 4] for row in rows for n, c in enumerate(truths)}
    return counts, spelled


def _type_of(
    con: DuckDBPyConnection, reader: Reader, layout: FileLayout, file: str, column: str, kind: str,
    counts: list[int] | None,
) -> tuple[str, int | None]:  # fmt: skip
    """The type of a column of a file, and the width of its numbers if they have leading zeros."""
    values, fit, *digits = counts or [0, 0]
    if not values:
        return NULL, None
    if fit == values:
        return kind, _width(con, reader, layout, file, column, digits)
    others, _ = _counts(con, reader, layout, [file], [(column, other) for other in _OTHERS.get(kind, ())])
    for other in _OTHERS.get(kind, ()):
        values, fit, *digits = others[file, column, other]
        if fit == values:
            return other, _width(con, reader, layout, file, column, digits)
    wanted = "DOUBLE" if kind in ("BIGINT", _WHOLE) else kind
    row, value = find(con, reader, file, layout, column, "VARCHAR", wanted) or (0, "")
    held = "VARCHAR"
    if kind.startswith("TIMESTAMP") and re.fullmatch(r"\s*\d+-\d+-\d+\s*", value):
        held = "DATE"
    elif wanted == "DOUBLE" and _is_number(value):
        held = "an integer that no DOUBLE is"
    text = f"it is {wanted} in the first rows of {reader.shown(file)}, and row {row} says {value!r}, {held}"
    raise Misfit(column, text, ("BIGINT" if held.startswith("an") else held, wanted), value)


def _is_number(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def _width(
    con: DuckDBPyConnection, reader: Reader, layout: FileLayout, file: str, column: str, digits: list[int]
) -> int | None:
    if not digits or not digits[0]:
        return None
    _, shortest, longest = digits
    if shortest == longest:
        return longest
    other = find(con, reader, file, layout, column, "VARCHAR", "BIGINT", width=longest) or (0, "")
    raise Misfit(
        column,
        mixed_width(reader.shown(file), other, f"numbers of {longest} digits with leading zeros"),
        ("VARCHAR", "BIGINT"),
    )


def _is_fraction(text: str) -> bool:
    whole, point, part = text.strip().lstrip("+-").partition(".")
    return bool(point) and f"{whole}{part}".isdigit()


def mixed_width(file: str, found: tuple[int, str], beside: str) -> str:
    """The words for numbers that would be merged, as 7 and 007."""
    return f"row {found[0]} of {file} says {found[1]!r}, beside {beside}: as numbers 7 and 007 would be one"


def _json(con: DuckDBPyConnection, reader: Reader, files: list[str]) -> dict[str, FileLayout]:
    options = {**reader.passed, "hive_partitioning": False, "sample_size": -1}
    found = {}
    for file in files:
        types = _described(con, "json", file, options)
        types = {c: reader.physical(c, t) for c, t in types.items()}
        found[file] = FileLayout(types=_whole_json(con, reader, file, types))
    return found


def _whole_json(con: DuckDBPyConnection, reader: Reader, file: str, types: dict[str, str]) -> dict[str, str]:
    """The types of a JSON file, where DuckDB's own would not keep every value."""
    layout = FileLayout(types=types)
    doubles = [(c, "DOUBLE") for c, t in types.items() if t == "DOUBLE"]
    times = [(c, t if t == "DATE" else _ZONED) for c, t in types.items() if t == "DATE" or t.startswith("TIMESTAMP")]
    mixed = [c for c, t in types.items() if t == "JSON"]
    found = dict(types)
    counts, _ = _counts(con, reader, layout, [file], [*doubles, *times]) if doubles or times else ({}, {})
    for column, kind in doubles:
        found[column], _ = _type_of(con, reader, layout, file, column, kind, counts.get((file, column, kind)))
    for column, kind in times:  # 01-02-24 is one for DuckDB, in an order that it guesses
        values, fit, *_ = counts.get((file, column, kind), [0, 0])
        found[column] = types[column] if values == fit else "VARCHAR"
    for column, kind in types.items():
        if shape(kind).kind != "value" and column.lower() not in reader.declared:
            found[column] = _whole_nested(con, reader, file, column, kind)
    for column in mixed:
        found[column] = _json_type(con, reader, file, layout, column)
    return found


def _whole_nested(con: DuckDBPyConnection, reader: Reader, file: str, column: str, kind: str) -> str:
    """The type of a JSON file's column of lists or objects, where DuckDB's own would not keep every value in them."""
    made = shape(kind)
    leaves = dict(made.leaves())
    proofs = {s: "DATE" if k == "DATE" else _ZONED for s, k in leaves.items() if k.startswith(("DATE", "TIMESTAMP"))}
    proofs |= {s: k for s, k in leaves.items() if k == "DOUBLE"}
    found = dict.fromkeys(_misfits(con, reader, file, column, kind, proofs), "VARCHAR")
    large = {s: _WHOLE for s in found if leaves[s] == "DOUBLE"}
    for steps in _misfits(con, reader, file, column, kind, large):
        alone = made.with_leaves({steps: "DOUBLE"}, "VARCHAR")
        row, value = find(con, reader, file, FileLayout(types={column: kind}), column, "VARCHAR", alone) or (0, "")
        text = f"it is {kind}, and row {row} of {reader.shown(file)} says {value!r} in it, an integer that no DOUBLE is"
        raise Misfit(column, text, ("BIGINT", "DOUBLE"), value, made.with_leaves({steps: "DECIMAL(38,9)"}))
    return made.with_leaves(found | large)


def _misfits(
    con: DuckDBPyConnection, reader: Reader, file: str, column: str, kind: str, proofs: Mapping[Steps, str]
) -> list[Steps]:  # fmt: skip
    """Where within a column of a JSON file texts lie that say no value of the type."""
    if not proofs:
        return []
    asked = [(column, steps, leaf) for steps, leaf in proofs.items()]
    options = reader.call(FileLayout(types={}), {column: texts(kind)})
    how = {**reader.passed, "guessed": True}
    [row] = con.execute(sql("warehouse/count_within", file=file, options=options, asked=asked, how=how)).fetchall()
    return [steps for steps, (values, fit) in zip(proofs, row, strict=True) if values != fit]


def _json_type(con: DuckDBPyConnection, reader: Reader, file: str, layout: FileLayout, column: str) -> str:
    """JSON where a column holds lists and objects of any kind, but no scalars of two kinds."""
    options = reader.call(layout, layout.read_as())
    rows = con.execute(sql("warehouse/json_kinds", file=file, options=options, column=column)).fetchall()
    firsts: dict[str, tuple[int, str]] = {}
    for kind, row, value in rows:
        firsts.setdefault(_KINDS.get(kind, "a number"), (row, value))
    scalars = [f"row {row} says {value}, {kind}" for kind, (row, value) in firsts.items() if kind]
    if len(scalars) > 1:
        raise Misfit(column, f"in {reader.shown(file)} {', and '.join(scalars)}", ("JSON", "VARCHAR"))
    return "JSON" if any(kind != "NULL" for kind, *_ in rows) else NULL
