"""Version numbers that a plan takes from a manifest."""

from __future__ import annotations

from typing import Any

import pytest

from mlforge.errors import FeatureError
from mlforge.model import CatalogState, FeatureSet, Version
from mlforge.plan.versions import Adopted
from tests.unit.plan_values import ITEMS, candidate, definition, graph, plan, ref, state, stored

F = candidate()
ALONE = graph(f="")
CHANGED = candidate(definition(where="other"))
WIDER = candidate(definition(items={**ITEMS, "c": "z"}))


def adopted(**versions: str) -> Adopted:
    return Adopted(features={name: Version.parse(text) for name, text in versions.items()})


def step(made: Any, before: CatalogState, wanted: str) -> Any:
    (found,) = plan({"f": made}, before, "f", graph=ALONE, adopt=adopted(f=wanted)).steps
    return found


def test_a_new_feature_starts_where_the_manifest_is() -> None:
    found = step(F, CatalogState(), "2.1.3")
    assert (found.action, found.version_to, found.current_to) == ("create", Version(2, 1, 3), Version(2, 1, 3))
    assert found.new_table


@pytest.mark.parametrize(
    ("made", "here", "wanted", "action", "table"),
    [
        (F, "1.0.0", "1.0.4", "patch", False),
        (F, "1.0.0", "1.2.1", "minor", True),
        (F, "1.0.0", "3.0.0", "major", True),
        (WIDER, "1.0.0", "1.2.1", "minor", True),
        (CHANGED, "1.0.0", "2.1.3", "major", True),
    ],
)
def test_a_feature_that_is_here_goes_on_with_the_number_of_the_manifest(
    made: Any, here: str, wanted: str, action: str, table: bool
) -> None:
    found = step(made, state(stored(F, here)), wanted)
    assert (found.action, str(found.version_to), str(found.current_to)) == (action, wanted, wanted)
    assert found.new_table is table
    assert found.reasons[-1] == "numbered as in the manifest"


@pytest.mark.parametrize(
    ("made", "here", "wanted", "instead"),
    [
        (F, "1.0.4", "1.0.4", "1.0.4"),
        (F, "2.0.0", "1.0.4", "2.0.0"),
        (CHANGED, "1.0.0", "1.0.4", "2.0.0"),  # 1.0.x here is another definition
        (WIDER, "1.0.0", "1.0.4", "1.1.0"),
    ],
)
def test_a_number_that_cannot_follow_is_not_taken(made: Any, here: str, wanted: str, instead: str) -> None:
    found = step(made, state(stored(F, here)), wanted)
    assert str(found.version_to) == instead
    assert "numbered as in the manifest" not in found.reasons


def test_a_contract_lets_a_manifest_through_and_nothing_else() -> None:
    pinned = candidate(definition(items={**ITEMS, "c": "z"}), contract=True)
    assert str(step(pinned, state(stored(F)), "1.1.0").version_to) == "1.1.0"
    with pytest.raises(FeatureError, match="contract=true"):
        step(pinned, state(stored(F)), "1.0.0")


def test_readers_read_the_adopted_version() -> None:
    both = {"f": F, "g": candidate(definition("g"))}
    made = plan(both, CatalogState(), "fg", graph=graph(g="f@2", f=""), adopt=adopted(f="2.1.3", g="4.0.0"))
    assert [str(s.version_to) for s in made.steps] == ["2.1.3", "4.0.0"]
    reader = made.step("g")
    assert reader is not None
    assert reader.candidate.definition.refs == {"f": "2.1"}


def test_a_new_feature_set_starts_where_the_manifest_is() -> None:
    sets = {"s": FeatureSet(name="s", members=(ref("f"),))}
    adopt = Adopted(features={"f": Version(2, 1, 3)}, sets={"s": 4})
    (found,) = plan({"f": F}, CatalogState(), "f", graph=ALONE, feature_sets=sets, adopt=adopt).sets
    assert (found.version_to, [str(m) for m in found.members]) == (4, ["f@2"])
