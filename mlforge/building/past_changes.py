"""Rows of the past that a PATCH changes though no source row is new that was known by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.building.reads import bind_source
from mlforge.model import SOURCE_SCHEMA
from mlforge.plan.increments import calls_of, compare
from mlforge.proof.relations import NEVER
from mlforge.sql.templates import ident, sql
from mlforge.warehouses.duckdb import CURRENT
from mlforge.warehouses.reading import Reading

if TYPE_CHECKING:
    from mlforge.building.candidates import Analysed
    from mlforge.building.work import Work
    from mlforge.model import Compiled, StoredVersion
    from mlforge.plan.steps import FeatureStep

_MOST = 5  # rows that are shown


def check(work: Work, step: FeatureStep, found: Analysed, compiled: Compiled, last: StoredVersion) -> None:
    """Warn of rows that a staged PATCH takes away, changes or adds at times before any source row is known that is new
    since the last version: what a model saw then was not what a training set says now.

    Nothing is said where nobody can tell which source rows are new, nor of a feature that is allowed to look ahead."""
    if compiled.timestamp is None or found.candidate.config.allow_lookahead or not _comparable(step, compiled, last):
        return
    since = _new_since(work, step, found, last)
    if since is None:
        return
    keys = [k.name for k in compiled.keys]
    delay = 0 if compiled.interval else compiled.delay.micros or 0  # boundaries have it in them
    rows = work.runner.run(
        sql(
            "feature/past_changes",
            table=compiled.table,
            current=f"{CURRENT}.store.{ident(compiled.table)}",
            keys=keys,
            before=since - delay,
            most=_MOST,
        )
    )
    if rows:
        work.warnings.append((step.feature, f"{_said(rows, keys, since)}: {_meaning(found)}"))


def _comparable(step: FeatureStep, compiled: Compiled, last: StoredVersion) -> bool:
    """Whether nothing but rows of its sources makes the PATCH differ from the last version."""
    increment = step.increment
    held = {name: state.spans for name, state in last.source_states.items() if state.spans}
    if increment.spans or increment.todo or increment.limit is not None or held:
        return False
    scales = [[a.scale is None for a in c.aggregates] for c in (last.compiled, compiled)]
    return calls_of(last.compiled) == calls_of(compiled) and scales[0] == scales[1]


def _new_since(work: Work, step: FeatureStep, found: Analysed, last: StoredVersion) -> int | None:
    """The instant at which the first row is known that is new since the last version, in microseconds; NEVER if there
    is none. None if it cannot be told: rows are replaced or gone, or have no time."""
    since = [NEVER]
    for name, state in step.candidate.source_states.items():
        source, old = work.analysis.project.sources[name], last.source_states.get(name)
        if old is None or old.shape != state.shape or state.changes:
            return None
        parts = compare(old, state)
        if not parts:
            continue
        relation = found.compilation.verdict.known.get((SOURCE_SCHEMA, name))
        if relation is None or relation.time is None or source.unique_key or source.deleted or not parts.only_new:
            return None
        bind_source(work, name, Reading(parts=parts.to_read))
        seen = relation.seen("_mlforge_s")
        first = work.runner.run(sql("proof/first_seen", schema=SOURCE_SCHEMA, name=name, seen=seen))[0][0]
        if isinstance(first, int):
            since.append(first)
    for name, version in step.upstream.items():
        if last.compiled.reads.get(name) == str(version):
            continue
        changes = work.changes.get(name)
        spans = (*changes.values, *changes.rows) if changes else ((None, None),)
        for first_change, _ in spans:
            if first_change is None:
                return None
            since.append(first_change)
    return min(since)


def _said(rows: list[tuple[object, ...]], keys: list[str], since: int) -> str:
    count = int(rows[0][-1])  # type: ignore[call-overload]
    many = "1 row of the past is" if count == 1 else f"{count:,} rows of the past are"
    shown = "; ".join(
        f"{', '.join(f'{k}={v}' for k, v in zip(keys, values, strict=True))} at {at} is {what}"
        for *values, at, what, _ in rows
    )
    new = "no source row is new" if since == NEVER else "no source row is new that was known by then"
    return f"{many} gone, changed or new, though {new}: {shown}"


def _meaning(found: Analysed) -> str:
    if found.candidate.config.assume_final:
        return "rows do change after their time, so that config(assume_final=true) does not hold"
    if found.compilation.verdict.proof.status in ("plan", "rows"):
        return "the SQL does not look ahead, so rows of a source were rewritten in place, or the engine is another one"
    return "what is computed for a time depends on what came later, so models train on what they will not see"
