"""What a read asks for, resolved against a manifest: which tables by which keys, and what comes of their columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from mlforge.errors import NotPublishedError, OnlineError, did_you_mean
from mlforge.model import FeatureRef, Version
from mlforge.online.entity_rows import value_of
from mlforge.online.key_encoding import Unfit, encoder, unfit
from mlforge.online.packed_values import patient_decoder, row_decoder
from mlforge.online.published import Member, OnDemand, Table, name
from mlforge.online.python_times import holds
from mlforge.plan.versions import shared_name
from mlforge.project.ref_grammar import parse_ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlforge.online.published import Key, Manifest, Output


@dataclass(frozen=True)
class Opened:
    """A table with what reading it needs, made once."""

    id: str
    table: Table
    decode: Callable[[Any], tuple[Any, ...]]
    patient: Callable[[Any], tuple[Any, ...]]  # for what ``decode`` refuses
    empty: tuple[Any, ...]
    encoders: list[Callable[[Any], bytes]]
    lead: bytes  # of the names of its records

    @classmethod
    def of(cls, namespace: str, id_: str, table: Table) -> Opened:
        """Open a table of a manifest."""
        trees = [s.tree for s in table.stored]
        decode, patient = row_decoder(trees).decode, patient_decoder(trees)
        encoders = [encoder(k.kind, k.type) for k in table.keys]
        return cls(id_, table, decode, patient, patient(table.empty), encoders, name(namespace, "t", table.prefix, ""))


@dataclass(frozen=True)
class Read:
    """One table, read by certain columns of the entity rows."""

    opened: Opened
    keys: tuple[str, ...]  # columns of the entity row, one for each key column
    parts: tuple[str, ...]  # natural columns of a surrogate, used where the key itself is not given

    def names(self, rows: Sequence[Mapping[str, Any]]) -> list[bytes | None]:
        """The names of all rows' records."""
        if len(self.keys) == 1:
            column, encode, lead = self.keys[0], self.opened.encoders[0], self.opened.lead
            try:
                return [lead + encode(row[column]) for row in rows]
            except (KeyError, Unfit):
                pass  # one row has no key, or another: said below
        return [self.name(row) for row in rows]

    def name(self, row: Mapping[str, Any]) -> bytes | None:
        """The name of the row's record; None if the row has no key. Raises OnlineError for what is no key."""
        found = self.opened.lead
        for column, encode, key in zip(self.keys, self.opened.encoders, self.opened.table.keys, strict=True):
            try:
                value = value_of(row, column)
            except KeyError:
                value = self._surrogate(row, column)
            if value is None:
                return None
            try:
                found += encode(value)
            except Unfit as wanted:
                raise unfit(column, key.name, key.type, value, str(wanted)) from None
        return found

    def _surrogate(self, row: Mapping[str, Any], column: str) -> str | None:
        from mlforge.sql.keys import surrogate_key

        there = {name.lower() for name in row if isinstance(name, str)}
        missing = [p for p in self.parts if p.lower() not in there]
        if not self.parts or missing:
            shown = f"{column!r}" if not self.parts else f"{column!r} nor {', '.join(map(repr, missing))}"
            raise OnlineError(
                f"an entity row has no {shown}, a key of {self.opened.table.feature}",
                hint=f"{did_you_mean(column, map(str, row))}; keys= maps a key to another column",
            )
        return surrogate_key(*(value_of(row, p) for p in self.parts))


@dataclass(frozen=True)
class Part:
    """One feature of a request: the columns it gives, from one read (stored) or from several (on demand)."""

    feature: Table | OnDemand
    columns: tuple[tuple[str, Output], ...]  # name in the answer, output
    reads: tuple[int, ...]  # positions in Plan.reads

    @cached_property
    def stored(self) -> tuple[tuple[str, ...], Callable[[tuple[Any, ...]], tuple[Any, ...]]] | None:
        """Names of the columns and what picks them from decoded values, where all of them are stored as they are."""
        places = [o.position + 2 for _, o in self.columns if o.position is not None]
        if isinstance(self.feature, Table) and any(holds(self.feature.stored[p - 2].tree, ("nanos",)) for p in places):
            return None
        if len(places) != len(self.columns):
            return None
        names = tuple(n for n, _ in self.columns)
        if len(places) == 1:
            return names, itemgetter(slice(places[0], places[0] + 1))
        return names, itemgetter(*places)


@dataclass(frozen=True)
class Plan:
    """A request against one manifest."""

    reads: tuple[Read, ...]
    parts: tuple[Part, ...]
    columns: frozenset[str]

    @cached_property
    def needs_engine(self) -> bool:
        """Whether DuckDB must evaluate something of it."""
        return any(
            isinstance(part.feature, OnDemand)
            or any(o.position is None and o.expression is None for _, o in part.columns)
            for part in self.parts
        )

    @cached_property
    def free(self) -> set[tuple[Any, ...]]:
        """The names of entity rows that were seen to share none with the columns."""
        return set()

    @cached_property
    def lowered(self) -> frozenset[str]:
        """The names of the columns, in lower case."""
        return frozenset(map(str.lower, self.columns))

    def names(self, rows: Sequence[Mapping[str, Any]]) -> list[list[bytes | None]]:
        """For each read the names of all rows' records."""
        last: Any = None
        for row in rows:
            if (names := row.keys()) != last:  # rows are mostly alike
                last = names
                if (written := tuple(names)) in self.free:
                    continue
                shared = [n for n in names if isinstance(n, str) and n.lower() in self.lowered]
                if shared:
                    text = f"column {min(shared)!r} comes from the entity rows and from a feature"
                    raise OnlineError(text, hint=_NAMES)
                if len(self.free) < KINDS:
                    self.free.add(written)
        return [read.names(rows) for read in self.reads]


