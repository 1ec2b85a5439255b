"""``mlforge test`` in the terminal: what it prints, its exit codes, and the tests that it writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mlforge.project.scaffold import create
from tests.cli.running import Shop, mlforge
from tests.small import Small

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "flights"


@pytest.fixture
def new(tmp_path: Path) -> Shop:
    """A project as init writes it, not built."""
    create(tmp_path / "shop", "shop")
    return Shop(tmp_path / "shop")


def test_what_init_writes_passes_without_a_catalog(new: Shop) -> None:
    said = new.run("test").out.splitlines()
    assert said[0].startswith("passed  tests/user_spend.yaml:3  user_spend: a payment counts from the next midnight")
    assert said[1].startswith("passed  tests/user_spend.yaml:19  payment_size: a payment is held against")
    assert said[-1].startswith("2 tests: 2 passed, in ")
    assert not new.path("catalog.duckdb").exists()


def test_the_example_passes_and_reads_no_data(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "flights", ignore=shutil.ignore_patterns("catalog.duckdb*"))
    found = mlforge("-C", tmp_path / "flights", "test", "--json").json
    assert {o["status"] for o in found} == {"passed"}
    assert {o["feature"] for o in found} >= {"plane_delays", "airport_weather", "carrier_delays", "plane_vs_carrier"}


FAILING = """\
tests:
  - name: both are wrong
    feature: user_profile
    given:
      users:
        - {user_id: 1, country: DE, plan: free}
        - {user_id: 2, country: FR, plan: pro}
    expect:
      - {user_id: 1, country: DK, plan: free}
      - {user_id: 3, country: FR}
    expect_at:
      - {user_id: 1, plan: free}
      - {user_id: 2, plan: plus, country: null}
  - name: cannot run
    feature: user_profile
    given:
      users:
        - {user_id: 1, county: DE}
    expect: []
"""
SHOWN = """\
failed  tests/wrong.yaml:2  user_profile: both are wrong  MS

  tests/wrong.yaml:9: user_id = 1 is not as expected:
  column   expected  got
  -------  --------  ---
  country  DK        DE

  tests/wrong.yaml:10: no such row: user_id = 3, country = FR

  not expected: user_id = 2, country = FR, plan = pro

  tests/wrong.yaml:13: user_id = 2 is not as expected:
  column   expected  got
  -------  --------  ---
  country  NULL      FR
  plan     plus      pro

error   tests/wrong.yaml:14  user_profile: cannot run  MS
        tests/wrong.yaml:18: source 'users' has no column 'county'
        hint: did you mean 'country'?

