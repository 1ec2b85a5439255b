"""What a version has taken in of its sources, part by part: the ledger's entries, and the states that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.catalog import reader
from mlforge.plan.spans import subtract
from mlforge.records import Part
from mlforge.warehouses.duckdb import CURRENT

if TYPE_CHECKING:
    from mlforge.building.materialise import EventCounts, PartRange
    from mlforge.building.work import Work
    from mlforge.model import SourceState, StoredVersion
    from mlforge.plan.increments import Increment
    from mlforge.plan.steps import FeatureStep


def known(work: Work, last: StoredVersion, source: str) -> dict[str, Part]:
    """The parts of a source that a version has taken in; none if the catalog is too old to say."""
    found = reader.ledger(work.runner.con, CURRENT, last.feature, last.version)
    return {p.part: p for p in found if p.source == source}


def taken_in(
    step: FeatureStep,
    increment: Increment,
    counts: EventCounts,
    known: dict[str, Part],
    last: StoredVersion,
    *,
    none: bool = False,
) -> tuple[tuple[Part, ...], tuple[tuple[str, str], ...], dict[str, SourceState]]:
    """The ledger's new entries, those that end, and the states of the sources as far as they were taken in.

    A part with rows at times that this build was not to look at stays as it was, so that the next build finds it;
    ``none``: so do all, since rows that correct each other lie in several."""
    states = dict(step.candidate.source_states)
    main = increment.main
    if main is None:
        return (), (), states
    now, old = states[main], last.source_states[main]
    ranges = {p.part: p for p in counts.parts}
    grown = {name for name, _ in increment.parts.grown}
    touched = (*increment.parts.added, *increment.parts.changed, *(name for name, _ in increment.parts.grown))
    seen = (*touched, *increment.parts.removed)
    pending = {n for n in seen if none or _is_pending(increment, ranges.get(n), known.get(n))}
    parts = []
    for name in touched:
        digest = old.parts.get(name, "pending") if name in pending else now.parts[name]
        before = known.get(name) if name in pending | grown else None
        parts.append(_entry(main, name, digest, ranges.get(name), before))
    ended = {*touched, *(n for n in increment.parts.removed if n not in pending)}
    gone = tuple((main, n) for n in sorted(ended & known.keys()))
    states[main] = replace(_without(now, old, pending), spans=increment.spans)
    return tuple(parts), gone, states


def _is_pending(increment: Increment, new: PartRange | None, old: Part | None) -> bool:
    if increment.limit is None:
        return False
    held = [(p.first, p.last + 1) for p in (new, old) if p is not None and p.first is not None and p.last is not None]
    return bool(subtract(held, [increment.limit]))


def _entry(source: str, name: str, digest: str, new: PartRange | None, old: Part | None) -> Part:
    """What the ledger says of a part. ``old``: what it said before, of a part that is taken in bit by bit."""
    both = [p for p in (new, old) if p is not None]
    return Part(
        source=source,
        part=name,
        digest=digest,
        rows=sum(p.rows or 0 for p in both),
        first=min((p.first for p in both if p.first is not None), default=None),
        last=max((p.last for p in both if p.last is not None), default=None),
    )


def _without(now: SourceState, old: SourceState, pending: set[str]) -> SourceState:
    """The state of a source as far as it was taken in: pending parts are as before."""
    if not pending:
        return now
    files = [f for f in now.files if f.path not in pending] + [f for f in old.files if f.path in pending]
    slices = [s for s in now.slices if s.name not in pending] + [s for s in old.slices if s.name in pending]
    return replace(now, digest=f"pending {now.digest}", files=tuple(files), slices=tuple(slices))
