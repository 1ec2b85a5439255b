"""From a checked tree and the columns of its sources to the compiled feature and its definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mlforge.errors import FeatureError, Where, did_you_mean
from mlforge.model import Column, Compiled, Definition, Input, Key, Output, Proof
from mlforge.plan.weakest import weakest
from mlforge.proof.judge import Verdict, judge
from mlforge.render.names import check_names
from mlforge.render.syntax import outermost, ref_name, refuse, relations, source_name, where
from mlforge.sql.keys import check_parts, rewrite_calls
from mlforge.sql.level import level
from mlforge.sql.ondemand import compile_on_demand
from mlforge.sql.outputs import check_outputs, refuse_nameless
from mlforge.sql.physical import FLOATS
from mlforge.sql.ref_times import check_key_types, check_left_times
from mlforge.sql.rowlist import ZONED, RowList, empty_value, in_utc
from mlforge.sql.stars import expand_stars
from mlforge.sql.sums import with_bigint_sums
from mlforge.sql.templates import ident, sql
from mlforge.sql.ties import break_ties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlglot import exp

    from mlforge.model import Aggregate, Project
    from mlforge.render.syntax import Parsed

    Describe = Callable[[str, exp.Expression | None], dict[str, str]]
    WhyText = Callable[[exp.Expression], tuple[exp.Expression, str, str] | None]


@dataclass(frozen=True)
class Compilation:
    """A compiled feature with what a build must look at beside it: the event relation as SQL, and its columns."""

    compiled: Compiled
    definition: Definition
    input_sql: str
    input_columns: dict[str, str]
    timestamp_type: str | None
    verdict: Verdict
    seen_sql: str = ""  # the event relation with the instant from which each row is known, where rows must prove it


def compile_feature(
    parsed: Parsed, project: Project, describe: Describe, upstream: Mapping[str, Compiled], why_text: WhyText
) -> Compilation:
    """Compile one feature. ``describe(sql, node)`` gives names and types of a query's columns, or raises at the node.
    ``why_text(node)`` gives a column of the node that a word among times makes text, what to say, and a hint.

    Raises FeatureError and its kinds for whatever the user's file has wrong."""
    config = parsed.rendered.config
    entity = project.entities[config.entity]
    tree = expand_stars(parsed, describe)
    check_parts(tree, describe, lambda node: where(parsed, node))
    tree = rewrite_calls(tree)
    if parsed.kind == "on_demand":
        compiled, items = compile_on_demand(parsed, tree, entity, describe, upstream)
        check_outputs(parsed, compiled, items)
        verdict = Verdict(weakest(upstream, Proof(status="plan")))
        compiled = replace(compiled, proof=verdict.proof)
        return Compilation(
            compiled, _definition(parsed, project, compiled, tree, items, upstream), "", {}, None, verdict
        )
    _check_reads(parsed, upstream)
    listed = outermost(tree)[0].expressions
    check_names([i.alias for i in listed], lambda n: where(parsed, listed[n].this))
    items = {i.alias: i.this for i in listed}
    timestamp = _find(parsed, items, config.timestamp, "the timestamp") if config.timestamp else None
    if timestamp:
        check_left_times(parsed, tree, timestamp, upstream, describe)
    check_key_types(parsed, tree, upstream, describe)
    keys = [_find(parsed, items, k, f"a key of entity {entity.name}") for k in entity.keys]
    loaded = _loaded_at(parsed, project, tree, describe)
    build = _windowed if parsed.kind == "windows" else _whole
    settled = tree.copy()
    level(parsed, settled, describe)
    levelled = settled.copy()
    break_ties(parsed, settled, project.sources, describe)
    compiled, timestamp_type = build(parsed, levelled, keys, timestamp, loaded, describe)
    verdict = judge(parsed, replace(compiled, kind=parsed.kind), project, upstream, describe)
    if settled != levelled and verdict.events is not None:
        compiled = replace(compiled, event_sql=_tied(parsed, verdict.events, verdict, project, describe))
    compiled = replace(
        compiled,
        kind=parsed.kind,
        timestamp=timestamp,
        parts=entity.parts,
        interval=config.interval,
        closed=config.closed or ("left" if compiled.aggregates else "right"),
        delay=verdict.delay,
        ttl=config.ttl,
        timezone=config.timezone,
        proof=verdict.proof,
    )
    check_outputs(parsed, compiled, items)
    if timestamp_type is not None and timestamp is not None:
        _check_time(parsed, timestamp, timestamp_type, items, why_text)
    input_sql = _input_sql(outermost(settled)[0], settled)
    return Compilation(
        compiled,
        _definition(parsed, project, compiled, tree, items, upstream),
        input_sql,
        describe(input_sql, None),
        timestamp_type,
        verdict,
        _tied(parsed, verdict.seen, verdict, project, describe) if verdict.seen is not None else "",
    )


