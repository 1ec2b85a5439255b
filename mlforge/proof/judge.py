"""What is known of one feature's leaks when it is planned."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice, product
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.duration import period_of
from mlforge.errors import FeatureError, LeakageError, ProjectError, WarehouseError, Where, did_you_mean
from mlforge.model import REF_SCHEMA, SOURCE_SCHEMA, Duration, Proof
from mlforge.plan.weakest import weakest
from mlforge.proof.origin import Origin, origin
from mlforge.proof.pruned import prepared, read
from mlforge.proof.relations import Leaking, Relation, Unproven
from mlforge.proof.seen import with_seen
from mlforge.proof.settled import settled
from mlforge.render.conditions import condition
from mlforge.render.leaks import many_rows
from mlforge.render.syntax import ref_name, relations, source_name, where
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlglot import exp

    from mlforge.model import Compiled, FeatureConfig, Project, Source
    from mlforge.proof.pruned import Read
    from mlforge.proof.relations import Relations
    from mlforge.render.syntax import Parsed

    Describe = Callable[[str, exp.Expression | None], dict[str, str]]
    Key = tuple[str, str]

_STAMP = "_mlforge_ts"
_NONE, _DAY = Duration(0, "s"), Duration(1, "d")
_TRIES = 16  # of columns that may be times


@dataclass(frozen=True)
class Verdict:
    """What is known of a feature's leaks, and how long after its timestamp a row of it is known."""

    proof: Proof
    delay: Duration = _NONE
    inherited: bool = False  # as long as rows of its sources are, whatever the type of its timestamp
    stamp: Origin = field(default_factory=Origin)  # what its timestamp is made of
    known: Relations = field(default_factory=dict)  # when rows of what it reads are known
    events: exp.Query | None = None  # the event rows, as they were judged
    seen: exp.Query | None = None  # the same with the instant from which each is known, where they must prove it
    read: Read = field(default_factory=dict)  # what tells rows apart in the SELECTs of both
    refusal: LeakageError | None = None  # why it is not proven
    leaks: bool = False  # as it is known to leak for some rows


def judge(
    parsed: Parsed, compiled: Compiled, project: Project, upstream: Mapping[str, Compiled], describe: Describe
) -> Verdict:
    """Whether the event rows of a feature, as ``compiled`` makes them before ties are broken, are leak-free.

    What it reads is part of it: the weakest proof of them all holds. Raises ProjectError for settings of a
    source that do not hold."""
    import sqlglot

    config = parsed.rendered.config
    tree = sqlglot.parse_one(compiled.event_sql, dialect="duckdb")
    known = _relations(tree, config, project, upstream, describe)
    case = _Case(known, config.delay or _NONE)
    reason = None
    try:
        _check_python(known, project)
        if compiled.kind == "static":
            _check_static(known, tree)
        else:
            _check(case, tree, config)
    except Unproven as unproven:
        reason = unproven
    looked_up = compiled.kind == "static" and reason is None
    untimed = (n for (s, n), r in case.known.items() if s == SOURCE_SCHEMA and r.time is None)
    assumes = tuple(sorted(n for n in untimed if looked_up or not _times(case.known[SOURCE_SCHEMA, n])))
    proof = Proof(
        status="unproven" if reason else "plan" if case.seen is None else "rows",
        why=reason.why if reason else None,
        assumes=assumes,
        notes=case.notes,
        against=None if reason else {n: str(r) for (s, n), r in sorted(case.known.items()) if s == SOURCE_SCHEMA},
    )
    way_out = next((name for name in ("allow_lookahead", "assume_final") if getattr(config, name)), None)
    if proof.status != "plan" and way_out:
        proof, case.seen = replace(proof, status="allowed", why=f"{way_out}=true", against=None), None
    refusal = _refusal(parsed, reason) if reason and proof.status == "unproven" else None
    return Verdict(
        weakest(upstream, proof),
        case.delay,
        case.inherited,
        case.stamp,
        case.known,
        tree,
        case.seen,
        case.read,
        refusal,
        isinstance(reason, Leaking),
    )


