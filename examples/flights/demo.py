"""Plan, build, take a training set, and say how to read the same rows with nothing but DuckDB.

python examples/flights/demo.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRAINING_SET = "training.parquet"
MIDSUMMER = 200_000  # on the first days of the year there is no past to look at
LABELS = f"SELECT label_time, tailnum, carrier, origin, dest, distance FROM '{TRAINING_SET}' LIMIT 5 OFFSET {MIDSUMMER}"
QUERY = f"WITH labels AS ({LABELS}) FROM feature_sets.delay_v1('labels')"
DUCKDB_LINE = f'duckdb -readonly catalog.duckdb -c "{QUERY}"'


def mlforge(*arguments: str) -> None:
    """Run one command as a user would type it, and show it first."""
    print(f"\n$ mlforge {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "mlforge", *arguments], cwd=HERE, check=True)


def show_rows(path: Path, rows: int, skip: int) -> None:
    """Print some rows of a Parquet file, one column a line: a training set is wide."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        result = connection.execute("SELECT * FROM read_parquet(?) LIMIT ? OFFSET ?", [str(path), rows, skip])
        names = [column[0] for column in result.description]
        columns = list(zip(*result.fetchall(), strict=True))
    width = max(map(len, names))
    for name, values in zip(names, columns, strict=True):
        print(f"{name:<{width}}  " + "  ".join(f"{shown(value):>16}" for value in values))


def shown(value: object) -> str:
    """A value in at most sixteen characters."""
    if value is None:
        return "NULL"
    return f"{value:.3f}" if isinstance(value, float) else str(value)[:16]


def main() -> None:
    """The whole example. Raises CalledProcessError if a command fails."""
    mlforge("plan")
    mlforge("build")
    mlforge(
        "training-set",
        *("--labels", "labels.sql", "--timestamp", "label_time", "--feature-set", "delay_v1", "--out", TRAINING_SET),
    )
    print(f"\nFive of its rows, each a column here, from {TRAINING_SET}:\n")
    show_rows(HERE / TRAINING_SET, 5, MIDSUMMER)
    print(f"\nThe same rows from DuckDB alone. In examples/flights, type:\n\n  {DUCKDB_LINE}\n")


if __name__ == "__main__":
    main()
