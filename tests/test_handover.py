"""Label rows out equal label rows in, whatever they are made of; features come without loss."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlforge.errors import RetrievalError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

BIG = 2**53 + 1
FEATURES = ["f", "n"]
TIMES = [dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 3), dt.datetime(2024, 1, 4)]
BASE = {"k": [1, 9, 2], "label_time": TIMES}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Key 1 has values, key 2 NULLs, key 9 no rows."""
    made = Small(tmp_path_factory.mktemp("handover"))
    made.write(
        "data/ev.parquet",
        f"""SELECT * FROM (VALUES
        (1, TIMESTAMP '2024-01-01', {BIG}, true, [{BIG}, NULL]), (2, TIMESTAMP '2024-01-01', NULL, NULL, NULL)
        ) v(k, t, x, b, l)""",
    )
    made.feature("f", "{{ config(entity='user', timestamp='t') }} SELECT k, t, x, b, l FROM {{ source('ev') }}")
    made.feature(
        "n", "{{ config(entity='user', timestamp='t') }} SELECT k, t, COUNT(*) OVER ever AS n FROM {{ source('ev') }}"
    )
    made.good()
    return made


def _got(small: Small, labels: Any, **more: Any) -> Any:
    return small.forge.get_training_data(FEATURES, labels, **more)


def _values(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(table.column(c).to_pylist() for c in ("x", "b", "l", "n")), strict=True))


EXPECTED = [(BIG, True, [BIG, None], 1), (None, None, None, 0), (None, None, None, 1)]


# -- pandas


def test_whole_numbers_and_truth_values_of_pandas(small: Small) -> None:
    found = _got(small, pd.DataFrame(BASE))
    assert found.dtypes[["x", "b", "n"]].astype(str).to_dict() == {"x": "Int64", "b": "boolean", "n": "int64"}
    assert found["x"].tolist() == [BIG, pd.NA, pd.NA]
    assert found["b"].tolist() == [True, pd.NA, pd.NA]
    assert list(found["l"][0]) == [BIG, None]
    known = _got(small, pd.DataFrame({"k": [1], "label_time": TIMES[:1]}))
    assert known.dtypes[["x", "b"]].astype(str).to_dict() == {"x": "int64", "b": "bool"}


def test_pandas_that_arrow_backs(small: Small) -> None:
    labels = pd.DataFrame(BASE).convert_dtypes(dtype_backend="pyarrow")
    found = _got(small, labels)
    assert [str(t) for t in found.dtypes[["x", "b", "n"]]] == ["int64[pyarrow]", "bool[pyarrow]", "int64[pyarrow]"]
    assert found["x"].tolist() == [BIG, pd.NA, pd.NA]
    pd.testing.assert_frame_equal(found[list(labels.columns)], labels)


INDEXES = {
    "sampled": pd.Index([7, 3, 5]),
    "repeated": pd.Index([1, 1, 1]),
    "named": pd.Index(["a", "b", "c"], name="who"),
    "times": pd.DatetimeIndex(["2024-01-01", "2023-01-01", "2022-01-01"]),
    "two levels": pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a")], names=["n", "s"]),
}


@pytest.mark.parametrize("index", INDEXES)
def test_the_index_of_pandas(small: Small, index: str) -> None:
    labels = pd.DataFrame(BASE, index=INDEXES[index])
    labels["y"] = [0.5, 1.5, 2.5]
    found = _got(small, labels[["k", "label_time"]])
    pd.testing.assert_index_equal(found.index, labels.index)
    if labels.index.is_unique:
        found["y"] = labels["y"]
        assert found["y"].tolist() == [0.5, 1.5, 2.5]
    assert found["n"].tolist() == [1, 0, 1]


