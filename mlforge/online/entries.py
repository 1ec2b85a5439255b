"""What lies under one name: the value of a key, and the value that it replaces, each with its generation.

A publish writes under a generation of its own, a number that only grows, and readers look for the newest entry whose
generation the head of the store has reached. So a publish that is half done is invisible, and moving the head shows all
of it at once. A record keeps two entries, the newest and the one that readers may still see, therefore whoever writes
must say what readers see. Entries of a publish that died, or lost a race, are named ``dead`` by every later head.

An entry is its generation and length, 32 bits each, big-endian, then the bytes; length 2**32 - 1 says that the key is
gone. Newest first."""

from __future__ import annotations

from struct import Struct, pack
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

_HEAD = Struct(">II")
entry_head = _HEAD.unpack_from
GONE = 2**32 - 1


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What readers see: entries of generations up to this one, except the dead.

    ``mark`` is drawn anew for each: a store that lost everything counts from 1 again, and a reader must not take its
    head for the one that it knows."""

    generation: int = 0
    dead: tuple[int, ...] = ()
    mark: int = 0


class Entry(NamedTuple):
    """One value of a key; None: from this generation on the key is gone."""

    generation: int
    value: bytes | None


class Torn(Exception):
    """The head was read before, the record after a later publish: read both again."""


class Overtaken(Exception):
    """A later generation has been written here already."""


def entries(record: bytes) -> list[Entry]:
    """The entries of a record, newest first."""
    found, at = [], 0
    while at < len(record):
        generation, length = entry_head(record, at)
        size = 0 if length == GONE else length
        found.append(Entry(generation, None if length == GONE else record[at + 8 : at + 8 + size]))
        at += 8 + size
    return found


def packed(*listed: Entry) -> bytes:
    """The record of these entries."""
    return b"".join(
        pack(">II", generation, GONE if value is None else len(value)) + (value or b"") for generation, value in listed
    )


def visible(record: bytes | None, generation: int, dead: Collection[int]) -> bytes | None:
    """The value that readers at this head see, or None for a key that is not there.

    Raises Torn if the record has moved on since the head was read."""
    if record is None:
        return None
    newest, length = entry_head(record)
    if newest <= generation and newest not in dead:
        return None if length == GONE else record[8 : 8 + length]
    listed = entries(record)
    entry = _seen(listed, generation, dead)
    if entry is None and len(listed) > 1 and listed[-1].generation > generation:
        raise Torn
    return entry.value if entry else None


def _seen(listed: list[Entry], generation: int, dead: Collection[int]) -> Entry | None:
    return next((e for e in listed if e.generation <= generation and e.generation not in dead), None)


def written(record: bytes | None, new: Entry, head: Head) -> bytes | None:
    """The record after a publish wrote an entry, with what readers at ``head`` see kept behind it.

    Raises Overtaken if the record holds a later generation: newer is never replaced by older."""
    if record is None:
        return None if new.value is None else packed(new)
    listed = entries(record)
    if listed[0].generation > new.generation:
        raise Overtaken
    seen = _seen([e for e in listed if e.generation < new.generation], head.generation, head.dead)
    if seen is None:
        return None if new.value is None else packed(new)
    return packed(new, seen)


def swept(record: bytes, head: Head) -> bytes | None:
    """The record without what no reader sees any more; None if nothing stays.

    Entries later than the head stay: they belong to a publish that is at work."""
    listed = entries(record)
    later = [e for e in listed if e.generation > head.generation]
    seen = _seen(listed, head.generation, head.dead)
    if seen is None or (seen.value is None and not later):
        return packed(*later) if later else None
    return packed(*later, seen)
