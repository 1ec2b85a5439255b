"""Reading an online store: features by key, as they are now or at an instant, in one round trip.

Importing this imports neither duckdb, sqlglot nor pyarrow: what a reader must know was published with the data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mlforge.errors import NotPublishedError, OnlineError, StoreDownError
from mlforge.online.answer import Question, answer
from mlforge.online.entity_rows import rows_of
from mlforge.online.entries import Head, Torn
from mlforge.online.packed_values import micros
from mlforge.online.published import decode, name
from mlforge.online.read_plan import Planner
from mlforge.stores.opening import open_store

if TYPE_CHECKING:
    import asyncio
    import datetime
    from collections.abc import Callable

    from mlforge.model import FeatureRef
    from mlforge.online.published import Manifest
    from mlforge.online.read_plan import Plan
    from mlforge.stores.store import Store

T = TypeVar("T")
EntityRows = Sequence[Mapping[str, Any]] | Mapping[str, Any] | Any
"""What ``rows_of`` takes."""
MANY = 200
"""Entity rows beyond which an event loop has them worked at in a thread: others must not wait for milliseconds."""
TRIES = 8
"""How often a read begins anew because a publish moved the head meanwhile."""

_head = msgspec.msgpack.Decoder(Head).decode


class _Book:
    """What is published, as of one head: the bytes of the head tell whether it still is."""

    def __init__(self, namespace: str, mark: bytes, manifest: Manifest) -> None:
        self.mark = mark
        self.head = _head(mark)
        self.planner = Planner(namespace, manifest)


class _Reading:
    """One call of ``get_online_features``, without the store: what to read, and what comes of it."""

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[Mapping[str, Any]],
        at: int,
        head: bytes,
        *,
        with_status: bool,
        counts: list[int] | None,
    ) -> None:
        self.question = Question(plan, rows, plan.names(rows), at, with_status)
        self.counts = [0] * len(counts) if counts else None
        self.wanted = [head]
        for names in self.question.names:
            self.wanted += [n for n in names if n is not None] if None in names else names  # type: ignore[arg-type]

    def answer(self, book: _Book, values: Sequence[bytes | None]) -> list[dict[str, Any]] | None:
        """The rows; None if the head has moved."""
        if values[0] != book.mark:
            return None
        given = iter(values)
        next(given)
        records: list[list[bytes | None]] = []
        for names in self.question.names:
            if None in names:
                records.append([None if n is None else next(given) for n in names])
            else:
                records.append(list(islice(given, len(names))))
        try:
            return answer(self.question, records, book.head, self.counts)
        except Torn:
            return None


class _Base:
    """What the two clients share."""

    def __init__(self, store: Store | str | Mapping[str, Any], namespace: str | None = None) -> None:
        if isinstance(store, Mapping):
            namespace = namespace or store.get("namespace")
        self.store: Store = open_store(store) if isinstance(store, (str, Mapping)) else store
        if not namespace:
            raise OnlineError("the client needs the namespace it reads", hint="it is the project's name")
        self.namespace = namespace
        self._head_name = name(namespace, "head")
        self._book: _Book | None = None
        self.counts: list[int] | None = None
        """Where a list of five is put here, it grows by what reads find, one for each key of each feature that is read:
        present, expired, missing, out of range, and rows whose key is None."""

    def plan(self, features: str | FeatureRef | Sequence[str | FeatureRef], *, full_names: bool = False) -> Plan:
        """Where the columns of an answer come from, by what this client read last. Raises OnlineError for what is not
        published, or before anything was read."""
        if self._book is None:
            raise OnlineError("nothing has been read yet", hint="read features first")
        return self._book.planner.plan(features, full_names=full_names)

    def _reading(
        self,
        book: _Book,
        features: Any,
        rows: Sequence[Mapping[str, Any]],
        at: Any,
        with_status: bool,
        full_names: bool,
    ) -> _Reading:
        plan = book.planner.plan(features, full_names=full_names)
        return _Reading(plan, rows, micros(at), self._head_name, with_status=with_status, counts=self.counts)

    def _count(self, reading: _Reading) -> None:
        if self.counts is not None and reading.counts is not None:
            for number, count in enumerate(reading.counts):
                self.counts[number] += count

    def _manifest_name(self, mark: bytes | None) -> bytes:
        if mark is None:
            raise NotPublishedError(
                f"nothing is published as {self.namespace!r} here",
                hint="run mlforge publish; or is the namespace another?",
            )
        return name(self.namespace, "manifest", str(_head(mark).generation))

    def _opened(self, mark: bytes, manifest: bytes | None) -> _Book | None:
        self._book = _Book(self.namespace, mark, decode(manifest)) if manifest is not None else None
        return self._book

    def _changing(self) -> StoreDownError:
        return StoreDownError(
            "the online store changed again and again while it was read", hint="is a publish running in a loop?"
        )


class Client(_Base):
    """Reads what is published under a namespace. ``store``: a store, its URL, or a profile's section ``online``.

    One client serves any number of threads."""

    def get_online_features(
        self,
        features: str | FeatureRef | Sequence[str | FeatureRef],
        entity_rows: EntityRows,
        *,
        at: datetime.datetime | str | None = None,
        with_status: bool = False,
        full_names: bool = False,
    ) -> list[dict[str, Any]]:
        """Each entity row with the features' values at ``at`` (default: now) behind its own columns.

        ``features``: references ``name[@version][:col,col]``, FeatureSpecs, or a feature set. Keys are natural values;
        a surrogate key is given as itself or as its natural columns. ``with_status`` gives a ``Value`` (value, status,
        event_time, version, step) for each. Raises OnlineError for what is not published and for keys that do not fit,
        StoreDownError if the store is away.

        ``entity_rows``: mappings, one for each; a mapping of columns; an Arrow table; a frame of pandas or Polars.
        Their columns may be named in any case."""
        entity_rows = rows_of(entity_rows)
        for _ in range(TRIES):
            book = self._book or self._open()
            if book is None:
                continue
            reading = self._reading(book, features, entity_rows, at, with_status, full_names)
            found = reading.answer(book, self.store.read(reading.wanted))
            if found is not None:
                self._count(reading)
                return found
            self._book = None
        raise self._changing()

    def _open(self) -> _Book | None:
        (mark,) = self.store.read([self._head_name])
        (manifest,) = self.store.read([self._manifest_name(mark)])
        return self._opened(mark, manifest) if mark else None

    def typed(
        self, features: str | FeatureRef | Sequence[str | FeatureRef], texts: Mapping[str, str]
    ) -> dict[str, Any]:
        """An entity row from texts, as typed in a terminal: keys and request columns get the types they have.

        Raises OnlineError as ``get_online_features`` does."""
        from mlforge.online.typed_keys import typed

        return typed(Planner(self.namespace, self.manifest()).plan(features, full_names=True), texts)

    def manifest(self) -> Manifest:
        """What is published now. Raises OnlineError if nothing is."""
        for _ in range(TRIES):
            book = self._open()
            if book is not None:
                return book.planner.manifest
        raise self._changing()

    def close(self) -> None:
        """Let the store's connections go."""
        self.store.close()