def _refusal(parsed: Parsed, reason: Unproven) -> LeakageError:
    repair = (
        reason.repair or "let every use of another row say that it is not later than the row's own time (b.t <= a.t)"
    )
    way_out = "if rows do not change after their time, state config(assume_final=true)"
    return LeakageError(reason.why, where=_place(parsed, reason.node), hint=f"{repair}; {way_out}")


def _place(parsed: Parsed, node: exp.Expression | None) -> Where:
    """Where the user wrote a node of the event relation, in which names are qualified: by its text without them."""
    if node is not None:
        alike = list(parsed.tree.find_all(type(node)))
        same = [n for n in alike if _bare(n) == _bare(node)] or (alike if len(alike) == 1 else [])
        if same:
            return where(parsed, same[0])
    return where(parsed, parsed.tree)


def _bare(node: exp.Expression) -> str:
    return re.sub(r"\b\w+\.|\s", "", node.sql("duckdb").lower().replace('"', ""))


def _known_after(kind: str, format_: str | None) -> Duration:
    """How long after its time a row is known of which the source says nothing else: a date is when it is over.

    ``kind`` is the type of the time's column, ``format_`` says how text is read."""
    if kind.startswith("TIMESTAMP"):
        return _NONE
    return period_of(format_) if format_ else _DAY


# -- a feature with a timestamp


@dataclass
class _Case:
    """What is found out on the way: about relations, the feature's delay, and what the user should be told."""

    known: dict[Key, Relation]
    delay: Duration
    inherited: bool = False
    seen: exp.Query | None = None
    read: Read = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    stamp: Origin = field(default_factory=Origin)


def _check(case: _Case, tree: exp.Query, config: FeatureConfig) -> None:
    """Find when rows are known, and whether the feature is proven; raises Unproven if it is not."""
    query = prepared(tree, case.known)
    case.read = read(query, case.known)
    base = case.stamp = origin(query, _STAMP)
    _declare(case, base, config)
    if config.delay is None:
        _inherit(case, base)
    _check_text(case.known)
    undeclared = {n: r for (schema, n), r in case.known.items() if schema == SOURCE_SCHEMA and _times(r)}
    is_text = config.timestamp_format is not None  # SQL compares another instant than is read from it, perhaps
    if undeclared and not is_text and _are_tied(case, query, undeclared):
        return
    try:
        if is_text or not settled(query, _STAMP, case.delay, case.known):
            case.seen = _spelled(with_seen(tree, query, _STAMP, case.known), case.known)
    except Unproven as unproven:
        if isinstance(unproven, Leaking) or not undeclared:
            raise
    for name, relation in undeclared.items():
        raise _undeclared(name, relation, _first(tree, name))


def _check_text(known: Relations) -> None:
    """Refuse times that are text of a form that nobody states."""
    for (_, name), relation in known.items():
        if relation.time and relation.columns[relation.time] == "VARCHAR" and relation.format is None:
            repair = "say how: options: {dateformat: ...} and types: of the source, or timestamp_format of the feature"
            raise Unproven(
                f"{relation.time}, the time of source {name}, is text that nobody says how to read", None, repair
            )


def _are_tied(case: _Case, query: exp.Query, undeclared: Mapping[str, Relation]) -> bool:
    """Whether sources that declare no timestamp, though they have times, are tied to the feature's by one of these."""
    for chosen in islice(product(*(_times(relation) for relation in undeclared.values())), _TRIES):
        times = dict(zip(undeclared, chosen, strict=True))
        timed = {(SOURCE_SCHEMA, name): replace(undeclared[name], time=time) for name, time in times.items()}
        if settled(query, _STAMP, case.delay, case.known | timed):
            case.notes += tuple(_taken(time, name) for name, time in times.items())
            return True
    return False


def _times(relation: Relation) -> list[str]:
    """The columns that may say when a row is known of which nobody says so."""
    kinds = relation.columns.items() if relation.time is None else ()
    return [column for column, kind in kinds if kind == "DATE" or kind.startswith("TIMESTAMP")]


