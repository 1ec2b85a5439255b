#!/usr/bin/env bash
# Guess: a table keeps every DOUBLE that is written into it bit for bit, so that 1 / x has the sign it had before.
# Seen: in DuckDB 1.5.5 a table that is written to its file takes a run of 0.0 and -0.0 for one repeated value and keeps the
#   first of them for all: before the checkpoint the column holds both signs, after it (and a new connection) one. A table in
#   memory keeps them, and so do files written by 2.0.1.
# Why it matters: a digest of a table's bits changes when the file is written, and 1.0 / x or atan2(y, x) turns from infinity
#   to minus infinity; a copy that was compared before its checkpoint was equal and is not any more.
# Versions: duckdb 1.5.5 and 2.0.1 (PyPI), run on 2026-11-30. Source: measured here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > zeros.py <<'PY'
import sys

import duckdb

SIGNS = "SELECT count(*) FILTER (signbit(x)), count(*) FILTER (NOT signbit(x)) FROM zeros"
con = duckdb.connect("zeros.duckdb")
con.execute("CREATE TABLE zeros AS SELECT CASE WHEN i % 2 = 0 THEN 0.0::DOUBLE ELSE '-0.0'::DOUBLE END AS x FROM range(10000) r(i)")
before = con.execute(SIGNS).fetchall()[0]
con.close()
after = duckdb.connect("zeros.duckdb").execute(SIGNS).fetchall()[0]
print("duckdb", duckdb.__version__, "negative and positive zeros before and after the file was opened again:", before, after)
assert after == eval(sys.argv[1]), after
PY
for pair in "1.5.5=(0, 10000)" "2.0.1=(5000, 5000)"; do
    version=${pair%%=*}
    python3 -m venv "v$version"
    "v$version/bin/python" -m pip --disable-pip-version-check install --quiet "duckdb==$version"
    "v$version/bin/python" zeros.py "${pair#*=}"
    rm -f zeros.duckdb*
done
