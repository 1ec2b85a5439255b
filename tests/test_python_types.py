"""Rows of a Python feature whose types do not fit: it fails alone, with what reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.errors import FeatureError, ProjectError
from tests.small import CONFIG, Small

if TYPE_CHECKING:
    from pathlib import Path

BAD = {
    "int128": ("import polars as pl", "pl.DataFrame({'k': [1], 'v': [1]}).cast({'v': pl.Int128})", "cannot be read: Invalid"),
    "decimal256": ("import pyarrow as pa", "pa.table({'k': [1], 'v': pa.nulls(1, pa.decimal256(60))})", "cannot read Arrow's decimal256"),
    "half": ("import pyarrow as pa", "pa.table({'k': [1], 'v': pa.nulls(1, pa.float16())})", "cannot read Arrow's halffloat"),
    "interval": ("import pyarrow as pa", "pa.table({'k': [1], 'v': pa.nulls(1, pa.duration('s'))})", "type INTERVAL"),
    "no key": ("import pyarrow as pa", "pa.table({'v': [1]})", "k"),
}  # fmt: skip
READS = """{{ config(entity="user") }}
SELECT e.k, max(b.v) AS top FROM {{ source("ev") }} AS e JOIN {{ ref("bad") }} AS b ON e.k = b.k GROUP BY e.k"""
GOOD = """{{ config(entity="user") }} SELECT k, max(x) AS m FROM {{ source("ev") }} GROUP BY k"""


@pytest.fixture
def small(tmp_path: Path) -> Small:
    made = Small(tmp_path, CONFIG + "feature_sets:\n  both: [good, bad]\n")
    made.feature("good", GOOD)
    made.feature("reads", READS)
    made.rows("1, TIMESTAMP '2024-01-01', 3")
    return made


def bad(small: Small, imported: str, rows: str) -> None:
    text = f"{imported}\nimport mlforge as mlf\n\n\n@mlf.feature(entity='user')\ndef bad():\n    return {rows}\n"
    (small.root / "features/bad.py").write_text(text)


@pytest.mark.parametrize("kind", BAD)
def test_it_fails_alone(small: Small, kind: str) -> None:
    imported, rows, message = BAD[kind]
    bad(small, imported, rows)
    result = small.build()
    found = {f.feature: (f.status, f.error) for f in result.features}
    assert result.failed
    assert found["good"] == ("built", None)
    assert found["bad"][0] == "failed"
    assert message in str(found["bad"][1])
    assert str(found["bad"][1]).startswith("features/bad.py:")
    assert found["reads"] == ("failed", "features/reads.sql: reads bad, which failed")
    assert small.view("good") == [(1, 3)]
    again = small.build()
    assert again.failed, "nothing else is to be done, and it still fails"
    with pytest.raises((FeatureError, ProjectError), match=r"features/bad\.py"):
        small.build("bad")


def test_it_stays_at_its_last_good_version(small: Small) -> None:
    bad(small, "import pyarrow as pa", "pa.table({'k': [1], 'v': [7]})")
    assert small.good() == {"bad": "1.0.0", "good": "1.0.0", "reads": "1.0.0"}
    imported, rows, _ = BAD["half"]
    bad(small, imported, rows)
    small.rows("1, TIMESTAMP '2024-01-01', 4")
    result = small.build()
    assert {f.feature: f.status for f in result.features} == {"good": "built", "bad": "failed", "reads": "failed"}
    assert small.view("good") == [(1, 4)]
    assert small.view("bad") == [(1, 7)]