def _tied(parsed: Parsed, events: exp.Query, verdict: Verdict, project: Project, describe: Describe) -> str:
    """Event rows with an order in every choice, by what the proof takes as read: another column may be known later."""
    break_ties(parsed, events, project.sources, describe, verdict.read)
    return str(events.sql("duckdb"))


def _check_reads(parsed: Parsed, upstream: Mapping[str, Compiled]) -> None:
    """What is read has rows where rows are asked for, and rows that it is joined to have a time."""
    from sqlglot import exp

    joins = [found for select in outermost(parsed.tree) for found in join_refs(select)]
    joined = {id(join.this) for _, join in joins}
    for table in parsed.tree.find_all(exp.Table):
        feature = upstream.get(ref_name(table) or "")
        if feature is not None and id(table) not in joined and feature.kind == "windows" and not feature.interval:
            raise refuse(
                parsed,
                table,
                f"{feature.feature} has a value at every instant, and no rows of its own",
                "join it to rows that have a time, or give it an interval",
            )
    for name, join in joins:
        if parsed.rendered.config.timestamp is None and upstream[name].kind != "static":
            raise refuse(
                parsed,
                join,
                f"{name} changes with time, and the rows that it is joined to have no time",
                "give this feature a timestamp, or join static features only",
            )


def _find(parsed: Parsed, items: Mapping[str, Any], name: str, what: str) -> str:
    for item in items:
        if item.lower() == name.lower():
            return item
    raise FeatureError(
        f"no output column is called {name!r}, {what}",
        where=Where(parsed.rendered.path),
        hint=f"add it to the select list; {did_you_mean(name, items)}",
    )


def _windowed(
    parsed: Parsed, tree: exp.Query, keys: Sequence[str], timestamp: str | None, loaded: str | None, describe: Describe
) -> tuple[Compiled, str | None]:
    """Features whose select list is evaluated at T."""
    select = outermost(tree)[0]
    rows = RowList(parsed, frozenset(c.lower() for c in describe(_star(select), select)))
    outputs: dict[str, str] = {}
    event: dict[str, str] = {}
    for item in select.expressions:
        name, expression = item.alias, item.this
        if name in keys or name == timestamp:
            event[name if name in keys else "_mlforge_ts"] = rows.event(expression).sql("duckdb")
            rows.aliases[name.lower()] = expression
        else:
            outputs[name] = rows.add(name, expression).sql("duckdb")
    if loaded:
        event["_mlforge_loaded"] = loaded
    event |= rows.event_inputs() | {name: text for text, name in rows.rows.items()}
    event_sql = _event_select(parsed, select, rows, event)
    types = _as_written(event, describe(event_sql, select))
    zoned = [k for k in keys if types[k] == ZONED]
    if zoned:
        event_sql = sql("feature/unzoned", query=event_sql, columns=zoned)
        types |= dict.fromkeys(zoned, "TIMESTAMP")
    for text, name in [*rows.inputs.items(), *rows.rows.items()]:
        refuse_nameless(parsed, text, types[name], select)
    inputs = tuple(Input(name=n, sql=t, type=types[n]) for t, n in rows.inputs.items())
    row_columns = tuple(Input(name=n, sql=t, type=types[n]) for t, n in rows.rows.items())
    aggregates = _typed(parsed, rows, inputs, describe)
    parts: list[Aggregate | Input] = [*aggregates, *row_columns]
    outputs = in_utc(outputs, {("", "_mlforge_at"): "TIMESTAMP", **{("", p.name): p.type for p in parts}})
    probe = sql("feature/describe_outputs", parts=parts, outputs=outputs)
    out_types = _as_written(outputs, describe(probe, select))
    zoned = [n for n, t in out_types.items() if t == ZONED]
    outputs |= {n: f"timezone('UTC', {outputs[n]})" for n in zoned}
    out_types |= dict.fromkeys(zoned, "TIMESTAMP")
    compiled = Compiled(
        feature=parsed.rendered.name,
        kind="windows",
        event_sql=event_sql,
        inputs=inputs,
        rows=row_columns,
        aggregates=aggregates,
        keys=tuple(Key(k, types[k]) for k in keys),
        uses_as_of=rows.uses_as_of,
        loaded_at=loaded,
        outputs=tuple(
            Output(name=n, sql=t, type=out_types[n], empty=empty_value(t, aggregates, row_columns))
            for n, t in outputs.items()
        ),
    )
    return compiled, types["_mlforge_ts"]


