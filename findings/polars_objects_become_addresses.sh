#!/usr/bin/env bash
# Guess: a Polars frame with a column of Python objects cannot go to Arrow, and says so.
# Seen: to_arrow() succeeds and gives fixed_size_binary[8]: the addresses of the objects in this process' memory. Written
#   to Parquet they are bytes that mean nothing, and no error says that the values are gone.
# Why it matters: whoever hands a frame on as Arrow (to a warehouse, a file, another library) stores pointers as data.
# Versions: polars 2.1.0 and pyarrow 26.0.1 (PyPI), run on 2026-11-28. Source: measured here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/python -m pip --disable-pip-version-check install --quiet "polars==2.1.0" "pyarrow==26.0.1"
v/bin/python - <<'PY'
import polars as pl
import pyarrow as pa

frame = pl.DataFrame({"thing": pl.Series([{"a": 1}, {"b": 2}], dtype=pl.Object)})
table = frame.to_arrow()
print("polars", pl.__version__, "pyarrow", pa.__version__, "type:", table.schema.field("thing").type)
assert table.schema.field("thing").type == pa.binary(8)
assert {len(value) for value in table.column("thing").to_pylist()} == {8}
PY
