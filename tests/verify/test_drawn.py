"""Keys and times that verify draws from the sources: what has vanished has no row of its own to be asked for."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from mlforge.errors import UsageError
from mlforge.verify.result import VerifyOptions
from tests.cli.running import mlforge
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

    from mlforge.verify.result import FeatureVerdict

CONFIG = """
name: drawn
sources:
  ev: {path: data/ev.parquet, timestamp: t}
  days: {path: data/days.parquet, timestamp: day}
  rates: {path: data/rates.parquet, timestamp: t}
  users: {path: data/users.parquet}
  long: {path: data/long.parquet, timestamp: t}
  wide: {path: data/wide.parquet, timestamp: t}
entities:
  user: {key: k}
"""
START = dt.datetime(2024, 1, 1)
# Users 1 and 2 have number 1 at 01:00 (and on 2 January), 2 at 02:00 ...; user 1 starts six hours before.
EV = "SELECT k::BIGINT AS k, TIMESTAMP '2024-01-01' + to_hours((n + 6 * (k - 1))::INTEGER) AS t, n::BIGINT AS n FROM range(1, 3) a(k), range(1, 13) b(n)"
SOURCES = {
    "ev": EV,
    "days": "SELECT k::BIGINT AS k, DATE '2024-01-01' + n::INTEGER AS day, n::BIGINT AS n FROM range(1, 3) a(k), range(1, 13) b(n)",
    "rates": f"SELECT t, n / 4.0 AS rate FROM ({EV}) WHERE k = 1",
    "users": "SELECT k::BIGINT AS k, 'u' || k AS name FROM range(1, 3) a(k)",
    "long": "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-01' + to_minutes(n::INTEGER) AS t, n FROM range(10001) a(n)",
    "wide": "SELECT n % 1000 AS k, TIMESTAMP '2024-01-01' + to_minutes((n % 101)::INTEGER) AS t, n FROM range(101000) a(n)",
}
LATEST = "QUALIFY row_number() OVER (PARTITION BY k ORDER BY {} DESC) = 1"
VANISHING = {
    # SELECT; user 1's label; what was known then
    "latest": ("SELECT k, t + INTERVAL 1 SECOND AS s, n FROM {{ source('ev') }} " + LATEST.format("t"), "02:30", 2),
    "latest_day": (
        "SELECT k, day + INTERVAL 86401 SECOND AS s, n FROM {{ source('days') }} " + LATEST.format("day"),
        "72:30",
        2,
    ),
    "distinct_on": (
        "SELECT * FROM (SELECT DISTINCT ON (k) k, t + INTERVAL 1 SECOND AS s, n FROM {{ source('ev') }} ORDER BY k, t DESC)",
        "02:30",
        2,
    ),
    "last_total": ("SELECT k, MAX(t) AS s, SUM(n) AS n FROM {{ source('ev') }} GROUP BY k", "03:59", 6),
    "none_later": (
        "SELECT k, t + INTERVAL 1 SECOND AS s, n FROM {{ source('ev') }} a WHERE NOT EXISTS "
        "(SELECT 1 FROM {{ source('ev') }} b WHERE b.k = a.k AND b.n > a.n)",
        "05:30",
        5,
    ),
    "nothing_left": (
        "SELECT k, MIN(t) AS s, COUNT(*) AS n FROM {{ source('ev') }} GROUP BY k HAVING COUNT(*) < 3",
        "02:00",
        2,
    ),
    "no_key_in_it": (
        "SELECT u.k, r.t + INTERVAL 1 SECOND AS s, r.rate * 4 AS n FROM {{ source('users') }} u CROSS JOIN {{ source('rates') }} r "
        + LATEST.format("r.t").replace("BY k", "BY u.k"),
        "02:30",
        2,
    ),
}
HEAD = '{{ config(entity="user", timestamp="s", allow_lookahead=true) }} '
TIMED = '{{ config(entity="user", timestamp="t") }} '
HONEST = {
    "rows": TIMED + "SELECT k, t, n FROM {{ source('ev') }}",
    "sums": TIMED + "SELECT k, t, SUM(n) OVER last_3h AS s FROM {{ source('ev') }}",
    "minutes": '{{ config(entity="user", timestamp="s") }} SELECT k, t + INTERVAL 1 MINUTE AS s, n FROM {{ source("ev") }}',
    "numbered": TIMED + "SELECT k, t, row_number() OVER (PARTITION BY k ORDER BY t) AS n FROM {{ source('ev') }}",
    "ends": '{{ config(entity="user", timestamp="s") }} SELECT k, date_trunc(\'day\', t) + INTERVAL 1 DAY AS s, SUM(n) AS n '
    'FROM {{ source("ev") }} GROUP BY ALL',
    "late": '{{ config(entity="user", timestamp="t", delay="90m") }} SELECT k, t, COUNT(*) OVER last_2h AS n FROM {{ source("ev") }}',
    "snapshots": '{{ config(entity="user", timestamp="t", interval="3h") }} SELECT k, t, SUM(n) OVER last_1d AS n FROM {{ source("ev") }}',
    "rated": TIMED
    + "SELECT e.k, e.t, r.rate FROM {{ source('ev') }} e ASOF LEFT JOIN {{ source('rates') }} r ON r.t <= e.t",
    "a_day": '{{ config(entity="user", timestamp="day") }} SELECT k, day, n FROM {{ source("days") }}',
}
TOO_MANY = {
    "wide_rows": TIMED + "SELECT k, t, n FROM {{ source('wide') }}",
    "long_steps": TIMED + "SELECT k, t, n - lag(n) OVER (PARTITION BY k ORDER BY t) AS n FROM {{ source('long') }}",
    "long_rows": TIMED + "SELECT k, t, n FROM {{ source('long') }}",
}


def made(folder: Path, texts: dict[str, str]) -> Small:
    """A project of all the sources and some features, built."""
    project = Small(folder, CONFIG)
    for name, query in SOURCES.items():
        project.write(f"data/{name}.parquet", query)
    for name, text in texts.items():
        project.feature(name, text)
    project.good()
    return project


@pytest.fixture(scope="module")
def vanishing(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return made(tmp_path_factory.mktemp("vanishing"), {name: HEAD + text for name, (text, *_) in VANISHING.items()})


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return made(tmp_path_factory.mktemp("honest"), HONEST | TOO_MANY)


def verdicts(project: Small, what: Any = None, **options: Any) -> dict[str, FeatureVerdict]:
    return {f.feature: f for f in project.forge.verify(what, options=VerifyOptions(**options)).features}


@pytest.fixture(scope="module")
def alone(vanishing: Small) -> dict[str, FeatureVerdict]:
    return verdicts(vanishing)


@pytest.fixture(scope="module")
def every(honest: Small) -> dict[str, FeatureVerdict]:
    return verdicts(honest, [*HONEST], all=True)


@pytest.mark.parametrize("name", VANISHING)
def test_a_row_that_vanished_is_found(vanishing: Small, alone: dict[str, FeatureVerdict], name: str) -> None:
    _, hour, known = VANISHING[name]
    assert alone[name].status == "failed"
    assert any(m.retrieved is None and m.recomputed is not None for m in alone[name].mismatches)
    at = START + dt.timedelta(hours=int(hour[:2]), minutes=int(hour[3:]))
    (mismatch,) = vanishing.forge.verify(name, f"SELECT 1::BIGINT AS k, TIMESTAMP '{at}' AS label_time").mismatches
    assert (mismatch.retrieved, mismatch.recomputed) == (None, known)
    assert str(mismatch.reason).endswith("have a part in it")


@pytest.mark.parametrize("name", VANISHING)
def test_its_own_rows_alone_would_pass(vanishing: Small, name: str) -> None:
    labels = vanishing.root / f"own_{name}.parquet"
    rows = vanishing.sql(f"COPY (SELECT k, s AS label_time FROM features.{name}) TO '{labels}'")
    found = vanishing.forge.verify(name, str(labels))
    assert (found.mismatches, rows[0][0]) == ((), 0 if name == "nothing_left" else 2)


def test_all_finds_it_at_every_instant(vanishing: Small) -> None:
    found = verdicts(vanishing, ["latest", "nothing_left"], all=True)
    # Each user's numbers are twelve hours, all of them eighteen. The last of user 1 is stored at 12:00:01; a microsecond
    # before the next hour eleven of each are missing, and at 12:00:01 that of user 2.
    latest = found["latest"]
    assert (latest.status, latest.labels, latest.mismatched) == ("failed", 2 * (2 * 18 + 2 * 2), 2 * 11 + 1)
    gone = found["nothing_left"]
    assert (gone.status, gone.labels) == ("failed", 2 * 2 * 18)
    # One and two numbers count, each on the hour and a microsecond before the next.
    assert gone.mismatched == 2 * 2 * 2


@pytest.mark.parametrize("name", HONEST)
def test_all_passes_what_is_honest(every: dict[str, FeatureVerdict], name: str) -> None:
    found = every[name]
    assert (found.status, found.mismatches, found.unproven) == ("passed", (), ())


def test_all_is_every_key_with_every_instant(every: dict[str, FeatureVerdict]) -> None:
    counts = {name: found.labels for name, found in every.items()}
    hours = 2 * 2 * 18  # two users, and each hour with the microsecond before the next
    assert counts["rows"] == counts["sums"] == counts["numbered"] == counts["rated"] == hours
    assert counts["minutes"] == 2 * hours  # what is stamped a minute later changes there too
    assert counts["ends"] == hours + 2 * 2 * 1
    assert counts["a_day"] == 2 * 2 * 12


SAID = {
    "wide_rows": "1,000 keys at 202 instants are 202,000 label rows: no more than 200,000 are tried",
    "long_steps": "1 keys at 20,002 instants are 20,002 label rows: its SQL is run for each instant, and for no more than 5,000",
    "long_rows": "1 keys at 20,002 instants are 20,002 label rows: they look at 200,040,002 source rows, and no more than "
    "200,000,000 are",
}


@pytest.mark.parametrize("name", TOO_MANY)
def test_too_many_are_a_sample_and_said(honest: Small, name: str) -> None:
    found = verdicts(honest, name, all=True, sample=60)[name]
    assert (found.status, found.labels, found.mismatched) == ("unproven", 60, 0)
    assert found.unproven == (f"a sample was taken, as {SAID[name]}",)


def test_all_leaves_no_labels_to_choose(honest: Small) -> None:
    labels = "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-01 02:00' AS label_time"
    every = VerifyOptions(all=True)
    with pytest.raises(UsageError, match="label rows are given, and all keys and instants are asked for") as caught:
        honest.forge.verify("rows", labels, every)
    assert caught.value.hint == "all takes keys and instants of its own: leave it out, or give features only"
    with pytest.raises(UsageError, match="a training set is given, and all keys and instants are asked for"):
        honest.forge.verify(honest.forge.training_set("rows", labels), options=every)
    for option, value in (("--labels", labels), ("--sample", "5"), ("--seed", "1"), ("--timestamp", "t")):
        said = mlforge("-C", honest.root, "verify", "rows", "--all", option, value, code=2)
        assert f"{option} does not go with --all" in said.err
    said = mlforge("-C", honest.root, "verify", "rows", "--all", "--online", code=2)
    assert "--all does not go with --online" in said.err


def test_the_command_tries_all(honest: Small) -> None:
    said = mlforge("-C", honest.root, "verify", "rows", "a_day", "--all")
    assert said.out.splitlines()[-1] == "verify: passed, 120 values compared, 0 differ"


def test_one_seed_draws_the_same_of_a_source(vanishing: Small) -> None:
    """Whatever the threads do; another seed draws others."""
    drawn = [verdicts(vanishing, "nothing_left", sample=8, seed=s)["nothing_left"] for s in (1, 1, 2)]
    places = [sorted((m.label["k"], m.at) for m in found.mismatches) for found in drawn]
    assert [f.labels for f in drawn] == [4, 4, 4]
    assert places[0] == places[1] != places[2]
