"""Running a plan: every step in a staging file, then one commit."""

from __future__ import annotations

import dataclasses
import datetime
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from mlforge.build import materialise
from mlforge.build.interrupts import interruptible
from mlforge.build.materialise import Runner
from mlforge.catalog.file import LOCK_TIMEOUT, attach_read, no_space
from mlforge.errors import BuildError, FeatureError, MlforgeError, WarehouseError, Where
from mlforge.model import REF_SCHEMA, StoredFeature, StoredSet, StoredVersion
from mlforge.quality.checks import run_checks
from mlforge.quality.stats import collect_stats
from mlforge.records import CheckResult, ColumnStats
from mlforge.sql.bind import bind, table_name
from mlforge.sql.physical import view
from mlforge.sql.refs import with_ref_times
from mlforge.sql.templates import ident, sql
from mlforge.warehouses.duckdb import CURRENT, DuckDB, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlforge.build.candidates import Analysed, Analysis
    from mlforge.catalog.staging import Staging
    from mlforge.model import CatalogState, Compiled, Source
    from mlforge.plan.steps import FeatureStep, Plan, SetStep
    from mlforge.sql.physical import Physical


Status = Literal["built", "unchanged", "failed", "skipped"]
EventKind = Literal[
    "feature_started", "feature_done", "feature_failed", "feature_skipped", "commit_started", "committed"
]  # fmt: skip


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened in a build, for progress and logs."""

    event: EventKind
    feature: str | None = None
    version: str | None = None
    action: str | None = None  # create, major, minor or patch
    mode: str | None = None  # of feature_done: "full" where every row was computed
    rows: int | None = None
    seconds: float | None = None
    message: str | None = None


class FeatureResult(Struct, frozen=True, kw_only=True):
    """How one step of a build ended."""

    feature: str
    action: str
    version: str
    status: Status
    rows: int | None = None
    event_rows: int | None = None
    nowhere: int = 0  # event rows with a NULL key or time
    ties: int = 0  # rows of a plain feature that share keys and time with the one that is kept
    seconds: float = 0.0
    error: str | None = None
    checks: tuple[CheckResult, ...] = ()


@dataclass
class Staged:
    """What a build made of one feature, before the commit."""

    step: FeatureStep
    stored: StoredVersion
    stats: tuple[ColumnStats, ...]


@dataclass
class Work:
    """A build in progress."""

    analysis: Analysis
    state: CatalogState  # with every staged version already in it
    warehouse: DuckDB
    runner: Runner
    build: int
    notify: Callable[[Event], None]
    attached: bool = False
    staged: dict[str, Staged] = field(default_factory=dict)
    results: dict[str, FeatureResult] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)

    @property
    def failed(self) -> bool:
        """Whether any feature did not get its version."""
        return any(r.status in ("failed", "skipped") for r in self.results.values())


def run(
    plan: Plan,
    analysis: Analysis,
    state: CatalogState,
    staging: Staging,
    catalog_path: str | None,
    *,
    notify: Callable[[Event], None] = lambda _event: None,
    sample: float | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
) -> Work:
    """Make every version of the plan in the staging file.

    A feature that fails takes those that read it with it; the others go on. ``catalog_path`` is the catalog as it is,
    None if there is none; writers of it are waited for up to ``lock_timeout`` seconds. ``sample`` is a share of every
    source's rows to try the build on. Raises LockedError, CatalogError."""
    warehouse = DuckDB(staging.con, analysis.project.root)
    warehouse.sample = sample
    work = Work(analysis, state, warehouse, Runner(staging.con), state.last_build + 1, notify)
    if catalog_path:
        attach_read(staging.con, catalog_path, CURRENT, lock_timeout)
        work.attached, warehouse.catalog = True, CURRENT
    with interruptible(staging.con):
        for step in plan.steps:
            _step(work, step)
    if work.attached:
        staging.con.execute(f"DETACH {CURRENT}")
    return work


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
    except duckdb.Error as error:
        if no_space(error):  # no feature's fault, and the others would not fit either
            raise
        where = Where(found.candidate.path)
        raise BuildError(f"{step.feature}: {first_line(error)}", where=where, hint=_advice(str(error))) from error
    stored, checks = made.stored, tuple(made.checks)
    broken = [c for c in checks if not c.passed and c.severity == "error"]
    if broken or stored is None:
        _fail(work, step, "; ".join(_said(c) for c in broken), start, checks)
        return
    seconds = time.perf_counter() - start
    work.staged[step.feature] = Staged(step, stored, made.stats)
    work.state = _with_version(work.state, step, stored)
    work.results[step.feature] = _result(
        step, "built", rows=stored.rows, event_rows=made.counts and made.counts.rows,
        nowhere=made.counts.nowhere if made.counts else 0, ties=_ties(stored, made.counts), seconds=seconds,
        checks=checks,
    )  # fmt: skip
    version = str(step.version_to)
    done = Event(event="feature_done", feature=step.feature, version=version, rows=stored.rows, seconds=seconds)
    work.notify(replace(done, action=step.action, mode="full"))


