"""Verifying features: retrieved values of a sample of label rows against values recomputed from cut sources."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace as changed
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as with_changes

from mlforge.catalog import source_engine as engines
from mlforge.catalog.file import Instance
from mlforge.catalog.log import new_id
from mlforge.errors import UsageError
from mlforge.model import FeatureRef, Pin, Version
from mlforge.retrieve import request as requests
from mlforge.retrieve.known_as_of import instants, training_set_as_known
from mlforge.retrieve.labels import column_types, label_rows
from mlforge.retrieve.training import KeySql, TrainingSet, training_set
from mlforge.sql.templates import ident, sql
from mlforge.verify.compare import compared, differences, explained
from mlforge.verify.engine import Engine
from mlforge.verify.recompute import Case, stated
from mlforge.verify.result import FeatureVerdict, Verification, VerifyOptions
from mlforge.verify.sample import own_labels, pick
from mlforge.warehouses.frames import typed, untyped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, Project, StoredVersion
    from mlforge.retrieve.request import Request
    from mlforge.sql.physical import Member

CHECKED = "_mlforge_checked"
_ONE = "all takes keys and instants of its own: leave it out, or give features only"


def verify(
    con: DuckDBPyConnection,
    state: CatalogState,
    project: Project,
    features: Any,
    given: Any,
    options: VerifyOptions,
) -> Verification:
    """Verify features, references or None for all, for a sample of label rows: of those given, else keys and times of
    each feature's own rows and of its sources.

    ``con`` is the open catalog. Raises what ``training_set`` raises, ProjectError for unreadable sources, and
    UsageError for label rows beside ``all``."""
    if options.all and given is not None:
        raise UsageError("label rows are given, and all keys and instants are asked for", hint=_ONE)
    wanted = list(state.features) if features is None else features
    if given is None:
        asked = requests.resolve(state, wanted)
        return _verification(options, [_by_itself(con, state, project, r, options) for r in asked])
    with label_rows(con, given) as labels:
        table = labels.table
    table = pick(table, options.sample, options.seed)
    return _verification(options, verdicts(project, state, _retrieved(con, state, project, wanted, table, options)))


def verify_training_set(
    state: CatalogState, project: Project, made: TrainingSet, options: VerifyOptions
) -> Verification:
    """Verify a sample of the rows of a training set that was made from the catalog as it is. Raises ProjectError, and
    UsageError if all keys and instants are wanted."""
    if options.all:
        raise UsageError("a training set is given, and all keys and instants are asked for", hint=_ONE)
    rows = pick(made.table, options.sample, options.seed)
    found = verdicts(project, state, TrainingSet(rows, made.kind, made.record))
    return _verification(with_changes(options, known_as_of=made.record.get("known_as_of")), found)


def _verification(options: VerifyOptions, found: Iterable[FeatureVerdict]) -> Verification:
    known = None if options.known_as_of is None else str(options.known_as_of)
    return Verification(
        id=new_id(), features=tuple(found), sample=options.sample, seed=options.seed, all=options.all, known_as_of=known
    )


def _retrieved(
    con: DuckDBPyConnection,
    state: CatalogState,
    project: Project,
    features: Any,
    table: pa.Table,
    options: VerifyOptions,
) -> TrainingSet:
    if options.known_as_of is None:
        return training_set(con, state, features, table, timestamp=options.timestamp, full_names=True)
    return training_set_as_known(
        con,
        state,
        project,
        features,
        table,
        timestamp=options.timestamp,
        full_names=True,
        known_as_of=options.known_as_of,
        ignore_loaded_at=options.ignore_loaded_at,
    )


# -- label rows of a feature's own


def _by_itself(
    con: DuckDBPyConnection, state: CatalogState, project: Project, asked: Request, options: VerifyOptions
) -> FeatureVerdict:
    """Verify one feature for keys and times of its own rows."""
    stored = asked.stored
    if stored.compiled.request:
        return _unproven(asked, f"give label rows: it needs {', '.join(stored.compiled.request)} with the request")
    with engine(project, state) as own:
        if lost := _lost(own, stored):
            return _unproven(asked, lost)
        table, fewer = own_labels(con, own, stored, options)
    if table is None:
        return _unproven(asked, "give label rows: no feature that it reads has all of its keys")
    v = stored.version
    ref = FeatureRef(name=stored.feature, version=Pin(v.major, v.minor, v.patch), columns=asked.ref.columns)
    made = _retrieved(con, state, project, [ref], table, with_changes(options, timestamp="label_time"))
    found = verdicts(project, state, made)[0]
    if not fewer:
        return found
    status = "failed" if found.status == "failed" else "unproven"
    return with_changes(found, status=status, unproven=(*fewer, *found.unproven))


# -- verdicts


@contextmanager
def engine(project: Project, state: CatalogState, loaded_by: int | None = None) -> Iterator[Engine]:
    """A connection of its own for as long as the block lasts; only rows loaded by ``loaded_by`` (microseconds)."""
    with engines.engine(project) as warehouse:
        yield Engine(warehouse, project, state, loaded_by=loaded_by)


def verdicts(project: Project, state: CatalogState, made: TrainingSet) -> list[FeatureVerdict]:
    """A verdict on each feature of a training set, from all of its rows."""
    import pyarrow as pa

    table = made.table.append_column("_mlforge_n", pa.array(range(made.table.num_rows), pa.int64()))
    found: list[list[FeatureVerdict]] = []
    for loaded_by, rows in _moments(table, made.record):
        with engine(project, state, loaded_by) as own:
            found.append(_verdicts(own, table if rows is None else table.take(rows), made.record))
    return [_together(parts) for parts in zip(*found, strict=True)]


def _moments(table: pa.Table, record: dict[str, Any]) -> list[tuple[int | None, Any]]:
    """Instants up to which rows count as known, each with the rows that it is for; None: all."""
    known = record.get("known_as_of")
    if known is None:
        return [(None, None)]
    with Instance() as own, label_rows(own.con, table):
        return list(instants(own.con, table, known))


def _verdicts(own: Engine, table: pa.Table, record: dict[str, Any]) -> list[FeatureVerdict]:
    own.con.register("_mlforge_given", typed(table))
    own.con.execute(sql("retrieve/keep_labels", relation=CHECKED, query="FROM _mlforge_given"))
    own.con.unregister("_mlforge_given")
    types = column_types(own.con, CHECKED, untyped(table))
    asked = requests.resolve(own.state, [_ref(r) for r in record["references"]])
    names = _names(asked, record["columns"])
    members = requests.members(asked, names, KeySql(types, asked))
    return [_verdict(own, r, m, record["label_time"], types) for r, m in zip(asked, members, strict=True)]


def _ref(reference: dict[str, Any]) -> FeatureRef:
    version = Version.parse(reference["version"])
    return FeatureRef(
        name=reference["feature"],
        version=Pin(version.major, version.minor, version.patch),
        columns=tuple(reference["columns"]),
        keys=dict(reference["keys"]),
        prefix=reference["prefix"],
    )


def _names(asked: Sequence[Request], columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The result's columns of each feature, in its order."""
    left = iter(columns)
    return [tuple(next(left) for _ in r.columns) for r in asked]


