"""Twelve thousand wrong requests: none does harm, each is told what is wrong, and right ones are still answered."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.serve.fuzzing import Attack, attack
from tests.serve.raw import Answer, Closed, Connection, request
from tests.serve.server import Server
from tests.serve.shop import AT
from tests.serve.zoo import publish_zoo, write_zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = 6_000
WARM = 1_500
"""Requests after which what is loaded once is loaded."""
GROWTH = 48 * 2**20
AT_ONCE = 25
QUIET = 0.05
LIMITS = ("--max-keys", 50, "--max-batch", 60, "--max-body", 200_000, "--max-features", 20, "--timeout", 60)
RIGHT: dict[str, Any] = {
    "features": ["spend:total", "pairs"],
    "at": AT,
    "entity_rows": [{"first": "Ada", "number": 1, "a": 1, "b": "x"}],
}


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, zoo: Path, tmp_path: Path) -> str:
    """A store in which it is published."""
    if request.param == "sqlite":
        publish_zoo(zoo, {"kind": "sqlite", "path": str(tmp_path / "online.db")})
        return f"sqlite://{tmp_path}/online.db"
    server = request.getfixturevalue("redis")
    publish_zoo(zoo, {"kind": "redis", "url": server.url})
    return str(server.url)


@pytest.fixture(scope="module")
def zoo_server(zoo: Path) -> Iterator[Server]:
    publish_zoo(zoo, {"kind": "sqlite", "path": str(zoo / "online.db")})
    made = Server(zoo, "--store", f"sqlite://{zoo}/online.db", "--namespace", "zoo")
    yield made
    made.stop()


def judge(asked: Attack, answer: Answer) -> int:
    """The status of an answer, which must be one that the caller can use."""
    shown = (asked.data[:1000], answer)
    assert answer.status in (200, 400, 401, 404, 405, 408, 413, 431), shown
    assert b"Traceback" not in answer.body, shown
    if asked.method == "HEAD" or answer.body.startswith(b"Disallowed CORS"):  # which browsers ask and nobody reads
        return answer.status
    if answer.headers["content-type"] == "application/json":
        found = answer.json()
    else:
        assert answer.status == 200, shown
        return answer.status
    if answer.status != 200:
        assert set(found) == {"error"}, shown
        assert set(found["error"]) == {"code", "message", "hint"}, shown
        assert found["error"]["message"], shown
        assert b'.py"' not in answer.body, shown
    return answer.status


class Siege:
    """One server under attack."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.seen: Counter[int] = Counter()
        self._kept = Connection(server.url)
        self._alone: list[tuple[Attack, Connection]] = []

    def run(self, chance: random.Random, number: int) -> None:
        """Send that many requests."""
        for _ in range(number):
            asked = attack(chance)
            if asked.alone:
                self._send_alone(asked)
            else:
                self._ask(asked)
        self._hear()

    def memory(self) -> int:
        """Bytes that the server has in memory."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def close(self) -> None:
        self._kept.close()

    def _ask(self, asked: Attack) -> None:
        try:
            self._kept.send(asked.data)
            answer = self._kept.answer(asked.method)
        except (Closed, TimeoutError) as error:
            raise AssertionError(f"no answer to {asked.data[:1000]!r}") from error
        self.seen[judge(asked, answer)] += 1
        if answer.closes:
            self._kept.close()
            self._kept = Connection(self.server.url)

    def _send_alone(self, asked: Attack) -> None:
        """Some of these are the beginning of a request, for the rest of which the server may wait."""
        connection = Connection(self.server.url, QUIET)
        connection.send(asked.data)
        self._alone.append((asked, connection))
        if len(self._alone) == AT_ONCE:
            self._hear()

    def _hear(self) -> None:
        time.sleep(QUIET)
        for asked, connection in self._alone:
            try:
                self.seen[judge(asked, connection.answer(asked.method))] += 1
            except (Closed, TimeoutError):
                self.seen[0] += 1
            connection.close()
        self._alone = []


def test_wrong_requests_do_no_harm(url: str, starting: Any) -> None:
    cors = ("--cors", "https://app.example") if url.startswith("redis") else ()  # with CORS there is a longer way
    server: Server = starting("--store", url, "--namespace", "zoo", *LIMITS, *cors)
    siege = Siege(server)
    chance = random.Random(url[:5])
    expected = server.post("/features/online", RIGHT).json()
    assert expected["rows"][0] == {**RIGHT["entity_rows"][0], "total": 10.5, "n": 1}
    siege.run(chance, WARM)
    before = siege.memory()
    siege.run(chance, REQUESTS - WARM)
    assert siege.seen.total() == REQUESTS
    assert siege.seen[0] < REQUESTS / 20, "too few are answered"
    assert sum(siege.seen[status] for status in (400, 404, 405, 413)) > REQUESTS * 0.85, siege.seen
    assert siege.memory() - before < GROWTH
    assert server.post("/features/online", RIGHT).json() == expected
    assert server.stop() == 0
    said = server.said()
    assert "Traceback" not in said, said[-3000:]
    assert " ERROR " not in said, said[-3000:]
    siege.close()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"features": "spend", "entity_rows": [{"uid": "x", f"c{n}": 1} for n in range(1_000)], "columnar": True},
            "too few columns in common",
        ),
        ({"features": [{"feature": "spend", "prefix": "x" * 101}], "entity_rows": []}, "`str` of length <= 100"),
        ({"features": "of_exact", "entity_rows": [{"k": "1e99999999"}]}, "give a DECIMAL(8,2)"),
        ({"features": "of_huge", "entity_rows": [{"k": {"$decimal": "1e99999999"}}]}, "give an integer"),
        (
            {"features": "spend", "entity_rows": [{"first": {"$decimal": "1e99999999"}, "number": 1}]},
            "Decimal('1E+99999999')",
        ),
    ],
)
def test_small_requests_do_not_cost_much(zoo_server: Server, asked: dict[str, Any], message: str) -> None:
    """A hundred million nulls, names of a megabyte a value, numbers of a hundred million digits."""
    answer = zoo_server.post("/features/batch", asked)
    assert answer.status_code == 400
    assert message in answer.text


@pytest.mark.parametrize("begin", [b"GET /health HTTP/1.1\r\nx: ", b"GET /", b"GET /health HTTP/1.1\r\n"])
def test_a_head_without_end_is_not_read_for_ever(zoo_server: Server, begin: bytes) -> None:
    more = b"x: y\r\n" * 2_000 if begin.endswith(b"\r\n") else b"a" * 10_000
    connection = Connection(zoo_server.url)
    connection.send(begin)
    for _ in range(20):
        connection.send(more)
    answer = connection.answer()
    assert (answer.status, answer.json()["error"]["code"], answer.closes) == (431, "too_large", True)
    connection.close()


def test_a_long_head_is_read(zoo_server: Server) -> None:
    connection = Connection(zoo_server.url)
    for path in ("/health", "/ready"):
        asked = request("GET", path, b"", *(("x", "y" * 1_000) for _ in range(60)))
        for start in range(0, len(asked), 7_000):
            connection.send(asked[start : start + 7_000])
        assert connection.answer().status == 200
    body = b" " * 1_000_000 + json.dumps({"features": "pairs", "entity_rows": [{"a": 1, "b": "x"}]}).encode()
    for _ in range(2):
        connection.send(request("POST", "/features/online", body))
        assert connection.answer("POST").json() == {"rows": [{"a": 1, "b": "x", "n": 1}]}
    head = b"POST /features/online HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    connection.send(head + b"%x\r\n%b\r\n0\r\n" % (len(body), body) + b"x-trailer: y\r\n" * 1_000 + b"\r\n")
    assert connection.answer("POST").status == 200
    connection.close()
