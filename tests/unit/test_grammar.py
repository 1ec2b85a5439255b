"""Every refused shape: sqlglot parses all of them without complaint, so each needs its message, line and hint."""

from __future__ import annotations

import pytest
from sqlglot import parse_one

from mlforge.errors import GrammarError, Where
from mlforge.render.aggregates import REFUSED, TAKEN
from mlforge.render.functions import AGGREGATES, SYNONYMS
from mlforge.render.ref_joins import check_ref_joins
from tests.unit.feature_text import FILE, PAY, REF, TX, check_error, parsed, refused

W = "SUM(x) OVER last_7d"

# sql, line of the refused node, message, part of the hint
PLACES = [
    (f"WITH a AS (\n SELECT {W} FROM {TX})\nSELECT k, ts FROM a", 2, "in the CTE a", "outermost select list"),
    (f"SELECT k, ts FROM (\n SELECT k, ts, {W} AS s FROM {TX})", 2, "in a subquery in FROM", "outermost"),
    (f"SELECT k, ts FROM {TX} JOIN (\n SELECT {W} AS s FROM {TX}) ON true", 2, "in a subquery in FROM", ""),
    (f"SELECT k, ts,\n (SELECT {W} FROM {PAY}) AS s FROM {TX}", 2, "in a subquery", "outermost"),
    (f"SELECT k, ts FROM {TX}\nWHERE EXISTS (SELECT {W} FROM {PAY})", 2, "in a subquery", ""),
    (f"SELECT k, ts, list_transform(l,\n lambda v: v + {W}) AS s FROM {TX}", 2, "inside a lambda", ""),
    (f"SELECT k, ts, [v +\n {W} for v in l] AS s FROM {TX}", 2, "inside a lambda", ""),
    (f"SELECT k, ts, MAX(\n {W}) AS s FROM {TX}", 2, "inside another aggregate", "reads this one with ref()"),
    (f"SELECT k, ts, MAX(\n {W}) OVER last_30d AS s FROM {TX}", 2, "inside another aggregate", ""),
    (f"SELECT k, ts, geomean(\n {W}) AS s FROM {TX}", 2, "inside another aggregate", ""),
    (
        f"SELECT k, ts, COUNT(*) FILTER (WHERE\n {W} > 1) OVER last_30d AS s FROM {TX}",
        2,
        "inside another aggregate",
        "",
    ),
    (f"SELECT k, ts, SUM(x) OVER (PARTITION BY\n {W}) AS s FROM {TX}", 2, "inside another window", ""),
    (f"SELECT k, ts, SUM(x) OVER (ORDER BY\n {W}) AS s FROM {TX}", 2, "inside another window", ""),
    (f"SELECT k, ts FROM {TX}\nWHERE {W} > 1", 2, "in WHERE", "outermost select list"),
    (f"SELECT k, ts FROM {TX} a JOIN {PAY} b\n ON a.k = {W}", 2, "in ON", ""),
    (f"SELECT k, ts FROM {TX} GROUP BY\n {W}", 2, "in GROUP BY", ""),
    (f"SELECT k, ts FROM {TX} GROUP BY ALL HAVING\n {W} > 1", 2, "in HAVING", ""),
    (f"SELECT k, ts FROM {TX} QUALIFY\n {W} > 1", 2, "in QUALIFY", ""),
    (f"SELECT DISTINCT ON (\n {W}) k, ts FROM {TX}", 2, "in DISTINCT ON", ""),
    (f"SELECT k, ts FROM {TX}\nUNION ALL SELECT k, {W} FROM {TX}", 2, "in a branch of UNION", ""),
    (f"SELECT k,\n {W} AS s FROM {TX}\nEXCEPT SELECT k, 2 FROM {TX}", 2, "in a branch of EXCEPT", ""),
    (f"SELECT k, ts FROM {TX} PIVOT (\n {W} FOR c IN (1, 2))", 2, "in FROM", ""),
    (f"SELECT SUM(x) OVER v AS s, k, ts FROM {TX} WINDOW v AS (ORDER BY\n {W})", 2, "inside another window", ""),
]


@pytest.mark.parametrize(("sql", "line", "place", "hint"), PLACES)
def test_trailing_window_out_of_place(sql: str, line: int, place: str, hint: str) -> None:
    error = refused(sql)
    check_error(error, line, f"OVER last_7d {place}: trailing windows stand only in the outermost select list", hint)


