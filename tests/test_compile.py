"""What feature SQL may look like, end to end: the answer of every form is worked out by hand."""

from __future__ import annotations

import datetime as dt

import pytest

from mlforge.errors import MlforgeError
from tests.small import Small

COLUMNS = (
    "k BIGINT, t TIMESTAMP, x INTEGER, y DOUBLE, s VARCHAR, place STRUCT(a INTEGER, b STRUCT(c VARCHAR)), xs INTEGER[]"
)
ROWS = (
    "1, '2024-01-01', 1, 0.5, 'a', {'a': 1, 'b': {'c': 'p'}}, [1, 2]",
    "1, '2024-01-02', 2, 1.5, 'b', {'a': 2, 'b': {'c': 'q'}}, []",
    "1, '2024-01-03', 3, 2.5, 'a', NULL, NULL",
    "2, '2024-01-01', 10, 0.25, 'c', {'a': 9, 'b': NULL}, [7]",
)
TIMED = '{{ config(entity="user", timestamp="t", closed="right") }}\n'
STATIC = '{{ config(entity="user") }}\n'
LATE = "(1, '2024-02-01')"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    small = Small(tmp_path_factory.mktemp("compile"))
    small.rows(*ROWS, columns=COLUMNS)
    return small


def ask(small: Small, head: str, text: str, labels: str = LATE) -> list[tuple[object, ...]]:
    """Build a project that has just this feature, and ask for it."""
    small.catalog.unlink(missing_ok=True)
    for path in (small.root / "features").iterdir():
        path.unlink()
    small.feature("f", head + text.replace("EV", '{{ source("ev") }}') + "\n")
    small.good()
    answer = small.ask(["f"], labels)
    assert small.good() == {}
    return answer


