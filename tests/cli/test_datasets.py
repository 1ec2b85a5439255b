"""training-set and replay."""

from __future__ import annotations

import datetime
import json
import shutil
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mlforge as mlf
from tests.cli.running import Shop, mlforge
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

LABELS = "SELECT user_id, event_time AS label_time, amount::DOUBLE AS amount FROM 'data/transactions.csv' ORDER BY 2"
SET = ("--feature-set", "spend_v1")


def made(shop: Shop, *arguments: object, labels: str = LABELS, code: int = 0) -> str:
    """Make a training set; its id."""
    found = shop.run("training-set", "--labels", labels, *arguments, "--json", code=code).json
    assert isinstance(found["id"], str)
    return str(found["id"])


def test_to_parquet(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "train.parquet"
    said = shop.run("training-set", "--labels", LABELS, "--timestamp", "label_time", *SET, "--out", out)
    table = pq.read_table(out)
    assert table.column_names[:3] == ["user_id", "label_time", "amount"]
    assert table.num_rows == 201
    assert f"201 rows, {len(table.column_names) - 3} feature columns in {out}; mlforge replay " in said.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shop", "train.parquet"]


def test_csv_holds_the_same_values(shop: Shop, tmp_path: Path) -> None:
    for suffix in ("csv", "parquet"):
        shop.run("training-set", "--labels", LABELS, *SET, "--out", tmp_path / f"train.{suffix}")
    with duckdb.connect() as con:
        counts = con.execute(
            "SELECT count(*) FROM (SELECT COLUMNS(*)::VARCHAR FROM read_csv(?, all_varchar=true) "
            "INTERSECT ALL SELECT COLUMNS(*)::VARCHAR FROM read_parquet(?))",
            [str(tmp_path / "train.csv"), str(tmp_path / "train.parquet")],
        ).fetchall()
    assert counts == [(201,)]


def test_without_out_the_first_rows_are_shown(shop: Shop) -> None:
    said = shop.run("training-set", "--labels", LABELS, "--features", "user_profile:plan", "user_spend:payments_7d")
    head, _, *body = said.out.splitlines()
    assert head.split() == ["user_id", "label_time", "amount", "plan", "payments_7d"]
    assert len(body) == 11
    assert body[-1].startswith("201 rows, 2 feature columns; mlforge replay ")


def test_features_sets_and_full_names_together(shop: Shop) -> None:
    arguments = ["-f", "payment_size", "--feature-set", "spend_v1@1", "--full-names", "--json"]
    found = shop.run("training-set", "--labels", LABELS, *arguments).json
    assert found["features"][:2] == ["payment_size@2.0.0", "user_spend@1.1.0"]
    assert "user_spend__biggest" in found["columns"]
    pinned = shop.run("training-set", "--labels", LABELS, "-f", "user_spend@1.0:spend_7d", "--json").json
    assert pinned["features"] == ["user_spend@1.0.0:spend_7d"]
    assert pinned["columns"] == ["spend_7d"]


def test_labels_in_files(shop: Shop, tmp_path: Path) -> None:
    with duckdb.connect() as con:
        con.execute(f"SET file_search_path = '{shop.root}'")
        for suffix in ("csv", "parquet", "json"):
            con.execute(f"COPY ({LABELS}) TO '{tmp_path / f'labels.{suffix}'}'")
    (tmp_path / "labels.sql").write_text(LABELS)
    found = {
        suffix: shop.run(
            "training-set", "--labels", tmp_path / f"labels.{suffix}", "-f", "user_last_purchase", "--json"
        ).json["content_hash"]
        for suffix in ("csv", "parquet", "json", "sql")
    }
    assert len(set(found.values())) == 1


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ([], "no feature is asked for", 2),
        (["-f", "user_spnd"], "did you mean 'user_spend'?", 2),
        (["-f", "user_spend:spend"], "user_spend has no column 'spend'", 2),
        (["-f", "user_spend@4"], "user_spend has no version 4", 2),
        (["--feature-set", "spend_v2"], "unknown feature set 'spend_v2'", 2),
        (["--feature-set", "user_spend"], "unknown feature set 'user_spend'", 2),
        (["--feature-set", "spend_v1@7"], "feature set spend_v1 has no version '7'", 2),
        ([*SET, "--timestamp", "time"], "the label rows have no column 'time', their time", 1),
        ([*SET, "--out", "train.txt"], "train.txt has no suffix that mlforge writes", 2),
        ([*SET, "--out", "nowhere/train.csv"], "there is no folder nowhere", 2),
        (["-f", "user_spend", "user_spend@1.0"], "comes from user_spend and from user_spend", 1),
    ],
)
def test_what_is_refused(built: Path, arguments: list[str], message: str, code: int) -> None:
    said = mlforge("-C", built, "training-set", "--labels", LABELS, *arguments, code=code)
    assert message in said.flat
    assert not said.out


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("missing.parquet", "there are no label rows at missing.parquet"),
        ("SELEC 1", "the label rows cannot be read: Parser Error"),
        ("SELECT 1 AS x, now() AS label_time", "the label rows have no column 'user_id', a key"),
        (
            "SELECT 1.5 AS user_id, now() AS label_time",
            "error: the features cannot be read for these label rows: Invalid Input Error: label value 1.5 does not",
        ),
    ],
)
def test_labels_that_do_not_fit(built: Path, labels: str, message: str) -> None:
    assert message in mlforge("-C", built, "training-set", "--labels", labels, "-f", "user_spend", code=1).err