def _verdict(
    own: Engine, asked: Request, member: Member, label_time: str | None, types: dict[str, str]
) -> FeatureVerdict:
    import duckdb

    start = time.perf_counter()
    if lost := _lost(own, asked.stored):
        return _unproven(asked, lost)
    case = Case(own, asked.stored, own.name("labels"), frozenset(c.lower() for c in asked.columns))
    text = sql(
        "verify/labels",
        name=case.labels,
        m=member,
        relation=CHECKED,
        label_time=label_time and ident(label_time),
        label_type=label_time and types[label_time],
    )
    try:
        own.con.execute(text)
        found = _judged(case, asked, member, label_time)
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        return _unproven(asked, f"it cannot be recomputed: {own.warehouse.words(error)}")
    return with_changes(found, seconds=time.perf_counter() - start)


def _judged(case: Case, asked: Request, member: Member, label_time: str | None) -> FeatureVerdict:
    bounds = stated(case.stored)
    timeless = label_time is None and case.f.kind != "on_demand" and any(c.column for c in case.cuts.values())
    bounds = changed(bounds, cut=False) if timeless else bounds
    values = case.values(bounds)
    columns = compared(case, member.columns)
    found = differences(case, CHECKED, values, columns)
    if found:  # perhaps by no more than floats may: that takes longer to know, and is rare
        case, unsure = case.exactly(), sorted({d.n for d in found})
        found = differences(case, CHECKED, case.values(bounds, unsure), columns, unsure)
    if found:
        case.keep_rows()
    labels = int(case.con.execute(f"SELECT count(*) FROM {CHECKED}").fetchall()[0][0])
    late, late_labels = case.con.execute(sql("verify/late", values=values)).fetchall()[0]
    reasons = [
        *case.unproven(),
        *(["the label rows have no time"] if timeless else []),
        *(["there is no label row"] if not labels else []),
    ]
    return FeatureVerdict(
        feature=asked.stored.feature,
        version=str(asked.stored.version),
        columns=asked.columns,
        labels=labels,
        status="failed" if found else "unproven" if reasons else "passed",
        values=labels * len(columns),
        mismatched=len(found),
        mismatches=tuple(explained(case, CHECKED, found, columns)),
        unproven=tuple(reasons),
        known_late=late,
        late_labels=late_labels,
    )


def _lost(own: Engine, stored: StoredVersion) -> str | None:
    """Why nothing can be recomputed: sources are not what the version, or one that it reads, was built from."""
    if any("function" in (s.get("options") or {}) for s in stored.definition.sources.values()):
        return f"the rows of {stored.feature} come from a Python function, which cannot be cut"
    if reason := own.lost(stored):
        return reason
    if stored.compiled.kind == "on_demand":
        read = [own.state.features[r.feature].get(Version.parse(r.version)) for r in stored.compiled.refs]
    else:
        read = [own.upstream(n, v) for n, v in stored.definition.refs.items()]
        if newer := [str(v.feature) for v in read if v.build > stored.build]:
            return f"it was built before the newest rows of {', '.join(newer)}: build first"
    return next((reason for v in read if (reason := _lost(own, v))), None)


def _unproven(asked: Request, reason: str) -> FeatureVerdict:
    return FeatureVerdict(
        feature=asked.stored.feature,
        version=str(asked.stored.version),
        columns=asked.columns,
        status="unproven",
        unproven=(reason,),
    )


def _together(parts: Sequence[FeatureVerdict]) -> FeatureVerdict:
    """One verdict of those on the label rows of several instants."""
    worst = next((s for s in ("failed", "unproven") if any(p.status == s for p in parts)), "passed")
    return with_changes(
        parts[0],
        status=worst,
        unproven=tuple(dict.fromkeys(r for p in parts for r in p.unproven)),
        mismatches=tuple(m for p in parts for m in p.mismatches),
        **{
            name: sum(getattr(p, name) for p in parts)
            for name in ("labels", "values", "mismatched", "known_late", "late_labels", "seconds")
        },
    )
