"""Where columns come from."""

from __future__ import annotations

import pytest

from mlforge.model import Column, Definition, Key
from mlforge.render.lineage import edges


def lineage(sql: str, columns: str, *, sources: str = "", refs: str = "", **more: object) -> set[tuple[object, ...]]:
    definition = Definition(
        feature="f",
        kind="plain",
        entity="e",
        keys=(Key("k", "BIGINT"),),
        sql=sql,
        columns=tuple(Column(name=n, type="BIGINT") for n in columns.split()),
        sources={s: {} for s in sources.split()},
        refs=dict.fromkeys(refs.split(), "1.0"),
        **more,
    )
    return {(e.column, e.kind, e.origin, e.origin_column) for e in edges(definition)}


S = '"_mlforge_source"."s"'
F = '"_mlforge_ref"."f"'


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"SELECT k, a + b AS x FROM {S}", {("x", "source", "s", "a"), ("x", "source", "s", "b")}),
        (f"WITH c AS (SELECT k, a * 2 AS d FROM {S}) SELECT k, d AS x FROM c", {("x", "source", "s", "a")}),
        (f"SELECT k, q.d AS x FROM (SELECT k, a AS d FROM {S}) q", {("x", "source", "s", "a")}),
        (f"SELECT s.k, SUM(s.a) OVER last_7d AS x FROM {S} s", {("x", "source", "s", "a")}),
        (f"SELECT k, 1 AS x FROM {S}", set()),
    ],
)
def test_columns_are_followed_to_their_sources(sql: str, expected: set[tuple[object, ...]]) -> None:
    assert lineage(sql, "x", sources="s") == {(None, "source", "s", None), *expected}


def test_joined_features() -> None:
    sql = f"SELECT s.k, s.a AS x, f.v AS y FROM {S} s LEFT JOIN {F} f ON f.k = s.k"
    found = lineage(sql, "x y", sources="s", refs="f")
    assert found == {
        (None, "source", "s", None),
        (None, "feature", "f", None),
        ("x", "source", "s", "a"),
        ("y", "feature", "f", "v"),
    }


def test_request_columns_come_from_nothing_upstream() -> None:
    found = lineage(f"SELECT amount / v AS x FROM {F}", "x", refs="f", request={"amount": "DOUBLE"})
    assert found == {(None, "feature", "f", None), ("x", "feature", "f", "v")}
