"""Every aggregate, plain, with DISTINCT, with FILTER and with both, through every kind of plan, against plain DuckDB; and
on rows that DuckDB's versions answer differently, against values written down here."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb

from mlforge.render.aggregates import NO_DISTINCT, TAKEN
from mlforge.verify.result import VerifyOptions
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

CALLS = [
    "any_value(s)",
    "approx_quantile(x, 0.5)",
    "arg_max(s, x)",
    "arg_max(s, x, 2)",
    "arg_min(s, x)",
    "avg(x)",
    "avg(i)",
    "avg(d)",
    "bit_and(i)",
    "bit_or(i)",
    "bit_xor(i)",
    "bool_and(b)",
    "bool_or(b)",
    "count(s)",
    "count(*)",
    "count({'i': i, 's': s})",
    "approx_count_distinct(s)",
    "count_if(b)",
    "entropy(s)",
    "favg(x)",
    "first(s)",
    "histogram(i)",
    "histogram(i, [0, 5])",
    "histogram_exact(i, [0, 5])",
    "kahan_sum(x)",
    "kurtosis(x)",
    "kurtosis_pop(i)",
    "last(s)",
    "list(s)",
    "mad(x)",
    "max(x)",
    "max(x, 2)",
    "median(x)",
    "min(s)",
    "min(x, 2)",
    "mode(s)",
    "product(x)",
    "quantile_cont(x, 0.25)",
    "quantile_cont(x, [0.25, 0.5])",
    "quantile_disc(s, 0.5)",
    "regr_count(x, i)",
    "sem(x)",
    "skewness(x)",
    "stddev_pop(x)",
    "stddev_samp(i)",
    "string_agg(s, '-')",
    "sum(x)",
    "sum(i)",
    "sum(d)",
    "var_pop(d)",
    "var_samp(x)",
]
TILED = (
    "avg(x)",
    "avg(i)",
    "bool_and(b)",
    "bool_or(b)",
    "count(s)",
    "count(*)",
    "max(x)",
    "min(s)",
    "sum(d)",
    "sum(i)",
)
ONE_VALUE = ("any_value", "arg_max", "arg_min", "first", "last")  # DISTINCT changes nothing
IN_ORDER = ("list", "mode", "string_agg")  # DISTINCT keeps each value where it first appears

COLUMNS = "k BIGINT, t TIMESTAMP, x DOUBLE, i BIGINT, d DECIMAL(10,2), s VARCHAR, b BOOLEAN"
ROWS = [
    "1, '2024-01-01 10:00', 2.0, 3, 1.25, 'b', true",
    "1, '2024-01-02 00:00', 1.0, 4, 2.25, 'a', false",
    "1, '2024-01-03 01:00', 2.0, 3, 1.25, 'b', true",
    "1, '2024-01-03 02:00', 0.5, 7, 0.5, 'a', NULL",
    "1, '2024-01-04 00:00', NULL, NULL, NULL, NULL, true",
    "1, '2024-01-05 10:00', -3.5, 0, -9.75, 'c', true",
    "1, '2024-01-05 11:00', 1.0, 4, 2.25, 'c', true",
    "2, '2024-01-03 00:00', NULL, NULL, NULL, NULL, NULL",
    "2, '2024-01-03 05:00', 7.0, 1, 3.0, 'a', false",
]
LATER = ["1, '2024-01-06 12:00', 2.0, 9, 1.25, 'a', true", "1, '2024-01-06 13:00', 4.0, 3, 0.25, 'd', true"]
LABELS = [
    (1, "2024-01-03"),
    (1, "2024-01-04"),
    (1, "2024-01-06"),
    (1, "2024-01-07"),
    (1, "2024-01-08"),
    (1, "2024-02-01"),
    (2, "2024-01-05"),
    (3, "2024-01-05"),
]


def variants(call: str) -> list[tuple[str, bool, bool]]:
    """A call with and without DISTINCT and FILTER, as far as it takes them."""
    name, args = call.split("(", 1)
    several = (
        name
        not in ("approx_quantile", "max", "min", "quantile_cont", "quantile_disc", "string_agg", "arg_max", "arg_min")
        and ", " in args.split("}")[-1]
    )
    with_distinct = not (name in NO_DISTINCT or args == "*)" or several or (call.endswith("x, 2)") and "arg" in call))
    return [(call, d, f) for d in ((False, True) if with_distinct else (False,)) for f in (False, True)]


VARIANTS = [v for call in CALLS for v in variants(call)]


def written(call: str, distinct: bool, filtered: bool, window: str) -> str:
    name, args = call.split("(", 1)
    text = f"{name}({'DISTINCT ' if distinct else ''}{args}{' FILTER (WHERE b)' if filtered else ''} OVER {window}"
    return f"({text})[-3:]" if name == "list" else text


def plain(call: str, distinct: bool, filtered: bool) -> str:
    """What plain DuckDB says of the rows ``w``, which are in order: SQL for one value."""
    name, args = call.split("(", 1)
    first = args.rstrip(")").split(",")[0]
    rows = "(SELECT * FROM w WHERE b)" if filtered else "w"
    if name == "approx_count_distinct":
        return f"(SELECT count(DISTINCT {first}) FROM {rows})"
    if name == "count_if":
        return f"(SELECT count({'DISTINCT ' if distinct else ''}CASE WHEN b THEN 1 END) FROM {rows})"
    if name == "entropy":
        return (
            f"(SELECT CASE WHEN count({first}) > 0 THEN {name}({'DISTINCT ' if distinct else ''}{args} END FROM {rows})"
        )
    if name in ONE_VALUE or name in IN_ORDER:
        if distinct and name in IN_ORDER:
            rows = f"(SELECT DISTINCT ON ({first}) * FROM {rows} ORDER BY {first}, t)"
        order = "x " + ("DESC" if name == "arg_max" else "ASC") + ", t" if name.startswith("arg_") else "t"
        if call.endswith(", 2)"):
            return f"(SELECT list(s ORDER BY {order}) FILTER (s IS NOT NULL AND x IS NOT NULL) FROM {rows})[1:2]"
        text = f"{name}({args[:-1]} ORDER BY {order})"
        known = f" FILTER ({first} IS NOT NULL)" if name == "mode" else ""
        return f"(SELECT {text}{known} FROM {rows})" + ("[-3:]" if name == "list" else "")
    return f"(SELECT {name}({'DISTINCT ' if distinct else ''}{args} FROM {rows})"


def project(root: Path) -> Small:
    small = Small(root)
    for kind, config, chosen in (
        ("exact", "", VARIANTS),
        ("shown", ', interval="1d"', VARIANTS),
        ("tiled", ', interval="1d"', [v for v in VARIANTS if v[0] in TILED and not v[1]]),
    ):
        items = [f"{written(*v, 'last_2d')} AS {kind}_{VARIANTS.index(v)}" for v in chosen]
        config = f'{{{{ config(entity="user", timestamp="t"{config}) }}}}'
        small.feature(kind, f'{config}\nSELECT k, t, {", ".join(items)} FROM {{{{ source("ev") }}}}')
    return small


def expected(rows: list[str]) -> list[list[Any]]:
    """Plain DuckDB's answers: for each label one value of each variant."""
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE ev ({COLUMNS})")
        for row in rows:
            con.execute(f"INSERT INTO ev VALUES ({row})")
        found = []
        for key, at in LABELS:
            low = f"TIMESTAMP '{at}' - INTERVAL 2 DAY"
            con.execute(
                f"CREATE OR REPLACE TABLE w AS FROM ev WHERE k = {key} AND t >= {low} AND t < '{at}' ORDER BY t"
            )
            found.append(list(con.execute(f"SELECT {', '.join(plain(*v) for v in VARIANTS)}").fetchall()[0]))
    return found


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (float, Decimal)) and isinstance(b, (float, Decimal)):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) or isinstance(b, dict):
        return dict(a or ()) == dict(b or ())
    return bool(a == b)