def _typed(parsed: Parsed, rows: RowList, inputs: Sequence[Input], describe: Describe) -> tuple[Aggregate, ...]:
    """Result types, by asking the engine about each call on columns of the inputs' types."""
    calls = list(rows.calls.values())
    if not calls:
        return ()
    found = describe(sql("feature/describe_calls", calls=calls, inputs=inputs), None)
    types = {i.name: i.type for i in inputs}
    return tuple(_typed_call(a, found[a.name], types) for a in calls)


def _typed_call(a: Aggregate, found: str, types: Mapping[str, str]) -> Aggregate:
    if a.function in ("sum", "count_if") and found in ("HUGEINT", "UHUGEINT"):
        found = "BIGINT"
    kind = types.get(a.args[0], "")
    is_float = kind in FLOATS
    if a.function == "median" and (is_float or kind.startswith("DECIMAL")):
        return replace(a, type="DOUBLE", args=(f"CAST({a.args[0]} AS DOUBLE)",))
    if a.function in ("quantile_cont", "mad") and kind.startswith("DECIMAL(") and int(kind[8:].split(",")[0]) <= 15:
        # Between two DECIMALs DuckDB 1.5 rounds down and 2.0 towards zero; so many digits a DOUBLE holds exactly.
        return replace(a, type=found, args=(f"CAST({a.args[0]} AS DOUBLE)", *a.args[1:]))
    if a.function in ("sum", "avg") and is_float:
        return replace(a, type="DOUBLE", method="fixed")
    return replace(a, type=found)


def _whole(
    parsed: Parsed, tree: exp.Query, keys: Sequence[str], timestamp: str | None, loaded: str | None, describe: Describe
) -> tuple[Compiled, str | None]:
    """Plain and static features: the query's own rows."""
    names = [i.alias for i in outermost(tree)[0].expressions]
    outputs = [n for n in names if n not in keys and n != timestamp]
    query = tree.copy()
    if loaded:
        outermost(query)[0].select(f"{loaded} AS _mlforge_loaded", copy=False, dialect="duckdb")

    def events(of: exp.Query) -> tuple[str, dict[str, str]]:
        text = of.sql("duckdb")
        made = sql("feature/whole_events", query=text, keys=keys, timestamp=timestamp, loaded=loaded, outputs=outputs)
        names = [*keys, *(["_mlforge_ts"] if timestamp else []), *(["_mlforge_loaded"] if loaded else []), *outputs]
        return made, _as_written(names, describe(made, outermost(parsed.tree)[0]))

    event_sql, types = events(query)
    huge = [n for n in outputs if types[n] == "HUGEINT"]
    if huge:
        event_sql, types = events(with_bigint_sums(query, huge, describe))
    zoned = [n for n in [*keys, *outputs] if types[n] == ZONED]
    if zoned:
        event_sql = sql("feature/unzoned", query=event_sql, columns=zoned)
        types |= dict.fromkeys(zoned, "TIMESTAMP")
    compiled = Compiled(
        feature=parsed.rendered.name,
        kind="plain",
        event_sql=event_sql,
        loaded_at=loaded,
        keys=tuple(Key(k, types[k]) for k in keys),
        outputs=tuple(Output(name=n, sql=ident(n), type=types[n], empty="NULL") for n in outputs),
    )
    return compiled, types.get("_mlforge_ts")


def _as_written(names: Iterable[str], found: Mapping[str, str]) -> dict[str, str]:
    """Types by the names that were asked for: DuckDB 2 gives a column the spelling of the one it comes from."""
    return dict(zip(names, found.values(), strict=True))


def _event_select(parsed: Parsed, select: exp.Select, rows: RowList, columns: Mapping[str, str]) -> str:
    """SELECT these columns from the feature's event relation; aliases in WHERE are written out."""
    import sqlglot
    from sqlglot import exp

    query = select.copy()
    items = [exp.alias_(sqlglot.parse_one(t, dialect="duckdb"), n, quoted=True) for n, t in columns.items()]
    query.set("expressions", items)
    if query.args.get("where"):
        query.args["where"].set("this", rows.event(query.args["where"].this))
    return str(query.sql("duckdb"))


def _star(select: exp.Select) -> str:
    """SELECT * FROM the event relation, unfiltered."""
    from sqlglot import exp

    query = select.copy()
    query.set("expressions", [exp.Star()])
    for clause in ("where", "group", "having", "qualify", "distinct", "windows"):
        query.set(clause, None)
    return str(query.sql("duckdb")) if query.args.get("from_") else "SELECT 1 AS _mlforge_none"


