"""Features that cannot be published: each is left out by itself, with what reads it, and stays as readers see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mlforge.errors import OnlineError
from mlforge.online.key_decoding import natural
from mlforge.online.packed_values import pack, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlforge.online.published import Manifest
    from mlforge.publishing.layout import Layout
    from mlforge.publishing.selection import Wanted

ENTRY = 8  # bytes of an entry beside its value (online/entries.py)


class Refused(Struct, frozen=True, kw_only=True):
    """A feature, as ``name@x.y.z``, or a feature set, that was left out, and why."""

    name: str
    error: str
    hint: str | None = None


class Unfit(Exception):
    """One table cannot be published; the others can."""

    def __init__(self, table: str, error: OnlineError) -> None:
        super().__init__(table)
        self.table = table
        self.error = error


def too_large(name: str, layout: Layout, key: str, payload: bytes, most: int, kind: str) -> OnlineError:
    """The error for a key whose values one record cannot hold; it names the column that takes most."""
    rows = [msgspec.msgpack.decode(value) for value in values_of(payload)]
    sizes = {s.name: sum(len(pack(row[n])) for row in rows) for n, s in enumerate(layout.stored, 2)}
    column = max(sizes, key=lambda c: sizes[c])
    shown = ", ".join(f"{k.name} = {v!r}" for k, v in zip(layout.f.c.keys, natural(key.encode()), strict=True))
    instants = f" at {len(rows)} instants" if len(rows) > 1 else ""
    return OnlineError(
        f"{name}: column {column!r} of key {shown} has {sizes[column]:,} bytes{instants}, and {kind} holds {most:,} "
        f"bytes for all values of a key, which has {len(payload):,}",
        hint="make the column smaller, or publish without it; a smaller max_points keeps fewer instants of a key",
    )


def without(
    wanted: Wanted, errors: Mapping[str, OnlineError], before: Manifest | None
) -> tuple[Wanted, tuple[Refused, ...]]:
    """What can be published, and what cannot: tables with an error, on-demand features that read one of them, and
    feature sets that name one which readers do not see in an older PATCH."""
    if not errors:
        return wanted, ()
    gone = {id_: Refused(name=_named(wanted, id_), error=e.message, hint=e.hint) for id_, e in errors.items()}
    names = {(v.feature, str(v.version)): id_ for id_, v in wanted.tables.items()}
    for id_, v in wanted.tables.items():
        read = [names[r.feature, r.version] for r in v.compiled.refs] if v.compiled.kind == "on_demand" else []
        for lost in (r for r in read if r in errors and id_ not in gone):
            gone[id_] = Refused(name=_named(wanted, id_), error=f"it reads {_named(wanted, lost)}, which is refused")
    there: dict[str, Any] = {**before.tables, **before.on_demand} if before else {}
    sets, others = {}, []
    for name, made in wanted.sets.items():
        lost_members = [m.table for m in made.members if m.table in gone and m.table not in there]
        if not lost_members:
            sets[name] = made
        elif "@" in name:
            others.append(Refused(name=name, error=f"it names {_named(wanted, lost_members[0])}, which is refused"))
    left = replace(
        wanted,
        sets=sets,
        tables={id_: v for id_, v in wanted.tables.items() if id_ not in gone},
        current={f: id_ for f, id_ in wanted.current.items() if id_ not in gone},
    )
    return left, (*gone.values(), *others)


def _named(wanted: Wanted, id_: str) -> str:
    stored = wanted.tables[id_]
    return f"{stored.feature}@{stored.version}"


def kept(before: Manifest, wanted: Wanted, left: Wanted) -> Manifest:
    """What stays as readers see it, since it cannot be replaced."""
    features = wanted.current.keys() - left.current.keys()
    sets = wanted.sets.keys() - left.sets.keys()
    return replace(
        before,
        current={f: id_ for f, id_ in before.current.items() if f in features},
        sets={n: s for n, s in before.sets.items() if n in sets},
    )
