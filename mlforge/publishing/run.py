"""Catalog to online store: only what changed, visible all at once.

A publish looks at the head, decides for each version whether its table is as it should be, moves on by some PATCHes, or
is written anew beside the old one; notes itself as the work at hand; writes keys under a generation of its own; and
moves the head. Until then no reader sees any of it, so it may die anywhere: the next publish of the same goes on where
it stopped, one of something else lets it lie. Tables that nobody names any more are deleted by the first publish after
the grace period, in which readers that began before may still read them."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from mlforge import __version__
from mlforge.errors import OnlineError, StoreDownError
from mlforge.model import Version, proof_text
from mlforge.online import published as m
from mlforge.online.entries import entries
from mlforge.online.packed_values import ALWAYS
from mlforge.publishing import layout as layouts
from mlforge.publishing import points
from mlforge.publishing.cleaning import clean, let_expire, throw
from mlforge.publishing.left_out import ENTRY, Refused, Unfit, kept, too_large, without
from mlforge.publishing.selection import Wanted, select
from mlforge.publishing.writing import PORTION, Patient, move_head, overtaken, put, read_head, write
from mlforge.sql.bind import bind
from mlforge.stores.store import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, StoredVersion
    from mlforge.online.entries import Head
    from mlforge.publishing.layout import Layout
    from mlforge.stores.store import Store

PATIENCE = 30.0
GRACE = 600.0
MAX_POINTS = 500
MEASURED = 16 * 1024 * 1024
"""Bytes of a record that ordinary features come near: where a store holds no more, all values are made twice, first to
look at their sizes before a row is written. Beyond, sizes are looked at on writing; a feature that is too large then
makes the others begin anew."""
GONE = 200_000  # bytes of names in one record


class Written(Struct, frozen=True, kw_only=True):
    """What a publish did with one table: ``same``, ``changed`` (by PATCHes) or ``new`` (written whole)."""

    table: str
    version: str
    action: str
    keys: int = 0
    gone: int = 0


class Published(Struct, frozen=True, kw_only=True):
    """A publish that is done. ``generation`` is the one that readers see now. What was ``refused`` is as it was."""

    namespace: str
    generation: int
    tables: tuple[Written, ...]
    manifest: m.Manifest
    nothing_to_do: bool
    resumed: bool = False
    seconds: float = 0.0
    refused: tuple[Refused, ...] = ()

    @property
    def on_demand(self) -> tuple[str, ...]:
        """The on-demand features that readers see, as ``name@x.y.z``."""
        return tuple(f"{o.feature}@{o.version}" for o in self.manifest.on_demand.values())

    @property
    def sets(self) -> tuple[str, ...]:
        """The feature sets that readers see, by all their names."""
        return tuple(sorted(self.manifest.sets))

    @property
    def versions(self) -> list[str]:
        """What readers see, as ``name@x.y.z``."""
        return self.manifest.versions


class Progress(Struct, frozen=True):
    """Keys of one table that are written, of how many."""

    table: str
    keys: int
    total: int


@dataclass(frozen=True)
class Settings:
    """How a publish goes about it. ``grace`` and ``patience`` in seconds; ``now`` in microseconds since the epoch."""

    namespace: str
    project: str = ""
    max_points: int = MAX_POINTS
    grace: float = GRACE
    patience: float = PATIENCE
    force: bool = False  # publish what is older than what is there
    full: bool = False  # write every table anew
    now: int | None = None
    notify: Callable[[Progress], None] = field(default=lambda _: None)
    showing: Callable[[m.Manifest], None] = field(default=lambda _: None)  # told what readers will see, before a write


@dataclass(frozen=True)
class _Task:
    """One table and what has to be done with it. ``old``: the PATCH it is at."""

    id: str
    stored: StoredVersion
    layout: Layout
    table: m.Table
    action: str
    old: int | None = None


def publish(
    con: DuckDBPyConnection,
    state: CatalogState,
    store: Store,
    settings: Settings,
    features: Sequence[str] = (),
    feature_sets: Sequence[str] = (),
) -> Published:
    """Bring the store up to date with an open catalog. What was published before and is not asked for stays as it is,
    unless nothing is asked for: then everything current is published, and the rest retired.

    A feature that cannot be stored is refused, and the others are published. Raises OnlineError if all are, if the
    store holds something newer or another publish went ahead; UsageError for unknown names; StoreDownError if the store
    is away for longer than ``patience``. Readers then see what they saw before."""
    return _Publish(con, state, Patient(store, settings.patience), settings).run(features, feature_sets)


class _Publish:
    def __init__(self, con: DuckDBPyConnection, state: CatalogState, store: Patient, settings: Settings) -> None:
        self.con = con
        self.state = state
        self.store = store
        self.settings = settings
        self.namespace = settings.namespace
        self.now = time.time_ns() // 1000 if settings.now is None else settings.now
        self.began = time.monotonic()
        self.refused: tuple[Refused, ...] = ()

    def run(self, features: Sequence[str], feature_sets: Sequence[str]) -> Published:
        errors: dict[str, OnlineError] = {}
        while True:
            try:
                return self._run(features, feature_sets, errors)
            except Unfit as found:
                errors[found.table] = found.error

    def _run(self, features: Sequence[str], feature_sets: Sequence[str], errors: dict[str, OnlineError]) -> Published:
        mark, head = read_head(self.store, self.namespace)
        before = self._manifest(head) if mark else None
        asked = select(self.state, features, feature_sets, before)
        wanted, self.refused = without(asked, errors, before)
        if errors and not wanted.tables:
            raise next(iter(errors.values()))
        self._refuse_older(wanted, before)
        partial = bool(features or feature_sets)
        target = self._target(wanted, head, partial=partial)
        work, resumed = self._work(target, head)
        tasks = [self._task(id_, v, before, work) for id_, v in wanted.tables.items() if v.compiled.kind != "on_demand"]
        tasks = [self._measured(task, work, head) for task in tasks]
        there = before if partial or before is None or not errors else kept(before, asked, wanted)
        after = self._after(wanted, tasks, there if partial or errors else None, before, work)
        if before is not None and not any(t.action != "same" for t in tasks) and _same(before, after):
            self._clean(before, head)
            return self._published(before, [_written(t) for t in tasks], resumed=False, nothing=True)
        self._refuse_manifest(after)
        work = self._begin(work, tasks, resumed)
        self.settings.showing(after)
        done = [self._write(task, work, head) if task.action != "same" else _written(task) for task in tasks]
        self._show(before, after, mark, head)
        return self._published(after, done, resumed=resumed, nothing=False)

    def _show(self, before: m.Manifest | None, after: m.Manifest, mark: bytes | None, head: Head) -> None:
        """Let readers see it, and let go what they saw before."""
        put(self.store, m.name(self.namespace, "manifest", str(after.generation)), m.encode(after))
        used = {t.prefix for t in after.tables.values()}
        there = {t.prefix for t in before.tables.values()} if before else set()
        throw(self.store, self.namespace, (m.Waste(self.now, prefix=prefix) for prefix in sorted(there - used)))
        move_head(self.store, self.namespace, mark, head, after.generation)
        if before is not None and before.previous:
            put(self.store, m.name(self.namespace, "manifest", str(before.previous)), None)
        shown = read_head(self.store, self.namespace)[1]
        if shown.generation != after.generation:  # another publish went on from here, and cleans
            return
        if self.store.forgets:
            at = max(self.now / 1_000_000, time.time()) + self.settings.grace
            let_expire(self.store, self.namespace, there - used, shown, int(at))
        self._clean(after, shown)

    def _manifest(self, head: Head) -> m.Manifest:
        (found,) = self.store.read([m.name(self.namespace, "manifest", str(head.generation))])
        if found is None:
            raise OnlineError(
                f"the online store has lost what it says of {self.namespace!r}", hint="clear it and publish"
            )
        return m.decode(found)

    # -- what is to be done

    def _refuse_older(self, wanted: Wanted, before: m.Manifest | None) -> None:
        """A catalog that never had what is published must not replace it with an older version."""
        if before is None or self.settings.force:
            return
        tables: dict[str, m.Table | m.OnDemand] = {**before.tables, **before.on_demand}
        for feature, id_ in wanted.current.items():
            there = tables.get(before.current.get(feature, ""))
            if there is None:
                continue
            new, old = wanted.tables[id_], Version.parse(there.version)
            known = {v.version for v in self.state.features[feature].versions}
            if new.version < old and old not in known:
                raise OnlineError(
                    f"{feature}@{old} is published, and this catalog has only come to {new.version}",
                    hint="is this an older copy of the catalog? --force publishes it all the same",
                )

    def _target(self, wanted: Wanted, head: Head, *, partial: bool) -> str:
        said: list[Any] = [head.generation, partial, self.settings.full, self.settings.max_points]
        said += [(id_, str(v.version), v.created_at) for id_, v in sorted(wanted.tables.items())]
        said += [sorted(wanted.current.items()), [m.encode(s) for _, s in sorted(wanted.sets.items())]]
        return hashlib.sha256(m.encode(said)).hexdigest()

    def _work(self, target: str, head: Head) -> tuple[m.Work, bool]:
        """The work of this publish: one that died over the same, else a new one. Nothing is written yet."""
        (held,) = self.store.read([m.name(self.namespace, "work")])
        last = m.decode_work(held) if held else None
        if last is not None and last.target == target and last.generation > head.generation:
            return last, True
        generation = max(head.generation, last.generation if last else 0) + 1
        lost = last.fresh if last and last.generation > head.generation else []
        return m.Work(generation=generation, base=head.generation, target=target, started_at=self.now, lost=lost), False

    def _begin(self, work: m.Work, tasks: Sequence[_Task], resumed: bool) -> m.Work:
        if resumed:
            return work
        name = m.name(self.namespace, "work")
        (held,) = self.store.read([name])
        if held is not None and m.decode_work(held).generation >= work.generation:
            raise overtaken()
        work = replace(work, fresh=[t.table.prefix for t in tasks if t.action == "new"])
        if not self.store.swap([Change(name, held, m.encode(work))])[0] and self.store.read([name])[0] != m.encode(
            work
        ):
            raise overtaken()
        throw(self.store, self.namespace, (m.Waste(self.now, prefix=prefix) for prefix in work.lost))
        return work

    def _task(self, id_: str, stored: StoredVersion, before: m.Manifest | None, work: m.Work) -> _Task:
        with _alone(id_, stored):
            layout = layouts.layout(bind(self.state, stored))
        there = before.tables.get(id_) if before else None
        table = self._table(id_, stored, layout, work)
        if there is None or self.settings.full:
            return _Task(id_, stored, layout, table, "new")
        old = self._still_known(there, stored)
        if old is None or (there.stored, there.outputs, there.keys) != (table.stored, table.outputs, table.keys):
            return _Task(id_, stored, layout, table, "new")
        table = replace(table, prefix=there.prefix, since=there.since, greatest=there.greatest)
        return _Task(id_, stored, layout, table, "same" if old == stored.version else "changed", old.patch)

    def _measured(self, task: _Task, work: m.Work, head: Head) -> _Task:
        """The task, once every value is known to fit. A table of which an old value and a new one do not fit into one
        record together is written anew."""
        most, known = self.store.largest, task.table.greatest
        if task.action == "same" or most is None or most > MEASURED:
            return task
        lead, together = m.name(self.namespace, "t", task.table.prefix, ""), 0
        greatest: int | None = 0
        for number, _, _ in self._changed(task):
            sizes = {lead + k.encode(): len(v) for k, v in self._items(task, number, work) if v is not None}
            greatest = max([greatest or 0, *sizes.values()])
            if task.action == "changed":
                old = dict.fromkeys(sizes, known) if known is not None else self._seen(list(sizes), head)
                both = (len(n) + size + (old[n] or 0) + 2 * ENTRY for n, size in sizes.items())
                together = max([together, *both])
        if together > most:
            since = work.started_at - points.BEFORE if task.table.timed else ALWAYS
            table = replace(task.table, prefix=m.prefix(task.id, work.generation), since=since)
            return self._measured(dataclasses.replace(task, table=table, action="new", old=None), work, head)
        if task.action == "changed":
            greatest = None if known is None else max(greatest or 0, known)
        return dataclasses.replace(task, table=replace(task.table, greatest=greatest))

    def _seen(self, names: Sequence[bytes], head: Head) -> dict[bytes, int | None]:
        """The sizes of what readers see under names, of tables that were never measured."""
        found: dict[bytes, int | None] = {}
        for start in range(0, len(names), PORTION):
            part = names[start : start + PORTION]
            for name, record in zip(part, self.store.read(part), strict=True):
                listed = entries(record) if record else []
                found[name] = max((len(e.value or b"") for e in listed if e.generation <= head.generation), default=0)
        return found

    def _changed(self, task: _Task) -> list[tuple[int, int, int]]:
        with _alone(task.id, task.stored):
            return points.find_changed(self.con, task.layout, task.old, self.settings.max_points)

    def _items(self, task: _Task, number: int, work: m.Work) -> Iterator[points.Item]:
        """The keys of a batch with their values. Raises Unfit for one that the store cannot hold."""
        start, most = work.started_at - points.BEFORE, self.store.largest
        room = None if most is None else most - ENTRY - len(m.name(self.namespace, "t", task.table.prefix, ""))
        with _alone(task.id, task.stored):
            for key, value in points.batch(self.con, task.layout, number, start, self.settings.max_points):
                if room is not None and value is not None and len(value) + len(key.encode()) > room:
                    name = f"{task.stored.feature}@{task.stored.version}"
                    assert most is not None
                    raise too_large(name, task.layout, key, value, most, self.store.kind)
                yield key, value

    def _refuse_manifest(self, manifest: m.Manifest) -> None:
        size, most = len(m.encode(manifest)), self.store.largest
        if most is not None and size > most - 2000:  # its name
            raise OnlineError(
                f"what readers must know of {len(manifest.tables)} features has {size:,} bytes, and {self.store.kind} "
                f"holds {most:,} under one name",
                hint="publish into several namespaces",
            )

    def _still_known(self, there: m.Table, stored: StoredVersion) -> Version | None:
        """The published version, if this catalog has the very same one in the same physical table."""
        version = Version.parse(there.version)
        if (version.major, version.minor) != (stored.version.major, stored.version.minor):
            return None
        found = [v for v in self.state.features[stored.feature].versions if v.version == version]
        return version if found and found[0].created_at == there.identity else None

    def _table(self, id_: str, stored: StoredVersion, layout: Layout, work: m.Work) -> m.Table:
        c = stored.compiled
        interval = (c.interval.n, str(c.interval.unit), c.timezone) if c.interval and c.uses_as_of else None
        return m.Table(
            feature=stored.feature,
            version=str(stored.version),
            prefix=m.prefix(id_, work.generation),
            identity=stored.created_at,
            since=work.started_at - points.BEFORE if c.kind != "static" else ALWAYS,
            keys=layouts.keys(c),
            parts=list(c.parts),
            timed=c.kind != "static",
            stored=layout.stored,
            outputs=layout.outputs,
            empty=points.empty(self.con, layout),
            interval=interval,
            engine=layout.engine,
            proof=proof_text(c.proof),
        )

    def _after(
        self, wanted: Wanted, tasks: Sequence[_Task], kept: m.Manifest | None, before: m.Manifest | None, work: m.Work
    ) -> m.Manifest:
        """What readers will know. What ``kept`` has and this publish does not stays."""
        names = {(v.feature, str(v.version)): id_ for id_, v in wanted.tables.items()}
        on_demand = {}
        for id_, v in wanted.tables.items():
            if v.compiled.kind == "on_demand":
                reads = {r.alias: names[r.feature, r.version] for r in v.compiled.refs}
                with _alone(id_, v):
                    on_demand[id_] = layouts.on_demand(bind(self.state, v), str(v.version), v.created_at, reads)
        made = m.Manifest(
            generation=work.generation,
            published_at=work.started_at,
            project=self.settings.project,
            build=self.state.last_build,
            mlforge=__version__,
            previous=before.generation if before else 0,
            tables={**(kept.tables if kept else {}), **{t.id: t.table for t in tasks}},
            on_demand={**(kept.on_demand if kept else {}), **on_demand},
            current={**(kept.current if kept else {}), **wanted.current},
            sets={**(kept.sets if kept else {}), **wanted.sets},
        )
        return _without_unused(made)

    # -- doing it

    def _write(self, task: _Task, work: m.Work, head: Head) -> Written:
        lead = m.name(self.namespace, "t", task.table.prefix, "")
        batches = self._changed(task)
        total, keys, gone = sum(k + g for _, k, g in batches), 0, 0
        for number, to_write, to_delete in batches:
            if number >= work.done.get(task.id, 0):
                self._write_batch(task, number, work, head, lead)
                work.done[task.id] = number + 1
                self._note(work)
            keys, gone = keys + to_write, gone + to_delete
            self.settings.notify(Progress(task.id, keys + gone, total))
        return _written(task, keys, gone)

    def _write_batch(self, task: _Task, number: int, work: m.Work, head: Head, lead: bytes) -> None:
        items: list[tuple[bytes, bytes | None]] = []
        gone: list[bytes] = []
        size = 0
        for key, value in self._items(task, number, work):
            name = lead + key.encode()
            items.append((name, value))
            size += len(value or b"")
            if value is None:
                gone.append(name)
            if len(items) >= 2000 or size > 4_000_000:
                write(self.store, items, work.generation, head)
                items, size = [], 0
        if items:
            write(self.store, items, work.generation, head)
        size = max(1, GONE // max(map(len, gone), default=1))
        for start in range(0, len(gone), size):
            record = m.name(self.namespace, "gone", str(work.generation), task.id, f"{number}.{start // size}")
            put(self.store, record, m.encode(gone[start : start + size]))
            throw(self.store, self.namespace, [m.Waste(self.now, names=record)])

    def _note(self, work: m.Work) -> None:
        """How far this publish came. If the work is no longer this one, another publish has begun."""
        name = m.name(self.namespace, "work")
        (held,) = self.store.read([name])
        if held is not None and m.decode_work(held).generation == work.generation:
            self.store.swap([Change(name, held, m.encode(work))])

    def _clean(self, manifest: m.Manifest, head: Head) -> None:
        limit = self.now - int(self.settings.grace * 1_000_000)
        clean(self.store, self.namespace, manifest, head, limit)

    def _published(self, manifest: m.Manifest, done: Sequence[Written], *, resumed: bool, nothing: bool) -> Published:
        seconds = time.monotonic() - self.began
        return Published(
            namespace=self.namespace,
            generation=manifest.generation,
            tables=tuple(done),
            manifest=manifest,
            nothing_to_do=nothing,
            resumed=resumed,
            seconds=seconds,
            refused=self.refused,
        )


@contextmanager
def _alone(id_: str, stored: StoredVersion) -> Iterator[None]:
    """What goes wrong with the values of one table concerns that one only."""
    import duckdb

    try:
        yield
    except StoreDownError:
        raise
    except OnlineError as error:
        raise Unfit(id_, error) from error
    except duckdb.InterruptException:
        raise
    except (duckdb.Error, OverflowError, TypeError, ValueError) as error:
        first = str(error).split("\n", 1)[0]
        text = f"the values of {stored.feature}@{stored.version} cannot be made for the online store: {first}"
        raise Unfit(id_, OnlineError(text)) from error


def _written(task: _Task, keys: int = 0, gone: int = 0) -> Written:
    return Written(table=task.id, version=str(task.stored.version), action=task.action, keys=keys, gone=gone)


def _without_unused(manifest: m.Manifest) -> m.Manifest:
    """Only tables that a current feature, a set or an on-demand feature names."""
    named = {*manifest.current.values(), *(x.table for s in manifest.sets.values() for x in s.members)}
    on_demand = {id_: o for id_, o in manifest.on_demand.items() if id_ in named}
    named |= {id_ for o in on_demand.values() for id_ in o.reads.values()}
    return replace(manifest, on_demand=on_demand, tables={id_: t for id_, t in manifest.tables.items() if id_ in named})


def _same(before: m.Manifest, after: m.Manifest) -> bool:
    """Whether readers would see no difference."""

    def said(x: m.Manifest) -> Any:
        return (x.tables, x.on_demand, x.current, x.sets)

    return bool(said(before) == said(after))
