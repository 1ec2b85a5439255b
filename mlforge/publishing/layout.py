"""How one version of a feature is stored: which columns, how outputs come of them, and what is returned where no row is
known. Outputs with ``as_of()`` are kept as expressions over the aggregates and row columns they are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as change

from mlforge.errors import OnlineError
from mlforge.model import Aggregate, proof_text
from mlforge.model import Output as CompiledOutput
from mlforge.online.published import Engine, Key, OnDemand, Output, Stored
from mlforge.online.python_times import holds
from mlforge.publishing.compiling import expression
from mlforge.sql.keys import kind_of
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlforge.model import Compiled, Input
    from mlforge.sql.physical import Physical

AT = "_mlforge_at"
EVENT, ALIVE = "_mlforge_t", "_mlforge_alive"
_PART = re.compile(r"_mlforge_[ar]\d+\b")
_ROW = re.compile(r"_mlforge_r\d+\b")
_TREES = {
    "tinyint": "int",
    "smallint": "int",
    "integer": "int",
    "bigint": "int",
    "hugeint": "int",
    "utinyint": "int",
    "usmallint": "int",
    "uinteger": "int",
    "ubigint": "int",
    "float": "float",
    "double": "float",
    "boolean": "bool",
    "varchar": "text",
    "blob": "bytes",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamp_s": "timestamp",
    "timestamp_ms": "timestamp",
    "timestamp_ns": "nanos",
    "timestamp with time zone": "timestamp",
    "decimal": "decimal",
    "uuid": "uuid",
}


@dataclass(frozen=True)
class Layout:
    """``f`` gives the stored columns, the event time and whether a row is alive; ``latest``, where the event time needs
    a look of its own, that time."""

    f: Physical
    stored: list[Stored]
    outputs: list[Output]
    engine: Engine | None
    latest: Physical | None = None
    expired: str = "FALSE"

    @property
    def empties(self) -> list[CompiledOutput]:
        """The stored columns with what they are where no row is known."""
        return [o for o in self.f.c.outputs if o.name not in (EVENT, ALIVE)]


def layout(feature: Physical) -> Layout:
    """How a feature that has rows is stored. Raises OnlineError for a type that no store can carry."""
    c = feature.c
    columns = _columns(c)
    stored = [Stored(o.name, type_tree(o.type, c.feature, o.name), o.type, _expires(c, o)) for o in columns]
    places = {s.name: (n, s.type) for n, s in enumerate(stored)}
    outputs = [_output(c, o, places) for o in c.outputs]
    beyond = [o for o, made in zip(c.outputs, outputs, strict=True) if made.position is None and not made.expression]
    engine = _as_of_engine(c, beyond, stored) if beyond else None
    f, latest, expired = _with_event(feature, columns, stored)
    return Layout(f, stored, outputs, engine, latest, expired)


def _columns(c: Compiled) -> list[CompiledOutput]:
    """What is stored: outputs that do not change with every instant, and the parts of those that do."""
    moving = [o for o in c.outputs if c.uses_as_of and AT in o.sql]
    needed = {name for o in moving for name in _PART.findall(o.sql)}
    everything: list[Aggregate | Input] = [*c.aggregates, *c.rows]
    parts = [
        CompiledOutput(name=p.name, sql=p.name, type=p.type, empty=_empty_part(p))
        for p in everything
        if p.name in needed
    ]
    return [*(o for o in c.outputs if o not in moving), *parts]


def _empty_part(part: Any) -> str:
    from mlforge.sql.rowlist import ZERO_WHEN_EMPTY

    zero = isinstance(part, Aggregate) and part.function in ZERO_WHEN_EMPTY
    return "CAST(0 AS BIGINT)" if zero else "NULL"


def _expires(c: Compiled, output: CompiledOutput) -> bool:
    """Whether the ttl of the feature ends the value of this column."""
    return c.ttl is not None and (c.kind == "plain" or bool(_ROW.search(output.sql)))


def _output(c: Compiled, output: CompiledOutput, places: Mapping[str, tuple[int, str]]) -> Output:
    expires = _expires(c, output)
    if output.name in places:
        return Output(output.name, output.type, places[output.name][0], None, expires)
    return Output(output.name, output.type, None, expression(output.sql, places, output.type), expires)


def _with_event(
    feature: Physical, columns: list[CompiledOutput], stored: list[Stored]
) -> tuple[Physical, Physical | None, str]:
    """The feature with the stored columns as outputs, and with the time of the newest row that counts."""
    c = feature.c
    event = CompiledOutput(name=EVENT, sql=EVENT, type="BIGINT")
    if c.kind == "static":
        return replace(feature, c=change(c, outputs=tuple(columns))), None, "FALSE"
    if c.interval or c.kind == "plain":
        f = replace(feature, c=change(c, outputs=(*columns, event)))
        if c.interval is None and c.ttl:
            return f, replace(feature, c=change(c, outputs=(event,), ttl=None)), f"_mlforge_v.{EVENT} IS NULL"
        return f, None, _all_null(s.name for s in stored if s.expires) if c.ttl else "FALSE"
    more = (_newest(EVENT, c, lasting=True), *((_newest(ALIVE, c, lasting=False),) if c.ttl else ()))
    seen = tuple(CompiledOutput(name=a.name, sql=a.name, type="BIGINT") for a in more)
    f = replace(feature, c=change(c, aggregates=(*c.aggregates, *more), outputs=(*columns, *seen)))
    return f, None, f"_mlforge_v.{ALIVE} IS NULL" if c.ttl else "FALSE"


def _newest(name: str, c: Compiled, *, lasting: bool) -> Aggregate:
    """The time of the newest event in a frame, as one more aggregate of the feature."""
    window = None if lasting else c.ttl
    return Aggregate(name=name, function="max", args=("_mlforge_o",), window=window, type="BIGINT")


def _all_null(names: Iterable[str]) -> str:
    """Snapshots do not say which rows made them: after a ttl ran out, all columns that it ends are NULL."""
    tests = [f'_mlforge_v."{name}" IS NULL' for name in names]
    return " AND ".join(tests) or "FALSE"


def type_tree(duckdb_type: str, feature: str, column: str) -> Any:
    """The type tree (packed_values.py) of a DuckDB type. Raises OnlineError for one that no store can carry."""
    import duckdb

    def tree(kind: Any) -> Any:
        if kind.id in _TREES:
            return _TREES[kind.id]
        if kind.id in ("list", "array"):
            return ["list", tree(dict(kind.children)["child"])]
        if kind.id == "struct":
            return ["struct", [[name, tree(child)] for name, child in kind.children]]
        if kind.id == "map":
            key, value = (tree(child) for _, child in kind.children)
            if isinstance(key, str):
                return ["map", [key, value]]
        raise OnlineError(
            f"column {column!r} of {feature} is {duckdb_type}, which an online store cannot carry",
            hint="cast it in the feature, or publish other columns of it",
        )

    return tree(duckdb.sqltype(duckdb_type))


def keys(c: Compiled) -> list[Key]:
    """The key columns as a reader needs them."""
    found = []
    for key in c.keys:
        kind = kind_of(key.type) or "text"
        found.append(Key(key.name, "timestamp" if kind.startswith("timestamp") else kind, key.type))
    return found


def key_sql(c: Compiled) -> str:
    """One expression over the key columns: the end of a record's name."""
    from mlforge.sql.keys import _KINDS, _TAGS

    return sql("online/key", keys=[(k.name, kind_of(k.type)) for k in c.keys], kinds=_KINDS, tags=_TAGS)


