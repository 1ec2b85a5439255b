"""Hypothesis strategies for worlds in which the hard moments are common: ties, rows exactly on a bound and one
microsecond beside it, ends of months, changes of clocks, times before 1970, NULLs everywhere."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.oracle.clock import EPOCH, FIXED, MICRO, MONTHS, duration, minus, moment, us
from tests.oracle.oracle import Agg, AsOf, Coalesce, Col, Cond, Expr, Feature, Ratio, Row, Since, Whole
from tests.oracle.project import NARROW
from tests.oracle.world import PARTS, Chain, Labels, OnDemand, World

ANCHORS = [
    us(text)
    for text in (
        "2024-03-01T00:00",
        "2024-03-31T10:30",  # no 31 February
        "2024-02-29T23:59:59.999999",
        "2023-12-31T23:00",
        "2024-03-10T07:00",  # clocks change in New York
        "2024-11-03T05:30",  # in New York, and at the second midnight in Havana
        "2024-10-27T01:00",  # at the second midnight in the Azores
        "2024-01-31T05:00",  # no 31 February
        "2009-11-01T02:31",  # St. John's, 1 November once more in an hour
        "2011-12-30T10:00",  # Apia
        "2024-03-04T00:00",  # a Monday
        "1970-01-01T00:00",
        "1969-12-31T23:59:59.999999",
        "1931-05-31T12:00",
    )
]
LENGTHS = ["1s", "90s", "5m", "1h", "24h", "1d", "7d", "2w", "30d", "1mo", "2mo", "3mo", "1y", "2y"]
INTERVALS = ["1s", "15m", "1h", "7h", "1d", "3d", "1w", "2w", "1mo", "3mo", "1y"]
SHORT = ["15m", "1h", "6h", "1d"]
ZONES = [
    "America/New_York",
    "Asia/Tokyo",
    "Europe/Berlin",
    "Asia/Kolkata",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "America/Havana",
    "Atlantic/Azores",  # midnight comes twice every autumn
    "America/St_Johns",  # the clock was put back at 00:01
    "Pacific/Apia",  # 30 December 2011 does not exist
]
JITTER = [0, 0, 0, 0, 1, -1, 1_000_000]

TILES = {
    "1s": ["1s", "90s", "5m"],
    "1h": ["1h", "24h", "1d", "7d"],
    "1d": ["1d", "24h", "7d", "30d"],
    "1w": ["7d", "2w"],
    "2w": ["2w", "4w"],
}
CONDS = [Cond("i", ">", 0), Cond("i", "<=", 1), Cond("x", ">=", 0.2), Cond("s", "=", "a"), Cond("b", "=", True)]
SHAPES_OF_EXPR = ["agg"] * 16 + ["ratio", "whole", "whole", "coalesce", "since", "as_of", "hours"]
MERGEABLE = ["count_star", "count", "sum", "avg", "min", "max", "bool_and", "bool_or"]

KEY_POOLS: dict[str, list[Any]] = {
    "int": [1, 2, -7, 2**31 - 1],
    "text": ["a", "A", "", "é\U0001f600"],
    "date": [dt.date(2024, 2, 29), dt.date(1969, 12, 31), dt.date(1, 1, 1), dt.date(2024, 3, 1)],
}
SHAPES = [{"k": "int"}, {"k": "text"}, {"k": "date"}, {"k": "int", "j": "text"}]

FLOATS: dict[str, list[float | None]] = {
    "plain": [None, 0.0, 0.1, 0.2, 0.3, -2.5, 1 / 3, 100.0],
    "wide": [None, 1e20, -1e20, 1.0, 1e-20, -1e-20, 3.3, 1e9],
    "nan": [None, math.nan, 0.1, -2.5],  # statistics of the file say that nothing is above 0.1
    "weird": [None, math.nan, math.inf, -math.inf, 1.0, 0.1],
}
VALUES: dict[str, list[Any]] = {
    "i": [None, 0, 1, 2, -3, 7, 2**40],
    "d": [None, Decimal("0.00"), Decimal("0.10"), Decimal("-99.99"), Decimal("12345.67")],
    "s": [None, "", "a", "A", "b", "ﬁ", "\U0001f600", "it's"],
    "b": [None, True, False],
    "n": [None, -128, 0, 127],
    "r": [None, 0.5, -0.25, 3.4028234663852886e38, 0.10000000149011612],
}
NUMBERS = ("i", "x", "d", "n", "r", "ni", "qi", "mi", "cx")
ALL = (*NUMBERS, "s", "b", "sb")


def plus(at: int, length: str) -> int:
    """About the instant of which ``minus`` is ``at``: exact for fixed lengths, the end of the month at most."""
    n, unit = duration(length)
    if unit in FIXED:
        return at + n * FIXED[unit]
    then = moment(at)
    month = then.year * 12 + then.month - 1 + n * MONTHS[unit]
    for day in range(then.day, 27, -1):
        try:
            return (then.replace(year=month // 12, month=month % 12 + 1, day=day) - EPOCH) // MICRO
        except ValueError:
            continue
    return (then.replace(year=month // 12, month=month % 12 + 1) - EPOCH) // MICRO


@st.composite
def times(draw: Any, near: list[int], lengths: list[str]) -> int | None:
    """An instant near one of some, often exactly one length off."""
    at: int = draw(st.sampled_from(near))
    move: str = draw(st.sampled_from(["stay", "stay", "stay", "plus", "plus", "plus", "plus", "minus", "none"]))
    if move == "none" and draw(st.integers(0, 2)) == 0:
        return None
    if move in ("plus", "minus"):
        at = (plus if move == "plus" else minus)(at, draw(st.sampled_from(lengths)))
    return at + draw(st.sampled_from(JITTER))


@st.composite
def worlds(draw: Any) -> World:
    """A world of about eight features and two label sets."""
    shape = draw(st.sampled_from(SHAPES))
    lengths = draw(st.lists(st.sampled_from(LENGTHS), min_size=2, max_size=4, unique=True))
    lengths = sorted(lengths, key=LENGTHS.index)
    anchors = draw(st.lists(st.sampled_from(ANCHORS), min_size=1, max_size=2, unique=True))
    keys = draw(st.lists(_key(shape), min_size=1, max_size=4, unique_by=lambda key: tuple(sorted(key.items()))))
    pools = VALUES | {"x": FLOATS[draw(st.sampled_from(["plain", "plain", "wide", "weird", "nan"]))]}
    least = draw(st.sampled_from([0, 5, 10, 18]))
    events = draw(st.lists(_event(keys, anchors, lengths, pools), min_size=least, max_size=25))
    features = tuple(draw(_feature(f"f{n}", shape, lengths, kind)) for n, kind in enumerate(_kinds(draw)))
    statics = [key | {"color": draw(st.sampled_from(VALUES["s"]))} for key in keys if draw(st.booleans())]
    static = Feature("st", tuple(shape), (("st_color", Col("color")),), time=None)
    near = [row["t"] for row in events if row["t"] is not None] or anchors
    lefts = draw(st.lists(_left(keys, near, lengths), max_size=8))
    near += [row["t"] for row in lefts if row["t"] is not None]
    labels = tuple(draw(_labels(keys, near, lengths)) for _ in range(2))
    time_type = draw(st.sampled_from(["us", "us", "us_utc", "ns"]))
    return World(
        keys=shape,
        events=events,
        statics=statics,
        lefts=lefts,
        features=(*features, static),
        labels=labels,
        chains=_chains(draw, features, static, lengths),
        on_demand=_on_demand(features),
        time_type=time_type,
        nanos=draw(st.sampled_from([0, 1, 999])) if time_type == "ns" else 0,
        writer=draw(st.sampled_from(["pyarrow", "polars"])),
        narrow=_narrow(draw),
        later=_later(draw, events, _event(keys, anchors, lengths, pools)),
    )


def _narrow(draw: Any) -> tuple[tuple[str, ...], ...]:
    """For some worlds: further files, which have types of their own where these hold their values."""
    kinds = st.lists(st.sampled_from(sorted(NARROW)), min_size=1, max_size=3, unique=True)
    return tuple(tuple(kinds_) for kinds_ in draw(st.lists(kinds, max_size=2)))


def _later(draw: Any, events: list[Row], event: Any) -> list[Row] | None:
    """For some worlds: what the source holds at a second build, rows added and others gone."""
    if draw(st.integers(0, 3)) != 3:
        return None
    return [row for row in events if draw(st.integers(0, 7)) != 7] + draw(st.lists(event, max_size=6))


def _kinds(draw: Any) -> list[str]:
    more = draw(st.sampled_from(["windows", "plain", "interval"]))
    return ["windows", "windows", more, "interval", "plain", "tiles"]


def _key(shape: dict[str, str]) -> Any:
    return st.fixed_dictionaries({name: st.sampled_from(KEY_POOLS[kind]) for name, kind in shape.items()})


@st.composite
def _event(draw: Any, keys: list[Row], anchors: list[int], lengths: list[str], pools: dict[str, list[Any]]) -> Row:
    row: Row = dict(draw(_some_key(keys)))
    row["t"] = draw(times(anchors, lengths))
    row["loaded"] = draw(st.sampled_from([None, 0, 1, 3_600_000_000]))
    if row["loaded"] is not None and row["t"] is not None:
        row["loaded"] += row["t"]
    return row | {name: draw(st.sampled_from(pool)) for name, pool in pools.items()}


@st.composite
def _some_key(draw: Any, keys: list[Row], unseen: Row | None = None) -> Row:
    key = dict(draw(st.sampled_from([*keys, *keys, *keys, keys[0], keys[0], *([unseen] if unseen else [])])))
    if draw(st.integers(0, 11)) == 11:
        key[draw(st.sampled_from(sorted(key)))] = None
    return key


@st.composite
def _left(draw: Any, keys: list[Row], near: list[int], lengths: list[str]) -> Row:
    row: Row = dict(draw(_some_key(keys)))
    row |= {"u": draw(st.sampled_from([1, 1, 2])), "t": draw(times(near, lengths)), "a": draw(st.integers(0, 3))}
    return row


@st.composite
def _labels(draw: Any, keys: list[Row], near: list[int], lengths: list[str]) -> Labels:
    name = draw(st.sampled_from(["label_time", "label_time", "at"]))
    unseen = {k: {"int": 99, "text": "unseen", "date": dt.date(1999, 9, 9)}[_kind_of(v)] for k, v in keys[0].items()}

    def label(draw: Any) -> Row:
        row: Row = dict(draw(_some_key(keys, unseen)))
        row[name] = draw(times(near, lengths)) if draw(st.integers(0, 15)) else us("1925-01-01T00:00")
        row["u"] = draw(st.sampled_from([1, 1, 1, 2, 2, 3, None]))
        row["amount"] = draw(st.sampled_from([None, 0.0, 1.5, -3.0]))
        return row

    rows = [label(draw) for _ in range(draw(st.integers(1, 9)))]
    rows += [dict(row) for row in rows if draw(st.integers(0, 5)) == 5]  # duplicates
    time_type = draw(st.sampled_from(["us", "us", "us_utc", "ns"]))
    return Labels(tuple(rows), name, time_type, draw(st.sampled_from([0, 1, 999])) if time_type == "ns" else 0)


def _kind_of(value: Any) -> str:
    return {int: "int", str: "text", dt.date: "date"}[type(value)]


@st.composite
def _feature(draw: Any, name: str, shape: dict[str, str], lengths: list[str], kind: str) -> Feature:
    if kind == "tiles":
        return _tiles(draw, name, shape)
    durations = st.sampled_from([*lengths, "1mo"])
    fixed = [length for length in lengths if length[-1] not in "oy"]
    interval = zone = None
    if kind == "interval" or (kind == "plain" and draw(st.integers(0, 3)) == 3):
        interval = draw(st.sampled_from(INTERVALS if draw(st.booleans()) else SHORT))
        zone = draw(st.sampled_from([None, *ZONES])) if interval[-1] in "dwoy" else None
    return Feature(
        name,
        tuple(shape),
        tuple((f"{name}_{n}", expr) for n, expr in enumerate(_exprs(draw, kind, lengths))),
        closed=draw(st.sampled_from([None, None, "left", "right"])),
        delay=draw(st.sampled_from(["0s", "0s", "0s", "1s", "1h", "1d", *fixed])),
        ttl=draw(durations) if draw(st.integers(0, 2)) == 2 else None,
        interval=interval,
        timezone=zone,
        loaded_at="loaded" if draw(st.booleans()) else None,
        where=draw(st.sampled_from(CONDS)) if draw(st.integers(0, 4)) == 4 else None,
    )


def _tiles(draw: Any, name: str, shape: dict[str, str]) -> Feature:
    """Windows of whole intervals and aggregates that merge: a build may sum parts first."""
    interval = draw(st.sampled_from(sorted(TILES)))
    aggs = [_agg(draw, TILES[interval], MERGEABLE) for _ in range(draw(st.integers(1, 4)))]
    return Feature(
        name,
        tuple(shape),
        tuple((f"{name}_{n}", expr) for n, expr in enumerate(aggs)),
        closed=draw(st.sampled_from([None, "left", "right"])),
        delay=draw(st.sampled_from(["0s", "0s", "1s", "90s", "1d"])),
        interval=interval,
        where=draw(st.sampled_from(CONDS)) if draw(st.integers(0, 4)) == 4 else None,
    )


def _exprs(draw: Any, kind: str, lengths: list[str]) -> list[Expr]:
    columns = draw(st.lists(st.sampled_from(ALL), min_size=1 if kind == "plain" else 0, max_size=3, unique=True))
    rows: list[Expr] = [Col(name, PARTS.get(name, ())) for name in columns]
    if kind == "plain":
        return rows
    least = draw(st.sampled_from([1, 3]))
    return rows + draw(st.lists(_window_expr(lengths), min_size=least, max_size=5))


@st.composite
def _window_expr(draw: Any, lengths: list[str]) -> Expr:
    shape = draw(st.sampled_from(SHAPES_OF_EXPR))
    if shape == "agg":
        return _agg(draw, lengths)
    if shape == "ratio":
        return Ratio(_sum(draw, lengths), _sum(draw, lengths))
    if shape == "whole":
        counted = Agg("count", draw(st.sampled_from(["i", "s"])), _over(draw, lengths))
        return Whole(Agg("sum", "i", _over(draw, lengths)), counted, draw(st.sampled_from(["//", "%"])))
    if shape == "coalesce":
        return Coalesce(Agg("sum", "i", _over(draw, lengths)), -1)
    if shape == "as_of":
        return AsOf()
    return Since(Agg("max", "t", _over(draw, lengths)), "us" if shape == "since" else "hour")


def _over(draw: Any, lengths: list[str]) -> str:
    over: str = draw(st.sampled_from(["ever", *reversed(lengths), "ever"]))
    return over


def _sum(draw: Any, lengths: list[str]) -> Agg:
    column = draw(st.sampled_from(["i", "x", "d", "n", None]))
    return Agg("sum" if column else "count_star", column, _over(draw, lengths))


def _agg(draw: Any, lengths: list[str], funcs: list[str] | None = None) -> Agg:
    func = draw(st.sampled_from(funcs or sorted(ARGUMENTS)))
    distinct = funcs is None and func not in NO_DISTINCT and draw(st.integers(0, 2)) == 2
    return Agg(
        func,
        draw(st.sampled_from(ARGUMENTS[func] or (None,))),
        _over(draw, lengths),
        by=draw(st.sampled_from(["i", "x", "s", "t"])) if func.startswith("arg_") else None,
        param=draw(st.sampled_from(PARAMS[func])) if func in PARAMS else None,
        where=draw(st.sampled_from(CONDS)) if draw(st.integers(0, 3)) == 3 else None,
        distinct=distinct,
    )


NO_DISTINCT = ("count_star", "count_distinct", "bool_and", "bool_or")
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "count_star": (),
    "count": ALL,
    "count_distinct": ALL,
    "sum": NUMBERS,
    "avg": NUMBERS,
    "min": (*ALL, "t"),
    "max": (*ALL, "t"),
    "stddev_samp": NUMBERS,
    "stddev_pop": NUMBERS,
    "var_samp": NUMBERS,
    "var_pop": NUMBERS,
    "median": NUMBERS,
    "quantile_cont": ("i", "x", "cx"),
    "approx_quantile": ("i", "x"),
    "approx_count_distinct": ("i", "s", "sb"),
    "first": (*ALL, "t"),
    "last": ALL,
    "arg_max": (*ALL, "t"),
    "arg_min": ALL,
    "mode": ALL,
    "bool_and": ("b",),
    "bool_or": ("b",),
    "list": ALL,
    "string_agg": ("s", "sb"),
}
PARAMS: dict[str, list[Any]] = {
    "quantile_cont": ["0.5", "0.25", "0.9"],
    "approx_quantile": ["0.5", "0.9"],
    "list": [1, 3],
    "string_agg": [",", "--"],
}


def _chains(draw: Any, features: tuple[Feature, ...], static: Feature, lengths: list[str]) -> tuple[Chain, ...]:
    exact = {f.name: [n for n, e in f.outputs if _is_exact(e)] for f in (*features, static)}
    target = draw(st.sampled_from([f for f in (*features, static) if exact[f.name]]))
    column = draw(st.sampled_from(exact[target.name]))
    rows_decide = not target.at_t and target.ttl is None
    join = draw(st.sampled_from(["LEFT", "INNER"])) if rows_decide else "LEFT"
    joined = _chained(draw, Feature("g", ("u",), (("g_a", Col("a")), ("g_ref", Col("ref_value")))), lengths)
    chains = [Chain(joined, target.name, {"ref_value": column}, join)]
    for plain in features:
        if not plain.at_t and plain.interval is None and plain.ttl is None and plain.delay == "0s" and len(chains) == 1:
            first = _chained(draw, Feature("h", plain.keys, (("h_ref", Col("ref_value")),)), lengths)
            chains.append(Chain(first, plain.name, {"ref_value": plain.outputs[0][0]}, "FROM"))
    return tuple(chains)


def _chained(draw: Any, feature: Feature, lengths: list[str]) -> Feature:
    """The feature with windows over what it reads, and settings of its own."""
    funcs = draw(st.lists(st.sampled_from(["count", "last", "count_distinct", "max"]), max_size=2))
    aggs = [(f"{feature.name}_{n}", Agg(func, "ref_value", _over(draw, lengths))) for n, func in enumerate(funcs)]
    return replace(
        feature,
        outputs=(*feature.outputs, *aggs),
        closed=draw(st.sampled_from([None, "left", "right"])),
        delay=draw(st.sampled_from(["0s", "0s", "1s", "1h"])),
        interval=draw(st.sampled_from([None, None, "1h", "1d", "1mo"])),
    )


FLOATING = ("x", "r", "cx")
_EXACT_FUNCS = {"count_star", "count", "count_distinct", "sum", "min", "max", "first", "last", "mode", "string_agg"}


def _is_exact(expr: Expr) -> bool:
    if isinstance(expr, Agg):
        return expr.func in _EXACT_FUNCS and not (expr.func == "sum" and expr.arg in FLOATING)
    return isinstance(expr, Col)


def _on_demand(features: tuple[Feature, ...]) -> tuple[OnDemand, ...]:
    for feature in features:
        for name, expr in feature.outputs:
            if isinstance(expr, Agg) and expr.func in ("count_star", "count", "sum", "avg"):
                return (OnDemand("od", feature.name, name),)
    return ()
