"""From a committed manifest: the same versions of the same features here, and what is not the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from mlforge.building.options import BuildOptions, BuildResult, Selection
from mlforge.catalog.manifest import digest, entry, read
from mlforge.catalog.version_digest import version_hash
from mlforge.errors import ProjectError
from mlforge.plan.diff import compare
from mlforge.plan.sets import written
from mlforge.plan.versions import Adopted
from mlforge.project.ref_grammar import parse_ref
from mlforge.retrieve.synced import Compared, ComparedSet, SourceDiff, Status, Synced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from duckdb import DuckDBPyConnection

    from mlforge.building.work import Event
    from mlforge.catalog.manifest import FeatureEntry, Manifest, SourceEntry
    from mlforge.model import CatalogState, FeatureSet, Project, StoredVersion, Version
    from mlforge.plan.steps import Plan


class Verbs(Protocol):
    """What a sync needs of a project with its catalog."""

    def plan(self, selection: Selection = ..., options: BuildOptions = ...) -> Plan:  # noqa: D102
        ...

    def build(  # noqa: D102
        self, selection: Selection = ..., options: BuildOptions = ..., notify: Callable[[Event], None] = ...
    ) -> BuildResult: ...

    def state(self, lock_timeout: float = ...) -> CatalogState:  # noqa: D102
        ...


@dataclass
class Here:
    """The project and the catalog on this machine. ``verbs`` are those of a project over the same catalog, ``engine``
    binds sources, ``reading`` opens the catalog if there is one."""

    project: Project
    verbs: Callable[[Project], Verbs]
    engine: Callable[[], AbstractContextManager[Any]]
    reading: Callable[[], AbstractContextManager[DuckDBPyConnection | None]]


def sync(
    path: str | Path, here: Here, options: BuildOptions, notify: Callable[[Event], None] = lambda _event: None
) -> Synced:
    """Build what the manifest at ``path`` says and the catalog lacks, under the manifest's numbers, and compare all.

    Raises UsageError and ProjectError for the manifest, FeatureError for a project that does not compile, and what a
    build raises."""
    work = _Work(read(Path(path)), here, here.verbs(here.project).state(options.lock_timeout))
    _exclude(work, _unreadable(work))
    _compare_definitions(work, here.verbs(replace(here.project, feature_sets={})), options)
    verbs = here.verbs(replace(here.project, feature_sets=_pinned_sets(work)))
    result = _build(work, verbs, options, notify)
    state = verbs.state(options.lock_timeout)
    with here.reading() as con:
        for name in work.open:
            work.found[name] = _compared(work, con, state, name)
    return Synced(
        features=tuple(work.found[name] for name in sorted(work.found)),
        feature_sets=tuple(_compare_sets(work, state)),
        build=result.build if result else None,
    )


@dataclass
class _Work:
    """A sync in progress: what is known of each feature so far."""

    manifest: Manifest
    here: Here
    state: CatalogState
    found: dict[str, Compared] = field(default_factory=dict)
    idle: list[str] = field(default_factory=list)  # features of which a build would make nothing
    built: set[str] = field(default_factory=set)

    @property
    def open(self) -> list[str]:
        """Features of both sides that nothing speaks against yet."""
        return [n for n in self.manifest.features if n in self.here.project.features and n not in self.found]

    def target(self, name: str) -> Version:
        """The version that is to be here: the newest, which is what the project's files make."""
        return self.manifest.features[name].newest

    def stored(self, name: str, version: Version, state: CatalogState | None = None) -> StoredVersion | None:
        """A version of the catalog here, or None."""
        feature = (state or self.state).features.get(name)
        return next((v for v in feature.versions if v.version == version), None) if feature else None

    def close(self, name: str, status: Status, *reasons: str) -> None:
        """Say how a feature ends."""
        known = self.manifest.features.get(name)
        version = str(known.newest) if known else None
        self.found[name] = Compared(feature=name, status=status, version=version, reasons=reasons)

    def adopt(self, names: Iterable[str]) -> Adopted:
        """The manifest's numbers for these features and for all feature sets, and its types of sources."""
        sets = {name: max(map(int, versions)) for name, versions in self.manifest.feature_sets.items()}
        return Adopted(features={name: self.target(name) for name in names}, sets=sets, types=self.manifest.types)

    def has(self, name: str, prefix: str) -> bool:
        """Whether the catalog here has a version of a feature that begins so."""
        feature = self.state.features.get(name)
        return bool(feature) and any(str(v.version).startswith(f"{prefix}.") for v in feature.versions)  # type: ignore[union-attr]

    def lost_upstream(self, name: str) -> str | None:
        """What a feature reads that is not the same here, or cannot be made again."""
        entry = self.manifest.features[name]
        for upstream, minor in sorted(entry.definition(entry.newest).refs.items()):
            if upstream in self.found:
                return f"reads {upstream}, which is not the same here"
            made = self.manifest.features[upstream].newest if upstream in self.manifest.features else None
            if made is not None and f"{made.major}.{made.minor}" != minor and not self.has(upstream, minor):
                return f"reads {upstream}@{minor}, which this project cannot make: its files are those of {made}"
        return None


