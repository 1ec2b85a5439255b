"""Training sets against raw ASOF joins and Polars: 1M labels, one feature of 5M rows, or ten of 1M.

Every form reads the labels from Parquet, keeps their order and columns, and ends with an Arrow table (Polars: a frame)
in memory. mlforge reads its catalog, DuckDB a table of the same sorted rows or Parquet, Polars Parquet."""

from __future__ import annotations

import sys
import warnings

import data
from harness import DATA, run
from projects import project

ONE = "one feature of 5M rows"
TEN = "ten features of 1M rows"
CONFIG = '{{ config(entity="user", timestamp="event_time") }}\nSELECT * FROM {{ source("%s") }}\n'


def _word(which: str) -> str:
    return which.split(maxsplit=1)[0]


def _sources(which: str) -> dict[str, object]:
    if which == ONE:
        return {"f0": data.features(5_000_000, 0, 5)}
    return {f"f{n}": data.features(1_000_000, n, 3) for n in range(10)}


def _prepare(which: str) -> None:
    """Catalog and table are built beforehand: reading is what is measured."""
    import duckdb

    import mlforge as mlf

    root = project(_word(which), _sources(which), {n: CONFIG % n for n in _sources(which)}, keep=True)
    mlf.open(root).build()
    path = DATA / f"tables_{_word(which)}.duckdb"
    if not path.exists():
        with duckdb.connect(str(path), config={"storage_compatibility_version": "v1.4.0"}) as con:
            for name, file in _sources(which).items():
                con.execute(f"CREATE TABLE {name} AS FROM '{file}' ORDER BY user_id, event_time")


def mlforge(which: str) -> object:
    """The public call on a catalog."""
    import mlforge as mlf

    fs = mlf.open(DATA / "projects" / _word(which) / "catalog.duckdb")
    return fs.get_training_data(list(_sources(which)), str(data.labels(1_000_000))).shape


def asof(which: str, *, tables: bool) -> object:
    """One chain of ASOF joins, label order restored."""
    import duckdb

    con = duckdb.connect(str(DATA / f"tables_{_word(which)}.duckdb"), read_only=True) if tables else duckdb.connect()
    con.execute("SET threads = 2")
    joins, columns = "", ""
    for name, file in _sources(which).items():
        relation = name if tables else f"'{file}' {name}"
        joins += f" ASOF LEFT JOIN {relation} ON l.user_id = {name}.user_id AND l.label_time >= {name}.event_time"
        columns += f", {name}.* EXCLUDE (user_id, event_time)"
    numbered = f"(SELECT *, row_number() OVER () AS o FROM '{data.labels(1_000_000)}') l"
    result = con.execute(f"SELECT l.* EXCLUDE (o){columns} FROM {numbered}{joins} ORDER BY o")
    return (result.to_arrow_table() if hasattr(result, "to_arrow_table") else result.fetch_arrow_table()).shape


def polars(which: str) -> object:
    """Lazy join_asof, label order restored."""
    import polars as pl

    warnings.filterwarnings("ignore", message="Sortedness of columns cannot be checked")
    frame = pl.scan_parquet(data.labels(1_000_000)).with_row_index("o").sort("label_time")
    for file in _sources(which).values():
        right = pl.scan_parquet(file).sort("event_time")
        frame = frame.join_asof(right, left_on="label_time", right_on="event_time", by="user_id").drop(
            "event_time", strict=False
        )
    return frame.sort("o").drop("o").collect().shape


if __name__ == "__main__":
    for which in (ONE, TEN):
        forms = {
            f"DuckDB ASOF, tables: {which}": lambda which=which: asof(which, tables=True),
            f"DuckDB ASOF, Parquet: {which}": lambda which=which: asof(which, tables=False),
            f"Polars join_asof, Parquet: {which}": lambda which=which: polars(which),
            f"mlforge: {which}": lambda which=which: mlforge(which),
        }
        if len(sys.argv) == 1:
            _prepare(which)
        base = f"DuckDB ASOF, tables: {which}" if which == ONE else f"Polars join_asof, Parquet: {which}"
        if len(sys.argv) == 1 or sys.argv[1] in forms:
            run(f"Training set, 1M labels, {which}", forms, base)
