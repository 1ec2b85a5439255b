"""Why a feature has the value it has, for one key at one instant: bounds, rows inside, rows left out."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace as with_changes

from mlforge.catalog import reader
from mlforge.duration import in_utc
from mlforge.errors import UsageError, did_you_mean, engine_words
from mlforge.model import FeatureRef, Pin, Version
from mlforge.project.ref_grammar import parse_ref
from mlforge.retrieve.contributing_rows import Rows, rows_of
from mlforge.retrieve.handover import plain_rows
from mlforge.retrieve.labels import arrow
from mlforge.retrieve.request import resolve
from mlforge.retrieve.training import training_set
from mlforge.sql.bind import bind
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, Duration, Project, StoredVersion
    from mlforge.sql.physical import Physical

Part = Literal["inside", "before", "after"]
Row = dict[str, Any]
SHOWN = 5
_EPOCH = datetime.datetime(1970, 1, 1)


class WindowPart(Struct, frozen=True, kw_only=True):
    """One window at one instant. Counts are rows of the key; ``filtered``: rows inside that a FILTER does not take."""

    window: str  # 7d, ever, or ttl 7d
    columns: tuple[str, ...]  # output columns that read it
    lower: datetime.datetime | None
    upper: datetime.datetime
    inside: int
    before: int
    after: int
    filtered: dict[str, int] = {}
    rows: tuple[Row, ...] = ()  # newest first
    rows_before: tuple[Row, ...] = ()
    rows_after: tuple[Row, ...] = ()


class Explanation(Struct, frozen=True, kw_only=True):
    """What a value is made of. ``read_at`` is the instant the value is taken at: an interval's boundary, else ``at``;
    ``until`` is where windows end: ``read_at`` less the delay. ``latest`` is the row that row columns come from."""

    feature: str
    version: str
    kind: str
    closed: str
    key: Row
    at: datetime.datetime
    read_at: datetime.datetime
    until: datetime.datetime
    value: Row
    sql: dict[str, str]  # output column -> its expression
    windows: tuple[WindowPart, ...] = ()
    latest: Row | None = None
    stored: Row | None = None  # the snapshot that answers, of interval features
    notes: tuple[str, ...] = ()
    reads: tuple[Explanation, ...] = ()  # of on-demand features


def parse_instant(text: str) -> int:
    """An ISO 8601 instant as microseconds since the epoch; without a zone it is UTC. Raises UsageError."""
    try:
        found = in_utc(datetime.datetime.fromisoformat(text))
    except ValueError:
        raise UsageError(f"{text!r} is not an instant", hint="write 2024-03-01T09:00, in UTC or with a zone") from None
    return (found - _EPOCH) // datetime.timedelta(microseconds=1)


def parse_key(stored: StoredVersion, given: Sequence[str]) -> Row:
    """``--key`` values, ``value`` or ``name=value``, as a row of the feature's keys. Raises UsageError."""
    names = [k.name for k in stored.compiled.keys]
    if len(names) == 1 and len(given) == 1 and not given[0].startswith(f"{names[0]}="):
        return {names[0]: given[0]}
    pairs = dict(text.partition("=")[::2] for text in given)
    for name in pairs:
        if name not in names:
            raise UsageError(f"{stored.feature} has no key {name!r}", hint=did_you_mean(name, names))
    if missing := [n for n in names if n not in pairs]:
        hint = "write " + " ".join(f"--key {n}=..." for n in names)
        raise UsageError(
            f"the key of {stored.feature} is ({', '.join(names)}): {', '.join(missing)} missing", hint=hint
        )
    return {name: pairs[name] for name in names}


@dataclass(frozen=True)
class Question:
    """What is asked of a feature: a key as text, an instant in microseconds, request columns of on-demand features."""

    con: DuckDBPyConnection
    state: CatalogState
    key: Row
    at: int
    request: Mapping[str, str]
    project: Project | None = None


def ask(
    con: DuckDBPyConnection,
    reference: str,
    key: Sequence[str],
    at: str,
    *,
    request: Mapping[str, str],
    project: Project | None,
) -> Explanation:
    """Explain what ``name[@version]`` means, with key and instant as the user writes them. Raises UsageError."""
    micros = parse_instant(at)
    state = reader.state(con)
    (asked,) = resolve(state, parse_ref(reference))
    return explain(Question(con, state, parse_key(asked.stored, key), micros, request, project), asked.stored)


