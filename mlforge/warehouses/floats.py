"""Where floats lie in the columns of a relation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duckdb.sqltypes import DuckDBPyType


@dataclass(frozen=True)
class Floats:
    """A type that holds floats. ``kind`` is FLOAT, DOUBLE, struct, list or map; ``fields`` are those of a struct,
    None beside the ones without floats."""

    kind: str
    fields: tuple[tuple[str, Floats | None], ...] = ()


def with_floats(types: Mapping[str, str]) -> list[tuple[str, Floats]]:
    """The columns that are floats, or hold some at any depth; ``types`` are DuckDB's, of a Parquet file."""
    import duckdb

    may = ((column, kind) for column, kind in types.items() if "FLOAT" in kind or "DOUBLE" in kind)
    found = ((column, _floats(duckdb.sqltype(kind))) for column, kind in may)
    return [(column, floats) for column, floats in found if floats is not None]


def _floats(kind: DuckDBPyType) -> Floats | None:
    if kind.id in ("float", "double"):
        return Floats(kind.id.upper())
    if kind.id == "struct":
        fields = tuple((name, _floats(child)) for name, child in kind.children)
        return Floats("struct", fields) if any(child for _, child in fields) else None
    if kind.id in ("list", "map"):
        return Floats(kind.id) if any(_floats(child) for _, child in kind.children) else None
    return None