2 tests: 1 failed, 1 with an error, in SECONDS
"""


def test_a_failing_test_shows_the_difference(new: Shop) -> None:
    new.path("tests/wrong.yaml").write_text(FAILING)
    said = new.run("test", "tests/wrong.yaml", code=1).out
    lines = [line.rsplit("  ", 1)[0] + "  MS" if line.endswith(" ms") else line for line in said.splitlines()]
    lines[-1] = lines[-1].rsplit(" in ", 1)[0] + " in SECONDS"
    assert "\n".join(line.rstrip() for line in lines) + "\n" == SHOWN
    assert new.run("test", code=1).out.splitlines()[-1].startswith("4 tests: 2 passed, 1 failed, 1 with an error")


def test_json_says_it_all(new: Shop) -> None:
    new.path("tests/wrong.yaml").write_text(FAILING)
    failed, error = new.run("test", "both*", "cannot run", "--json", code=1).json
    assert failed["differences"] == [
        {
            "kind": "differs",
            "row": {"user_id": 1},
            "line": 9,
            "cells": [{"column": "country", "expected": "DK", "got": "DE"}],
        },
        {"kind": "missing", "row": {"user_id": 3, "country": "FR"}, "line": 10, "cells": []},
        {"kind": "unexpected", "row": {"user_id": 2, "country": "FR", "plan": "pro"}, "line": None, "cells": []},
        {
            "kind": "differs",
            "row": {"user_id": 2},
            "line": 13,
            "cells": [
                {"column": "country", "expected": None, "got": "FR"},
                {"column": "plan", "expected": "plus", "got": "pro"},
            ],
        },
    ]
    assert (error["status"], error["where"], error["line"]) == ("error", "tests/wrong.yaml:18", 14)
    assert error["seconds"] >= 0


def test_many_wrong_rows_are_cut(new: Shop) -> None:
    rows = [{"user_id": n, "plan": "pro"} for n in range(30)]
    test = {"name": "many", "feature": "user_profile", "given": {"users": rows}, "expect": []}
    new.path("tests/many.yaml").write_text(yaml.safe_dump({"tests": [test]}))
    said = new.run("test", "many", code=1).out
    assert said.count("not expected:") == 20
    assert "and 10 more rows" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nope"], 2, "there is no unit test 'nope'"),
        (["--select", "nope"], 2, "nope"),
        (["--key", "1"], 2, "--key and --force go with --generate FEATURE"),
        (["--force"], 2, "--key and --force go with --generate FEATURE"),
        (["x", "--generate", "user_spend"], 2, "--generate writes one file and runs no tests"),
        (["--generate", "user_spnd"], 2, "did you mean 'user_spend'?"),
        (["--generate", "user_profile", "--key", "city=1"], 2, "user_profile has no key 'city'"),
        (["--generate", "user_profile", "--key", "999"], 2, "these rows make no row of user_profile"),
        (["--generate", "user_spend", "--rows", "0"], 2, "greater than or equal to 1"),
        (["--generate", "user_spend"], 1, "tests/user_spend.yaml: this file exists"),
    ],
)
def test_wrong_usage(new: Shop, arguments: list[str], code: int, message: str) -> None:
    assert message in new.run("test", *arguments, code=code).flat


def test_a_file_of_another_form_stops_all(new: Shop) -> None:
    new.path("tests/bad.yaml").write_text("tests:\n  - nam: x\n")
    said = new.run("test", code=1)
    assert "tests/bad.yaml:2: a test has no setting 'nam'" in said.err
    assert "did you mean 'name'?" in said.err


def test_no_tests_is_no_failure(new: Shop) -> None:
    new.path("tests/user_spend.yaml").unlink()
    assert "no unit tests: mlforge test --generate FEATURE" in new.run("test").out
    assert new.run("test", "--json").json == []
    assert "there is no unit test 'x'" in new.run("test", "x", code=2).err


def test_select_chooses_by_the_features(new: Shop) -> None:
    names = [o["feature"] for o in new.run("test", "--select", "+payment_size", "--json").json]
    assert names == ["user_spend", "payment_size"]
    assert [o["feature"] for o in new.run("test", "-s", "tag:daily", "--json").json] == ["user_spend"]
    new.run("build")
    assert new.run("test", "--select", "state:changed", "--json").json == []
    new.change("payment_size", "amount / NULLIF", "2 * amount / NULLIF")
    assert [o["status"] for o in new.run("test", "--select", "state:changed", "--json", code=1).json] == ["failed"]


@pytest.mark.parametrize("feature", ["user_spend", "user_last_purchase", "user_profile", "payment_size"])
def test_a_generated_test_passes_and_then_fails(new: Shop, feature: str) -> None:
    path = new.path(f"tests/{feature}.yaml")
    path.unlink(missing_ok=True)
    said = new.run("test", "--generate", feature).out
    assert said.startswith(f"wrote tests/{feature}.yaml: look whether it says what you mean")
    assert [o["status"] for o in new.run("test", f"tests/{feature}.yaml", "--json").json] == ["passed"]
    (test,) = yaml.safe_load(path.read_text())["tests"]
    assert 1 <= max(map(len, test["given"].values())) <= 5
    changes = {
        "user_spend": ("status = 'settled'", "status = 'refused'"),
        "user_profile": ("country,", "upper('x') AS country,"),
        "user_last_purchase": ("merchant  AS", "upper(merchant) AS"),
        "payment_size": ("amount /", "3 * amount /"),
    }
    new.change(feature, *changes[feature])
    assert [o["status"] for o in new.run("test", f"tests/{feature}.yaml", "--json", code=1).json] == ["failed"]


def test_generate_takes_the_asked_keys_and_rows(new: Shop) -> None:
    new.run("test", "--generate", "user_last_purchase", "--key", "7", "--key", "user_id=8", "--rows", "3")
    (test,) = yaml.safe_load(new.path("tests/user_last_purchase.yaml").read_text())["tests"]
    rows = test["given"]["transactions"]
    assert len(rows) == 3
    assert {row["user_id"] for row in rows} <= {7, 8}
    assert list(rows[0]) == ["user_id", "event_time", "merchant", "amount", "status"], "columns that the SQL names"
    before = new.path("tests/user_last_purchase.yaml").read_bytes()
    new.run("test", "--generate", "user_last_purchase", code=1)
    assert new.path("tests/user_last_purchase.yaml").read_bytes() == before
    new.run("test", "--generate", "user_last_purchase", "--force")
    assert new.path("tests/user_last_purchase.yaml").read_bytes() != before


def test_generate_needs_the_source(new: Shop) -> None:
    new.path("data/users.csv").unlink()
    new.path("data/transactions.csv").write_text("transaction_id,user_id,event_time\n1,1,not a time\n")
    assert "source 'users': no csv file at data/users.csv" in new.run("test", "--generate", "user_profile", code=1).err
    said = new.run("test", "--generate", "user_last_purchase", code=1).err
    assert "source 'transactions': column 'transaction_id': data/transactions.csv has other columns" in said
    assert [p.name for p in new.path("tests").iterdir()] == ["user_spend.yaml"]
    assert [o["status"] for o in new.run("test", "--json").json] == ["passed", "passed"], "declared columns are enough"


def test_generate_from_rows_that_the_feature_cannot_take(new: Shop) -> None:
    new.change("user_profile", "country,", "CAST(country AS BIGINT) AS country,")
    said = new.run("test", "--generate", "user_profile", code=1).err
    assert "user_profile cannot be made of these rows: Conversion Error: Could not convert string" in said


CONFIG = """\
name: small
sources:
  ev: {path: data/ev.parquet, timestamp: t}
  info: {path: data/info.parquet}
