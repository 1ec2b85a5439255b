"""What a publish replaced: noted in the store, and deleted when no reader needs it any more.

A record named ``waste`` lists it. The first publish after the grace period deletes it; a store that deletes by itself
what has expired (DynamoDB) is told at once when it may, after the head has moved, so that no publish has to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.online import published as m
from mlforge.online.entries import swept
from mlforge.publishing.writing import PORTION, put, update
from mlforge.stores.store import Change

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from mlforge.online.entries import Head
    from mlforge.publishing.writing import Patient

DAY = 86_400  # seconds beyond the grace period before anything may expire by itself: clocks differ


def throw(store: Patient, namespace: str, more: Iterable[m.Waste]) -> None:
    """Note what is to be deleted."""
    listed = list(more)
    if listed:
        update(store, m.name(namespace, "waste"), lambda held: m.encode([*_wasted(held), *listed]))


def clean(store: Patient, namespace: str, manifest: m.Manifest, head: Head, limit: int) -> None:
    """Delete what was let go before ``limit``, microseconds since the epoch.

    Tables that were begun by a generation after this head wait: their publish, slow and taken for dead, can still move
    the head. Once a later one has, it cannot."""
    due = [w for w in _listed(store, namespace) if w.since < limit and not _may_come(w, head)]
    used = {t.prefix for t in manifest.tables.values()}
    for waste in due:
        if waste.prefix and waste.prefix not in used:
            delete_under(store, m.name(namespace, "t", waste.prefix, ""))
        elif waste.names:
            sweep(store, _names(store, waste.names), head)
            put(store, waste.names, None)
    _strike(store, namespace, due)


def _may_come(waste: m.Waste, head: Head) -> bool:
    return waste.prefix is not None and m.began(waste.prefix) > head.generation


def let_expire(store: Patient, namespace: str, retired: Collection[str], head: Head, at: int) -> None:
    """Let what the publish of this head replaced expire a day after ``at`` (seconds since the epoch).

    Only that: tables of another publish may still be at work."""
    lead = m.name(namespace, "gone", str(head.generation), "")
    own = [w for w in _listed(store, namespace) if w.prefix in retired or (w.names or b"").startswith(lead)]
    for waste in own:
        if waste.prefix:
            expire_under(store, m.name(namespace, "t", waste.prefix, ""), at + DAY)
        elif waste.names:
            expire_swept(store, _names(store, waste.names), head, at + DAY)
            put(store, waste.names, None)
    _strike(store, namespace, own)


def _listed(store: Patient, namespace: str) -> list[m.Waste]:
    return _wasted(store.read([m.name(namespace, "waste")])[0])


def _wasted(held: bytes | None) -> list[m.Waste]:
    return m.decode_waste(held) if held else []


def _strike(store: Patient, namespace: str, done: Sequence[m.Waste]) -> None:
    if done:
        name = m.name(namespace, "waste")
        update(store, name, lambda held: m.encode([w for w in _wasted(held) if w not in done]))


def _names(store: Patient, record: bytes) -> list[bytes]:
    (held,) = store.read([record])
    return m.decode_names(held) if held else []


def delete_under(store: Patient, prefix: bytes) -> None:
    """Delete every record whose name begins so."""
    for held in _under(store, prefix):
        store.swap([Change(name, record, None) for name, record in held])


def expire_under(store: Patient, prefix: bytes, at: int) -> None:
    """Let every record whose name begins so expire."""
    for held in _under(store, prefix):
        store.expire([Change(name, record, None) for name, record in held], at)


def _under(store: Patient, prefix: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
    for portion in store.scan(prefix):
        yield from _held(store, portion)


def _held(store: Patient, names: Sequence[bytes]) -> Iterator[list[tuple[bytes, bytes]]]:
    """The records of names that are there, in portions."""
    for start in range(0, len(names), PORTION):
        part = list(dict.fromkeys(names[start : start + PORTION]))
        yield [(n, r) for n, r in zip(part, store.read(part), strict=True) if r is not None]


def sweep(store: Patient, names: Sequence[bytes], head: Head) -> None:
    """Take away what no reader at this head sees from the records of these names."""
    for held in _held(store, names):
        changes = [Change(n, r, new) for n, r in held if (new := swept(r, head)) != r]
        if changes:
            store.swap(changes)  # a refused one belongs to a publish at work


def expire_swept(store: Patient, names: Sequence[bytes], head: Head, at: int) -> None:
    """Let records of these names expire, those of which no reader at this head sees anything."""
    for held in _held(store, names):
        store.expire([Change(n, r, None) for n, r in held if swept(r, head) is None], at)
