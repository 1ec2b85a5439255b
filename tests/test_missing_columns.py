"""A name that is not there, in every place where a feature names something: the line, the name, what was meant, and what
there is."""

from __future__ import annotations

import pytest

from mlforge.errors import MlforgeError, engine_words
from tests.small import Small

CONFIG = """\
name: small
sources:
  ev: {path: data/ev.parquet}
  ot: {path: data/ot.parquet}
entities:
  user: {key: k}
"""
HEAD = '{{ config(entity="user", timestamp="t") }}\n'
EV, OT, REF = '{{ source("ev") }}', '{{ source("ot") }}', '{{ ref("base") }}'
COLUMNS = "columns of ev: k, t, amount, merchant"
E = "columns of e: k, t, amount, merchant"
SPENT = "SUM(amount) OVER last_7d AS s"

# text after the head, which begins in line 2; the line, the message, the hint
CASES = {
    "select": (
        f"SELECT k, t,\n SUM(amuont) OVER last_7d AS s\nFROM {EV}",
        3,
        "there is no column 'amuont' in ev",
        f"did you mean 'amount'? {COLUMNS}",
    ),
    "row column": (
        f"SELECT k, t,\n merchnat\nFROM {EV}",
        3,
        "there is no column 'merchnat' in ev",
        f"did you mean 'merchant'? {COLUMNS}",
    ),
    "its own alias": (
        f"SELECT k, t,\n amuont + 1 AS amuont\nFROM {EV}",
        3,
        "there is no column 'amuont' in ev",
        f"did you mean 'amount'? {COLUMNS}",
    ),
    "nothing like it": (f"SELECT k, t,\n zzz\nFROM {EV}", 3, "there is no column 'zzz' in ev", COLUMNS),
    "where": (
        f"SELECT k, t, {SPENT}\nFROM {EV}\nWHERE amuont > 1",
        4,
        "there is no column 'amuont' in ev",
        f"did you mean 'amount'? {COLUMNS}",
    ),
    "filter": (
        f"SELECT k, t,\n SUM(amount)\n FILTER (WHERE merchnt = 'x') OVER last_7d AS s\nFROM {EV}",
        4,
        "there is no column 'merchnt' in ev",
        f"did you mean 'merchant'? {COLUMNS}",
    ),
    "alias": (
        f"SELECT e.k, e.t,\n SUM(e.amuont) OVER last_7d AS s\nFROM {EV} AS e",
        3,
        "there is no column 'amuont' in e",
        f"did you mean 'amount'? {E}",
    ),
    "relation": (
        f"SELECT ev.k, ev.t,\n SUM(evv.amount) OVER last_7d AS s\nFROM {EV} AS ev",
        3,
        "evv.amount: there is no relation 'evv' in FROM",
        "did you mean 'ev'? relations of FROM: ev",
    ),
    "join": (
        f"SELECT e.k, e.t, {SPENT}\nFROM {EV} AS e\nJOIN {OT} AS o ON e.k = o.kk",
        4,
        "there is no column 'kk' in o",
        "did you mean 'okk' or 'k'? columns of o: k, okk",
    ),
    "either": (
        f"SELECT e.k, e.t, SUM(amuont) OVER last_7d AS s\nFROM {EV} AS e\nJOIN {OT} AS o ON e.k = o.okk",
        2,
        "there is no column 'amuont' in e or o",
        f"did you mean 'amount'? {E}; columns of o: k, okk",
    ),
    "using": (
        f"SELECT e.k, e.t, {SPENT}\nFROM {EV} AS e\nJOIN {OT} AS o\n USING (merchant)",
        5,
        "there is no column 'merchant' in o",
        "columns of o: k, okk",
    ),
    "cte": (
        f"WITH c AS (\n SELECT k, t,\n  amuont AS amount\n FROM {EV}\n)\nSELECT k, t, {SPENT} FROM c",
        4,
        "there is no column 'amuont' in ev",
        f"did you mean 'amount'? {COLUMNS}",
    ),
    "of a cte": (
        f"WITH c AS (\n SELECT k, t, amount AS total FROM {EV}\n)\nSELECT k, t,\n SUM(amount) OVER last_7d AS s FROM c",
        6,
        "there is no column 'amount' in c",
        "columns of c: k, t, total",
    ),
    "second cte": (
        f"WITH c AS (SELECT k, t, amount AS total FROM {EV}),\nd AS (\n SELECT k, t, totl FROM c)\nSELECT * FROM d",
        4,
        "there is no column 'totl' in c",
        "did you mean 'total'? columns of c: k, t, total",
    ),
    "subquery": (
        f"SELECT k, t, {SPENT}\nFROM (\n SELECT k, t, amuont AS amount FROM {EV}\n)",
        4,
        "there is no column 'amuont' in ev",
        f"did you mean 'amount'? {COLUMNS}",
    ),
    "of a subquery": (
        f"SELECT z.k, z.t,\n z.totl\nFROM (SELECT k, t, amount AS total FROM {EV}) AS z",
        3,
        "there is no column 'totl' in z",
        "did you mean 'total'? columns of z: k, t, total",
    ),
    "window": (
        f"SELECT k, t,\n row_number() OVER (PARTITION BY k\n ORDER BY tt) AS n\nFROM {EV}",
        4,
        "there is no column 'tt' in ev",
        f"did you mean 't'? {COLUMNS}",
    ),
    "group": (
        f"SELECT k, t, SUM(amount) AS s\nFROM {EV}\nGROUP BY k, t, merchnat",
        4,
        "there is no column 'merchnat' in ev",
        f"did you mean 'merchant'? {COLUMNS}",
    ),
    "union": (
        f"SELECT k, t, amount FROM {EV}\nUNION ALL\nSELECT k, t, amuont FROM {EV}",
        4,
        "there is no column 'amuont' in ev",
        f"did you mean 'amount'? {COLUMNS}",
    ),
    "exclude": (
        f"SELECT *\n EXCLUDE (amuont)\nFROM {EV}",
        3,
        "there is no column 'amuont' in ev",
        f"did you mean 'amount'? {COLUMNS}",
    ),
    "replace": (
        f"SELECT *\n REPLACE (amuont + 1 AS amount)\nFROM {EV}",
        3,
        "there is no column 'amuont' in ev",
        f"did you mean 'amount'? {COLUMNS}",
    ),
    "output of a feature": (
        f"SELECT e.k, e.t,\n r.spnd\nFROM {EV} AS e\nLEFT JOIN {REF} AS r ON e.k = r.k",
        3,
        "there is no column 'spnd' in r",
        "did you mean 'spend'? columns of r: k, t, spend",
    ),
    "key of a feature": (
        f"SELECT e.k, e.t, r.spend\nFROM {EV} AS e\nLEFT JOIN {REF} AS r\n ON e.kk = r.k",
        5,
        "there is no column 'kk' in e",
        f"did you mean 'k'? {E}",
    ),
    "double quotes": (
        f'SELECT k, t,\n merchant = "shop" AS z\nFROM {EV}',
        3,
        "there is no column 'shop' in ev",
        f"text stands in single quotes; {COLUMNS}",
    ),
    "function": (
        f"SELECT k, t,\n SUMM(amount) OVER last_7d AS s\nFROM {EV}",
        3,
        "SUMM OVER last_7d: mlforge knows no such aggregate",
        "did you mean 'sum'?",
    ),
    "function of a row": (
        f"SELECT k, t,\n uper(merchant) AS m\nFROM {EV}",
        3,
        "there is no function 'uper'",
        "did you mean 'upper'?",
    ),
    "swallowed": (
        f"SELECT k, t,\n {SPENT} -- all of it FROM {EV}",
        3,
        "this SELECT has no FROM: the word stands in a comment",
        "let FROM begin a new one",
    ),
    "swallowed by a block": (
        f"SELECT k, t,\n amount /* all\n FROM {EV} */",
        4,
        "this SELECT has no FROM: the word stands in a comment",
        "let FROM begin a new one",
    ),
    "no from": (
        "SELECT k, t,\n amount",
        2,
        "this SELECT names columns and has no FROM",
        'write FROM {{ source("...") }}',
    ),
    "like": (
        f"SELECT k, t,\n * LIKE 'a%'\nFROM {EV}",
        3,
        "* LIKE 'a%' does not choose columns in a feature",
        "COLUMNS('^a')",
    ),
    "not like": (
        f"SELECT k, t,\n * NOT LIKE 'a%'\nFROM {EV}",
        3,
        "* NOT LIKE 'a%' does not choose columns in a feature",
        "COLUMNS('^a')",
    ),
    "ilike": (
        f"SELECT k, t,\n * ILIKE 'a%'\nFROM {EV}",
        3,
        "* ILIKE 'a%' does not choose columns in a feature",
        "COLUMNS('^a')",
    ),
    "similar": (
        f"SELECT e.k, e.t,\n e.* SIMILAR TO 'a.*'\nFROM {EV} AS e",
        3,
        "e.* SIMILAR TO 'a.*' does not choose columns in a feature",
        "COLUMNS('^a')",
    ),
    "glob": (
        f"SELECT k, t,\n * GLOB 'a*'\nFROM {EV}",
        3,
        "* GLOB 'a*' does not choose columns in a feature",
        "COLUMNS('^a')",
    ),
    "ambiguous": (
        f"SELECT\n k, e.t, {SPENT}\nFROM {EV} AS e\nJOIN {OT} AS o ON e.k = o.k",
        3,
        'Ambiguous reference to column name "k"',
        "the words are DuckDB's",
    ),
    "arguments": (
        f"SELECT k, t, SUM(merchant) OVER last_7d AS s\nFROM {EV}",
        None,
        "argument types 'sum(VARCHAR)'. You might need to add explicit type casts.",
        'merchant is VARCHAR; where single texts, as N/A, made a column of a file VARCHAR: options: {nullstr: ["", N/A]} of the source',
    ),
    "operator": (
        f"SELECT k, t, SUM(e.amount * e.merchant) OVER last_7d AS s\nFROM {EV} AS e",
        2,
        "argument types '*(BIGINT, VARCHAR)'",
        "amount is BIGINT, merchant is VARCHAR; where single texts",
    ),
    "compared": (
        f"SELECT k, t, COUNT(*) FILTER (WHERE merchant > 3) OVER last_7d AS s\nFROM {EV}",
        2,
        "Cannot compare values of type VARCHAR",
        "merchant is VARCHAR; where single texts",
    ),
    "not text": (
        f"SELECT k, t, SUM(t) OVER last_7d AS s\nFROM {EV}",
        None,
        "argument types 'sum(TIMESTAMP)'",
        "t is TIMESTAMP",
    ),
    "in a CTE": (
        f"WITH c AS (SELECT k, t, amount + merchant AS z FROM {EV}) SELECT * FROM c",
        2,
        "argument types '+(BIGINT, VARCHAR)'",
        "amount is BIGINT, merchant is VARCHAR; where single texts",
    ),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    made = Small(tmp_path_factory.mktemp("missing"), CONFIG)
    made.rows("1, '2024-01-31', 7, 'x'", columns="k BIGINT, t TIMESTAMP, amount BIGINT, merchant VARCHAR")
    made.write("data/ot.parquet", "SELECT 1::BIGINT AS k, 2 AS okk")
    made.feature("base", f"{HEAD}SELECT k, t, SUM(amount) OVER last_1d AS spend FROM {EV}")
    return made


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_is_named_at_its_line(small: Small, case: str) -> None:
    text, line, message, hint = CASES[case]
    small.feature("f", HEAD + text)
    with pytest.raises(MlforgeError) as caught:
        small.forge.plan()
    error = caught.value
    assert str(error.where) == ("features/f.sql" if line is None else f"features/f.sql:{line}")
    if message.startswith(("there is", "this SELECT")):
        assert error.message == message
    else:
        assert message in error.message
    assert hint in (error.hint or "")
    (small.root / "features/f.sql").unlink()


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("deleted: goen", "there is no column 'goen'", "did you mean 'gone'? columns: k, gone, at"),
        ("deleted: 'gone AND zz'", "there is no column 'zz'", "columns: k, gone, at"),
        ("unique_key: kk", "there is no column 'kk'", "did you mean 'k'? columns: k, gone, at"),
    ],
)
def test_settings_of_a_source(tmp_path_factory: pytest.TempPathFactory, source: str, message: str, hint: str) -> None:
    config = CONFIG.replace("ev.parquet}", f"ev.parquet, {settings(source)}}}")
    made = Small(tmp_path_factory.mktemp("source"), config)
    made.write("data/ev.parquet", "SELECT 1 AS k, false AS gone, TIMESTAMP '2024-01-01' AS at")
    made.feature("f", f'{{{{ config(entity="user") }}}}\nSELECT k, gone FROM {EV}')
    with pytest.raises(MlforgeError) as caught:
        made.forge.plan()
    assert str(caught.value.where) == "mlforge.yaml:3"
    assert caught.value.message == f"source 'ev' cannot be read: {message}"
    assert caught.value.hint == hint


