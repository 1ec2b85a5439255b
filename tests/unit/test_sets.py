"""Versions of feature sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from mlforge.errors import ProjectError, UsageError
from mlforge.model import CatalogState, FeatureRef, FeatureSet, StoredFeature, StoredSet
from mlforge.plan.sets import SetPlan, plan_sets, written
from mlforge.plan.versions import resolve_pin, resolve_set
from tests.unit.plan_values import ITEMS, candidate, definition, graph, plan, ref, state, stored, stored_version

if TYPE_CHECKING:
    from mlforge.plan.steps import SetStep

F, G = candidate(definition("f")), candidate(definition("g"))
MORE = candidate(definition("f", items={**ITEMS, "c": "z"}, where="other"))


def two_majors(current: str = "2.0.0") -> StoredFeature:
    """f@1 with columns a, b; f@2 with a, b, c."""
    base = stored(F, "1.0.0", "2.0.0", current=current)
    second = stored_version(MORE, base.versions[1].version, 2)
    return replace(base, versions=(base.versions[0], second))


def sets_of(catalog: CatalogState, *entries: str | FeatureRef, upgrade: bool = False) -> SetPlan:
    """Plan of one set, ``s`` at line 7."""
    members = tuple(ref(e) if isinstance(e, str) else e for e in entries)
    made = {"s": FeatureSet(name="s", members=members, line=7)}
    return plan_sets(made, catalog, {}, known={"f", "g", "new"}, upgrade=upgrade)


def after(catalog: CatalogState, *steps: SetStep) -> CatalogState:
    """The catalog with these versions of sets."""
    found = dict(catalog.feature_sets)
    for step in steps:
        made = StoredSet(name=step.name, version=step.version_to, members=step.members, written=step.written)
        found[step.name] = (*found.get(step.name, ()), made)
    return replace(catalog, feature_sets=found)


def resolved(made: SetPlan) -> list[str]:
    return [written(m) for step in made.steps for m in step.members]


def test_a_new_set() -> None:
    made = sets_of(state(two_majors(), stored(G)), "f:a", "g@1")
    (step,) = made.steps
    assert (step.version_from, step.version_to, step.reasons) == (None, 1, ("new feature set",))
    assert resolved(made) == ["f@2:a", "g@1"]
    assert step.written == ("f:a", "g@1")


def test_no_version_where_the_resolved_list_is_the_same() -> None:
    catalog = state(two_majors(), stored(G))
    catalog = after(catalog, *sets_of(catalog, "f", "g").steps)
    assert sets_of(catalog, "f", "g").steps == ()
    assert sets_of(catalog, "f@2", "g@1").steps == ()


CHANGES = [
    (["f", "g", "g:a"], ("g@1:a added",)),
    (["f"], ("g@1 removed",)),
    (["g", "f"], ("order of the entries changed",)),
    (["f@1", "g"], ("f@1 added", "f@2 removed")),
    (["f:a", "g"], ("f@2:a added", "f@2 removed")),
]


@pytest.mark.parametrize(("entries", "reasons"), CHANGES)
def test_a_changed_list_is_a_new_version(entries: list[str], reasons: tuple[str, ...]) -> None:
    catalog = state(two_majors(), stored(G))
    catalog = after(catalog, *sets_of(catalog, "f", "g").steps)
    (step,) = sets_of(catalog, *entries).steps
    assert (step.version_from, step.version_to, step.reasons) == (1, 2, reasons)


def test_an_entry_stays_on_the_major_it_was_written_with() -> None:
    before = state(stored(F))
    before = after(before, *sets_of(before, "f").steps)
    catalog = replace(state(two_majors()), feature_sets=before.feature_sets)
    assert sets_of(catalog, "f").steps == ()
    assert resolved(sets_of(catalog, "f:a")) == ["f@1:a"]
    assert resolved(sets_of(catalog, "f@2")) == ["f@2"]
    assert resolved(sets_of(catalog, "f", upgrade=True)) == ["f@2"]


def test_upgrade_leaves_pins_alone() -> None:
    catalog = state(two_majors())
    catalog = after(catalog, *sets_of(catalog, "f@1").steps)
    assert sets_of(catalog, "f@1", upgrade=True).steps == ()


def test_a_pin_taken_away_stays_on_its_major() -> None:
    catalog = state(two_majors())
    catalog = after(catalog, *sets_of(catalog, "f@1").steps)
    assert sets_of(catalog, "f").steps == ()
    assert resolved(sets_of(catalog, "f", upgrade=True)) == ["f@2"]


def test_the_same_feature_twice_with_other_keys() -> None:
    origin = ref("f", keys={"user_id": "origin"}, prefix="o_")
    dest = ref("f", keys={"user_id": "dest"}, prefix="d_")
    before = state(stored(F))
    before = after(before, *sets_of(before, origin, dest).steps)
    catalog = replace(state(two_majors()), feature_sets=before.feature_sets)
    assert sets_of(catalog, origin, dest).steps == ()
    moved = sets_of(catalog, origin, replace(dest, version=ref("f@2").version))
    assert resolved(moved) == ["f@1 (user_id=origin, prefix o_)", "f@2 (user_id=dest, prefix d_)"]


def test_a_set_follows_the_plan_it_is_part_of() -> None:
    feature_sets = {"s": FeatureSet(name="s", members=(ref("f:c"), ref("g")))}
    made = plan({"f": MORE, "g": G}, state(stored(F)), "fg", graph=graph(f="", g=""), feature_sets=feature_sets)
    assert [written(m) for m in made.sets[0].members] == ["f@2:c", "g@1"]
    assert made.summary() == "1 new, 1 major, 1 feature set"


def test_upgrade_sets_of_a_plan() -> None:
    catalog = state(stored(F))
    catalog = after(catalog, *sets_of(catalog, "f").steps)
    feature_sets = {"s": FeatureSet(name="s", members=(ref("f"),))}
    stays, moves = (
        plan({"f": MORE}, catalog, "f", graph=graph(f=""), feature_sets=feature_sets, upgrade_sets=upgrade)
        for upgrade in (False, True)
    )
    assert stays.sets == ()
    assert [written(m) for m in moves.sets[0].members] == ["f@2"]


def test_a_set_waits_for_features_that_are_not_built() -> None:
    made = sets_of(state(stored(F)), "f", "new")
    assert made == SetPlan((), ("feature set s waits for new, not built yet",))


def test_a_held_feature_enters_with_its_current_major() -> None:
    assert resolved(sets_of(state(replace(two_majors("1.0.0"), held=True)), "f")) == ["f@1"]


ERRORS = [
    (["ff"], "feature set s: unknown feature 'ff'", "did you mean 'f'?"),
    (["f@7"], "feature set s: f has no version 7", "versions of f: 1.0.0, 2.0.0"),
    (["f:aa"], "feature set s: f@2.0 has no column 'aa'", "did you mean 'a'?"),
    (["f@1:c"], "feature set s: f@1.0 has no column 'c'", "it came in MAJOR 2: write f@2, or run with --upgrade-sets"),
    ([ref("f", keys={"userid": "x"})], "feature set s: f@2.0 has no key 'userid'", "did you mean 'user_id'?"),
]


@pytest.mark.parametrize(("entries", "message", "hint"), ERRORS)
def test_errors(entries: list[str | FeatureRef], message: str, hint: str) -> None:
    with pytest.raises(ProjectError) as caught:
        sets_of(state(two_majors()), *entries)
    assert (caught.value.message, caught.value.hint, str(caught.value.where)) == (message, hint, "mlforge.yaml:7")


@pytest.mark.parametrize("name", ["f", "g", "new"])
def test_a_set_is_not_called_like_a_feature(name: str) -> None:
    """The name would mean the set, and no pin of the feature could be written any more."""
    made = {name: FeatureSet(name=name, members=(ref("f"),), line=7)}
    with pytest.raises(ProjectError, match=f"feature set {name}: a feature is called so too") as caught:
        plan_sets(made, state(two_majors()), {}, known={"g", "new"})
    assert str(caught.value.where) == "mlforge.yaml:7"


VERSIONS = stored(F, "1.0.0", "1.0.1", "1.1.0", "2.0.0", "2.0.1", "2.0.10", current="1.0.1", held=True)


@pytest.mark.parametrize(
    ("pin", "version"),
    [
        ("f", "1.0.1"),
        ("f@1", "1.1.0"),
        ("f@1.0", "1.0.1"),
        ("f@1.0.0", "1.0.0"),
        ("f@2", "2.0.10"),
        ("f@2.0.1", "2.0.1"),
    ],
)
def test_pins(pin: str, version: str) -> None:
    assert str(resolve_pin(VERSIONS, ref(pin).version).version) == version


@pytest.mark.parametrize("pin", ["3", "1.2", "2.0.2"])
def test_pins_that_no_version_answers(pin: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_pin(VERSIONS, ref(f"f@{pin}").version)
    assert caught.value.message == f"f has no version {pin}"
    assert caught.value.hint == "versions in the catalog: 1.0.0, 1.0.1, 1.1.0, 2.0.0, 2.0.1, 2.0.10"


def test_references_to_sets() -> None:
    catalog = state(two_majors())
    catalog = after(catalog, *sets_of(catalog, "f@1").steps)
    catalog = after(catalog, *sets_of(catalog, "f@2").steps)
    assert [resolve_set(catalog, name).version for name in ("s", "s@1", "s@2")] == [2, 1, 2]


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        ("ss", "unknown feature set 'ss'", "did you mean 's'?"),
        ("s@2", "feature set s has no version '2'", "versions in the catalog: 1"),
        ("s@", "feature set s has no version ''", "versions in the catalog: 1"),
        ("s@x", "feature set s has no version 'x'", "versions in the catalog: 1"),
    ],
)
def test_references_to_sets_that_do_not_exist(reference: str, message: str, hint: str) -> None:
    catalog = state(two_majors())
    catalog = after(catalog, *sets_of(catalog, "f").steps)
    with pytest.raises(UsageError) as caught:
        resolve_set(catalog, reference)
    assert (caught.value.message, caught.value.hint) == (message, hint)
