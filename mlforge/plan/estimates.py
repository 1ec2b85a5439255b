"""What a step will cost, as far as earlier runs of the feature tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from mlforge.model import Candidate, CatalogState, SourceState
    from mlforge.plan.increments import Increment


class Estimate(Struct, frozen=True, kw_only=True):
    """Rows of the source to be read, and seconds without the commit."""

    rows: int
    seconds: float


def estimate(name: str, increment: Increment, candidate: Candidate, state: CatalogState) -> Estimate | None:
    """What earlier runs suggest; None where there was none, or where rows cannot be told from sizes."""
    runs = state.runs.get(name, {})
    whole = runs.get("whole")
    if whole is None or name not in state.features:
        return None
    if increment.main is None:
        return Estimate(rows=whole.event_rows, seconds=whole.seconds) if increment.mode == "whole" else None
    rows = _rows(name, increment, candidate.source_states[increment.main], state)
    run = runs.get(increment.mode, whole)
    if rows is None:
        return None
    return Estimate(rows=rows, seconds=run.seconds * max(rows, 1) / run.event_rows)


def _rows(name: str, increment: Increment, now: SourceState, state: CatalogState) -> int | None:
    parts = increment.parts
    wanted = set(now.parts)
    if increment.mode != "whole":
        wanted = {*parts.added, *parts.changed, *(part for part, _ in parts.grown)}
    if now.slices:
        return sum(s.rows for s in now.slices if s.name in wanted)
    per_byte = _rows_per_byte(name, increment.main or "", state)
    if per_byte is None:
        return None
    return round(sum(f.size for f in now.files if f.path in wanted) * per_byte)


def _rows_per_byte(name: str, source: str, state: CatalogState) -> float | None:
    """From the newest run that read every file."""
    whole = state.runs[name]["whole"]
    for stored in state.features[name].versions:
        if str(stored.version) == whole.version and source in stored.source_states:
            size = sum(f.size for f in stored.source_states[source].files)
            return whole.event_rows / size if size else None
    return None