def test_trailing_window_in_order_by() -> None:
    check_error(
        refused(f"SELECT k, ts FROM {TX}\nORDER BY {W}"), 2, "ORDER BY in the outermost SELECT", "delete ORDER BY"
    )


DEEP = [
    f"SELECT k, ts, {W} / NULLIF(COUNT(*) OVER last_30d, 0) AS s FROM {TX}",
    f"SELECT k, ts, CASE WHEN {W} > 1 THEN upper(s) ELSE 'low' END AS s FROM {TX}",
    f"SELECT k, ts, {{'a': {W}, 'b': [COUNT(*) OVER ever]}} AS s FROM {TX}",
    f"SELECT k, ts, SUM(x) FILTER (WHERE x > 1) OVER last_7d::BIGINT AS s FROM {TX}",
    f"SELECT * REPLACE ({W} AS x) FROM {TX}",
    f"SELECT k, ts, SUM(x) OVER (PARTITION BY k ORDER BY ts) AS r, {W} FROM {TX}",
    f"SELECT k, ts, list_transform([{W}], lambda v: v + 1) AS s FROM {TX}",
    f"WITH a AS (SELECT k, ts, MAX(x) AS x FROM {TX} GROUP BY ALL ORDER BY k LIMIT 5) SELECT k, ts, {W} FROM a",
    f"SELECT k, ts, {W}, (SELECT MAX(v) FROM unnest(l) u(v)) AS m FROM {TX}",
    f"SELECT k, ts, {W} FROM (SELECT k, ts, x FROM {TX} UNION ALL SELECT k, ts, x FROM {PAY})",
    f"SELECT k, ts, SUM(x) OVER v AS s FROM {TX} WINDOW v AS (PARTITION BY k ORDER BY ts)",
    f"SELECT k, ts, (LIST(x) OVER last_7d)[-3:] AS s FROM {TX}",
    f"SELECT k, ts, LIST(x) OVER last_7d[-3:] AS s FROM {TX}",
    f"SELECT k, ts, list_slice(LIST(x) OVER last_7d, -3, -1) AS s FROM {TX}",
    f"SELECT k, ts, array_slice(ARRAY_AGG(x) OVER last_7d, -3, NULL) AS s FROM {TX}",
    f"SELECT k, ts, (LIST(x) OVER last_7d)[-1] AS s FROM {TX}",
    f"SELECT k, ts, SUM(lag(x) OVER (ORDER BY ts)) OVER last_7d AS s FROM {TX}",
    f"SELECT k, ts, SUM((SELECT v FROM unnest(l) u(v) ORDER BY v LIMIT 1)) OVER last_7d AS s FROM {TX}",
    f"SELECT k, ts, SUM(list_sum(l)) OVER last_7d AS s FROM {TX}",
    f"SELECT k, ts, (LIST(x) OVER last_7d)[1:2] AS s FROM {TX}",
    f"SELECT k, ts, list_slice(LIST(DISTINCT x) OVER last_7d, 1, 3) AS s FROM {TX}",
    f"SELECT k, ts, (LIST(x) OVER last_7d)[2] AS s FROM {TX}",
    f"SELECT k, ts, ARG_MAX(x, ts, 3) OVER last_7d AS s FROM {TX}",
    f"SELECT k, ts, sum(columns('x.*')) OVER last_7d FROM {TX}",
    f"SELECT k, ts, list_sum([1, 2]) + list_max(l) AS s, {W} FROM {TX}",
    f"WITH a AS (SELECT *, SUM(x) OVER last_orders AS y FROM {TX} WINDOW last_orders AS (ORDER BY ts)) SELECT * FROM a",
]


@pytest.mark.parametrize("sql", DEEP)
def test_shapes_that_are_allowed(sql: str) -> None:
    assert parsed(sql).kind in ("windows", "plain")


