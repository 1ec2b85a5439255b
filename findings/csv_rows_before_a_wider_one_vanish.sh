#!/usr/bin/env bash
# Guess: a CSV file whose rows differ in length is refused, or its short rows are padded.
# Seen: DuckDB's sniffer takes the first good rows for a preamble, skips them, and reads the rest: the header and three
#   rows of data are gone, without a warning, because a later row has one more field.
# Why it matters: a file to which a column was added from some row on loses all rows before it, and nobody is told.
# Versions: duckdb 1.5.5 and 2.0.1 (PyPI), run on 2026-11-28. Source: measured here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
printf 'k,x\n1,10\n2,20\n3,30\n4,40,new\n5,50,new\n6,60,new\n7,70,new\n' > grown.csv
cat > look.py <<'PY'
import duckdb

skipped = duckdb.sql("SELECT SkipRows FROM sniff_csv('grown.csv')").fetchall()[0][0]
rows = duckdb.sql("FROM 'grown.csv'").fetchall()
print("duckdb", duckdb.__version__, "lines skipped:", skipped, "rows read:", rows)
assert skipped >= 3
assert all(1 not in row and 2 not in row for row in rows)
PY
for version in 1.5.5 2.0.1; do
    python3 -m venv "v$version"
    "v$version/bin/python" -m pip --disable-pip-version-check install --quiet "duckdb==$version"
    "v$version/bin/python" look.py
done