def _undeclared(name: str, relation: Relation, node: exp.Expression | None = None, *, static: bool = False) -> Unproven:
    times = _times(relation)
    which = times[0] if len(times) == 1 else f"one of {', '.join(times)}"
    repair = f"declare which column says when a row happened, timestamp: {which}, at source {name} in mlforge.yaml"
    if not static:
        repair += "; if its rows hold always, read them through a feature without a timestamp and ref()"
    has = f" and has times ({', '.join(times)})" if times else ""
    why = f"source {name} declares no timestamp{has}, so nobody knows when its rows are known"
    return Unproven(why, node, repair if times else "")


def _spelled(tree: exp.Query, known: Relations) -> exp.Query:
    """The query with the names of sources and features as the project spells them."""
    from sqlglot import exp

    spelled = {(schema.lower(), name.lower()): name for schema, name in known}
    for table in tree.find_all(exp.Table):
        name = spelled.get((table.db.lower(), table.name.lower()))
        if name is not None:
            table.set("this", exp.to_identifier(name, quoted=True))
    return tree


def _declare(case: _Case, base: Origin, config: FeatureConfig) -> None:
    """A source that declares no timestamp is known from its column that the feature's time is made of."""
    for key, relation in list(case.known.items()):
        schema, name = key
        if schema != SOURCE_SCHEMA or relation.time is not None:
            continue
        columns = sorted(c for s, n, c in base.columns if (s, n) == (schema.lower(), name.lower()))
        if not columns:
            continue
        column = next(c for c in relation.columns if c.lower() == columns[0])
        kind = relation.columns[column]
        if len(columns) > 1 or not (kind == "DATE" or kind.startswith("TIMESTAMP") or kind == "VARCHAR"):
            raise _undeclared(name, relation)
        case.known[key] = _timed(relation, column, None, config.timestamp_format)
        case.notes += (_taken(column, name),)


def _taken(column: str, name: str) -> str:
    return f"{column} is taken as the time at which rows of source {name} are known: declare its timestamp"


def _inherit(case: _Case, base: Origin) -> None:
    """A feature whose time is that of its sources is known when their rows are."""
    lowered = {(schema.lower(), name.lower()): (name, relation) for (schema, name), relation in case.known.items()}
    delays = []
    for schema, name, column in base.columns if base.copied else ():
        spelled, relation = lowered.get((schema, name), (name, None))
        if relation is None or (relation.time or "").lower() != column:
            return
        delays.append(
            (relation.delay.micros or 0, relation.delay, "feature" if schema == REF_SCHEMA else "source", spelled)
        )
    micros, delay, what, name = max(delays, default=(0, _NONE, "", ""))
    case.inherited = bool(delays)
    if micros:
        case.delay = delay
        case.notes += (f"its rows are known {delay} after their time, as those of {what} {name} are",)


def _check_python(known: Relations, project: Project) -> None:
    for schema, name in known:
        source = project.sources[name] if schema == SOURCE_SCHEMA else None
        if source is not None and source.format == "data" and "function" in source.options:
            raise Unproven(
                "a Python function made its rows, and what those are made of cannot be seen",
                None,
                "let the function return SQL over sources",
            )


def _check_static(known: Relations, tree: exp.Query) -> None:
    timed = ", ".join(sorted(name for (_, name), relation in known.items() if relation.time))
    if timed:
        raise Unproven(
            f"it has no timestamp, and what it reads has: {timed}",
            None,
            "give it the time, config(timestamp=...), and list that column",
        )
    for (schema, name), relation in known.items():
        if schema == SOURCE_SCHEMA and _times(relation) and (many_rows(tree, [name]) or _asks_whether(tree, name)):
            raise _undeclared(name, relation, _first(tree, name), static=True)


def _first(tree: exp.Query, name: str) -> exp.Expression | None:
    """Where a query reads a source."""
    from sqlglot import exp

    return next((table for table in tree.find_all(exp.Table, bfs=False) if source_name(table) == name), None)


