"""Reading: what is asked for, in which words it is refused, what comes back, and what it costs to import."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mlforge as mlf
from mlforge.errors import OnlineError, StoreDownError
from mlforge.online import AsyncClient, Client, Value
from mlforge.online.evaluate import plain
from mlforge.online.key_encoding import Unfit, encoder
from mlforge.online.packed_values import micros
from mlforge.publishing.run import Settings, publish
from mlforge.stores.opening import open_store
from tests.online.served import NOON
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.online.servers import RedisServer

YAML = """\
name: shop
sources:
  ev: {path: data/ev.parquet}
entities:
  user: {key: uid, from: [first, born]}
  pair: {key: [a, b]}
feature_sets:
  basket: [spend, {feature: pairs, keys: {a: left}, prefix: p_}]
"""
EVENTS = "SELECT * FROM (VALUES ('Ada', DATE '1815-12-10', 1, 'x', TIMESTAMP '{t}', 10.5::DOUBLE), ('Bob', NULL, 2, 'y', TIMESTAMP '{t}', NULL)) v(first, born, a, b, t, amount)"
FEATURES = {
    "spend": """{{ config(entity="user", timestamp="t", ttl="1h") }}
SELECT {{ surrogate_key("first", "born") }} AS uid, t, amount AS last_amount, SUM(amount) OVER last_2h AS total,
    date_diff('minute', MAX(t) OVER ever, as_of()) AS age, strftime(as_of(), '%H:%M') AS clock
FROM {{ source("ev") }}""",
    "pairs": """{{ config(entity="pair") }}
SELECT a, b, struct_pack(n := count(*), days := list(t::DATE)) AS s FROM {{ source("ev") }} GROUP BY a, b""",
    "ratio": """{{ config(entity="user", on_demand=true, request={"price": "DECIMAL(8,2)"}) }}
