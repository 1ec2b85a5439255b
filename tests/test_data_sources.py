"""Frames as sources: what would not come over as it is, is an error that names the column."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from mlforge.errors import ProjectError
from mlforge.model import Source
from mlforge.warehouses.duckdb import DuckDB

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = {"k": [1], "t": [dt.datetime(2024, 1, 1)]}


@pytest.fixture
def warehouse() -> Iterator[DuckDB]:
    with duckdb.connect() as con:
        yield DuckDB(con, "/")


UNREADABLE: dict[str, Any] = {
    "objects of Polars": pl.DataFrame({**ROWS, "x": pl.Series([object()], dtype=pl.Object)}),
    "128 bits": pl.DataFrame({**ROWS, "x": pl.Series([2**100], dtype=pl.Int128)}).lazy(),
    "half floats": pa.table({**ROWS, "x": pa.array(np.array([1], np.float16))}),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_columns_that_cannot_be_read(warehouse: DuckDB, kind: str) -> None:
    source = Source(name="ev", format="data", data=UNREADABLE[kind], file="features.py", line=3)
    with pytest.raises(ProjectError, match=r"features\.py:3: source 'ev': column 'x' cannot be read: ") as caught:
        warehouse.bind_source(source)
    assert "hand the rows over without it" in str(caught.value.hint)


def test_columns_that_can(warehouse: DuckDB) -> None:
    frame = pl.DataFrame({**ROWS, "s": ["a"], "e": pl.Series(["b"], dtype=pl.Enum(["b"])), "n": [None]})
    for data in (frame, frame.lazy(), frame.to_arrow(), pa.table(frame)):
        warehouse.bind_source(Source(name="ev", format="data", data=data, line=1))
        assert warehouse.con.execute('FROM "_mlforge_source".ev').fetchall() == [(1, ROWS["t"][0], "a", "b", None)]