async def _in_thread(call: Callable[..., T], *arguments: Any) -> T:
    from asyncio import to_thread

    return await to_thread(call, *arguments)


def _seen(task: asyncio.Task[Any]) -> None:
    """An error that nobody waits for any more is no news to asyncio."""
    if not task.cancelled():
        task.exception()


class AsyncClient(_Base):
    """``Client`` for an event loop: any number of requests at once."""

    _opening: asyncio.Task[_Book | None] | None = None

    async def get_online_features(
        self,
        features: str | FeatureRef | Sequence[str | FeatureRef],
        entity_rows: EntityRows,
        *,
        at: datetime.datetime | str | None = None,
        with_status: bool = False,
        full_names: bool = False,
    ) -> list[dict[str, Any]]:
        """As ``Client.get_online_features``."""
        entity_rows = rows_of(entity_rows)
        for _ in range(TRIES):
            book = self._book or await self._open()
            if book is None:
                continue
            given = (book, features, entity_rows, at, with_status, full_names)
            many = len(entity_rows) > MANY
            reading = await _in_thread(self._reading, *given) if many else self._reading(*given)
            values = await self.store.aread(reading.wanted)
            if many or (
                reading.question.plan.needs_engine and "duckdb" not in sys.modules
            ):  # the import takes its time, once
                found = await _in_thread(reading.answer, book, values)
            else:
                found = reading.answer(book, values)
            if found is not None:
                self._count(reading)
                return found
            if self._book is book:
                self._book = None
        raise self._changing()

    async def _open(self) -> _Book | None:
        """Requests that find the head moved at once wait for one of them, so that a manifest is decoded once."""
        from asyncio import get_running_loop, shield

        loop, task = get_running_loop(), self._opening
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._opening = loop.create_task(self._read_book())
            task.add_done_callback(_seen)
        return await shield(task)

    async def _read_book(self) -> _Book | None:
        (mark,) = await self.store.aread([self._head_name])
        book = self._book
        if book is not None and book.mark == mark:
            return book
        (manifest,) = await self.store.aread([self._manifest_name(mark)])
        return self._opened(mark, manifest) if mark else None

    async def manifest(self) -> Manifest:
        """What is published now. Raises OnlineError if nothing is."""
        for _ in range(TRIES):
            book = await self._open()
            if book is not None:
                return book.planner.manifest
        raise self._changing()

    async def close(self) -> None:
        """Let the store's connections go."""
        await self.store.aclose()
