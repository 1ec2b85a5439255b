"""What it costs to look at every row: each feature built as it is, and with assume_final=true, which looks at none.

Features that the SQL alone proves cost nothing, and are not here. MLFORGE_BENCH_EVENTS sets the number of events."""

from __future__ import annotations

import os
import sys
from functools import partial

import data
from harness import run
from projects import project

EVENTS = int(os.environ.get("MLFORGE_BENCH_EVENTS", "10000000"))
DAY_END = "make_timestamp((epoch_us(event_time) // 86400000000 + 1) * 86400000000)"
EV, OTHER = '{{ source("events") }}', '{{ source("other") }}'
SAME_DAY = "o.user_id = e.user_id AND date_trunc('day', o.event_time) = date_trunc('day', e.event_time)"
FEATURES = {
    "projection": f"SELECT user_id, greatest(event_time, event_time) AS t, amount FROM {EV}",
    "groups": f"SELECT user_id, {DAY_END} AS t, SUM(amount) AS s, COUNT(*) AS n FROM {EV} GROUP BY ALL",
    "first": f"SELECT user_id, MIN(event_time) AS t, arg_min(amount, event_time) AS v FROM {EV} GROUP BY user_id",
    "distinct": f"SELECT DISTINCT user_id, {DAY_END} AS t, 1 AS active FROM {EV}",
    "asof": "SELECT e.user_id, greatest(e.event_time, e.event_time) AS t, e.amount / o.amount AS ratio "
    f"FROM {EV} e ASOF LEFT JOIN {OTHER} o ON e.user_id = o.user_id AND o.event_time <= e.event_time",
    "window": "SELECT user_id, event_time AS t, SUM(amount) OVER (PARTITION BY user_id ORDER BY epoch_us(event_time)) "
    f"AS s FROM {EV}",
    "join": f"SELECT e.user_id, {DAY_END.replace('event', 'e.event')} AS t, e.amount, o.amount AS other "
    f"FROM {EV} e LEFT JOIN {OTHER} o ON {SAME_DAY}",
    "exists": f"SELECT e.user_id, {DAY_END} AS t, EXISTS (FROM {OTHER} o WHERE {SAME_DAY}) AS other FROM {EV} e",
    "subquery": f"SELECT e.user_id, {DAY_END} AS t, (SELECT SUM(o.amount) FROM {OTHER} o WHERE {SAME_DAY}) AS other "
    f"FROM {EV} e",
}


def build(name: str, more: str) -> str:
    """Build one feature; how many rows it has and how it is proven."""
    import mlforge as mlf
    from mlforge.forge import BuildOptions

    sources = {"events": data.events(EVENTS), "other": data.events(EVENTS // 10)}
    root = project("leaks", sources, {"f": f'{{{{ config(entity="user", timestamp="t"{more}) }}}}\n{FEATURES[name]}\n'})
    result = mlf.open(root).build(options=BuildOptions(threads=2))
    assert not result.failed, result
    (step,) = result.plan.steps
    return f"{result.features[0].rows:,} rows, {step.candidate.compiled.proof.status}"


if __name__ == "__main__":
    for rows in (EVENTS, EVENTS // 10):
        data.events(rows)
    wanted = [name for name in FEATURES if len(sys.argv) < 2 or sys.argv[1].startswith(name)]
    for name in wanted:
        forms = {
            f"{name}, not looked at": partial(build, name, ", assume_final=true"),
            f"{name}, every row looked at": partial(build, name, ""),
        }
        run(f"Row check of {name}, {EVENTS:,} events", forms, f"{name}, not looked at")
