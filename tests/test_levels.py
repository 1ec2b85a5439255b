"""What DuckDB's versions answer differently is the same with each of them, and under any reader's settings."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from mlforge.errors import GrammarError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = """k BIGINT, t TIMESTAMP, a INTEGER, b INTEGER, x DOUBLE, d DECIMAL(9,2), u UBIGINT, w INTERVAL,
    s VARCHAR, i0 TIMESTAMP, z DOUBLE"""
ROWS = (
    "1, '2024-01-01', 7, 0, 7.5, 7.25, 7, INTERVAL 1 DAY, 'x', '2024-01-01', 0.0",
    "1, '2024-01-02', 7, 2, 7.5, 7.25, 7, INTERVAL 1 DAY, '5', '2024-01-03', 2.0",
    "2, '2024-01-01', 1, 0, 1.0, 1.00, 1, INTERVAL 1 DAY, 'x', '2024-01-03', 0.0",
)
TIMED = '{{ config(entity="user", timestamp="t") }}\n'
STATIC = '{{ config(entity="user") }}\n'
AT = "(1, '2024-01-01 12:00'), (1, '2024-02-01'), (3, '2024-02-01')"
NAN = math.nan

# expression over the rows -> what it gives with b = 0 and with b = 2
DIVISIONS: dict[str, tuple[Any, Any]] = {
    "a // b": (None, 3),
    "a % b": (None, 1),
    "mod(a, b)": (None, 1),
    "divide(a, b)": (None, 3),
    "a.mod(b)": (None, 1),
    "a.divide(b)": (None, 3),
    "(a + 1) // (b * 1)": (None, 4),
    "100 // (a // b)": (None, 33),
    "x // b": (None, 3.75),
    "x % z": (NAN, 1.5),
    "fmod(x, b)": (NAN, 1.5),
    "x / b": (math.inf, 3.75),
    "a / b": (math.inf, 3.5),
    "(d % b)::DOUBLE": (None, 1.25),
    "(d // b)::DOUBLE": (None, 3.625),
    "(a::HUGEINT // b)::BIGINT": (None, 3),
    "(a::HUGEINT % b)::BIGINT": (None, 1),
    "u // b::UBIGINT": (None, 3),
    "epoch(w / b)": (None, 43200.0),
    "epoch((i0 - TIMESTAMP '2024-01-01') / b)": (None, 86400.0),
    "(w / b)::VARCHAR": (None, "12:00:00"),
    "list_sum(list_transform([8, 6], lambda v: v // b))::BIGINT": (None, 7),
    "a // nullif(b, 0)": (None, 3),
    "a // 2": (3, 3),
    "coalesce(a // b, -1)": (-1, 3),
    "CASE WHEN b <> 0 THEN a // b ELSE 0 END": (0, 3),
    "gcd(a, b)": (7, 1),
}

# output expression -> its values at AT: one row with b = 0; that and one with b = 2; no row
WINDOWS: dict[str, tuple[Any, Any, Any]] = {
    "SUM(a // b) OVER ever": (None, 3, None),
    "SUM(a // b) FILTER (WHERE b <> 0) OVER ever": (None, 3, None),
    "SUM(a) OVER ever // SUM(b) OVER ever": (None, 7, None),
    "SUM(a) OVER ever % COUNT(*) FILTER (WHERE b > 0) OVER ever": (None, 0, None),
    "COUNT(*) OVER ever // COUNT(b) OVER ever": (1, 1, None),
    "10 % COUNT(*) OVER ever": (0, 0, None),
    "SUM(a) OVER ever / COUNT(*) OVER ever": (7.0, 7.0, None),
    "epoch(MAX(w) OVER ever / SUM(b) OVER ever)": (None, 43200.0, None),
    "epoch((as_of() - MAX(t) OVER ever) / SUM(b) OVER ever)": (None, 1296000.0, None),
    "SUM(CAST(s AS INTEGER)) FILTER (WHERE s <> 'x') OVER ever": (None, 5, None),
    "COUNT(strptime(s, '%d')) FILTER (WHERE s = '5') OVER ever": (0, 1, 0),
    "SUM(CAST(s AS INTEGER)) FILTER (WHERE s = '5') OVER ever + "
    "SUM(CAST(s AS INTEGER)) FILTER (WHERE s > '4' AND s < '6') OVER ever": (None, 10, None),
    "AVG(ln(b)) FILTER (WHERE b > 0) OVER ever": (None, math.log(2), None),
    "b // z": (None, 1.0, None),
}

# query -> what it gives for keys 1 and 2
GROUPS: dict[str, tuple[Any, Any]] = {
    "SELECT k, (SUM(a // b) FILTER (WHERE b <> 0))::BIGINT AS v FROM EV GROUP BY k": (3, None),
    "SELECT k, (SUM(s::INT) FILTER (WHERE s = '5'))::BIGINT AS v FROM EV GROUP BY k": (5, None),
    "SELECT k, list(s::INT ORDER BY s::INT) FILTER (WHERE s = '5') AS v FROM EV GROUP BY k": ([5], None),
    "SELECT k, COUNT(DISTINCT s::INT) FILTER (WHERE s = '5') AS v FROM EV GROUP BY k": (1, 0),
    "SELECT k, (SUM(a * 400000000) FILTER (WHERE a < 5))::BIGINT AS v FROM EV GROUP BY k": (None, 400000000),
    "SELECT k, (SUM(a) // MAX(b))::BIGINT AS v FROM EV GROUP BY k": (7, None),
    "SELECT k, max(n)::BIGINT AS v FROM (SELECT k, SUM(s::INT) FILTER (WHERE s = '5') OVER (PARTITION BY k) AS n FROM EV) "
    "GROUP BY k": (5, None),
    "WITH c AS (SELECT k, max(b) AS b FROM EV WHERE coalesce(a // b, 0) = 0 GROUP BY k) SELECT k, b AS v FROM c": (
        0,
        0,
    ),
    "WITH c AS (SELECT k, max(i0 - TIMESTAMP '2024-01-01') AS a, max(b) AS b FROM EV GROUP BY k) "
    "SELECT k, epoch(a / b) AS v FROM c": (86400.0, None),
    "SELECT e.k, (SELECT max(7 // f.b) FROM EV f WHERE f.k = e.k) AS v FROM EV e GROUP BY e.k": (3, None),
}


def names(forms: dict[str, Any], letter: str) -> dict[str, str]:
    return {f"{letter}{n}": form for n, form in enumerate(forms)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Small:
    small = Small(tmp_path_factory.mktemp("levels"))
    small.rows(*ROWS, columns=COLUMNS)
    source = '{{ source("ev") }}'
    plain = ", ".join(f"{form} AS {name}" for name, form in names(DIVISIONS, "p").items())
    small.feature("plain", f"{TIMED}SELECT k, t, {plain} FROM {source}")
    windows = ", ".join(f"{form} AS {name}" for name, form in names(WINDOWS, "w").items())
    small.feature("windows", f"{TIMED}SELECT k, t, {windows} FROM {source}")
    for name, form in names(GROUPS, "g").items():
        small.feature(name, STATIC + form.replace("EV", source))
    small.feature(
        "asked",
        '{{ config(entity="user", on_demand=true, request={"n": "INTEGER", "f": "DOUBLE"}) }}\n'
        'SELECT w2 // n AS o0, w2 % n AS o1, f % n AS o2, 5 // w2 AS o3 FROM {{ ref("windows") }}',
    )
    small.good()
    return small


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and math.isnan(expected):
        return isinstance(found, float) and math.isnan(found)
    return bool(found == expected) and type(found) is type(expected)


def ways(small: Small, feature: str, labels: str, request: str = "") -> list[list[tuple[Any, ...]]]:
    """The rows that Python gives, and those that the macro gives to a reader with DuckDB's own settings."""
    query = f"SELECT k, label_time::TIMESTAMP AS label_time{request} FROM (VALUES {labels}) v(k, label_time)"
    table = small.forge.get_training_data([feature], query)
    with duckdb.connect(str(small.catalog), read_only=True) as con:
        con.execute(f"CREATE TEMP TABLE labels AS {query}")
        return [
            list(zip(*(c.to_pylist() for c in table.columns), strict=True)),
            con.execute(f"FROM features.{feature}_asof('labels')").fetchall(),
        ]


