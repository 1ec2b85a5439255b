"""Dagster: the assets of examples/orchestration/dagster, loaded and materialised by Dagster itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.orchestration.conftest import EXAMPLES, python_of, run

PYTHON = python_of("dagster")
FEATURES = ("payment_size", "user_last_purchase", "user_profile", "user_spend")


@pytest.fixture
def environment(environment: dict[str, str], project: Path, tmp_path: Path) -> dict[str, str]:
    """With a committed manifest, and no catalog yet."""
    run([environment["MLFORGE"], "-C", project, "build"], environment)
    run([environment["MLFORGE"], "-C", project, "manifest", "--out", project / "manifest.json"], environment)
    (project / "catalog.duckdb").unlink()
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster/dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return environment | {"DAGSTER_HOME": str(tmp_path / "dagster")}


def materialise(environment: dict[str, str], *names: str) -> dict[str, Any]:
    said = run([PYTHON, Path(__file__).with_name("materialise.py"), *names], environment)
    return json.loads(said.splitlines()[-1])


def versions(project: Path) -> dict[str, str]:
    with duckdb.connect(str(project / "catalog.duckdb"), read_only=True) as con:
        return dict(con.execute("SELECT feature, current_version FROM mlforge.features").fetchall())


def test_the_definitions_are_valid(environment: dict[str, str]) -> None:
    file = EXAMPLES / "dagster/definitions.py"
    said = run([PYTHON.with_name("dagster"), "definitions", "validate", "-f", file], environment)
    assert "All code locations passed validation" in said


def test_every_feature_is_an_asset_that_builds(project: Path, environment: dict[str, str]) -> None:
    found = materialise(environment)
    assert found["success"]
    assert found["reads"] == {
        "sources/transactions": [],
        "sources/users": [],
        "user_profile": ["sources/users"],
        "user_spend": ["sources/transactions"],
        "user_last_purchase": ["sources/transactions"],
        "payment_size": ["user_spend"],
    }
    assert sorted(found["made"]) == list(FEATURES)
    profile = found["made"]["user_profile"]
    assert {"version": "1.0.0", "action": "create", "mode": "whole", "dagster/row_count": 20}.items() <= profile.items()
    assert (profile["data_version"], profile["code_version"]) == ("1.0.0", "1.0")
    assert profile["seconds"] > 0
    assert versions(project) == dict.fromkeys(FEATURES, "1.0.0")

    with (project / "data/transactions.csv").open("a") as file:
        file.write("901,7,2024-06-01 10:00:00,grocer,10.00,settled\n")
    found = materialise(environment, "user_last_purchase", "user_profile")
    made = {name: (one["version"], one["action"]) for name, one in found["made"].items()}
    assert made == {"user_last_purchase": ("1.0.1", "patch"), "user_profile": ("1.0.0", "none")}
    assert versions(project) == dict.fromkeys(FEATURES, "1.0.0") | {"user_last_purchase": "1.0.1"}


def test_a_feature_that_is_gone_fails_without_a_retry(project: Path, environment: dict[str, str]) -> None:
    (project / "features/user_profile.sql").unlink()
    config = project / "mlforge.yaml"
    config.write_text(config.read_text().replace(", user_profile]", "]"))
    found = materialise(environment, "user_profile")
    assert not found["success"]
    assert found["failed"]["user_profile"]["exit_code"] == 2
    assert "error: unknown feature 'user_profile'" in found["failed"]["user_profile"]["message"]
    assert not (project / "catalog.duckdb").exists()
