"""The graph of ref(): order, cycles, what a feature needs and what needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.errors import FeatureError, Where

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlforge.model import CatalogState, FeatureRef

    Graph = Mapping[str, tuple[FeatureRef, ...]]  # every feature of the project -> what it refs


def order(graph: Graph, paths: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """All features, upstream ones first, else in the graph's own order. Refs that no feature answers are passed over.

    Raises FeatureError that names the path of a cycle, at the file of its first feature where ``paths`` knows it."""
    done: dict[str, None] = {}
    for name in graph:
        _visit(name, graph, done, [], paths or {})
    return tuple(done)


def _visit(name: str, graph: Graph, done: dict[str, None], path: list[str], paths: Mapping[str, str]) -> None:
    if name in done or name not in graph:
        return
    if name in path:
        cycle = [*path[path.index(name) :], name]
        place = Where(paths[name]) if name in paths else None
        hint = "a feature cannot read itself: break the circle at one of these ref()"
        raise FeatureError(f"ref() goes in a circle: {' -> '.join(cycle)}", where=place, hint=hint)
    for ref in graph[name]:
        _visit(ref.name, graph, done, [*path, name], paths)
    done[name] = None


def downstream(name: str, graph: Graph) -> tuple[str, ...]:
    """Every feature that reads ``name``, directly or through others, in the graph's order."""
    found = {name}
    grew = True
    while grew:
        more = {n for n, refs in graph.items() if n not in found and any(r.name in found for r in refs)}
        grew = bool(more)
        found |= more
    return tuple(n for n in graph if n in found and n != name)


def complete(selection: Collection[str], graph: Graph, state: CatalogState) -> dict[str, str]:
    """The selected features, and what they read that no catalog holds yet. Values say why: "" for what was selected,
    else ``needed by x``."""
    reasons = {name: "" for name in graph if name in selection}
    waiting = list(reasons)
    while waiting:
        name = waiting.pop(0)
        for ref in graph[name]:
            if ref.name in graph and ref.name not in reasons and ref.name not in state.features:
                reasons[ref.name] = f"needed by {name}"
                waiting.append(ref.name)
    return reasons
