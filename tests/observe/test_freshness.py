"""Ages of sources and features, against the limits that they state."""

from __future__ import annotations

import datetime
import os
from typing import TYPE_CHECKING, Any

import pytest

import mlforge as mlf
from mlforge.errors import UsageError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

    from mlforge.observe.freshness import Freshness

NOW = datetime.datetime(2024, 6, 10, 12, tzinfo=datetime.UTC)
HOURS = 3600.0


@pytest.fixture
def small(tmp_path: Path) -> Small:
    made = Small(tmp_path)
    made.rows("1, '2024-06-10 09:00', 5", "1, '2024-06-01', 6")
    return made


def source(small: Small, settings: str, name: str = "ev") -> None:
    small.config(f"name: small\nsources:\n  {name}: {{{settings}}}\nentities:\n  user: {{key: k}}\n")


def ages(small: Small, *names: str, now: datetime.datetime = NOW, **options: Any) -> dict[str, Freshness]:
    return {f.name: f for f in small.forge.freshness(names, now=now, **options)}


def stamp(small: Small, path: str, *times: str) -> None:
    """Write a file that holds nothing but these times as ``t``."""
    small.write(path, " UNION ALL ".join(f"SELECT 1 AS k, TIMESTAMP '{t}' AS t" for t in times))


# --- sources


@pytest.mark.parametrize(
    ("limits", "state"),
    [
        ("max_age: 4h", "fresh"),
        ("max_age: 3h", "fresh"),
        ("max_age: 2h", "stale"),
        ("max_age: 1d, warn_age: 2h", "warn"),
        ("max_age: 1d, warn_age: 3h", "fresh"),
        ("max_age: 2h, warn_age: 1h", "stale"),
        ("warn_age: 1h", "warn"),
        ("max_age: 1mo", "fresh"),
    ],
)
def test_the_limits_of_a_source(small: Small, limits: str, state: str) -> None:
    source(small, f"path: data/ev.parquet, timestamp: t, {limits}")
    found = ages(small)["ev"]
    assert (found.state, found.age, found.basis) == (state, 3 * HOURS, "timestamp t")
    assert found.failed == (state == "stale")


def test_a_limit_of_months_goes_by_the_calendar(small: Small) -> None:
    source(small, "path: data/ev.parquet, timestamp: t, max_age: 1mo")
    stamp(small, "data/ev.parquet", "2024-02-10 12:00")
    assert ages(small, now=datetime.datetime(2024, 3, 10, 12))["ev"].state == "fresh"
    assert ages(small, now=datetime.datetime(2024, 3, 10, 12, 1))["ev"].state == "stale"


def test_rows_in_the_future_make_nothing_fresh(small: Small) -> None:
    source(small, "path: data/ev.parquet, timestamp: t, max_age: 2h")
    stamp(small, "data/ev.parquet", "2024-06-10 09:00", "2024-06-10 12:00:00.000001", "9999-01-01", "infinity")
    found = ages(small)["ev"]
    assert (found.state, found.age, found.later) == ("stale", 3 * HOURS, 2)
    stamp(small, "data/ev.parquet", "2124-01-01", "2125-01-01")
    found = ages(small)["ev"]
    assert (found.state, found.newest, found.later) == ("unknown", None, 2)
    assert found.text == "no row has a time that is not in the future"


ROWS = "1 AS k, TIMESTAMP '2024-06-09' AS t, TIMESTAMP '2024-06-10 11:00' AS l, DATE '2024-06-08' AS c"


@pytest.mark.parametrize(
    ("settings", "query", "basis", "hours"),
    [
        ("loaded_at: l, timestamp: t, cursor: c", ROWS, "loaded_at l", 1),
        ("timestamp: t, cursor: c", ROWS, "timestamp t", 36),
        ("timestamp: T", ROWS, "timestamp T", 36),
        ("cursor: c", ROWS, "cursor c", 60),
        ("cursor: k", ROWS, "newest file", 5),
        ("timestamp: t", "'10/06/2024' AS t", "newest file", 5),
        ("description: x", ROWS, "newest file", 5),
        ("timestamp: t", "TIMESTAMPTZ '2024-06-10 12:00:00+02' AS t", "timestamp t", 2),
    ],
)
def test_what_the_age_of_a_source_is_counted_by(
    small: Small, settings: str, query: str, basis: str, hours: float
) -> None:
    source(small, f"path: 'data/*.parquet', {settings}, max_age: 1d")
    for name, at in (("ev", 5), ("older", 9)):
        path = small.write(f"data/{name}.parquet", f"SELECT {query}")
        os.utime(path, (NOW.timestamp() - at * HOURS,) * 2)
    found = ages(small)["ev"]
    assert (found.basis, found.age) == (basis, hours * HOURS)