FUNCTIONS = [
    *[
        (
            f"{call} OVER last_7d",
            f"{call.partition('(')[0].upper()} is no aggregate and may not stand over last_7d",
            hint,
        )
        for call, hint in [
            ("row_number()", "in a CTE"),
            ("rank()", "in a CTE"),
            ("dense_rank()", "in a CTE"),
            ("percent_rank()", "in a CTE"),
            ("cume_dist()", "in a CTE"),
            ("ntile(4)", "in a CTE"),
            ("lag(x)", "in a CTE"),
            ("lead(x)", "in a CTE"),
            ("fill(x)", "in a CTE"),
            ("nth_value(x, 2)", "FIRST or LAST(...) OVER last_7d"),
            ("first_value(x)", "FIRST(...) OVER last_7d"),
            ("last_value(x)", "LAST(...) OVER last_7d"),
            ("upper(x)", "MAX(UPPER(...)) OVER last_7d"),
            ("coalesce(x, 0)", "MAX(COALESCE(...)) OVER last_7d"),
        ]
    ],
    ("SUM(x ORDER BY y) OVER ever", "ORDER BY inside SUM(...) OVER ever", "time, loaded_at and content"),
    ("LIST(x ORDER BY y) OVER ever", "ORDER BY inside LIST(...) OVER ever", "ARG_MAX"),
    ("STRING_AGG(s, ',' ORDER BY y) OVER ever", "ORDER BY inside STRING_AGG(...) OVER ever", ""),
    ("FIRST(x ORDER BY y) OVER last_2d", "ORDER BY inside FIRST(...) OVER last_2d", ""),
    ("LIST(x) OVER last_7d", "ARRAY_AGG(x) OVER last_7d has no bound", "(ARRAY_AGG(x) OVER last_7d)[-10:]"),
    ("(ARRAY_AGG(x) OVER last_7d)[1:-1]", "has no bound", "[-10:]"),
    ("(LIST(x) OVER last_7d)[-n:]", "has no bound", "[-10:]"),
    ("(LIST(x) OVER last_7d)[:3]", "has no bound", "[-10:]"),
    ("list_slice(LIST(x) OVER last_7d, 1, NULL)", "has no bound", "[-10:]"),
    ("len(LIST(x) OVER last_7d)", "has no bound", "[-10:]"),
    ("x.sum() OVER last_7d", "x.sum() may not stand over last_7d", "write SUM(...) OVER last_7d"),
    ("main.sum(x) OVER last_7d", "main.sum(x) may not stand over last_7d", "write SUM(...) OVER last_7d"),
    ("LIST(DISTINCT x ORDER BY x) OVER ever", "ORDER BY inside LIST(...) OVER ever", ""),
    ("ANY_VALUE(x ORDER BY y) FILTER (WHERE b) OVER ever", "ORDER BY inside ANY_VALUE(...) OVER ever", ""),
    ("SUM(x) OVER (last_7d PARTITION BY c)", "OVER (last_7d ...) with PARTITION BY", "FILTER (WHERE ...)"),
    ("SUM(x) OVER (last_7d ORDER BY c)", "OVER (last_7d ...) with ORDER BY", "write OVER last_7d"),
    ("SUM(x) OVER (last_7d ROWS 5 PRECEDING)", "OVER (last_7d ...) with a frame", "write OVER last_7d"),
    ("my_own(x) OVER last_7d", "MY_OWN OVER last_7d: mlforge knows no such aggregate", "docs/sql-reference.md"),
    ("mediann(x) OVER last_7d", "MEDIANN OVER last_7d: mlforge knows no such aggregate", "did you mean 'median'?"),
    (
        "BOOL_OR(DISTINCT x) OVER ever",
        "BOOL_OR(DISTINCT ...) OVER ever: DISTINCT changes nothing there",
        "BOOL_OR(...)",
    ),
    (
        "COUNT(DISTINCT x, y) OVER ever",
        "COUNT(DISTINCT ...) OVER ever with 2 arguments",
        "COUNT(DISTINCT {'a': a, 'b': b})",
    ),
    ("REGR_COUNT(DISTINCT x, y) OVER ever", "REGR_COUNT(DISTINCT ...) OVER ever with 2 arguments", "REGR_COUNT(...)"),
    ("quantile_cont(x) OVER ever", "QUANTILE_CONT OVER ever takes 2 arguments, not 1", ""),
    ("string_agg(x, y) OVER ever", "y in STRING_AGG OVER ever must be a constant", ""),
    ("max(x, y) OVER ever", "y in MAX OVER ever must be a constant", ""),
    ("arg_max(x, y, z) OVER ever", "z in ARG_MAX OVER ever must be a constant", ""),
]
#: What is not taken, and a part of what to write in its place.
REFUSED_AGGREGATES = [
    ("approx_top_k(x, 2)", "MODE(x) OVER last_7d"),
    ("arg_max_null(x, y)", "(ARG_MAX({'v': x}, y) OVER last_7d).v"),
    ("arg_min_nulls_last(x, y)", "ARG_MIN(x, y) OVER last_7d"),
    ("bitstring_agg(x)", "BIT_OR(1::BIGINT << x) OVER last_7d"),
    ("corr(x, y)", "AVG(x * y)"),
    ("covar_pop(x, y)", "AVG(x * y) FILTER (WHERE x IS NOT NULL AND y IS NOT NULL) OVER last_7d - AVG(x)"),
    ("covar_samp(x, y)", "REGR_COUNT(x, y)"),
    ("geomean(x)", "EXP(AVG(LN(x)) OVER last_7d)"),
    ("json_group_array(x)", "TO_JSON((LIST(x) OVER last_7d)[-10:])"),
    ("regr_avgx(y, x)", "AVG(x) FILTER (WHERE y IS NOT NULL) OVER last_7d"),
    ("regr_slope(y, x)", "AVG(x * y)"),
    ("reservoir_quantile(x, 0.5, 100)", "APPROX_QUANTILE(x, 0.5) OVER last_7d"),
    ("sum_no_overflow(x)", "SUM(x) OVER last_7d"),
    ("wavg(x, y)", "SUM(x * y) OVER last_7d / NULLIF(SUM(y) OVER last_7d, 0)"),
]


