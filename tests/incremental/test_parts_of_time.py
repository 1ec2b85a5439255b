"""Builds that look at some times only, and CSV files of which the first says how all are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.plan.increments import Scope
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

FILES = "name: small\nsources:\n  ev: {path: 'data/*.%s'}\nentities:\n  user: {key: k}\n"
CONFIGS = {
    "tiles": '{{ config(entity="user", timestamp="t", interval="1d") }}\nSELECT k, t, SUM(x) OVER last_7d AS y',
    "snapshots": '{{ config(entity="user", timestamp="t", interval="1d") }}\nSELECT k, t, MEDIAN(x) OVER last_7d AS y',
    "exact": '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, SUM(x) OVER last_7d AS y',
    "plain": '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x AS y',
}
NEW_YEAR = 1_704_067_200_000_000  # 2024-01-01


@pytest.mark.parametrize("kind", CONFIGS)
def test_rows_behind_the_last_time_asked_for_come_with_the_next_build(tmp_path: Path, kind: str) -> None:
    def project(name: str) -> Small:
        small = Small(tmp_path / name, FILES % "parquet")
        small.feature("f", CONFIGS[kind] + ' FROM {{ source("ev") }}\n')
        small.write("data/a.parquet", "SELECT 1 AS k, TIMESTAMP '2023-12-30 10:00' AS t, 1 AS x")
        return small

    small, fresh = project("one"), project("two")
    small.good()
    before = small.view("f")
    for one in (small, fresh):
        one.write("data/b.parquet", "SELECT 1 AS k, TIMESTAMP '2024-01-01 10:00' AS t, 2 AS x")
    small.good(scope=Scope(until=NEW_YEAR))
    assert small.view("f") == before
    assert small.good() == {"f": "1.0.2"}
    fresh.good()
    assert small.view("f") == fresh.view("f")
    assert small.good() == {}


@pytest.mark.parametrize(("first", "then"), [("it's", '"a,b"'), ('"a,b"', "it's")])
def test_a_csv_file_changes_nothing_of_how_the_others_are_read(tmp_path: Path, first: str, then: str) -> None:
    """Read at once, an apostrophe in the first makes DuckDB take no quotes for quotes in every file."""

    def project(name: str, word: str) -> Small:
        small = Small(tmp_path / name, FILES % "csv")
        small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, s FROM {{ source("ev") }}\n')
        (small.root / "data/2.csv").write_text('k,t,s\n2,2024-01-02 10:00:00,""\n3,2024-01-02 10:00:00,x\n')
        said(small, word)
        return small

    def said(small: Small, word: str) -> None:
        (small.root / "data/1.csv").write_text(f"k,t,s\n1,2024-01-01 10:00:00,{word}\n")

    small, fresh = project("one", first), project("two", then)
    small.good()
    before = small.view("f")
    said(small, then)
    assert small.good() == {"f": "1.0.1"}
    fresh.good()
    assert small.view("f") == fresh.view("f")
    assert small.view("f")[1:] == before[1:]
