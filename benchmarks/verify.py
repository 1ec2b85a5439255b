"""Verifying 1,000 labels against the build that made what they read: the promise is under 10 % of its time.

One feature of 10M events: sum, avg and count of one DOUBLE over 7 and 30 days, 100,000 keys, refreshed daily. The time
of verify holds the retrieval of the labels, and Python's start. MLFORGE_BENCH_EVENTS sets the number of events."""

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
{{ config(entity="user", timestamp="event_time", interval="1d") }}
SELECT user_id, event_time,
  SUM(amount) OVER last_7d AS spend_7d, AVG(amount) OVER last_7d AS avg_7d, COUNT(amount) OVER last_7d AS n_7d,
  SUM(amount) OVER last_30d AS spend_30d, AVG(amount) OVER last_30d AS avg_30d, COUNT(amount) OVER last_30d AS n_30d
FROM {{ source("events") }}
"""


def _forge() -> Forge:
    import mlforge as mlf

    return mlf.open(project("verify", {"events": data.events(EVENTS)}, {"spend": FEATURE}, keep=True))


def build() -> object:
    """The full build."""
    from mlforge.building.options import BuildOptions

    return [f.rows for f in _forge().build(options=BuildOptions(force=True)).features]


def verify(labels: str | None) -> object:
    """Label rows from a file, or keys and times of the feature's rows."""
    from mlforge.verify.result import VerifyOptions

    found = _forge().verify("spend", labels, VerifyOptions(sample=LABELS))
    return f"{found.status}, {found.values} values"


if __name__ == "__main__":
    labels = str(data.labels(LABELS))
    forms = {
        "mlforge build": build,
        "mlforge verify": lambda: verify(None),
        "mlforge verify --labels": lambda: verify(labels),
    }
    run(f"Verify, {LABELS:,} labels, {EVENTS:,} events", forms, "mlforge build")
