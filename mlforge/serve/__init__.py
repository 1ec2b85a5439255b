"""REST over an online store: ``mlforge serve``.

    server_settings.py   what a server is told, a plain value that goes to its workers
    app.py        the application: routes, life, CORS; service.py: what its routes share; access.py: API keys
    hot.py        the three routes that read features; http.py: bodies in, answers out
    bodies.py     what requests look like; natural.py: values in them that JSON lacks
    answers.py    what answers look like; refusals.py: what errors do
    protocol.py   what is no HTTP, and heads without end
    pages.py      what is published, health, readiness, metrics, as FastAPI routes; schema.py: the OpenAPI document
    metrics.py    what Prometheus reads
    running.py    the socket, the workers, signals; logs.py: what is said on the way

Nothing here opens a catalog, or imports duckdb, sqlglot or pyarrow. Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlforge.serve.app import make_app as make_app
    from mlforge.serve.server_settings import ServeSettings as ServeSettings

__all__ = ["ServeSettings", "make_app"]


def __getattr__(name: str) -> Any:
    if name == "make_app":
        from mlforge.serve.app import make_app

        return make_app
    if name == "ServeSettings":
        from mlforge.serve.server_settings import ServeSettings

        return ServeSettings
    raise AttributeError(f"module 'mlforge.serve' has no attribute {name!r}")
