"""What single files hold: their columns, with types that all of their values have."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from mlforge.model import FileLayout
from mlforge.sql.templates import sql
from mlforge.warehouses.misfits import ZONED, Misfit, Skipped, count, find, is_word, mixed_width, two_truths
from mlforge.warehouses.nested import shape, texts
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
_YEAR = "%Y"  # what begins with the whole year is read in one way only
_KINDS = {"VARCHAR": "text", "BOOLEAN": "BOOLEAN", "ARRAY": "", "OBJECT": "", "NULL": ""}


def look(con: DuckDBPyConnection, reader: Reader, files: list[str]) -> dict[str, FileLayout]:
    """The layouts of these files. Raises Misfit, and duckdb.Error for what cannot be read."""
    if not files:
        return {}
    return {"parquet": _parquet, "csv": _csv, "json": _json}[reader.format](con, reader, files)


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
    counts, truths = count(con, reader, guess, files, asked)
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
    others, _ = count(con, reader, layout, [file], [(column, other) for other in _OTHERS.get(kind, ())])
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
    misfit = Misfit(column, text, ("BIGINT" if held.startswith("an") else held, wanted), value)
    misfit.word = value if reader.format == "csv" and kind != "BOOLEAN" and is_word(value) else None
    raise misfit


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
    times = [(c, t if t == "DATE" else ZONED) for c, t in types.items() if t == "DATE" or t.startswith("TIMESTAMP")]
    mixed = [c for c, t in types.items() if t == "JSON"]
    found = dict(types)
    counts, _ = count(con, reader, layout, [file], [*doubles, *times]) if doubles or times else ({}, {})
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
    proofs = {s: "DATE" if k == "DATE" else ZONED for s, k in leaves.items() if k.startswith(("DATE", "TIMESTAMP"))}
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
