"""Among equal rows nothing is chosen by a column that nobody reads: its value may be known later, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.verify.result import VerifyOptions
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
name: small
strict: true
sources:
  ev: {path: data/ev.parquet, timestamp: t, known: {late: r}}
  plain: {path: data/ev.parquet, timestamp: t}
entities:
  user: {key: [k, n]}
"""
# Two rows of each instant; ``late`` is known 10 days after, and would put the second of them first.
ROWS = [
    f"{k}, TIMESTAMP '2024-01-0{day}', {late}, {n}, TIMESTAMP '2024-01-1{day}'"
    for k in (1, 2)
    for day in (1, 2)
    for late, n in ((9, 1), (0, 2))
]
HEAD = '{{ config(entity="user", timestamp="ts") }}\n'
EV, PLAIN = "{{ source('ev') }}", "{{ source('plain') }}"
NUMBER = "row_number() OVER (PARTITION BY k ORDER BY t)"
UNREAD = {
    "of a source": f"SELECT k, t AS ts, n, {NUMBER} AS v FROM {EV}",
    "of a subquery": f"SELECT k, t AS ts, n, {NUMBER} AS v FROM (SELECT k, t, late, n FROM {EV})",
    "by rows": f"SELECT k, greatest(t, t) AS ts, n, {NUMBER} AS v FROM (SELECT k, greatest(t, t) AS t, late, n FROM {EV})",
    "of a CTE": f"WITH a AS (SELECT * FROM {EV}) SELECT k, t AS ts, n, {NUMBER} AS v FROM a",
    "computed": f"SELECT k, t AS ts, n, {NUMBER} AS v FROM (SELECT k, t, 9 - n + late AS later, n FROM {EV})",
    "of later rows": f"WITH a AS (SELECT k, t, lead(n) OVER (PARTITION BY k ORDER BY n DESC) AS ahead, n FROM {PLAIN}) "
    f"SELECT k, t AS ts, n, {NUMBER} AS v FROM a",
    "a frame of rows": f"SELECT k, t AS ts, n, SUM(10 * n) OVER (PARTITION BY k ORDER BY t ROWS BETWEEN 1 PRECEDING AND "
    f"1 PRECEDING) AS v FROM {EV}",
    "the row that ASOF meets": f"SELECT e.k, e.t AS ts, e.n, b.n AS v FROM {PLAIN} e ASOF JOIN {EV} b ON e.k = b.k AND e.t >= b.t",
    "the row of DISTINCT ON": f"SELECT k, t AS ts, n, 1 AS v FROM (SELECT DISTINCT ON (k, t) * FROM {EV} ORDER BY k, t)",
}
WANTED = {
    "a frame of rows": [(1, None), (2, 10), (1, 20), (2, 10)],
    "the row that ASOF meets": [(1, 2), (2, 2), (1, 2), (2, 2)],
    "the row of DISTINCT ON": [(1, 1), (1, 1)],
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_breaks_no_tie(tmp_path: Path, name: str) -> None:
    small = Small(tmp_path, CONFIG)
    small.rows(*ROWS, columns="k BIGINT, t TIMESTAMP, late BIGINT, n BIGINT, r TIMESTAMP")
    small.feature("f", HEAD + UNREAD[name])
    small.good()
    rows = small.sql("SELECT n, v FROM features.f WHERE k = 1 ORDER BY ts, n")
    assert rows == WANTED.get(name, [(1, 1), (2, 2), (1, 3), (2, 4)])
    assert not small.forge.verify("f", options=VerifyOptions(all=True)).failed


def test_what_is_read_breaks_ties(tmp_path: Path) -> None:
    """A SELECT that reads the late column has its rows only when that is known."""
    small = Small(tmp_path, CONFIG)
    small.rows(*ROWS, columns="k BIGINT, t TIMESTAMP, late BIGINT, n BIGINT, r TIMESTAMP")
    small.feature("f", f"{HEAD}SELECT k, greatest(t, r) AS ts, n, late, {NUMBER} AS v FROM {EV}")
    small.good()
    assert small.sql("SELECT n, v FROM features.f WHERE k = 1 ORDER BY ts, n") == [(1, 2), (2, 1), (1, 4), (2, 3)]
