"""Run by Airflow's Python: the DAG once, in this process, and how each task ended, as JSON on the last line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples/orchestration/airflow"))

from mlforge_features import dag

for task in dag.tasks:
    task.retries = 0
run = dag.test()
states = {task.task_id: str(task.state) for task in run.get_task_instances()}
print()
print(json.dumps({"state": str(run.state), "tasks": states}))
