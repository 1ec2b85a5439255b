"""The commit of a build: staged rows, metadata, views and macros, in one transaction."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mlforge.building.catalog_views import named_versions, show_feature, show_set
from mlforge.building.run import set_after
from mlforge.catalog import log, reader, writer
from mlforge.catalog.commit import commit
from mlforge.model import Run
from mlforge.plan.versions import newest
from mlforge.records import BuildRecord, Statement
from mlforge.render.lineage import edges
from mlforge.warehouses.duckdb import reads_catalog

if TYPE_CHECKING:
    from pathlib import Path

    from mlforge.building.options import BuildOptions
    from mlforge.building.work import Staged, Work
    from mlforge.catalog.commit import Committed
    from mlforge.catalog.staging import Staging
    from mlforge.catalog.transaction import Transaction
    from mlforge.model import CatalogState, FeatureRef, StoredFeature
    from mlforge.plan.steps import FeatureStep, Plan


def commit_build(
    work: Work, plan: Plan, staging: Staging, catalog_path: str, options: BuildOptions, started_at: datetime.datetime
) -> Committed:
    """Commit what a build staged. Raises CatalogError or LockedError with the catalog as it was."""
    drained: list[Path] = []

    def apply(tx: Transaction) -> None:
        state = _rows_and_versions(tx, work, plan)
        state = _sets(tx, work, plan, state)
        _metadata(tx, work, plan, state)
        _shows(tx, work, plan, state, catalog_path)
        _record(tx, work, plan, started_at, {"force": options.force})
        drained[:] = log.drain(tx.con, catalog_path)  # a commit may have to start again

    done = commit(
        catalog_path,
        staging,
        apply,
        lock_timeout=options.lock_timeout,
        mode=options.commit,  # type: ignore[arg-type]
        own_tables=reads_catalog(work.analysis.project),
    )
    for path in drained:
        path.unlink(missing_ok=True)
    return done


def _rows_and_versions(tx: Transaction, work: Work, plan: Plan) -> CatalogState:
    state = work.state
    for staged in work.staged.values():
        table = staged.stored.compiled.table
        if staged.stored.compiled.kind == "on_demand":
            continue
        if staged.step.new_table:
            tx.copy_table(table)
        else:
            tx.apply_patch(table, staged.step.version_to.patch)
    writer.put_versions(tx.con, [(s.stored, _change(s.step)) for s in work.staged.values()])
    for step in plan.steps:
        feature = state.features.get(step.feature)
        if feature is not None and _touched(work, step):
            state = replace(state, features={**state.features, step.feature: _moved(feature, step)})
            writer.put_feature(tx.con, state.features[step.feature])
    return state


def _touched(work: Work, step: FeatureStep) -> bool:
    return step.feature in work.staged or step.action in ("metadata", "release")


def _moved(feature: StoredFeature, step: FeatureStep) -> StoredFeature:
    candidate = step.candidate
    return replace(
        feature,
        current=step.current_to,
        held=step.held,
        config=candidate.config,
        path=candidate.path,
        sql=candidate.sql,
    )


def _change(step: FeatureStep) -> Any:
    return "new" if step.action == "create" else step.action


def _sets(tx: Transaction, work: Work, plan: Plan, state: CatalogState) -> CatalogState:
    """New versions of feature sets whose every member is there; the others wait for a build that makes them."""
    now = datetime.datetime.now(datetime.UTC).isoformat()
    for step in plan.sets:
        if all(_is_there(state, m) for m in step.members):
            stored = set_after(step)
            described = work.analysis.project.feature_sets[step.name].description
            writer.put_feature_set(tx.con, stored, build=work.build, created_at=now, description=described)
            versions = (*state.feature_sets.get(step.name, ()), stored)
            state = replace(state, feature_sets={**state.feature_sets, step.name: versions})
    return state


def _is_there(state: CatalogState, ref: FeatureRef) -> bool:
    """Whether an entry's version, with its columns, exists: the plan may have counted on a feature that failed."""
    feature = state.features.get(ref.name)
    found = newest((v.version for v in feature.versions), ref.version) if feature else None
    if feature is None or found is None:
        return False
    return {c.lower() for c in ref.columns} <= {o.name.lower() for o in feature.get(found).compiled.outputs}


