"""Running a plan: every step in a staging file, then one commit."""

from __future__ import annotations

import datetime
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from mlforge.building import describe, increment, materialise, past_changes, plausible
from mlforge.building.affected_rows import Changes
from mlforge.building.interrupts import interruptible
from mlforge.building.leak_warnings import leakage
from mlforge.building.materialise import Runner
from mlforge.building.reads import bind_reads
from mlforge.building.work import Event, EventKind, FeatureResult, Staged, Status, Work
from mlforge.catalog.file import no_space
from mlforge.errors import BuildError, MlforgeError, Where, engine_words
from mlforge.model import StoredFeature, StoredSet, StoredVersion
from mlforge.plan.increments import Increment
from mlforge.plan.spans import EVERYTHING
from mlforge.records import Part
from mlforge.sql.bind import table_name
from mlforge.sql.ref_times import with_ref_times
from mlforge.sql.templates import ident
from mlforge.warehouses.duckdb import CURRENT, DuckDB
from mlforge.warehouses.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlforge.building.candidates import Analysed, Analysis
    from mlforge.building.options import BuildOptions
    from mlforge.catalog.staging import Staging
    from mlforge.model import CatalogState, Compiled, SourceState
    from mlforge.plan.steps import Failure, FeatureStep, Plan, SetStep
    from mlforge.records import CheckResult


def run(
    plan: Plan,
    analysis: Analysis,
    state: CatalogState,
    staging: Staging,
    catalog_path: str | None,
    options: BuildOptions,
    notify: Callable[[Event], None],
) -> Work:
    """Make every version of the plan in the staging file.

    A feature that fails takes those that read it with it; the others go on. ``catalog_path`` is the catalog as it is,
    None if there is none; writers of it are waited for as ``options`` say. Raises LockedError, CatalogError."""
    attach = partial(staging.instance.attach, lock_timeout=options.lock_timeout)
    warehouse = DuckDB(staging.con, analysis.project.root, attach=attach)
    warehouse.sample = options.sample
    warehouse.known = plan.source_states
    work = Work(analysis, state, state, warehouse, Runner(staging.con), state.last_build + 1, notify)
    if catalog_path:
        warehouse.attach_catalog(catalog_path)
        work.attached = True
    with interruptible(staging.con):
        for failure in plan.failed:
            _unplanned(work, failure)
        for step in plan.steps:
            _step(work, step)
    if work.attached:
        staging.con.execute(f"DETACH {CURRENT}")
    return work


def _unplanned(work: Work, failure: Failure) -> None:
    name, message = failure.feature, failure.message
    work.results[name] = FeatureResult(feature=name, action="none", version="", status=failure.status, error=message)
    kind: EventKind = "feature_failed" if failure.status == "failed" else "feature_skipped"
    work.notify(Event(event=kind, feature=name, message=message))


def _step(work: Work, step: FeatureStep) -> None:
    name = step.feature
    work.runner.feature = name
    if not step.builds:
        work.results[name] = _result(step, "unchanged")
        return
    lost = [u for u in step.upstream if u in work.results and work.results[u].status in ("failed", "skipped")]
    if lost:
        work.results[name] = _result(step, "skipped", error=f"reads {', '.join(lost)}, which failed")
        work.notify(Event(event="feature_skipped", feature=name, message=work.results[name].error))
        return
    work.notify(Event(event="feature_started", feature=name, version=str(step.version_to), action=step.action))
    start = time.perf_counter()
    try:
        _build(work, step, start)
    except MlforgeError as error:
        _fail(work, step, str(error), start)


def _fail(work: Work, step: FeatureStep, message: str, start: float, checks: tuple[CheckResult, ...] = ()) -> None:
    seconds = time.perf_counter() - start
    work.results[step.feature] = _result(step, "failed", error=message, seconds=seconds, checks=checks)
    work.notify(Event(event="feature_failed", feature=step.feature, message=message, seconds=seconds))


def _result(step: FeatureStep, status: Status, **more: Any) -> FeatureResult:
    version = str(step.version_to)
    return FeatureResult(feature=step.feature, action=step.action, version=version, status=status, **more)