def _input_sql(select: exp.Select, tree: exp.Query) -> str:
    """The event rows with all their columns, for checks on the input side."""
    from sqlglot import exp

    query = select.copy()
    if not query.args.get("from_"):
        return "SELECT 1 AS _mlforge_none"
    query.set("expressions", [exp.Star()])
    for clause in ("group", "having", "qualify", "distinct", "windows"):
        query.set(clause, None)
    aliases = {i.alias.lower(): i.this for i in select.expressions}
    condition = query.args.get("where")
    if condition is not None and any(c.name.lower() in aliases for c in condition.find_all(exp.Column)):
        query.set("where", None)
    if select is not tree and tree.args.get("with_"):
        query.set("with_", tree.args["with_"].copy())
    return str(query.sql("duckdb"))


def _loaded_at(parsed: Parsed, project: Project, tree: exp.Query, describe: Describe) -> str | None:
    """The loaded_at column of the source that FROM names first, where event rows still carry it."""
    selects = outermost(tree)
    if len(selects) != 1 or any(selects[0].args.get(c) for c in ("group", "distinct", "having")):
        return None
    tables = relations(selects[0])
    source = project.sources.get(source_name(tables[0][0]) or "") if tables else None
    if source is None or source.loaded_at is None:
        return None
    alias = tables[0][0].alias_or_name
    return f"epoch_us({ident(alias)}.{ident(source.loaded_at)})"


def _check_time(parsed: Parsed, name: str, kind: str, items: Mapping[str, exp.Expression], why_text: WhyText) -> None:
    """The timestamp is an instant; of text and numbers only the user knows what they mean."""
    format_ = parsed.rendered.config.timestamp_format
    at, shown = where(parsed, items[name]), f"timestamp {name!r}"
    if kind == "VARCHAR" and format_ is None:
        if text := why_text(items[name]):
            raise FeatureError(f"{shown} is text: {text[1]}", where=at, hint=text[2])
        raise FeatureError(
            f"{shown} is text",
            where=at,
            hint='say how to read it: config(timestamp_format="%d/%m/%Y") or "%m/%d/%Y", as strptime writes it; '
            "if single words such as N/A made it text: options: {nullstr: N/A} of the source, or nullif() and a CAST",
        )
    if kind != "VARCHAR" and format_ is not None:
        raise FeatureError(f"{shown} is {kind} and has no use for timestamp_format", where=at, hint="leave it out")
    if kind not in ("VARCHAR", "DATE") and not kind.startswith("TIMESTAMP"):
        raise FeatureError(
            f"{shown} is {kind}, not an instant",
            where=at,
            hint="numbers: make_timestamp(microseconds), to_timestamp(seconds) or epoch_ms(milliseconds)",
        )


def _definition(
    parsed: Parsed,
    project: Project,
    compiled: Compiled,
    tree: exp.Query,
    items: Mapping[str, exp.Expression],
    upstream: Mapping[str, Compiled],
) -> Definition:
    config = parsed.rendered.config
    described = {name.lower(): text for name, text in config.columns.items()}
    return Definition(
        feature=compiled.feature,
        kind=compiled.kind,
        entity=config.entity,
        keys=compiled.keys,
        timestamp=compiled.timestamp,
        closed=compiled.closed,
        delay=compiled.delay,
        ttl=compiled.ttl,
        interval=compiled.interval,
        timezone=compiled.timezone,
        sql=tree.sql("duckdb"),
        request=compiled.request,
        columns=tuple(
            Column(name=o.name, type=o.type, sql=items[o.name].sql("duckdb"), description=described.get(o.name.lower()))
            for o in compiled.outputs
        ),
        sources={name: _parse_options(project, name) for name in parsed.rendered.sources},
        refs=dict.fromkeys((r.name for r in parsed.rendered.refs), ""),
        timestamp_format=config.timestamp_format,
    )


def _parse_options(project: Project, name: str) -> dict[str, Any]:
    """What of a source shapes its rows, beside where they lie."""
    s = project.sources[name]
    shape = {"format": s.format, "loaded_at": s.loaded_at, "unique_key": list(s.unique_key), "deleted": s.deleted}
    return {**shape, "options": s.options}


def join_refs(select: exp.Select) -> list[tuple[str, exp.Join]]:
    """Features that the outermost SELECT joins by ref(), with their joins."""
    return [(name, join) for table, join in relations(select) if join is not None and (name := ref_name(table))]
