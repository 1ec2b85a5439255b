"""Which rows differ, whatever their order, and when two values are the same."""

from __future__ import annotations

import datetime
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlforge.unit.compare import Expected, any_order, same


def want(*rows: dict[str, Any]) -> list[Expected]:
    return [Expected(row, line) for line, row in enumerate(rows, start=1)]


def said(expected: list[Expected], got: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    found = any_order(expected, got, ["k", "t"])
    return [(d.kind, d.line, d.row, [(c.column, c.expected, c.got) for c in d.cells]) for d in found]


ROWS: list[dict[str, Any]] = [{"k": k, "t": t, "x": k * 10 + t} for k in (1, 2) for t in (1, 2)]


def test_any_order_is_the_same() -> None:
    for order in permutations(ROWS):
        assert said(want(*order), ROWS) == []


def test_no_rows() -> None:
    assert said([], []) == []
    assert said([], ROWS[:1]) == [("unexpected", None, ROWS[0], [])]
    assert said(want(ROWS[0]), []) == [("missing", 1, ROWS[0], [])]


def test_a_wrong_value_is_shown_in_its_row() -> None:
    expected = want(ROWS[0], {**ROWS[1], "x": 99}, *ROWS[2:])
    assert said(expected, ROWS) == [("differs", 2, {"k": 1, "t": 2}, [("x", 99, 12)])]


def test_a_missing_and_an_unexpected_row() -> None:
    expected = want(*ROWS[:3], {"k": 3, "t": 1, "x": 0})
    assert said(expected, ROWS) == [("missing", 4, {"k": 3, "t": 1, "x": 0}, []), ("unexpected", None, ROWS[3], [])]


def test_an_unexpected_row_shows_what_the_test_is_about() -> None:
    assert said(want({"k": 1, "t": 1}), ROWS[:2]) == [("unexpected", None, {"k": 1, "t": 2}, [])]


def test_rows_that_leave_out_columns_take_what_the_others_leave() -> None:
    """Greedily the first row would take what only it can have, or the other way round."""
    loose, strict = {"k": 1}, {"k": 1, "t": 1}
    for expected in ([loose, strict], [strict, loose]):
        assert said(want(*expected), ROWS[:2]) == []
    chain = [{"x": 11}, {"k": 1}, {"t": 1}]
    for order in permutations(chain):
        assert said(want(*order), ROWS[:3]) == []


def test_one_row_answers_one_expected_row() -> None:
    assert said(want(ROWS[0], ROWS[0]), ROWS[:1]) == [("missing", 2, ROWS[0], [])]


def test_rows_of_part_of_the_identity_are_held_against_each_other() -> None:
    assert said(want({"k": 1, "x": 5}), ROWS[:1]) == [("differs", 1, {"k": 1, "t": 1}, [("x", 5, 11)])]
    assert said(want({"x": 5}), ROWS[:1])[0][0] == "missing"


NAN = float("nan")


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1.0, 1.0 + 5e-10, True),
        (1.0, 1.0 + 5e-9, False),
        (1e-15, 2e-15, False),
        (0.0, 5e-13, True),
        (5e-13, 0.0, False),
        (0.0, 5e-12, False),
        (NAN, NAN, True),
        (NAN, 1.0, False),
        (1.0, None, False),
        (None, None, True),
        (float("inf"), float("inf"), True),
        (float("inf"), 1e308, False),
        (1, 1, True),
        (True, 1, False),
        (Decimal("1.10"), Decimal("1.1"), True),
        (Decimal("1.10"), Decimal("1.11"), False),
        ("a", "A", False),
        (datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1), True),
        ([1.0, None], [1.0 + 1e-12, None], True),
        ([1.0], [1.0, 2.0], False),
        ({"a": [0.1]}, {"a": [0.1 + 1e-12]}, True),
        ({"a": 1}, {"b": 1}, False),
    ],
)
def test_when_two_values_are_the_same(one: Any, other: Any, equal: bool) -> None:
    assert same(one, other) is equal


COLUMN_SETS = st.lists(st.sets(st.sampled_from("ktx"), min_size=1), min_size=6, max_size=6)


@given(st.permutations(range(6)), COLUMN_SETS, st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_parts_of_the_rows_always_match(order: list[int], named: list[set[str]], values: list[int]) -> None:
    """Whatever each expected row leaves out, some assignment of rows fits: that of the rows they were taken from."""
    rows = [{"k": n % 3, "t": n, "x": value} for n, value in enumerate(values)]
    parts = [{c: rows[n][c] for c in named[n]} for n in order]
    assert any_order(want(*parts), rows, ["k", "t"]) == []
    wrong = [{**parts[0], "x": 9}, *parts[1:]]
    assert any_order(want(*wrong), rows, ["k", "t"]), "no row has this value"
