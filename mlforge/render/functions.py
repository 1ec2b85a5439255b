"""What mlforge knows of DuckDB's functions: which are aggregates, which rank, which change from call to call.

The tables were read from ``duckdb_functions()`` of DuckDB 1.5 and 2.0; tests compare them with the
installed engine."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp


def words(text: str) -> frozenset[str]:
    """The words of a text, for tables of names."""
    return frozenset(text.split())


#: Synonyms of aggregates -> the name DuckDB gives as primary.
SYNONYMS = {
    "any_value": "any_value",
    "approx_distinct": "approx_count_distinct",
    "arbitrary": "first",
    "argmax": "arg_max",
    "argmin": "arg_min",
    "array_agg": "list",
    "count_star": "count",
    "countif": "count_if",
    "fsum": "kahan_sum",
    "geometric_mean": "geomean",
    "group_concat": "string_agg",
    "listagg": "string_agg",
    "max_by": "arg_max",
    "mean": "avg",
    "min_by": "arg_min",
    "percentile_cont": "quantile_cont",
    "percentile_disc": "quantile_disc",
    "quantile": "quantile_disc",
    "stddev": "stddev_samp",
    "sumkahan": "kahan_sum",
    "variance": "var_samp",
    "wavg": "weighted_avg",
}

#: Window functions that are no aggregates.
RANKING = words(
    "row_number rank dense_rank rank_dense percent_rank cume_dist ntile lag lead nth_value first_value last_value fill"
)

AGGREGATES = words(
    """any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_max_nulls_last
    arg_min arg_min_null arg_min_nulls_last argmax argmin array_agg avg bit_and bit_or bit_xor bitstring_agg bool_and
    bool_or corr count count_if count_star countif covar_pop covar_samp entropy favg first fsum group_concat histogram
    histogram_exact kahan_sum kurtosis kurtosis_pop last list listagg mad max max_by mean median min min_by mode product
    quantile quantile_cont quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx
    regr_sxy regr_syy reservoir_quantile sem skewness stddev stddev_pop stddev_samp string_agg sum sum_no_overflow
    sumkahan var_pop var_samp variance percentile_cont percentile_disc geomean geometric_mean wavg weighted_avg
    json_group_array json_group_object json_group_structure
    combine_aggr decimal_average lttb variant_group_object"""
)

_CALL = re.compile(r'"?(\w+)"?\s*\(')


@cache
def _named_by_class() -> dict[type[exp.Expression], str]:
    """Nodes whose generated text does not open with the name of a call."""
    from sqlglot import exp

    return {
        exp.ArrayAgg: "list",
        exp.CountIf: "count_if",
        exp.GroupConcat: "string_agg",
        exp.ParameterizedAgg: "",
        exp.Explode: "unnest",
        exp.Unnest: "unnest",
        exp.Cast: "cast",
        exp.TryCast: "try_cast",
        exp.Case: "case",
        exp.And: "",  # operators; writing each of a long chain would take the square of its length
        exp.Or: "",
    }


def function_name(node: exp.Expression) -> str:
    """The function a node calls, lower case, as DuckDB spells it; "" for what is no call.

    sqlglot keeps no name on the functions it knows, so it is read from the text that it writes for them."""
    from sqlglot import exp

    if isinstance(node, exp.Dot):
        return function_name(node.expression)
    if not isinstance(node, exp.Func):
        return ""
    if isinstance(node, exp.Anonymous):
        return str(node.name).lower()
    named = _named_by_class()
    if type(node) not in named:
        name = _written_name(node)
        if not isinstance(node, exp.AggFunc):  # others are written by their arguments, too: RANGE, GENERATE_SERIES
            return name
        named[type(node)] = name
    return named[type(node)]


def _written_name(node: exp.Func) -> str:
    match = _CALL.match(_written(node))
    return match[1].lower() if match else node.sql_name().lower()


def _written(node: exp.Expression) -> str:
    from sqlglot import ErrorLevel

    return str(node.sql("duckdb", unsupported_level=ErrorLevel.IGNORE))


def primary_name(node: exp.Expression) -> str:
    """DuckDB's primary, lower-case name of the function that a node calls: ``avg`` for MEAN, ``list`` for ARRAY_AGG."""
    name = function_name(node)
    return SYNONYMS.get(name, name)


def has_over(node: exp.Expression) -> bool:
    """Whether OVER stands after a call, with FILTER or IGNORE NULLS between or not."""
    from sqlglot import exp

    while isinstance(node.parent, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)) and node.arg_key == "this":
        node = node.parent
    return isinstance(node.parent, exp.Window) and node.arg_key == "this"


def is_aggregate(node: exp.Expression) -> bool:
    """Whether a node calls an aggregate function. A function of unknown name is none."""
    from sqlglot import exp

    if isinstance(node, (exp.Anonymous, exp.Dot)):
        return function_name(node) in AGGREGATES
    return isinstance(node, exp.AggFunc) and function_name(node) not in RANKING
