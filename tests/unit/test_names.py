"""Default names of columns, and aggregate calls taken apart, which DuckDB must answer alike when put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest
from sqlglot import exp, parse_one

from mlforge.errors import GrammarError, Where
from mlforge.render.names import aggregate_call, check_names, default_name, primary_name
from tests.unit.feature_text import FILE, TX, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = [
    ("count(*)", "count()"),
    ("count()", "count()"),
    ("count(x)", "count(x)"),
    ("count(DISTINCT x)", "count(DISTINCT x)"),
    ("sum(x)", "sum(x)"),
    ("sum(DISTINCT x)", "sum(DISTINCT x)"),
    ("sum(x * y + 1)", "sum(x * y + 1)"),
    ("avg(x)", "avg(x)"),
    ("mean(x)", "avg(x)"),
    ("min(x)", "min(x)"),
    ("max(x)", "max(x)"),
    ("max(x, 3)", "max(x, 3)"),
    ("min(x, 2)", "min(x, 2)"),
    ("stddev(x)", "stddev_samp(x)"),
    ("stddev_samp(x)", "stddev_samp(x)"),
    ("stddev_pop(x)", "stddev_pop(x)"),
    ("variance(x)", "var_samp(x)"),
    ("var_samp(x)", "var_samp(x)"),
    ("var_pop(x)", "var_pop(x)"),
    ("median(x)", "median(x)"),
    ("quantile_cont(x, 0.5)", "quantile_cont(x, 0.5)"),
    ("quantile_cont(x, [0.1, 0.9])", "quantile_cont(x, [0.1, 0.9])"),
    ("quantile_disc(x, 0.5)", "quantile_disc(x, 0.5)"),
    ("quantile(x, 0.3)", "quantile_disc(x, 0.3)"),
    ("percentile_cont(0.5) WITHIN GROUP (ORDER BY x)", "quantile_cont(x, 0.5)"),
    ("percentile_disc(0.5) WITHIN GROUP (ORDER BY x)", "quantile_disc(x, 0.5)"),
    ("approx_quantile(x, 0.5)", "approx_quantile(x, 0.5)"),
    ("approx_count_distinct(s)", "approx_count_distinct(s)"),
    ("first(s)", "first(s)"),
    ("last(s)", "last(s)"),
    ("arbitrary(s)", "first(s)"),
    ("any_value(s)", "any_value(s)"),
    ("any_value(s) FILTER (WHERE b)", "any_value(s) FILTER (WHERE b)"),
    ("arg_min(s, x)", "arg_min(s, x)"),
    ("argmin(s, x)", "arg_min(s, x)"),
    ("min_by(s, x)", "arg_min(s, x)"),
    ("arg_max(s, x)", "arg_max(s, x)"),
    ("argmax(s, x)", "arg_max(s, x)"),
    ("max_by(s, x)", "arg_max(s, x)"),
    ("arg_max(s, x, 2)", "arg_max(s, x, 2)"),
    ("mode(i)", "mode(i)"),
    ("bool_and(b)", "bool_and(b)"),
    ("bool_or(x > 3)", "bool_or(x > 3)"),
    ("list(x)", "list(x)"),
    ("array_agg(x)", "list(x)"),
    ("list(DISTINCT i) FILTER (WHERE i > 2)", "list(DISTINCT i) FILTER (WHERE i > 2)"),
    ("string_agg(s, '-')", "string_agg(s, '-')"),
    ("listagg(s, '-')", "string_agg(s, '-')"),
    ("group_concat(s, '-')", "string_agg(s, '-')"),
    ("string_agg(s)", "string_agg(s, ',')"),
    ("string_agg(DISTINCT s, '-')", "string_agg(DISTINCT s, '-')"),
    ("bit_and(i)", "bit_and(i)"),
    ("bit_or(i)", "bit_or(i)"),
    ("bit_xor(i)", "bit_xor(i)"),
    ("product(x)", "product(x)"),
    ("kurtosis(x)", "kurtosis(x)"),
    ("skewness(x)", "skewness(x)"),
    ("regr_count(y, x)", "regr_count(y, x)"),
    ("entropy(i)", "entropy(i)"),
    ("mad(x)", "mad(x)"),
    ("sem(x)", "sem(x)"),
    ("favg(x)", "favg(x)"),
    ("fsum(x)", "kahan_sum(x)"),
    ("sumkahan(x)", "kahan_sum(x)"),
    ("histogram(i)", "histogram(i)"),
    ("count_if(b)", "count_if(b)"),
    ("countif(b)", "count_if(b)"),
    ("COUNT(*) FILTER (WHERE x > 2 AND b)", "count() FILTER (WHERE x > 2 AND b)"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.execute("CREATE MACRO as_of() AS TIMESTAMP '2024-01-01'")
    connection.execute(
        "CREATE TABLE t AS SELECT n::DOUBLE AS x, (n * 7 % 5)::DOUBLE AS y, n % 2 = 0 AS b, 'v' || n % 3 AS s, "
        "(n % 4)::INTEGER AS i FROM range(1, 9) r(n)"
    )
    yield connection
    connection.close()


def window(text: str) -> exp.Window:
    """An aggregate over last_7d, as parse() gives it."""
    sliced = f"({text} OVER last_7d)[-2:]" if text.startswith(("list(", "array_agg(")) else f"{text} OVER last_7d"
    tree = parsed(f"SELECT k, ts, {sliced} AS a FROM {TX}").tree
    return next(tree.find_all(exp.Window))


@pytest.mark.parametrize(("text", "expected"), CALLS)
def test_aggregate_call(engine: duckdb.DuckDBPyConnection, text: str, expected: str) -> None:
    call = aggregate_call(window(text))
    args = ", ".join(a.sql("duckdb") for a in call.args)
    together = f"{call.function}({'DISTINCT ' if call.distinct else ''}{args})"
    if call.filter is not None:
        together += f" FILTER (WHERE {call.filter.sql('duckdb')})"
    assert together == expected
    assert engine.execute(f"SELECT {together} FROM t").fetchall() == engine.execute(f"SELECT {text} FROM t").fetchall()


@pytest.mark.parametrize(("text", "expected"), CALLS)
def test_primary_name_is_the_name_of_the_call(text: str, expected: str) -> None:
    inner = window(text).this
    while isinstance(inner, (exp.Filter, exp.IgnoreNulls)):
        inner = inner.this
    assert primary_name(inner) == expected.partition("(")[0]


NAMES = [
    ("amount", "amount"),
    ("t.amount", "amount"),
    ("(amount)", "amount"),
    ("Amount", "Amount"),
    ('"my amount"', "my amount"),
    ("1 + 1 AS two", "two"),
    ("SUM(x) OVER last_7d AS spend", "spend"),
    ("SUM(amount) OVER last_7d", "amount_sum_7d"),
    ("AVG(amount) OVER last_30d", "amount_avg_30d"),
    ("MEAN(amount) OVER LAST_30D", "amount_avg_30d"),
    ("COUNT(*) OVER last_24h", "count_24h"),
    ("COUNT() OVER ever", "count_ever"),
    ("COUNT(DISTINCT m) OVER last_3mo", "m_count_distinct_3mo"),
    ("SUM(DISTINCT m) OVER EVER", "m_sum_distinct_ever"),
    ("MAX(t.amount) OVER (ever)", "amount_max_ever"),
    ("STDDEV(x) OVER last_1y", "x_stddev_samp_1y"),
    ("VARIANCE(x) OVER last_1y", "x_var_samp_1y"),
    ("ARRAY_AGG(x) OVER last_2w", "x_list_2w"),
    ("ANY_VALUE(x) OVER last_2w", "x_any_value_2w"),
    ("BOOL_OR(b) OVER last_60m", "b_bool_or_60m"),
    ("APPROX_COUNT_DISTINCT(m) OVER last_30s", "m_approx_count_distinct_30s"),
    ("ARBITRARY(m) OVER ever", "m_first_ever"),
]


@pytest.mark.parametrize(("text", "name"), NAMES)
def test_default_name(text: str, name: str) -> None:
    assert default_name(parse_one(f"SELECT {text} FROM t", dialect="duckdb").expressions[0]) == name


NAMELESS = [
    ("1", "value"),
    ("'a'", "value"),
    ("amount + 1", "amount"),
    ("upper(s)", "s_upper"),
    ("amount::INT", "amount"),
    ("SUM(x) OVER (ORDER BY t)", "x_t_sum"),
    ("SUM(x * 2) OVER last_7d", "x_sum_7d"),
    ("ARG_MAX(a, b) OVER last_7d", "a_b_arg_max_7d"),
    ("COUNT(*) FILTER (WHERE x > 1) OVER last_7d", "x_count_7d"),
    ("QUANTILE_CONT(x, 0.5) OVER ever", "x_quantile_cont_ever"),
    ("SUM(x) OVER last_7d / 2", "x_sum_7d"),
    ("as_of()", "as_of"),
    ("CASE WHEN a > 1 THEN b END", "a_b"),
]


@pytest.mark.parametrize(("text", "proposal"), NAMELESS)
def test_what_needs_as(text: str, proposal: str) -> None:
    node = parse_one(f"SELECT {text} FROM t", dialect="duckdb").expressions[0]
    with pytest.raises(GrammarError, match="needs a name") as caught:
        default_name(node, Where(FILE, 12))
    assert caught.value.where == Where(FILE, 12)
    assert caught.value.hint == f"write AS {proposal} after it"
    with duckdb.connect() as con:
        assert con.execute(f"SELECT 1 AS {proposal}").description[0][0] == proposal


def test_long_expressions_are_shown_short() -> None:
    node = parse_one("SELECT " + " + ".join(["amount"] * 40), dialect="duckdb").expressions[0]
    with pytest.raises(GrammarError) as caught:
        default_name(node)
    assert len(caught.value.message) < 100


BAD_NAMES = [
    (["k", "a", "a"], 2, "two columns are named 'a'", "AS"),
    (["a", "a"], 1, "two columns are named 'a'", "AS"),
    (["k", "Spend", "spend"], 2, "columns 'Spend' and 'spend' differ only in case", "rename one"),
    (["k", "_mlforge_t"], 1, "column name '_mlforge_t' starts with _mlforge", "write another"),
    (["_MLForge", "k"], 0, "column name '_MLForge' starts with _mlforge", "write another"),
]


@pytest.mark.parametrize(("names", "position", "message", "hint"), BAD_NAMES)
def test_refused_names(names: list[str], position: int, message: str, hint: str) -> None:
    with pytest.raises(GrammarError) as caught:
        check_names(names, lambda n: Where(FILE, n))
    assert message in caught.value.message
    assert caught.value.where == Where(FILE, position)
    assert hint in (caught.value.hint or "")


def test_good_names() -> None:
    check_names(["k", "ts", "a", "b_", "mlforge"])
