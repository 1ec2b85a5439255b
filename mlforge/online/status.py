"""What an online store holds, in words and numbers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mlforge.online.packed_values import ALWAYS, moment

if TYPE_CHECKING:
    from mlforge.online.client import Client


def status(client: Client) -> dict[str, Any]:
    """The store's own words, the newest publish with its age in seconds, and a row for each feature that is published.

    Raises OnlineError if nothing is published, StoreDownError."""
    found = client.manifest()
    tables = [
        {
            "feature": t.feature,
            "version": t.version,
            "kind": "stored" if t.timed else "static",
            "since": None if t.since == ALWAYS else moment(t.since),
            "columns": [o.name for o in t.outputs],
            "keys": [k.name for k in t.keys],
        }
        for t in found.tables.values()
    ]
    tables += [
        {
            "feature": o.feature,
            "version": o.version,
            "kind": "on_demand",
            "since": None,
            "columns": [x.name for x in o.outputs],
            "keys": [k.name for k in o.keys],
        }
        for o in found.on_demand.values()
    ]
    return {
        "store": client.store.status(),
        "namespace": client.namespace,
        "project": found.project,
        "generation": found.generation,
        "published_at": moment(found.published_at),
        "age": max(0.0, time.time() - found.published_at / 1_000_000),
        "build": found.build,
        "features": sorted(tables, key=lambda row: (row["feature"], row["version"])),
        "feature_sets": sorted(name for name in found.sets if "@" in name),
    }