def differences(table: pa.Table, wanted: list[list[Any]], way: str) -> list[str]:
    found = []
    for column in table.column_names:
        if "_" in column and column.split("_")[1].isdigit():
            n = int(column.split("_")[1])
            for row, value in enumerate(table[column].to_pylist()):
                if not same(value, wanted[row][n]):
                    call = written(*VARIANTS[n], "last_2d")
                    found.append(f"{way} {column} {call} at {LABELS[row]}: {value!r}, not {wanted[row][n]!r}")
    return found


def answers(small: Small, wanted: list[list[Any]], way: str) -> list[str]:
    """Python (frames, and by binary search) and the macros against what is wanted."""
    values = ", ".join(f"({k}, TIMESTAMP '{t}', {n})" for n, (k, t) in enumerate(LABELS))
    labels = f"SELECT k::BIGINT AS k, label_time, n FROM (VALUES {values}) v(k, label_time, n)"
    found = differences(small.forge.get_training_data(["exact", "shown", "tiled"], labels), wanted, way)
    with duckdb.connect(str(small.catalog), read_only=True) as con:
        con.execute(f"CREATE TEMP VIEW labels AS {labels}")
        for name in ("exact", "shown", "tiled"):
            table = con.sql(f"FROM features.{name}_asof('labels') ORDER BY n").to_arrow_table()
            found += differences(table, wanted, f"{way}, macro,")
    return found