def _build(work: Work, step: FeatureStep, start: float) -> None:
    """Bind, check the event rows, make the table, check and describe the outcome."""
    import duckdb

    found = work.analysis.features[step.feature]
    try:
        made = _make(work, step, found)
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except (duckdb.Error, MlforgeError) as error:
        if no_space(error):  # no feature's fault, and the others would not fit either
            raise
        if materialise.LEAK in str(error):
            raise leakage(work, found) from error
        where = Where(found.candidate.path)
        if misfit := work.warehouse.explained(error):
            raise BuildError(f"{step.feature}: {misfit.message}", where=where, hint=misfit.hint) from error
        if isinstance(error, MlforgeError):
            raise
        raise BuildError(f"{step.feature}: {engine_words(error)}", where=where, hint=_advice(str(error))) from error
    checks = tuple(made.checks)
    broken = [c for c in checks if not c.passed and c.severity == "error"]
    if broken or made.staged is None:
        _fail(work, step, "; ".join(_said(c) for c in broken), start, checks)
        return
    staged = made.staged
    staged.seconds = time.perf_counter() - start
    work.staged[step.feature] = staged
    work.state = _with_version(work.state, step, staged.stored)
    work.results[step.feature] = _result(
        step,
        "built",
        rows=staged.stored.rows,
        event_rows=staged.event_rows,
        nowhere=made.counts.nowhere if made.counts else 0,
        ties=_ties(staged, made.counts),
        seconds=staged.seconds,
        checks=checks,
        mode=staged.mode,
        why=staged.why,
        added=staged.added,
        closed=staged.closed,
    )
    work.notify(
        Event(
            event="feature_done",
            feature=step.feature,
            version=str(step.version_to),
            action=step.action,
            mode=staged.mode,
            rows=staged.stored.rows,
            seconds=staged.seconds,
        )
    )


def _ties(staged: Staged, counts: materialise.EventCounts | None) -> int:
    """Rows that share keys and time with another one, where that decides a value and all rows were made: of plain
    features, and of windows with row columns or with aggregates that see rows in order."""
    compiled = staged.stored.compiled
    ordered = bool(compiled.rows) or any(a.method == "ordered" for a in compiled.aggregates)
    decides = compiled.kind == "plain" or (compiled.kind == "windows" and ordered)
    if counts is None or not decides or compiled.interval or staged.mode != "whole":
        return 0
    return counts.rows - counts.nowhere - staged.stored.rows


def _advice(text: str) -> str | None:
    if "Out of Memory" in text:
        return "give it more with --memory-limit, or fewer --threads: each thread needs its own part"
    if "according to format specifier" in text:
        return (
            "timestamp_format holds for every row; where they are written in several ways, leave it out and write"
            " try_strptime(column, ['%d/%m/%Y %H:%M:%S', '%d/%m/%Y']) in the SQL: the first that fits"
        )
    return None


def _said(check: CheckResult) -> str:
    column = f"{check.side}.{check.column}: " if check.column else ""
    return f"check {column}{check.check} failed for {check.failed} of {check.rows} rows"


class _Made(NamedTuple):
    """What came of one step; ``staged`` is None if a check of the event rows stopped it."""

    checks: Sequence[CheckResult]
    staged: Staged | None = None
    counts: materialise.EventCounts | None = None


def _make(work: Work, step: FeatureStep, found: Analysed) -> _Made:
    compiled = replace(step.candidate.compiled, table=table_name(step.feature, step.version_to))
    if compiled.kind == "on_demand":
        return _Made([], Staged(step, _stored(work, step, compiled, 0), ()))
    why = step.increment.why
    if step.increment.mode != "whole":
        try:
            return _increment(work, step, found, compiled)
        except increment.Whole as reason:
            why = str(reason)
        except increment.Stopped as stopped:
            return _Made(stopped.checks)
    if step.increment.mode == "by_key":  # its rows do not say which part of the source they are from
        step = replace(step, increment=Increment(why=why))
    return _whole(work, step, found, compiled, why)


def _increment(work: Work, step: FeatureStep, found: Analysed, compiled: Compiled) -> _Made:
    """What changed, compared with the newest version."""
    last = work.before.features[step.feature].versions[-1]
    made = increment.make(work, step, found, last, compiled)
    plausible.check(work, found, made.counts, increment.new_events(work, step), whole=False)
    stored = replace(_stored(work, step, made.compiled, 0), source_states=made.states)
    stored, checks, stats = increment.described(work, found, stored, made, last)
    past_changes.check(work, step, found, made.compiled, last)
    moved = made.size.added + made.size.closed > 0
    work.changes[step.feature] = Changes.of(made.compiled, made.events, made.rows) if moved else Changes()
    staged = Staged(
        step,
        stored,
        tuple(stats),
        mode=step.increment.mode,
        event_rows=made.counts.rows,
        added=made.size.added,
        closed=made.size.closed,
        parts=made.parts,
        gone=made.gone,
    )
    return _Made([*made.checks, *checks], staged, made.counts)