ODD = {
    "mixed": pd.Series([1, "a", None], dtype=object),
    "objects": pd.Series([object(), {1, 2}, dt.UTC], dtype=object),
    "huge": pd.Series([2**70, 1, None], dtype=object),
    "complex": pd.Series([1 + 2j, 0, 1j]),
    "sparse": pd.Series(pd.arrays.SparseArray([0, 0, 1])),
    "half": pd.Series([1.5, 2.5, float("nan")], dtype="float16"),
    "periods": pd.Series(pd.period_range("2024-01", periods=3, freq="M")),
    "intervals": pd.Series(pd.interval_range(0, 3)),
    "categories": pd.Series(["b", None, "a"], dtype=pd.CategoricalDtype(["b", "a"], ordered=True)),
    "decimals": pd.Series([decimal.Decimal("1.1"), None, decimal.Decimal("1e50")]),
    "bytes": pd.Series([b"a", None, b"\xff"]),
    "zoned": pd.Series(pd.date_range("2024", periods=3, tz="Asia/Tokyo")).astype("datetime64[ns, Asia/Tokyo]"),
    "small": pd.Series([1, 2, 3], dtype="uint8"),
    "Int8": pd.Series([1, None, 3], dtype="Int8"),
    "lists": pd.Series([[1], None, []]),
    "deltas": pd.Series(pd.to_timedelta([1, None, 3], unit="ns")),
    "_mlforge_row": pd.Series([7, 8, 9]),
    "_mlforge_label": pd.Series(["x", "y", "z"]),
    "_MLFORGE_M0": pd.Series([1, 2, 3]),
}


def test_every_column_of_pandas_comes_back(small: Small) -> None:
    labels = pd.DataFrame({**BASE, **ODD, 5: [1, 2, 3]})
    labels.insert(0, "k2", ["x", "y", "z"])
    labels = pd.concat([labels, pd.DataFrame({"twice": [1, 2, 3]}), pd.DataFrame({"twice": ["a", "b", "c"]})], axis=1)
    before = labels.copy(deep=True)
    found = _got(small, labels)
    pd.testing.assert_frame_equal(found.iloc[:, : labels.shape[1]], before)
    pd.testing.assert_frame_equal(labels, before)
    assert list(found.columns[labels.shape[1] :]) == ["x", "b", "l", "n"]
    assert found["n"].tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["mixed", "sparse", "periods", "_mlforge_row"])
def test_what_cannot_be_read_is_no_key(small: Small, name: str) -> None:
    labels = pd.DataFrame({"label_time": TIMES, name: ODD[name]})
    spec = small_spec(name)
    with pytest.raises(RetrievalError, match=f"label column '{name}', a key, cannot be read: ") as caught:
        small.forge.get_training_data([spec], labels)
    assert "cast it to an ordinary type" in str(caught.value.hint)
    labels = pd.DataFrame({"k": [1, 2, 3], name: ODD[name]})
    with pytest.raises(RetrievalError, match=f"label column '{name}', their time, cannot be read: "):
        small.forge.get_training_data(["f"], labels, timestamp=name)


def small_spec(column: str) -> Any:
    from mlforge import FeatureSpec

    return FeatureSpec("f", keys={"k": column})


# -- Polars


def test_every_column_of_polars_comes_back(small: Small) -> None:
    odd = {
        "i128": pl.Series([2**100, None, 1], dtype=pl.Int128),
        "u128": pl.Series([2**127, None, 1], dtype=pl.UInt128),
        "f16": pl.Series([1.5, None, 2.0], dtype=pl.Float16),
        "object": pl.Series([object(), 1, None], dtype=pl.Object),
        "category": pl.Series(["a", None, "b"], dtype=pl.Categorical),
        "enum": pl.Series(["a", None, "b"], dtype=pl.Enum(["b", "a"])),
        "array": pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int64, 2)),
        "duration": pl.Series([1, None, 2], dtype=pl.Duration("ns")),
        "time": pl.Series([dt.time(1), None, dt.time(2)]),
        "ms": pl.Series(TIMES, dtype=pl.Datetime("ms", "Asia/Tokyo")),
        "null": pl.Series([None, None, None]),
        "_mlforge_row": pl.Series([1, 2, 3]),
    }
    labels = pl.DataFrame({**BASE, **odd})
    found = _got(small, labels)
    assert found.columns == [*labels.columns, "x", "b", "l", "n"]
    assert found["object"].to_list() == labels["object"].to_list()
    polars.testing.assert_frame_equal(found.select(labels.columns).drop("object"), labels.drop("object"))
    assert _values(found.select("x", "b", "l", "n").to_arrow()) == EXPECTED
    polars.testing.assert_frame_equal(_got(small, labels.drop("object").lazy()), found.drop("object"))
    assert _values(_got(small, pa.table(pl.DataFrame(BASE | {"s": ["a", "b", "c"]})))) == EXPECTED


