"""What an online store must do, and how one is found.

A store keeps bytes under names. It needs no idea of features, versions or time: generations, points and types live in
the bytes (online/entries.py, online/packed_values.py), so that one conformance suite says all there is to say about a
store, and a new store is a class with seven methods and an entry point of the group ``mlforge.online_stores``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mlforge.errors import UsageError, did_you_mean
from mlforge.masking import place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

GROUP = "mlforge.online_stores"


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


def open_store(settings: Mapping[str, Any] | str) -> Store:
    """The store that a profile's ``online:`` section, or a URL (``sqlite:///path``, ``redis://host:6379/0``), names.

    Nothing is connected yet. Raises UsageError for an unknown kind or setting."""
    given = settings_of(settings)
    kind = given.pop("kind", "sqlite")
    for name in CLIENT_SETTINGS:
        given.pop(name, None)
    make = _maker(str(kind))
    try:
        return make(**given)
    except TypeError as error:
        raise UsageError(f"settings of the online store do not fit: {error}", hint=_doc(make)) from error


CLIENT_SETTINGS = ("namespace", "max_points", "grace")
"""Keys of the section ``online`` that are about publishing, whatever the store."""


def settings_of(given: Store | Mapping[str, Any] | str) -> dict[str, Any]:
    """Settings from a URL, the path of a SQLite file, or settings; a store itself becomes the setting ``store``."""
    if isinstance(given, str):
        return _of_url(given)
    return dict(given) if isinstance(given, Mapping) else {"store": given}


def _of_url(url: str) -> dict[str, Any]:
    scheme, found, rest = url.partition("://")
    if not found and place(url) != url and not Path(url).exists():
        raise UsageError(
            f"{place(url)} is no address of an online store",
            hint="write redis://user:password@host:6379/0; a SQLite file of such a name is sqlite:///path",
        )
    if not found:
        return {"kind": "sqlite", "path": url}
    if scheme == "sqlite":
        return {"kind": "sqlite", "path": rest}
    plain, _, cluster = scheme.partition("+")
    if cluster == "cluster" and plain in ("redis", "rediss"):
        return {"kind": "redis", "url": f"{plain}://{rest}", "cluster": True}
    return {"kind": "redis", "url": url} if scheme in ("redis", "rediss", "unix") else {"kind": scheme, "url": url}


def _sqlite() -> Callable[..., Store]:
    from mlforge.stores.sqlite import SQLiteStore

    return SQLiteStore


def _redis() -> Callable[..., Store]:
    from mlforge.stores.redis import redis_store

    return redis_store


def _dynamodb() -> Callable[..., Store]:
    from mlforge.stores.dynamodb import DynamoDBStore

    return DynamoDBStore


STORES = {"sqlite": _sqlite, "redis": _redis, "dynamodb": _dynamodb}


def _maker(kind: str) -> Callable[..., Store]:
    if kind in STORES:
        return STORES[kind]()
    from importlib.metadata import entry_points

    others = {point.name: point for point in entry_points(group=GROUP)}
    if kind not in others:
        raise UsageError(f"unknown kind of online store {place(kind)!r}", hint=did_you_mean(kind, {*STORES, *others}))
    return others[kind].load()  # type: ignore[no-any-return]


def _doc(make: Callable[..., Store]) -> str:
    from inspect import signature

    return f"it takes {', '.join(signature(make).parameters)}"