def _whole(work: Work, step: FeatureStep, found: Analysed, compiled: Compiled, why: str | None) -> _Made:
    """Every row, from every row of the sources."""
    carried = step.increment.main is not None
    physicals = bind_reads(work, step, Reading(carry=carried))
    checks = describe.check_input(work, step, found)
    if any(not c.passed and c.severity == "error" for c in checks):
        return _Made(checks)
    text = step.increment.query if carried else found.candidate.seen_sql or compiled.event_sql
    query = with_ref_times(text, physicals, compiled.timestamp)
    counts = _whole_events(work, step, found, replace(compiled, event_sql=query))
    plausible.check(work, found, counts)
    table = materialise.staged(compiled.table if step.new_table else f"{compiled.table}__new")
    last = _last(counts) if step.new_table else None
    made = materialise.make_table(work.runner, replace(compiled, event_sql=query), table, last)
    compiled = replace(made, event_sql=compiled.event_sql)
    if compiled.kind == "static":
        describe.refuse_repeats(work, compiled, table, found)
    stored = _stored(work, step, compiled, 0)
    shown = describe.shown(work, stored, table)
    stored = replace(stored, rows=describe.count(work, shown))
    checked, stats = describe.describe(work, found, stored, shown, rows=stored.rows)
    staged = Staged(step, stored, tuple(stats), why=why, event_rows=counts.rows, parts=_parts(step, counts))
    _patch_of_all(work, step, compiled, table, staged)
    if not step.new_table:
        past_changes.check(work, step, found, compiled, work.before.features[step.feature].versions[-1])
    return _Made(checks + checked, staged, counts)


def _last(counts: materialise.EventCounts) -> int | None:
    """The time of the last event until now: a row of the far future says nothing of where new rows will come."""
    now = time.time_ns() // 1000
    return max((min(p.last, now) for p in counts.parts if p.last is not None), default=None)


def _whole_events(work: Work, step: FeatureStep, found: Analysed, compiled: Compiled) -> materialise.EventCounts:
    """The event rows, and where they are from; those of other times than the version is to hold are left out."""
    spans, carried = step.increment.spans, step.increment.main is not None
    name = materialise.READ_EVENTS if spans else materialise.EVENTS
    stamp = materialise.Stamp(found.compilation.timestamp_type, found.candidate.config.timestamp_format)
    materialise.make_events(work.runner, compiled, stamp, name=name, seen=bool(found.candidate.seen_sql))
    counts = materialise.count_events(work.runner, compiled, stamp, name=name, carried=carried)
    if spans:
        materialise.narrow(work.runner, compiled, name, spans)
    return increment.named(work, counts) if carried else counts


def _patch_of_all(work: Work, step: FeatureStep, compiled: Compiled, table: str, staged: Staged) -> None:
    """Of a PATCH only what differs stays; of a new table all rows do."""
    if step.new_table:
        staged.added = staged.stored.rows
        work.changes[step.feature] = Changes(EVERYTHING, EVERYTHING)
        return
    current = f"{CURRENT}.store.{ident(compiled.table)}"
    size = materialise.make_patch(work.runner, compiled, compiled.table, current, table)
    staged.added, staged.closed = size.added, size.closed
    work.changes[step.feature] = (
        Changes.between(compiled, size.first, size.last) if size.added + size.closed else Changes()
    )


def _parts(step: FeatureStep, counts: materialise.EventCounts) -> tuple[Part, ...]:
    """What a version that was made whole has taken in."""
    main = step.increment.main
    ranges = {p.part: p for p in counts.parts}
    found = []
    for source, state in step.candidate.source_states.items():
        for name, digest in state.parts.items():
            part = Part(source=source, part=name, digest=digest, rows=0 if source == main else None)
            if source == main and (p := ranges.get(name)) is not None:
                part = replace(part, rows=p.rows, first=p.first, last=p.last)
            found.append(part)
    return tuple(found)


def _stored(work: Work, step: FeatureStep, compiled: Compiled, rows: int) -> StoredVersion:
    now = datetime.datetime.now(datetime.UTC)
    return StoredVersion(
        feature=step.feature,
        version=step.version_to,
        definition=step.candidate.definition,
        compiled=compiled,
        source_states=_states(step),
        build=work.build,
        created_at=f"{now:%Y-%m-%dT%H:%M:%S.%f}Z",
        reason="; ".join(step.reasons),
        rows=rows,
    )


def _states(step: FeatureStep) -> dict[str, SourceState]:
    """The states of the sources, with the event times that the version holds."""
    states = dict(step.candidate.source_states)
    if step.increment.main is not None:
        states[step.increment.main] = replace(states[step.increment.main], spans=step.increment.spans)
    return states


def _with_version(state: CatalogState, step: FeatureStep, stored: StoredVersion) -> CatalogState:
    """The state as the commit will leave it."""
    old = state.features.get(step.feature)
    versions = (*(old.versions if old else ()), stored)
    feature = StoredFeature(
        name=step.feature,
        current=step.current_to,
        held=step.held,
        versions=versions,
        config=step.candidate.config,
        path=step.candidate.path,
        sql=step.candidate.sql,
    )
    return replace(state, features={**state.features, step.feature: feature})


def set_after(step: SetStep) -> StoredSet:
    """A planned version of a feature set as the catalog keeps it."""
    return StoredSet(name=step.name, version=step.version_to, members=step.members, written=step.written)
