"""Which online store settings or an address mean. The stores themselves know nothing of each other, or of this."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlforge.errors import UsageError, did_you_mean
from mlforge.masking import place

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlforge.stores.store import Store

GROUP = "mlforge.online_stores"


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
    return _redis_store


def _redis_store(
    url: str = "redis://127.0.0.1:6379/0",
    *,
    cluster: bool = False,
    timeout: float = 5.0,
    options: dict[str, Any] | None = None,
) -> Store:
    """The store at ``url``, which is one server, or with ``cluster`` any node of a Redis Cluster."""
    if cluster:
        from mlforge.stores.cluster import RedisClusterStore

        return RedisClusterStore(url, timeout=timeout, options=options)
    from mlforge.stores.redis import RedisStore

    return RedisStore(url, timeout=timeout, options=options)


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
