"""Builds that are asked to look at some event times only, and backfills in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from mlforge.model import Duration
from mlforge.plan.increments import Scope
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400_000_000
CONFIG = "name: small\nsources:\n  ev: {path: data/ev}\nentities:\n  user: {key: k}\n"
FEATURES = {
    "spend": 'interval="1d"',
    "exact": "",
}
TEXT = """{{ config(entity="user", timestamp="t"%s) }}
SELECT k, t, SUM(x) OVER last_7d AS x7, COUNT(*) OVER last_3d AS n3, AVG(x) OVER last_30d AS a30
FROM {{ source("ev") }}
"""
PLAIN = '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}\n'


def day(n: int) -> int:
    """Microseconds of the n-th day of 2024."""
    return (19_723 + n) * DAY


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """Forty days of events, a file a day."""
    project = Small(tmp_path, CONFIG)
    for name, more in FEATURES.items():
        project.feature(name, TEXT % (f", {more}" if more else ""))
    project.feature("rows", PLAIN)
    for n in range(40):
        put(project, n)
    return project


def put(project: Small, n: int, factor: float = 1.0) -> None:
    """Write the file of a day: for each of three users some events at odd hours."""
    project.write(
        f"data/ev/{n:03}.parquet",
        f"SELECT k, TIMESTAMP '2024-01-01' + to_days({n}) + to_hours(CAST(k * 5 AS INTEGER)) AS t,"
        f" CAST((k * 1.5 + {n} * 0.1) * {factor} AS DOUBLE) AS x FROM range(1, 4) r(k)",
    )


def shown(project: Small) -> dict[str, list[tuple[object, ...]]]:
    return {name: project.sql(f"FROM features.{name} ORDER BY ALL") for name in (*FEATURES, "rows")}


def rebuilt(project: Small) -> dict[str, list[tuple[object, ...]]]:
    """What a new catalog of the same sources shows."""
    return {name: project.sql(f"FROM features.{name} ORDER BY ALL") for name in _fresh(project)}


def _fresh(project: Small) -> tuple[str, ...]:
    project.catalog.unlink()
    project.good()
    return (*FEATURES, "rows")


def modes(result) -> dict[str, str | None]:
    assert not result.failed, [f.error for f in result.features]
    return {f.feature: f.mode for f in result.features if f.status == "built"}


def test_until_and_then_the_rest(small: Small) -> None:
    first = small.build(scope=Scope(until=day(20)))
    assert not first.failed
    assert small.sql("SELECT max(t) < TIMESTAMP '2024-01-21' FROM features.rows") == [(True,)]
    plan = small.forge.plan()
    assert {s.feature: s.increment.mode for s in plan.builds} == dict.fromkeys((*FEATURES, "rows"), "incremental")
    assert all("event times from 2024-01-21" in s.reasons for s in plan.builds)
    assert set(modes(small.build()).values()) == {"incremental"}
    assert small.forge.plan().nothing_to_do
    now = shown(small)
    assert now == rebuilt(small)


def test_since_and_then_the_past(small: Small) -> None:
    small.build(scope=Scope(since=day(15), until=day(30)))
    assert small.sql("SELECT count(*) FROM features.rows") == [(45,)]
    assert set(modes(small.build()).values()) == {"incremental"}
    now = shown(small)
    assert now == rebuilt(small)


def test_what_is_outside_of_the_times_waits(small: Small) -> None:
    small.good()
    put(small, 3, 2.0)
    put(small, 35, 2.0)
    put(small, 40)
    small.build(scope=Scope(since=day(30)))
    assert small.sql("SELECT x FROM features.rows WHERE t = TIMESTAMP '2024-01-04 05:00:00'") == [(1.8,)]
    assert small.sql("SELECT x FROM features.rows WHERE t = TIMESTAMP '2024-02-05 05:00:00'") == [(10.0,)]
    plan = small.forge.plan()
    assert {s.reasons for s in plan.builds} == {("source ev: 1 file changed",)}
    small.good()
    assert small.forge.plan().nothing_to_do
    now = shown(small)
    assert now == rebuilt(small)


def test_a_pending_file_that_vanishes_leaves_nothing(small: Small) -> None:
    small.good()
    small.write(
        "data/ev/wide.parquet",
        "SELECT 1::BIGINT AS k, t, 100::DOUBLE AS x FROM (VALUES (TIMESTAMP '2024-01-02'), (TIMESTAMP '2024-02-05')) v(t)",
    )
    small.build(scope=Scope(since=day(30)))
    assert small.sql("SELECT count(*) FROM features.rows WHERE x = 100") == [(1,)]
    (small.root / "data/ev/wide.parquet").unlink()
    small.good()
    assert small.sql("SELECT count(*) FROM features.rows WHERE x = 100") == [(0,)]
    now = shown(small)
    assert now == rebuilt(small)


def test_restate_makes_a_range_again(small: Small) -> None:
    small.good()
    result = small.build("rows", scope=Scope(restate=(day(5), day(10))))
    assert modes(result) == {"rows": "incremental"}
    assert [(f.added, f.closed) for f in result.features] == [(0, 0)]
    assert small.sql("SELECT reason FROM mlforge.versions WHERE feature = 'rows' AND patch = 1") == [
        ("event times from 2024-01-06 to 2024-01-11",)
    ]


def test_full_refresh_makes_all_rows(small: Small) -> None:
    small.good()
    result = small.build("exact", force=True, scope=Scope(whole=True))
    assert [(f.mode, f.why, f.added, f.closed) for f in result.features] == [("whole", "asked for", 0, 0)]


def test_batches_commit_one_by_one_and_end_as_one_build(small: Small) -> None:
    result = small.build(batch=Duration(10, "d"))
    assert not result.failed
    versions = small.sql("SELECT feature, version FROM mlforge.versions ORDER BY feature, patch")
    assert versions == [(f, f"1.0.{n}") for f in ("exact", "rows", "spend") for n in range(5)]
    assert small.forge.plan().nothing_to_do
    now = shown(small)
    assert now == rebuilt(small)


def test_batches_go_on_where_they_were(small: Small) -> None:
    small.build(scope=Scope(until=day(18)))
    small.build(batch=Duration(1, "mo"))
    versions = small.sql("SELECT version FROM mlforge.versions WHERE feature = 'spend' ORDER BY patch")
    assert versions == [("1.0.0",), ("1.0.1",), ("1.0.2",)]
    now = shown(small)
    assert now == rebuilt(small)


def test_a_row_of_the_far_future_and_a_hole_hide_nothing(small: Small) -> None:
    small.write("data/ev/far.parquet", "SELECT 1::BIGINT AS k, TIMESTAMP '2999-01-01' AS t, 1::DOUBLE AS x")
    (small.root / "data/ev/010.parquet").unlink()
    small.good()
    put(small, 10)
    put(small, 41)
    assert set(modes(small.build()).values()) == {"incremental"}
    now = shown(small)
    assert now == rebuilt(small)


def test_lookback_reads_the_newest_times_again(small: Small) -> None:
    small.feature("rows", PLAIN.replace('timestamp="t"', 'timestamp="t", lookback="3d"'))
    small.good()
    with duckdb.connect(str(small.catalog)) as con:  # as if rows had changed without a trace
        con.execute("UPDATE store.rows__1_0 SET x = -1 WHERE _mlforge_t >= epoch_us(TIMESTAMP '2024-02-08')")
    put(small, 40)
    small.good()
    assert small.sql("SELECT count(*) FROM features.rows WHERE x = -1") == [(0,)]


def test_the_ledger_says_what_was_taken_in(small: Small) -> None:
    small.good()
    put(small, 39, 3.0)
    (small.root / "data/ev/000.parquet").unlink()
    put(small, 40)
    small.good()
    rows = small.sql(
        "SELECT part, rows, strftime(first, '%m-%d %H'), strftime(last, '%m-%d %H'), patch_from, patch_to"
        " FROM mlforge.intervals WHERE feature = 'rows' AND part IN ('data/ev/000.parquet', 'data/ev/039.parquet',"
        " 'data/ev/040.parquet') ORDER BY part, patch_from"
    )
    assert rows == [
        ("data/ev/000.parquet", 3, "01-01 05", "01-01 15", 0, 1),
        ("data/ev/039.parquet", 3, "02-09 05", "02-09 15", 0, 1),
        ("data/ev/039.parquet", 3, "02-09 05", "02-09 15", 1, None),
        ("data/ev/040.parquet", 3, "02-10 05", "02-10 15", 1, None),
    ]
    runs = small.sql("SELECT mode, event_rows, added, closed FROM mlforge.runs WHERE feature = 'rows' ORDER BY build")
    assert runs == [("whole", 120, 120, 0), ("incremental", 6, 6, 6)]


def test_gc_forgets_what_no_version_holds(small: Small) -> None:
    small.good()
    put(small, 39, 3.0)
    small.good()
    small.forge.gc(small.forge.keep(patches=1, days=0))
    assert small.sql("SELECT count(*), count(patch_to) FROM mlforge.intervals") == [(120, 0)]


def test_a_source_that_shows_its_file_names_is_incremental_too(small: Small) -> None:
    small.config(CONFIG.replace("path: data/ev", "path: data/ev, options: {filename: true}"))
    small.feature("rows", PLAIN.replace("k, t, x", "k, t, x, parse_filename(filename) AS file"))
    small.good()
    put(small, 40)
    assert modes(small.build("rows")) == {"rows": "incremental"}
    assert small.sql("SELECT DISTINCT file FROM features.rows WHERE t >= TIMESTAMP '2024-02-10'") == [("040.parquet",)]


def test_a_correction_of_a_row_that_waits_waits_too(tmp_path: Path) -> None:
    small = Small(tmp_path, CONFIG.replace("path: data/ev", "path: data/ev, unique_key: [id], loaded_at: at"))
    small.feature("rows", PLAIN)
    row = "SELECT {id} AS id, 1 AS k, TIMESTAMP '{t}' AS t, TIMESTAMP '{at}' AS at, {x}::DOUBLE AS x"
    small.write("data/ev/a.parquet", row.format(id=1, t="2024-01-02", at="2024-01-02", x=1))
    small.write("data/ev/b.parquet", row.format(id=2, t="2024-02-05", at="2024-02-05", x=2))
    small.good()
    small.write("data/ev/c.parquet", row.format(id=1, t="2024-02-07", at="2024-02-07", x=3))
    small.build(scope=Scope(since=day(30)))
    small.good()
    assert [x for _, _, x in small.sql("FROM features.rows ORDER BY t")] == [2.0, 3.0]


def test_what_a_ref_changed_does_not_wait(small: Small) -> None:
    small.config(CONFIG.replace("entities", "  late: {path: data/late}\nentities"))
    small.write("data/late/0.parquet", "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-02' AS t, 5::DOUBLE AS level")
    small.feature("level", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, level FROM {{ source("late") }}\n')
    small.feature(
        "with_level",
        '{{ config(entity="user", timestamp="t") }}\n'
        'SELECT e.k, e.t, e.x, l.level FROM {{ source("ev") }} AS e LEFT JOIN {{ ref("level") }} AS l ON l.k = e.k\n',
    )
    small.good()
    small.write("data/late/1.parquet", "SELECT 2::BIGINT AS k, TIMESTAMP '2024-01-01' AS t, 7::DOUBLE AS level")
    small.good("level")
    small.build(scope=Scope(since=day(30)))
    small.good()
    assert small.sql("SELECT count(*) FROM features.with_level WHERE level = 7") == [(40,)]