def test_an_older_file_stays_when_the_new_one_fails(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "train.parquet"
    out.write_text("old")
    shop.run("training-set", "--labels", "SELECT 1 AS x", *SET, "--out", out, code=1)
    assert out.read_text() == "old"


def test_replay_makes_the_same(shop: Shop, tmp_path: Path) -> None:
    dataset = made(shop, *SET)
    said = shop.run("replay", dataset, "--out", tmp_path / "again.parquet")
    assert said.out.startswith(f"{dataset}: the same, ")
    assert pq.read_table(tmp_path / "again.parquet").num_rows == 201
    assert shop.run("replay", dataset[:20]).out == said.out


def test_replay_reads_the_versions_of_then(shop: Shop) -> None:
    dataset = made(shop, "-f", "user_spend:spend_7d", labels=f"SELECT * FROM ({LABELS}) LIMIT 50")
    shop.pay("202,7,2024-01-02 00:00:00,grocer,1000.00,settled")
    shop.run("build")
    found = shop.run("replay", dataset, "--json", code=1).json
    assert found["changed"] == ["the SQL of the label rows returns other rows than it did"]


def test_replay_after_a_build_with_labels_of_their_own(shop: Shop, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("user_id,label_time\n7,2024-03-01 09:00:00\n8,2024-03-01 09:00:00\n")
    dataset = made(shop, *SET, labels=str(labels))
    shop.pay("202,7,2024-03-01 08:00:00,grocer,1000.00,settled")
    shop.run("build")
    assert shop.run("list", "datasets", "--json").json[0]["id"] == dataset
    assert shop.run("replay", dataset, "--json").json["same"] is True


def test_replay_says_that_the_label_file_changed(shop: Shop, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("user_id,label_time\n7,2024-03-01 09:00:00\n")
    dataset = made(shop, *SET, labels=str(labels))
    labels.write_text("user_id,label_time\n8,2024-03-01 09:00:00\n")
    said = shop.run("replay", dataset, code=1)
    assert f"{dataset}: not the same\n  the label file {labels} has changed\n" in said.out
    labels.unlink()
    assert f"the label file {labels} is gone" in shop.run("replay", dataset, code=1).out


@pytest.mark.parametrize("odd", ["INTERVAL 1 MONTH", "union_value(a := 1)", "[INTERVAL 1 DAY]"])
def test_what_parquet_cannot_hold_is_named(shop: Shop, tmp_path: Path, odd: str) -> None:
    labels = f"SELECT 7 AS user_id, TIMESTAMP '2024-03-01 09:00' AS label_time, 1 AS n, {odd} AS odd"
    arguments = ("training-set", "--labels", labels, "-f", "user_profile", "--out")
    said = shop.run(*arguments, tmp_path / "out.parquet", code=1).err
    assert "Parquet cannot hold 'odd': " in said
    assert "cast to another type, or write CSV" in said
    shop.run(*arguments, tmp_path / "out.csv")
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["out.csv"]


@pytest.mark.parametrize("time", ["TIMESTAMP 'infinity'", "TIMESTAMP '20000-01-01 00:00:00'", "DATE '-infinity'"])
def test_times_that_python_has_not_are_shown(tmp_path: Path, time: str) -> None:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 1")
    head = '{{ config(entity="user", timestamp="t", closed="right") }}\n'
    small.feature("f", f'{head}SELECT k, t, {time} AS until, [{time}] AS all_of_it FROM {{{{ source("ev") }}}}')
    small.good()
    labels = "SELECT 1 AS k, TIMESTAMP '2024-03-01' AS label_time"
    shown = time.split("'")[1]
    for said in (
        mlforge("-C", tmp_path, "training-set", "--labels", labels, "-f", "f"),
        mlforge("-C", tmp_path, "explain", "f", "--key", "1", "--at", "2024-03-01"),
    ):
        assert said.out.count(shown) >= 2
    (row,) = small.forge.get_training_data("f", labels).select(["k"]).to_pylist()
    assert row == {"k": 1}


def test_a_request_that_cannot_be_kept_costs_the_record_alone(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.feature("f", '{{ config(entity="user", on_demand=true, request={"d": "INTERVAL"}) }} SELECT epoch(d) AS s')
    small.rows("1, '2024-01-01', 1")
    small.good()
    interval = pa.array([(0, 1, 0)], pa.month_day_nano_interval())
    labels = pa.table({"k": ["1"], "label_time": [datetime.datetime(2024, 3, 1)], "d": interval})
    with pytest.warns(mlf.errors.RecordWarning, match="the label rows cannot be kept for replay: "):
        found = small.forge.get_training_data("f", labels)
    assert found["s"].to_pylist() == [86400.0]


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (duckdb.__version__, "the catalog was changed by hand"),
        (
            "1.5.5.dev1",
            f"the dataset was made by DuckDB 1.5.5.dev1, and this is {duckdb.__version__}; the last digits of",
        ),
        (
            None,
            f"the dataset was made by another DuckDB, perhaps, and this is {duckdb.__version__}; the last digits of",
        ),
    ],
)
def test_replay_knows_which_duckdb_made_a_dataset(shop: Shop, version: str | None, why: str) -> None:
    dataset = made(shop, "-f", "user_profile")
    path = shop.path(f"catalog.duckdb.log/dataset-{dataset}.json")
    record = json.loads(path.read_text())
    assert record["duckdb"] == duckdb.__version__
    record |= {"content_hash": "0" * 64, "duckdb": version}
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not None or k != "duckdb"}))
    (changed,) = shop.run("replay", dataset, "--json", code=1).json["changed"]
    assert changed.startswith(f"the values differ, though the label rows and versions are the same: {why}")


