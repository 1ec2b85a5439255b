"""examples/serving: the demo runs end to end, and what its containers are told is run as it stands, without containers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
import pytest
import yaml

from tests.online.servers import RedisServer, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples/serving"
COMPOSE = yaml.safe_load((EXAMPLE / "docker-compose.yml").read_text())["services"]
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("MLFORGE_", "REDIS_"))},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "NO_COLOR": "1",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder the demo worked in, and what it printed."""
    folder = tmp_path_factory.mktemp("serving")
    command = [sys.executable, str(EXAMPLE / "demo.py"), "--seconds", "0.5", "--folder", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def answers(text: str) -> list[dict[str, Any]]:
    return [json.loads(found) for found in re.findall(r"^\{$.*?^\}$", text, re.MULTILINE | re.DOTALL)]


def test_both_stores_answer_with_what_the_data_says(shown: tuple[Path, str]) -> None:
    folder, text = shown
    sqlite, redis = answers(text)
    asked = json.loads((folder / "rows.json").read_text())[0]
    assert asked.items() <= sqlite.items()
    moving = sqlite.pop("minutes_since_landing"), redis.pop("minutes_since_landing")
    assert sqlite == redis
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        landed, delay = con.execute(
            """SELECT time_hour AT TIME ZONE 'UTC' + to_minutes("minute" + dep_delay + air_time) AS landed, arr_delay
               FROM read_parquet(?) WHERE tailnum = ? AND air_time IS NOT NULL ORDER BY landed DESC LIMIT 1""",
            [str(folder / "data/flights.parquet"), asked["tailnum"]],
        ).fetchall()[0]
    assert sqlite["last_arr_delay"] == delay
    since = (datetime.now(UTC).replace(tzinfo=None) - landed) // timedelta(minutes=1)
    assert 0 <= moving[0] <= moving[1] <= since


def test_the_load_is_answered_and_both_servers_end_well(shown: tuple[Path, str]) -> None:
    loads = re.findall(r"a request: ([\d,]+) answers, .* ms; 0 refused$", shown[1], re.MULTILINE)
    assert len(loads) == 4
    assert all(int(n.replace(",", "")) > 0 for n in loads)
    assert shown[1].count("stopped; exit code 0") == 2


def test_the_end_of_2013_is_now(shown: tuple[Path, str]) -> None:
    """Nothing has happened in the future, and the newest flight is not older than a night."""
    now = datetime.now(UTC)
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for name in ("flights", "weather"):
            query = f"SELECT min(time_hour), max(time_hour) FROM '{shown[0]}/data/{name}.parquet'"
            first, last = con.execute(query).fetchall()[0]
            assert now - timedelta(hours=24) < last < now
            assert timedelta(days=58) < last - first < timedelta(days=61)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def published(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The publish container's command, with this machine's folders and server in place of its own."""
    service = COMPOSE["publish"]
    (text,) = service["command"]
    project = tmp_path_factory.mktemp("project")
    command = [*service["entrypoint"], text.replace("/mlforge/", f"{ROOT}/").replace(" /project ", f" {project} ")]
    assert service["environment"] == {"REDIS_URL": "redis://redis:6379/0"}
    environment = {**ENVIRONMENT, "REDIS_URL": redis.url}
    done = subprocess.run(command, check=False, env=environment, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("published")
def test_the_server_of_the_compose_file_serves(redis: RedisServer, tmp_path: Path) -> None:
    here = {"0.0.0.0": "127.0.0.1", "8000": "0", "redis://redis:6379/0": redis.url}
    command = [here.get(word, word) for word in COMPOSE["serve"]["command"]]
    environment = {**ENVIRONMENT, "MLFORGE_API_KEYS": "first,second"}
    log = tmp_path / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlforge", *command], cwd=tmp_path, env=environment, stdout=out, stderr=out
        )
    try:
        until(lambda: re.search(r"http://\S+", log.read_text()) is not None or server.poll() is not None)
        found = re.search(r"http://\S+", log.read_text())
        assert found is not None, log.read_text()
        with httpx.Client(base_url=found[0], timeout=60, trust_env=False) as client:
            assert client.get("/ready").status_code == 200
            body = {"entity_rows": [{"carrier": "B6"}]}
            assert client.post("/features/online", json={**body, "features": "carrier_delays"}).status_code == 401
            answer = client.post(
                "/features/online", json={**body, "features": "carrier_delays"}, headers={"X-API-Key": "second"}
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["rows"][0]["flights_7d"] > 0
    finally:
        server.terminate()
        assert server.wait(60) == 0


def test_the_services_fit_each_other() -> None:
    store = COMPOSE["publish"]["environment"]["REDIS_URL"]
    assert COMPOSE["serve"]["command"][-4:] == ["--store", store, "--namespace", "flights"]
    assert COMPOSE["serve"]["ports"] == ["127.0.0.1:8000:8000"]
    assert COMPOSE["serve"]["environment"] == {"MLFORGE_API_KEYS": "${MLFORGE_API_KEYS:-}"}
    assert COMPOSE["serve"]["build"] == COMPOSE["publish"]["build"]
    assert (EXAMPLE / COMPOSE["serve"]["build"]["context"] / COMPOSE["serve"]["build"]["dockerfile"]).is_file()


def test_the_image_holds_what_is_installed() -> None:
    copied = {
        word
        for line in re.findall(r"^COPY (.+) \S+$", (EXAMPLE / "Dockerfile").read_text(), re.MULTILINE)
        for word in line.split()
    }
    let_in = {line[1:] for line in (EXAMPLE / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert copied == let_in
    assert all((ROOT / path).exists() for path in copied)
    with (ROOT / "pyproject.toml").open("rb") as file:
        targets = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]
    assert {"pyproject.toml", *targets["sdist"]["include"]} <= copied
