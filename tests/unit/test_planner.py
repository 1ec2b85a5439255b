"""Plans: the next version of every feature, the order, and the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from mlforge.errors import FeatureError
from mlforge.model import CatalogState, Check, Column, Duration, FileState, Key, RefJoin, SourceState, Version
from mlforge.plan.graph import complete, downstream, order
from tests.unit.plan_values import ITEMS, built, candidate, definition, graph, plan, ref, state, stored

if TYPE_CHECKING:
    from mlforge.model import Candidate, Definition

F, G, H = (candidate(definition(name)) for name in "fgh")
CHAIN = graph(h="g", g="f", f="")
ALL = {"f": F, "g": G, "h": H}


def chain(**candidates: Any) -> CatalogState:
    """The catalog after f <- g <- h was built."""
    return built(plan({**ALL, **candidates}, CatalogState(), "fgh", graph=CHAIN))


def shown(made: Any) -> list[tuple[str, str, str]]:
    return [(s.feature, s.action, str(s.version_to)) for s in made.steps]


def test_new_features_come_in_dependency_order() -> None:
    made = plan(ALL, CatalogState(), "fgh", graph=CHAIN)
    assert shown(made) == [("f", "create", "1.0.0"), ("g", "create", "1.0.0"), ("h", "create", "1.0.0")]
    assert [s.dependents for s in made.steps] == [("h", "g"), ("h",), ()]
    assert [s.upstream for s in made.steps] == [{}, {"f": Version(1, 0, 0)}, {"g": Version(1, 0, 0)}]
    assert made.step("g").candidate.definition.refs == {"f": "1.0"}  # type: ignore[union-attr]
    assert made.summary() == "3 new"
    assert [c.change for c in made.steps[0].columns] == ["added", "added"]


def test_nothing_changed() -> None:
    made = plan(ALL, chain(), "fgh", graph=CHAIN)
    assert made.nothing_to_do
    assert [(s.action, s.reasons) for s in made.steps] == [("none", ())] * 3
    assert made.summary() == "3 unchanged"


EDITS = {
    "minor": (definition(items={**ITEMS, "c": "z"}), "minor", "1.1.0", True),
    "major": (definition(where="other"), "major", "2.0.0", True),
    "patch": (None, "patch", "1.0.1", False),
}


@pytest.mark.parametrize(("made", "action", "version", "table"), EDITS.values(), ids=EDITS.keys())
def test_bumps(made: Any, action: str, version: str, table: bool) -> None:
    new = candidate(made) if made else candidate(data="2")
    (step,) = plan({"f": new}, state(stored(F)), "f", graph=graph(f="")).steps
    assert (step.action, str(step.version_to), step.current_to) == (action, version, step.version_to)
    assert (step.builds, step.new_table, step.version_from) == (True, table, Version(1, 0, 0))


def test_the_newest_version_is_what_counts() -> None:
    """Back to the definition of 1.0.0: a new MAJOR, never 1.0.0 again."""
    changed = candidate(definition(where="other"))
    once = built(plan({"f": changed}, state(stored(F)), "f", graph=graph(f="")), state(stored(F)))
    (step,) = plan({"f": F}, once, "f", graph=graph(f="")).steps
    assert (step.action, str(step.version_to)) == ("major", "3.0.0")


def test_force_makes_a_patch_of_what_is_unchanged() -> None:
    made = plan(ALL, chain(), ["f"], graph=CHAIN, force=True)
    assert [(s.feature, s.action, s.reasons) for s in made.steps] == [("f", "patch", ("forced",))]
    assert made.notes == ("g reads f and is not selected: it keeps the data it has",)


def test_a_change_upstream_reaches_its_readers() -> None:
    made = plan({**ALL, "f": candidate(definition(where="other"))}, chain(), "fgh", graph=CHAIN)
    assert shown(made) == [("f", "major", "2.0.0"), ("g", "major", "2.0.0"), ("h", "major", "2.0.0")]
    assert [s.reasons[0] for s in made.steps] == [
        "event relation changed: every column",
        "upstream feature f: 1.0 -> 2.0",
        "upstream feature g: 1.0 -> 2.0",
    ]


def test_new_data_upstream_reaches_its_readers() -> None:
    made = plan({**ALL, "f": candidate(data="2")}, chain(), "fgh", graph=CHAIN)
    assert shown(made) == [("f", "patch", "1.0.1"), ("g", "patch", "1.0.1"), ("h", "patch", "1.0.1")]
    assert [s.reasons for s in made.steps] == [
        ("source tx: rows changed",),
        ("rebuilt because f has new data",),
        ("rebuilt because g has new data",),
    ]


def test_new_data_upstream_of_an_earlier_build_is_not_forgotten() -> None:
    newer = {**ALL, "f": candidate(data="2")}
    after = built(plan(newer, chain(), ["f"], graph=CHAIN), chain())
    made = plan(newer, after, "fgh", graph=CHAIN)
    assert [(s.feature, s.action) for s in made.steps] == [("f", "none"), ("g", "patch"), ("h", "patch")]
    again = plan(newer, built(made, after), "fgh", graph=CHAIN)
    assert again.nothing_to_do


def test_on_demand_readers_name_the_full_version() -> None:
    compiled = replace(G.compiled, refs=(RefJoin(alias="r", feature="f", version="?"),))
    reader = replace(G, compiled=compiled)
    made = plan({"f": candidate(data="2"), "g": reader, "h": H}, chain(g=reader), "fgh", graph=CHAIN)
    assert made.steps[1].candidate.compiled.refs[0].version == "1.0.1"


def test_what_is_read_and_not_built_is_added() -> None:
    made = plan(ALL, CatalogState(), ["h"], graph=CHAIN)
    assert [(s.feature, s.reasons) for s in made.steps] == [
        ("f", ("new feature", "needed by g")),
        ("g", ("new feature", "needed by h")),
        ("h", ("new feature",)),
    ]
    assert [s.feature for s in plan(ALL, chain(), ["h"], graph=CHAIN).steps] == ["h"]
    assert complete(["h"], CHAIN, CatalogState()) == {"h": "", "g": "needed by h", "f": "needed by g"}


def test_pinned_refs_stay_where_they_are() -> None:
    reads = graph(g="f@1", f="")
    before = built(plan({"f": F, "g": G}, CatalogState(), "fg", graph=reads))
    made = plan({"f": candidate(definition(where="other")), "g": G}, before, "fg", graph=reads)
    assert [(s.feature, s.action) for s in made.steps] == [("f", "major"), ("g", "none")]
    assert made.steps[1].upstream == {"f": Version(1, 0, 0)}


def test_a_ref_to_a_version_that_does_not_exist() -> None:
    with pytest.raises(FeatureError) as caught:
        plan({"f": F, "g": G}, state(stored(F, "1.0.0", "1.1.0")), "fg", graph=graph(g="f@3", f=""))
    assert caught.value.message == "g reads f@3, and there is no such version"
    assert str(caught.value.where) == "features/g.sql"
    assert caught.value.hint == "versions of f: 1.0.0, 1.1.0"


@pytest.mark.parametrize(
    ("refs", "path", "file"),
    [
        ({"a": "b", "b": "a"}, "a -> b -> a", "a"),
        ({"a": "a"}, "a -> a", "a"),
        ({"x": "a", "a": "b", "b": "c", "c": "a"}, "a -> b -> c -> a", "a"),
        ({"ok": "", "a": "ok b", "b": "ok a"}, "a -> b -> a", "a"),
    ],
)
def test_cycles_name_their_path(refs: dict[str, str], path: str, file: str) -> None:
    features = {name: candidate(definition(name)) for name in refs}
    with pytest.raises(FeatureError) as caught:
        plan(features, CatalogState(), list(refs), graph=graph(**refs))
    assert caught.value.message == f"ref() goes in a circle: {path}"
    assert str(caught.value.where) == f"features/{file}.sql"


def test_a_diamond_is_no_cycle() -> None:
    diamond = graph(d="b c", b="a", c="a", a="")
    assert order(diamond) == ("a", "b", "c", "d")
    assert downstream("a", diamond) == ("d", "b", "c")


def files(**digests: str) -> SourceState:
    made = tuple(FileState(path=p, size=1, mtime_ns=1, digest=d) for p, d in digests.items())
    return SourceState(digest=str(digests), files=made)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (files(a="1"), files(a="1", b="1"), "source tx: 1 file added"),
        (files(a="1"), files(a="2", b="1", c="1"), "source tx: 2 files added, 1 changed"),
        (files(a="1", b="1"), files(a="2"), "source tx: 1 file changed, 1 removed"),
        (SourceState(digest="1", rows=10), SourceState(digest="2", rows=12), "source tx: 10 rows -> 12 rows"),
        (SourceState(digest="1", rows=10), SourceState(digest="2", rows=10), "source tx: rows changed"),
        (SourceState(digest="1"), SourceState(digest="2"), "source tx: rows changed"),
    ],
)
def test_reasons_of_new_data(old: SourceState, new: SourceState, reason: str) -> None:
    before, after = (replace(F, source_states={"tx": s}) for s in (old, new))
    (step,) = plan({"f": after}, state(stored(before)), "f", graph=graph(f="")).steps
    assert (step.action, step.reasons) == ("patch", (reason,))


def test_touched_files_build_nothing() -> None:
    touched = FileState(path="a", size=1, mtime_ns=99, digest="1")
    before = replace(F, source_states={"tx": SourceState(digest="same", files=(replace(touched, mtime_ns=1),))})
    after = replace(F, source_states={"tx": SourceState(digest="same", files=(touched,))})
    assert plan({"f": after}, state(stored(before)), "f", graph=graph(f="")).nothing_to_do


METADATA = [
    (candidate(description="new"), "description changed"),
    (candidate(tags=("daily",)), "tags changed"),
    (candidate(owner="risk"), "owner changed"),
    (candidate(plausible=("future",)), "plausible changed"),
    (candidate(validators=(Check(name="not_null", column="a"),)), "validators changed"),
    (candidate(columns={"a": "text"}), "columns changed"),
    (candidate(path="features/users/f.sql"), "file features/f.sql -> features/users/f.sql"),
    (replace(F, sql="-- note\n" + F.sql), "text of the SQL changed, not its meaning"),
]


@pytest.mark.parametrize(("new", "reason"), METADATA, ids=[reason for _, reason in METADATA])
def test_metadata_builds_nothing(new: Any, reason: str) -> None:
    made = plan({"f": new}, state(stored(F)), "f", graph=graph(f=""))
    (step,) = made.steps
    assert (step.action, step.reasons, step.version_to) == ("metadata", (reason,), Version(1, 0, 0))
    assert (made.nothing_to_do, made.builds, made.summary()) == (False, (), "1 metadata only")


def test_a_held_feature_records_versions_and_does_not_move() -> None:
    held = state(stored(F, "1.0.0", "1.0.1", current="1.0.0", held=True))
    (step,) = plan({"f": candidate(data="2")}, held, "f", graph=graph(f="")).steps
    assert (str(step.version_to), str(step.current_to), step.held) == ("1.0.2", "1.0.0", True)
    assert step.reasons[-1] == "held at 1.0.0: 1.0.2 is recorded, current does not move without --release"


def test_release_moves_a_held_feature_even_if_nothing_changed() -> None:
    held = state(stored(F, "1.0.0", "1.0.1", current="1.0.0", held=True))
    (step,) = plan({"f": F}, held, "f", graph=graph(f=""), release=True).steps
    assert (step.action, str(step.current_to), step.held) == ("release", "1.0.1", False)
    assert step.reasons == ("released: current moves from 1.0.0 to 1.0.1",)
    (step,) = plan({"f": candidate(data="2")}, held, "f", graph=graph(f=""), release=True).steps
    assert (step.action, str(step.current_to), step.held) == ("patch", "1.0.2", False)


def test_without_release_a_held_feature_stays() -> None:
    held = state(stored(F, "1.0.0", "1.0.1", current="1.0.0", held=True))
    made = plan({"f": F}, held, "f", graph=graph(f=""))
    assert (made.nothing_to_do, made.steps[0].current_to, made.steps[0].held) == (True, Version(1, 0, 0), True)


def test_readers_of_a_held_feature_read_its_current_version() -> None:
    before = chain()
    features = dict(before.features)
    features["f"] = replace(features["f"], held=True)
    made = plan(
        {**ALL, "f": candidate(definition(where="other"))}, replace(before, features=features), "fgh", graph=CHAIN
    )
    assert [(s.feature, s.action) for s in made.steps] == [("f", "major"), ("g", "none"), ("h", "none")]


@pytest.mark.parametrize(
    ("new", "rows"),
    [
        (definition(items={**ITEMS, "c": "z"}), ["c  -  BIGINT  added"]),
        (definition(items={"a": "x"}), ["b  BIGINT  -  removed"]),
        (definition(items={"a": "x", "d": "SUM(y) OVER last_7d"}), ["b  BIGINT  -  removed", "d  -  BIGINT  added"]),
        (
            definition(columns=(Column(name="a", type="DOUBLE"), Column(name="b", type="BIGINT"))),
            ["a  BIGINT  DOUBLE  another type"],
        ),
        (definition(keys=(Key("user_id", "BIGINT"),)), ["user_id  VARCHAR  BIGINT  another type"]),
        (definition(timestamp="seen_at"), ["at  TIMESTAMP  -  removed", "seen_at  -  TIMESTAMP  added"]),
    ],
    ids=["added", "removed", "renamed", "type", "key", "timestamp"],
)
def test_a_contract_stops_other_names_and_types(new: Definition, rows: list[str]) -> None:
    with pytest.raises(FeatureError) as caught:
        plan({"f": candidate(new, contract=True)}, state(stored(F)), "f", graph=graph(f=""))
    first, heads, *table, kept = caught.value.message.splitlines()
    assert first == "f has contract=true, and its columns would not be those of 1.0.0:"
    assert heads.split() == ["column", "pinned", "would", "be"]
    assert [row.split() for row in table] == [row.split() for row in rows]
    assert kept.endswith("as pinned")
    assert str(caught.value.where) == "features/f.sql"
    assert plan({"f": candidate(new)}, state(stored(F)), "f", graph=graph(f="")).steps[0].action in ("minor", "major")


@pytest.mark.parametrize(
    ("new", "action"),
    [
        (candidate(data="2", contract=True), "patch"),
        (candidate(definition(items={"a": "x", "b": "SUM(y) OVER last_8d"}), contract=True), "major"),
        (candidate(definition(where="not ok"), contract=True), "major"),
        (candidate(definition(items={"b": ITEMS["b"], "A": "x"}), contract=True), "metadata"),
    ],
    ids=["data", "meaning", "relation", "order and case"],
)
def test_a_contract_pins_names_and_types_only(new: Candidate, action: str) -> None:
    assert plan({"f": new}, state(stored(F)), "f", graph=graph(f="")).steps[0].action == action


def test_removed_features_are_shown() -> None:
    made = plan({"f": F}, state(stored(F), stored(G)), "f", graph=graph(f=""))
    assert (made.removed, made.nothing_to_do) == (("g",), True)


def test_warnings_are_those_of_the_selected() -> None:
    made = plan(
        {"f": replace(F, warnings=("two timed sources",)), "g": replace(G, warnings=("x",))},
        state(stored(F), stored(G)),
        "f",
        graph=graph(f="", g=""),
    )
    assert made.warnings == (("f", "two timed sources"),)


def test_a_plan_is_a_value() -> None:
    """Equal inputs, equal plans; and every setting of time reaches the reasons."""
    assert plan(ALL, CatalogState(), "fgh", graph=CHAIN) == plan(ALL, CatalogState(), "fgh", graph=CHAIN)
    new = candidate(definition(delay=Duration(1, "h"), closed="right"))
    (step,) = plan({"f": new}, state(stored(F)), "f", graph=graph(f="")).steps
    assert step.reasons == ("closed left -> right", "delay 0s -> 1h")


def test_a_selected_feature_that_was_not_compiled() -> None:
    with pytest.raises(FeatureError, match="feature f is needed by g, and was not compiled"):
        plan({"g": G}, CatalogState(), "g", graph={"g": (ref("f"),), "f": ()})
