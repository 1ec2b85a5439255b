"""How old sources and features are, against the age that they may have."""

from __future__ import annotations

import datetime
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from mlforge.building.candidates import render_each
from mlforge.duration import in_utc
from mlforge.errors import MlforgeError, ProjectError, UsageError, WarehouseError, did_you_mean
from mlforge.model import SOURCE_SCHEMA, CatalogState
from mlforge.observe.instants import before, instant, micros
from mlforge.sql.bind import bind
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from duckdb import DuckDBPyConnection

    from mlforge.model import Duration, FeatureConfig, Project, Source, StoredVersion
    from mlforge.warehouses.duckdb import DuckDB

State = Literal["fresh", "warn", "stale", "unknown", "unlimited"]
FAILED: tuple[State, ...] = ("stale", "unknown")


class Freshness(Struct, frozen=True, kw_only=True):
    """The age of one source or feature: from ``newest`` to now, in seconds. ``basis`` says what was looked at.

    ``later`` counts rows that are not counted, as they lie in the future: after now, and for features also after the
    build. ``unknown`` means that there is a limit and no age, and ``text`` says why."""

    kind: Literal["source", "feature"]
    name: str
    state: State
    age: float | None = None
    newest: datetime.datetime | None = None  # UTC, without a zone
    basis: str | None = None
    later: int = 0
    max_age: str | None = None
    warn_age: str | None = None
    version: str | None = None
    built_at: datetime.datetime | None = None
    text: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the command fails because of it."""
        return self.state in FAILED


class _Newest(Struct, frozen=True):
    """The newest instant of something in microseconds, if it has any; what it was found by; rows after the limit."""

    at: int | None
    basis: str | None
    later: int = 0
    text: str | None = None


def freshness(
    project: Project | None,
    state: CatalogState,
    engine: Callable[[], AbstractContextManager[DuckDB]],
    reading: Callable[[], AbstractContextManager[DuckDBPyConnection]],
    now: datetime.datetime | None = None,
    names: Collection[str] = (),
    *,
    everything: bool = False,
) -> list[Freshness]:
    """Ages of the sources and features that state a limit, or of ``everything``, or of those named; sources first.

    ``engine`` opens what reads sources, for which a project is needed, ``reading`` the catalog. What cannot be read is
    ``unknown``. ``now`` (None: the clock's) without a zone is UTC. Raises UsageError for an unknown name."""
    try:
        now = in_utc(now or datetime.datetime.now(datetime.UTC)).replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise UsageError(f"now={error}") from None
    with engine() if project else nullcontext() as warehouse, reading() if state.features else nullcontext() as catalog:
        if warehouse is not None:
            warehouse.known = state.source_states
        return _ages(project, state, warehouse, catalog, now, names, everything=everything)


def _ages(
    project: Project | None,
    state: CatalogState,
    warehouse: DuckDB | None,
    catalog: DuckDBPyConnection | None,
    now: datetime.datetime,
    names: Collection[str],
    *,
    everything: bool,
) -> list[Freshness]:
    sources = project.sources if project and warehouse else {}
    configs = _configs(project, state)
    for name in names:
        if name not in sources and name not in configs:
            known = [*sources, *configs]
            raise UsageError(f"there is no source or feature {name!r}", hint=did_you_mean(name, known))

    def wanted(name: str, limits: tuple[Duration | None, ...]) -> bool:
        return name in names if names else everything or any(limits)

    found = []
    for name, source in sources.items():
        if warehouse and wanted(name, (source.max_age, source.warn_age)):
            found.append(_of_source(warehouse, source, now))
    for name, config in configs.items():
        if not config.on_demand and wanted(name, (config.max_age,)):
            found.append(_of_feature(project, state, warehouse, catalog, name, config, now))
    return found


def _configs(project: Project | None, state: CatalogState) -> dict[str, FeatureConfig]:
    """What features say now, by name; those whose files do not render say what they said at the newest build."""
    known = {name: stored.config for name, stored in state.features.items()}
    if project is None:
        return known
    rendered, broken = render_each(project)
    known = {name: config for name, config in known.items() if name in broken}
    return dict(sorted((known | {name: r.config for name, r in rendered.rendered.items()}).items()))


def _judged(found: Freshness, most: Duration | None, warn: Duration | None, now: datetime.datetime) -> Freshness:
    """The same with its state. An age that equals the limit is fresh yet."""
    found = replace(found, max_age=most and str(most), warn_age=warn and str(warn))
    if most is None and warn is None:
        return replace(found, state="unlimited")
    if found.newest is None:
        return replace(found, state="unknown")
    at = found.newest.replace(tzinfo=datetime.UTC)
    if most and at < before(now, most):
        return replace(found, state="stale")
    return replace(found, state="warn" if warn and at < before(now, warn) else "fresh")


def _aged(found: Freshness, newest: _Newest, now: datetime.datetime) -> Freshness:
    if newest.at is None:
        return replace(found, basis=newest.basis, later=newest.later, text=newest.text)
    return replace(
        found, age=(micros(now) - newest.at) / 1e6, newest=instant(newest.at), basis=newest.basis, later=newest.later
    )


def _of_source(warehouse: DuckDB, source: Source, now: datetime.datetime) -> Freshness:
    found = Freshness(kind="source", name=source.name, state="unlimited")
    try:
        found = _aged(found, _newest_row(warehouse, source, micros(now)), now)
    except MlforgeError as error:
        found = replace(found, text=error.message)
    return _judged(found, source.max_age, source.warn_age, now)


def _newest_row(warehouse: DuckDB, source: Source, limit: int) -> _Newest:
    """By ``loaded_at``, else ``timestamp``, else ``cursor``, of which the first that holds instants counts; else by the
    newest file. All rows count, also those that another of the same unique key has replaced, and deletions."""
    warehouse.bind_source(replace(source, unique_key=(), deleted=None))
    relation = f"{ident(SOURCE_SCHEMA)}.{ident(source.name)}"
    types = {name.lower(): kind for name, kind in warehouse.describe(f"FROM {relation}").items()}
    for setting in ("loaded_at", "timestamp", "cursor"):
        column = getattr(source, setting)
        if column and types[column.lower()].startswith(("TIMESTAMP", "DATE")):
            basis = f"{setting} {column}"
            text = sql(
                "observe/newest", instant=sql("lib/micros_of_any", x=ident(column)), relation=relation, limit=limit
            )
            at, later = warehouse.asked(source, text)[0]
            return _Newest(at, basis, later, "no row has a time that is not in the future" if later else "no rows")
    return _newest_file(warehouse, source, limit)


def _newest_file(warehouse: DuckDB, source: Source, limit: int) -> _Newest:
    if source.format in ("table", "data"):
        return _Newest(None, None, 0, "it names neither loaded_at nor timestamp")
    times = sorted(_file_times(warehouse, source))
    known = [at for at in times if at <= limit]
    return _Newest(known[-1] if known else None, "newest file", len(times) - len(known), "no file was written yet")


def _file_times(warehouse: DuckDB, source: Source) -> Iterator[int]:
    from pathlib import Path

    if "://" in (source.path or ""):
        yield from (at for (at,) in warehouse.asked(source, sql("observe/remote_times", pattern=source.path)))
        return
    files = [source.path or ""] if source.format == "duckdb" else warehouse.files(source)
    yield from (Path(file).stat().st_mtime_ns // 1000 for file in files)


def _of_feature(
    project: Project | None,
    state: CatalogState,
    warehouse: DuckDB | None,
    catalog: DuckDBPyConnection | None,
    name: str,
    config: FeatureConfig,
    now: datetime.datetime,
) -> Freshness:
    found = Freshness(kind="feature", name=name, state="unlimited")
    stored = state.features.get(name)
    if stored is None or catalog is None:
        return _judged(replace(found, text="not built yet"), config.max_age, None, now)
    version = stored.get(stored.current)
    built = datetime.datetime.fromisoformat(version.created_at)
    found = replace(found, version=str(stored.current), built_at=instant(micros(built)))
    newest = _newest_event(project, state, warehouse, catalog, version, min(micros(now), micros(built)))
    return _judged(_aged(found, newest, now), config.max_age, None, now)


def _newest_event(
    project: Project | None,
    state: CatalogState,
    warehouse: DuckDB | None,
    catalog: DuckDBPyConnection,
    version: StoredVersion,
    limit: int,
) -> _Newest:
    """Rows later than the build were in the future then, so they say nothing of how fresh it was."""
    compiled = version.compiled
    if compiled.kind == "static":
        return _Newest(limit, "build")
    if compiled.interval is not None:
        in_sources = _in_sources(project, warehouse, version, limit)
        if in_sources is not None:
            return in_sources
    rows = catalog.execute(sql("observe/newest_of_version", f=bind(state, version), limit=limit)).fetchall()
    basis = "event time" if compiled.interval is None else "snapshot"
    return _Newest(rows[0][0], basis, rows[0][1], "no rows")


def _in_sources(
    project: Project | None, warehouse: DuckDB | None, version: StoredVersion, limit: int
) -> _Newest | None:
    """The newest event of the sources that is not after the build. Snapshots cannot say: a row that leaves a window
    makes one too. None where the sources are not at hand, and for what reads other features."""
    import duckdb

    definition = version.definition
    known = project.sources if project else {}
    if warehouse is None or definition.refs or not definition.sources or not definition.sources.keys() <= known.keys():
        return None
    try:
        for name in definition.sources:
            warehouse.bind_source(known[name])
        types = warehouse.describe(version.compiled.event_sql)
    except (ProjectError, WarehouseError):  # a source that is gone or has changed: the snapshots are what there is
        return None
    kind = types.get("_mlforge_ts")
    script = sql(
        "feature/events_view",
        name="_mlforge_aged",
        materialise=False,
        timestamp_type=kind,
        format=definition.timestamp_format,
        event_sql=version.compiled.event_sql,
        seen=None,
    )
    text = sql("observe/newest", instant="_mlforge_t", relation="_mlforge_aged", limit=limit)
    try:
        warehouse.con.execute(script)
        at, later = warehouse.con.execute(text).fetchall()[0]
    except duckdb.InvalidInputException:  # a value of a source that does not fit its column: the snapshots again
        return None
    return _Newest(at, "event time in the sources", later, "no rows")
