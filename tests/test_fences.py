"""Text of the user never runs more than it says: every way in, with a script where an expression, a type, a name, a
value or one SELECT belongs. Each is refused at its place, or is a value like any other, and no file is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from mlforge.errors import FeatureError, RetrievalError
from mlforge.model import Check
from mlforge.project.sqltype import is_type
from mlforge.quality import run_checks
from mlforge.render.conditions import CLOCK, condition
from tests.cli.running import mlforge
from tests.small import CONFIG, Small

if TYPE_CHECKING:
    from pathlib import Path

COPY = "COPY (SELECT 1) TO 'out.csv'"
SCRIPT = f"1=1); {COPY}; --"
TYPE = f"BIGINT) AS y; {COPY}; --"
QUOTED = f"'); {COPY}; --"
GOOD = '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}\n'


def configured(argument: str) -> str:
    return GOOD.replace('timestamp="t"', f'timestamp="t",\n  {argument}')


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A project, in the folder that a script would write to."""
    monkeypatch.chdir(tmp_path)
    made = Small(tmp_path)
    made.rows("1, '2024-01-01', 5")
    made.feature("a", GOOD)
    return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Small:
    made = Small(tmp_path_factory.mktemp("fences"))
    made.rows("1, '2024-01-01', 5")
    made.feature("a", GOOD)
    made.config(f'{CONFIG}feature_sets:\n  s: [{{feature: a, keys: {{k: "{QUOTED}"}}, prefix: "{QUOTED}"}}]\n')
    made.good()
    with duckdb.connect(str(made.catalog)) as con:
        con.execute("CREATE VIEW labels AS SELECT 1 AS k, TIMESTAMP '2024-01-02' AS label_time")
    (made.root / "labels.csv").write_text("k,label_time\n1,2024-01-02\n")
    return made


