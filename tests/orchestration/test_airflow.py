"""Airflow: the DAG of examples/orchestration/airflow, run by Airflow itself on an SQLite database."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from tests.orchestration.conftest import EXAMPLES, python_of, run

PYTHON = python_of("airflow")
FOLDER = EXAMPLES / "airflow"
FEATURES = {"payment_size", "user_last_purchase", "user_profile", "user_spend"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of Airflow with its tables, for all tests."""
    home = tmp_path_factory.mktemp("airflow")
    run([PYTHON.with_name("airflow"), "db", "migrate"], settings(home) | {"HOME": str(home), "PATH": "/usr/bin:/bin"})
    return home


def settings(home: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


@pytest.fixture
def environment(environment: dict[str, str], database: Path) -> dict[str, str]:
    return environment | settings(database)


def test_the_dag_builds_and_reports_and_writes_the_manifest(project: Path, environment: dict[str, str]) -> None:
    said = run([PYTHON.with_name("airflow"), "dags", "test", "mlforge_features"], environment)
    assert "state=success" in said
    with duckdb.connect(str(project / "catalog.duckdb"), read_only=True) as con:
        built = dict(con.execute("SELECT feature, rows FROM mlforge.versions").fetchall())
    assert built.keys() == FEATURES
    (report,) = [line for line in said.splitlines() if "Returned value was: ['" in line]
    assert all(f"{name} 1.0.0 {rows}" in report for name, rows in built.items())  # from the XCom of the build
    assert json.loads((project / "manifest.json").read_text())["features"].keys() == FEATURES


def test_a_feature_that_fails_fails_the_task_and_stops_what_is_behind_it(
    project: Path, environment: dict[str, str]
) -> None:
    (project / "features/broken.sql").write_text(
        "{{ config(entity='user') }}\nSELECT user_id, error('no way')::INTEGER AS x FROM {{ source('users') }}\n"
    )
    said = run([PYTHON, Path(__file__).with_name("run_dag.py")], environment)
    found = json.loads(said.splitlines()[-1])
    behind = dict.fromkeys(("freshness", "manifest", "report"), "upstream_failed")
    assert found == {"state": "failed", "tasks": {"build": "failed", **behind}}
    assert '"event":"feature_failed","feature":"broken"' in said
    assert "The command returned a non-zero exit code 1." in said
