"""Passwords and tokens of sources and of label rows: in nothing that mlforge says or keeps."""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING

import duckdb
import pytest
from typer.testing import CliRunner

from mlforge.catalog import writer
from mlforge.cli.app import app
from mlforge.errors import MlforgeError
from mlforge.model import Source, SourceState
from tests.small import CONFIG, Small

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = ("opensesame", "tellnobody")
ADDRESSES = {
    "https://me:opensesame@127.0.0.1:1/ev.parquet": "https://***@127.0.0.1:1/ev.parquet",
    "https://127.0.0.1:1/ev.csv?X-Amz-Credential=k&X-Amz-Signature=tellnobody": "https://127.0.0.1:1/ev.csv?***",
    "https://a.blob.local/c/ev.json?sv=1&sig=tellnobody": "https://a.blob.local/c/ev.json?***",
    "s3://KEY:open/sesame@tellnobody:opensesame@bucket/ev/*.parquet": "s3://***@bucket/ev/*.parquet",
    "postgres://me:opensesame@127.0.0.1:1/db": "postgres://***@127.0.0.1:1/db",
    "dbname=db host=127.0.0.1 password=opensesame": "dbname=db host=127.0.0.1 password=***",
    "mysql:host=127.0.0.1;pwd=opensesame": "mysql:host=127.0.0.1;pwd=***",
}
GOOD = '{{ config(entity="user", timestamp="t") }} SELECT k, t, x FROM {{ source("ev") }}'
LABELS = "SELECT 1 AS k, TIMESTAMP '2024-02-01' AS label_time"


def said(small: Small, *arguments: str) -> str:
    """All that a command says, and the traceback of what it raises."""
    result = CliRunner().invoke(app, ["-C", str(small.root), *arguments])
    raised = result.exception if not isinstance(result.exception, SystemExit) else None
    trace = "".join(traceback.format_exception(raised)) if raised else ""
    return result.stdout + result.stderr + trace


def see_no_secret(text: str) -> None:
    assert not [secret for secret in SECRETS if secret in text], text


def source(small: Small, address: str) -> None:
    attached = "://" not in address.replace("postgres://", "") and "format: duckdb, table: public.ev"
    parts = json.dumps(address) + (f", {attached}" if attached else "")
    small.config(
        CONFIG.replace("data/ev.parquet", parts).replace("sources:", "sources:\n  local: {path: data/ev.parquet}")
    )


@pytest.fixture
def small(tmp_path: Path) -> Small:
    made = Small(tmp_path)
    made.rows("1, TIMESTAMP '2024-01-01', 3")
    made.feature("good", GOOD)
    return made


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_shows_the_secrets_of_a_source_that_cannot_be_read(small: Small, address: str) -> None:
    source(small, address)
    with pytest.raises(MlforgeError) as caught:
        small.build()
    see_no_secret("".join(traceback.format_exception(caught.value)) + repr(small.forge.project))
    assert "source 'ev'" in str(caught.value)
    listed = json.loads(said(small, "list", "sources", "--json"))
    [path] = [row["path"] for row in listed if row["source"] == "ev"]
    assert path.removeprefix(f"{small.root}/") == ADDRESSES[address]


def test_no_command_shows_them(small: Small) -> None:
    small.good()
    source(small, "https://me:opensesame@127.0.0.1:1/ev.parquet?sig=tellnobody")
    for arguments in (
        ["plan"],
        ["build"],
        ["build", "--json"],
        ["--debug", "build"],
        ["validate"],
        ["freshness", "--all"],
        ["verify", "good"],
        ["inspect", "source", "ev"],
        ["doctor"],
        ["render", "good"],
    ):
        text = said(small, *arguments)
        see_no_secret(text)
        assert "ev" in text or arguments == ["doctor"]


def test_an_address_of_another_form_is_not_shown_when_it_is_refused(small: Small) -> None:
    small.config(CONFIG.replace("data/ev.parquet", '"https://me:opensesame@h/ev?sig=tellnobody"'))
    text = said(small, "plan")
    see_no_secret(text)
    assert "the name of 'https://***@h/ev?***' does not tell its format" in text


def texts(path: Path) -> str:
    """Every row of every table and view of a DuckDB file, and their comments and SQL."""
    with duckdb.connect(str(path), read_only=True) as con:
        names = con.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = current_database()"
        ).fetchall()
        found = [str(con.execute(f'FROM "{schema}"."{name}"').fetchall()) for schema, name in names]
        found += [
            str(con.execute(f"FROM {f}()").fetchall()) for f in ("duckdb_views", "duckdb_tables", "duckdb_columns")
        ]
    return "\n".join(found)


