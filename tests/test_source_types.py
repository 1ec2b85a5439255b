"""The types of columns whose files, or rows, are of different types: every value is kept, or an error names it."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import os
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlforge.catalog.file import configure
from mlforge.errors import FeatureError, ProjectError, RetrievalError
from mlforge.model import SOURCE_SCHEMA, Source, SourceState
from mlforge.warehouses.duckdb import DuckDB
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

Cells = list[Any]
DAY = dt.date(2024, 1, 1)
NOON = dt.datetime(2024, 1, 1, 18)
BIG = 2**53 + 1


class Folder:
    """Files of one source with the column ``v``, and what mlforge makes of them; no feature is built."""

    def __init__(self, root: Path, format_: str, **settings: Any) -> None:
        self.root = root
        self.format = format_
        self.source = Source(name="ev", path=str(root / f"**/*.{format_}"), format=format_, line=3, **settings)  # type: ignore[arg-type]

    def write(self, name: str, cells: Cells, kind: str) -> None:
        """Write one file. ``kind`` is DuckDB's type for Parquet; CSV and JSON hold texts as they are given."""
        path = self.root / f"{name}.{self.format}"
        first = 100 * sum(1 for _ in self.root.rglob(f"*.{self.format}"))  # so that i is the order of all rows
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == '"NULL"':  # DuckDB before 2.0 writes such a column as an INTEGER
            ordinals = range(first, first + len(cells))
            pq.write_table(pa.table({"i": pa.array(ordinals, pa.int64()), "v": pa.nulls(len(cells))}), path)
        elif self.format == "parquet":
            with duckdb.connect() as con:
                con.execute(f"CREATE TABLE x (i BIGINT, v {kind})")
                con.executemany("INSERT INTO x VALUES (?, ?)", list(enumerate(cells, first)))
                con.execute(f"COPY x TO '{path}'")
        elif self.format == "csv":
            path.write_text("i,v\n" + "".join(f"{i},{'' if v is None else v}\n" for i, v in enumerate(cells, first)))
        else:
            path.write_text(
                "".join(f'{{"i": {i}, "v": {"null" if v is None else v}}}\n' for i, v in enumerate(cells, first))
            )

    def read(self, known: SourceState | None = None) -> tuple[str, Cells, SourceState]:
        """The type of the column, its values in the order in which they were written, and the state that a build would keep."""
        with duckdb.connect() as con:
            configure(con)
            warehouse = DuckDB(con, str(self.root))
            warehouse.known = {"ev": known} if known else {}
            warehouse.bind_source(self.source)
            kind = warehouse.describe(f"FROM {SOURCE_SCHEMA}.ev")["v"]
            cells = con.execute(f"SELECT v FROM {SOURCE_SCHEMA}.ev ORDER BY i").fetchall()
            return kind, [v for (v,) in cells], warehouse.state(self.source, known)

    def refused(self, known: SourceState | None = None) -> str:
        with pytest.raises((ProjectError, duckdb.Error)) as error:
            self.read(known)
        return str(error.value)

    def told(self) -> str:
        """The error of a build that reads the column."""
        with duckdb.connect() as con:
            configure(con)
            warehouse = DuckDB(con, str(self.root))
            try:
                warehouse.bind_source(self.source)
                con.execute(f"SELECT v FROM {SOURCE_SCHEMA}.ev").fetchall()
            except ProjectError as error:
                return str(error)
            except duckdb.Error as error:
                return str(warehouse.explained(error))
        raise AssertionError("nothing was refused")


def same(folder: Folder, first: tuple[str, Cells, str], second: tuple[str, Cells, str]) -> tuple[str, Cells]:
    """What both files hold together: read at once, and the second when the first is known already."""
    folder.write(*first)
    _, _, known = folder.read()
    folder.write(*second)
    at_once, one_by_one = folder.read(), folder.read(known)
    assert at_once[:2] == one_by_one[:2]
    assert at_once[2].types == one_by_one[2].types
    return at_once[:2]


D = decimal.Decimal
WIDENED = {
    "int and double": ("INTEGER", [1], "DOUBLE", [2.7], "DOUBLE", [1.0, 2.7]),
    "bigint and double": ("BIGINT", [2**53], "DOUBLE", [2.7], "DOUBLE", [2.0**53, 2.7]),
    "int and bigint": ("INTEGER", [1], "BIGINT", [2**40], "BIGINT", [1, 2**40]),
    "unsigned and signed": ("UBIGINT", [2**64 - 1], "BIGINT", [-1], "DECIMAL(20,0)", [D(2**64 - 1), D(-1)]),
    "small unsigned and signed": ("UTINYINT", [255], "TINYINT", [-1], "SMALLINT", [255, -1]),
    "int and decimal": ("INTEGER", [7], "DECIMAL(5,2)", [D("1.25")], "DECIMAL(12,2)", [D(7), D("1.25")]),
    "decimals": ("DECIMAL(5,2)", [D("1.25")], "DECIMAL(9,1)", [D("5.5")], "DECIMAL(10,2)", [D("1.25"), D("5.5")]),
    "float and double": ("FLOAT", [0.5], "DOUBLE", [0.1], "DOUBLE", [0.5, 0.1]),
    "nothing and text": ('"NULL"', [None], "VARCHAR", ["x"], "VARCHAR", [None, "x"]),
    "fields": (
        "STRUCT(a INTEGER)",
        [{"a": 1}],
        "STRUCT(b VARCHAR, a BIGINT)",
        [{"b": "x", "a": 2}],
        "STRUCT(a BIGINT, b VARCHAR)",
        [{"a": 1, "b": None}, {"a": 2, "b": "x"}],
    ),
    "lists": ("INTEGER[]", [[1]], "BIGINT[]", [[2**40]], "BIGINT[]", [[1], [2**40]]),
    "nanoseconds": ("TIMESTAMP", [NOON], "TIMESTAMP_NS", [NOON], "TIMESTAMP_NS", [NOON, NOON]),
}


