"""The Arrow type that a feature's column must have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tests.oracle.oracle import Agg, AsOf, Coalesce, Col, Expr, Ratio, Since, Whole
from tests.oracle.project import ARROW
from tests.oracle.world import COLUMNS, DERIVED

if TYPE_CHECKING:
    from tests.oracle.world import World

COUNTS = {"count_star", "count", "count_distinct", "approx_count_distinct"}
DOUBLES = {"avg", "stddev_samp", "stddev_pop", "var_samp", "var_pop", "median", "quantile_cont"}


TYPES = COLUMNS | {name: kind for name, (_, kind, _) in DERIVED.items()}


def arrow_types(world: World) -> dict[str, Any]:
    """Column -> type, for the features that read the events."""
    outputs = [output for feature in world.features if feature.time for output in feature.outputs]
    return {name: type_of(expr) for name, expr in outputs if "t" not in _reads(expr)}


def _reads(expr: Expr) -> set[str | None]:
    return {expr.arg} if isinstance(expr, Agg) else set()


def type_of(expr: Expr) -> Any:
    if isinstance(expr, Agg):
        return aggregate_type(expr.func, expr.arg or "i")
    if isinstance(expr, Col):
        return ARROW[TYPES[expr.name]]
    if isinstance(expr, Coalesce):
        return type_of(expr.of)
    if isinstance(expr, Ratio):
        return pa.float64()
    if isinstance(expr, Whole):
        return pa.int64()
    return {AsOf: pa.timestamp("us"), Since: pa.int64()}[type(expr)]


def aggregate_type(func: str, arg: str) -> Any:
    """COUNT and integer SUM are BIGINT, means and spreads DOUBLE, SUM of DECIMAL is as wide as it gets."""
    if func in COUNTS:
        return pa.int64()
    if func in DOUBLES:
        return pa.float64()
    if func == "sum" and arg == "d":
        return pa.decimal128(38, 2)
    if func == "sum":
        return pa.float64() if TYPES[arg] in ("DOUBLE", "REAL") else pa.int64()
    kind = ARROW[TYPES[arg]]
    return pa.list_(kind) if func == "list" else kind
