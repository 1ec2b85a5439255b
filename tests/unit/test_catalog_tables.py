"""What is written to the tables of mlforge is read back as it was."""

from __future__ import annotations

import datetime
import re

import duckdb
import pytest

from mlforge.catalog import file, log, migrations, reader, writer
from mlforge.model import (
    Check,
    Column,
    Compiled,
    Definition,
    Duration,
    Entity,
    FeatureConfig,
    FeatureRef,
    FileState,
    Key,
    Output,
    Pin,
    Source,
    SourceState,
    StoredSet,
    StoredVersion,
    Version,
)
from mlforge.records import BuildRecord, CheckResult, ColumnStats, Edge, Statement

V100, V101, V110, V1010 = Version(1, 0, 0), Version(1, 0, 1), Version(1, 1, 0), Version(1, 0, 10)

DEFINITION = Definition(
    feature="user_spend",
    kind="windows",
    entity="user",
    keys=(Key("user_id", "BIGINT"),),
    timestamp="t",
    closed="left",
    delay=Duration(2, "h"),
    sql="SELECT 'it''s' AS \"odd ? name\"",
    columns=(
        Column(name="user_id", type="BIGINT", sql="user_id"),
        Column(name="t", type="TIMESTAMP", sql="t"),
        Column(name="odd ? name", type="VARCHAR", sql="'it''s'", description="what's odd"),
    ),
    sources={"tx": {"header": True}},
    refs={"other": "1.0"},
)
COMPILED = Compiled(
    feature="user_spend",
    kind="windows",
    keys=(Key("user_id", "BIGINT"),),
    outputs=(Output(name="odd ? name", sql="1", type="VARCHAR"),),
    table="user_spend__1_0",
)
CONFIG = FeatureConfig(
    entity="user",
    timestamp="t",
    delay=Duration(2, "h"),
    description="What a user spends",
    tags=("users", "daily"),
    validators=(Check(name="greater_than", column="amount", args={"value": 0}),),
)
STATE = SourceState(digest="ab", files=(FileState(path="a.csv", size=3, mtime_ns=4, digest="cd"),), rows=2)


def stored(version: Version, reason: str = "new feature") -> StoredVersion:
    return StoredVersion(
        feature="user_spend",
        version=version,
        definition=DEFINITION,
        compiled=COMPILED,
        source_states={"tx": STATE},
        build=1,
        created_at="2026-03-01T09:00:00.250000Z",
        reason=reason,
        rows=12,
    )


@pytest.fixture
def con(tmp_path):
    con = duckdb.connect(str(tmp_path / "catalog.duckdb"), config=file.CONFIG)
    file.configure(con)
    migrations.migrate(con)
    yield con
    con.close()


def put(con, *versions: Version, current: Version, held: bool = False) -> None:
    writer.put_versions(con, [(stored(v), "new" if v == V100 else "patch") for v in versions])
    put_feature(con, current, held=held)


def put_feature(con, current: Version, *, held: bool = False) -> None:
    writer.put_feature(
        con,
        "user_spend",
        kind="windows",
        current=current,
        held=held,
        config=CONFIG,
        path="features/u.sql",
        sql="SELECT 1",
    )


def test_an_empty_catalog_has_an_empty_state(con):
    state = reader.state(con)
    assert (state.features, state.feature_sets, state.last_build) == ({}, {}, 0)
    assert writer.next_build(con) == 1


def test_state_gives_back_what_was_put(con):
    put(con, V1010, V100, V110, V101, current=V101, held=True)
    feature = reader.state(con).features["user_spend"]
    assert [v.version for v in feature.versions] == [V100, V101, V1010, V110]
    assert feature.versions[0] == stored(V100)
    assert (feature.current, feature.held, feature.config, feature.path) == (V101, True, CONFIG, "features/u.sql")


def test_is_current_follows_the_pointer(con):
    put(con, V100, V101, current=V101)
    writer.set_current(con, "user_spend", V100, held=True)
    assert [(r["version"], r["is_current"]) for r in reader.versions(con, "user_spend")] == [
        ("1.0.0", True),
        ("1.0.1", False),
    ]
    (row,) = reader.features(con)
    assert (row["current_version"], row["held"], row["tags"]) == ("1.0.0", True, ["users", "daily"])


def test_putting_a_feature_again_replaces_it(con):
    put(con, V100, current=V100)
    writer.put_versions(con, [(stored(V101), "patch")])
    put_feature(con, V101)
    assert [r["current_version"] for r in reader.features(con)] == ["1.0.1"]