@pytest.mark.parametrize(("call", "hint"), REFUSED_AGGREGATES)
def test_aggregates_that_are_refused_say_what_to_write(call: str, hint: str) -> None:
    message = "OVER last_7d is not kept exact and equal for every reader"
    check_error(refused(f"SELECT k, ts,\n {call} OVER last_7d AS s\nFROM {TX}"), 2, message, hint)


def test_every_aggregate_is_taken_or_refused() -> None:
    names = {SYNONYMS.get(name, name) for name in AGGREGATES}
    assert names == TAKEN.keys() | REFUSED.keys()
    assert not TAKEN.keys() & REFUSED.keys()


def test_distinct_before_two_arguments_of_a_pair() -> None:
    error = refused(f"SELECT k, ts,\n CORR(DISTINCT x, y) OVER ever AS s\nFROM {TX}")
    check_error(error, 2, "SQL syntax: CORR has too few arguments, or DISTINCT before two of them", "near:")


@pytest.mark.parametrize(("item", "message", "hint"), FUNCTIONS)
def test_what_may_not_stand_over_a_trailing_window(item: str, message: str, hint: str) -> None:
    check_error(refused(f"SELECT k, ts,\n {item} AS s\nFROM {TX}"), 2, message, hint)


BESIDE = [
    ("GROUP BY k", "GROUP BY beside a trailing window", "GROUP BY k) SELECT ..., SUM(x) OVER last_7d FROM rows"),
    ("GROUP BY ALL", "GROUP BY beside a trailing window", "GROUP BY ALL) SELECT"),
    ("HAVING k > 1", "HAVING beside a trailing window", "HAVING k > 1) SELECT"),
    ("QUALIFY row_number() OVER (ORDER BY ts) = 1", "QUALIFY beside a trailing window", "QUALIFY ROW_NUMBER()"),
]


@pytest.mark.parametrize(("clause", "message", "hint"), BESIDE)
def test_clause_beside_a_trailing_window(clause: str, message: str, hint: str) -> None:
    error = refused(f"SELECT k, ts, {W}\nFROM {TX} WHERE x > 1\n{clause}")
    check_error(error, 3, message, hint)
    assert error.hint is not None
    assert error.hint.startswith('WITH rows AS (SELECT ... FROM {{ source("tx") }} WHERE x > 1')


