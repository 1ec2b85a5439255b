#!/usr/bin/env bash
# Guess: in a CSV file the type of a column depends on that column. A column of 2024-01-02 is a DATE.
# Seen: the first date column decides for all. Behind a column of 15/02/2024, an ISO date in *another* column becomes a
#   TIMESTAMP in DuckDB; with the two columns swapped it is a DATE, and the other one is text. With
#   dateformat='%Y-%m-%d' stated, the ISO column is a DATE in either order.
# Why it matters: a DATE names a day that is not over at 00:00, a TIMESTAMP an instant. A check that asks for the end of
#   the day (point-in-time joins, delays) is passed by, because of a column that nobody uses.
# Versions: duckdb 1.5.5 and 2.0.1 (PyPI), run on 2026-11-28. Source: measured here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
printf 'seen,day\n15/02/2024,2024-01-02\n16/02/2024,2024-01-03\n' > behind.csv
printf 'day,seen\n2024-01-02,15/02/2024\n2024-01-03,16/02/2024\n' > first.csv
cat > look.py <<'PY'
import duckdb

def types(call):
    return dict(row[:2] for row in duckdb.sql(f"DESCRIBE FROM {call}").fetchall())


behind, first = types("'behind.csv'"), types("'first.csv'")
stated = types("read_csv('behind.csv', dateformat = '%Y-%m-%d')")
print("duckdb", duckdb.__version__, "behind:", behind, "first:", first, "format stated:", stated)
assert behind == {"seen": "DATE", "day": "TIMESTAMP"}
assert first == {"day": "DATE", "seen": "VARCHAR"}
assert stated["day"] == "DATE"
PY
for version in 1.5.5 2.0.1; do
    python3 -m venv "v$version"
    "v$version/bin/python" -m pip --disable-pip-version-check install --quiet "duckdb==$version"
    "v$version/bin/python" look.py
done
