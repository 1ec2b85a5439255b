"""What a server says and keeps: no secret anywhere, a sample of requests where it is asked for."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from mlforge.serve.logs import Scrubbing, secrets_of
from mlforge.serve.server_settings import ServeSettings
from tests.cli.running import mlforge
from tests.online.served import Served
from tests.online.servers import RedisServer
from tests.serve.server import ROOT
from tests.serve.shop import AT

if TYPE_CHECKING:
    from collections.abc import Iterator

ADA = {"first": "Ada", "number": 1}
PASSWORD, KEY = "open-sesame-%40", "key-of-the-caller"
Starting = Any  # Callable[..., Server]


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis with a password."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis", "--requirepass", PASSWORD.replace("%40", "@"))
    yield server
    server.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_no_secret_is_said(locked: RedisServer, starting: Starting, tmp_path: Path, workers: int) -> None:
    """Neither on the way, nor when the store is away, nor in a command line."""
    url = locked.url.replace("//", f"//user:{PASSWORD}@").replace("user:", ":")
    project = Served(tmp_path / "small", None)  # type: ignore[arg-type]
    config = project.root / "mlforge.yaml"
    config.write_text(config.read_text() + "profiles:\n  dev: {online: {kind: redis, url: '${STORE}'}}\n")
    (project.root / ".env").write_text(f"MLFORGE_API_KEYS={KEY}\n")
    server = starting("--workers", workers, folder=project.root, env={"STORE": url})
    headers = {"X-API-Key": KEY}
    body = {"features": "spend", "entity_rows": [{"k": 1}]}
    assert server.post("/features/online", body).status_code == 401
    assert server.post("/features/online", body, headers=headers).status_code == 404
    locked.kill()
    assert server.post(f"/features/online?key={KEY}", body, headers=headers).status_code == 503
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in [server.process.pid, *server.children()]]
    texts = [
        server.said(),
        *commands,
        *(server.get(p, headers=headers).text for p in ("/metrics", "/ready", "/features")),
    ]
    assert "1 API key;" in server.said()
    assert f"redis redis://127.0.0.1:{locked.port}/0" in server.said()
    for text in texts:
        assert not [secret for secret in ("sesame", KEY) if secret in text]


def test_a_server_whose_password_is_wrong_says_so_once_it_is_asked(locked: RedisServer, starting: Starting) -> None:
    server = starting("--store", locked.url.replace("//", "//:wrong-sesame@"), "--namespace", "small")
    answer = server.get("/ready")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_down")
    assert "refuses the user or password" in server.said()
    assert "sesame" not in server.said()


def test_secrets_are_blotted_out_of_log_lines() -> None:
    settings = ServeSettings(
        store={"kind": "redis", "url": f"redis://u:{PASSWORD}@h", "options": {"ssl_password": "pem-pass"}},
        namespace="shop",
        api_keys=(KEY,),
    )
    assert secrets_of(settings) == [KEY, "open-sesame-%40", "open-sesame-@", "pem-pass"]
    assert KEY not in repr(settings)
    assert settings.where() == "redis redis://h"
    try:
        raise ValueError(f"open-sesame-@ and {PASSWORD} and pem-pass")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f.py", 1, "%s failed", (KEY,), sys.exc_info())
    text = Scrubbing(secrets_of(settings)).format(record)
    assert "*** failed" in text
    assert "ValueError: *** and *** and ***" in text


def test_a_sample_of_requests_is_logged(shop: Path, starting: Starting, tmp_path: Path) -> None:
    folder = tmp_path / "requests"
    server = starting("--log-requests", folder, "--log-sample", 1, folder=shop)
    (plain,) = server.rows("spend:total", ADA, at=AT)
    assert plain == {**ADA, "total": 10.5}
    (full,) = server.rows("spend:total", {"uid": "nobody"}, at=AT, with_status=True)
    assert full["total"]["status"] == "MISSING"
    assert server.rows("ratio", {**ADA, "price": 21}, at=AT) == [{**ADA, "price": 21, "share": 2.0}]
    assert server.stop() == 0
    with duckdb.connect() as con:
        found = con.execute(
            f"SELECT feature, feature_column, asked_at::VARCHAR, value, status FROM '{folder}/*.parquet' ORDER BY served_at"
        ).fetchall()
    assert found == [
        ("spend", "total", "2024-03-01 12:30:00", "10.5", "PRESENT"),
        ("spend", "total", "2024-03-01 12:30:00", None, "MISSING"),
        ("ratio", "share", "2024-03-01 12:30:00", "2.0", "PRESENT"),
    ]


def test_the_command_line_starts_without_what_only_a_server_needs() -> None:
    code = "import sys, mlforge.cli.app; print({m.split('.')[0] for m in sys.modules} & {'fastapi', 'uvicorn', 'starlette', 'pydantic', 'prometheus_client'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = mlforge("serve", "--store", "online.db", "--namespace", "small", code=2)
    assert "serving needs the package uvicorn hint: pip install 'mlforge[serve]'" in said.flat


def test_keys_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFORGE_API_KEYS", " , ")
    said = mlforge("serve", "--store", "online.db", "--namespace", "small", code=2)
    assert "MLFORGE_API_KEYS is set and holds no key" in said.flat
