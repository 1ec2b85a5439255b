"""Times of rows that a source is hardly meant to have, as warnings or, under ``strict``, errors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from mlforge.building.materialise import EVENTS
from mlforge.errors import LeakageError
from mlforge.model import REF_SCHEMA, SOURCE_SCHEMA
from mlforge.render.parse import parse
from mlforge.render.stamps import timestamp_place
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlforge.building.candidates import Analysed
    from mlforge.building.materialise import EventCounts
    from mlforge.building.work import Work
    from mlforge.model import Doubt, Source

_DAY = 86_400_000_000
_YEAR = 365 * _DAY  # 1970 is over
_FEW = 20  # rows, or 10 keys, of which as much may be chance
_FIRST = 100_000  # event rows whose keys tell whether all are worth looking at


class _Found(NamedTuple):
    """A doubt: its name, what is said of it, and what it may mean with the line that answers it."""

    name: Doubt
    said: str
    answer: str


class _Times(NamedTuple):
    """What the event rows that belong to a key are like."""

    rows: int
    midnight: int
    epoch: int
    future: int
    last: str
    loaded: int
    early: int


def check(work: Work, found: Analysed, counts: EventCounts, events: str = EVENTS, *, whole: bool = True) -> None:
    """Doubt the times of event rows, new ones or with ``whole`` all. Their ranges were found as they were counted; they
    are read again only where these raise a doubt, and to see whether a key has one time, of the first rows. Times of a
    feature that is read were doubted when it was made.

    Adds warnings. Raises LeakageError, at the timestamp, where the project is strict."""
    compiled, config = found.candidate.compiled, found.candidate.config
    if compiled.timestamp is None:
        return
    doubts = [] if _copies(found, REF_SCHEMA) else list(_of_times(work, found, counts, events))
    if whole and "constant" not in config.plausible:
        doubts += _of_keys(work, found, events)
    if doubts and work.analysis.project.strict:
        raise LeakageError(
            f"{compiled.feature}: {'; '.join(d.said for d in doubts)}",
            where=timestamp_place(parse(work.analysis.rendered[compiled.feature])),
            hint="; ".join(d.answer for d in doubts),
        )
    work.warnings += [(compiled.feature, f"{d.said}: {d.answer}") for d in doubts]


def _of_times(work: Work, found: Analysed, counts: EventCounts, events: str) -> Iterator[_Found]:
    """Doubts that the times raise, each by itself."""
    compiled, copied, sources = found.candidate.compiled, _copies(found, SOURCE_SCHEMA), _undelayed(work, found)
    # The end of a period that is not over lies ahead, and honestly so; a year of it is hardly meant.
    after = time.time_ns() // 1000 + (0 if copied else _YEAR)
    names = _raised(counts, after, days=bool(sources)).difference(found.candidate.config.plausible)
    if not names:
        return
    keys = [k.name for k in compiled.keys]
    row = work.runner.run(sql("feature/times", events=events, keys=keys, after=after, loaded=compiled.loaded_at))[0]
    times = _Times(*row)  # type: ignore[arg-type]
    if "midnight" in names and times.rows == times.midnight >= _FEW:
        yield _Found("midnight", f"all {times.rows:,} rows have a time of 00:00 UTC", _about_delay(sources))
    if "epoch" in names and times.rows == times.epoch > 1:
        meaning = "numbers are read by to_timestamp(seconds), epoch_ms(milliseconds) or make_timestamp(microseconds)"
        yield _doubt("epoch", f"all {times.rows:,} rows have a time in 1970", meaning)
    if "future" in names and times.future:
        ahead = "later than now" if copied else "more than a year from now"
        said = f"{times.future:,} of {times.rows:,} rows have a time {ahead}, the last {times.last}"
        yield _doubt("future", said, "it is to say, in UTC, when a row became known, not what it is planned for")
    if "loaded" in names and times.early * 2 > times.loaded >= _FEW:
        said = f"{times.early:,} of {times.loaded:,} rows have a time later than their loaded_at"
        yield _doubt("loaded", said, "no row is loaded before it is known, so one of them is in another zone, or cut")


def _raised(counts: EventCounts, after: int, *, days: bool) -> set[Doubt]:
    """Doubts that the ranges of the parts leave open."""
    ranges = [(p.first, p.last) for p in counts.parts if p.first is not None and p.last is not None]
    raised: dict[Doubt, bool] = {
        "midnight": days and all(not t % _DAY for both in ranges for t in both),
        "epoch": all(first >= 0 and last < _YEAR for first, last in ranges),
        "future": any(last > after for _, last in ranges),
        "loaded": sum(p.early for p in counts.parts) > 0,
    }
    return {name for name, is_raised in raised.items() if is_raised and ranges}


def _doubt(name: Doubt, said: str, meaning: str) -> _Found:
    return _Found(name, said, f'{meaning}; if they are right: config(plausible=["{name}"])')


def _copies(found: Analysed, what: str) -> bool:
    """Whether the timestamp holds a column of sources, or of features, as it is."""
    stamp = found.compilation.verdict.stamp
    return stamp.copied and all(schema == what for schema, _, _ in stamp.columns)


def _undelayed(work: Work, found: Analysed) -> list[tuple[Source, str]]:
    """Sources whose time the feature takes as it is, with that column, where nobody said how much later rows are known.
    Days, as dates or as text, are known when they are over."""
    stated = found.candidate.config.delay is not None or found.candidate.compiled.delay.micros
    if stated or not _copies(found, SOURCE_SCHEMA):
        return []
    sources = {s.lower(): work.analysis.project.sources[s] for s in found.candidate.definition.sources}
    taken = [(sources[name], column) for _, name, column in sorted(found.compilation.verdict.stamp.columns)]
    return [(s, c) for s, c in taken if s.delay is None and (s.timestamp is None or s.timestamp.lower() == c)]


def _about_delay(sources: list[tuple[Source, str]]) -> str:
    stated = [f"{s.name}: {{{'' if s.timestamp else f'timestamp: {column}, '}delay: 1d}}" for s, column in sources]
    return (
        "rows of a day are seldom known as it begins, but when it is over; "
        f"state {', '.join(stated)} among the sources, or delay: 0s if they are"
    )


def _of_keys(work: Work, found: Analysed, events: str) -> list[_Found]:
    """The doubt that a key with several rows has one time: it is asked of all rows only if the first ones raise it."""
    if not _is_cheap(work, found, events):
        return []
    keys = [k.name for k in found.candidate.compiled.keys]
    for limit in (_FIRST, None):
        row = work.runner.run(sql("feature/times_of_keys", events=events, keys=keys, limit=limit))[0]
        repeated, varied, times = (int(n) for n in row)  # type: ignore[call-overload]
        if varied or not repeated or times < 2:
            return []
    if repeated < _FEW // 2:
        return []
    said = f"each of the {repeated:,} keys that have several rows has one time for all of them"
    return [_doubt("constant", said, "a time that belongs to the key does not say when its rows became known")]


def _is_cheap(work: Work, found: Analysed, events: str) -> bool:
    """Whether the first event rows can be had without making all: they are kept, or the view reads row by row."""
    import sqlglot
    from sqlglot import exp

    kind = work.runner.con.execute(sql("feature/temporary", name=events)).fetchall()[0][0]
    if kind == "TABLE":
        return True
    replaced = any(work.analysis.project.sources[s].unique_key for s in found.candidate.definition.sources)
    if replaced or found.candidate.seen_sql:
        return False
    tree = sqlglot.parse_one(found.candidate.compiled.event_sql, dialect="duckdb")
    united = any(union.args.get("distinct") for union in tree.find_all(exp.SetOperation))
    return not (united or tree.find(exp.Group, exp.Distinct, exp.Qualify))
