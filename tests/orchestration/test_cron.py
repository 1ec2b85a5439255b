"""cron: the script of examples/orchestration/cron, run as cron runs it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from tests.orchestration.conftest import EXAMPLES, run

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = EXAMPLES / "cron/build.sh"


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """cron gives a PATH and a HOME."""
    return {name: environment[name] for name in ("PATH", "HOME")}


def events(project: Path) -> list[dict[str, Any]]:
    (file,) = (project / "logs").glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def said(project: Path) -> str:
    (file,) = (project / "logs").glob("*.log")
    return file.read_text()


def builds(project: Path) -> int:
    with duckdb.connect(str(project / "catalog.duckdb"), read_only=True) as con:
        return con.execute("SELECT count(*) FROM mlforge.builds").fetchall()[0][0]


def test_a_run_is_silent_and_logged_and_a_second_one_builds_nothing(project: Path, environment: dict[str, str]) -> None:
    for _ in range(2):
        assert run([SCRIPT, project], environment) == ""
    finished = [event for event in events(project) if event["event"] == "finished"]
    assert [(f["exit_code"], f["build"]) for f in finished] == [(0, 1), (0, None)]
    assert said(project).count("exit code 0") == 2
    assert builds(project) == 1


def test_options_go_to_the_build(project: Path, environment: dict[str, str]) -> None:
    run([SCRIPT, project, "--features", "user_profile"], environment)
    assert {event["feature"] for event in events(project) if event["event"] == "feature_done"} == {"user_profile"}
    assert "build --features user_profile\n" in said(project)


def test_a_run_that_finds_another_one_leaves_at_once(project: Path, environment: dict[str, str]) -> None:
    (project / "logs").mkdir()
    with (project / "logs/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run([SCRIPT, project], environment) == ""
    assert "skipped: the run before is still at work" in said(project)
    assert not (project / "catalog.duckdb").exists()
    run([SCRIPT, project], environment)
    assert builds(project) == 1


def test_runs_at_the_same_time_build_once(project: Path, environment: dict[str, str]) -> None:
    started = [
        subprocess.Popen([SCRIPT, project], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(3)
    ]
    outcomes = [(process.communicate(timeout=120)[0], process.returncode) for process in started]
    assert outcomes == [(b"", 0)] * 3
    assert builds(project) == 1
    assert said(project).count("skipped") + said(project).count("exit code 0") == 3


def test_a_feature_that_fails_is_mailed(project: Path, environment: dict[str, str]) -> None:
    (project / "features/broken.sql").write_text(
        "{{ config(entity='user') }}\nSELECT user_id, error('no way')::INTEGER AS x FROM {{ source('users') }}\n"
    )
    mail = run([SCRIPT, project], environment, code=1)
    assert mail.startswith(f"{project}: mlforge build : exit code 1\n")
    assert json.loads(mail.splitlines()[-1])["feature"] == "broken"
    assert "no way" in mail
    assert builds(project) == 1


def test_an_error_is_mailed(project: Path, environment: dict[str, str]) -> None:
    (project / "data/users.csv").unlink()
    mail = run([SCRIPT, project], environment, code=1)
    assert "error: mlforge.yaml:" in mail
    assert "source 'users': no csv file at data/users.csv" in mail
    assert events(project)[-1]["error"]["code"] == "project"


def test_wrong_usage_is_mailed_as_such(project: Path, environment: dict[str, str]) -> None:
    mail = run([SCRIPT, project, "--forse"], environment, code=2)
    assert "This is wrong usage: the next run will fail as well." in mail
    assert "No such option: --forse" in mail


def test_a_missing_project_and_a_missing_argument(tmp_path: Path, environment: dict[str, str]) -> None:
    assert "No such file or directory" in run([SCRIPT, tmp_path / "nowhere"], environment, code=2)
    assert run([SCRIPT], environment, code=2) == "usage: build.sh PROJECT [options of mlforge build]\n"


def test_old_logs_go(project: Path, environment: dict[str, str]) -> None:
    (project / "logs").mkdir()
    old = [project / "logs/2020-01-01.jsonl", project / "logs/2020-01-01.log"]
    for path in old:
        path.write_text("")
        os.utime(path, (0, 0))
    run([SCRIPT, project], environment)
    assert not any(path.exists() for path in old)
    assert len(events(project)) > 1


def test_the_lines_of_the_crontab_have_a_time_and_a_command_that_runs(
    project: Path, environment: dict[str, str]
) -> None:
    lines = [
        line for line in (EXAMPLES / "cron/crontab").read_text().splitlines() if line[:1].isdigit() or line[:1] == "*"
    ]
    assert len(lines) == 2
    for line in lines:
        *times, text = line.split(maxsplit=5)
        assert all(set(time) <= set("0123456789*/,-") for time in times)
        assert "%" not in text  # a line break to cron
        text = text.replace("/srv/features/cron/build.sh", str(SCRIPT)).replace("/srv/features", str(project))
        assert run(["/bin/sh", "-c", text], environment) == ""
