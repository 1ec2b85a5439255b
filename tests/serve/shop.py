"""A project with every kind of key and type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.catalog import reader
from mlforge.online.packed_values import micros
from mlforge.publishing.run import Settings, publish
from mlforge.stores.opening import open_store
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

NOON = "2024-03-01T12:00:00"
AT = "2024-03-01T12:30"
YAML = """\
name: shop
sources:
  ev: {path: data/ev.parquet}
  kinds: {path: data/kinds.parquet}
entities:
  user: {key: uid, from: [first, number]}
  pair: {key: [a, b]}
  day: {key: d}
  person: {key: pid, from: [name, born, rank, id]}
feature_sets:
  basket: [spend, {feature: pairs, keys: {a: left}, prefix: p_}]
"""
EVENTS = f"""SELECT * FROM (VALUES ('Ada', 1, 1, 'x', TIMESTAMP '{NOON}', 10.5::DOUBLE),
    ('Bob', 2, 2, 'y', TIMESTAMP '{NOON}', NULL)) v(first, number, a, b, t, amount)"""
KINDS = """SELECT DATE '2024-03-01' AS d, 9007199254740993 AS big, 1.50::DECIMAL(8,2) AS exact, true AS yes,
    TIMESTAMP '2024-03-01 01:02:03.5' AS moment, 'b0a4a2a6-5d5c-4b2a-9b43-0f4b5a1c2d3e'::UUID AS id,
    '\\xAA\\x00'::BLOB AS raw, 'NaN'::DOUBLE AS nan, 'Infinity'::DOUBLE AS up, '-Infinity'::DOUBLE AS down,
    ['NaN'::DOUBLE, 1.5, NULL] AS listed, {'n': 1, 'x': 'NaN'::DOUBLE} AS packed, MAP {1: 'one'} AS counted,
    MAP {true: 1.5::DOUBLE} AS judged, NULL::BIGINT AS nothing, 'ü"\\' AS odd"""
FEATURES = {
    "spend": """{{ config(entity="user", timestamp="t", ttl="1h") }}
SELECT {{ surrogate_key("first", "number") }} AS uid, t, amount AS last_amount, SUM(amount) OVER last_2h AS total,
    strftime(as_of(), '%H:%M') AS clock
FROM {{ source("ev") }}""",
    "pairs": """{{ config(entity="pair") }} SELECT a, b, count(*) AS n FROM {{ source("ev") }} GROUP BY a, b""",
    "ratio": """{{ config(entity="user", on_demand=true, request={"price": "DECIMAL(8,2)"}) }}
SELECT price / spend.total AS share FROM {{ ref("spend") }} AS spend""",
    "people": """{{ config(entity="person") }}
SELECT {{ surrogate_key("name", "born", "rank", "id") }} AS pid, 7 AS lucky
FROM (SELECT 'Ada' AS name, DATE '1815-12-10' AS born, 1.50::DECIMAL(8,2) AS rank,
    'b0a4a2a6-5d5c-4b2a-9b43-0f4b5a1c2d3e'::UUID AS id FROM {{ source("kinds") }})""",
    "kinds": """{{ config(entity="day") }} SELECT * FROM {{ source("kinds") }}""",
}


def publish_shop(root: Path) -> Path:
    """Build and publish it; its folder."""
    project = Small(root, YAML)
    project.write("data/ev.parquet", EVENTS)
    project.write("data/kinds.parquet", KINDS)
    for name, text in FEATURES.items():
        project.feature(name, text)
    project.good()
    store = open_store({"kind": "sqlite", "path": str(root / "online.db")})
    with project.forge._reading() as con:
        publish(con, reader.state(con), store, Settings("shop", now=micros("2024-03-01T12:05")))
    store.close()
    return root
