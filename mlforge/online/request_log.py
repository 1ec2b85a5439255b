"""A log of what was served, to be compared later with what a training set gives for the same keys and times.

Rows go through a queue of bounded size to a thread that writes Parquet files, each under a name of its own and moved
into place when it is whole; any number of processes write into one folder. A request never waits for the log and never
fails because of it: what does not fit into the queue, or what the disk refuses, is dropped and counted.

One row for each entity row and feature column, readable by ``SELECT * FROM 'folder/*.parquet'``:

    request_id   VARCHAR    one request; ``entity_row`` INTEGER: the number of the entity row in it, from 0
    asked_at     TIMESTAMP  the instant that was asked for, UTC
    served_at    TIMESTAMP  when it was answered, UTC
    feature, version        VARCHAR, the version that was served, x.y.z
    built        VARCHAR    when that version was built, which tells it from another catalog's; NULL: not known
    feature_column          VARCHAR, the feature's column; ``name`` VARCHAR: what it is called in the answer
    keys         VARCHAR    JSON: the feature's key columns; a surrogate key as itself
    request      VARCHAR    JSON: the request columns of an on-demand feature; NULL for others
    value        VARCHAR    JSON (value_text.py); NULL where the value is
    status       VARCHAR    PRESENT, EXPIRED, MISSING, OUT_OF_RANGE
    event_time   TIMESTAMP  of the row that the value comes from, where it is known
    step         BIGINT     microseconds: the value is the exact one at the last multiple of it; 0: at ``asked_at``
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
import uuid
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from mlforge.errors import MlforgeError, UsageError
from mlforge.online.entity_rows import value_of
from mlforge.online.key_decoding import natural
from mlforge.online.packed_values import moment
from mlforge.online.published import Table
from mlforge.online.value_text import plain, text

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from mlforge.online.packed_values import Value
    from mlforge.online.read_plan import Part, Plan

WAITING = 500_000
"""Values that may wait to be written."""
ROWS = 50_000
SECONDS = 10.0
"""A file is written when so many rows are there, or so long after the first of them came."""

_log = logging.getLogger(__name__)
_NO_ROW = (MlforgeError, ValueError, TypeError, KeyError, ArithmeticError, AttributeError)


class _Request(NamedTuple):
    """One answer as it was given."""

    plan: Plan
    at: int
    served_at: int
    rows: Sequence[Mapping[str, Any]]
    answers: Sequence[Mapping[str, Any]]

    @property
    def values(self) -> int:
        return len(self.rows) * len(self.plan.columns)


class RequestLog:
    """Logs a share of requests, ``sample`` from 0 to 1, into a folder, which is made.

    ``dropped`` counts the requests that were wanted and could not be logged. Any number of threads may use it. Raises
    UsageError for a share that is none, or a folder that cannot be made."""

    def __init__(
        self, folder: Path, sample: float, *, rows: int = ROWS, seconds: float = SECONDS, waiting: int = WAITING
    ) -> None:
        if not 0 <= sample <= 1:
            raise UsageError(f"a share of requests is from 0 to 1, not {sample}")
        from mlforge.catalog.whole import sweep

        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"requests cannot be logged into {folder}: {error.strerror}") from error
        sweep(folder, r"requests-.+\.parquet")
        self.folder = folder
        self.sample = sample
        self.dropped = 0
        self._rows, self._seconds, self._most = rows, seconds, waiting
        self._waiting = 0
        self._queue: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._said = False

    def wants(self) -> bool:
        """Whether this request is one of the sample. Ask once for each request, before the features are read: only
        answers with a status can be logged."""
        return self.sample >= 1 or random.random() < self.sample

    def add(self, plan: Plan, at: int, rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> None:
        """Log an answer: ``answers`` are what ``get_online_features(..., with_status=True)`` gave for the entity
        ``rows`` at ``at`` (microseconds since the epoch), ``plan`` what ``client.plan()`` says of the features.

        Returns at once and never raises. Neither rows nor answers may be changed afterwards."""
        request = _Request(plan, at, time.time_ns() // 1000, rows, answers)
        with self._changed:
            if self._closed or self._waiting + request.values > self._most:
                self._drop(1, "more requests come than can be written")
                return
            self._queue.append(request)
            self._waiting += request.values
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mlforge-requests", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, and stop. What is added later is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        if not self._said:
            self._said = True
            _log.warning("requests are not logged: %s; said once, RequestLog.dropped counts them", why)

    def _run(self) -> None:
        while (taken := self._taken()) is not None:
            self._write(taken)

    def _taken(self) -> list[_Request] | None:
        """The requests of the next file; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            self._changed.wait_for(lambda: self._closed or self._waiting >= self._rows, timeout=self._seconds)
            taken: list[_Request] = []
            count = 0
            while self._queue and count < self._rows:
                taken.append(self._queue.popleft())
                count += taken[-1].values
            self._waiting -= count
        return taken or None

    def _write(self, requests: Sequence[_Request]) -> None:
        import pyarrow as pa

        found: list[tuple[Any, ...]] = []
        for request in requests:
            try:
                found += _rows(request)
            except _NO_ROW as error:
                with self._changed:
                    self._drop(1, f"an answer does not fit its plan: {error!r}")
        try:
            _write(self.folder, found)
        except (OSError, ValueError, TypeError, OverflowError, pa.ArrowException) as error:
            with self._changed:
                self._drop(len(requests), f"{self.folder} refuses: {error}")


