"""What the columns of a feature mean, as digests, and what else of a feature can change without changing them."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from mlforge.model import Definition

if TYPE_CHECKING:
    from mlforge.model import Candidate, StoredFeature
    from mlforge.plan.canonical import Canonical


class Meaning(Struct, frozen=True, kw_only=True):
    """Digests of what one definition means. Names are lower case.

    ``columns`` cover everything a column means, ``expressions`` only its own SQL; the other parts are shared by all."""

    relation: str  # FROM, JOIN, WHERE, CTEs ...
    keys: str
    timestamp: str
    columns: dict[str, str]
    expressions: dict[str, str]


def meanings(definition: Definition) -> dict[str, str]:
    """For each output column the SHA-256 of what it means. Formatting, comments, letter case and inner aliases never
    count; a spelling that cannot be shown to be equal counts as a change."""
    found = meaning(definition).columns
    return {c.name: found[c.name.lower()] for c in definition.columns}


def meaning(definition: Definition) -> Meaning:
    """The digests of a definition; the same definition is taken apart only once in a process."""
    return _meaning(encoded(definition))


def encoded(definition: Definition) -> bytes:
    """The definition as it is kept in a catalog. Equal bytes are equal definitions."""
    return msgspec.json.encode(definition, order="deterministic")


@lru_cache(maxsize=4096)
def _meaning(stored: bytes) -> Meaning:
    from mlforge.plan.canonical import canonical

    definition = msgspec.json.decode(stored, type=Definition)
    query = canonical(definition.sql)
    expressions, rest = _assigned(definition, query)
    relation = _digest(query.relation, sorted(rest))
    keys = _digest([(k.name.lower(), k.type, expressions.get(k.name.lower())) for k in definition.keys])
    at = (definition.timestamp or "").lower()
    timestamp = _digest(at, expressions.get(at))
    shared = _digest(relation, keys, timestamp, _settings(definition))
    names = [c.name.lower() for c in definition.columns]
    own = {name: _digest(expressions.get(name, query.relation)) for name in names}
    return Meaning(
        relation=relation,
        keys=keys,
        timestamp=timestamp,
        columns={name: _digest(shared, own[name]) for name in names},
        expressions=own,
    )


def _assigned(definition: Definition, query: Canonical) -> tuple[dict[str, str], list[str]]:
    """Texts by output name, and texts of items that are no output and so belong to every column.

    Items without a name take the names that are left, in order, as the rules of default names do. If they do not come
    out even, every column means the whole query."""
    outputs = [n.lower() for n in (*(k.name for k in definition.keys), definition.timestamp or "") if n]
    outputs += [c.name.lower() for c in definition.columns]
    named = {name: text for name, text in query.items if name in outputs}
    free = [name for name in dict.fromkeys(outputs) if name not in named]
    unnamed = [text for name, text in query.items if not name]
    rest = [f"{name} {text}" for name, text in query.items if name and name not in outputs]
    if len(free) > len(unnamed):  # keys made from parts
        free = [name for name in free if name in {c.name.lower() for c in definition.columns}]
    if query.whole or len(free) != len(unnamed) or len(named) + len(rest) + len(unnamed) != len(query.items):
        return {}, [json.dumps(query.items)]
    return named | dict(zip(free, unnamed, strict=True)), rest


def _settings(definition: Definition) -> object:
    """What is not SQL and belongs to every column."""
    return [
        definition.kind,
        definition.closed,
        *(str(d) if d else None for d in (definition.delay, definition.ttl, definition.interval)),
        definition.timezone,
        definition.timestamp_format,
        {name.lower(): options for name, options in definition.sources.items()},
        {name.lower(): version for name, version in definition.refs.items()},
        {name.lower(): kind for name, kind in definition.request.items()},
    ]


def _digest(*parts: object) -> str:
    from hashlib import sha256

    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def metadata_changes(stored: StoredFeature, candidate: Candidate) -> tuple[str, ...]:
    """What differs of a feature beside its meaning, in words. It rebuilds nothing; the catalog shows the new text."""
    old, new = stored.config, candidate.config
    changed = [f"{name} changed" for name in _METADATA if getattr(old, name) != getattr(new, name)]
    if stored.path != candidate.path:
        changed.append(f"file {stored.path} -> {candidate.path}")
    if stored.sql != candidate.sql:
        changed.append("text of the SQL changed, not its meaning")
    return tuple(changed)


_METADATA = (
    *("entity", "description", "columns", "tags", "owner", "validators", "contract", "allow_lookahead"),
    *("assume_final", "plausible"),
    *("lookback", "incremental", "max_age"),
)
