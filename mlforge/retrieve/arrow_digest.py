"""A digest of a table's content that does not depend on chunks, offsets, or the bytes under NULLs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa


def content_hash(table: pa.Table) -> str:
    """SHA-256, hexadecimal, over column names, types, validity and values, row order included."""
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name}\0{column.type}\0{len(column)}\0".encode())
        for part in _parts(column):
            digest.update(part)
    return digest.hexdigest()


def _parts(column: pa.ChunkedArray) -> Sequence[memoryview | bytes]:
    """The buffers of a column in one fixed form: validity as bytes, then values with NULLs filled."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if not (_is_text(kind) or _is_fixed(kind)):
        return [repr(_values(column)).encode()]
    valid = [] if column.null_count == 0 else [_buffer(pc.cast(pc.is_valid(column), pa.uint8()))]
    if pa.types.is_boolean(kind):
        return [*valid, _buffer(pc.cast(pc.fill_null(column, False), pa.uint8()))]
    if _is_text(kind):
        lengths = pc.fill_null(pc.binary_length(column), -1)
        joined = pc.binary_join(pa.scalar(_plain(column).to_pylist(), type=pa.list_(kind)), pa.scalar("", type=kind))
        return [_buffer(lengths), joined.as_buffer()] if joined.is_valid else [_buffer(lengths)]
    if column.null_count == len(column):
        return valid
    filled = pc.fill_null(column, _plain(column)[0]) if column.null_count else column
    return [*valid, _buffer(filled)]


def _values(column: pa.ChunkedArray) -> list[object]:
    """Nested values; their times as whole numbers where Python has no such times (infinity, the year 20000)."""
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):
        return list(column.cast(_numbers(column.type)).to_pylist())


def _numbers(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    is_ = pa.types
    if is_.is_struct(kind):
        return pa.struct([field.with_type(_numbers(field.type)) for field in kind])
    if is_.is_map(kind):
        return pa.map_(_numbers(kind.key_type), _numbers(kind.item_type))
    if is_.is_fixed_size_list(kind):
        return pa.list_(_numbers(kind.value_type), kind.list_size)
    if is_.is_list(kind):
        return pa.list_(_numbers(kind.value_type))
    if is_.is_temporal(kind) and not is_.is_interval(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    return kind


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _is_fixed(kind: pa.DataType) -> bool:
    """Whether values are so many bits each."""
    import pyarrow as pa

    tests = (pa.types.is_primitive, pa.types.is_decimal, pa.types.is_fixed_size_binary, pa.types.is_null)
    return any(test(kind) for test in tests)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.drop_null()


def _buffer(column: pa.ChunkedArray) -> memoryview:
    """The values of a fixed-width column as bytes, without the part before an array's offset."""
    array = column.combine_chunks()
    width = array.type.bit_width // 8
    start = array.offset * width
    return memoryview(array.buffers()[1])[start : start + len(array) * width]
