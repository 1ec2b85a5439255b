"""``--schedule``: features by their tags, in every command that selects features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.running import Said, mlforge
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

TEXT = '{{{{ config(entity="user", timestamp="t", tags={tags}) }}}}\nSELECT k, t, x AS {name} FROM {origin}\n'


@pytest.fixture
def small(tmp_path: Path) -> Small:
    made = Small(tmp_path)
    made.rows("1, '2024-01-01', 5")
    for name, tags in (("hours", ["hourly"]), ("days", ["daily", "core"]), ("never", ["core"]), ("plain", [])):
        made.feature(name, TEXT.format(tags=tags, name=name, origin='{{ source("ev") }}'))
    reads = "SELECT k, t, never AS later FROM {{ ref('never') }}"
    made.feature("later", f'{{{{ config(entity="user", timestamp="t", tags=["weekly"]) }}}}\n{reads}\n')
    return made


def run(small: Small, *arguments: str, code: int = 0) -> Said:
    return mlforge("-C", small.root, *arguments, code=code)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["daily"], ["days"]),
        (["daily,hourly"], ["days", "hours"]),
        (["daily", "--schedule", "hourly"], ["days", "hours"]),
        (["monthly"], []),
        (["hourly,daily", "--tags", "core"], ["days"]),
    ],
)
def test_plan_and_validate_look_at_the_same_features(small: Small, given: list[str], expected: list[str]) -> None:
    planned = run(small, "plan", "--json", "--schedule", *given).json
    assert [s["feature"] for s in planned["steps"]] == expected
    validated = run(small, "validate", "--json", "--schedule", *given).json
    assert [v["feature"] for v in validated] == expected


def test_build_leaves_the_others_alone(small: Small) -> None:
    run(small, "build", "--schedule", "daily")
    assert small.sql("SELECT feature FROM mlforge.features") == [("days",)]
    run(small, "build", "--schedule", "weekly")
    assert small.sql("SELECT feature FROM mlforge.features ORDER BY 1") == [("days",), ("later",), ("never",)]
    small.rows("1, '2024-01-01', 5", "2, '2024-01-02', 6")
    run(small, "build", "--schedule", "weekly")
    assert [v for _, v in small.sql("SELECT feature, version FROM mlforge.versions WHERE feature = 'never'")] == [
        "1.0.0"
    ]


def test_list_goes_by_the_tags_that_the_files_have_now(small: Small) -> None:
    run(small, "build", "--features", "days,hours")
    small.feature("hours", TEXT.format(tags=["daily"], name="hours", origin='{{ source("ev") }}'))
    small.feature("gone", "{{ config(entity='user') }} SELECT no such thing")
    listed = run(small, "list", "features", "--schedule", "daily,weekly", "--json").json
    assert sorted(row["feature"] for row in listed) == ["days", "hours", "later"]
    bare = mlforge("-C", small.catalog, "list", "--schedule", "hourly", "--json").json
    assert [row["feature"] for row in bare] == ["hours"]


@pytest.mark.parametrize("command", ["plan", "build", "validate", "list"])
def test_an_unknown_word_is_wrong_usage(small: Small, command: str) -> None:
    said = run(small, command, "--schedule", "daily,houry", code=2)
    assert "there is no schedule 'houry'" in said.err
    assert "did you mean 'hourly'?" in said.err


def test_only_features_have_a_schedule(small: Small) -> None:
    assert "only features have a schedule" in run(small, "list", "tags", "--schedule", "daily", code=2).err
