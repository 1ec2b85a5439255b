"""Reading from the nodes of a Redis Cluster in an event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mlforge.stores.resp import CHUNK, Refused, Server
from mlforge.stores.slots import PAUSES, Batch, known, owners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlforge.stores.slots import Node


class AsyncConnection:
    """One connection, used by one task at a time."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        import hiredis

        self._from, self._to = streams
        self._answers = hiredis.Reader()
        self._error = hiredis.ReplyError
        self._pack: Any = hiredis.pack_command

    async def ask(self, data: bytes, count: int) -> list[Any]:
        """The answers to packed commands. Raises OSError."""
        self._to.write(data)
        found: list[Any] = []
        while len(found) < count:
            answer = self._answers.gets()
            if answer is not False:
                found.append(answer)
                continue
            more = await self._from.read(CHUNK)
            if not more:
                raise ConnectionResetError("the server closed the connection")
            self._answers.feed(more)
        return found

    async def call(self, *words: bytes) -> Any:
        """The answer to one command. Raises OSError, and Refused for an error."""
        (answer,) = await self.ask(self._pack(words), 1)
        if isinstance(answer, self._error):
            raise Refused(str(answer))
        return answer

    def close(self) -> None:
        """Close it at once, whatever is on its way: a farewell over TLS would need a loop that goes on."""
        self._to.transport.abort()


async def _opened(server: Server, node: Node) -> AsyncConnection:
    made = AsyncConnection(await asyncio.open_connection(*node, ssl=server.context if server.tls else None))
    try:
        for words in server.greeting():
            await made.call(*words)
    except BaseException:
        made.close()
        raise
    return made


class AsyncNodes:
    """The nodes of one cluster, and the idle connections of one event loop to them."""

    def __init__(self, server: Server, seeds: Sequence[Node], owned: Sequence[Node | None]) -> None:
        self._server = server
        self._seeds = seeds
        self._owned = list(owned)
        self._idle: dict[Node, list[AsyncConnection]] = {}

    async def run(self, batch: Batch) -> list[Any]:
        """The answers to all commands. Raises OSError when a node is away, Refused if the cluster does not agree."""
        for pause in PAUSES:
            if pause:
                await asyncio.sleep(pause)
            if batch.stale or not self._owned:
                self._owned = await self._looked()
            portions = batch.portions(self._owned)
            answers = await asyncio.gather(
                *(self._ask(node, batch.payload(p), batch.expected(p)) for node, p in portions.items())
            )
            for (node, numbers), given in zip(portions.items(), answers, strict=True):
                if isinstance(given, OSError):
                    batch.failed(numbers, given)
                else:
                    batch.answered(node, numbers, given, self._owned)
            if batch.done:
                self._owned = [] if batch.moved else self._owned
                return batch.answers
        raise batch.trouble or Refused("CLUSTERDOWN slots move again and again")

    async def _ask(self, node: Node, data: bytes, count: int) -> list[Any] | OSError:
        """What a node answers, or why it does not. Raises TimeoutError, Refused."""
        idle = self._idle.setdefault(node, [])
        connection: AsyncConnection | None = idle.pop() if idle else None
        try:
            async with asyncio.timeout(self._server.timeout):
                if connection is None:
                    connection = await _opened(self._server, node)
                answers = await connection.ask(data, count)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                self._forget(node)
                return error
            raise
        idle.append(connection)
        return answers

    async def _looked(self) -> list[Node | None]:
        """Who has which slot, from the first node that tells. Raises OSError, Refused."""
        trouble: Exception | None = None
        for node in known(self._owned, self._seeds):
            try:
                async with asyncio.timeout(self._server.timeout):
                    connection = await _opened(self._server, node)
                    try:
                        return owners(await connection.call(b"CLUSTER", b"SLOTS"), node)
                    finally:
                        connection.close()
            except (OSError, Refused) as error:
                trouble = error
        raise trouble or Refused("CLUSTERDOWN no node is known")

    def _forget(self, node: Node) -> None:
        """The node was restarted: its other connections are as dead."""
        for connection in self._idle.pop(node, []):
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        for node in list(self._idle):
            self._forget(node)
