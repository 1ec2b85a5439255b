"""How late rows are loaded, the delay that follows, and where it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlforge.model import Duration, Source
from mlforge.observe import lateness as lates
from mlforge.observe.lateness import lateness, rounded_up
from mlforge.warehouses.duckdb import DuckDB
from tests.cli.running import mlforge
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
name: small
sources:
  ev: {path: data/ev.parquet, timestamp: t, loaded_at: l}
entities:
  user: {key: k}
"""
COLUMNS = "k BIGINT, t TIMESTAMP, l TIMESTAMP, x BIGINT"
WINDOWS = '{{{{ config(entity="user", timestamp="t"{more}) }}}}\nSELECT k, {t} AS t, SUM(x) OVER last_7d AS s FROM {{{{ source("ev") }}}}\n'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (1, "1s"),
        (3, "5s"),
        (31, "1m"),
        (60, "1m"),
        (61, "2m"),
        (1801, "1h"),
        (3600, "1h"),
        (6720, "2h"),
        (5 * 3600, "6h"),
        (18 * 3600 + 1, "1d"),
        (8 * 86400, "10d"),
        (90 * 86400, "90d"),
        (90 * 86400 + 1, "91d"),
        (400 * 86400, "400d"),
    ],
)
def test_a_delay_that_people_write(seconds: int, text: str) -> None:
    assert str(rounded_up(seconds)) == text


@given(st.integers(1, 10**9))
def test_a_delay_is_never_too_short_and_never_twice_as_long_and_a_half(seconds: int) -> None:
    micros = rounded_up(seconds).micros
    assert micros is not None
    assert seconds <= micros / 1e6 <= max(2.5 * seconds, 1)


def measured(small: Small, rows: str, **settings: Any) -> Any:
    """Lateness of rows that SQL makes as (t, l)."""
    path = small.write("data/late.parquet", rows)
    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        source = Source(name="s", path=str(path), format="parquet", timestamp="t", loaded_at="l", **settings)
        return lateness(DuckDB(con, str(small.root)), source)


def test_quantiles_are_times_by_which_that_share_is_loaded(tmp_path: Path) -> None:
    rows = "SELECT TIMESTAMP '2024-01-01' AS t, TIMESTAMP '2024-01-01' + to_seconds(range) AS l FROM range(1, 1001)"
    found = measured(Small(tmp_path), rows)
    assert (found.rows, found.p50, found.p90, found.p99, found.p999, found.max) == (1000, 500, 900, 990, 999, 1000)
    assert (found.negative, str(found.proposed)) == (0.0, "30m")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-5_000_000, 5_000_000), min_size=1, max_size=60))
