"""From the project's files to compiled features, with their names, types and leaks checked on zero rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mlforge.errors import FeatureError, GrammarError, LeakageError, MlforgeError, ProjectError, WarehouseError, Where
from mlforge.model import Candidate
from mlforge.plan import graph as graphs
from mlforge.project.call_features import call_functions, is_python
from mlforge.quality.checks import assign_sides
from mlforge.render.functions import is_aggregate, primary_name
from mlforge.render.jinja import Renderer
from mlforge.render.leaks import check_lookahead, check_repeatable
from mlforge.render.parse import parse
from mlforge.render.ref_joins import check_ref_joins
from mlforge.render.stamps import check_timestamp
from mlforge.render.syntax import TOO_DEEP, where
from mlforge.sql.compile import Compilation, compile_feature
from mlforge.sql.missing import missing, place_of, types_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlglot import exp

    from mlforge.model import CatalogState, Check, FeatureRef, Project, Rendered
    from mlforge.render.syntax import Parsed
    from mlforge.sql.compile import WhyText
    from mlforge.warehouses.duckdb import DuckDB


CHOOSING = frozenset(["min", "max", "arg_min", "arg_max", "first", "last", "any_value", "mode"])
"""Aggregates that take texts as they take numbers, and give one of them."""


@dataclass(frozen=True)
class Analysed:
    """A candidate with what only a build needs: its event rows and the checks of each side."""

    candidate: Candidate
    compilation: Compilation
    input_checks: tuple[Check, ...]
    output_checks: tuple[Check, ...]


@dataclass
class Analysis:
    """The project's features, rendered; those that were asked for also compiled."""

    project: Project
    rendered: dict[str, Rendered]
    graph: dict[str, tuple[FeatureRef, ...]]
    features: dict[str, Analysed] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)
    described: dict[str, dict[str, str]] = field(default_factory=dict)  # query -> names and types of its columns

    @property
    def candidates(self) -> dict[str, Candidate]:
        """The compiled features as the planner wants them."""
        return {name: a.candidate for name, a in self.features.items()}


class Unread(FeatureError):
    """A feature that was not looked at, as it reads one that failed."""


def render_each(project: Project) -> tuple[Analysis, dict[str, MlforgeError]]:
    """Call Python features and render all; no source is touched. Those that fail are in the second value, after them
    what reads them."""
    failed: dict[str, MlforgeError] = {}
    project = call_functions(project, failed)
    renderer = Renderer(project)
    analysis = Analysis(project, {}, {})
    for name, file in project.features.items():
        try:
            if name not in failed:
                analysis.rendered[name] = renderer.render(file)
        except MlforgeError as error:
            failed[name] = error
    graph = {name: r.refs for name, r in analysis.rendered.items()}
    analysis.graph.update({name: graph.get(name, ()) for name in project.features})
    while lost := [name for name in analysis.rendered if name not in failed and _lost(analysis, name, failed)]:
        failed.update({name: _unread(analysis, name, failed) for name in lost})
    return analysis, failed


def _lost(analysis: Analysis, name: str, failed: Collection[str]) -> list[str]:
    return [r.name for r in analysis.graph[name] if r.name in failed]


def _unread(analysis: Analysis, name: str, failed: Collection[str]) -> Unread:
    words = ", ".join(dict.fromkeys(_lost(analysis, name, failed)))
    return Unread(f"reads {words}, which failed", where=Where(analysis.rendered[name].path))


def analyse(
    analysis: Analysis,
    warehouse: DuckDB,
    wanted: Collection[str],
    state: CatalogState,
    failed: dict[str, MlforgeError] | None = None,
) -> None:
    """Compile the wanted features and all they read, upstream ones first, and note the state of their sources.

    Raises FeatureError and its kinds at the user's file and line, ProjectError for a source that cannot be read. Where
    ``failed`` is given, such an error of a Python feature is noted there, with what reads it, and the others go on:
    what it returns is known only once it was called. So is a leak of any. What ``failed`` holds is left out."""
    needed = with_upstream(analysis, wanted)
    paths = {name: r.path for name, r in analysis.rendered.items()}
    for name in graphs.order(analysis.graph, paths):
        if name not in needed or name in analysis.features or (failed and name in failed):
            continue
        if failed and _lost(analysis, name, failed):
            failed[name] = _unread(analysis, name, failed)
            continue
        try:
            analysis.features[name] = _analysed(analysis, warehouse, name, state)
        except (FeatureError, ProjectError) as error:
            alone = isinstance(error, LeakageError) or is_python(analysis.project.features[name])
            if failed is None or not alone:
                raise
            failed[name] = error


def with_upstream(analysis: Analysis, wanted: Collection[str]) -> set[str]:
    """The wanted features, and all that they read."""
    needed: set[str] = set()
    front = list(wanted)
    while front:
        name = front.pop()
        if name not in needed:
            needed.add(name)
            front += [r.name for r in analysis.graph[name]]
    return needed


def _analysed(analysis: Analysis, warehouse: DuckDB, name: str, state: CatalogState) -> Analysed:
    try:
        return _analyse(analysis, warehouse, analysis.rendered[name], state)
    except RecursionError:
        hint = "compute the inner part in a CTE; calls may be about thirty deep, chains of + as long as you like"
        raise GrammarError(TOO_DEEP, where=Where(analysis.rendered[name].path), hint=hint) from None