# -- Arrow


def test_every_column_of_arrow_comes_back(small: Small) -> None:
    text = pa.array(["a", None, "c"])
    odd = {
        "view": text.cast(pa.string_view()),
        "bytes": pa.array([b"a", None, b"c"], pa.binary_view()),
        "half": pa.array(np.array([1, 2, 3], np.float16)),
        "wide": pa.array([decimal.Decimal("1.5"), None, decimal.Decimal(3)], pa.decimal256(60, 2)),
        "null": pa.nulls(3),
        "words": text.dictionary_encode(),
        "runs": pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]),
        "dense": pa.UnionArray.from_dense(
            pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["a"])]
        ),
        "empty": pa.array([{}, None, {}], pa.struct([])),
        "halves": pa.array([[np.float16(1)], None, []], pa.list_(pa.float16())),
        "months": pa.array([pa.MonthDayNano([1, 2, 3]), None, None]),
        "_mlforge_row": pa.array([1, 2, 3]),
        "Twice": pa.array([1, 2, 3]),
        "twice": pa.array([4, 5, 6]),
    }
    labels = pa.table({**BASE, **odd})
    found = _got(small, labels)
    assert found.select(labels.column_names).equals(labels)
    assert _values(found) == EXPECTED
    batch = _got(small, labels.to_batches()[0])
    assert batch.equals(found)


