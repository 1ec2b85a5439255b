"""The oracle against examples worked out by hand."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from tests.oracle.aggregates import AGGREGATES, Expected, matches
from tests.oracle.clock import boundary, minus, moment, us
from tests.oracle.oracle import Agg, AsOf, Coalesce, Col, Cond, Feature, Ratio, Since, join_latest, values_at

NAN, INF = math.nan, math.inf
NOON = us("2024-03-01T12:00")
HOUR = us("1970-01-01T01:00")


@pytest.mark.parametrize(
    ("at", "length", "expected"),
    [
        ("2024-03-31T15:30", "1mo", "2024-03-01T00:00"),  # no 31 February, nor 30: the month after begins
        ("2024-03-30T00:00", "1mo", "2024-03-01T00:00"),
        ("2024-03-29T15:30", "1mo", "2024-02-29T15:30"),  # a leap year
        ("2023-03-29T15:30", "1mo", "2023-03-01T00:00"),
        ("2024-02-29T08:00", "1y", "2023-03-01T00:00"),
        ("2024-02-29T08:00", "4y", "2020-02-29T08:00"),
        ("2024-01-15T00:00:00.000001", "13mo", "2022-12-15T00:00:00.000001"),
        ("2024-05-31T00:00", "3mo", "2024-03-01T00:00"),
        ("2024-03-01T00:00", "1d", "2024-02-29T00:00"),
        ("1970-01-01T00:00", "1w", "1969-12-25T00:00"),
        ("1970-01-01T00:00", "0s", "1970-01-01T00:00"),
    ],
)
def test_minus(at: str, length: str, expected: str) -> None:
    assert moment(minus(us(at), length)) == moment(us(expected))


def test_a_month_back_never_runs_backwards() -> None:
    starts = [minus(us("2023-01-25T00:00") + h * HOUR, "1mo") for h in range(24 * 70)]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    ("at", "interval", "zone", "expected"),
    [
        ("2024-03-01T12:34:56.789", "1s", None, "2024-03-01T12:34:56"),
        ("2024-03-01T12:34:56", "15m", None, "2024-03-01T12:30"),
        ("2024-03-01T12:34:56", "5h", None, "2024-03-01T08:00"),  # noon is hour 474,804
        ("1969-12-31T23:59:59.999999", "1d", None, "1969-12-31T00:00"),
        ("2024-03-01T00:00", "1d", None, "2024-03-01T00:00"),
        ("2024-03-03T23:59:59.999999", "1w", None, "2024-02-26T00:00"),  # a Sunday belongs to the Monday before
        ("2024-03-04T00:00", "1w", None, "2024-03-04T00:00"),
        ("1970-01-01T00:00", "1w", None, "1969-12-29T00:00"),
        ("2024-03-31T00:00", "1mo", None, "2024-03-01T00:00"),
        ("2024-03-31T00:00", "7mo", None, "2023-09-01T00:00"),  # March is month 650
        ("1969-11-30T00:00", "3mo", None, "1969-10-01T00:00"),
        ("2024-03-31T00:00", "1y", None, "2024-01-01T00:00"),
        ("2024-03-31T00:00", "5y", None, "2020-01-01T00:00"),
        ("2024-03-10T04:59:59", "1d", "America/New_York", "2024-03-09T05:00"),  # before the change: UTC-5
        ("2024-03-11T03:59:59", "1d", "America/New_York", "2024-03-10T05:00"),  # that day has 23 hours
        ("2024-03-11T04:00", "1d", "America/New_York", "2024-03-11T04:00"),
        ("2024-11-04T04:59:59", "1d", "America/New_York", "2024-11-03T04:00"),  # that day has 25 hours
        ("2024-03-31T22:30", "1mo", "Europe/Berlin", "2024-03-31T22:00"),  # 1 April there
        ("2024-03-03T14:59", "1w", "Asia/Tokyo", "2024-02-25T15:00"),
        ("2024-12-31T15:00", "1y", "Asia/Tokyo", "2024-12-31T15:00"),
        ("2024-03-01T12:34:56", "6h", "Asia/Kolkata", "2024-03-01T12:00"),  # shorter than a day: UTC
        ("2018-11-04T03:30", "1d", "America/Sao_Paulo", "2018-11-04T03:00"),  # midnight was skipped
        ("2023-11-05T05:30", "1d", "America/Havana", "2023-11-05T04:00"),  # midnight came twice: the first
    ],
)
def test_boundary(at: str, interval: str, zone: str | None, expected: str) -> None:
    assert moment(boundary(us(at), interval, zone)) == moment(us(expected))


def rows_of(*events: tuple[object, ...]) -> list[dict[str, object]]:
    """Events of one key as (t, x, y, loaded)."""
    return [dict(zip(("k", "t", "x", "y", "loaded"), ("a", *event, None, None), strict=False)) for event in events]


def one(feature: Feature, rows: list[dict[str, object]], at: int | None, key: object = "a") -> object:
    (expected,) = values_at(feature, rows, (key,), at).values()
    return expected.value


def windows(expr: object, **more: object) -> Feature:
    return Feature("f", ("k",), (("v", expr),), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("closed", "delay", "expected"),
    [
        (None, "0s", 0b0011),  # left: T - w is in, T is out
        ("left", "0s", 0b0011),
        ("right", "0s", 0b0110),  # right: T is in, T - w is out
        ("left", "1h", 0b0001),  # [10:00, 11:00)
        ("right", "1h", 0b0011),  # (10:00, 11:00]
    ],
)
def test_bounds_of_a_window(closed: str | None, delay: str, expected: int) -> None:
    events = rows_of((NOON - HOUR, 1), (NOON - HOUR + 1, 2), (NOON, 4), (NOON + 1, 8))
    if delay == "1h":
        events = rows_of((NOON - 2 * HOUR, 1), (NOON - HOUR, 2), (NOON - HOUR + 1, 4), (NOON, 8))
        expected = {"left": 0b0001, "right": 0b0010}[closed or "left"]
    feature = windows(Agg("sum", "x", "1h"), closed=closed, delay=delay)
    assert one(feature, events, NOON) == expected


def test_month_window_bounds() -> None:
    at = us("2024-03-31T10:00")
    events = rows_of((us("2024-02-29T23:59:59.999999"), 1), (us("2024-03-01T00:00"), 2), (at, 4))
    assert one(windows(Agg("sum", "x", "1mo")), events, at) == 2
    assert one(windows(Agg("sum", "x", "1mo"), closed="right"), events, at) == 4


def test_empty_windows_and_unknown_keys() -> None:
    events = rows_of((NOON, 1))
    for func in sorted(AGGREGATES):
        feature = windows(Agg(func, None if func == "count_star" else "x", "1h", by="x" if "arg" in func else None))
        empty = 0 if "count" in func else None
        assert one(feature, events, NOON) == empty, func
        assert one(feature, events, NOON + HOUR, key="never seen") == empty, func
        assert one(feature, events, None) is None
        assert one(feature, events, NOON, key=None) is None


def test_events_with_null_key_or_time_belong_to_nothing() -> None:
    events = rows_of((None, 1), (NOON, 2))
    events.append({"k": None, "t": NOON, "x": 4})
    assert one(windows(Agg("sum", "x")), events, NOON + 1) == 2


def test_ever_reaches_back_to_the_first_row() -> None:
    events = rows_of((us("1901-01-01T00:00"), 1), (NOON, 2), (NOON + 1, 4))
    assert one(windows(Agg("sum", "x", "ever")), events, NOON + 1) == 3


def test_filter_narrows_one_window_and_where_drops_rows() -> None:
    events = rows_of((NOON, 1), (NOON + 1, None), (NOON + 2, 5))
    assert one(windows(Agg("count_star", where=Cond("x", ">", 2))), events, NOON + 3) == 1
    assert one(windows(Agg("count_star"), where=Cond("x", "<", 2)), events, NOON + 3) == 1


@pytest.mark.parametrize(
    ("more", "at", "expected"),
    [
        ({}, NOON, 1),  # plain rows: a value valid from T is known at T
        ({}, NOON - 1, None),
        ({"closed": "left"}, NOON, None),
        ({"closed": "left"}, NOON + 1, 1),
        ({"delay": "1h"}, NOON + HOUR, 1),
        ({"delay": "1h"}, NOON + HOUR - 1, None),
        ({"ttl": "1h"}, NOON + HOUR - 1, 1),
        ({"ttl": "1h"}, NOON + HOUR, None),  # (T - 1h, T]
        ({"ttl": "1h", "closed": "left"}, NOON + HOUR, 1),  # [T - 1h, T)
        ({"ttl": "1h", "closed": "left"}, NOON + HOUR + 1, None),
        ({"interval": "1d"}, NOON + HOUR, None),  # as it was at midnight
        ({"interval": "1d"}, NOON + 12 * HOUR, 1),
    ],
)
def test_latest_row(more: dict[str, str], at: int, expected: int | None) -> None:
    assert one(windows(Col("x"), **more), rows_of((NOON, 1)), at) == expected


def test_ttl_looks_at_the_latest_row_only() -> None:
    events = rows_of((NOON - 5, 7), (NOON, None))
    assert one(windows(Col("x"), ttl="1d"), events, NOON + 1) is None


@pytest.mark.parametrize(
    ("events", "loaded_at", "expected"),
    [
        ([(NOON, 2), (NOON, 1)], None, 2),
        ([(NOON, None), (NOON, -1)], None, -1),
        ([(NOON, NAN), (NOON, INF)], None, NAN),
        ([(NOON, "Z"), (NOON, "a"), (NOON, "\U0001f600"), (NOON, "ﬁ")], None, "\U0001f600"),  # by code point
        ([(NOON, 2, None, 1), (NOON, 1, None, 2)], "loaded", 1),
        ([(NOON, 2, None, None), (NOON, 1, None, 0)], "loaded", 1),
    ],
)
def test_ties_of_row_columns(events: list[tuple[object, ...]], loaded_at: str | None, expected: object) -> None:
    feature = windows(Col("x"), loaded_at=loaded_at)
    for ordering in (events, events[::-1]):
        assert matches(Expected(one(feature, rows_of(*ordering), NOON)), expected)


def test_ties_go_by_columns_as_written_then_by_inputs() -> None:
    events = rows_of((NOON, 1, 9), (NOON, 2, 3), (NOON, 2, 1))
    feature = Feature("f", ("k",), (("x", Col("x")), ("f", Agg("first", "y")), ("l", Agg("last", "y"))))
    found = values_at(feature, events, ("a",), NOON + 1)
    assert [e.value for e in found.values()] == [2, 9, 3]


@pytest.mark.parametrize(
    ("func", "values", "param", "expected"),
    [
        ("count_star", [1, None], None, 2),
        ("count", [1, None], None, 1),
        ("count_distinct", [1, 1, 2, None], None, 2),
        ("count_distinct", [NAN, NAN, 1.0], None, 2),
        ("sum", [1e20, 1.0, -1e20], None, 1.0),
        ("sum", [Decimal("0.10"), Decimal("0.20")], None, Decimal("0.30")),
        ("sum", [1.0, NAN], None, NAN),
        ("sum", [1.0, -INF], None, -INF),
        ("sum", [INF, -INF], None, NAN),
        ("sum", [None], None, None),
        ("avg", [1, 2, None], None, 1.5),
        ("min", ["b", "a", None], None, "a"),
        ("max", [1.0, NAN, INF], None, NAN),
        ("min", [1.0, NAN], None, 1.0),
        ("stddev_samp", [2.0], None, None),
        ("stddev_pop", [2.0], None, 0.0),
        ("stddev_samp", [1, 3], None, math.sqrt(2)),
        ("stddev_pop", [1, 3], None, 1.0),
        ("var_samp", [1, 3], None, 2.0),
        ("var_pop", [1, 3, None], None, 1.0),
        ("median", [4, 1, 2, None, 3], None, 2.5),
        ("quantile_cont", [0, 10], "0.25", 2.5),
        ("quantile_cont", [1.0, NAN], "0.5", None),
        ("first", [None, 1], None, None),
        ("last", [None, 1], None, 1),
        ("mode", [2, 1, 1, 2, None, None, None], None, 2),
        ("mode", [None], None, None),
        ("bool_and", [True, None], None, True),
        ("bool_and", [True, False], None, False),
        ("bool_or", [False, None], None, False),
        ("bool_or", [None], None, None),
        ("list", [1, None, 3], 2, [None, 3]),
        ("string_agg", ["b", None, "a"], "-", "b-a"),
    ],
)
def test_aggregates(func: str, values: list[object], param: object, expected: object) -> None:
    found = AGGREGATES[func]([(v,) for v in values], param)
    assert matches(found, expected), found


@pytest.mark.parametrize(
    ("func", "rows", "expected"),
    [
        ("arg_max", [("a", 1), ("b", 2), ("c", 2)], "b"),
        ("arg_min", [("a", 1), ("b", 1)], "a"),
        ("arg_max", [(None, 9), ("b", None), ("c", 1)], "c"),
        ("arg_max", [("a", INF), ("b", NAN)], "b"),
    ],
)
def test_arg_max(func: str, rows: list[tuple[object, object]], expected: object) -> None:
    assert AGGREGATES[func](rows, None).value == expected


@pytest.mark.parametrize(
    ("expected", "actual", "equal"),
    [
        (Expected(1.0, 1e-9, "near"), 1.0 + 5e-10, True),
        (Expected(1.0, 1e-9, "near"), 1.0 + 5e-9, False),
        (Expected(1.0, 1e-9, "near"), None, False),
        (Expected(1.0, 1e-9, "near"), NAN, False),
        (Expected(None), 0, False),
        (Expected(0), None, False),
        (Expected(NAN), NAN, True),
        (Expected([None, NAN]), [None, NAN], True),
        (Expected((1, 3), 0.0, "between"), 2, True),
        (Expected((1, 3), 0.0, "between"), 4, False),
        (Expected(2.0, 1e-9, "squares"), 2.1, False),
        (Expected(None, how="weird"), NAN, True),
        (Expected(None, how="weird"), 1.0, False),
        (Expected(True), 1, True),
    ],
)
def test_matches(expected: Expected, actual: object, equal: bool) -> None:
    assert matches(expected, actual) is equal


def test_expressions_are_evaluated_at_t() -> None:
    events = rows_of((NOON - HOUR, 1), (NOON, 4))
    at = NOON + HOUR + 1
    ratio = Ratio(Agg("sum", "x", "1h"), Agg("sum", "x"))
    assert one(windows(ratio), events, at) is None  # NULL / 5
    assert one(windows(ratio), events, at - 1) == pytest.approx(0.8)
    assert one(windows(Coalesce(Agg("sum", "x", "1h"), 0)), events, at) == 0
    assert one(windows(Since(Agg("max", "t"), "hour")), events, at + HOUR) == 2
    assert one(windows(Since(Agg("max", "t"), "hour"), interval="1d"), events, at + 11 * HOUR) == 12
    assert one(windows(Since(Agg("max", "t"))), events, at) == HOUR + 1
    as_of = Feature("f", ("k",), (("n", Agg("count_star")), ("at", AsOf())), interval="1d", delay="1h")
    found = values_at(as_of, events, ("a",), us("2024-03-02T10:00"))
    assert (found["n"].value, found["at"].value) == (2, us("2024-03-02T00:00"))


def test_static_and_composite_keys() -> None:
    static = Feature("s", ("k", "j"), (("x", Col("x")),), time=None)
    rows = [{"k": "a", "j": 1, "x": 5}, {"k": "a", "j": None, "x": 6}]
    assert values_at(static, rows, ("a", 1), 0)["x"].value == 5
    assert values_at(static, rows, ("a", None), 0)["x"].value is None
    assert values_at(static, rows, ("b", 1), 0)["x"].value is None


def test_ref_join_gives_the_value_at_the_left_row() -> None:
    price = Feature("price", ("k",), (("p", Col("x")),), delay="1h")
    prices = rows_of((NOON, 10), (NOON + HOUR, 20))
    left = [{"item": "a", "t": NOON + HOUR}, {"item": "a", "t": NOON}, {"item": None, "t": NOON + 2 * HOUR}]
    assert [row["p"] for row in join_latest(left, price, prices, {"k": "item"}, "t")] == [10, None, None]
