"""Selectors in dbt's notation."""

from __future__ import annotations

import pytest

from mlforge.errors import UsageError
from mlforge.plan.selectors import Selectable, select

FEATURES = {
    "tx": Selectable(path="features/users/tx.sql", entity="user", tags=("daily", "users"), sources=("transactions",)),
    "risk": Selectable(path="features/merchants/risk.sql", entity="merchant", sources=("chargebacks",)),
    "trend": Selectable(path="features/users/trend.sql", entity="user", tags=("users",), refs=("tx",)),
    "score": Selectable(path="features/score.sql", entity="user", tags=("daily",), refs=("trend", "risk")),
    "final": Selectable(path="features/final.py", entity="user", refs=("score",)),
}

CASES = [
    (["tx"], "tx"),
    (["tx", "risk"], "tx risk"),
    (["tx risk"], "tx risk"),
    (["+score"], "tx risk trend score"),
    (["1+score"], "risk trend score"),
    (["2+final"], "final score trend risk"),
    (["tx+"], "tx trend score final"),
    (["tx+1"], "tx trend"),
    (["+trend+"], "tx trend score final"),
    (["1+trend+1"], "tx trend score"),
    (["tag:daily"], "tx score"),
    (["tag:daily,tag:users"], "tx"),
    (["tag:users,risk"], ""),
    (["+tag:daily"], "tx trend risk score"),
    (["entity:merchant"], "risk"),
    (["entity:merchant+"], "risk score final"),
    (["source:transactions"], "tx"),
    (["source:transactions+,entity:user,tag:users"], "tx trend"),
    (["path:features/users"], "tx trend"),
    (["path:features/users/"], "tx trend"),
    (["path:./features/users/tx.sql"], "tx"),
    (["path:features/*.sql"], "tx risk trend score"),
    (["features/merchants"], "risk"),
    (["t*"], "tx trend"),
    (["*"], "tx risk trend score final"),
    (["t*,+score"], "tx trend"),
    (["*k final"], "risk final"),
    (["state:changed"], "trend"),
    (["state:changed+"], "trend score final"),
    (["+state:changed"], "tx trend"),
]


@pytest.mark.parametrize(("selectors", "expected"), CASES)
def test_select(selectors: list[str], expected: str) -> None:
    assert select(FEATURES, select=selectors, changed=frozenset({"trend"})) == set(expected.split())


@pytest.mark.parametrize(("selectors", "expected"), CASES)
def test_exclude_takes_away_the_same(selectors: list[str], expected: str) -> None:
    found = select(FEATURES, exclude=selectors, changed=frozenset({"trend"}))
    assert found == FEATURES.keys() - set(expected.split())


def test_all_without_a_selector() -> None:
    assert select(FEATURES) == FEATURES.keys()


def test_names_tags_and_selectors_are_a_union() -> None:
    assert select(FEATURES, names=["risk"], tags=["users"], select=["1+final"]) == {
        "risk",
        "tx",
        "trend",
        "score",
        "final",
    }
    assert select(FEATURES, tags=["daily"], exclude=["score"]) == {"tx"}


def test_nothing_changed_selects_nothing() -> None:
    assert select(FEATURES, select=["state:changed"]) == frozenset()


def test_the_state_is_asked_for_only_where_a_selector_needs_it() -> None:
    asked = []

    def changed() -> frozenset[str]:
        asked.append(1)
        return frozenset({"tx"})

    assert select(FEATURES, select=["risk"], changed=changed) == {"risk"}
    assert not asked
    assert select(FEATURES, select=["state:changed"], changed=changed) == {"tx"}


def test_a_ref_to_what_the_project_lacks_is_passed_over() -> None:
    features = {"a": Selectable(path="a.sql", entity="e", refs=("gone",))}
    assert select(features, select=["+a+"]) == {"a"}


SCHEDULED = {
    "now": Selectable(path="a.sql", entity="e", tags=("realtime", "x")),
    "hours": Selectable(path="b.sql", entity="e", tags=("hourly", "daily")),
    "days": Selectable(path="c.sql", entity="e", tags=("daily",), refs=("none",)),
    "asked": Selectable(path="d.sql", entity="e", tags=("on-demand",)),
    "none": Selectable(path="e.sql", entity="e", tags=("x", "Daily", "day")),
}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"schedule": ["daily"]}, "hours days"),
        ({"schedule": ["daily", "realtime"]}, "hours days now"),
        ({"schedule": ["on-demand"]}, "asked"),
        ({"schedule": ["weekly"]}, ""),
        ({"schedule": ["daily"], "tags": ["x"]}, ""),
        ({"schedule": ["daily"], "names": ["days", "none"]}, "days"),
        ({"schedule": ["daily"], "select": ["path:b.sql", "none+"]}, "hours days"),
        ({"schedule": ["daily"], "exclude": ["days"]}, "hours"),
        ({"schedule": []}, "now hours days asked none"),
    ],
)
def test_a_schedule_narrows_what_is_selected(call: dict[str, list[str]], expected: str) -> None:
    assert select(SCHEDULED, **call) == set(expected.split())  # type: ignore[arg-type]


ERRORS = [
    ({"schedule": ["dayly"]}, "there is no schedule 'dayly'", "did you mean 'daily'?"),
    (
        {"schedule": ["daily", "x"]},
        "there is no schedule 'x'",
        "known: daily, hourly, monthly, on-demand, realtime, weekly",
    ),
    ({"names": ["tsx"]}, "unknown feature 'tsx'", "did you mean 'tx'?"),
    ({"names": ["t*"]}, "unknown feature 't*'", "known: final, risk, score, trend, tx"),
    ({"tags": ["dayly"]}, "no feature matches tag:dayly", "did you mean 'daily'?"),
    ({"select": ["rsk"]}, "unknown feature 'rsk'", "did you mean 'risk'?"),
    ({"exclude": ["rsk"]}, "unknown feature 'rsk'", "did you mean 'risk'?"),
    ({"select": ["+scor+"]}, "unknown feature 'scor'", "did you mean 'score'?"),
    ({"select": ["tags:daily"]}, "unknown selector 'tags:'", "did you mean 'tag'?"),
    ({"select": ["state:modified"]}, "unknown selector 'state:modified'", "the one state is state:changed"),
    ({"select": ["path:models"]}, "no feature matches path:models", None),
    ({"select": ["entity:usr"]}, "no feature matches entity:usr", "did you mean 'user'?"),
    ({"select": ["source:zzz"]}, "no feature matches source:zzz", "known: chargebacks, transactions"),
    ({"select": ["a++b"]}, "cannot read the selector 'a++b'", None),
    ({"select": ["tx,"]}, "cannot read the selector 'tx,'", None),
    ({"select": ["+"]}, "cannot read the selector '+'", None),
]


@pytest.mark.parametrize(("call", "message", "hint"), ERRORS)
def test_errors(call: dict[str, list[str]], message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        select(FEATURES, **call)  # type: ignore[arg-type]
    assert caught.value.message == message
    assert caught.value.exit_code == 2
    assert caught.value.hint if hint is None else caught.value.hint == hint


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_selector_is_no_selector_for_everything(empty: str) -> None:
    assert select(FEATURES, select=[empty]) == frozenset()