def test_label_rows_given_in_memory_are_kept(shop: Shop) -> None:
    times = [datetime.datetime(2024, 3, 1, 9), None, datetime.datetime(2024, 3, 2)]
    labels = pa.table(
        {"secret": ["a", "b", "c"], "user_id": [7, 8, None], "amount": [1.0, 2.0, None], "label_time": times}
    )
    fs = mlf.open(shop.root)
    record = fs.training_set(["spend_v1", "payment_size"], labels).record
    (kept,) = shop.path("catalog.duckdb.log").glob("labels-*.parquet")
    assert pq.read_table(kept).column_names == ["user_id", "amount", "label_time"]
    assert fs.replay(record["id"]).same
    kept.unlink()
    found = fs.replay(record["id"])
    assert (found.same, found.found) == (False, None)
    assert found.changed == (f"the file of label rows {kept} is gone",)


def test_replay_says_that_a_version_is_gone(shop: Shop) -> None:
    dataset = made(shop, "-f", "user_profile")
    shutil.copytree(shop.path("catalog.duckdb.log"), shop.path("kept.log"))
    shop.path("catalog.duckdb").unlink()
    shop.path("features/user_profile.sql").write_text(shop.path("features/user_last_purchase.sql").read_text())
    shop.run("build", "-f", "user_last_purchase")
    found = shop.run("replay", dataset, "--json", code=1).json
    assert found["changed"] == ["version 1.0.0 of user_profile is gone"]
    assert found["found"] is None


def test_replay_of_something_unknown(shop: Shop) -> None:
    assert "there is no dataset '2024'" in shop.run("replay", "2024", code=2).err
    made(shop, "-f", "user_profile")
    made(shop, "-f", "user_profile")
    assert "2 datasets begin with '2'" in shop.run("replay", "2", code=2).err


def test_label_rows_of_an_entity(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "grid.parquet"
    shop.run(
        "training-set",
        "--entity",
        "user",
        "--start",
        "2024-02-01",
        "--end",
        "2024-02-02",
        "--every",
        "6h",
        "-f",
        "user_spend:payments_7d",
        "--out",
        out,
    )
    table = pq.read_table(out)
    assert table.column_names == ["user_id", "label_time", "payments_7d"]
    assert table["label_time"].unique().to_pylist() == [datetime.datetime(2024, 2, 1, h) for h in (0, 6, 12, 18)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "label rows come from --labels or from --entity"),
        (("--labels", LABELS, "--entity", "user"), "label rows come from --labels or from --entity"),
        (("--entity", "user"), "--entity needs --start and --end"),
        (("--entity", "usr", "--start", "2024-02-01", "--end", "2024-02-02"), "did you mean 'user'?"),
    ],
)
def test_label_rows_from_one_place(shop: Shop, arguments: tuple[str, ...], message: str) -> None:
    assert message in shop.run("training-set", *arguments, "-f", "user_spend", code=2).err


def test_known_as_of_needs_sources_that_say_when(shop: Shop) -> None:
    arguments = ("training-set", "--labels", LABELS, "-f", "user_profile", "--known-as-of", "2024-03-01")
    assert "does not say when its rows became known" in shop.run(*arguments, code=1).err
    assert "201 rows" in shop.run(*arguments, "--ignore-loaded-at").out