def _metadata(tx: Transaction, work: Work, plan: Plan, state: CatalogState) -> None:
    project = work.analysis.project
    versions = {name: s.stored.version for name, s in work.staged.items()}
    checks = [c for r in work.results.values() for c in r.checks]
    writer.put_checks(tx.con, work.build, checks, versions)
    writer.put_stats(tx.con, work.build, [x for s in work.staged.values() for x in s.stats], versions)
    for name, version in versions.items():
        writer.put_lineage(tx.con, name, version, edges(state.features[name].get(version).definition))
    for staged in work.staged.values():
        _ledger(tx, work, staged)
    writer.put_runs(tx.con, work.build, [_run(s) for s in work.staged.values()])
    states = {s: v for step in plan.steps for s, v in step.candidate.source_states.items()}
    writer.put_sources(tx.con, work.build, [(project.sources[name], found) for name, found in states.items()])
    used = {step.candidate.config.entity: step.candidate.definition.keys for step in plan.steps}
    writer.put_entities(tx.con, [(project.entities[e], [k.type for k in keys]) for e, keys in used.items()])


def _ledger(tx: Transaction, work: Work, staged: Staged) -> None:
    """What the version has taken in: entries that end with it, and new ones."""
    stored = staged.stored
    ended = None if staged.mode == "whole" else staged.gone
    writer.end_parts(tx.con, stored.feature, stored.version, ended)
    writer.put_parts(tx.con, work.build, stored.feature, stored.version, staged.parts)


def _run(staged: Staged) -> Run:
    return Run(
        feature=staged.stored.feature,
        version=str(staged.stored.version),
        mode=staged.mode,
        why=staged.why,
        event_rows=staged.event_rows,
        added=staged.added,
        closed=staged.closed,
        seconds=staged.seconds,
    )


def _shows(tx: Transaction, work: Work, plan: Plan, state: CatalogState, catalog_path: str) -> None:
    named = named_versions(state, reader.naming(tx.con, catalog_path))
    touched = {step.feature for step in plan.steps if _touched(work, step)}
    for name in touched & state.features.keys():
        show_feature(tx.con, state, state.features[name], named)
    changed = {step.name for step in plan.sets}
    for name, versions in state.feature_sets.items():
        for stored in versions:
            if name in changed or any(m.name in touched for m in stored.members):
                show_set(tx.con, state, stored, newest=stored is versions[-1])


def _record(tx: Transaction, work: Work, plan: Plan, started_at: datetime.datetime, arguments: dict[str, Any]) -> None:
    import duckdb

    from mlforge import __version__

    failed = tuple(r.feature for r in work.results.values() if r.status in ("failed", "skipped"))
    record = BuildRecord(
        build=work.build,
        status="partial" if failed and work.staged else "failed" if failed else "done",
        started_at=started_at.isoformat(),
        finished_at=datetime.datetime.now(datetime.UTC).isoformat(),
        mlforge_version=__version__,
        duckdb_version=duckdb.__version__,
        project=work.analysis.project.name,
        profile=work.analysis.project.profile,
        failed=failed,
        arguments=arguments,
        built=tuple(f"{n}@{s.stored.version}" for n, s in work.staged.items()),
        warnings=tuple(f"{about}: {text}" for about, text in (*plan.warnings, *work.warnings)),
    )
    writer.record_build(tx.con, record)
    ran = [Statement(feature=f, step="build", sql=text, seconds=s) for f, text, s in work.runner.ran]
    writer.put_statements(tx.con, work.build, ran)