ITEMS = [
    (
        "SUM(x)",
        "SUM(x) without OVER beside a trailing window",
        "write SUM(x) OVER ever, or aggregate in a CTE: WITH rows",
    ),
    ("1 + mean(x)", "MEAN(x) without OVER", "MEAN(x) OVER ever"),
    ("COUNT(*) FILTER (WHERE x > 1)", "COUNT(*) without OVER", ""),
    ("SUM(MAX(x)) OVER ever", "MAX(x) without OVER", ""),
    ("COUNT(*) FILTER (WHERE MAX(x) > 1) OVER ever", "MAX(x) without OVER", ""),
    ("SUM(COUNT(*)) OVER (ORDER BY ts)", "COUNT(*) without OVER", ""),
    ("unnest(l)", "UNNEST(l) beside a trailing window", "WITH rows AS (SELECT UNNEST(l) AS x, ..."),
]


@pytest.mark.parametrize(("item", "message", "hint"), ITEMS)
def test_item_beside_a_trailing_window(item: str, message: str, hint: str) -> None:
    check_error(refused(f"SELECT k, ts, {W},\n {item} AS s\nFROM {TX}"), 2, message, hint)


def test_distinct_beside_a_trailing_window() -> None:
    error = refused(f"SELECT\n DISTINCT k, ts, {W}\nFROM {TX}")
    check_error(error, 2, "DISTINCT beside a trailing window", "WITH rows AS (SELECT DISTINCT ... FROM")


def test_clauses_are_allowed_in_plain_features() -> None:
    sql = f"SELECT DISTINCT k, ts, SUM(x) AS s FROM {TX} GROUP BY ALL HAVING SUM(x) > 1 QUALIFY COUNT(*) OVER () > 1"
    assert parsed(sql).kind == "plain"


CONFIGS = [
    (f"SELECT k, ts, {W}", {}),
    ("SELECT k, ts, x", {}),
    ("SELECT k, x", {"timestamp": None}),
    ("SELECT k, x FROM (SELECT 1) UNION ALL SELECT k, x", {}),
]
OUTER = [
    ("ORDER BY k", "ORDER BY in the outermost SELECT", "delete ORDER BY"),
    ("ORDER BY ALL", "ORDER BY in the outermost SELECT", "delete ORDER BY"),
    ("LIMIT 10", "LIMIT in the outermost SELECT", "--sample 1%"),
    ("LIMIT 10%", "LIMIT in the outermost SELECT", "--sample 1%"),
    ("OFFSET 5", "OFFSET in the outermost SELECT", "CTE"),
]


@pytest.mark.parametrize(("clause", "message", "hint"), OUTER)
@pytest.mark.parametrize(("select", "config"), CONFIGS)
def test_rows_cannot_be_ordered_or_cut(
    select: str, config: dict[str, object], clause: str, message: str, hint: str
) -> None:
    error = refused(f"{select}\nFROM {TX}\n{clause}", **config)
    assert error.message == message
    assert hint in (error.hint or "")
    assert error.where == Where(FILE, 12)


@pytest.mark.parametrize("text", ["TABLESAMPLE 10%", "TABLESAMPLE reservoir(5 ROWS)"])
def test_table_samples(text: str) -> None:
    check_error(refused(f"SELECT k, ts\nFROM {TX} {text}"), 2, "TABLESAMPLE in the outermost SELECT", "--sample 1%")
    joined = refused(f"SELECT k, ts FROM {TX} JOIN\n {PAY} {text} USING (k)")
    check_error(joined, 2, "TABLESAMPLE in the outermost SELECT", "--sample 1%")
    below = refused(f"WITH a AS (\nSELECT * FROM {TX} {text}) SELECT k, ts FROM a")
    check_error(below, 2, "SAMPLE picks rows by chance, others in every run", "choose by a column")


def test_using_sample() -> None:
    error = refused(f"SELECT k, ts FROM {TX}\nUSING SAMPLE 10")
    check_error(error, 2, "USING SAMPLE in the outermost SELECT", "--sample 1%")


@pytest.mark.parametrize("parameter", ["$1", "?", "$name", ":name"])
def test_parameters(parameter: str) -> None:
    error = refused(f"SELECT k, ts,\n {parameter} AS p FROM {TX}")
    assert "is a parameter: nothing gives it a value" in error.message
    assert error.where is not None
    assert error.where.line == 11
    assert error.hint == 'write {{ var("name") }}'


def test_slices_that_look_like_parameters() -> None:
    error = refused(f"SELECT k, ts,\n l[:i] AS p FROM {TX}")
    check_error(error, 2, "mlforge cannot carry this expression: [:i]", "name both ends of the slice: [1:i]")
    assert parsed(f"SELECT k, ts, l[1:i] AS p, l[:2] AS q, l[i:] AS r FROM {TX}").kind == "plain"