def test_what_is_built_does_not_hold_them(small: Small) -> None:
    """A file that is attached, of a name that holds a password as strings to attach databases do."""
    path = small.root / "data/dbname=db password=opensesame.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE ev AS SELECT 1 AS k, TIMESTAMP '2024-01-01' AS t, 3 AS x")
    small.config(CONFIG.replace("data/ev.parquet", f'"{path}", table: ev'))
    said(small, "build", "--json")
    assert small.view("good") == [(1, small.sql("SELECT TIMESTAMP '2024-01-01'")[0][0], 3)]
    with duckdb.connect(str(path)) as con:
        con.execute("ALTER TABLE ev ALTER x TYPE DOUBLE")
        con.execute("INSERT INTO ev VALUES (1, '2024-01-02', 2.5)")
    for arguments in (
        ["plan"],
        ["build"],
        ["list", "sources", "--json"],
        ["list", "builds", "--json"],
        ["inspect", "source", "ev", "--json"],
        ["inspect", "feature", "good", "--json"],
        ["manifest"],
        ["verify", "--json"],
        ["diff", "good"],
        ["training-set", "--features", "good", "--labels", LABELS],
    ):
        text = said(small, *arguments)
        see_no_secret(text)
        assert "Traceback" not in text
    see_no_secret(texts(small.catalog))
    assert "dbname=db password=***" in texts(small.catalog)
    for file in small.root.rglob("catalog.duckdb*"):
        if file.is_file():
            assert b"opensesame" not in file.read_bytes()


def test_the_catalog_keeps_addresses_without_them(small: Small) -> None:
    small.good()
    with duckdb.connect(str(small.catalog)) as con:
        for number, address in enumerate(ADDRESSES):
            one = Source(name=f"s{number}", path=address, format="parquet", options={"filename": address})
            writer.put_sources(con, 1, [(one, SourceState(digest="0"))])
    see_no_secret(texts(small.catalog))
    kept = [path for _, path in small.sql("SELECT source, path FROM mlforge.sources WHERE source LIKE 's%' ORDER BY 1")]
    assert kept == list(ADDRESSES.values())


def test_a_catalog_of_an_earlier_version_that_holds_them_does_not_show_them(small: Small) -> None:
    small.good()
    with duckdb.connect(str(small.catalog)) as con:
        con.execute("UPDATE mlforge.sources SET path = ?", [next(iter(ADDRESSES))])
    for arguments in (["list", "sources", "--json"], ["inspect", "source", "ev"], ["manifest"]):
        text = said(small, *arguments)
        see_no_secret(text)
        assert "https://***@127.0.0.1:1/ev.parquet" in text


def test_sql_of_label_rows_is_recorded_without_them_and_replayed_from_kept_rows(small: Small) -> None:
    small.good()
    text = f"{LABELS} WHERE 'https://me:opensesame@h/x?sig=tellnobody' <> 'x'"
    made = small.forge.training_set("good", text)
    assert made.record["labels"]["text"] == f"{LABELS} WHERE 'https://***@h/x?***' <> 'x'"
    see_no_secret(json.dumps(made.record, default=str))
    for file in (small.root / "catalog.duckdb.log").iterdir():
        assert not [s for s in SECRETS if s.encode() in file.read_bytes()]
    assert small.forge.replay(made.record["id"]).same
    small.good(force=True)
    see_no_secret(texts(small.catalog))
    assert small.forge.replay(made.record["id"]).same
    plain = small.forge.training_set("good", LABELS)
    assert plain.record["labels"]["text"] == LABELS
    assert not list((small.root / "catalog.duckdb.log").glob(f"labels-{plain.record['id']}*"))


def test_label_rows_that_cannot_be_read_do_not_show_them(small: Small) -> None:
    small.good()
    for labels in (
        "FROM 's3://KEY:opensesame@bucket/x.parquet'",
        "SELECT * FROM read_csv('https://h/x.csv?sig=tellnobody')",
    ):
        text = said(small, "--debug", "training-set", "--features", "good", "--labels", labels)
        see_no_secret(text)
        assert "the label rows cannot be read" in text


def test_an_error_of_a_python_feature_does_not_show_them(small: Small) -> None:
    small.feature("good", GOOD)
    text = "import mlforge as mlf\n\n\n@mlf.feature(entity='user')\ndef bad():\n"
    text += "    raise OSError('https://me:opensesame@h/x?sig=tellnobody is away')\n"
    (small.root / "features/bad.py").write_text(text)
    for arguments in (["plan"], ["build"], ["build", "--json"], ["--debug", "build", "--features", "bad"]):
        found = said(small, *arguments)
        assert "OSError: https://***@h/x?*** is away" in found
        see_no_secret(found.replace(text.splitlines()[-1].strip(), ""))  # a traceback shows the line of the file