@pytest.mark.parametrize("case", WIDENED)
@pytest.mark.parametrize("turned", [False, True])
def test_parquet_is_widened(tmp_path: Path, case: str, turned: bool) -> None:
    one, ones, two, twos, kind, cells = WIDENED[case]
    if turned and case == "fields":
        kind = "STRUCT(b VARCHAR, a BIGINT)"
    files = [("a", ones, one), ("b", twos, two)]
    if turned:
        files, cells = [("a", twos, two), ("b", ones, one)], cells[::-1]
    found = same(Folder(tmp_path, "parquet"), *files)
    assert found == (kind, cells)


REFUSED = {
    "number and text": ("BIGINT", [7], "VARCHAR", ["007"], "types: {v: VARCHAR}"),
    "date and time": ("DATE", [DAY], "TIMESTAMP", [NOON], "types: {v: TIMESTAMP}"),
    "boolean and number": ("BOOLEAN", [True], "INTEGER", [1], "types: {v: VARCHAR}"),
    "decimal and double": ("DECIMAL(5,2)", [D("0.1")], "DOUBLE", [0.1], "types: {v: DOUBLE}"),
    "decimals too wide": ("DECIMAL(38,0)", [D(1)], "DECIMAL(38,38)", [D("0.1")], "types: {v: 'DECIMAL(38,9)'}"),
    "fields": ("STRUCT(a INTEGER)", [{"a": 1}], "STRUCT(a VARCHAR)", [{"a": "x"}], "types: {v: VARCHAR}"),
    "zones": ("TIMESTAMP", [NOON], "TIMESTAMPTZ", [NOON], "types: {v: TIMESTAMPTZ}"),
    "lists": ("INTEGER[]", [[1]], "VARCHAR[]", [["x"]], "types: {v: 'VARCHAR[]'}"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_parquet_is_refused(tmp_path: Path, case: str) -> None:
    one, ones, two, twos, hint = REFUSED[case]
    folder = Folder(tmp_path, "parquet")
    folder.write("a", ones, one)
    _, _, known = folder.read()
    folder.write("b", twos, two)
    for message in (folder.refused(), folder.refused(known)):
        assert message.startswith("mlforge.yaml:3: source 'ev': column 'v': it is ")
        assert " in b.parquet and " in message
        assert " in a.parquet\n" in message
        assert hint in message


def test_the_file_that_is_named_has_the_type(tmp_path: Path) -> None:
    """What files before were widened to need not be the type of the first."""
    folder = Folder(tmp_path, "parquet")
    for name, cells, kind in (("a", [1], "INTEGER"), ("b", [2.5], "DOUBLE"), ("c", ["x"], "VARCHAR")):
        folder.write(name, cells, kind)
    assert "it is VARCHAR in c.parquet and DOUBLE in b.parquet\n" in folder.refused()
    folder.write("b", [2**64 - 1], "UBIGINT")
    assert "it is VARCHAR in c.parquet and DECIMAL(20,0) in the files before it\n" in folder.refused()


@pytest.mark.parametrize("whole", [2**63 - 1, 2**63 - 512, BIG])
@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_the_largest_integers_beside_a_double(tmp_path: Path, format_: str, whole: int) -> None:
    folder = Folder(tmp_path, format_)
    folder.write("a", [whole], "BIGINT")
    folder.write("b", [0.5], "DOUBLE")
    assert f"source ev: column v holds {whole} (BIGINT), which is no DOUBLE, in " in folder.refused()


def test_integers_that_no_double_holds(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "parquet")
    folder.write("a", [1, BIG], "BIGINT")
    folder.write("b", [2.7], "DOUBLE")
    message = folder.refused()
    assert f"column v holds {BIG} (BIGINT), which is no DOUBLE, in {tmp_path}/a.parquet" in message


def test_what_is_declared_is_proven(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "parquet", types={"V": "BIGINT"})
    folder.write("a", ["7", " 8.0", None], "VARCHAR")
    folder.write("b", [2.0], "DOUBLE")
    assert folder.read()[:2] == ("BIGINT", [7, 8, None, 2])
    folder.write("b", [2.0, 2.7], "DOUBLE")
    assert "column v holds 2.7 (DOUBLE), which is no BIGINT" in folder.refused()


DECLARED = {
    ("csv", "BIGINT"): (
        ["1", "+2", "3.0", "", "-4"],
        [1, 2, 3, None, -4],
        ["2.5", "x", "1e-1", "99999999999999999999"],
    ),
    ("csv", "DECIMAL(5,2)"): (["1", "2.50", "3.250"], [D(1), D("2.5"), D("3.25")], ["2.505", "1234567", "x"]),
    ("csv", "DOUBLE"): (["1", "2.5", "1e3"], [1.0, 2.5, 1000.0], ["x", str(BIG)]),
    ("csv", "DATE"): (["2024-01-01"], [DAY], ["2024-01-01 18:00:00", "x"]),
    ("csv", "TIMESTAMP"): (
        ["2024-01-01 18:00:00", "2024-01-01T18:00"],
        [NOON, NOON],
        ["2024-01-01 18:00:00+02", "2024-01-01", "x"],
    ),
    ("csv", "VARCHAR"): (["007", "7", "x"], ["007", "7", "x"], []),
    ("csv", "BOOLEAN"): (["true", "f"], [True, False], ["2", "x"]),
    ("json", "BIGINT"): (["1", "3.0", "null", '"5"'], [1, 3, None, 5], ["2.5", '"x"']),
    ("json", "DECIMAL(38,0)"): (["1", str(10**30)], [D(1), D(10**30)], ["2.5"]),
    ("json", "VARCHAR"): (["1", '"007"'], ["1", "007"], []),
    ("csv", "BIGINT[]"): (['"[1, 2]"', "[]", ""], [[1, 2], [], None], []),
    ("json", "STRUCT(a BIGINT)"): (['{"a": 1}', '{"b": 1}'], [{"a": 1}, {"a": None}], []),
}


@pytest.mark.parametrize(("format_", "kind"), DECLARED)
def test_declared_types_of_text(tmp_path: Path, format_: str, kind: str) -> None:
    given, cells, wrong = DECLARED[format_, kind]
    folder = Folder(tmp_path, format_, types={"v": kind})
    folder.write("a", given, "")
    assert folder.read()[:2] == (kind, cells)
    for value in wrong:
        folder.write("b", [*given, value], "")
        assert f"column v holds {value.strip(chr(34))} (VARCHAR), which is no {kind}, in " in folder.refused()


WITHIN = {
    ("json", "BIGINT[]"): (["[1, null]", "null", "[]"], [[1, None], None, []], {"[3, 2.5]": "2.5", "[true]": "true"}),
    ("json", "DECIMAL(38,2)[]"): ([f"[{BIG}, 0.25]"], [[D(BIG), D("0.25")]], {"[0.255]": "0.255"}),
    ("json", "DATE[]"): (['["2024-01-01"]'], [[DAY]], {'["2024-01-01 18:00:00"]': "2024-01-01 18:00:00"}),
    ("json", "TIMESTAMP[]"): (
        ['["2024-01-01 18:00:00"]'],
        [[NOON]],
        {'["2024-01-01 18:00:00+02"]': "2024-01-01 18:00:00+02", '["2024-01-01"]': "2024-01-01"},
    ),
    ("json", "STRUCT(a BOOLEAN, b VARCHAR)"): (
        ['{"a": true, "b": 1}', "null", '{"b": [1]}'],
        [{"a": True, "b": "1"}, None, {"a": None, "b": "[1]"}],
        {'{"a": 2}': "2"},
    ),
    ("json", "MAP(VARCHAR, BIGINT)"): (['{"x": 1}', "{}", "null"], [{"x": 1}, {}, None], {'{"y": 1, "x": 2.5}': "2.5"}),
    ("json", "BIGINT[2]"): (["[1, 2]"], [(1, 2)], {"[1, 2.5]": "2.5"}),
    ("json", 'STRUCT("x y" STRUCT(b DOUBLE[])[])'): (
        ['{"x y": [{"b": [1, null]}, null, {"b": null}]}'],
        [{"x y": [{"b": [1.0, None]}, None, {"b": None}]}],
        {f'{{"x y": [{{"b": [{BIG}]}}]}}': str(BIG)},
    ),
    ("csv", "DOUBLE[]"): (['"[1, 2.5]"', ""], [[1.0, 2.5], None], {f'"[1, {BIG}]"': str(BIG), "x": "x"}),
}


@pytest.mark.parametrize(("format_", "kind"), WITHIN)
def test_declared_types_of_lists_and_objects(tmp_path: Path, format_: str, kind: str) -> None:
    given, cells, wrong = WITHIN[format_, kind]
    folder = Folder(tmp_path, format_, types={"v": kind})
    folder.write("a", given, "")
    assert folder.read()[:2] == (kind, cells)
    for text, value in wrong.items():
        folder.write("b", [*given, text], "")
        with duckdb.connect() as con:
            warehouse = DuckDB(con, str(tmp_path))
            warehouse.bind_source(folder.source)
            with pytest.raises(duckdb.InvalidInputException) as error:
                con.execute(f"SELECT v FROM {SOURCE_SCHEMA}.ev").fetchall()
            found = warehouse.explained(error.value)
        at = f"b.{format_}, row {len(given) + 1}"
        assert found
        assert found.message == f"source 'ev': column 'v' is {kind}, and {at} holds {value!r} (VARCHAR)"
        assert "say what it is: types: {v: " in str(found.hint)


GUESSED = {
    "fractions": (["[1, 2.5]", "[]", "null"], "DOUBLE[]", [[1.0, 2.5], [], None]),
    "large numbers": ([f"[{BIG}]", "[99999999999999999999]"], "DECIMAL(38,0)[]", [[D(BIG)], [D(99999999999999999999)]]),
    "lists of lists": (["[[1], [2.5]]", "[[3]]"], "DOUBLE[][]", [[[1.0], [2.5]], [[3.0]]]),
    "numbers past 53 bits": (['{"a": 1}', f'{{"a": {BIG}}}'], "STRUCT(a BIGINT)", [{"a": 1}, {"a": BIG}]),
    "days": (['["2024-01-01"]'], "DATE[]", [[DAY]]),
    "days in an order that is guessed": (['{"a": "01-02-24"}'], "STRUCT(a VARCHAR)", [{"a": "01-02-24"}]),
    "times": (['{"a": ["2024-01-01 18:00:00"]}'], "STRUCT(a TIMESTAMP[])", [{"a": [NOON]}]),
    "days and times": (['["2024-01-01", "2024-01-01 18:00:00"]'], "VARCHAR[]", [["2024-01-01", "2024-01-01 18:00:00"]]),
    "numbers and texts": (['[7, "007"]'], "JSON[]", [["7", '"007"']]),
}


@pytest.mark.parametrize("case", GUESSED)
def test_lists_and_objects_keep_every_value(tmp_path: Path, case: str) -> None:
    given, kind, cells = GUESSED[case]
    folder = Folder(tmp_path, "json")
    folder.write("a", given, "")
    assert folder.read()[:2] == (kind, cells)


@pytest.mark.parametrize(
    ("given", "kind", "keeps"),
    [
        (["[1, 2.5]", f"[3, {BIG}]"], "DOUBLE[]", "DECIMAL(38,9)[]"),
        (
            ['{"a": 2.5, "b": true}', f'{{"a": {BIG}}}'],
            "STRUCT(a DOUBLE, b BOOLEAN)",
            "STRUCT(a DECIMAL(38,9), b BOOLEAN)",
        ),
    ],
)
def test_integers_in_lists_and_objects_that_no_double_holds(
    tmp_path: Path, given: Cells, kind: str, keeps: str
) -> None:
    folder = Folder(tmp_path, "json")
    folder.write("a", given, "")
    message = folder.refused()
    assert f"column 'v': it is {kind}, and row 2 of a.json says '{BIG}' in it, an integer that no DOUBLE is" in message
    assert f"types: {{v: '{keeps}'}}" in message
    kind, cells, _ = Folder(tmp_path, "json", types={"v": keeps}).read()
    assert (kind, str(cells[1]).count(str(BIG))) == (keeps, 1)


PROPOSED = {
    "fractions beside a large integer": ("csv", ["1.5", str(BIG)], [], {}, "DECIMAL(38,9)"),
    "in another file": ("csv", ["1.5"], [str(BIG)], {}, "DECIMAL(38,9)"),
    "a long fraction": ("csv", ["0.123456789012", str(BIG)], [], {}, "DECIMAL(38,18)"),
    "a tiny one": ("csv", ["1e-20", str(BIG)], [], {}, "VARCHAR"),
    "a tiny one in another file": ("csv", ["1e-20"], [str(BIG)], {}, "VARCHAR"),
    "objects": ("json", ["1.5", str(BIG)], [], {}, "DECIMAL(38,9)"),
    "a tiny one in objects": ("json", ["1e-20", str(BIG)], [], {}, "VARCHAR"),
    "a tiny one in lists": ("json", ["[1e-20]", f"[{BIG}]"], [], {}, "VARCHAR[]"),
    "declared": ("csv", ["1.5", str(BIG)], [], {"v": "DOUBLE"}, "DECIMAL(38,9)"),
    "a declared integer": ("csv", ["1", "2.5"], [], {"v": "BIGINT"}, "DOUBLE"),
    "and a word": ("csv", ["1", "2.5", "N/A"], [], {"v": "BIGINT"}, "VARCHAR"),
    "too narrow": ("csv", ["1", "40000"], [], {"v": "SMALLINT"}, "BIGINT"),
    "too narrow for BIGINT": ("csv", ["1", "9" * 30], [], {"v": "BIGINT"}, "DECIMAL(38,0)"),
    "too many digits": ("csv", ["1", "9" * 50], [], {"v": "DECIMAL(38,0)"}, "VARCHAR"),
    "Parquet": ("parquet", ([BIG], "BIGINT"), ([0.5], "DOUBLE"), {}, "DECIMAL(38,9)"),
    "Parquet with more": ("parquet", ([BIG], "BIGINT"), ([0.1 + 0.2], "DOUBLE"), {}, "DECIMAL(38,18)"),
    "Parquet with anything": ("parquet", ([BIG], "BIGINT"), ([5e-324], "DOUBLE"), {}, "VARCHAR"),
    "a decimal cut": (
        "parquet",
        ([D("1.25")], "DECIMAL(5,2)"),
        ([], "DECIMAL(5,2)"),
        {"v": "DECIMAL(5,1)"},
        "DECIMAL(5,2)",
    ),
    "a decimal as integer": (
        "parquet",
        ([D("1.25")], "DECIMAL(5,2)"),
        ([], "DECIMAL(5,2)"),
        {"v": "BIGINT"},
        "DECIMAL(5,2)",
    ),
    "a decimal beside doubles": (
        "parquet",
        ([D(2**53 + 1) / 4], "DECIMAL(20,2)"),
        ([0.5], "DOUBLE"),
        {},
        "DECIMAL(38,9)",
    ),
}


@pytest.mark.parametrize("case", PROPOSED)
def test_the_type_that_an_error_proposes_keeps_every_value(tmp_path: Path, case: str) -> None:
    format_, one, two, types, proposed = PROPOSED[case]
    folder = Folder(tmp_path, format_, types=types)
    parts = [part if isinstance(part, tuple) else (part, "") for part in (one, two)]
    for name, (cells, kind) in zip("ab", parts, strict=True):
        if cells:
            folder.write(name, cells, kind)
    shown = f"'{proposed}'" if "(" in proposed or "[" in proposed else proposed
    assert f"types: {{v: {shown}}}" in folder.told()
    kind, cells, _ = Folder(tmp_path, format_, types={"v": proposed}).read()
    wrote = [v for cells, _ in parts for v in cells]
    assert kind == proposed
    if proposed == "VARCHAR":
        assert [float(v) if v != "N/A" else v for v in cells] == [float(v) if v != "N/A" else v for v in wrote]
        assert str(BIG) not in map(str, wrote) or str(BIG) in cells
    elif proposed == "VARCHAR[]":
        assert [[D(v) for v in cell] for cell in cells] == [[D("1e-20")], [D(BIG)]]
    else:
        assert [float(v) for v in cells] == [float(v) for v in wrote]
        assert BIG not in wrote or D(BIG) in cells


def test_lists_of_files_of_different_types(tmp_path: Path) -> None:
    assert same(Folder(tmp_path, "json"), ("a", ["[1]"], ""), ("b", ["[2.5]"], "")) == ("DOUBLE[]", [[1.0], [2.5]])
    folder = Folder(tmp_path, "json")
    folder.write("c", [f"[{BIG}]"], "")
    assert f"column v holds [{BIG}] (BIGINT[]), which is no DOUBLE[], in {tmp_path}/c.json" in folder.refused()


MANY = 21_000  # more rows than DuckDB guesses types from
BEHIND = {
    ("csv", "a fraction"): ("1", "2.5", "DOUBLE", 2.5),
    ("csv", "a large number"): ("1", "99999999999999999999", "DECIMAL(38,0)", D("99999999999999999999")),
    ("csv", "a small fraction"): ("1.5", "1e-3", "DOUBLE", 0.001),
    ("csv", "nothing"): ("1", "", "BIGINT", None),
    ("csv", "a quoted text"): ("x", '"y"', "VARCHAR", "y"),
    ("json", "a fraction"): ("1", "2.5", "DOUBLE", 2.5),
    ("json", "a field"): ('{"a": 1}', '{"b": 1}', "STRUCT(a BIGINT, b BIGINT)", {"a": None, "b": 1}),
}
BEHIND_REFUSED = {
    ("csv", "text"): ("1", "x", f"it is DOUBLE in the first rows of a.csv, and row {MANY + 1} says 'x', VARCHAR"),
    ("csv", "leading zeros"): ("7", "007", "row 1 of a.csv says '7', beside numbers of 3 digits with leading zeros"),
    ("csv", "a time"): ("2024-01-01", "2024-01-01 18:00:00", f"row {MANY + 1} says '2024-01-01 18:00:00'"),
    ("csv", "a date"): ("2024-01-01 18:00:00", "2024-01-02", f"row {MANY + 1} says '2024-01-02', DATE"),
    ("csv", "a zone"): (
        "2024-01-01 18:00:00",
        "2024-01-01 18:00:00+02",
        f"row {MANY + 1} says '2024-01-01 18:00:00+02'",
    ),
    ("csv", "a number"): ("true", "1", f"row {MANY + 1} says '1'"),
    ("csv", "no double"): ("1.5", str(BIG), f"row {MANY + 1} says '{BIG}', an integer that no DOUBLE is"),
    ("json", "text"): ("1", '"1"', f'in a.json row 1 says 1, a number, and row {MANY + 1} says "1", text'),
    ("json", "no double"): ("1.5", str(BIG), f"row {MANY + 1} says '{BIG}', an integer that no DOUBLE is"),
}


@pytest.mark.parametrize(("format_", "case"), BEHIND)
def test_behind_the_sample(tmp_path: Path, format_: str, case: str) -> None:
    value, last, kind, cell = BEHIND[format_, case]
    folder = Folder(tmp_path, format_)
    folder.write("a", [*[value] * MANY, last], "")
    found, cells, _ = folder.read()
    assert (found, cells[-1], len(cells)) == (kind, cell, MANY + 1)


@pytest.mark.parametrize(("format_", "case"), BEHIND_REFUSED)
def test_behind_the_sample_refused(tmp_path: Path, format_: str, case: str) -> None:
    value, last, words = BEHIND_REFUSED[format_, case]
    folder = Folder(tmp_path, format_)
    folder.write("a", [*[value] * MANY, last], "")
    message = folder.refused()
    assert "source 'ev': column 'v': " in message
    assert words in message
    assert "types: {v: " in message


@pytest.mark.parametrize("format_", ["csv", "json"])
@pytest.mark.parametrize("thirteenth", ["2.5", '"x"'])
def test_more_files_than_duckdb_looks_into(tmp_path: Path, format_: str, thirteenth: str) -> None:
    folder = Folder(tmp_path, format_)
    for number in range(12):
        folder.write(f"{number:02}", [str(number)], "")
    _, _, known = folder.read()
    folder.write("12", [thirteenth], "")
    if thirteenth == "2.5":
        assert folder.read()[:2] == folder.read(known)[:2] == ("DOUBLE", [*map(float, range(12)), 2.5])
        return
    for message in (folder.refused(), folder.refused(known)):
        assert f"it is VARCHAR in 12.{format_} and BIGINT in 00.{format_}: row 1 of 12.{format_} says 'x'" in message


@pytest.mark.parametrize("format_", ["parquet", "csv", "json"])
def test_many_files_are_looked_at_together(tmp_path: Path, format_: str) -> None:
    """Those that look alike at once; each of the others keeps what is its own."""
    folder = Folder(tmp_path, format_)
    for number in range(60):
        folder.write(f"{number:02}", [number], "BIGINT")
    folder.write("55", [0.5], "DOUBLE")
    kind, cells, state = folder.read()
    assert (kind, sorted(cells)) == ("DOUBLE", sorted([*(float(n) for n in range(60) if n != 55), 0.5]))
    kinds = [layout.types["v"] for layout in state.layouts]
    assert kinds == ["BIGINT", "DOUBLE"]
    assert [f.layout for f in state.files] == [int(n == 55) for n in range(60)]


def test_columns_of_csv_files_by_name(tmp_path: Path) -> None:
    """In another order, with other delimiters, and with more of them; a file without rows says nothing of types."""
    folder = Folder(tmp_path, "csv")
    folder.write("a", ["1", "2"], "")
    (tmp_path / "b.csv").write_text("v;w;i\n3;x;7\n")
    (tmp_path / "c.csv").write_text("i,v\n")
    (tmp_path / "d.csv").write_text("")
    assert folder.read()[:2] == ("BIGINT", [1, 2, 3])


def test_lines_that_would_be_left_out(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "csv")
    (tmp_path / "a.csv").write_text("i,v\n1,2\n1,2\n1,2,3\n")
    assert (
        "source 'ev': the first 3 lines of a.csv do not look like the others, and would be left out" in folder.refused()
    )
    (tmp_path / "a.csv").write_text("an export\nof today\ni,v\n1,2\n")
    message = folder.refused()
    assert "source 'ev': the first 2 lines of a.csv do not look like the others, and would be left out" in message
    assert "options: {skip: 2}" in message
    assert Folder(tmp_path, "csv", options={"skip": 2}).read()[:2] == ("BIGINT", [2])
    (tmp_path / "a.csv").write_text("\n\ni,v\n1,2\n")
    assert folder.read()[:2] == ("BIGINT", [2])


def test_numbers_with_leading_zeros(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "csv", types={"v": "VARCHAR"})
    folder.write("a", ["7"], "")
    folder.write("b", ["007"], "")
    assert folder.read()[:2] == ("VARCHAR", ["7", "007"])
    undeclared = Folder(tmp_path, "csv")
    assert "it is VARCHAR in b.csv and BIGINT in a.csv: row 1 of b.csv says '007'" in undeclared.refused()


@pytest.mark.parametrize("pair", ["t f", "T F", "true false", "True False", "TRUE FALSE", "yes no", "t False"])
def test_truth_values_that_are_spelled_in_one_way(tmp_path: Path, pair: str) -> None:
    one, other = pair.split()
    folder = Folder(tmp_path, "csv")
    assert same(folder, ("a", [one, None, one, other], ""), ("b", [other], ""))[1] == [True, None, True, False, False]


TWO_WAYS = [("t", "true", "true"), ("true", "True", "true"), ("F", "f", "false"), ("no", "false", "false")]


@pytest.mark.parametrize(("first", "second", "truth"), TWO_WAYS)
def test_truth_values_that_would_be_merged(tmp_path: Path, first: str, second: str, truth: str) -> None:
    """A text t is another key than a text true."""
    beside = {"true": "no", "false": "yes"}[truth]
    folder = Folder(tmp_path, "csv")
    folder.write("a", [first, beside, None, second], "")
    words, hint = f"as BOOLEAN both would be {truth}", "types: {v: VARCHAR}"
    row, said = (1, first) if second < first else (4, second)
    message = folder.refused()
    assert (
        f"column 'v': row {row} of a.csv says {said!r}, beside {({first, second} - {said}).pop()!r}: {words}" in message
    )
    assert hint in message
    assert Folder(tmp_path, "csv", types={"v": "VARCHAR"}).read()[1] == [first, beside, None, second]
    assert Folder(tmp_path, "csv", types={"v": "BOOLEAN"}).read()[1] == [
        truth == "true",
        truth != "true",
        None,
        truth == "true",
    ]
    (tmp_path / "a.csv").write_text(f"i,v\n1,{first}\n2,{first}\n")
    known = folder.read()[2]
    folder.write("b", [beside, second], "")
    for message in (folder.refused(), folder.refused(known)):
        assert f"column 'v': row 2 of b.csv says {second!r}, beside {first!r} in a.csv: {words}" in message
        assert hint in message


def test_types_stay_when_files_go(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "parquet")
    folder.write("a", [0.5], "DOUBLE")
    folder.write("b", [1], "INTEGER")
    known = folder.read()[2]
    (tmp_path / "a.parquet").unlink()
    assert folder.read(known)[:2] == ("DOUBLE", [1.0])
    assert folder.read()[0] == "INTEGER"


@pytest.mark.parametrize("format_", ["parquet", "csv", "json"])
def test_files_that_a_build_knows_are_not_opened_for_their_types(tmp_path: Path, format_: str) -> None:
    folder = Folder(tmp_path, format_)
    folder.write("a", [1], "BIGINT")
    path = tmp_path / f"a.{format_}"
    known, stat = folder.read()[2], path.stat()
    path.write_bytes(b"\0" * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with duckdb.connect() as con:
        warehouse = DuckDB(con, str(tmp_path))
        warehouse.known = {"ev": known}
        assert warehouse.state(folder.source, known) == known


FOLDERS = {
    "BIGINT": (["1", "20"], "007"),
    "DATE": (["2024-01-01", "2024-01-02"], "1"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_folders_keep_their_type(tmp_path: Path, kind: str) -> None:
    names, stranger = FOLDERS[kind]
    folder = Folder(tmp_path, "parquet")
    for name in names:
        folder.write(f"z={name}/a", [1], "BIGINT")
    known = folder.read()[2]
    assert known.types == {"i": "BIGINT", "v": "BIGINT", "z": kind}
    folder.write(f"z={stranger}/a", [1], "BIGINT")
    message = folder.refused(known)
    assert f"column 'z': folder z={stranger} is no {kind}, which z is in every build so far" in message
    assert "options: {hive_types: {z: VARCHAR}}" in message
    assert folder.read()[2].types["z"] == "VARCHAR"
    told = Folder(tmp_path, "parquet", options={"hive_types": {"z": "VARCHAR"}})
    [change] = told.read(known)[2].changes
    assert str(change) == f"column z is VARCHAR now, not {kind}, as the project says"


def test_folders_that_would_be_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "parquet", options={"hive_types": {"z": "BIGINT"}})
    for name in ("7", "007"):
        folder.write(f"z={name}/a", [1], "BIGINT")
    assert "folders 007 and 7 would both be 7" in folder.refused()


TEXTS = st.text("abc", max_size=2).map("x{}".format) | st.sampled_from(["t", "T", "true", "f", "no"])  # nan is a DOUBLE
NUMBERS = {
    "TINYINT": st.integers(-128, 127),
    "INTEGER": st.integers(-(2**31), 2**31 - 1),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "UBIGINT": st.integers(0, 2**64 - 1),
    "DOUBLE": st.floats(allow_nan=False, allow_infinity=False),
    "DECIMAL(9,3)": st.decimals(-99999, 99999, places=3),
    "VARCHAR": TEXTS | st.integers(0, 99).map(lambda n: f"{n:03}"),
    "BOOLEAN": st.booleans(),
    "DATE": st.dates(dt.date(1970, 1, 1), dt.date(2100, 1, 1)),
    "TIMESTAMP": st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1)),
}


@st.composite
def files(draw: st.DrawFn) -> list[tuple[str, Cells]]:
    kinds = draw(st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=3))
    return [(k, draw(st.lists(st.none() | NUMBERS[k], min_size=1, max_size=4))) for k in kinds]


def written(format_: str, value: Any) -> Any:
    """A value as the text that a file of this format has for it."""
    if value is None or format_ == "parquet":
        return value
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, float) else str(value)
    quoted = format_ == "json" and isinstance(value, (str, dt.date))
    return json.dumps(text) if quoted else text


