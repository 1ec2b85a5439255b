"""What single files hold: their columns, with types that all of their values have."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from mlforge.errors import engine_words
from mlforge.model import FileLayout
from mlforge.sql.templates import sql
from mlforge.warehouses.misfits import (
    ZONED,
    Misfit,
    Misread,
    Place,
    Wanted,
    count,
    find,
    is_word,
    keeping,
    mixed_width,
    two_truths,
)
from mlforge.warehouses.nested import shape, texts
from mlforge.warehouses.ragged import are_blank, first_line, uneven
from mlforge.warehouses.types import NULL, zoned_micros

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duckdb import DuckDBPyConnection

    from mlforge.warehouses.misfits import Reader
    from mlforge.warehouses.nested import Steps

_WHOLE = "DECIMAL(38,0)"  # whole numbers that a BIGINT cannot hold
_OTHERS = {"BIGINT": (_WHOLE, "DOUBLE"), "DOUBLE": (_WHOLE,)}  # what a column is that is not what its first rows are
_DIALECT = ("delim", "quote", "escape", "new_line", "comment", "skip", "header", "dateformat", "timestampformat")
_ORDERS = {"dateformat": "DATE", "timestampformat": "TIMESTAMP"}
_AT_ONCE = 50  # files that one query sniffs: a query costs more than a small file
_YEAR = "%Y"  # what begins with the whole year is read in one way only
_DELIMITERS = (",", ";", "\t", "|")
_PADDED = "mend the file; or end short rows in NULLs: options: {null_padding: true}"
_KINDS = {"VARCHAR": "text", "BOOLEAN": "BOOLEAN", "ARRAY": "", "OBJECT": "", "NULL": ""}


def look(con: DuckDBPyConnection, reader: Reader, files: list[str]) -> dict[str, FileLayout]:
    """The layouts of these files. Raises Misfit, and duckdb.Error for what cannot be read."""
    if not files:
        return {}
    found = {"parquet": _parquet, "csv": _csv, "json": _json}[reader.format](con, reader, files)
    alike: dict[bytes, FileLayout] = {}
    return {f: alike.setdefault(msgspec.json.encode(layout), layout) for f, layout in found.items()}


def _parquet(con: DuckDBPyConnection, reader: Reader, files: list[str]) -> dict[str, FileLayout]:
    options = {**reader.passed, "hive_partitioning": False}
    alike = con.execute(sql("warehouse/alike_files", files=files)).fetchall() if len(files) > 1 else [(files,)]
    found: dict[str, FileLayout] = {}
    for (members,) in alike:
        types = _described(con, "parquet", members[0], options)
        if "INTEGER" in types.values():
            nulls = {c for _, c in con.execute(sql("warehouse/null_columns", files=members[:1])).fetchall()}
            types = {c: NULL if c in nulls else t for c, t in types.items()}
        found |= dict.fromkeys(members, FileLayout(types=types))
    return {f: found[f] for f in files}


def _described(con: DuckDBPyConnection, format_: str, file: str, options: Mapping[str, Any]) -> dict[str, str]:
    rows = con.execute(sql("warehouse/describe_files", format=format_, files=[file], options=options)).fetchall()
    return {name: zoned_micros(kind) for name, kind, *_ in rows}


def _csv(con: DuckDBPyConnection, reader: Reader, files: list[str]) -> dict[str, FileLayout]:
    alike: dict[bytes, list[str]] = defaultdict(list)
    guesses = {}
    kept = reader.passed | {k: v for k, v in reader.options.items() if k in ("names", "sample_size")}
    firsts = range(0, len(files), _AT_ONCE)
    rows = (row for first in firsts for row in _sniff(con, reader, files[first : first + _AT_ONCE], kept))
    for file, row in zip(files, rows, strict=True):
        guess = _guess(con, reader, file, kept, row)
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


def _guess(
    con: DuckDBPyConnection, reader: Reader, file: str, kept: Mapping[str, Any], row: tuple[Any, ...]
) -> FileLayout:
    """What DuckDB guesses from the first rows."""
    _, *dialect, columns = row
    said = dict(zip(_DIALECT, dialect, strict=True))
    if said["skip"] and "skip" not in reader.options and not are_blank(file, said["skip"]):
        raise _skipped(reader.shown(file), file, said["skip"])
    if len(columns) == 1 and "delim" not in reader.options:
        _refuse_one(reader.shown(file), file, columns[0]["name"], said["delim"])
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


def _sniff(
    con: DuckDBPyConnection, reader: Reader, files: list[str], options: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """What DuckDB says of files, whose names it leaves out of most of its errors."""
    import duckdb

    try:
        rows: list[tuple[Any, ...]] = con.execute(sql("warehouse/sniff", files=files, options=options)).fetchall()
    except duckdb.Error as error:
        if len(files) > 1:  # which one it is
            return [row for file in files for row in _sniff(con, reader, [file], options)]
        [file] = files
        words = engine_words(error)
        if "not utf-8 encoded" in words:
            text = f"{reader.shown(file)} is no UTF-8"
            raise Misread(
                text, "save it as UTF-8; or options: {encoding: latin-1}, or utf-16, for all files"
            ) from error
        found = uneven(file, str(options["delim"])) if "delim" in options else None
        if found and "sniffing file" in words:
            raise Misread(f"{reader.shown(file)} cannot be read: {found}", _PADDED) from error
        raise
    return rows


def _skipped(shown: str, file: str, lines: int) -> Misread:
    """Lines at the beginning of a file that DuckDB would leave out by itself."""
    many = f"the first {lines} lines" if lines > 1 else "the first line"
    does, they = ("do", "they are no rows") if lines > 1 else ("does", "it is no row")
    return Misread(
        f"{many} of {shown} {does} not look like the others, and would be left out: {first_line(file)}",
        f"mend the file; or, if {they}: options: {{skip: {lines}}}, which leaves out as many lines of every file",
    )


def _refuse_one(shown: str, file: str, name: str, delim: str) -> None:
    """Refuse a file of many columns that DuckDB takes for one, as it does where rows have different lengths."""
    other = next((c for c in _DELIMITERS if c in name and c != delim), None)
    if other is not None:
        why = uneven(file, other)
        raise Misread(
            f"{shown} would be read as one column named {name!r}{f': {why}' if why else ''}",
            f"{_PADDED}; or, if it is one column: options: {{delim: {json.dumps(delim)}}}",
        )


def _without_orders(
    con: DuckDBPyConnection, file: str, kept: Mapping[str, Any], said: dict[str, Any], columns: list[dict[str, str]]
) -> list[dict[str, str]]:
    """The columns, as text where DuckDB guesses which of 01/02/24 is the day, the month or the year."""
    unsure = [o for o in _ORDERS if o not in kept and not (said[o] or _YEAR).startswith(_YEAR)]
    kinds = [_ORDERS[o] for o in unsure]
    others = columns
    if "DATE" in kinds:  # DuckDB took the dates of other columns for TIMESTAMPs
        options = {**kept, "dateformat": f"{_YEAR}-%m-%d"}
        others = con.execute(sql("warehouse/sniff", files=[file], options=options)).fetchall()[0][-1]
    said |= dict.fromkeys(unsure)
    return [{**c, "type": "VARCHAR"} if c["type"] in kinds else other for c, other in zip(columns, others, strict=True)]


def _names(reader: Reader, file: str, found: list[str], *, header: bool) -> list[str]:
    """The names of a file's columns: those that ``columns`` states, in the file's order."""
    stated = list(reader.options.get("columns") or {})
    if not stated or (header and [c.lower() for c in stated] == [c.lower() for c in found]):
        return stated or found
    if header or len(stated) != len(found):
        words = f"its header says {', '.join(found)}" if header else f"it has {len(found)} columns"
        raise Misfit(stated[0], f"{reader.shown(file)} has other columns than the option columns states: {words}", ())
    return stated


def _proven(con: DuckDBPyConnection, reader: Reader, guess: FileLayout, files: list[str]) -> dict[str, FileLayout]:
    """The layouts of files that look alike at their beginning, from all of their rows."""
    asked = [
        (c, _WHOLE if t.endswith("HUGEINT") else t) for c, t in guess.types.items() if c.lower() not in reader.declared
    ]
    if not asked:
        return dict.fromkeys(files, guess)
    counts, truths = count(con, reader, guess, files, asked)
    found = {}
    for file in files:
        types, padded = dict(guess.types), {}
        for column, kind in asked:
            seen = counts.get((file, column, kind))
            types[column], width = _type_of(con, reader, Place(file, guess, column), kind, seen, files)
            if width:
                padded[column] = width
        spelled = {c: _spelled(con, reader, Place(file, guess, c), t) for (f, c), t in truths.items() if f == file}
        found[file] = FileLayout(types=types, dialect=guess.dialect, padded=padded, truths=spelled)
    return found


def _spelled(con: DuckDBPyConnection, reader: Reader, place: Place, ends: list[str | None]) -> dict[str, str]:
    """How a column of a file spells true and false. Raises Misfit where it has two ways, which would be one."""
    said: dict[str, str] = {}
    for truth, first, last in (("true", *ends[:2]), ("false", *ends[2:])):
        if first is not None and last is not None:
            said[str(truth)] = first
            if first != last:
                row, text = find(con, reader, place, "VARCHAR", Wanted("BOOLEAN", said=first)) or (0, last)
                raise two_truths(place.column, reader.shown(place.file), row, text, repr(first), str(truth))
    return said


def _type_of(
    con: DuckDBPyConnection,
    reader: Reader,
    place: Place,
    kind: str,
    counts: list[int] | None,
    files: list[str],
) -> tuple[str, int | None]:
    """The type of a column of a file, and the width of its numbers if they have leading zeros. ``files`` have the same
    layout."""
    file, layout, column = place
    values, fit, *digits = counts or [0, 0]
    if not values:
        return NULL, None
    if fit == values:
        return kind, _width(con, reader, place, digits)
    others, _ = count(con, reader, layout, [file], [(column, other) for other in _OTHERS.get(kind, ())])
    for other in _OTHERS.get(kind, ()):
        values, fit, *digits = others[file, column, other]
        if fit == values:
            return other, _width(con, reader, place, digits)
    wanted = "DOUBLE" if kind in ("BIGINT", _WHOLE) else kind
    row, value = find(con, reader, place, "VARCHAR", Wanted(wanted)) or (0, "")
    held = "VARCHAR"
    if kind.startswith("TIMESTAMP") and re.fullmatch(r"\s*\d+-\d+-\d+\s*", value):
        held = "DATE"
    elif wanted == "DOUBLE" and _is_number(value):
        held = "an integer that no DOUBLE is"
    text = f"it is {wanted} in the first rows of {reader.shown(file)}, and row {row} says {value!r}, {held}"
    misfit = Misfit(column, text, ("BIGINT" if held.startswith("an") else held, wanted), value)
    misfit.word = value if reader.format == "csv" and kind != "BOOLEAN" and is_word(value) else None
    misfit.keeps = keeping(con, reader, dict.fromkeys(files, layout), column, misfit.candidates)
    raise misfit


def _is_number(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def _width(con: DuckDBPyConnection, reader: Reader, place: Place, digits: list[int]) -> int | None:
    if not digits or not digits[0]:
        return None
    _, shortest, longest = digits
    if shortest == longest:
        return longest
    other = find(con, reader, place, "VARCHAR", Wanted("BIGINT", longest)) or (0, "")
    raise Misfit(
        place.column,
        mixed_width(reader.shown(place.file), other, f"numbers of {longest} digits with leading zeros"),
        ("VARCHAR", "BIGINT"),
    )


def _json(con: DuckDBPyConnection, reader: Reader, files: list[str]) -> dict[str, FileLayout]:
    options = {**reader.passed, "hive_partitioning": False, "sample_size": -1}
    alike: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for file in files:
        types = _described(con, "json", file, options)
        alike[tuple((c, reader.physical(c, t)) for c, t in types.items())].append(file)
    found: dict[str, FileLayout] = {}
    for kinds, members in alike.items():
        found |= _whole_json(con, reader, members, dict(kinds))
    return found


def _whole_json(
    con: DuckDBPyConnection, reader: Reader, files: list[str], types: dict[str, str]
) -> dict[str, FileLayout]:
    """The layouts of JSON files that look alike, where DuckDB's own types would not keep every value."""
    layout = FileLayout(types=types)
    doubles = [(c, "DOUBLE") for c, t in types.items() if t == "DOUBLE"]
    times = [(c, t if t == "DATE" else ZONED) for c, t in types.items() if t == "DATE" or t.startswith("TIMESTAMP")]
    nested = [c for c, t in types.items() if shape(t).kind != "value" and c.lower() not in reader.declared]
    mixed = [c for c, t in types.items() if t == "JSON"]
    counts, _ = count(con, reader, layout, files, [*doubles, *times]) if doubles or times else ({}, {})
    layouts = {}
    for file in files:
        found = dict(types)
        for column, kind in doubles:
            seen = counts.get((file, column, kind))
            found[column], _ = _type_of(con, reader, Place(file, layout, column), kind, seen, [file])
        for column, kind in times:  # 01-02-24 is one for DuckDB, in an order that it guesses
            values, fit, *_ = counts.get((file, column, kind), [0, 0])
            found[column] = types[column] if values == fit else "VARCHAR"
        for column in nested:
            found[column] = _whole_nested(con, reader, file, column, types[column])
        for column in mixed:
            found[column] = _json_type(con, reader, file, layout, column)
        layouts[file] = FileLayout(types=found)
    return layouts


