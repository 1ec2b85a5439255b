"""All that a reader must know, published with the data and shown by the same move of the head.

Names in a store, after the namespace (the project's name unless the profile says another):

    <namespace>/head                   records.Head: what readers see
    <namespace>/manifest/<generation>  Manifest, as of that generation
    <namespace>/work                   Work: the publish at work, or the last one; a dead one is taken up from here
    <namespace>/t/<prefix>/<key>       the record of one key of one table
    <namespace>/gone/<generation>/...  names of records of keys that vanished
    <namespace>/waste                  list of Waste: what to delete when no reader needs it any more
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, msgpack

from mlforge.model import proof_text


class Key(Struct, frozen=True, array_like=True):
    """A key column: its name, its kind (key_encoding.py) and DuckDB type."""

    name: str
    kind: str
    type: str


class Stored(Struct, frozen=True, array_like=True):
    """A column as it is stored: an output, or something that an output with ``as_of()`` is made of."""

    name: str
    tree: Any  # values.python_type
    type: str  # DuckDB's
    expires: bool = False  # with the ttl


class Output(Struct, frozen=True, array_like=True):
    """A column as it is read: the stored one at ``position``, or an expression over stored ones."""

    name: str
    type: str
    position: int | None = None
    expression: list[Any] | None = None  # expressions.py
    expires: bool = False


class Engine(Struct, frozen=True, array_like=True):
    """A query that DuckDB runs on reading: one list of values for each parameter, one row for each element.

    ``parameters`` are pairs of where a value comes from: ``["stored", n]``, ``["at"]``, ``["request", name]`` or
    ``["ref", alias, name]``, with its DuckDB type."""

    sql: str
    parameters: list[tuple[list[Any], str]]
    outputs: list[str]
    trees: list[Any] = []  # of the outputs, whose times come as text; none of what was published before


class Table(Struct, frozen=True, kw_only=True):
    """One published version of a feature that is stored."""

    feature: str
    version: str
    prefix: str
    identity: str  # of the version in the catalog it came from
    since: int  # microseconds; nothing is known of instants before
    keys: list[Key]
    parts: list[str]
    timed: bool
    stored: list[Stored]
    outputs: list[Output]
    empty: bytes  # packed values where no row is known
    interval: tuple[int, str, str | None] | None = None  # of features with as_of(): count, unit, timezone
    engine: Engine | None = None  # for outputs that have neither position nor expression
    greatest: int | None = None  # bytes of the values of one key, at most; None: not measured
    proof: str = proof_text(None)  # what is known of its leaks


class OnDemand(Struct, frozen=True, kw_only=True):
    """One published version of an on-demand feature: nothing of it is stored."""

    feature: str
    version: str
    identity: str
    keys: list[Key]
    parts: list[str]
    request: dict[str, str]  # column -> DuckDB type
    reads: dict[str, str]  # alias -> table
    columns: dict[str, list[str]]  # alias -> the columns that are needed
    outputs: list[Output]
    engine: Engine
    proof: str = proof_text(None)


class Member(Struct, frozen=True, kw_only=True):
    """One feature of a set, or of a request."""

    table: str
    columns: list[str]  # empty: all
    keys: dict[str, str]
    prefix: str


class Set(Struct, frozen=True, kw_only=True):
    """One published version of a feature set."""

    name: str
    version: int
    members: list[Member]


class Manifest(Struct, frozen=True, kw_only=True):
    """What is published. Tables are named ``feature@MAJOR.MINOR``, or by a full version that something is pinned to."""

    generation: int
    published_at: int  # microseconds since the epoch
    project: str
    build: int  # the catalog's newest build
    mlforge: str
    tables: dict[str, Table]
    on_demand: dict[str, OnDemand]
    current: dict[str, str]  # feature -> table
    sets: dict[str, Set]  # name and name@version
    previous: int = 0  # generation of the head before

    @property
    def versions(self) -> list[str]:
        """What readers see, as ``name@x.y.z``."""
        everything: list[Table | OnDemand] = [*self.tables.values(), *self.on_demand.values()]
        return sorted({f"{f.feature}@{f.version}" for f in everything})


class Work(Struct, frozen=True, kw_only=True):
    """The newest publish: what it is to publish onto what, and how far it came."""

    generation: int
    base: int  # generation of the head it started from
    target: str  # digest of what is to be published
    started_at: int  # microseconds since the epoch; points begin ten minutes before
    done: dict[str, int] = {}  # table -> batches written
    fresh: list[str] = []  # prefixes that nothing was under before
    lost: list[str] = []  # prefixes that a publish before, which died, had begun


class Waste(Struct, frozen=True, array_like=True):
    """What may be deleted once readers that began before have ended: all records under a prefix, or what is no longer
    seen of the records that are named in the record ``names``. ``since``: microseconds since the epoch."""

    since: int
    prefix: str | None = None
    names: bytes | None = None


def prefix(table: str, generation: int) -> str:
    """What the names of a table's records begin with, of the generation that began to write it."""
    return f"{table}~{generation}"


def began(prefix: str) -> int:
    """The generation that began to write under a prefix."""
    return int(prefix.rpartition("~")[2])


decode = msgpack.Decoder(Manifest).decode
decode_names = msgpack.Decoder(list[bytes]).decode
decode_waste = msgpack.Decoder(list[Waste]).decode
decode_work = msgpack.Decoder(Work).decode
encode = msgpack.Encoder().encode


def name(namespace: str, *parts: str) -> bytes:
    """The name of one of the records above."""
    return "/".join((namespace, *parts)).encode()
