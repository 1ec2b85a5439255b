"""Reads whose head and records come from different moments of a publish, as they may from the nodes of a cluster or the
parts of a batch: whatever the moments, an answer is of the version that the reader knew, or the reader begins anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mlforge.online import Client, open_store
from tests.online.served import Between, Served

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlforge.stores.store import Store

HEAD = b"small/head"
KEYS = range(1, 6)
Moment = dict[bytes, bytes]


class Again(Exception):
    """The reader asks for the head alone: it begins anew."""


class Mixed:
    """What a store held at two moments: the head is read at one, and everything else at another."""

    kind = "mixed"

    def __init__(self, opened: Moment) -> None:
        self.head = self.others = opened
        self.started = False

    def read(self, names: Sequence[bytes]) -> list[bytes | None]:
        if self.started and list(names) == [HEAD]:
            raise Again
        return [(self.head if name == HEAD else self.others).get(name) for name in names]


def test_an_answer_is_of_one_version_whenever_head_and_records_were_read(tmp_path: Path) -> None:
    served = Served(tmp_path / "project", open_store(str(tmp_path / "online.db")))
    moments: list[Moment] = []

    def note() -> None:
        names = [n for part in served.store.scan(b"") for n in part]
        moments.append({n: v for n, v in zip(names, served.store.read(names), strict=True) if v is not None})

    histories = (
        [(1, 10), (2, 20), (3, 30)],
        [(1, 11), (3, 30), (4, 40)],
        [(1, 12), (2, 22), (4, 40)],
        [(2, 23), (5, 5)],
    )
    for rows in histories:
        served.rows_at_noon(*rows)
        served.good()
        served.publish(store=EverySwap(served.store, note))
        note()
    answers = began_anew = 0
    for known, opened in list(enumerate(moments))[::2]:
        if HEAD not in opened:
            continue
        want = answer(Client(cast("Store", Mixed(opened)), "small"))
        for head in moments[known:]:
            for others in moments[known:]:
                store = Mixed(opened)
                client = Client(cast("Store", store), "small")
                assert answer(client) == want
                store.head, store.others, store.started = head, others, True
                try:
                    assert answer(client) == want
                    answers += 1
                except Again:
                    began_anew += 1
    assert answers > 1000
    assert began_anew > 1000
    served.store.close()


def answer(client: Client) -> list[dict[str, Any]]:
    return client.get_online_features(["newest", "spend"], [{"k": k} for k in KEYS], at="2024-03-01T12:30")


class EverySwap(Between):
    """A store that calls ``then`` before each of its swaps, and applies changes one by one."""

    def __init__(self, store: Any, then: Any) -> None:
        super().__init__(store)
        self.each = then

    def swap(self, changes: Sequence[Any]) -> list[bool]:
        done = []
        for change in changes:
            self.each()
            done += self.store.swap([change])
        return done