def _ties(stored: StoredVersion, counts: materialise.EventCounts | None) -> int:
    """Rows of a plain feature that gave way to another of the same keys and time."""
    if counts is None or stored.compiled.kind != "plain" or stored.compiled.interval:
        return 0
    return counts.rows - counts.nowhere - stored.rows


def _advice(text: str) -> str | None:
    if "Out of Memory" in text:
        return "give it more with --memory-limit, or fewer --threads: each thread needs its own part"
    return None


def _said(check: CheckResult) -> str:
    column = f"{check.side}.{check.column}: " if check.column else ""
    return f"check {column}{check.check} failed for {check.failed} of {check.rows} rows"


class _Made(NamedTuple):
    """What came of one step; ``stored`` is None if a check of the event rows stopped it."""

    checks: list[CheckResult]
    stored: StoredVersion | None = None
    stats: tuple[ColumnStats, ...] = ()
    counts: materialise.EventCounts | None = None


def _make(work: Work, step: FeatureStep, found: Analysed) -> _Made:
    compiled = replace(step.candidate.compiled, table=table_name(step.feature, step.version_to))
    if compiled.kind == "on_demand":
        return _Made([], _stored(work, step, compiled, 0))
    _bind(work, step)
    checks = _check(work, step, found)
    if any(not c.passed and c.severity == "error" for c in checks):
        return _Made(checks)
    query = with_ref_times(compiled.event_sql, _physicals(work, step), compiled.timestamp)
    counts = materialise.make_events(
        work.runner, replace(compiled, event_sql=query), found.compilation.timestamp_type,
        found.candidate.config.timestamp_format,
    )  # fmt: skip
    table = materialise.staged(compiled.table if step.new_table else f"{compiled.table}__new")
    compiled = materialise.make_table(work.runner, compiled, table)
    if compiled.kind == "static":
        _refuse_repeats(work, compiled, table, found)
    stored = _stored(work, step, compiled, 0)
    stored, checked, stats = _described(work, found, stored, table)
    if not step.new_table:
        current = f"{CURRENT}.store.{ident(compiled.table)}"
        materialise.make_patch(work.runner, compiled, compiled.table, current, table)
    return _Made(checks + checked, stored, tuple(stats), counts)


def _described(
    work: Work, found: Analysed, stored: StoredVersion, table: str
) -> tuple[StoredVersion, list[CheckResult], list[ColumnStats]]:
    """Checks and statistics of what readers will see, and how many rows that is."""
    con, compiled = work.runner.con, stored.compiled
    relation = _shown(work, stored, table)
    shown = [*(k.name for k in compiled.keys), *([compiled.timestamp] if compiled.timestamp else [])]
    shown += [o.name for o in compiled.outputs]
    columns = dict(zip(shown, work.warehouse.describe(f"FROM {relation}").values(), strict=True))
    rows = con.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0]
    keys = [k.name for k in compiled.keys]
    checks = run_checks(
        con, stored.feature, found.output_checks, "output", relation, columns=columns, keys=keys,
        timestamp=compiled.timestamp,
    )  # fmt: skip
    stats = collect_stats(
        con, stored.feature, relation, columns={o.name: columns[o.name] for o in compiled.outputs}, rows=rows,
        previous_edges=_edges(work, stored), sample_by=[*keys, *([compiled.timestamp] if compiled.timestamp else [])],
    )  # fmt: skip
    return replace(stored, rows=rows), checks, stats


def _edges(work: Work, stored: StoredVersion) -> dict[str, tuple[float, ...]]:
    """The histogram edges of the feature's newest build, so that builds can be compared bin by bin."""
    if stored.feature not in work.state.features:  # the attached file may hold no catalog yet
        return {}
    rows = work.runner.con.execute(sql("feature/edges", catalog=CURRENT, feature=stored.feature)).fetchall()
    return {column: tuple(edges) for column, edges in rows}


def _check(work: Work, step: FeatureStep, found: Analysed) -> list[CheckResult]:
    """Checks of the event rows, before anything is computed."""
    if not found.input_checks:
        return []
    columns = found.compilation.input_columns
    keys = [k.name for k in step.candidate.compiled.keys if k.name in columns]
    timestamp = step.candidate.compiled.timestamp
    return run_checks(
        work.runner.con, step.feature, found.input_checks, "input", f"({found.compilation.input_sql})", columns=columns,
        keys=keys, timestamp=timestamp if timestamp in columns else None,
    )  # fmt: skip


