#!/usr/bin/env bash
# Guess: a database that DuckDB 2.0 writes for an older storage version (STORAGE_VERSION 'v1.4.0') opens in DuckDB 1.5, or
#   the statement that an older version could not read is refused while it is written.
# Seen: a column of the new type TIMESTAMPTZ_NS, which a Parquet file of pandas with nanoseconds in UTC becomes by itself, is
#   stored under that version without a word, and DuckDB 1.5.5 then opens nothing of the file: not the other tables either.
# Why it matters: one table made from an ordinary Parquet file locks every older reader out of a shared database.
# Versions: duckdb 2.0.1 and 1.5.5, pyarrow 26.0.0 (PyPI), run on 2026-11-29. Source: measured here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > write.py <<'PY'
import datetime as dt

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

at = pa.array([dt.datetime(2024, 1, 1)], pa.timestamp("ns", "UTC"))
pq.write_table(pa.table({"moment": at}), "times.parquet")
con = duckdb.connect()
con.execute("ATTACH 'shared.duckdb' AS shared (STORAGE_VERSION 'v1.4.0')")
con.execute("CREATE TABLE shared.plain AS SELECT 1 AS x")
con.execute("CREATE TABLE shared.times AS FROM 'times.parquet'")
kind = con.execute("SELECT typeof(moment) FROM shared.times").fetchall()[0][0]
print("duckdb", duckdb.__version__, "wrote storage version v1.4.0 with a column of type", kind)
assert "NS" in kind and ("TZ" in kind or "ZONE" in kind), kind
PY
cat > read.py <<'PY'
import duckdb

try:
    duckdb.connect("shared.duckdb", read_only=True).execute("FROM plain").fetchall()
except duckdb.Error as error:
    print("duckdb", duckdb.__version__, "cannot open it:", str(error).splitlines()[0])
else:
    raise SystemExit("it opens now")
PY
for version in 2.0.1 1.5.5; do
    python3 -m venv "v$version"
    "v$version/bin/python" -m pip --disable-pip-version-check install --quiet "duckdb==$version" pyarrow==26.0.0
done
v2.0.1/bin/python write.py
v1.5.5/bin/python read.py
