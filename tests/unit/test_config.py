"""mlforge.yaml: what is read, and every refusal with its line and hint."""

from __future__ import annotations

import textwrap
from pathlib import Path

import duckdb
import jsonschema
import pytest
import yaml

from mlforge.errors import MlforgeError, ProjectError, UsageError
from mlforge.model import Duration, Entity, FeatureRef, FeatureSet, Keep, Pin, Source, WarehouseConfig
from mlforge.project.config import Config, json_schema, parse_ref, read_config
from mlforge.project.environ import Environ, read_dotenv
from mlforge.project.settings import OPTIONS, settings_docs
from mlforge.sql.templates import literal, template_root

DOCS = Path(__file__).parents[2] / "docs"

FLIGHTS = """\
name: flights
sources:
  flights: {path: data/flights.parquet, timestamp: time_hour}      # optional per source
  weather: {path: "s3://bucket/weather/*.parquet"}
  orders:  {table: main.raw.orders}                                # a table of the warehouse itself
entities:
  plane: {key: tailnum}
  route: {key: [origin, dest]}
  user:  {key: user_id, from: [first, last, dob]}                  # surrogate key, 3.6
feature_sets:
  delay_v1: [plane_delays, "origin_weather:wind_speed,visib", "route_stats@1",
             {feature: airport_weather, keys: {airport: dest}, prefix: dest_}]
default_profile: dev
profiles:
  dev:  {warehouse: {kind: duckdb, path: catalog.duckdb}, online: {kind: sqlite, path: online.db}}
  prod: {warehouse: {kind: databricks, host: "${DATABRICKS_HOST}", http_path: "${DATABRICKS_HTTP_PATH}",
         catalog: main, schema: features}, online: {kind: redis, url: "${REDIS_URL}"}}
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFORGE_PROFILE", raising=False)
    monkeypatch.setenv("TOKEN", "hidden-value")


def read(root: Path, text: str, profile: str | None = None, dotenv: str | None = None) -> Config:
    (root / "mlforge.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
    if dotenv is not None:
        (root / ".env").write_text(textwrap.dedent(dotenv), encoding="utf-8")
    return read_config(root, profile)


def refused(root: Path, text: str, **kwargs: str | None) -> MlforgeError:
    with pytest.raises(MlforgeError) as caught:
        read(root, text, **kwargs)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def test_the_design_example_is_read(tmp_path: Path) -> None:
    config = read(tmp_path, FLIGHTS)
    assert (config.name, config.profile, config.strict, config.keep) == ("flights", "dev", False, Keep())
    assert config.warehouse == WarehouseConfig(path=str(tmp_path / "catalog.duckdb"))
    assert config.sources == {
        "flights": Source(
            name="flights",
            path=str(tmp_path / "data/flights.parquet"),
            format="parquet",
            timestamp="time_hour",
            line=3,
        ),
        "weather": Source(name="weather", path="s3://bucket/weather/*.parquet", format="parquet", line=4),
        "orders": Source(name="orders", table="main.raw.orders", format="table", line=5),
    }
    assert config.entities == {
        "plane": Entity(name="plane", keys=("tailnum",), line=7),
        "route": Entity(name="route", keys=("origin", "dest"), line=8),
        "user": Entity(name="user", keys=("user_id",), parts=("first", "last", "dob"), line=9),
    }
    assert config.feature_sets["delay_v1"] == FeatureSet(
        name="delay_v1",
        members=(
            FeatureRef(name="plane_delays"),
            FeatureRef(name="origin_weather", columns=("wind_speed", "visib")),
            FeatureRef(name="route_stats", version=Pin(1)),
            FeatureRef(name="airport_weather", keys={"airport": "dest"}, prefix="dest_"),
        ),
        line=11,
    )


def test_another_warehouse_hurts_only_its_own_profile(tmp_path: Path) -> None:
    assert read(tmp_path, FLIGHTS, "dev").profile == "dev"
    error = refused(tmp_path, FLIGHTS, profile="prod")
    assert isinstance(error, ProjectError)
    assert str(error.where) == "mlforge.yaml:16"
    assert error.message == "profile 'prod' uses the warehouse 'databricks', which this version of mlforge cannot open"
    assert error.hint
    assert "--profile" in error.hint


MINIMAL = "name: p\n"
BAD = [
    ("", 1, "mlforge.yaml has no 'name'", "Name of the project."),
    ("- a\n", 1, "mlforge.yaml must be a mapping, not a list", None),
    ("name: 3\n", 1, "'name' of mlforge.yaml must be text, not a number", "put it in quotes"),
    ("name: [p]\n", 1, "'name' of mlforge.yaml must be text, not a list", None),
    ("name: ''\n", 1, "'name' of mlforge.yaml is empty", None),
    ("name:\n", 1, "mlforge.yaml has no 'name'", "Name of the project."),
    ("name: p\nsurces: {}\n", 2, "mlforge.yaml has no setting 'surces'", "did you mean 'sources'?"),
    ("name: p\nname: q\n", 2, "'name' stands twice: first in line 1", None),
    ("name: p\nvars: {a: 1,\n  a: 2}\n", 3, "'a' stands twice: first in line 2", None),
    ("name: p\nsources:\n  yes: {path: a.csv}\n", 3, "a key must be text, and 'yes' is not", "put it in quotes"),
    ("name: p\nsources:\n  ? [a]\n  : {path: a.csv}\n", 3, "a key must be text, and this is not", "put it in quotes"),
    ("name: p\nvars:\n  d: 2024-02-31\n", 3, "'2024-02-31' cannot be read as a timestamp", "quotes"),
    ("name: p\nvars:\n  d: !!bool x\n", 3, "'x' cannot be read as a bool", "quotes"),
    ("name: p\nvars: &v\n  d: *v\n", 2, "an alias here holds itself", None),
    ("name: p\nvars: {a: !!python/name:os.system x}\n", 2, "this is not YAML: could not determine a constructor", None),
    ("name: p\n  x: [1\n", 2, "this is not YAML: mapping values are not allowed", None),
    ("name: p\nvars: {a: [1}\n", 2, "this is not YAML: ", None),
    ("name: p\nvars:\n\ta: 1\n", 3, "this is not YAML: ", "spaces"),
    ("name: p\n---\nname: q\n", 2, "this is not YAML: expected a single document", None),
    ("name: p\nvars:\n  a: \x07\n", 3, "this is not YAML: ", None),
    ("name: p\nstrict: 'yes'\n", 2, "'strict' of mlforge.yaml must be true or false, not text", None),
    ("name: p\nsources: [a]\n", 2, "'sources' must be a mapping, not a list", None),
    ("name: p\nsources:\n  a: a.csv\n", 3, "source 'a' must be a mapping, not text", None),
    ("name: p\nsources:\n  a-b: {path: a.csv}\n", 3, "'a-b' cannot be a name", "letters"),
    (
        "name: p\nsources:\n  _mlforge_a: {path: a.csv}\n",
        3,
        "'_mlforge_a' cannot be a name: _mlforge is reserved",
        None,
    ),
    ("name: p\nsources:\n  a: {path: a.csv}\n  A: {path: a.csv}\n", 4, "'a' and 'A' differ only in case", None),
    ("name: p\nsources:\n  a: {}\n", 3, "source 'a' has neither path nor table", "path: data/rows.parquet"),
    ("name: p\nsources:\n  a:\n    pth: a.csv\n", 4, "source 'a' has no setting 'pth'", "did you mean 'path'?"),
    ("name: p\nsources:\n  a: {path: data/a}\n", 3, "source 'a': the name of 'data/a' does not tell", "add format"),
    ("name: p\nsources:\n  a: {path: a.csv, format: cvs}\n", 3, "'format' of source 'a' cannot be 'cvs'", "'csv'?"),
    ("name: p\nsources:\n  a: {table: t, format: csv}\n", 3, "source 'a' is a table and has no format", None),
    (
        "name: p\nsources:\n  a: {path: a.csv, table: t}\n",
        3,
        "source 'a' has a table, but its path is csv",
        "a table needs",
    ),
    ("name: p\nsources:\n  a: {path: a.db}\n", 3, "source 'a' is a DuckDB file without a table", "add table"),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    max_age: 2 hours\n",
        5,
        "max_age of source 'a': '2 hours' is not a duration",
        None,
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    warn_age: 0s\n",
        5,
        "warn_age of source 'a' must be longer than nothing",
        None,
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    max_age: 1d\n    warn_age: 24h\n",
        6,
        "source 'a' warns at an age of 24h, and fails at 1d already",
        "warn_age is the shorter one",
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    unique_key: k\n",
        5,
        "source 'a' has unique_key but no loaded_at",
        "name",
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    unique_key: []\n",
        5,
        "'unique_key' of source 'a' is an empty list",
        None,
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    unique_key: [k, 1]\n",
        5,
        "an entry of 'unique_key' of source 'a'",
        "quotes",
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    options: {delimiter: x}\n",
        5,
        "csv sources have no option 'delimiter'",
        None,
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    options: {heder: x}\n",
        5,
        "csv sources have no option 'heder'",
        "'header'?",
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.pq\n    options: {delim: x}\n",
        5,
        "parquet sources have no option 'delim'",
        "known",
    ),
    (
        "name: p\nsources:\n  a:\n    table: t\n    options: {delim: x}\n",
        5,
        "table sources have no option 'delim'",
        "only files",
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    options: {skip: x}\n",
        5,
        "option 'skip' of source 'a' must be a whole",
        None,
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    options: {delim: }\n",
        5,
        "option 'delim' of source 'a' is empty",
        None,
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    options:\n      ignore_errors: true\n",
        6,
        "cannot use the option",
        "vanish",
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    options: {columns: [a]}\n",
        5,
        "must be a mapping, not a list",
        None,
    ),
    (
        "name: p\nsources:\n  a:\n    path: a.csv\n    options: {columns: {a: 1}}\n",
        5,
        "must be text, not a number",
        None,
    ),
    ("name: p\nentities:\n  u: user_id\n", 3, "entity 'u' must be a mapping, not text", "write u: {key: column}"),
    ("name: p\nentities:\n  u: {keys: a}\n", 3, "entity 'u' has no setting 'keys'", "did you mean 'key'?"),
    ("name: p\nentities:\n  u: {description: x}\n", 3, "entity 'u' has no 'key'", "Key column"),
    ("name: p\nentities:\n  u: {key: [a, b], from: [c]}\n", 3, "entity 'u' has 'from' and 2 keys", "one key column"),
    ("name: p\nentities:\n  u: {key: [a, A]}\n", 3, "'key' of entity 'u' names 'A' twice", None),
    ("name: p\nentities:\n  u: {key: a, from: [b, b]}\n", 3, "'from' of entity 'u' names 'b' twice", None),
    ("name: p\nentities:\n  u: {key: 'a b'}\n", 3, "'a b' cannot be a name", "letters"),
    ("name: p\nfeature_sets:\n  s: f\n", 3, "feature set 's' must be a list of features, not text", None),
    ("name: p\nfeature_sets:\n  s: []\n", 3, "feature set 's' is empty", "list features"),
    ("name: p\nfeature_sets:\n  s:\n    - f\n    - g@x\n", 5, "'x' is not a version", "name@2"),
    ("name: p\nfeature_sets:\n  s:\n    - f\n    - 'g h'\n", 5, "'g h' is not a reference to a feature", "name@2"),
    ("name: p\nfeature_sets:\n  s:\n    - 3\n", 4, "an entry of feature set 's' must be text, not a number", "quotes"),
    ("name: p\nfeature_sets:\n  s:\n    -\n", 4, "'' is not a reference to a feature", "name@2"),
    (
        "name: p\nfeature_sets:\n  s:\n    - {featur: f}\n",
        4,
        "an entry of feature set 's' has no setting 'featur'",
        "feature",
    ),
    (
        "name: p\nfeature_sets:\n  s:\n    - {feature: f@1,\n       version: 2}\n",
        5,
        "says its version twice",
        "'version'",
    ),
    ("name: p\nfeature_sets:\n  s:\n    - {feature: f, version: 2.1}\n", 4, "must be text, not a number", "quotes"),
    ("name: p\nfeature_sets:\n  s: {features: f}\n", 3, "feature set 's' must be a list of features, not text", None),
    ("name: p\nkeep: {patches: 0}\n", 2, "'patches' of 'keep' must be at least 1", None),
    ("name: p\nkeep: {days: many}\n", 2, "'days' of 'keep' must be a whole number, not text", "whole number"),
    ("name: p\nkeep: {days: true}\n", 2, "'days' of 'keep' must be a whole number, not true or false", None),
    ("name: p\nkeep: {dais: 1}\n", 2, "'keep' has no setting 'dais'", "did you mean 'days'?"),
    ("name: p\nvars: 3\n", 2, "'vars' of mlforge.yaml must be a mapping, not a number", None),
    ("name: p\ndefault_profile: dve\nprofiles: {dev: {}}\n", 2, "there is no profile 'dve'", "did you mean 'dev'?"),
    ("name: p\ndefault_profile: prod\n", 2, "there is no profile 'prod'", "known: dev"),
    ("name: p\nprofiles:\n  dev: duckdb\n", 3, "profile 'dev' must be a mapping, not text", None),
    ("name: p\nprofiles:\n  dev: {wharehouse: {}}\n", 3, "profile 'dev' has no setting 'wharehouse'", "'warehouse'?"),
    (
        "name: p\nprofiles:\n  dev: {}\n  b: {warehouse: {treads: 1}}\n",
        4,
        "the warehouse of profile 'b' has no",
        "'threads'?",
    ),
    ("name: p\nprofiles:\n  dev: {online: redis}\n", 3, "'online' of profile 'dev' must be a mapping, not text", None),
    ("name: p\nprofiles:\n  dev: {warehouse: {kind: duckbd}}\n", 3, "cannot be 'duckbd'", "did you mean 'duckdb'?"),
    (
        "name: p\nprofiles:\n  dev: {warehouse: {kind: [a]}}\n",
        3,
        "'kind' of the warehouse of profile 'dev' must be text",
        None,
    ),
    ("name: p\nprofiles:\n  dev: {warehouse: {threads: 0}}\n", 3, "must be at least 1", None),
    ("name: p\nprofiles:\n  dev: {warehouse: {memory_limit: much}}\n", 3, "'much' is not an amount of memory", "4GB"),
    (
        "name: p\nprofiles:\n  dev: {warehouse: {path: 's3://b/c.duckdb'}}\n",
        3,
        "the catalog must be a local file",
        None,
    ),
    ("name: ${NO_SUCH_NAME}\n", 1, "the environment variable 'NO_SUCH_NAME' is not set", ":-"),
    ("name: p\nvars:\n  a: [1, '${TOKE}']\n", 3, "the environment variable 'TOKE' is not set", "did you mean 'TOKEN'?"),
    ("name: p\nvars:\n  a: ${oc.env:TOKE}\n", 3, "the environment variable 'TOKE' is not set", "did you mean 'TOKEN'?"),
    ("name: p\nvars:\n  a: ${open\n", 3, "'${' cannot be read as a variable", "${NAME}"),
    ("name: p\nvars:\n  a: ${A B}\n", 3, "'${A B}' cannot be read as a variable", "${NAME}"),
    ("name: p\nvars:\n  a: ${A:-${B}}\n", 3, "'${' cannot be read as a variable", "${NAME}"),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), BAD, ids=[f"{n:02}" for n in range(len(BAD))])
def test_bad_input_says_what_and_where(tmp_path: Path, text: str, line: int, message: str, hint: str | None) -> None:
    error = refused(tmp_path, text)
    assert type(error) is ProjectError
    assert error.exit_code == 1
    assert message in error.message
    assert error.where is not None
    assert (error.where.file, error.where.line) == ("mlforge.yaml", line)
    assert hint is None or hint in (error.hint or "")
    assert "hidden-value" not in str(error)


def test_endless_nesting(tmp_path: Path) -> None:
    assert refused(tmp_path, "a: " + "[" * 3000 + "]" * 3000).message == "this YAML is nested too deeply"


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "mlforge.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ProjectError, match="not UTF-8"):
        read_config(tmp_path)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "mlforge.yaml").write_bytes(b"\xef\xbb\xbfname: p\n")
    assert read_config(tmp_path).name == "p"


@pytest.mark.parametrize(
    ("path", "format_"),
    [
        ("a.parquet", "parquet"),
        ("a.pq", "parquet"),
        ("A.CSV", "csv"),
        ("a.csv.gz", "csv"),
        ("x/*.tsv", "csv"),
        ("a.json", "json"),
        ("a.jsonl", "json"),
        ("a.ndjson.gz", "json"),
        ("folder/", "parquet"),
        ("x/**", "parquet"),
        ("https://h/a.csv?sig=1", "csv"),
        ("gs://b/a.json", "json"),
    ],
)
def test_format_follows_the_suffix(tmp_path: Path, path: str, format_: str) -> None:
    source = read(tmp_path, f"name: p\nsources:\n  a: {{path: '{path}'}}\n").sources["a"]
    assert source.format == format_
    assert source.path == (path if "://" in path else str(tmp_path / path))


def test_a_folder_that_exists_is_parquet_or_what_format_says(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    text = "name: p\nsources:\n  a: {path: rows}\n  b: {path: rows, format: csv}\n  c: {path: /abs/x.db, table: s.t}\n"
    sources = read(tmp_path, text).sources
    assert [s.format for s in sources.values()] == ["parquet", "csv", "duckdb"]
    assert (sources["c"].path, sources["c"].table) == ("/abs/x.db", "s.t")


def test_every_part_of_a_source(tmp_path: Path) -> None:
    text = """
        name: p
        sources:
          a:
            path: a.tsv
            options: {header: true, nullstr: NA, quote: "", columns: {a: BIGINT}, skip: 1}
            timestamp: t
            loaded_at: l
            unique_key: [a, b]
            deleted: op = 'D'
            cursor: a
            max_age: 2h
            warn_age: 1h
            description: rows
    """
    assert read(tmp_path, text).sources["a"] == Source(
        name="a",
        path=str(tmp_path / "a.tsv"),
        format="csv",
        options={"delim": "\t", "header": True, "nullstr": ["NA"], "quote": "", "columns": {"a": "BIGINT"}, "skip": 1},
        timestamp="t",
        loaded_at="l",
        unique_key=("a", "b"),
        deleted="op = 'D'",
        cursor="a",
        max_age=Duration(2, "h"),
        warn_age=Duration(1, "h"),
        description="rows",
        line=5,
    )


_VALUES = {
    "boolean": True,
    "integer": 1,
    "texts": {"a": "BIGINT", "b": "DATE"},
    "types": {"a": "BIGINT", "b": "DATE"},
    "names": ["a", "b"],
}
_SPECIAL = {
    "hive_types": {"y": "INTEGER"},
    "compression": "gzip",
    "dateformat": "%Y-%m-%d",
    "timestampformat": "%Y-%m-%d %H",
    "comment": "#",
    "decimal_separator": ".",
    "delim": ",",
    "encoding": "utf-8",
    "escape": '"',
    "quote": '"',
    "format": "newline_delimited",
    "records": "true",
    "nullstr": ["NA", "-"],
    "maximum_depth": 3,
    "maximum_object_size": 1000,
}


@pytest.mark.parametrize(("format_", "option"), [(f, o) for f, known in OPTIONS.items() for o in known])
def test_duckdb_knows_every_option(tmp_path: Path, format_: str, option: str) -> None:
    value = literal(_SPECIAL.get(option, _VALUES.get(OPTIONS[format_][option])))
    (tmp_path / "y=1").mkdir()
    file = tmp_path / "y=1" / (f"a.{format_}.gz" if option == "compression" else f"a.{format_}")
    gzip = ", COMPRESSION gzip" if option == "compression" else ""
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT 1 AS a, DATE '2024-01-01' AS b) TO '{file}' (FORMAT {format_}{gzip})")
        rows = con.execute(f"FROM read_{format_}('{tmp_path}/*/a.*', {option} = {value})").fetchall()
    assert [str(row[0]) for row in rows] == ["1"]


def test_feature_sets_of_every_form(tmp_path: Path) -> None:
    text = """
        name: p
        feature_sets:
          s:
            description: for the model
            features:
              - {feature: "a@2:x,y"}
              - {feature: a, version: 2, columns: [x]}
              - {feature: a, version: "2.1.3", columns: x}
    """
    assert read(tmp_path, text).feature_sets["s"] == FeatureSet(
        name="s",
        description="for the model",
        members=(
            FeatureRef(name="a", version=Pin(2), columns=("x", "y")),
            FeatureRef(name="a", version=Pin(2), columns=("x",)),
            FeatureRef(name="a", version=Pin(2, 1, 3), columns=("x",)),
        ),
        line=5,
    )


PROFILES = """\
name: p
default_profile: b
profiles:
  a: {warehouse: {path: a.duckdb}}
  b: {warehouse: {path: b.duckdb, threads: 2, memory_limit: 4GB}}
  c: {warehouse: {path: "${UNSET_HERE}"}}
