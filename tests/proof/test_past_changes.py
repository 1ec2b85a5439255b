"""Rows of the past that a later build changes though nothing new was known by then: which are said, and which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.building.options import BuildOptions, Selection
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
name: small
sources:
  ev: {path: data/ev/*.parquet, timestamp: t}
  late: {path: data/ev/*.parquet, timestamp: t, delay: 40d}
entities: {user: {key: k}}
"""
LATEST = "SELECT k, t, x FROM {{ source('ev') }} QUALIFY row_number() OVER (PARTITION BY k ORDER BY t DESC) = 1"
TOTAL = "SELECT k, t, SUM(x) OVER (PARTITION BY k) AS total FROM {{ source('ev') }}"
RECURSIVE = (
    "WITH RECURSIVE r AS (SELECT k, t, x FROM {{ source('ev') }} UNION ALL SELECT k, t, x FROM r WHERE FALSE) "
    "SELECT a.k, a.t, (SELECT SUM(b.x) FROM r b WHERE b.k = a.k)::BIGINT AS s FROM r a"
)
SO_FAR = "SELECT k, t, SUM(x) OVER (PARTITION BY k ORDER BY t) AS total FROM {{ source('ev') }}"
WEEK = "SELECT k, t, SUM(x) OVER last_7d AS total FROM {{ source('ev') }}"
FINAL = "rows do change after their time, so that config(assume_final=true) does not hold"
AHEAD = "what is computed for a time depends on what came later, so models train on what they will not see"


def rows(*values: str) -> str:
    return f"SELECT k::BIGINT AS k, t::TIMESTAMP AS t, x::BIGINT AS x FROM (VALUES {', '.join(values)}) v(k, t, x)"


JANUARY = rows("(1, '2024-01-01', 1)", "(1, '2024-01-20', 50)", "(2, '2024-01-05', 7)")
JUNE = rows("(1, '2024-06-01', 100)")


def config(text: str, line: str) -> str:
    return f'{{{{ config(entity="user", timestamp="t", {line}) }}}}\n{text}'


def warnings(project: Small, second: str, options: BuildOptions = BuildOptions(), name: str = "f") -> list[str]:
    """What the build after a second file says of a feature; the first says nothing."""
    project.write("data/ev/a.parquet", JANUARY)
    first = project.forge.build(Selection(), BuildOptions())
    assert not first.failed
    assert [text for about, text in first.warnings if "of the past" in text] == []
    project.write("data/ev/b.parquet", second)
    result = project.forge.build(Selection(), options)
    assert not result.failed
    assert result.build == 2
    return [text for about, text in result.warnings if "of the past" in text and about == name]


SAID = {
    "latest": (
        LATEST,
        "assume_final=true",
        "1 row of the past is gone, changed or new, though no source row is new that was known by then: "
        f"k=1 at 2024-01-20 00:00:00 is gone: {FINAL}",
    ),
    "total": (
        TOTAL,
        "assume_final=true",
        "2 rows of the past are gone, changed or new, though no source row is new that was known by then: k=1 at "
        f"2024-01-01 00:00:00 is changed; k=1 at 2024-01-20 00:00:00 is changed: {FINAL}",
    ),
    "unproven": (
        RECURSIVE,
        "",
        "2 rows of the past are gone, changed or new, though no source row is new that was known by then: k=1 at "
        f"2024-01-01 00:00:00 is changed; k=1 at 2024-01-20 00:00:00 is changed: {AHEAD}",
    ),
    "by_key": (
        TOTAL,
        'assume_final=true, incremental="by_key"',
        "2 rows of the past are gone, changed or new, though no source row is new that was known by then: k=1 at "
        f"2024-01-01 00:00:00 is changed; k=1 at 2024-01-20 00:00:00 is changed: {FINAL}",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_rows_that_change_by_later_ones_are_said(tmp_path: Path, case: str) -> None:
    text, line, said = SAID[case]
    project = Small(tmp_path, CONFIG)
    project.feature("f", config(text, line))
    assert warnings(project, JUNE) == [said]


SILENT = {
    "allowed": (TOTAL, "allow_lookahead=true", JUNE),
    "proven at plan": (SO_FAR, "", JUNE),
    "exact windows": (WEEK, "", JUNE),
    "boundaries": (WEEK, 'interval="1d"', JUNE),
    "boundaries with a delay": (WEEK.replace("ev", "late"), 'interval="1d"', JUNE),
    "a delay": (SO_FAR.replace("ev", "late"), "", rows("(1, '2024-01-21', 3)")),
    # a row that comes late may change all that is stamped after it
    "late row": (SO_FAR, "", rows("(1, '2024-01-10', 3)")),
    "late row of windows": (WEEK, "", rows("(1, '2024-01-15', 3)")),
    "late row of totals": (TOTAL, "assume_final=true", rows("(1, '2024-01-01', 3)")),
}


@pytest.mark.parametrize("case", SILENT)
def test_honest_changes_are_not(tmp_path: Path, case: str) -> None:
    text, line, second = SILENT[case]
    project = Small(tmp_path, CONFIG)
    project.feature("f", config(text, line))
    assert warnings(project, second) == []


def test_a_full_refresh_of_the_same_rows_says_nothing(tmp_path: Path) -> None:
    project = Small(tmp_path, CONFIG)
    project.feature("f", config(SO_FAR, ""))
    project.write("data/ev/a.parquet", JANUARY)
    project.forge.build()
    again = project.forge.build(Selection(), BuildOptions(force=True))
    assert again.build == 2
    assert again.warnings == ()


def test_what_reads_it_is_not_blamed(tmp_path: Path) -> None:
    project = Small(tmp_path, CONFIG)
    project.feature("f", config(TOTAL, "assume_final=true"))
    reader = "SELECT a.k, a.t, f.total + 1 AS more FROM {{ source('ev') }} a JOIN {{ ref('f') }} f USING (k)"
    project.feature("g", config(reader, "assume_final=true"))
    assert warnings(project, JUNE, name="g") == []
