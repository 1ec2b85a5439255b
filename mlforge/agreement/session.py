"""Comparisons as verbs: the catalog is open for reading, and what was found is written to its log, where ``mlforge
verify`` puts its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlforge.agreement.logged import compare_logged
from mlforge.agreement.result import Agreement, record
from mlforge.agreement.stored import compare_store
from mlforge.catalog import log, reader
from mlforge.online.packed_values import micros, moment
from mlforge.verify.session import KIND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.agreement.result import AgreementOptions
    from mlforge.online.client import Client
    from mlforge.online.published import Manifest


def verify_store(
    con: DuckDBPyConnection, catalog_path: str, client: Client, asked: Sequence[str], options: AgreementOptions
) -> Agreement:
    """Compare a sample of a store with the catalog. What was found is recorded. Raises OnlineError, StoreDownError."""
    state = reader.state(con)
    manifest, features = compare_store(con, state, client, asked, options)
    there = client.store.status()
    found = Agreement(
        id=log.new_id(),
        kind="online",
        store=f"{there['kind']} {there['at']}",
        namespace=client.namespace,
        features=tuple(features),
        seed=options.seed,
        sample=options.keys,
        threshold=options.threshold,
        generation=manifest.generation,
        published_at=moment(manifest.published_at),
        problems=_problems(con, catalog_path, client, manifest),
    )
    log.write_if_possible(catalog_path, KIND, record(found), "the comparison")
    return found


def verify_requests(
    con: DuckDBPyConnection, catalog_path: str, where: str, asked: Sequence[str], options: AgreementOptions
) -> Agreement:
    """Compare logged requests, in a folder or in files of a pattern, with the catalog. What was found is recorded.

    Raises UsageError for unknown names, and where no request is logged."""
    place = str(Path.cwd() / where)  # SQL would look into the project's folder
    features = compare_logged(con, reader.state(con), place, asked, options)
    found = Agreement(
        id=log.new_id(),
        kind="requests",
        store=place,
        namespace="",
        features=tuple(features),
        seed=options.seed,
        sample=sum(f.keys for f in features),
        threshold=options.threshold,
    )
    log.write_if_possible(catalog_path, KIND, record(found), "the comparison")
    return found


def _problems(con: DuckDBPyConnection, catalog_path: str, client: Client, manifest: Manifest) -> tuple[str, ...]:
    """Whether the store shows less than this catalog has published there: its head was set back, or it was restored
    from a copy. A store that was emptied and published anew begins again at generation 1, later."""
    there = client.store.status()
    for r in reader.published(con, catalog_path):
        same = (r["kind"], r["store"], r["namespace"]) == (there["kind"], str(there["at"]), client.namespace)
        if same and r["generation"] > manifest.generation and micros(r["created_at"]) > manifest.published_at:
            return (
                f"stale: the store shows generation {manifest.generation}, and generation {r['generation']} was "
                f"published there at {r['created_at']}",
            )
    return ()
