"""A steady rate of requests to a server of a Pulse, each answer compared with what is right."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.serve.raw import Answer, Closed, Connection, request

if TYPE_CHECKING:
    from tests.serve.pulse import Pulse, Stage

RIGHT, MIXED, STALE, WRONG, LOST = "right", "mixed", "stale", "wrong", "lost"
"""Words for answers; one that is refused has its status for a word, such as ``503``, and ``lost`` is none at all."""
ANEW = 150
"""Requests after which a caller connects anew, so that all workers have their share."""


@dataclass
class Stages:
    """What has been published, and what is about to be: one element for each publish, from when it was begun."""

    begun: list[Stage]
    done: int = 0
    """The number of the last one that has ended."""

    def begin(self, stage: Stage) -> None:
        self.begun.append(stage)

    def end(self) -> None:
        self.done = len(self.begun) - 1


@dataclass
class Seen:
    """What callers saw: words of answers, when each request was due and the seconds from then, and the first things that
    were wrong."""

    words: Counter[str] = field(default_factory=Counter)
    dues: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    stages: Counter[int] = field(default_factory=Counter)
    last_bad: float = 0.0
    """When the last answer that is not right had been due."""


class Load:
    """Callers, each with a connection of its own, that keep to a schedule whatever the server does: time that a request
    spends waiting for its caller counts."""

    def __init__(
        self,
        url: str,
        pulse: Pulse,
        stages: Stages,
        *,
        rate: float,
        callers: int = 6,
        rows: tuple[int, ...] = (1, 1, 5, 20),
    ) -> None:
        self.url = url
        self.pulse = pulse
        self.stages = stages
        self.sizes = rows
        self.seen = Seen()
        self._pause = callers / rate
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number, callers)) for number in range(callers)]

    def __enter__(self) -> Load:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self.took = time.monotonic() - self._began

    @property
    def total(self) -> int:
        """Requests that have ended."""
        return len(self.seen.seconds)

    def _call(self, number: int, callers: int) -> None:
        chance = random.Random(number)
        connection: Connection | None = None
        due = self._began + number * self._pause / callers
        asked = 0
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            try:
                if connection is None:
                    connection = Connection(self.url)
                word, shown = self._ask(connection, chance)
            except (Closed, OSError) as error:
                word, shown = LOST, repr(error)
            asked += 1
            if connection is not None and (word == LOST or asked % ANEW == 0):
                connection.close()
                connection = None
            self._note(due, word, shown)
            due += self._pause
        if connection is not None:
            connection.close()

    def _note(self, due: float, word: str, shown: str) -> None:
        took = time.monotonic() - due
        with self._lock:
            seen = self.seen
            seen.dues.append(due)
            seen.seconds.append(took)
            seen.words[word] += 1
            if word != RIGHT:
                seen.last_bad = max(seen.last_bad, due)
                if seen.words[word] <= 3:
                    seen.examples.append(f"{word}: {shown}")

    def _ask(self, connection: Connection, chance: random.Random) -> tuple[str, str]:
        keys = [chance.randrange(self.pulse.users + self.pulse.users // 20) for _ in range(chance.choice(self.sizes))]
        body: dict[str, Any] = {"entity_rows": [{"k": k} for k in keys]}
        path = "/feature-sets/both"
        if chance.random() < 0.5:
            path, body["features"] = "/features/online", ["left", "right"]
        at = None
        if chance.random() < 0.7:
            at = _now() + timedelta(seconds=chance.randrange(7200), microseconds=500)
            body["at"] = at.isoformat()
        first, before = self.stages.done, _now()
        connection.send(request("POST", path, json.dumps(body).encode()))
        answer = connection.answer("POST")
        possible = range(first, len(self.stages.begun))
        return self._judged(answer, keys, (before, _now()) if at is None else (at,), possible)

    def _judged(
        self, answer: Answer, keys: list[int], instants: tuple[datetime, ...], possible: range
    ) -> tuple[str, str]:
        if answer.status != 200:
            usable = answer.status != 503 or answer.headers.get("retry-after") == "1"
            return str(answer.status) if usable and set(answer.json()) == {"error"} else WRONG, str(answer)
        rows = answer.json()["rows"]
        shown = f"{rows} at {instants}, published: {self.stages.begun}, possible: {possible}"
        for number in possible:
            if self._fits(number, rows, keys, instants):
                self.seen.stages[number] += 1
                return RIGHT, ""
        if any(self._fits(number, rows, keys, instants) for number in range(len(self.stages.begun))):
            return STALE, shown
        values = {(k, item) for row, k in zip(rows, keys, strict=True) for item in row.items()}
        return MIXED if values <= self._published(keys, instants) else WRONG, shown

    def _published(self, keys: list[int], instants: tuple[datetime, ...]) -> set[Any]:
        """Every value that is right for one of the stages."""
        ways = [(stage, k, at) for stage in self.stages.begun for k in keys for at in instants]
        return {(k, item) for stage, k, at in ways for item in self.pulse.row(stage, k, at).items()}

    def _fits(self, number: int, rows: list[Any], keys: list[int], instants: tuple[datetime, ...]) -> bool:
        stage = self.stages.begun[number]
        return any(self.pulse.rows(stage, keys, at) == rows for at in instants)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
