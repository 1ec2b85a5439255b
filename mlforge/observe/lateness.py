"""How long after their timestamp the rows of a source are loaded, and the delay that follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from mlforge.errors import ProjectError
from mlforge.model import SOURCE_SCHEMA, Duration
from mlforge.observe.instants import spoken
from mlforge.render.copied_columns import copied_column
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from mlforge.model import CatalogState, Definition, Project, Source
    from mlforge.plan.steps import Plan
    from mlforge.warehouses.duckdb import DuckDB

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
LARGEST = {"parquet": 500_000_000, "csv": 100_000_000, "json": 50_000_000}
"""Bytes of files above which a plan does not look at all rows."""

_STEPS = {
    "s": (1, 2, 5, 10, 15, 30),
    "m": (1, 2, 5, 10, 15, 30),
    "h": (1, 2, 3, 4, 6, 8, 12, 18),
    "d": (1, 2, 3, 4, 5, 6, 7, 10, 14, 21, 30, 45, 60, 90),
}


class Lateness(Struct, frozen=True, kw_only=True):
    """``loaded_at`` less ``timestamp`` over the rows of a source that have both, in whole seconds, rounded up.

    ``negative`` is the share of rows that were loaded before their timestamp."""

    source: str
    rows: int
    p50: int
    p90: int
    p99: int
    p999: int
    max: int
    negative: float

    @property
    def proposed(self) -> Duration:
        """A delay by which 99 % of the rows are loaded, in a readable length; 0s if they never come late."""
        return rounded_up(self.p99)


class Advice(Struct, frozen=True, kw_only=True):
    """How late a source is, and the features that state less ``delay`` than it asks for."""

    lateness: Lateness
    features: tuple[tuple[str, Duration], ...] = ()  # name, its delay


def rounded_up(seconds: int) -> Duration:
    """The next length that people write: 5m, 2h, 3d."""
    if seconds <= 0:
        return Duration(0, "s")
    for unit, numbers in _STEPS.items():
        for n in numbers:
            length = Duration(n, unit)  # type: ignore[arg-type]
            if (length.micros or 0) >= seconds * 1_000_000:
                return length
    return Duration(-(-seconds // 86_400), "d")


def lateness(warehouse: DuckDB, source: Source) -> Lateness | None:
    """How late the rows of a source are, or None: it does not have both times, or no row has them.

    Raises ProjectError for a source that cannot be read."""
    if not source.loaded_at or not source.timestamp:
        return None
    warehouse.bind_source(source)
    relation = f"{ident(SOURCE_SCHEMA)}.{ident(source.name)}"
    types = {name.lower(): kind for name, kind in warehouse.describe(f"FROM {relation}").items()}
    if not types[source.timestamp.lower()].startswith(("TIMESTAMP", "DATE")):
        return None
    text = sql(
        "observe/lateness",
        loaded_at=source.loaded_at,
        timestamp=source.timestamp,
        relation=relation,
        quantiles=list(QUANTILES.values()),
    )
    rows, early, most, *found = warehouse.asked(source, text)[0]
    if not rows:
        return None
    values = dict(zip(QUANTILES, found, strict=True))
    return Lateness(source=source.name, rows=rows, max=most, negative=early / rows, **values)


def advice(found: Lateness, source: Source, definitions: Iterable[Definition]) -> Advice:
    """Names the features whose timestamp is the source's, and whose ``delay`` is shorter than the proposed one."""
    wanted = found.proposed.micros or 0
    less = [
        (d.feature, d.delay)
        for d in definitions
        if d.timestamp and (d.delay.micros or 0) < wanted and _counts_from(d, source)
    ]
    return Advice(lateness=found, features=tuple(sorted(less)))


def _counts_from(definition: Definition, source: Source) -> bool:
    import sqlglot

    if source.name not in definition.sources or not definition.timestamp or not source.timestamp:
        return False
    tree: Any = sqlglot.parse_one(definition.sql, dialect="duckdb")
    copied = copied_column(tree, definition.timestamp)
    return copied is not None and (copied[0], copied[1].lower()) == (source.name, source.timestamp.lower())


def in_words(found: Advice) -> list[str]:
    """The distribution as a sentence, and the proposal as another one, if there is one."""
    late = found.lateness
    parts = [f"{spoken(getattr(late, q))} ({name})" for q, name in _NAMES.items()]
    early = f"; {late.negative:.2%} of them before it" if late.negative else ""
    text = (
        f"rows of source {late.source} are loaded {', '.join(parts)}, at most {spoken(late.max)} after their timestamp"
    )
    if not found.features:
        return [f"{text}{early}"]
    stated = ", ".join(f"{name} states {delay}" for name, delay in found.features)
    hint = f'config(delay="{late.proposed}") would wait for 99 % of the rows of {late.source}: {stated}'
    return [f"{text}{early}", hint]


_NAMES = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9"}


def noted(plan: Plan, project: Project, engine: Callable[[], AbstractContextManager[DuckDB]]) -> Plan:
    """The plan, with notes on how late the sources are that it would read."""
    definitions = [step.candidate.definition for step in plan.builds]
    names = sorted({name for d in definitions for name in d.sources})
    stated = [project.sources[n] for n in names if n in project.sources]  # rows of Python functions are made anew
    timed = [s for s in stated if s.loaded_at and s.timestamp]
    if not timed:
        return plan
    notes: list[str] = []
    with engine() as warehouse:
        warehouse.known = plan.source_states
        for source in timed:
            notes += _notes(warehouse, source, definitions)
    return replace(plan, notes=(*plan.notes, *notes))


def _notes(warehouse: DuckDB, source: Source, definitions: Iterable[Definition]) -> list[str]:
    if not _is_quick(warehouse, source):
        return [f"mlforge inspect source {source.name} shows how late its rows come: it is too large to look here"]
    try:
        late = lateness(warehouse, source)
    except ProjectError as error:
        return [f"how late the rows of {source.name} come is not known: {error.message}"]
    return in_words(advice(late, source, definitions)) if late else []


def _is_quick(warehouse: DuckDB, source: Source) -> bool:
    """Whether two columns of the source are read in a few seconds: text must be read whole."""
    if "://" in (source.path or ""):
        return False
    if source.format not in LARGEST:
        return True
    return sum(Path(file).stat().st_size for file in warehouse.files(source)) <= LARGEST[source.format]


def described(
    noun: str,
    name: str,
    project: Project | None,
    state: CatalogState,
    engine: Callable[[], AbstractContextManager[DuckDB]],
) -> dict[str, Any]:
    """What ``inspect source`` adds: ``lateness`` with the proposed delay and the features that state less, and its
    sentences; nothing for what has not both times, the reason for a source that cannot be read."""
    source = project.sources.get(name) if project and noun == "source" else None
    if source is None or not source.loaded_at:
        return {}
    with engine() as warehouse:
        warehouse.known = state.source_states
        return _described(warehouse, source, state)


def _described(warehouse: DuckDB, source: Source, state: CatalogState) -> dict[str, Any]:
    try:
        late = lateness(warehouse, source)
    except ProjectError as error:
        return {"lateness": None, "lateness_unknown": error.message}
    if late is None:
        return {}
    current = [f.get(f.current).definition for f in state.features.values()]
    found = advice(late, source, current)
    shown = {name: value for name, value in asdict(late).items() if name != "source"}
    less = [{"feature": name, "delay": str(delay)} for name, delay in found.features]
    return {
        "lateness": {**shown, "proposed_delay": str(late.proposed), "features_with_less": less},
        "notes": in_words(found),
    }