entities:
  pair: {key: [k, s]}
  made: {key: id, from: [land, s]}
"""


def test_generate_with_every_type_of_value(tmp_path: Path) -> None:
    """Values go to YAML and come back as they were, and rows of a joined source are those that the key's rows meet."""
    small = Small(tmp_path, CONFIG)
    small.write(
        "data/ev.parquet",
        "SELECT * FROM (VALUES (1, 'yes', TIMESTAMPTZ '2024-01-01 10:00:00.000001+00', 0.1::DECIMAL(38,20), 'nan'::DOUBLE,"
        " DATE '2024-01-01', TIME '09:30', [1.5, NULL], {'a': 1, 'b': 'x''y'}, '07:30', uuid '"
        + "0" * 8
        + "-0000-0000-0000-"
        + "0" * 11
        + "1', true, 'DE', 170141183460469231731687303715884105727::HUGEINT),"
        " (2, 'no', TIMESTAMPTZ '2024-01-02 10:00:00+00', NULL, 1e300, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'FR', 1))"
        " v(k, s, t, d, f, day, clock, l, st, text, u, b, land, h)",
    )
    small.write(
        "data/info.parquet", "SELECT 'L' || n AS code, n AS size FROM range(50) r(n) UNION ALL VALUES ('FR', 7)"
    )
    small.feature(
        "all_types",
        '{{ config(entity="pair", timestamp="t") }}\nSELECT k, s, t, d, f, day, CAST(clock AS VARCHAR) AS clock, l, st, text, '
        'u, b, CAST(h AS VARCHAR) AS h FROM {{ source("ev") }}',
    )
    small.feature(
        "joined",
        '{{ config(entity="pair", timestamp="t") }}\nSELECT k, s, t, size FROM {{ source("ev") }} e '
        'JOIN {{ source("info") }} i ON e.land = i.code',
    )
    small.feature(
        "surrogate",
        '{{ config(entity="made", timestamp="t") }}\nSELECT {{ surrogate_key("land", "s") }} AS id, t, COUNT(*) OVER ever '
        'AS n FROM {{ source("ev") }}',
    )
    for feature, key in (("all_types", "k=1"), ("joined", "k=2"), ("surrogate", "LAND=FR")):
        small.forge.generate_test(feature, key=[key], rows=3)
    assert [o.status for o in small.forge.test()] == ["passed", "passed", "passed"]
    (types,) = yaml.safe_load((tmp_path / "tests/all_types.yaml").read_text())["tests"]
    (row,) = types["given"]["ev"]
    assert (row["s"], row["text"], row["d"]) == ("yes", "07:30", 0.1)
    assert "land" not in row
    (made,) = yaml.safe_load((tmp_path / "tests/surrogate.yaml").read_text())["tests"]
    assert made["given"]["ev"] == [{"s": "no", "t": "2024-01-02 10:00:00", "land": "FR"}]
    (joined,) = yaml.safe_load((tmp_path / "tests/joined.yaml").read_text())["tests"]
    assert joined["given"]["info"] == [{"code": "FR", "size": 7}]
    assert joined["expect"] == [{"k": 2, "s": "no", "t": "2024-01-02 10:00:00", "size": 7}]


def run_process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "mlforge", "test", *arguments],
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


def test_exit_codes_of_a_process(new: Shop) -> None:
    done = run_process(new.root)
    assert (done.returncode, done.stderr) == (0, "")
    new.path("tests/wrong.yaml").write_text(FAILING)
    done = run_process(new.root, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert [o["status"] for o in json.loads(done.stdout)] == ["passed", "passed", "failed", "error"]
    assert run_process(new.root, "nope").returncode == 2


CONTRACT = '{{ config(entity="user", contract=true) }}\nSELECT user_id, country, plan FROM {{ source("users") }}'


@pytest.mark.parametrize("command", ["plan", "build", "validate"])
def test_a_broken_contract_stops_with_the_columns(new: Shop, command: str) -> None:
    feature = new.path("features/user_profile.sql")
    for name in ("user_spend", "user_last_purchase", "payment_size"):
        new.path(f"features/{name}.sql").unlink()
    config = new.path("mlforge.yaml")
    config.write_text(config.read_text().split("feature_sets:")[0])
    feature.write_text(CONTRACT)
    new.run("build")
    shape = feature.write_text
    shape(CONTRACT.replace("country, plan", "upper(country) AS country, 1 AS plan, signed_up"))
    said = new.run(command, code=1).flat
    assert "features/user_profile.sql" in said
    assert "user_profile has contract=true, and its columns would not be those of 1.0.0" in said
    assert "plan VARCHAR INTEGER another type" in said
    assert "signed_up - DATE added" in said
    assert "2 more columns as pinned" in said
    assert new.current("user_profile") == ("1.0.0", False)
    shape(CONTRACT.replace("country, plan", "upper(country) AS country, plan"))
    assert new.run(command)
    shape(CONTRACT.replace(", contract=true", "").replace("country, plan", "country, plan, signed_up"))
    new.run("build")
    shape(CONTRACT.replace("country, plan", "country, plan, signed_up"))
    new.run(command)
