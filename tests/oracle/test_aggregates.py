"""The oracle's aggregates against DuckDB's own over the same rows in the same order."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tests.oracle.aggregates import AGGREGATES, matches
from tests.oracle.oracle import Agg
from tests.oracle.project import ARROW, COMPUTED, agg_sql
from tests.oracle.runner import plain
from tests.oracle.strategies import ARGUMENTS, FLOATS, PARAMS, VALUES
from tests.oracle.world import COLUMNS, with_derived

POOLS = VALUES | {"x": FLOATS["plain"], "t": [0, 1, None]}
SPREAD = ("stddev_samp", "stddev_pop", "var_samp", "var_pop")
ORDER_FREE = ("quantile_cont", "approx_quantile", "median", "count_distinct")


def native(con: duckdb.DuckDBPyConnection, agg: Agg) -> Any:
    """DuckDB's answer, with the order of rows given to it."""
    if agg.func == "approx_count_distinct":
        agg = replace(agg, func="count_distinct")  # which a feature counts exactly
    computed = COMPUTED | {
        name: f"CASE WHEN n <> 0 THEN {COMPUTED[name]} END" for name in ("qi", "mi")
    }  # DuckDB 2 raises
    text = agg_sql(agg, computed).removesuffix(" OVER ever").replace(" OVER ever)[", ")[")
    if agg.func != "count_star":
        text = text.replace(")", " ORDER BY n)", 1)
    if agg.func in ORDER_FREE:
        text = text.replace(" ORDER BY n", "")
    return plain(con.sql(f"SELECT {text} FROM rows").to_arrow_table().column(0))[0]


@pytest.mark.parametrize("func", sorted(ARGUMENTS))
@pytest.mark.parametrize("floats", ["plain", "weird"])
def test_same_as_duckdb(func: str, floats: str) -> None:
    dice = random.Random(f"{func} {floats}")
    types = {name: ARROW[kind] for name, kind in COLUMNS.items()} | {"n": pa.int64(), "t": pa.timestamp("us")}
    with duckdb.connect() as con:
        for size in (0, 1, 2, 3, 5, 8, 13):
            pools = POOLS | {"x": FLOATS[floats]}
            rows = [{name: dice.choice(pool) for name, pool in pools.items()} | {"n": n} for n in range(size)]
            rows = [with_derived(row) for row in rows]
            table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})
            con.register("rows", table)
            for arg in ARGUMENTS[func] or (None,):
                if func == "median" and arg in ("d", "r"):
                    continue  # DuckDB rounds to the type of the column; a feature's median is a DOUBLE
                if func in SPREAD and arg in ("x", "cx") and floats == "weird":
                    continue  # DuckDB refuses to answer
                by = dice.choice(["i", "x", "s"]) if func.startswith("arg_") else None
                agg = Agg(func, arg, by=by, param=dice.choice(PARAMS[func]) if func in PARAMS else None)
                wanted = AGGREGATES[func]([tuple(row[c] for c in (arg, by) if c) for row in rows], agg.param)
                got = native(con, agg)
                assert matches(wanted, got), (agg, rows, wanted, got)