FORMS = {
    "star": ("SELECT * FROM EV", [(3, 2.5, "a", None, None)]),
    "star of an alias": ("SELECT e.* FROM EV AS e", [(3, 2.5, "a", None, None)]),
    "EXCLUDE": ("SELECT * EXCLUDE (s, place, xs) FROM EV", [(3, 2.5)]),
    "REPLACE": ("SELECT * EXCLUDE (s, place, xs) REPLACE (x * 10 AS x) FROM EV", [(30, 2.5)]),
    "RENAME": ("SELECT * EXCLUDE (s, place, xs) RENAME (x AS z) FROM EV", [(3, 2.5)]),
    "COLUMNS regex": ("SELECT k, t, COLUMNS('^[xy]$') FROM EV", [(3, 2.5)]),
    "COLUMNS lambda": ("SELECT k, t, COLUMNS(c -> c IN ('x', 's')) FROM EV", [(3, "a")]),
    "COLUMNS list": ("SELECT k, t, COLUMNS(['y', 'x']) FROM EV", [(3, 2.5)]),
    "star of a CTE": ("WITH c AS (SELECT k, t, x + 1 AS z FROM EV) SELECT * FROM c", [(4,)]),
    "early alias": ("SELECT k, t, x + 1 AS z, z * 2 AS zz FROM EV", [(4, 8)]),
    "column wins over alias": ("SELECT k, t, y AS x, x + 1 AS z FROM EV", [(2.5, 4)]),
    "alias in WHERE": ("SELECT k, t, x * 2 AS z FROM EV WHERE z < 6", [(4,)]),
    "struct": ("SELECT k, t, place FROM EV WHERE x = 2", [({"a": 2, "b": {"c": "q"}},)]),
    "field": ("SELECT k, t, place.b.c, (place).a AS d FROM EV WHERE x = 2", [("q", 2)]),
    "field of an alias": ("SELECT e.k, e.t, e.place.a AS d FROM EV e WHERE x = 2", [(2,)]),
    "list": ("SELECT k, t, xs, xs[1] AS first_x, len(xs) AS n FROM EV WHERE x = 1", [([1, 2], 1, 2)]),
    "list comprehension": ("SELECT k, t, [v * 2 FOR v IN xs IF v > 1] AS d FROM EV WHERE x = 1", [([4],)]),
    "CASE": ("SELECT k, t, CASE WHEN x > 2 THEN 'big' ELSE 'small' END AS size FROM EV", [("big",)]),
    "ordinary window": ("SELECT k, t, lag(x) OVER (PARTITION BY k ORDER BY t) AS before FROM EV", [(2,)]),
    "named window": ("SELECT k, t, sum(x) OVER w AS running FROM EV WINDOW w AS (PARTITION BY k ORDER BY t)", [(6,)]),
    "subquery in FROM": ("SELECT k, t, z FROM (SELECT k, t, x * 2 AS z FROM EV) WHERE z < 6", [(4,)]),
    "CTE chain": (
        "WITH a AS (SELECT * FROM EV), b AS (SELECT k, t, max(x) AS m FROM a GROUP BY ALL) SELECT k, t, m FROM b",
        [(3,)],
    ),
    "GROUP BY": ("SELECT k, t, SUM(x) AS total FROM EV GROUP BY k, t", [(3,)]),
    "GROUP BY ALL": ("SELECT k, t, COUNT(*) AS n FROM EV GROUP BY ALL", [(1,)]),
    "HAVING": ("SELECT k, t, SUM(x) AS total FROM EV GROUP BY k, t HAVING total < 3", [(2,)]),
    "DISTINCT": ("SELECT DISTINCT k, t, s FROM EV", [("a",)]),
    "DISTINCT ON": ("SELECT DISTINCT ON (k) k, t, x FROM EV", None),
    "QUALIFY": ("SELECT k, t, x FROM EV QUALIFY row_number() OVER (PARTITION BY k ORDER BY t) = 2", [(2,)]),
    "UNION ALL": (
        "SELECT k, t, x FROM EV WHERE x < 3 UNION ALL SELECT k, t + INTERVAL 1 DAY AS t, -x AS x FROM EV",
        [(-3,)],
    ),
    "UNION": ("SELECT k, t, s FROM EV UNION SELECT k, t, s FROM EV", [("a",)]),
    "EXCEPT": ("SELECT k, t, x FROM EV EXCEPT SELECT k, t, x FROM EV WHERE x = 3", [(2,)]),
    "INTERSECT": ("SELECT k, t, x FROM EV INTERSECT SELECT k, t, x FROM EV WHERE x < 3", [(2,)]),
    "UNION BY NAME": (
        "SELECT k, t, x FROM EV WHERE x = 1 UNION ALL BY NAME SELECT x, t, k FROM EV WHERE x = 2",
        [(2,)],
    ),
    "CTE over a set operation": (
        "WITH u AS (SELECT k, t, x FROM EV UNION ALL SELECT k, t, 9 FROM EV WHERE false) SELECT k, t, x FROM u",
        [(3,)],
    ),
    "UNNEST in a CTE": (
        "WITH u AS (SELECT k, t, unnest(xs) AS v FROM EV) SELECT k, t, SUM(v) AS total FROM u GROUP BY ALL",
        [(3,)],
    ),
    "UNNEST in FROM": ("SELECT k, t, SUM(u.v) AS total FROM EV, UNNEST(xs) AS u(v) GROUP BY ALL", [(3,)]),
    "self join": ("SELECT a.k, a.t, b.x AS other FROM EV a JOIN EV b ON a.k = b.k AND b.x = a.x - 1", [(2,)]),
    "ASOF JOIN": ("SELECT a.k, a.t, b.x AS other FROM EV a ASOF JOIN EV b ON a.k = b.k AND a.t > b.t", [(2,)]),
    "lateral alias of key": ("SELECT k + 0 AS k, t, x FROM EV", [(3,)]),
    "quoted names": ('SELECT k, t, x AS "a ""b"" c", "a ""b"" c" + 1 AS "SELECT" FROM EV', [(3, 4)]),
    "non-ascii": ("SELECT k, t, x AS größe, 'ü' || s AS ü FROM EV", [(3, "üa")]),
    "upper case keys": ("SELECT K, T, X FROM EV", [(3,)]),
    "comment and semicolon": ("SELECT k, t, x -- the number; really\nFROM EV;", [(3,)]),
    "TRY_CAST": ("SELECT k, t, TRY_CAST(s AS INTEGER) AS n FROM EV", [(None,)]),
}


