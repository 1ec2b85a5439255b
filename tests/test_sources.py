"""Sources of every kind, and the types of their keys and times."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import uuid
from typing import TYPE_CHECKING

import duckdb
import pytest

from mlforge.errors import FeatureError, GrammarError, MlforgeError, ProjectError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

ROWS = "SELECT * FROM (VALUES (1, TIMESTAMP '2024-01-01', 10), (2, TIMESTAMP '2024-01-02', 20)) v(k, t, x)"
PLAIN = '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}\n'
FIRST, SECOND = dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2)


def config(source: str, more: str = "") -> str:
    return f"name: small\nsources:\n  ev: {source}\n{more}entities:\n  user: {{key: k}}\n"


@pytest.fixture
def small(tmp_path: Path) -> Small:
    small = Small(tmp_path)
    small.feature("f", PLAIN)
    return small


FILES = {
    "parquet": ("data/ev.parquet", "", "{path: data/ev.parquet}"),
    "csv": ("data/ev.csv", "", "{path: data/ev.csv}"),
    "csv.gz": ("data/ev.csv.gz", "FORMAT csv, COMPRESSION gzip", "{path: data/ev.csv.gz}"),
    "tsv": ("data/ev.tsv", "FORMAT csv, DELIM '\t'", "{path: data/ev.tsv}"),
    "csv options": (
        "data/ev.txt",
        "FORMAT csv, DELIM ';', HEADER false",
        "{path: data/ev.txt, format: csv, options: {delim: ;, header: false, columns: "
        "{k: INTEGER, t: TIMESTAMP, x: INTEGER}}}",
    ),
    "json lines": ("data/ev.jsonl", "FORMAT json", "{path: data/ev.jsonl}"),
    "json": ("data/ev.json", "FORMAT json, ARRAY true", "{path: data/ev.json}"),
    "glob": ("data/day=1/ev.parquet", "", "{path: 'data/*/ev.parquet'}"),
    "deep glob": ("data/a/b/ev.parquet", "", "{path: 'data/**/*.parquet'}"),
    "directory": ("data/ev/one.parquet", "", "{path: data/ev}"),
    "directory of csv": ("data/ev/one.csv", "", "{path: data/ev, format: csv}"),
    "space and quote": ("data/it's here/é v.parquet", "", '{path: "data/it\'s here/é v.parquet"}'),
}


@pytest.mark.parametrize("kind", FILES)
def test_files(small: Small, kind: str) -> None:
    path, options, source = FILES[kind]
    if "'" in path:
        small.write("data/plain.parquet", ROWS)
        (small.root / path).parent.mkdir()
        (small.root / "data/plain.parquet").rename(small.root / path)
    else:
        small.write(path, ROWS, options)
    small.config(config(source))
    small.good()
    assert small.view("f") == [(1, FIRST, 10), (2, SECOND, 20)]
    assert small.good() == {}


def test_files_that_come_and_go(small: Small) -> None:
    small.config(config("{path: 'data/*.parquet'}"))
    small.write("data/a.parquet", ROWS)
    small.good()
    small.write("data/b.parquet", "SELECT 3 AS k, TIMESTAMP '2024-01-01' AS t, 30 AS x")
    [step] = small.forge.plan().steps
    assert step.reasons == ("source ev: 1 file added",)
    assert small.good() == {"f": "1.0.1"}
    assert small.view("f") == [(1, FIRST, 10), (2, SECOND, 20), (3, FIRST, 30)]
    (small.root / "data/a.parquet").unlink()
    small.good()
    assert small.view("f") == [(3, FIRST, 30)]


def test_hive_partitions(small: Small) -> None:
    small.write("data/ev", f"SELECT *, x // 10 AS part FROM ({ROWS})", "FORMAT parquet, PARTITION_BY (part)")
    small.config(config("{path: data/ev, options: {hive_partitioning: true}}"))
    small.feature("f", PLAIN.replace("x FROM", "x, part FROM"))
    small.good()
    assert small.view("f") == [(1, FIRST, 10, 1), (2, SECOND, 20, 2)]


def test_columns_that_some_files_lack(small: Small) -> None:
    small.write("data/a.parquet", ROWS)
    small.write("data/b.parquet", "SELECT 3 AS k, TIMESTAMP '2024-01-01' AS t")
    small.config(config("{path: 'data/*.parquet', options: {union_by_name: true}}"))
    small.good()
    assert small.view("f")[-1] == (3, FIRST, None)


def other(root: Path, statement: str = f"CREATE OR REPLACE TABLE main.ev AS {ROWS}") -> None:
    with duckdb.connect(str(root / "data/other.duckdb")) as con:
        con.execute(statement)


def test_a_table_of_another_duckdb_file(small: Small) -> None:
    other(small.root)
    small.config(config("{path: data/other.duckdb, table: main.ev}"))
    small.good()
    assert small.view("f") == [(1, FIRST, 10), (2, SECOND, 20)]
    other(small.root, "CHECKPOINT")
    assert small.good() == {}
    other(small.root, "UPDATE ev SET x = 11 WHERE k = 1")
    assert small.good() == {"f": "1.0.1"}
    assert small.view("f") == [(1, FIRST, 11), (2, SECOND, 20)]


def test_a_table_that_the_other_file_lacks(small: Small) -> None:
    other(small.root)
    small.config(config("{path: data/other.duckdb, table: main.events}"))
    with pytest.raises(ProjectError, match=r"mlforge\.yaml:3: source 'ev' cannot be read: .*events"):
        small.build()


def test_a_table_of_the_catalog_itself(small: Small) -> None:
    with duckdb.connect(str(small.catalog), config={"storage_compatibility_version": "v1.4.0"}) as con:
        con.execute(f"CREATE SCHEMA raw; CREATE TABLE raw.orders AS {ROWS}")
    small.config(config("{table: main.raw.orders}"))
    assert small.good() == {"f": "1.0.0"}
    assert small.view("f") == [(1, FIRST, 10), (2, SECOND, 20)]
    assert small.sql("SELECT count(*) FROM raw.orders") == [(2,)]
    assert small.good() == {}
    with duckdb.connect(str(small.catalog)) as con:
        con.execute("INSERT INTO raw.orders VALUES (3, '2024-01-01', 30)")
    assert small.good() == {"f": "1.0.1"}
    assert small.view("f")[-1] == (3, FIRST, 30)


def test_a_table_that_the_catalog_lacks(small: Small) -> None:
    small.config(config("{table: raw.orders}"))
    with pytest.raises(ProjectError, match=r"mlforge\.yaml:3: source 'ev' cannot be read: .*orders"):
        small.build()


BROKEN = {
    "missing": (None, "no parquet file at data/ev.parquet"),
    "empty file": (b"", "cannot be read"),
    "not parquet": (b"k,t,x\n1,2024-01-01,2\n" * 10, "cannot be read"),
    "cut": (b"PAR1" + b"\0" * 60, "cannot be read"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_files_that_cannot_be_read(small: Small, what: str) -> None:
    content, message = BROKEN[what]
    if content is not None:
        (small.root / "data/ev.parquet").write_bytes(content)
    with pytest.raises(ProjectError, match=message) as caught:
        small.build()
    assert (caught.value.where.file, caught.value.where.line) == ("mlforge.yaml", 3)


def test_a_file_that_is_broken_in_the_middle(small: Small) -> None:
    """Its footer is fine, so it binds; the rows cannot be read."""
    path = small.write(
        "data/ev.parquet", "SELECT range AS k, TIMESTAMP '2024-01-01' AS t, hash(range) AS x FROM range(50_000)"
    )
    small.good()
    content = bytearray(path.read_bytes())
    content[1000:20_000] = os.urandom(19_000)
    path.write_bytes(content)
    built = small.build()
    assert built.failed
    assert built.features[0].error.startswith("features/f.sql: f: ")
    assert small.sql("SELECT count(*) FROM features.f") == [(50_000,)]


def test_a_source_without_rows(small: Small) -> None:
    small.write("data/ev.parquet", f"{ROWS} WHERE false")
    small.feature(
        "w",
        '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, SUM(x) OVER last_7d AS s, COUNT(*) OVER ever AS n\nFROM {{ source("ev") }}\n',
    )
    small.feature(
        "s",
        '{{ config(entity="user", timestamp="t", interval="1d") }}\nSELECT k, t, AVG(x::DOUBLE) OVER last_7d AS a FROM {{ source("ev") }}\n',
    )
    small.feature("one", '{{ config(entity="user") }}\nSELECT k, MAX(x) AS m FROM {{ source("ev") }} GROUP BY k\n')
    small.good()
    assert small.ask(["f", "w", "s", "one"], "(1, '2024-01-05')") == [(None, None, 0, None, None)]
    small.write("data/ev.parquet", ROWS)
    small.good()
    assert small.ask(["f", "w", "s", "one"], "(1, '2024-01-05')") == [(10, 10, 1, 10.0, 10)]


def test_a_csv_without_rows_or_header(small: Small) -> None:
    (small.root / "data/ev.csv").write_text("")
    small.config(config("{path: data/ev.csv}"))
    with pytest.raises(MlforgeError, match=r"mlforge\.yaml:3: source 'ev': data/ev\.csv holds nothing"):
        small.build()


VERSIONED = "{path: data/ev.parquet, unique_key: id, loaded_at: seen, deleted: \"op = 'D'\"}"


def test_unique_key_loaded_at_and_deleted(small: Small) -> None:
    small.write(
        "data/ev.parquet",
        """SELECT * FROM (VALUES
        (1, 1, TIMESTAMP '2024-01-01', 10, TIMESTAMP '2024-02-01', 'I'),
        (1, 1, TIMESTAMP '2024-01-01', 11, TIMESTAMP '2024-02-02', 'U'),
        (2, 1, TIMESTAMP '2024-01-02', 20, TIMESTAMP '2024-02-01', 'I'),
        (2, 1, TIMESTAMP '2024-01-02', 20, TIMESTAMP '2024-02-03', 'D'),
        (3, 2, TIMESTAMP '2024-01-01', 30, TIMESTAMP '2024-02-01', 'D'),
        (3, 2, TIMESTAMP '2024-01-01', 31, TIMESTAMP '2024-02-02', NULL),
        (4, 2, TIMESTAMP '2024-01-03', 40, NULL, 'I')) v(id, k, t, x, seen, op)""",
    )
    small.config(config(VERSIONED))
    small.good()
    assert small.view("f") == [(1, FIRST, 11), (2, FIRST, 31), (2, dt.datetime(2024, 1, 3), 40)]


THIRD = dt.datetime(2024, 1, 3)
UNKEYED = """
    (1, 'a', 1, TIMESTAMP '2024-01-01', 10, TIMESTAMP '2024-02-01', 'I'),
    (1, 'a', 1, TIMESTAMP '2024-01-01', 11, TIMESTAMP '2024-02-02', 'U'),
    (NULL, 'a', 1, TIMESTAMP '2024-01-02', 20, TIMESTAMP '2024-02-01', 'I'),
    (NULL, 'a', 2, TIMESTAMP '2024-01-01', 30, TIMESTAMP '2024-02-01', 'I'),
    (NULL, 'a', 2, TIMESTAMP '2024-01-01', 30, TIMESTAMP '2024-02-05', 'D'),
    (1, NULL, 2, TIMESTAMP '2024-01-02', 40, TIMESTAMP '2024-02-01', 'I'),
    (NULL, NULL, 2, TIMESTAMP '2024-01-03', 50, TIMESTAMP '2024-02-01', NULL)"""


@pytest.mark.parametrize(
    ("key", "said", "rows"),
    [
        # The row (1, NULL) is an older state of the one with the key 1.
        (
            "id",
            "3 rows have no unique_key (id is NULL)",
            [(1, FIRST, 11), (1, SECOND, 20), (2, FIRST, 30), (2, THIRD, 50)],
        ),
        (
            "[id, part]",
            "4 rows have no unique_key (id, part is NULL)",
            [(1, FIRST, 11), (1, SECOND, 20), (2, FIRST, 30), (2, SECOND, 40), (2, THIRD, 50)],
        ),
    ],
)
def test_rows_without_a_unique_key_all_stay(
    small: Small, key: str, said: str, rows: list[tuple[int, dt.datetime, int]]
) -> None:
    """NULLs are not equal, and a tombstone without a key deletes nothing."""
    small.write("data/ev.parquet", f"SELECT * FROM (VALUES {UNKEYED}) v(id, part, k, t, x, seen, op)")
    small.config(config(VERSIONED.replace("unique_key: id", f"unique_key: {key}")))
    built = small.build()
    assert built.warnings == (("source ev", f"{said}: NULLs are not equal, so each stays"),)
    assert small.sql("SELECT warnings FROM mlforge.builds") == [([f"source ev: {built.warnings[0][1]}"],)]
    assert small.view("f") == rows


def test_of_rows_that_tie_the_one_known_last_counts(small: Small) -> None:
    small.write(
        "data/ev.parquet",
        """SELECT * FROM (VALUES
        (1, TIMESTAMP '2024-01-01', 9, TIMESTAMP '2024-02-01'), (1, TIMESTAMP '2024-01-01', 1, TIMESTAMP '2024-02-02'),
        (2, TIMESTAMP '2024-01-01', 5, TIMESTAMP '2024-02-02'), (2, TIMESTAMP '2024-01-01', 7, TIMESTAMP '2024-02-02'),
        (3, TIMESTAMP '2024-01-01', 5, TIMESTAMP '2024-02-02'), (3, TIMESTAMP '2024-01-01', 7, NULL)
        ) v(k, t, x, seen)""",
    )
    small.config(config("{path: data/ev.parquet, loaded_at: seen}"))
    small.feature(
        "w",
        '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x AS last_x, (LIST(x) OVER ever)[-9:] AS xs FROM {{ source("ev") }}\n',
    )
    small.good()
    assert small.ask(["f", "w"], "(1, '2024-02-01'), (2, '2024-02-01'), (3, '2024-02-01')") == [
        (1, 1, [9, 1]),
        (7, 7, [5, 7]),
        (5, 5, [7, 5]),
    ]


def test_a_setting_that_names_no_column(small: Small) -> None:
    small.write("data/ev.parquet", ROWS)
    small.config(config("{path: data/ev.parquet, loaded_at: seen}"))
    with pytest.raises(ProjectError, match="source 'ev' has no column 'seen', its loaded_at"):
        small.build()
    small.config(config("{path: data/ev.parquet, loaded_at: t, unique_key: id}"))
    with pytest.raises(ProjectError, match=r"source 'ev' cannot be read: .*id"):
        small.build()
    small.config(config("{path: data/ev.parquet, deleted: gone}"))
    with pytest.raises(ProjectError, match=r"source 'ev' cannot be read: .*gone"):
        small.build()


def test_a_path_that_changes_is_not_a_change_of_meaning(small: Small) -> None:
    small.write("data/ev.parquet", ROWS)
    small.good()
    (small.root / "data/ev.parquet").rename(small.root / "data/moved.parquet")
    small.config(config("{path: data/moved.parquet}"))
    assert set(small.good().values()) <= {"1.0.1"}


def test_parse_options_are_meaning(small: Small) -> None:
    small.write("data/ev.csv", ROWS)
    small.config(config("{path: data/ev.csv}"))
    small.good()
    small.config(config("{path: data/ev.csv, options: {nullstr: '20'}}"))
    assert small.good() == {"f": "2.0.0"}
    assert small.view("f")[-1] == (2, SECOND, None)


KEYS = {
    "VARCHAR": ("'a b''c'", "a b'c"),
    "TINYINT": ("-7", -7),
    "SMALLINT": ("7", 7),
    "INTEGER": ("7", 7),
    "BIGINT": ("9223372036854775807", 2**63 - 1),
    "UTINYINT": ("255", 255),
    "USMALLINT": ("65535", 65535),
    "UINTEGER": ("4294967295", 2**32 - 1),
    "UBIGINT": ("18446744073709551615", 2**64 - 1),
    "BOOLEAN": ("true", True),
    "DATE": ("'2024-02-29'", dt.date(2024, 2, 29)),
    "TIMESTAMP": ("'2024-02-29 01:02:03.000004'", dt.datetime(2024, 2, 29, 1, 2, 3, 4)),
    "DECIMAL(9,2)": ("'12.50'", decimal.Decimal("12.50")),
    "UUID": ("'6b29fc40-ca47-1067-b31d-00dd010662da'", uuid.UUID("6b29fc40-ca47-1067-b31d-00dd010662da")),
}
FORMS = {
    "f": PLAIN,
    "w": '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, COUNT(*) OVER ever AS n, x AS r FROM {{ source("ev") }}\n',
    "i": '{{ config(entity="user", timestamp="t", interval="1d") }}\nSELECT k, t, SUM(x) OVER ever AS s FROM {{ source("ev") }}\n',
    "one": '{{ config(entity="user") }}\nSELECT k, MAX(x) AS m FROM {{ source("ev") }} GROUP BY k\n',
}


@pytest.mark.parametrize("kind", KEYS)
def test_types_of_keys(small: Small, kind: str) -> None:
    text, value = KEYS[kind]
    for name, form in FORMS.items():
        small.feature(name, form)
    small.rows(
        f"{text}, '2024-01-01', 1",
        f"{text}, '2024-01-02', 2",
        "NULL, '2024-01-02', 3",
        columns=f"k {kind}, t TIMESTAMP, x INTEGER",
    )
    built = small.build()
    assert not built.failed
    assert {f.feature: f.nowhere for f in built.features} == dict.fromkeys(FORMS, 1)
    assert small.view("one") == [(value, 2)]
    labels = f"SELECT CAST({text} AS {kind}) AS k, TIMESTAMP '2024-01-05' AS label_time"
    got = small.forge.get_training_data(list(FORMS), labels)
    assert [got[n].to_pylist() for n in ("x", "n", "r", "s", "m")] == [[2], [2], [2], [3], [2]]
    small.rows(f"{text}, '2024-01-01', 5", columns=f"k {kind}, t TIMESTAMP, x INTEGER")
    assert set(small.good().values()) == {"1.0.1"}
    assert small.view("one") == [(value, 5)]


@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE", "INTEGER[]", "STRUCT(a INTEGER)", "INTERVAL", "BLOB", "TIME"])
def test_types_that_are_no_keys(small: Small, kind: str) -> None:
    small.rows(columns=f"k {kind}, t TIMESTAMP, x INTEGER")
    with pytest.raises(GrammarError, match=r"features/f\.sql:2: key 'k' has type ") as caught:
        small.build()
    assert "keys are text, integers, BOOLEAN, DATE, TIMESTAMP, DECIMAL or UUID" in caught.value.hint


TIMES = {
    "TIMESTAMP": ("'2024-01-01 00:00:00.000001'", dt.datetime(2024, 1, 1, microsecond=1)),
    "TIMESTAMP_S": ("'2024-01-01 00:00:01'", dt.datetime(2024, 1, 1, second=1)),
    "TIMESTAMP_MS": ("'2024-01-01 00:00:00.001'", dt.datetime(2024, 1, 1, microsecond=1000)),
    "TIMESTAMP_NS": ("'2024-01-01 00:00:00.000001999'", dt.datetime(2024, 1, 1, microsecond=1)),
    "before 1970": ("'1969-12-31 23:59:59.999999'", dt.datetime(1969, 12, 31, 23, 59, 59, 999999)),
    "TIMESTAMPTZ": ("'2024-01-01 09:00:00+09'", FIRST),
}


@pytest.mark.parametrize("kind", TIMES)
def test_types_of_times(small: Small, kind: str) -> None:
    text, value = TIMES[kind]
    kind = kind if kind.startswith("TIMESTAMP") else "TIMESTAMP"
    small.rows(f"1, {text}, 1", "2, NULL, 2", columns=f"k INTEGER, t {kind}, x INTEGER")
    small.feature("w", FORMS["w"])
    built = small.build()
    assert [f.nowhere for f in built.features] == [1, 1]
    assert small.view("f") == [(1, value, 1)]
    assert small.view("w") == [(1, value, 1, 1)]


def test_nanoseconds_before_1970_are_floored(small: Small) -> None:
    small.rows("1, '1969-12-31 23:59:59.999998001', 1", columns="k INTEGER, t TIMESTAMP_NS, x INTEGER")
    small.good()
    assert small.view("f") == [(1, dt.datetime(1969, 12, 31, 23, 59, 59, 999998), 1)]


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMPTZ", "DATE"])
def test_infinite_times_belong_to_nothing(small: Small, kind: str) -> None:
    small.rows("1, 'infinity', 1", "1, '-infinity', 2", "1, '2024-01-01', 3", columns=f"k INTEGER, t {kind}, x INTEGER")
    built = small.build()
    assert built.features[0].nowhere == 2
    assert small.view("f") == [(1, FIRST, 3)]


def test_a_date_is_known_when_it_is_over(small: Small) -> None:
    small.rows("1, '2024-01-01', 1", columns="k INTEGER, t DATE, x INTEGER")
    small.good()
    assert small.ask(["f"], "(1, '2024-01-01 23:59'), (1, '2024-01-02')") == [(None,), (1,)]


FORMAT = PLAIN.replace('"t")', '"t", timestamp_format="%d/%m/%Y %H:%M")')


def test_text_times_with_a_format(small: Small) -> None:
    small.rows("1, '02/01/2024 00:00', 1", "2, NULL, 2", columns="k INTEGER, t VARCHAR, x INTEGER")
    small.feature("f", FORMAT)
    small.feature("w", FORMS["w"].replace('"t")', '"t", timestamp_format="%d/%m/%Y %H:%M")'))
    built = small.build()
    assert not built.failed
    assert [f.nowhere for f in built.features] == [1, 1]
    assert small.view("f") == [(1, SECOND, 1)]
    assert small.view("w") == [(1, SECOND, 1, 1)]


def test_text_that_does_not_have_the_format(small: Small) -> None:
    small.rows("1, '2024-01-02', 1", columns="k INTEGER, t VARCHAR, x INTEGER")
    small.feature("f", FORMAT)
    built = small.build()
    assert built.failed
    assert 'Could not parse string "2024-01-02"' in built.features[0].error


@pytest.mark.parametrize("form", FORMS)
def test_text_times_without_a_format_are_asked_about(small: Small, form: str) -> None:
    if form == "one":
        return
    small.rows("1, '01/02/2024', 1", columns="k INTEGER, t VARCHAR, x INTEGER")
    small.feature("f", FORMS[form])
    with pytest.raises(FeatureError, match=r"features/f\.sql:2: timestamp 't' is text") as caught:
        small.build()
    assert "timestamp_format" in caught.value.hint


@pytest.mark.parametrize("kind", ["INTEGER", "BIGINT", "UBIGINT", "DOUBLE", "DECIMAL(18,0)"])
def test_numbers_are_no_times(small: Small, kind: str) -> None:
    small.rows("1, 1704067200, 1", columns=f"k INTEGER, t {kind}, x INTEGER")
    with pytest.raises(FeatureError, match=r"features/f\.sql:2: timestamp 't' is ") as caught:
        small.build()
    assert "make_timestamp" in caught.value.hint


def test_other_types_are_no_times(small: Small) -> None:
    small.rows("1, '10:00', 1", columns="k INTEGER, t TIME, x INTEGER")
    with pytest.raises(FeatureError, match=r"features/f\.sql:2: timestamp 't' is TIME"):
        small.build()


def test_a_format_for_what_is_no_text(small: Small) -> None:
    small.rows("1, '2024-01-01', 1", columns="k INTEGER, t TIMESTAMP, x INTEGER")
    small.feature("f", FORMAT)
    with pytest.raises(FeatureError, match=r"timestamp 't' is TIMESTAMP and has no use for timestamp_format"):
        small.build()


def test_a_sample_of_a_source_with_a_unique_key(small: Small) -> None:
    """Of the rows that exist, not of their versions."""
    small.write(
        "data/ev.parquet",
        "SELECT range // 2 AS id, id AS k, TIMESTAMP '2024-01-01' AS t, range % 2 AS x, "
        "make_timestamp(range) AS seen FROM range(1000)",
    )
    small.config(config("{path: data/ev.parquet, unique_key: id, loaded_at: seen, deleted: 'id >= 400'}"))
    built = small.build(sample=0.5)
    assert not built.failed
    assert 100 < built.features[0].rows < 300
    small.good()
    assert small.sql("SELECT count(*), min(x) FROM features.f") == [(400, 1)]


@pytest.mark.parametrize("kind", ["BIGINT", "VARCHAR"])
def test_loaded_at_is_an_instant(small: Small, kind: str) -> None:
    small.rows("1, '2024-01-01', 1, '20240101'", columns=f"k BIGINT, t TIMESTAMP, x BIGINT, seen {kind}")
    small.config(config("{path: data/ev.parquet, loaded_at: seen}"))
    with pytest.raises(
        ProjectError, match=rf"mlforge\.yaml:3: source 'ev': loaded_at 'seen' is {kind}, not an instant"
    ):
        small.build()
