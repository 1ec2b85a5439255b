"""init, plan, build, validate."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.cli.running import Shop, mlforge
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

NAMES = {"payment_size", "user_last_purchase", "user_profile", "user_spend"}


@pytest.fixture
def fresh(built_once: Path, tmp_path: Path) -> Shop:
    """The project before its first build."""
    shutil.copytree(built_once, tmp_path / "shop", ignore=shutil.ignore_patterns("catalog*"))
    return Shop(tmp_path / "shop")


def test_init_makes_a_project_and_says_what_is_next(tmp_path: Path) -> None:
    said = mlforge("-C", tmp_path, "init", "shop")
    assert (tmp_path / "shop" / "mlforge.yaml").is_file()
    assert "features/user_spend.sql" in said.out
    assert "mlforge build" in said.out


def test_init_of_the_folder_that_it_is_in(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    said = mlforge("-C", tmp_path / "shop", "init", ".")
    assert "made the project shop in " in said.out
    assert (tmp_path / "shop/mlforge.yaml").read_text().count('name: "shop"') == 1


def test_init_overwrites_nothing(built: Path) -> None:
    said = mlforge("-C", built.parent, "init", built.name, code=1)
    assert "there is a project already: mlforge.yaml exists" in said.err
    assert "hint: choose another folder" in said.err


def test_init_refuses_a_name(tmp_path: Path) -> None:
    said = mlforge("-C", tmp_path, "init", "1 shop", code=2)
    assert "'1 shop' cannot be the name of a project" in said.err
    assert not any(tmp_path.iterdir())


def test_alone_in_an_empty_folder_it_says_what_to_do(tmp_path: Path) -> None:
    said = mlforge("-C", tmp_path)
    assert "There is no project here" in said.out
    assert "mlforge init NAME" in said.out


def test_alone_in_a_project_it_says_what_to_do(fresh: Shop, built: Path) -> None:
    assert "4 features, not built yet" in fresh.run().out
    assert "mlforge build" in fresh.run().out
    assert "mlforge list" in mlforge("-C", built).out


def test_alone_in_a_broken_project_it_says_what_is_wrong(fresh: Shop) -> None:
    fresh.path("mlforge.yaml").write_text("name: shop\nsorces: {}\n")
    said = fresh.run(code=1)
    assert "mlforge.yaml:2" in said.err
    assert "sources" in said.err


def test_plan_says_what_and_why_and_writes_nothing(fresh: Shop) -> None:
    said = fresh.run("plan")
    assert "new user_spend 1.0.0 new feature" in said.flat
    assert "plan: 4 new, 1 feature set" in said.out
    assert not fresh.path("catalog.duckdb").exists()


def test_plan_exit_code(fresh: Shop, built: Path) -> None:
    assert fresh.run("plan", "--exit-code", "--json", code=3).json["summary"] == "4 new, 1 feature set"
    assert mlforge("-C", built, "plan", "--exit-code").out == "plan: 4 unchanged. Nothing to do.\n"


def test_plan_as_json(shop: Shop) -> None:
    shop.change("user_spend", "MAX(amount) OVER ever AS biggest", "MIN(amount) OVER ever AS biggest")
    found = shop.run("plan", "--json").json
    steps = {s["feature"]: s for s in found["steps"]}
    assert set(steps) == NAMES
    assert (steps["user_spend"]["action"], steps["user_spend"]["version_from"]) == ("major", "1.1.0")
    assert steps["user_spend"]["version_to"] == "2.0.0"
    assert steps["user_spend"]["read_by"] == ["payment_size"]
    assert {"column": "biggest", "change": "meaning"}.items() <= steps["user_spend"]["columns"][2].items()


def test_dry_run_is_the_plan(fresh: Shop) -> None:
    assert fresh.run("build", "--dry-run").out == fresh.run("plan").out
    assert not fresh.path("catalog.duckdb").exists()


def test_build_shows_rows_and_seconds_and_a_summary(fresh: Shop) -> None:
    said = fresh.run("build")
    assert "built user_profile 1.0.0 20 rows" in said.flat
    assert "build 1: 4 built in" in said.out
    assert "Nothing to do" in fresh.run("build").out


def test_build_as_json_is_a_line_per_event_and_the_result(fresh: Shop) -> None:
    lines = [json.loads(line) for line in fresh.run("build", "--json").out.splitlines()]
    assert [line["event"] for line in lines][-3:] == ["commit_started", "committed", "finished"]
    assert {line["feature"] for line in lines if line["event"] == "feature_done"} == NAMES
    assert {k: lines[-1][k] for k in ("build", "failed", "exit_code", "error")} == {
        "build": 1,
        "failed": False,
        "exit_code": 0,
        "error": None,
    }
    done = next(line for line in lines if line["event"] == "feature_done" and line["feature"] == "user_profile")
    assert {"version": "1.0.0", "action": "create", "rows": 20}.items() <= done.items()
    assert done["seconds"] > 0


def test_nothing_to_build_is_one_line(shop: Shop) -> None:
    shop.run("build", "--json")
    (line,) = [json.loads(line) for line in shop.run("build", "--json").out.splitlines()]
    assert (line["event"], line["exit_code"], line["build"], line["features"]) == ("finished", 0, None, [])
    assert {step["version_to"] for step in line["plan"]["steps"] if step["feature"] == "user_spend"} == {"1.1.0"}


def test_a_build_that_an_error_ends_says_so_in_its_last_line(fresh: Shop) -> None:
    fresh.change("user_spend", "SUM(amount) ", "SUM(amuont) ")
    said = fresh.run("build", "--json", code=1)
    line = json.loads(said.out)
    assert (line["event"], line["exit_code"], line["failed"], line["build"]) == ("finished", 1, True, None)
    assert (line["error"]["code"], line["error"]["where"].split(":")[0]) == ("feature", "features/user_spend.sql")
    assert "amuont" in line["error"]["message"]
    assert said.err.startswith("error: features/user_spend.sql:")


def test_a_project_that_cannot_be_read_says_so_in_the_last_line(fresh: Shop) -> None:
    fresh.path("mlforge.yaml").write_text("sorces: {}\n")
    line = json.loads(fresh.run("build", "--json", code=1).out)
    assert (line["event"], line["error"]["code"], line["error"]["where"]) == ("finished", "project", "mlforge.yaml:1")


def test_an_unknown_feature_is_wrong_usage_also_in_the_last_line(fresh: Shop) -> None:
    line = json.loads(fresh.run("build", "--json", "-f", "user_spent", code=2).out)
    assert (line["exit_code"], line["error"]["code"]) == (2, "usage")
    assert line["error"]["hint"] == "did you mean 'user_spend'?"


def test_a_feature_that_fails_is_an_event_and_the_exit_code(fresh: Shop) -> None:
    fresh.path("features/broken.sql").write_text(
        "{{ config(entity='user') }}\nSELECT user_id, error('no')::INTEGER AS x FROM {{ source('users') }}\n"
    )
    lines = [json.loads(line) for line in fresh.run("build", "--json", code=1).out.splitlines()]
    (failed,) = [line for line in lines if line["event"] == "feature_failed"]
    assert failed["feature"] == "broken"
    assert "no" in failed["message"]
    assert (lines[-1]["exit_code"], lines[-1]["failed"], lines[-1]["build"]) == (1, True, 1)


def test_what_a_python_feature_prints_is_no_event(fresh: Shop) -> None:
    fresh.path("features/loud.py").write_text(
        "import mlforge as mlf\n\n\n@mlf.feature(entity='user')\ndef loud():\n    print('{\"event\": \"mine\"}')\n"
        "    return \"SELECT user_id, 1 AS n FROM {{ source('users') }}\"\n"
    )
    said = fresh.run("build", "--json", "-f", "loud")
    assert {json.loads(line)["event"] for line in said.out.splitlines()} == {
        "feature_started",
        "feature_done",
        "commit_started",
        "committed",
        "finished",
    }
    assert '{"event": "mine"}' in said.err


@pytest.mark.parametrize(
    ("arguments", "built"),
    [
        (["--features", "user_profile", "-f", "user_spend"], {"user_profile", "user_spend"}),
        (["--features", "user_profile,user_spend"], {"user_profile", "user_spend"}),
        (["--tags", "daily"], {"user_spend"}),
        (["--select", "user_spend+", "--exclude", "user_spend"], {"payment_size", "user_spend"}),
        (["--select", "source:users"], {"user_profile"}),
        (["--exclude", "tag:users"], set()),
    ],
)
def test_build_takes_a_selection(fresh: Shop, arguments: list[str], built: set[str]) -> None:
    fresh.run("build", *arguments)
    rows = fresh.run("list", "versions", "--json").json
    expected = built - {"user_spend"} if arguments[-1] == "user_spend" and "--exclude" in arguments else built
    assert {row["feature"] for row in rows} >= expected


def test_a_build_says_which_file_widened_a_column(tmp_path: Path) -> None:
    small = Small(tmp_path, "name: small\nsources:\n  ev: {path: data/*.parquet}\nentities:\n  user: {key: k}\n")
    small.feature("f", '{{ config(entity="user") }}\nSELECT k, v FROM {{ source("ev") }}')
    small.write("data/1.parquet", "SELECT 1 AS k, 1 AS v")
    small.good()
    small.write("data/2.parquet", "SELECT 2 AS k, 2.5::DOUBLE AS v")
    said = Shop(tmp_path).run("build").flat
    assert "note source ev: column v is DOUBLE now, not INTEGER, for data/2.parquet: a new MAJOR of f" in said


def test_force_builds_what_has_not_changed(shop: Shop) -> None:
    said = shop.run("build", "--force", "-f", "user_profile")
    assert "built user_profile 1.0.1" in said.flat


def test_a_sample_is_tried_and_not_kept(fresh: Shop) -> None:
    said = fresh.run("build", "--sample", "50%")
    assert "a trial on a sample: nothing kept" in said.out
    assert not fresh.path("catalog.duckdb").exists()


@pytest.mark.parametrize("share", ["0", "0%", "101%", "2", "some", "-1%", "nan"])
def test_a_share_that_is_none(fresh: Shop, share: str) -> None:
    said = fresh.run("build", f"--sample={share}", code=2)
    assert f"--sample {share} is not a share" in said.err
    assert "hint: write 1% or 0.01" in said.err


def test_limits_are_taken(fresh: Shop) -> None:
    fresh.run("build", "--threads", "1", "--memory-limit", "1GB", "--lock-timeout", "1", "--commit", "wait")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--commit", "now"], "--commit now is not known"),
        (["--memory-limit", "much"], "--memory-limit much is not a size hint: write 4GB or 500MB"),
        (["--memory-limit", "4"], "--memory-limit 4 is not a size"),
        (["--threads", "0"], "Invalid value for '--threads'"),
        (["--lock-timeout", "-1"], "Invalid value for '--lock-timeout'"),
        (["--features", "user_spnd"], "unknown feature 'user_spnd' hint: did you mean 'user_spend'?"),
        (["--tags", "dayly"], "dayly"),
        (["--select", "++"], "++"),
        (["--profile", "prod"], "there is no profile 'prod'"),
        (["--fetures", "x"], "No such option: --fetures"),
    ],
)
def test_wrong_usage(fresh: Shop, arguments: list[str], message: str) -> None:
    assert message in fresh.run("build", *arguments, code=2).flat


def test_a_failed_check_keeps_the_last_version_and_shows_keys(shop: Shop) -> None:
    shop.pay("202,7,2024-06-02 10:00:00,grocer,-1.00,settled")
    said = shop.run("build", code=1)
    assert "failed user_spend: input.amount greater_than(0): 1 of 190 rows" in said.flat
    assert "user_id = 7" in said.out
    assert "skipped payment_size" in said.flat
    assert shop.current("user_spend") == ("1.1.0", False)
    assert shop.current("user_last_purchase") == ("1.0.2", False)


def test_an_error_in_a_feature_names_file_and_line(shop: Shop) -> None:
    shop.change("user_spend", "SUM(amount) ", "SUM(amont) ")
    said = shop.run("build", code=1)
    assert said.err.startswith("error: features/user_spend.sql:")
    assert "amont" in said.err


def test_a_held_feature_says_so_and_is_released(shop: Shop) -> None:
    shop.run("rollback", "user_spend", "1.0.0")
    shop.pay("202,7,2024-06-02 10:00:00,grocer,1.00,settled")
    assert "patch user_spend 1.1.0 -> 1.1.1 (held: 1.0.0 stays current)" in shop.run("build").flat
    assert shop.current("user_spend") == ("1.0.0", True)
    assert "unchanged user_spend 1.1.1 (held: 1.0.0 stays current)" in shop.run("plan").flat
    assert "current moves from 1.0.0 to 1.1.1" in shop.run("build", "--release").out
    assert shop.current("user_spend") == ("1.1.1", False)


def test_validate_runs_checks_and_builds_nothing(fresh: Shop) -> None:
    said = fresh.run("validate")
    assert "ok user_spend (2 checks)" in said.flat
    assert "4 features: 4 ok, 0 failed" in said.out
    assert not fresh.path("catalog.duckdb").exists()


def test_validate_runs_output_checks_on_the_catalog(built: Path) -> None:
    found = {r["feature"]: r for r in mlforge("-C", built, "validate", "--json").json}
    assert {c["side"] for c in found["user_spend"]["checks"]} == {"input", "output"}
    assert all(r["skipped"] is None for r in found.values())


def test_validate_reports_every_broken_feature_and_what_reads_it(fresh: Shop) -> None:
    fresh.change("user_spend", "SUM(amount) ", "SUM(now()) ")
    fresh.change("user_profile", "{{ config(", "{{ confg(")
    said = fresh.run("validate", code=1)
    assert "features/user_profile.sql:" in said.out
    assert "failed user_spend features/user_spend.sql:" in said.flat
    assert "ok user_last_purchase" in said.flat
    assert "1 ok, 3 failed" in said.out


def test_validate_shows_failing_rows(fresh: Shop) -> None:
    fresh.pay("202,7,2024-06-02 10:00:00,grocer,-1.00,settled")
    said = fresh.run("validate", "--features", "user_spend", code=1)
    assert "failed user_spend: input.amount greater_than(0): 1 of 189 rows" in said.flat


NOT_UNDERSTOOD = """\
{{ config(entity="user", timestamp="event_time") }}
WITH RECURSIVE r AS (
  SELECT user_id, event_time, amount FROM {{ source("transactions") }}
  UNION ALL SELECT user_id, event_time + INTERVAL 1 DAY, amount - 10 FROM r WHERE amount > 100
)
SELECT user_id, event_time, amount FROM r
"""


@pytest.mark.parametrize("command", ["plan", "build", "validate"])
def test_strict_refuses_what_is_not_proven(fresh: Shop, command: str) -> None:
    text = fresh.path("mlforge.yaml").read_text().replace("strict: true", "strict: false")
    fresh.path("mlforge.yaml").write_text(text)
    fresh.path("features/repeated.sql").write_text(NOT_UNDERSTOOD)
    why = "a recursive CTE over rows with a time is not understood"
    assert f"it may leak, unproven: {why}" in fresh.run(command, "-f", "repeated").flat
    said = fresh.run(command, "-f", "repeated", "--strict", code=1)
    assert f"features/repeated.sql:2: {why}" in said.flat


def test_a_profile_behind_or_before_the_command_or_in_the_environment(
    fresh: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh.path("mlforge.yaml").open("a") as file:
        file.write("  other: {warehouse: {kind: duckdb, path: other.duckdb}}\n")
    for arguments in (["build", "--profile", "other"], ["--profile", "other", "build"]):
        fresh.run(*arguments)
        fresh.path("other.duckdb").unlink()
    monkeypatch.setenv("MLFORGE_PROFILE", "other")
    fresh.run("build")
    assert fresh.path("other.duckdb").exists()
    assert not fresh.path("catalog.duckdb").exists()