@pytest.mark.parametrize("form", [f for f in FORMS if FORMS[f][1] is not None])
def test_plain_features(small: Small, form: str) -> None:
    text, answer = FORMS[form]
    assert ask(small, TIMED, text) == answer


STATICS = {
    "GROUP BY": ("SELECT k, SUM(x) AS total, COUNT(*) AS n FROM EV GROUP BY k", [(6, 3)]),
    "GROUP BY ALL HAVING": ("SELECT k, MAX(s) AS m FROM EV GROUP BY ALL HAVING COUNT(*) > 1", [("b",)]),
    "QUALIFY": ("SELECT k, x FROM EV QUALIFY row_number() OVER (PARTITION BY k ORDER BY t DESC) = 1", [(3,)]),
    "DISTINCT": ("SELECT DISTINCT k, k * 2 AS twice FROM EV", [(2,)]),
    "UNION": ("SELECT k, 1 AS one FROM EV UNION SELECT k, 1 AS one FROM EV", [(1,)]),
    "ARG_MAX": ("SELECT k, ARG_MAX(place.a, t) AS a, LIST(x ORDER BY x) AS xs FROM EV GROUP BY k", [(2, [1, 2, 3])]),
    "a time as a column": ("SELECT k, MAX(t) AS latest FROM EV GROUP BY k", [(dt.datetime(2024, 1, 3),)]),
    "VALUES": ("SELECT k, v FROM (VALUES (1, 'one'), (2, 'two')) AS c(k, v)", [("one",)]),
    "filtered sum": ("SELECT k, SUM(x) FILTER (WHERE x > 1) * 2 AS n, SUM(y) AS y FROM EV GROUP BY k", [(10, 4.5)]),
    "sums in a union": (
        "SELECT k, SUM(x) AS n FROM EV WHERE k = 1 GROUP BY k UNION ALL "
        "SELECT k, -SUM(x) AS n FROM EV WHERE k = 2 GROUP BY k",
        [(6,)],
    ),
    "filtered aggregate": ("SELECT k, COUNT(*) FILTER (WHERE x > 1) AS n FROM EV GROUP BY k", [(2,)]),
    "PIVOT below": ("SELECT k, a FROM (PIVOT (SELECT k, s, x FROM EV) ON s USING SUM(x))", None),
}


@pytest.mark.parametrize("form", [f for f in STATICS if STATICS[f][1] is not None])
def test_static_features(small: Small, form: str) -> None:
    text, answer = STATICS[form]
    assert ask(small, STATIC, text) == answer


