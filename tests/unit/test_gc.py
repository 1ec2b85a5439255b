"""What gc may delete."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mlforge.model import CatalogState, Keep, RefJoin, StoredFeature, StoredSet, Version
from mlforge.plan.unneeded import collect
from tests.unit.plan_values import candidate, definition, ref, state, stored

if TYPE_CHECKING:
    from collections.abc import Collection

OLD, NOW = "2020-01-01T00:00:00", "2024-06-01T00:00:00+00:00"


def feature(*versions: str, name: str = "f", current: str | None = None, young: Collection[str] = ()) -> StoredFeature:
    """Versions made long ago, a build each, but for the young ones, which are a day old."""
    made = stored(candidate(definition(name)), *versions, current=current)
    dated = (replace(v, created_at="2024-05-31T00:00:00" if str(v.version) in young else OLD) for v in made.versions)
    return replace(made, versions=tuple(dated))


def deleted(catalog: CatalogState, named: Collection[str] = (), **keep: int) -> list[str]:
    names = {(n.partition("@")[0], Version.parse(n.partition("@")[2])) for n in named}
    policy = Keep(**({"patches": 1, "days": 30} | keep))
    return [f"{name}@{version}" for name, version in collect(catalog, policy, names, NOW)]


SIX = ("1.0.0", "1.0.1", "1.0.2", "1.1.0", "2.0.0", "2.0.1")


@pytest.mark.parametrize(
    ("made", "keep", "gone"),
    [
        (feature(*SIX), {}, ["f@1.0.0", "f@1.0.1", "f@2.0.0"]),
        (feature(*SIX), {"patches": 2}, ["f@1.0.0"]),
        (feature(*SIX), {"patches": 0}, ["f@1.0.0", "f@1.0.1", "f@1.0.2", "f@1.1.0", "f@2.0.0"]),
        (feature(*SIX), {"patches": 30}, []),
        (feature(*SIX), {"days": 10_000}, []),
        (feature(*SIX, young=["2.0.0", "2.0.1"]), {}, ["f@1.0.0", "f@1.0.1"]),
        (feature(*SIX, young=["2.0.0", "2.0.1"]), {"days": 0}, ["f@1.0.0", "f@1.0.1", "f@2.0.0"]),
        (feature(*SIX, young=["1.0.1"]), {}, ["f@1.0.0"]),  # the clock was set back after it
        (feature(*SIX, young=["1.0.1"]), {"patches": 0}, ["f@1.0.0"]),
        (feature(*SIX, current="1.0.1"), {}, ["f@1.0.0", "f@2.0.0"]),
        (feature(*SIX, current="1.0.1"), {"patches": 0}, ["f@1.0.0", "f@1.0.2", "f@1.1.0", "f@2.0.0"]),
        (feature("1.0.9", "1.0.10"), {}, ["f@1.0.9"]),
    ],
)
def test_policy(made: StoredFeature, keep: dict[str, int], gone: list[str]) -> None:
    assert deleted(state(made), **keep) == gone


def test_what_is_named_stays() -> None:
    assert deleted(state(feature(*SIX)), ["f@1.0.0", "other@1.0.0"]) == ["f@1.0.1", "f@2.0.0"]


@pytest.mark.parametrize(
    ("member", "gone"),
    [("f@1.0.1", ["f@1.0.0"]), ("f@1.0.0", ["f@1.0.1"]), ("f@2", ["f@1.0.0", "f@1.0.1"]), ("x@1", None)],
)
def test_what_a_feature_set_reads_stays(member: str, gone: list[str] | None) -> None:
    sets = {"s": (StoredSet(name="s", version=1, members=(ref(member),), written=(member,)),)}
    catalog = state(feature("1.0.0", "1.0.1", "2.0.0"), feature_sets=sets)
    assert deleted(catalog, patches=0) == (gone if gone is not None else ["f@1.0.0", "f@1.0.1"])


def test_what_an_on_demand_feature_was_built_against_stays() -> None:
    reader = feature("1.0.0", name="g")
    version = reader.versions[0]
    refs = (RefJoin(alias="r", feature="f", version="1.0.0"),)
    reader = replace(reader, versions=(replace(version, compiled=replace(version.compiled, refs=refs)),))
    assert deleted(state(feature("1.0.0", "1.0.1", "1.0.2"), reader)) == ["f@1.0.1"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(-400, 400), min_size=1, max_size=8), st.integers(0, 100))
def test_what_was_built_after_something_young_is_young_whatever_the_clock_said(days: list[int], keep: int) -> None:
    """Builds of two features in turn, at these days after ``NOW``."""
    now = datetime.datetime.fromisoformat(NOW)
    names = [f"1.0.{n}" for n in range(len(days))]
    made = [feature(*names[i::2], name=name) for i, name in enumerate("fg") if names[i::2]]
    dated = [
        replace(
            f,
            versions=tuple(
                replace(
                    v, build=v.version.patch, created_at=(now + datetime.timedelta(days[v.version.patch])).isoformat()
                )
                for v in f.versions
            ),
        )
        for f in made
    ]
    first = next((n for n, day in enumerate(days) if day > -keep), len(days))
    newest = {f"{f.name}@{f.versions[-1].version}" for f in made}
    gone = deleted(state(*dated), patches=0, days=keep)
    assert sorted(gone) == sorted({f"{'fg'[n % 2]}@1.0.{n}" for n in range(first)} - newest)


@pytest.mark.parametrize("created", ["2024-05-02T00:00:01", "2024-05-02T09:00:01+09:00", "2024-05-02 00:00:01Z"])
def test_age_is_counted_in_utc(created: str) -> None:
    made = feature("1.0.0", "1.0.1")
    dated = replace(made, versions=(replace(made.versions[0], created_at=created), made.versions[1]))
    assert deleted(state(dated)) == []
    assert deleted(state(dated), days=29) == ["f@1.0.0"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sets(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 4)), min_size=1),
    st.integers(0, 3),
    st.integers(0, 100),
)
def test_current_newest_and_a_second_run(versions: set[tuple[int, int, int]], patches: int, index: int) -> None:
    """The current and the newest version are never deleted, and after gc there is nothing left to delete."""
    ordered = [str(Version(*v)) for v in sorted(versions)]
    current = ordered[index % len(ordered)]
    made = feature(*ordered, current=current)
    gone = deleted(state(made), patches=patches)
    assert not {f"f@{current}", f"f@{ordered[-1]}"} & set(gone)
    left = replace(made, versions=tuple(v for v in made.versions if f"f@{v.version}" not in gone))
    assert deleted(state(left), patches=patches) == []
