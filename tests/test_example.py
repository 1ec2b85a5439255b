"""The flights example, built whole: known answers about leakage, the warning that fails, the shipped catalog."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "flights"
FLIGHTS = """
    SELECT *, (time_hour AT TIME ZONE 'UTC') + to_minutes("minute") AS sched,
        sched + to_minutes(dep_delay + air_time) AS landed
    FROM 'data/flights.parquet'
"""


def mlforge(*arguments: str, cwd: Path) -> str:
    """Run a command of mlforge. Raises AssertionError, with all it said, unless it exits 0."""
    done = subprocess.run(
        [sys.executable, "-m", "mlforge", *arguments],
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built, with its training set beside it."""
    project = tmp_path_factory.mktemp("flights") / "flights"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("catalog.duckdb*", "training.parquet"))
    mlforge("build", cwd=project)
    options = ("--timestamp", "label_time", "--feature-set", "delay_v1", "--out", "training.parquet")
    mlforge("training-set", "--labels", "labels.sql", *options, cwd=project)
    return project


@pytest.fixture
def query(flights: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask the catalog, with the project's folder as the current one."""
    monkeypatch.chdir(flights)
    with duckdb.connect("catalog.duckdb", read_only=True) as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        yield lambda text: connection.execute(text).fetchall()


def test_a_naive_join_takes_delays_of_planes_that_had_not_landed(query: Any) -> None:
    """The trap itself, so that the next test is known to have something to find."""
    found = query(f"""
        WITH f AS ({FLIGHTS}), done AS (FROM f WHERE landed IS NOT NULL)
        SELECT count(*), count(*) FILTER (WHERE before.landed > now.sched)
        FROM done AS now ASOF JOIN done AS before ON now.tailnum = before.tailnum AND now.sched > before.sched
    """)
    assert found == [(323309, 235)]


def test_no_label_row_knows_a_landing_that_had_not_happened(query: Any) -> None:
    found = query(f"""
        WITH done AS (SELECT DISTINCT tailnum, landed FROM ({FLIGHTS}) WHERE landed IS NOT NULL)
        SELECT count(*), count(minutes_since_landing), min(minutes_since_landing),
            count(*) FILTER (WHERE minutes_since_landing IS DISTINCT FROM date_diff('minute', landed, label_time))
        FROM 'training.parquet' AS t ASOF LEFT JOIN done ON t.tailnum = done.tailnum AND t.label_time > done.landed
    """)
    rows, known, least, wrong = found[0]
    assert rows == 327346
    assert known > 320_000
    assert least > 0
    assert wrong == 0


def test_label_rows_come_back_in_their_order(query: Any, flights: Path) -> None:
    labels = (flights / "labels.sql").read_text()
    found = query(f"""
        SELECT count(*) FROM (SELECT *, row_number() OVER () AS n FROM ({labels})) AS l
        FULL JOIN (SELECT *, row_number() OVER () AS n FROM 'training.parquet') AS t ON l.n = t.n
            AND l.label_time = t.label_time AND l.late = t.late AND l.dest = t.dest
            AND l.tailnum IS NOT DISTINCT FROM t.tailnum
        WHERE l.n IS NULL OR t.n IS NULL
    """)
    assert found == [(0,)]


def test_a_window_agrees_with_sql_by_hand(query: Any) -> None:
    found = query(f"""
        WITH done AS (SELECT * FROM ({FLIGHTS}) WHERE landed IS NOT NULL),
        t AS (SELECT * FROM 'training.parquet' WHERE hash(tailnum, label_time) % 500 = 0),
        byhand AS (
            SELECT t.tailnum, label_time, origin, flights_7d, late_30d,
                (SELECT count(*) FROM done WHERE done.tailnum = t.tailnum AND landed < label_time
                    AND landed >= label_time - INTERVAL 7 DAY) AS n,
                (SELECT count(*) FROM done WHERE done.tailnum = t.tailnum AND landed < label_time
                    AND landed >= label_time - INTERVAL 30 DAY AND arr_delay > 15) AS late
            FROM t WHERE t.tailnum IS NOT NULL)
        SELECT count(*) > 400, count(*) FILTER (WHERE n IS DISTINCT FROM flights_7d OR late IS DISTINCT FROM late_30d)
        FROM byhand
    """)
    assert found == [(True, 0)]


def test_the_macro_gives_the_rows_that_the_command_gave(query: Any) -> None:
    found = query("""
        WITH chosen AS (SELECT * FROM 'training.parquet' WHERE hash(tailnum, label_time) % 1000 = 0),
        labels AS (SELECT label_time, tailnum, carrier, origin, dest, distance, late FROM chosen),
        again AS (FROM feature_sets.delay_v1('labels'))
        SELECT (SELECT count(*) > 200 FROM chosen),
            (SELECT count(*) FROM (FROM chosen EXCEPT ALL FROM again)),
            (SELECT count(*) FROM (FROM again EXCEPT ALL FROM chosen))
    """)
    assert found == [(True, 0, 0)]


def test_every_error_check_holds_and_one_warning_does_not(query: Any) -> None:
    assert query("SELECT feature, column_name, severity, failed FROM mlforge.checks WHERE NOT passed") == [
        ("airport_weather", "wind_speed", "warn", 1)
    ]
    assert query("SELECT count(*) > 10 FROM mlforge.checks WHERE severity = 'error' AND passed") == [(True,)]


def test_an_old_weather_report_is_not_used(query: Any) -> None:
    found = query("""
        WITH w AS (SELECT origin, time_hour AT TIME ZONE 'UTC' AS at, temp FROM 'data/weather.parquet')
        SELECT count(origin_temp) > 320000,
            count(*) FILTER (WHERE origin_temp IS DISTINCT FROM
                CASE WHEN w.at > label_time - INTERVAL 3 HOUR THEN w.temp END)
        FROM 'training.parquet' AS t ASOF LEFT JOIN w ON t.origin = w.origin AND t.label_time >= w.at
    """)
    assert found == [(True, 0)]


def test_a_second_build_has_nothing_to_do(flights: Path) -> None:
    with duckdb.connect(str(flights / "catalog.duckdb"), read_only=True) as connection:
        before = connection.execute("SELECT count(*) FROM mlforge.versions").fetchall()
    mlforge("build", cwd=flights)
    with duckdb.connect(str(flights / "catalog.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM mlforge.versions").fetchall() == before == [(9,)]


def test_the_shipped_catalog_opens_and_answers() -> None:
    shipped = ROOT / "catalog.duckdb.example"
    assert shipped.stat().st_size < 2_000_000
    with duckdb.connect(str(shipped), read_only=True) as connection:
        found = connection.execute("""
            WITH labels AS (
                SELECT tailnum, max(known_at) + INTERVAL 1 DAY AS label_time
                FROM features.plane_delays GROUP BY tailnum ORDER BY tailnum LIMIT 5
            )
            SELECT count(*), min(flights_7d), count(last_arr_delay) FROM features.plane_delays_asof('labels')
        """).fetchall()
        failing = connection.execute("SELECT feature, failed FROM mlforge.checks WHERE NOT passed").fetchall()
        paths = connection.execute("SELECT DISTINCT path LIKE 'data/%.parquet' FROM mlforge.sources").fetchall()
    assert found[0][0] == found[0][2] == 5
    assert found[0][1] > 0
    assert failing == [("airport_weather", 1)]
    assert paths == [(True,)], "no path of the machine that made it"


def test_mlforge_opens_the_shipped_catalog(tmp_path: Path) -> None:
    shutil.copy(ROOT / "catalog.duckdb.example", tmp_path / "catalog.duckdb")
    listed = mlforge("-C", "catalog.duckdb", "list", "features", "--json", cwd=tmp_path)
    assert {row["feature"] for row in json.loads(listed)} == {p.stem for p in (EXAMPLE / "features").iterdir()}