"""


def test_profile_argument_wins_over_environment_over_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(tmp_path, PROFILES).warehouse == WarehouseConfig(
        path=str(tmp_path / "b.duckdb"), threads=2, memory_limit="4GB"
    )
    monkeypatch.setenv("MLFORGE_PROFILE", "a")
    assert read(tmp_path, PROFILES).profile == "a"
    assert read(tmp_path, PROFILES, "b").profile == "b"
    monkeypatch.delenv("MLFORGE_PROFILE")
    assert read(tmp_path, PROFILES.replace("default_profile: b\n", "")).profile == "a"
    assert read(tmp_path, MINIMAL, "dev").warehouse == WarehouseConfig(path=str(tmp_path / "catalog.duckdb"))


def test_an_unset_variable_hurts_only_the_profile_that_is_used(tmp_path: Path) -> None:
    assert read(tmp_path, PROFILES, "a").profile == "a"
    error = refused(tmp_path, PROFILES, profile="c")
    assert (str(error.where), error.message) == (
        "mlforge.yaml:6",
        "the environment variable 'UNSET_HERE' is not set",
    )


def test_an_unknown_profile_is_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = refused(tmp_path, MINIMAL + "profiles: {dev: {}}\n", profile="dve")
    assert isinstance(error, UsageError)
    assert (error.exit_code, error.message, error.hint) == (2, "there is no profile 'dve'", "did you mean 'dev'?")
    monkeypatch.setenv("MLFORGE_PROFILE", "dve")
    assert refused(tmp_path, MINIMAL).message == "there is no profile 'dve' (from MLFORGE_PROFILE)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${SET}", "yes"),
        ("a-${SET}-${SET}", "a-yes-yes"),
        ("${UNSET_X:-no}", "no"),
        ("${EMPTY:-no}", "no"),
        ("${EMPTY}", ""),
        ("${UNSET_X:-}", ""),
        ("${oc.env:SET}", "yes"),
        ("${oc.env:UNSET_X, no}", "no"),
        ("${oc.env:EMPTY,no}", ""),
        ("$${SET}", "${SET}"),
        ("$SET", "$SET"),
        ("${UNSET_X:-a:b,c}", "a:b,c"),
    ],
)
def test_interpolation(text: str, expected: str) -> None:
    assert Environ({}, {"SET": "yes", "EMPTY": ""}).interpolate(text) == expected


def test_variables_become_numbers_and_flags_where_those_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYS", "7")
    config = read(tmp_path, "name: p\nkeep: {days: '${DAYS}'}\nstrict: ${STRICT_X:-true}\n")
    assert (config.keep.days, config.strict) == (7, True)


def test_dotenv_is_read_and_the_process_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv = """
        # a comment
        A=plain # more
        export B='single # quoted'
        C = "double \\"q\\" \\n" # more
        EMPTY=
        KEY="-----BEGIN

        x-----" # more
        PROCESS=from file
    """
    (tmp_path / ".env").write_text(textwrap.dedent(dotenv), encoding="utf-8")
    assert read_dotenv(tmp_path / ".env") == {
        "A": "plain",
        "B": "single # quoted",
        "C": 'double "q" \n',
        "EMPTY": "",
        "KEY": "-----BEGIN\n\nx-----",
        "PROCESS": "from file",
    }
    monkeypatch.setenv("PROCESS", "from process")
    config = read(tmp_path, "name: ${A}\nvars: {p: '${PROCESS}', e: 'x${EMPTY}'}\n")
    assert (config.name, config.vars) == ("plain", {"p": "from process", "e": "x"})


@pytest.mark.parametrize(
    ("dotenv", "message"),
    [
        ("A=1\nsecret stuff\n", "this line is not NAME=value"),
        ("A=1\nB='secret' x\n", "the quotes of this line do not match"),
        ("A=1\nB='secret\nC=2\n", "the quotes of this line do not match"),
    ],
)
def test_a_bad_dotenv_line_is_named_but_not_shown(tmp_path: Path, dotenv: str, message: str) -> None:
    error = refused(tmp_path, MINIMAL, dotenv=dotenv)
    assert (str(error.where), error.message) == (".env:2", message)
    assert "secret" not in str(error)


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = """
        name: p
        vars: &v {a: 1, b: 2}
        sources:
          x: &x {path: x.csv, timestamp: t}
          y: {<<: *x, path: y.csv}
    """
    source = read(tmp_path, text).sources["y"]
    assert (source.path, source.timestamp) == (str(tmp_path / "y.csv"), "t")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f", FeatureRef(name="f")),
        (" f @ 2 ", FeatureRef(name="f", version=Pin(2))),
        ("f@2.1", FeatureRef(name="f", version=Pin(2, 1))),
        ("f@2.1.3:a, b", FeatureRef(name="f", version=Pin(2, 1, 3), columns=("a", "b"))),
        ("f:total spend", FeatureRef(name="f", columns=("total spend",))),
    ],
)
def test_references(text: str, expected: FeatureRef) -> None:
    assert parse_ref(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a reference to a feature"),
        ("@2", "'@2' is not a reference to a feature"),
        ("a.b", "'a.b' is not a reference to a feature"),
        ("f@", "'' is not a version"),
        ("f@v2", "'v2' is not a version"),
        ("f@1.2.3.4", "'1.2.3.4' is not a version"),
        ("f:", "'f:' has an empty column name"),
        ("f:a,,b", "'f:a,,b' has an empty column name"),
        ("f:a,A", "'f:a,A' names the column 'A' twice"),
    ],
)
def test_bad_references_are_wrong_usage(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_ref(text)
    assert caught.value.message == message
    assert caught.value.hint == "write name, name@2, name@2.1.3 or name@2:column,column"


@pytest.mark.parametrize("name", ["mlforge.schema.json", "settings.md"])
def test_generated_docs_are_current(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == settings_docs()[name]


@pytest.mark.parametrize("text", [FLIGHTS, (template_root() / "project/mlforge.yaml").read_text(encoding="utf-8")])
def test_the_schema_accepts_what_is_right(text: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(yaml.safe_load(text), json_schema())


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{name: p, surces: {}}",
        "{name: p, keep: {days: -1}}",
        "{name: p, sources: {a: {path: a.csv, options: {heder: true}}}}",
        "{name: p, entities: {u: {}}}",
        "{name: p, feature_sets: {s: ['a b']}}",
        "{name: p, profiles: {dev: {warehouse: {kind: duckdb, host: x}}}}",
        "{name: p, profiles: {dev: {warehouse: {kind: duckbd}}}}",
    ],
)
def test_the_schema_refuses_what_is_wrong(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), json_schema())