def test_empty_select_lists() -> None:
    check_error(refused("SELECT"), None, "SELECT without columns", "the keys")


def test_writing_selects() -> None:
    check_error(refused(f"SELECT k, ts\nINTO t FROM {TX}"), 2, "SELECT ... INTO: a feature only reads", "delete INTO")
    check_error(refused(f"SELECT k, ts FROM {TX} FOR UPDATE"), 1, "FOR UPDATE: a feature only reads", "delete it")


@pytest.mark.parametrize("name", ["last_7d", "LAST_30D", "ever", "last_orders"])
def test_window_clauses_that_take_a_name_away(name: str) -> None:
    error = refused(f"SELECT k, ts, SUM(x) OVER {name} AS s FROM {TX}\nWINDOW {name} AS (ORDER BY ts)")
    check_error(
        error, 2, f"the WINDOW clause defines {name}: names last_* and ever are trailing windows", "another name"
    )


def test_window_clauses_of_ctes_that_take_a_name_away() -> None:
    error = refused(f"WITH a AS (SELECT k FROM {TX}\nWINDOW ever AS (ORDER BY ts)) SELECT k FROM a")
    check_error(error, 2, "the WINDOW clause defines ever", "another name")


def test_windows_built_on_a_trailing_window() -> None:
    error = refused(f"SELECT k, ts, SUM(x) OVER v AS s FROM {TX} WINDOW\n v AS (last_7d ORDER BY c)")
    check_error(error, 2, "WINDOW v AS (last_7d ...): nothing can be built on a trailing window", "OVER last_7d")
    error = refused(f"SELECT k, ts, SUM(x) OVER v AS s FROM {TX} WINDOW\n v AS (base ORDER BY c)")
    check_error(error, 2, "OVER base: neither a trailing window nor defined", "last_7d or ever")


def test_features_without_a_timestamp() -> None:
    error = refused(f"SELECT k,\n {W} FROM {TX}", timestamp=None)
    check_error(error, 2, "OVER last_7d in a feature without a timestamp", 'config(timestamp="...")')
    error = refused(f"SELECT k,\n as_of() AS a FROM {TX}", timestamp=None)
    check_error(error, 2, "as_of() in a feature without a timestamp", 'config(timestamp="...")')


AS_OF = [
    ("SELECT k, ts,\n MAX(as_of()) OVER ever AS s FROM {t}", "as_of() inside another aggregate"),
    ("SELECT k, ts,\n MAX(as_of()) AS s FROM {t}", "as_of() inside another aggregate"),
    (
        "SELECT k, ts, COUNT(*) FILTER (WHERE ts <\n as_of()) OVER ever AS s FROM {t}",
        "as_of() inside another aggregate",
    ),
    ("SELECT k, ts, SUM(x) OVER (ORDER BY\n as_of()) AS s FROM {t}", "as_of() inside another window"),
    ("SELECT k, ts FROM {t}\nWHERE ts < as_of()", "as_of() in WHERE"),
    ("SELECT k, ts FROM {t} a JOIN {t} b\n ON a.ts < as_of()", "as_of() in ON"),
    ("SELECT k, ts FROM {t} GROUP BY k, ts,\n as_of()", "as_of() in GROUP BY"),
    ("WITH a AS (\n SELECT as_of() AS s FROM {t}) SELECT k, ts FROM a", "as_of() in the CTE a"),
    ("SELECT k, ts FROM (\n SELECT as_of() AS s FROM {t})", "as_of() in a subquery in FROM"),
    ("SELECT k, ts, (SELECT\n as_of()) AS s FROM {t}", "as_of() in a subquery"),
]


@pytest.mark.parametrize(("sql", "message"), AS_OF)
def test_as_of_out_of_place(sql: str, message: str) -> None:
    check_error(refused(sql.format(t=TX)), 2, message, "date_diff('hour', MAX(t) OVER ever, as_of())")


def test_as_of_takes_no_arguments() -> None:
    check_error(refused(f"SELECT k, ts,\n x.as_of() AS s FROM {TX}"), 2, "as_of() takes no arguments", "as_of()")
    check_error(
        refused(f"SELECT k, ts,\n as_of('1d') AS s FROM {TX}"), 2, "AS_OF('1d'): as_of() takes no arguments", "as_of()"
    )


