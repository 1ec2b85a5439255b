"""Synthetic events, features and labels as Parquet, made by DuckDB; the same rows on every run of one DuckDB version.

100,000 users, of whom a few are far more active than the rest; 90 days; 0.1 % of events exactly at midnight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
from harness import DATA

if TYPE_CHECKING:
    from pathlib import Path

USERS = 100_000
DAYS = 90
# uniform in [0, 1); hash(i, seed) would not be independent
_U = "(hash(i + {seed}000000000000) / 18446744073709551616.0)"


def _user(seed: int) -> str:
    """Zipf-like: the density falls with the rank; ids are spread so that rank is no order."""
    rank = f"CAST(floor(20 * (pow(5001.0, {_U.format(seed=seed)}) - 1)) AS BIGINT)"
    return f"({rank} * 7919) % {USERS}"


def _time(seed: int, first_day: int = 0) -> str:
    micros = f"CAST({_U.format(seed=seed)} * {(DAYS - first_day) * 86_400_000_000} AS BIGINT)"
    day = f"{micros} - ({micros} % 86400000000)"
    chosen = f"CASE WHEN {_U.format(seed=seed + 1)} < 0.001 THEN {day} ELSE {micros} END"
    return f"make_timestamp(1735689600000000 + {first_day * 86_400_000_000} + {chosen})"


def _write(name: str, query: str) -> Path:
    path = DATA / f"{name}.parquet"
    if not path.exists():
        DATA.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        with duckdb.connect() as con:
            con.execute(f"COPY ({query}) TO '{partial}' (FORMAT parquet)")
        partial.rename(path)
    return path


def events(rows: int) -> Path:
    """user_id, event_time, amount; in the order of time, as a log would be."""
    query = f"SELECT {_user(1)} AS user_id, {_time(2)} AS event_time, {_amount()} AS amount FROM range({rows}) t(i)"
    return _write(f"events_{rows}", f"{query} ORDER BY event_time")


def _amount() -> str:
    return (
        f"round(exp(3 + sqrt(-2 * ln({_U.format(seed=5)} + 1e-12)) * cos(6.283185307179586 * {_U.format(seed=6)})), 2)"
    )


def stream(path: Path, first: int, rows: int, day: int, days: int) -> None:
    """A file of events numbered from ``first``, over some days that begin with a day of the stream."""
    start, length = 1640995200000000 + day * 86_400_000_000, days * 86_400_000_000
    time = f"make_timestamp({start} + CAST({_U.format(seed=2)} * {length} AS BIGINT))"
    numbers = f"range({first}, {first + rows}) t(i)"
    query = f"SELECT {_user(1)} AS user_id, {time} AS event_time, {_amount()} AS amount FROM {numbers}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as con:
        con.execute(f"COPY ({query} ORDER BY event_time) TO '{path}' (FORMAT parquet)")


def features(rows: int, number: int, columns: int) -> Path:
    """user_id, event_time and so many DOUBLE columns; unique on (user_id, event_time)."""
    values = ", ".join(f"{_U.format(seed=100 * number + c)} AS g{number}_{c}" for c in range(columns))
    query = f"""
        SELECT i % {USERS} AS user_id, {_time(1000 + number)} AS event_time, {values} FROM range({rows}) t(i)
        QUALIFY row_number() OVER (PARTITION BY user_id, event_time) = 1 ORDER BY event_time"""
    return _write(f"features_{rows}_{number}", query)


def labels(rows: int) -> Path:
    """label_id, user_id, label_time; in no order."""
    query = f"SELECT i AS label_id, {_user(7)} AS user_id, {_time(8, 7)} AS label_time FROM range({rows}) t(i)"
    return _write(f"labels_{rows}", query)
