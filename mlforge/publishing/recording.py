"""What a catalog keeps of publishes, so that gc lets the versions be that a store serves.

The head of a store and a file of the catalog cannot change at once. So a publish first notes what it is about to show,
as a record of kind ``showing``; gc keeps what both name, whether or not the head has moved by then. The record of the
publish follows what the store shows: the next one that finds nothing to do writes it, if the one before died too early.
A note that comes after gc's last look is too late: so a publish waits for gc, and looks whether all is still there.
"""

from __future__ import annotations

import datetime
import errno
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from mlforge.catalog import log, reader
from mlforge.catalog.file import LOCK_TIMEOUT, open_read
from mlforge.catalog.lock import wait_for_deleting
from mlforge.errors import CatalogError, OnlineError
from mlforge.online.packed_values import moment

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlforge.online.published import Manifest
    from mlforge.publishing.run import Published
    from mlforge.stores.store import Store

_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"
_MICROSECOND = datetime.timedelta(microseconds=1)


class Recorder:
    """The records of one publish, in the log folder of the catalog that it comes from."""

    def __init__(self, con: DuckDBPyConnection, catalog_path: str, store: Store, namespace: str) -> None:
        self._catalog = catalog_path
        self._store = store
        self._namespace = namespace
        self._known = reader.publishes(con, catalog_path)
        self._there = _versions(con)
        self._at: str | None = None
        self._began: str | None = None

    def showing(self, manifest: Manifest) -> None:
        """Note what readers are about to see, and see that gc has left it. Raises OnlineError if it has not,
        CatalogError for a full disk: what is written so far waits for the next attempt. Where nothing can ever be
        written, the publish goes on, and a warning says what it means."""
        self._note(manifest)
        wait_for_deleting(self._catalog, LOCK_TIMEOUT)  # gc may have looked before there was a note
        with open_read(self._catalog) as con:
            gone = sorted(self._there.intersection(manifest.versions) - _versions(con))
        if gone:
            log.drop(self._catalog, log.SHOWING, lambda record: record["created_at"] == self._began)
            raise OnlineError(
                f"gc has deleted {', '.join(gone)} from the catalog since this publish began", hint="publish again"
            )

    def _note(self, manifest: Manifest) -> None:
        self._began = self._now()
        record = {"created_at": self._began, **self._key(), **_shown(manifest)}
        if any(_same(record, held, *self._key()) for held in log.read(self._catalog, log.SHOWING)):
            return  # of one that died over the same
        try:
            log.write(self._catalog, log.SHOWING, record)
        except CatalogError as error:
            if getattr(error.__cause__, "errno", None) not in _READ_ONLY:
                raise
            log.not_recorded("what the online store is about to show", error)

    def shown(self, done: Published) -> None:
        """Record what readers see, unless that is known, and drop the notes of what they were to see until then."""
        shown = _shown(done.manifest)
        if not (done.nothing_to_do and self._is_known(shown)):
            record = {
                "created_at": self._began or self._now(),
                **self._key(),
                **shown,
                "tables": [asdict(t) for t in done.tables],
                "seconds": done.seconds,
            }
            if not log.write_if_possible(self._catalog, log.PUBLISH, record, "the publish"):
                return  # the notes stay: gc keeps what they name
        log.drop(self._catalog, log.SHOWING, self._is_past(done.manifest))

    def _key(self) -> dict[str, str]:
        if self._at is None:
            self._at = str(self._store.status()["at"])
        return {"kind": self._store.kind, "store": self._at, "namespace": self._namespace}

    def _now(self) -> str:
        """When this publish is said to be: later than all that the catalog knows, wherever the clock was set since. The
        newest record tells what a store shows."""
        known = [r["created_at"] for r in (*self._known, *log.read(self._catalog, log.SHOWING))]
        now = datetime.datetime.now(datetime.UTC)
        if known:
            now = max(now, datetime.datetime.fromisoformat(max(known)) + _MICROSECOND)
        return f"{now:{_FORM}}"

    def _is_known(self, shown: dict[str, Any]) -> bool:
        """Whether the newest record of a store that shows this is about this very publish."""
        newest = {(r["kind"], r["store"], r["namespace"]): r for r in self._known}
        return any(
            (r["kind"], r["namespace"]) == (self._store.kind, self._namespace) and _same(shown, r)
            for r in newest.values()
        )

    def _is_past(self, manifest: Manifest) -> Any:
        """Notes of this store whose generation the head has reached: each was shown, or never will be."""

        def past(record: dict[str, Any]) -> bool:
            same = (record["kind"], record["namespace"]) == (self._store.kind, self._namespace)
            return same and record["generation"] <= manifest.generation and record["store"] == self._key()["store"]

        return past


def _versions(con: DuckDBPyConnection) -> set[str]:
    return {f"{row['feature']}@{row['version']}" for row in reader.versions(con)}


def _same(one: dict[str, Any], other: dict[str, Any], *more: str) -> bool:
    return all(one[name] == other.get(name) for name in ("generation", "published_at", "features", *more))


def _shown(manifest: Manifest) -> dict[str, Any]:
    when = moment(manifest.published_at)
    return {
        "generation": manifest.generation,
        "published_at": f"{when:{_FORM}}" if when else None,
        "features": manifest.versions,
        "feature_sets": sorted(manifest.sets),
    }
