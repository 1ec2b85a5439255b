"""Label rows from an entity and a range of times."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

import mlforge as mlf
from mlforge.errors import UsageError
from mlforge.project.scaffold import create
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> mlf.Forge:
    root: Path = tmp_path_factory.mktemp("grid") / "demo"
    create(root, "demo")
    forge = mlf.open(root)
    assert not forge.build().failed
    return forge


def test_every_known_key_at_every_step(forge: mlf.Forge) -> None:
    rows = forge.label_rows("user", start="2024-01-01", end=dt.datetime(2024, 1, 3), every="12h", timestamp="at")
    users = sorted({u["user_id"] for u in rows.to_pylist()})
    assert len(users) > 1
    times = [dt.datetime(2024, 1, 1) + dt.timedelta(hours=12 * n) for n in range(4)]
    assert rows.to_pylist() == [{"user_id": u, "at": t} for u in users for t in times]
    features = [f for f in forge.state().features if f.startswith(("user", "spend"))][:1] or list(
        forge.state().features
    )[:1]
    assert forge.get_training_data(features, rows, timestamp="at").num_rows == rows.num_rows


@pytest.mark.parametrize("features", ["g", "h", "gh", "gs", "fg", "fgh"])
def test_a_key_stands_once_for_each_step_whatever_features_it_has(tmp_path: Path, features: str) -> None:
    made = Small(tmp_path)
    made.rows("1, '2024-01-01', 1", "1, '2024-01-02', 2", "7, '2024-01-02', 2", "NULL, '2024-01-02', 2")
    texts = {
        "f": '{{ config(entity="user", on_demand=true, request={"x": "BIGINT"}) }} SELECT x AS z',
        "g": '{{ config(entity="user", timestamp="t") }} SELECT k, t, SUM(x) OVER ever AS s FROM {{ source("ev") }}',
        "h": '{{ config(entity="user", timestamp="t") }} SELECT k, t, x FROM {{ source("ev") }}',
        "s": '{{ config(entity="user") }} SELECT k, SUM(x) AS a FROM {{ source("ev") }} GROUP BY k',
    }
    for name in features:
        made.feature(name, texts[name])
    made.good()
    rows = made.forge.label_rows("user", start="2024-01-01", end="2024-01-03", every="1d")
    days = [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2)]
    assert rows.to_pylist() == [{"k": k, "label_time": t} for k in (1, 7) for t in days]


@pytest.mark.parametrize(
    ("entity", "start", "end", "every", "message"),
    [
        (
            "usr",
            "2024-01-01",
            "2024-01-02",
            "1d",
            r"no feature of entity 'usr' is in the catalog\n  hint: did you mean 'user'",
        ),
        ("user", "2024-01-02", "2024-01-01", "1d", "is empty"),
        ("user", "yesterday", "2024-01-01", "1d", "start='yesterday' is no instant"),
        ("user", "0001-01-01T00:00+01:00", "2024-01-01", "1d", r"start='0001-01-01T00:00\+01:00' is no instant"),
        ("user", "2024-01-01", "2024-01-02", "1day", "'1day' is not a duration"),
        ("user", "2024-01-01", "2024-01-02", "0d", "every cannot be 0"),
    ],
)
def test_what_makes_no_sense(forge: mlf.Forge, entity: str, start: str, end: str, every: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        forge.label_rows(entity, start=start, end=end, every=every)