def is_kept(given: Any, found: Any) -> bool:
    """Whether a value that was written is the one that was read: as a number the same, else of the same words."""
    if given is None or found is None:
        return given is found
    if isinstance(given, (int, float, decimal.Decimal)) and isinstance(found, (int, float, decimal.Decimal)):
        if isinstance(given, decimal.Decimal) and isinstance(found, float):
            return float(given) == found  # a text with a point is a DOUBLE
        return given == found
    if isinstance(found, bool):
        return str(given).lower() in (("t", "true") if found else ("f", "no", "false"))
    return given == found or str(given).lower() == str(found)


@pytest.mark.parametrize("format_", ["parquet", "csv", "json"])
@settings(max_examples=60, deadline=None)
@given(made=files())
def test_nothing_is_lost(tmp_path_factory: pytest.TempPathFactory, format_: str, made: list[tuple[str, Cells]]) -> None:
    folder = Folder(tmp_path_factory.mktemp("files"), format_)
    known: SourceState | None = None
    refusals = []
    for number, (kind, cells) in enumerate(made):
        folder.write(str(number), [written(format_, v) for v in cells], kind)
        try:
            found = folder.read(known)
        except (ProjectError, duckdb.InvalidInputException) as error:
            refusals.append(str(error))
            break
        known = found[2]
        expected = [v for _, values in made[: number + 1] for v in values]
        assert all(is_kept(a, b) for a, b in zip(expected, found[1], strict=True)), (expected, found)
        if found[0] == "BOOLEAN":
            truths = {(written(format_, a), b) for a, b in zip(expected, found[1], strict=True) if a is not None}
            assert len(truths) == len({b for _, b in truths}), "two texts are one"
        assert folder.read()[:2] == found[:2]
    if refusals:
        assert "column v" in refusals[0] or "column 'v'" in refusals[0]
        assert "column v" in (whole := folder.refused()) or "column 'v'" in whole


