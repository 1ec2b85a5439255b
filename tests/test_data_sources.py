"""Frames as sources: what would not come over as it is, is an error that names the column."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlforge.errors import ProjectError
from mlforge.model import Source
from mlforge.warehouses.duckdb import DuckDB
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = {"k": [1], "t": [dt.datetime(2024, 1, 1)]}


@pytest.fixture
def warehouse() -> Iterator[DuckDB]:
    with duckdb.connect() as con:
        yield DuckDB(con, "/")


UNREADABLE: dict[str, Any] = {
    "objects of Polars": pl.DataFrame({**ROWS, "x": pl.Series([object()], dtype=pl.Object)}),
    "128 bits": pl.DataFrame({**ROWS, "x": pl.Series([2**100], dtype=pl.Int128)}).lazy(),
    "half floats": pa.table({**ROWS, "x": pa.array(np.array([1], np.float16))}),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_columns_that_cannot_be_read(warehouse: DuckDB, kind: str) -> None:
    source = Source(name="ev", format="data", data=UNREADABLE[kind], file="features.py", line=3)
    with pytest.raises(ProjectError, match=r"features\.py:3: source 'ev': column 'x' cannot be read: ") as caught:
        warehouse.bind_source(source)
    assert "hand the rows over without it" in str(caught.value.hint)


def test_columns_that_can(warehouse: DuckDB) -> None:
    frame = pl.DataFrame({**ROWS, "s": ["a"], "e": pl.Series(["b"], dtype=pl.Enum(["b"])), "n": [None]})
    for data in (frame, frame.lazy(), frame.to_arrow(), pa.table(frame)):
        warehouse.bind_source(Source(name="ev", format="data", data=data, line=1))
        assert warehouse.con.execute('FROM "_mlforge_source".ev').fetchall() == [(1, ROWS["t"][0], "a", "b", None)]


D = decimal.Decimal
DAY, NOON = dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, 12)
TOKYO = dt.timezone(dt.timedelta(hours=9))
BIG = 2**53 + 1
SAID = {"ns": ["2024-01-01 12:00:00.000000001", None], "text": ["2024-01-01 12:00:00", None]}


def objects(*values: Any) -> pd.Series:
    return pd.Series(list(values), dtype=object)


def arrow_backed(values: list[Any], kind: pa.DataType) -> pd.Series:
    return pd.Series(pd.array(pa.array(values, kind), dtype=pd.ArrowDtype(kind)))


def categories(*values: Any) -> pd.Series:
    """Each of the values, then nothing. A category of numbers beside nothing would be a float."""
    return pd.Series(pd.Categorical.from_codes([*range(len(values)), -1], pd.Index(list(values))))


PANDAS: dict[str, tuple[pd.Series, str, list[Any]]] = {
    "int64": (pd.Series([BIG]), "BIGINT", [BIG]),
    "uint64": (pd.Series([2**64 - 1], dtype="uint64"), "UBIGINT", [2**64 - 1]),
    "int8": (pd.Series([-128], dtype="int8"), "TINYINT", [-128]),
    "Int64": (pd.Series([BIG, None], dtype="Int64"), "BIGINT", [BIG, None]),
    "UInt64": (pd.Series([2**64 - 1, None], dtype="UInt64"), "UBIGINT", [2**64 - 1, None]),
    "boolean": (pd.Series([True, None], dtype="boolean"), "BOOLEAN", [True, None]),
    "NaN is missing": (pd.Series([1.5, np.nan, np.inf]), "DOUBLE", [1.5, None, np.inf]),
    "NaN of Arrow is NaN": (arrow_backed([1.5, None, np.nan], pa.float64()), "DOUBLE", [1.5, None, np.nan]),
    "float32": (pd.Series([1.5, np.nan], dtype="float32"), "FLOAT", [1.5, None]),
    "float16": (pd.Series([1.5, np.nan], dtype="float16"), "FLOAT", [1.5, None]),
    "half of Arrow": (arrow_backed([np.float16(1.5), None], pa.float16()), "FLOAT", [1.5, None]),
    "str": (pd.Series(["007", None]), "VARCHAR", ["007", None]),
    "string": (pd.Series(["007", None], dtype="string"), "VARCHAR", ["007", None]),
    "texts": (objects("007", None, np.nan, np.str_("7")), "VARCHAR", ["007", None, None, "7"]),
    "view": (arrow_backed(["a", None], pa.string_view()), "VARCHAR", ["a", None]),
    "dictionary": (arrow_backed(["a", None], pa.dictionary(pa.int8(), pa.string())), "VARCHAR", ["a", None]),
    "whole numbers": (objects(1, None, np.int8(2), BIG), "BIGINT", [1, None, 2, BIG]),
    "numbers behind nothing": (objects(pd.NA, np.nan, None, BIG), "BIGINT", [None, None, None, BIG]),
    "past 64 bits": (objects(-1, 2**64, None), "DECIMAL(38,0)", [D(-1), D(2**64), None]),
    "numbers": (objects(1, 2.5), "DOUBLE", [1.0, 2.5]),
    "decimals": (objects(D("1.25"), D(100), None, D("NaN")), "DECIMAL(5,2)", [D("1.25"), D("100.00"), None, None]),
    "decimals and whole": (objects(D("1.25"), 100, BIG), "DECIMAL(18,2)", [D("1.25"), D("100.00"), D(f"{BIG}.00")]),
    "decimal128": (arrow_backed([D("1.25"), None], pa.decimal128(9, 2)), "DECIMAL(9,2)", [D("1.25"), None]),
    "dates": (objects(DAY, None, pd.NaT), "DATE", [DAY, None, None]),
    "date32": (arrow_backed([DAY, None], pa.date32()), "DATE", [DAY, None]),
    "times": (objects(NOON, None, dt.datetime(9999, 1, 1)), "TIMESTAMP", [NOON, None, dt.datetime(9999, 1, 1)]),
    "seconds": (pd.Series([NOON, None], dtype="datetime64[s]"), "TIMESTAMP_S", SAID["text"]),
    "microseconds": (pd.Series([NOON, None], dtype="datetime64[us]"), "TIMESTAMP", [NOON, None]),
    "nanoseconds": (pd.Series(SAID["ns"], dtype="datetime64[ns]"), "TIMESTAMP_NS", SAID["ns"]),
    "time of day": (objects(dt.time(1, 2, 3, 4)), "TIME", [dt.time(1, 2, 3, 4)]),
    "deltas": (pd.Series([dt.timedelta(1), None], dtype="timedelta64[ns]"), "INTERVAL", [dt.timedelta(1), None]),
    "deltas of Python": (objects(dt.timedelta(0, 0, 7)), "INTERVAL", [dt.timedelta(0, 0, 7)]),
    "bytes": (objects(b"a\0", None), "BLOB", [b"a\0", None]),
    "uuids": (objects(uuid.UUID(int=7), None), "UUID", [uuid.UUID(int=7), None]),
    "lists": (objects([1], None, [None, BIG], []), "BIGINT[]", [[1], None, [None, BIG], []]),
    "arrays": (objects(np.array([1, 2]), np.array([3])), "BIGINT[]", [[1, 2], [3]]),
    "fields": (
        objects({"a": 1}, {"b": "x"}),
        "STRUCT(a BIGINT, b VARCHAR)",
        [{"a": 1, "b": None}, {"a": None, "b": "x"}],
    ),
    "categories": (categories("b", "a"), "VARCHAR", ["b", "a", None]),
    "categories of numbers": (categories(BIG, 8), "BIGINT", [BIG, 8, None]),
    "categories of dates": (categories(DAY), "DATE", [DAY, None]),
    "categories of times": (categories(pd.Timestamp(NOON)), "TIMESTAMP", [NOON, None]),
}


def read(warehouse: DuckDB, data: Any) -> tuple[str, list[Any]]:
    """The type of column x of a source, and its values: of instants finer or coarser than Python's as texts."""
    warehouse.bind_source(Source(name="ev", format="data", data=data, file="features.py", line=3))
    kind = warehouse.describe('FROM "_mlforge_source".ev')["x"]
    x = "CAST(x AS VARCHAR)" if kind in ("TIMESTAMP_NS", "TIMESTAMP_S", "TIMESTAMP WITH TIME ZONE") else "x"
    return kind, [v for (v,) in warehouse.con.execute(f'SELECT {x} FROM "_mlforge_source".ev').fetchall()]


