"""What an online store must do.

A store keeps bytes under names. It needs no idea of features, versions or time: generations, points and types live in
the bytes (online/entries.py, online/packed_values.py), so that one conformance suite says all there is to say about a
store, and a new store is a class with seven methods and an entry point of the group ``mlforge.online_stores``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Change(NamedTuple):
    """One conditional write: ``new`` takes the place of ``old``, and only of it. None means that nothing is there."""

    name: bytes
    old: bytes | None
    new: bytes | None


class Store(Protocol):
    """Bytes under names, shared by publishers and readers.

    A store whose names and values together are bounded says so in an attribute ``largest``, in bytes.

    Every method raises StoreDownError if the store cannot be reached or is full, whatever its driver raises then."""

    kind: str

    def read(self, names: Sequence[bytes]) -> list[bytes | None]:
        """What lies under each name, in one round trip. A name may be asked for twice."""
        ...

    async def aread(self, names: Sequence[bytes]) -> list[bytes | None]:
        """``read`` for an event loop."""
        ...

    def swap(self, changes: Sequence[Change]) -> list[bool]:
        """Apply each change whose ``old`` is still there, whole or not at all; say which were applied.

        Changes are independent of each other. Names are different."""
        ...

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        """The names that begin so, in portions. Names that come or go meanwhile may be missed or repeated."""
        ...

    def status(self) -> dict[str, Any]:
        """What the store says of itself: its kind, where it is (no password), its version, its size."""
        ...

    def close(self) -> None:
        """Let connections go. The store can be used again."""
        ...

    async def aclose(self) -> None:
        """``close``, with what belongs to the running event loop."""
        ...
