"""MGET in an event loop. All requests share one connection: their commands go out one behind another, and the answers
that come in one packet are read in one go. Large reads have a connection of their own, so that small ones do not stand
behind them.

A caller that is cancelled leaves its answer to be dropped; nobody else's is mistaken for it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import hiredis

from mlforge.stores.resp import Refused, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGE = 500
"""Names of a read that goes over the other connection."""

Names = list[bytes | None]


class Lane(asyncio.Protocol):
    """One connection. ``closed`` says that it is no longer one."""

    def __init__(self, timeout: float) -> None:
        self.closed = False
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = transport

    def ask(self, *words: bytes) -> asyncio.Future[Any]:
        """Send a command; the answer comes with the future, an error of the server as a hiredis.ReplyError.

        The future fails with an OSError if the connection ends, TimeoutError if the server is silent."""
        future = self._loop.create_future()
        if self.closed:
            future.set_exception(ConnectionResetError("the connection is closed"))
            return future
        self._waiting.append((self._loop.time(), future))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look)
        self._transport.write(hiredis.pack_command(words))  # type: ignore[arg-type]
        return future

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not False:
                future = waiting.popleft()[1]
                if not future.done():
                    future.set_result(answer)
        except (hiredis.HiredisError, IndexError):
            self._end(ConnectionAbortedError("the server does not speak Redis's protocol"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._end(ConnectionResetError(str(exc) if exc else "the server closed the connection"))

    def close(self) -> None:
        """Close it. Those who wait get an OSError."""
        self._end(ConnectionAbortedError("the store was closed"))

    def _look(self) -> None:
        """One timer for all that wait: the first of them has waited longest."""
        self._timer = None
        if not self._waiting:
            return
        left = self._waiting[0][0] + self._timeout - self._loop.time()
        if left <= 0:
            self._end(TimeoutError(f"no answer in {self._timeout:g} s"))
        else:
            self._timer = self._loop.call_later(left, self._look)

    def _end(self, error: OSError) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_exception(error)


class AsyncWire:
    """MGET from one server, for one event loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lanes: dict[bool, Lane] = {}
        self._opening: dict[bool, asyncio.Task[Lane]] = {}

    async def mget(self, names: Sequence[bytes]) -> Names:
        """What lies under the names. Raises OSError if the server does not answer, Refused if it answers an error.

        A connection that turns out to be dead is replaced once: the server may have been restarted."""
        large = len(names) > LARGE
        lane = self._lanes.get(large)
        if lane is not None and not lane.closed:
            try:
                return _values(await lane.ask(b"MGET", *names))
            except TimeoutError:
                raise
            except OSError:
                pass
        return _values(await (await self._opened(large)).ask(b"MGET", *names))

    async def _opened(self, large: bool) -> Lane:
        """A living connection; those who want one at once get the same."""
        lane, task = self._lanes.get(large), self._opening.get(large)
        if lane is not None and not lane.closed:
            return lane
        if task is None or task.done():
            task = self._opening[large] = asyncio.create_task(self._open(large))
            task.add_done_callback(_seen)
        return await asyncio.shield(task)

    async def _open(self, large: bool) -> Lane:
        server, loop = self._server, asyncio.get_running_loop()
        lane = Lane(server.timeout)
        try:
            async with asyncio.timeout(server.timeout):
                if isinstance(server.address, str):
                    await loop.create_unix_connection(lambda: lane, server.address)
                else:
                    context = server.context if server.tls else None
                    await loop.create_connection(lambda: lane, *server.address, ssl=context)
                for words in server.greeting():
                    _values(await lane.ask(*words))
        except BaseException:
            lane.close()
            raise
        self._lanes[large] = lane
        return lane

    async def aclose(self) -> None:
        """Close the connections."""
        for task in self._opening.values():
            task.cancel()
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()


def _values(answer: Any) -> Names:
    if isinstance(answer, hiredis.ReplyError):
        raise Refused(str(answer))
    found: Names = answer
    return found


def _seen(task: asyncio.Task[Any]) -> None:
    """An error that nobody waits for any more is no news to asyncio."""
    if not task.cancelled():
        task.exception()
