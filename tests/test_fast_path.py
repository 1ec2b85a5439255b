"""Binary search and ASOF joins give the same columns, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlforge as mlf
from mlforge.retrieve import binary_search

if TYPE_CHECKING:
    from pathlib import Path

US = pa.timestamp("us")
PLAIN = """{{{{ config(entity="{entity}", timestamp="t", {more}) }}}}
SELECT {keys}, t, x AS x_{name}, w AS w_{name}, l AS l_{name} FROM {{{{ source("rows") }}}}
"""
DAILY = """{{ config(entity="one", timestamp="t", interval="1d") }}
SELECT k, t, COUNT(*) OVER last_3d AS n_3d, MAX(x) OVER last_3d AS max_3d FROM {{ source("rows") }}
"""
FEATURES = {
    "right": PLAIN.format(entity="one", keys="k", name="right", more=""),
    "left": PLAIN.format(entity="one", keys="k", name="left", more='closed="left", delay="1s"'),
    "short": PLAIN.format(entity="one", keys="k", name="short", more='ttl="5s"'),
    "pair": PLAIN.format(entity="two", keys="k, g", name="pair", more='closed="left", ttl="5s"'),
    "daily": DAILY,
}
SECOND = 1_000_000
ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-3, 3)),
        st.sampled_from(["a", "b", "é", None]),
        st.one_of(st.none(), st.integers(-20, 20).map(lambda n: n * SECOND)),
        st.one_of(st.none(), st.integers(0, 9)),
    ),
    max_size=25,
)


def table(rows: list[tuple[object, ...]]) -> pa.Table:
    k, g, t, x = (list(c) for c in zip(*rows, strict=True)) if rows else ([], [], [], [])
    return pa.table(
        {
            "k": pa.array(k, pa.int32()),
            "g": pa.array(g, pa.string()),
            "t": pa.array(t, US),
            "x": pa.array(x, pa.int64()),
            "w": pa.array([None if v is None else str(v) for v in x], pa.string()),
            "l": pa.array([None if v is None else [v, v] for v in x], pa.list_(pa.int64())),
        }
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fast")
    (root / "features").mkdir()
    (root / "mlforge.yaml").write_text(
        "name: fast\nsources: {rows: {path: rows.parquet}}\nentities: {one: {key: k}, two: {key: [k, g]}}\n"
    )
    for name, text in FEATURES.items():
        (root / "features" / f"{name}.sql").write_text(text)
    return root


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=ROWS, labels=ROWS)
def test_the_same_columns(
    root: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[object, ...]], labels: list[tuple[object, ...]]
) -> None:
    pq.write_table(table(rows), root / "rows.parquet")
    asked = table(labels).select(["k", "g", "t"])
    forge = mlf.open(root)
    assert not forge.build().failed
    with monkeypatch.context() as patch:
        patch.setattr(binary_search, "available", lambda: False)
        slow = forge.training_set(list(FEATURES), asked, timestamp="t", record=False)
    quick = forge.training_set(list(FEATURES), asked, timestamp="t", record=False)
    assert quick.table.schema == slow.table.schema
    assert quick.table.equals(slow.table)
    assert quick.record["content_hash"] == slow.record["content_hash"]


def test_keys_and_times_beyond_one_integer_go_to_sql(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span of 200,000 years and more than 60 keys do not fit 63 bits."""
    wide = [(n, "a", n * 100_000_000_000 * SECOND, n % 10) for n in range(64)]
    pq.write_table(table(wide), root / "rows.parquet")
    forge = mlf.open(root)
    assert not forge.build().failed
    found: list[object] = []
    search = binary_search._search
    monkeypatch.setattr(binary_search, "_search", lambda *given: found.append(search(*given)) or found[-1])
    made = forge.get_training_data(["right"], table(wide).select(["k", "t"]), timestamp="t")
    assert found == [None]
    assert made["x_right"].to_pylist() == [row[3] for row in wide]