KINDS = 1000
"""Kinds of entity rows, by their names, that a plan knows."""
_NAMES = "full_names=True gives feature__column; or give one of them a prefix, or name its columns"


class SetRef(NamedTuple):
    """A feature set by its name, where a feature of that name would not do."""

    feature_set: str


@dataclass
class Planner:
    """Makes plans against one manifest and keeps them: services ask for the same features again and again."""

    namespace: str
    manifest: Manifest
    _opened: dict[str, Opened] = field(default_factory=dict)
    _plans: dict[Any, Plan] = field(default_factory=dict)

    def plan(self, features: Any, *, full_names: bool) -> Plan:
        """The plan for references and sets. Raises OnlineError for what is not published, with the nearest word."""
        if isinstance(features, (str, SetRef)) and (features, full_names) in self._plans:
            return self._plans[features, full_names]
        listed = (features,) if isinstance(features, (str, FeatureRef, SetRef)) else tuple(features)
        key: Any = (tuple(f if isinstance(f, str) else repr(f) for f in listed), full_names)
        if isinstance(features, (str, SetRef)):
            key = (features, full_names)
        if key not in self._plans:
            if len(self._plans) > 1000:
                self._plans.clear()
            self._plans[key] = self._made(listed, full_names)
        return self._plans[key]

    def _made(self, listed: Sequence[str | FeatureRef | SetRef], full_names: bool) -> Plan:
        if not listed:
            raise OnlineError("no feature is asked for", hint="name features, or a feature set")
        reads: dict[tuple[Any, ...], tuple[int, Read]] = {}
        parts: list[Part] = []
        for member in (m for item in listed for m in self._members(item)):
            parts.append(self._part(member, full_names, reads))
        shared = shared_name((part.feature.feature, [n for n, _ in part.columns]) for part in parts)
        if shared:
            raise OnlineError(shared, hint=_NAMES)
        columns = frozenset(n for part in parts for n, _ in part.columns)
        return Plan(tuple(r for _, r in reads.values()), tuple(parts), columns)

    def _members(self, item: str | FeatureRef | SetRef) -> Iterable[Member]:
        if isinstance(item, SetRef):
            if item.feature_set in self.manifest.sets:
                return self.manifest.sets[item.feature_set].members
            hint = did_you_mean(item.feature_set, self.manifest.sets)
            raise NotPublishedError(f"the feature set {item.feature_set!r} is not published", hint=hint)
        if isinstance(item, str) and item.strip() in self.manifest.sets:
            return self.manifest.sets[item.strip()].members
        ref = parse_ref(item) if isinstance(item, str) else item
        return [Member(table=self._table(ref), columns=list(ref.columns), keys=ref.keys, prefix=ref.prefix)]

    def _table(self, ref: FeatureRef) -> str:
        known = self.manifest
        if ref.version.major is None and ref.name in known.current:
            return known.current[ref.name]
        everything: dict[str, Table | OnDemand] = {**known.tables, **known.on_demand}
        versions = {id_: t.version for id_, t in everything.items() if t.feature == ref.name}
        if not versions:
            names = {*known.current, *known.sets}
            raise NotPublishedError(f"{ref.name!r} is not published", hint=did_you_mean(ref.name, names))
        fits = {id_: v for id_, t in versions.items() if (v := Version.parse(t)).matches(ref.version)}
        if ref.version.major is None or not fits:
            what = f"{ref.name}@{ref.version}" if ref.version.major is not None else ref.name
            raise NotPublishedError(f"{what} is not published", hint=f"published: {', '.join(sorted(versions))}")
        return max(fits, key=lambda id_: fits[id_])

    def _part(self, member: Member, full_names: bool, reads: dict[tuple[Any, ...], tuple[int, Read]]) -> Part:
        feature = self.manifest.tables.get(member.table) or self.manifest.on_demand[member.table]
        _check_keys(member, feature)
        lead = member.prefix + (f"{feature.feature}__" if full_names else "")
        columns = tuple((lead + o.name, o) for o in _chosen(feature, member.columns))
        tables = [member.table] if isinstance(feature, Table) else list(feature.reads.values())
        return Part(feature, columns, tuple(self._read(t, member, reads) for t in tables))

    def _read(self, id_: str, member: Member, reads: dict[tuple[Any, ...], tuple[int, Read]]) -> int:
        table = self.manifest.tables[id_]
        keys = tuple(member.keys.get(k.name, k.name) for k in table.keys)
        parts = tuple(member.keys.get(p, p) for p in table.parts)
        if (id_, keys, parts) not in reads:
            reads[id_, keys, parts] = (len(reads), Read(self._open(id_, table), keys, parts))
        return reads[id_, keys, parts][0]

    def _open(self, id_: str, table: Table) -> Opened:
        if id_ not in self._opened:
            self._opened[id_] = Opened.of(self.namespace, id_, table)
        return self._opened[id_]


def _chosen(feature: Table | OnDemand, columns: Sequence[str]) -> list[Output]:
    if not columns:
        return feature.outputs
    known = {o.name.lower(): o for o in feature.outputs}
    for column in columns:
        if column.lower() not in known:
            names = [o.name for o in feature.outputs]
            raise OnlineError(f"{feature.feature} has no column {column!r}", hint=did_you_mean(column, names))
    return [known[c.lower()] for c in columns]


def _check_keys(member: Member, feature: Table | OnDemand) -> None:
    keys: list[Key] = feature.keys
    for key in member.keys:
        if key not in feature.parts and all(key != k.name for k in keys):
            raise OnlineError(f"{feature.feature} has no key {key!r}", hint=did_you_mean(key, [k.name for k in keys]))
