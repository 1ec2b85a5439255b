"""Making a feature from given rows, by the steps that a build takes: event rows, table, and a version to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.building.materialise import Runner, Stamp, make_events, make_table, staged
from mlforge.errors import FeatureError, Where
from mlforge.model import REF_SCHEMA, CatalogState, StoredFeature, StoredVersion, Version
from mlforge.sql.bind import bind, table_name
from mlforge.sql.physical import view
from mlforge.sql.ref_times import with_ref_times
from mlforge.sql.templates import ident, sql
from mlforge.unit import given as giving
from mlforge.unit.bench import sources_of, upstream_of

if TYPE_CHECKING:
    from mlforge.building.candidates import Analysed
    from mlforge.model import Compiled
    from mlforge.project.unit_tests import Given, UnitTest
    from mlforge.unit.bench import Bench

VERSION = Version(1, 0, 0)


def make(bench: Bench, test: UnitTest) -> CatalogState:
    """Fill the sources and make the feature and what it reads, upstream ones first, as version 1.0.0 of each.

    Raises ProjectError for a given value, FeatureError, duckdb.Error."""
    sources = [s for s in sources_of(bench.analysis, test.feature) if s in test.given]
    for name in sources:
        giving.fill_source(bench.con, test.given[name], bench.shapes[name])
    features = {name: given for name, given in test.given.items() if name not in sources}
    state = CatalogState()
    for name in upstream_of(bench.analysis, test.feature, features):
        compiled = _made(bench, features.get(name), bench.analysis.features[name], state)
        state = _with(state, bench.analysis.features[name], compiled)
    return state


def _made(bench: Bench, given: Given | None, found: Analysed, state: CatalogState) -> Compiled:
    compiled = found.candidate.compiled
    refs = tuple(replace(r, version=str(VERSION)) for r in compiled.refs)
    compiled = replace(compiled, table=table_name(compiled.feature, VERSION), refs=refs)
    if given is not None:
        return giving.make_stand_in(bench.con, compiled, given)
    if compiled.kind == "on_demand":
        return compiled
    compiled = _table(bench, compiled, found, state)
    if compiled.kind == "static":
        _refuse_repeats(bench, compiled, found)
    return compiled


def _table(bench: Bench, compiled: Compiled, found: Analysed, state: CatalogState) -> Compiled:
    upstream = {u: bind(state, state.features[u].get(VERSION)) for u in found.candidate.definition.refs}
    for ref, physical in upstream.items():
        # What compiling left there is an empty table, and CREATE OR REPLACE VIEW does not replace a table.
        bench.con.execute(f"DROP TABLE IF EXISTS {ident(REF_SCHEMA)}.{ident(ref)}")
        bench.con.execute(view(REF_SCHEMA, ref, physical))
    query = with_ref_times(compiled.event_sql, upstream, compiled.timestamp)
    runner = Runner(bench.con, compiled.feature)
    events = replace(compiled, event_sql=query)
    stamp = Stamp(found.compilation.timestamp_type, found.candidate.config.timestamp_format)
    make_events(runner, events, stamp)
    return make_table(runner, compiled, staged(compiled.table))


def _refuse_repeats(bench: Bench, compiled: Compiled, found: Analysed) -> None:
    keys = [k.name for k in compiled.keys]
    rows = bench.con.execute(sql("feature/repeats", table=staged(compiled.table), keys=keys)).fetchall()
    if rows:
        shown = ", ".join(f"{k} = {v!r}" for k, v in zip(keys, rows[0], strict=False))
        message = f"{compiled.feature} has {rows[0][-1]} rows for {shown}, and a static feature has one per key"
        raise FeatureError(message, where=Where(found.candidate.path))


def _with(state: CatalogState, found: Analysed, compiled: Compiled) -> CatalogState:
    """The state with one more feature, as a catalog would hold it."""
    candidate = found.candidate
    stored = StoredVersion(
        feature=compiled.feature,
        version=VERSION,
        definition=candidate.definition,
        compiled=compiled,
        source_states={},
        build=1,
        created_at="",
        reason="",
        rows=0,
    )
    feature = StoredFeature(
        name=compiled.feature,
        current=VERSION,
        held=False,
        versions=(stored,),
        config=candidate.config,
        path=candidate.path,
        sql=candidate.sql,
    )
    return replace(state, features={**state.features, compiled.feature: feature})


def compiled_of(state: CatalogState, feature: str) -> Compiled:
    """A feature as it was made."""
    return state.features[feature].get(VERSION).compiled