def _refuse_repeats(work: Work, compiled: Compiled, table: str, found: Analysed) -> None:
    """A static feature has one row per key; which of two is right only the user can say."""
    keys = [k.name for k in compiled.keys]
    rows = work.runner.con.execute(sql("feature/repeats", table=table, keys=keys)).fetchall()
    if rows:
        *key, count = rows[0]
        shown = ", ".join(f"{k} = {v!r}" for k, v in zip(keys, key, strict=True))
        raise FeatureError(
            f"{compiled.feature} has {count} rows for {shown}",
            where=Where(found.candidate.path),
            hint="a static feature has one row per key: aggregate, choose one with QUALIFY, or give it a timestamp",
        )


def _shown(work: Work, stored: StoredVersion, table: str) -> str:
    """A temporary view of what readers will see of the staged table, for checks and statistics."""
    physical = _over(bind(work.state, stored), table)
    work.runner.con.execute(f"CREATE SCHEMA IF NOT EXISTS {ident('_mlforge_view')}")
    work.runner.run(view("_mlforge_view", stored.feature, physical))
    if stored.compiled.kind != "windows" or stored.compiled.interval:
        return f"{ident('_mlforge_view')}.{ident(stored.feature)}"
    # Exact windows are computed when read; checks and statistics read several times.
    work.runner.run(sql("feature/keep_view", schema="_mlforge_view", name=stored.feature, kept="_mlforge_shown"))
    return "_mlforge_shown"


def _over(physical: Physical, table: str) -> Physical:
    """The same physical feature over another table that holds all of its rows and no others."""
    return dataclasses.replace(physical, relation=table, patch=None)


def _bind(work: Work, step: FeatureStep) -> None:
    """Make the views of the step's sources, and of the features it reads."""
    definition = step.candidate.definition
    for name in definition.sources.keys() - work.bound:
        source: Source = work.analysis.project.sources[name]
        work.warehouse.bind_source(source)
        work.bound.add(name)
    for name, physical in _physicals(work, step).items():
        work.runner.con.execute(view(REF_SCHEMA, name, physical))


def _physicals(work: Work, step: FeatureStep) -> dict[str, Physical]:
    found = {}
    for name, version in step.upstream.items():
        catalog = "" if name in work.staged and work.staged[name].stored.version == version else f"{CURRENT}."
        stored = work.state.features[name].get(version)
        physical = bind(work.state, stored, catalog)
        if catalog == "" and not work.staged[name].step.new_table:
            physical = _patched(work, stored, physical)
        found[name] = physical
    return found


def _patched(work: Work, stored: StoredVersion, physical: Physical) -> Physical:
    """A staged PATCH as a whole: the rows of the catalog's table that stay, and those that are added."""
    name = f"{stored.compiled.table}__patched"
    columns = materialise.table_columns(work.runner.con, f"{CURRENT}.store.{ident(stored.compiled.table)}")
    work.runner.con.execute(
        sql(
            "feature/patched",
            name=name,
            table=stored.compiled.table,
            columns=columns,
            current=f"{CURRENT}.store.{ident(stored.compiled.table)}",
        )
    )
    return _over(physical, ident(name))


def _stored(work: Work, step: FeatureStep, compiled: Compiled, rows: int) -> StoredVersion:
    now = datetime.datetime.now(datetime.UTC)
    return StoredVersion(
        feature=step.feature, version=step.version_to, definition=step.candidate.definition, compiled=compiled,
        source_states=step.candidate.source_states, build=work.build, created_at=f"{now:%Y-%m-%dT%H:%M:%S.%f}Z",
        reason="; ".join(step.reasons), rows=rows,
    )  # fmt: skip


def _with_version(state: CatalogState, step: FeatureStep, stored: StoredVersion) -> CatalogState:
    """The state as the commit will leave it."""
    old = state.features.get(step.feature)
    versions = (*(old.versions if old else ()), stored)
    feature = StoredFeature(
        name=step.feature, current=step.current_to, held=step.held, versions=versions,
        config=step.candidate.config, path=step.candidate.path, sql=step.candidate.sql,
    )  # fmt: skip
    return replace(state, features={**state.features, step.feature: feature})


def set_after(step: SetStep) -> StoredSet:
    """A planned version of a feature set as the catalog keeps it."""
    return StoredSet(name=step.name, version=step.version_to, members=step.members, written=step.written)


__all__ = ["Event", "FeatureResult", "Staged", "WarehouseError", "Work", "run", "set_after"]