def _unreadable(work: _Work) -> dict[str, str]:
    """Sources of the manifest's features that cannot be read here, and why."""
    sources = work.here.project.sources
    used = {s for name, known in work.manifest.features.items() for s in known.definition(work.target(name)).sources}
    broken = {}
    with work.here.engine() as warehouse:
        warehouse.known = work.adopt(()).known(work.state.source_states)
        for name in sorted(used & sources.keys()):
            try:
                warehouse.bind_source(sources[name])
            except ProjectError as error:
                broken[name] = error.message
    return broken


def _exclude(work: _Work, unreadable: dict[str, str]) -> None:
    """End what cannot be made here, whatever its definition."""
    for name, known in work.manifest.features.items():
        if name not in work.here.project.features:
            work.close(name, "missing", "not in the project")
            continue
        lost = [unreadable[s] for s in known.definition(known.newest).sources if s in unreadable]
        if lost:
            work.close(name, "failed", *lost)
        elif passed := _passed(work, name):
            work.close(name, "number", f"the catalog here is at {passed}, and has no {known.newest}")
    for name in work.here.project.features.keys() - work.manifest.features.keys():
        work.close(name, "extra", "not in the manifest")
    _block(work)


def _passed(work: _Work, name: str) -> Version | None:
    """The newest version here, if it is beyond the manifest's, which is not here."""
    feature = work.state.features.get(name)
    newest = max((v.version for v in feature.versions), default=None) if feature else None
    wanted = work.target(name)
    return newest if newest and newest > wanted and work.stored(name, wanted) is None else None


def _block(work: _Work) -> None:
    """End what reads something that has ended; again and again, as features read each other in chains."""
    while blocked := [(name, why) for name in work.open if (why := work.lost_upstream(name))]:
        for name, why in blocked:
            work.close(name, "blocked", why)


def _compare_definitions(work: _Work, verbs: Verbs, options: BuildOptions) -> None:
    """End what means something else here, in the project or in the catalog."""
    if not work.open:
        return
    plan = verbs.plan(Selection(features=tuple(work.open)), replace(options, adopt=work.adopt(work.open)))
    eligible = set(work.open)
    for failure in (f for f in plan.failed if f.feature in eligible):
        work.close(failure.feature, "failed" if failure.status == "failed" else "blocked", failure.message)
    for step in (s for s in plan.steps if s.feature in eligible):  # upstream ones first
        name, wanted = step.feature, work.target(step.feature)
        stored, there = work.stored(name, wanted), work.manifest.features[name].definition(wanted)
        work.idle += [name] if step.action == "none" else []
        diff = compare(there, step.candidate.definition)
        if why := work.lost_upstream(name):
            work.close(name, "blocked", why)
        elif diff.bump:
            work.close(name, "definition", *(diff.reasons or map(str, diff.columns)))
        elif stored and compare(there, stored.definition).bump:
            work.close(name, "number", f"{wanted} is another definition in the catalog here")
        elif stored is None and step.version_to != wanted:
            work.close(name, "number", f"the catalog here has {step.version_from}, which {wanted} cannot follow")


def _build(work: _Work, verbs: Verbs, options: BuildOptions, notify: Callable[[Event], None]) -> BuildResult | None:
    wanted = tuple(name for name in work.open if work.stored(name, work.target(name)) is None)
    if not wanted:  # feature sets are made by any build, so one of nothing else will do
        wanted = tuple(work.idle[:1])
    if not wanted:
        return None
    result = verbs.build(Selection(features=wanted), replace(options, adopt=work.adopt(wanted)), notify)
    for one in result.features:
        if one.feature in wanted and one.status in ("failed", "skipped"):
            work.close(one.feature, "failed", one.error or one.status)
        elif one.status == "built":
            work.built.add(one.feature)
    return result


def _compared(work: _Work, con: DuckDBPyConnection | None, state: CatalogState, name: str) -> Compared:
    """The rows here against the rows there."""
    known, version = work.manifest.features[name], work.target(name)
    there, stored = known.versions[str(version)], work.stored(name, version, state)
    if con is None or stored is None:  # taken away between the build and now
        return Compared(feature=name, status="failed", version=str(version), reasons=("it was not built",))
    content = version_hash(con, state, stored)
    sources = tuple(_source_diffs(work, there.sources, stored))
    partial = bool(there.spans) or any(s.spans for s in stored.source_states.values())
    status, reasons = _verdict(known, version, content == there.content, bool(sources), partial)
    return Compared(
        feature=name,
        status=status,
        version=str(version),
        built=name in work.built,
        reasons=reasons,
        content=there.content,
        content_here=content,
        rows=there.rows,
        rows_here=stored.rows,
        sources=sources,
    )


