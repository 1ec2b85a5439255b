"""Airflow: build the features every hour, then look at their age and write the manifest.

mlforge need not live in Airflow's Python: ``MLFORGE`` names its command, ``MLFORGE_PROJECT`` the project's folder."""

from __future__ import annotations

import json
import os
import shlex
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

MLFORGE = os.environ.get("MLFORGE", "mlforge")
PROJECT = os.environ.get("MLFORGE_PROJECT", "/srv/features")


def mlforge(*arguments: str) -> str:
    """A command line of mlforge in the project."""
    return shlex.join([MLFORGE, "-C", PROJECT, *arguments])


with DAG(
    dag_id="mlforge_features",
    schedule="@hourly",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,  # a build takes in whatever has arrived: runs that were missed need no run of their own
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["mlforge"],
) as dag:
    # The last line of stdout, `finished`, becomes the task's XCom. Exit codes 1, 2 and 130 fail the task.
    build = BashOperator(
        task_id="build",
        bash_command=mlforge("build", "--json", "--lock-timeout", "600"),
        output_processor=json.loads,
    )
    freshness = BashOperator(task_id="freshness", bash_command=mlforge("freshness"))
    manifest = BashOperator(task_id="manifest", bash_command=mlforge("manifest", "--out", f"{PROJECT}/manifest.json"))

    @task
    def report(finished: dict) -> list[str]:
        """What was built, as ``feature version rows``: a place for a message to a channel."""
        built = [f for f in finished["features"] if f["status"] == "built"]
        return [f"{f['feature']} {f['version']} {f['rows']}" for f in built]

    build >> [freshness, manifest]
    report(build.output)
