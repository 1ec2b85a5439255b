"""An online store in a Redis Cluster (6 or later) or a cluster of Valkey. Names lie where their slots are; a read asks
all nodes at once, one round trip however many names, and so does a write, a script for each name.

Nodes are read one by one, so an answer is not of one instant, and need not be. A reader knows the head before it reads,
and uses an answer only if the head in it is still the same: heads only grow, so every record that was read before that
head was read while it was shown. Of a record that was read after, a later publish may have written again; it keeps the
entry before, or the reader finds the head too old for it and begins anew (records.Torn). Which of them comes first does
not matter, as long as ``grace`` is longer than a read: entries that nobody needs go after it.

redis-py's cluster client is not used: it asks a node that hangs for every name of a pipeline again, one timeout each,
so that a read of 200 names took 100 seconds to fail; and it computes longer than the network takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from mlforge.masking import place
from mlforge.stores.redis import escaped, needs_driver
from mlforge.stores.redis_errors import in_words, unfit
from mlforge.stores.resp import Connection, Malformed, Pool, Refused, Server, host_and_port
from mlforge.stores.slots import PAUSES, Batch, known, owners

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Iterator, Sequence

    from mlforge.stores.cluster_async import AsyncNodes
    from mlforge.stores.slots import Node
    from mlforge.stores.store import Change

# One name: the flag and text that must be there, the flag and text to put there; flag 0 stands for nothing.
# Trap: GET answers false for a missing name, never nil.
_SWAP = b"""\
local v = redis.call('GET', KEYS[1])
if ARGV[1] == '0' then if v then return 0 end elseif v ~= ARGV[2] then return 0 end
if ARGV[3] == '1' then redis.call('SET', KEYS[1], ARGV[4]) else redis.call('DEL', KEYS[1]) end
return 1"""
PORTION = 5_000  # names asked for at once
SCANNED = 2_000


class RedisClusterStore:
    """An online store in the cluster of which a node is at ``url``: ``redis://user:password@host:7000``, ``rediss://``.
    Several nodes may be named, ``host:7000,other:7000``: one that answers tells of all others.

    ``timeout``: seconds that a node may take for one call. ``options``: of TLS and login, as redis-py names them."""

    kind = "redis"
    largest = 512 * 1024 * 1024  # proto-max-bulk-len, unless the server is told otherwise

    def __init__(
        self, url: str = "redis://127.0.0.1:6379", *, timeout: float = 5.0, options: dict[str, Any] | None = None
    ) -> None:
        needs_driver()
        import hiredis

        try:
            first, others = _nodes_of(url)
            self._server = Server(first, timeout, options)
            if isinstance(self._server.address, str) or self._server.database:
                raise Malformed("a cluster has neither sockets nor databases")
        except (ValueError, TypeError) as error:
            raise unfit(url, error) from None
        self.url = url
        self._pack: Any = hiredis.pack_command
        self._seeds: list[Node] = [self._server.address, *others]
        self._owned: list[Node | None] = []
        self._pools: dict[Node, Pool] = {}
        self._loops: WeakKeyDictionary[AbstractEventLoop, AsyncNodes] = WeakKeyDictionary()

    def read(self, names: Sequence[bytes]) -> list[bytes | None]:
        """GETs, to all nodes at once."""
        commands = self._gets(names)
        found: list[bytes | None] = []
        for start in range(0, len(names), PORTION):
            found += self._run(Batch(names[start : start + PORTION], commands[start : start + PORTION]))
        return found

    def _gets(self, names: Sequence[bytes]) -> list[bytes]:
        return [b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name) for name in names]

    async def aread(self, names: Sequence[bytes]) -> list[bytes | None]:
        """``read`` for an event loop; every loop has connections of its own."""
        commands = self._gets(names)
        nodes = self._nodes()
        found: list[bytes | None] = []
        try:
            for start in range(0, len(names), PORTION):
                batch = Batch(names[start : start + PORTION], commands[start : start + PORTION])
                found += await nodes.run(batch)
        except (OSError, Refused) as error:
            raise in_words(place(self.url), error) from error
        return found

    def _nodes(self) -> AsyncNodes:
        from asyncio import get_running_loop

        from mlforge.stores.cluster_async import AsyncNodes

        loop = get_running_loop()
        if loop not in self._loops:
            self._loops[loop] = AsyncNodes(self._server, self._seeds, self._owned)
        return self._loops[loop]

    def swap(self, changes: Sequence[Change]) -> list[bool]:
        """A script for each change, to all nodes at once. If a node fails, others may have applied theirs."""
        done: list[bool] = []
        for start in range(0, len(changes), PORTION):
            part = changes[start : start + PORTION]
            batch = Batch([c.name for c in part], [self._pack(_words(c)) for c in part])
            done += [answer == 1 for answer in self._run(batch)]
        return done

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        """SCAN of one node after the other. Names whose slot moves meanwhile may be missed or repeated."""
        pattern = escaped(prefix) + b"*"
        for node in self._primaries():
            cursor = b"0"
            while True:
                cursor, names = self._call(node, b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % SCANNED)
                if names:
                    yield list(dict.fromkeys(names))
                if cursor == b"0":
                    break

    def status(self) -> dict[str, Any]:
        """Kind, address, oldest server version, and over all nodes: names, memory, and what they do when it is full."""
        told = [_told(self._call(node, b"INFO")) for node in self._primaries()]
        return {
            "kind": self.kind,
            "at": place(self.url),
            "nodes": len(told),
            "version": min(i.get("valkey_version") or i["redis_version"] for i in told),
            "names": sum(self._call(node, b"DBSIZE") for node in self._primaries()),
            "bytes": sum(int(i["used_memory"]) for i in told),
            "eviction": ", ".join(sorted({i["maxmemory_policy"] for i in told})),
        }

    def close(self) -> None:
        """Close the connections. Those of event loops end with their loops."""
        for pool in list(self._pools.values()):
            pool.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop too."""
        from asyncio import get_running_loop

        nodes = self._loops.pop(get_running_loop(), None)
        if nodes is not None:
            nodes.close()
        self.close()

    # -- nodes

    def _run(self, batch: Batch) -> list[Any]:
        """The answers to all commands. Raises StoreDownError when a node is away, or the cluster does not agree."""
        try:
            for pause in PAUSES:
                if pause:
                    time.sleep(pause)
                if batch.stale or not self._owned:
                    self._owned = self._looked()
                self._exchange(batch)
                if batch.done:
                    self._owned = [] if batch.moved else self._owned
                    return batch.answers
            raise batch.trouble or Refused("CLUSTERDOWN slots move again and again")
        except (OSError, Refused) as error:
            raise in_words(place(self.url), error) from error

    def _exchange(self, batch: Batch) -> None:
        """Send to all nodes what is left for them, then take all answers."""
        asked: list[tuple[Node, list[int], Connection]] = []
        answers: list[list[Any]] = []
        try:
            for node, numbers in batch.portions(self._owned).items():
                connection = self._sent(node, batch.payload(numbers))
                if isinstance(connection, Connection):
                    asked.append((node, numbers, connection))
                else:
                    batch.failed(numbers, connection)
            for node, numbers, connection in asked:
                answers.append(self._received(node, connection, batch.expected(numbers)))
        finally:
            for _, _, connection in asked[len(answers) :]:
                connection.close()  # its answers are still on their way
        for (node, numbers, _), given in zip(asked, answers, strict=True):
            if len(given) < batch.expected(numbers):
                batch.failed(numbers, ConnectionResetError(f"{node[0]}:{node[1]} closed the connection"))
            else:
                batch.answered(node, numbers, given, self._owned)

    def _sent(self, node: Node, data: bytes) -> Connection | OSError:
        """A connection over which the commands went, or why none did. Raises TimeoutError."""
        pool = self._pool(node)
        try:
            connection = pool.held() or pool.opened()
        except TimeoutError:
            raise
        except OSError as error:
            return error
        try:
            connection.send(data)
        except OSError as error:
            connection.close()
            pool.close()
            if isinstance(error, TimeoutError):
                raise
            return error
        return connection

    def _received(self, node: Node, connection: Connection, count: int) -> list[Any]:
        """The answers, none of them if the connection broke. Raises TimeoutError."""
        pool = self._pool(node)
        try:
            answers = [connection.receive() for _ in range(count)]
        except TimeoutError:
            raise
        except OSError:
            connection.close()
            pool.close()  # the node was restarted: the other connections are as dead
            return []
        pool.back(connection)
        return answers

    def _pool(self, node: Node) -> Pool:
        found = self._pools.get(node)
        return found if found is not None else self._pools.setdefault(node, Pool(self._server, node))

    def _looked(self) -> list[Node | None]:
        """Who has which slot, from the first node that tells. Raises OSError, Refused."""
        trouble: Exception | None = None
        for node in known(self._owned, self._seeds):
            try:
                return owners(self._asked(node, b"CLUSTER", b"SLOTS"), node)
            except (OSError, Refused) as error:
                trouble = error
        raise trouble or Refused("CLUSTERDOWN no node is known")

    def _primaries(self) -> list[Node]:
        try:
            self._owned = self._looked()
        except (OSError, Refused) as error:
            raise in_words(place(self.url), error) from error
        return sorted({node for node in self._owned if node is not None})

    def _call(self, node: Node, *words: bytes) -> Any:
        try:
            return self._asked(node, *words)
        except (OSError, Refused) as error:
            raise in_words(place(self.url), error) from error

    def _asked(self, node: Node, *words: bytes) -> Any:
        """The answer of one node, over a connection of its own."""
        connection = self._pool(node).opened()
        try:
            return connection.call(*words)
        finally:
            connection.close()


def _nodes_of(url: str) -> tuple[str, list[Node]]:
    """The URL of the node that is named first, and the others. Raises Malformed."""
    scheme, _, rest = url.partition("://")
    login, at, places = rest.rpartition("@")
    first, *others = places.split(",")
    return f"{scheme}://{login}{at}{first}", [host_and_port(place) for place in others]


def _words(change: Change) -> tuple[bytes, ...]:
    held, put = b"0" if change.old is None else b"1", b"0" if change.new is None else b"1"
    return (b"EVAL", _SWAP, b"1", change.name, held, change.old or b"", put, change.new or b"")


def _told(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}