def test_every_aggregate_in_every_plan(tmp_path: Path) -> None:
    """Twice: the second build makes a PATCH of what is new."""
    small = project(tmp_path)
    small.rows(*ROWS, columns=COLUMNS)
    small.good()
    found = answers(small, expected(ROWS), "first")
    small.rows(*ROWS, *LATER, columns=COLUMNS)
    assert set(small.good().values()) == {"1.0.1"}
    found += answers(small, expected([*ROWS, *LATER]), "second")
    assert not found, "\n".join(found)
    proof = small.forge.verify(None, options=VerifyOptions(sample=8))
    assert proof.passed, [(m.column, m.retrieved, m.recomputed) for m in proof.mismatches]


def test_every_aggregate_that_is_taken_is_tried() -> None:
    assert {call.split("(")[0] for call in CALLS} == set(TAKEN)


NAN, INF = math.nan, math.inf
#: Values on which versions of DuckDB raise or differ, and what a feature gives for them.
HOSTILE: dict[str, tuple[list[float | None], dict[str, Any]]] = {
    "nothing": ([None, None], dict.fromkeys(("var_pop", "skewness", "kurtosis", "entropy", "kahan_sum", "mad"))),
    "one": ([2.5], {"var_pop": 0.0, "var_samp": None, "sem": 0.0, "skewness": None, "kurtosis": None, "entropy": 0.0}),
    "equal": (
        [0.1] * 7,
        {"var_pop": 0.0, "stddev_samp": 0.0, "skewness": None, "kurtosis": None, "kurtosis_pop": None},
    ),
    "nan": ([NAN], {"var_pop": NAN, "stddev_samp": NAN, "sem": NAN, "skewness": NAN, "kurtosis": NAN, "sum": NAN}),
    "nan too": ([NAN, 1.0, 2.0], {"var_pop": NAN, "var_samp": NAN, "kurtosis_pop": NAN, "min": 1.0, "max": NAN}),
    "infinity": ([INF, 1.0], {"var_pop": NAN, "sem": NAN, "skewness": NAN, "kahan_sum": INF, "favg": INF, "avg": INF}),
    "infinities": ([INF, -INF, 1.0], {"stddev_pop": NAN, "kurtosis": NAN, "sum": NAN, "kahan_sum": NAN}),
    "huge": (
        [1.7e308, -1.7e308, 1.7e308, 1.7e308],
        {
            "var_pop": NAN,
            "stddev_samp": NAN,
            "skewness": NAN,
            "kurtosis": NAN,
            "kahan_sum": INF,
            "sum": INF,
            "avg": 8.5e307,
        },
    ),
    "denormal": ([5e-324, 1e-310, -1e-310], {"var_pop": 0.0, "sum": 5e-324, "kurtosis_pop": -1.5, "max": 1e-310}),
    "far away": ([1e9 + 1, 1e9 + 2, 1e9 + 4], {"skewness": 0.9352195295828237, "kurtosis_pop": -1.5}),
    "decimal": ([-9.75, 0.5, 1.25, 2.25], {"quantile_cont": Decimal("-2.06"), "mad": Decimal("0.88"), "median": 0.875}),
}


