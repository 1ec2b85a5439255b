"""The same features in Feast, for rest.py: run by the Python of Feast's own environment.

``python rest_feast.py FOLDER PARQUET REDIS COLUMNS`` writes a repository into FOLDER, a view of the columns c0, c1 ...
of the Parquet file by the key ``k``, and all rows into the Redis at REDIS (host:port). The registry is SQLite and is
read anew only once an hour."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

YAML = """\
project: bench
provider: local
registry: {{registry_type: sql, path: "sqlite:///{folder}/registry.db", cache_ttl_seconds: 3600}}
offline_store: {{type: file}}
online_store: {{type: redis, connection_string: "{redis}"}}
entity_key_serialization_version: 3
"""
PORTION = 20_000


def main(folder: str, parquet: str, redis: str, columns: str) -> None:
    Path(folder, "feature_store.yaml").write_text(YAML.format(folder=folder, redis=redis))
    key = Entity(name="k", join_keys=["k"], value_type=ValueType.INT64)
    view = FeatureView(
        name="f",
        entities=[key],
        ttl=timedelta(0),
        online=True,
        source=FileSource(path=parquet, timestamp_field="t"),
        schema=[Field(name="k", dtype=Int64), *(Field(name=f"c{n}", dtype=Float64) for n in range(int(columns)))],
    )
    store = FeatureStore(repo_path=folder)
    store.apply([key, view])
    rows = pd.read_parquet(parquet)
    rows["t"] = rows["t"].dt.tz_localize("UTC")
    for start in range(0, len(rows), PORTION):
        store.write_to_online_store("f", rows.iloc[start : start + PORTION])


if __name__ == "__main__":
    main(*sys.argv[1:])
