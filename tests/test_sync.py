"""sync: a second machine makes the versions of a committed manifest, and says what is not the same."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from mlforge.building.options import BuildOptions
from mlforge.plan.increments import Scope
from tests.cli.running import Said, mlforge
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = """\
name: small
sources:
  ev: {path: data/ev}
  users: {path: data/users.csv}
entities:
  user: {key: k}
feature_sets:
  s1: [spend, "last:x_last"]
  s2: [last]
"""
SPEND = """{{ config(entity="user", timestamp="t") }}
SELECT k, t, SUM(x) OVER last_7d AS spend_7d FROM {{ source("ev") }}
"""
LAST = """{{ config(entity="user", timestamp="t") }}
SELECT k, t, x AS x_last FROM {{ source("ev") }}
"""
PROFILE = """{{ config(entity="user") }}
SELECT k, name FROM {{ source("users") }}
"""
TREND = """{{ config(entity="user", timestamp="t") }}
SELECT e.k, e.t, s.x_last * 2 AS doubled FROM {{ source("ev") }} e LEFT JOIN {{ ref("last") }} s ON s.k = e.k
"""
DEMAND = """{{ config(entity="user", on_demand=true, request={"amount": "DOUBLE"}) }}
SELECT amount / NULLIF(s.spend_7d, 0) AS share FROM {{ ref("spend") }} s
"""
FEATURES = {"spend": SPEND, "last": LAST, "profile": PROFILE, "trend": TREND, "share": DEMAND}
DAY_ONE = "SELECT 1 AS k, TIMESTAMP '2024-01-01 10:00' AS t, 5 AS x UNION ALL SELECT 2, TIMESTAMP '2024-01-02 10:00', 7"
DAY_TWO = "SELECT 1 AS k, TIMESTAMP '2024-01-03 10:00' AS t, 11 AS x"
VERSIONS = {"spend": "2.0.1", "last": "1.0.2", "profile": "1.0.0", "trend": "1.0.1", "share": "2.0.1", "s1": 2, "s2": 1}


def run(project: Small, *arguments: object, code: int = 0) -> Said:
    return mlforge("-C", project.root, *arguments, code=code)


def manifest(project: Small) -> None:
    run(project, "manifest", "--out", project.root / "manifest.json")


def clone(project: Small, root: Path) -> Small:
    """The project's files without its catalog."""
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns("catalog*"))
    return Small(root, (project.root / "mlforge.yaml").read_text())


def synced(project: Small, code: int = 0) -> dict[str, Any]:
    """What sync finds, by the name of the feature or of the feature set."""
    found = run(project, "sync", "--json", code=code).json
    assert found["same"] is (code == 0)
    return {f["feature"]: f for f in found["features"]} | {s["feature_set"]: s for s in found["feature_sets"]}


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {name: one["status"] for name, one in found.items()}


