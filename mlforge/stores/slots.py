"""Which node of a Redis Cluster has which name, and what has to be asked again, and where. No input or output here."""

from __future__ import annotations

import random
from binascii import crc_hqx
from typing import TYPE_CHECKING, Any

from mlforge.stores.resp import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOTS = 16_384
_LATER = ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY")  # said while nodes agree on something
PAUSES = (0.0, 0.05, 0.1, 0.2)  # seconds before each attempt: nodes agree on a move within some milliseconds

Node = tuple[str, int]


def slot(name: bytes) -> int:
    """The slot of a name: of all of it, or of what stands between its first braces, if anything does."""
    start = name.find(b"{")
    if start >= 0:
        end = name.find(b"}", start + 1)
        if end > start + 1:
            name = name[start + 1 : end]
    return crc_hqx(name, 0) % SLOTS


def owners(answer: Sequence[Any], asked: Node) -> list[Node | None]:
    """Who has each slot, from the answer of ``asked`` to CLUSTER SLOTS; None: nobody."""
    found: list[Node | None] = [None] * SLOTS
    for first, last, primary, *_ in answer:
        node = (_host(primary[0], asked), int(primary[1]))
        found[first : last + 1] = [node] * (last + 1 - first)
    return found


def _host(text: bytes | None, asked: Node) -> str:
    """A node that does not know its own name gives none: it is reached as the one that was asked."""
    return text.decode() if text else asked[0]


def known(owned: Sequence[Node | None], seeds: Sequence[Node]) -> list[Node]:
    """Nodes to ask who has which slot, in any order; those that the settings name come last."""
    others = list({node for node in owned if node is not None} - {*seeds})
    random.shuffle(others)
    return [*others, *seeds]


class Batch:
    """Commands about one name each: which nodes to ask, what they answered, and what is left to be asked again.

    ``trouble``: why something is left; None if the nodes only said where else to ask. ``stale``: who has which slot
    must be asked before the next attempt; ``moved``: after the last one, for nodes said what they could of it."""

    def __init__(self, names: Sequence[bytes], commands: Sequence[bytes]) -> None:
        self._names = names
        self._commands = commands
        self._at: dict[int, Node] = {}  # where a name is on its way to
        self._left: Sequence[int] = range(len(names))
        self.answers: list[Any] = [None] * len(names)
        self.stale = self.moved = False
        self.trouble: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether everything is answered."""
        return not self._left

    def portions(self, owned: Sequence[Node | None]) -> dict[Node, list[int]]:
        """What is left, by node."""
        found: dict[Node, list[int]] = {}
        lost: list[int] = []
        self.stale, self.trouble = False, None
        for number in self._left:
            node = self._at.get(number) or owned[slot(self._names[number])]
            if node is None:
                lost.append(number)
            else:
                found.setdefault(node, []).append(number)
        self._left = []
        if lost:
            self.failed(lost, Refused("CLUSTERDOWN no node has some of the slots"))
        return found

    def payload(self, numbers: Sequence[int]) -> bytes:
        """The commands to send."""
        if not self._at:
            return b"".join([self._commands[n] for n in numbers])
        return b"".join([b"*1\r\n$6\r\nASKING\r\n" * (n in self._at) + self._commands[n] for n in numbers])

    def expected(self, numbers: Sequence[int]) -> int:
        """How many answers will come."""
        return len(numbers) + sum(n in self._at for n in numbers)

    def failed(self, numbers: Sequence[int], error: Exception) -> None:
        """Their node did not answer."""
        self._left = [*self._left, *numbers]
        self.stale, self.trouble = True, error
        for number in numbers:
            self._at.pop(number, None)

    def answered(self, node: Node, numbers: Sequence[int], answers: Sequence[Any], owned: list[Node | None]) -> None:
        """Take what a node answered; note in ``owned`` which slots have moved. Raises Refused for other errors."""
        given = iter(answers)
        for number in numbers:
            if number in self._at:
                next(given)  # to ASKING
                del self._at[number]
            answer = next(given)
            if isinstance(answer, Exception):
                self._again(node, number, str(answer), owned)
            else:
                self.answers[number] = answer

    def _again(self, node: Node, number: int, said: str, owned: list[Node | None]) -> None:
        word, _, rest = said.partition(" ")
        if word in ("MOVED", "ASK"):
            where = rest.split(" ")[1]
            host, _, port = where.rpartition(":")
            there = (host or node[0], int(port))
            if word == "ASK":
                self._at[number] = there
            else:
                owned[int(rest.split(" ")[0])] = there
                self.moved = True
        elif word in _LATER:
            self.stale, self.trouble = True, Refused(said)
        else:
            raise Refused(said)
        self._left = [*self._left, number]
