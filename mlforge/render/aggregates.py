"""Which aggregates may stand over a trailing window, with how many arguments, and what to write in place of the others.

What is not in the table is refused: an aggregate is taken only if one catalog gives one answer for it, on every path
and to every reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.errors import did_you_mean
from mlforge.render.functions import function_name, primary_name, words
from mlforge.render.syntax import refuse, show
from mlforge.render.windows import aggregate_call, window_name

if TYPE_CHECKING:
    from sqlglot import exp

    from mlforge.render.syntax import Parsed

_ONE = words(
    """any_value approx_count_distinct avg bit_and bit_or bit_xor bool_and bool_or count count_if entropy favg first
    kahan_sum kurtosis kurtosis_pop last list mad median mode product sem skewness stddev_pop stddev_samp sum var_pop
    var_samp"""
)
#: Aggregates that are taken -> the least and the most arguments.
TAKEN = dict.fromkeys(_ONE, (1, 1)) | {
    "approx_quantile": (2, 2),
    "arg_max": (2, 3),
    "arg_min": (2, 3),
    "count": (0, 1),
    "histogram": (1, 2),
    "histogram_exact": (2, 2),
    "max": (1, 2),
    "min": (1, 2),
    "quantile_cont": (2, 2),
    "quantile_disc": (1, 2),
    "regr_count": (2, 2),
    "string_agg": (1, 2),
}
#: Those of whose arguments only the first one may change from row to row.
CONSTANT = words("approx_quantile histogram histogram_exact max min quantile_cont quantile_disc string_agg")
#: Those that take DISTINCT and a second argument.
DISTINCT_WITH_MORE = words("approx_quantile arg_max arg_min max min quantile_cont quantile_disc string_agg")
#: Those in which DISTINCT changes nothing and is lost on the way through sqlglot.
NO_DISTINCT = words("bool_and bool_or")

_PAIRS = "FILTER (WHERE {x} IS NOT NULL AND {y} IS NOT NULL) OVER {w}"
_COVARIANCE = f"AVG({{x}} * {{y}}) {_PAIRS} - AVG({{x}}) {_PAIRS} * AVG({{y}}) {_PAIRS}"
_MOMENTS = "AVG(x), AVG(y), AVG(x * y), VAR_POP(x) and VAR_POP(y) over the same window, of rows that have both"
_WEIGHTED = "SUM({x} * {y}) OVER {w} / NULLIF(SUM({y}) OVER {w}, 0)"
_BEST = "ARG_{m}({x}, {y}) OVER {w}; to keep NULLs of {x}: (ARG_{m}({{'v': {x}}}, {y}) OVER {w}).v"
_REGR = {f"regr_{n}": f"compose it of {_MOMENTS}" for n in words("intercept r2 slope sxx sxy syy")}
_INTERNAL = "it is DuckDB's own and not in each of its versions"
#: Aggregates that are not taken -> what to do. {x} and {y} are the arguments, {w} is the window.
REFUSED = _REGR | {
    "approx_top_k": "write MODE({x}) OVER {w}, or HISTOGRAM({x}) OVER {w} for the count of each value",
    "arg_max_null": "write " + _BEST.replace("{m}", "MAX"),
    "arg_min_null": "write " + _BEST.replace("{m}", "MIN"),
    "arg_max_nulls_last": "write " + _BEST.replace("{m}", "MAX"),
    "arg_min_nulls_last": "write " + _BEST.replace("{m}", "MIN"),
    "bitstring_agg": "write BIT_OR(1::BIGINT << {x}) OVER {w}, or HISTOGRAM({x}) OVER {w}",
    "combine_aggr": _INTERNAL,
    "corr": f"compose it of {_MOMENTS}",
    "covar_pop": f"write {_COVARIANCE}",
    "covar_samp": "compose it of AVG(x), AVG(y), AVG(x * y) and REGR_COUNT(x, y) over the same window",
    "decimal_average": "write AVG({x}) OVER {w}",
    "geomean": "write EXP(AVG(LN({x})) OVER {w})",
    "json_group_array": "write TO_JSON((LIST({x}) OVER {w})[-10:])",
    "json_group_object": "write TO_JSON((LIST({{'key': {x}, 'value': {y}}}) OVER {w})[-10:])",
    "json_group_structure": "write JSON_STRUCTURE(TO_JSON((LIST({x}) OVER {w})[-10:]))",
    "lttb": _INTERNAL,
    "regr_avgx": "write AVG({y}) FILTER (WHERE {x} IS NOT NULL) OVER {w}",
    "regr_avgy": "write AVG({x}) FILTER (WHERE {y} IS NOT NULL) OVER {w}",
    "reservoir_quantile": "write APPROX_QUANTILE({x}, {y}) OVER {w}",
    "sum_no_overflow": "write SUM({x}) OVER {w}",
    "variant_group_object": _INTERNAL,
    "weighted_avg": f"write {_WEIGHTED}",
}


def check_aggregate(parsed: Parsed, window: exp.Window, call: exp.Expression) -> None:
    """Refuse an aggregate that cannot be kept over a trailing window. Raises GrammarError, with what to write."""
    name, over = primary_name(call), window_name(window) or ""
    shown = f"{function_name(call).upper()} OVER {over}"
    if name in REFUSED:
        found = [show(a) for a in aggregate_call(window).args]
        x, y, *_ = [*found, "x", "y"] if not found else [*found, "y"]
        hint = REFUSED[name].format(x=x, y=y, w=over)
        raise refuse(parsed, window, f"{shown} is not kept exact and equal for every reader", hint)
    if name not in TAKEN:
        message = f"{shown}: mlforge knows no such aggregate"
        hint = f"{did_you_mean(name, TAKEN)}; docs/sql-reference.md lists all"
        raise refuse(parsed, window, message, hint)
    _check_distinct(parsed, window, name, over)
    _check_arguments(parsed, window, name, over)


def _check_distinct(parsed: Parsed, window: exp.Window, name: str, over: str) -> None:
    call = aggregate_call(window)
    if not call.distinct:
        return
    if name in NO_DISTINCT:
        message = f"{name.upper()}(DISTINCT ...) OVER {over}: DISTINCT changes nothing there"
        raise refuse(parsed, window, message, f"write {name.upper()}(...) OVER {over}")
    if len(call.args) > 1 and (name not in DISTINCT_WITH_MORE or len(call.args) > 2):
        message = (
            f"{name.upper()}(DISTINCT ...) OVER {over} with {len(call.args)} arguments: what is distinct is not clear"
        )
        hint = "COUNT(DISTINCT {'a': a, 'b': b}) counts pairs" if name == "count" else f"write {name.upper()}(...)"
        raise refuse(parsed, window, message, hint)


def _check_arguments(parsed: Parsed, window: exp.Window, name: str, over: str) -> None:
    from sqlglot import exp

    args = aggregate_call(window).args
    least, most = TAKEN[name]
    if not least <= len(args) <= most:
        wanted = str(least) if least == most else f"{least} or {most}"
        message = f"{name.upper()} OVER {over} takes {wanted} argument{'' if wanted == '1' else 's'}, not {len(args)}"
        raise refuse(parsed, window, message)
    fixed = args[1:] if name in CONSTANT else args[2:]
    for arg in fixed:
        if any(isinstance(n, (exp.Column, exp.Subquery)) for n in arg.walk()):
            raise refuse(parsed, window, f"{show(arg)} in {name.upper()} OVER {over} must be a constant")
