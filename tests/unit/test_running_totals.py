"""Rows of some times, made with running totals, are those that frames over all tiles give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlforge.building import affected_rows, materialise
from mlforge.building.materialise import Runner
from mlforge.building.scales import with_scales
from mlforge.catalog import reader
from mlforge.catalog.file import open_read
from mlforge.plan.spans import union
from mlforge.sql.physical import Physical, tiles
from tests.small import Small

if TYPE_CHECKING:
    from mlforge.model import Compiled
    from mlforge.plan.spans import Spans

HOUR = 3_600_000_000
COLUMNS = "k BIGINT, t TIMESTAMP, i INTEGER, b BIGINT, d DECIMAL(9, 2), x DOUBLE, big DECIMAL(38, 0), ok BOOLEAN"
WINDOWS = {
    "sums": "SUM(i) OVER last_2d AS a, SUM(x) OVER last_1d AS b, AVG(d) OVER last_5d AS c, SUM(d) OVER last_2d AS e",
    "counts": "COUNT(*) OVER last_1d AS a, COUNT(x) OVER last_2d AS b, COUNT(i) FILTER (WHERE ok) OVER last_2d AS c",
    "many": "COUNT(d) OVER last_1d AS a, COUNT(*) OVER last_2d AS b, COUNT(b) OVER ever AS c, COUNT(i) OVER last_2d AS d, "
    "SUM(x) OVER last_1d AS e, AVG(d) OVER last_2d AS f",
    "ever": "SUM(b) OVER ever AS a, AVG(x) FILTER (WHERE ok) OVER ever AS b, COUNT(*) OVER last_1d AS c",
    "late": "AVG(i) OVER last_3d AS a, SUM(x * 2) OVER last_3d / SUM(i) OVER last_3d AS b, SUM(b) OVER last_7d AS c",
    "extreme": "MIN(i) OVER last_2d AS a, SUM(i) OVER last_2d AS b",
    "wide": "SUM(big) OVER last_2d AS a, COUNT(*) OVER last_2d AS b",
}
FRAMED = ("extreme", "wide")  # a minimum cannot be taken back, and the sum of large numbers could overflow
CONFIGS = {"late": 'closed="right", delay="5h"', "ever": 'delay="1d"'}
ROWS = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 3, None]),
        st.one_of(st.none(), st.integers(-300, 300)),  # hours
        st.one_of(st.none(), st.integers(-9, 9)),
        st.one_of(st.none(), st.sampled_from([10**17, -(10**16), 5, 0])),
        st.one_of(st.none(), st.integers(-999, 999).map(lambda n: n / 100)),
        st.one_of(st.none(), st.sampled_from([0.1, -0.3, 1e12, 3.0, -0.0, 2.5e-7])),
        st.one_of(st.none(), st.integers(0, 5)),
        st.sampled_from([True, False, None]),
    ),
    max_size=30,
)
STARTS = st.one_of(st.integers(-310, 310), st.integers(-12, 12).map(lambda day: 24 * day))  # on a boundary, too
SPANS = st.lists(st.tuples(STARTS, st.integers(1, 100)), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Compiled]:
    small = Small(tmp_path_factory.mktemp("running"))
    small.rows("1, '2026-01-01', 1, 1, 1, 1, 1, TRUE", columns=COLUMNS)
    for name, columns in WINDOWS.items():
        config = f'entity="user", timestamp="t", interval="1d", {CONFIGS.get(name, "")}'
        small.feature(name, f'{{{{ config({config}) }}}}\nSELECT k, t, {columns} FROM {{{{ source("ev") }}}}')
    small.build()
    with open_read(small.catalog) as con:
        return {name: f.versions[-1].compiled for name, f in reader.state(con).features.items()}


def events(con: duckdb.DuckDBPyConnection, rows: list[tuple[Any, ...]]) -> None:
    con.execute('CREATE SCHEMA "_mlforge_source"')
    con.execute(f'CREATE TABLE "_mlforge_source"."ev" ({COLUMNS})')
    hours = [(k, t if t is None else t * HOUR, *more) for k, t, *more in rows]
    if hours:
        con.executemany(
            'INSERT INTO "_mlforge_source"."ev" VALUES ($1, make_timestamp($2::BIGINT), $3, $4, $5, $6, $7, $8)', hours
        )


def rows_of(con: duckdb.DuckDBPyConnection, table: str, spans: Spans) -> list[tuple[Any, ...]]:
    within = " OR ".join(f"_mlforge_t >= {lo} AND _mlforge_t < {hi}" for lo, hi in spans)
    return con.execute(f"FROM {table} WHERE {within} ORDER BY ALL").fetchall()


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(rows=ROWS, starts=SPANS, name=st.sampled_from(sorted(WINDOWS)))
def test_the_rows_of_some_times_are_those_of_a_whole_table(
    compiled: dict[str, Compiled], rows: list[tuple[Any, ...]], starts: list[tuple[int, int]], name: str
) -> None:
    feature = compiled[name]
    kept = union((lo * HOUR, (lo + length) * HOUR) for lo, length in starts)
    with duckdb.connect() as con:
        events(con, rows)
        runner = Runner(con)
        materialise.make_events(
            runner, feature, materialise.Stamp("TIMESTAMP", None), keep=True, name=materialise.READ_EVENTS
        )
        materialise.narrow(runner, feature, materialise.READ_EVENTS, ((None, None),))
        scaled = with_scales(con, feature, materialise.EVENTS)
        materialise.fill_table(runner, scaled, "whole")
        materialise.narrow(runner, feature, materialise.READ_EVENTS, union(affected_rows.events_of(scaled, kept)))
        materialise.fill_table(runner, scaled, "made", kept=kept, temporary=True)
        assert rows_of(con, "made", kept) == rows_of(con, "whole", kept)
        if name not in FRAMED and affected_rows.is_short(scaled, kept):
            assert "ROWS UNBOUNDED PRECEDING" in runner.ran[-1][1]


def test_only_sums_and_counts_that_cannot_overflow_run(compiled: dict[str, Compiled]) -> None:
    running = {name: tiles(Physical(c, "events"), running=True).running for name, c in compiled.items()}
    assert running == {name: name not in FRAMED for name in WINDOWS}


def test_a_span_much_longer_than_the_windows_is_not_short(compiled: dict[str, Compiled]) -> None:
    day = 24 * HOUR
    assert affected_rows.is_short(compiled["counts"], ((0, 2 * day), (3 * day, 4 * day)))
    assert not affected_rows.is_short(compiled["counts"], ((0, day), (4 * day, 5 * day)))
    assert not affected_rows.is_short(compiled["counts"], ((None, day),))
    assert not affected_rows.is_short(compiled["counts"], ())
    assert affected_rows.is_short(compiled["ever"], ((0, None),))


def test_the_template_takes_back_what_leaves(compiled: dict[str, Compiled]) -> None:
    """A row that leaves the window alone leaves NULL, not 0, for a sum, and 0 for a count."""
    feature = compiled["sums"]
    with duckdb.connect() as con:
        events(con, [(1, 0, 4, 4, 4.0, 0.1, None, True)])
        runner = Runner(con)
        materialise.make_events(runner, feature, materialise.Stamp("TIMESTAMP", None), keep=True)
        scaled = with_scales(con, feature, materialise.EVENTS)
        kept = ((30 * HOUR, 240 * HOUR),)
        materialise.fill_table(runner, scaled, "made", kept=kept, temporary=True)
        found = con.execute("SELECT _mlforge_t // $1, a, b, c, e FROM made ORDER BY 1", [HOUR]).fetchall()
    assert found == [(48, 4, None, 4.0, 4), (72, None, None, 4.0, None), (144, None, None, None, None)]
