"""What a step of a build reads: views of its sources, and of the features that it refs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mlforge.building import materialise
from mlforge.model import REF_SCHEMA
from mlforge.sql.bind import bind
from mlforge.sql.physical import view
from mlforge.sql.templates import ident, sql
from mlforge.warehouses.duckdb import CURRENT
from mlforge.warehouses.reading import ALL

if TYPE_CHECKING:
    from mlforge.building.work import Work
    from mlforge.model import Source, StoredVersion
    from mlforge.plan.steps import FeatureStep
    from mlforge.sql.physical import Physical
    from mlforge.warehouses.reading import Reading


def bind_reads(work: Work, step: FeatureStep, reading: Reading = ALL) -> dict[str, Physical]:
    """Make the views of the step's sources, the main one as ``reading`` narrows it, and of the features it reads.

    Returns those features."""
    for name in step.candidate.definition.sources:
        bind_source(work, name, reading if name == step.increment.main else ALL)
    found = physicals(work, step)
    for name, physical in found.items():
        work.runner.con.execute(view(REF_SCHEMA, name, physical))
    return found


def bind_source(work: Work, name: str, reading: Reading) -> None:
    """Make the view of one source, unless it is there as it should be. What reads a table of the build is made anew."""
    if work.bound.get(name) != reading or reading.relation:
        source: Source = work.analysis.project.sources[name]
        if source.unique_key and name not in work.bound:
            _count_unkeyed(work, source)
        work.warehouse.bind_source(source, reading)
        work.bound[name] = reading


def _count_unkeyed(work: Work, source: Source) -> None:
    if count := work.warehouse.unkeyed(source):
        rows = "1 row has" if count == 1 else f"{count:,} rows have"
        text = f"{rows} no unique_key ({', '.join(source.unique_key)} is NULL): NULLs are not equal, so each stays"
        work.warnings.append((f"source {source.name}", text))


def physicals(work: Work, step: FeatureStep) -> dict[str, Physical]:
    """The features that a step reads, each bound to the rows it has after this build."""
    found = {}
    for name, version in step.upstream.items():
        staged = work.staged.get(name)
        is_new = staged is not None and staged.stored.version == version
        stored = work.state.features[name].get(version)
        physical = bind(work.state, stored, "" if is_new else f"{CURRENT}.")
        if staged is not None and is_new and not staged.step.new_table:
            physical = over(physical, patched(work, stored))
        found[name] = physical
    return found


def over(physical: Physical, relation: str) -> Physical:
    """The same physical feature over another relation that holds all of its rows and no others."""
    return dataclasses.replace(physical, relation=relation, patch=None)


def patched(work: Work, stored: StoredVersion) -> str:
    """A staged PATCH as a whole: the rows of the catalog's table that stay, and those that are added."""
    name = f"{stored.compiled.table}__patched"
    current = f"{CURRENT}.store.{ident(stored.compiled.table)}"
    columns = list(materialise.table_columns(work.runner.con, current))
    work.runner.con.execute(
        sql("feature/patched", name=name, table=stored.compiled.table, columns=columns, current=current)
    )
    return ident(name)
