"""Stories: what happens to a project between its builds. A story is a plain value, so that Hypothesis can shrink it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import strategies as st

from tests.incremental.features import TEXTS
from tests.incremental.rows import BAD, FLOATS, INTS, KEYS, ROUGH, SHOPS, WHENS, WORDS, Draft


@dataclass(frozen=True)
class Add:
    """A new file, or rows inserted."""

    drafts: tuple[Draft, ...]


@dataclass(frozen=True)
class Grow:
    """A file with more rows at its end."""

    n: int
    drafts: tuple[Draft, ...]


@dataclass(frozen=True)
class Replace:
    """A file with other rows."""

    n: int
    drafts: tuple[Draft, ...]


@dataclass(frozen=True)
class Change:
    """Another state of one row: corrected, moved to another key or time."""

    n: int
    draft: Draft


@dataclass(frozen=True)
class Remove:
    """One row less."""

    n: int


@dataclass(frozen=True)
class Part:
    """A file that vanishes, gets another name, or only another time."""

    n: int
    how: Literal["drop", "rename", "touch"]


@dataclass(frozen=True)
class Price:
    """A row of source ``side``, new or in place of another."""

    draft: Draft
    rewrite: bool


@dataclass(frozen=True)
class Place:
    """Another state of source ``place``."""

    n: int


@dataclass(frozen=True)
class Define:
    """Another text of a feature: with or without a column, with or without some rows."""

    n: int
    shape: int


@dataclass(frozen=True)
class Rollback:
    """A feature goes back to one of its versions and is held there."""

    n: int
    version: int


@dataclass(frozen=True)
class Release:
    """Every held feature goes on: by the next build, or at once."""

    by_build: bool


@dataclass(frozen=True)
class Gc:
    patches: int


@dataclass(frozen=True)
class Build:
    """A build: of everything, of one feature, by force, twice in a row, of everything anew, of some times anew; or one
    that looks only at times from or until some day on."""

    how: Literal["all", "some", "force", "twice", "whole", "restate", "since", "until"] = "all"
    n: int = 0


@dataclass(frozen=True)
class Kill:
    """A build that is killed after so many hundredths of a usual build's time, and then a whole one."""

    after: int


Step = Any


@dataclass(frozen=True)
class Story:
    kind: str  # of the main source
    features: tuple[str, ...]
    seed: int  # of the first rows
    rough: bool  # floats of any size; sums are then near, not the same bits
    steps: tuple[Step, ...]


def _draft(rough: bool) -> st.SearchStrategy[Draft]:
    return st.builds(
        Draft,
        when=st.sampled_from(WHENS),
        n=st.integers(0, 999),
        k=st.sampled_from(KEYS),
        j=st.sampled_from(SHOPS),
        x=st.sampled_from(ROUGH if rough else FLOATS),
        i=st.sampled_from((*INTS, *INTS, BAD)),
        s=st.sampled_from(WORDS),
    )


def _changes(rough: bool) -> st.SearchStrategy[Step]:
    """What happens to the sources. The first of each weight is the simplest, to which Hypothesis shrinks."""
    draft, some = _draft(rough), st.integers(0, 99)
    drafts = st.lists(draft, min_size=1, max_size=4).map(tuple)
    add = st.builds(Add, drafts)
    return st.one_of(
        add,
        add,
        add,
        st.builds(Grow, some, drafts),
        st.builds(Change, some, draft),
        st.builds(Change, some, draft),
        st.builds(Remove, some),
        st.builds(Replace, some, drafts),
        st.builds(Part, some, st.sampled_from(["touch", "rename", "drop"])),
        st.builds(Price, draft, st.booleans()),
        st.builds(Place, some),
    )


def _deeds() -> st.SearchStrategy[Step]:
    """What is done to the catalog and the project beside builds."""
    some = st.integers(0, 99)
    return st.one_of(
        st.builds(Rollback, some, some),
        st.builds(Release, st.booleans()),
        st.builds(Release, st.booleans()),
        st.builds(Gc, st.integers(0, 2)),
        st.builds(Define, some, st.integers(0, 3)),
    )


def _builds() -> st.SearchStrategy[Step]:
    whole = st.just(Build())
    more = st.builds(
        Build, st.sampled_from(["some", "force", "twice", "whole", "restate", "since", "until"]), st.integers(0, 99)
    )
    return st.one_of(whole, whole, whole, whole, more, st.builds(Kill, st.integers(0, 110)))


@st.composite
def stories(draw: Any, kind: str) -> Story:
    rough = draw(st.integers(0, 5)) == 5
    chance = random.Random(draw(st.integers(0, 99_999)))  # Hypothesis itself prefers the first of a list
    features = chance.sample(sorted(TEXTS), draw(st.integers(2, 3)))
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 4))):
        steps += draw(st.lists(_changes(rough), min_size=1, max_size=3))
        if draw(st.integers(0, 2)) == 2:
            steps.append(draw(_deeds()))
        steps.append(draw(_builds()))
    return Story(kind, tuple(features), chance.randrange(1000), rough, tuple(steps))
