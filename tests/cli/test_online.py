"""publish, online get, online status; the profile's section online."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import mlforge as mlf
from mlforge.errors import OnlineError, ProjectError
from mlforge.project.online_settings import read_online
from tests.online.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.running import Shop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"), "--appendonly", "no")
    yield made
    made.stop()


def state_online(shop: Shop, text: str) -> None:
    """Give profile dev an online store."""
    config = shop.path("mlforge.yaml")
    old = "warehouse: {kind: duckdb, path: catalog.duckdb}"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, f"{old}, online: {text}"))


def test_publish_and_get(shop: Shop) -> None:
    said = shop.run("publish")
    assert "user_spend@1.1" in said.out
    assert "published shop, generation 1, in " in said.out
    assert shop.path("online.db").is_file()
    assert "nothing to publish: shop is up to date, generation 1" in shop.run("publish").out
    table = shop.run("online", "get", "spend_v1", "--key", "user_id=7")
    assert "PRESENT" in table.out
    assert "payments_7d" in table.out
    assert "last_merchant NULL MISSING" in shop.run("online", "get", "user_last_purchase", "-k", "user_id=99").flat
    (value,) = shop.run("online", "get", "user_spend:biggest", "-k", "user_id=7", "--json").json
    assert (value["column"], value["status"], value["version"]) == ("biggest", "PRESENT", "1.1.0")
    (row,) = mlf.open(shop.root).get_online_features("user_spend:biggest", [{"user_id": 7}])
    assert value["value"] == str(row["biggest"])


def test_publish_of_some_as_json(shop: Shop) -> None:
    found = shop.run("publish", "--features", "user_profile", "--json").json
    assert found["versions"] == ["user_profile@1.0.0"]
    assert [t["action"] for t in found["tables"]] == ["new"]
    assert "user_spend" not in shop.run("online", "status").out
    found = shop.run("publish", "-s", "spend_v1", "--full", "--json").json
    assert "user_spend@1.1.0" in found["versions"]


def test_build_and_publish_in_one_go(shop: Shop) -> None:
    said = shop.run("build", "--online")
    assert "published shop, generation 1" in said.out
    shop.pay("202,7,2024-06-02 10:00:00,grocer,10.00,settled")
    last = shop.run("build", "--online", "--json").out.strip().splitlines()[-1]
    published = json.loads(last)["published"]
    assert published["generation"] == 2
    assert {t["table"]: (t["action"], t["keys"]) for t in published["tables"]}["user_spend@1.1"] == ("changed", 1)
    assert "published" not in shop.run("build", "--online", "--sample", "50%", "--force").out


def test_status_tells_versions_and_ages(shop: Shop) -> None:
    shop.run("publish")
    said = shop.run("online", "status")
    assert "sqlite 3." in said.out
    assert "shop, generation 1, published 20" in said.flat
    assert "feature sets: spend_v1@" in said.out
    found = shop.run("online", "status", "--json").json
    assert found["namespace"] == "shop"
    assert found["age"] < 3600
    assert {"user_spend", "user_profile"} <= {f["feature"] for f in found["features"]}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["publish", "--features", "user_spnd"], 2, "the catalog has no feature 'user_spnd'"),
        (["publish", "--feature-set", "nothing"], 2, "unknown feature set 'nothing'"),
        (["online", "status"], 1, "nothing is published as 'shop' here"),
        (["online", "get", "user_spend", "-k", "user_id=7"], 1, "run mlforge publish"),
        (["online", "get", "user_spend", "-k", "user_id"], 2, "--key user_id has no value"),
    ],
)
def test_what_goes_wrong(shop: Shop, arguments: list[str], code: int, message: str) -> None:
    assert message in shop.run(*arguments, code=code).flat


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "user_id=seven"], "user_id=seven is no integer"),
        (["-k", "user=7"], "an entity row has no 'user_id', a key of user_spend"),
        (["-k", "user_id=7", "--at", "noon"], "'noon' is not an instant"),
    ],
)
def test_keys_that_do_not_fit(shop: Shop, arguments: list[str], message: str) -> None:
    shop.run("publish")
    assert message in shop.run("online", "get", "user_spend", *arguments, code=1).flat


def test_redis_by_its_url_from_the_environment(
    shop: Shop, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_online(shop, '{kind: redis, url: "${SHOP_REDIS}", namespace: other, grace: 1h, max_points: 50}')
    shop.run("list", "features")  # what needs no store needs no variable
    assert "SHOP_REDIS" in shop.run("publish", code=1).flat
    monkeypatch.setenv("SHOP_REDIS", server.url)
    assert "published other, generation 1" in shop.run("publish").out
    said = shop.run("online", "status")
    assert f"at {server.url}" in said.out
    assert not shop.path("online.db").exists()


def test_a_store_that_is_away(shop: Shop) -> None:
    state_online(shop, '{kind: redis, url: "redis://user:secret@127.0.0.1:1/0"}')
    said = shop.run("online", "status", code=1)
    assert "Redis at redis://127.0.0.1:1/0 does not answer as it should" in said.flat
    assert "secret" not in said.flat


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{kind: sqlite, pth: x}", "the online store of profile 'dev' has no setting 'pth'", "did you mean 'path'?"),
        ("{kind: sqlite, url: x}", "the online store of profile 'dev' has no setting 'url'", None),
        ("{kind: redis, path: x}", "the online store of profile 'dev' has no setting 'path'", None),
        ("{grace: soon}", "'grace' of the online store of profile 'dev': 'soon' is not a duration", None),
        ("{max_points: 1}", "'max_points' of the online store of profile 'dev' must be at least 2", None),
        ("{max_points: many}", "'max_points' of the online store of profile 'dev' must be a whole number", None),
    ],
)
def test_settings_that_are_wrong(shop: Shop, text: str, message: str, hint: str | None) -> None:
    state_online(shop, text)
    with pytest.raises(ProjectError) as caught:
        read_online(shop.root, "dev")
    assert message in caught.value.message
    assert hint is None or caught.value.hint == hint
    lines = shop.path("mlforge.yaml").read_text().splitlines()
    assert caught.value.where is not None
    assert text in lines[(caught.value.where.line or 0) - 1]


def test_settings_and_their_defaults(shop: Shop) -> None:
    default = {
        "namespace": "shop",
        "kind": "sqlite",
        "path": str(shop.path("online.db")),
        "max_points": 500,
        "grace": 600.0,
    }
    assert read_online(shop.root, "dev") == default
    state_online(shop, "{kind: other, host: here, namespace: ns}")
    found = read_online(shop.root, "dev")
    assert found == {"namespace": "ns", "kind": "other", "host": "here", "max_points": 500, "grace": 600.0}


def test_a_bare_catalog_names_no_store(shop: Shop) -> None:
    with pytest.raises(OnlineError, match="a catalog alone names no online store"):
        mlf.open(shop.path("catalog.duckdb")).publish()
