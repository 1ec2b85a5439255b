"""How much of a feature a PATCH makes again, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from mlforge.plan.spans import EVERYTHING, Spans, subtract, union
from mlforge.render.rowwise import RowWise, row_wise

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlforge.model import Candidate, Compiled, Source, SourceState, Span, StoredVersion

Mode = Literal["whole", "incremental", "by_key"]
LOOK = "whether its rows leak was not looked at, or its sources were taken to be known at other times"


class Scope(Struct, frozen=True, kw_only=True):
    """The event times that a build is asked to look at, in microseconds since the epoch; None is no bound.

    ``restate``: times that are made again though nothing changed. ``whole``: everything is made again. ``backfill``:
    the bounds are for versions that have not taken in everything yet, and others are brought up to date."""

    since: int | None = None
    until: int | None = None
    restate: tuple[int | None, int | None] | None = None
    whole: bool = False
    backfill: bool = False

    @property
    def span(self) -> tuple[int | None, int | None]:
        """The times as a span."""
        return (self.since, self.until)

    @property
    def bounded(self) -> bool:
        """Whether any time is left out."""
        return self.since is not None or self.until is not None


class Parts(Struct, frozen=True, kw_only=True):
    """The parts of a source that are not as a version has them. ``grown``: slices that only have newer rows besides,
    with the value that those are beyond."""

    added: tuple[str, ...] = ()
    grown: tuple[tuple[str, int], ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def only_new(self) -> bool:
        """Whether no row that was taken in is known to be gone or different."""
        return not self.changed and not self.removed

    @property
    def to_read(self) -> tuple[tuple[str, int | None], ...]:
        """The parts that hold rows to take in, with the value beyond which they do; None: all of their rows."""
        return (*((part, None) for part in (*self.added, *self.changed)), *self.grown)

    def __bool__(self) -> bool:
        return bool(self.added or self.grown or self.changed or self.removed)


class Increment(Struct, frozen=True, kw_only=True):
    """What of a feature a step makes.

    ``main`` names the source whose rows become event rows one by one, ``ref`` the feature whose rows do; ``query`` is
    the event relation that says of each row which part it is from. ``spans`` are the only event times that the version
    will hold, if there are any; ``todo`` those it has never taken in, or is asked to make again."""

    mode: Mode = "whole"
    why: str | None = None  # of "whole": why not less
    main: str | None = None
    ref: str | None = None
    query: str = ""
    parts: Parts = Parts()
    keys: tuple[tuple[str, str], ...] = ()  # by_key: column of the source, key
    spans: tuple[tuple[int | None, int | None], ...] = ()
    todo: tuple[tuple[int | None, int | None], ...] = ()
    limit: tuple[int | None, int | None] | None = None  # changes at other times are left for a later build


def first(candidate: Candidate, scope: Scope) -> Increment:
    """The step of a version that has a table of its own: every row, or those of the times asked for."""
    found = _rows_of(candidate)
    if isinstance(found, str):
        return Increment(why=found if scope.bounded else None)
    spans = (scope.span,) if scope.bounded and found.source else ()
    return Increment(main=found.source, ref=found.ref, query=found.query, spans=spans)


def next_one(
    last: StoredVersion, candidate: Candidate, scope: Scope, sources: Mapping[str, Source], news: Collection[str]
) -> Increment:
    """The step of a PATCH. ``news`` are the features it reads that have new data without a time."""
    found = _rows_of(candidate)
    if isinstance(found, str):
        return _by_key(last, candidate, scope, sources, found)
    old = last.source_states.get(found.source or "")
    if scope.backfill and old is not None and not old.spans:
        scope = replace(scope, since=None, until=None)
    spans, todo = _spans(old, scope) if found.source else ((), ())
    made = Increment(main=found.source, ref=found.ref, query=found.query, spans=spans, todo=todo)
    why = _why_whole(last, candidate, found, sources, news, scope)
    if why is not None:
        return replace(made, why=why, todo=())
    parts = compare(old, candidate.source_states[found.source]) if found.source and old else Parts()
    if found.source and sources[found.source].unique_key and not parts.only_new:
        why = f"a part of {found.source} changed, which may bring back rows that it had corrected"
        return replace(made, why=why, todo=())
    limit = scope.span if scope.bounded else None
    return replace(made, mode="incremental", parts=parts, limit=limit)


def _rows_of(candidate: Candidate) -> RowWise | str:
    if candidate.compiled.kind == "on_demand":
        return "it stores nothing"
    if candidate.compiled.timestamp is None:
        return "it has no timestamp"
    return row_wise(candidate.seen_sql or candidate.compiled.event_sql)


def _why_whole(
    last: StoredVersion,
    candidate: Candidate,
    found: RowWise,
    sources: Mapping[str, Source],
    news: Collection[str],
    scope: Scope,
) -> str | None:
    """Why a row-wise feature is made whole all the same."""
    if scope.whole:
        return "asked for"
    if not looked_at(last, candidate):
        return LOOK
    if calls_of(last.compiled) != calls_of(candidate.compiled):
        typed = sorted(n for n, s in candidate.source_states.items() if s.changes)
        if typed:
            return f"columns of {', '.join(typed)} have other types, and what is computed over its windows follows"
        return "this mlforge computes its aggregates in another way than the one that made the version"
    if candidate.config.incremental == "never":
        return 'it says incremental="never"'
    for name in found.beside:
        old = last.source_states.get(name)
        now = candidate.source_states[name]
        if old is None or old.digest != now.digest or now.changes:
            return f"source {name} changed, which its rows are joined to or looked up in"
    if news:
        return f"{', '.join(sorted(news))} changed, and any row may read what did"
    return _why_unknown(last, candidate, found.source)


def looked_at(last: StoredVersion, candidate: Candidate) -> bool:
    """Whether the rows of a version are proven not to leak as its sources are known now, if rows must prove it."""
    before, now = last.compiled.proof, candidate.compiled.proof
    return not candidate.seen_sql or (before is not None and now is not None and before.against == now.against)


def proven_no_more(last: StoredVersion, candidate: Candidate) -> bool:
    """Whether a version says that it is proven, and its SQL is not as its sources are known now."""
    before, now = last.compiled.proof, candidate.compiled.proof
    unproven = now is not None and now.status == "unproven" and now.against is None
    return unproven and before is not None and before.against is not None


def calls_of(compiled: Compiled) -> list[tuple[object, ...]]:
    """What is computed over the windows, apart from what follows from the data."""
    return [(a.name, a.function, a.args, a.distinct, a.filter, a.window, a.type) for a in compiled.aggregates]


def _why_unknown(last: StoredVersion, candidate: Candidate, source: str | None) -> str | None:
    if source is None:
        return None
    old, new = last.source_states.get(source), candidate.source_states[source]
    if old is None:
        return f"source {source} is read for the first time"
    if old.shape != new.shape or new.changes or (len(new.layouts) > 1 and not old.layouts):
        return f"the files of {source} are read in another way now: their types, or their dialect"
    if "" in old.parts.keys() | new.parts.keys() and old.digest != new.digest:
        return f"source {source} has neither files, nor loaded_at or cursor, to say which of its rows changed"
    return None


def _by_key(
    last: StoredVersion, candidate: Candidate, scope: Scope, sources: Mapping[str, Source], why: str
) -> Increment:
    """All rows of the keys that changed, where the feature says that keys do not see each other."""
    config, compiled = candidate.config, candidate.compiled
    if config.incremental != "by_key" or compiled.kind == "on_demand":
        return Increment(why=why)
    names = tuple(k.name for k in compiled.keys)
    found = row_wise(compiled.event_sql, keys=names)
    if isinstance(found, str):
        return Increment(why=f"by_key is not possible: {found}")
    keys = _source_keys(compiled.event_sql, found, names)
    if found.source is None or keys is None:
        return Increment(why="by_key is not possible: its key is not a column of its source")
    if why_not := _why_whole(last, candidate, found, sources, (), scope):
        return Increment(why=why_not)
    parts = compare(last.source_states[found.source], candidate.source_states[found.source])
    if not parts.only_new:
        return Increment(why=f"a part of {found.source} changed or is gone, and nobody knows which keys it had")
    return Increment(mode="by_key", main=found.source, query=compiled.event_sql, parts=parts, keys=keys)


def _source_keys(query: str, found: RowWise, names: tuple[str, ...]) -> tuple[tuple[str, str], ...] | None:
    import sqlglot

    from mlforge.render.copied_columns import copied_column

    tree = sqlglot.parse_one(query, dialect="duckdb")
    pairs = []
    for name in names:
        origin = copied_column(tree, name)
        if origin is None or origin[0] != found.source:
            return None
        pairs.append((origin[1], name))
    return tuple(pairs)


def _spans(old: SourceState | None, scope: Scope) -> tuple[Spans, Spans]:
    """What the version will have taken in, and what of it is to be done; no spans at all mean everything."""
    have = (old.spans or EVERYTHING) if old else EVERYTHING
    want = union(have, [scope.span])
    again = [scope.restate] if scope.restate else []
    return (() if want == EVERYTHING else want), union(subtract(want, have), again)


def compare(old: SourceState | None, new: SourceState) -> Parts:
    """How the parts of a source differ from those that a version took in."""
    before, after = (old.parts if old else {}), new.parts
    common = before.keys() & after.keys()
    differ = sorted(p for p in common if before[p] != after[p])
    grown = {s.name: s.last for s in (old.slices if old else ()) if s.name in differ and s.last is not None}
    sizes = {s.name: s for s in new.slices}
    fuller = {s.name for s in (old.slices if old else ()) if s.name in grown and sizes[s.name].rows > s.rows}
    return Parts(
        added=tuple(sorted(after.keys() - before.keys())),
        grown=tuple((p, grown[p]) for p in differ if p in fuller),
        changed=tuple(p for p in differ if p not in fuller),
        removed=tuple(sorted(before.keys() - after.keys())),
    )


def described(span: Span) -> str:
    """A span of event times in words."""
    import datetime

    def at(micros: int) -> str:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
        return moment.isoformat(sep=" ", timespec="seconds").removesuffix(" 00:00:00")

    lo, hi = span
    if lo is None and hi is None:
        return "all times"
    if lo is None:
        return f"before {at(hi or 0)}"
    return f"from {at(lo)}" if hi is None else f"from {at(lo)} to {at(hi)}"
