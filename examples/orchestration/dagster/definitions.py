"""Dagster: one asset for each feature, made from the manifest; features that read each other depend on each other.

mlforge need not live in Dagster's Python: ``MLFORGE`` names its command, ``MLFORGE_PROJECT`` the project's folder, with
the manifest.json that ``mlforge manifest --out manifest.json`` writes into it."""

import json
import os
import re
import subprocess
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

MLFORGE = os.environ.get("MLFORGE", "mlforge")
PROJECT = Path(os.environ.get("MLFORGE_PROJECT", "/srv/features"))
WRONG_USAGE = 2  # the same call fails again: no retry


def events(context: dg.AssetExecutionContext, *arguments: str) -> dict[str, Any]:
    """Run mlforge and log each event as it comes; returns the last one, ``finished``. Raises Failure."""
    command = [MLFORGE, "-C", str(PROJECT), *arguments]
    finished, said = {}, deque(maxlen=20)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            if not line.startswith("{"):
                said.append(line)  # for people, from stderr
                continue
            event = json.loads(line)
            if event["event"] == "finished":
                finished = event
            else:
                context.log.info(" ".join(str(event[k]) for k in ("event", "feature", "version") if event[k]))
    if process.returncode:
        raise dg.Failure(
            description="".join(said) or f"exit code {process.returncode}",
            metadata={"exit_code": process.returncode},
            allow_retries=process.returncode != WRONG_USAGE,
        )
    return finished


def build(context: dg.AssetExecutionContext, feature: str) -> dg.MaterializeResult:
    """Build one feature. If nothing changed, the version that is there is reported."""
    # Builds of one catalog wait for each other; Dagster may start several at once.
    finished = events(context, "build", "--features", feature, "--json", "--lock-timeout", "3600")
    step = next(step for step in finished["plan"]["steps"] if step["feature"] == feature)
    metadata = {"version": step["version_to"], "action": step["action"], "seconds": finished["seconds"]}
    for done in finished["features"]:
        if done["feature"] == feature and done["status"] == "built":
            metadata |= {"dagster/row_count": done["rows"], "seconds": done["seconds"], "mode": done["mode"]}
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(step["version_to"]))


def asset(name: str, feature: dict[str, Any]) -> dg.AssetsDefinition:
    """The asset of a feature, downstream of the sources and features that its current version reads."""
    minor = feature["current"].rpartition(".")[0]
    definition = feature["definitions"][minor]["definition"]

    @dg.asset(
        name=name,
        deps=[*definition["refs"], *(["sources", source] for source in definition["sources"])],
        description=feature["config"]["description"],
        group_name=definition["entity"],
        kinds={"mlforge", "duckdb"},
        tags={re.sub(r"[^\w.-]", "_", tag): "" for tag in feature["config"]["tags"]},
        code_version=minor,  # mlforge has found out what means the same
        metadata={"path": feature["path"], "kind": feature["kind"]},
        retry_policy=dg.RetryPolicy(max_retries=2, delay=60),
    )
    def built(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return build(context, name)

    return built


def assets() -> Iterator[dg.AssetsDefinition | dg.AssetSpec]:
    """Features as assets, and the sources that they read as assets that something else makes."""
    manifest = json.loads((PROJECT / "manifest.json").read_text(encoding="utf-8"))
    for name, source in manifest["sources"].items():
        yield dg.AssetSpec(["sources", name], description=source["description"], metadata={"path": source["path"]})
    for name, feature in manifest["features"].items():
        yield asset(name, feature)


found = list(assets())
features = dg.define_asset_job("features", selection=[a for a in found if isinstance(a, dg.AssetsDefinition)])
hourly = dg.ScheduleDefinition(job=features, cron_schedule="5 * * * *")
defs = dg.Definitions(assets=found, jobs=[features], schedules=[hourly])
