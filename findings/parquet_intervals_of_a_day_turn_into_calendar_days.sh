#!/usr/bin/env bash
# Guess: an INTERVAL of 24 hours that DuckDB writes into a Parquet file is read back as 24 hours.
# Seen: DuckDB 2.0.0 writes it as 1 day and 0 hours, so that INTERVAL 24 HOUR and INTERVAL 1 DAY, which DuckDB itself keeps
#   apart, are one value in the file. 1.5.5 and 2.0.1 keep what they were given.
# Why it matters: added to a TIMESTAMP WITH TIME ZONE on the day when clocks change, a day and 24 hours are an hour apart.
# Versions: duckdb 1.5.5, 2.0.0 and 2.0.1 (PyPI), run on 2026-11-30. Source: measured here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > intervals.py <<'PY'
import sys

import duckdb

PARTS = "SELECT datepart('day', i), datepart('hour', i) FROM {}"
con = duckdb.connect()
con.execute("CREATE TABLE given AS SELECT INTERVAL 24 HOUR AS i")
con.execute("COPY given TO 'intervals.parquet'")
given = con.execute(PARTS.format("given")).fetchall()[0]
read = con.execute(PARTS.format("'intervals.parquet'")).fetchall()[0]
print("duckdb", duckdb.__version__, "days and hours of the table:", given, "of the file:", read)
assert given == (0, 24), given
assert read == eval(sys.argv[1]), read
PY
for pair in "1.5.5=(0, 24)" "2.0.0=(1, 0)" "2.0.1=(0, 24)"; do
    version=${pair%%=*}
    python3 -m venv "v$version"
    "v$version/bin/python" -m pip --disable-pip-version-check install --quiet "duckdb==$version"
    "v$version/bin/python" intervals.py "${pair#*=}"
done
