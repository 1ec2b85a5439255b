"""Values of YAML as values of a column's type: without loss, or refused at their line."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import yaml

from mlforge.errors import ProjectError
from mlforge.project.yamldoc import parse
from mlforge.unit.given_values import as_sql, inferred
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

UTC = datetime.datetime(2024, 3, 1, 9)


def engine_value(text: str, kind: str) -> Any:
    """What YAML text becomes as a value of a type, in a session that is not in UTC by its own."""
    value = parse(f"v: {text}", "tests/a.yaml").data["v"]
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        query = f"SELECT v, typeof(v) FROM (SELECT {as_sql(value, kind, 'v')} AS v)"
        if kind.endswith("TIME ZONE"):
            query = f"SELECT CAST(v AS TIMESTAMP), typeof(v) FROM ({query})"
        found, real = con.execute(query).fetchall()[0]
    assert real == kind
    return found


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("1", "BIGINT", 1),
        ("1.0", "INTEGER", 1),
        ("'12'", "BIGINT", 12),
        ("'0.000'", "BIGINT", 0),
        ("'1234567890123456789012345678901.5000'", "DECIMAL(38,1)", Decimal("1234567890123456789012345678901.5")),
        ("170141183460469231731687303715884105727", "HUGEINT", 2**127 - 1),
        ("1", "DOUBLE", 1.0),
        ("0.1", "DOUBLE", 0.1),
        ("1.0e-7", "DOUBLE", 1e-7),
        (".inf", "DOUBLE", float("inf")),
        ("4.20", "DECIMAL(10,2)", Decimal("4.20")),
        ("'12345678901234567890.12'", "DECIMAL(38,2)", Decimal("12345678901234567890.12")),
        ("true", "BOOLEAN", True),
        ("'yes'", "VARCHAR", "yes"),
        ("it's", "VARCHAR", "it's"),
        ("''", "VARCHAR", ""),
        ("null", "VARCHAR", None),
        ("null", "TIMESTAMP", None),
        ("2024-03-01", "DATE", UTC.date()),
        ("'2024-03-01'", "DATE", UTC.date()),
        ("2024-03-01 09:00:00", "TIMESTAMP", UTC),
        ("'2024-03-01 09:00'", "TIMESTAMP", UTC),
        ("2024-03-01T09:00:00Z", "TIMESTAMP", UTC),
        ("'2024-03-01T11:00:00+02:00'", "TIMESTAMP", UTC),
        ("'2024-03-01 11:00:00 +0200'", "TIMESTAMP", UTC),
        ("2024-03-01 11:00:00 +02:00", "TIMESTAMP", UTC),
        ("'2024-03-01 11:00:00+02'", "TIMESTAMP WITH TIME ZONE", UTC),
        ("2024-03-01 09:00:00", "TIMESTAMP WITH TIME ZONE", UTC),
        ("2024-03-01", "TIMESTAMP", datetime.datetime(2024, 3, 1)),
        ("'2024-03-01 09:00:00.000001'", "TIMESTAMP", UTC.replace(microsecond=1)),
        ("'2024-03-01 09:00:00.123456789'", "TIMESTAMP_NS", UTC.replace(microsecond=123456)),
        ("'09:30:00'", "TIME", datetime.time(9, 30)),
        ("[1, 2]", "BIGINT[]", [1, 2]),
        ("{b: x, a: 1}", "STRUCT(a BIGINT, b VARCHAR)", {"a": 1, "b": "x"}),
        ("{b: 2}", "MAP(VARCHAR, BIGINT)", {"b": 2}),
        ("{b: [1]}", "JSON", '{"b": [1]}'),
        ("a", "ENUM('a', 'b')", "a"),
        ("['2024-03-01 09:00:00', null]", "TIMESTAMP[]", [UTC, None]),
        ("['2024-03-01 09:00:00']", "TIMESTAMP_MS[]", [UTC]),
        ("!!binary AP9h", "BLOB", b"\x00\xffa"),
        ("[!!binary AP9h]", "BLOB[]", [b"\x00\xffa"]),
        ("[{b: 2}, {}, null]", "MAP(VARCHAR, BIGINT)[]", [{"b": 2}, {}, None]),
        (
            "{'m': {b: {a: [x]}}, n: null}",
            "STRUCT(m MAP(VARCHAR, STRUCT(a VARCHAR[])), n BIGINT)",
            {"m": {"b": {"a": ["x"]}}, "n": None},
        ),
        ("{b: '2024-03-01 09:00:00'}", "MAP(VARCHAR, TIMESTAMP)", {"b": UTC}),
    ],
)
def test_a_value_of_a_type(text: str, kind: str, expected: Any) -> None:
    assert engine_value(text, kind) == expected


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("01234", "VARCHAR", "v is VARCHAR, and 668 is a number to YAML"),
        ("yes", "VARCHAR", "v is VARCHAR, and true is true or false to YAML"),
        ("2024-03-01", "VARCHAR", "v is VARCHAR, and 2024-03-01 is a date to YAML"),
        ("[a]", "VARCHAR", "is a list to YAML"),
        ("1.5", "BIGINT", "v is BIGINT, and 1.5 is not a whole number"),
        ("'1.5'", "BIGINT", "is not a whole number"),
        ("'x'", "BIGINT", "v is BIGINT, and 'x' is not a number"),
        ("true", "BIGINT", "v is BIGINT, and true is not a number"),
        (".nan", "BIGINT", "nan is not a finite number"),
        ("2024-03-01", "BIGINT", "is not a number"),
        ("4.205", "DECIMAL(10,2)", "has more than 2 digits behind the point"),
        (".inf", "DECIMAL(10,2)", "is not a finite number"),
        ("abc", "DOUBLE", "is not a number"),
        ("1", "BOOLEAN", "v is BOOLEAN, and 1 is not true or false"),
        ("'true'", "BOOLEAN", "is not true or false"),
        ("1", "TIMESTAMP", "is not a time as in 2024-03-01 09:00:00"),
        ("01/02/2024", "TIMESTAMP", "'01/02/2024' is not a time"),
        ("'2024-02-30'", "TIMESTAMP", "is not a time"),
        ("'2024-02-30'", "DATE", "is not a date as in 2024-03-01"),
        ("2024-03-01 09:00:00", "DATE", "is not a date"),
    ],
)
def test_a_value_that_is_not_of_the_type(text: str, kind: str, message: str) -> None:
    value = parse(f"\nv: {text}", "tests/a.yaml").data["v"]
    with pytest.raises(ProjectError) as caught:
        as_sql(value, kind, "v")
    assert message in caught.value.message
    assert str(caught.value.where) == "tests/a.yaml:2"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ("[1, null]", "BIGINT"),
        ("[1, 2.5]", "DOUBLE"),
        ("[true, false]", "BOOLEAN"),
        ("[true, 1]", "VARCHAR"),
        ("[a, b]", "VARCHAR"),
        ("[null]", "VARCHAR"),
        ("[]", "VARCHAR"),
        ("[2024-03-01, '2024-03-02']", "DATE"),
        ("[2024-03-01, '2024-03-02 09:00']", "TIMESTAMP"),
        ("['2024-03-02T09:00:00Z']", "TIMESTAMP WITH TIME ZONE"),
        ("['2024-03-02 09:00', x]", "VARCHAR"),
        ("['2024-02-30']", "VARCHAR"),
    ],
)
def test_a_type_by_the_look_of_values(values: str, kind: str) -> None:
    assert inferred(yaml.safe_load(values)) == kind


ODD = {
    "moments": "[ts, NULL]",
    "exact": "[ts::TIMESTAMP_NS]",
    "raw": "encode(s)",
    "raws": "[encode(s)]",
    "pairs": "MAP {s: ts}",
    "maps": "[MAP {s: d}, MAP {}]",
    "within": "{'m': MAP {x: [d]}, 's': s}",
}


def test_a_generated_test_holds_values_of_every_type(tmp_path: Path) -> None:
    small = Small(tmp_path)
    columns = "k BIGINT, t TIMESTAMP, x BIGINT, ts TIMESTAMP, d DATE, s VARCHAR"
    small.rows("1, '2024-01-01', 1, '2024-05-05 10:00:00.5', '2024-05-05', 'a'", columns=columns)
    listed = ", ".join(f"LAST({text}) OVER ever AS {name}" for name, text in ODD.items()).replace("{'m'", "{ 'm'")
    small.feature(
        "f", f'{{{{ config(entity="user", timestamp="t") }}}} SELECT k, t, {listed} FROM {{{{ source("ev") }}}}'
    )
    path = small.forge.generate_test("f")
    assert (small.root / path).read_text().count("moments:") == 2
    assert [o.status for o in small.forge.test()] == ["passed"]
