"""Cutting a backfill into batches of event time."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from mlforge.building.materialise import Runner, Stamp, make_events
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from mlforge.building.candidates import Analysis
    from mlforge.model import CatalogState, Duration
    from mlforge.plan.steps import FeatureStep, Plan
    from mlforge.warehouses.duckdb import DuckDB

_DAY = 86_400_000_000
_EPOCH = datetime.datetime(1970, 1, 1)


def cuts(plan: Plan, analysis: Analysis, state: CatalogState, warehouse: DuckDB, batch: Duration) -> list[int]:
    """The event times at which the batches of a plan end, but for the last one, in microseconds since the epoch.

    Only steps count that make a version from rows that it has not taken in yet. A batch without any row is left out."""
    steps = [s for s in plan.builds if s.increment.main is not None and not s.upstream and _is_backfill(s)]
    days = sorted({day for step in steps for day in _days(step, analysis, warehouse)})
    ends = sorted({_end(day, batch) for day in days})
    done = min((_done(step, state) for step in steps), default=None)
    return [end for end in ends[:-1] if done is None or end > done]


def _is_backfill(step: FeatureStep) -> bool:
    return step.new_table or bool(step.increment.todo)


def _done(step: FeatureStep, state: CatalogState) -> int:
    """The event time up to which a step's newest version has taken in everything."""
    lowest = -(1 << 80)
    if step.new_table:
        return lowest
    held = state.features[step.feature].versions[-1].source_states[step.increment.main or ""].spans
    return max((hi for lo, hi in held if lo is None and hi is not None), default=lowest)


def _days(step: FeatureStep, analysis: Analysis, warehouse: DuckDB) -> list[int]:
    """Days, counted from the epoch, that have event rows."""
    found = analysis.features[step.feature]
    for name in step.candidate.definition.sources:
        warehouse.bind_source(analysis.project.sources[name])
    runner = Runner(warehouse.con)
    stamp = Stamp(found.compilation.timestamp_type, found.candidate.config.timestamp_format)
    make_events(runner, step.candidate.compiled, stamp, name="_mlforge_all_events")
    return [int(day) for (day,) in runner.run(sql("feature/days", events="_mlforge_all_events"))]  # type: ignore[call-overload]


def _end(day: int, batch: Duration) -> int:
    """Where the batch that holds a day ends: a multiple of its length, counted from the epoch."""
    if batch.micros is not None:
        return (day * _DAY // batch.micros + 1) * batch.micros
    try:
        moment = _EPOCH + datetime.timedelta(days=day)
    except OverflowError:  # beyond the years that Python knows, where no month needs to be right
        return (day + 1) * _DAY
    month = ((moment.year - 1970) * 12 + moment.month - 1) // batch.months * batch.months + batch.months
    end = datetime.datetime(1970 + month // 12, month % 12 + 1, 1) if 1970 + month // 12 < 10000 else None
    return (end - _EPOCH) // datetime.timedelta(microseconds=1) if end else (day + 1) * _DAY