FEATURE = '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, v FROM {{ source("ev") }}\n'
TIME = "TIMESTAMP '2024-01-01'"


@pytest.fixture
def small(tmp_path: Path) -> Small:
    small = Small(tmp_path, "name: small\nsources:\n  ev: {path: data/*.parquet}\nentities:\n  user: {key: k}\n")
    small.feature("f", FEATURE)
    small.write("data/1.parquet", f"SELECT 1 AS k, {TIME} AS t, 1 AS v")
    return small


def test_a_later_file_that_widens(small: Small) -> None:
    small.feature("counts", FEATURE.replace("v FROM", "COUNT(*) OVER ever AS n FROM"))
    small.good()
    small.write("data/2.parquet", f"SELECT 2 AS k, {TIME} AS t, 2.7::DOUBLE AS v, 'new' AS w")
    change = "source ev: column v is DOUBLE now, not INTEGER, for data/2.parquet"
    plan = small.forge.plan()
    assert [(s.feature, s.action, s.reasons) for s in plan.steps] == [
        ("counts", "patch", ("source ev: 1 file added", change)),
        ("f", "major", ("column v: type INTEGER -> DOUBLE", change)),
    ]
    assert plan.notes == (f"{change}: a new MAJOR of f",)
    assert small.good() == {"counts": "1.0.1", "f": "2.0.0"}
    assert [row[2] for row in small.view("f")] == [1.0, 2.7]
    assert small.forge.plan().nothing_to_do
    small.feature("f", FEATURE.replace("v FROM", "v, w FROM"))
    assert small.good() == {"f": "2.1.0"}
    assert [row[3] for row in small.view("f")] == [None, "new"]