def test_a_file_from_the_future_makes_nothing_fresh(small: Small) -> None:
    source(small, "path: 'data/*.parquet', max_age: 1d")
    for name, hours in (("ev", -1), ("older", 9)):
        os.utime(small.write(f"data/{name}.parquet", "SELECT 1 AS k"), (NOW.timestamp() - hours * HOURS,) * 2)
    found = ages(small)["ev"]
    assert (found.state, found.age, found.later) == ("fresh", 9 * HOURS, 1)


def test_rows_that_were_replaced_or_deleted_show_that_a_source_lives(small: Small) -> None:
    keys = "loaded_at: l, unique_key: k, deleted: gone"
    source(small, f"path: data/ev.parquet, {keys}, max_age: 2h")
    small.write("data/ev.parquet", "SELECT 1 AS k, TIMESTAMP '2024-06-10 11:00' AS l, true AS gone")
    assert ages(small)["ev"].state == "fresh"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ("path: data/none.parquet, max_age: 1d", "source 'ev': no parquet file at data/none.parquet"),
        ("path: data/ev.parquet, timestamp: tt, max_age: 1d", "source 'ev' has no column 'tt', its timestamp"),
        ("path: data/empty.parquet, timestamp: t, max_age: 1d", "no rows"),
        ("path: data/own.duckdb, table: nope, max_age: 1d", "Table with name nope does not exist"),
    ],
)
def test_an_age_that_cannot_be_told_fails(small: Small, settings: str, text: str) -> None:
    small.write("data/empty.parquet", "SELECT 1 AS k, TIMESTAMP '2024-01-01' AS t WHERE false")
    mlf_file = small.root / "data/own.duckdb"
    if "own" in settings:
        import duckdb

        duckdb.connect(str(mlf_file)).close()
    source(small, settings)
    found = ages(small)["ev"]
    assert (found.state, found.failed, found.age) == ("unknown", True, None)
    assert text in str(found.text)


def test_rows_that_cannot_be_read_fail_alone(small: Small) -> None:
    options = "options: {header: true, columns: {k: BIGINT, t: TIMESTAMP}}"
    good = "path: data/ev.parquet, timestamp: t, max_age: 1d"
    bad = f"path: data/bad.csv, timestamp: t, max_age: 1d, {options}"
    small.config(f"name: small\nsources:\n  ev: {{{good}}}\n  bad: {{{bad}}}\nentities:\n  user: {{key: k}}\n")
    (small.root / "data/bad.csv").write_text("k,t\n1,2024-01-01 00:00:00\n2,never\n")
    found = ages(small)
    assert (found["ev"].state, found["bad"].state) == ("fresh", "unknown")
    assert found["bad"].text == "source 'bad': column 't' is TIMESTAMP, and data/bad.csv, row 2 holds 'never' (VARCHAR)"


def test_a_source_given_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    monkeypatch.chdir(tmp_path)
    rows = pa.table({"t": pa.array([datetime.datetime(2024, 6, 10, 11)])})
    given = [mlf.Source("a", data=rows, timestamp="t", max_age="30m"), mlf.Source("b", data=rows, max_age="1d")]
    project = mlf.Definitions("p", sources=given)
    found = {f.name: f for f in project.freshness(now=NOW)}
    assert (found["a"].state, found["a"].age) == ("stale", HOURS)
    assert (found["b"].state, found["b"].text) == ("unknown", "it names neither loaded_at nor timestamp")


# --- features

PLAIN = '{{{{ config(entity="user", timestamp="t", max_age="{age}") }}}}\nSELECT k, t, x FROM {{{{ source("ev") }}}}\n'


@pytest.mark.parametrize(("age", "state"), [("3h", "fresh"), ("2h", "stale")])
def test_a_feature_is_as_old_as_its_newest_event(small: Small, age: str, state: str) -> None:
    small.feature("f", PLAIN.format(age=age))
    small.good()
    found = ages(small)["f"]
    assert (found.state, found.age, found.basis, found.version) == (state, 3 * HOURS, "event time", "1.0.0")
    assert found.max_age == age


def test_only_rows_of_the_current_version_count(small: Small) -> None:
    small.feature("f", PLAIN.format(age="3h"))
    small.good()
    small.rows("1, '2024-06-10 11:00', 5", "1, '2024-06-01', 6")
    assert small.good() == {"f": "1.0.1"}
    assert ages(small)["f"].age == HOURS
    small.forge.rollback("f")
    assert ages(small)["f"].age == 3 * HOURS


def test_events_after_the_build_were_in_the_future_then(small: Small) -> None:
    small.feature("f", PLAIN.format(age="3h"))
    small.rows("1, '2024-06-10 09:00', 5", "1, '2199-06-01', 6")
    small.good()
    found = ages(small, now=datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC))["f"]
    assert (found.state, found.newest, found.later) == ("stale", datetime.datetime(2024, 6, 10, 9), 1)


