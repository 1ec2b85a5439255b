"""What is published, health and readiness, the OpenAPI document, the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.serve.shop import AT

if TYPE_CHECKING:
    from tests.serve.server import Server

ADA = {"first": "Ada", "number": 1}


def test_features_that_are_published(server: Server) -> None:
    features = {f["name"]: f for f in server.get("/features").json()["features"]}
    assert list(features) == ["kinds", "pairs", "people", "ratio", "spend"]
    assert features["spend"] == {
        "name": "spend",
        "version": "1.0.0",
        "current": True,
        "kind": "stored",
        "keys": [{"name": "uid", "type": "VARCHAR"}],
        "made_of": ["first", "number"],
        "request": [],
        "since": "2024-03-01T11:55:00",
        "columns": [
            {"name": "last_amount", "type": "DOUBLE"},
            {"name": "total", "type": "DOUBLE"},
            {"name": "clock", "type": "VARCHAR"},
        ],
        "proof": "proven (plan); t is taken as the time at which rows of source ev are known: declare its timestamp",
    }
    assert features["ratio"]["request"] == [{"name": "price", "type": "DECIMAL(8,2)"}]
    assert (features["ratio"]["kind"], features["pairs"]["since"]) == ("on_demand", None)
    assert server.get("/features/spend").json() == {"features": [features["spend"]]}


def test_feature_sets_that_are_published(server: Server) -> None:
    (found,) = server.get("/feature-sets").json()["feature_sets"]
    assert (found["name"], found["version"], found["current"]) == ("basket", 1, True)
    assert found["members"] == [
        {"feature": "spend", "version": "1.0.0", "columns": [], "keys": {}, "prefix": ""},
        {"feature": "pairs", "version": "1.0.0", "columns": [], "keys": {"a": "left"}, "prefix": "p_"},
    ]


def test_health_and_readiness(server: Server) -> None:
    assert server.get("/health").json() == {"status": "ok"}
    assert server.get("/ready").json() == {"status": "ready", "namespace": "shop", "generation": 1}


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_the_openapi_document_tells_of_every_route(server: Server) -> None:
    document = server.get("/openapi.json").json()
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == {
        ("/features", "get"),
        ("/features/{name}", "get"),
        ("/feature-sets", "get"),
        ("/health", "get"),
        ("/ready", "get"),
        ("/metrics", "get"),
        ("/features/online", "post"),
        ("/features/batch", "post"),
        ("/feature-sets/{name}", "post"),
    }
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known
    assert {"#/components/schemas/OnlineRequest", "#/components/schemas/ErrorAnswer"} <= references(document)
    post = document["paths"]["/features/online"]["post"]
    assert set(post["responses"]) == {"200", "400", "401", "404", "408", "413", "501", "503", "504"}
    request = document["components"]["schemas"]["OnlineRequest"]
    assert request["required"] == ["entity_rows", "features"]
    assert request["additionalProperties"] is False
    assert set(document["components"]["securitySchemes"]) == {"APIKeyHeader", "HTTPBearer"}
    assert {"APIKeyHeader": []} in post["security"]


def test_the_page_that_shows_it(server: Server) -> None:
    answer = server.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in answer.text


def test_numbers(server: Server) -> None:
    def numbers() -> dict[str, float]:
        read = {
            state: server.number("mlforge_values_read_total", status=state)
            for state in ("present", "expired", "missing", "out_of_range")
        }
        return {**read, "rows": server.number("mlforge_entity_rows_total")}

    def read(*rows: dict[str, Any], at: str = AT) -> None:
        server.rows("spend", *rows, at=at)

    before = numbers()
    read(ADA, ADA, {"uid": "nobody"}, {"uid": None})
    read(ADA, at="2024-03-01T13:30")
    read(ADA, at="2024-03-01T11:00")
    after = numbers()
    grown = {name: after[name] - before[name] for name in before}
    assert grown == {"present": 2, "expired": 1, "missing": 2, "out_of_range": 1, "rows": 6}
    assert server.number("mlforge_publish_generation") == 1
    assert server.number("mlforge_publish_age_seconds") > 365 * 86_400
    assert server.number("mlforge_store_up") == 1
    assert server.number("mlforge_request_seconds_bucket", route="/features/online", status="200", le="+Inf") >= 3
    assert server.get("/metrics").headers["content-type"].startswith("text/plain")