@pytest.fixture
def built(shared: Small, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The same, built once."""
    monkeypatch.chdir(shared.root)
    return shared


def refusal(project: Small, *command: str, code: int = 1) -> str:
    """What a command says, in one line. Nothing was written, and nothing is a bug."""
    said = mlforge("-C", project.root, *command, code=code).flat
    assert not (project.root / "out.csv").exists()
    assert "bug" not in said
    return said


SOURCES = {  # settings of the source in line 3 of mlforge.yaml
    "deleted": (
        f'deleted: "{SCRIPT}"',
        "mlforge.yaml:3: source 'ev': deleted: a closing bracket without an opening one",
    ),
    "deleted, a second statement": (f'deleted: "x > 1; {COPY}"', "source 'ev': deleted: a semicolon in a condition"),
    "deleted, a file": (
        "deleted: \"EXISTS (FROM 'data/ev.parquet')\"",
        'deleted: "data/ev.parquet" in FROM: a condition sees its own row',
    ),
    "deleted, the clock": ('deleted: "t < now()"', "source 'ev': deleted: NOW() is not the same in every run"),
    "deleted, all rows": ('deleted: "x = max(x)"', "source 'ev': deleted: MAX(x): a condition sees its own row only"),
    "timestamp": (f'timestamp: "{SCRIPT}"', "source 'ev' has no column \"1=1); COPY"),
    "cursor": (f'cursor: "{SCRIPT}"', "source 'ev' has no column \"1=1); COPY"),
    "loaded_at": (f'loaded_at: "{SCRIPT}"', "source 'ev' has no column \"1=1); COPY"),
    "unique_key": (f'unique_key: ["{SCRIPT}"], loaded_at: t', "1=1); COPY"),
    "hive_types": (f'options: {{hive_types: {{z: "{TYPE}"}}}}', "'z' of option 'hive_types' of source 'ev' is no type"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_settings_of_a_source(project: Small, case: str) -> None:
    setting, message = SOURCES[case]
    project.config(CONFIG.replace("ev.parquet}", f"ev.parquet, {setting}}}"))
    assert message in refusal(project, "plan")


def test_the_table_of_a_source(project: Small) -> None:
    duckdb.connect(str(project.catalog)).close()
    project.config(CONFIG.replace("{path: data/ev.parquet}", f'{{table: "main.x; {COPY}"}}'))
    assert "source 'ev' cannot be read: Catalog Error: Table with name \"x; COPY" in refusal(project, "plan")


def test_options_and_types_of_a_csv_file(project: Small) -> None:
    (project.root / "data/ev.csv").write_text("k,t,x\n1,2024-01-01 00:00:00,5\n")
    for option, message in (
        (f'nullstr: "{QUOTED}"', "plan: 1 new"),  # a value like any other
        (f'columns: {{k: "{TYPE}"}}', "'k' of option 'columns' of source 'ev' is no type"),
        (f'types: {{k: "{TYPE}"}}', "'k' of option 'types' of source 'ev' is no type"),
    ):
        project.config(CONFIG.replace("ev.parquet}", f"ev.csv, options: {{{option}}}}}"))
        assert message in refusal(project, "plan", code=0 if option.startswith("null") else 1)


FEATURES = {  # texts of a feature, and what is said of them
    "a check": (configured(f'validators={{"x": sql("{SCRIPT}")}}'), "features/a.sql:2: sql("),
    "a check of the input": (
        configured(f'validators={{"input": sql("{SCRIPT}")}}'),
        "a closing bracket without an opening",
    ),
    "a check of another file": (
        configured("""validators={"x": sql("x IN (SELECT count(*) FROM read_text('*'))")}"""),
        "READ_TEXT('*') in FROM: a condition sees its own row only",
    ),
    "a check with effects": (
        configured("""validators={"x": sql("x < nextval('s')")}"""),
        "NEXTVAL('s') is not the same",
    ),
    "timestamp": (GOOD.replace('"t"', f'"{SCRIPT}"'), 'no output column is called "1=1); COPY'),
    "timestamp_format": (
        configured(f'timestamp_format="{QUOTED}"'),
        "is TIMESTAMP and has no use for timestamp_format",
    ),
    "timezone": (configured(f'interval="1d", timezone="{QUOTED}"'), "there is no time zone \"'); COPY"),
    "the statement": (f"{GOOD}; {COPY}", "features/a.sql:3: 2 statements in one file"),
    "a column": (GOOD.replace("x FROM", f'"{SCRIPT}" FROM'), "1=1); COPY"),
    "var": (GOOD.replace("x FROM", f'{{{{ var("x", "1 AS y; {COPY}; --") }}}} FROM'), "2 statements in one file"),
    "rolling": (
        GOOD.replace("x FROM", f'{{{{ rolling("{SCRIPT}", "sum", "7d") }}}} FROM'),
        "takes the name of a column",
    ),
    "surrogate_key": (
        GOOD.replace("k, t", f'{{{{ surrogate_key("{SCRIPT}", "x") }}}} AS k, t'),
        "features/a.sql:2: 2 statements in one file",
    ),
    "a request type": (
        f'{{{{ config(entity="user", on_demand=true, request={{"q": "{TYPE}"}}) }}}}\nSELECT q + x AS z FROM {{{{ ref("b") }}}}',
        "features/a.sql:1: the type of 'q' in request is no type",
    ),
}


@pytest.mark.parametrize("case", FEATURES)
def test_texts_of_a_feature(project: Small, case: str) -> None:
    text, message = FEATURES[case]
    project.feature("b", GOOD)
    project.feature("a", text)
    assert message in refusal(project, "plan", "--features", "a")


UNIT = "tests:\n- name: one\n  feature: a\n  given: {{ev: {{columns: {{x: {columns}}}, rows: [{{k: 1, t: 2024-01-01 00:00:00, x: {x}}}]}}}}\n  expect: []\n"


def test_types_and_values_of_unit_tests(project: Small) -> None:
    path = project.root / "tests/a.yaml"
    path.parent.mkdir()
    path.write_text(UNIT.format(columns=f'"{TYPE}"', x=1))
    assert "tests/a.yaml:4: 'x' of 'columns' of 'ev' given to test 'one' is no type" in refusal(project, "test")
    path.write_text(UNIT.format(columns="VARCHAR", x=f'"{QUOTED}"'))
    assert "'); COPY" in refusal(project, "test")  # a row that was not expected, with the text as its value


LABELS = {
    "a script": (f"SELECT 1 AS k, now() AS label_time; {COPY}", "the label rows hold 2 statements"),
    "after a comment": (f"SELECT 1 AS k -- ;\n; {COPY}; --", "the label rows hold 2 statements"),
    "nothing": ("-- SELECT 1\n", "the label rows hold no SQL statement"),
    "a write": (COPY, "the label rows are COPY, not one SELECT"),
    "an attachment": ("ATTACH ':memory:' AS other", "the label rows are ATTACH, not one SELECT"),
    "an extension": ("INSTALL json\n", "the label rows are LOAD, not one SELECT"),
    "a setting": ("SET threads = 1\n", "the label rows are SET, not one SELECT"),
    "a call": ("CALL pragma_version()\n", "the label rows are CALL, not one SELECT"),
    "SQL in a text": ("FROM query('SELECT 1 AS k')", "the label rows call query() in FROM, which is no reader of rows"),
    "a checkpoint": ("SELECT * FROM checkpoint()", "the label rows call checkpoint() in FROM"),
    "in a subquery": ("SELECT (SELECT count(*) FROM checkpoint()) AS k", "the label rows call checkpoint() in FROM"),
    "a sequence": ("SELECT nextval('s') AS k", "the label rows call nextval(), which changes something"),
    "no SQL": ("SELECT FROM WHERE", "the label rows cannot be read: Parser Error"),
}


@pytest.mark.parametrize("case", LABELS)
def test_label_sql(built: Small, case: str) -> None:
    text, message = LABELS[case]
    with pytest.raises(RetrievalError, match="label rows") as caught:
        built.forge.get_training_data("a", text)
    assert message in caught.value.message
    (built.root / "labels.sql").write_text(text)
    assert message in refusal(built, "training-set", "--features", "a", "--labels", "labels.sql", "--out", "o.parquet")


def test_a_statement_that_writes_below_a_select(built: Small) -> None:
    text = "WITH w AS (INSERT INTO t VALUES (1) RETURNING k) SELECT k, now()::TIMESTAMP AS label_time FROM w"
    with pytest.raises(RetrievalError) as caught:
        built.forge.get_training_data("a", text)
    said = ("are not one SELECT that only reads: Side-effecting CTEs", "A CTE needs a SELECT")  # DuckDB 2, 1
    assert any(words in caught.value.message for words in said)


@pytest.mark.parametrize(
    "text",
    [
        "FROM 'labels.csv'; -- all of them;",
        "WITH l AS (FROM read_csv('labels.csv')) SELECT * FROM l UNION ALL BY NAME SELECT * FROM l WHERE k < 0",
        "SELECT * FROM features.a_asof('labels')",
        "SELECT k, t + INTERVAL 1 DAY AS label_time FROM features.a",
        "(SELECT unnest([1]) AS k, TIMESTAMP '2024-01-02' AS label_time)",
        "SELECT " + " + ".join(["0"] * 500) + " + 1 AS k, TIMESTAMP '2024-01-02' AS label_time",
        "VALUES (1, TIMESTAMP '2024-01-02')",
    ],
)
def test_label_sql_that_only_reads(built: Small, text: str) -> None:
    keyed = text.replace("VALUES", "SELECT col0 AS k, col1 AS label_time FROM (VALUES") + ")" * text.startswith(
        "VALUES"
    )
    table = built.forge.get_training_data("a:x", keyed, full_names=True)
    assert table["a__x"].to_pylist() == [5]


VALUES = {
    "known_as_of": (["training-set", "--known-as-of", SCRIPT], 1, "is neither a label column nor an instant"),
    "explain --key": (["explain", "a", "--key", QUOTED, "--at", "2024-01-02"], 2, "the key or request does not fit"),
    "explain --at": (["explain", "a", "--key", "1", "--at", SCRIPT], 2, "1=1); COPY"),
    "show --key": (["show", "a", "--key", f"k={QUOTED}"], 2, "the key does not fit"),
    "a reference": (["show", f'a:x"; {COPY}; --'], 2, "has no column"),
    "a version": (["show", f"a@1; {COPY}"], 2, "is not a version"),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_on_the_command_line(built: Small, case: str) -> None:
    arguments, code, message = VALUES[case]
    if arguments[0] == "training-set":
        labels = "SELECT 1 AS k, TIMESTAMP '2024-01-02' AS label_time"
        arguments = [*arguments, "--features", "a", "--labels", labels, "--out", "o.parquet"]
    assert message in refusal(built, *arguments, code=code)


def test_keys_of_a_feature_set(built: Small) -> None:
    labels = "SELECT 1 AS k, TIMESTAMP '2024-01-02' AS label_time"
    said = refusal(built, "training-set", "--features", "s", "--labels", labels, "--out", "o.parquet")
    assert "'); COPY" in said


# -- conditions


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("x > 0 -- so it is", "x > 0"),
        ("x BETWEEN 1 AND 2 OR s = 'it''s; )'", "x BETWEEN 1 AND 2 OR s = 'it''s; )'"),
        ("s IN ($$;)$$)", "s IN (';)')"),
        ("[v for v in l if v > 1] = []", "[v FOR v IN l IF v > 1] = []"),
        ("x IN (SELECT unnest([1, 2]))", "x IN (SELECT UNNEST([1, 2]))"),
        ("(SELECT max(v) FROM unnest(l) u(v)) > 1", "(SELECT MAX(v) FROM UNNEST(l) AS u(v)) > 1"),
        ("t <= now()", "t <= NOW()"),
        (" + ".join(["x"] * 900) + " > 0", " + ".join(["x"] * 900) + " > 0"),
    ],
)
def test_a_condition_is_made_again(text: str, made: str) -> None:
    assert condition(text, allowed=CLOCK) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this is not one expression"),
        ("x, y", "this is not one expression"),
        ("x AS y", "this is not one expression"),
        ("*", "this is not one expression"),
        ("TRUE) FROM t --", "a closing bracket without an opening one"),
        ("x > 0 /* and", "SQL syntax: /* is never closed"),
        ("x > 'a", "SQL syntax: ' is never closed"),
        ("x > $1", "$1 is a parameter"),
        ("x > ?", "? is a parameter"),
        ("count(*) > 1", "COUNT(*): a condition sees its own row only"),
        ("row_number() OVER () = 1", "ROW_NUMBER() OVER (): a condition sees its own row only"),
        ("x IN (FROM other)", "other in FROM: a condition sees its own row only"),
        ("random() < 0.5", "RANDOM() is not the same in every run"),
        ("getenv('HOME') = ''", "GETENV('HOME') is not the same in every run"),
        ("s ~ 'a'", "mlforge cannot carry this expression: s ~ 'a'"),
        ("abs(" * 700 + "x" + ")" * 700, "this SQL is nested too deeply"),
    ],
)
def test_what_is_no_condition(text: str, message: str) -> None:
    with pytest.raises(FeatureError) as caught:
        condition(text)
    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_checks_that_never_went_through_a_file() -> None:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE v AS SELECT 1 AS x")
        check = Check(name="sql", args={"expression": SCRIPT})
        with pytest.raises(FeatureError, match="a closing bracket without an opening one"):
            run_checks(con, "a", [check], "v", columns={"x": "INTEGER"}, keys=[], timestamp=None)


# -- types


@pytest.mark.parametrize(
    "text",
    [
        "INT",
        " double ",
        "DECIMAL(10, 2)[]",
        "TIMESTAMP WITH TIME ZONE",
        "TIMESTAMP(6) WITH TIME ZONE",
        "INT[3][]",
        'STRUCT("a b" INTEGER, c VARCHAR[])',
        "MAP(VARCHAR, STRUCT(a INT)[])",
        "ENUM('a', 'b;)')",
        "DOUBLE PRECISION",
    ],
)
def test_one_type(text: str) -> None:
    assert is_type(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TYPE,
        "INT; DROP",
        "INT -- x",
        "INT DEFAULT 1",
        "INTEGER PRIMARY KEY",
        "VARCHAR COLLATE NOCASE",
        "INT, INT",
        "STRUCT(a)",
        "STRUCT(a INT",
        "STRUCT(a INT,)",
        "INT]",
        "INT[",
        "INT[a]",
        "(INT)",
        "x.y",
        "ENUM('\\')",
        "'INT'",
        "VARCHAR(read_text('x'))",
        "STRUCT(" * 5000,
    ],
)
def test_no_type(text: str) -> None:
    assert not is_type(text)
