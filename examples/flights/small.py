"""Build the example on two weeks of its flights into one small catalog, for those who look before they install.

python examples/flights/small.py catalog.duckdb.example
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent
SUBSET = {  # file -> the rows to keep, over the whole file as t and the kept flights as f
    "flights": "SELECT * FROM t WHERE \"month\" = 2 AND \"day\" <= 14 AND carrier IN ('B6', 'VX', 'HA')",
    "weather": 'SELECT * FROM t WHERE "month" = 2 AND "day" <= 15',
    "planes": "SELECT * FROM t WHERE tailnum IN (SELECT tailnum FROM f)",
    "airports": "SELECT * FROM t WHERE faa IN (SELECT origin FROM f UNION SELECT dest FROM f)",
    "airlines": "SELECT * FROM t",
}


def copy_project(target: Path) -> None:
    """The example's own files, with the subset in place of its data."""
    for name in ("mlforge.yaml", "features", "macros"):
        origin = HERE / name
        (shutil.copytree if origin.is_dir() else shutil.copy)(origin, target / name)
    (target / "data").mkdir()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, query in SUBSET.items():
            connection.execute(f"CREATE OR REPLACE VIEW t AS FROM '{HERE / 'data' / name}.parquet'")
            if name == "flights":
                connection.execute(f"CREATE TABLE f AS {query}")
            connection.execute(f"COPY ({query}) TO '{target / 'data' / name}.parquet'")


def compact(catalog: Path, out: Path) -> None:
    """Copy a catalog with small blocks: by default a block takes 256 kB, which most tables here do not fill."""
    out.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{catalog}' AS built (READ_ONLY)")
        connection.execute(f"ATTACH '{out}' AS small (BLOCK_SIZE 16384, STORAGE_VERSION 'v1.4.0')")
        connection.execute("COPY FROM DATABASE built TO small")
        connection.execute("UPDATE small.mlforge.sources SET path = regexp_extract(path, 'data/[^/]+$')")
        connection.execute("CHECKPOINT small")


def main(out: str) -> None:
    """Write the catalog to ``out``. Raises CalledProcessError if the build fails."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        copy_project(project)
        subprocess.run([sys.executable, "-m", "mlforge", "build"], cwd=project, check=True)
        compact(project / "catalog.duckdb", Path(out))
    print(f"{out}: {Path(out).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