WINDOWED = {
    "alias of a window": ("SELECT k, t, SUM(x) OVER ever AS total, total * 2 AS twice FROM EV", [(6, 12)]),
    "alias of a row column": ("SELECT k, t, x AS z, z + SUM(z) OVER ever AS w FROM EV", [(3, 9)]),
    "column wins over alias": ("SELECT k, t, y AS x, SUM(x) OVER ever AS s FROM EV", [(2.5, 6)]),
    "alias in WHERE": ("SELECT k, t, x * 2 AS z, COUNT(*) OVER ever AS n FROM EV WHERE z > 2", [(6, 2)]),
    "alias in FILTER": ("SELECT k, t, x * 2 AS z, COUNT(*) FILTER (WHERE z > 2) OVER ever AS n FROM EV", [(6, 2)]),
    "star and window": ("SELECT * EXCLUDE (place, xs, s), SUM(x) OVER ever AS total FROM EV", [(3, 2.5, 6)]),
    "default names": (
        "SELECT k, t, SUM(x) OVER last_40d, COUNT(*) OVER ever, COUNT(DISTINCT s) OVER ever FROM EV",
        [(6, 3, 2)],
    ),
    "field of the latest row": ("SELECT k, t, place.a, COUNT(place.a) OVER ever AS n FROM EV", [(None, 2)]),
    "struct in a window": (
        "SELECT k, t, MAX(place.a) OVER ever AS m, FIRST(place.b.c) OVER ever AS f FROM EV",
        [(2, "p")],
    ),
    "ordinary window as row column": (
        "SELECT k, t, lag(x) OVER (PARTITION BY k ORDER BY t) AS before, SUM(x) OVER ever AS s FROM EV",
        [(2, 6)],
    ),
    "trailing window over an ordinary one": (
        "WITH d AS (SELECT k, t, x - lag(x) OVER (PARTITION BY k ORDER BY t) AS step FROM EV) "
        "SELECT k, t, SUM(step) OVER ever AS s FROM d",
        [(2,)],
    ),
    "subquery in the list": (
        "SELECT k, t, (SELECT MAX(v) FROM (VALUES (1), (5)) c(v)) AS five, SUM(x) OVER ever AS s FROM EV",
        [(5, 6)],
    ),
    "correlated subquery in an argument": (
        "SELECT k, t, SUM((SELECT w FROM (VALUES ('a', 1), ('b', 10)) c(s, w) WHERE c.s = e.s)) OVER ever AS s FROM EV AS e",
        [(12,)],
    ),
    "IN a list": (
        "SELECT k, t, COUNT(*) FILTER (WHERE s IN ('a', 'z')) OVER ever AS n, s IN ('a') AS is_a FROM EV",
        [(2, True)],
    ),
    "CTE": ("WITH c AS (SELECT k, t, x FROM EV WHERE x < 3) SELECT k, t, SUM(x) OVER ever AS s FROM c", [(3,)]),
    "UNNEST in a CTE": (
        "WITH u AS (SELECT k, t, unnest(xs) AS v FROM EV) SELECT k, t, SUM(v) OVER ever AS s FROM u",
        [(3,)],
    ),
    "UNION in a CTE": (
        "WITH u AS (SELECT k, t, x FROM EV UNION ALL SELECT k, t, 100 FROM EV) SELECT k, t, SUM(x) OVER ever AS s FROM u",
        [(306,)],
    ),
    "GROUP BY in a CTE": (
        "WITH d AS (SELECT k, t, SUM(x)::BIGINT AS day FROM EV GROUP BY ALL) SELECT k, t, MAX(day) OVER ever AS m FROM d",
        [(3,)],
    ),
    "expression over windows": (
        "SELECT k, t, round(SUM(y) OVER ever / NULLIF(COUNT(*) OVER ever, 0), 2) AS mean FROM EV",
        [(1.5,)],
    ),
    "as_of": (
        "SELECT k, t, date_diff('day', MAX(t) OVER ever, as_of()) AS age, as_of() AS now_ FROM EV",
        [(29, dt.datetime(2024, 2, 1))],
    ),
    "list slice": ("SELECT k, t, (LIST(x) OVER ever)[-2:] AS l FROM EV", [([2, 3],)]),
    "list slice from the start": (
        "SELECT k, t, (LIST(x) OVER ever)[1:2] AS l, (LIST(x) OVER ever)[1] AS f FROM EV",
        [([1, 2], 1)],
    ),
    "DISTINCT in order": (
        "SELECT k, t, STRING_AGG(DISTINCT s, '-') OVER ever AS p, (LIST(DISTINCT s) OVER ever)[-3:] AS l FROM EV",
        [("a-b", ["a", "b"])],
    ),
    "struct column": (
        "SELECT k, t, {'s': SUM(x) OVER ever, 'n': COUNT(*) OVER ever} AS both_ FROM EV",
        [({"s": 6, "n": 3},)],
    ),
    "json and text": ("SELECT k, t, STRING_AGG(s, '-') OVER ever AS path FROM EV", [("a-b-a",)]),
    "bool": (
        "SELECT k, t, BOOL_AND(x > 0) OVER ever AS all_pos, BOOL_OR(x > 2) OVER ever AS any_big FROM EV",
        [(True, True)],
    ),
    "key as expression": ("SELECT k + 0 AS k, t, SUM(x) OVER ever AS s FROM EV", [(6,)]),
    "time as expression": ("SELECT k, t + INTERVAL 1 DAY AS t, SUM(x) OVER last_29d AS s FROM EV", [(3,)]),
    "self join below": (
        "SELECT a.k, a.t, SUM(b.x) OVER ever AS s FROM EV a JOIN EV b ON a.k = b.k AND a.t = b.t",
        [(6,)],
    ),
}