def test_columns_say_which_are_keys_and_time(con):
    put(con, V100, current=V100)
    assert [
        (r["column_name"], r["is_key"], r["is_timestamp"], r["description"])
        for r in reader.columns(con, "user_spend", V100)
    ] == [("user_id", True, False, None), ("t", False, True, None), ("odd ? name", False, False, "what's odd")]


def test_checks_with_and_without_a_version(con):
    result = CheckResult(
        feature="user_spend",
        check="greater_than(0)",
        column="amount",
        side="input",
        severity="error",
        rows=10,
        failed=1,
        passed=False,
        sample=({"user_id": 7, "t": datetime.datetime(2026, 1, 2, 3)},),
    )
    writer.put_checks(con, 1, [result], {})
    writer.put_checks(con, 2, [result], {"user_spend": V100})
    assert [(r["build"], r["version"]) for r in reader.checks(con, "user_spend")] == [(1, None), (2, "1.0.0")]
    (row,) = reader.checks(con, version=V100)
    assert row["sample"] == [{"user_id": 7, "t": "2026-01-02T03:00:00"}]


def test_statistics_keep_the_order_of_columns_and_their_lists(con):
    first = ColumnStats(
        feature="user_spend", column="z", type="DOUBLE", rows=4, nulls=1, nans=1, distinct=2, min="1", max="2",
        mean=1.5, std=0.5, quantiles={"0.5": 1.5}, edges=(1.0, 1.5, 2.0), counts=(1, 1), top=(("1", 1), ("2", 1)),
    )  # fmt: skip
    second = ColumnStats(
        feature="user_spend", column="a", type="VARCHAR", rows=4, nulls=4, nans=0, distinct=0, min=None, max=None,
        mean=None, std=None,
    )  # fmt: skip
    writer.put_stats(con, 1, [first, second], {"user_spend": V100})
    rows = reader.stats(con, "user_spend", V100)
    assert [r["column_name"] for r in rows] == ["z", "a"]
    assert (rows[0]["edges"], rows[0]["counts"], rows[0]["top"]) == ([1.0, 1.5, 2.0], [1, 1], [["1", 1], ["2", 1]])
    assert (rows[1]["edges"], rows[1]["quantiles"], rows[1]["mean"]) == ([], {}, None)


def test_lineage_sources_entities_and_statements(con):
    writer.put_lineage(con, "user_spend", V100, [Edge(column=None, kind="source", origin="tx", origin_column="status")])
    source = Source(name="tx", path="a.csv", format="csv", options={"header": True})
    writer.put_sources(con, 1, [(source, STATE)])
    writer.put_sources(con, 2, [(source, None)])
    writer.put_entities(con, [(Entity(name="user", keys=("user_id",)), ["BIGINT"])])
    writer.put_statements(
        con, 2, [Statement(feature=None, step="check", sql="SELECT ';'"), Statement(feature="f", step="x", sql="2")]
    )
    assert reader.lineage(con, "user_spend")[0]["origin_column"] == "status"
    assert [(r["source"], r["build"], r["options"], r["files"]) for r in reader.sources(con)] == [
        ("tx", 2, {"header": True}, 0)
    ]
    assert reader.entities(con) == [
        {"entity": "user", "keys": ["user_id"], "types": ["BIGINT"], "parts": [], "description": None}
    ]
    assert [(r["position"], r["feature"], r["sql"]) for r in reader.statements_of(con, 2)] == [
        (1, None, "SELECT ';'"),
        (2, "f", "2"),
    ]


def test_versions_of_a_feature_set(con):
    members = (
        FeatureRef(name="user_spend", version=Pin(1), columns=("a", "b"), keys={"user_id": "buyer"}, prefix="b_"),
    )
    sets = [StoredSet(name="s", version=n, members=members, written=("user_spend:a,b",)) for n in (1, 2)]
    for one in sets:
        writer.put_feature_set(con, one, build=1, created_at="2026-03-01T10:00:00+01:00")
    assert reader.state(con).feature_sets == {"s": tuple(sets)}
    rows = reader.feature_sets(con, "s")
    assert [(r["version"], r["is_current"], r["features"]) for r in rows] == [
        (1, False, ["user_spend@1:a,b"]),
        (2, True, ["user_spend@1:a,b"]),
    ]
    assert rows[0]["created_at"] == datetime.datetime(2026, 3, 1, 9)


