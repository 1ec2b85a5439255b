"""Float sums that cancel: whether such a sum is zero is the same in retrieval and in verify, and so are quotients by it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "name: small\nsources:\n  ev: {path: data/ev.parquet, timestamp: t}\nentities:\n  user: {key: k}\n"
WINDOWS = '{{ config(entity="user", timestamp="t"MORE) }}\nSELECT k, t, COLUMNS FROM {{ source("ev") }}'
FORMS = {
    "sum": "1 / NULLIF(SUM(x) OVER last_1d, 0) AS q",
    "mean": "SUM(x) OVER last_2h / NULLIF(AVG(x) OVER ever, 0) AS q",
    "filter": "1 / NULLIF(SUM(x) FILTER (WHERE k > 3) OVER last_1d, 0) AS q",
    "distinct": "1 / NULLIF(SUM(DISTINCT x) OVER last_1d, 0) AS q",
    "single precision": "1 / NULLIF(SUM(f) OVER last_1d, 0) AS q",
    "without nullif": "isfinite(1 / SUM(x) OVER last_1d) AS q",
    "sign": "SUM(x) OVER last_1d >= 0 AS q",
    "two": "SUM(f) OVER last_1d = SUM(x) OVER last_1d AS q",
}
SIZES = {"one size": (-3, 3), "many sizes": (-250, 250)}


def numbers(chance: random.Random, low: int, high: int) -> list[float]:
    """Floats that cancel to zero, or nearly, in an order of chance."""
    half = [chance.choice((1, -1)) * chance.random() * 10.0 ** chance.randint(low, high) for _ in range(8)]
    found = [*half, *(-x for x in half)]
    if chance.random() < 0.3:
        found[0] *= 1 + 2.0**-50
    chance.shuffle(found)
    return found


@pytest.fixture(params=SIZES)
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Small:
    chance = random.Random(7)
    rows = [
        f"({k}, TIMESTAMP '2024-01-01' + to_minutes({n}), {x!r}::DOUBLE, {x if abs(x) < 1e30 else 0!r}::FLOAT)"
        for k in range(40)
        for n, x in enumerate(numbers(chance, *SIZES[request.param]))
    ]
    made = Small(tmp_path, CONFIG)
    made.write("data/ev.parquet", f"SELECT * FROM (VALUES {', '.join(rows)}) v(k, t, x, f)")
    return made


def features(project: Small) -> list[str]:
    for number, (name, column) in enumerate(FORMS.items()):
        more = ', interval="10m"' if number % 3 == 2 else ', closed="right"'
        project.feature(name.replace(" ", "_"), WINDOWS.replace("MORE", more).replace("COLUMNS", column))
    project.feature("total", WINDOWS.replace("MORE", "").replace("COLUMNS", "SUM(x) OVER last_1d AS s"))
    project.feature(
        "joined",
        '{{ config(entity="user", timestamp="t") }}\nSELECT e.k, e.t, 1 / NULLIF(r.s, 0) AS q FROM {{ source("ev") }} e '
        'LEFT JOIN {{ ref("total") }} r ON r.k = e.k',
    )
    project.feature(
        "asked",
        '{{ config(entity="user", on_demand=true, request={"amount": "DOUBLE"}) }}\n'
        'SELECT amount / NULLIF(r.s, 0) AS q FROM {{ ref("total") }} r',
    )
    return [*(name.replace(" ", "_") for name in FORMS), "joined", "asked"]


def test_quotients_by_sums_that_cancel_agree(project: Small) -> None:
    names = features(project)
    project.good()
    minutes = "SELECT k::BIGINT AS k, TIMESTAMP '2024-01-01' + to_minutes(n::INTEGER) AS label_time, 1.5 AS amount"
    labels = f"{minutes} FROM range(40) u(k), range(0, 21) r(n)"
    found = project.forge.verify(names, labels)
    assert {f.feature: [m for m in f.mismatches if m.feature == f.feature] for f in found.features} == {
        name: [] for name in names
    }
    assert {f.status for f in found.features} == {"passed"}
    empty = project.sql("SELECT count(*) FILTER (q IS NULL), count(q) FROM features.sum")[0]
    assert min(empty) > 5, "some sums are zero, others are not"
