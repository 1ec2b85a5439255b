"""The online store: a feature's values by key, read in about a millisecond and equal to what a training set holds.

    from mlforge.online import Client

    client = Client.open("sqlite:///srv/online.db", namespace="flights")
    rows = client.get_online_features("delay_v1", [{"tailnum": "N14228"}])

How it is built (each module says more):

    base.py       what a store must do: read many names at once, swap values if nobody else did, list names
    records.py    what lies under one name: a value and the one it replaces, each with the generation that wrote it
    values.py     a key's values over time, packed; types survive
    keys.py       natural key values to names
    manifest.py   all that a reader must know, published with the data and made visible by the same flip
    client.py     reading; imports neither duckdb, sqlglot nor pyarrow
    points.py     the instants at which a key's values change, and the values there, by SQL from the catalog
    layout.py     how one version of a feature is stored; compiling.py, expressions.py: as_of() in a select list
    publish.py    catalog to store; selection.py: what is asked for, writing.py: how it gets there
    sqlite.py, redis.py, cluster.py, dynamodb.py   the stores; resp.py: Redis's protocol, slots.py: who has which name

Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlforge.online.base import Store as Store
    from mlforge.online.base import open_store as open_store
    from mlforge.online.client import AsyncClient as AsyncClient
    from mlforge.online.client import Client as Client
    from mlforge.online.values import Value as Value

__all__ = ["AsyncClient", "Client", "Store", "Value", "open_store"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mlforge.online' has no attribute {name!r}")
    from mlforge.online import base, client, values

    homes = {"Store": base, "open_store": base, "Client": client, "AsyncClient": client, "Value": values}
    return getattr(homes[name], name)
