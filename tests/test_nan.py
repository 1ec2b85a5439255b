"""NaN in Parquet that others wrote: file statistics leave NaN out, and DuckDB's optimizer believes them."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlforge.verify.result import VerifyOptions
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAN = math.nan
NUMBERS = {  # column: what holds its number, type, a value with the number
    "d": ("d", pa.float64(), lambda x: x),
    "f": ("f", pa.float32(), lambda x: x),
    "s": (
        "s.a.b",
        pa.struct({"a": pa.struct({"c": pa.string(), "b": pa.float64()})}),
        lambda x: {"a": {"c": "x", "b": x}},
    ),
    "l": ("l[1]", pa.list_(pa.float32()), lambda x: [x]),
    "lf": ("lf[2]", pa.list_(pa.float64(), 2), lambda x: [0.0, x]),
    "ls": ("ls[1].x", pa.list_(pa.struct({"n": pa.int64(), "x": pa.float64()})), lambda x: [{"n": 1, "x": x}]),
    "ll": ("ll[1][1]", pa.list_(pa.list_(pa.float64())), lambda x: [[x]]),
    "sl": ("sl.a[1]", pa.struct({"a": pa.list_(pa.float64())}), lambda x: {"a": [x]}),
    "m": ("m['x']", pa.map_(pa.string(), pa.float64()), lambda x: [("x", x)]),
}


def _arrow(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def _polars(table: pa.Table, path: Path) -> None:
    import polars as pl

    pl.from_arrow(table).write_parquet(path, statistics=True)  # type: ignore[union-attr]


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def _table(columns: dict[str, tuple[list[Any], pa.DataType]]) -> pa.Table:
    count = len(next(iter(columns.values()))[0])
    times = pa.array([dt.datetime(2024, 1, 1 + n) for n in range(count)], pa.timestamp("us"))
    made = {name: pa.array(values, kind) for name, (values, kind) in columns.items()}
    return pa.table({"k": pa.array([1] * count, pa.int64()), "t": times, **made})


@pytest.mark.parametrize("write", [_arrow, _polars], ids=["pyarrow", "polars"])
def test_nan_is_greater_than_every_number(small: Small, write: Callable[[pa.Table, Path], None]) -> None:
    kinds = {k: v for k, v in NUMBERS.items() if k != "m" or write is _arrow}  # Polars has no maps
    columns = {k: ([value(0.1), value(NAN), None], arrow) for k, (_, arrow, value) in kinds.items()}
    write(_table(columns), small.root / "data/ev.parquet")
    config, source = "{{ config(entity='user', timestamp='t') }} SELECT k, t, ", " FROM {{ source('ev') }}"
    listed = [(k, x) for k, (x, _, _) in kinds.items()]
    small.feature(
        "above", config + ", ".join(f"{x} > 0.7 AS {k}_high, {k} IS NULL AS {k}_gone" for k, x in listed) + source
    )
    small.feature(
        "w",
        config
        + ", ".join(f"COUNT(*) FILTER ({x} > 0.7) OVER ever AS n_{k}" for k, x in listed)
        + ", SUM(d) OVER ever AS s"
        + source,
    )
    kept = " UNION ALL ".join(f"SELECT k, t, '{k}' AS c{source} WHERE {x} > 0.7" for k, x in listed)
    small.feature("kept", config + f"STRING_AGG(c, ' ' ORDER BY c) AS cs FROM ({kept}) GROUP BY ALL")
    small.good()
    assert [r[2:] for r in small.view("above")] == [
        (False, False) * len(kinds),
        (True, False) * len(kinds),
        (None, True) * len(kinds),
    ]
    assert small.view("kept") == [(1, dt.datetime(2024, 1, 2), " ".join(sorted(kinds)))]
    found = [r[2:] for r in small.view("w")]
    assert [r[:-1] for r in found] == [(n,) * len(kinds) for n in (0, 1, 1)]
    assert [math.isnan(r[-1]) for r in found] == [False, True, True]
    assert not small.forge.verify(options=VerifyOptions()).failed


@pytest.mark.parametrize("side", ["input.d", "output.x"])
def test_checks_see_nan(small: Small, side: str) -> None:
    _arrow(_table({"d": ([0.1, NAN], pa.float64())}), small.root / "data/ev.parquet")
    small.feature(
        "f",
        f"{{{{ config(entity='user', timestamp='t', validators={{'{side}': [less_than(0.5)]}}) }}}} "
        "SELECT k, t, d AS x FROM {{ source('ev') }}",
    )
    (result,) = small.build().features
    assert result.status == "failed"
    assert [(c.check, c.failed, c.rows) for c in result.checks] == [("less_than(0.5)", 1, 2)]


def test_nan_in_files_that_come_later(small: Small) -> None:
    """What is read of some parts, of some times, and of the rows of a unique key."""
    small.config(
        "name: small\nsources:\n  ev: {path: 'data/*.parquet', unique_key: t, loaded_at: t}\n"
        "entities:\n  user: {key: k}\n"
    )
    small.feature(
        "f", "{{ config(entity='user', timestamp='t') }} SELECT k, t, 1 AS x FROM {{ source('ev') }} WHERE d.a > 0.7"
    )
    rows = _table({"d": ([{"a": 0.9}, {"a": 0.1}, {"a": NAN}], pa.struct({"a": pa.float64()}))})
    _arrow(rows.slice(0, 1), small.root / "data/1.parquet")
    small.good()
    _arrow(rows.slice(1), small.root / "data/2.parquet")
    (built,) = small.build().features
    assert (built.mode, built.rows) == ("incremental", 2)