def explain(q: Question, stored: StoredVersion) -> Explanation:
    """Explain one version.

    The catalog keeps no rows of interval features: with the project they are read from its sources. Raises UsageError
    for a key or request value that does not fit its type."""
    physical = bind(q.state, stored)
    value = _value(q, physical, stored)
    read_at, until, *lowers = _bounds(q.con, physical, q.at)
    with rows_of(q.con, physical, stored, q.project) as rows:
        windows = _windows(rows, q.key, lowers, until) if rows else ()
        latest = _latest(rows, q.key, until) if rows else None
    read = [q.state.features[r.feature].get(Version.parse(r.version)) for r in stored.compiled.refs]
    return Explanation(
        feature=stored.feature,
        version=str(stored.version),
        kind=stored.compiled.kind,
        closed=stored.compiled.closed,
        key=q.key,
        at=instant(q.at),
        read_at=instant(read_at),
        until=instant(until),
        value=value,
        sql={c.name: c.sql for c in stored.definition.columns if c.name in value},
        windows=windows,
        latest=latest,
        stored=_stored(q.con, physical, q.key, read_at) if physical.c.interval else None,
        notes=tuple(_notes(stored, anew=bool(rows))),
        reads=tuple(explain(q, v) for v in read) if stored.compiled.kind == "on_demand" else (),
    )


def instant(micros: int) -> datetime.datetime:
    """Microseconds since the epoch as a time in UTC, without a zone."""
    return _EPOCH + datetime.timedelta(microseconds=micros)


def _value(q: Question, physical: Physical, stored: StoredVersion) -> Row:
    """The value itself, by the same path that training sets take."""
    missing = [name for name in stored.compiled.request if name not in q.request]
    if missing:
        hint = "write " + " ".join(f"--request {name}=..." for name in missing)
        raise UsageError(f"{stored.feature} needs the request columns {', '.join(missing)}", hint=hint)
    text = sql("retrieve/explain_label", f=physical, key=q.key, at=q.at, request=dict(q.request))
    version = stored.version
    ref = FeatureRef(name=stored.feature, version=Pin(version.major, version.minor, version.patch))
    made = training_set(q.con, q.state, [ref], _query(q.con, text, physical), full_names=True)
    (row,) = plain_rows(made.table.select(made.record["columns"]))
    return {name.partition("__")[2]: value for name, value in row.items()}


def _query(con: DuckDBPyConnection, text: str, physical: Physical) -> Any:
    import duckdb

    try:
        return arrow(con, text)
    except duckdb.ConversionException as error:
        types = ", ".join(f"{k.name} {k.type}" for k in physical.c.keys)
        reason = engine_words(error)
        raise UsageError(f"the key or request does not fit: {reason}", hint=f"the key is ({types})") from error


def _bounds(con: DuckDBPyConnection, f: Physical, at: int) -> tuple[int, ...]:
    if not f.c.timestamp:
        return at, at
    found = con.execute(sql("retrieve/explain_bounds", f=f, at=at, lengths=[d for _, d, _ in _frames(f)])).fetchall()
    return tuple(found[0])


def _frames(f: Physical) -> list[tuple[str, Duration | None, tuple[str, ...]]]:
    """Windows of a feature: what it is called, how long it is, and the aggregates (or all rows) that read it."""
    if f.c.kind == "plain":
        return [(f"ttl {f.c.ttl}" if f.c.ttl else "ever", f.c.ttl, tuple(o.name for o in f.c.outputs))]
    found: dict[Duration | None, list[str]] = {}
    for aggregate in f.c.aggregates:
        found.setdefault(aggregate.window, []).append(aggregate.name)
    return [(str(d) if d else "ever", d, tuple(names)) for d, names in found.items()]


def _windows(rows: Rows, key: Row, lowers: Sequence[int | None], until: int) -> tuple[WindowPart, ...]:
    frames = _frames(rows.feature)
    return tuple(
        _window(rows, frame, {"f": rows.feature, "key": key, "lower": low, "upper": until})
        for frame, low in zip(frames, lowers, strict=True)
    )