def test_builds(con):
    writer.record_build(
        con,
        BuildRecord(
            build=1,
            status="partial",
            started_at="2026-03-01T09:00:00Z",
            finished_at="2026-03-01T09:00:02.5Z",
            mlforge_version="0",
            duckdb_version="1",
            failed=("f",),
            arguments={"force": True},
        ),
    )
    (row,) = reader.builds(con)
    assert (row["seconds"], row["failed"], row["arguments"]) == (2.5, ["f"], {"force": True})
    assert reader.state(con).last_build == 1
    assert writer.next_build(con) == 2


def test_deleted_versions_are_gone_everywhere(con):
    put(con, V100, V101, current=V101)
    writer.put_lineage(con, "user_spend", V100, [Edge(column="a", kind="source", origin="tx")])
    writer.delete_versions(con, "user_spend", [V100])
    assert [r["version"] for r in reader.versions(con)] == ["1.0.1"]
    assert reader.columns(con, "user_spend", V100) == []
    assert reader.lineage(con) == []
    assert len(reader.columns(con, "user_spend", V101)) == 3


def test_many_rows_go_in_order(con):
    ran = [Statement(feature=None, step="s", sql=str(n)) for n in range(250)]
    writer.put_statements(con, 1, ran)
    assert [r["sql"] for r in reader.statements_of(con, 1)] == [str(n) for n in range(250)]


def test_every_table_and_column_is_described(con):
    assert (
        con.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'mlforge' AND comment IS NULL"
        ).fetchall()
        == []
    )
    assert (
        con.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'mlforge' AND comment IS NULL"
        ).fetchall()
        == []
    )
    assert len(con.execute("SELECT 1 FROM duckdb_tables() WHERE schema_name = 'mlforge'").fetchall()) == 17


def test_comments_on_a_view(con):
    con.execute('CREATE VIEW features.user_spend AS SELECT 1 AS a, 2 AS "b c"')
    writer.comment(con, "user_spend", "it's spent", {"b c": "odd; name"})
    assert con.execute("SELECT comment FROM duckdb_views() WHERE view_name = 'user_spend'").fetchall() == [
        ("it's spent",)
    ]
    assert con.execute(
        "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'user_spend' ORDER BY column_index"
    ).fetchall() == [("a", None), ("b c", "odd; name")]


def test_ids_of_records_sort_by_time(tmp_path):
    path = tmp_path / "catalog.duckdb"
    ids = [log.write(path, "dataset", {"rows": n}) for n in range(5)]
    assert ids == sorted(ids)
    assert [r["rows"] for r in log.read(path, "dataset")] == [0, 1, 2, 3, 4]
    assert log.read(path, "verify") == []
    assert sorted(f.name for f in log.folder(path).iterdir()) == sorted(f"dataset-{i}.json" for i in ids)


def test_drained_records_are_in_the_table_once_even_after_a_crash(con, tmp_path):
    path = tmp_path / "catalog.duckdb"
    record = {"features": ["f@1.0.0"], "labels": {"kind": "sql", "sql": "SELECT 1"}, "rows": 3, "content_hash": "ab"}
    first = log.write(path, "dataset", record)
    assert [p.name for p in log.drain(con, path)] == [f"dataset-{first}.json"]
    second = log.write(path, "dataset", record)  # the first file is still there: its build died after COMMIT
    assert [r["id"] for r in reader.datasets(con, path)] == [first, second]
    assert len(log.drain(con, path)) == 2
    assert con.execute("SELECT id, label_kind, rows FROM mlforge.datasets ORDER BY id").fetchall() == [
        (first, "sql", 3),
        (second, "sql", 3),
    ]
    (same, _) = reader.datasets(con, path)
    assert {k: same[k] for k in record} == record


def test_what_cannot_be_decoded_is_an_error_of_the_catalog(con):
    put(con, V100, current=V100)
    con.execute("UPDATE mlforge.versions SET compiled = '{}'")
    with pytest.raises(file.CatalogError, match="the catalog holds what this mlforge cannot read"):
        reader.state(con)


def test_a_broken_record_is_named(tmp_path):
    path = tmp_path / "catalog.duckdb"
    log.write(path, "dataset", {})
    (log.folder(path) / "dataset-x.json").write_text("{")
    with pytest.raises(file.CatalogError, match=re.escape("dataset-x.json is not a record of mlforge")):
        log.read(path, "dataset")
