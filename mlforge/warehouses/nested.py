"""Types that are made of others, and the values that lie in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from mlforge.sql.templates import ident
from mlforge.warehouses.types import normal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

Steps = tuple[tuple[str, str], ...]
"""The way to values within a column: the kind of what holds them, and the name of a struct's field."""


@dataclass(frozen=True)
class Shape:
    """A type as a tree. ``kind`` is struct, list, array, map or value; ``parts`` are the fields, or what is held."""

    kind: str
    type: str
    parts: tuple[tuple[str, Shape], ...] = ()

    def leaves(self, steps: Steps = ()) -> Iterator[tuple[Steps, str]]:
        """Where single values lie, and their types. The keys of a map are text."""
        if self.kind == "value":
            yield steps, self.type
        for name, part in self.parts:
            yield from part.leaves((*steps, (self.kind, name)))

    def with_leaves(self, found: Mapping[Steps, str], rest: str | None = None, steps: Steps = ()) -> str:
        """The type with others for single values, ``rest`` for those that are not named, and lists for arrays."""
        if self.kind == "value":
            return found.get(steps, rest or self.type)
        inner = [(name, part.with_leaves(found, rest, (*steps, (self.kind, name)))) for name, part in self.parts]
        if self.kind == "struct":
            return normal(f"STRUCT({', '.join(f'{ident(name)} {kind}' for name, kind in inner)})")
        [(_, kind)] = inner
        return f"MAP(VARCHAR, {kind})" if self.kind == "map" else f"{kind}[]"


@cache
def shape(kind: str) -> Shape:
    """A type as a tree."""
    import duckdb

    return _shape(duckdb.sqltype(kind))


def _shape(kind: Any) -> Shape:
    if kind.id == "struct":
        return Shape("struct", str(kind), tuple((name, _shape(child)) for name, child in kind.children))
    if kind.id in ("list", "array"):
        return Shape(kind.id, str(kind), (("", _shape(kind.children[0][1])),))
    if kind.id == "map" and str(kind.children[0][1]) == "VARCHAR":
        return Shape("map", str(kind), (("", _shape(kind.children[1][1])),))
    return Shape("value", str(kind))


def texts(kind: str) -> str:
    """The type with text for every single value; JSON stays JSON."""
    made = shape(kind)
    return made.with_leaves({steps: leaf for steps, leaf in made.leaves() if leaf == "JSON"}, "VARCHAR")
