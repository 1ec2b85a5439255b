"""An online store in Redis (6 or later) or Valkey: one string for each name, read by MGET, written by a script that
compares and sets.

Persistence is the server's affair; a server that may evict keys (``maxmemory-policy`` other than ``noeviction``) would
turn features into MISSING, so ``status`` shows the policy."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from mlforge.errors import UsageError
from mlforge.masking import place
from mlforge.stores.redis_errors import in_words, unfit
from mlforge.stores.resp import OPTIONS, Refused, Server, Wire

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Iterator, Sequence

    from redis import Redis

    from mlforge.stores.store import Change

# For every name: the flag and text that must be there, the flag and text to put there; flag 0 stands for nothing.
# Trap: GET answers false for a missing name, never nil.
_SWAP = """
local done = {}
for i, name in ipairs(KEYS) do
  local held, there, put, new = ARGV[4 * i - 3], ARGV[4 * i - 2], ARGV[4 * i - 1], ARGV[4 * i]
  local value = redis.call('GET', name)
  local same = (value == false and held == '0') or (value ~= false and held == '1' and value == there)
  if same then
    if put == '1' then redis.call('SET', name, new) else redis.call('DEL', name) end
  end
  done[i] = same and 1 or 0
end
return done
"""
SCRIPT = 250  # names in one call of the script, which holds the server up while it runs
MGET = 5_000
PORTION = 2_000


class RedisStore:
    """An online store at ``url``: ``redis://user:password@host:6379/0``, ``rediss://`` for TLS, ``unix://``.

    ``timeout``: seconds that one call may take. ``options`` go to redis-py as they are (``ssl_ca_certs`` ...). TLS
    verifies the server's certificate and its name."""

    kind = "redis"
    largest = 512 * 1024 * 1024  # proto-max-bulk-len, unless the server is told otherwise

    def __init__(
        self, url: str = "redis://127.0.0.1:6379/0", *, timeout: float = 5.0, options: dict[str, Any] | None = None
    ) -> None:
        needs_driver()
        self.url = url
        self._settings: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            **(options or {}),
        }
        if url.startswith("rediss"):  # redis-py before 6 does not look at the name
            self._settings.setdefault("ssl_check_hostname", self._settings.get("ssl_cert_reqs", "required") != "none")
        self._loops: WeakKeyDictionary[AbstractEventLoop, Any] = WeakKeyDictionary()
        try:
            others = "?" in url or set(options or {}) - OPTIONS
            self._wire = None if others else Wire(Server(url, timeout, options))
            if self._wire is None:
                self._client.connection_pool  # noqa: B018 - redis-py looks at the URL
        except (ValueError, TypeError) as error:
            raise unfit(url, error) from None

    # redis-py is imported for writing, for event loops, and where it has options: a reader starts without it.
    @cached_property
    def _client(self) -> Redis:
        import redis
        from redis.backoff import ExponentialBackoff
        from redis.retry import Retry

        return redis.Redis.from_url(self.url, retry=Retry(ExponentialBackoff(0.1, 0.01), 2), **self._settings)

    @cached_property
    def _script(self) -> Any:
        return self._client.register_script(_SWAP)

    def read(self, names: Sequence[bytes]) -> list[bytes | None]:
        """One MGET, for any number of names up to some thousands."""
        if self._wire is not None and len(names) <= MGET:
            return self._over_wire(self._wire, names)
        with self._in_words():
            if len(names) <= MGET:
                return self._client.mget(names)  # type: ignore[return-value]
            pipe = self._client.pipeline(transaction=False)
            for start in range(0, len(names), MGET):
                pipe.mget(names[start : start + MGET])
            return [value for part in pipe.execute() for value in part]

    def _over_wire(self, wire: Wire, names: Sequence[bytes]) -> list[bytes | None]:
        try:
            return wire.mget(names) if names else []
        except (OSError, Refused) as error:
            raise in_words(place(self.url), error) from error

    async def aread(self, names: Sequence[bytes]) -> list[bytes | None]:
        """``read`` for an event loop; every loop has connections of its own."""
        if self._wire is not None:
            return await self._over_async_wire(self._wire.server, names)
        with self._in_words():
            client = self._async_client()
            found: list[bytes | None] = []
            for start in range(0, len(names), MGET):
                found += await client.mget(names[start : start + MGET])
            return found

    async def _over_async_wire(self, server: Server, names: Sequence[bytes]) -> list[bytes | None]:
        from asyncio import get_running_loop

        loop = get_running_loop()
        wire = self._loops.get(loop)
        if wire is None:
            from mlforge.stores.resp_async import AsyncWire

            wire = self._loops[loop] = AsyncWire(server)
        found: list[bytes | None] = []
        try:
            for start in range(0, len(names), MGET):
                found += await wire.mget(names[start : start + MGET])
        except (OSError, Refused) as error:
            raise in_words(place(self.url), error) from error
        return found

    def _async_client(self) -> Any:
        from asyncio import get_running_loop

        import redis.asyncio
        from redis.asyncio.retry import Retry as AsyncRetry
        from redis.backoff import ExponentialBackoff

        loop = get_running_loop()
        if loop not in self._loops:
            retry = AsyncRetry(ExponentialBackoff(0.1, 0.01), 2)
            self._loops[loop] = redis.asyncio.Redis.from_url(self.url, retry=retry, **self._settings)
        return self._loops[loop]

    def swap(self, changes: Sequence[Change]) -> list[bool]:
        """Calls of the script in one pipeline. If the connection breaks, some may have been applied."""
        with self._in_words():
            pipe = self._client.pipeline(transaction=False)
            for start in range(0, len(changes), SCRIPT):
                part = changes[start : start + SCRIPT]
                self._script([c.name for c in part], [text for c in part for text in _arguments(c)], client=pipe)
            return [bool(done) for answer in pipe.execute() for done in answer]

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        """SCAN: the server stays free for others between portions."""
        pattern, cursor = escaped(prefix) + b"*", 0
        while True:
            with self._in_words():
                cursor, names = self._client.scan(cursor, match=pattern, count=PORTION)
            if names:
                yield list(dict.fromkeys(names))  # type: ignore[arg-type]
            if cursor == 0:
                return

    def status(self) -> dict[str, Any]:
        """Kind, address, server version, names in its database, memory, and what it does when memory is full."""
        with self._in_words():
            info = self._client.info()
            version = info.get("valkey_version") or info["redis_version"]
            return {
                "kind": self.kind,
                "at": place(self.url),
                "version": version,
                "names": self._client.dbsize(),
                "bytes": info["used_memory"],
                "eviction": info["maxmemory_policy"],
            }

    def close(self) -> None:
        """Close the connections. Those of event loops end with their loops."""
        if self._wire is not None:
            self._wire.close()
        if "_client" in self.__dict__:
            self._client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop too."""
        from asyncio import get_running_loop

        client = self._loops.pop(get_running_loop(), None)
        if client is not None:
            await client.aclose()
        self.close()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        import redis

        try:
            yield
        except redis.RedisError as error:
            raise in_words(place(self.url), error) from error


def needs_driver() -> None:
    """Raise UsageError if what the extra ``redis`` installs is not there."""
    for package in ("redis", "hiredis"):
        if find_spec(package) is None:
            raise UsageError("the Redis store needs the package redis", hint="pip install 'mlforge[redis]'")


def _arguments(change: Change) -> tuple[bytes, bytes, bytes, bytes]:
    old, new = change.old, change.new
    return (b"0" if old is None else b"1", old or b"", b"0" if new is None else b"1", new or b"")


def escaped(prefix: bytes) -> bytes:
    """The prefix as a pattern that means only itself."""
    return b"".join(b"\\" + bytes([c]) if c in b"*?[]\\^-" else bytes([c]) for c in prefix)
