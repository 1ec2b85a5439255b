"""Source rows count from the instant at which they are known: their time, and the source's delay after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.small import Small

if TYPE_CHECKING:
    from mlforge.verify.result import FeatureVerdict

CONFIG = """
name: known
sources:
  ev: {path: data/ev.parquet, timestamp: t}
  slow: {path: data/ev.parquet, timestamp: t, delay: 2h}
  later: {path: data/ev.parquet, timestamp: t, known: {n: "greatest(t, t + INTERVAL 3 HOUR)"}}
  days: {path: data/days.parquet, timestamp: day}
  nights: {path: data/days.parquet, timestamp: day, delay: 29h}
  dawns: {path: data/days.parquet, timestamp: day, delay: 0s}
  bare: {path: data/days.parquet}
  texts: {path: data/texts.parquet, timestamp: day}
  bare_texts: {path: data/texts.parquet}
entities:
  user: {key: k}
"""
# User k has, from 1 January 2024, number 0 on the first day, 1 on the second ...; and the same every hour.
DAYS = (
    "SELECT k::BIGINT AS k, DATE '2024-01-01' + n::INTEGER AS day, n::BIGINT AS n FROM range(1, 3) a(k), range(30) b(n)"
)
HOURS = "SELECT k::BIGINT AS k, TIMESTAMP '2024-01-01' + to_hours(n::INTEGER) AS t, n::BIGINT AS n FROM range(1, 3) a(k), range(400) b(n)"
TEXTS = f"SELECT k, strftime(day, '%d/%m/%Y') AS day, strftime(day, '%d/%m/%Y 06h') AS hour, n FROM ({DAYS})"
NOON, NIGHT = "2024-01-10 12:00", "2024-01-10 04:30"
READ = 'timestamp_format="%d/%m/%Y"'

TOO_EARLY = {
    # source, config, the SELECT, a label's time, what it sees, what was known then, how long after which column
    "a_days_start": ("days", 'timestamp="day", delay="0s"', "SELECT k, day, n FROM {}", NOON, 9, 8, "1d after day"),
    "a_midnight": ("days", 'timestamp="t"', "SELECT k, day::TIMESTAMP AS t, n FROM {}", NOON, 9, 8, "1d after day"),
    "nothing_added": (
        "days",
        'timestamp="t"',
        "SELECT k, CAST(day AS TIMESTAMP) + INTERVAL 0 SECOND AS t, n FROM {}",
        NOON,
        9,
        8,
        "1d after day",
    ),
    "an_hour_early": (
        "days",
        'timestamp="day", delay="23h"',
        "SELECT k, day, n FROM {}",
        "2024-01-10 23:30",
        9,
        8,
        "1d after day",
    ),
    "none_declared": ("bare", 'timestamp="day", delay="0s"', "SELECT k, day, n FROM {}", NOON, 9, 8, "1d after day"),
    "less_than_stated": (
        "nights",
        'timestamp="day", delay="28h"',
        "SELECT k, day, n FROM {}",
        NIGHT,
        8,
        7,
        "29h after day",
    ),
    "too_early_an_end": (
        "nights",
        'timestamp="t"',
        "SELECT k, day + INTERVAL 1 DAY AS t, n FROM {}",
        NIGHT,
        8,
        7,
        "29h after day",
    ),
    "totals_by_day": (
        "days",
        'timestamp="day", delay="0s"',
        "SELECT k, day, SUM(n) AS n FROM {} GROUP BY ALL",
        NOON,
        9,
        8,
        "1d after day",
    ),
    "windows": (
        "slow",
        'timestamp="t", delay="1h"',
        "SELECT k, t, MAX(n) OVER last_1d AS n FROM {}",
        NOON,
        226,
        225,
        "2h after t",
    ),
    "a_column_that_comes_later": (
        "later",
        'timestamp="t", delay="1h"',
        "SELECT k, t, n FROM {}",
        NOON,
        227,
        225,
        "known: n",
    ),
    "windows_of_a_column_that_comes_later": (
        "later",
        'timestamp="t"',
        "SELECT k, t, MAX(n) OVER last_1d AS n FROM {}",
        NOON,
        227,
        224,
        "known: n",
    ),
    "text": ("texts", f'timestamp="day", {READ}, delay="0s"', "SELECT k, day, n FROM {}", NOON, 9, 8, "1d after day"),
    "bare_text": (
        "bare_texts",
        f'timestamp="day", {READ}, delay="0s"',
        "SELECT k, day, n FROM {}",
        NOON,
        9,
        8,
        "1d after day",
    ),
    "a_day_that_is_joined": (
        "days",
        'timestamp="t"',
        "SELECT e.k, e.t, d.n FROM {{{{ source('ev') }}}} e ASOF JOIN {} d ON e.k = d.k AND d.day <= e.t",
        NOON,
        9,
        8,
        "1d after day",
    ),
}
IN_TIME = {
    "a_day_that_is_over": ("days", 'timestamp="day"', "SELECT k, day, n FROM {}"),
    "a_days_end": ("days", 'timestamp="t"', "SELECT k, day + INTERVAL 1 DAY AS t, n FROM {}"),
    "what_the_type_says": ("bare", 'timestamp="day"', "SELECT k, day, n FROM {}"),
    "as_late_as_stated": ("nights", 'timestamp="day"', "SELECT k, day, n FROM {}"),
    "later_than_stated": ("nights", 'timestamp="day", delay="2d"', "SELECT k, day, n FROM {}"),
    "a_day_in_new_york": ("nights", 'timestamp="t"', "SELECT k, day + INTERVAL 29 HOUR AS t, n FROM {}"),
    "a_dawn": ("dawns", 'timestamp="day"', "SELECT k, day, n FROM {}"),
    "totals_of_a_day": ("days", 'timestamp="day", delay="1d"', "SELECT k, day, SUM(n) AS n FROM {} GROUP BY ALL"),
    "slow_windows": ("slow", 'timestamp="t"', "SELECT k, t, MAX(n) OVER last_1d AS n FROM {}"),
    "a_column_when_it_is_known": ("later", 'timestamp="t", delay="3h"', "SELECT k, t, n FROM {}"),
    "windows_of_a_column_when_it_is_known": (
        "later",
        'timestamp="t", delay="3h"',
        "SELECT k, t, MAX(n) OVER last_1d AS n FROM {}",
    ),
    "what_does_not_come_later": ("later", 'timestamp="t"', "SELECT k, t, hour(t) AS h FROM {}"),
    "a_look_ahead_that_is_over": (
        "slow",
        'timestamp="t", delay="3h", allow_lookahead=true',
        "SELECT k, t, lead(n) OVER (PARTITION BY k ORDER BY t) AS n FROM {}",
    ),
    "text_of_a_day": ("texts", f'timestamp="day", {READ}', "SELECT k, day, n FROM {}"),
    "text_of_an_hour": (
        "bare_texts",
        'timestamp="hour", timestamp_format="%d/%m/%Y %-Hh"',
        "SELECT k, hour, n FROM {}",
    ),
    "a_day_that_is_joined_when_over": (
        "days",
        'timestamp="t"',
        "SELECT e.k, e.t, d.n FROM {{{{ source('ev') }}}} e ASOF JOIN {} d ON e.k = d.k AND d.day + INTERVAL 1 DAY <= e.t",
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A project with all the features of both tables, built."""
    made = Small(tmp_path_factory.mktemp("known"), CONFIG)
    for name, query in (("days", DAYS), ("ev", HOURS), ("texts", TEXTS)):
        made.write(f"data/{name}.parquet", query)
    for name, (source, config, text, *_) in (TOO_EARLY | IN_TIME).items():
        read = text.format(f"{{{{ source('{source}') }}}}")
        allowed = ", allow_lookahead=true" if name in TOO_EARLY else ""  # else the build refuses some of them
        made.feature(name, f'{{{{ config(entity="user", {config}{allowed}) }}}} {read}')
    made.good()
    return made


@pytest.fixture(scope="module")
def alone(project: Small) -> dict[str, FeatureVerdict]:
    """What verify says of each feature by itself."""
    return {f.feature: f for f in project.forge.verify().features}


@pytest.mark.parametrize("name", TOO_EARLY)
def test_a_row_that_is_stamped_before_it_is_known(project: Small, alone: dict[str, FeatureVerdict], name: str) -> None:
    source, _, _, at, retrieved, recomputed, after = TOO_EARLY[name]
    assert alone[name].status == "failed"
    labels = f"SELECT 1::BIGINT AS k, TIMESTAMP '{at}' AS label_time"
    (mismatch,) = project.forge.verify(name, labels).mismatches
    assert (mismatch.retrieved, mismatch.recomputed) == (retrieved, recomputed)
    assert mismatch.reason == (
        f"rows of source {source} that become known after the label's time ({after}) have a part in it"
    )
    assert mismatch.rows


@pytest.mark.parametrize("name", IN_TIME)
def test_a_row_that_is_stamped_when_it_is_known(alone: dict[str, FeatureVerdict], name: str) -> None:
    found = alone[name]
    assert (found.status, found.mismatches, found.unproven) == ("passed", (), ())
    assert found.values >= 50
