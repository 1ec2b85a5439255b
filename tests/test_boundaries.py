"""Where intervals begin and windows end: the SQL of retrieval, that of the proof and the online store's Python against a
plain program over zoneinfo, around every change of the clock."""

from __future__ import annotations

import datetime as dt
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from mlforge.catalog import reader
from mlforge.model import Duration
from mlforge.online import Client, interval_bounds
from mlforge.publishing.run import Settings, publish
from mlforge.sql.templates import _environment
from mlforge.stores.opening import open_store
from tests.oracle.clock import HOUR, boundary, minus, moment, shown, us
from tests.oracle.strategies import ANCHORS, LENGTHS
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

ZONES = {
    "America/Havana": "midnight comes twice every autumn",
    "Atlantic/Azores": "so it does here",
    "America/Scoresbysund": "and here",
    "Asia/Amman": "twice in autumn, never in spring",
    "America/Sao_Paulo": "never in spring; put back from midnight to 23:00",
    "America/Asuncion": "the same",
    "Africa/Cairo": "never in spring",
    "America/St_Johns": "put back at 00:01, so that the day before is shown once more",
    "America/Goose_Bay": "the same, by two hours in 1988",
    "Antarctica/Casey": "by three hours",
    "Pacific/Apia": "30 December 2011 does not exist",
    "Pacific/Kwajalein": "neither does 21 August 1993",
    "Pacific/Kiritimati": "nor the last day of 1994",
    "Australia/Lord_Howe": "half an hour",
    "Asia/Pyongyang": "half an hour, at midnight",
    "America/Caracas": "half an hour",
    "Asia/Kathmandu": "a quarter of an hour",
    "America/New_York": "by night",
    "Asia/Kolkata": "never",
}
FIRST, LAST = us("1976-01-01"), us("2025-01-01")  # what is older or newer differs between editions of the time zones
INTERVALS = ["1d", "2d", "7d", "1w", "2w", "1mo", "3mo", "1y", "5y"]
NEAR = [0, 0, 1, -1, HOUR // 2, HOUR // 2 - 1, HOUR, -HOUR, 24 * HOUR, -24 * HOUR]


@cache
def changes(zone: str) -> tuple[int, ...]:
    """The instants at which a clock of the zone is moved."""
    found: list[int] = []
    at = FIRST
    offset = shown(at, zone) - at
    while at < LAST:
        later = at + 3 * 24 * HOUR  # no two changes are nearer
        if shown(later, zone) - later != offset:
            low, high = at, later
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if shown(middle, zone) - middle == offset else (low, middle)
            found.append(high)
            offset = shown(later, zone) - later
        at = later
    return tuple(found)


@st.composite
def instants(draw: st.DrawFn, moved: tuple[int, ...]) -> int:
    if moved and draw(st.integers(0, 3)):
        return draw(st.sampled_from(moved)) + draw(st.sampled_from(NEAR)) + draw(st.sampled_from([0, 0, -1, 1]))
    return draw(st.integers(FIRST, LAST))


MACROS = """{% import "lib/time.sql.j2" as time %}{% import "verify/lib.sql.j2" as lib -%}
SELECT x, {{ time.boundary("x", b.interval, b.timezone) }}, {{ time.boundary("(x - 1)", b.interval, b.timezone, after=true) }},
  [{% for b in moved %}epoch_us({{ lib.boundary("make_timestamp(x)", b) }}){{ ", " if not loop.last }}{% endfor %}]
FROM (SELECT unnest({{ instants }}::BIGINT[]) AS x)"""


@pytest.mark.parametrize("zone", ZONES)
@seed(0)
@settings(max_examples=5, deadline=None, database=None)
@given(data=st.data())
def test_boundaries_are_those_of_a_plain_clock(zone: str, data: st.DataObject) -> None:
    asked = data.draw(st.lists(instants(changes(zone)), min_size=20, max_size=60))
    text = data.draw(st.sampled_from(INTERVALS))
    length = Duration.parse(text)
    moved = [SimpleNamespace(interval=length, timezone=zone, step=step) for step in (0, -1, 1)]
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'Asia/Tokyo'")
        query = _environment().from_string(MACROS).render(b=moved[0], moved=moved, instants=asked)
        rows = con.execute(query).fetchall()
    for x, last, first, proof in rows:
        expected = boundary(x, text, zone)
        assert (last, interval_bounds.boundary(x, length.n, length.unit, zone)) == (expected, expected), moment(x)
        assert last <= x <= first, moment(x)
        following = proof[2]
        assert first == (last if last == x else following), moment(x)
        assert boundary(following, text, zone) == following > x, moment(x)
        assert boundary(following - 1, text, zone) == expected, moment(x)
        assert proof[:2] == [expected, boundary(expected - 1, text, zone)], moment(x)


@pytest.mark.parametrize("closed", ["left", "right"])
@seed(0)
@settings(max_examples=20, deadline=None, database=None)
@given(data=st.data())
def test_a_row_leaves_a_window_at_the_instant_that_is_named(closed: str, data: st.DataObject) -> None:
    days = st.sampled_from([us(f"20{y}-{m:02}-01") for y in (23, 24) for m in range(1, 13)] + ANCHORS)
    near = st.sampled_from([0, 1, -1, 5 * HOUR, 24 * HOUR, -24 * HOUR, -1 - 24 * HOUR, -19 * HOUR, 10 * HOUR])
    rows = data.draw(st.lists(st.builds(int.__add__, days, near), min_size=20, max_size=60))
    text = data.draw(st.sampled_from([*LENGTHS, "11mo", "13mo"]))
    template = '{% import "lib/time.sql.j2" as time %}{{ time.exit("t", d, closed) }}'
    exit_ = _environment().from_string(template).render(d=Duration.parse(text), closed=closed)
    with duckdb.connect() as con:
        found = con.execute(f"SELECT t, {exit_} FROM (SELECT unnest({rows}::BIGINT[]) AS t)").fetchall()
    for t, out in found:
        inside = [minus(at, text) <= t if closed == "left" else minus(at, text) < t for at in (out - 1, out)]
        assert inside == [True, False], (moment(t), text, moment(out))


def test_the_clock_knows_the_last_year_there_is() -> None:
    end = us("9999-12-31T23:00")
    assert interval_bounds.boundary(end, 1, "d", "UTC") == us("9999-12-31T00:00")
    assert interval_bounds.boundary(end, 1, "mo", "America/New_York") == us("9999-12-01T05:00")
    assert interval_bounds.boundary(end, 1, "y", "America/New_York") == us("9999-01-01T05:00")


# -- values


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    made = Small(tmp_path_factory.mktemp("boundaries"))
    made.rows(
        "1, TIMESTAMP '2024-01-31 05:00', 7",
        "2, TIMESTAMP '2024-02-29 05:00', 7",
        "3, TIMESTAMP '2024-11-03 04:30', 1",
        "3, TIMESTAMP '2024-11-03 05:30', 10",
        "4, TIMESTAMP '2011-12-30 09:00', 1",
        "4, TIMESTAMP '2011-12-30 11:00', 10",
    )
    config = '{{ config(entity="user", timestamp="t", %s) }} SELECT k, t, %s FROM {{ source("ev") }}'
    for name, more, columns in (
        ("month", 'interval="6h"', "COUNT(*) OVER last_1mo AS n"),
        ("year", 'interval="6h"', "COUNT(*) OVER last_1y AS n"),
        ("old", 'interval="6h", closed="left", ttl="1mo"', "x AS n"),
        ("exact", 'closed="left"', "COUNT(*) OVER last_1mo AS n"),
        ("havana", 'interval="1d", timezone="America/Havana"', "SUM(x) OVER ever AS n, as_of() AS at"),
        ("apia", 'interval="1d", timezone="Pacific/Apia"', "SUM(x) OVER ever AS n, as_of() AS at"),
    ):
        made.feature(name, config % (more, columns))
    made.good()
    return made


@pytest.mark.parametrize(
    ("feature", "key", "at", "expected"),
    [
        ("month", 1, "2024-02-29 23:59", 1),
        ("month", 1, "2024-03-01 00:00", 0),  # there is no 31 February: it left as March began
        ("month", 1, "2024-03-01 05:59", 0),
        ("exact", 1, "2024-02-29 23:59:59.999999", 1),
        ("exact", 1, "2024-03-01 00:00", 0),
        ("old", 1, "2024-02-29 23:59", 7),
        ("old", 1, "2024-03-01 00:00", None),
        ("year", 2, "2025-02-28 23:59", 1),
        ("year", 2, "2025-03-01 00:00", 0),
        ("month", 2, "2024-03-29 05:59", 1),
        ("month", 2, "2024-03-29 06:00", 0),
    ],
)
def test_a_row_of_a_day_that_the_later_month_lacks_leaves_as_the_next_one_begins(
    small: Small, feature: str, key: int, at: str, expected: int | None
) -> None:
    assert small.ask(feature, f"({key}, '{at}')") == [(expected,)]


@pytest.mark.parametrize("most", [500, 2])  # 2: the key is coarsened to whole seconds or more
def test_it_does_so_online(small: Small, tmp_path: Path, most: int) -> None:
    store = open_store({"kind": "sqlite", "path": str(tmp_path / "online.db")})
    with small.forge._reading() as con:
        at = Settings("small", now=us("2024-02-29T12:00"), max_points=most)
        publish(con, reader.state(con), store, at, ("exact", "month"), ())
    client = Client(store, "small")
    for at, expected in (("2024-02-29T23:59:59", 1), ("2024-03-01T00:00:00", 0), ("2024-03-01T00:00:01", 0)):
        found = [client.get_online_features(name, [{"k": 1}], at=at)[0]["n"] for name in ("exact", "month")]
        assert found == [expected, expected], at
    store.close()


ZONED = [
    ("havana", 3, "2024-11-03 03:59:59", None, "2024-11-02 04:00:00"),
    ("havana", 3, "2024-11-03 04:00:00", None, "2024-11-03 04:00:00"),  # the first midnight
    ("havana", 3, "2024-11-03 05:00:00", None, "2024-11-03 04:00:00"),  # the second, and still the same day
    ("havana", 3, "2024-11-03 23:00:00", None, "2024-11-03 04:00:00"),
    ("havana", 3, "2024-11-04 05:00:00", 11, "2024-11-04 05:00:00"),
    ("apia", 4, "2011-12-30 09:59:59", None, "2011-12-29 10:00:00"),
    ("apia", 4, "2011-12-30 10:00:00", 1, "2011-12-30 10:00:00"),  # 31 December begins, after the 29th
    ("apia", 4, "2011-12-31 10:00:00", 11, "2011-12-31 10:00:00"),
]


@pytest.mark.parametrize(("feature", "key", "at", "expected", "read_at"), ZONED)
def test_a_day_begins_once(small: Small, feature: str, key: int, at: str, expected: int | None, read_at: str) -> None:
    boundary = dt.datetime.fromisoformat(read_at)
    assert small.ask(feature, f"({key}, '{at}')") == [(expected, boundary)]
    assert small.forge.explain(feature, [str(key)], at).read_at == boundary
    verified = small.forge.verify(feature, f"SELECT {key} AS k, TIMESTAMP '{at}' AS label_time")
    assert verified.passed, verified
