"""Whatever goes wrong: a message, a place, a hint, an exit code, and no traceback unless it is asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import duckdb
import pytest

from mlforge import __version__
from mlforge.cli.app import say_unexpected
from tests.cli.running import Shop, mlforge

if TYPE_CHECKING:
    from pathlib import Path


def process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlforge", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_the_module_and_its_version() -> None:
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"mlforge {__version__}\n")


def test_an_error_on_stderr_with_place_and_hint(shop: Shop) -> None:
    shop.path("mlforge.yaml").write_text("name: shop\nsorces: {}\n")
    done = process("-C", shop.root, "list")
    assert done.returncode == 1
    assert done.stdout == ""
    first, hint = done.stderr.splitlines()
    assert first.startswith("error: mlforge.yaml:2")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("arguments", [["lst"], ["list", "--jsn"], ["inspect", "feature"], ["init"], ["replay"]])
def test_wrong_usage_is_2(built: Path, arguments: list[str]) -> None:
    said = mlforge("-C", built, *arguments, code=2)
    assert "Usage: mlforge" in said.err
    assert "Error: " in said.err


def test_an_unknown_folder(tmp_path: Path) -> None:
    said = mlforge("-C", tmp_path / "none", "list", code=2)
    assert said.err == f"error: there is no folder '{tmp_path / 'none'}'\n"


def test_a_folder_without_a_project(tmp_path: Path) -> None:
    said = mlforge("-C", tmp_path, "build", code=1)
    assert "no mlforge.yaml here or above" in said.err
    assert "hint: mlforge init NAME makes a project" in said.err


@pytest.mark.parametrize("command", ["build", "plan", "list"])
def test_a_missing_catalog_file(tmp_path: Path, command: str) -> None:
    said = mlforge("-C", tmp_path / "x.duckdb", command, code=1)
    assert "there is no catalog at" in said.err


def test_commands_that_need_the_project_say_so(built: Path) -> None:
    for command in ("plan", "build", "validate"):
        said = mlforge("-C", built / "catalog.duckdb", command, code=1)
        assert said.err.startswith("error: this needs a project, and only a catalog was opened\n")


def test_a_catalog_that_is_none(shop: Shop) -> None:
    shop.path("catalog.duckdb").unlink()
    duckdb.connect(str(shop.path("catalog.duckdb"))).close()
    assert "is a DuckDB file, but not a catalog of mlforge" in shop.run("list", code=1).err


def test_debug_shows_where(shop: Shop) -> None:
    shop.path("mlforge.yaml").write_text("sorces: {}\n")
    done = process("--debug", "-C", shop.root, "list")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ProjectError" in done.stderr


def test_errors_of_the_system_and_of_duckdb_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        (tmp_path / "none").read_text()
    assert say_unexpected(refused.value)
    assert f"error: the system refused: No such file or directory ({tmp_path / 'none'})" in capsys.readouterr().err
    with pytest.raises(duckdb.CatalogException) as unknown, duckdb.connect() as con:
        con.execute("FROM nothing")
    assert say_unexpected(unknown.value)
    shown = capsys.readouterr().err
    assert shown.startswith("error: DuckDB: Catalog Error: Table with name nothing does not exist!")
    assert "mlforge --debug COMMAND shows where it happened" in shown
    assert not say_unexpected(KeyError("ours"))


def test_colours_on_a_terminal_only(shop: Shop) -> None:
    pexpect = pytest.importorskip("pexpect")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    environment.pop("NO_COLOR")
    arguments = ["-m", "mlforge", "-C", str(shop.root)]
    for more, expected in ((["list"], "user_spend"), (["build", "--force"], "build 3: 4 built")):
        child = pexpect.spawn(sys.executable, [*arguments, *more], env=environment, encoding="utf-8", timeout=60)
        child.expect_exact(expected)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
    child = pexpect.spawn(sys.executable, [*arguments, "list", "x"], env=environment, encoding="utf-8", timeout=60)
    child.expect_exact("\x1b[31m\x1b[1merror:\x1b[0m there is nothing called 'x' to list")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2


SLOW = """\
{{ config(entity="user", timestamp="event_time") }}
SELECT user_id, event_time, MEDIAN(amount) OVER ever AS middle
FROM (SELECT 1 AS user_id, t.event_time + to_seconds(r) AS event_time, random_amount AS amount
      FROM {{ source("transactions") }} t, (SELECT r, r * 0.5 AS random_amount FROM (SELECT unnest(range(2000)) AS r)))
"""


def test_ctrl_c_leaves_the_catalog_as_it_was(shop: Shop) -> None:
    shop.path("features/slow.sql").write_text(SLOW)
    before = shop.path("catalog.duckdb").read_bytes()
    command = [sys.executable, "-m", "mlforge", "-C", str(shop.root), "build", "-f", "slow", "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["event"] == "feature_started"
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, "error: interrupted; the catalog is as it was\n")
    last = json.loads(out.splitlines()[-1])
    assert (last["event"], last["exit_code"], last["error"]["code"]) == ("finished", 130, "interrupted")
    assert shop.path("catalog.duckdb").read_bytes() == before
    assert not shop.path("catalog.duckdb.staging").exists()


def test_a_pipe_that_is_closed_is_no_error(built: Path) -> None:
    line = f"{sys.executable} -m mlforge -C {built} list versions | head -1"
    done = subprocess.run(["bash", "-c", line], check=False, capture_output=True, text=True)
    assert done.stdout.startswith("feature")
    assert done.stderr == ""


def test_help_imports_no_engine() -> None:
    code = (
        "import sys, mlforge.cli.app\n"
        "heavy = {'duckdb', 'sqlglot', 'jinja2', 'pyarrow', 'rich', 'numpy', 'yaml'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_list_imports_no_sql_parser(built: Path) -> None:
    code = (
        "import sys\n"
        "from mlforge.cli.app import app\n"
        f"app(['-C', {str(built)!r}, 'list'], standalone_mode=False)\n"
        "sys.exit(', '.join(sorted({'sqlglot', 'pyarrow', 'rich', 'numpy', 'pandas'} & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_completion_is_there(built: Path) -> None:
    environment = {**os.environ, "_MLFORGE_COMPLETE": "complete_bash", "COMP_WORDS": "mlforge roll", "COMP_CWORD": "1"}
    done = process(env=environment, cwd=built)
    assert "rollback" in done.stdout