@pytest.mark.parametrize("case", PANDAS)
def test_columns_of_pandas_keep_every_value(warehouse: DuckDB, case: str) -> None:
    given, kind, cells = PANDAS[case]
    found = read(warehouse, pd.DataFrame({"x": given, "k": 1}).set_axis(range(7, 7 + len(given))))
    assert (found[0], list(map(repr, found[1]))) == (kind, list(map(repr, cells)))


MIXED: dict[str, tuple[pd.Series, str]] = {
    "text among numbers": (objects(*[1] * 5000, "007"), "row 5001 holds '007' (str), and the rows before it are int64"),
    "a number among texts": (objects("007", None, 7), "row 3 holds 7 (int), and the rows before it are string"),
    "a truth among numbers": (objects(1, True), "row 2 holds True (bool), and the rows before it are int64"),
    "a truth among fractions": (objects(2.5, True), "row 2 holds True (bool), and among the others, which are double"),
    "a number among truths": (objects(False, 0), "row 2 holds 0 (int), and the rows before it are bool"),
    "past 53 bits": (
        objects(0.5, BIG),
        f"row 2 holds {BIG} (int), and the rows before it are double: Integer value {BIG}",
    ),
    "a time among dates": (
        objects(DAY, NOON),
        "row 2 holds datetime.datetime(2024, 1, 1, 12, 0) (datetime), and among the others, which "
        "are date32[day], it would be datetime.date(2024, 1, 1)",
    ),
    "a date among times": (
        objects(NOON, None, DAY),
        "row 3 holds datetime.date(2024, 1, 1) (date), and the rows before",
    ),
    "a zone among times": (
        objects(NOON, NOON.replace(tzinfo=TOKYO)),
        "row 2 holds datetime.datetime(2024, 1, 1, 12, 0, tz",
    ),
    "nanoseconds": (
        objects(pd.Timestamp(5)),
        "row 1 holds Timestamp('1970-01-01 00:00:00.000000005') (Timestamp), and",
    ),
    "deltas of nanoseconds": (
        objects(pd.Timedelta(5)),
        "row 1 holds Timedelta('0 days 00:00:00.000000005') (Timedelta)",
    ),
    "a zone of a day's time": (objects(dt.time(1, tzinfo=TOKYO)), "row 1 holds datetime.time(1, 0, tzinfo="),
    "a column of deltas": (
        pd.Series([1000, 1500], dtype="timedelta64[ns]"),
        "row 2 holds 1500 nanoseconds (duration[ns]),",
    ),
    "a float among decimals": (
        objects(D("1.25"), 0.1),
        "row 2 holds 0.1 (float), and the rows before it are decimal128(3",
    ),
    "too many digits": (
        objects(D(1), D("1e-38"), D(10)),
        "row 2 holds Decimal('1E-38') (Decimal), and the rows before it",
    ),
    "infinite": (objects(D(1), D("Infinity")), "row 2 holds Decimal('Infinity') (Decimal), and the rows before it are"),
    "text among bytes": (objects(b"a", "a"), "row 2 holds 'a' (str), and among the others, which are binary, it would"),
    "lists": (objects([1], ["a"]), "row 2 holds ['a'] (list), and the rows before it are list<item: int64>"),
    "times in lists": (objects([DAY], [NOON]), "row 2 holds [datetime.datetime(2024, 1, 1, 12, 0)] (list), and among"),
    "times in fields": (
        objects({"a": DAY}, {"a": NOON}),
        "row 2 holds {'a': datetime.datetime(2024, 1, 1, 12, 0)} (dict)",
    ),
    "anything": (objects(None, dt.UTC), "row 2 holds datetime.timezone.utc (timezone)"),
    "categories": (
        pd.Series(pd.Categorical([7, "007", 7])),
        "row 2 holds '007' (str), and the rows before it are int64",
    ),
    "periods": (pd.Series(pd.period_range("2024-01", periods=1, freq="M")), "a column of period[M]"),
    "intervals": (pd.Series(pd.interval_range(0, 1)), "a column of interval[int64, right]"),
    "sparse": (pd.Series(pd.arrays.SparseArray([0, 1])), "a column of Sparse[int64, 0]"),
}


