"""Damage to an online store, byte by byte, as a bad disk or a stranger's program would do it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from mlforge.online import published as m
from mlforge.online.entries import Entry, entries, packed
from mlforge.online.packed_values import pack, pack_points, patient_decoder
from mlforge.publishing.writing import Patient, read_head
from mlforge.stores.store import Change

if TYPE_CHECKING:
    from mlforge.stores.store import Store

_HEAD = struct.Struct("<qI")


def put(store: Store, name: bytes, new: bytes | None) -> None:
    """Put bytes in the place of what is there."""
    (old,) = store.read([name])
    assert store.swap([Change(name, old, new)]) == [True]


def record(store: Store, namespace: str, feature: str, key: bytes) -> tuple[bytes, bytes]:
    """The name and the bytes of the record of one key (as it ends a name) of a published feature."""
    _, head = read_head(Patient(store, 0.0), namespace)
    (found,) = store.read([m.name(namespace, "manifest", str(head.generation))])
    assert found is not None
    manifest = m.decode(found)
    name = m.name(namespace, "t", manifest.tables[manifest.current[feature]].prefix, "") + key
    (held,) = store.read([name])
    assert held is not None, name
    return name, held


def set_back(store: Store, namespace: str, mark: bytes) -> None:
    """Move the head to where it once was."""
    put(store, m.name(namespace, "head"), mark)


def change_manifest(store: Store, namespace: str, change: Any) -> None:
    """Put something else in the place of what readers are told."""
    _, head = read_head(Patient(store, 0.0), namespace)
    name = m.name(namespace, "manifest", str(head.generation))
    (found,) = store.read([name])
    assert found is not None
    put(store, name, m.encode(change(m.decode(found))))


def altered(held: bytes, table: m.Table, column: int) -> bytes:
    """The record with another value of one stored column at every instant."""
    (newest, *_) = entries(held)
    assert newest.value is not None
    step, times, values = points(newest.value)
    decode = patient_decoder([s.tree for s in table.stored])
    rows = [list(decode(v)) for v in values]
    for row in rows:
        row[column + 2] = other(row[column + 2], table.stored[column].tree)
    return packed(Entry(newest.generation, pack_points(times, [pack(row) for row in rows], step)))


def points(payload: bytes) -> tuple[int, list[int], list[bytes]]:
    """Step, instants and packed values of a key."""
    step, count = _HEAD.unpack_from(payload)
    times = list(struct.unpack_from(f"<{count}q", payload, _HEAD.size))
    ends = struct.unpack_from(f"<{count}I", payload, _HEAD.size + 8 * count)
    values = payload[_HEAD.size + 12 * count :]
    return step, times, [values[a:b] for a, b in zip((0, *ends), ends, strict=False)]


def other(value: Any, tree: Any) -> Any:
    """Another value of the same type, ready to be packed."""
    made: dict[Any, Any] = {
        "int": 7,
        "float": 0.75,
        "bool": True,
        "text": "x",
        "date": "2001-01-01",
        "timestamp": "2001-01-01T00:00:00",
        "nanos": "2001-01-01 00:00:00.000000001",
        "decimal": "7.5",
    }
    if value is None:
        return made.get(tree, []) if isinstance(tree, str) else []  # a list or a struct is none of these
    if tree == "float":
        return 0.75 if value != 0.75 else 1.5
    if tree == "bool":
        return not value
    if tree in ("int", "text"):
        return value + (1 if tree == "int" else "x")
    return None
