"""Writing to a store while others may read and write: entries under a generation, and the head."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from mlforge.errors import OnlineError, StoreDownError, StoreRefusedError
from mlforge.online import published as m
from mlforge.online.entries import Entry, Head, Overtaken, written
from mlforge.stores.store import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mlforge.stores.store import Store

TRIES = 50
PORTION = 2_000  # names in one call of the store

_decode_head = msgspec.msgpack.Decoder(Head).decode


class Patient:
    """A store that is asked again for a while when it is away. A change that was applied although its answer was lost
    is then reported as refused: whoever changes things reads again and sees it."""

    def __init__(self, store: Store, patience: float) -> None:
        self.store = store
        self.patience = patience

    def read(self, names: Sequence[bytes]) -> list[bytes | None]:
        """What lies under each name."""
        return self._asked(self.store.read, names)  # type: ignore[no-any-return]

    def swap(self, changes: Sequence[Change]) -> list[bool]:
        """Which changes were applied."""
        return self._asked(self.store.swap, changes)  # type: ignore[no-any-return]

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        """The names that begin so."""
        return self.store.scan(prefix)

    @property
    def largest(self) -> int | None:
        """Bytes that a name and what lies under it may have together; None: nobody comes near."""
        return getattr(self.store, "largest", None)

    @property
    def kind(self) -> str:
        """The store's kind."""
        return self.store.kind

    @property
    def forgets(self) -> bool:
        """Whether the store deletes by itself what has expired."""
        return bool(self._asked(lambda name: getattr(self.store, name, False), "forgets"))

    def expire(self, changes: Sequence[Change], at: int) -> None:
        """Let the store delete names that still hold ``old``, some time after ``at`` (seconds since the epoch)."""
        self._asked(lambda given: self.store.expire(given, at), changes)  # type: ignore[attr-defined]

    def _asked(self, call: Callable[..., Any], argument: Any) -> Any:
        deadline, pause = time.monotonic() + self.patience, 0.05
        while True:
            try:
                return call(argument)
            except StoreRefusedError:
                raise
            except StoreDownError:
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 2.0)


def read_head(store: Patient, namespace: str) -> tuple[bytes | None, Head]:
    """The head's bytes, and what they say."""
    (mark,) = store.read([m.name(namespace, "head")])
    return mark, _decode_head(mark) if mark else Head()


def update(store: Patient, name: bytes, change: Callable[[bytes | None], bytes | None]) -> None:
    """Put what ``change`` makes of a record in its place, again if somebody else was faster. None deletes it."""
    for _ in range(TRIES):
        (held,) = store.read([name])
        new = change(held)
        if held == new or store.swap([Change(name, held, new)])[0]:
            return
    raise OnlineError(f"{name.decode(errors='replace')} in the online store changes all the time")


def put(store: Patient, name: bytes, value: bytes | None) -> None:
    """Put a record in the place of whatever is there; None deletes it."""
    update(store, name, lambda _: value)


def write(store: Patient, items: Iterable[tuple[bytes, bytes | None]], generation: int, head: Head) -> int:
    """Write values under a generation; None says that the key is gone. Returns how many names were new or changed.

    Raises OnlineError if a later publish has written one of them."""
    left, count = dict(items), 0
    for _ in range(TRIES):
        names = list(left)
        changes = _changes(names, store.read(names), left, generation, head)
        done = store.swap(changes) if changes else []
        count += sum(done)
        left = {change.name: left[change.name] for change, applied in zip(changes, done, strict=True) if not applied}
        if not left:
            return count
    raise OnlineError("two publishes write the same keys again and again", hint="let one of them finish")


def _changes(
    names: Sequence[bytes], held: Sequence[bytes | None], values: dict[bytes, bytes | None], generation: int, head: Head
) -> list[Change]:
    changes = []
    for name, record in zip(names, held, strict=True):
        try:
            new = written(record, Entry(generation, values[name]), head)
        except Overtaken:
            raise overtaken() from None
        if new != record:
            changes.append(Change(name, record, new))
    return changes


def overtaken() -> OnlineError:
    """The error of a publish that lost a race."""
    return OnlineError(
        "another publish to this store began later and went ahead", hint="nothing was spoiled; publish again if need be"
    )


def move_head(store: Patient, namespace: str, mark: bytes | None, old: Head, generation: int) -> None:
    """Show a generation to readers. Generations in between were never shown, and are dead.

    Raises OnlineError if the head is no longer where the publish began."""
    dead = (*old.dead, *range(old.generation + 1, generation))
    new = m.encode(Head(generation, dead, random.getrandbits(63)))
    if store.swap([Change(m.name(namespace, "head"), mark, new)])[0]:
        return
    if read_head(store, namespace)[0] != new:
        raise overtaken()