@pytest.mark.parametrize("case", MIXED)
def test_what_does_not_fit_a_column_of_pandas_is_named(warehouse: DuckDB, case: str) -> None:
    given, words = MIXED[case]
    with pytest.raises(ProjectError) as caught:
        read(warehouse, pd.DataFrame({"x": given}))
    assert f"features.py:3: source 'ev': column 'x' cannot be read: {words}" in str(caught.value)


class Frame(pd.DataFrame):
    """What packages that build on pandas have."""


def test_frames_of_packages_that_build_on_pandas(warehouse: DuckDB) -> None:
    assert read(warehouse, Frame({"x": categories(BIG)})) == ("BIGINT", [BIG, None])


ZONED = pa.array([-1, 1999, None], pa.timestamp("ns", "Asia/Tokyo"))  # DuckDB 2 has such a type, and rounds it up
FLOORED = ["1969-12-31 23:59:59.999999+00", "1970-01-01 00:00:00.000001+00", None]


@pytest.mark.parametrize("kind", ["pandas", "arrow backed", "objects", "polars", "arrow"])
def test_zoned_nanoseconds_are_floored(warehouse: DuckDB, kind: str) -> None:
    warehouse.con.execute("SET TimeZone = 'UTC'")
    table = pa.table({"x": ZONED})
    made = {
        "pandas": table.to_pandas,
        "arrow backed": lambda: table.to_pandas(types_mapper=pd.ArrowDtype),
        "objects": lambda: pd.DataFrame({"x": objects(*(t and t.floor("us") for t in ZONED.to_pylist()))}),
        "polars": lambda: pl.DataFrame(table),
        "arrow": lambda: table,
    }
    assert read(warehouse, made[kind]()) == ("TIMESTAMP WITH TIME ZONE", FLOORED)


