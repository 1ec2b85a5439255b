"""DuckDB 1.4, which mlforge no longer runs on, still opens what it writes: views, macros and versions, with equal rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.small import CONFIG, Small

EXAMPLE = Path(__file__).resolve().parent.parent / "catalog.duckdb.example"

READ = """
import json, sys
import duckdb
assert duckdb.__version__ == "1.4.4", duckdb.__version__
with duckdb.connect(sys.argv[1], read_only=True) as con:
    con.execute("SET TimeZone = 'Asia/Tokyo'")
    print(json.dumps([[list(map(str, row)) for row in con.execute(query).fetchall()] for query in sys.argv[2:]]))
"""


@pytest.fixture(scope="session")
def duckdb_1_4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the last DuckDB 1.4."""
    folder = tmp_path_factory.mktemp("duckdb-1.4")
    install = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--target", str(folder), "duckdb==1.4.4"], check=True, stdin=subprocess.DEVNULL)
    return folder


def read(folder: Path, catalog: Path, *queries: str) -> list[list[list[str]]]:
    """What DuckDB 1.4 answers, each value as text."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(catalog), *queries],
        check=False,
        capture_output=True,
        text=True,
        cwd=catalog.parent,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    answer: list[list[list[str]]] = json.loads(done.stdout)
    return answer


LABELS = "WITH l AS (FROM (VALUES (1, TIMESTAMP '2024-01-03'), (2, TIMESTAMP '2024-02-01 12:00'), (9, NULL)) v(k, label_time))"
EVERY_KIND = {
    "exact": "SELECT k, t, x AS last_x, SUM(x) OVER last_7d AS s, AVG(d) OVER last_1mo AS a, MEDIAN(x) OVER ever AS m, "
    'COUNT(DISTINCT x) OVER last_30d AS n, (LIST(x) OVER last_3d)[-5:] AS l FROM {{ source("ev") }}',
    "daily": "SELECT k, t, SUM(d) OVER last_3d AS s, MAX(x) OVER last_1mo AS m, STDDEV(d) OVER last_7d AS sd "
    'FROM {{ source("ev") }}',
    "plain": 'SELECT k, t, x, d FROM {{ source("ev") }}',
    "static": 'SELECT k, COUNT(*) AS n FROM {{ source("ev") }} GROUP BY k',
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A catalog with a feature of every kind, a feature set, and two versions of one feature."""
    small = Small(
        tmp_path_factory.mktemp("small"),
        f"{CONFIG}feature_sets:\n  all: [exact, {{feature: daily, prefix: d_}}, plain, {{feature: static, prefix: s_}}]\n",
    )
    small.write(
        "data/ev.parquet",
        "SELECT i % 3 AS k, TIMESTAMP '2024-01-01' + to_hours(i * 7) AS t, (i * i) % 11 AS x, i / 7.0 AS d FROM range(90) r(i)",
    )
    for name, query in EVERY_KIND.items():
        more = {"daily": ', interval="1d"', "static": ""}.get(name, "")
        time = "" if name == "static" else ', timestamp="t"'
        small.feature(name, f'{{{{ config(entity="user"{time}{more}) }}}}\n{query}')
    small.good()
    small.feature("plain", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}')
    small.good()
    return small


def test_views_and_macros_open_in_duckdb_1_4(small: Small, duckdb_1_4: Path) -> None:
    queries = [f'FROM features."{name}" ORDER BY ALL' for name in EVERY_KIND]
    queries += ['FROM versions."plain@1.0.0" ORDER BY ALL', "FROM mlforge.versions ORDER BY ALL"]
    queries += [f"{LABELS} FROM features.\"{name}_asof\"('l') ORDER BY ALL" for name in EVERY_KIND]
    queries += [f"{LABELS} FROM feature_sets.\"all\"('l') ORDER BY ALL"]
    old = read(duckdb_1_4, small.catalog, *queries)
    for query, rows in zip(queries, old, strict=True):
        assert rows == [[str(v) for v in row] for row in small.sql(query)], query
        assert rows


def test_the_shipped_catalog_opens_in_duckdb_1_4(duckdb_1_4: Path) -> None:
    with duckdb.connect(str(EXAMPLE), read_only=True) as con:
        names = [
            n for (n,) in con.execute("SELECT view_name FROM duckdb_views() WHERE schema_name = 'features'").fetchall()
        ]
        queries = [f'SELECT count(*) FROM features."{name}"' for name in names]
        new = [[[str(v) for v in row] for row in con.execute(query).fetchall()] for query in queries]
    assert names
    assert read(duckdb_1_4, EXAMPLE, *queries) == new
