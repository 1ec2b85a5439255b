"""Columns that have no type, NULL and what lies in []: an error that asks for a CAST, with every DuckDB."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import duckdb
import pytest

from mlforge.errors import GrammarError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

STATIC = '{{ config(entity="user") }}\n'
TIMED = '{{ config(entity="user", timestamp="t") }}\n'
ASKED = '{{ config(entity="user", on_demand=true, request={"a": "BIGINT"}) }}\n'
FROM = ' FROM {{ source("ev") }}'
NULL = "is NULL in all rows"
UNTYPED = {
    "NULL": (STATIC + "SELECT k, NULL AS x" + FROM, NULL),
    "branches": (STATIC + "SELECT k, CASE WHEN k > 1 THEN NULL END AS x" + FROM, NULL),
    "a call": (STATIC + "SELECT k, coalesce(NULL, nullif(NULL, 1)) AS x" + FROM, NULL),
    "an aggregate": (STATIC + "SELECT k, MAX(NULL) AS x" + FROM + " GROUP BY k", NULL),
    "a window": (TIMED + "SELECT k, t, FIRST(NULL) OVER last_7d AS x" + FROM, NULL),
    "beside a window": (TIMED + "SELECT k, t, NULL AS x, COUNT(*) OVER last_7d AS n" + FROM, NULL),
    "on demand": (ASKED + "SELECT NULL AS x, a AS y", NULL),
    "an empty list": (STATIC + "SELECT k, [] AS x" + FROM, 'is of type "NULL"[]'),
    "lists": (STATIC + "SELECT k, [[NULL]] AS x" + FROM, 'is of type "NULL"[][]'),
    "a list of a window": (TIMED + "SELECT k, t, (LIST(NULL) OVER last_7d)[-3:] AS x" + FROM, 'is of type "NULL"[]'),
    "a field": (STATIC + "SELECT k, {'a': 1, 'b': NULL} AS x" + FROM, 'is of type STRUCT(a INTEGER, b "NULL")'),
    "a map": (STATIC + "SELECT k, MAP {} AS x" + FROM, 'is of type MAP("NULL", "NULL")'),
    "an empty list on demand": (ASKED + "SELECT [] AS x, a AS y", 'is of type "NULL"[]'),
    "a subquery": (STATIC + "SELECT k, x FROM (SELECT k, NULL AS x" + FROM + ")", NULL),
}
FRAMES = {
    "Arrow": "pa.table({'k': [1], 'x': pa.nulls(1)})",
    "pandas": "pd.DataFrame({'k': [1], 'x': [None]})",
    "Polars": "pl.DataFrame({'k': [1], 'x': [None]})",
    "a list of Arrow": "pa.table({'k': [1], 'x': pa.array([[]], pa.list_(pa.null()))})",
}
TYPED = {
    "cast": ("CAST(NULL AS DOUBLE)", "DOUBLE"),
    "cast list": ("CAST([] AS BIGINT[])", "BIGINT[]"),
    "another branch": ("CASE WHEN k > 1 THEN NULL ELSE 5::BIGINT END", "BIGINT"),
    "an integer": ("[k::INTEGER, NULL]", "INTEGER[]"),
    "a field called NULL": ("""{'NULL': k, 'b': CAST(NULL AS VARCHAR)}""", 'STRUCT("NULL" BIGINT, b VARCHAR)'),
}


@pytest.fixture
def small(tmp_path: Path) -> Small:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 5", "2, '2024-01-02', 6")
    return small


def refused(small: Small) -> str:
    with pytest.raises(GrammarError) as error:
        small.forge.plan()
    assert "cast it, as in CAST(NULL AS DOUBLE)" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("case", UNTYPED)
def test_sql(small: Small, case: str) -> None:
    text, said = UNTYPED[case]
    small.feature("f", text)
    assert re.match(rf"features/f\.sql:\d+: column 'x' {re.escape(said)}: nothing says its type", refused(small))


@pytest.mark.xfail(
    duckdb.__version__.startswith("1."), reason="never: a CTE of DuckDB 1 makes it an INTEGER", strict=True
)
def test_a_cte(small: Small) -> None:
    small.feature("f", STATIC + "WITH a AS (SELECT k, NULL AS x" + FROM + ") SELECT k, x FROM a")
    assert "column 'x' is NULL in all rows" in refused(small)


@pytest.mark.parametrize("case", FRAMES)
def test_frames_of_python_features(small: Small, case: str) -> None:
    imports = "import mlforge as mlf\nimport pandas as pd\nimport polars as pl\nimport pyarrow as pa\n\n\n"
    code = f"@mlf.feature(entity='user')\ndef f():\n    return {FRAMES[case]}\n"
    (small.root / "features/f.py").write_text(imports + code)
    assert "column 'x' is " in refused(small)


@pytest.mark.parametrize("case", TYPED)
def test_what_has_a_type_is_built(small: Small, case: str) -> None:
    text, kind = TYPED[case]
    small.feature("f", f"{STATIC}SELECT k, {text} AS x{FROM}")
    small.good()
    assert small.sql("SELECT DISTINCT typeof(x) FROM features.f") == [(kind,)]
