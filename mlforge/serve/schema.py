"""The OpenAPI document: FastAPI's, with the routes that it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mlforge.online.packed_values import Value
from mlforge.serve import pages
from mlforge.serve.bodies import BatchRequest, OnlineRequest, SetRequest
from mlforge.serve.refusals import ErrorAnswer

if TYPE_CHECKING:
    from fastapi import FastAPI

_KINDS = (
    OnlineRequest,
    BatchRequest,
    SetRequest,
    ErrorAnswer,
    Value,
    pages.Features,
    pages.FeatureSets,
    pages.Health,
    pages.Ready,
)
_ERRORS = {
    "400": "The request does not fit.",
    "401": "The API key is missing or wrong.",
    "404": "It is not published.",
    "408": "The body did not come in time.",
    "413": "The request is beyond a limit.",
    "501": "The value cannot be made here.",
    "503": "The store is away: try again after Retry-After seconds.",
    "504": "It took too long.",
}
_ROW = {"type": "object", "additionalProperties": True}
_ROWS = {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": _ROW}}}
_COLUMNS = {
    "type": "object",
    "required": ["columns"],
    "properties": {"columns": {"type": "object", "additionalProperties": {"type": "array", "items": {}}}},
}
_POSTS: dict[str, tuple[str, str, Any]] = {
    "/features/online": ("Features of entity rows", "OnlineRequest", _ROWS),
    "/features/batch": ("Features of many entity rows", "BatchRequest", {"anyOf": [_ROWS, _COLUMNS]}),
    "/feature-sets/{name}": ("A feature set of entity rows", "SetRequest", _ROWS),
}
_GETS = {
    "/features": "Features",
    "/features/{name}": "Features",
    "/feature-sets": "FeatureSets",
    "/health": "Health",
    "/ready": "Ready",
}


_OF_GET: dict[str, tuple[str, ...]] = {"/health": (), "/ready": ("503", "504")}


def install(app: FastAPI) -> None:
    """Let ``/openapi.json`` tell of all routes."""
    made = app.openapi
    kept: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not kept:
            kept.update(_merged(made()))
        return kept

    app.openapi = openapi  # type: ignore[method-assign]


def _merged(document: dict[str, Any]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components(_KINDS, ref_template="#/components/schemas/{name}")
    document.setdefault("components", {})["schemas"] = components
    for path, kind in _GETS.items():
        responses = document["paths"][path]["get"]["responses"]
        responses["200"] = _answer("As it is.", _named(kind))
        responses.pop("422", None)
        responses |= _refusals(*_OF_GET.get(path, ("401", "404", "503", "504")))
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    document["paths"]["/metrics"]["get"]["responses"]["200"] = {"description": "In Prometheus' format.", **text}
    security = document["paths"]["/features"]["get"].get("security")
    for path, (summary, body, answer) in _POSTS.items():
        document["paths"].setdefault(path, {})["post"] = {
            "summary": summary,
            "operationId": path.strip("/").replace("/", "_").replace("{name}", "read").replace("-", "_"),
            **({"security": security} if security else {}),
            **({"parameters": [_NAME]} if "{name}" in path else {}),
            "requestBody": {"required": True, "content": {"application/json": {"schema": _named(body)}}},
            "responses": {"200": _answer("The entity rows with their features.", answer), **_refusals(*_ERRORS)},
        }
    return document


_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "A feature set, or one version of it: name@2.",
}


def _named(kind: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{kind}"}


def _answer(text: str, schema: Any) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: str) -> dict[str, Any]:
    return {status: _answer(_ERRORS[status], _named("ErrorAnswer")) for status in statuses}