def test_a_contract_forbids_what_widens(small: Small) -> None:
    small.feature("f", FEATURE.replace('timestamp="t"', 'timestamp="t", contract=true'))
    small.good()
    small.write("data/2.parquet", f"SELECT 2 AS k, {TIME} AS t, 2.7::DOUBLE AS v")
    with pytest.raises(FeatureError) as error:
        small.forge.plan()
    assert "v       INTEGER  DOUBLE    another type" in str(error.value)
    assert "source ev: column v is DOUBLE now, not INTEGER, for data/2.parquet" in str(error.value)


def test_a_time_that_gets_a_zone_makes_all_rows(small: Small) -> None:
    small.feature("f", FEATURE.replace("v FROM", "date_diff('day', MAX(t) OVER ever, as_of()) AS age FROM"))
    small.good()
    config = (
        "name: small\nsources:\n  ev: {path: data/*.parquet, types: {t: TIMESTAMPTZ}}\nentities:\n  user: {key: k}\n"
    )
    small.config(config)
    (step,) = small.forge.plan().steps
    assert (step.action, step.increment.why) == (
        "patch",
        "columns of ev have other types, and what is computed over its windows follows",
    )
    assert small.good() == {"f": "1.0.1"}


def test_a_value_that_does_not_fit_is_found(small: Small) -> None:
    small.config("name: small\nsources:\n  ev: {path: data/*.csv, types: {v: BIGINT}}\nentities:\n  user: {key: k}\n")
    rows = "".join(f"{n},2024-01-01 00:00:00,{n}\n" for n in range(5))
    (small.root / "data/1.csv").write_text(f"k,t,v\n{rows}")
    small.good()
    (small.root / "data/2.csv").write_text(f"k,t,v\n{rows}9,2024-01-01 00:00:00,2.5\n")
    [failed] = [r for r in small.forge.build().features if r.status == "failed"]
    assert failed.error == (
        "features/f.sql: f: source 'ev': column 'v' is BIGINT, and data/2.csv, row 6 holds '2.5' (VARCHAR)\n"
        "  hint: say what it is: types: {v: DOUBLE}; or mend the files"
    )


