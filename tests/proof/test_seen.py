"""The instant from which each row is known, carried through a query: what passes never leaks, what leaks is caught."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import pytest
import sqlglot

from mlforge.model import Duration
from mlforge.proof.pruned import prepared
from mlforge.proof.relations import ALWAYS, SEEN, Relation, Unproven
from mlforge.proof.relations import NEVER as NEVER_
from mlforge.proof.seen import with_seen
from mlforge.proof.seen_joins import micros_of
from tests.proof.test_settled import TABLES, drawn, proven, source
from tests.proof.truth import NEVER, SCHEMA, Table, Truth, relations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlforge.proof.relations import Relations


@pytest.fixture(scope="module")
def truth() -> Iterator[Truth]:
    """The tables in six worlds of rows."""
    draw = random.Random(8)
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'; SET threads = 1")
        yield Truth(con, *({name: few_keys(table) for name, table in drawn(draw).items()} for _ in range(6)))


def few_keys(table: Table) -> Table:
    """The table with keys that meet often."""
    keyed = next(iter(table.columns)) == "k"
    return replace(table, rows=tuple((row[0] and row[0] % 2, *row[1:]) if keyed else row for row in table.rows))


def written(text: str, known: Relations | None = None) -> str:
    """The query with SEEN."""
    tree = sqlglot.parse_one(source(text), dialect="duckdb")
    assert isinstance(tree, sqlglot.exp.Query)
    before = tree.sql("duckdb")
    known = known or relations(TABLES)
    made = with_seen(tree, prepared(tree, known), "ts", known).sql("duckdb")
    assert tree.sql("duckdb") == before
    return made


def rows_of(truth: Truth, text: str) -> Counter[tuple[Any, ...]]:
    """All rows of a query, with their stamps first."""
    return truth.at(text, NEVER + 1)


def accused(truth: Truth, text: str, made: str, delay: int = 0) -> int:
    """How many rows are later than their stamp; the rows are those of the query."""
    found = rows_of(truth, made)
    plain: Counter[tuple[Any, ...]] = Counter()
    for row, n in found.items():
        plain[row[:-1]] += n
    assert plain == rows_of(truth, source(text)), made
    assert all(row[-1] is not None for row in found), made
    return sum(n for row, n in found.items() if row[0] is not None and row[-1] > row[0] + delay)


PASSES = {
    "the row": "SELECT k, t AS ts, x FROM @ev WHERE x > 1",
    "a computed stamp": "SELECT k, greatest(t, TIMESTAMP '2024-01-31') AS ts, x FROM @ev WHERE t IS NOT NULL",
    "a month's end by another spelling": (
        "SELECT k, make_timestamp(year(t), month(t), 1, 0, 0, 0.0) + INTERVAL 1 MONTH AS ts, SUM(x) AS s FROM @ev "
        "WHERE t IS NOT NULL GROUP BY ALL"
    ),
    "first purchase": "SELECT k, MIN(t) AS ts, COUNT(DISTINCT k) FILTER (WHERE k IS NULL AND k IS NOT NULL) AS n FROM @ev WHERE t IS NOT NULL GROUP BY k",
    "what was first bought": (
        "SELECT k, MIN(t) AS ts, arg_min(g, t) AS g, MIN(t) FILTER (WHERE t < TIMESTAMP '2024-01-01') AS none FROM @ev "
        "WHERE t IS NOT NULL AND g IS NOT NULL GROUP BY k"
    ),
    "the first as numbered": (
        "SELECT k, m AS ts, x FROM (SELECT k, date_trunc('month', t) + INTERVAL 1 MONTH AS m, x, row_number() OVER ("
        "PARTITION BY k, date_trunc('month', t) + INTERVAL 1 MONTH ORDER BY t DESC, x, g) AS rn FROM @ev "
        "WHERE t IS NOT NULL) WHERE rn = 1"
    ),
    "an outer join, greatest": (
        "SELECT e.k, greatest(e.t, b.t2 + INTERVAL 36 HOUR) AS ts, b.y FROM @ev e JOIN @late b ON e.k = b.k "
        "WHERE e.t IS NOT NULL AND b.t2 IS NOT NULL"
    ),
    "a tied outer join keeps its columns": (
        "SELECT e.k, e.t AS ts, b.x FROM @ev e LEFT JOIN @ev b ON b.k = e.k AND b.t <= e.t WHERE b.x > 1"
    ),
    "asof using": "SELECT e.k, e.t AS ts FROM @ev e ASOF JOIN @ev b USING (k, t)",
    "names": "SELECT e.k, e.t AS ts, n.name FROM @ev e LEFT JOIN @names n ON n.k = e.k WHERE n.name = 'a'",
    "late, not selected": (
        "SELECT k, ts FROM (SELECT k, t AS ts, SUM(x) OVER (PARTITION BY k ORDER BY x DESC) AS s FROM @ev)"
    ),
    "the last of the month, at its end": (
        "SELECT DISTINCT ON (k, m) k, m + INTERVAL 1 MONTH AS ts, x FROM (SELECT k, date_trunc('month', t) AS m, t, x FROM @ev "
        "WHERE t IS NOT NULL) ORDER BY k, m, t DESC, x"
    ),
    "the last of the month, by its number": (
        "SELECT k, date_trunc('month', t) + INTERVAL 1 MONTH AS ts, x FROM @ev WHERE t IS NOT NULL "
        "QUALIFY row_number() OVER (PARTITION BY k, date_trunc('month', t) ORDER BY t DESC, x, g) = 1"
    ),
    "at least two": (
        "SELECT k, make_timestamp(year(t), month(t), 1, 0, 0, 0.0) + INTERVAL 1 MONTH AS ts, COUNT(*) AS n FROM @ev "
        "WHERE t IS NOT NULL GROUP BY ALL HAVING COUNT(*) > 1"
    ),
    "intersect": "SELECT k, t + INTERVAL 40 DAY AS ts FROM @ev WHERE t IS NOT NULL INTERSECT SELECT k, t2 + INTERVAL 40 DAY FROM @late",
    "groups by the instant": "SELECT k, t + INTERVAL 0 DAY AS ts, SUM(x) AS s FROM @ev WHERE t IS NOT NULL GROUP BY k, t HAVING SUM(x) < 3",
}

CAUGHT = {
    "totals of all": "SELECT k, MIN(t) + INTERVAL 1 DAY AS ts, SUM(x) AS s FROM @ev GROUP BY k",
    "by value": "SELECT k, t AS ts, SUM(x) OVER (PARTITION BY k ORDER BY x DESC) AS s FROM @ev",
    "rank": "SELECT k, t AS ts, rank() OVER (PARTITION BY k ORDER BY x DESC) AS s FROM @ev",
    "first value": "SELECT k, t + INTERVAL 1 DAY AS ts, FIRST_VALUE(x) OVER (PARTITION BY k ORDER BY t DESC, x) AS s FROM @ev",
    "lead": "SELECT k, t AS ts, lead(x) OVER (PARTITION BY k ORDER BY t, x, g) AS s FROM @ev",
    "a frame before the row": (
        "SELECT k, t AS ts, SUM(x) OVER (ORDER BY x, t, g ROWS BETWEEN 3 PRECEDING AND 2 PRECEDING) AS s FROM @ev"
    ),
    "ties left out": "SELECT k, t AS ts, SUM(x) OVER (ORDER BY x RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW EXCLUDE TIES) AS s FROM @ev",
    "the hint's spelling": (
        "SELECT k, strptime(strftime(t, '%Y-%m'), '%Y-%m') + INTERVAL 1 DAY AS ts, SUM(x) AS s FROM @ev GROUP BY ALL"
    ),
    "1970": "SELECT k, make_timestamp(year(t)) AS ts, x FROM @ev",
    "a date is its end": "SELECT k, day::TIMESTAMP AS ts, z FROM @days",
    "asof into the future": "SELECT e.k, e.t AS ts, b.y FROM @ev e ASOF JOIN @late b ON e.k = b.k AND e.t <= b.t2",
    "asof, the delay": "SELECT e.k, e.t AS ts, b.y FROM @ev e ASOF LEFT JOIN @late b ON e.k = b.k AND e.t >= b.t2",
    "joined": "SELECT e.k, e.t AS ts, b.y FROM @ev e JOIN @late b ON e.k = b.k",
    "left joined": "SELECT e.k, e.t AS ts, b.y FROM @ev e LEFT JOIN @late b ON e.k = b.k",
    "its own or another's": "SELECT e.k, e.t AS ts, coalesce(e.x, b.x) AS c FROM @ev e LEFT JOIN @ev b USING (k)",
    "right joined": "SELECT e.k, e.t AS ts, b.y FROM @late b RIGHT JOIN @ev e ON e.k = b.k",
    "exists": "SELECT k, t AS ts FROM @ev e WHERE EXISTS (FROM @late b WHERE b.k = e.k)",
    "semi": "SELECT e.k, e.t AS ts FROM @ev e SEMI JOIN @late b ON b.k = e.k",
    "in": "SELECT k, t AS ts FROM @ev WHERE k IN (SELECT k FROM @late)",
    "exists as a value": "SELECT k, t AS ts, EXISTS (FROM @late b WHERE b.k = e.k) AS b FROM @ev e",
    "how many": "SELECT k, t AS ts, (SELECT COUNT(*) FROM @ev b WHERE b.k = e.k) AS n FROM @ev e",
    "compared to all": "SELECT k, t AS ts, x - (SELECT AVG(x) FROM @ev) AS d FROM @ev",
    "once each": "SELECT DISTINCT k, TIMESTAMP '2024-01-31' AS ts FROM @ev",
    "counts once each": (
        "SELECT DISTINCT g AS k, TIMESTAMP '2024-01-31' AS ts, n FROM (SELECT k, g, COUNT(*) AS n FROM @ev GROUP BY k, g)"
    ),
    "union": "SELECT k, t AS ts FROM @ev UNION SELECT k, t2 FROM @late",
    "the largest": "SELECT k, TIMESTAMP '2024-01-31' AS ts, MAX(x) AS m, arg_max(g, t) AS g FROM @ev GROUP BY k",
    "the first two": "SELECT k, MIN(t) AS ts, MIN(t, 2) AS two FROM @ev GROUP BY k",
    "what was bought first, of two": "SELECT k, MIN(t) AS ts, arg_min(x, t, 2) AS two FROM @ev GROUP BY k",
    "some": "SELECT k, TIMESTAMP '2024-01-31' AS ts, SUM(x) FILTER (WHERE g = 'a') AS m FROM @ev GROUP BY k",
    "all": "SELECT 1 AS k, TIMESTAMP '2024-01-31' AS ts, SUM(x) AS s FROM @ev",
    "the first of all": "SELECT 1 AS k, TIMESTAMP '2024-01-29' AS ts, MIN(t) AS s FROM @ev",
    "along the time, which sums of several instants do not have": (
        "SELECT k, coalesce(t, TIMESTAMP '2024-01-31') AS ts, COUNT(*) OVER (PARTITION BY k ORDER BY t) AS n FROM ("
        "SELECT k, t FROM @ev GROUP BY ROLLUP (k, t))"
    ),
    "the same, by the time twice": (
        "SELECT k, coalesce(t, TIMESTAMP '2024-01-31') AS ts, COUNT(*) OVER (PARTITION BY k ORDER BY t) AS n FROM ("
        "SELECT k, t FROM @ev GROUP BY k, CUBE (t))"
    ),
    "cube": "SELECT k, g, TIMESTAMP '2024-01-31' AS ts, COUNT(*) AS n FROM @ev GROUP BY CUBE (k, g)",
}

ROWS = "write the rows: retrieval takes the last"
END = "add the period to GROUP BY, and stamp its end"
# form -> why (its beginning), the SQL that it is at, the repair
UNPROVEN = {
    "max(t)": (
        "SELECT k, MAX(t) AS ts, SUM(x) AS s FROM @ev GROUP BY k",
        "the timestamp itself changes as later rows arrive: it is made of a total, MAX(ev.t)",
        'MAX("ev"."t")',
        END,
    ),
    "the latest": (
        "SELECT k, t AS ts, x FROM @ev QUALIFY row_number() OVER (PARTITION BY k ORDER BY t DESC, x) = 1",
        "the timestamp itself changes as later rows arrive: it is made of the row that is chosen",
        "QUALIFY ROW_NUMBER()",
        ROWS,
    ),
    "the latest, distinct on": (
        "SELECT DISTINCT ON (k) k, t AS ts, x FROM @ev ORDER BY k, t DESC, x",
        "the timestamp itself changes",
        'DISTINCT ON ("k")',
        ROWS,
    ),
    "not exists": (
        "SELECT k, t AS ts FROM @ev e WHERE NOT EXISTS (FROM @late b WHERE b.k = e.k)",
        "NOT EXISTS: a later row takes this one away",
        'EXISTS(SELECT 1 AS "_mlforge_none"',
        "AND b.t2 + INTERVAL 36 HOUR <= e.t",
    ),
    "not in": (
        "SELECT k, t AS ts FROM @ev e WHERE k NOT IN (SELECT k FROM @late)",
        "NOT IN: a later row takes this one away",
        '"e"."k" IN',
        "AND late.t2 + INTERVAL 36 HOUR <= e.t",
    ),
    "anti": (
        "SELECT e.k, e.t AS ts FROM @ev e ANTI JOIN @late b ON b.k = e.k",
        "ANTI JOIN: a later row takes this one away",
        "ANTI JOIN",
        "AND b.t2 + INTERVAL 36 HOUR <= e.t",
    ),
    "is null": (
        "SELECT e.k, e.t AS ts FROM @ev e LEFT JOIN @late b ON b.k = e.k WHERE b.k IS NULL",
        "WHERE reads the outer side of a join",
        '"b"."k" IS NULL',
        "AND b.t2 + INTERVAL 36 HOUR <= e.t",
    ),
    "having": (
        "SELECT k, TIMESTAMP '2024-02-01' AS ts, SUM(x) AS s FROM @ev GROUP BY k HAVING COUNT(*) < 3",
        "HAVING reads a total, COUNT(*)",
        "COUNT(*) < 3",
        END,
    ),
    "a filter on a total": (
        "SELECT k, TIMESTAMP '2024-02-01' AS ts, n FROM (SELECT k, COUNT(*) AS n FROM @ev GROUP BY k) WHERE n < 3",
        "WHERE reads a total, COUNT(*)",
        '"n" < 3',
        END,
    ),
    "a histogram of counts": (
        "SELECT n AS k, TIMESTAMP '2024-02-01' AS ts, COUNT(*) AS c FROM (SELECT k, COUNT(*) AS n FROM @ev GROUP BY k) GROUP BY n",
        "GROUP BY a total, COUNT(*)",
        '"n"',
        END,
    ),
    "full": (
        "SELECT e.k, e.t AS ts FROM @ev e FULL JOIN @late b ON b.k = e.k",
        "FULL JOIN over rows with a time",
        'FULL JOIN "_mlforge_source"."late" AS "b"',
        "UNION ALL",
    ),
    "limit": (
        "SELECT k, t AS ts FROM @ev ORDER BY t LIMIT 3",
        "LIMIT over rows with a time",
        "LIMIT 3",
        "QUALIFY row_number()",
    ),
    "offset": ("SELECT k, t AS ts FROM @ev ORDER BY t OFFSET 3", "OFFSET over rows with a time", "OFFSET 3", ""),
    "sample": (
        "SELECT k, t AS ts FROM @ev USING SAMPLE 10%",
        "SAMPLE over rows with a time",
        "",
        "WHERE user_id % 10 = 0",
    ),
    "except": (
        "SELECT k, t AS ts FROM @ev EXCEPT SELECT k, t2 FROM @late",
        "EXCEPT takes rows away",
        "EXCEPT",
        "NOT EXISTS",
    ),
    "in as a value": (
        "SELECT k, t AS ts, k IN (SELECT k FROM @late) AS b FROM @ev",
        "IN (SELECT ...) as a value",
        "SELECT",
        "AND late.t2 + INTERVAL 36 HOUR <= ev.t",
    ),
    "any one": (
        "SELECT k, t AS ts, (SELECT y FROM @late b WHERE b.k = e.k) AS y FROM @ev e",
        "a subquery that is not one total",
        "SELECT",
        "b.t2",
    ),
    "the last as numbered, and a filter": (
        "SELECT k, TIMESTAMP '2024-02-01' AS ts FROM (SELECT k, x, row_number() OVER (PARTITION BY k ORDER BY t DESC) AS rn FROM @ev) "
        "WHERE rn = 1 AND x > 1",
        "WHERE reads the row that is chosen",
        '"x" > 1',
        ROWS,
    ),
    "the first by two numbers": (
        "SELECT k, TIMESTAMP '2024-02-01' AS ts FROM (SELECT k, row_number() OVER (PARTITION BY k ORDER BY x, t) AS a, "
        "row_number() OVER (PARTITION BY k ORDER BY g, t) AS b FROM @ev) WHERE a = 1 AND b = 1",
        "WHERE reads a window over other rows",
        '"b" = 1',
        "ascending",
    ),
    "compared in where": (
        "SELECT k, t AS ts FROM @ev WHERE x > (SELECT AVG(x) FROM @ev)",
        "WHERE compares the value of a subquery",
        "AVG",
        "name the two apart, as in AS b: AND b.t <= ev.t",
    ),
    "recursive": (
        "WITH RECURSIVE r AS (SELECT k, t FROM @ev UNION ALL SELECT k, t FROM r WHERE FALSE) SELECT k, t AS ts FROM r",
        "a recursive CTE over rows with a time",
        "r",
        "",
    ),
    "lateral": (
        "SELECT k, t AS ts, l.s FROM @ev e, LATERAL (SELECT SUM(y) AS s FROM @late b WHERE b.k = e.k) l",
        "LATERAL over rows that may be later",
        "LATERAL",
        "AND b.t2 + INTERVAL 36 HOUR <= e.t in its WHERE",
    ),
    "pivot": ("SELECT k, t AS ts FROM (PIVOT @ev ON g USING SUM(x) GROUP BY k, t)", "", "", ""),
    "positional": (
        "SELECT e.k, e.t AS ts FROM @ev e POSITIONAL JOIN @names n",
        "POSITIONAL JOIN is not understood",
        "POSITIONAL",
        "JOIN ... ON",
    ),
    "a row as a value": (
        "SELECT k, t AS ts, e FROM @ev e",
        "e, a row as one value, is not understood",
        "e",
        "name the columns",
    ),
    "a name of ours": (
        "SELECT k, t AS ts, x AS _mlforge_seen FROM @ev",
        "_mlforge_seen, a name of mlforge's own, is not understood",
        "SELECT",
        "AS",
    ),
    "two of a name": (
        "SELECT k, t AS ts, x, g AS x FROM @ev",
        "two columns named 'x' are not understood",
        "SELECT",
        "AS",
    ),
    "in of two": (
        "SELECT k, t AS ts FROM @ev WHERE (k, x) IN (SELECT k, y FROM @late)",
        "IN of several columns",
        "IN",
        "EXISTS",
    ),
    "window over totals": (
        "SELECT k, t AS ts, SUM(COUNT(*)) OVER (ORDER BY k) AS n FROM @ev GROUP BY k, t",
        "a window over totals in one SELECT",
        "OVER",
        "CTE",
    ),
    "no stamp": ("SELECT k, t FROM @ev", "it has no column ts", "SELECT", ""),
    "no source": ("SELECT k, t AS ts FROM elsewhere", "elsewhere is no source and no feature", "elsewhere", ""),
}


@pytest.mark.parametrize("name", PASSES)
def test_honest_forms_pass(name: str, truth: Truth) -> None:
    made = written(PASSES[name])
    for truth.world in range(6):
        assert truth.leaks(source(PASSES[name])) is None, truth.tables
        assert not accused(truth, PASSES[name], made), made


@pytest.mark.parametrize("name", CAUGHT)
def test_leaks_are_caught_on_all_rows_that_show_them(name: str, truth: Truth) -> None:
    made, leaks = written(CAUGHT[name]), 0
    for truth.world in range(6):
        leak = truth.leaks(source(CAUGHT[name]))
        leaks += leak is not None
        assert accused(truth, CAUGHT[name], made) or leak is None, (leak, truth.tables, made)
    assert leaks, "it does not leak"


@pytest.mark.parametrize("name", UNPROVEN)
def test_what_the_rules_do_not_decide_says_why_and_where(name: str) -> None:
    text, why, at, repair = UNPROVEN[name]
    with pytest.raises(Unproven) as raised:
        written(text)
    assert raised.value.why.startswith(why), raised.value.why
    assert raised.value.node is not None
    assert at in raised.value.node.sql("duckdb")
    assert repair in raised.value.repair
    assert bool(repair) == bool(raised.value.repair)


TIED = {
    "not exists": "SELECT k, t AS ts FROM @ev e WHERE NOT EXISTS (FROM @late b WHERE b.k = e.k {})",
    "not in": "SELECT k, t AS ts FROM @ev e WHERE NOT EXISTS (FROM @late WHERE late.k = e.k AND late.y > 1 {})",
    "anti": "SELECT e.k, e.t AS ts FROM @ev e ANTI JOIN @late b ON b.k = e.k {}",
    "is null": "SELECT e.k, e.t AS ts FROM @ev e LEFT JOIN @late b ON b.k = e.k {} WHERE b.k IS NULL",
    "compared in where": "SELECT k, t AS ts FROM @ev e WHERE x > (SELECT AVG(b.x) FROM @ev b WHERE b.k = e.k {})",
    "of the later one": "SELECT k, t2 AS ts FROM @late b WHERE NOT EXISTS (FROM @ev e WHERE e.k = b.k {})",
}


@pytest.mark.parametrize("name", TIED)
def test_what_is_written_as_it_was_said_is_proven(name: str) -> None:
    with pytest.raises(Unproven) as raised:
        written(TIED[name].format(""))
    said = raised.value.repair.removesuffix(" in ON")
    assert said.startswith("AND ")
    assert proven(TIED[name].format(said), "36h" if name == "of the later one" else "0s")


def test_places_are_kept() -> None:
    with pytest.raises(Unproven) as raised:
        written("SELECT k, t AS ts\nFROM @ev e\nWHERE NOT EXISTS (FROM @late b WHERE b.k = e.k)")
    lines = {node.meta["line"] for node in raised.value.node.walk() if "line" in node.meta}  # type: ignore[union-attr]
    assert lines == {3}


def test_columns_with_an_instant_of_their_own(truth: Truth) -> None:
    known = relations(TABLES)
    known[SCHEMA, "ev"] = msgspec.structs.replace(known[SCHEMA, "ev"], known={"x": "t + INTERVAL 1 DAY"})
    reads, does_not = (
        "SELECT k, t AS ts, x FROM @ev WHERE t IS NOT NULL",
        ("SELECT k, ts FROM (SELECT k, t AS ts, x, g FROM @ev WHERE t IS NOT NULL) WHERE g = 'a'"),
    )
    assert accused(truth, reads, written(reads, known)) == sum(rows_of(truth, source(reads)).values()) > 0
    assert accused(truth, reads, written(reads, known), delay=86_400_000_000) == 0
    assert accused(truth, does_not, written(does_not, known)) == 0


@pytest.mark.parametrize(
    ("instant", "seen"),
    [
        ("TIMESTAMP '-infinity'", ALWAYS),
        ("TIMESTAMP 'infinity'", NEVER_),
        ("NULL::TIMESTAMP", NEVER_),
        ("TIMESTAMPTZ '1969-12-31 23:59:59+00'", -1000000),
        ("DATE '1970-01-02' + INTERVAL 1 HOUR", 90_000_000_000),
    ],
)
def test_when_a_column_with_an_instant_of_its_own_is_known(instant: str, seen: int, truth: Truth) -> None:
    assert truth.con.execute(f"SELECT {micros_of(instant)}").fetchone() == (seen,)


@pytest.mark.parametrize(
    ("time", "seen"),
    [("'-infinity'", ALWAYS), ("'infinity'", NEVER_), ("NULL", NEVER_), ("'2024-01-31'", 1709208000000000)],
)
@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DATE", "VARCHAR"])
def test_when_a_row_is_known(kind: str, time: str, seen: int, truth: Truth) -> None:
    delay = Duration(29, "d")  # the last of February, at noon
    relation = Relation(columns={"t": kind}, time="t", delay=delay)
    at = time.replace("31'", "31 12:00'") if kind != "DATE" else time
    made = truth.con.execute(f"SELECT {relation.seen('r')} FROM (SELECT {at}::{kind} AS t) r").fetchone()
    assert made == (seen - (43_200_000_000 if kind == "DATE" and seen == 1709208000000000 else 0),)


def test_columns_that_nothing_reads_do_not_decide_how_many_rows_there_are(truth: Truth) -> None:
    for text in (
        "SELECT 1 AS k, TIMESTAMP '2030-01-01' AS ts FROM (SELECT SUM(x) AS s FROM @ev WHERE FALSE)",
        "SELECT 1 AS k, TIMESTAMP '2030-01-01' AS ts FROM (SELECT SUM(x) AS s, MAX(x) AS m FROM @ev WHERE FALSE GROUP BY ALL)",
        "SELECT k, ts FROM (SELECT k, TIMESTAMP '2030-01-01' AS ts, unnest([x, x]) AS u FROM @ev WHERE t IS NOT NULL)",
        "SELECT k, ts FROM (SELECT k, TIMESTAMP '2030-01-01' AS ts, g, SUM(x) AS s FROM @ev WHERE t IS NOT NULL GROUP BY ALL)",
        "SELECT k, ts FROM (SELECT k, TIMESTAMP '2030-01-01' AS ts, x, g FROM @ev WHERE t IS NOT NULL) e, range(e.x) AS r(i)",
        "WITH a AS (SELECT k, x FROM @ev WHERE t IS NOT NULL), b AS (SELECT x FROM a) SELECT 1 AS k, TIMESTAMP '2030-01-01' AS ts FROM b",
    ):
        assert accused(truth, text, written(text)) == 0


def test_rows_that_are_always_known(truth: Truth) -> None:
    text = "SELECT k, TIMESTAMP '2024-01-01' AS ts, name FROM @names ORDER BY k LIMIT 1"
    assert accused(truth, text, written(text)) == 0
    assert SEEN in written(text)


def test_columns_keep_their_letters() -> None:
    tables = {
        **TABLES,
        "up": replace(TABLES["ev"], columns={"K": "BIGINT", "T": "TIMESTAMP", "Amount": "BIGINT"}, time="T"),
    }
    truth = Truth(duckdb.connect(), tables)
    for text in (
        'SELECT K, T AS ts, Amount, 1 AS "One" FROM @up',
        "SELECT *, T AS ts FROM @up",
        "SELECT DISTINCT K, t AS Ts FROM @up",
    ):
        tree = sqlglot.parse_one(text.replace("@up", f"{SCHEMA}.up"), dialect="duckdb")
        assert isinstance(tree, sqlglot.exp.Query)
        known = relations(tables)
        made = with_seen(tree, prepared(tree, known), "ts", known).sql("duckdb")
        names = [d[0] for d in truth.con.execute(made).description]
        expected = [d[0] for d in truth.con.execute(tree.sql("duckdb")).description]
        assert names == [*expected, SEEN]