def _analyse(analysis: Analysis, warehouse: DuckDB, rendered: Rendered, state: CatalogState) -> Analysed:
    project = analysis.project
    for name in set(rendered.sources) - analysis.bound:
        warehouse.bind_source(project.sources[name])
        analysis.bound.add(name)
    parsed = parse(rendered)
    upstream = {r.name: analysis.features[r.name].candidate.compiled for r in rendered.refs}
    check_repeatable(parsed)
    check_ref_joins(parsed, {name: tuple(k.name for k in c.keys) for name, c in upstream.items()})
    why_text = partial(_why_text, warehouse, parsed, project)
    describe = _describe(warehouse, parsed, analysis.described, why_text)
    found = compile_feature(parsed, project, describe, upstream, why_text)
    warnings = (*_check_leaks(parsed, project, found), *_check_texts(parsed, project, why_text))
    compiled = found.compiled
    if compiled.kind != "on_demand":
        warehouse.bind_ref(compiled)
    outputs = [*(k.name for k in compiled.keys), *(o.name for o in compiled.outputs)]
    outputs += [compiled.timestamp] if compiled.timestamp else []
    checks = assign_sides(
        rendered.config.validators, outputs, found.input_columns, feature=rendered.name, where=Where(rendered.path)
    )
    stored = state.features.get(rendered.name)
    before = stored.versions[-1].source_states if stored else {}
    candidate = Candidate(
        definition=found.definition,
        compiled=compiled,
        config=rendered.config,
        path=rendered.path,
        sql=rendered.sql,
        source_states={s: warehouse.state(project.sources[s], before.get(s)) for s in rendered.sources},
        warnings=warnings,
        seen_sql=found.seen_sql,
    )
    return Analysed(candidate, found, *map(tuple, checks))


def _check_leaks(parsed: Parsed, project: Project, found: Compilation) -> tuple[str, ...]:
    """Refuse what leaks, or may; returns warnings."""
    verdict = found.verdict
    if verdict.proof.status == "plan":
        return ()
    if verdict.refusal and verdict.leaks:
        raise verdict.refusal
    times = {name: project.sources[name].timestamp for name in parsed.rendered.sources}
    check_lookahead(parsed, {name: time for name, time in times.items() if time})
    if found.timestamp_type:
        check_timestamp(parsed, found.timestamp_type, delayed=verdict.inherited)
    if verdict.refusal and project.strict:
        raise verdict.refusal
    if verdict.proof.status != "unproven":
        return ()
    refusal = verdict.refusal
    place, hint = (refusal.where, f"\n  hint: {refusal.hint}") if refusal else (parsed.rendered.path, "")
    return (f"{place}: it may leak, {verdict.proof}{hint}",)


def _check_texts(parsed: Parsed, project: Project, why_text: WhyText) -> list[str]:
    """Warnings, errors under ``strict``, of aggregates that choose among texts which are numbers or times but for a
    word: 9 is the greatest of 9 and 10 then."""
    from sqlglot import exp

    warnings = []
    for call in parsed.tree.walk():
        if not is_aggregate(call) or primary_name(call) not in CHOOSING:
            continue
        for column in (c for c in call.iter_expressions() if isinstance(c.unnest(), exp.Column)):
            if found := why_text(column.unnest()):
                at, (_, why, hint) = where(parsed, column), found
                said = f"{primary_name(call).upper()} takes texts: {why}"
                hint = f"{hint}; if it is meant to be text: types: {{{column.unnest().name}: VARCHAR}}"
                if project.strict:
                    raise FeatureError(said, where=at, hint=hint)
                warnings.append(f"{at}: {said}; {hint}")
    return list(dict.fromkeys(warnings))


def _why_text(
    warehouse: DuckDB, parsed: Parsed, project: Project, node: exp.Expression
) -> tuple[exp.Expression, str, str] | None:
    """The first column within a node that a word among numbers or times makes text: it, what to say, and a hint.

    One that is a column of a result as it is, is none that the engine would refuse."""
    from sqlglot import exp

    columns = node.find_all(exp.Column, bfs=False)
    for column in (c for c in columns if c is node or not isinstance(c.parent, (exp.Alias, exp.Select))):
        for name in parsed.rendered.sources:
            if said := warehouse.why_text(project.sources[name], column.name):
                return column, *said
    return None


def _describe(
    warehouse: DuckDB, parsed: Parsed, described: dict[str, dict[str, str]], why_text: WhyText
) -> Callable[[str, exp.Expression | None], dict[str, str]]:
    def describe(query: str, node: exp.Expression | None) -> dict[str, str]:
        try:
            if query not in described:
                described[query] = warehouse.describe(query)
            return described[query]
        except WarehouseError as error:
            unknown = missing(parsed, error.message, warehouse.describe)
            if unknown is not None:
                raise unknown from error
            if "VARCHAR" in error.message and (text := why_text(node or parsed.tree)):
                column, why, hint = text
                message = f"{parsed.rendered.name}: {error.message.split('. You might')[0]}: {why}"
                raise FeatureError(message, where=where(parsed, column), hint=hint) from error
            types = types_in(parsed, error.message, warehouse.describe)
            words = error.message.partition(" Candidate functions:")[0] if types else error.message
            raise FeatureError(
                f"{parsed.rendered.name}: {words}",
                where=where(parsed, place_of(parsed, error.message) or node),
                hint=types or "the words are DuckDB's, about the columns of the sources as they are now",
            ) from error

    return describe