def _window(rows: Rows, frame: tuple[str, Duration | None, tuple[str, ...]], place: dict[str, Any]) -> WindowPart:
    """One window; ``place`` is what the templates need to find it."""
    name, _, users = frame
    compiled = rows.feature.c
    used = [a for a in compiled.aggregates if a.name in users]
    texts = {i.name: i.sql for i in compiled.inputs}
    filters = list(dict.fromkeys(a.filter for a in used if a.filter))
    counts = rows.con.execute(sql("retrieve/explain_counts", filters=filters, **place)).fetchall()[0]
    inside, before, after, *filtered = counts
    columns = _shown(rows.feature, used)
    lower = place["lower"]
    return WindowPart(
        window=name,
        columns=_outputs(rows.feature, users),
        lower=None if lower is None else instant(lower),
        upper=instant(place["upper"]),
        inside=inside,
        before=before,
        after=after,
        filtered={texts[x]: n for x, n in zip(filters, filtered, strict=True)},
        rows=_sample(rows, "inside", columns, place, SHOWN),
        rows_before=_sample(rows, "before", columns, place, 1),
        rows_after=_sample(rows, "after", columns, place, 1),
    )


def _sample(rows: Rows, part: Part, columns: dict[str, str], place: dict[str, Any], limit: int) -> tuple[Row, ...]:
    text = sql("retrieve/explain_rows", part=part, columns=list(columns), limit=limit, **place)
    names = [rows.feature.c.timestamp or "", *columns.values()]
    return tuple(dict(zip(names, row, strict=True)) for row in rows.con.execute(text).fetchall())


def _shown(f: Physical, used: Sequence[Any]) -> dict[str, str]:
    """Columns of the stored rows that a window reads, with the text that the user wrote for each."""
    if f.c.kind == "plain":
        return {o.name: o.name for o in f.c.outputs}
    read = {x for a in used for x in (*a.args, a.filter) if x}
    return {i.name: i.sql for i in f.c.inputs if i.name in read}


def _outputs(f: Physical, users: Sequence[str]) -> tuple[str, ...]:
    """Output columns whose expression names one of the aggregates."""
    if f.c.kind == "plain":
        return tuple(users)
    return tuple(o.name for o in f.c.outputs if any(name in _words(o.sql) for name in users))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _latest(rows: Rows, key: Row, until: int) -> Row | None:
    """The row that row columns come from; of a static feature the key's row. Plain rows are in their window."""
    f = rows.feature
    if f.c.kind == "static":
        columns = {o.name: o.name for o in f.c.outputs}
    elif f.c.kind == "windows" and f.c.rows:
        columns = {r.name: r.sql for r in f.c.rows}
    else:
        return None
    found = _sample(rows, "inside", columns, {"f": f, "key": key, "lower": None, "upper": until}, 1)
    return {name: value for name, value in found[0].items() if name} if found else None


def _stored(con: DuckDBPyConnection, f: Physical, key: Row, read_at: int) -> Row | None:
    """The snapshot at or before a boundary."""
    right = replace(f, c=with_changes(f.c, closed="right"))
    columns = {o.name: o.name for o in f.c.outputs} if not f.c.uses_as_of else {}
    found = _sample(Rows(con, right), "inside", columns, {"f": right, "key": key, "lower": None, "upper": read_at}, 1)
    return {("boundary" if name == f.c.timestamp else name): v for name, v in found[0].items()} if found else None


def _notes(stored: StoredVersion, *, anew: bool) -> list[str]:
    compiled = stored.compiled
    notes = []
    if compiled.delay.n:
        notes.append(f"delay {compiled.delay}: windows end that long before the instant")
    if compiled.interval and not anew:
        why = (
            "rows that are joined to other features are not read again"
            if stored.definition.refs
            else "open the project that has its sources to see the rows of its windows"
        )
        notes.append(f"an interval feature keeps snapshots, not rows: {why}")
    if compiled.interval and anew:
        notes.append("the rows were read from the sources as they are now")
    if compiled.timestamp:
        notes.append("rows that WHERE drops belong to no window and are not kept")
    return notes