def test_zoned_nanoseconds_of_files_are_floored(warehouse: DuckDB, tmp_path: Path) -> None:
    """As pandas 2 writes them: every DuckDB has microseconds of them, and can open what a catalog stores."""
    warehouse.con.execute("SET TimeZone = 'UTC'")
    micros = pa.array([2_000_000], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"x": ZONED[1:], "l": [[v] for v in ZONED[1:]], "i": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": micros, "i": [3]}), tmp_path / "b.parquet")
    source = Source(name="ev", format="parquet", path=f"{tmp_path}/*.parquet", line=3)
    for _ in range(2):
        warehouse.bind_source(source)
        types = warehouse.describe('FROM "_mlforge_source".ev')
        assert (types["x"], types["l"]) == ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE[]")
        state = warehouse.state(source)
        assert state.types["x"] == "TIMESTAMP WITH TIME ZONE"
        warehouse.known = {"ev": state}
    found = warehouse.con.execute('SELECT CAST(x AS VARCHAR) FROM "_mlforge_source".ev ORDER BY i').fetchall()
    assert [v for (v,) in found] == [*FLOORED[1:], "1970-01-01 00:00:02+00"]


def test_zoned_nanoseconds_of_label_rows_are_floored(tmp_path: Path) -> None:
    """A row of the microsecond after is not known yet."""
    small = Small(tmp_path)
    small.rows("1, TIMESTAMP '1970-01-01 00:00:00.000001', 1", "1, TIMESTAMP '1970-01-01 00:00:00.000002', 2")
    small.feature("f", "{{ config(entity='user', timestamp='t') }} SELECT k, t, x FROM {{ source('ev') }}")
    small.good()
    labels = pa.table({"k": [1], "label_time": ZONED[1:2]})
    pq.write_table(labels, tmp_path / "labels.parquet")
    for given in (
        labels,
        labels.to_pandas(),
        pl.DataFrame(labels),
        tmp_path / "labels.parquet",
        "FROM 'labels.parquet'",
    ):
        found = small.forge.get_training_data("f", given)
        assert list(found["x"]) == [1] or found["x"].to_pylist() == [1]
