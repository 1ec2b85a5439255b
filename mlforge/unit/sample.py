"""A few real rows of the sources that a feature reads: those of one key, and what the other sources say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mlforge.errors import UsageError, did_you_mean
from mlforge.model import SOURCE_SCHEMA, Column
from mlforge.render.lineage import edges
from mlforge.sql.templates import ident, sql
from mlforge.unit.bench import sources_of, upstream_of
from mlforge.unit.given_values import FLOATS, INTEGERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlforge.model import Source
    from mlforge.unit.bench import Bench
    from mlforge.warehouses.duckdb import DuckDB

_PLAIN = ("VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP", *INTEGERS, *FLOATS)


def sample(
    bench: Bench, warehouse: DuckDB, feature: str, key: Sequence[str], rows: int
) -> dict[str, list[dict[str, Any]]]:
    """At most ``rows`` rows of each source, only the columns that are read.

    ``key``: values, or name=value, of the feature's keys; without them the key with the most rows that are no more than
    ``rows``. Sources that do not hold the key give the rows that share a joined value with those of the others. Raises
    UsageError for a key that the feature does not have, ProjectError for a source that cannot be read."""
    origins = _origins(bench, feature)
    wanted = _wanted(bench, feature, key)
    found: dict[str, list[dict[str, Any]]] = {}
    names = [s for s in sources_of(bench.analysis, feature) if s in bench.shapes]
    names.sort(key=lambda s: -len(origins.get(s, {})))  # first those that hold the key: the others follow them
    for name in names:
        warehouse.bind_source(bench.real[name])
        wanted = wanted or _choose(warehouse, name, origins.get(name, {}), rows)
        columns = _used(bench, feature, name)
        filters = _filters(origins.get(name, {}), wanted) or _shared(bench, feature, name, found)
        found[name] = _rows(warehouse, bench.real[name], columns, filters, rows)
    return found


def _origins(bench: Bench, feature: str) -> dict[str, dict[str, str]]:
    """For each source the column that each key of the feature comes from, where the SQL says so plainly."""
    found: dict[str, dict[str, str]] = {}
    own = {name.lower() for name in _keys(bench, feature)}
    parts = bench.analysis.features[feature].candidate.compiled.parts
    for name in reversed(upstream_of(bench.analysis, feature)):
        for key, source, column in _key_columns(bench, name):
            asked = column.lower() if parts else key.lower()  # of a surrogate key only its parts stand in a source
            if asked in own:
                found.setdefault(source, {}).setdefault(asked, column)
    return found


def _key_columns(bench: Bench, feature: str) -> list[tuple[str, str, str]]:
    """The columns of sources that the keys of a feature are made of: key, source, column."""
    definition = bench.analysis.features[feature].candidate.definition
    keys = tuple(Column(name=k.name, type=k.type) for k in definition.keys)
    found = edges(replace(definition, columns=keys))
    return [(e.column, e.origin, e.origin_column) for e in found if e.kind == "source" and e.column and e.origin_column]


def _keys(bench: Bench, feature: str) -> tuple[str, ...]:
    """What --key may name: the keys, or the parts of a surrogate key."""
    compiled = bench.analysis.features[feature].candidate.compiled
    return compiled.parts or tuple(k.name for k in compiled.keys)


def _wanted(bench: Bench, feature: str, key: Sequence[str]) -> dict[str, list[str]]:
    """The values that are asked for, by key column."""
    keys = _keys(bench, feature)
    found: dict[str, list[str]] = {}
    for text in key:
        name, equals, value = text.partition("=")
        if not equals and len(keys) > 1:
            raise UsageError(f"--key {text} names no column", hint=f"write name=value for {', '.join(keys)}")
        name, value = (name, value) if equals else (keys[0], text)
        if name.lower() not in {k.lower() for k in keys}:
            raise UsageError(f"{feature} has no key {name!r}", hint=did_you_mean(name, keys))
        found.setdefault(name.lower(), []).append(value)
    return found


def _choose(warehouse: DuckDB, source: str, origin: Mapping[str, str], rows: int) -> dict[str, list[str]]:
    if not origin:
        return {}
    text = sql("unit/choose_key", relation=_relation(source), columns=list(origin.values()), rows=rows)
    found = warehouse.con.execute(text).fetchall()
    return {k: [v] for k, v in zip(origin, found[0], strict=False)} if found else {}


def _filters(origin: Mapping[str, str], wanted: Mapping[str, Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    return [(origin[k], values) for k, values in wanted.items() if k in origin]


def _shared(
    bench: Bench, feature: str, source: str, found: Mapping[str, list[dict[str, Any]]]
) -> list[tuple[str, Sequence[str]]]:
    """The first column of a source by which it is joined or keyed, with the values that the rows so far have."""
    values = sorted({str(v) for rows in found.values() for row in rows for v in row.values() if v is not None})
    joined = _joined_columns(bench, feature)
    column = next((c for c in bench.shapes[source] if c.lower() in joined), None)
    return [(column, values)] if column and values else []


def _joined_columns(bench: Bench, feature: str) -> set[str]:
    """The names of columns that stand in an equality, in USING, or are the key of a feature that is read."""
    from sqlglot import exp

    names: set[str] = set()
    for name in upstream_of(bench.analysis, feature):
        tree = _tree(bench, name)
        equal = (c for e in tree.find_all(exp.EQ) for c in e.find_all(exp.Column))
        using = (i for j in tree.find_all(exp.Join) for i in j.args.get("using") or ())
        names |= {c.name.lower() for c in (*equal, *using)}
        names |= {column.lower() for _, _, column in _key_columns(bench, name)}
    return names


def _used(bench: Bench, feature: str, source: str) -> dict[str, str]:
    """The columns of a source that some text names: the SQL of the features, and the source's own settings."""
    from sqlglot import exp, parse_one

    stated = bench.real[source]
    named = {stated.timestamp, stated.loaded_at, *stated.unique_key}
    if stated.deleted:
        named |= {c.name for c in parse_one(stated.deleted, dialect="duckdb").find_all(exp.Column)}
    whole = False
    for name in upstream_of(bench.analysis, feature):
        tree = _tree(bench, name)
        named |= {c.name for c in tree.find_all(exp.Column)}
        named |= {i.name for j in tree.find_all(exp.Join) for i in j.args.get("using") or ()}
        whole = whole or any(not isinstance(s.parent, exp.Count) for s in tree.find_all(exp.Star))
    lower = {n.lower() for n in named if n}
    return {c: kind for c, kind in bench.shapes[source].items() if whole or c.lower() in lower}


def _tree(bench: Bench, feature: str) -> Any:
    from sqlglot import parse_one

    return parse_one(bench.analysis.rendered[feature].sql, dialect="duckdb")


def _rows(
    warehouse: DuckDB,
    source: Source,
    columns: Mapping[str, str],
    filters: Iterable[tuple[str, Sequence[str]]],
    rows: int,
) -> list[dict[str, Any]]:
    text = sql(
        "unit/sample",
        relation=_relation(source.name),
        columns=[(c, _read_as(kind)) for c, kind in columns.items()],
        filters=list(filters),
        order=source.timestamp,
        rows=rows,
    )
    return [dict(zip(columns, row, strict=True)) for row in warehouse.con.execute(text).fetchall()]


def _read_as(kind: str) -> str | None:
    """The type to cast to, so that YAML can hold the value; None: as it is."""
    if kind in _PLAIN or kind.startswith(("DECIMAL", "STRUCT")) or kind.endswith("]"):
        return None
    return "TIMESTAMP" if kind == "TIMESTAMP WITH TIME ZONE" else "VARCHAR"


def _relation(source: str) -> str:
    return f"{ident(SOURCE_SCHEMA)}.{ident(source)}"
