"""The routes that read features. They are ASGI applications of their own: no pydantic, no dependencies."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mlforge.errors import MlforgeError
from mlforge.online.read_plan import SetRef
from mlforge.serve import bodies
from mlforge.serve.answers import columns, encoded
from mlforge.serve.bodies import BatchRequest, OnlineRequest, Row, SetRequest
from mlforge.serve.http import Gone, read_body, send_json
from mlforge.serve.natural import MARK, natural
from mlforge.serve.refusals import Refused, broken, of_status, too_large

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from mlforge.serve.service import Service

logger = logging.getLogger("mlforge.serve")
_online = msgspec.json.Decoder(OnlineRequest)
_batch = msgspec.json.Decoder(BatchRequest)
_set = msgspec.json.Decoder(SetRequest)


class Read(Protocol):
    """One route: the bytes of a body to the bytes of an answer."""

    async def __call__(self, service: Service, scope: Scope, body: bytes) -> bytes:
        """Raises Refused, MlforgeError."""
        ...


async def online(service: Service, scope: Scope, body: bytes) -> bytes:
    """POST /features/online."""
    asked = bodies.decoded(_online, body)
    features = _features(service, asked.features)
    rows = _limited(asked.entity_rows, service.settings.max_keys, body, "--max-keys")
    return encoded("rows", await service.read(features, rows, asked.at, asked.with_status, asked.full_names))


async def batch(service: Service, scope: Scope, body: bytes) -> bytes:
    """POST /features/batch."""
    asked = bodies.decoded(_batch, body)
    features = _features(service, asked.features)
    rows = _limited(asked.rows(), service.settings.max_batch, body, "--max-batch")
    found = await service.read(features, rows, asked.at, asked.with_status, asked.full_names)
    return encoded("columns", columns(found)) if asked.columnar else encoded("rows", found)


async def feature_set(service: Service, scope: Scope, body: bytes) -> bytes:
    """POST /feature-sets/{name}."""
    asked = bodies.decoded(_set, body)
    features = SetRef(scope["path_params"]["name"])
    rows = _limited(asked.entity_rows, service.settings.max_keys, body, "--max-keys")
    return encoded("rows", await service.read(features, rows, asked.at, asked.with_status, asked.full_names))


def _features(service: Service, given: str | list[str | bodies.Reference]) -> Any:
    if bodies.asked(given) > service.settings.max_features:
        raise too_large("features and columns of a request", service.settings.max_features, "--max-features")
    return bodies.referred(given)


def _limited(rows: list[Row], most: int, body: bytes, option: str) -> list[Row]:
    if len(rows) > most:
        raise too_large("entity rows of a request", most, option)
    return natural(rows) if MARK in body else rows


class Endpoint:
    """A route as an ASGI application: key, body, time limit, errors, numbers."""

    def __init__(self, service: Service, route: str, read: Read) -> None:
        self.service = service
        self.route = route
        self.read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = perf_counter()
        headers: dict[str, str] | None = None
        body: bytes | None = None
        try:
            self.service.access.check(scope)
            async with asyncio.timeout(self.service.settings.timeout):
                body = await read_body(scope, receive, self.service.settings.max_body)
                status, answer = 200, await self.read(self.service, scope, body)
        except Gone:
            return
        except (Refused, MlforgeError, TimeoutError) as error:
            late = isinstance(error, TimeoutError) and body is None
            refused = of_status(408) if late else self.service.refusal(error)
            status, answer, headers = refused.status, refused.body(), refused.headers
        except RecursionError:  # values that decode may still be too deep for what looks into them
            status, answer = 400, bodies.too_deep().body()
        except Exception:
            logger.exception("%s failed", self.route)
            status, answer = 500, broken().body()
        await send_json(send, status, answer, headers)
        self.service.metrics.request(self.route, status, perf_counter() - started)
        self.service.metrics.found(self.service.counts)