def _write(folder: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    """One file; readers, which look for *.parquet, see all of it or nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mlforge.catalog.whole import whole_file

    if not rows:
        return
    made = schema()
    columns = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), made, strict=True)]
    name = f"requests-{time.time_ns() // 1000}-{os.getpid()}-{uuid.uuid4().hex[:8]}.parquet"
    with whole_file(folder / name) as (out, _):
        pq.write_table(pa.Table.from_arrays(columns, schema=made), out, compression="zstd")


def schema() -> pa.Schema:
    """The columns of a file."""
    import pyarrow as pa

    when, words = pa.timestamp("us"), pa.string()
    return pa.schema(
        [
            ("request_id", words),
            ("entity_row", pa.int32()),
            ("asked_at", when),
            ("served_at", when),
            ("feature", words),
            ("version", words),
            ("built", words),
            ("feature_column", words),
            ("name", words),
            ("keys", words),
            ("request", words),
            ("value", words),
            ("status", words),
            ("event_time", when),
            ("step", pa.int64()),
        ]
    )


def _rows(request: _Request) -> list[tuple[Any, ...]]:
    id_ = uuid.uuid4().hex
    return [row for part in request.plan.parts for row in _of_part(request, id_, part)]


def _of_part(request: _Request, id_: str, part: Part) -> Iterator[tuple[Any, ...]]:
    at, served, feature = moment(request.at), moment(request.served_at), part.feature
    for number, (given, answer) in enumerate(zip(request.rows, request.answers, strict=True)):
        keys = json.dumps(_keys(request.plan, part, given), ensure_ascii=False)
        asked = None if isinstance(feature, Table) else _asked(given, feature.request)
        for name, output in part.columns:
            value: Value = answer[name]
            built = feature.identity if value.version == feature.version else None
            yield (
                id_,
                number,
                at,
                served,
                feature.feature,
                value.version,
                built,
                output.name,
                name,
                keys,
                asked,
                text(value.value),
                value.status,
                _naive(value.event_time),
                value.step,
            )


def _asked(given: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    return json.dumps({name: plain(value_of(given, name)) for name in columns}, ensure_ascii=False)


def _keys(plan: Plan, part: Part, given: Mapping[str, Any]) -> dict[str, Any]:
    """The feature's key columns for one entity row, whatever the row calls them; all None if one is."""
    found: dict[str, Any] = {}
    for read in (plan.reads[n] for n in part.reads):
        columns = [k.name for k in read.opened.table.keys]
        name = read.name(given)
        values = natural(name[len(read.opened.lead) :]) if name is not None else (None,) * len(columns)
        found |= zip(columns, map(plain, values), strict=True)
    for key in part.feature.keys:
        if key.name not in found:
            with suppress(KeyError):
                found[key.name] = plain(value_of(given, key.name))
            found.setdefault(key.name, None)
    return found


def _naive(at: datetime.datetime | None) -> datetime.datetime | None:
    return at.replace(tzinfo=None) if at is not None else None