def test_as_of_inside_a_lambda() -> None:
    assert parsed(f"SELECT k, ts, list_filter(l, lambda v: v < as_of()) AS s FROM {TX}").kind == "windows"


# -- ref()

REF_PLACES = [
    f"WITH a AS (SELECT *\n FROM {REF}) SELECT k, ts FROM a",
    f"SELECT k, ts FROM (SELECT *\n FROM {REF})",
    f"SELECT k, ts, (SELECT MAX(v)\n FROM {REF}) AS m FROM {TX}",
    f"SELECT k, ts FROM {TX} UNION ALL SELECT k, ts\n FROM {REF}",
]


@pytest.mark.parametrize("sql", REF_PLACES)
def test_ref_below_the_outermost_select(sql: str) -> None:
    check_error(refused(sql), 2, 'ref("risk") below the outermost SELECT', 'LEFT JOIN {{ ref("risk") }} AS f ON f.key')


KEYS = {"risk": ("k", "m")}
GOOD_JOINS = [
    (f"FROM {TX} a LEFT JOIN {REF} r ON r.k = a.k AND a.m = r.m", {"k": "a.k", "m": "a.m"}),
    (f"FROM {TX} a JOIN {REF} r ON (r.k = upper(a.k || 'x')) AND (r.m = a.m)", {"k": "UPPER(a.k || 'x')", "m": "a.m"}),
    (f"FROM {TX} a INNER JOIN {REF} ON RISK.K = a.k AND risk.m = m", {"k": "a.k", "m": "m"}),
    (f"FROM {TX} a LEFT OUTER JOIN {REF} r USING (m, k)", {"k": "k", "m": "m"}),
    (f"FROM {REF} r", {}),
]


@pytest.mark.parametrize(("text", "keys"), GOOD_JOINS)
def test_ref_joins(text: str, keys: dict[str, str]) -> None:
    (use,) = check_ref_joins(parsed(f"SELECT 1 AS k, ts {text}"), KEYS)
    assert use.feature == "risk"
    assert {key: left.sql("duckdb") for key, left in use.keys.items()} == keys
    assert list(use.keys) == list(keys)


BAD_JOINS = [
    ("LEFT JOIN {r} r ON r.k = a.k", "its key m is missing"),
    ("LEFT JOIN {r} r USING (k)", "its key m is missing"),
    ("LEFT JOIN {r} r ON r.k = a.k AND r.m = a.m AND r.v > 3", "r.v > 3 is not of the form r.key = <left side>"),
    ("LEFT JOIN {r} r ON r.k = a.k AND r.m = a.m AND a.x > 3", "a.x > 3 is not of the form"),
    ("LEFT JOIN {r} r ON r.k = a.k AND r.m = r.k", "r.m = r.k is not of the form"),
    ("LEFT JOIN {r} r ON r.k = a.k OR r.m = a.m", "r.k = a.k OR r.m = a.m is not of the form"),
    ("LEFT JOIN {r} r ON r.k = a.k AND r.m = a.m AND r.v = a.v", "v is no key of it"),
    ("LEFT JOIN {r} r ON r.k = a.k AND r.k = a.m", "k is compared twice"),
    ("LEFT JOIN {r} r ON r.k = a.k AND r.m >= a.m", "r.m >= a.m is not of the form"),
    ("RIGHT JOIN {r} r USING (k, m)", "not RIGHT"),
    ("FULL JOIN {r} r USING (k, m)", "not FULL"),
    ("ASOF JOIN {r} r ON r.k = a.k AND r.m = a.m AND a.ts >= r.ts", "not ASOF"),
    ("ASOF LEFT JOIN {r} r USING (k, m)", "not ASOF LEFT"),
    ("SEMI JOIN {r} r USING (k, m)", "not SEMI"),
    ("ANTI JOIN {r} r USING (k, m)", "not ANTI"),
    ("NATURAL JOIN {r} r", "not NATURAL"),
    ("POSITIONAL JOIN {r} r", "not POSITIONAL"),
    ("CROSS JOIN {r} r", "not CROSS"),
    (", {r} r", "not a join without a condition"),
]