def test_quantiles_against_sorting(late: list[int]) -> None:
    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        import pyarrow as pa

        data = pa.table({"t": pa.array([0] * len(late), pa.timestamp("us")), "l": pa.array(late, pa.timestamp("us"))})
        source = Source(name="s", data=data, format="data", timestamp="t", loaded_at="l")
        found = lateness(DuckDB(con, "."), source)
    assert found is not None
    seconds = sorted(-(-d // 1_000_000) for d in late)
    for name, share in (("p50", 500), ("p90", 900), ("p99", 990), ("p999", 999)):
        needed = -(-share * len(late) // 1000)
        assert getattr(found, name) == seconds[needed - 1]
    assert (found.max, found.rows) == (seconds[-1], len(late))
    assert found.negative == sum(d < 0 for d in late) / len(late)


@pytest.mark.parametrize(
    "rows",
    [
        "SELECT TIMESTAMP '2024-01-01' AS t, NULL::TIMESTAMP AS l",
        "SELECT 'infinity'::TIMESTAMP AS t, TIMESTAMP '2024-01-01' AS l",
        "SELECT '2024-01-01' AS t, TIMESTAMP '2024-01-01' AS l",
        "SELECT TIMESTAMP '2024-01-01' AS t, TIMESTAMP '2024-01-01' AS l WHERE false",
    ],
)
def test_nothing_is_said_of_rows_without_both_times(tmp_path: Path, rows: str) -> None:
    assert measured(Small(tmp_path), rows) is None


def test_a_correction_is_as_late_as_it_came(tmp_path: Path) -> None:
    rows = "SELECT 1 AS k, TIMESTAMP '2024-01-01' AS t, TIMESTAMP '2024-01-01' + to_hours(unnest([0, 30])) AS l"
    found = measured(Small(tmp_path), rows, unique_key=("k",))
    assert (found.rows, found.p50) == (1, 30 * 3600)


# --- where it is shown


@pytest.fixture
def small(tmp_path: Path) -> Small:
    made = Small(tmp_path, CONFIG)
    late = [f"{n}, '2024-06-01 09:00', '2024-06-01 09:{n:02}', 1" for n in range(1, 60)]
    made.rows(*late, "1, '2024-06-02', '2024-06-01 12:00', 1", columns=COLUMNS)
    made.feature("f", WINDOWS.format(more="", t="t"))
    made.feature("g", WINDOWS.format(more=', delay="30m"', t="t"))
    made.feature("enough", WINDOWS.format(more=', delay="1h"', t="t"))
    made.feature("known", WINDOWS.format(more=", assume_final=true", t="l"))
    made.feature("made", WINDOWS.format(more="", t="t + INTERVAL 1 HOUR"))
    return made


DISTRIBUTION = (
    "rows of source ev are loaded 29m (p50), 53m (p90), 59m (p99), 59m (p99.9), at most 59m after their timestamp"
)
PROPOSAL = 'config(delay="1h") would wait for 99 % of the rows of ev: f states 0s, g states 30m'


def test_plan_proposes_a_delay_where_features_state_less(small: Small) -> None:
    said = mlforge("-C", small.root, "plan").out
    assert f"note      {DISTRIBUTION}; 1.67% of them before it\n" in said
    assert f"note      {PROPOSAL}\n" in said
    assert "f states" not in mlforge("-C", small.root, "plan", "--features", "enough").out
    small.good()
    assert "rows of source" not in mlforge("-C", small.root, "plan").out


def test_plan_does_not_read_all_of_a_large_source(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lates.LARGEST, "parquet", 100)
    notes = small.forge.plan().notes
    assert notes == ("mlforge inspect source ev shows how late its rows come: it is too large to look here",)


def test_rows_that_cannot_be_read_do_not_stop_a_plan(small: Small) -> None:
    columns = "{k: BIGINT, t: TIMESTAMP, l: TIMESTAMP, x: BIGINT}"
    path = "{path: data/ev.csv, timestamp: t, loaded_at: l, options: {header: true, columns: " + columns + "}}"
    small.config(CONFIG.replace("{path: data/ev.parquet, timestamp: t, loaded_at: l}", path))
    (small.root / "data/ev.csv").write_text("k,t,l,x\n1,2024-01-01 00:00:00,2024-01-01 00:00:00,1\n1,never,never,1\n")
    (note,) = small.forge.plan().notes
    assert note.startswith("how late the rows of ev come is not known: source 'ev': column ")
    assert note.endswith(" is TIMESTAMP, and data/ev.csv, row 2 holds 'never' (VARCHAR)")


def test_inspect_shows_the_distribution(small: Small) -> None:
    small.good()
    said = mlforge("-C", small.root, "inspect", "source", "ev")
    assert DISTRIBUTION in said.out
    assert PROPOSAL in said.out
    found = mlforge("-C", small.root, "inspect", "source", "ev", "--json").json["lateness"]
    assert found == {
        "rows": 60,
        "p50": 29 * 60,
        "p90": 53 * 60,
        "p99": 59 * 60,
        "p999": 59 * 60,
        "max": 59 * 60,
        "negative": 1 / 60,
        "proposed_delay": "1h",
        "features_with_less": [{"feature": "f", "delay": "0s"}, {"feature": "g", "delay": "30m"}],
    }
    bare = mlforge("-C", small.catalog, "inspect", "source", "ev", "--json").json
    assert "lateness" not in bare


def test_a_source_that_is_gone_can_be_inspected(small: Small) -> None:
    small.good()
    (small.root / "data/ev.parquet").unlink()
    said = mlforge("-C", small.root, "inspect", "source", "ev").flat
    assert "lateness unknown source 'ev': no parquet file at data/ev.parquet" in said


def test_rows_that_come_in_time_need_no_delay(small: Small) -> None:
    small.rows("1, '2024-06-02', '2024-06-01 12:00', 1", columns=COLUMNS)
    notes = small.forge.plan().notes
    assert [n for n in notes if "ev" in n] == [
        "rows of source ev are loaded -12h (p50), -12h (p90), -12h (p99), -12h (p99.9), at most -12h after their "
        "timestamp; 100.00% of them before it"
    ]
    assert Duration(0, "s") == rounded_up(-12 * 3600)