def test_whoever_reads_names_the_row_that_does_not_fit(small: Small) -> None:
    """Checks, a training set of the past, an explanation, how late and how fresh rows are; not only a build."""
    small.config(
        "name: small\nsources:\n  ev: {path: data/*.csv, types: {v: BIGINT, l: TIMESTAMP}, timestamp: t, loaded_at: l, "
        "max_age: 1d}\nentities:\n  user: {key: k}\n"
    )
    day, hour = "2024-01-01 00:00:00", "2024-01-01 01:00:00"
    rows = "k,t,l,v\n" + "".join(f"{n},{day},{hour},{n}\n" for n in range(5))
    (small.root / "data/1.csv").write_text(rows)
    daily = FEATURE.replace('timestamp="t"', 'timestamp="t", interval="1d"').replace(
        "v FROM", "SUM(v) OVER ever AS s FROM"
    )
    small.feature("f", daily)
    small.good()
    labels = f"SELECT 1 AS k, {TIME} + INTERVAL 1 DAY AS label_time"
    (small.root / "data/2.csv").write_text(f"{rows}9,{day},{hour},2.5\n")
    words = "source 'ev': column 'v' is BIGINT, and data/2.csv, row 6 holds '2.5' (VARCHAR)"
    with pytest.raises(ProjectError) as error:
        small.forge.get_training_data("f", labels, known_as_of="2024-02-01")
    assert (
        str(error.value) == f"mlforge.yaml:3: {words}\n  hint: say what it is: types: {{v: DOUBLE}}; or mend the files"
    )
    with pytest.raises(ProjectError) as error:
        small.forge.explain("f", ["1"], "2024-01-02")
    assert error.value.message == words
    checked = daily.replace('interval="1d"', 'interval="1d", validators={"input.v": [not_null()]}')
    small.feature("f", checked)
    [failed] = small.build().features
    assert str(failed.error).startswith(f"features/f.sql: f: {words}\n")
    [validated] = small.forge.validate()
    assert (validated.error, validated.where) == (words, "mlforge.yaml:3")

    (small.root / "data/2.csv").write_text(f"{rows}9,{day},2024-01-01,2\n")
    words = words.replace("'v' is BIGINT", "'l' is TIMESTAMP").replace("'2.5'", "'2024-01-01'")
    fresh = {f.name: f for f in small.forge.freshness()}
    assert (fresh["ev"].state, fresh["ev"].text) == ("unknown", words)
    made = small.forge.training_set("f", labels, late=True)
    [late] = made.record["late"]["features"]
    assert late["unknown"] == words
    assert f"how late the rows of ev come is not known: {words}" in small.forge.plan().notes


