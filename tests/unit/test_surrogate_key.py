"""Surrogate keys: published vectors, Python against DuckDB, and conversion of label values without loss."""

from __future__ import annotations

import datetime
import hashlib
import re
import uuid
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from mlforge.errors import FeatureError, RetrievalError, Where
from mlforge.model import Entity
from mlforge.sql.keys import (
    check_parts,
    convertible,
    entity_key,
    lossless_cast_sql,
    require_convertible,
    rewrite_calls,
    surrogate_key,
    surrogate_key_expression,
    surrogate_key_sql,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlglot import exp

PAGE = Path(__file__).parents[2] / "docs" / "surrogate-keys.md"
VECTORS = re.findall(r"^\| `(.*)` \| (?:`([0-9a-f]{32})`|NULL) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")  # must not matter
        yield connection


def from_duckdb(con: duckdb.DuckDBPyConnection, parts: str) -> tuple[tuple[Any, ...], set[str | None]]:
    """The values of SQL expressions as Python sees them, and their keys by known types and by the engine's choice."""
    rows = con.execute(f"DESCRIBE SELECT {parts}").fetchall()
    names = [f"p{i}" for i in range(len(rows))]
    typed = surrogate_key_sql([(name, row[1]) for name, row in zip(names, rows, strict=True)])
    query = f"SELECT {typed}, {surrogate_key_expression(names)}, * FROM (SELECT {parts}) t({', '.join(names)})"
    first, second, *values = con.execute(query).fetchall()[0]
    return tuple(values), {first, second}


@pytest.mark.parametrize(("parts", "key"), VECTORS)
def test_published_vectors(con: duckdb.DuckDBPyConnection, parts: str, key: str) -> None:
    values, keys = from_duckdb(con, parts)
    assert keys == {key or None}
    assert surrogate_key(*values) == (key or None)


def test_the_page_has_vectors_of_every_tag() -> None:
    assert len(VECTORS) == 27
    text = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"\| `([a-z])` \|", text)) == set("sibdtmu")


def test_the_encoding_is_what_the_page_says() -> None:
    expected = hashlib.sha256("s4:Zoëi2:-7n0:b4:truem4:-0.5d1:1t2:-1".encode()).hexdigest()[:32]
    before_epoch = datetime.datetime(1969, 12, 31, 23, 59, 59, 999999)
    values = ("Zoë", -7, None, True, Decimal("-0.50"), datetime.date(1970, 1, 2), before_epoch)
    assert surrogate_key(*values) == expected


AWARE = datetime.timezone(datetime.timedelta(hours=2))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**127) + 1, 2**127 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from(["NULL", "n0:", "s1:a", "1", "true", ""]),
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9),
    st.dates(),
    st.datetimes(),
    st.datetimes(datetime.datetime(1, 1, 3), datetime.datetime(9999, 12, 29), timezones=st.just(AWARE)),
    st.uuids(),
)


def sql_type(value: Any) -> str:
    types = {bool: "BOOLEAN", int: "HUGEINT", str: "VARCHAR", Decimal: "DECIMAL(18,4)", uuid.UUID: "UUID"}
    if isinstance(value, datetime.datetime):
        return "TIMESTAMPTZ" if value.tzinfo else "TIMESTAMP"
    return "DATE" if isinstance(value, datetime.date) else types.get(type(value), "INTEGER")


@settings(max_examples=300, deadline=None)
@given(st.lists(SCALARS, min_size=1, max_size=4))
def test_python_and_duckdb_agree(con: duckdb.DuckDBPyConnection, values: list[Any]) -> None:
    parts = ", ".join(f"?::{sql_type(value)}" for value in values)
    names = [f"p{i}" for i in range(len(values))]
    typed = surrogate_key_sql([(name, sql_type(value)) for name, value in zip(names, values, strict=True)])
    query = f"SELECT {typed}, {surrogate_key_expression(names)} FROM (SELECT {parts}) t({', '.join(names)})"
    given_values = [str(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values]
    expected = surrogate_key(*values)
    assert con.execute(query, given_values).fetchall() == [(expected, expected)]


def canonical(values: tuple[Any, ...]) -> Any:
    """Equal for the same key: what the page says of types, in Python's words."""
    if all(value is None for value in values):
        return None
    return tuple((sql_type(v).removesuffix("TZ"), utc(v)) for v in values)


def utc(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC) if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    return value


TUPLES = st.lists(SCALARS, min_size=1, max_size=3).map(tuple)


@settings(max_examples=500, deadline=None)
@given(TUPLES, TUPLES)
def test_keys_are_equal_only_for_equal_parts(left: tuple[Any, ...], right: tuple[Any, ...]) -> None:
    # None has a type of its own in neither language.
    same = canonical(left) == canonical(right)
    assert (surrogate_key(*left) == surrogate_key(*right)) == same


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("a", "bc"), ("ab", "c")),
        (("1",), (1,)),
        ((None, "a"), ("NULL", "a")),
        ((None, "a"), ("", "a")),
        (("a",), ("a", None)),
        ((1,), (Decimal(1),)),
        ((1,), (True,)),
        (("s1:a",), ("a",)),
        (("é",), ("e\u0301",)),
        ((datetime.date(2024, 1, 1),), (datetime.datetime(2024, 1, 1),)),
    ],
)
def test_what_looks_alike_differs(left: tuple[Any, ...], right: tuple[Any, ...]) -> None:
    assert surrogate_key(*left) != surrogate_key(*right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (Decimal("1.00"), Decimal(1)),
        (Decimal("1E+2"), Decimal(100)),
        (Decimal("-0.0"), Decimal(0)),
        (datetime.datetime(2024, 1, 1, 2, tzinfo=AWARE), datetime.datetime(2024, 1, 1)),
    ],
)
def test_what_means_the_same_is_the_same(left: Any, right: Any) -> None:
    assert surrogate_key(left) == surrogate_key(right)


