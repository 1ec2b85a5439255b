"""What is written to the tables of mlforge is read back as it was."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import duckdb
import msgspec
import pytest

from mlforge.catalog import file, log, migrations, reader, whole, writer
from mlforge.errors import RecordWarning
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
    StoredFeature,
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
    feature = StoredFeature(
        name="user_spend",
        current=current,
        held=held,
        config=CONFIG,
        path="features/u.sql",
        sql="SELECT 1",
        versions=(stored(V100),),
    )
    writer.put_feature(con, feature)


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
        feature="user_spend",
        column="z",
        type="DOUBLE",
        rows=4,
        nulls=1,
        nans=1,
        distinct=2,
        min="1",
        max="2",
        mean=1.5,
        std=0.5,
        quantiles={"0.5": 1.5},
        edges=(1.0, 1.5, 2.0),
        counts=(1, 1),
        top=(("1", 1), ("2", 1)),
    )
    second = ColumnStats(
        feature="user_spend",
        column="a",
        type="VARCHAR",
        rows=4,
        nulls=4,
        nans=0,
        distinct=0,
        min=None,
        max=None,
        mean=None,
        std=None,
    )
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


DATASET = {
    "features": ["f@1.0.0", "g@2.10.3:a,b"],
    "references": [{"feature": "f", "version": "1.0.0", "columns": [], "keys": {}, "prefix": ""}],
    "labels": {"kind": "sql", "text": "SELECT 1", "digest": None, "content_hash": "cd"},
    "label_time": "label_time",
    "keys": ["k"],
    "columns": ["x"],
    "rows": 3,
    "content_hash": "ab",
}
PUBLISH = {"kind": "redis", "store": "redis://h", "namespace": "n", "generation": 3, "features": ["f@1.0.0"]}
VERIFICATION = {
    "status": "passed",
    "features": [{"feature": "f", "version": "1.0.0"}],
    "sample": 10,
    "seed": -1,
    "known_as_of": None,
    "values": 10,
    "mismatched": 0,
}
RECORDS = {"dataset": DATASET, "publish": PUBLISH, "showing": PUBLISH, "verification": VERIFICATION}


def test_ids_of_records_sort_by_time(tmp_path):
    path = tmp_path / "catalog.duckdb"
    ids = [log.write(path, "dataset", DATASET | {"rows": n}) for n in range(5)]
    assert ids == sorted(ids)
    assert [r["rows"] for r in log.read(path, "dataset")] == [0, 1, 2, 3, 4]
    assert log.read(path, "verification") == []
    assert sorted(f.name for f in log.folder(path).iterdir()) == sorted(f"dataset-{i}.json" for i in ids)


def test_drained_records_are_in_the_table_once_even_after_a_crash(con, tmp_path):
    path = tmp_path / "catalog.duckdb"
    record = DATASET
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


NO_RECORDS = {
    b"{": "Input data was truncated",
    b"": "Input data was truncated",
    b"[]": "Expected `object`, got `array`",
    b"{}": "missing required field `id`",
    b"\xff{}": "JSON is malformed",
    b"[" * 100_000: "",
    b'{"id": 7}': "Expected `str`, got `int`",
}
"""What a file holds that is no record of any kind, and why."""
WRONG = [
    *[
        (kind, name, None)
        for kind, record in RECORDS.items()
        for name in record
        if name not in ("label_time", "known_as_of")
    ],
    *[(kind, "created_at", text) for kind in RECORDS for text in ("yesterday", 7, None)],
    *[(kind, "id", text) for kind in RECORDS for text in ("other", "../../x", "", 7)],
    *[(kind, "features", what) for kind in RECORDS for what in ("f@1.0.0", ["f@1"], ["f"], [1], {"f": 1}, ["f@a.b.c"])],
    *[
        (kind, name, n)
        for kind, name in (
            ("dataset", "rows"),
            ("publish", "generation"),
            ("verification", "values"),
            ("verification", "seed"),
        )
        for n in ("3", 1.5, 2**63, -(2**63) - 1)
    ],
    ("dataset", "labels", {}),
    ("dataset", "labels", "sql"),
    ("dataset", "references", [{"feature": "f"}]),
    ("dataset", "keys", [1]),
    ("dataset", "label_time", 1),
    ("dataset", "known_as_of", 1),
]


def test_records_of_every_kind_are_read_and_drained(con, tmp_path):
    path = tmp_path / "catalog.duckdb"
    for kind, record in RECORDS.items():
        log.write(path, kind, record | {"something_of_a_later_mlforge": [1]})
        assert [{k: r[k] for k in record} for r in log.read(path, kind)] == [record]
    assert [p.name.partition("-")[0] for p in log.drain(con, path)] == ["dataset", "publish", "verification"]


@pytest.mark.parametrize("kind", RECORDS)
def test_what_is_no_record_is_left_out_and_set_aside(con, tmp_path, kind):
    """Reading goes on without it; a build or gc moves it out of the way, and takes in the others."""
    path = tmp_path / "catalog.duckdb"
    good = log.write(path, kind, RECORDS[kind])
    right = {"id": "x", "created_at": "2024-01-01T00:00:00Z"} | RECORDS[kind]
    broken = list(NO_RECORDS.items())
    for name, value in [(n, v) for k, n, v in WRONG if k == kind]:
        whole_record = right | {"id": f"x{len(broken)}"} | {name: value}
        why = "its id is not the one" if name == "id" and value in ("other", "../../x") else f"`$.{name}"
        broken.append((msgspec.json.encode(whole_record), why))
    files = {}
    for number, (content, why) in enumerate(broken):
        files[log.folder(path) / f"{kind}-x{number}.json"] = content, why
    for file_, (content, _) in files.items():
        file_.write_bytes(content)
    with pytest.warns(RecordWarning) as told:
        assert [r["id"] for r in log.read(path, kind)] == [good]
    said = {str(w.message).partition(f" is not a {kind} record of mlforge and is left out: ")[::2] for w in told}
    assert {place for place, _ in said} == {str(f) for f in files}
    assert all(files[Path(place)][1] in why and why for place, why in said)
    if kind == "showing":  # of no table
        return
    with pytest.warns(RecordWarning, match=r"is set aside, as a file that ends in \.aside: ") as told:
        assert [p.name for p in log.drain(con, path)] == [f"{kind}-{good}.json"]
    assert len(told) == len(files)
    assert all(f.with_name(f"{f.name}.aside").read_bytes() == content for f, (content, _) in files.items())
    assert [r["id"] for r in log.read(path, kind)] == [good]


def test_a_folder_where_a_record_should_be(con, tmp_path):
    path = tmp_path / "catalog.duckdb"
    (log.folder(path) / "dataset-x.json").mkdir(parents=True)
    with pytest.warns(RecordWarning, match="dataset-x.json is not a dataset record of mlforge and is set aside"):
        assert log.drain(con, path) == []
    assert (log.folder(path) / "dataset-x.json.aside").is_dir()


def test_records_that_an_earlier_mlforge_took_in_unseen(con, tmp_path):
    """They lie in the tables by now, and must not stop builds and gc."""
    path = tmp_path / "catalog.duckdb"
    for kind, table in (("dataset", "datasets"), ("publish", "publishes")):
        log.write(path, kind, RECORDS[kind])
        (file_,) = log.drain(con, path)
        file_.unlink()
        con.execute(f"UPDATE mlforge.{table} SET record = json_object('id', id, 'created_at', 'x')")
    with pytest.warns(RecordWarning) as told:
        assert reader.naming(con, path) == []
    assert [str(w.message).partition(" of the catalog ")[2].partition(":")[0] for w in told] == [
        "is no dataset record of mlforge and is left out",
        "is no publish record of mlforge and is left out",
    ]


def test_leftovers_of_dead_writers_are_swept_and_those_at_work_are_not(tmp_path):
    path = tmp_path / "catalog.duckdb"
    kept = log.write(path, "publish", PUBLISH)
    folder = log.folder(path)
    code = "import sys, os, signal; from pathlib import Path; from mlforge.catalog.whole import whole_file\n"
    code += "with whole_file(Path(sys.argv[1])) as (out, _): out.write(b'half'); out.flush(); os.kill(os.getpid(), 9)"
    for name in ("publish-1.json", "labels-1.parquet"):
        assert subprocess.run([sys.executable, "-c", code, str(folder / name)], check=False).returncode == -9
    assert len(list(folder.iterdir())) == 3
    with whole.whole_file(folder / "dataset-1.json") as (_, at_work):
        log.sweep(path)
        assert sorted(p.name for p in folder.iterdir()) == sorted([at_work.name, f"publish-{kept}.json"])
    assert sorted(p.name for p in folder.iterdir()) == ["dataset-1.json", f"publish-{kept}.json"]
    log.sweep(tmp_path / "there is none.duckdb")
