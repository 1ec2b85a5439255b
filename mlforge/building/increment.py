"""Making a PATCH from what changed: the rows that changed parts of the source can reach, and no others."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.building import affected_rows, describe, ledger, materialise, reads
from mlforge.building.scales import with_scales
from mlforge.plan.spans import EVERYTHING, at_most, intersect, subtract, union
from mlforge.sql.ref_times import with_ref_times
from mlforge.sql.templates import ident, sql
from mlforge.warehouses.duckdb import CURRENT
from mlforge.warehouses.reading import Reading

if TYPE_CHECKING:
    from mlforge.building.candidates import Analysed
    from mlforge.building.materialise import EventCounts, PatchSize
    from mlforge.building.work import Work
    from mlforge.model import Compiled, SourceState, StoredVersion
    from mlforge.plan.increments import Increment
    from mlforge.plan.spans import Spans
    from mlforge.plan.steps import FeatureStep
    from mlforge.records import CheckResult, ColumnStats, Part

_NEW = "_mlforge_new_events"  # event rows of the parts that changed
_KEYS = "_mlforge_changed_keys"
_MOST = 50  # spans of a region: each is a condition in SQL
_ALL_STATS = 1_000_000  # rows of a version up to which statistics are taken of all of them


def new_events(work: Work, step: FeatureStep) -> str:
    """The relation of the event rows that were new to a step which was made: without rows that others replace or that
    are to wait, which may mean with some that it had."""
    main = step.increment.main
    replaces = main is not None and bool(work.analysis.project.sources[main].unique_key)
    return materialise.EVENTS if replaces or step.increment.limit is not None else _NEW


class Whole(Exception):
    """What a run found that asks for all rows to be made again; the text says why."""


@dataclass(frozen=True)
class Region:
    """Event times at which rows may have changed; ``keyed``: those of the keys in ``_KEYS`` alone. ``waiting``: some
    new rows, or rows that they correct, are of times that this build was not to look at."""

    spans: Spans
    keyed: bool
    waiting: bool


@dataclass(frozen=True)
class Found:
    """What became of a step: the compiled feature with its scales, how much changed, and what was taken in."""

    compiled: Compiled
    counts: EventCounts
    size: PatchSize
    checks: tuple[CheckResult, ...]
    events: Spans  # event times at which rows may have changed
    rows: Spans | None  # times of the table's rows that were compared; None: all
    parts: tuple[Part, ...]
    gone: tuple[tuple[str, str], ...]
    states: dict[str, SourceState]


def make(work: Work, step: FeatureStep, found: Analysed, last: StoredVersion, compiled: Compiled) -> Found:
    """Stage what a PATCH changes. Raises Whole if only making everything again is right, Stopped for an input check."""
    if step.increment.mode == "by_key":
        return _by_key(work, step, found, last, compiled)
    return _by_time(work, step, found, last, compiled)


def _by_time(work: Work, step: FeatureStep, found: Analysed, last: StoredVersion, compiled: Compiled) -> Found:
    increment = _verified(work, step, last)
    known = {} if increment.main is None else _known(work, last, increment.main)
    increment = _with_lost(work, increment, step, known)
    counts, checks = _read_new(work, step, found, compiled, increment)
    region = _region(work, step, compiled, increment, counts, known)
    rows = union(affected_rows.rows_of(compiled, region.spans))
    made = _make_rows(work, step, found, last, compiled, region, rows)
    size = _compared(work, found, made, rows, _KEYS if region.keyed else None)
    kin = increment.main is not None and bool(work.analysis.project.sources[increment.main].unique_key)
    parts, gone, states = ledger.taken_in(step, increment, counts, known, last, none=kin and region.waiting)
    return Found(made, counts, size, tuple(checks), region.spans, rows, parts, gone, states)


def _compared(work: Work, found: Analysed, made: Compiled, rows: Spans | None, keyed: str | None) -> PatchSize:
    """Make the rows of these times from the event rows, and keep what differs from the rows that the catalog has."""
    table = ident(f"{made.table}__new")
    materialise.fill_table(work.runner, made, table, kept=rows, temporary=True)
    if made.kind == "static":
        describe.refuse_repeats(work, made, table, found)
    current = f"{CURRENT}.store.{ident(made.table)}"
    return materialise.make_patch(work.runner, made, made.table, current, table, spans=rows, keyed=keyed)


def _verified(work: Work, step: FeatureStep, last: StoredVersion) -> Increment:
    """The increment, once it is seen that slices which the plan takes for grown hold their old rows as they were."""
    increment = step.increment
    if increment.main is None or not increment.parts.grown:
        return increment
    source = work.analysis.project.sources[increment.main]
    old = {s.name: s for s in last.source_states[increment.main].slices}
    kept = work.warehouse.grown(source, dict(increment.parts.grown))
    changed = [name for name, _ in increment.parts.grown if kept.get(name) != (old[name].rows, old[name].total)]
    if changed and source.unique_key:
        raise Whole(f"rows of {source.name} changed that were taken in before")
    parts = increment.parts
    return replace(
        increment,
        parts=replace(
            parts, changed=(*parts.changed, *changed), grown=tuple(g for g in parts.grown if g[0] not in changed)
        ),
    )


def _with_lost(work: Work, increment: Increment, step: FeatureStep, known: dict[str, Part]) -> Increment:
    """The increment, with the parts that are gone of which rows were taken in though they were never done with."""
    if increment.main is None:
        return increment
    gone = known.keys() - step.candidate.source_states[increment.main].parts.keys()
    if gone and work.analysis.project.sources[increment.main].unique_key:
        raise Whole(f"a part of {increment.main} is gone, which may bring back rows that it had corrected")
    removed = tuple(sorted(gone | set(increment.parts.removed)))
    return replace(increment, parts=replace(increment.parts, removed=removed))


def _known(work: Work, last: StoredVersion, source: str) -> dict[str, Part]:
    parts = ledger.known(work, last, source)
    if not parts:
        raise Whole("the catalog does not say which parts of its source it has taken in")
    return parts


def _read_new(
    work: Work, step: FeatureStep, found: Analysed, compiled: Compiled, increment: Increment
) -> tuple[EventCounts, list[CheckResult]]:
    """Make the event rows of what is new; checks on the input side look at these rows."""
    parts = increment.parts
    if not (parts.added or parts.grown or parts.changed):
        return materialise.EventCounts(0, 0), []
    checks = _checked(work, step, found, increment)
    kin = bool(increment.main and work.analysis.project.sources[increment.main].unique_key)
    return _events(
        work, step, found, compiled, Reading(carry=True, parts=increment.parts.to_read, kin=kin), _NEW
    ), checks


def _checked(work: Work, step: FeatureStep, found: Analysed, increment: Increment) -> list[CheckResult]:
    """Checks of the rows that are new. Raises Stopped if one of them fails with an error."""
    reads.bind_reads(work, step, Reading(parts=increment.parts.to_read))
    checks = describe.check_input(work, step, found)
    if any(not c.passed and c.severity == "error" for c in checks):
        raise Stopped(checks)
    return checks


class Stopped(Exception):
    """A check of the event rows failed; ``checks`` says which."""

    def __init__(self, checks: list[CheckResult]) -> None:
        super().__init__("an input check failed")
        self.checks = checks


def _events(
    work: Work, step: FeatureStep, found: Analysed, compiled: Compiled, reading: Reading, name: str
) -> EventCounts:
    physicals = reads.bind_reads(work, step, reading)
    text = step.increment.query if reading.carry else found.candidate.seen_sql or compiled.event_sql
    query = with_ref_times(text, physicals, compiled.timestamp)
    stamp = materialise.Stamp(found.compilation.timestamp_type, found.candidate.config.timestamp_format)
    made, kept = replace(compiled, event_sql=query), name != materialise.READ_EVENTS
    materialise.make_events(work.runner, made, stamp, name=name, keep=kept, seen=bool(found.candidate.seen_sql))
    if not kept:
        return materialise.EventCounts(0, 0)
    return named(work, materialise.count_events(work.runner, made, stamp, name=name, carried=reading.carry))


def named(work: Work, counts: EventCounts) -> EventCounts:
    """The counts with parts named as the states of sources name them."""
    parts = tuple(dataclasses.replace(p, part=work.warehouse.part_name(p.part)) for p in counts.parts)
    return dataclasses.replace(counts, parts=parts)


def _region(
    work: Work,
    step: FeatureStep,
    compiled: Compiled,
    increment: Increment,
    counts: EventCounts,
    known: dict[str, Part],
) -> Region:
    """The event times that may have changed: of new rows, of rows that parts had, and where refs have new values."""
    keys = [k.name for k in compiled.keys]
    new: Spans = ()
    if counts.parts:
        days = work.runner.run(sql("feature/islands", events=_NEW, keys=keys))
        new = tuple((lo, hi + 1) for lo, hi in days)  # type: ignore[operator,misc]
        work.runner.run(sql("feature/changed_keys", name=_KEYS, events=_NEW, keys=keys, timed=True))
    parts = increment.parts
    old = _of_parts(known, (*parts.added, *parts.changed, *parts.removed))  # an added one may be known in part
    refs = _of_refs(work, step)
    more = union(old, refs, increment.todo, _lookback(step, known, counts))
    limit = EVERYTHING if increment.limit is None else (increment.limit,)
    # What refs have changed is known in this build alone, so that no time of it may wait.
    spans = union(intersect(union(new, more), limit), increment.todo, refs)
    if increment.spans:
        spans = intersect(spans, increment.spans)
    keyed = bool(counts.parts) and not more  # no rows, no keys
    return Region(at_most(spans, _MOST), keyed, waiting=bool(subtract(new, limit)))


def _of_parts(known: dict[str, Part], names: tuple[str, ...]) -> Spans:
    held = (known[name] for name in names if name in known)
    return union((p.first, p.last + 1) for p in held if p.first is not None and p.last is not None)


def _of_refs(work: Work, step: FeatureStep) -> Spans:
    """Where the features that a step reads have other values than its newest version saw."""
    spans: Spans = ()
    read = work.before.features[step.feature].versions[-1].compiled.reads
    for name, version in step.upstream.items():
        if read.get(name) == str(version):
            continue
        staged = work.staged.get(name)
        if staged is None or staged.stored.version != version or str(staged.step.version_from) != read.get(name):
            raise Whole(f"it read {name}@{read.get(name)} before, and {version} was made in other steps")
        changes = work.changes[name]
        spans = union(spans, changes.rows if name == step.increment.ref else changes.values)
    return spans


def _lookback(step: FeatureStep, known: dict[str, Part], counts: EventCounts) -> Spans:
    length = step.candidate.config.lookback
    if length is None:
        return ()
    lasts = [p.last for p in known.values()] + [p.last for p in counts.parts]
    ends = [last for last in lasts if last is not None]
    micros = length.micros if length.micros is not None else length.months * 31 * affected_rows.DAY
    return ((max(ends) - micros, None),) if ends else ()


def _make_rows(
    work: Work, step: FeatureStep, found: Analysed, last: StoredVersion, compiled: Compiled, region: Region, rows: Spans
) -> Compiled:
    """Read every event that rows of these times are made of. Returns the feature with scales that hold for all."""
    wanted = union(affected_rows.events_of(compiled, rows))
    if step.increment.spans:
        wanted = intersect(wanted, step.increment.spans)
    reading = _times(work, step, compiled, wanted) if wanted else Reading(parts=())
    _events(work, step, found, compiled, reading, materialise.READ_EVENTS)
    materialise.narrow(work.runner, compiled, materialise.READ_EVENTS, wanted, _KEYS if region.keyed else None)
    return _scaled(work, compiled, last, _NEW if region.keyed else materialise.EVENTS)


def _scaled(work: Work, compiled: Compiled, last: StoredVersion, events: str) -> Compiled:
    """The compiled feature with scales for the rows taken in before and for ``events``, which hold all others."""
    fixed = [a for a in compiled.aggregates if a.method == "fixed"]
    if fixed and not last.compiled.magnitudes:
        raise Whole("the catalog does not say how large its numbers were")
    made = with_scales(work.runner.con, replace(compiled, magnitudes=last.compiled.magnitudes), events)
    before = {a.name: a.scale is None for a in last.compiled.aggregates if a.method == "fixed"}
    now = {a.name: a.scale is None for a in made.aggregates if a.method == "fixed"}
    if compiled.interval and before != now:
        raise Whole("its numbers now differ too much in size to be added up as before")
    return made


def _times(work: Work, step: FeatureStep, compiled: Compiled, spans: Spans) -> Reading:
    """A reading of these times, where the timestamp copies a column of the source: then files are skipped by it."""
    import sqlglot

    from mlforge.render.copied_columns import copied_column

    main = step.increment.main
    if main is None or spans == EVERYTHING:
        return Reading()
    tree = sqlglot.parse_one(compiled.event_sql, dialect="duckdb")
    origin = copied_column(tree, "_mlforge_ts")
    if origin is None or origin[0] != main:
        return Reading()
    reads.bind_source(work, main, Reading())
    types = work.warehouse.describe(f'FROM "_mlforge_source".{ident(main)}')
    kind = {c.lower(): t for c, t in types.items()}[origin[1].lower()]
    if not kind.startswith("TIMESTAMP"):
        return Reading()
    return Reading(column=origin[1], column_type=kind, spans=at_most(spans, 20))


def _by_key(work: Work, step: FeatureStep, found: Analysed, last: StoredVersion, compiled: Compiled) -> Found:
    """All rows of the keys that have new rows."""
    increment = _verified(work, step, last)
    source = work.analysis.project.sources[increment.main or ""]
    if not increment.parts.only_new:
        raise Whole(f"rows of {source.name} changed that were taken in before")
    checks = _checked(work, step, found, increment)
    reads.bind_source(work, source.name, Reading(parts=increment.parts.to_read, kin=True))
    work.runner.run(sql("feature/source_keys", name=_KEYS, source=source.name, keys=increment.keys))
    reading = Reading(keys=increment.keys, relation=_KEYS)
    counts = _events(work, step, found, compiled, reading, _NEW)
    # A row that a unique_key moved to another key came along, without the other rows of that key.
    materialise.narrow(work.runner, compiled, _NEW, EVERYTHING, _KEYS)
    made = _scaled(work, compiled, last, materialise.EVENTS)
    size = _compared(work, found, made, None, _KEYS)
    parts, gone, states = ledger.taken_in(step, increment, counts, ledger.known(work, last, source.name), last)
    return Found(made, counts, size, tuple(checks), EVERYTHING, None, parts, gone, states)


def described(
    work: Work, found: Analysed, stored: StoredVersion, made: Found, last: StoredVersion
) -> tuple[StoredVersion, list[CheckResult], list[ColumnStats]]:
    """Rows, checks and statistics of the version: of all its rows where they are not many, else of those it adds."""
    relation = reads.patched(work, stored)
    rows = last.rows + _grown_by(work, stored.compiled, made)
    unique = any(c.name == "unique" for c in found.output_checks)
    if rows <= _ALL_STATS or unique:
        seen = describe.shown(work, stored, relation)
        checks, stats = describe.describe(work, found, stored, seen, rows=rows)
        return replace(stored, rows=rows), checks, stats
    added = ident(f"{stored.compiled.table}__add")
    if stored.compiled.kind == "windows" and stored.compiled.interval is None:
        events = affected_rows.window_events_of(stored.compiled, made.events)
        relation = describe.some_rows(work, relation, events, "_mlforge_some_rows")
        seen = describe.shown(work, stored, relation, probes=added)
    else:
        seen = describe.shown(work, stored, added)
    checks, stats = describe.describe(work, found, stored, seen)
    return replace(stored, rows=rows), checks, [replace(s, scope="added") for s in stats]


def _grown_by(work: Work, compiled: Compiled, made: Found) -> int:
    """How many more rows readers see: exact windows have one row for all events of an instant."""
    if compiled.kind != "windows" or compiled.interval is not None or made.rows is None:
        return made.size.added - made.size.closed
    keys = [k.name for k in compiled.keys]
    current = f"{CURRENT}.store.{ident(compiled.table)}"
    after, before = (
        work.runner.run(sql("feature/instants", relation=relation, keys=keys, spans=made.rows, open=is_open))[0][0]
        for relation, is_open in ((ident(f"{compiled.table}__patched"), False), (current, True))
    )
    return int(after) - int(before)  # type: ignore[call-overload,no-any-return]
