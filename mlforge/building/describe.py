"""Checks and statistics of what a step read, and of what readers will see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.building.reads import over
from mlforge.errors import FeatureError, Where
from mlforge.quality.checks import run_checks
from mlforge.quality.stats import collect_stats
from mlforge.sql.bind import bind
from mlforge.sql.physical import view
from mlforge.sql.templates import ident, sql
from mlforge.warehouses.duckdb import CURRENT

if TYPE_CHECKING:
    from mlforge.building.candidates import Analysed
    from mlforge.building.work import Work
    from mlforge.model import Compiled, StoredVersion
    from mlforge.plan.spans import Spans
    from mlforge.plan.steps import FeatureStep
    from mlforge.records import CheckResult, ColumnStats

_VIEW = "_mlforge_view"
_SHOWN = "_mlforge_shown"


def check_input(work: Work, step: FeatureStep, found: Analysed) -> list[CheckResult]:
    """Checks of the event rows as the sources are bound now, before anything is computed."""
    if not found.input_checks:
        return []
    columns = found.compilation.input_columns
    keys = [k.name for k in step.candidate.compiled.keys if k.name in columns]
    timestamp = step.candidate.compiled.timestamp
    return run_checks(
        work.runner.con,
        step.feature,
        found.input_checks,
        f"({found.compilation.input_sql})",
        columns=columns,
        keys=keys,
        timestamp=timestamp if timestamp in columns else None,
    )


def describe(
    work: Work, found: Analysed, stored: StoredVersion, relation: str, *, rows: int | None = None
) -> tuple[list[CheckResult], list[ColumnStats]]:
    """Checks and statistics of rows as readers see them. ``rows``: how many there are, if known."""
    con, compiled = work.runner.con, stored.compiled
    shown = [*(k.name for k in compiled.keys), *([compiled.timestamp] if compiled.timestamp else [])]
    shown += [o.name for o in compiled.outputs]
    columns = dict(zip(shown, work.warehouse.describe(f"FROM {relation}").values(), strict=True))
    keys = [k.name for k in compiled.keys]
    checks = run_checks(
        con,
        stored.feature,
        found.output_checks,
        relation,
        columns=columns,
        keys=keys,
        timestamp=compiled.timestamp,
    )
    stats = collect_stats(
        con,
        stored.feature,
        relation,
        columns={o.name: columns[o.name] for o in compiled.outputs},
        rows=rows,
        previous_edges=_edges(work, stored),
        sample_by=[*keys, *([compiled.timestamp] if compiled.timestamp else [])],
    )
    return checks, stats


def count(work: Work, relation: str) -> int:
    """How many rows a relation has."""
    return int(work.runner.con.execute(sql("quality/count_rows", relation=relation)).fetchall()[0][0])


def shown(work: Work, stored: StoredVersion, table: str, probes: str | None = None) -> str:
    """A temporary view of what readers will see of a table's rows: of all of them, or of the instants of ``probes``."""
    physical = over(bind(work.state, stored), table)
    con = work.runner.con
    con.execute(f"CREATE SCHEMA IF NOT EXISTS {ident(_VIEW)}")
    work.runner.run(view(_VIEW, stored.feature, physical, probes))
    if stored.compiled.kind != "windows" or stored.compiled.interval:
        return f"{ident(_VIEW)}.{ident(stored.feature)}"
    # Exact windows are computed when read; checks and statistics read several times.
    work.runner.run(sql("feature/keep_view", schema=_VIEW, name=stored.feature, kept=_SHOWN))
    return _SHOWN


def some_rows(work: Work, relation: str, spans: Spans, name: str) -> str:
    """A temporary view of the rows of a relation that lie in ``spans``."""
    work.runner.run(sql("feature/some_rows", name=name, relation=relation, spans=spans))
    return ident(name)


def _edges(work: Work, stored: StoredVersion) -> dict[str, tuple[float, ...]]:
    """The histogram edges of the feature's newest build, so that builds can be compared bin by bin."""
    if stored.feature not in work.state.features:  # the attached file may hold no catalog yet
        return {}
    rows = work.runner.con.execute(sql("feature/edges", catalog=CURRENT, feature=stored.feature)).fetchall()
    return {column: tuple(edges) for column, edges in rows}


def refuse_repeats(work: Work, compiled: Compiled, table: str, found: Analysed) -> None:
    """A static feature has one row per key; which of two is right only the user can say."""
    keys = [k.name for k in compiled.keys]
    rows = work.runner.con.execute(sql("feature/repeats", table=table, keys=keys)).fetchall()
    if rows:
        *key, number = rows[0]
        listed = ", ".join(f"{k} = {v!r}" for k, v in zip(keys, key, strict=True))
        raise FeatureError(
            f"{compiled.feature} has {number} rows for {listed}",
            where=Where(found.candidate.path),
            hint="a static feature has one row per key: aggregate, choose one with QUALIFY, or give it a timestamp",
        )
