"""Making one feature's table in the staging file."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.building import affected_rows
from mlforge.building.scales import with_scales
from mlforge.sql.alike import alike
from mlforge.sql.physical import Physical, content_order, tiles
from mlforge.sql.templates import ident, sql, statements

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlforge.model import Compiled, Duration
    from mlforge.plan.spans import Spans

# What costs more to compute twice than to keep. Windows are not computed for what counts rows, but for SEEN.
_DEAR = re.compile(r"\b(?:JOIN|WITH|GROUP BY|DISTINCT|EXISTS)\b", re.IGNORECASE)
_DEAR_SEEN = re.compile(rf"{_DEAR.pattern}|\bOVER\b", re.IGNORECASE)
LEAK = "_mlforge_leak: a row holds what was not known at its time"
EVENTS = "_mlforge_events"
READ_EVENTS = "_mlforge_read_events"  # before some of them are left out
SORTED_EVENTS = "_mlforge_sorted_events"


@dataclass(frozen=True)
class Checked:
    """An event relation with the instant from which each of its rows is known, and how its time is read."""

    query: str
    timestamp_type: str | None
    format: str | None
    delay: Duration


@dataclass
class Runner:
    """Runs the statements of a build and remembers them with their time, for ``mlforge.statements``."""

    con: DuckDBPyConnection
    feature: str = ""
    checked: Checked | None = None  # the newest event rows whose leaks are looked for
    ran: list[tuple[str, str, float]] = field(default_factory=list)  # feature, SQL, seconds

    def run(self, script: str) -> list[tuple[object, ...]]:
        """Run the statements of a script; the rows of the last."""
        rows: list[tuple[object, ...]] = []
        for statement in statements(script):
            start = time.perf_counter()
            rows = self.con.execute(statement).fetchall()
            self.ran.append((self.feature, statement, time.perf_counter() - start))
        return rows


@dataclass(frozen=True)
class PartRange:
    """The event rows of one part of the main source: how many, how many of them belong to nothing (a NULL key or
    time), and the first and last time, in microseconds. ``early``: how many more of them were loaded before their time
    than after it."""

    part: str
    rows: int
    nowhere: int
    first: int | None
    last: int | None
    early: int = 0


@dataclass(frozen=True)
class EventCounts:
    """Rows of the event relation, how many of them belong to nothing, and where they come from."""

    rows: int
    nowhere: int
    parts: tuple[PartRange, ...] = ()


@dataclass(frozen=True)
class Stamp:
    """What the timestamp of event rows is: its type, None for rows without one, and how it is written where it is
    text."""

    type: str | None
    format: str | None


def make_events(
    runner: Runner, compiled: Compiled, stamp: Stamp, *, name: str = EVENTS, keep: bool = False, seen: bool = False
) -> None:
    """Make the temporary relation of event rows. It is a view where reading it twice costs less than keeping it, unless
    ``keep`` asks for a table. ``seen``: its rows say when they are known, and what reads a row that is stamped before
    that fails with LEAK."""
    dear = _DEAR_SEEN if seen else _DEAR
    simple = not keep and dear.search(compiled.event_sql) is None
    script = sql(
        "feature/events_view",
        name=name,
        materialise=not simple,
        timestamp_type=stamp.type,
        format=stamp.format,
        event_sql=compiled.event_sql,
        seen="check" if seen else None,
        delay=compiled.delay,
        leak=LEAK,
    )
    if seen:
        runner.checked = Checked(compiled.event_sql, stamp.type, stamp.format, compiled.delay)
    forget(runner.con, name)
    runner.run(script)


def count_events(runner: Runner, compiled: Compiled, stamp: Stamp, *, name: str, carried: bool) -> EventCounts:
    """Count the event rows. ``carried``: they say which part of the source they are from."""
    script = sql(
        "feature/part_ranges",
        keys=[k.name for k in compiled.keys],
        timed=bool(stamp.type),
        relation=name,
        carried=carried,
        loaded=compiled.loaded_at,
    )
    parts = tuple(PartRange(*row) for row in runner.run(script))  # type: ignore[arg-type]
    return EventCounts(sum(p.rows for p in parts), sum(p.nowhere for p in parts), parts)


def forget(con: DuckDBPyConnection, name: str) -> None:
    """Drop the relation of the feature before: CREATE OR REPLACE does not turn a view into a table."""
    for (kind,) in con.execute(sql("feature/temporary", name=name)).fetchall():
        con.execute(f"DROP {kind} {name}")


def narrow(runner: Runner, compiled: Compiled, events: str, spans: Spans, keyed: str | None = None) -> None:
    """Keep, as the event rows, those of ``events`` that lie in ``spans`` and, with ``keyed``, have its keys."""
    forget(runner.con, EVENTS)
    keys = [k.name for k in compiled.keys]
    runner.run(sql("feature/narrowed", name=EVENTS, events=events, spans=spans, keyed=keyed, keys=keys))


def make_table(runner: Runner, compiled: Compiled, table: str, last: int | None = None) -> Compiled:
    """Make ``table`` from the event rows. Returns the compiled feature with the scales that were chosen.

    ``last`` is the time of the last event: rows of an interval feature that later ones can change then lie together."""
    if compiled.kind != "static":
        compiled = with_scales(runner.con, compiled, EVENTS)
    fill_table(runner, compiled, table, last)
    return compiled


def fill_table(
    runner: Runner,
    compiled: Compiled,
    table: str,
    last: int | None = None,
    *,
    kept: Spans | None = None,
    temporary: bool = False,
) -> None:
    """Make ``table`` from the event rows with the scales that ``compiled`` has.

    With ``kept`` no more than the rows of these times need be made."""
    if compiled.kind == "static":
        physical = Physical(compiled, EVENTS)
        runner.run(sql("feature/static", f=physical, table=table, events=EVENTS, temporary=temporary))
    elif compiled.interval is None:
        _exact(runner, compiled, table, temporary=temporary)
    elif compiled.kind == "windows" and Physical(compiled, EVENTS).tileable:
        _tiles(runner, compiled, table, last, kept, temporary=temporary)
    else:
        _snapshots(runner, compiled, table, last, temporary=temporary)


def _exact(runner: Runner, compiled: Compiled, table: str, *, temporary: bool) -> None:
    """The rows that ASOF joins and frames read."""
    columns = {o.name: o.type for o in compiled.outputs}
    if compiled.kind == "windows":
        columns = {c.name: c.type for c in (*compiled.rows, *compiled.inputs)}
    runner.run(
        sql(
            "feature/plain" if compiled.kind == "plain" else "feature/events",
            f=Physical(replace(compiled, interval=None), EVENTS),
            table=table,
            events=EVENTS,
            temporary=temporary,
            versioned=not temporary,
            content=content_order(columns, loaded=compiled.loaded_at is not None),
        )
    )


def make_rows(runner: Runner, compiled: Compiled, table: str) -> None:
    """Make the temporary table that holds, sorted, the rows that an interval feature's snapshots are made of."""
    _exact(runner, compiled, table, temporary=True)