@pytest.mark.parametrize("width", ["TINYINT", "SMALLINT", "BIGINT", "UTINYINT", "UBIGINT", "UHUGEINT"])
def test_integers_of_every_width_are_one(con: duckdb.DuckDBPyConnection, width: str) -> None:
    assert from_duckdb(con, f"7::{width}")[1] == {surrogate_key(7)}


@pytest.mark.parametrize(
    ("parts", "same"),
    [
        ("'sad'::ENUM('happy', 'sad')", "sad"),
        ("'1969-12-31 23:59:59.9999995'::TIMESTAMP_NS", datetime.datetime(1969, 12, 31, 23, 59, 59, 999999)),
        ("'2024-01-01 00:00:00.000001999'::TIMESTAMP_NS", datetime.datetime(2024, 1, 1, 0, 0, 0, 1)),
        ("'2024-01-01 10:00:00'::TIMESTAMP_S", datetime.datetime(2024, 1, 1, 10)),
        ("'2024-01-01 10:00:00.5'::TIMESTAMP_MS", datetime.datetime(2024, 1, 1, 10, 0, 0, 500000)),
    ],
)
def test_types_that_python_lacks(con: duckdb.DuckDBPyConnection, parts: str, same: Any) -> None:
    assert from_duckdb(con, parts)[1] == {surrogate_key(same)}


@pytest.mark.parametrize("value", ["'infinity'::DATE", "'-infinity'::TIMESTAMP", "'infinity'::TIMESTAMPTZ", "NULL"])
def test_infinite_times_count_as_null(con: duckdb.DuckDBPyConnection, value: str) -> None:
    assert from_duckdb(con, value)[1] == {None}
    assert from_duckdb(con, f"{value}, 'a'")[1] == {surrogate_key(None, "a")}


@pytest.mark.parametrize(
    "type_", ["FLOAT", "DOUBLE", "BLOB", "TIME", "INTERVAL", "INTEGER[]", "VARCHAR[]", "DECIMAL(4,2)[]"]
)
def test_other_types_are_refused(con: duckdb.DuckDBPyConnection, type_: str) -> None:
    with pytest.raises(FeatureError) as caught:
        surrogate_key_sql([("x", type_)])
    assert caught.value.message == f"surrogate_key() takes no x of type {type_}"
    assert "round a float" in str(caught.value.hint)
    with pytest.raises(duckdb.InvalidInputException, match="takes no value of type"):
        con.execute(f"SELECT {surrogate_key_expression(['x'])} FROM (SELECT NULL::{type_} AS x)").fetchall()


@pytest.mark.parametrize("value", [1.5, b"a", [1], Decimal("NaN"), datetime.time(1), "\ud800"])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(FeatureError, match=r"surrogate_key\(\) takes no"):
        surrogate_key("a", value)


def test_no_parts_are_refused() -> None:
    for call in (surrogate_key, lambda: surrogate_key_sql([]), lambda: surrogate_key_expression([])):
        with pytest.raises(FeatureError, match="at least one part"):
            call()


def test_a_missing_pandas_time_is_null() -> None:
    assert surrogate_key(pandas.NaT) is None
    assert surrogate_key(pandas.Timestamp("2024-01-01 00:00:00.000001999")) == surrogate_key(
        datetime.datetime(2024, 1, 1, 0, 0, 0, 1)
    )


QUERY = "SELECT _mlforge_surrogate_key(first, upper(last)) AS k, id FROM people WHERE _mlforge_surrogate_key(id) <> ''"


