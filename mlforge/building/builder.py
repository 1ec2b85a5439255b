"""A project and its catalog, for builds: planning, and running what was planned."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.building.options import BuildOptions, BuildResult, Selection
from mlforge.model import CatalogState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from mlforge.building.candidates import Analysis
    from mlforge.building.work import Event
    from mlforge.catalog.file import Pins
    from mlforge.errors import MlforgeError
    from mlforge.model import FeatureFile, Project
    from mlforge.plan.selectors import Selectable
    from mlforge.plan.steps import Failure, Plan
    from mlforge.warehouses.duckdb import DuckDB


def catalog_state(project: Project | None, catalog_path: str, lock_timeout: float = 60.0) -> CatalogState:
    """What the catalog holds; an empty state if there is none yet, or only the sources' own tables."""
    from mlforge.catalog import reader
    from mlforge.catalog.file import is_bare, open_read
    from mlforge.warehouses.duckdb import reads_catalog

    if not Path(catalog_path).exists():
        return CatalogState()
    if project and reads_catalog(project) and is_bare(catalog_path, lock_timeout):
        return CatalogState()
    with open_read(catalog_path, lock_timeout=lock_timeout) as con:
        return reader.state(con)


class Builder:
    """Builds of one project into one catalog."""

    def __init__(self, project: Project, catalog_path: str) -> None:
        self.project = project
        self.catalog_path = catalog_path

    def state(self, lock_timeout: float) -> CatalogState:
        """What the catalog holds now."""
        return catalog_state(self.project, self.catalog_path, lock_timeout)

    def build(self, selection: Selection, options: BuildOptions, notify: Callable[[Event], None]) -> BuildResult:
        """Plan and run the plan, batch by batch if so asked. Raises MlforgeError of the kind that stopped it."""
        from mlforge.catalog import log
        from mlforge.catalog.lock import build_lock

        start = datetime.datetime.now(datetime.UTC)
        with build_lock(self.catalog_path, options.lock_timeout):
            log.sweep(self.catalog_path)
            for part in self._batches(selection, options):
                done = self._build_one(selection, part, notify, datetime.datetime.now(datetime.UTC))
                if any(done.plan.step(f.feature) for f in done.features if f.status in ("failed", "skipped")):
                    return done
            return self._build_one(selection, replace(options, batch=None), notify, start)

    def _batches(self, selection: Selection, options: BuildOptions) -> Iterator[BuildOptions]:
        """The builds that come before the last one of a backfill."""
        from mlforge.building.batches import cuts

        if options.batch is None:
            return
        state = self.state(options.lock_timeout)
        plan, analysis = self.planned(selection, options, state)
        with self.engine(options) as warehouse:
            warehouse.known = plan.source_states
            ends = cuts(plan, analysis, state, warehouse, options.batch)
        for end in ends:
            yield replace(options, batch=None, scope=replace(options.scope, until=end, backfill=True))

    def _build_one(
        self, selection: Selection, options: BuildOptions, notify: Callable[[Event], None], start: datetime.datetime
    ) -> BuildResult:
        from mlforge.catalog.file import Pins
        from mlforge.catalog.staging import clean

        with Pins() as pins:  # the plan is about the rows that the build reads
            if Path(self.catalog_path).exists():
                pins.hold(self.catalog_path, options.lock_timeout)
            state = self.state(options.lock_timeout)
            plan, analysis = self.planned(selection, options, state, pins)
            if plan.nothing_to_do and not plan.failed:
                clean(self.catalog_path)
                return BuildResult(plan=plan, build=None)
            return self._run(plan, analysis, state, options, notify, start, pins)

    def _run(
        self,
        plan: Plan,
        analysis: Analysis,
        state: CatalogState,
        options: BuildOptions,
        notify: Callable[[Event], None],
        start: datetime.datetime,
        pins: Pins,
    ) -> BuildResult:
        from mlforge.building.committing import commit_build
        from mlforge.building.run import run
        from mlforge.building.work import Event
        from mlforge.catalog.file import named, real
        from mlforge.catalog.staging import Staging

        warehouse = self.project.warehouse
        existing = self.catalog_path if Path(self.catalog_path).exists() else None
        threads, memory = options.threads or warehouse.threads, options.memory_limit or warehouse.memory_limit
        with Staging(self.catalog_path, threads=threads, memory_limit=memory) as staging:
            with named(real(self.catalog_path)):
                work = run(plan, analysis, state, staging, existing, options, notify)
            staging.close()
            pins.release()
            committed = None
            if options.sample is None and (existing or not work.failed or work.staged):
                notify(Event(event="commit_started"))
                committed = commit_build(work, plan, staging, self.catalog_path, options, start)
                notify(Event(event="committed", seconds=committed.waited))
        return BuildResult(
            plan=plan,
            build=work.build if committed else None,
            features=tuple(work.results.values()),
            failed=work.failed,
            committed=committed,
            seconds=(datetime.datetime.now(datetime.UTC) - start).total_seconds(),
            warnings=tuple(work.warnings),
        )

    def planned(
        self, selection: Selection, options: BuildOptions, state: CatalogState, pins: Pins | None = None
    ) -> tuple[Plan, Analysis]:
        """What a build would do in this state of the catalog, and the features it looked at.

        A Python feature that fails, and any that leaks, is in the plan's ``failed``, with what reads it; its error is
        raised only where nothing else is wanted. Raises what else is wrong with an SQL feature."""
        from mlforge.building.candidates import analyse, render_each, with_upstream
        from mlforge.plan.planner import PlanOptions, Surroundings, plan
        from mlforge.project.call_features import is_python

        analysis, failed = render_each(self.project)
        for name, error in failed.items():
            if name not in analysis.rendered and not is_python(self.project.features[name]):
                raise error
        wanted = self.selected(analysis, selection, state)
        with self.engine(options, pins) as warehouse:
            warehouse.zero_rows = True
            warehouse.known = options.adopt.known(state.source_states)
            analyse(analysis, warehouse, [name for name in wanted if name not in failed], state, failed)
        needed = with_upstream(analysis, wanted)
        lost = {name: error for name, error in failed.items() if name in needed}
        if lost and lost.keys() >= set(wanted):
            raise next(iter(lost.values()))
        planned = plan(
            analysis.candidates,
            state,
            [name for name in wanted if name not in lost],
            Surroundings(
                analysis.graph,
                self.project.feature_sets,
                analysis.project.sources,
                [_failure(name, error) for name, error in lost.items()],
            ),
            PlanOptions(
                force=options.force,
                upgrade_sets=options.upgrade_sets,
                release=options.release,
                adopt=options.adopt,
                scope=replace(options.scope, whole=True) if options.sample else options.scope,
            ),
        )
        return replace(planned, notes=(*planned.notes, *warehouse.notes())), analysis

    def selected(self, analysis: Analysis, selection: Selection, state: CatalogState) -> Collection[str]:
        """The names of the features that are meant. Raises UsageError for a selection of nothing."""
        from mlforge.plan.selectors import Selectable, select

        selectable = {
            name: Selectable(
                path=r.path,
                tags=r.config.tags,
                entity=r.config.entity,
                sources=r.sources,
                refs=tuple(x.name for x in r.refs),
            )
            for name, r in analysis.rendered.items()
        }
        for name, file in self.project.features.items():
            if file.function is not None and name not in selectable:
                selectable[name] = _unrendered(file)

        def changed() -> frozenset[str]:
            whole = self.planned(Selection(), BuildOptions(), state)[0]
            return frozenset(s.feature for s in whole.steps if s.action != "none") | {f.feature for f in whole.failed}

        return select(
            selectable,
            names=selection.features,
            tags=selection.tags,
            select=selection.select,
            exclude=selection.exclude,
            schedule=selection.schedule,
            changed=changed,
        )

    def engine(
        self, options: BuildOptions = BuildOptions(), pins: Pins | None = None
    ) -> AbstractContextManager[DuckDB]:
        """An engine on nothing, for binding and for looking at sources."""
        from mlforge.catalog.source_engine import engine

        return engine(
            self.project,
            self.catalog_path,
            threads=options.threads,
            memory_limit=options.memory_limit,
            lock_timeout=options.lock_timeout,
            pins=pins,
        )


def _failure(name: str, error: MlforgeError) -> Failure:
    from mlforge.building.candidates import Unread
    from mlforge.plan.steps import Failure

    if isinstance(error, Unread):
        return Failure(feature=name, status="skipped", message=error.message)
    return Failure(feature=name, status="failed", message=str(error))


def _unrendered(file: FeatureFile) -> Selectable:
    """What selectors can ask for of a Python feature that failed: what its decorator says."""
    from mlforge.plan.selectors import Selectable

    entity, tags = (file.function.config.get(key) for key in ("entity", "tags"))
    listed = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, (list, tuple)) else []
    return Selectable(path=file.path, entity=entity if isinstance(entity, str) else "", tags=tuple(listed))