def test_a_text_view_can_be_a_key(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.write("data/ev.parquet", "SELECT 'a' AS k, TIMESTAMP '2024-01-01' AS t, 1 AS x")
    small.feature("f", "{{ config(entity='user', timestamp='t') }} SELECT k, t, x FROM {{ source('ev') }}")
    small.good()
    keys = pa.array(["a", "b", None]).cast(pa.string_view())
    assert small.forge.get_training_data("f", pa.table({"k": keys, "label_time": TIMES}))["x"].to_pylist() == [
        1,
        None,
        None,
    ]


# -- DuckDB, SQL, files


def test_every_column_of_a_relation_comes_back(small: Small) -> None:
    odd = {
        "h": "170141183460469231731687303715884105727::HUGEINT",
        "u": "340282366920938463463374607431768211455::UHUGEINT",
        "id": "'00000000-0000-0000-0000-00000000002a'::UUID",
        "bits": "'0101'::BIT",
        "z": "'10:00:00+02'::TIMETZ",
        "e": "'b'::ENUM('a', 'b')",
        "j": "'{\"a\": 1}'::JSON",
        "i": "INTERVAL '1 month 2 days'",
        "n8": "1::TINYINT",
        "s": "{'a': 1, 'b': [1.5, NULL]}",
        "_mlforge_row": "7",
        "us": "[340282366920938463463374607431768211455::UHUGEINT]",
        "bitss": "{'bit': ['0101'::BIT, NULL]}",
        "big": "'123456789012345678901234567890123456789012345678'::BIGNUM",
    }
    listed = ", ".join(f"{x} AS {name}" for name, x in odd.items())
    query = f"SELECT 1 AS k, TIMESTAMP '2024-01-02' AS label_time, {listed}"
    with duckdb.connect() as con:
        labels = con.sql(query)
        found = _got(small, labels)
        assert [str(t) for t in found.types[: len(labels.types)]] == [str(t) for t in labels.types]
        assert found.columns == [*labels.columns, "x", "b", "l", "n"]
        (row,) = found.fetchall()
        assert (row[:-4], row[-4:]) == (labels.fetchall()[0], EXPECTED[0])
    made = _got(small, query)
    assert made.column_names == found.columns
    assert made["_mlforge_row"].to_pylist() == [7]
    shown = {"u": "340282366920938463463374607431768211455", "bits": "0101", "z": "10:00:00+02"}
    shown |= {"us": f"[{shown['u']}]", "bitss": "{'bit': [0101, NULL]}", "big": "1234567890" * 4 + "12345678"}
    assert {n: made[n].to_pylist()[0] for n in shown} == shown  # Arrow has no such values: text


@pytest.mark.parametrize("labels", [pl.Series([1]), pd.Series([1]), pa.array([1]), [1], None, np.zeros(1), 7])
def test_what_is_no_table_is_an_error(small: Small, labels: Any) -> None:
    with pytest.raises(RetrievalError, match="label rows cannot be "):
        _got(small, labels)


NAMES = ["plain.csv", "my labels.csv", "export [1].csv", "a*b?.csv", "{x}, (1).parquet", "it's.jsonl", "select 1.csv"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", ["plain", "gl[ob] *"])
def test_a_file_that_is_there_is_that_file(small: Small, tmp_path: Path, folder: str, name: str) -> None:
    path = tmp_path / folder / name
    path.parent.mkdir()
    for other in ("export 1.csv", "aXbY.csv"):  # what the name would match as a pattern
        (path.parent / other).write_text("k,label_time\n2,2024-01-02\n")
    with duckdb.connect() as con:
        form = {"csv": "csv", "parquet": "parquet", "jsonl": "json"}[path.suffix[1:]]
        target = str(path).replace("'", "''")
        con.execute(f"COPY (SELECT 1 AS k, TIMESTAMP '2024-01-02' AS label_time) TO '{target}' (FORMAT {form})")
    for labels in (path, str(path)):
        assert _got(small, labels)["x"].to_pylist() == [BIG]


def test_a_file_that_is_not_there(small: Small, tmp_path: Path) -> None:
    for labels in (tmp_path / "no labels.csv", str(tmp_path / "no labels.csv"), tmp_path / "SELECT 1"):
        with pytest.raises(RetrievalError, match=r"there are no label rows at .*(no labels\.csv|SELECT 1)"):
            _got(small, labels)
    (tmp_path / "labels.xlsx").write_text("x")
    with pytest.raises(RetrievalError, match=r"the name of .*labels\.xlsx does not tell its format"):
        _got(small, tmp_path / "labels.xlsx")


# -- nothing


EMPTY = {
    "pandas": lambda: pd.DataFrame({"k": [], "label_time": []}),
    "pandas objects": lambda: pd.DataFrame(columns=["k", "label_time"]),
    "polars": lambda: pl.DataFrame({"k": [], "label_time": []}),
    "arrow": lambda: pa.table({"k": pa.nulls(0), "label_time": pa.nulls(0)}),
    "arrow with types": lambda: pa.table(
        {"k": pa.array([], pa.int32()), "label_time": pa.array([], pa.timestamp("s"))}
    ),
    "sql": lambda: "SELECT 1 AS k, TIMESTAMP '2024-01-01' AS label_time WHERE false",
}


@pytest.mark.parametrize("kind", EMPTY)
def test_no_rows_in_no_rows_out(small: Small, kind: str) -> None:
    found = _got(small, EMPTY[kind]())
    assert len(found) == 0
    assert list(
        found.columns
        if hasattr(found, "columns") and kind in ("pandas", "pandas objects", "polars")
        else found.column_names
    ) == [
        "k",
        "label_time",
        "x",
        "b",
        "l",
        "n",
    ]


def test_a_file_with_nothing_but_a_header(small: Small, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("k,label_time\n")
    assert _got(small, tmp_path / "labels.csv").num_rows == 0


def test_keys_and_times_that_are_all_missing(small: Small) -> None:
    found = _got(small, pl.DataFrame({"k": [None, None], "label_time": TIMES[:2]}))
    assert found["n"].to_list() == [None, None]
    found = _got(small, pd.DataFrame({"k": [1, 1], "label_time": [None, None]}))
    assert found["n"].isna().all()
    assert found["label_time"].tolist() == [None, None]


# -- any of them


COLUMNS: dict[str, Any] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "int8": st.integers(-128, 127),
    "float64": st.floats(),
    "bool": st.booleans(),
    "object": st.one_of(st.text(), st.none(), st.integers(), st.floats()),
    "str": st.text(),
    "Int64": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    "category": st.sampled_from("ab"),
    "boolean": st.one_of(st.none(), st.booleans()),
    "datetime64[ns]": st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),
    "datetime64[s, UTC]": st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),
    "string[pyarrow]": st.one_of(st.none(), st.text()),
    "int64[pyarrow]": st.one_of(st.none(), st.integers(-99, 99)),
    "float16": st.floats(width=16),
    "complex128": st.complex_numbers(),
    "Sparse[float64]": st.floats(),
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_frame_of_pandas(small: Small, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 4))
    kinds = data.draw(st.lists(st.sampled_from(sorted(COLUMNS)), max_size=5))
    columns: dict[str, Any] = {
        "k": pd.Series(data.draw(st.lists(st.sampled_from([1, 2, 9]), min_size=count, max_size=count)), dtype="int64"),
        "label_time": pd.Series([TIMES[1]] * count, dtype="datetime64[us]"),
    }
    for n, kind in enumerate(kinds):
        values = data.draw(st.lists(COLUMNS[kind], min_size=count, max_size=count))
        columns[f"c{n}"] = pd.Series(values, dtype=kind)
    labels = pd.DataFrame(columns)
    labels.index = pd.Index(data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count)), dtype="int64")
    before = labels.copy(deep=True)
    found = _got(small, labels)
    pd.testing.assert_frame_equal(found[list(labels.columns)], before)
    assert found["n"].tolist() == [{1: 1, 2: 1, 9: 0}[k] for k in before["k"]]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_frame_of_polars_and_its_arrow(small: Small, data: st.DataObject) -> None:
    from polars.testing.parametric import column, dataframes

    frame = data.draw(dataframes(cols=[column("k", dtype=pl.Int16, allow_null=True)], min_size=0, max_size=4))
    more = data.draw(
        dataframes(min_cols=0, max_cols=4, min_size=len(frame), max_size=len(frame), excluded_dtypes=[pl.Object])
    )
    labels = frame.with_columns(pl.lit(TIMES[1]).alias("label_time")).hstack(
        more.rename(lambda c: f"c_{c}").get_columns()
    )
    found = _got(small, labels)
    polars.testing.assert_frame_equal(found.select(labels.columns), labels)
    assert found["n"].to_list() == [None if k is None else int(k in (1, 2)) for k in labels["k"]]


