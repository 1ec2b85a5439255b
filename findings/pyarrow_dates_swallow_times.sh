#!/usr/bin/env bash
# Guess: a list of Python dates and datetimes becomes timestamps in Arrow, or is refused, whatever comes first.
# Seen: with a date first pyarrow infers DATE and drops the time of day of every datetime behind it, without an error; with a
#   datetime first the same values are refused. A bool behind a float becomes 1.0; before one it is refused.
# Why it matters: a column of objects (of pandas, of a JSON service) whose first row is a plain date loses up to a day of each
#   event time; as the time of a label or of a feature that is a leak.
# Versions: pyarrow 26.0.0 (PyPI), run on 2026-11-29. Source: measured here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/python -m pip --disable-pip-version-check install --quiet pyarrow==26.0.0
v/bin/python - <<'PY'
import datetime as dt

import pyarrow as pa

day, moment = dt.date(2024, 1, 1), dt.datetime(2024, 1, 2, 18, 30)
made = pa.array([day, moment])
print("pyarrow", pa.__version__, "date first:", made.type, made.to_pylist())
assert made.to_pylist() == [day, moment.date()]
numbers = pa.array([2.5, True])
print("float first:", numbers.type, numbers.to_pylist())
assert numbers.to_pylist() == [2.5, 1.0]
for mixed in ([moment, day], [True, 2.5]):
    try:
        pa.array(mixed)
    except pa.ArrowException as error:
        print(f"{type(mixed[0]).__name__} first: refused: {error}")
    else:
        raise SystemExit(f"{mixed} is taken now")
PY
