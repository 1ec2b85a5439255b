"""Times of every type, infinite times and nanoseconds, in sources and in label rows, from Python and from the macro."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

import mlforge as mlf
from tests.oracle.runner import fetch, plain

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

YAML = """\
name: odd
sources:
  events: {path: data/events.duckdb, table: events}
entities:
  thing: {key: k}
"""
FEATURES = {
    "latest": '{{ config(entity="thing", timestamp="t") }} SELECT k, t, v FROM {{ source("events") }}',
    "counts": '{{ config(entity="thing", timestamp="t") }} SELECT k, t, COUNT(*) OVER ever AS n FROM {{ source("events") }}',
}


def built(root: Path, rows: str) -> Path:
    """A project whose events are these rows: SQL that yields k, t, v."""
    for folder in ("data", "features"):
        (root / folder).mkdir()
    (root / "mlforge.yaml").write_text(YAML)
    for name, text in FEATURES.items():
        (root / f"features/{name}.sql").write_text(text)
    with duckdb.connect(str(root / "data/events.duckdb")) as con:
        con.execute(f"SET TimeZone = 'UTC'; CREATE TABLE events AS {rows}")
    result = mlf.open(str(root)).build()
    assert not result.failed, [one.error for one in result.features]
    return root


def answers(root: Path, labels: str) -> list[tuple[object, object]]:
    """(v, n) for each label row, the same from both ways in."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        asked = fetch(con, labels)
    rows = mlf.open(str(root)).get_training_data(features=list(FEATURES), entity_df=asked, timestamp="label_time")
    with duckdb.connect(str(root / "catalog.duckdb"), read_only=True) as con:
        con.execute("SET TimeZone = 'Asia/Tokyo'")
        con.register("asked", asked)
        assert both(fetch(con, "FROM features.latest_asof('asked')"), "v") == both(rows, "v")
        assert both(fetch(con, "FROM features.counts_asof('asked')"), "n") == both(rows, "n")
    return list(zip(both(rows, "v"), both(rows, "n"), strict=True))


def both(table: pa.Table, column: str) -> list[object]:
    return plain(table[column])


TYPES = ["TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ"]


@pytest.mark.parametrize("source_type", TYPES)
def test_every_type_of_time_means_the_same_instant(tmp_path: Path, source_type: str) -> None:
    rows = "(VALUES ('2024-03-01 00:00:00'), ('1969-12-31 23:59:59')) AS r(w)"
    root = built(tmp_path, f"SELECT 1 AS k, w::{source_type} AS t, w AS v FROM {rows}")
    labels = "(VALUES (1, '2024-03-01'), (2, '1970-01-01'), (3, '1969-12-31'), (4, '2024-03-02')) AS r(n, w)"
    old, new = "1969-12-31 23:59:59", "2024-03-01 00:00:00"
    for label_type in (*TYPES, "DATE"):
        found = answers(root, f"SELECT 1 AS k, w::{label_type} AS label_time FROM {labels} ORDER BY n")
        assert found == [(new, 1), (old, 1), (None, 0), (new, 2)], label_type


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMPTZ"])
def test_infinite_times_count_as_null(tmp_path: Path, kind: str) -> None:
    times = "(VALUES ('infinity'), ('-infinity'), (NULL), ('2024-03-01 00:00:00')) AS r(w)"
    root = built(tmp_path, f"SELECT 1 AS k, w::{kind} AS t, coalesce(w, 'none') AS v FROM {times}")
    labels = "(VALUES (1, '2024-03-02 00:00:00'), (2, 'infinity'), (3, '-infinity'), (4, NULL)) AS r(n, w)"
    found = answers(root, f"SELECT 1 AS k, w::{kind} AS label_time FROM {labels} ORDER BY n")
    assert found == [("2024-03-01 00:00:00", 1), (None, None), (None, None), (None, None)]


@pytest.mark.parametrize(
    ("event", "label", "found"),
    [
        ("2024-03-01 00:00:00.000001999", "2024-03-01 00:00:00.000001", ("here", 0)),  # floored to 1 us: known at 1 us
        ("2024-03-01 00:00:00.000002", "2024-03-01 00:00:00.000001999", (None, 0)),
        ("1969-12-31 23:59:59.999998001", "1969-12-31 23:59:59.999998", ("here", 0)),  # before 1970 too
        ("1969-12-31 23:59:59.999999", "1969-12-31 23:59:59.999998999", (None, 0)),
        ("1969-12-31 23:59:59.999998999", "1969-12-31 23:59:59.999999", ("here", 1)),
    ],
)
def test_nanoseconds_are_floored(tmp_path: Path, event: str, label: str, found: tuple[object, object]) -> None:
    root = built(tmp_path, f"SELECT 1 AS k, '{event}'::TIMESTAMP_NS AS t, 'here' AS v")
    assert answers(root, f"SELECT 1 AS k, '{label}'::TIMESTAMP_NS AS label_time") == [found]


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMPTZ"])
def test_the_far_future_has_no_nanoseconds_and_needs_none(tmp_path: Path, kind: str) -> None:
    """Labels in a table, of which DuckDB knows the greatest value before it looks at a row."""
    rows = f"SELECT 1 AS k, unnest(['2024-03-01 00:00:00', '9999-12-31 00:00:00'])::{kind} AS t, 'here' AS v"
    root = built(tmp_path, rows)
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{root / 'catalog.duckdb'}' AS c (READ_ONLY); SET TimeZone = 'UTC'")
        con.execute(f"CREATE TABLE asked AS SELECT 1 AS k, unnest(['9999-12-31', '2024-03-02'])::{kind} AS label_time")
        con.execute("SET search_path = 'c.main,memory.main'")
        found = con.execute("SELECT year(label_time), n FROM c.features.counts_asof('asked')").fetchall()
    assert found == [(9999, 1), (2024, 1)]
