"""What readers compute in Python against the SQL that it must equal: names of keys, boundaries, expressions."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlforge.errors import OnlineError
from mlforge.model import Compiled, Key
from mlforge.online import key_encoding
from mlforge.online.expressions import evaluate
from mlforge.online.interval_bounds import boundary
from mlforge.online.packed_values import ALWAYS, find, micros, moment, pack, pack_points, patient_decoder, row_decoder
from mlforge.online.python_times import timely
from mlforge.publishing.compiling import expression
from mlforge.publishing.layout import key_sql, type_tree
from mlforge.sql.keys import kind_of
from mlforge.sql.templates import sql
from tests.oracle.clock import boundary as expected_boundary
from tests.oracle.strategies import INTERVALS, ZONES

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPES: dict[str, Any] = {
    "VARCHAR": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "UINTEGER": st.integers(0, 2**32 - 1),
    "TINYINT": st.integers(-128, 127),
    "BOOLEAN": st.booleans(),
    "DATE": st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31)),
    "TIMESTAMP": st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)),
    "DECIMAL(12,3)": st.decimals(decimal.Decimal("-999999999.999"), decimal.Decimal("999999999.999"), places=3),
    "UUID": st.uuids(),
}


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute("SET TimeZone = 'Asia/Tokyo'")
        yield made


@pytest.mark.parametrize("duckdb_type", TYPES)
def test_names_of_keys_are_those_of_the_catalog(con: duckdb.DuckDBPyConnection, duckdb_type: str) -> None:
    kind = kind_of(duckdb_type)
    assert kind is not None
    encode = key_encoding.encoder(kind, duckdb_type)
    text = key_sql(Compiled(feature="f", kind="static", keys=(Key("k", duckdb_type),), outputs=()))

    @settings(max_examples=60, deadline=None, database=None)
    @given(TYPES[duckdb_type])
    def same(value: Any) -> None:
        given_as = str(value) if isinstance(value, (decimal.Decimal, uuid.UUID)) else value
        query = f"SELECT {text} FROM (SELECT CAST(? AS {duckdb_type}) AS k)"
        assert con.execute(query, [given_as]).fetchall()[0][0].encode() == encode(value)

    same()


@pytest.mark.parametrize(
    ("duckdb_type", "value", "expected"),
    [
        ("BIGINT", decimal.Decimal("5.0"), b"i1:5"),
        ("VARCHAR", uuid.UUID(int=1), b"s36:00000000-0000-0000-0000-000000000001"),
        ("DATE", "2024-02-29", b"d5:19782"),
        ("DATE", dt.datetime(2024, 2, 29), b"d5:19782"),
        ("TIMESTAMP", "1970-01-01T09:00:00+09:00", b"t1:0"),
        ("TIMESTAMP", dt.datetime(1970, 1, 1, 9, tzinfo=dt.timezone(dt.timedelta(hours=9))), b"t1:0"),
        ("TIMESTAMP", dt.date(1970, 1, 1), b"t1:0"),
        ("DECIMAL(5,2)", 7, b"m1:7"),
        ("DECIMAL(5,2)", "1.50", b"m3:1.5"),
        ("UUID", "00000000-0000-0000-0000-000000000001", b"u36:00000000-0000-0000-0000-000000000001"),
    ],
)
def test_values_that_fit_without_loss(duckdb_type: str, value: Any, expected: bytes) -> None:
    assert key_encoding.encoder(str(kind_of(duckdb_type)), duckdb_type)(value) == expected


@pytest.mark.parametrize(
    ("duckdb_type", "value", "wanted"),
    [
        ("BIGINT", "5", "an integer"),
        ("BIGINT", 5.0, "an integer"),
        ("BIGINT", True, "an integer"),
        ("TINYINT", 128, "an integer from -128 to 127"),
        ("UINTEGER", -1, "an integer from 0 to 4294967295"),
        ("VARCHAR", 5, "text"),
        ("VARCHAR", "\ud800", "valid Unicode text"),
        ("BOOLEAN", 1, "true or false"),
        ("DATE", dt.datetime(2024, 2, 29, 1), "a date without a time of day"),
        ("DATE", "29.2.2024", "a date, such as 2024-03-01"),
        ("DATE", 5, "a date"),
        ("TIMESTAMP", "noon", "a timestamp, such as 2024-03-01T09:00:00"),
        ("TIMESTAMP", 5, "a timestamp"),
        ("DECIMAL(5,2)", decimal.Decimal("1.555"), "a DECIMAL(5,2)"),
        ("DECIMAL(5,2)", 12345, "a DECIMAL(5,2)"),
        ("DECIMAL(5,2)", 1.5, "a decimal"),
        ("DECIMAL(5,2)", "x", "a decimal"),
        ("UUID", "x", "a UUID"),
        ("UUID", 1, "a UUID"),
    ],
)
def test_values_that_do_not_fit(duckdb_type: str, value: Any, wanted: str) -> None:
    with pytest.raises(key_encoding.Unfit) as caught:
        key_encoding.encoder(str(kind_of(duckdb_type)), duckdb_type)(value)
    assert str(caught.value) == wanted


@settings(max_examples=400, deadline=None, database=None)
@given(
    st.integers(micros("1931-01-01"), micros("2037-01-01")),
    st.sampled_from(INTERVALS),
    st.sampled_from([None, *ZONES]),
)
def test_boundaries_are_those_of_the_oracle(at: int, interval: str, zone: str | None) -> None:
    number = int("".join(c for c in interval if c.isdigit()))
    unit = interval.removeprefix(str(number))
    assert boundary(at, number, unit, zone) == expected_boundary(at, interval, zone)


COLUMNS = {"a": (0, "TIMESTAMP"), "n": (1, "BIGINT"), "x": (2, "DOUBLE")}
EXPRESSIONS = [
    ("_mlforge_at", "TIMESTAMP"),
    ("date_diff('hour', a, _mlforge_at)", "BIGINT"),
    *(
        (f"date_diff('{unit}', a, _mlforge_at)", "BIGINT")
        for unit in ("microsecond", "millisecond", "second", "minute")
    ),
    *((f"date_diff('{unit}', _mlforge_at, a)", "BIGINT") for unit in ("day", "month", "quarter", "year")),
    ("epoch_us(_mlforge_at) - epoch_us(a)", "BIGINT"),
    ("epoch(_mlforge_at) - epoch(a)", "DOUBLE"),
    ("(epoch_us(_mlforge_at) - epoch_us(a)) / 3600000000", "DOUBLE"),
    ("x / (epoch_us(_mlforge_at) - epoch_us(a))", "DOUBLE"),
    ("coalesce(a, _mlforge_at)", "TIMESTAMP"),
    ("n - date_diff('day', a, _mlforge_at) * 2", "BIGINT"),
    ("-n + nullif(date_diff('day', a, _mlforge_at), 0)", "BIGINT"),
    ("x * n + epoch(_mlforge_at)", "DOUBLE"),
    ("x / nullif(n, 0) + 1e3 * epoch(_mlforge_at)", "DOUBLE"),
    ("x / n + date_diff('day', a, _mlforge_at)", "DOUBLE"),
]
BEYOND = [
    ("strftime(_mlforge_at, '%Y')", "VARCHAR"),
    ("_mlforge_at - INTERVAL 1 DAY", "TIMESTAMP"),
    ("date_diff('week', a, _mlforge_at)", "BIGINT"),
    ("n + 1.5", "DOUBLE"),
    ("date_diff('day', a, _mlforge_at) + 1", "INTEGER"),
    ("n // date_diff('day', a, _mlforge_at)", "BIGINT"),
    ("CASE WHEN a < _mlforge_at THEN 1 END", "INTEGER"),
    ("unknown + 1", "BIGINT"),
]
times = st.one_of(st.none(), st.datetimes(dt.datetime(1931, 1, 1), dt.datetime(2100, 1, 1)))


@pytest.mark.parametrize(("text", "kind"), EXPRESSIONS, ids=[t for t, _ in EXPRESSIONS])
def test_expressions_are_what_duckdb_makes_of_them(con: duckdb.DuckDBPyConnection, text: str, kind: str) -> None:
    tree = expression(text, COLUMNS, kind)
    assert tree is not None
    query = f"SELECT CAST({text} AS {kind}) FROM (SELECT ?::TIMESTAMP AS a, ?::BIGINT AS n, ?::DOUBLE AS x, ?::TIMESTAMP AS _mlforge_at)"

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        times,
        st.one_of(st.none(), st.integers(-9, 9)),
        st.sampled_from([None, 0.1, -3.5, 0.0, math.inf, math.nan]),
        times,
    )
    def same(a: dt.datetime | None, n: int | None, x: float | None, at: dt.datetime | None) -> None:
        instant = at or dt.datetime(2024, 3, 1)
        expected = con.execute(query, [a, n, x, instant]).fetchall()[0][0]
        found = evaluate(tree, (a, n, x), micros(instant))
        assert repr(found) == repr(expected), (a, n, x, instant)

    same()


@pytest.mark.parametrize(("text", "kind"), BEYOND)
def test_other_expressions_are_left_to_duckdb(text: str, kind: str) -> None:
    assert expression(text, COLUMNS, kind) is None


VALUES = [
    ("BIGINT", "9223372036854775807"),
    ("UBIGINT", "18446744073709551615"),
    ("DOUBLE", "'nan'"),
    ("DOUBLE", "'-inf'"),
    ("DOUBLE", "-0.0"),
    ("FLOAT", "0.1"),
    ("BOOLEAN", "true"),
    ("VARCHAR", "'é\U0001f600'"),
    ("VARCHAR", "''"),
    ("DATE", "'0001-01-01'"),
    ("TIMESTAMP", "'2024-03-01 12:00:00.000001'"),
    ("TIMESTAMP_S", "'2024-03-01 12:00:00'"),
    ("TIMESTAMP_NS", "'2024-03-01 12:00:00.123456'"),
    ("TIME", "'23:59:59.5'"),
    ("DECIMAL(38,5)", "'-123456789012345678901234567890123.45678'"),
    ("UUID", "'00000000-0000-0000-0000-00000000000f'"),
    ("BLOB", "'\\x00\\xFF'"),
    ("BIGINT[]", "[1, NULL, 3]"),
    ("INTEGER[2]", "[1, 2]"),
    ("DATE[][]", "[['2024-03-01'], NULL, []]"),
    ("MAP(VARCHAR, DOUBLE)", "MAP {'a': 1.5, 'b': NULL}"),
    ('STRUCT(a BIGINT, "b c" DATE[], s STRUCT(d DECIMAL(5,2)))', "{'a': 1, 'b c': ['2024-03-01'], 's': {'d': 1.5}}"),
    ("JSON", "'{\"a\": 1}'"),
]


@pytest.mark.parametrize(("duckdb_type", "literal"), VALUES)
@pytest.mark.parametrize("null", [False, True])
def test_types_survive(con: duckdb.DuckDBPyConnection, duckdb_type: str, literal: str, null: bool) -> None:
    text = "NULL" if null else literal
    ((wanted,),) = con.execute(f"SELECT CAST({text} AS {duckdb_type})").fetchall()
    tree = type_tree(duckdb_type, "f", "c")
    made = sql("online/timely", x=f"CAST({text} AS {duckdb_type})", tree=tree)
    ((stored,),) = con.execute(f"SELECT {made}").fetchall()
    for decode in (row_decoder([tree]).decode, patient_decoder([tree])):
        (_, _, found) = decode(pack((None, 0, stored)))
        assert repr(timely(found, tree)) == repr(list(wanted) if isinstance(wanted, tuple) else wanted)


@pytest.mark.parametrize("duckdb_type", ["INTERVAL", "BIT", "UNION(a INTEGER)", "BIT[]"])
def test_types_that_no_store_carries(duckdb_type: str) -> None:
    with pytest.raises(OnlineError, match="column 'c' of f is"):
        type_tree(duckdb_type, "f", "c")


def test_points_are_found_by_bisection() -> None:
    def at(times: list[int], instant: int) -> Any:
        payload = pack_points(times, [pack(n) for n in range(len(times))], 7)
        packed, step = find(payload, instant)
        assert step == 7
        return None if packed is None else msgspec.msgpack.decode(packed)

    assert [at([10, 20, 30], t) for t in (9, 10, 19, 20, 29, 30, 10**15)] == [None, 0, 0, 1, 1, 2, 2]
    assert [at([10], t) for t in (9, 10, 11)] == [None, 0, 0]
    assert at([ALWAYS], -(2**62)) == 0


@pytest.mark.parametrize(
    ("given_as", "expected"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T09:00+09:00", 0),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 999999), -1),
        (dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), 0),
    ],
)
def test_instants(given_as: Any, expected: int) -> None:
    assert micros(given_as) == expected
    assert moment(expected) == dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=expected)


@pytest.mark.parametrize("bad", ["yesterday", 5, dt.date(2024, 3, 1)])
def test_what_is_no_instant(bad: Any) -> None:
    with pytest.raises(OnlineError, match="is not an instant"):
        micros(bad)