@pytest.mark.parametrize(("join", "message"), BAD_JOINS)
def test_refused_ref_joins(join: str, message: str) -> None:
    feature = parsed(f"SELECT a.k, ts FROM {TX} a\n {join.format(r=REF)}")
    with pytest.raises(GrammarError) as caught:
        check_ref_joins(feature, KEYS)
    check_error(
        caught.value, 2, 'JOIN of ref("risk"): ', "r.k = <left side>.k AND r.m = <left side>.m; mlforge adds the time"
    )
    assert message in caught.value.message


# -- on demand

ON_DEMAND_FINE = [
    f"SELECT k, amount / r.v AS s FROM {REF} AS r",
    f'SELECT k, amount / v AS s FROM {REF} AS r, "_mlforge_ref"."other" AS o',
    f'SELECT k, amount / v AS s FROM {REF} AS r CROSS JOIN "_mlforge_ref"."other" AS o',
    "SELECT k, greatest(amount, 1) AS s",
    f"SELECT k, list_transform(l, lambda x: x * amount) AS s, as_of() - ts AS age FROM {REF}",
    f"SELECT k, (SELECT amount + 1) AS s FROM {REF}",
]


@pytest.mark.parametrize("sql", ON_DEMAND_FINE)
def test_on_demand(sql: str) -> None:
    assert parsed(sql, timestamp=None, on_demand=True).kind == "on_demand"


ON_DEMAND_BAD = [
    (f"SELECT k,\n SUM(v) AS s FROM {REF}", "aggregate SUM(v) in an on-demand feature"),
    (f"SELECT k,\n SUM(v) OVER last_7d AS s FROM {REF}", "window SUM(v) OVER last_7d in an on-demand feature"),
    (f"SELECT k,\n row_number() OVER () AS s FROM {REF}", "window ROW_NUMBER() OVER () in an on-demand feature"),
    (f"SELECT k,\n unnest(l) AS s FROM {REF}", "UNNEST(l) in an on-demand feature"),
    (f"SELECT k,\n (SELECT MAX(x) FROM unnest(l) u(x)) AS s FROM {REF}", "subquery"),
    (f"SELECT k FROM {REF}\nWHERE v > 1", "WHERE in an on-demand feature"),
    (f"SELECT k FROM {REF}\nGROUP BY k", "GROUP BY in an on-demand feature"),
    (f"SELECT k FROM {REF}\nHAVING k > 1", "HAVING in an on-demand feature"),
    (f"SELECT\n DISTINCT k FROM {REF}", "DISTINCT in an on-demand feature"),
    (f"SELECT k FROM {REF}\nQUALIFY k > 1", "QUALIFY in an on-demand feature"),
    (f"WITH\n a AS (SELECT 1 AS x) SELECT k FROM {REF}", "WITH in an on-demand feature"),
    (f"SELECT k FROM\n {TX} AS t", '{{ source("tx") }} AS t in an on-demand feature'),
    (f"SELECT k FROM {REF},\n {TX}", '{{ source("tx") }} in an on-demand feature'),
    (f'SELECT k FROM {REF}\n JOIN "_mlforge_ref"."other" o USING (k)', "joined by the label's key and time"),
    (f"SELECT k FROM {REF},\n range(3) r", "in FROM of an on-demand feature"),
    (f"SELECT k FROM {REF},\n (SELECT 1 AS z) r", "in FROM of an on-demand feature"),
    (f"SELECT\n k FROM {REF} UNION ALL SELECT k FROM {TX}", "below the outermost SELECT"),
    ("SELECT\n 1 AS k UNION ALL SELECT 2", "UNION in an on-demand feature"),
]


@pytest.mark.parametrize(("sql", "message"), ON_DEMAND_BAD)
def test_refused_in_on_demand_features(sql: str, message: str) -> None:
    error = refused(sql, timestamp=None, on_demand=True)
    assert message in error.message
    assert error.where in (Where(FILE, 11), Where(FILE, 10 if "below" in message else 11))
    assert error.hint


ALL = [s for s, *_ in PLACES] + [f"SELECT {i}" for i, *_ in FUNCTIONS] + [s.format(t=TX) for s, _ in AS_OF] + REF_PLACES


@pytest.mark.parametrize("sql", ALL)
def test_sqlglot_takes_the_refused_shapes(sql: str) -> None:
    """Why the grammar is needed: none of these is a syntax error."""
    parse_one(sql, dialect="duckdb")