def others(**different: str) -> dict[str, str]:
    """The same for all but these."""
    return dict.fromkeys(VERSIONS, "same") | different


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Where the manifest is written: a project with a history. Not to be changed."""
    made = Small(tmp_path_factory.mktemp("sync") / "there", CONFIG)
    made.write("data/ev/1.parquet", DAY_ONE)
    (made.root / "data/users.csv").write_text("k,name\n1,Ann\n2,Bob\n")
    for name, text in FEATURES.items():
        made.feature(name, text)
    made.good()
    made.feature("spend", SPEND.replace("x)", "x + 1)"))
    made.good(upgrade_sets=True)
    made.good("last", force=True)
    made.write("data/ev/2.parquet", DAY_TWO)
    made.good()
    manifest(made)
    return made


@pytest.fixture
def here(there: Small, tmp_path: Path) -> Small:
    return clone(there, tmp_path / "here")


def test_a_fresh_clone_gets_the_versions_of_the_manifest(here: Small, there: Small) -> None:
    found = synced(here)
    assert statuses(found) == others()
    assert {name: one["version"] for name, one in found.items()} == VERSIONS
    assert all(one["built"] for name, one in found.items() if name in FEATURES)
    versions = here.sql("SELECT feature, version FROM mlforge.versions")
    assert dict(versions) == {name: VERSIONS[name] for name in FEATURES}
    assert here.sql("SELECT feature_set, version FROM mlforge.feature_sets ORDER BY 1") == [("s1", 2), ("s2", 1)]
    for view in ("spend", "last", "profile", "trend", "spend@2.0.1"):
        assert here.view(view) == there.view(view)
    assert here.sql("FROM mlforge.lineage ORDER BY ALL")


def test_hashes_are_shown_and_an_on_demand_feature_has_none(here: Small) -> None:
    found = synced(here)
    assert found["spend"]["content"] == found["spend"]["content_here"]
    assert len(found["spend"]["content"]) == 64
    assert (found["spend"]["rows"], found["spend"]["rows_here"]) == (3, 3)
    assert (found["share"]["content"], found["share"]["content_here"]) == (None, None)


def test_a_second_sync_builds_nothing(here: Small) -> None:
    said = run(here, "sync").out
    assert said.endswith("sync: 5 of 5 features, 2 of 2 feature sets the same (build 1)\n")
    again = run(here, "sync").out
    assert again.splitlines() == [
        *(f"same       {name} {VERSIONS[name]}" for name in sorted(FEATURES)),
        "same       set s1 2",
        "same       set s2 1",
        "sync: 5 of 5 features, 2 of 2 feature sets the same",
    ]
    assert run(here, "build").out.endswith("Nothing to do.\n")


def test_where_the_manifest_was_written_all_is_the_same(there: Small) -> None:
    assert statuses(synced(there)) == others()


def test_builds_go_on_from_the_numbers_of_the_manifest(here: Small) -> None:
    run(here, "sync")
    here.write("data/ev/3.parquet", DAY_TWO.replace("01-03", "01-04"))
    assert here.good() == {"spend": "2.0.2", "last": "1.0.3", "trend": "1.0.2", "share": "2.0.2"}


def test_other_files_are_named(here: Small) -> None:
    (here.root / "data/ev/2.parquet").unlink()
    here.write("data/ev/1.parquet", DAY_ONE.replace("5 AS x", "6 AS x"))
    here.write("data/ev/0.parquet", DAY_TWO)
    found = synced(here, code=1)
    assert statuses(found) == others(spend="rows", last="rows", trend="rows")
    assert found["spend"]["reasons"] == ["the sources differ"]
    assert found["spend"]["sources"] == [
        {
            "source": "ev",
            "added": ["data/ev/0.parquet"],
            "changed": ["data/ev/1.parquet"],
            "missing": ["data/ev/2.parquet"],
            "note": None,
        }
    ]
    said = run(here, "sync", code=1).out
    assert "rows       spend 2.0.1\n           3 rows there, 3 here\n           the sources differ\n" in said
    assert said.count("source     ev\n           added data/ev/0.parquet\n           changed data/ev/1.parquet\n") == 1
    assert "           missing data/ev/2.parquet\nsync: 2 of 5 features, 2 of 2 feature sets the same\n" in said


def test_other_files_with_the_same_rows_are_the_same(here: Small) -> None:
    (here.root / "data/ev/2.parquet").rename(here.root / "data/ev/9.parquet")
    found = synced(here)
    assert found["spend"]["sources"][0]["added"] == ["data/ev/9.parquet"]


def test_another_definition_is_shown_and_not_built(here: Small) -> None:
    here.feature("last", LAST.replace("x AS", "x + 1 AS"))
    found = synced(here, code=1)
    assert statuses(found) == others(last="definition", trend="blocked", s1="blocked", s2="blocked")
    assert found["last"]["reasons"] == ["column x_last: meaning changed: x -> x + 1"]
    assert found["trend"]["reasons"] == ["reads last, which is not the same here"]
    assert found["s1"]["reasons"] == ["last is not the same here"]
    assert here.sql("SELECT DISTINCT feature FROM mlforge.versions ORDER BY 1") == [
        ("profile",),
        ("share",),
        ("spend",),
    ]


def test_another_spelling_is_the_same_definition(here: Small) -> None:
    here.feature("last", LAST.replace("SELECT k, t,", "select K,\n  t, -- the time\n "))
    assert statuses(synced(here)) == others()


def test_features_of_one_side_only(here: Small) -> None:
    (here.root / "features/last.sql").unlink()
    (here.root / "features/trend.sql").unlink()
    here.feature("more", PROFILE)
    here.config(CONFIG.replace("  s2: [last]", "  s3: [spend]").replace('  s1: [spend, "last:x_last"]\n', ""))
    found = synced(here, code=1)
    assert statuses(found) == {
        **dict.fromkeys(("spend", "profile", "share"), "same"),
        "last": "missing",
        "trend": "missing",
        "more": "extra",
        "s1": "missing",
        "s2": "missing",
        "s3": "extra",
    }
    assert found["more"]["reasons"] == ["not in the manifest"]
    assert found["last"]["reasons"] == ["not in the project"]


def test_a_source_that_is_not_here_fails_only_what_reads_it(here: Small) -> None:
    (here.root / "data/users.csv").unlink()
    found = synced(here, code=1)
    assert statuses(found) == others(profile="failed")
    assert found["profile"]["reasons"] == ["source 'users': no csv file at data/users.csv"]


def test_a_build_that_fails_is_said(here: Small) -> None:
    here.feature("profile", PROFILE.replace('"user")', '"user", validators={"k": greater_than(1)})'))
    found = synced(here, code=1)
    assert statuses(found) == others(profile="failed")
    assert found["profile"]["reasons"] == ["check output.k: greater_than(1) failed for 1 of 2 rows"]


def before_day_two(here: Small, *names: str) -> None:
    """Build from the first day's rows, then put the second day's back."""
    day_two = here.root / "data/ev/2.parquet"
    day_two.rename(here.root / "later")
    here.good(*names)
    (here.root / "later").rename(day_two)


@pytest.mark.parametrize("before", [before_day_two, lambda here: here.good() and None])
def test_an_older_catalog_goes_on_to_the_versions_of_the_manifest(
    here: Small, there: Small, before: Callable[[Small], None]
) -> None:
    before(here)
    assert here.sql("SELECT DISTINCT version FROM mlforge.versions") == [("1.0.0",)]
    found = synced(here)
    assert statuses(found) == others()
    assert {name: one["version"] for name, one in found.items()} == VERSIONS
    assert found["profile"]["built"] is False
    for view in ("spend", "last", "trend", "spend@2.0.1", "last@1.0.2"):
        assert here.view(view) == there.view(view)


def test_rows_built_from_other_sources_stay_different(here: Small) -> None:
    (here.root / "data/ev/2.parquet").rename(here.root / "later")
    synced(here, code=1)
    (here.root / "later").rename(here.root / "data/ev/2.parquet")
    found = synced(here, code=1)
    assert (found["spend"]["status"], found["spend"]["built"]) == ("rows", False)
    assert found["spend"]["sources"][0]["missing"] == ["data/ev/2.parquet"]


def test_a_number_that_another_definition_has_here(here: Small) -> None:
    text = (here.root / "features/spend.sql").read_text()
    here.feature("spend", SPEND.replace("x)", "x + 3)"))
    here.good("spend")
    here.feature("spend", SPEND.replace("x)", "x + 4)"))
    here.good("spend")
    here.good("spend", force=True)  # 2.0.1 with another meaning
    here.feature("spend", text)
    found = synced(here, code=1)
    assert statuses(found) == others(spend="number", share="blocked", s1="blocked")
    assert found["spend"]["reasons"] == ["2.0.1 is another definition in the catalog here"]


def test_a_number_that_cannot_follow(here: Small) -> None:
    text = (here.root / "features/spend.sql").read_text()
    for other in ("x + 3)", "x + 4)"):
        here.feature("spend", SPEND.replace("x)", other))
        here.good("spend")
    here.feature("spend", text)
    found = synced(here, code=1)
    assert found["spend"]["reasons"] == ["the catalog here has 2.0.0, which 2.0.1 cannot follow"]


def test_a_number_that_is_passed_here(here: Small) -> None:
    for _ in range(3):
        here.good("profile", force=True)
    run(here, "gc", "--keep-patches", "1", "--keep-days", "0")
    found = synced(here, code=1)
    assert statuses(found) == others(profile="number")
    assert found["profile"]["reasons"] == ["the catalog here is at 1.0.2, and has no 1.0.0"]


def test_a_rolled_back_feature_is_not_the_same(there: Small, tmp_path: Path) -> None:
    other = Small(tmp_path / "other", CONFIG)
    shutil.copytree(there.root, other.root, dirs_exist_ok=True)
    run(other, "rollback", "last", "1.0.0")
    manifest(other)
    found = synced(clone(other, tmp_path / "here"), code=1)
    assert statuses(found) == others(last="held")
    assert found["last"]["reasons"] == [
        "rolled back to 1.0.0 where the manifest was written: mlforge rollback does that"
    ]


def test_what_reads_an_older_major_cannot_be_made_again(there: Small, tmp_path: Path) -> None:
    other = Small(tmp_path / "other", CONFIG)
    shutil.copytree(there.root, other.root, dirs_exist_ok=True)
    other.feature("spend", SPEND)
    assert other.good("spend") == {"spend": "3.0.0"}  # s1 stays on spend@2, and share was not built
    manifest(other)
    found = synced(clone(other, tmp_path / "here"), code=1)
    assert statuses(found) == others(share="blocked", s1="blocked")
    why = "reads spend@2.0, which this project cannot make: its files are those of 3.0.0"
    assert found["share"]["reasons"] == [why]
    assert found["s1"]["reasons"] == ["it reads spend@2, and the files here make spend 3.0.0"]
    found = synced(other, code=1)
    assert statuses(found) == others(share="definition")


def test_a_feature_set_that_alone_has_changed(there: Small, tmp_path: Path) -> None:
    other = Small(tmp_path / "other", CONFIG)
    shutil.copytree(there.root, other.root, dirs_exist_ok=True)
    mate = clone(other, tmp_path / "here")
    synced(mate)
    for project in (other, mate):
        project.config(CONFIG.replace("  s2: [last]", "  s2: [last, profile]"))
    other.good()
    manifest(other)
    shutil.copy(other.root / "manifest.json", mate.root)
    found = synced(mate)
    assert (found["s2"]["status"], found["s2"]["version"]) == ("same", 2)
    assert not any(found[name]["built"] for name in FEATURES)


def test_keys_and_prefixes_of_a_feature_set_are_compared(there: Small, tmp_path: Path) -> None:
    other = Small(tmp_path / "other", CONFIG)
    shutil.copytree(there.root, other.root, dirs_exist_ok=True)
    entry = "  s3: [{feature: last, keys: {k: buyer}, prefix: buyer_}]\n"
    other.config(CONFIG + entry)
    other.good()
    manifest(other)
    mate = clone(other, tmp_path / "here")
    assert statuses(synced(mate))["s3"] == "same"
    mate = clone(other, tmp_path / "changed")
    mate.config(CONFIG + entry.replace("buyer_", "b_"))
    found = synced(mate, code=1)["s3"]
    assert (found["status"], found["reasons"]) == (
        "definition",
        ["last@1 (k=buyer, prefix buyer_) there, last@1 (k=buyer, prefix b_) here"],
    )


def test_files_outside_of_the_project_are_found_again(tmp_path: Path) -> None:
    there = Small(tmp_path / "one/there", "name: small\nsources: {ev: {path: ../rows}}\nentities: {user: {key: k}}\n")
    there.write("../rows/1.parquet", DAY_ONE)
    there.feature("last", LAST)
    there.good()
    manifest(there)
    assert str(tmp_path) not in (there.root / "manifest.json").read_text()
    shutil.copytree(tmp_path / "one/rows", tmp_path / "two/rows")
    (found,) = synced(clone(there, tmp_path / "two/here")).values()
    assert (found["status"], found["sources"]) == ("same", [])


WIDE = {  # what only the first build sees, what stays, and the type that the column keeps
    "folders": ("data/ev/x=abc/1.parquet", "data/ev/x=7/2.parquet", "", "VARCHAR"),
    "dates": ("data/ev/x=2024-01-01/1.parquet", "data/ev/x=7/2.parquet", "", "VARCHAR"),
    "parquet": ("data/ev/1.parquet", "data/ev/2.parquet", ", {} AS x", "DOUBLE"),
    "csv": ("data/ev/1.csv", "data/ev/2.csv", ", {} AS x", "DOUBLE"),
}


@pytest.mark.parametrize("kind", WIDE)
def test_columns_have_the_types_that_the_first_build_found(tmp_path: Path, kind: str) -> None:
    gone, stays, column, found = WIDE[kind]
    project = Small(tmp_path / "there", CONFIG.replace("data/ev}", f"data/ev/**/*{gone[gone.rindex('.') :]}}}"))
    project.config((project.root / "mlforge.yaml").read_text().partition("feature_sets")[0])
    project.write(gone, "SELECT 1 AS k, TIMESTAMP '2024-01-01' AS t" + column.format("2.5::DOUBLE"))
    project.write(stays, "SELECT 1 AS k, TIMESTAMP '2024-01-02' AS t" + column.format("7::INTEGER"))
    project.feature("last", LAST)
    project.good()
    (project.root / gone).unlink()
    project.good()
    manifest(project)
    written = json.loads((project.root / "manifest.json").read_text())
    assert written["sources"]["ev"]["types"]["x"] == found
    fresh = clone(project, tmp_path / "fresh")
    assert statuses(synced(fresh)) == {"last": "same"}
    assert fresh.sql("SELECT typeof(x_last) FROM features.last") == [(found,)]
    assert fresh.actions() == {"last": "none"}, "and builds here go on with them"
    older = clone(project, tmp_path / "older")
    del written["sources"]["ev"]["types"]
    (older.root / "manifest.json").write_text(json.dumps(written))
    assert statuses(synced(older, code=1)) == {"last": "definition"}


def test_rows_of_some_event_times_are_explained(tmp_path: Path) -> None:
    there = Small(tmp_path / "there")
    there.write("data/ev.parquet", f"{DAY_ONE} UNION ALL {DAY_TWO}")
    there.feature("last", LAST)
    until = datetime(2024, 1, 3, tzinfo=UTC)
    there.good(scope=Scope(until=int(until.timestamp()) * 1_000_000))
    manifest(there)
    (found,) = synced(clone(there, tmp_path / "here"), code=1).values()
    assert (found["status"], found["rows"], found["rows_here"]) == ("rows", 2, 3)
    why = "there or here it was built for some event times only: --since, --until, --last or --batch"
    assert found["reasons"] == [why]
    assert statuses(synced(there)) == {"last": "same"}


def test_days_of_a_table_that_differ_are_named(tmp_path: Path) -> None:
    config = "name: small\nsources: {ev: {table: main.ev, loaded_at: seen}}\nentities: {user: {key: k}}\n"
    row = "INSERT INTO ev VALUES (1, '2024-01-{day:02} 10:00', {x}, '2024-01-{day:02} 11:00')"
    found = {}
    for name, days in (("there", (1, 2, 3)), ("here", (1, 3, 4))):
        made = Small(tmp_path / name, config)
        with duckdb.connect(str(made.catalog)) as con:
            con.execute("CREATE TABLE ev (k BIGINT, t TIMESTAMP, x BIGINT, seen TIMESTAMP)")
            for day in days:
                con.execute(row.format(day=day, x=day))
            con.execute(row.format(day=3, x=0)) if name == "here" else None
        made.feature("last", LAST)
        if name == "there":
            made.good()
            manifest(made)
        else:
            shutil.copy(tmp_path / "there/manifest.json", made.root)
            found = synced(made, code=1)
    assert found["last"]["reasons"] == ["the sources differ"]
    assert found["last"]["sources"] == [
        {"source": "ev", "added": ["2024-01-04"], "changed": ["2024-01-03"], "missing": ["2024-01-02"], "note": None}
    ]


def test_another_file_and_another_profile(here: Small) -> None:
    here.config(
        CONFIG + "profiles:\n  default: {warehouse: {kind: duckdb, path: catalog.duckdb}}\n"
        "  mate: {warehouse: {kind: duckdb, path: mate.duckdb}}\n"
    )
    (here.root / "manifest.json").rename(here.root / "committed.json")
    run(here, "sync", here.root / "committed.json", "--profile", "mate")
    assert (here.root / "mate.duckdb").exists()
    assert not here.catalog.exists()


@pytest.mark.parametrize(
    ("text", "code", "message", "hint"),
    [
        (None, 2, "there is no manifest at", "where the features were built: mlforge manifest --out manifest.json"),
        ("{", 1, "this is no manifest: Input data was truncated", "mlforge manifest --out manifest.json writes one"),
        ("{}", 1, "this is no manifest: Object missing required field `mlforge_manifest`", "mlforge manifest"),
        ('{"mlforge_manifest": 2}', 1, "missing required field `features`", "mlforge manifest"),
        ('{"mlforge_manifest": 1}', 1, "the manifest is of format 1: has no content hashes", "write it again"),
        ('{"mlforge_manifest": 3}', 1, "the manifest is of format 3: this mlforge reads", "upgrade mlforge"),
    ],
)
def test_what_is_no_manifest(here: Small, text: str | None, code: int, message: str, hint: str) -> None:
    path = here.root / "manifest.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    said = run(here, "sync", code=code)
    assert message in said.err
    assert f"hint: {hint}" in said.err
    assert "manifest.json" in said.err
    assert not here.catalog.exists()


def test_the_manifest_says_what_a_sync_needs(there: Small) -> None:
    found = json.loads((there.root / "manifest.json").read_text())
    spend = found["features"]["spend"]
    assert list(spend["definitions"]) == ["1.0", "2.0"]
    assert list(spend["versions"]) == ["1.0.0", "2.0.0", "2.0.1"]
    assert [bool(v["content"]) for v in spend["versions"].values()] == [False, False, True]
    files = found["states"][spend["versions"]["2.0.1"]["sources"]["ev"]]["parts"]
    assert list(files) == ["data/ev/1.parquet", "data/ev/2.parquet"]


def test_sync_in_python_takes_a_receiver_of_events(here: Small) -> None:
    seen = []
    found = here.forge.sync(here.root / "manifest.json", BuildOptions(), lambda event: seen.append(event.event))
    assert found.same
    assert seen.count("feature_done") == 5
    assert seen[-1] == "committed"