@pytest.mark.parametrize("typed", [False, True])
def test_calls_in_a_tree_are_replaced(con: duckdb.DuckDBPyConnection, typed: bool) -> None:
    def type_of(node: exp.Expression) -> str:
        return "INTEGER" if node.name == "id" else "VARCHAR"

    tree = rewrite_calls(sqlglot.parse_one(QUERY, read="duckdb"), type_of if typed else None)
    text = tree.sql("duckdb")
    assert sqlglot.parse_one(text, read="duckdb") == tree  # survives the round trip that every generated text must
    con.execute("CREATE OR REPLACE TEMP TABLE people AS SELECT 'Ada' AS first, 'Lovelace' AS last, 1 AS id")
    assert con.execute(text).fetchall() == [(surrogate_key("Ada", "LOVELACE"), 1)]


@pytest.mark.parametrize("typed", [False, True])
def test_a_key_may_be_part_of_a_key(con: duckdb.DuckDBPyConnection, typed: bool) -> None:
    query = "SELECT _mlforge_surrogate_key(_mlforge_surrogate_key('a', 'b'), 'c') AS k"
    tree = rewrite_calls(sqlglot.parse_one(query, read="duckdb"), (lambda _: "VARCHAR") if typed else None)
    assert con.execute(tree.sql("duckdb")).fetchall() == [(surrogate_key(surrogate_key("a", "b"), "c"),)]


def test_a_float_in_a_tree_is_refused() -> None:
    with pytest.raises(FeatureError, match="takes no UPPER\\(last\\) of type DOUBLE"):
        rewrite_calls(
            sqlglot.parse_one(QUERY, read="duckdb"), lambda node: "DOUBLE" if node.name != "first" else "DATE"
        )


def checked_parts(con: duckdb.DuckDBPyConnection, query: str) -> None:
    def describe(text: str, node: exp.Expression | None) -> dict[str, str]:
        try:
            return {row[0]: row[1] for row in con.execute(f"DESCRIBE {text}").fetchall()}
        except duckdb.Error as error:
            raise FeatureError(str(error)) from error

    con.execute("CREATE OR REPLACE TEMP TABLE people AS SELECT 'Ada' AS first, 36 AS age, 1.5::DOUBLE AS height")
    check_parts(sqlglot.parse_one(query, read="duckdb"), describe, lambda node: Where("f.sql", len(node.expressions)))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT _mlforge_surrogate_key(first, height) AS k FROM people",
        "SELECT age FROM people WHERE _mlforge_surrogate_key(first, height) = 'x' ORDER BY age LIMIT 3",
        "WITH a AS (FROM people), b AS (SELECT _mlforge_surrogate_key(first, height) AS k FROM a) SELECT k FROM b",
        "SELECT k FROM (SELECT DISTINCT _mlforge_surrogate_key(age, height) AS k FROM people)",
        "SELECT _mlforge_surrogate_key(first, avg(height)) AS k FROM people GROUP BY first",
        "SELECT _mlforge_surrogate_key(_mlforge_surrogate_key(first), height) AS k FROM people",
        "SELECT 1 AS a UNION ALL SELECT _mlforge_surrogate_key(first, height) FROM people",
    ],
)
def test_a_float_part_is_found_before_a_row_is_read(con: duckdb.DuckDBPyConnection, query: str) -> None:
    with pytest.raises(
        FeatureError, match=r"surrogate_key\(\) takes no (height|AVG\(height\)) of type DOUBLE"
    ) as caught:
        checked_parts(con, query)
    assert str(caught.value.where) == "f.sql:2"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT _mlforge_surrogate_key(first, age) AS k, height FROM people",
        "SELECT height / 2 AS h, _mlforge_surrogate_key(first, h::INTEGER) AS k FROM people",
        "SELECT height FROM people",
        "SELECT _mlforge_surrogate_key(absent) AS k FROM people",  # the engine's error is the better one
    ],
)
def test_other_parts_pass(con: duckdb.DuckDBPyConnection, query: str) -> None:
    checked_parts(con, query)


def test_entity_key() -> None:
    route = Entity(name="route", keys=("origin", "dest"))
    user = Entity(name="user", keys=("user_id",), parts=("first", "last"))
    assert entity_key(route, {"dest": "LAX", "origin": "JFK", "x": 1}) == ("JFK", "LAX")
    assert entity_key(route, {"dest": None, "origin": "JFK"}) is None
    assert entity_key(user, {"first": "Ada", "last": None}) == surrogate_key("Ada", None)
    assert entity_key(user, {"first": None, "last": None}) is None
    with pytest.raises(RetrievalError) as caught:
        entity_key(route, {"origin": "JFK", "dst": "LAX"})
    assert caught.value.message == "entity 'route' needs 'dest'"
    assert caught.value.hint == "did you mean 'dst'?"