def _tiles(
    runner: Runner, compiled: Compiled, table: str, last: int | None, kept: Spans | None, *, temporary: bool
) -> None:
    feature = Physical(compiled, EVENTS, ingredients=compiled.uses_as_of)
    settled = affected_rows.settled(compiled, last)
    runner.run(
        sql(
            "feature/tiles",
            f=feature,
            table=table,
            temporary=temporary,
            events=EVENTS,
            interval=compiled.interval,
            parts=tiles(feature, running=kept is not None and affected_rows.is_short(compiled, kept)),
            kept=kept,
            settled=settled,
            open_from=settled and affected_rows.events_of(compiled, ((settled, None),))[0][0],
        )
    )


def _snapshots(runner: Runner, compiled: Compiled, table: str, last: int | None, *, temporary: bool) -> None:
    """Event rows first, then their exact values at the boundaries where a value can change."""
    runner.con.execute(f"DROP TABLE IF EXISTS {SORTED_EVENTS}")
    _exact(runner, compiled, SORTED_EVENTS, temporary=True)
    exact = replace(compiled, interval=None)
    feature = Physical(exact, SORTED_EVENTS, ingredients=compiled.uses_as_of)
    runner.run(
        sql(
            "feature/snapshots",
            f=feature,
            table=table,
            temporary=temporary,
            interval=compiled.interval,
            timezone=compiled.timezone,
            lengths=feature.lengths,
            settled=affected_rows.settled(compiled, last),
        )
    )
    runner.con.execute(f"DROP TABLE {SORTED_EVENTS}")


@dataclass(frozen=True)
class PatchSize:
    """How many rows a PATCH closes and adds, and the first and last of their times, in microseconds."""

    closed: int
    added: int
    first: int | None
    last: int | None


def make_patch(
    runner: Runner,
    compiled: Compiled,
    table: str,
    current: str,
    fresh: str,
    *,
    spans: Spans | None = None,
    keyed: str | None = None,
) -> PatchSize:
    """Replace the fresh table by what changes from ``current``: rows to close and rows to add.

    With ``spans`` or ``keyed`` the fresh table is right for these times and keys alone, and no others are touched."""
    types = table_columns(runner.con, fresh)
    repeats = compiled.kind == "windows" and compiled.interval is None
    keys = [k.name for k in compiled.keys]
    timed = compiled.kind != "static"
    runner.run(
        sql(
            "feature/patch",
            table=table,
            current=current,
            fresh=fresh,
            columns=list(types),
            repeats=repeats,
            timed=timed,
            spans=spans,
            keyed=keyed,
            keys=keys,
            alike=alike(types),
        )
    )
    found = runner.run(sql("feature/patch_size", table=table, timed=timed))[0]
    return PatchSize(*found)  # type: ignore[arg-type]


def table_columns(con: DuckDBPyConnection, table: str) -> dict[str, str]:
    """The columns, with their types, of a feature's table without those that say which PATCHes a row belongs to."""
    rows = con.execute(f"DESCRIBE {table}").fetchall()
    return {name: kind for name, kind, *_ in rows if name not in ("_mlforge_from", "_mlforge_to")}


def staged(name: str) -> str:
    """A table of schema ``store`` by its quoted name."""
    return f"store.{ident(name)}"
