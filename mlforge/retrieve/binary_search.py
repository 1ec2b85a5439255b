"""Point-in-time rows by binary search, where NumPy is installed: the same answers as the ASOF joins, sooner.

Keys become codes in sorted order, (code, time) one integer, and each label finds its row by bisection in the feature's
packed column. An engine's ASOF join sorts both sides of every join again; here label rows are sorted once for all
features that share their keys. What does not fit (exact windows, calendar ttl, very large tables, key ranges beyond 63
bits) is left to SQL; :func:`fits` decides."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mlforge.retrieve.labels import arrow
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

    from mlforge.sql.physical import Member, Physical

LARGEST = 200_000_000  # values of one feature that are worth holding in memory at once
FEW = 20  # a feature with so many rows a label is filtered by the labels' keys before it is read
MOST_TEXT = 10_000_000  # rows with text: an Arrow array of strings ends at 2 GiB
_KEYS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "VARCHAR",
    "DATE",
    "TIMESTAMP",
)
_EXTENSIONS = ("UUID", "JSON", "BIT", "VARIANT", "GEOMETRY")  # Arrow extension types, which its kernels refuse


def available() -> bool:
    """Whether NumPy is installed. It is not imported for this."""
    return find_spec("numpy") is not None


def fits(member: Member, rows: int) -> bool:
    """Whether this member of a training set can be answered here."""
    c = member.feature.c
    if c.kind not in ("plain", "windows") or c.uses_as_of or (c.kind == "windows" and c.interval is None):
        return False
    types = [o.type for o in c.outputs]
    simple = all(o.empty in ("NULL", "0") for o in c.outputs) and all(k.type in _KEYS for k in c.keys)
    fixed = c.interval is not None or c.ttl is None or not c.ttl.months
    known = not any(t.startswith(_EXTENSIONS) for t in types)
    small = rows * (len(member.columns) + len(member.keys) + 1) <= LARGEST
    return simple and fixed and known and small and (rows <= MOST_TEXT or "VARCHAR" not in types)


@dataclass
class _Probes:
    """Label rows as numbers: the code of each row's key (-1: none), its instant, and their order by both."""

    codes: NDArray[np.int64]
    times: NDArray[np.int64]
    keys: list[pa.Array]  # for each key column its distinct label values, sorted
    order: NDArray[np.int64]  # of the rows that have key and time

    @property
    def count(self) -> int:
        return len(self.codes)


class Finder:
    """Answers members over one registered relation of label rows; probes are shared between equal keys."""

    def __init__(self, con: DuckDBPyConnection, labels: str, label_time: str, label_type: str) -> None:
        self.con = con
        self.labels = labels
        self.label_time = label_time
        self.label_type = label_type
        self._probes: dict[tuple[str, ...], _Probes] = {}

    def columns(self, member: Member, rows: int) -> list[tuple[str, pa.Array]] | None:
        """The member's columns in label order, or None if its keys and times do not fit one integer.

        ``rows`` is about how many rows the feature has."""
        probes = self._probe(member)
        table = self._rows(member, few=probes.count * FEW < rows)
        found = _search(member.feature, table, probes)
        if found is None:
            return None
        picked = _pick(found, probes.count)
        zero = {o.name for o in member.feature.c.outputs if o.empty == "0"}
        return [(out, _take(table.column(c), picked, counts=c in zero)) for c, out in member.columns]

    def _probe(self, member: Member) -> _Probes:
        expressions = tuple(x for _, x in member.keys)
        if expressions not in self._probes:
            query = sql(
                "retrieve/probes",
                keys=expressions,
                label_time=self.label_time,
                label_type=self.label_type,
                labels=self.labels,
            )
            self._probes[expressions] = _probes(arrow(self.con, query), len(expressions))
        return self._probes[expressions]

    def _rows(self, member: Member, *, few: bool) -> pa.Table:
        """The feature's rows; only those of keys that a label asks for, where labels are few."""
        columns = [c for c, _ in member.columns]
        labels = self.labels if few else None
        found = arrow(
            self.con, sql("retrieve/rows", f=member.feature, columns=columns, keys=member.keys, labels=labels)
        )
        return found.rename_columns([*member.feature.keys, "_mlforge_t", *columns])


def _probes(table: pa.Table, width: int) -> _Probes:
    import numpy as np

    keys, codes = [], np.zeros(table.num_rows, np.int64)
    for n in range(width):
        distinct, own = _coded(table.column(n))
        codes = np.where((codes < 0) | (own < 0), -1, codes * max(len(distinct), 1) + own)
        keys.append(distinct)
    times = table.column(width)
    usable = codes >= 0
    if times.null_count:
        usable &= _validity(times)
    instants = _numbers(times)  # whatever lies under NULL; such rows are not usable
    rows = np.flatnonzero(usable)
    order = rows[_sorted(codes[rows], instants[rows])]
    return _Probes(np.where(usable, codes, -1), instants, keys, order)