def test_division_by_zero_of_rows_is_null(built: Small) -> None:
    labels = "(1, '2024-01-01'), (1, '2024-01-02'), (3, '2024-01-01')"
    for zero, two, none in ways(built, "plain", labels):
        for n, (form, (by_zero, by_two)) in enumerate(DIVISIONS.items(), start=2):
            assert same(zero[n], by_zero), form
            assert same(two[n], by_two), form
            assert none[n] is None, form


def test_division_by_zero_of_windows_is_null(built: Small) -> None:
    for rows in ways(built, "windows", AT):
        for n, (form, expected) in enumerate(WINDOWS.items(), start=2):
            assert [same(row[n], v) for row, v in zip(rows, expected, strict=True)] == [True] * 3, (form, rows)


@pytest.mark.parametrize("name", names(GROUPS, "g"))
def test_arguments_behind_filter_are_computed_of_no_other_row(built: Small, name: str) -> None:
    assert built.view(name) == list(enumerate(GROUPS[names(GROUPS, "g")[name]], start=1))


def test_division_by_zero_on_demand_is_null(built: Small) -> None:
    for rows in ways(built, "asked", AT, ", 0 AS n, 2.5 AS f"):
        assert [(row[-4], row[-3], row[-1]) for row in rows] == [
            (None, None, None),
            (None, None, 0),
            (None, None, None),
        ]
        assert [math.isnan(row[-2]) for row in rows] == [True] * 3