def test_what_reading_text_costs_is_said(small: Small) -> None:
    query = f"SELECT range AS k, {TIME} AS t, repeat('x', 50) AS v FROM range(140_000)"
    small.write("data/1.csv", query)
    small.config("name: small\nsources:\n  ev: {path: data/1.csv}\nentities:\n  user: {key: k}\n")
    [note] = small.forge.plan().notes
    assert note.startswith("source ev: 11 MB were read to find types that every value has; ")
    small.config(
        "name: small\nsources:\n  ev: {path: data/1.csv, types: {k: BIGINT, t: TIMESTAMP, v: VARCHAR}}\n"
        "entities:\n  user: {key: k}\n"
    )
    assert small.forge.plan().notes == ()


def test_label_files_keep_every_value(small: Small) -> None:
    small.good()
    labels = small.root / "labels.csv"
    rows = "".join(f"1,2024-01-0{1 + n % 9},7\n" for n in range(MANY))
    labels.write_text(f"k,label_time,w\n{rows}1,2024-01-02,2.5\n")
    found = small.forge.get_training_data(["f"], str(labels), timestamp="label_time")
    assert found["w"][-1].as_py() == 2.5
    labels.write_text(f"k,label_time,w\n{rows}x,2024-01-02,2.5\n")
    with pytest.raises(RetrievalError) as error:
        small.forge.get_training_data(["f"], str(labels), timestamp="label_time")
    assert f"column 'k': it is DOUBLE in the first rows of {labels}, and row {MANY + 1} says 'x'" in str(error.value)


def test_types_belong_to_files(small: Small) -> None:
    small.config("name: small\nsources:\n  ev: {table: main.ev, types: {v: BIGINT}}\nentities:\n  user: {key: k}\n")
    with pytest.raises(ProjectError, match=r"mlforge\.yaml:3: source 'ev' is a table, whose columns have types"):
        small.forge.plan()
    small.config(
        "name: small\nsources:\n  ev: {path: data/*.parquet, types: {vv: BIGINT}}\nentities:\n  user: {key: k}\n"
    )
    with pytest.raises(ProjectError, match="column 'vv': no file has it; there are k, t, v"):
        small.forge.plan()
    small.config("name: small\nsources:\n  ev: {path: data/*.parquet, types: {v: INTT}}\nentities:\n  user: {key: k}\n")
    with pytest.raises(ProjectError, match="INTT"):
        small.forge.plan()