def _sorted(codes: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions by (code, time); through one integer where both fit, at half the cost."""
    import numpy as np

    if not len(codes):
        return np.zeros(0, np.int64)
    low = int(times.min())
    reach = int(times.max()) - low + 1
    if (int(codes.max()) + 1) * reach < 2**63:
        return np.argsort(codes * reach + (times - low))
    return np.lexsort((times, codes))


def _coded(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """Sorted distinct values of a column, and each row's position among them; -1 for NULL."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    order = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(order), np.int64)
    rank[_numbers(order)] = np.arange(len(order))
    indices = _numbers(encoded.indices)
    if encoded.null_count:
        valid = _validity(encoded)
        codes = np.full(len(indices), -1, np.int64)
        codes[valid] = rank[indices[valid]]
    else:
        codes = rank[indices]
    return encoded.dictionary.take(order), codes


def _row_codes(table: pa.Table, keys: Sequence[pa.Array]) -> NDArray[np.int64]:
    """For each feature row the code of its key among the label rows' keys; -1 where no label asks for it.

    Equal keys mostly stand together, so only the first of each run is looked up."""
    import numpy as np
    import pyarrow.compute as pc

    codes = np.zeros(table.num_rows, np.int64)
    for n, distinct in enumerate(keys):
        runs = pc.run_end_encode(table.column(n).combine_chunks())
        place = pc.index_in(runs.values, value_set=distinct)
        own = _numbers(place).astype(np.int64)
        if place.null_count:
            own = np.where(_validity(place), own, -1)
        lengths = np.diff(_numbers(runs.run_ends), prepend=0)
        own = np.repeat(own, lengths)
        codes = np.where((codes < 0) | (own < 0), -1, codes * max(len(distinct), 1) + own)
    return codes


@dataclass
class _Found:
    """For the i-th label row in ``order``: the feature row it reads, and whether there is one."""

    order: NDArray[np.int64]
    rows: NDArray[np.int64]
    hit: NDArray[np.bool_]


def _search(feature: Physical, table: pa.Table, probes: _Probes) -> _Found | None:
    import numpy as np

    c = feature.c
    snapshots = c.interval is not None
    delay = 0 if snapshots else (c.delay.micros or 0)
    wanted = probes.codes[probes.order]
    at = probes.times[probes.order] - delay
    codes, times = _row_codes(table, probes.keys), _numbers(table.column("_mlforge_t"))
    kept = None if bool((codes >= 0).all()) else np.flatnonzero(codes >= 0)
    if kept is not None:
        codes, times = codes[kept], times[kept]
    if not len(codes) or not len(wanted):
        return _Found(probes.order, np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_))
    low = int(min(times.min(), at.min()))
    reach = int(max(times.max(), at.max())) - low + 2
    if (int(max(codes.max(), wanted.max())) + 1) * reach >= 2**63:
        return None
    packed = codes * reach + (times - low)
    if not bool((packed[1:] > packed[:-1]).all()):
        order = np.argsort(packed, kind="stable")
        packed, codes, times = packed[order], codes[order], times[order]
        kept = order if kept is None else kept[order]
    before = c.closed == "left" and not snapshots
    rows = np.searchsorted(packed, wanted * reach + (at - low), "left" if before else "right") - 1
    hit = (rows >= 0) & (codes[rows] == wanted)
    if c.ttl is not None and not snapshots:
        lower = at - (c.ttl.micros or 0)
        alive = times[rows] >= lower if before else times[rows] > lower
        hit &= alive
    return _Found(probes.order, rows if kept is None else kept[rows], hit)


def _pick(found: _Found, count: int) -> tuple[pa.Array, pa.Array]:
    """In label order: the row to take (NULL where none answers), and where an empty window answers."""
    import numpy as np

    index = np.zeros(count, np.int64)
    valid = np.zeros(count, np.bool_)
    empty = np.zeros(count, np.bool_)
    index[found.order] = np.where(found.hit, found.rows, 0)
    valid[found.order] = found.hit
    empty[found.order] = ~found.hit
    return _arrow_array("int64", count, index, _packed(valid)), _arrow_array("bool", count, _packed(empty), None)


def _packed(flags: NDArray[np.bool_]) -> NDArray[np.uint8]:
    import numpy as np

    return np.packbits(flags, bitorder="little")


def _arrow_array(kind: str, count: int, values: NDArray[Any], validity: NDArray[np.uint8] | None) -> pa.Array:
    """An Arrow array over NumPy's memory. ``pa.array`` would import pandas."""
    import pyarrow as pa

    buffers = [None if validity is None else pa.py_buffer(validity), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.type_for_alias(kind), count, buffers)


def _take(column: pa.ChunkedArray, picked: tuple[pa.Array, pa.Array], *, counts: bool) -> pa.Array:
    """The column's values in label order; NULL where no row answers, or 0 for a count over an empty window."""
    import pyarrow as pa
    import pyarrow.compute as pc

    index, empty = picked
    values = column.combine_chunks()
    taken = values.take(index) if len(values) else pa.nulls(len(index), column.type)
    return pc.if_else(empty, pa.scalar(0, column.type), taken) if counts else taken


def _numbers(column: Any) -> NDArray[Any]:
    """The values of a fixed-width column as NumPy sees them, anything under NULLs. ``to_numpy``, ``pa.array`` and
    ``fill_null`` would import pandas where it is installed, which takes longer than the rest."""
    import numpy as np
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = np.dtype(str(array.type))
    if not len(array):
        return np.zeros(0, kind)
    return np.frombuffer(array.buffers()[1], kind, len(array), array.offset * kind.itemsize)


def _validity(column: Any) -> NDArray[np.bool_]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    bits = pc.cast(pc.is_valid(column), pa.uint8())
    return _numbers(bits).astype(np.bool_)
