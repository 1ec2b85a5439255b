"""What DuckDB leaves to chance among equal rows is chosen in one order, whatever the order of the rows in their files."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from mlforge.errors import GrammarError
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Row = dict[str, Any]

CONFIG = """\
name: ties
sources:
  ev: {path: data/ev.parquet, timestamp: t, loaded_at: loaded}
  bare: {path: data/ev.parquet}
  once: {path: data/once.parquet, unique_key: [k, t], loaded_at: loaded}
entities:
  user: {key: k}
"""
HEAD = '{{ config(entity="user", allow_lookahead=true) }}\n'
ROWS = 600


def make_rows() -> list[Row]:
    chance = random.Random(7)
    return [
        {
            "k": n % 3,
            "t": chance.randrange(4),
            "loaded": chance.choice([None, 0, 1]),
            "x": chance.choice([None, 1, 2, 3, 40]),
            "s": chance.choice(["a", "b", None, "c"]),
        }
        for n in range(ROWS)
    ]


def least(value: Any) -> tuple[bool, Any]:
    """NULL is less than everything."""
    return (value is not None, value)


def by(*names: str) -> Callable[[Row], Any]:
    return lambda row: [least(row[n]) for n in names]


CONTENT = by("k", "t", "loaded", "x", "s")
IN_TIME = by("t", "loaded", "k", "x", "s")
VALUES = by("t", "loaded", "x")


def known(rows: Iterable[Row], *names: str) -> list[Row]:
    return [row for row in rows if all(row[n] is not None for n in names)]


def at(rows: list[Row], t: int) -> list[Row]:
    return [row for row in rows if row["t"] == t]


def texts(rows: Iterable[Row]) -> str:
    return "-".join(row["s"] for row in rows)


def mode(rows: list[Row]) -> Any:
    values = [row["x"] for row in rows if row["x"] is not None]
    return min(set(values), key=lambda v: (-values.count(v), v))


def rank(rows: list[Row]) -> int:
    """What DuckDB's rank() of the last instant is: one more than the rows before it."""
    return 1 + len([row for row in rows if row["t"] < 3])


def running(rows: list[Row]) -> int:
    """The greatest sum of three rows that follow each other."""
    found = sorted(rows, key=IN_TIME)
    return max(sum(row["x"] or 0 for row in found[max(0, n - 2) : n + 1]) for n in range(len(found)))


def back(rows: list[Row]) -> int:
    """How often a row's x is greater than that of the row before it."""
    found = [row["x"] for row in sorted(rows, key=IN_TIME)]
    return sum(a is not None and b is not None and b > a for a, b in pairwise(found))


