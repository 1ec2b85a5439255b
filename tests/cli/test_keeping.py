"""rollback, gc, doctor."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb
import pytest

import mlforge as mlf
from mlforge.catalog.lock import build_lock
from mlforge.model import Keep
from tests.cli.running import Shop, mlforge

if TYPE_CHECKING:
    from pathlib import Path


def query(shop: Shop, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(shop.path("catalog.duckdb")), read_only=True) as con:
        return con.execute(sql).fetchall()


def columns(shop: Shop) -> list[object]:
    return [row[0] for row in query(shop, "DESCRIBE FROM features.user_spend")]


def test_rollback_moves_the_view_and_holds(shop: Shop) -> None:
    assert "biggest" in columns(shop)
    said = shop.run("rollback", "user_spend", "1.0.0")
    assert said.out.startswith("user_spend is at 1.0.0; held there until ")
    assert shop.current("user_spend") == ("1.0.0", True)
    assert "biggest" not in columns(shop)
    assert query(shop, "SELECT is_current FROM mlforge.versions WHERE feature = 'user_spend' ORDER BY version") == [
        (True,),
        (False,),
    ]


def test_rollback_to_the_previous_and_forward_again(shop: Shop) -> None:
    shop.run("rollback", "user_spend", "--previous")
    assert shop.current("user_spend") == ("1.0.0", True)
    assert shop.run("rollback", "user_spend", "--release").out == "user_spend is at 1.1.0\n"
    assert shop.current("user_spend") == ("1.1.0", False)
    assert "biggest" in columns(shop)


def test_macros_and_training_sets_follow_a_rollback(shop: Shop) -> None:
    labels = "SELECT 7 AS user_id, TIMESTAMP '2024-06-02' AS label_time"
    asof = f"WITH l AS ({labels}) FROM features.user_spend_asof('l')"
    both = f"WITH l AS ({labels}) FROM feature_sets.spend_v1('l')"
    before = [query(shop, asof), query(shop, both)]
    shop.run("rollback", "user_spend", "--previous")
    after = shop.run("training-set", "--labels", labels, "-f", "user_spend", "--json").json
    assert after["features"] == ["user_spend@1.0.0"]
    assert query(shop, asof) != before[0]
    assert query(shop, both) != before[1]
    shop.run("rollback", "user_spend", "--release")
    assert [query(shop, asof), query(shop, both)] == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["user_spend"], "say where to go, in one way"),
        (["user_spend", "1.0.0", "--previous"], "say where to go, in one way"),
        (["user_spend", "9"], "user_spend has no version 9"),
        (["user_spnd", "1.0.0"], "the catalog has no feature 'user_spnd'"),
        (["user_spend", "first"], "'first' is not a version"),
    ],
)
def test_a_rollback_to_nowhere(built: Path, arguments: list[str], message: str) -> None:
    assert message in mlforge("-C", built, "rollback", *arguments, code=2).err


def test_a_rollback_before_the_first_version(built_once: Path) -> None:
    said = mlforge("-C", built_once, "rollback", "user_spend", "--previous", code=2)
    assert "user_spend has no version before 1.0.0" in said.err
    assert "hint: mlforge versions user_spend lists them" in said.err


OTHER = """\
{{ config(entity="user") }}
SELECT user_id, country FROM {{ source("users") }}
"""


def test_gc_drops_the_tables_and_views_of_versions_that_nothing_needs(shop: Shop) -> None:
    shop.path("features/other.sql").write_text(OTHER)
    shop.run("build", "-f", "other")
    shop.path("features/other.sql").write_text(OTHER.replace("country", "lower(country) AS country"))
    shop.run("build", "-f", "other")
    tables = (
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_name LIKE 'other%' ORDER BY ALL"
    )
    both = [("store", "other__1_0"), ("store", "other__2_0"), ("versions", "other@1.0.0"), ("versions", "other@2.0.0")]
    assert query(shop, tables) == [("features", "other"), *both]
    found = mlf.open(shop.root).gc(Keep(patches=0, days=0))
    assert "other@1.0.0" in found.versions
    assert set(found.tables) == {"other__1_0", "user_spend__1_0"}
    assert query(shop, tables) == [("features", "other"), both[1], both[3]]
    assert shop.current("other") == ("2.0.0", False)


def test_gc_keeps_what_the_policy_keeps(shop: Shop) -> None:
    assert shop.run("gc").out == "deleted 0 versions, 0 tables, 0 rows of tables that stay\n"


def test_gc_deletes_patches_with_their_rows(shop: Shop) -> None:
    rows = query(shop, "SELECT count(*) FROM store.user_last_purchase__1_0")
    text = shop.path("data/transactions.csv").read_text().replace("grocer", "market")
    shop.path("data/transactions.csv").write_text(text)
    shop.run("build")
    assert query(shop, "SELECT count(*) FROM store.user_last_purchase__1_0") > rows
    tried = shop.run("gc", "--keep-patches", "1", "--keep-days", "0", "--dry-run")
    assert "would delete" in tried.out
    assert "user_last_purchase@1.0.0" in tried.out
    found = shop.run("gc", "--keep-patches", "1", "--keep-days", "0", "--json").json
    assert found["rows"] > 0
    assert {"user_last_purchase@1.0.0", "user_last_purchase@1.0.1"} <= set(found["versions"])
    left = query(shop, "SELECT count(*) FROM store.user_last_purchase__1_0")
    assert left == query(shop, "SELECT count(*) FROM features.user_last_purchase")
    assert query(shop, "SELECT DISTINCT version FROM mlforge.versions WHERE feature = 'user_last_purchase'") == [
        ("1.0.2",)
    ]
    assert shop.run("gc", "--keep-patches", "1", "--keep-days", "0", "--json").json["versions"] == []
    assert shop.run("plan").out == "plan: 4 unchanged. Nothing to do.\n"


def test_gc_keeps_what_a_dataset_names_and_moves_its_record_in(shop: Shop) -> None:
    labels = "SELECT 7 AS user_id, TIMESTAMP '2024-03-01' AS label_time"
    dataset = shop.run("training-set", "--labels", labels, "-f", "user_last_purchase@1.0.0", "--json").json["id"]
    found = shop.run("gc", "--keep-patches", "1", "--keep-days", "0", "--json").json
    assert "user_last_purchase@1.0.0" not in found["versions"]
    assert found["records"] == 1
    assert not list(shop.path("catalog.duckdb.log").glob("dataset-*"))
    assert query(shop, "SELECT id FROM mlforge.datasets") == [(dataset,)]
    assert shop.run("replay", dataset, "--json").json["same"] is True


def test_gc_gives_the_space_back(shop: Shop) -> None:
    """A catalog written anew answers as before, in views, versions and macros, and can be built on."""
    for _ in range(3):
        shop.run("build", "--force")
    asked = "SELECT * FROM features.user_spend_asof('labels') ORDER BY ALL"
    labels = "CREATE TEMP TABLE labels AS SELECT 7 AS user_id, TIMESTAMP '2024-03-01' AS label_time"
    tables = "SELECT * EXCLUDE (table_catalog) FROM information_schema.tables ORDER BY ALL"

    def looked() -> list[object]:
        with duckdb.connect(str(shop.path("catalog.duckdb")), read_only=True) as con:
            con.execute(labels)
            return [con.execute(q).fetchall() for q in (asked, "FROM features.user_spend ORDER BY ALL", tables)]

    arguments = ("gc", "--keep-patches", "1", "--keep-days", "0")
    shop.run(*arguments)
    before, size = looked(), shop.path("catalog.duckdb").stat().st_size
    found = shop.run(*arguments, "--compact", "--json").json["compacted"]
    assert found == {"before": size, "after": shop.path("catalog.duckdb").stat().st_size, "replaced": True}
    assert found["after"] < size
    assert looked() == before
    assert shop.run("plan").out == "plan: 4 unchanged. Nothing to do.\n"
    shop.pay("202,7,2024-06-02 10:00:00,grocer,10.00,settled")
    shop.run("build")
    said = shop.run(*arguments, "--compact").out
    assert "the file has " in said
    assert " before\n" in said or "cannot be made smaller" in said
    assert shop.run("gc", "--compact", "--dry-run", "--json").json["compacted"] is None
    assert "would write the file anew\n" in shop.run("gc", "--compact", "--dry-run").out


def test_gc_without_a_catalog(shop: Shop) -> None:
    shop.path("catalog.duckdb").unlink()
    said = shop.run("gc", code=1)
    assert "there is no catalog at" in said.err
    assert "hint: run mlforge build to make it" in said.err


@pytest.mark.parametrize("arguments", [["--keep-patches", "0"], ["--keep-days", "-1"]])
def test_gc_of_too_much(built: Path, arguments: list[str]) -> None:
    assert "Invalid value" in mlforge("-C", built, "gc", *arguments, code=2).err


def test_doctor_finds_nothing_wrong(built: Path) -> None:
    found = {f["what"]: f for f in mlforge("-C", built, "doctor", "--json").json}
    assert {f["state"] for f in found.values()} == {"ok"}
    assert set(found) >= {"python", "duckdb", "sqlglot", "extensions", "project", "catalog", "storage", "size"}
    assert "v1.4.0" in found["storage"]["text"]


def test_doctor_before_the_first_build_and_without_a_project(shop: Shop, tmp_path: Path) -> None:
    shop.path("catalog.duckdb").unlink()
    assert "warning  catalog: there is none at" in shop.run("doctor").out
    (tmp_path / "empty").mkdir()
    assert "warning  project: " in mlforge("-C", tmp_path / "empty", "doctor").out


def test_doctor_names_a_broken_project(shop: Shop) -> None:
    shop.path("mlforge.yaml").write_text("name: [\n")
    said = shop.run("doctor", code=1)
    assert "problem  project: mlforge.yaml:" in said.out


def test_doctor_names_a_broken_catalog(shop: Shop) -> None:
    shop.path("catalog.duckdb").write_bytes(b"no database" * 1000)
    assert "problem  catalog: " in shop.run("doctor", code=1).out


def test_doctor_sees_what_dead_processes_left(shop: Shop) -> None:
    shop.path("catalog.duckdb.staging").mkdir()
    shop.path("catalog.duckdb.staging/20240101T000000-00000000").mkdir()
    said = shop.run("doctor")
    assert "warning  staging: 1 folders" in said.out


@pytest.mark.parametrize("command", [["build", "--force"], ["rollback", "user_spend", "1.0.0"], ["gc"]])
def test_a_build_that_runs_elsewhere_is_waited_for_and_named(shop: Shop, command: list[str]) -> None:
    with build_lock(shop.path("catalog.duckdb"), 1):
        said = shop.run(*command, "--lock-timeout", "0.1", code=1)
    assert f"is being built by process {os.getpid()}" in said.err
    assert "give it longer with --lock-timeout" in said.err


@pytest.mark.parametrize("command", [["list"], ["build", "--force"], ["rollback", "user_spend", "1.0.0"], ["gc"]])
def test_a_process_that_writes_the_catalog_is_named(shop: Shop, command: list[str]) -> None:
    hold = f"import duckdb, sys; c = duckdb.connect({str(shop.path('catalog.duckdb'))!r}); print('held', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    try:
        if command[0] == "list":
            child.communicate("\n", timeout=30)
            assert "user_spend" in shop.run(*command).out
        else:
            said = shop.run(*command, "--lock-timeout", "0.1", code=1)
            assert f"is in use by process {child.pid}" in said.err
    finally:
        child.communicate("\n" if child.poll() is None else None, timeout=30)
