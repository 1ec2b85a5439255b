"""What schemathesis makes of the OpenAPI document: every answer has a status, a content type and a body that it states,
keys are asked for, and what does not fit is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.serve.fuzzing import RIGHT
from tests.serve.zoo import publish_zoo, write_zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serve.server import Server

KEY = {"X-API-Key": "first-key"}
EXAMPLES = 30
WITHOUT_PARAMETERS = ("/health", "/ready", "/metrics")
BEYOND = [positive_data_acceptance]
"""References, instants and keys have a grammar that JSON Schema does not tell."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from tests.serve.server import Server

    root = write_zoo(tmp_path_factory.mktemp("schema"))
    publish_zoo(root, {"kind": "sqlite", "path": str(root / "online.db")})
    store = ("--store", f"sqlite://{root}/online.db", "--namespace", "zoo", "--timeout", 60)
    made = Server(root, *store, env={"MLFORGE_API_KEYS": KEY["X-API-Key"]})
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.said()


@pytest.fixture(scope="module")
def schema(server: Server) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        yield made


def test_right_requests_are_answered_as_stated(schema: Any, session: requests.Session) -> None:
    asked = 0
    for path, body in RIGHT:
        name = path.partition("/feature-sets/")[2]
        operation = schema["/feature-sets/{name}" if name else path]["POST"]
        case = operation.Case(body=body, path_parameters={"name": name} if name else {}, media_type="application/json")
        assert case.call_and_validate(session=session, headers=KEY).status_code == 200
        asked += 1
    for path in ("/features", "/features/{name}", "/feature-sets", *WITHOUT_PARAMETERS):
        case = schema[path]["GET"].Case(path_parameters={"name": "spend"} if "{" in path else {})
        assert case.call_and_validate(session=session, headers=KEY).status_code == 200
        asked += 1
    assert asked == len(RIGHT) + len(list(schema.get_all_operations())) - 3


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_made_requests_are_answered_as_stated(schema: Any, session: requests.Session, mode: GenerationMode) -> None:
    statuses: dict[int, int] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in WITHOUT_PARAMETERS:
            continue

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            answer = case.call_and_validate(session=session, headers=KEY, excluded_checks=BEYOND)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1

        ask()
    assert sum(statuses.values()) > 4 * EXAMPLES
    assert set(statuses) <= {200, 400, 404}
    assert {400, 404} <= set(statuses)
