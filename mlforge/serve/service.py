"""What all routes of one process share: the client, the keys, the limits, the numbers."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlforge.errors import MlforgeError, StoreDownError
from mlforge.online import AsyncClient, open_store
from mlforge.online.packed_values import Value, micros, moment
from mlforge.serve.access import Access
from mlforge.serve.metrics import Metrics
from mlforge.serve.refusals import Refused, broken, of_error, store_away, too_slow

if TYPE_CHECKING:
    from mlforge.online.request_log import RequestLog
    from mlforge.serve.server_settings import ServeSettings

QUIET = 30.0
"""Seconds between two lines about a store that is away."""
logger = logging.getLogger("mlforge.serve")
Rows = list[dict[str, Any]]


class Service:
    """One process of a server."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.client = AsyncClient(open_store(settings.store_settings()), settings.namespace)
        self.counts = self.client.counts = [0] * 5
        self.access = Access(settings.api_keys)
        self.metrics = Metrics()
        self.log = _request_log(settings)
        self._quiet_until = 0.0

    async def read(self, features: Any, rows: Rows, at: str | None, with_status: bool, full_names: bool) -> Rows:
        """The features of entity rows; logged, if this request is one of the sample."""
        self.metrics.rows(len(rows))
        if self.log is None or not self.log.wants():
            return await self.client.get_online_features(
                features, rows, at=at, with_status=with_status, full_names=full_names
            )
        instant = micros(at)
        found = await self.client.get_online_features(
            features, rows, at=moment(instant), with_status=True, full_names=full_names
        )
        self.log.add(self.client.plan(features, full_names=full_names), instant, rows, found)
        return found if with_status else [_values(row) for row in found]

    def refusal(self, error: Exception) -> Refused:
        """What the caller is told of an error."""
        if isinstance(error, Refused):
            return error
        if isinstance(error, StoreDownError):
            self.metrics.store_error()
            self._say(error)
            return store_away()
        if isinstance(error, MlforgeError):
            return of_error(error)
        if isinstance(error, TimeoutError):
            return too_slow(self.settings.timeout)
        return broken()

    def _say(self, error: StoreDownError) -> None:
        """Every request meets a store that is away: the log is told now and then."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET
            logger.warning("%s", error.message)

    async def close(self) -> None:
        """Let connections go, and write what is still to be logged."""
        await self.client.close()
        if self.log is not None:
            import asyncio

            await asyncio.to_thread(self.log.close)


def _values(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.value if isinstance(value, Value) else value for name, value in row.items()}


def _request_log(settings: ServeSettings) -> RequestLog | None:
    if settings.log_requests is None:
        return None
    from mlforge.online.request_log import RequestLog

    return RequestLog(Path(settings.log_requests), settings.log_sample)
