"""All unit tests of a project in one go: which of them are asked for, and the engines that they share."""

from __future__ import annotations

import json
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.building.candidates import render_each
from mlforge.errors import MlforgeError, ProjectError, UsageError, did_you_mean
from mlforge.project.unit_tests import read_unit_tests
from mlforge.unit import given as giving
from mlforge.unit.bench import Bench, sources_of
from mlforge.unit.run import Outcome, differences, refuse_unknown_given
from mlforge.unit.source_columns import Shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from mlforge.building.candidates import Analysis
    from mlforge.model import Project
    from mlforge.project.unit_tests import UnitTest


def run_tests(
    project: Project,
    names: Sequence[str],
    selected: Callable[[Analysis], Collection[str]] | None = None,
    notify: Callable[[Outcome], None] = lambda _outcome: None,
) -> list[Outcome]:
    """Run the unit tests that ``names`` mean (of tests, features or files; ``*`` stands for any text; none: all), of
    those only the tests of the features that ``selected`` names. What is wrong with one test is in its outcome.

    Raises ProjectError for a file of another form, UsageError for a name that nothing has."""
    tests = chosen(read_unit_tests(Path(project.root)), names)
    session = Session(project)
    wanted = None if selected is None else selected(session.analysis)
    found = []
    try:
        for test in tests:
            if wanted is None or test.feature in wanted:
                found.append(session.outcome(test))
                notify(found[-1])
    finally:
        session.close()
    return found


def chosen(tests: Sequence[UnitTest], names: Sequence[str]) -> list[UnitTest]:
    """The tests that names mean. Raises UsageError, with the nearest word, for a name that means none."""
    for name in names:
        if not any(_means(name, t) for t in tests):
            known = {x for t in tests for x in (t.name, t.feature, t.where.file)}
            raise UsageError(f"there is no unit test {name!r}", hint=did_you_mean(name, known))
    return [t for t in tests if not names or any(_means(name, t) for name in names)]


def _means(name: str, test: UnitTest) -> bool:
    return any(fnmatchcase(text, name) or text == name for text in (test.name, test.feature, test.where.file))


class Session:
    """Engines for the tests of one project. Tests share one unless sources have other columns or vars other values."""

    def __init__(self, project: Project) -> None:
        import pyarrow.compute  # noqa: F401 - retrieval would import it within the time of the first test

        self.project = project
        self.analysis, self.broken = render_each(project)
        self.shapes = Shapes(project)
        self.benches: dict[str, Bench] = {}
        self._rendered: dict[str, tuple[Analysis, dict[str, MlforgeError]]] = {}

    def outcome(self, test: UnitTest) -> Outcome:
        """Run one test. Its time is that of the test alone: a feature is compiled once, for all of its tests."""
        base = Outcome(
            name=test.name, feature=test.feature, file=test.where.file, line=test.where.line, status="passed"
        )
        start = time.perf_counter()
        try:
            bench = self.bench(test)
            bench.compile(test.feature)
            start = time.perf_counter()
            found = differences(bench, test)
        except MlforgeError as error:
            where = str(error.where or test.where)
            base = replace(base, status="error", message=error.message, where=where, hint=error.hint)
        else:
            base = replace(base, status="failed" if found else "passed", differences=tuple(found))
        return replace(base, seconds=time.perf_counter() - start)

    def bench(self, test: UnitTest) -> Bench:
        """The engine for a test. Raises MlforgeError for a feature that is not there or does not render."""
        analysis, broken = self._analysis(test)
        if test.feature in broken:
            raise broken[test.feature]
        if test.feature not in analysis.rendered:
            hint = did_you_mean(test.feature, analysis.rendered)
            raise ProjectError(f"the project has no feature {test.feature!r}", where=test.where, hint=hint)
        refuse_unknown_given(analysis, test, self.project.sources)
        own = self._own_shapes(test, analysis)
        key = json.dumps([_key(test.vars), {n: list(c.items()) for n, c in sorted(own.items())}])
        if key not in self.benches:
            known = {n: c for n, c in self.shapes.found.items() if c}
            self.benches[key] = Bench(analysis, self.project.sources, {**known, **own})
        bench = self.benches[key]
        bench.shapes.update({n: c for n, c in self.shapes.found.items() if c and n not in bench.shapes})
        return bench

    def _analysis(self, test: UnitTest) -> tuple[Analysis, dict[str, MlforgeError]]:
        if not test.vars:
            return self.analysis, self.broken
        key = _key(test.vars)
        if key not in self._rendered:
            changed = replace(self.project, vars={**self.project.vars, **test.vars})
            self._rendered[key] = render_each(changed)
        return self._rendered[key]

    def _own_shapes(self, test: UnitTest, analysis: Analysis) -> dict[str, dict[str, str]]:
        """The columns of sources that differ from what they really are, or that only the test's rows tell."""
        names = [n for n in sources_of(analysis, test.feature) if n in self.project.sources]
        self.shapes.look(names)
        own = {}
        for name in names:
            described = self.shapes.found[name]
            found = giving.shape(test.given.get(name), described, f"source {name!r}")
            if found is None:
                raise ProjectError(
                    f"{test.feature} reads the source {name!r}, of which no rows are given and no columns are known: "
                    f"{self.shapes.errors[name].message}",
                    where=test.where,
                    hint=f"give rows of it, or its columns: {name}: {{columns: {{...}}, rows: []}}",
                )
            if found != described:
                own[name] = found
        return own

    def close(self) -> None:
        """Let go of the engines."""
        for bench in self.benches.values():
            bench.close()


def _key(values: object) -> str:
    return json.dumps(values, sort_keys=True, default=str)
