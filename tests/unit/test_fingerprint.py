"""Meanings: what never changes them, what always does."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mlforge.model import Column, Definition, Duration, FeatureConfig, Key
from mlforge.plan.canonical import Canonical, canonical
from mlforge.plan.fingerprint import encoded, meaning, meanings

SOURCE = '"_mlforge_source"."tx"'
BASE = f"""
WITH settled AS (SELECT * FROM {SOURCE} AS s WHERE s.status = 'settled')
SELECT x.user_id, x.event_time, merchant AS last_merchant, SUM(amount) OVER last_7d AS spend_7d,
       AVG(amount) OVER last_30d, SUM(amount) OVER last_7d / NULLIF(SUM(amount) OVER last_30d, 0) AS trend,
       COUNT(*) FILTER (WHERE amount > 100) OVER last_24h AS big
FROM settled AS x LEFT JOIN "_mlforge_ref"."risk" r ON r.merchant = x.merchant
WHERE x.amount <> 0 AND x.user_id IN (SELECT u.id FROM "_mlforge_source"."users" u WHERE u.id = x.user_id)
"""
NAMES = ("last_merchant", "spend_7d", "amount_avg_30d", "trend", "big")


def definition(sql: str, names: tuple[str, ...] = NAMES, **changes: object) -> Definition:
    made = Definition(
        feature="f",
        kind="windows",
        entity="user",
        keys=(Key("user_id", "VARCHAR"),),
        timestamp="event_time",
        closed="left",
        sql=sql,
        columns=tuple(Column(name=n, type="DOUBLE") for n in names),
        sources={"tx": {}},
    )
    return replace(made, **changes)


def plain(items: str, rest: str = f"FROM {SOURCE} AS t", *names: str) -> dict[str, str]:
    """Meanings of columns a, b ... of a plain feature."""
    return meanings(definition(f"SELECT user_id, event_time, {items} {rest}", names or ("a",)))


SAME = {
    "case": BASE.lower().replace("'settled'", "'settled'"),
    "upper case": BASE.upper()
    .replace("'SETTLED'", "'settled'")
    .replace("LAST_MERCHANT,", '"Last_Merchant",')
    .replace("_MLFORGE_", "_mlforge_"),
    "white space": " ".join(BASE.split()),
    "comments": BASE.replace("SELECT", "/* what */ SELECT -- and why\n"),
    "table alias": BASE.replace("x.", "other.").replace("AS x", "AS other"),
    "cte name": BASE.replace("WITH settled", "WITH good").replace("FROM settled", "FROM good"),
    "alias in cte": BASE.replace("AS s WHERE s.status", "WHERE status"),
    "alias in subquery": BASE.replace("u.id", "id", 1).replace("u.id", "v.id").replace('"users" u', '"users" v'),
    "synonym": BASE.replace("AVG(", "mean("),
    "parenthesised window": BASE.replace("OVER last_7d", "OVER (last_7d)"),
    "window case": BASE.replace("last_7d AS", "LAST_7D AS"),
    "not equal": BASE.replace("<>", "!="),
    "parentheses": BASE.replace("x.amount <> 0", "(x.amount <> (0))"),
    "outer": BASE.replace("LEFT JOIN", "left outer join"),
    "order of items": BASE.replace(
        "x.user_id, x.event_time, merchant AS last_merchant", "x.event_time, x.user_id"
    ).replace("\nFROM settled", ", merchant AS last_merchant\nFROM settled"),
    "the default name written": BASE.replace("OVER last_30d,", "OVER last_30d AS amount_avg_30d,", 1),
}


@pytest.mark.parametrize("sql", SAME.values(), ids=SAME.keys())
def test_spelling_is_not_meaning(sql: str) -> None:
    assert sql != BASE
    assert meanings(definition(sql)) == meanings(definition(BASE))


ONE_COLUMN = {
    "spend_7d": BASE.replace("SUM(amount) OVER last_7d AS", "SUM(amount) OVER last_8d AS"),
    "big": BASE.replace("> 100", "> 101"),
    "last_merchant": BASE.replace("merchant AS last_merchant", "upper(merchant) AS last_merchant"),
    "amount_avg_30d": BASE.replace("AVG(amount) OVER last_30d", "MEDIAN(amount) OVER last_30d AS amount_avg_30d"),
    "trend": BASE.replace("SUM(amount) OVER last_30d, 0", "SUM(amount) OVER last_30d, 1"),
}


@pytest.mark.parametrize(("column", "sql"), ONE_COLUMN.items())
def test_an_edit_of_one_column_changes_that_column_only(column: str, sql: str) -> None:
    before, after = meanings(definition(BASE)), meanings(definition(sql))
    assert {name for name in NAMES if before[name] != after[name]} == {column}


EVERY_COLUMN = {
    "where": BASE.replace("<> 0", "<> 1"),
    "inside the cte": BASE.replace("'settled'", "'Settled'"),
    "join": BASE.replace("LEFT JOIN", "JOIN"),
    "join condition": BASE.replace("r.merchant = x.merchant", "r.merchant = x.user_id"),
    "source": BASE.replace('"tx"', '"tx2"'),
    "correlation": BASE.replace("u.id = x.user_id", "u.id = u.user_id"),
    "key expression": BASE.replace("SELECT x.user_id", "SELECT lower(x.user_id) AS user_id"),
    "timestamp expression": BASE.replace("x.event_time,", "x.event_time + to_minutes(1) AS event_time,"),
    "distinct": BASE.replace("SELECT x.user_id", "SELECT DISTINCT x.user_id"),
    "another item": BASE.replace("AS big", "AS big, part_of_key"),
}


@pytest.mark.parametrize("sql", EVERY_COLUMN.values(), ids=EVERY_COLUMN.keys())
def test_an_edit_of_the_event_relation_changes_every_column(sql: str) -> None:
    before, after = meanings(definition(BASE)), meanings(definition(sql))
    assert sql != BASE
    assert [name for name in NAMES if before[name] == after[name]] == []


SETTINGS = {
    "kind": {"kind": "plain"},
    "closed": {"closed": "right"},
    "delay": {"delay": Duration(1, "h")},
    "ttl": {"ttl": Duration(1, "d")},
    "interval": {"interval": Duration(1, "d")},
    "timezone": {"timezone": "Asia/Tokyo"},
    "timestamp": {"timestamp": "last_merchant"},
    "timestamp_format": {"timestamp_format": "%d/%m/%Y"},
    "key type": {"keys": (Key("user_id", "BIGINT"),)},
    "more keys": {"keys": (Key("user_id", "VARCHAR"), Key("last_merchant", "VARCHAR"))},
    "source options": {"sources": {"tx": {"delim": ";"}}},
    "refs": {"refs": {"risk": "2.0"}},
    "request": {"request": {"amount": "DOUBLE"}},
}


def test_every_field_of_a_definition_is_one_or_the_other() -> None:
    told = {name for changes in SETTINGS.values() for name in changes} | {"sql", "columns", "feature", "entity"}
    assert set(Definition.__struct_fields__) == told


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS.keys())
def test_every_setting_is_part_of_every_column(changes: dict[str, object]) -> None:
    before, after = meanings(definition(BASE)), meanings(definition(BASE, **changes))
    assert [name for name in NAMES if before[name] == after[name]] == []


@pytest.mark.parametrize(
    "changes",
    [{"entity": "customer"}, {"columns": tuple(Column(name=n, type="INT", description="d", sql="?") for n in NAMES)}],
    ids=["name of the entity", "types and descriptions"],
)
def test_what_is_no_meaning(changes: dict[str, object]) -> None:
    assert meanings(definition(BASE, **changes)) == meanings(definition(BASE))


def test_adding_a_column_changes_no_other() -> None:
    more = definition(BASE.replace("AS big", "AS big, MAX(amount) OVER ever AS biggest"), (*NAMES, "biggest"))
    before, after = meanings(definition(BASE)), meanings(more)
    assert {name: after[name] for name in NAMES} == before
    assert set(after) == {*NAMES, "biggest"}


EQUAL_ITEMS = [
    ("x::INT AS a", "CAST(x AS INTEGER) AS a"),
    ("t.x AS a", "x AS a"),
    ('"X" AS a', "x AS a"),
    ("x != 1 AS a", "x <> 1 AS a"),
    ("max_by(x, y) OVER ever AS a", "arg_max(x, y) OVER ever AS a"),
    ("array_agg(x) OVER ever AS a", "list(x) OVER ever AS a"),
    ("stddev(x) OVER ever AS a", "stddev_samp(x) OVER ever AS a"),
    ("variance(x) OVER ever AS a", "VAR_SAMP(x) OVER ever AS a"),
    ("group_concat(x, ',') OVER ever AS a", "string_agg(x, ',') OVER ever AS a"),
    ("arbitrary(x) OVER ever AS a", "first(x) OVER ever AS a"),
    ("datediff('hour', x, y) AS a", "date_diff('hour', x, y) AS a"),
    ("substr(x, 1, 2) AS a", "substring(x, 1, 2) AS a"),
    ("1E3 * x AS a", "1e3 * X AS a"),
    ("INTERVAL 7 day + x AS a", "interval 7 DAY + x AS a"),
    ("CASE WHEN x THEN 1 END AS a", "case when x then 1 end a"),
    ("x ORDER BY y", "x ORDER BY y"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL_ITEMS[:-1])
def test_equal_items(one: str, other: str) -> None:
    assert plain(one) == plain(other)


DIFFERENT_ITEMS = [
    ("last(x) OVER ever AS a", "last(x IGNORE NULLS) OVER ever AS a"),
    ("first(x) OVER ever AS a", "any_value(x) OVER ever AS a"),
    ("x / y AS a", "x // y AS a"),
    ("CAST(x AS INT) AS a", "TRY_CAST(x AS INT) AS a"),
    ("x = y AS a", "x IS NOT DISTINCT FROM y AS a"),
    ("'A' || x AS a", "'a' || x AS a"),
    ("x - (y - 1) AS a", "x - y - 1 AS a"),
    ("x + y AS a", "y + x AS a"),
    ("j->'$.A' AS a", "j->'$.a' AS a"),
    ("j->'A' AS a", "j->'a' AS a"),
    ("{'A': x}::VARCHAR AS a", "{'a': x}::VARCHAR AS a"),
    ("quantile_cont(x, 0.5) OVER ever AS a", "quantile_disc(x, 0.5) OVER ever AS a"),
    ("x LIKE 'a' AS a", "x ILIKE 'a' AS a"),
    ("count(x) OVER ever AS a", "count(DISTINCT x) OVER ever AS a"),
    ("list(x ORDER BY y) OVER ever AS a", "list(x ORDER BY y DESC) OVER ever AS a"),
    ("list(x ORDER BY y) OVER ever AS a", "list(x ORDER BY y NULLS FIRST) OVER ever AS a"),
    ("sum(x) OVER last_1mo AS a", "sum(x) OVER last_1m AS a"),
    ("s.x AS a", "x AS a"),
    ("1 AS a", "1.0 AS a"),
    ("x::TIMESTAMP AS a", "x::TIMESTAMPTZ AS a"),
    ("x::FLOAT AS a", "x::DOUBLE AS a"),
    ("x::DECIMAL(9,2) AS a", "x::DECIMAL(9,3) AS a"),
    ("true AS a", "false AS a"),
    ("as_of() AS a", "event_time AS a"),
    ('"a.b" AS a', "a.b AS a"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT_ITEMS)
def test_different_items(one: str, other: str) -> None:
    assert plain(one)["a"] != plain(other)["a"]


def test_an_alias_used_later_carries_what_it_stands_for() -> None:
    first = plain("x + 1 AS b, b * 2 AS a", f"FROM {SOURCE}", "b", "a")
    second = plain("x + 2 AS b, b * 2 AS a", f"FROM {SOURCE}", "b", "a")
    assert first["a"] != second["a"]


def test_a_column_of_from_wins_over_an_alias() -> None:
    """Its own expression reads ``merchant``, so FROM has it: later uses mean that one."""
    first = plain("upper(merchant) AS merchant, merchant || 'x' AS a", f"FROM {SOURCE}", "merchant", "a")
    second = plain("lower(merchant) AS merchant, merchant || 'x' AS a", f"FROM {SOURCE}", "merchant", "a")
    assert first["a"] == second["a"]
    assert first["merchant"] != second["merchant"]


def test_a_name_that_may_be_an_alias_or_a_whole_row() -> None:
    """Where the relation is called x and has no column x, ``x`` is its row, not the alias before it."""
    text = f"FROM (SELECT user_id, event_time, z AS y FROM {SOURCE}) AS {{}}"
    one, other = (plain("y AS x, x AS a", text.format(name), "x", "a") for name in ("p", "x"))
    assert one["x"] == other["x"]
    assert one["a"] != other["a"]


RELATIONS = [
    (
        f"FROM {SOURCE} p JOIN {SOURCE} q USING (k) WHERE p.x = 1",
        f"FROM {SOURCE} p JOIN {SOURCE} q USING (k) WHERE q.x = 1",
    ),
    (f"FROM (SELECT * FROM {SOURCE}) p WHERE p.x = 1", f"FROM (SELECT * FROM {SOURCE}) p WHERE p.y = 1"),
    (f"FROM {SOURCE} UNION SELECT 1, 2, 3", f"FROM {SOURCE} UNION ALL SELECT 1, 2, 3"),
    (f"FROM {SOURCE} UNION ALL SELECT 1, 2, 3", f"FROM {SOURCE} UNION ALL BY NAME SELECT 1, 2, 3"),
    (f"FROM {SOURCE} GROUP BY ALL", f"FROM {SOURCE} GROUP BY 1, 2"),
    (f"FROM {SOURCE} GROUP BY 1, 2, 3", f"FROM {SOURCE} GROUP BY 1, 2"),
    (f"FROM {SOURCE} p ASOF JOIN {SOURCE} q ON p.t >= q.t", f"FROM {SOURCE} p ASOF JOIN {SOURCE} q ON p.t > q.t"),
    (f"FROM {SOURCE} p, unnest(p.l) AS u(v)", f"FROM {SOURCE} p, unnest(p.m) AS u(v)"),
    (
        f"FROM {SOURCE} QUALIFY row_number() OVER (ORDER BY x) = 1",
        f"FROM {SOURCE} QUALIFY rank() OVER (ORDER BY x) = 1",
    ),
    (f"FROM {SOURCE} WINDOW w AS (ORDER BY x)", f"FROM {SOURCE} WINDOW w AS (ORDER BY y)"),
]


@pytest.mark.parametrize(("one", "other"), RELATIONS)
def test_different_relations(one: str, other: str) -> None:
    assert plain("max(z) AS a", one)["a"] != plain("max(z) AS a", other)["a"]


def test_self_join_aliases_swap_without_change_only_as_a_whole() -> None:
    one = f"FROM {SOURCE} p JOIN {SOURCE} q ON p.k = q.k"
    assert plain("p.x AS a", one) == plain("q.x AS a", f"FROM {SOURCE} q JOIN {SOURCE} p ON q.k = p.k")
    assert plain("p.x AS a", one) != plain("q.x AS a", one)


def test_group_by_positions_mean_what_stands_there() -> None:
    by_name = plain("max(z) AS a", f"FROM {SOURCE} GROUP BY user_id, event_time")
    assert plain("max(z) AS a", f"FROM {SOURCE} GROUP BY 1, 2") == by_name
    more = plain("max(z) AS a, min(z) AS b", f"FROM {SOURCE} GROUP BY 1, 2", "a", "b")
    assert more["a"] == by_name["a"]


@pytest.mark.parametrize(
    ("items", "rest"),
    [
        ("z AS a{}", f"FROM {SOURCE} UNION ALL SELECT 1, 2, 3{{}}"),
        ("DISTINCT_z AS a{}", f"FROM {SOURCE} GROUP BY ALL"),
        ("z AS a, unnest(l) AS c{}", f"FROM {SOURCE}"),
    ],
)
def test_where_an_added_item_can_change_the_rows_it_changes_every_column(items: str, rest: str) -> None:
    before = plain(items.format(""), rest.format(""))
    after = plain(items.format(", y AS b"), rest.format(", 4"), "a", "b")
    assert before["a"] != after["a"]


def test_nested_scopes_are_told_apart() -> None:
    """The outer x and the inner x of a correlated subquery are two columns."""
    text = f"FROM {SOURCE} o WHERE EXISTS (SELECT 1 FROM {SOURCE} i WHERE {{}} > 0)"
    texts = {plain("z AS a", text.format(column))["a"] for column in ("o.x", "i.x")}
    assert len(texts) == 2


def test_shadowed_cte_names() -> None:
    inner = "WITH c AS (SELECT 2 AS x) SELECT x FROM c"
    one = f"WITH c AS (SELECT 1 AS x) SELECT user_id, event_time, ({inner}) AS a FROM {SOURCE}"
    other = one.replace("WITH c AS (SELECT 2", "WITH d AS (SELECT 2")
    renamed = one.replace(inner, "WITH d AS (SELECT 2 AS x) SELECT x FROM d")
    assert meanings(definition(one, ("a",))) != meanings(definition(other, ("a",)))
    assert meanings(definition(one, ("a",))) == meanings(definition(renamed, ("a",)))


def test_parts_of_a_surrogate_key_belong_to_every_column() -> None:
    keys = (Key("user_id", "VARCHAR"),)
    sql = f"SELECT first, last, event_time, x AS a FROM {SOURCE}"
    before = meanings(definition(sql, ("a",), keys=keys))
    after = meanings(definition(sql.replace("first,", "upper(first) AS first,"), ("a",), keys=keys))
    assert before["a"] != after["a"]
    added = meanings(definition(sql.replace("AS a", "AS a, y AS b"), ("a", "b"), keys=keys))
    assert added["a"] == before["a"]


def test_a_definition_read_back_from_a_catalog_is_equal() -> None:
    import msgspec

    made = definition(BASE, sources={"tx": {"columns": ("a", "b"), "delim": ";"}}, delay=Duration(2, "h"))
    read = msgspec.json.decode(encoded(made), type=Definition)
    assert encoded(read) == encoded(made)
    assert meanings(read) == meanings(made)


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "def f(): ...", "", "SELECT 'x"])
def test_text_that_is_no_query_stands_for_itself(text: str) -> None:
    assert canonical(text) == Canonical(relation=text, items=(), whole=True)
    assert meanings(definition(text))["big"] != meanings(definition(text + " "))["big"]


def test_functions_that_differ_in_duckdb_never_come_out_equal() -> None:
    """sqlglot has one class for several functions; only what DuckDB calls an alias may be equal."""
    rows = duckdb.execute(
        """SELECT DISTINCT lower(function_name), lower(coalesce(alias_of, function_name)) FROM duckdb_functions()
        WHERE function_type IN ('scalar', 'aggregate', 'macro') AND regexp_full_match(function_name, '[a-zA-Z]\\w+')"""
    ).fetchall()
    primary: dict[str, set[str]] = {}
    for name, of in rows:
        primary.setdefault(name, set()).add(of)
    texts: dict[str, list[str]] = {}
    for name in primary:
        for arguments in ("x", "x, y", "x, y, z"):
            query = canonical(f"SELECT {name}({arguments}) AS a FROM t")
            if not query.whole:  # a keyword, or another number of arguments than sqlglot allows
                texts.setdefault(query.items[0][1], []).append(name)
    assert len(texts) > 1000
    pairs = [(a, b) for names in texts.values() for a, b in combinations(names, 2) if not primary[a] & primary[b]]
    assert {frozenset(pair) for pair in pairs} <= KNOWN_EQUAL


#: DuckDB has each of these under two names without calling one an alias.
KNOWN_EQUAL = {
    frozenset(pair.split())
    for pair in (
        "count count_star",
        "wavg weighted_avg",
        "geomean geometric_mean",
        "date_diff datediff",
        "date_part datepart",
        "date_trunc datetrunc",
        "date_sub datesub",
    )
}


def test_a_catalog_is_compared_without_loading_the_parser() -> None:
    """``plan`` of a project in which nothing changed pays for no SQL parser."""
    code = (
        "import sys, mlforge.plan.planner, mlforge.plan.diff as d;"
        "from mlforge.model import Definition, Key;"
        "a = Definition(feature='f', kind='plain', entity='e', keys=(Key('k', 'INT'),), sql='SELECT 1', columns=());"
        "assert d.compare(a, a).bump is None;"
        "sys.exit('sqlglot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


EXPRESSIONS = st.recursive(
    st.sampled_from(["amount", "t.qty", "Price", "1", "'Text'", '"Odd name"', "t.s.field", "NULL"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "||", "=", "<>", "AND"]), inner).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        ),
        st.tuples(st.sampled_from(["abs", "Upper", "coalesce", "list_value"]), inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"CASE WHEN {p[0]} THEN {p[1]} END"),
        st.tuples(st.sampled_from(["SUM", "avg", "MEAN", "max"]), inner).map(lambda p: f"{p[0]}({p[1]}) OVER last_7d"),
        inner.map(lambda p: f"(SELECT max(u.v) FROM {SOURCE} AS u WHERE u.k = {p})"),
        inner.map(lambda p: f"CAST({p} AS VARCHAR)"),
    ),
    max_leaves=8,
)


def tokens(sql: str) -> list[str]:
    from sqlglot.dialects.duckdb import DuckDB

    return [sql[t.start : t.end + 1] for t in DuckDB().tokenize(sql)]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(EXPRESSIONS, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_rewriting_never_changes_a_meaning(expressions: list[str], random: object) -> None:
    """Other white space, comments, letter case and alias names: the same meanings."""
    names = tuple(f"c{n}" for n in range(len(expressions)))
    items = ", ".join(f"{e} AS {n}" for e, n in zip(expressions, names, strict=True))
    sql = f"WITH w AS (SELECT * FROM {SOURCE}) SELECT user_id, event_time, {items} FROM w AS t WHERE t.ok"
    words = []
    for word in tokens(sql):
        if word in ("t", "u", "w"):
            word = f"{word}_renamed"
        elif not word.startswith(("'", '"')):
            word = random.choice([word, word.upper(), word.lower()])  # type: ignore[attr-defined]
        words.append(word + random.choice([" ", "\n\t", " /* note */ ", " -- note\n"]))  # type: ignore[attr-defined]
    assert meanings(definition("".join(words), names)) == meanings(definition(sql, names))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(EXPRESSIONS, EXPRESSIONS)
def test_two_expressions_are_equal_only_if_their_words_are(one: str, other: str) -> None:
    """No algebra, so expressions with different words (case, qualifier and synonyms aside) mean different things."""

    def words(sql: str) -> list[str]:
        plain = [w if w[0] in "'" else w.lower().replace("mean", "avg") for w in tokens(sql) if w not in ("(", ")")]
        return [
            w
            for n, w in enumerate(plain)
            if not (w == "t" and plain[n + 1] == ".") and not (w == "." and plain[n - 1] == "t")
        ]

    if words(one) != words(other):
        assert plain(f"{one} AS a") != plain(f"{other} AS a")


def test_meaning_is_computed_once_for_a_definition() -> None:
    assert meaning(definition(BASE)) is meaning(definition(BASE))


def test_metadata_of_config_is_known_by_name() -> None:
    from mlforge.plan.fingerprint import _METADATA

    shaped = {"timestamp", "timestamp_format", "closed", "delay", "ttl", "interval", "timezone", "on_demand", "request"}
    assert set(FeatureConfig.__struct_fields__) - shaped == set(_METADATA)


SWAPS = {
    "parts of a key": (
        "SELECT p AS first, q AS last, event_time, x AS a",
        "SELECT q AS first, p AS last, event_time, x AS a",
    ),
    "items that do not come out even": (
        "SELECT user_id, event_time, x AS a, y AS z, x + 1",
        "SELECT user_id, event_time, x AS z, y AS a, x + 1",
    ),
    "parenthesised position": (
        "SELECT user_id, event_time, x AS a, y AS b",
        "SELECT user_id, event_time, y AS b, x AS a",
    ),
}


@pytest.mark.parametrize(("one", "other"), SWAPS.values(), ids=SWAPS.keys())
@pytest.mark.parametrize("group", ["GROUP BY (3)", "GROUP BY (1, 3)", "GROUP BY 3", "GROUP BY ROLLUP (3)"])
def test_swapped_items_are_told_apart(one: str, other: str, group: str) -> None:
    first, second = (meanings(definition(f"{s} FROM {SOURCE} {group}", ("a",))) for s in (one, other))
    assert first != second


def test_an_output_name_in_order_by_is_not_the_column() -> None:
    """ORDER BY prefers an alias, so ``t.x`` and ``x`` differ there, also where x is a field of a struct."""
    for item in ("upper(x) AS x", "t.s.x AS x", "s.x AS x"):
        text = f"FROM (SELECT user_id, event_time, {item} FROM {SOURCE} AS t ORDER BY {{}} LIMIT 5) AS u"
        assert plain("z AS a", text.format("x"))["a"] != plain("z AS a", text.format("t.x"))["a"]


@pytest.mark.parametrize("names", [("TEXT", "VARCHAR", "STRING"), ("INT4", "INTEGER", "SIGNED"), ("FLOAT8", "DOUBLE")])
def test_names_of_types(names: tuple[str, ...]) -> None:
    assert len({plain(f"x::{name} AS a")["a"] for name in names}) == 1


def test_a_hundred_features_are_compared_from_one_reading() -> None:
    """Each text is parsed once: a second round over other objects of the same content hits the cache."""
    from mlforge.plan import fingerprint

    made = [definition(BASE.replace("100", str(n))) for n in range(100)]
    for d in made:
        meanings(d)
    misses = fingerprint._meaning.cache_info().misses
    for n in range(100):
        meanings(definition(BASE.replace("100", str(n))))
    assert fingerprint._meaning.cache_info().misses == misses


def test_synonyms_are_what_duckdb_calls_aliases() -> None:
    """Where the installed DuckDB names a primary function, both names fold to one."""
    from mlforge.plan.synonyms import _FOLDED, fold

    aliases = dict(
        duckdb.execute(
            "SELECT DISTINCT function_name, alias_of FROM duckdb_functions() WHERE alias_of IS NOT NULL"
        ).fetchall()
    )
    known = {name: of for name, of in aliases.items() if name in _FOLDED and of.isidentifier()}
    assert len(known) > 30  # operators are left out: pow is an alias of **
    assert {name: fold(of) for name, of in known.items()} == {name: fold(name) for name in known}