def settings(source: str) -> str:
    """What a source needs beside a setting."""
    return f"{source}, loaded_at: at" + ("" if "unique_key" in source else ", unique_key: k")


def test_checks(small: Small) -> None:
    head = HEAD.replace(") }}", ', validators={"amount": [sql("amuont > 0")]}) }}')
    small.feature("f", f"{head}SELECT k, t, amount FROM {EV}")
    [error] = [f.error for f in small.build("f").features if f.error]
    assert "the check sql('amuont > 0') on output.amount: there is no column 'amuont'" in error
    assert "did you mean 'amount'? columns: k, t, amount" in error
    (small.root / "features/f.sql").unlink()


@pytest.mark.parametrize("more", ['timestamp="t"', 'on_demand=true, request={"amount": "DOUBLE"}'])
def test_a_description_of_no_column(small: Small, more: str) -> None:
    text = f'{{{{ config(entity="user", {more}, columns={{"amuont": "paid"}}) }}}}\n'
    small.feature("f", text + ("SELECT amount + 1 AS amount" if "demand" in more else f"SELECT k, t, amount FROM {EV}"))
    with pytest.raises(MlforgeError, match="describes 'amuont', and no column of the feature is called so") as caught:
        small.forge.plan()
    assert (str(caught.value.where), caught.value.hint) == ("features/f.sql", "did you mean 'amount'?")
    (small.root / "features/f.sql").unlink()


WORDS = {
    'Binder Error: no column "a"!\nCandidate bindings: "b", "c"\n\nLINE 1: SELECT a FROM t\n               ^': 'Binder Error: no column "a"! Candidate bindings: "b", "c"',
    "Binder Error: no function\n\tCandidate functions:\n\tsum(a)\n\tsum(b)\n\nLINE 1: SELECT total(zz)\n               ^": "Binder Error: no function; Candidate functions: sum(a); sum(b) (near 'total')",
    "Parser Error: wrong\n\nLINE 2: ... foo + + bar\n                  ^^^^^": "Parser Error: wrong (near '+ bar')",
    "Conversion Error: CSV Error on Line: 3\nOriginal Line: x,2\nnot a number\n\n  file = /d/x.csv\n  quote = (empty)": "Conversion Error: CSV Error on Line: 3; Original Line: x,2; not a number",
    "INTERNAL Error: no\n\nStack Trace:\n\n0 duckdb": "INTERNAL Error: no",
    "": "Exception",
}


@pytest.mark.parametrize("text", WORDS)
def test_the_engines_words_are_one_line(text: str) -> None:
    assert engine_words(Exception(text)) == WORDS[text]
