"""What a server is told. The value is pickled into its workers, so that no secret stands in a command line."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from mlforge.masking import place

PATIENCE = 2
"""Seconds that a call of a store may take where its settings do not say: a server answers 503 rather than wait."""


class ServeSettings(Struct, frozen=True, kw_only=True):
    """A server of one namespace of one store."""

    store: dict[str, Any] | str
    """The section ``online`` of a profile, or a URL."""
    namespace: str
    api_keys: tuple[str, ...] = ()
    """Any of them opens what reads features; without one everything is open."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may call; ``*`` is all."""
    max_body: int = 4 * 1024 * 1024
    """Bytes of a request's body."""
    max_keys: int = 1_000
    """Entity rows of a request."""
    max_batch: int = 10_000
    """Entity rows of a request to /features/batch."""
    max_features: int = 1_000
    """Features, and columns of them by name, in one request."""
    timeout: float = 5.0
    """Seconds that a request may take."""
    log_requests: str | None = None
    """Folder for a sample of requests and answers."""
    log_sample: float = 0.01

    def __repr__(self) -> str:
        return f"ServeSettings({self.namespace!r})"

    def where(self) -> str:
        """The kind of the store and its place, without user and password."""
        found = self.store_settings()
        at = place(str(found.get("url") or found.get("path") or found.get("table") or ""))
        return f"{found['kind']} {at}".strip()

    def check(self) -> None:
        """Look at what can be looked at before there are workers. Raises UsageError."""
        from pathlib import Path

        from mlforge.stores.opening import open_store

        open_store(self.store_settings()).close()
        if self.log_requests is not None:
            from mlforge.online.request_log import RequestLog

            RequestLog(Path(self.log_requests), self.log_sample).close()

    def store_settings(self) -> dict[str, Any]:
        """What ``open_store`` takes."""
        from mlforge.stores.opening import STORES, settings_of

        found = {"kind": "sqlite", **settings_of(self.store)}
        if found["kind"] in STORES and not found.get("timeout"):
            found["timeout"] = PATIENCE
        return found
