"""`make demo-daily`, cut down to four days: a late row, a corrected day, and the same tables as a full rebuild."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

EXAMPLE = Path(__file__).resolve().parent.parent / "examples/flights"
DAYS = 4


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder it worked in, and what it printed."""
    folder = tmp_path_factory.mktemp("daily")
    command = [sys.executable, str(EXAMPLE / "daily.py"), "--days", str(DAYS), "--folder", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def days(text: str) -> list[dict[str, float]]:
    """The lines of the table, January first."""
    header, *lines = text.split("\n\n", maxsplit=1)[0].splitlines()
    names = header.replace("MB grown", "grown").split()[1:]
    cells = [line[8:].replace(",", "").split() for line in lines]
    return [dict(zip(names, map(float, row), strict=True)) for row in cells]


def test_a_line_for_each_day_and_the_same_tables_at_the_end(shown: tuple[Path, str]) -> None:
    january, *february = days(shown[1])
    assert "Every feature has the same rows as after the daily builds." in shown[1]
    assert len(february) == DAYS
    assert january["arrived"] > 10 * max(day["arrived"] for day in february)
    for day in february:
        assert 0 < day["plane_delays"] < day["arrived"]
        assert day["airport_weather"] <= 72  # three airports, an hour each
        assert day["grown"] < january["grown"]


def test_a_corrected_day_closes_rows_and_adds_others(shown: tuple[Path, str]) -> None:
    """JetBlue's planes of 2 February landed an hour earlier than was said at first."""
    catalog = shown[0] / "daily/catalog.duckdb"
    with duckdb.connect(str(catalog), read_only=True) as con:
        runs = con.execute(
            "SELECT version, closed FROM mlforge.runs WHERE feature = 'plane_delays' ORDER BY build"
        ).fetchall()
        (corrected,) = con.execute(
            f"SELECT count(*) FROM '{shown[0]}/daily/data/flights/2013-02-02.parquet' WHERE carrier = 'B6' AND air_time IS NOT NULL"
        ).fetchall()[0]
    assert corrected > 50
    assert runs == [("1.0.0", 0), ("1.0.1", 0), ("1.0.2", 0), ("1.0.3", 0), ("1.0.4", corrected)]


def test_late_rows_arrive_two_days_later(shown: tuple[Path, str]) -> None:
    with duckdb.connect() as con:
        found = con.execute(
            f"SELECT DISTINCT \"day\" FROM '{shown[0]}/daily/data/flights/2013-02-03.parquet' ORDER BY 1"
        ).fetchall()
    assert found == [(1,), (3,)]