@pytest.mark.parametrize(
    ("value", "from_type", "to_type", "expected"),
    [
        ("7", "BIGINT", "INTEGER", 7),
        ("7", "INTEGER", "HUGEINT", 7),
        ("7", "UTINYINT", "TINYINT", 7),
        ("7", "INTEGER", "DECIMAL(9,2)", Decimal("7.00")),
        ("7.00", "DECIMAL(9,2)", "INTEGER", 7),
        ("7.10", "DECIMAL(9,2)", "DECIMAL(4,1)", Decimal("7.1")),
        ("7.1", "DECIMAL(4,1)", "DECIMAL(9,2)", Decimal("7.10")),
        ("'a'", "VARCHAR", "VARCHAR", "a"),
        ("'a'", "ENUM('a', 'b')", "VARCHAR", "a"),
        ("'00000000-0000-0000-0000-00000000000A'", "VARCHAR", "UUID", uuid.UUID(int=10)),
        ("'00000000-0000-0000-0000-00000000000A'", "UUID", "VARCHAR", str(uuid.UUID(int=10))),
        ("'2024-01-02'", "DATE", "TIMESTAMP", datetime.datetime(2024, 1, 2)),
        ("'2024-01-02'", "TIMESTAMP_NS", "DATE", datetime.date(2024, 1, 2)),
        ("'2024-01-02 02:00:00+02'", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP", datetime.datetime(2024, 1, 2)),
        ("'2024-01-02 02:00:00+02'", "TIMESTAMPTZ", "DATE", datetime.date(2024, 1, 2)),
        ("NULL", "BIGINT", "INTEGER", None),
        ("NULL", "TIMESTAMPTZ", "DATE", None),
        ("NULL", '"NULL"', "UUID", None),
    ],
)
def test_label_values_are_converted(
    con: duckdb.DuckDBPyConnection, value: str, from_type: str, to_type: str, expected: Any
) -> None:
    assert convertible(from_type, to_type)
    require_convertible("user", from_type, "user_id", to_type)
    cast = lossless_cast_sql("x", from_type, to_type)
    typed = value if from_type == '"NULL"' else f"{value}::{from_type}"
    rows = con.execute(f"SELECT r, typeof(r) FROM (SELECT {cast} AS r FROM (SELECT {typed} AS x))").fetchall()
    assert rows == [(expected, to_type)]


@pytest.mark.parametrize(
    ("value", "from_type", "to_type"),
    [
        ("3000000000", "BIGINT", "INTEGER"),
        ("-1", "INTEGER", "UINTEGER"),
        ("200", "UTINYINT", "TINYINT"),
        ("7.50", "DECIMAL(9,2)", "INTEGER"),
        ("7.15", "DECIMAL(9,2)", "DECIMAL(9,1)"),
        ("1000", "INTEGER", "DECIMAL(4,2)"),
        ("'x'", "VARCHAR", "UUID"),
        ("'2024-01-02 00:00:01'", "TIMESTAMP", "DATE"),
        ("'2024-01-02 00:00:00.000000001'", "TIMESTAMP_NS", "TIMESTAMP"),
        ("'2024-01-02 00:00:00+02'", "TIMESTAMPTZ", "DATE"),
    ],
)
def test_a_value_that_does_not_fit_stops_the_query(
    con: duckdb.DuckDBPyConnection, value: str, from_type: str, to_type: str
) -> None:
    cast = lossless_cast_sql("x", from_type, to_type)
    con.execute(f"SELECT {cast} FROM (SELECT {value}::{from_type} AS x) WHERE x IS NULL").fetchall()
    with pytest.raises(duckdb.InvalidInputException, match=f"does not fit the key type {re.escape(to_type)}"):
        con.execute(f"SELECT {cast} FROM (SELECT {value}::{from_type} AS x)").fetchall()


@pytest.mark.parametrize(
    ("from_type", "to_type"),
    [
        ("VARCHAR", "INTEGER"),
        ("INTEGER", "VARCHAR"),
        ("DOUBLE", "BIGINT"),
        ("FLOAT", "DOUBLE"),
        ("BOOLEAN", "INTEGER"),
        ("VARCHAR", "DATE"),
        ("BLOB", "VARCHAR"),
        ("BIGINT", "BIGINT[]"),
    ],
)
def test_types_that_do_not_convert_are_refused(from_type: str, to_type: str) -> None:
    assert not convertible(from_type, to_type)
    with pytest.raises(RetrievalError) as caught:
        require_convertible("user", from_type, "user_id", to_type)
    assert caught.value.message.startswith(f"label column 'user' is {from_type} and key 'user_id' is {to_type}: ")
    assert f'cast "user" in the label rows to {to_type}' in str(caught.value.hint)
    assert ("Int64" in str(caught.value.hint)) == (from_type in ("DOUBLE", "FLOAT"))
    with pytest.raises(RetrievalError, match="cannot be converted"):
        lossless_cast_sql("x", from_type, to_type)
