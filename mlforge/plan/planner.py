"""Project and catalog to a Plan: which features get a version, which one, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from mlforge.errors import FeatureError, Where
from mlforge.model import Version
from mlforge.plan import contract, increments
from mlforge.plan import graph as graphs
from mlforge.plan.diff import ColumnChange, DefinitionDiff, compare
from mlforge.plan.estimates import estimate
from mlforge.plan.fingerprint import metadata_changes
from mlforge.plan.increments import Increment, Scope
from mlforge.plan.sets import plan_sets
from mlforge.plan.steps import BUILDING, Action, Failure, FeatureStep, Plan
from mlforge.plan.versions import Adopted, newest
from mlforge.plan.weakest import with_older

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mlforge.model import (
        Candidate,
        CatalogState,
        FeatureRef,
        FeatureSet,
        Source,
        SourceState,
        StoredFeature,
        StoredVersion,
    )
    from mlforge.plan.graph import Graph

FIRST = Version(1, 0, 0)


@dataclass(frozen=True)
class Surroundings:
    """What of the project a plan looks at beside candidates: every feature with its refs, the feature sets, the
    sources, and the features that failed before they could be planned."""

    graph: Graph
    feature_sets: Mapping[str, FeatureSet] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    failed: Sequence[Failure] = ()


class PlanOptions(Struct, frozen=True, kw_only=True):
    """``force`` makes a PATCH of what is unchanged, ``release`` lets held features go on, ``upgrade_sets`` moves
    entries of feature sets to the current MAJOR, ``adopt`` gives the numbers of new versions, ``scope`` says which
    event times to look at."""

    force: bool = False
    upgrade_sets: bool = False
    release: bool = False
    adopt: Adopted = Adopted()
    scope: Scope = Scope()


def plan(
    candidates: Mapping[str, Candidate],
    state: CatalogState,
    selection: Collection[str],
    project: Surroundings,
    options: PlanOptions,
) -> Plan:
    """Decide what a build does. ``candidates`` are the features that ``graph.complete`` names.

    Raises FeatureError (a cycle, an unknown version of a ref, a broken contract) and ProjectError (an entry of a
    feature set)."""
    graph, failed = project.graph, project.failed
    planner = _Planner(candidates, state, project, options)
    needed = graphs.complete(selection, graph, state)
    paths = {name: candidate.path for name, candidate in candidates.items()}
    for name in graphs.order(graph, paths):
        if name in needed:
            planner.add(name, needed[name])
    sets = plan_sets(
        project.feature_sets,
        state,
        planner.steps,
        known=graph,
        upgrade=options.upgrade_sets,
        numbers=options.adopt.sets,
    )
    return Plan(
        steps=tuple(planner.steps.values()),
        sets=sets.steps,
        removed=tuple(sorted(state.features.keys() - graph.keys())),
        notes=(
            *_widened(planner.steps),
            *_left_behind(planner.steps, graph, state, {f.feature for f in failed}),
            *_sketched(planner.steps, state),
            *sets.notes,
        ),
        warnings=tuple((name, text) for name in planner.steps for text in candidates[name].warnings),
        failed=tuple(failed),
    )


@dataclass
class _Planner:
    """Makes the steps one after the other; ``steps`` holds those of the upstream features."""

    candidates: Mapping[str, Candidate]
    state: CatalogState
    project: Surroundings
    options: PlanOptions
    steps: dict[str, FeatureStep] = field(default_factory=dict)

    def add(self, name: str, why: str) -> None:
        if name not in self.candidates:
            raise FeatureError(f"feature {name} is {why or 'selected'}, and was not compiled")
        upstream = {ref.name: self._read_version(name, ref) for ref in self.project.graph[name]}
        candidate = _reading(self.candidates[name], upstream)
        candidate = self._judged(candidate, upstream)
        stored = self.state.features.get(name)
        step = self._create(candidate, upstream) if stored is None else self._update(stored, candidate, upstream)
        cost = estimate(name, step.increment, candidate, self.state) if step.builds else None
        self.steps[name] = replace(step, reasons=(*step.reasons, *([why] if why else [])), estimate=cost)

    def _judged(self, candidate: Candidate, upstream: dict[str, Version]) -> Candidate:
        """The candidate with a proof that holds for the versions that it reads, where those are older ones."""
        older = {
            name: self.state.features[name].get(version).compiled
            for name, version in upstream.items()
            if name in self.state.features and not self._is_planned(name, version)
        }
        proof = candidate.compiled.proof
        if not older or proof is None:
            return candidate
        planned = {name: self.candidates[name].compiled for name in older}
        compiled = replace(candidate.compiled, proof=with_older(older, planned, proof))
        return replace(candidate, compiled=compiled)

    def _is_planned(self, name: str, version: Version) -> bool:
        """Whether a version of a feature is the one that the project has, now or after this plan, and as proven."""
        step = self.steps.get(name)
        if step is None or step.version_to != version:
            return False
        looked = step.builds or self.state.features[name].get(version).compiled.proof is not None
        return looked or not step.candidate.seen_sql

    def _read_version(self, reader: str, ref: FeatureRef) -> Version:
        """The version of an upstream feature that its reader gets after this plan."""
        step, stored = self.steps.get(ref.name), self.state.features.get(ref.name)
        if ref.version.major is None and (step or stored):
            return step.current_to if step else stored.current  # type: ignore[union-attr]
        versions = [v.version for v in stored.versions] if stored else []
        versions += [step.version_to] if step and step.version_to not in versions else []
        found = newest(versions, ref.version)
        if found is None:
            listed = ", ".join(map(str, versions))
            raise FeatureError(
                f"{reader} reads {ref}, and there is no such version",
                where=Where(self.candidates[reader].path),
                hint=f"versions of {ref.name}: {listed}" if listed else f"no feature is named {ref.name}",
            )
        return found

    def _create(self, candidate: Candidate, upstream: dict[str, Version]) -> FeatureStep:
        definition = candidate.definition
        first = self.options.adopt.features.get(definition.feature, FIRST)
        return FeatureStep(
            feature=definition.feature,
            action="create",
            version_from=None,
            version_to=first,
            current_to=first,
            candidate=candidate,
            reasons=("new feature",),
            columns=tuple(ColumnChange(column=c.name, change="added", new_type=c.type) for c in definition.columns),
            upstream=upstream,
            dependents=graphs.downstream(definition.feature, self.project.graph),
            increment=increments.first(candidate, self.options.scope),
        )

    def _update(self, stored: StoredFeature, candidate: Candidate, upstream: dict[str, Version]) -> FeatureStep:
        last = stored.versions[-1]
        diff = compare(last.definition, candidate.definition)
        adopted = self.options.adopt.after(stored.name, last.version, diff.bump)
        if adopted is None:  # what comes from a manifest was let through where that was written
            contract.check(candidate, last)
        action, reasons, increment = self._action(stored, last, candidate, diff, upstream)
        to = _bumped(last.version, action)
        if adopted:
            action, to, reasons = _step_to(last.version, adopted), adopted, (*reasons, "numbered as in the manifest")
            increment = increments.Increment(why="numbered as in the manifest")
        releasing = stored.held and self.options.release
        moves = releasing or (action in BUILDING and not stored.held)
        return FeatureStep(
            feature=stored.name,
            action=action,
            version_from=last.version,
            version_to=to,
            current_to=to if moves else stored.current,
            candidate=candidate,
            reasons=(*reasons, *_held_note(stored, action, to, releasing)),
            columns=diff.columns,
            held=stored.held and not self.options.release,
            upstream=upstream,
            dependents=graphs.downstream(stored.name, self.project.graph),
            increment=increment,
        )

    def _action(
        self,
        stored: StoredFeature,
        last: StoredVersion,
        candidate: Candidate,
        diff: DefinitionDiff,
        upstream: dict[str, Version],
    ) -> tuple[Action, tuple[str, ...], Increment]:
        if diff.bump:
            types = (text for name, now in candidate.source_states.items() for text in _type_changes(name, now))
            return diff.bump, (*diff.reasons, *types), increments.first(candidate, self.options.scope)
        data = (*_source_changes(last.source_states, candidate.source_states), *self._new_data(last, upstream))
        data = (*data, *_to_look_at(last, candidate))
        asked = self.options.force or self.options.scope.restate is not None
        if data or asked or any(s.spans for s in last.source_states.values()):
            increment = self._increment(last, candidate, upstream)
            todo = tuple(f"event times {increments.described(span)}" for span in increment.todo)
            if data or todo or self.options.force:
                return "patch", (*data, *todo) or ("forced",), increment
        none = Increment()
        if stored.held and self.options.release:
            return "release", (), none
        metadata = metadata_changes(stored, candidate)
        return ("metadata", metadata, none) if metadata else ("none", (), none)

    def _increment(self, last: StoredVersion, candidate: Candidate, upstream: dict[str, Version]) -> Increment:
        scope = replace(self.options.scope, whole=self.options.scope.whole or self.options.force)
        news = [name for name in self._changed(last, upstream) if self.candidates[name].compiled.timestamp is None]
        return increments.next_one(last, candidate, scope, self.project.sources, news)

    def _new_data(self, last: StoredVersion, upstream: dict[str, Version]) -> Iterator[str]:
        for name in self._changed(last, upstream):
            yield f"rebuilt because {name} has new data"

    def _changed(self, last: StoredVersion, upstream: dict[str, Version]) -> Iterator[str]:
        """Features of which another version is read now than the newest version of their reader did."""
        read = last.compiled.reads
        yield from (name for name, version in upstream.items() if read.get(name) != str(version))


def _to_look_at(last: StoredVersion, candidate: Candidate) -> tuple[str, ...]:
    """Why a version is made again that says of its leaks what is not so now. One that says nothing is left alone."""
    if last.compiled.proof is None:
        return ()
    if not increments.looked_at(last, candidate):
        return (increments.LOOK,)
    return ("what it says of its leaks is not so now",) if increments.proven_no_more(last, candidate) else ()


def _reading(candidate: Candidate, upstream: dict[str, Version]) -> Candidate:
    """The candidate with the versions of upstream features that this plan gives them."""
    compiled, definition = candidate.compiled, candidate.definition
    refs = {name: f"{version.major}.{version.minor}" for name, version in upstream.items()}
    joins = tuple(replace(j, version=str(upstream.get(j.feature, j.version))) for j in compiled.refs)
    reads = {name: str(version) for name, version in upstream.items()}
    compiled = replace(compiled, refs=joins, reads=reads)
    return replace(candidate, definition=replace(definition, refs=refs), compiled=compiled)


def _bumped(version: Version, action: Action) -> Version:
    if action == "major":
        return Version(version.major + 1, 0, 0)
    if action == "minor":
        return Version(version.major, version.minor + 1, 0)
    return Version(version.major, version.minor, version.patch + 1) if action == "patch" else version


def _step_to(last: Version, to: Version) -> Action:
    if to.major != last.major:
        return "major"
    return "minor" if to.minor != last.minor else "patch"


def _held_note(stored: StoredFeature, action: Action, to: Version, releasing: bool) -> tuple[str, ...]:
    if not stored.held:
        return ()
    if releasing:
        return (f"released: current moves from {stored.current} to {to}",)
    if action not in BUILDING:
        return ()
    return (f"held at {stored.current}: {to} is recorded, current does not move without --release",)


def _source_changes(old: Mapping[str, SourceState], new: Mapping[str, SourceState]) -> Iterator[str]:
    for name in sorted(new):
        if name not in old or old[name].digest != new[name].digest:
            yield f"source {name}: {_what_changed(old.get(name), new[name])}"
        yield from _type_changes(name, new[name])


def _type_changes(name: str, state: SourceState) -> Iterator[str]:
    for change in state.changes:
        yield f"source {name}: {change}"


def _what_changed(old: SourceState | None, new: SourceState) -> str:
    if old is None:
        return "read for the first time"
    if old.files or new.files:
        return _changed_parts(old, new, "file")
    if old.slices or new.slices:
        return _changed_parts(old, new, "slice")
    if old.rows is not None and new.rows is not None and old.rows != new.rows:
        return f"{old.rows} rows -> {new.rows} rows"
    return "rows changed"


def _changed_parts(old: SourceState, new: SourceState, word: str) -> str:
    parts = increments.compare(old, new)
    counts = {
        "added": len(parts.added),
        "grown": len(parts.grown),
        "changed": len(parts.changed),
        "removed": len(parts.removed),
    }
    found = [f"{n} {what}" for what, n in counts.items() if n]
    if not found:
        return "content changed"
    first, *rest = found
    number, what = first.split()
    return ", ".join([f"{number} {word}{'' if number == '1' else 's'} {what}", *rest])


def _widened(steps: Mapping[str, FeatureStep]) -> Iterator[str]:
    """Columns of sources that have another type, and the features that become a MAJOR with it."""
    majors: dict[str, list[str]] = {}
    for name, step in steps.items():
        for source, now in step.candidate.source_states.items():
            for text in _type_changes(source, now):
                majors.setdefault(text, []).extend([name] if step.action == "major" else [])
    for text, names in majors.items():
        yield f"{text}: a new MAJOR of {', '.join(names)}" if names else f"{text}: no type of a feature follows"


def _left_behind(
    steps: Mapping[str, FeatureStep], graph: Graph, state: CatalogState, failed: Collection[str]
) -> Iterator[str]:
    """Features in the catalog that read what changes, and are not part of the plan."""
    for name, refs in graph.items():
        if name in steps or name in failed or name not in state.features:
            continue
        moved = [r.name for r in refs if r.name in steps and steps[r.name].builds]
        if moved:
            yield f"{name} reads {', '.join(moved)} and is not selected: it keeps the data it has"


def _sketched(steps: Mapping[str, FeatureStep], state: CatalogState) -> Iterator[str]:
    """Versions that count distinct values with DuckDB's sketch, as builds did before they counted exactly."""
    for name, step in steps.items():
        last = state.features[name].versions[-1] if name in state.features else None
        calls = [a.name for a in last.compiled.aggregates if a.function == "approx_count_distinct"] if last else []
        if last is None or not calls:
            continue
        columns = [o.name for o in last.compiled.outputs if any(c in re.findall(r"\w+", o.sql) for c in calls)]
        after = f"{step.version_to} counts exactly" if step.builds else "`build --force` makes one that counts exactly"
        yield (
            f"{name}@{last.version} counts {', '.join(columns)} with DuckDB's sketch, whose answer follows the reader's"
            f" version of DuckDB; it stays as it is, and {after}"
        )