def test_windows_with_and_without_snapshots(small: Small) -> None:
    """A row that leaves a window makes a snapshot, which says nothing of new events."""
    windows = "SELECT k, t, SUM(x) OVER last_7d AS s FROM {{ source('ev') }}"
    small.feature("exact", f'{{{{ config(entity="user", timestamp="t", max_age="2d") }}}}\n{windows}')
    small.feature("daily", f'{{{{ config(entity="user", timestamp="t", interval="1d", max_age="2d") }}}}\n{windows}')
    rows = "SELECT k, t, x FROM {{ source('ev') }}"
    small.feature(
        "kept", f'{{{{ config(entity="user", timestamp="t", interval="1d", ttl="4d", max_age="2d") }}}}\n{rows}'
    )
    small.rows("1, '2024-06-01 09:00', 5", "1, '2024-06-05', 7")
    small.good()
    assert small.sql("SELECT max(t) FROM features.daily") == [(datetime.datetime(2024, 6, 13),)]
    found = ages(small)
    assert found["exact"].newest == found["daily"].newest == datetime.datetime(2024, 6, 5)
    assert (found["exact"].state, found["daily"].state) == ("stale", "stale")
    assert found["daily"].basis == "event time in the sources"
    assert (found["kept"].state, found["kept"].newest) == ("stale", datetime.datetime(2024, 6, 5))
    bare = {f.name: f for f in mlf.open(small.catalog).freshness(now=NOW)}
    assert (bare["exact"].basis, bare["exact"].newest) == ("event time", datetime.datetime(2024, 6, 5))
    assert (bare["daily"].basis, bare["daily"].newest) == ("snapshot", datetime.datetime(2024, 6, 9))


def test_a_feature_without_time_is_as_old_as_its_version(small: Small) -> None:
    text = "SELECT k, max(x) AS x FROM {{ source('ev') }} GROUP BY k"
    small.feature("f", f'{{{{ config(entity="user", max_age="1d") }}}}\n{text}')
    small.good()
    later = datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC)
    found = ages(small, now=later)["f"]
    assert (found.state, found.basis, found.newest) == ("stale", "build", found.built_at)
    assert found.built_at is not None
    soon = found.built_at.replace(tzinfo=datetime.UTC) + datetime.timedelta(hours=1)
    assert (ages(small, now=soon)["f"].state, ages(small, now=soon)["f"].age) == ("fresh", HOURS)


def test_a_limit_counts_before_the_next_build(small: Small) -> None:
    small.feature("f", PLAIN.format(age="3h"))
    small.feature("new", PLAIN.format(age="3h"))
    small.good("f")
    small.feature("f", PLAIN.format(age="1h"))
    found = ages(small)
    assert (found["f"].state, found["f"].max_age) == ("stale", "1h")
    assert (found["new"].state, found["new"].text) == ("unknown", "not built yet")


def test_a_file_that_does_not_render_keeps_the_limit_that_was_built(small: Small) -> None:
    small.feature("f", PLAIN.format(age="2h"))
    small.good()
    small.feature("f", "{{ config(entity='user') }} SELECT {{ nothing }}")
    assert ages(small)["f"].state == "stale"


# --- what is asked for


def test_what_states_no_limit_is_left_out_unless_it_is_asked_for(small: Small) -> None:
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}\n')
    small.feature("g", PLAIN.format(age="3h"))
    small.feature("d", '{{ config(entity="user", on_demand=true) }}\nSELECT x + 1 AS y FROM {{ ref("f") }}\n')
    small.good()
    assert list(ages(small)) == ["g"]
    assert list(ages(small, everything=True)) == ["ev", "f", "g"]
    assert [(f.state, f.failed) for f in ages(small, "f").values()] == [("unlimited", False)]
    assert list(ages(small, "ev", "g")) == ["ev", "g"]


def test_an_unknown_name(small: Small) -> None:
    with pytest.raises(UsageError) as caught:
        ages(small, "eve")
    assert (caught.value.message, caught.value.hint) == ("there is no source or feature 'eve'", "did you mean 'ev'?")


def test_tables_of_the_catalog_itself(tmp_path: Path) -> None:
    import duckdb

    tables = "  a: {table: main.a, timestamp: t, max_age: 1h}\n  b: {table: main.a, max_age: 1h}\n"
    small = Small(tmp_path, f"name: small\nsources:\n{tables}entities:\n  user: {{key: k}}\n")
    with duckdb.connect(str(small.catalog)) as con:
        con.execute("CREATE TABLE a AS SELECT 1 AS k, TIMESTAMP '2024-06-10 11:30' AS t")
    found = ages(small)
    assert (found["a"].state, found["b"].state) == ("fresh", "unknown")
