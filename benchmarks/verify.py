"""Verifying 1,000 labels against the build that made what they read: the promise is under 10 % of its time.

One feature of 10M events (sum, avg and count of one DOUBLE over 7 and 30 days, 100,000 keys), refreshed daily, and the
same with exact windows. MLFORGE_BENCH_EVENTS sets the number of events."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import data
from harness import run
from projects import project

if TYPE_CHECKING:
    from mlforge.forge import Forge

EVENTS = int(os.environ.get("MLFORGE_BENCH_EVENTS", "10000000"))
LABELS = 1000
FEATURE = """
{{{{ config(entity="user", timestamp="event_time"{interval}) }}}}
SELECT user_id, event_time,
  SUM(amount) OVER last_7d AS spend_7d, AVG(amount) OVER last_7d AS avg_7d, COUNT(amount) OVER last_7d AS n_7d,
  SUM(amount) OVER last_30d AS spend_30d, AVG(amount) OVER last_30d AS avg_30d, COUNT(amount) OVER last_30d AS n_30d
FROM {{{{ source("events") }}}}
"""
KINDS = {"daily": ', interval="1d"', "exact": ""}


def _forge(kind: str) -> Forge:
    import mlforge as mlf

    features = {"spend": FEATURE.format(interval=KINDS[kind])}
    return mlf.open(project(f"verify_{kind}", {"events": data.events(EVENTS)}, features, keep=True))


def build(kind: str) -> object:
    """The full build."""
    from mlforge.build.options import BuildOptions

    result = _forge(kind).build(options=BuildOptions(force=True))
    return [f.rows for f in result.features]


def verify(kind: str, *, given: bool) -> object:
    """Labels of the benchmark's own, or keys and times of the feature's rows."""
    from mlforge.verify.result import VerifyOptions

    labels = str(data.labels(LABELS)) if given else None
    found = _forge(kind).verify("spend", labels, VerifyOptions(sample=LABELS))
    return f"{found.status}, {found.values} values"


if __name__ == "__main__":
    for kind in KINDS:
        forms = {
            f"mlforge build, {kind}": lambda kind=kind: build(kind),
            f"mlforge verify, {kind}": lambda kind=kind: verify(kind, given=False),
            f"mlforge verify --labels, {kind}": lambda kind=kind: verify(kind, given=True),
        }
        data.labels(LABELS)
        run(f"Verify, {LABELS:,} labels, {EVENTS:,} events, {kind}", forms, f"mlforge build, {kind}")
