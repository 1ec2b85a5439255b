"""What is refused: with which status, in which words, always in one shape."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.serve.server import Server
from tests.serve.shop import AT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

ADA = {"first": "Ada", "number": 1}
ONLINE, BATCH = "/features/online", "/features/batch"


@pytest.fixture(scope="module")
def roomy(shop: Path) -> Iterator[Server]:
    """A server with the limits that are usual."""
    made = Server(shop)
    yield made
    made.stop()


def fault(answer: httpx.Response) -> dict[str, Any]:
    """What is wrong; nothing else may be in the body, and no trace of our code."""
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    found: dict[str, Any] = answer.json()["error"]
    assert set(found) == {"code", "message", "hint"}
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
    return found


@pytest.mark.parametrize(
    ("body", "status", "code", "message", "hint"),
    [
        (b"", 400, "bad_request", "the body is empty", "entity_rows"),
        (b"{", 400, "bad_request", "the body is not JSON", "entity_rows"),
        (b'{"features":"\xed\xa0\x80"', 400, "bad_request", "the body is not JSON", None),
        (b"[" * 15_000, 400, "bad_request", "the body", None),
        (b'{"features":"spend","entity_rows":' + b"[" * 15_000, 400, "bad_request", "the body", None),
        (b'{"features":"spend","entity_rows":[{"uid":' + b"[" * 15_000, 400, "bad_request", "the body is nested", None),
        (b"[]", 400, "bad_request", "the body does not fit: Expected `object`, got `array`", "/docs"),
        ({}, 400, "bad_request", "missing required field `entity_rows`", "/docs"),
        ({"features": 1, "entity_rows": []}, 400, "bad_request", "got `int` - at `$.features`", "/docs"),
        ({"features": "spend", "entity_rows": [1]}, 400, "bad_request", "at `$.entity_rows[0]`", "/docs"),
        (
            {"feature": "spend", "entity_rows": []},
            400,
            "bad_request",
            "unknown field 'feature'",
            "did you mean 'features'",
        ),
        (
            {"features": [{"feture": "spend"}], "entity_rows": []},
            400,
            "bad_request",
            "unknown field 'feture'",
            "mean 'feature'",
        ),
        ({"features": "spnd", "entity_rows": [ADA]}, 404, "not_published", "'spnd' is not published", "mean 'spend'"),
        ({"features": "spend@2", "entity_rows": [ADA]}, 404, "not_published", "spend@2 is not published", "spend@1.0"),
        ({"features": "spend:totl", "entity_rows": [ADA]}, 400, "online", "no column 'totl'", "did you mean 'total'?"),
        ({"features": "a b", "entity_rows": [ADA]}, 400, "usage", "'a b' is not a reference", "name@2"),
        ({"features": [], "entity_rows": [ADA]}, 400, "online", "no feature is asked for", "feature set"),
        ({"features": "spend", "entity_rows": [{"frist": 1}]}, 400, "online", "no 'uid' nor 'first'", "keys="),
        (
            {"features": "spend", "entity_rows": [{"uid": 1}]},
            400,
            "online",
            "'uid' of an entity row is 1 (int)",
            "give text",
        ),
        ({"features": "spend", "entity_rows": [{"uid": [[]] * 40}]}, 400, "online", "(list)", "give text"),
        (
            {"features": "pairs", "entity_rows": [{"a": 1.5, "b": ""}]},
            400,
            "online",
            "is 1.5 (float)",
            "give an integer",
        ),
        ({"features": "pairs", "entity_rows": [{"a": 10**400, "b": ""}]}, 400, None, "", None),
        ({"features": "kinds", "entity_rows": [{"d": "yesterday"}]}, 400, "online", "key 'd' is DATE", "2024-03-01"),
        (
            {"features": "spend", "entity_rows": [{**ADA, "total": 1}]},
            400,
            "online",
            "column 'total' comes from",
            "prefix",
        ),
        (
            {"features": ["spend", "spend"], "entity_rows": []},
            400,
            "online",
            "comes from spend and from spend",
            "prefix",
        ),
        (
            {"features": "spend", "entity_rows": [ADA], "at": "soon"},
            400,
            "online",
            "'soon' is not an instant",
            "2024-03-01T09",
        ),
        (
            {"features": "spend", "entity_rows": [ADA], "at": "0001-01-01T00:00+01:00"},
            400,
            "online",
            "is not an instant of",
            None,
        ),
        ({"features": "ratio", "entity_rows": [ADA]}, 400, "online", "no 'price', a request column", "DECIMAL(8,2)"),
        ({"features": "ratio", "entity_rows": [{**ADA, "price": "much"}]}, 400, "online", "cannot be evaluated", None),
        (
            {"features": "ratio", "entity_rows": [{**ADA, "price": {"a": [1]}}]},
            400,
            "online",
            "cannot be evaluated",
            None,
        ),
        (
            {"features": [{"feature": "spend", "keys": {"x": "y"}}], "entity_rows": []},
            400,
            "online",
            "no key 'x'",
            "uid",
        ),
        (
            {"features": [{"feature": "spend", "version": "x"}], "entity_rows": []},
            400,
            "usage",
            "'x' is not a version",
            None,
        ),
        (
            {"features": "spend", "entity_rows": [{"uid": {"$dat": "x"}}]},
            400,
            "bad_request",
            "'uid' of an entity row has a '$dat'",
            "did you mean '$date'?",
        ),
        (
            {"features": "spend", "entity_rows": [{"uid": {"$date": "x"}}]},
            400,
            "bad_request",
            "'uid' of an entity row is no date",
            "2024-03-01",
        ),
        (
            {"features": "spend", "entity_rows": [{"uid": {"$decimal": "x"}}]},
            400,
            "bad_request",
            "is no decimal",
            '"1.50"',
        ),
        ({"features": "spend", "entity_rows": [{"uid": {"$uuid": 1}}]}, 400, "bad_request", "is no uuid", "b0a4"),
        (
            {"features": "people", "entity_rows": [{"name": 1.5, "born": 1, "rank": 1, "id": 1}]},
            400,
            "feature",
            "surrogate_key() takes no",
            "DECIMAL",
        ),
        (
            {"features": "spend", "entity_rows": [{}] * 21},
            413,
            "too_large",
            "entity rows of a request may be at most 20",
            "--max-keys",
        ),
        (
            {"features": ["spend"] * 6, "entity_rows": []},
            413,
            "too_large",
            "features and columns of a request may be at most 5",
            "--max-features",
        ),
        (
            {"features": "x" * 20_000, "entity_rows": []},
            413,
            "too_large",
            "bytes of a body may be at most 20,000",
            "--max-body",
        ),
    ],
)
def test_what_is_refused(
    server: Server, body: Any, status: int, code: str | None, message: str, hint: str | None
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = server.client.post(ONLINE, content=content)
    assert answer.status_code == status, answer.text
    found = fault(answer)
    assert code in (None, found["code"])
    assert message in found["message"]
    assert hint is None or hint in found["hint"]


LONG = "a" * 3_000_000
MANY = ",".join(f"c{n}" for n in range(300_000))


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"features": LONG, "entity_rows": []}, 404, "'aaa"),
        ({"features": f"spend:{MANY}", "entity_rows": []}, 413, "features and columns of a request"),
        ({"features": [f"spend:{MANY}"], "entity_rows": []}, 413, "features and columns of a request"),
        ({"features": [{"feature": "spend", "columns": MANY.split(",")}], "entity_rows": []}, 413, "at most 1,000"),
        ({LONG: 1}, 400, "the body has an unknown field 'aaa"),
        ({"features": "pairs", "entity_rows": [{"a": LONG, "b": 1}]}, 400, "'a' of an entity row is 'aaa"),
        ({"features": "pairs", "entity_rows": [{LONG: 1}]}, 400, "an entity row has no 'a'"),
        ({"features": "pairs", "entity_rows": [{"a": [1] * 1_000_000, "b": 1}]}, 400, "'a' of an entity row is [1, 1"),
        ({"features": "spend", "entity_rows": [ADA], "at": LONG}, 400, "'aaa"),
    ],
)
def test_what_is_very_long_is_answered_soon_and_briefly(
    roomy: Server, body: dict[str, Any], status: int, message: str
) -> None:
    answer = roomy.post(ONLINE, body)
    assert answer.status_code == status
    assert message in fault(answer)["message"]
    assert len(answer.text) < 3_000


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "give either entity_rows or entity_columns"),
        ({"entity_rows": [], "entity_columns": {}}, 400, "give either entity_rows or entity_columns"),
        ({"entity_columns": {"uid": [1], "b": []}}, 400, "different lengths: 'uid' has 1, 'b' has 0"),
        ({"entity_rows": [ADA] * 31}, 413, "entity rows of a request may be at most 30"),
        ({"entity_columns": {"uid": ["u"] * 31}}, 413, "entity rows of a request may be at most 30"),
    ],
)
def test_what_a_batch_refuses(server: Server, body: dict[str, Any], status: int, message: str) -> None:
    answer = server.post(BATCH, {"features": "spend", **body})
    assert (answer.status_code, message in fault(answer)["message"]) == (status, True), answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message"),
    [
        ("POST", "/feature-sets/baskt", 404, "not_published", "the feature set 'baskt' is not published"),
        ("POST", "/feature-sets/spend", 404, "not_published", "the feature set 'spend' is not published"),
        ("POST", "/feature-sets/basket@7", 404, "not_published", "the feature set 'basket@7' is not published"),
        ("POST", "/feature-sets/{name}", 404, "not_published", "the feature set '{name}' is not published"),
        ("POST", "/feature-sets/", 404, "not_published", "the feature set '' is not published"),
        ("POST", "/feature-sets/a%2Fb", 404, "not_found", "there is nothing at this address"),
        ("GET", "/features/spnd", 404, "not_published", "'spnd' is not published"),
        ("GET", "/nothing", 404, "not_found", "there is nothing at this address"),
        ("POST", "/health", 405, "method_not_allowed", "this address does not take this method"),
        ("DELETE", ONLINE, 405, "method_not_allowed", "this address does not take this method"),
    ],
)
def test_what_is_not_there(server: Server, method: str, path: str, status: int, code: str, message: str) -> None:
    answer = server.client.request(method, path, json={"entity_rows": []})
    assert (answer.status_code, fault(answer)["code"], fault(answer)["message"]) == (status, code, message)


def test_a_body_in_chunks_ends_where_the_limit_is(server: Server) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1_000_000):
            yield b" " * 1000

    for path in (ONLINE, BATCH, "/feature-sets/basket"):
        answer = server.client.post(path, content=endless())
        assert (answer.status_code, fault(answer)["code"]) == (413, "too_large")
        assert answer.headers["connection"] == "close"
    answer = server.client.post(ONLINE, content=b" " * 3_000_000)
    assert (answer.status_code, "connection" in answer.headers) == (413, False)
    whole = json.dumps({"features": "spend:total", "entity_rows": [ADA], "at": AT}).encode()
    answer = server.client.post(ONLINE, content=iter([whole[:20], b"", whole[20:]]))
    assert answer.json() == {"rows": [{**ADA, "total": 10.5}]}


def test_a_client_that_goes_away_within_its_body_harms_nobody(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(b"POST /features/online HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    assert server.rows("spend:total", ADA, at=AT) == [{**ADA, "total": 10.5}]


def test_refusals_are_counted_by_status(server: Server) -> None:
    before = server.number("mlforge_request_seconds_count", route=ONLINE, status="404")
    server.post(ONLINE, {"features": "nothing", "entity_rows": []})
    assert server.number("mlforge_request_seconds_count", route=ONLINE, status="404") == before + 1


KEYS = {"MLFORGE_API_KEYS": "first-key, second-key"}


def test_api_keys(shop: Any, starting: Callable[..., Server]) -> None:
    server = starting(folder=shop, env=KEYS)
    asked = {"features": "spend:total", "entity_rows": [ADA], "at": AT}
    for path in ("/health", "/ready", "/metrics", "/openapi.json", "/docs"):
        assert server.get(path).status_code == 200
    for headers in (
        {"X-API-Key": "first-key"},
        {"x-api-key": "second-key"},
        {"Authorization": "Bearer second-key"},
        {"authorization": "bearer first-key"},
    ):
        assert server.post(ONLINE, asked, headers=headers).status_code == 200
        assert server.get("/features", headers=headers).status_code == 200
    for headers in (
        {},
        {"X-API-Key": "third-key"},
        {"X-API-Key": ""},
        {"Authorization": "Basic first-key"},
        {"X-API-Key": "first-key, second-key"},
        {"X-API-Key": "first-ke"},
    ):
        for answer in (
            server.post(ONLINE, asked, headers=headers),
            server.post(BATCH, asked, headers=headers),
            server.post("/feature-sets/basket", {"entity_rows": []}, headers=headers),
            server.get("/features", headers=headers),
            server.get("/features/spend", headers=headers),
            server.get("/feature-sets", headers=headers),
        ):
            assert (answer.status_code, fault(answer)["code"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
    assert "2 API keys" in server.said()
    assert "-key" not in server.said().replace("API key", "")


def test_pages_of_listed_origins_may_call(shop: Any, starting: Callable[..., Server], server: Server) -> None:
    origin = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key, content-type",
    }
    open_to = starting("--cors", "https://app.example", folder=shop)
    answer = open_to.client.options(ONLINE, headers=origin)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
    answer = open_to.post(ONLINE, {"features": "spend", "entity_rows": []}, headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    other = {**origin, "Origin": "https://evil.example"}
    assert open_to.client.options(ONLINE, headers=other).status_code == 400
    assert "access-control-allow-origin" not in server.client.options(ONLINE, headers=origin).headers