def _whole_nested(con: DuckDBPyConnection, reader: Reader, file: str, column: str, kind: str) -> str:
    """The type of a JSON file's column of lists or objects, where DuckDB's own would not keep every value in them."""
    made = shape(kind)
    leaves = dict(made.leaves())
    proofs = {s: "DATE" if k == "DATE" else ZONED for s, k in leaves.items() if k.startswith(("DATE", "TIMESTAMP"))}
    proofs |= {s: k for s, k in leaves.items() if k == "DOUBLE"}
    found = dict.fromkeys(_misfits(con, reader, file, column, kind, proofs), "VARCHAR")
    large = {s: _WHOLE for s in found if leaves[s] == "DOUBLE"}
    for steps in _misfits(con, reader, file, column, kind, large):
        alone = made.with_leaves({steps: "DOUBLE"}, "VARCHAR")
        place = Place(file, FileLayout(types={column: kind}), column)
        row, value = find(con, reader, place, "VARCHAR", Wanted(alone)) or (0, "")
        text = f"it is {kind}, and row {row} of {reader.shown(file)} says {value!r} in it, an integer that no DOUBLE is"
        misfit = Misfit(column, text, ("BIGINT", "DOUBLE"), value)
        kinds = [made.with_leaves({steps: leaf}) for leaf in misfit.candidates]
        misfit.keeps = keeping(con, reader, {file: FileLayout(types={column: kind})}, column, kinds)
        raise misfit
    return made.with_leaves(found | large)


def _misfits(
    con: DuckDBPyConnection, reader: Reader, file: str, column: str, kind: str, proofs: Mapping[Steps, str]
) -> list[Steps]:
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
