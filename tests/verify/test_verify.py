"""What verify says of honest features: that all of them pass, or why that is no proof."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from mlforge.errors import ProjectError, UsageError
from mlforge.verify.result import VerifyOptions
from tests.cli.running import mlforge
from tests.verify.conftest import HOURLY
from tests.verify.planting import tamper

if TYPE_CHECKING:
    from tests.small import Small

EV = '{{ source("ev") }}'
TIMED = 'entity="user", timestamp="t"'

HONEST = {
    "windows": (
        TIMED,
        "SELECT k, t, x AS last_x, c, SUM(x) OVER last_7d, AVG(x) OVER last_1mo, COUNT(*) OVER last_3h, "
        "COUNT(*) FILTER (WHERE n > 50) OVER ever AS big FROM {ev}",
    ),
    "floats": (
        TIMED,
        "SELECT k, t, SUM(x) OVER last_2d AS s, SUM(x) OVER last_2d - SUM(x) OVER last_1d AS d, "
        "STDDEV(x) OVER last_2d AS v, MEDIAN(x) OVER last_7h AS m, AVG(x) OVER last_1d / SUM(x) OVER ever AS q, "
        "SUM(DISTINCT x) OVER last_1d AS e FROM {ev}",
    ),
    "ordered": (
        TIMED,
        "SELECT k, t, FIRST(c) OVER last_5h AS f, LAST(n) OVER last_5h AS l, MODE(c) OVER last_1d AS m, "
        "ARG_MAX(c, x) OVER last_1d AS a, (LIST(n) OVER last_4h)[-10:] AS li FROM {ev}",
    ),
    "counts": (
        TIMED,
        "SELECT k, t, COUNT(DISTINCT c) OVER last_1d AS d, APPROX_COUNT_DISTINCT(n) OVER ever AS a, "
        "MIN(n) OVER last_1d AS lo, date_diff('minute', MAX(t) OVER ever, as_of()) AS since FROM {ev}",
    ),
    "closed": (TIMED + ', closed="right", delay="90m"', "SELECT k, t, n AS last, SUM(n) OVER last_5h AS s FROM {ev}"),
    "aged": (TIMED + ', ttl="2h"', "SELECT k, t, n AS last, SUM(n) OVER last_1w AS s FROM {ev} WHERE n % 5 = 0"),
    "daily": (TIMED + ', interval="1d", delay="2h"', "SELECT k, t, c AS last, SUM(n) OVER last_7d AS s FROM {ev}"),
    "tiles": (TIMED + ', interval="6h"', "SELECT k, t, AVG(n) OVER last_1d AS a, COUNT(x) OVER last_2d AS c FROM {ev}"),
    "local": (TIMED + ', interval="1d", timezone="Asia/Tokyo"', "SELECT k, t, SUM(n) OVER last_2d AS s FROM {ev}"),
    "weekly": (TIMED + ', interval="1w"', "SELECT k, t, SUM(n) OVER ever AS s FROM {ev}"),
    "monthly": (TIMED + ', interval="1mo"', "SELECT k, t, SUM(n) OVER last_1mo AS s FROM {ev}"),
    "rows": (TIMED + ', ttl="1d"', "SELECT k, t, n, x * 2 AS y FROM {ev} WHERE c <> 'c1'"),
    "refreshed": (TIMED + ', interval="12h"', "SELECT k, t, n FROM {ev}"),
    "grouped": (
        'entity="user", timestamp="d"',
        "SELECT k, date_trunc('day', t) + INTERVAL 1 DAY AS d, SUM(x) AS s, COUNT(*) AS c FROM {ev} GROUP BY ALL",
    ),
    "numbered": (TIMED, "SELECT k, t, n - LAG(n) OVER (PARTITION BY k ORDER BY t) AS step FROM {ev}"),
    "united": (
        TIMED,
        "SELECT k, t, n AS v FROM {ev} UNION ALL SELECT k, t + INTERVAL 1 MINUTE AS t, -n AS v FROM {ev}",
    ),
    "through": (
        TIMED,
        "WITH a AS (SELECT *, n + 1 AS m FROM {ev} WHERE n > 3), b AS (SELECT k, t, m FROM a) "
        "SELECT q.k, q.t, SUM(q.m) OVER last_1d AS s FROM (SELECT * FROM b) q",
    ),
    "matched": (
        TIMED,
        "SELECT e.k, e.t, MAX(p.price) OVER last_1d AS m FROM {ev} e ASOF LEFT JOIN "
        "{{{{ source('price') }}}} p ON e.k = p.k AND e.t >= p.t",
    ),
    "opened": (TIMED, "SELECT k, t, SUM(u) OVER last_3h AS s FROM (SELECT k, t, unnest([n, x]) AS u FROM {ev})"),
}


def feature(project: Small, name: str, config: str, text: str) -> None:
    project.feature(name, f"{{{{ config({config}) }}}}\n" + text.format(ev=EV))


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_feature_passes(project: Small, name: str) -> None:
    feature(project, "f", *HONEST[name])
    project.good()
    (found,) = project.forge.verify("f", options=VerifyOptions(sample=300)).features
    assert (found.status, found.mismatches, found.unproven) == ("passed", (), ())
    assert found.values == found.labels * len(found.columns) >= 20


REASONS = {
    "a source without time beside it": (
        TIMED,
        "SELECT e.k, e.t, SUM(e.n * d.size) OVER last_1d AS s FROM {ev} e JOIN {{{{ source('dim') }}}} d ON e.k = d.k",
        "source dim has no time that it could be cut by",
    ),
    "nothing but a source without time": (
        'entity="user"',
        "SELECT k, size FROM {{{{ source('dim') }}}}",
        "source dim has no time that it could be cut by",
    ),
    "a computed time of a source without one": (
        'entity="user", timestamp="at"',
        "SELECT k, t + INTERVAL 1 MINUTE AS at, n FROM {{{{ source('plain') }}}}",
        "source plain has no time that it could be cut by",
    ),
    "a request": (
        'entity="user", on_demand=true, request={{"y": "DOUBLE"}}',
        "SELECT n * y AS z FROM {{{{ ref('up') }}}}",
        "give label rows: it needs y with the request",
    ),
    "rows of another feature": (
        TIMED,
        "SELECT k, t, SUM(n) OVER last_1d AS s FROM {{{{ ref('up') }}}}",
        "it reads the rows of up as they are stored",
    ),
}


@pytest.mark.parametrize("why", REASONS)
def test_what_cannot_be_proven_is_said(project: Small, why: str) -> None:
    config, text, reason = REASONS[why]
    feature(project, "up", TIMED, "SELECT k, t, n FROM {ev}")
    project.feature("f", f"{{{{ config({config.format()}) }}}}\n" + text.format(ev=EV))
    project.good()
    found = project.forge.verify("f", options=VerifyOptions(sample=50))
    (verdict,) = found.features
    assert (verdict.status, verdict.unproven, verdict.mismatched) == ("unproven", (reason,), 0)
    assert not found.passed
    assert not found.failed


def test_a_time_that_the_feature_plainly_copies_cuts_a_source_without_setting(project: Small) -> None:
    project.feature(
        "f",
        "{{ config(entity='user', timestamp='at') }}\nWITH a AS (SELECT k, t AS u, n FROM "
        "{{ source('plain') }}) SELECT k, u AS at, SUM(n) OVER last_3h AS s FROM a",
    )
    project.good()
    assert project.forge.verify("f").passed


def test_a_static_feature_over_a_source_with_a_time_fails(project: Small) -> None:
    feature(project, "f", 'entity="user", assume_final=true', "SELECT k, max(n) AS most FROM {ev} GROUP BY k")
    project.good()
    found = project.forge.verify("f", "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-05' AS label_time")
    (mismatch,) = found.mismatches
    assert (mismatch.retrieved, mismatch.recomputed) == (479, 96)
    assert mismatch.reason == "rows of source ev that lie after the label's time have a part in it"
    found = project.forge.verify("f", "SELECT 1::BIGINT AS k")
    assert found.features[0].unproven == ("the label rows have no time",)


def test_an_on_demand_feature_is_recomputed_through_what_it_refs(project: Small) -> None:
    feature(project, "up", TIMED, "SELECT k, t, n, SUM(n) OVER last_3h AS s FROM {ev}")
    feature(
        project,
        "f",
        'entity="user", on_demand=true, request={{"y": "DOUBLE"}}'.format(),
        "SELECT n * y + s AS z, date_diff('hour', DATE '2024-01-01', as_of()) AS h FROM {{{{ ref('up') }}}}",
    )
    project.good()
    labels = "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-05' + to_minutes(17 * r::INTEGER) AS label_time, 0.5 AS y FROM range(50) t(r)"
    assert project.forge.verify("f", labels).passed
    tamper(project.catalog, "UPDATE store.up__1_0 SET _mlforge_t = _mlforge_t - 3600000000")
    found = project.forge.verify("f", labels)
    assert found.failed
    assert {m.column for m in found.mismatches} == {"z"}


def test_a_joined_feature_is_recomputed_for_the_rows_that_ask(project: Small) -> None:
    feature(
        project,
        "up",
        TIMED + ', interval="1d"',
        "SELECT k, t, SUM(n) OVER last_2d AS s, MAX(x) OVER ever AS m FROM {ev}",
    )
    feature(
        project,
        "f",
        TIMED,
        "SELECT e.k, e.t, SUM(u.s) OVER last_3h AS total FROM {ev} e JOIN {{{{ ref('up') }}}} u ON e.k = u.k",
    )
    project.good()
    (found,) = project.forge.verify("f", options=VerifyOptions(sample=200)).features
    assert (found.status, found.unproven) == ("passed", ())


def test_sources_that_changed_since_the_build_prove_nothing(project: Small) -> None:
    feature(project, "f", TIMED, "SELECT k, t, n FROM {ev}")
    project.good()
    project.write(
        "data/ev.parquet",
        "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-01' AS t, 1::BIGINT AS n, 0.5::DOUBLE AS x, 'c' AS c",
    )
    (found,) = project.forge.verify().features
    assert found.unproven == ("source ev has changed since f@1.0.0 was built: build first",)


def test_a_feature_that_lags_behind_what_it_reads_proves_nothing(project: Small) -> None:
    feature(project, "up", TIMED, "SELECT k, t, n FROM {ev}")
    feature(
        project,
        "f",
        TIMED,
        "SELECT p.k, p.t, MAX(u.n) OVER last_1d AS m FROM {{{{ source('price') }}}} p "
        "JOIN {{{{ ref('up') }}}} u ON p.k = u.k",
    )
    project.good()
    assert project.forge.verify("f").passed
    project.write("data/ev.parquet", f"SELECT * FROM ({HOURLY}) WHERE n <> 200")
    project.good("up")
    (found,) = project.forge.verify("f").features
    assert found.unproven == ("it was built before the newest rows of up: build first",)
    project.good()
    assert project.forge.verify("f").passed


def test_rows_that_were_loaded_late_are_counted_and_fail_only_as_of_an_instant(project: Small) -> None:
    feature(project, "f", TIMED, "SELECT k, t, n, SUM(n) OVER last_2h AS s FROM {{{{ source('late') }}}}")
    project.good()
    labels = (
        "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-10 04:30' + to_hours(r::INTEGER) AS label_time FROM range(10) t(r)"
    )
    (found,) = project.forge.verify("f", labels).features
    # rows 220 (at 04:00) and 230 count for two hours; each is loaded three hours after
    assert (found.status, found.known_late, found.late_labels) == ("passed", 2, 2)
    then = VerifyOptions(known_as_of="label_time")
    (found,) = project.forge.verify("f", labels, then).features
    assert (found.status, found.known_late) == ("passed", 0)


def test_label_rows_without_key_or_time_are_null_everywhere(project: Small) -> None:
    feature(project, "f", TIMED, "SELECT k, t, n, COUNT(*) OVER last_2h AS c FROM {ev}")
    project.good()
    labels = "SELECT * FROM (VALUES (NULL, TIMESTAMP '2024-01-05'), (1, NULL), (99, TIMESTAMP '2024-01-05')) v(k, label_time)"
    found = project.forge.verify("f", labels)
    assert found.passed
    assert found.values == 6


def test_one_seed_is_one_sample(project: Small) -> None:
    feature(project, "f", TIMED, "SELECT k, t, n FROM {ev}")
    project.good()
    tamper(project.catalog, "UPDATE store.f__1_0 SET n = -n")
    few = [project.forge.verify("f", options=VerifyOptions(sample=5, seed=s)).mismatches for s in (1, 1, 2)]
    assert few[0] == few[1] != few[2]
    assert len(few[0]) == 5


def test_what_was_found_is_recorded(project: Small) -> None:
    feature(project, "f", TIMED, "SELECT k, t, n FROM {ev}")
    project.good()
    found = project.forge.verify("f")
    (path,) = (project.root / "catalog.duckdb.log").glob("verification-*.json")
    record = json.loads(path.read_text())
    assert (record["id"], record["status"], record["features"][0]["feature"]) == (found.id, "passed", "f")
    assert found.id in path.name
    feature(project, "g", TIMED, "SELECT k, t, x FROM {ev}")
    project.good("g")
    assert not path.exists()
    rows = project.sql('SELECT id, status, features, "values", mismatched, record FROM mlforge.verifications')
    assert rows[0][:5] == (found.id, "passed", ["f@1.0.0"], 1000, 0)
    assert json.loads(rows[0][5])["features"][0]["labels"] == 1000


def test_a_set_with_keys_and_prefixes_is_verified_by_label_rows(project: Small) -> None:
    config = (project.root / "mlforge.yaml").read_text()
    project.config(config + "feature_sets:\n  both: [f, {feature: f, keys: {k: other}, prefix: o_}]\n")
    feature(project, "f", TIMED, "SELECT k, t, n, SUM(n) OVER last_2h AS s FROM {ev}")
    project.good()
    labels = "SELECT 1::BIGINT AS k, 2::BIGINT AS other, TIMESTAMP '2024-01-05 00:30' AS label_time"
    found = project.forge.verify("both", labels)
    assert found.passed
    assert found.values == 4


def test_a_bare_catalog_has_no_sources_to_verify_with(project: Small) -> None:
    import mlforge as mlf

    feature(project, "f", TIMED, "SELECT k, t, n FROM {ev}")
    project.good()
    with pytest.raises(ProjectError, match="this needs a project, and only a catalog was opened"):
        mlf.open(project.catalog).verify()
    with pytest.raises(UsageError, match="the catalog has no feature 'g'"):
        project.forge.verify("g")


# -- the command line


def test_the_command_prints_what_it_found(project: Small) -> None:
    feature(project, "f", TIMED, "SELECT k, t, n FROM {ev}")
    feature(project, "g", TIMED, "SELECT k, t, SUM(n) OVER last_1d AS s FROM {ev}")
    project.good()
    said = mlforge("-C", project.root, "verify", "--sample", 10)
    assert "f@1.0.0" in said.out
    assert said.out.splitlines()[-1] == "verify: passed, 20 values compared, 0 differ"
    tamper(project.catalog, "UPDATE store.f__1_0 SET n = n + 1000 WHERE k = 1")
    labels = "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-05 00:30' AS label_time"
    said = mlforge("-C", project.root, "verify", "f", "g", "--labels", labels, code=1)
    assert "differs f@1.0.0 for k = 1 at 2024-01-05 00:30:00" in said.out
    assert "n: retrieved 1096, recomputed 96 from rows up to 2024-01-05 00:30:00" in said.out
    assert said.out.splitlines()[-1] == "verify: failed, 2 values compared, 1 differ"
    found = mlforge("-C", project.root, "verify", "f", "--labels", labels, "--json", code=1).json
    assert (found["status"], found["features"][0]["mismatches"][0]["recomputed"]) == ("failed", 96)


def test_a_build_is_verified_after_its_commit(project: Small) -> None:
    feature(project, "f", TIMED, "SELECT k, t, n FROM {ev}")
    said = mlforge("-C", project.root, "build", "--verify")
    assert said.out.splitlines()[-1] == "verify: passed, 1,000 values compared, 0 differ"
    feature(project, "g", 'entity="user", assume_final=true', "SELECT k, max(n) AS most FROM {ev} GROUP BY k")
    said = mlforge("-C", project.root, "build", "--verify", "--json", code=1)
    last = json.loads(said.out.splitlines()[-1])
    assert (last["exit_code"], last["failed"], last["verification"]["status"]) == (1, False, "failed")
    assert [f["feature"] for f in last["verification"]["features"]] == ["g"]
    assert "verification" not in json.loads(
        mlforge("-C", project.root, "build", "--verify", "--json").out.splitlines()[-1]
    )


def test_a_training_set_is_verified_by_its_own_rows(project: Small) -> None:
    feature(project, "f", TIMED, "SELECT k, t, n, SUM(n) OVER last_2h AS s FROM {ev}")
    project.good()
    labels = (
        "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-05 00:30' + to_hours(r::INTEGER) AS label_time FROM range(40) t(r)"
    )
    made = project.forge.training_set("f", labels)
    assert project.forge.verify(made).passed
    place = made.table.schema.get_field_index("n")
    wrong = [v + (i == 7) for i, v in enumerate(made.table["n"].to_pylist())]
    changed = type(made)(made.table.set_column(place, "n", [wrong]), made.kind, made.record)
    (mismatch,) = project.forge.verify(changed).mismatches
    assert (mismatch.label, mismatch.at) == ({"k": 1}, dt.datetime(2024, 1, 5, 7, 30))
    said = mlforge("-C", project.root, "training-set", "f", "--labels", labels, "--verify")
    assert said.out.splitlines()[-1] == "verify: passed, 80 values compared, 0 differ"
