"""One unit test: given rows in, the feature made of them, rows and values compared with what is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from mlforge.errors import FeatureError, ProjectError, did_you_mean, engine_words
from mlforge.unit import given as giving
from mlforge.unit.bench import sources_of, upstream_of
from mlforge.unit.compare import Difference
from mlforge.unit.expect import compare_rows, compare_values
from mlforge.unit.make import make

if TYPE_CHECKING:
    from collections.abc import Collection

    from mlforge.building.candidates import Analysis
    from mlforge.project.unit_tests import UnitTest
    from mlforge.unit.bench import Bench


class Outcome(Struct, frozen=True, kw_only=True):
    """How one unit test ended. ``error``: it could not be run, for the reason in ``message``."""

    name: str
    feature: str
    file: str
    line: int | None
    status: Literal["passed", "failed", "error"]
    seconds: float = 0.0
    differences: tuple[Difference, ...] = ()
    message: str | None = None
    where: str | None = None
    hint: str | None = None


def differences(bench: Bench, test: UnitTest) -> list[Difference]:
    """Run a test. Nothing of it stays in the bench. Raises MlforgeError for a test that cannot be run."""
    import duckdb

    bench.compile(test.feature)
    bench.con.execute("BEGIN")
    try:
        return _run(bench, test)
    except duckdb.Error as error:
        message = f"{test.feature}: {engine_words(error)}"
        _anew(bench)
        blamed = _blamed(bench, test)
        raise blamed or FeatureError(message, where=test.where, hint="the words are DuckDB's") from error
    finally:
        bench.con.execute("ROLLBACK")


def _run(bench: Bench, test: UnitTest) -> list[Difference]:
    state = make(bench, test)
    found = []
    if test.expect is not None:
        found += compare_rows(bench, test, state, test.expect)
    if test.expect_at is not None:
        found += compare_values(bench, test, state, test.expect_at)
    return found


def _anew(bench: Bench) -> None:
    """After an error DuckDB refuses everything until the transaction ends."""
    bench.con.execute("ROLLBACK")
    bench.con.execute("BEGIN")


def _blamed(bench: Bench, test: UnitTest) -> ProjectError | None:
    """The value of the test that the engine refused, if it was one."""
    compiled = bench.analysis.features[test.feature].candidate.compiled
    for name, given in test.given.items():
        made = bench.analysis.features.get(name)
        columns = bench.shapes[name] if name in bench.shapes else made and giving.view_columns(made.candidate.compiled)
        found = giving.blame(bench.con, given.rows, columns or {}, name)
        if found:
            return found
    expected = giving.view_columns(compiled) | compiled.request
    return giving.blame(bench.con, [*(test.expect or ()), *(test.expect_at or ())], expected, test.feature)


def refuse_unknown_given(analysis: Analysis, test: UnitTest, sources: Collection[str]) -> None:
    """Raise ProjectError, with the line and the nearest word, for rows given to what the feature does not read.

    ``sources`` are those that the project states: rows that a Python function returns are none of them."""
    readable = [s for s in sources_of(analysis, test.feature) if s in sources]
    readable += upstream_of(analysis, test.feature)[:-1]
    for name, rows in test.given.items():
        if name not in readable:
            message = f"{test.feature} does not read {name!r}"
            raise ProjectError(message, where=rows.where, hint=did_you_mean(name, readable))