@pytest.mark.parametrize("form", WINDOWED)
def test_trailing_windows(small: Small, form: str) -> None:
    text, answer = WINDOWED[form]
    assert ask(small, TIMED, text) == answer


def test_names_of_columns_without_aliases(small: Small) -> None:
    ask(small, TIMED, WINDOWED["default names"][0])
    found = small.sql("SELECT column_name FROM duckdb_columns() WHERE table_name = 'f' ORDER BY column_index")
    assert [n for (n,) in found] == ["k", "t", "x_sum_40d", "count_ever", "s_count_distinct_ever"]


INTERVAL = '{{ config(entity="user", timestamp="t", interval="1d") }}\n'


@pytest.mark.parametrize("form", [f for f in WINDOWED if f not in ("as_of", "time as expression")])
def test_snapshots_of_the_same_windows(small: Small, form: str) -> None:
    text, answer = WINDOWED[form]
    assert ask(small, INTERVAL, text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "SELECT k, SUM(x * 3000000000) AS n FROM EV GROUP BY k",
        "SELECT k, SUM(x) * 2 AS n FROM EV GROUP BY k",
        "SELECT k, COUNT_IF(x > 1) AS n FROM EV GROUP BY k",
    ],
)
def test_integer_sums_are_bigint(small: Small, text: str) -> None:
    ask(small, STATIC, text)
    assert small.sql("SELECT data_type FROM duckdb_columns() WHERE table_name = 'f' AND column_name = 'n'") == [
        ("BIGINT",)
    ]


NEED_A_CAST = [
    "x::HUGEINT",
    "x::HUGEINT + 1",
    "INTERVAL 1 DAY * x",
    "x::VARCHAR::ENUM('1', '2')",
    "'01'::BIT",
    # values that Arrow does not carry as they are, at any depth
    "TIMETZ '12:00:00+02'",
    "[TIMETZ '12:00:00+02']",
    "{'a': ['01'::BIT]}",
    "[x::UHUGEINT]",
    "MAP {'a': x::HUGEINT}",
    "x::BIGNUM",
    "array_value(x::HUGEINT, x)",
]
CANNOT = r"features/f\.sql:2: column 'n' has type .*, which a feature cannot store"


@pytest.mark.parametrize("text", NEED_A_CAST)
def test_types_that_need_a_cast(small: Small, text: str) -> None:
    with pytest.raises(MlforgeError, match=CANNOT):
        ask(small, TIMED, f"SELECT k, t, {text} AS n FROM EV")
    with pytest.raises(MlforgeError, match=CANNOT):
        ask(small, '{{ config(entity="user", on_demand=true, request={"x": "BIGINT"}) }}\n', f"SELECT {text} AS n")


def test_a_field_that_is_called_like_a_type(small: Small) -> None:
    assert ask(small, TIMED, "SELECT k, t, {'bit': x, 'HUGEINT': y, 'a BIT[]': 1} AS n FROM EV") == [
        ({"bit": 3, "HUGEINT": 2.5, "a BIT[]": 1},)
    ]


