"""``mlforge freshness``: its table, its JSON and its exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.running import Said, mlforge
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
name: small
sources:
  ev: {path: data/ev.parquet, timestamp: t, max_age: 4h, warn_age: 2h}
  old: {path: data/old.parquet, timestamp: t, max_age: 1d}
  any: {path: data/old.parquet, timestamp: t}
entities:
  user: {key: k}
"""
NOW = ("--now", "2024-06-10T12:00")


@pytest.fixture
def small(tmp_path: Path) -> Small:
    made = Small(tmp_path, CONFIG)
    made.rows("1, '2024-06-10 09:00', 5", "1, '2024-06-11', 6", "1, '2024-06-12', 6")
    made.write("data/old.parquet", "SELECT TIMESTAMP '2024-06-07 08:00' AS t")
    text = "SELECT k, t, x FROM {{ source('ev') }}"
    made.feature("f", f'{{{{ config(entity="user", timestamp="t", max_age="1d") }}}}\n{text}\n')
    made.good()
    return made


def run(small: Small, *arguments: str, code: int = 0) -> Said:
    return mlforge("-C", small.root, "freshness", *arguments, code=code)


def test_the_table(small: Small) -> None:
    lines = [" ".join(line.split()) for line in run(small, *NOW, code=1).out.splitlines()]
    assert "source ev warn 3h 4h 2024-06-10 09:00:00 timestamp t" in lines
    assert "source old stale 3d 4h 1d 2024-06-07 08:00:00 timestamp t" in lines
    assert "feature f fresh 3h 1d 2024-06-10 09:00:00 event time" in lines
    assert "note ev: 2 rows lie in the future and do not count" in lines
    assert not any("any" in line for line in lines)
    assert "source any unlimited" in run(small, *NOW, "--all", code=1).flat


def test_only_what_is_stale_or_unknown_fails(small: Small) -> None:
    run(small, "ev", "f", "any", *NOW)
    run(small, "f", "--now", "2024-06-13T00:00:00+02:00")
    run(small, "f", "--now", "2024-06-13T00:01:00", code=1)
    (small.root / "data/old.parquet").unlink()
    assert "unknown old: source 'old': no parquet file at data/old.parquet" in run(small, "old", *NOW, code=1).flat
    run(small, "any", *NOW)


def test_json(small: Small) -> None:
    found = {row["name"]: row for row in run(small, *NOW, "--json", code=1).json}
    assert list(found) == ["ev", "old", "f"]
    assert found["ev"] | {"text": None} == {
        "kind": "source",
        "name": "ev",
        "state": "warn",
        "age": 10800.0,
        "newest": "2024-06-10T09:00:00",
        "basis": "timestamp t",
        "later": 2,
        "max_age": "4h",
        "warn_age": "2h",
        "version": None,
        "built_at": None,
        "text": None,
    }
    assert (found["f"]["version"], found["f"]["state"]) == ("1.0.0", "fresh")


def test_a_bare_catalog_knows_its_features(small: Small) -> None:
    said = mlforge("-C", small.catalog, "freshness", *NOW)
    assert "feature f fresh" in said.flat
    assert "source" not in said.flat


def test_nothing_states_a_limit(small: Small) -> None:
    small.config("name: small\nsources:\n  ev: {path: data/ev.parquet}\nentities:\n  user: {key: k}\n")
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}\n')
    assert "no source and no feature states max_age" in run(small).out


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["evv"], "there is no source or feature 'evv'", "did you mean 'ev'?"),
        (["--now", "noon"], "--now noon is not a time", "2024-03-01T09:00"),
        (["--now", "9999-12-31T23:00-12:00"], "--now 9999-12-31T23:00-12:00 is not a time", "2024-03-01T09:00"),
    ],
)
def test_wrong_usage(small: Small, arguments: list[str], message: str, hint: str) -> None:
    said = run(small, *arguments, code=2)
    assert message in said.err
    assert hint in said.err