def test_values_that_versions_of_duckdb_differ_on(tmp_path: Path) -> None:
    small = Small(tmp_path)
    names = list(HOSTILE)
    rows = []
    for key, (name, (values, _)) in enumerate(HOSTILE.items()):
        for n, x in enumerate(values):
            written_x = "NULL" if x is None else f"'{x}'::DOUBLE"
            rows.append(f"{key}, '2024-01-0{n + 1}', {written_x}, {x if name == 'decimal' else 'NULL'}")
    small.rows(*rows, columns="k BIGINT, t TIMESTAMP, x DOUBLE, d DECIMAL(10,2)")
    calls = sorted({call for _, wanted in HOSTILE.values() for call in wanted})
    columns = ", ".join(f"{c}(x) OVER last_30d AS {c}" for c in calls if c != "quantile_cont")
    exact = ", quantile_cont(d, 0.25) OVER last_30d AS d_quantile_cont, mad(d) OVER last_30d AS d_mad"
    for name, more in (("exact", ""), ("shown", ', interval="1d"')):
        config = f'{{{{ config(entity="user", timestamp="t"{more}) }}}}'
        small.feature(name, f'{config}\nSELECT k, t, {columns}{exact} FROM {{{{ source("ev") }}}}')
    small.good()
    labels = ", ".join(f"({n}, '2024-01-20')" for n in range(len(names)))
    for feature in ("exact", "shown"):
        for n, (name, (_, wanted)) in enumerate(HOSTILE.items()):
            asked = [f"d_{c}" if isinstance(w, Decimal) else c for c, w in wanted.items()]
            found = small.ask([feature], labels, *asked)[n]
            for call, value, right in zip(asked, found, wanted.values(), strict=True):
                assert same(value, right), f"{feature}: {call} of {name} is {value!r}, not {right!r}"
    proof = small.forge.verify(None, options=VerifyOptions(sample=40))
    assert proof.passed, [(m.column, m.label, m.retrieved, m.recomputed) for m in proof.mismatches]


def test_versions_that_counted_with_a_sketch_stay_and_are_named(tmp_path: Path) -> None:
    small = Small(tmp_path)
    config = '{{ config(entity="user", timestamp="t", interval="1d") }}'
    call = "APPROX_COUNT_DISTINCT(x) OVER ever AS n, APPROX_COUNT_DISTINCT(x) OVER last_2d + 1 AS m"
    small.feature("f", f'{config}\nSELECT k, t, {call} FROM {{{{ source("ev") }}}}')
    small.rows(*(f"1, '2024-01-01 00:00:{n % 60:02}', {n}" for n in range(200)))
    small.good()
    assert small.ask(["f"], "(1, '2024-01-02'), (2, '2024-01-02')") == [(200, 201), (0, 1)]
    assert small.forge.plan().notes == ()
    made_before = """UPDATE mlforge.versions SET compiled = replace(replace(compiled::VARCHAR, '"function":"count"',
        '"function":"approx_count_distinct"'), '"distinct":true', '"distinct":false')"""
    with duckdb.connect(str(small.catalog)) as con:
        con.execute(made_before)
    (note,) = small.forge.plan().notes
    assert note == (
        "f@1.0.0 counts n, m with DuckDB's sketch, whose answer follows the reader's version of DuckDB; it stays as it is,"
        " and `build --force` makes one that counts exactly"
    )
    assert small.good() == {}
    small.rows(*(f"1, '2024-01-01 00:00:{n % 60:02}', {n}" for n in range(201)))
    plan = small.forge.plan()
    assert plan.notes == (note.replace("`build --force` makes one that counts exactly", "1.0.1 counts exactly"),)
    assert plan.steps[0].increment.why == (
        "this mlforge computes its aggregates in another way than the one that made the version"
    )
    assert small.good() == {"f": "1.0.1"}
    assert small.forge.plan().notes == ()
    assert small.ask(["f"], "(1, '2024-01-02')") == [(201, 202)]
    assert small.ask(["f@1.0.0"], "(1, '2024-01-02')") == [(200, 201)]
