"""Run by Dagster's Python: materialise all assets, or those that are named, in this process; what came of it, as JSON on
the last line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples/orchestration/dagster"))

import dagster as dg
from definitions import defs, found

names = sys.argv[1:]
result = dg.materialize(found, selection=names or None, instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)
made = {}
for event in result.get_asset_materialization_events():
    materialised = event.step_materialization_data.materialization
    values = {name: value.value for name, value in materialised.metadata.items()}
    made[materialised.asset_key.to_user_string()] = values | {
        "data_version": materialised.tags["dagster/data_version"],
        "code_version": materialised.tags["dagster/code_version"],
    }
failed = {
    event.step_key: {
        "message": event.step_failure_data.user_failure_data.description,
        "exit_code": event.step_failure_data.user_failure_data.metadata["exit_code"].value,
    }
    for event in result.get_step_failure_events()
}
graph = defs.resolve_asset_graph() if hasattr(defs, "resolve_asset_graph") else defs.get_asset_graph()
reads = {
    key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
    for key in graph.get_all_asset_keys()
}
print()
print(json.dumps({"success": result.success, "made": made, "failed": failed, "reads": reads}))
