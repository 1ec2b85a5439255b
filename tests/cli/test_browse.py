"""list, inspect, versions, show, render, profile, explain, diff, manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mlforge.project.scaffold import create
from tests.cli.running import Shop, mlforge

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = ["payment_size", "user_last_purchase", "user_profile", "user_spend"]


def rows(root: Path, *arguments: object) -> Any:
    return mlforge("-C", root, *arguments, "--json").json


@pytest.mark.parametrize(
    ("what", "key", "expected"),
    [
        ("features", "feature", FEATURES),
        ("entities", "entity", ["user"]),
        ("sources", "source", ["transactions", "users"]),
        ("feature-sets", "feature_set", ["spend_v1"]),
        ("tags", "tag", ["daily", "users"]),
        ("builds", "build", [1, 2]),
        ("datasets", "id", []),
    ],
)
def test_list(built: Path, what: str, key: str, expected: list[Any]) -> None:
    assert [row[key] for row in rows(built, "list", what)] == expected
    said = mlforge("-C", built, "list", what)
    assert all(str(name) in said.out for name in expected)


def test_list_versions(built: Path) -> None:
    found = [(r["feature"], r["version"]) for r in rows(built, "list", "versions") if r["feature"] == "user_spend"]
    assert found == [("user_spend", "1.0.0"), ("user_spend", "1.1.0")]


def test_list_shows_features_by_default_and_aligns_them(built: Path) -> None:
    head, line, *body = mlforge("-C", built, "list").out.splitlines()
    assert head.split() == ["feature", "kind", "entity", "current", "version", "held", "tags", "description"]
    assert set(line) == {"-", " "}
    assert [row.split()[0] for row in body] == FEATURES


@pytest.mark.parametrize("what", ["features", "entities", "sources", "feature-sets"])
def test_list_before_the_first_build_shows_what_the_project_says(tmp_path: Path, what: str) -> None:
    create(tmp_path / "new", "new")
    found = rows(tmp_path / "new", "list", what)
    assert found
    assert all("build" not in row for row in found)


def test_list_says_that_a_feature_is_not_built(shop: Shop) -> None:
    shop.path("features/other.sql").write_text(shop.path("features/user_profile.sql").read_text())
    assert "other not built" in " ".join(shop.run("list").out.split()).replace("  ", " ")


@pytest.mark.parametrize(
    ("what", "makes"),
    [
        ("versions", "mlforge build makes the catalog"),
        ("builds", "mlforge build makes the catalog"),
        ("tags", "features state them, as in config(tags=[...])"),
        ("datasets", "mlforge training-set makes one"),
    ],
)
def test_list_of_nothing(tmp_path: Path, what: str, makes: str) -> None:
    create(tmp_path / "new", "new")
    assert mlforge("-C", tmp_path / "new", "list", what).out == f"no {what}: {makes}\n"


def test_list_of_something_unknown(built: Path) -> None:
    said = mlforge("-C", built, "list", "fetures", code=2)
    assert said.err == "error: there is nothing called 'fetures' to list\nhint: did you mean 'features'?\n"


def test_a_bare_catalog_is_enough(built: Path) -> None:
    assert [r["feature"] for r in rows(built / "catalog.duckdb", "list")] == FEATURES


def test_inspect_a_feature(built: Path) -> None:
    found = rows(built, "inspect", "feature", "user_spend")
    assert found["current_version"] == "1.1.0"
    assert found["columns"][0]["column_name"] == "spend_7d"
    assert [v["version"] for v in found["versions"]] == ["1.0.0", "1.1.0"]
    assert found["read_by"] == ["payment_size"]
    assert {c["check_name"] for c in found["checks"]} >= {"not_null()", "greater_than(0)"}
    said = mlforge("-C", built, "inspect", "feature", "user_spend").out
    assert "SUM(amount) OVER last_7d" in said
    assert "\nlineage\n" in said


def test_inspect_an_entity_and_a_source(built: Path) -> None:
    assert rows(built, "inspect", "entity", "user")["features"] == FEATURES
    assert rows(built, "inspect", "source", "users")["read_by"] == ["user_profile"]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["planet", "user"], "'planet' cannot be inspected", "feature"),
        (["feature", "user_spent"], "the catalog has no feature 'user_spent'", "did you mean 'user_spend'?"),
        (["entity", "usr"], "the catalog has no entity 'usr'", "did you mean 'user'?"),
        (["source", "user"], "the catalog has no source 'user'", "did you mean 'users'?"),
    ],
)
def test_inspect_something_unknown(built: Path, arguments: list[str], message: str, hint: str) -> None:
    said = mlforge("-C", built, "inspect", *arguments, code=2)
    assert f"error: {message}\n" in said.err
    assert hint in said.err


def test_versions(built: Path) -> None:
    found = rows(built, "versions", "user_spend")
    assert [(r["version"], r["change"], r["is_current"]) for r in found] == [
        ("1.0.0", "new", False),
        ("1.1.0", "minor", True),
    ]
    assert "column biggest added" in mlforge("-C", built, "versions", "user_spend").out


def test_versions_of_a_feature_set(built: Path) -> None:
    assert [r["version"] for r in rows(built, "versions", "spend_v1")] == [1]


def test_versions_of_something_unknown(built: Path) -> None:
    said = mlforge("-C", built, "versions", "user_spent", code=2)
    assert said.err == "error: the catalog has no feature 'user_spent'\nhint: did you mean 'user_spend'?\n"


def test_show(built: Path) -> None:
    found = rows(built, "show", "user_profile", "-n", "3")
    assert len(found) == 3
    assert list(found[0]) == ["user_id", "country", "plan", "signed_up"]
    newest = rows(built, "show", "user_last_purchase:last_merchant", "--key", "user_id=7", "--limit", "1")
    assert newest == [{"user_id": 7, "event_time": "2024-06-01T10:00:00", "last_merchant": "grocer"}]


def test_show_a_version(built: Path) -> None:
    assert "biggest" in rows(built, "show", "user_spend")[0]
    assert "biggest" not in rows(built, "show", "user_spend@1.0")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["payment_size"], "payment_size is computed on demand and has no rows"),
        (["user_spend", "--key", "7"], "--key 7 has no value"),
        (["user_spend", "--key", "id=7"], "user_spend has no key 'id'"),
        (["user_spend", "--key", "user_id=x"], "the key does not fit"),
        (["user_spend@9"], "user_spend has no version 9"),
        (["user_spend:spend"], "user_spend has no column 'spend'"),
        (["user spend"], "'user spend' is not a reference"),
        (["user_spend", "-n", "0"], "Invalid value for '--limit'"),
    ],
)
def test_show_what_is_not_there(built: Path, arguments: list[str], message: str) -> None:
    assert message in mlforge("-C", built, "show", *arguments, code=2).err


def test_render(built: Path) -> None:
    said = mlforge("-C", built, "render", "user_spend")
    assert 'FROM "_mlforge_source"."transactions"' in said.out
    assert "config(" not in said.out
    assert "did you mean 'user_spend'?" in mlforge("-C", built, "render", "user_spnd", code=2).err
    assert "only a catalog was opened" in mlforge("-C", built / "catalog.duckdb", "render", "user_spend", code=1).err


def test_profile_of_a_feature(built: Path) -> None:
    found = {r["column_name"]: r for r in rows(built, "profile", "user_spend")}
    assert found["payments_7d"]["nulls"] == 0
    assert found["biggest"]["rows"] == found["spend_7d"]["rows"]
    assert [r["column_name"] for r in rows(built, "profile", "user_spend:biggest")] == ["biggest"]
    assert "most frequent" in mlforge("-C", built, "profile", "user_spend").out


def test_profiles(built: Path) -> None:
    assert rows(built, "profile") == [{"profile": "dev", "used": True, "kind": "duckdb", "path": "catalog.duckdb"}]
    assert "catalog.duckdb" in mlforge("-C", built, "profile").out


def test_diff(built: Path) -> None:
    found = rows(built, "diff", "user_spend")
    assert (found["old"], found["new"], found["same"]) == ("1.0.0", "1.1.0", False)
    assert found["definition"]["bump"] == "minor"
    assert found["data"]["only_old"] == 0
    assert found["data"]["only_new"] == found["data"]["rows_new"] - found["data"]["rows_old"]
    said = mlforge("-C", built, "diff", "user_spend").out
    assert said.startswith("user_spend: 1.0.0 -> 1.1.0\n  column biggest added (DECIMAL(10,2))\n  rows: ")


def test_diff_counts_changed_rows(shop: Shop) -> None:
    path = shop.path("data/transactions.csv")
    lines = path.read_text().splitlines()
    changed = [x.replace("grocer", "market") for x in lines]
    path.write_text("\n".join(changed) + "\n")
    shop.run("build", "-f", "user_last_purchase")
    found = rows(shop.root, "diff", "user_last_purchase")
    settled = sum("grocer" in x and x.endswith("settled") for x in lines)
    assert found["data"]["changed"] == found["data"]["columns"]["last_merchant"] == settled
    assert found["data"]["sample"][0]["last_merchant (old)"] == "grocer"
    assert found["data"]["sample"][0]["last_merchant (new)"] == "market"
    assert "last_amount (old)" not in found["data"]["sample"][0]


def test_diff_exit_codes(built: Path) -> None:
    mlforge("-C", built, "diff", "user_spend", "--exit-code", code=3)
    said = mlforge("-C", built, "diff", "user_spend", "1.1.0", "1.1.0", "--exit-code")
    assert "definition: the same" in said.out


def test_diff_of_an_on_demand_feature_is_of_its_definition(built: Path) -> None:
    assert "data: not compared" in mlforge("-C", built, "diff", "payment_size").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["user_spent"], "the catalog has no feature 'user_spent'"),
        (["user_spend", "9"], "user_spend has no version 9"),
        (["user_spend", "new"], "'new' is not a version"),
    ],
)
def test_diff_of_what_is_not_there(built: Path, arguments: list[str], message: str) -> None:
    assert message in mlforge("-C", built, "diff", *arguments, code=2).err


def test_diff_without_a_version_before(built_once: Path) -> None:
    said = mlforge("-C", built_once, "diff", "user_spend", code=2)
    assert "user_spend has no version before 1.0.0" in said.err


def test_the_manifest_is_deterministic_and_without_paths_or_times(built: Path, tmp_path: Path) -> None:
    said = mlforge("-C", built, "manifest").out
    found = json.loads(said)
    assert list(found["features"]) == FEATURES
    assert found["sources"]["users"]["path"] == "data/users.csv"
    assert list(found["features"]["user_spend"]["versions"]) == ["1.0.0", "1.1.0"]
    assert str(built) not in said
    assert mlforge("-C", built, "manifest", "--out", tmp_path / "m.json").out == f"wrote {tmp_path / 'm.json'}\n"
    assert (tmp_path / "m.json").read_text() == said


def test_two_catalogs_of_one_project_have_one_manifest(built_once: Path, tmp_path: Path) -> None:
    create(tmp_path / "shop", "shop")
    mlforge("-C", tmp_path / "shop", "build")
    assert mlforge("-C", tmp_path / "shop", "manifest").out == mlforge("-C", built_once, "manifest").out