def _verdict(
    known: FeatureEntry, version: Version, same: bool, other_sources: bool, partial: bool
) -> tuple[Status, tuple[str, ...]]:
    if same:
        if known.held and known.current != str(version):
            return "held", (
                f"rolled back to {known.current} where the manifest was written: mlforge rollback does that",
            )
        return "same", ()
    reasons = [text for found, text in ((other_sources, "the sources differ"), (partial, _PARTIAL)) if found]
    return "rows", tuple(reasons or [_UNEXPLAINED])


_PARTIAL = "there or here it was built for some event times only: --since, --until, --last or --batch"
_UNEXPLAINED = "the sources are the same: another version of mlforge or DuckDB, or Python that is not deterministic"


def _source_diffs(work: _Work, there: dict[str, str], stored: StoredVersion) -> Iterator[SourceDiff]:
    root = work.here.project.root
    for name in sorted(there.keys() | stored.source_states.keys()):
        state = stored.source_states.get(name)
        if state is None or name not in there:
            yield SourceDiff(source=name, note="read only here" if state else "not read here")
        elif digest(state, root) != there[name]:
            yield _source_diff(name, work.manifest.states.get(there[name]), entry(state, root))


def _source_diff(name: str, there: SourceEntry | None, here: SourceEntry) -> SourceDiff:
    if there is None or not (there.parts or here.parts):
        both = there is not None and there.rows is not None and there.rows != here.rows
        note = f"{there.rows} rows there, {here.rows} here" if there and both else "other rows"
        return SourceDiff(source=name, note=note)
    shared = there.parts.keys() & here.parts.keys()
    return SourceDiff(
        source=name,
        added=tuple(sorted(here.parts.keys() - there.parts.keys())),
        changed=tuple(sorted(path for path in shared if there.parts[path] != here.parts[path])),
        missing=tuple(sorted(there.parts.keys() - here.parts.keys())),
    )


def _pinned_sets(work: _Work) -> dict[str, FeatureSet]:
    """The project's feature sets that can be made as in the manifest, their entries on the MAJORs that it names."""
    found = {}
    for name, feature_set in work.here.project.feature_sets.items():
        there = _newest_set(work.manifest, name)
        if there and _set_problem(work, there[1]) is None:
            pins = [parse_ref(_head(text)).version for text in there[1]]
            members = tuple(replace(m, version=pin) for m, pin in zip(feature_set.members, pins, strict=False))
            same = [written(m) for m in members] == there[1] and len(members) == len(feature_set.members)
            found[name] = replace(feature_set, members=members) if same else feature_set
    return found


def _newest_set(manifest: Manifest, name: str) -> tuple[int, list[str]] | None:
    """The newest version of a feature set in the manifest, with its entries."""
    versions = manifest.feature_sets.get(name)
    return max((int(number), entries) for number, entries in versions.items()) if versions else None


def _head(text: str) -> str:
    """The reference of an entry, without the keys and the prefix that stand behind it."""
    return text.partition(" (")[0]


def _set_problem(work: _Work, entries: list[str]) -> str | None:
    """Why a feature set cannot be made as in the manifest, or None."""
    for text in entries:
        ref = parse_ref(_head(text))
        known, ended = work.manifest.features.get(ref.name), work.found.get(ref.name)
        if ended and ended.status not in ("same", "rows", "held"):
            return f"{ref.name} is not the same here"
        if known and not known.newest.matches(ref.version) and not work.has(ref.name, str(ref.version)):
            return f"it reads {text}, and the files here make {ref.name} {known.newest}"
    return None


def _compare_sets(work: _Work, state: CatalogState) -> Iterator[ComparedSet]:
    for name in sorted(work.manifest.feature_sets.keys() | work.here.project.feature_sets.keys()):
        yield _compare_set(work, state, name)


def _compare_set(work: _Work, state: CatalogState, name: str) -> ComparedSet:
    there = _newest_set(work.manifest, name)
    if there is None:
        return ComparedSet(feature_set=name, status="extra", reasons=("not in the manifest",))
    newest, entries = there

    def compared(status: Status, *reasons: str) -> ComparedSet:
        return ComparedSet(feature_set=name, status=status, version=newest, reasons=reasons)

    if name not in work.here.project.feature_sets:
        return compared("missing", "not in the project")
    stored = next((s for s in state.feature_sets.get(name, ()) if s.version == newest), None)
    if stored is None:
        problem = _set_problem(work, entries)
        return compared("blocked", problem) if problem else compared("number", "the catalog here has other versions")
    here = [written(m) for m in stored.members]
    return (
        compared("same") if here == entries else compared("definition", f"{_list(entries)} there, {_list(here)} here")
    )


def _list(entries: list[str]) -> str:
    return ", ".join(entries)