def _asks_whether(tree: exp.Query, name: str) -> bool:
    """Whether a query asks if a source has a row, which one of many may answer."""
    from sqlglot import exp

    tables = [table for table in tree.find_all(exp.Table) if source_name(table) == name]
    kinds = (exp.Exists, exp.In, exp.Except, exp.Intersect)
    return any(t.find_ancestor(*kinds) or getattr(t.parent, "kind", "") in ("SEMI", "ANTI") for t in tables)


# -- what is read


def _relations(
    tree: exp.Query, config: FeatureConfig, project: Project, upstream: Mapping[str, Compiled], describe: Describe
) -> dict[Key, Relation]:
    """Every source and feature that a query reads."""
    found: dict[Key, Relation] = {}
    for table, joined in _tables(tree):
        name, ref = source_name(table), ref_name(table)
        if name and (SOURCE_SCHEMA, name) not in found:
            columns = describe(sql("proof/columns", schema=SOURCE_SCHEMA, name=name), None)
            source = project.sources[name]
            time = next((c for c in columns if source.timestamp and c.lower() == source.timestamp.lower()), None)
            relation = Relation(columns=columns, known=_known(source, columns, describe))
            found[SOURCE_SCHEMA, name] = _timed(relation, time, source.delay, config.timestamp_format)
        elif ref:
            key = (REF_SCHEMA, ref)
            own = _feature(upstream[ref], read_at_its_time=joined)
            found[key] = own if key not in found or found[key].time is None else found[key]
    return found


def _known(source: Source, columns: dict[str, str], describe: Describe) -> dict[str, str]:
    """The instants of a source's columns that have their own. Raises ProjectError for what are none."""
    spelled, at = {c.lower(): c for c in columns}, Where(source.file or "mlforge.yaml", source.line)
    found = {}
    for column, text in source.known.items():
        what = f"source {source.name!r}: known: {column}"
        if column.lower() not in spelled:
            raise ProjectError(f"{what}: it has no such column", where=at, hint=did_you_mean(column, columns))
        try:
            made = condition(text)
            kind = next(iter(describe(sql("proof/instant", source=source.name, instant=made), None).values()))
        except (FeatureError, WarehouseError) as error:
            raise ProjectError(f"{what}: {error.message}", where=at, hint=error.hint) from None
        if not kind.startswith("TIMESTAMP"):
            hint = "write SQL for a timestamp; of a DATE it is the end: CAST(day AS TIMESTAMP) + INTERVAL 1 DAY"
            raise ProjectError(f"{what} is {kind}, not an instant", where=at, hint=hint)
        found[spelled[column.lower()]] = made
    return found


def _tables(tree: exp.Query) -> Iterator[tuple[exp.Expression, bool]]:
    """Every table of a query, and whether it is joined; a feature that is joined is read at the left row's time."""
    from sqlglot import exp

    joined = {
        id(table)
        for select in tree.find_all(exp.Select)
        for table, join in relations(select)
        if join is not None and ref_name(table)
    }
    for table in tree.find_all(exp.Table):
        yield table, id(table) in joined


def _timed(relation: Relation, time: str | None, delay: Duration | None, format_: str | None) -> Relation:
    """A source with its time, if it has one, and the delay that it states. Text is read as the feature reads its own
    time."""
    if time is None:
        return relation
    kind = relation.columns[time]
    format_ = format_ if kind == "VARCHAR" else None
    return replace(relation, time=time, format=format_, delay=delay or _known_after(kind, format_))


def _feature(feature: Compiled, *, read_at_its_time: bool) -> Relation:
    columns = {k.name: k.type for k in feature.keys} | {o.name: o.type for o in feature.outputs}
    if feature.timestamp is None:
        return Relation(columns=columns)
    columns[feature.timestamp] = "TIMESTAMP"
    return Relation(columns=columns, time=None if read_at_its_time else feature.timestamp, delay=feature.delay)
