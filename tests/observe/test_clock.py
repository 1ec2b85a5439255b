"""Instants, and lengths of time in words."""

from __future__ import annotations

import datetime

import pytest

from mlforge.model import Duration
from mlforge.observe.instants import before, instant, micros, spoken

UTC = datetime.UTC


@pytest.mark.parametrize(
    ("at", "length", "expected"),
    [
        ("2024-03-31T12:00", "2h", "2024-03-31T10:00"),
        ("2024-03-31T12:00", "1w", "2024-03-24T12:00"),
        ("2024-03-31T12:00", "1mo", "2024-03-01T00:00"),
        ("2023-03-29T12:00", "1mo", "2023-03-01T00:00"),
        ("2024-03-29T12:00", "1mo", "2024-02-29T12:00"),
        ("2024-01-31T12:00", "2mo", "2023-12-01T00:00"),
        ("2024-01-15T12:00", "1mo", "2023-12-15T12:00"),
        ("2024-02-29T00:00", "1y", "2023-03-01T00:00"),
    ],
)
def test_before(at: str, length: str, expected: str) -> None:
    start = datetime.datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert before(start, Duration.parse(length)) == datetime.datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "0.25s"),
        (1e-6, "1e-06s"),
        (59.9, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3600, "1h"),
        (3661, "1h 1m"),
        (7205, "2h"),
        (86400, "1d"),
        (100 * 86400 + 3 * 3600 + 59, "100d 3h"),
        (-125, "-2m 5s"),
    ],
)
def test_spoken(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_microseconds_there_and_back() -> None:
    at = datetime.datetime(1969, 12, 31, 23, 59, 59, 999999)
    assert micros(at) == -1
    assert instant(-1) == at
    berlin = datetime.timezone(datetime.timedelta(hours=2))
    assert micros(at.replace(tzinfo=berlin)) == -1 - 7_200_000_000