# SQL over ev and what it must give for the rows of one key
FORMS: dict[str, tuple[str, Callable[[list[Row]], Any]]] = {
    "asof": (
        "SELECT k, sum(x) AS v FROM (SELECT a.k, b.x FROM EV a ASOF JOIN EV b ON a.k = b.k AND a.t >= b.t) GROUP BY k",
        lambda rows: sum(max(at(rows, row["t"]), key=IN_TIME)["x"] or 0 for row in rows),
    ),
    "asof of an expression": (
        "SELECT k, sum(x) AS v FROM (SELECT a.k, b.x FROM EV a ASOF LEFT JOIN EV AS b "
        "ON b.k + 1 = a.k + 1 AND a.t > b.t + INTERVAL 1 SECOND) GROUP BY k",
        lambda rows: sum(max(at(rows, row["t"] - 2), key=IN_TIME)["x"] or 0 for row in rows if row["t"] > 1),
    ),
    "asof using": (
        "WITH b AS (SELECT k, t, x FROM EV WHERE x IS NOT NULL) SELECT k, sum(b.x) AS v FROM EV a ASOF JOIN b USING (k, t) "
        "GROUP BY k",
        lambda rows: sum(max(r["x"] for r in known(at(rows, row["t"]), "x")) for row in rows),
    ),
    "row_number": (
        "SELECT k, x AS v FROM EV QUALIFY row_number() OVER (PARTITION BY k ORDER BY t DESC) = 1",
        lambda rows: max(rows, key=IN_TIME)["x"],
    ),
    "row_number of a named window": (
        "SELECT k, x AS v FROM EV QUALIFY row_number() OVER w = 1 WINDOW w AS (PARTITION BY k ORDER BY t)",
        lambda rows: min(rows, key=IN_TIME)["x"],
    ),
    "row_number without order": (
        "SELECT k, x AS v FROM (SELECT *, row_number() OVER (PARTITION BY k) AS n FROM BARE) WHERE n = 7",
        lambda rows: sorted(rows, key=CONTENT)[6]["x"],
    ),
    "rank": (
        "SELECT k, max(n) AS v FROM (SELECT k, rank() OVER (PARTITION BY k ORDER BY t) AS n FROM EV) GROUP BY k",
        rank,
    ),
    "lag": (
        "SELECT k, count(*) FILTER (WHERE x > b) AS v FROM "
        "(SELECT k, x, lag(x) OVER (PARTITION BY k ORDER BY t) AS b FROM EV) GROUP BY k",
        back,
    ),
    "rows frame": (
        "SELECT k, max(n)::INT AS v FROM (SELECT k, sum(x) OVER (PARTITION BY k ORDER BY t ROWS 2 PRECEDING) AS n FROM EV) "
        "GROUP BY k",
        running,
    ),
    "last_value of peers": (
        "SELECT k, min(n) AS v FROM (SELECT k, t, last_value(x) OVER (PARTITION BY k ORDER BY t) AS n FROM BARE) "
        "WHERE t = TIMESTAMP '1970-01-01 00:00:02' GROUP BY k",
        lambda rows: max(row["x"] for row in known(at(rows, 2), "x")),
    ),
    "distinct on": (
        "SELECT DISTINCT ON (k) k, x AS v FROM EV",
        lambda rows: max(rows, key=IN_TIME)["x"],
    ),
    "distinct on with order": (
        "SELECT k, x AS v FROM (SELECT DISTINCT ON (k) * FROM EV ORDER BY t)",
        lambda rows: min(rows, key=IN_TIME)["x"],
    ),
    "distinct on in a union": (
        "SELECT DISTINCT ON (k) k, x AS v FROM EV WHERE k < 2 UNION ALL SELECT DISTINCT ON (k) k, x FROM EV WHERE k = 2",
        lambda rows: max(rows, key=IN_TIME)["x"],
    ),
    "limit": (
        "SELECT k, (SELECT b.s FROM EV b WHERE b.k = a.k AND b.s IS NOT NULL ORDER BY b.t DESC LIMIT 1) AS v "
        "FROM (SELECT DISTINCT k FROM EV) a",
        lambda rows: max(row["s"] for row in known(at(rows, 3), "s")),
    ),
    "limit without order": (
        "SELECT k, count(s) AS v FROM (SELECT * EXCLUDE (loaded) FROM EV LIMIT 500) GROUP BY k",
        lambda rows: len(
            [row for row in sorted(rows, key=by("k", "t", "x", "s"))[: {2: 100}.get(rows[0]["k"], 200)] if row["s"]]
        ),
    ),
    "first": ("SELECT k, first(x) AS v FROM EV GROUP BY k", lambda rows: min(rows, key=VALUES)["x"]),
    "first of a CTE": (
        "WITH c AS (SELECT * FROM EV WHERE s = 'a') SELECT k, first(x) AS v FROM c GROUP BY k",
        lambda rows: min((r for r in rows if r["s"] == "a"), key=VALUES)["x"],
    ),
    "last": ("SELECT k, last(x) AS v FROM EV GROUP BY k", lambda rows: max(rows, key=VALUES)["x"]),
    "any_value": (
        "SELECT k, any_value(x) AS v FROM EV GROUP BY k",
        lambda rows: min(known(rows, "x"), key=VALUES)["x"],
    ),
    "arg_max": (
        "SELECT k, arg_max(x, t) AS v FROM EV GROUP BY k",
        lambda rows: max(known(at(rows, 3), "x"), key=by("x"))["x"],
    ),
    "min_by": (
        "SELECT k, min_by(s, t) FILTER (WHERE x = 2 OR x = 3) AS v FROM EV GROUP BY k",
        lambda rows: min(r["s"] for r in known(at(rows, 0), "s") if r["x"] in (2, 3)),
    ),
    "arg_max with its own order": (
        "SELECT k, arg_max(s, x ORDER BY t DESC) AS v FROM EV GROUP BY k",
        lambda rows: max(r["s"] for r in known(at(rows, 3), "s") if r["x"] == 40),
    ),
    "mode": ("SELECT k, mode(x) AS v FROM EV GROUP BY k", mode),
    "string_agg": (
        "SELECT k, string_agg(s, '-') AS v FROM EV GROUP BY k",
        lambda rows: texts(sorted(known(rows, "s"), key=by("t", "loaded", "s"))),
    ),
    "string_agg with its own order": (
        "SELECT k, string_agg(s, '-' ORDER BY t DESC) AS v FROM EV GROUP BY k",
        lambda rows: texts(sorted(known(rows, "s"), key=by("t", "s"), reverse=True)),
    ),
    "list": (
        "SELECT k, list(x) AS v FROM EV GROUP BY k",
        lambda rows: [row["x"] for row in sorted(rows, key=VALUES)],
    ),
    "list of a join": (
        "SELECT a.k, list(a.x) AS v FROM EV a JOIN (SELECT DISTINCT k FROM BARE) b USING (k) GROUP BY a.k",
        lambda rows: [row["x"] for row in sorted(rows, key=VALUES)],
    ),
    "list distinct": (
        "SELECT k, list(DISTINCT s) AS v FROM EV GROUP BY k",
        lambda rows: sorted({row["s"] for row in rows}, key=least),
    ),
}


