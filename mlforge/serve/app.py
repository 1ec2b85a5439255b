"""The application of one process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from mlforge import __version__
from mlforge.serve import hot, pages, schema
from mlforge.serve.hot import Endpoint
from mlforge.serve.refusals import broken, of_status
from mlforge.serve.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.types import Receive, Scope, Send

    from mlforge.serve.server_settings import ServeSettings

ABOUT = """\
Features by key, as they are now or at an instant. What JSON lacks is text: dates and timestamps in ISO 8601 (UTC),
decimals, UUIDs, NaN, Infinity and -Infinity; blobs are base64."""

SETS, _SETS = "/feature-sets/{name}", "/feature-sets/"
HOT = {"/features/online": hot.online, "/features/batch": hot.batch, SETS: hot.feature_set}


def make_app(settings: ServeSettings) -> FastAPI:
    """A server of one namespace of one online store. Nothing is connected before the first request.

    Raises UsageError for settings of a store that do not fit."""
    service = Service(settings)
    title = f"mlforge: {settings.namespace}"
    app = _App(title=title, version=__version__, description=ABOUT, lifespan=_life(service), redirect_slashes=False)
    routes = {path: Endpoint(service, path, read) for path, read in HOT.items()}
    app.router.routes.extend(Route(path, endpoint, methods=["POST"]) for path, endpoint in routes.items())
    app.include_router(pages.router(service))
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _failed)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
    else:
        app.short = routes
    schema.install(app)
    return app


class _App(FastAPI):
    """FastAPI with a short way to the routes that read features: what it does for each request costs about as much as
    they do, and serves them nothing but CORS. Whatever does not fit goes the long way, where it is refused."""

    short: Mapping[str, Endpoint] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            if path.startswith(_SETS) and "/" not in (name := path[len(_SETS) :]):
                endpoint = self.short.get(SETS)
                scope["path_params"] = {"name": name}
            else:
                endpoint = self.short.get(path)
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def _life(service: Service) -> Any:
    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await service.close()

    return life


async def _no_route(_request: Request, error: Exception) -> Response:
    return pages.refusing(of_status(error.status_code if isinstance(error, HTTPException) else 500))


async def _failed(_request: Request, _error: Exception) -> Response:
    return pages.refusing(broken())