def test_a_feature_means_what_was_written(built: Small) -> None:
    """Levelling is no part of a definition: an upgrade of mlforge or of DuckDB makes no version."""
    texts = built.sql("SELECT definition->>'$.sql' FROM mlforge.versions WHERE feature IN ('plain', 'windows', 'g0')")
    assert not [text for (text,) in texts if "NULLIF(b, 0), 0" in text or "CASE WHEN b <> 0 THEN a // b END" in text]
    assert set(built.actions().values()) == {"none"}


MICROS: dict[str, int] = {
    "epoch_ms(t)": 1706745599999,
    "epoch_ms(t - INTERVAL 50000 DAY)": -2613254400001,
    "epoch_ms(t::TIMESTAMPTZ)": 1706745599999,
    "epoch_ms(TIME '00:00:00.0009')": 0,
    "epoch_ms(epoch_ms(86400000))": 86400000,
}


def test_milliseconds_of_a_time_are_floored(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.rows("1, '2024-01-31 23:59:59.999999'", columns="k BIGINT, t TIMESTAMP")
    items = ", ".join(f"{form} AS {name}" for name, form in names(MICROS, "m").items())
    small.feature("f", f'{STATIC}SELECT k, {items} FROM {{{{ source("ev") }}}}')
    small.good()
    assert dict(zip(MICROS, small.view("f")[0][1:], strict=True)) == MICROS


# -- nanoseconds

NS = "TIMESTAMP_NS '2024-01-31 23:59:59.999999999'"
BEFORE = "TIMESTAMP_NS '1969-12-31 23:59:59.999999999'"
LAST = dt.datetime(2024, 1, 31, 23, 59, 59, 999999)
OLD = dt.datetime(1969, 12, 31, 23, 59, 59, 999999)
UTC = dt.UTC

# expression over n: its value one nanosecond before February 2024, and before 1970
TIMES: dict[str, tuple[Any, Any]] = {
    "n::TIMESTAMP": (LAST, OLD),
    "n::DATE": (LAST.date(), OLD.date()),
    "date(n)": (LAST.date(), OLD.date()),
    "TRY_CAST(n AS DATE)": (LAST.date(), OLD.date()),
    "n::TIME": (LAST.time(), OLD.time()),
    "n::DATETIME": (LAST, OLD),
    "n::TIMESTAMP_S": (LAST.replace(microsecond=0), OLD.replace(microsecond=0)),
    "n::TIMESTAMP_MS": (LAST.replace(microsecond=999000), OLD.replace(microsecond=999000)),
    "(n::TIMESTAMPTZ)::VARCHAR": ("2024-01-31 23:59:59.999999+00", "1969-12-31 23:59:59.999999+00"),
    "date_trunc('day', n)": (dt.datetime(2024, 1, 31), dt.datetime(1969, 12, 31)),
    "date_trunc('month', n)": (dt.datetime(2024, 1, 1), dt.datetime(1969, 12, 1)),
    "date_trunc('second', n)": (LAST.replace(microsecond=0), OLD.replace(microsecond=0)),
    "datetrunc('hour', n)": (dt.datetime(2024, 1, 31, 23), dt.datetime(1969, 12, 31, 23)),
    "time_bucket(INTERVAL 1 DAY, n)": (dt.datetime(2024, 1, 31), dt.datetime(1969, 12, 31)),
    "n + INTERVAL 1 DAY": (LAST.replace(month=2, day=1), OLD.replace(year=1970, month=1, day=1)),
    "n - to_days(30)": (LAST.replace(day=1), OLD.replace(day=1)),
    "(n AT TIME ZONE 'UTC')::VARCHAR": ("2024-01-31 23:59:59.999999+00", "1969-12-31 23:59:59.999999+00"),
    "last_day(n)": (LAST.date(), OLD.date()),
    "dayname(n)": ("Wednesday", "Wednesday"),
    "year(n)": (2024, 1969),
    "dayofyear(n)": (31, 365),
    "extract(day FROM n)": (31, 31),
    "date_part('second', n)": (59, 59),
    "epoch_ms(n)": (1706745599999, -1),
    "epoch_us(n)": (1706745599999999, -1),
    "date_diff('day', n, TIMESTAMP '2024-02-02')": (2, 19756),
    "epoch_us(TIMESTAMP '2024-02-01' - n)": (1, 1706745600000001),
    "epoch_us(n - DATE '2024-02-01')": (-1, -1706745600000001),
    "epoch_us(n - TIMESTAMP_NS '1970-01-01 00:00:00.000000001')": (1706745599999999, -1),
    "generate_series(n, n + INTERVAL 1 HOUR, INTERVAL 1 HOUR)[1]": (LAST, OLD),
    "range(n, n + INTERVAL 1 HOUR, INTERVAL 1 HOUR)[1]": (LAST, OLD),
    "(age(TIMESTAMP '2024-02-01', n)) > INTERVAL 0 SECOND": (True, True),
    "epoch_ns(n)": (1706745599999999999, -1),
    "n::VARCHAR": ("2024-01-31 23:59:59.999999999", "1969-12-31 23:59:59.999999999"),
    "n < TIMESTAMP '2024-02-01'": (True, True),
    "strftime(n, '%d %H')": ("31 23", "31 23"),
    "[v::DATE FOR v IN [n]][1]": (LAST.date(), OLD.date()),
    "list_transform([n], lambda v: date_trunc('day', v))[1]": (dt.datetime(2024, 1, 31), dt.datetime(1969, 12, 31)),
    "(SELECT max(o.n::DATE) FROM EV o WHERE o.k = e.k)": (LAST.date(), OLD.date()),
    "coalesce(n::DATE, DATE '2000-01-01')": (LAST.date(), OLD.date()),
}

# output expression with as_of() -> its value at the start of February 2024
SINCE: dict[str, Any] = {
    "date_diff('day', MAX(n) OVER ever, as_of())": 1,
    "date_diff('hour', as_of(), MAX(n) OVER ever)": -1,
    "date_diff('day', n, as_of())": 1,
    "epoch_us(as_of() - MAX(n) OVER ever)": 1,
    "epoch_us(n - as_of())": -1,
    "age(as_of(), MAX(n) OVER ever) > INTERVAL 0 SECOND": True,
    "coalesce(date_diff('day', n, as_of()), 0) + date_diff('day', as_of(), as_of())": 1,
}


@pytest.fixture(scope="module")
def nanos(tmp_path_factory: pytest.TempPathFactory) -> Small:
    small = Small(tmp_path_factory.mktemp("nanos"))
    small.rows(f"1, {NS}", f"2, {BEFORE}", columns="k BIGINT, n TIMESTAMP_NS")
    source = '{{ source("ev") }}'
    items = ", ".join(f"{form} AS {name}" for name, form in names(TIMES, "v").items()).replace("EV", source)
    small.feature("rows", f"{STATIC}SELECT k, {items}, n AS kept FROM {source} e")
    head = '{{ config(entity="user", timestamp="n", closed="right") }}\n'
    small.feature(
        "windows",
        f"{head}SELECT k, n, MAX(n) OVER ever AS top, MAX(n) OVER ever::DATE AS day, COUNT(DISTINCT n::DATE) OVER ever AS d,"
        f" MAX(n::DATE) OVER ever AS days, date_trunc('day', LAST(n) OVER ever) AS start FROM {source}",
    )
    items = ", ".join(f"{form} AS {name}" for name, form in names(SINCE, "v").items())
    small.feature("since", f"{head}SELECT k, n, {items} FROM {source}")
    small.feature(
        "asked",
        '{{ config(entity="user", on_demand=true, request={"r": "TIMESTAMP_NS"}) }}\n'
        "SELECT top::DATE AS day, r::DATE AS own, date_trunc('month', r) AS month FROM {{ ref(\"windows\") }}",
    )
    small.good()
    return small


def test_nanoseconds_are_floored(nanos: Small) -> None:
    february, seventies = nanos.view("rows")
    for n, (form, expected) in enumerate(TIMES.items(), start=1):
        assert (same(february[n], expected[0]), same(seventies[n], expected[1])) == (True, True), (form, february[n])


def test_nanoseconds_beside_as_of_are_floored(nanos: Small) -> None:
    for rows in ways(nanos, "since", "(1, '2024-02-01')"):
        assert rows[0][2:] == tuple(SINCE.values())


def test_nanoseconds_that_are_no_time_of_a_feature_stay(nanos: Small) -> None:
    assert nanos.sql("SELECT typeof(kept), epoch_ns(kept) FROM features.rows ORDER BY kept") == [
        ("TIMESTAMP_NS", -1),
        ("TIMESTAMP_NS", 1706745599999999999),
    ]
    with duckdb.connect(str(nanos.catalog), read_only=True) as con:
        con.execute("CREATE TEMP TABLE labels AS SELECT 1 AS k, TIMESTAMP '2024-02-01' AS label_time")
        (found,) = con.execute(
            "SELECT typeof(top), epoch_ns(top), day, d, days, start FROM features.windows_asof('labels')"
        ).fetchall()
    start = dt.datetime(2024, 1, 31)
    assert found == ("TIMESTAMP_NS", 1706745599999999999, start.date(), 1, start.date(), start)


def test_nanoseconds_on_demand_are_floored(nanos: Small) -> None:
    for rows in ways(nanos, "asked", "(1, '2024-02-01')", f", {NS} AS r"):
        assert rows[0][-3:] == (LAST.date(), LAST.date(), dt.datetime(2024, 1, 1))


@pytest.mark.parametrize(("cast", "word"), [("[n]::TIMESTAMP[]", "list"), ("{'a': n}::STRUCT(a DATE)", "struct")])
def test_casts_of_nanoseconds_inside_values_are_refused(tmp_path: Path, cast: str, word: str) -> None:
    small = Small(tmp_path)
    small.rows(f"1, {NS}", columns="k BIGINT, n TIMESTAMP_NS")
    small.feature("f", f'{STATIC}SELECT k,\n{cast} AS v FROM {{{{ source("ev") }}}}')
    with pytest.raises(GrammarError, match=f"cuts nanoseconds within a {word}") as caught:
        small.forge.plan()
    assert str(caught.value.where) == "features/f.sql:3"