def write(small: Small, rows: list[Row]) -> None:
    values = ", ".join(
        f"({r['k']}, {r['t']}, {'NULL' if r['loaded'] is None else r['loaded']}, "
        f"{'NULL' if r['x'] is None else r['x']}, {'NULL' if r['s'] is None else repr(r['s'])})"
        for r in rows
    )
    columns = "k::BIGINT AS k, make_timestamp(t * 1000000) AS t, make_timestamp(loaded) AS loaded, x::INT AS x, s"
    small.write("data/ev.parquet", f"SELECT {columns} FROM (VALUES {values}) v(k, t, loaded, x, s)")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[int, Any]]]:
    """Form -> key -> value, for builds of the same rows in three orders."""
    rows = make_rows()
    found = []
    for seed in range(3):
        small = Small(tmp_path_factory.mktemp("ties"), CONFIG)
        random.Random(seed).shuffle(rows)
        write(small, rows)
        small.write("data/once.parquet", "SELECT 1 AS k, TIMESTAMP '2024-01-01' AS t, TIMESTAMP '2024-01-01' AS loaded")
        for n, (text, _) in enumerate(FORMS.values()):
            text = text.replace("EV", '{{ source("ev") }}').replace("BARE", '{{ source("bare") }}')
            small.feature(f"f{n}", HEAD + text)
        small.good()
        found.append({form: dict(small.sql(f"FROM features.f{n}")) for n, form in enumerate(FORMS)})
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_choice_among_equal_rows_follows_the_order_of_ties(
    answers: list[dict[str, dict[int, Any]]], form: str
) -> None:
    rows = make_rows()
    expected = {k: FORMS[form][1]([row for row in rows if row["k"] == k]) for k in range(3)}
    assert [found[form] for found in answers] == [expected] * 3


SMALL_HEAD = '{{ config(entity="user", timestamp="t") }}\n'
REFUSED = {
    "SELECT a.k, a.t, b.x FROM {{ source('ev') }} a\nASOF JOIN {{ source('ev') }} b ON a.k = b.k AND a.x + b.x >= 3": "ASOF JOIN ON a.x + b.x >= 3: it is not clear which of equal rows it would meet",
    "SELECT k, t, json_group_array(x) AS v\nFROM {{ source('ev') }} GROUP BY k, t": "JSON_GROUP_ARRAY(x) sees its rows in no order",
    "WITH c AS (\nSELECT * FROM {{ source('ev') }} USING SAMPLE 10%) SELECT k, t, x FROM c": "SAMPLE picks rows by chance",
    "SELECT k, t, x FROM (\nSELECT * FROM {{ source('ev') }} TABLESAMPLE reservoir(5 ROWS))": "SAMPLE picks rows by chance",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_choice_that_cannot_be_settled_is_refused(tmp_path: Path, text: str) -> None:
    small = Small(tmp_path, CONFIG)
    write(small, make_rows()[:5])
    small.feature("f", SMALL_HEAD + text)
    with pytest.raises(GrammarError) as caught:
        small.forge.plan()
    assert REFUSED[text] in caught.value.message
    assert str(caught.value.where) in ("features/f.sql:2", "features/f.sql:3")


def test_a_right_side_that_says_it_is_unique_is_left_alone(tmp_path: Path) -> None:
    small = Small(tmp_path, CONFIG)
    write(small, make_rows()[:5])
    small.write(
        "data/once.parquet", "SELECT 1 AS k, TIMESTAMP '1970-01-01' AS t, TIMESTAMP '2024-01-01' AS loaded, 5 AS z"
    )
    join = "SELECT a.k, a.t, b.z FROM {{ source('ev') }} a ASOF JOIN {{ source('once') }} b ON a.k = b.k AND a.t >= b.t"
    small.feature("once", SMALL_HEAD + join)
    small.feature("many", SMALL_HEAD + join.replace("'once'", "'ev'").replace("b.z", "b.x AS z"))
    small.good()
    with duckdb.connect(str(small.catalog), read_only=True) as con:
        texts = dict(con.execute("SELECT feature, string_agg(sql, ' ') FROM mlforge.statements GROUP BY 1").fetchall())
    assert "_mlforge_right" not in texts["once"]
    assert "_mlforge_right" in texts["many"]


def test_ties_that_are_settled_change_no_version(tmp_path: Path) -> None:
    """What a column means is what the user wrote: the order of ties is not in it."""
    small = Small(tmp_path, CONFIG)
    write(small, make_rows()[:5])
    small.feature("f", HEAD + "SELECT k, first(x) AS v FROM {{ source('ev') }} GROUP BY k")
    small.good()
    ((text,),) = small.sql("SELECT definition->>'$.sql' FROM mlforge.versions")
    assert "ORDER BY" not in text