SELECT price / spend.total AS share, spend.age + 1 AS next FROM {{ ref("spend") }} AS spend""",
}
ADA = {"first": "Ada", "born": dt.date(1815, 12, 10)}
AT = "2024-03-01T12:30"


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    project = Small(root, YAML)
    project.write("data/ev.parquet", EVENTS.format(t=NOON))
    for name, text in FEATURES.items():
        project.feature(name, text)
    project.good()
    store = open_store({"kind": "sqlite", "path": str(root / "online.db")})
    from mlforge.catalog import reader

    with project.forge._reading() as con:
        publish(con, reader.state(con), store, Settings("shop", now=micros("2024-03-01T12:05")))
    store.close()
    return root / "online.db"


@pytest.fixture
def client(store_path: Path) -> Iterator[Client]:
    made = Client(f"sqlite://{store_path}", "shop")
    yield made
    made.close()


def test_surrogate_keys_are_given_as_themselves_or_as_what_they_are_made_of(client: Client) -> None:
    key = mlf.surrogate_key(*ADA.values())
    rows = client.get_online_features("spend:total", [ADA, {"uid": key}, {"first": "Bob", "born": None}], at=AT)
    assert rows == [{**ADA, "total": 10.5}, {"uid": key, "total": 10.5}, {"first": "Bob", "born": None, "total": None}]


FORMS: dict[str, Callable[[], Any]] = {
    "dicts": lambda: PAIRS,
    "tuple": lambda: tuple(PAIRS),
    "mappings": lambda: [MappingProxyType(row) for row in PAIRS],
    "iterator": lambda: iter(PAIRS),
    "columns": lambda: {"a": [1, 2, None], "b": ["x", "z", "x"]},
    "columns of numpy": lambda: {"a": np.array([1, 2, None], dtype=object), "b": np.array(["x", "z", "x"])},
    "columns of pandas": lambda: {"a": pd.Series([1, 2, None], dtype="Int64"), "b": pd.Series(["x", "z", "x"])},
    "columns of Polars": lambda: {"a": pl.Series([1, 2, None]), "b": pl.Series(["x", "z", "x"])},
    "columns of Arrow": lambda: {"a": pa.array([1, 2, None]), "b": pa.chunked_array([["x", "z"], ["x"]])},
    "pandas": lambda: pd.DataFrame({"a": pd.array([1, 2, None], dtype="Int64"), "b": ["x", "z", "x"]}, index=[7, 7, 1]),
    "pandas of Arrow": lambda: pa.Table.from_pylist(PAIRS).to_pandas(types_mapper=pd.ArrowDtype),
    "Polars": lambda: pl.DataFrame(PAIRS),
    "lazy Polars": lambda: pl.LazyFrame(PAIRS),
    "Arrow": lambda: pa.Table.from_pylist(PAIRS),
    "Arrow batch": lambda: pa.RecordBatch.from_pylist(PAIRS),
    "Arrow stream": lambda: pa.RecordBatchReader.from_batches(
        pa.Table.from_pylist(PAIRS).schema, pa.Table.from_pylist(PAIRS).to_batches()
    ),
}
PAIRS: list[dict[str, Any]] = [{"a": 1, "b": "x"}, {"a": 2, "b": "z"}, {"a": None, "b": "x"}]
NOTHING: dict[str, Callable[[], Any]] = {
    "list": list,
    "columns": lambda: {"a": [], "b": []},
    "no columns": dict,
    "pandas": pd.DataFrame,
    "Polars": pl.DataFrame,
    "Arrow": lambda: pa.table({"a": pa.array([], pa.int64())}),
}


@pytest.mark.parametrize("form", FORMS)
def test_entity_rows_of_every_form(client: Client, store_path: Path, form: str) -> None:
    found = client.get_online_features("pairs", FORMS[form](), at=AT)
    one = {"n": 1, "days": [dt.date(2024, 3, 1)]}
    assert found == [{**PAIRS[0], "s": one}, {**PAIRS[1], "s": None}, {**PAIRS[2], "s": None}]
    assert all(type(row) is dict for row in found)

    async def read() -> Any:
        other = AsyncClient(f"sqlite://{store_path}", "shop")
        try:
            return await other.get_online_features("pairs", FORMS[form](), at=AT)
        finally:
            await other.close()

    assert asyncio.run(read()) == found


@pytest.mark.parametrize("form", NOTHING)
def test_no_entity_rows_of_every_form(client: Client, form: str) -> None:
    assert client.get_online_features("pairs", NOTHING[form](), at=AT) == []


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (7, "entity rows are given as a int", "a list of mappings"),
        ("a=1", "entity rows are given as a str", "a list of mappings"),
        (None, "entity rows are given as a NoneType", "a list of mappings"),
        ([1], "an entity row is a int, not a mapping", "a list of mappings"),
        ([{"a": 1, "b": "x"}, ("a", 1)], "an entity row is a tuple, not a mapping", "a list of mappings"),
        ({"a": 1, "b": "x"}, "column 'a' of the entity rows is a int, not values", "a row by itself goes into a list"),
        (
            {"a": [1], "b": "x"},
            "column 'b' of the entity rows is a str, not values",
            "a row by itself goes into a list",
        ),
        ({"a": [1, 2], "b": ["x"]}, "columns of the entity rows are not of one length: 'a' has 2, 'b' has 1", None),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "the entity rows have two columns 'a'", None),
        (pa.table([[1], [2]], names=["a", "a"]), "the entity rows have two columns 'a'", None),
        ([{"A": 1, "a ": 1, "b": "x", "B": "y"}], None, None),
        ([{"A": 1, "b": "x", "S": 0}], "column 'S' comes from the entity rows and from a feature", "prefix"),
        ([{"a": 1, "B": "x", "ß": 1, "b": "y"}], None, None),
    ],
)
def test_entity_rows_that_are_none(client: Client, given: Any, message: str | None, hint: str | None) -> None:
    if message is None:  # for comparison: these are some
        assert len(client.get_online_features("pairs", given, at=AT)) == 1
        return
    with pytest.raises(OnlineError) as caught:
        client.get_online_features("pairs", given, at=AT)
    assert message in caught.value.message
    assert (hint or "") in (caught.value.hint or "")


def test_names_of_keys_and_request_columns_in_any_case(client: Client) -> None:
    (row,) = client.get_online_features("ratio", [{"FIRST": "Ada", "Born": ADA["born"], "Price": 21}], at=AT)
    assert row == {"FIRST": "Ada", "Born": ADA["born"], "Price": 21, "share": 2.0, "next": 31}
    rows = client.get_online_features(
        "basket", [{"UID": None, "LEFT": 1, "B": "x"}, {**ADA, "left": 1, "b": "x"}], at=AT
    )
    assert [r["p_s"]["n"] for r in rows] == [1, 1]
    both = mlf.FeatureSpec("pairs", keys={"b": "Bb"})
    with pytest.raises(OnlineError, match="columns 'bb' and 'BB' of an entity row are both 'Bb'"):
        client.get_online_features(both, [{"a": 1, "bb": "x", "BB": "x"}], at=AT)
    assert client.typed("pairs", {"A": "1", "B": "2"}) == {"A": 1, "B": "2"}


@pytest.mark.parametrize(
    ("kind", "duckdb_type", "given", "own"),
    [
        ("boolean", "BOOLEAN", np.True_, True),
        ("boolean", "BOOLEAN", np.bool_(False), False),
        ("boolean", "BOOLEAN", pa.scalar(True), True),
        ("integer", "BIGINT", np.int64(-7), -7),
        ("integer", "UTINYINT", np.uint8(255), 255),
        ("integer", "BIGINT", pa.scalar(7), 7),
        ("text", "VARCHAR", np.str_("é"), "é"),
        ("text", "VARCHAR", pa.scalar("x"), "x"),
        ("date", "DATE", np.datetime64("2024-03-01"), dt.date(2024, 3, 1)),
        (
            "timestamp",
            "TIMESTAMP",
            np.datetime64("2024-03-01T09:00:00.000001999", "ns"),
            dt.datetime(2024, 3, 1, 9, 0, 0, 1),
        ),
        (
            "timestamp",
            "TIMESTAMP",
            np.datetime64("1969-12-31T23:59:59.999999999", "ns"),
            dt.datetime(1969, 12, 31, 23, 59, 59, 999_999),
        ),
        ("timestamp", "TIMESTAMP", pd.Timestamp("2024-03-01"), dt.datetime(2024, 3, 1)),
        ("decimal", "DECIMAL(4,2)", np.int32(7), 7),
        ("uuid", "UUID", np.str_("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    ],
)
def test_scalars_of_numpy_pandas_and_arrow_are_keys(kind: str, duckdb_type: str, given: Any, own: Any) -> None:
    encode = encoder(kind, duckdb_type)
    assert encode(given) == encode(own)


@pytest.mark.parametrize(
    ("duckdb_type", "given", "own"),
    [
        ("BOOLEAN", np.True_, True),
        ("BOOLEAN", pa.scalar(True), True),
        ("FLOAT", np.float32(0.5), 0.5),
        ("DOUBLE", np.float64("nan"), float("nan")),
        ("BIGINT", np.int8(-1), -1),
        ("VARCHAR", np.str_("é"), "é"),
        ("VARCHAR[]", np.array(["a", "b"]), ["a", "b"]),
        ("BOOLEAN[]", np.array([True]), [True]),
        ("DOUBLE[]", (np.float64("nan"), None), [float("nan"), None]),
        ("BIGINT[][]", np.eye(2), [[1, 0], [0, 1]]),
        ("DATE", np.datetime64("2024-03-01"), dt.date(2024, 3, 1)),
        ("BIGINT[]", pa.scalar([1, None]), [1, None]),
        ("TIMESTAMP[]", np.array(["2024-03-01T09:00"], "datetime64[ns]"), [dt.datetime(2024, 3, 1, 9)]),
        ("TIMESTAMP", np.datetime64("NaT"), None),
        ("STRUCT(a BOOLEAN)", {"a": np.False_}, {"a": False}),
    ],
)
def test_values_of_numpy_and_arrow_are_request_values(duckdb_type: str, given: Any, own: Any) -> None:
    with duckdb.connect() as con:
        query = f"SELECT CAST($1 AS {duckdb_type}[])"
        found, wanted = (con.execute(query, [[plain(v)]]).fetchall() for v in (given, own))
    assert repr(found) == repr(wanted)


@pytest.mark.parametrize(
    ("kind", "duckdb_type", "given"),
    [
        ("boolean", "BOOLEAN", np.int64(1)),
        ("integer", "BIGINT", np.True_),
        ("integer", "BIGINT", np.float64(1)),
        ("timestamp", "TIMESTAMP", np.datetime64("NaT")),
        ("timestamp", "TIMESTAMP", pd.NaT),
        ("text", "VARCHAR", np.int64(1)),
        ("date", "DATE", np.datetime64("2024-03-01T09")),
        ("boolean", "BOOLEAN", np.array([True])),
        ("decimal", "DECIMAL(4,2)", np.bool_(True)),
    ],
)
def test_scalars_that_are_no_keys_of_this_type(kind: str, duckdb_type: str, given: Any) -> None:
    with pytest.raises(Unfit):
        encoder(kind, duckdb_type)(given)


def test_a_feature_set_with_keys_and_prefix(client: Client) -> None:
    (row,) = client.get_online_features("basket", [{**ADA, "left": 1, "b": "x"}], at=AT)
    assert row == {
        **ADA,
        "left": 1,
        "b": "x",
        "last_amount": 10.5,
        "total": 10.5,
        "age": 30,
        "clock": "12:30",
        "p_s": {"n": 1, "days": [dt.date(2024, 3, 1)]},
    }


def test_status_event_time_and_version(client: Client) -> None:
    (row,) = client.get_online_features("spend", [ADA], at="2024-03-01T13:00:00.000001", with_status=True)
    noon = dt.datetime(2024, 3, 1, 12)
    assert row["last_amount"] == Value(None, "EXPIRED", noon, "1.0.0")
    assert row["total"] == Value(10.5, "PRESENT", noon, "1.0.0")
    assert row["age"] == Value(60, "PRESENT", noon, "1.0.0")
    (row,) = client.get_online_features("spend", [{"uid": "nobody"}], at=AT, with_status=True)
    assert row["total"] == Value(None, "MISSING", None, "1.0.0")
    assert row["clock"].value == "12:30"
    (row,) = client.get_online_features("spend", [ADA], at="2024-03-01T11:54:59", with_status=True)
    assert {row[c].status for c in ("last_amount", "total", "age", "clock")} == {"OUT_OF_RANGE"}
    assert row["age"].value is None


def test_a_row_without_a_key_has_no_features(client: Client) -> None:
    (row,) = client.get_online_features(["spend", "ratio"], [{"uid": None, "price": 1}], at=AT, with_status=True)
    assert {(v.value, v.status) for n, v in row.items() if n not in ("uid", "price")} == {(None, "MISSING")}


def test_on_demand_features_are_evaluated_with_request_columns(client: Client) -> None:
    rows = client.get_online_features(
        "ratio", [{**ADA, "price": 21}, {**ADA, "price": None}, {"uid": "nobody", "price": 1}], at=AT
    )
    assert [(r["share"], r["next"]) for r in rows] == [(2.0, 31), (None, 31), (None, None)]


@pytest.mark.parametrize(
    ("features", "row", "message", "hint"),
    [
        ("spnd", ADA, "'spnd' is not published", "did you mean 'spend'?"),
        ("spend@2", ADA, "spend@2 is not published", "published: spend@1.0"),
        ("basket@7", ADA, "'basket' is not published", None),
        ("spend:totl", ADA, "spend has no column 'totl'", "did you mean 'total'?"),
        ([], ADA, "no feature is asked for", "name features, or a feature set"),
        (["spend", "spend"], ADA, "column 'last_amount' comes from spend and from spend", "full_names=True"),
        ("spend", {**ADA, "total": 1}, "column 'total' comes from the entity rows and from a feature", "prefix"),
        ("spend", {"frist": "Ada", "born": None}, "an entity row has no 'uid' nor 'first', a key of spend", "keys="),
        ("pairs", {"a": 1}, "an entity row has no 'b', a key of pairs", "known: a"),
        ("pairs", {"a": "1", "b": "x"}, "'a' of an entity row is '1' (str), and key 'a' is INTEGER", "give an integer"),
        ("pairs", {"a": 2**40, "b": "x"}, "key 'a' is INTEGER", "give an integer from -2147483648 to 2147483647"),
        ("pairs", {"a": 1.0, "b": "x"}, "'a' of an entity row is 1.0 (float)", "give an integer"),
        ("ratio", ADA, "an entity row has no 'price', a request column of ratio", "it is a DECIMAL(8,2)"),
        ("ratio", {**ADA, "price": "much"}, "ratio cannot be evaluated for these entity rows", None),
        (mlf.FeatureSpec("spend", keys={"user": "x"}), ADA, "spend has no key 'user'", "known: uid"),
    ],
)
def test_what_is_refused(client: Client, features: Any, row: dict[str, Any], message: str, hint: str | None) -> None:
    with pytest.raises(OnlineError) as caught:
        client.get_online_features(features, [row], at=AT)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_specs_and_full_names(client: Client) -> None:
    spec = mlf.FeatureSpec("pairs", keys={"a": "left"}, columns=["S"], prefix="x_", version="1")
    (row,) = client.get_online_features([spec, "spend:total"], [{**ADA, "left": 2, "b": "y"}], at=AT, full_names=True)
    assert [n for n in row if n not in (*ADA, "left", "b")] == ["x_pairs__s", "spend__total"]


def test_the_caller_keeps_its_rows(client: Client) -> None:
    rows = [dict(ADA), dict(ADA)]
    assert len(client.get_online_features("spend", rows, at=AT)) == 2
    assert rows == [ADA, ADA]
    assert client.get_online_features("spend", [], at=AT) == []


def test_now_is_the_default(client: Client) -> None:
    (row,) = client.get_online_features("spend:age", [ADA])
    minutes = (dt.datetime.now(dt.UTC).replace(tzinfo=None) - dt.datetime(2024, 3, 1, 12)).total_seconds() / 60
    assert abs(row["age"] - minutes) < 2


def test_nothing_is_published(tmp_path: Path, redis_server: RedisServer) -> None:
    for url in (f"sqlite://{tmp_path}/none.db", redis_server.url):
        client = Client(url, "nowhere")
        with pytest.raises(OnlineError, match="nothing is published as 'nowhere' here"):
            client.get_online_features("spend", [ADA])
        client.close()
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(OnlineError, match="the client needs the namespace it reads"):
        Client(f"sqlite://{tmp_path}/none.db")


def test_a_client_of_an_event_loop(store_path: Path) -> None:
    async def read() -> list[Any]:
        client = AsyncClient({"kind": "sqlite", "path": str(store_path), "namespace": "shop"})
        one = client.get_online_features("spend:total", [ADA], at=AT)
        two = client.get_online_features("ratio:next", [{**ADA, "price": 1}], at=AT)
        found = await asyncio.gather(one, two)
        found.append((await client.manifest()).generation)
        await client.close()
        return found

    first, second, generation = asyncio.run(read())
    assert (first[0]["total"], second[0]["next"], generation) == (10.5, 31, 1)


def test_an_async_client_says_that_the_store_is_away() -> None:
    async def read() -> None:
        client = AsyncClient("redis://127.0.0.1:1/0", "shop")
        try:
            await client.get_online_features("spend", [ADA])
        finally:
            await client.close()

    with pytest.raises(StoreDownError, match=r"Redis at redis://127\.0\.0\.1:1/0 does not answer"):
        asyncio.run(read())


READ = """
import sys
{block}
from mlforge.online import Client
rows = Client("sqlite://{path}", "shop").get_online_features(
    {features!r}, [{{"uid": {uid!r}, "price": 1, "a": 1, "b": "x"}}], at="2024-03-01T12:30")
