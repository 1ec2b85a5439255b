"""The online store: a feature's values by key, read in about a millisecond and equal to what a training set holds.

    from mlforge.online import Client

    client = Client.open("sqlite:///srv/online.db", namespace="flights")
    rows = client.get_online_features("delay_v1", [{"tailnum": "N14228"}])

How it is built (each module says more):

    entries.py           what lies under one name: a value and the one it replaces, each with its generation
    packed_values.py     a key's values over time, packed; types survive
    key_encoding.py      natural key values to names; key_decoding.py: the way back
    published.py         all that a reader must know, published with the data and made visible by the same flip
    client.py            reading; imports neither duckdb, sqlglot nor pyarrow
    read_plan.py         what a read asks for, answer.py: rows of what was read
    expressions.py       ``as_of()`` in a select list; evaluate.py: what only DuckDB evaluates
    request_log.py       what was served, kept to be compared later

Where the bytes lie is the room ``stores``, how they get there the room ``publishing``.

Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlforge.online.client import AsyncClient as AsyncClient
    from mlforge.online.client import Client as Client
    from mlforge.online.packed_values import Value as Value
    from mlforge.stores.opening import open_store as open_store
    from mlforge.stores.store import Store as Store

__all__ = ["AsyncClient", "Client", "Store", "Value", "open_store"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mlforge.online' has no attribute {name!r}")
    from mlforge.online import client, packed_values
    from mlforge.stores import opening, store

    homes = {"Store": store, "open_store": opening, "Client": client, "AsyncClient": client, "Value": packed_values}
    return getattr(homes[name], name)
