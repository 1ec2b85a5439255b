"""Looking whether a project would build, without building: every feature rendered, compiled and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from mlforge.building.candidates import analyse
from mlforge.errors import MlforgeError
from mlforge.plan import contract
from mlforge.quality.checks import run_checks
from mlforge.records import CheckResult
from mlforge.sql.templates import ident

if TYPE_CHECKING:
    from collections.abc import Collection

    from duckdb import DuckDBPyConnection

    from mlforge.building.candidates import Analysed, Analysis
    from mlforge.model import CatalogState, Check
    from mlforge.warehouses.duckdb import DuckDB


class Validated(Struct, frozen=True, kw_only=True):
    """What was found of one feature. ``skipped``: checks that could not be run, and why."""

    feature: str
    status: Literal["ok", "failed"]
    error: str | None = None
    where: str | None = None
    hint: str | None = None
    warnings: tuple[str, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    skipped: str | None = None


def validate(
    analysis: Analysis,
    broken: dict[str, MlforgeError],
    wanted: Collection[str],
    warehouse: DuckDB,
    state: CatalogState,
    catalog: DuckDBPyConnection | None,
) -> list[Validated]:
    """Compile the wanted features and run their checks: those of event rows on the sources, those of the output on the
    catalog's current rows, if ``catalog`` is open. Features that did not render are ``broken``."""
    found = [_failed(name, error) for name, error in broken.items()]
    for name in sorted(set(wanted) - broken.keys()):
        try:
            analyse(analysis, warehouse, [name], state)
            found.append(_checked(analysis.features[name], warehouse.con, state, catalog))
        except MlforgeError as error:
            found.append(_failed(name, warehouse.explained(error) or error))
    return found


def _failed(name: str, error: MlforgeError) -> Validated:
    where = str(error.where) if error.where else None
    return Validated(feature=name, status="failed", error=error.message, where=where, hint=error.hint)


def _checked(
    found: Analysed, con: DuckDBPyConnection, state: CatalogState, catalog: DuckDBPyConnection | None
) -> Validated:
    name = found.candidate.definition.feature
    if name in state.features:
        contract.check(found.candidate, state.features[name].versions[-1])
    checks: list[CheckResult] = []
    skipped = []
    if found.input_checks and found.candidate.definition.refs:
        skipped.append("input checks, as the feature reads others")
    elif found.input_checks:
        checks += _input(found, con)
    if found.output_checks and (catalog is None or not _is_current(found, state)):
        skipped.append("output checks, as the catalog does not have this version")
    elif found.output_checks and catalog is not None:
        checks += _output(found, catalog)
    failed = any(not c.passed and c.severity == "error" for c in checks)
    return Validated(
        feature=name,
        status="failed" if failed else "ok",
        warnings=found.candidate.warnings,
        checks=tuple(checks),
        skipped="; ".join(skipped) or None,
    )


def _is_current(found: Analysed, state: CatalogState) -> bool:
    stored = state.features.get(found.candidate.definition.feature)
    return stored is not None and stored.get(stored.current).definition == found.candidate.definition


def _input(found: Analysed, con: DuckDBPyConnection) -> list[CheckResult]:
    compilation = found.compilation
    relation = f"({compilation.input_sql})"
    return _run(con, found, found.input_checks, relation, columns=compilation.input_columns)


def _output(found: Analysed, catalog: DuckDBPyConnection) -> list[CheckResult]:
    compiled = found.candidate.compiled
    relation = f"features.{ident(compiled.feature)}"
    rows = catalog.execute(f"DESCRIBE FROM {relation}").fetchall()
    columns = {name: kind for name, kind, *_ in rows}
    return _run(catalog, found, found.output_checks, relation, columns=columns)


def _run(
    con: DuckDBPyConnection,
    found: Analysed,
    checks: tuple[Check, ...],
    relation: str,
    *,
    columns: dict[str, str],
) -> list[CheckResult]:
    compiled = found.candidate.compiled
    return run_checks(
        con,
        compiled.feature,
        checks,
        relation,
        columns=columns,
        keys=[k.name for k in compiled.keys if k.name in columns],
        timestamp=compiled.timestamp if compiled.timestamp in columns else None,
    )
