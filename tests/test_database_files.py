"""A project's DuckDB files in whole builds: limits, what dead builds left, sources that are no DuckDB file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from mlforge.errors import ProjectError
from tests.small import CONFIG, Small

if TYPE_CHECKING:
    from pathlib import Path


def test_the_limits_of_the_profile_reach_retrieval(tmp_path: Path) -> None:
    profile = "profiles:\n  dev: {warehouse: {kind: duckdb, path: catalog.duckdb, threads: 1, memory_limit: 300MB}}\n"
    small = Small(tmp_path, f"{CONFIG}default_profile: dev\n{profile}")
    small.rows("1, '2024-01-01', 5")
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}\n')
    small.good()
    labels = "SELECT 1 AS k, TIMESTAMP '2024-01-02' AS label_time, current_setting('threads') AS n, current_setting('memory_limit') AS m"
    assert small.forge.get_training_data("f", labels).to_pylist()[0].items() >= {"n": 1, "m": "286.1 MiB"}.items()
    with small.forge._engine() as warehouse:
        assert warehouse.con.execute(labels).fetchall()[0][2:] == (1, "286.1 MiB")


def test_what_a_killed_build_has_left_is_gone_after_a_build_that_has_nothing_to_do(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 5")
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}\n')
    small.good()
    left = tmp_path / "catalog.duckdb.staging/20240101T000000-0badcafe"
    left.mkdir(parents=True)
    (left / "staging.duckdb").write_bytes(b"rows")
    left.with_name(f"{left.name}.lock").write_text("1")
    assert small.good() == {}
    assert not left.parent.exists()


def test_a_duckdb_source_that_is_something_else_or_nothing(tmp_path: Path) -> None:
    small = Small(tmp_path, CONFIG.replace("data/ev.parquet", "other.duckdb, table: main.ev"))
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}\n')
    other = tmp_path / "other.duckdb"
    for text in (
        f"there is no DuckDB file at {other}",
        f"{other} is not a DuckDB file, or it is damaged: it begins other",
    ):
        with pytest.raises(ProjectError, match=f"source 'ev' cannot be read: {re.escape(text)}") as caught:
            small.build()
        assert str(caught.value.where) == "mlforge.yaml:3"
        other.write_bytes(b"SQLite format 3\0" + bytes(4096))