def test_a_training_set_in_a_file_with_any_name(small: Small, tmp_path: Path) -> None:
    from mlforge.retrieve.export import write_table

    table = _got(small, pa.table(BASE))
    (tmp_path / "o[1]").mkdir()
    for name in ("out [1] *?.parquet", "out [1] *?.csv"):
        write_table(table.drop_columns(["l"]), tmp_path / "o[1]" / name)
    assert pq.read_table(pa.BufferReader((tmp_path / "o[1]/out [1] *?.parquet").read_bytes())).num_rows == 3
    assert (tmp_path / "o[1]/out [1] *?.csv").read_text().count("\n") == 4


def test_label_rows_without_a_request_column(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 4")
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}')
    small.feature(
        "o",
        '{{ config(entity="user", on_demand=true, request={"q": "BIGINT"}) }}\nSELECT q + x AS z FROM {{ ref("f") }}',
    )
    small.good()
    labels = pd.DataFrame({"k": [1], "label_time": TIMES[:1]})
    with pytest.raises(RetrievalError) as error:
        small.forge.get_training_data(features=["o"], entity_df=labels)
    assert str(error.value) == (
        "the label rows have no column 'q', a request column of o\n  hint: it is a BIGINT; give NULL where it is not known"
    )
    with pytest.raises(RetrievalError, match=r"label column 'q', a request column of o, cannot be read: "):
        small.forge.get_training_data(features=["o"], entity_df=labels.assign(q=[object()]))
    assert small.forge.get_training_data(features=["o"], entity_df=labels.assign(Q=[3]))["z"].tolist() == [7]


