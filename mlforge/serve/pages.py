"""What is published, and how the server does: FastAPI routes, none of them hot."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from msgspec import Struct

from mlforge.errors import MlforgeError, NotPublishedError, OnlineError, StoreDownError, did_you_mean
from mlforge.model import Version
from mlforge.online.packed_values import ALWAYS, moment
from mlforge.online.published import Manifest, OnDemand, Table
from mlforge.serve.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlforge.serve.service import Service


class Column(Struct):
    """A column and its type, as DuckDB names it."""

    name: str
    type: str


class Published(Struct):
    """One published version of a feature. ``since``: nothing is known of earlier instants.
    ``made_of``: the columns that may stand in the place of a surrogate key. ``proof``: what is known of its leaks."""

    name: str
    version: str
    current: bool
    kind: str
    keys: list[Column]
    made_of: list[str]
    request: list[Column]
    columns: list[Column]
    since: str | None
    proof: str


class Features(Struct):
    """Features, in order of name and version."""

    features: list[Published]


class SetMember(Struct):
    """A feature of a set: which columns, by which columns of the entity rows, under which prefix."""

    feature: str
    version: str
    columns: list[str]
    keys: dict[str, str]
    prefix: str


class PublishedSet(Struct):
    """One version of a feature set. ``current``: its name alone means this one."""

    name: str
    version: int
    current: bool
    members: list[SetMember]


class FeatureSets(Struct):
    """Feature sets, in order of name and version."""

    feature_sets: list[PublishedSet]


class Health(Struct):
    """The process lives."""

    status: str


class Ready(Struct):
    """The store answers, and this is published."""

    status: str
    namespace: str
    generation: int


def features_of(manifest: Manifest, name: str | None = None) -> list[Published]:
    """The published versions of all features, or of one."""
    both: dict[str, Table | OnDemand] = {**manifest.tables, **manifest.on_demand}
    current = set(manifest.current.values())
    found = [_published(f, id_ in current) for id_, f in both.items() if name in (None, f.feature)]
    return sorted(found, key=lambda f: (f.name, Version.parse(f.version)))


def _published(feature: Table | OnDemand, current: bool) -> Published:
    stored = isinstance(feature, Table)
    since = moment(feature.since) if isinstance(feature, Table) and feature.since != ALWAYS else None
    return Published(
        name=feature.feature,
        version=feature.version,
        current=current,
        kind="stored" if stored else "on_demand",
        keys=[Column(k.name, k.type) for k in feature.keys],
        made_of=feature.parts,
        request=[] if isinstance(feature, Table) else [Column(n, t) for n, t in feature.request.items()],
        columns=[Column(o.name, o.type) for o in feature.outputs],
        since=since.isoformat() if since else None,
        proof=feature.proof,
    )


def sets_of(manifest: Manifest) -> list[PublishedSet]:
    """The published feature sets."""
    both: dict[str, Table | OnDemand] = {**manifest.tables, **manifest.on_demand}
    newest = {s.name: s.version for n, s in manifest.sets.items() if n == s.name}
    found = []
    for name, stated in manifest.sets.items():
        if name != stated.name:
            members = [
                SetMember(both[m.table].feature, both[m.table].version, m.columns, m.keys, m.prefix)
                for m in stated.members
            ]
            found.append(PublishedSet(stated.name, stated.version, newest.get(stated.name) == stated.version, members))
    return sorted(found, key=lambda s: (s.name, s.version))


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def router(service: Service) -> APIRouter:
    """The routes of one process."""
    made = APIRouter(route_class=_timed(service))
    secured = [_key(service)]

    @made.get("/features", dependencies=secured)
    async def features() -> Response:
        """Every published version of every feature."""
        return _json(Features(features_of(await service.client.manifest())))

    @made.get("/features/{name}", dependencies=secured)
    async def feature(name: str) -> Response:
        """Every published version of one feature."""
        manifest = await service.client.manifest()
        found = features_of(manifest, name)
        if not found:
            raise NotPublishedError(f"{name!r} is not published", hint=did_you_mean(name, manifest.current))
        return _json(Features(found))

    @made.get("/feature-sets", dependencies=secured)
    async def feature_sets() -> Response:
        """Every published version of every feature set."""
        return _json(FeatureSets(sets_of(await service.client.manifest())))

    @made.get("/health")
    async def health() -> Response:
        """Whether the process lives; the store is not asked."""
        return _json(Health("ok"))

    @made.get("/ready")
    async def ready() -> Response:
        """Whether features can be read: the store answers, and something is published."""
        try:
            manifest = await service.client.manifest()
        except NotPublishedError as error:
            raise Refused(503, "not_ready", error.message, error.hint) from error
        return _json(Ready("ready", service.settings.namespace, manifest.generation))

    @made.get("/metrics")
    async def metrics() -> Response:
        """Numbers for Prometheus, of all workers."""
        return Response(await _metrics(service), media_type="text/plain; version=0.0.4; charset=utf-8")

    return made


async def _metrics(service: Service) -> bytes:
    try:
        return service.metrics.page(await service.client.manifest(), up=True)
    except StoreDownError:
        return service.metrics.page(None, up=False)
    except OnlineError:
        return service.metrics.page(None, up=True)


def _key(service: Service) -> Any:
    """The dependency that asks for an API key; FastAPI shows both ways to send one."""
    header = Depends(APIKeyHeader(name="X-API-Key", auto_error=False))
    bearer = Depends(HTTPBearer(auto_error=False))

    def check(request: Request, _key: Any = header, _bearer: Any = bearer) -> None:
        service.access.check(request.scope)

    return Depends(check)


_KNOWN = (Refused, MlforgeError, TimeoutError)


def _timed(service: Service) -> type[APIRoute]:
    class Timed(APIRoute):
        """A route whose requests are limited in time, counted and timed."""

        def get_route_handler(self) -> Callable[[Request], Any]:
            """The handler, with a clock around it."""
            handle, seconds = super().get_route_handler(), service.settings.timeout

            async def timed(request: Request) -> Response:
                started = perf_counter()
                try:
                    async with asyncio.timeout(seconds):
                        response = await handle(request)
                except _KNOWN as error:
                    response = refusing(service.refusal(error))
                service.metrics.request(self.path, response.status_code, perf_counter() - started)
                return response

            return timed

    return Timed


def refusing(refused: Refused) -> Response:
    """The answer that an error is."""
    return Response(refused.body(), refused.status, refused.headers, media_type="application/json")
