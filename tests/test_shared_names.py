"""Two features of a feature set that have a column of one name: every way in says so, and knows the ways out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from mlforge.errors import OnlineError, RetrievalError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

YAML = """name: small
sources:
  ev: {{path: data/ev.parquet}}
entities:
  user: {{key: k}}
feature_sets:
  both: [a, {second}]
profiles:
  dev: {{warehouse: {{kind: duckdb, path: catalog.duckdb}}, online: {{kind: sqlite, path: online.db}}}}
default_profile: dev
"""
LABELS = "SELECT 1::BIGINT AS k, TIMESTAMP '2026-02-01' AS label_time"
SHARED = "column 'N' comes from a and from b"


@pytest.fixture
def small(tmp_path: Path) -> Small:
    small = Small(tmp_path, YAML.format(second="b"))
    small.rows("1, '2026-01-01', 5", "1, '2026-01-02', 7")
    head = '{{ config(entity="user", timestamp="t") }}\n'
    small.feature("a", head + 'SELECT k, t, COUNT(*) OVER ever AS n, x AS last FROM {{ source("ev") }}')
    small.feature("b", head + 'SELECT k, t, SUM(x) OVER ever AS "N" FROM {{ source("ev") }}')
    return small


def macro(small: Small, name: str = "both") -> list[dict[str, Any]]:
    with duckdb.connect(str(small.catalog), read_only=True) as con:
        found = con.execute(f"WITH l AS ({LABELS}) FROM feature_sets.\"{name}\"('l')")
        names = [d[0] for d in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_every_way_refuses_and_says_how(small: Small) -> None:
    notes = small.forge.plan().notes
    assert [n for n in notes if SHARED in n and n.startswith("feature set both: ")] == list(notes)
    assert len(notes) == 1
    small.good()
    assert not small.forge.publish().refused
    for name in ("both", "both@1"):
        with pytest.raises(duckdb.Error, match=f"feature set both: {SHARED}: give one of them a prefix"):
            macro(small, name)
    for asked in ("both", ["a", "b"], ["a:n", "b"]):
        with pytest.raises(RetrievalError, match=SHARED):
            small.forge.get_training_data(asked, LABELS)
        with pytest.raises(OnlineError, match=SHARED):
            small.forge.get_online_features(features=asked, entity_rows=[{"k": 1}])
    wanted = {"a__n": 2, "a__last": 7, "b__N": 12}
    made = small.forge.get_training_data("both", LABELS, full_names=True).to_pylist()
    online = small.forge.get_online_features(features="both", entity_rows=[{"k": 1}], full_names=True)
    assert [{n: row[n] for n in wanted} for row in (*made, *online)] == [wanted] * 2


@pytest.mark.parametrize(("second", "name"), [("{feature: b, prefix: b_}", "b_N"), ("'a@1:last'", "")])
def test_a_prefix_or_fewer_columns_are_the_way_out(small: Small, second: str, name: str) -> None:
    """With a prefix all ways have the same names; the same column twice is still one too many."""
    small.config(YAML.format(second=second))
    small.good()
    if not name:
        with pytest.raises(duckdb.Error, match="column 'last' comes from a and from a"):
            macro(small)
        return
    assert small.forge.plan().notes == ()
    small.forge.publish()
    wanted = {"n": 2, "last": 7, name: 12}
    online = small.forge.get_online_features(features="both", entity_rows=[{"k": 1}])
    rows = [*macro(small), *small.forge.get_training_data("both", LABELS).to_pylist(), *online]
    assert [{n: row[n] for n in row if n not in ("k", "label_time")} for row in rows] == [wanted] * 3