def _as_of_engine(c: Compiled, outputs: list[CompiledOutput], stored: list[Stored]) -> Engine:
    used = [(n, s) for n, s in enumerate(stored) if any(re.search(rf"\b{s.name}\b", o.sql) for o in outputs)]
    parameters: list[tuple[list[Any], str]] = [(["stored", n], s.type) for n, s in used]
    plain = [(s.name, i) for i, (_, s) in enumerate(used)] + [(AT, len(used))]
    parameters.append((["at"], "TIMESTAMP"))
    return _engine(c, outputs, parameters, {}, plain)


def _engine(
    c: Compiled,
    outputs: Sequence[CompiledOutput],
    parameters: list[tuple[list[Any], str]],
    structs: Mapping[str, list[tuple[str, int]]],
    plain: Sequence[tuple[str, int]],
) -> Engine:
    trees = [type_tree(o.type, c.feature, o.name) for o in outputs]
    text = sql(
        "online/engine",
        outputs=outputs,
        trees=trees,
        late=any(map(holds, trees)),
        structs=structs,
        plain=plain,
        types=[t for _, t in parameters],
    )
    return Engine(text, parameters, [o.name for o in outputs], trees)


def on_demand(feature: Physical, version: str, identity: str, tables: Mapping[str, str]) -> OnDemand:
    """What a reader must know of an on-demand feature; ``tables`` says which table each alias reads."""
    c = feature.c
    columns = {r.alias: _used(r.alias, r.physical.c, c) for r in feature.refs}
    types = {(r.alias, o.name): o.type for r in feature.refs for o in r.physical.c.outputs}
    parameters: list[tuple[list[Any], str]] = [(["at"], "TIMESTAMP")]
    structs: dict[str, list[tuple[str, int]]] = {"_mlforge_p": [(AT, 0)]}
    for name, kind in c.request.items():
        structs["_mlforge_p"].append((name, len(parameters)))
        parameters.append((["request", name], kind))
    for alias, names in columns.items():
        for name in names:
            structs.setdefault(alias, []).append((name, len(parameters)))
            parameters.append((["ref", alias, name], types[alias, name]))
    return OnDemand(
        feature=c.feature,
        version=version,
        identity=identity,
        keys=keys(c),
        parts=list(c.parts),
        request=c.request,
        reads=dict(tables),
        columns=columns,
        outputs=[Output(o.name, o.type) for o in c.outputs],
        engine=_engine(c, c.outputs, parameters, structs, []),
        proof=proof_text(c.proof),
    )


def _used(alias: str, ref: Compiled, c: Compiled) -> list[str]:
    """The columns of a ref that the feature's expressions name."""
    import sqlglot
    from sqlglot import exp

    found = {
        column.name.lower()
        for o in c.outputs
        for column in sqlglot.parse_one(o.sql, dialect="duckdb").find_all(exp.Column)
        if column.table == alias
    }
    return [o.name for o in ref.outputs if o.name.lower() in found]