@pytest.mark.parametrize(
    "value",
    [
        "TIMESTAMP 'infinity'",
        "DATE '-infinity'",
        "TIMESTAMP_S '20000-01-01'",
        "TIMESTAMP '0044-03-15 (BC)'",
        "TIMESTAMP_NS '2024-01-01 00:00:00.000000001'",
        "INTERVAL 1 MONTH",
        "TIME '24:00:00'",
    ],
)
def test_times_that_python_has_not_come_out_of_nested_values(tmp_path: Path, value: str) -> None:
    nested = f"{{'a': [{value}, NULL]}} AS s, MAP {{'a': {value}}} AS m, array_value({value}, NULL) AS a"
    made = Small(tmp_path)
    made.rows("1, '2024-01-01', 1", "2, '2024-01-01', 2")
    head = '{{ config(entity="user", timestamp="t", closed="right") }}\n'
    made.feature("f", f'{head}SELECT k, t, {nested} FROM {{{{ source("ev") }}}}')
    made.good()
    query = "SELECT k, DATE '2024-01-02' AS label_time FROM (VALUES (1), (9)) v(k)"
    found = made.forge.get_training_data(["f"], query)
    shown = ", ".join(f"{c}::VARCHAR" for c in ("s", "m", "a"))
    with duckdb.connect() as con:
        wanted = con.execute(f"SELECT {shown} FROM (SELECT {nested} FROM (SELECT 1 AS x))").fetchall()
        got = con.from_arrow(found).project(shown).fetchall()
    assert got == [*wanted, (None, None, None)]
    dataset = made.forge.listing("datasets")[0]["id"]
    assert made.forge.replay(dataset).same


@pytest.mark.parametrize("key", ["1", "'1'", "NULL", "DATE '2024-01-01'"])
def test_a_key_by_which_nothing_is_read_may_have_any_type(tmp_path: Path, key: str) -> None:
    """What is computed of request columns alone says nothing of the type of its entity's key."""
    made = Small(tmp_path)
    made.rows("1, '2024-01-01', 1")
    made.feature("f", '{{ config(entity="user", on_demand=true, request={"y": "BIGINT"}) }} SELECT y * 2 AS twice')
    made.feature("g", '{{ config(entity="user", timestamp="t") }} SELECT k, t, x FROM {{ source("ev") }}')
    made.good()
    labels = f"SELECT {key} AS k, TIMESTAMP '2024-02-01' AS label_time, 5 AS y"
    twice = None if key == "NULL" else 10
    assert made.forge.get_training_data("f", labels)["twice"].to_pylist() == [twice]
    with duckdb.connect(str(made.catalog), read_only=True) as con:
        assert con.execute(f"WITH l AS ({labels}) SELECT twice FROM features.f_asof('l')").fetchall() == [(twice,)]
    if key in ("1", "NULL"):
        both = made.forge.get_training_data(["g", "f"], labels)
        assert (both["x"].to_pylist(), both["twice"].to_pylist()) == ([1 if key == "1" else None], [twice])
    else:
        with pytest.raises(RetrievalError, match="and key 'k' is BIGINT: one cannot be converted"):
            made.forge.get_training_data(["g", "f"], labels)
