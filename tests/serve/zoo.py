"""A project with a key and a request column of every type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlforge as mlf
from mlforge.catalog import reader
from mlforge.online.packed_values import micros
from mlforge.publishing.run import Settings, publish
from mlforge.stores.opening import open_store
from tests.serve.shop import EVENTS, FEATURES, NOON
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {
    "tiny": ("UTINYINT", "7"),
    "huge": ("HUGEINT", "'170141183460469231731687303715884105727'"),
    "exact": ("DECIMAL(8,2)", "1.5"),
    "held": ("BOOLEAN", "true"),
    "date": ("DATE", "'2024-03-01'"),
    "moment": ("TIMESTAMP", f"'{NOON}'"),
    "id": ("UUID", "'b0a4a2a6-5d5c-4b2a-9b43-0f4b5a1c2d3e'"),
}
"""Entity of one row -> type and value of its key, which is named k."""
REQUESTS = {
    "small": "TINYINT",
    "big": "BIGINT",
    "huge": "HUGEINT",
    "real": "DOUBLE",
    "exact": "DECIMAL(8,2)",
    "word": "VARCHAR",
    "held": "BOOLEAN",
    "day": "DATE",
    "moment": "TIMESTAMP",
    "zoned": "TIMESTAMPTZ",
    "hour": "TIME",
    "id": "UUID",
    "raw": "BLOB",
    "listed": "DOUBLE[]",
    "packed": "STRUCT(a BIGINT, b VARCHAR)",
    "counted": "MAP(VARCHAR, BIGINT)",
}
YAML = (
    """\
name: zoo
sources:
  ev: {path: data/ev.parquet}
  one: {path: data/one.parquet}
entities:
  user: {key: uid, from: [first, number]}
  pair: {key: [a, b]}
"""
    + "".join(f"  {name}: {{key: k}}\n" for name in KEYS)
    + """\
feature_sets:
  basket: [spend, {feature: pairs, keys: {a: left}, prefix: p_}]
  animals: ["""
    + ", ".join(f"{{feature: of_{name}, keys: {{k: {name}}}}}" for name in KEYS)
    + "]\n"
)


def write_zoo(root: Path) -> Path:
    """Write and build it; its folder."""
    project = Small(root, YAML)
    project.write("data/ev.parquet", EVENTS)
    project.write("data/one.parquet", "SELECT " + ", ".join(f"{v} AS {n}" for n, (_, v) in KEYS.items()))
    for name in ("spend", "pairs", "ratio"):
        project.feature(name, FEATURES[name])
    for name, (kind, _) in KEYS.items():
        head = f'{{{{ config(entity="{name}") }}}} SELECT'
        project.feature(f"of_{name}", f'{head} {name}::{kind} AS k, 1 AS n_{name} FROM {{{{ source("one") }}}}')
    for name, kind in REQUESTS.items():
        head = f'{{{{ config(entity="pair", on_demand=true, request={{"x": "{kind}"}}) }}}} SELECT'
        shown = {"HUGEINT": "x::VARCHAR", "TIMESTAMPTZ": "x AT TIME ZONE 'UTC'"}.get(
            kind, "x"
        )  # as features may have it
        project.feature(f"as_{name}", f'{head} {shown} AS {name}, pairs.n AS n FROM {{{{ ref("pairs") }}}} AS pairs')
    project.good()
    return root


def publish_zoo(root: Path, store: dict[str, Any]) -> None:
    """Publish it."""
    opened = open_store(store)
    with mlf.open(root)._reading() as con:
        publish(con, reader.state(con), opened, Settings("zoo", now=micros("2024-03-01T12:05")))
    opened.close()