@pytest.mark.parametrize("kind", ["DECIMAL(3, 1)[]", "TIMESTAMP[]", "VARCHAR[]"])
def test_a_list_is_no_key(small: Small, kind: str) -> None:
    with pytest.raises(MlforgeError, match=r"features/f\.sql:2: key 'k' has type .*\[\]"):
        ask(small, TIMED, f"SELECT NULL::{kind} AS k, t, x FROM EV")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("k, t, x, x FROM EV", "x"),
        ("k, t, s AS t, x FROM EV", "t"),
        ("k, t, x AS k, y FROM EV", "k"),
        ("k, t, x AS n, y AS n FROM EV", "n"),
        ("k, t, *  EXCLUDE (t) FROM EV", "k"),
        ("k, t, SUM(x) OVER last_1d, y AS x_sum_1d FROM EV", "x_sum_1d"),
        ("a.*, b.x FROM EV AS a JOIN EV AS b ON a.k = b.k", "x"),
    ],
)
def test_two_columns_of_one_name(small: Small, text: str, name: str) -> None:
    """DuckDB takes either of them, without a word."""
    with pytest.raises(MlforgeError, match=rf"features/f\.sql:2: two columns are named '{name}'"):
        ask(small, TIMED, f"SELECT {text}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("place.a + 1", 2),
        ("place.b.c", "p"),
        ("(place).b.c", "p"),
        ("was.a * 2", 4),
        ("r.was.a", 2),
        ("r.was.b.c || r.s", "qb"),
        ("list_transform(xs, lambda v: v + 1)", [2, 3]),
        ("r.was.b IS NULL", False),
    ],
)
def test_fields_of_what_an_on_demand_feature_reads(small: Small, text: str, value: object) -> None:
    small.catalog.unlink(missing_ok=True)
    for path in (small.root / "features").iterdir():
        path.unlink()
    small.feature("g", TIMED + 'SELECT k, t, place AS was, s FROM {{ source("ev") }} WHERE x = 2')
    head = '{{ config(entity="user", on_demand=true, request={"place": "STRUCT(a INTEGER, b STRUCT(c VARCHAR))", "xs": "INTEGER[]"}) }}'
    small.feature("f", f'{head}\nSELECT {text} AS n FROM {{{{ ref("g") }}}} AS r')
    small.good()
    labels = "SELECT 1 AS k, TIMESTAMP '2024-02-01' AS label_time, {'a': 1, 'b': {'c': 'p'}} AS place, [1, 2] AS xs"
    assert small.forge.get_training_data("f", labels)["n"].to_pylist() == [value]
    small.forge.publish()
    row = {"k": 1, "place": {"a": 1, "b": {"c": "p"}}, "xs": [1, 2]}
    assert small.forge.get_online_features(features="f", entity_rows=[row])[0]["n"] == value


def test_two_columns_of_one_name_on_demand(small: Small) -> None:
    with pytest.raises(MlforgeError, match=r"features/f\.sql:2: two columns are named 'n'"):
        ask(
            small, '{{ config(entity="user", on_demand=true, request={"x": "BIGINT"}) }}\n', "SELECT x AS n, x + 1 AS n"
        )


def test_a_column_may_not_be_called_rowid(small: Small) -> None:
    with pytest.raises(MlforgeError, match=r"features/f\.sql:2: column 'RowId' has a name that DuckDB gives"):
        ask(small, TIMED, "SELECT k, t, x AS RowId FROM EV")


@pytest.mark.parametrize("pair", ["(x, k)", "row(x, k)", "((x, k))"])
def test_rows_without_names_are_counted(small: Small, pair: str) -> None:
    assert ask(small, TIMED, f"SELECT k, t, COUNT(DISTINCT {pair}) OVER ever AS n FROM EV") == ask(
        small, TIMED, "SELECT k, t, COUNT(DISTINCT {'x': x, 'k': k}) OVER ever AS n FROM EV"
    )


@pytest.mark.parametrize(
    "text", ["(x, k)", "[row(x, k)]", "{'a': (x, k)}", "MAX((x, k)) OVER ever", "(LIST((t, x)) OVER ever)[-2:]"]
)
def test_rows_without_names_are_not_stored(small: Small, text: str) -> None:
    with pytest.raises(MlforgeError, match=r"features/f\.sql:2: .* a row whose fields have no names cannot") as caught:
        ask(small, TIMED, f"SELECT k, t, {text} AS n FROM EV")
    assert caught.value.hint == "name its fields: {'a': a, 'b': b}"


@pytest.mark.parametrize("text", ["[t::TIMESTAMPTZ]", "{'t': t::TIMESTAMPTZ}"])
def test_zones_within_values_are_refused(small: Small, text: str) -> None:
    """A reader's session would decide what such a value shows."""
    small.feature(
        "f", f'{{{{ config(entity="user", timestamp="t") }}}}\nSELECT k, t, {text} AS c FROM {{{{ source("ev") }}}}'
    )
    with pytest.raises(MlforgeError, match=r"features/f\.sql:2: .*a zone within it would follow each reader's session"):
        small.build()