print([rows[0].get(c) for c in ("total", "age", "share")])
print(sorted({{m.split(".")[0] for m in sys.modules}} & {{"duckdb", "sqlglot", "pyarrow", "jinja2", "numpy", "redis", "yaml", "typer"}}))
"""
ABSENT = "for name in ('duckdb', 'sqlglot', 'pyarrow', 'jinja2'): sys.modules[name] = None"


def run(path: Path, features: Any, block: str = "") -> subprocess.CompletedProcess[str]:
    code = READ.format(path=path, features=features, uid=mlf.surrogate_key(*ADA.values()), block=block)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_reading_imports_no_engine(store_path: Path) -> None:
    done = run(store_path, ["spend:total,age", "pairs"])
    assert done.stdout.splitlines() == ["[10.5, 30, None]", "[]"], done.stderr


def test_without_duckdb_stored_columns_are_served_and_others_are_a_clear_error(store_path: Path) -> None:
    done = run(store_path, ["spend:total,age", "pairs"], ABSENT)
    assert done.stdout.splitlines()[0] == "[10.5, 30, None]", done.stderr
    for features, what in (("ratio", "share, next of ratio"), ("spend:clock", "clock of spend")):
        done = run(store_path, features, ABSENT)
        assert f"{what} need DuckDB to be evaluated, which is not installed" in done.stderr
        assert "pip install 'mlforge[online-sql]'" in done.stderr


def test_a_project_stated_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer) -> None:
    monkeypatch.chdir(tmp_path)
    made = Small(tmp_path)
    made.rows(f"1, TIMESTAMP '{NOON}', 5")

    @mlf.feature(entity="user", timestamp="t")
    def newest() -> str:
        return 'SELECT k, t, x FROM {{ source("ev") }}'

    for online in ("online.db", redis_server.url, mlf.RedisStore(redis_server.url), {"kind": "sqlite", "path": "b.db"}):
        project = mlf.Definitions(
            "stated",
            features=[newest],
            sources=[mlf.Source("ev", "data/ev.parquet")],
            entities=[mlf.Entity("user", "k")],
            online=online,
        )
        project.build()
        project.publish()
        assert project.get_online_features("newest", [{"k": 1}]) == [{"k": 1, "x": 5}]
        project.online().close()
    assert (tmp_path / "online.db").is_file()
    assert (tmp_path / "b.db").is_file()
