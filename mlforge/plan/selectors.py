"""Which features a command is about: names, tags, and graph selectors in dbt's notation."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from msgspec import Struct

from mlforge.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

METHODS = ("tag", "path", "entity", "source", "state")
SCHEDULES = ("realtime", "hourly", "daily", "weekly", "monthly", "on-demand")
"""The tags that ``schedule`` asks for."""


class Selectable(Struct, frozen=True, kw_only=True):
    """What of a feature selectors can ask for."""

    path: str
    entity: str
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()  # features it reads


def select(
    features: Mapping[str, Selectable],
    *,
    names: Iterable[str] = (),
    tags: Iterable[str] = (),
    select: Iterable[str] = (),
    exclude: Iterable[str] = (),
    schedule: Iterable[str] = (),
    changed: frozenset[str] | Callable[[], frozenset[str]] = frozenset(),
) -> frozenset[str]:
    """The features that any of ``names``, ``tags`` and ``select`` names (all, if none is given), less ``exclude``; of
    these those that have a tag of ``schedule``, if that is given, which may be none.

    A selector is ``name``, a pattern with ``*``, ``tag:x``, ``path:features/users``, ``entity:x``, ``source:x`` or
    ``state:changed``; ``+`` before or after it adds what it reads or what reads it, ``2+`` up to two steps away. A
    comma is an intersection, a space a union. ``changed`` is asked only for ``state:changed``. Raises UsageError for
    what cannot be read and for what matches nothing."""
    chooser = _Chooser(features, changed)
    names, wanted = list(names), [f"tag:{tag}" for tag in tags] + list(select)
    for name in names:
        if name not in features:
            raise UsageError(f"unknown feature {name!r}", hint=did_you_mean(name, features))
    chosen = frozenset(names) | chooser.union(wanted) if names or wanted else frozenset(features)
    return on_schedule({name: features[name].tags for name in chosen - chooser.union(exclude)}, schedule)


def on_schedule(tags: Mapping[str, Iterable[str]], schedule: Iterable[str]) -> frozenset[str]:
    """The features (with the tags of each) that have one of these tags; all, if none is given.

    Raises UsageError for a word that is not one of SCHEDULES."""
    wanted = set(schedule)
    for word in sorted(wanted - set(SCHEDULES)):
        raise UsageError(f"there is no schedule {word!r}", hint=did_you_mean(word, SCHEDULES))
    return frozenset(name for name, have in tags.items() if not wanted or not wanted.isdisjoint(have))


_FORMS = "write name, +name, name+, 2+name, tag:x or path:features/x"
_SELECTOR = re.compile(r"(?P<up>(\d+)?\+)?(?P<core>[^+]+?)(?P<down>\+(\d+)?)?")


class _Chooser:
    def __init__(
        self, features: Mapping[str, Selectable], changed: frozenset[str] | Callable[[], frozenset[str]]
    ) -> None:
        self.features = features
        self.changed = changed
        self.upstream = {name: {r for r in f.refs if r in features} for name, f in features.items()}
        self.downstream: dict[str, set[str]] = {name: set() for name in features}
        for name, refs in self.upstream.items():
            for ref in refs:
                self.downstream[ref].add(name)

    def union(self, selectors: Iterable[str]) -> frozenset[str]:
        words = [word for selector in selectors for word in selector.split()]
        return frozenset[str]().union(*(self._intersection(word) for word in words))

    def _intersection(self, word: str) -> frozenset[str]:
        parts = [self._one(part, word) for part in word.split(",")]
        return parts[0].intersection(*parts[1:])

    def _one(self, text: str, word: str) -> frozenset[str]:
        match = _SELECTOR.fullmatch(text)
        if not match:
            raise UsageError(f"cannot read the selector {word!r}", hint=_FORMS)
        found = self._matching(match["core"])
        result = set(found)
        for arrow, edges in ((match["up"], self.upstream), (match["down"], self.downstream)):
            if arrow:
                steps = arrow.strip("+")
                result |= _reach(found, edges, int(steps) if steps else len(self.features))
        return frozenset(result)

    def _matching(self, core: str) -> frozenset[str]:
        method, colon, value = core.partition(":")
        if not colon:
            method, value = ("path" if "/" in core else "name"), core
        elif method not in METHODS:
            raise UsageError(f"unknown selector {method + ':'!r}", hint=did_you_mean(method, METHODS))
        if method == "state":
            return self._state(value)
        found = frozenset(n for n in self.features if any(_fits(value, c, method) for c in self._values(n, method)))
        if not found:
            raise self._nothing(core, method, value)
        return found

    def _values(self, name: str, method: str) -> tuple[str, ...]:
        feature = self.features[name]
        return {
            "name": (name,),
            "tag": feature.tags,
            "path": (feature.path,),
            "entity": (feature.entity,),
            "source": feature.sources,
        }[method]

    def _state(self, value: str) -> frozenset[str]:
        if value != "changed":
            raise UsageError(f"unknown selector 'state:{value}'", hint="the one state is state:changed")
        return self.changed() if callable(self.changed) else self.changed

    def _nothing(self, core: str, method: str, value: str) -> UsageError:
        known = {v for name in self.features for v in self._values(name, method)}
        if method == "name":
            return UsageError(f"unknown feature {value!r}", hint=did_you_mean(value, known))
        return UsageError(f"no feature matches {core}", hint=did_you_mean(value, known))


def _fits(pattern: str, value: str, method: str) -> bool:
    if method == "path":
        pattern = pattern.removeprefix("./").rstrip("/")
        return fnmatchcase(value, pattern) or fnmatchcase(value, f"{pattern}/*")
    return fnmatchcase(value, pattern)


def _reach(start: Iterable[str], edges: Mapping[str, set[str]], steps: int) -> set[str]:
    """What lies up to so many steps along the edges."""
    found: set[str] = set()
    front = set(start)
    for _ in range(steps):
        front = set(_next(front, edges)) - found
        if not front:
            break
        found |= front
    return found


def _next(front: Iterable[str], edges: Mapping[str, set[str]]) -> Iterator[str]:
    for name in front:
        yield from edges[name]
