"""Catalog to online store: only what changed, visible all at once.

A publish looks at the head, decides for each version whether its table is as it should be, moves on by some PATCHes, or
is written anew beside the old one; notes itself as the work at hand; writes keys under a generation of its own; and
moves the head. Until then no reader sees any of it, so it may die anywhere: the next publish of the same goes on where
it stopped, one of something else lets it lie. Tables that nobody names any more are deleted by the first publish after
the grace period, in which readers that began before may still read them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from mlforge import __version__
from mlforge.errors import OnlineError
from mlforge.model import Version
from mlforge.online import layout as layouts
from mlforge.online import manifest as m
from mlforge.online import points
from mlforge.online.base import Change
from mlforge.online.cleaning import clean, let_expire, throw
from mlforge.online.selection import Wanted, select
from mlforge.online.values import ALWAYS
from mlforge.online.writing import Patient, move_head, overtaken, put, read_head, write
from mlforge.sql.bind import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, StoredVersion
    from mlforge.online.base import Store
    from mlforge.online.layout import Layout
    from mlforge.online.records import Head

PATIENCE = 30.0
GRACE = 600.0
MAX_POINTS = 500


class Written(Struct, frozen=True, kw_only=True):
    """What a publish did with one table: ``same``, ``changed`` (by PATCHes) or ``new`` (written whole)."""

    table: str
    version: str
    action: str
    keys: int = 0
    gone: int = 0


class Published(Struct, frozen=True, kw_only=True):
    """A publish that is done. ``generation`` is the one that readers see now."""

    namespace: str
    generation: int
    tables: tuple[Written, ...]
    manifest: m.Manifest
    nothing_to_do: bool
    resumed: bool = False
    seconds: float = 0.0

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
    con: DuckDBPyConnection, state: CatalogState, store: Store, settings: Settings,
    features: Sequence[str] = (), feature_sets: Sequence[str] = (),
) -> Published:  # fmt: skip
    """Bring the store up to date with an open catalog. What was published before and is not asked for stays as it is,
    unless nothing is asked for: then everything current is published, and the rest retired.

    Raises UsageError for unknown names, OnlineError if the store holds something newer or another publish went ahead,
    StoreDownError if it is away for longer than ``patience``; then readers see what they saw before."""
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

    def run(self, features: Sequence[str], feature_sets: Sequence[str]) -> Published:
        mark, head = read_head(self.store, self.namespace)
        before = self._manifest(head) if mark else None
        wanted = select(self.state, features, feature_sets, before)
        self._refuse_older(wanted, before)
        target = self._target(wanted, head, partial=bool(features or feature_sets))
        work, resumed = self._work(target, head)
        tasks = [self._task(id_, v, before, work) for id_, v in wanted.tables.items() if v.compiled.kind != "on_demand"]
        after = self._after(wanted, tasks, before, work, partial=bool(features or feature_sets))
        if before is not None and not any(t.action != "same" for t in tasks) and _same(before, after):
            self._clean(before, head)
            return self._published(before, [_written(t) for t in tasks], resumed=False, nothing=True)
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
        layout = layouts.layout(bind(self.state, stored))
        there = before.tables.get(id_) if before else None
        table = self._table(id_, stored, layout, work)
        if there is None or self.settings.full:
            return _Task(id_, stored, layout, table, "new")
        old = self._still_known(there, stored)
        if old is None or (there.stored, there.outputs, there.keys) != (table.stored, table.outputs, table.keys):
            return _Task(id_, stored, layout, table, "new")
        table = replace(table, prefix=there.prefix, since=there.since)
        return _Task(id_, stored, layout, table, "same" if old == stored.version else "changed", old.patch)

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
            feature=stored.feature, version=str(stored.version), prefix=m.prefix(id_, work.generation),
            identity=stored.created_at, since=work.started_at - points.BEFORE if c.kind != "static" else ALWAYS,
            keys=layouts.keys(c), parts=list(c.parts), timed=c.kind != "static", stored=layout.stored,
            outputs=layout.outputs, empty=points.empty(self.con, layout), interval=interval, engine=layout.engine,
        )  # fmt: skip

    def _after(
        self, wanted: Wanted, tasks: Sequence[_Task], before: m.Manifest | None, work: m.Work, *, partial: bool
    ) -> m.Manifest:
        """What readers will know. With ``partial``, what was published before stays."""
        kept = before if partial else None
        names = {(v.feature, str(v.version)): id_ for id_, v in wanted.tables.items()}
        on_demand = {
            id_: layouts.on_demand(
                bind(self.state, v), str(v.version), v.created_at,
                {r.alias: names[r.feature, r.version] for r in v.compiled.refs},
            )
            for id_, v in wanted.tables.items() if v.compiled.kind == "on_demand"
        }  # fmt: skip
        made = m.Manifest(
            generation=work.generation, published_at=work.started_at, project=self.settings.project,
            build=self.state.last_build, mlforge=__version__, previous=before.generation if before else 0,
            tables={**(kept.tables if kept else {}), **{t.id: t.table for t in tasks}},
            on_demand={**(kept.on_demand if kept else {}), **on_demand},
            current={**(kept.current if kept else {}), **wanted.current},
            sets={**(kept.sets if kept else {}), **wanted.sets},
        )  # fmt: skip
        return _without_unused(made)

    # -- doing it

    def _write(self, task: _Task, work: m.Work, head: Head) -> Written:
        lead = m.name(self.namespace, "t", task.table.prefix, "")
        batches = points.find_changed(self.con, task.layout, task.old, self.settings.max_points)
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
        start = work.started_at - points.BEFORE
        items: list[tuple[bytes, bytes | None]] = []
        gone: list[bytes] = []
        size = 0
        for key, value in points.batch(self.con, task.layout, number, start, self.settings.max_points):
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
        if gone:
            record = m.name(self.namespace, "gone", str(work.generation), task.id, str(number))
            put(self.store, record, m.encode(gone))
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
            namespace=self.namespace, generation=manifest.generation, tables=tuple(done), manifest=manifest,
            nothing_to_do=nothing, resumed=resumed, seconds=seconds,
        )  # fmt: skip


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
