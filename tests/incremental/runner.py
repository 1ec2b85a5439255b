"""Plays a story and looks, after every build, whether the catalog is what a full rebuild would have made."""

from __future__ import annotations

import math
import random
import shutil
from typing import TYPE_CHECKING, Any

import duckdb

from mlforge.building.options import BuildOptions, BuildResult, Selection
from mlforge.catalog import reader
from mlforge.model import Keep, Version
from mlforge.plan.increments import Scope
from mlforge.sql.bind import bind
from mlforge.sql.physical import view
from tests.incremental.features import TEXTS, with_refs
from tests.incremental.rows import DAY, HOUR, LENGTHS, START, first_rows
from tests.incremental.sources import Main, Side, Table, config
from tests.incremental.story import (
    Add,
    Build,
    Change,
    Define,
    Gc,
    Grow,
    Kill,
    Part,
    Place,
    Price,
    Release,
    Remove,
    Replace,
    Rollback,
    Step,
    Story,
)
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Contents = dict[tuple[str, str], list[str]]  # (feature, version) -> its rows as text, sorted


class Player:
    """A project in a folder, and what it is known to hold."""

    def __init__(self, root: Path, story: Story, kill: Callable[[Path, float], None]) -> None:
        self.story, self.kill = story, kill
        self.root = root
        self.small = Small(root / "project", config(story.kind))
        self.main = Main(self.small.root, story.kind)
        self.side = Side(self.small.root)
        self.names = with_refs(list(story.features))
        self.shapes = dict.fromkeys(self.names, 0)
        self.known: Contents = {}
        self.built = 0
        for name in self.names:
            self._define(name)
        drafts = first_rows(story.seed, 30)
        for n in range(0, 30, 10):
            self.main.store.add(self.main.made(tuple(drafts[n : n + 10])))

    def play(self) -> int:
        """All steps, between a first build and a last one of everything. How many builds were compared."""
        try:
            self.do(Build())
            for step in self.story.steps:
                self.do(step)
            self.do(Release(by_build=True))
            self.do(Build())
        finally:
            self.main.store.close()
            self.side.close()
        return self.built

    def do(self, step: Step) -> None:  # noqa: PLR0912 - one line for each kind of step
        main, store = self.main, self.main.store
        match step:
            case Add(drafts):
                store.add(main.made(drafts))
            case Grow(n, drafts):
                store.put(main.part(n), store.parts[main.part(n)] + main.made(drafts))
            case Replace(n, drafts):
                main.replace(n, drafts)
            case Change(n, draft):
                main.change(n, draft)
            case Remove(n):
                main.remove(n)
            case Part(n, how):
                getattr(store, how)(main.part(n))
            case Price(draft, rewrite):
                self.side.price(draft, rewrite=rewrite)
            case Place(n):
                self.side.place(n)
            case Define(n, shape):
                name = self._nth(n)
                self.shapes[name] = shape
                self._define(name)
            case Rollback(n, version):
                self._rollback(self._nth(n), version)
            case Release(by_build):
                self._release(by_build)
            case Gc(patches):
                self.small.forge.gc(Keep(patches=patches, days=0))
                self._old_versions()
            case Build(how, n):
                self._build(how, n)
            case Kill(after):
                self.kill(self.small.root, after / 100)
                self._old_versions(more=True)
                self._build("all", 0)

    def _nth(self, n: int) -> str:
        return self.names[n % len(self.names)]

    def _define(self, name: str) -> None:
        self.small.feature(name, TEXTS[name].shape(self.shapes[name]))

    def _rollback(self, name: str, n: int) -> None:
        feature = self.small.forge.state().features.get(name)
        if feature:
            versions = [v.version for v in feature.versions]
            self.small.forge.rollback(name, str(versions[n % len(versions)]))

    def _release(self, by_build: bool) -> None:
        if by_build:
            self._built(BuildOptions(release=True))
            return
        for name, feature in self.small.forge.state().features.items():
            if feature.held:
                self.small.forge.rollback(name, release=True)

    def _build(self, how: str, n: int) -> None:
        day = START + n % 60 * DAY
        match how:
            case "some":
                self._in_part(Selection(features=(self._nth(n),)), BuildOptions())
            case "since":
                self._in_part(Selection(), BuildOptions(scope=Scope(since=day)))
            case "until":
                self._in_part(Selection(), BuildOptions(scope=Scope(until=day)))
            case "restate":
                self._built(BuildOptions(scope=Scope(restate=(day, day + 20 * DAY))))
            case "whole":
                self._built(BuildOptions(scope=Scope(whole=True)))
            case _:
                self._built(BuildOptions(force=how == "force"))
        if how == "twice":
            again = self.small.forge.plan()
            failing = {name for name in self.names if name not in self._compared()}
            todo = {s.feature: s.reasons for s in again.steps if s.builds}
            assert todo.keys() <= failing | {"checked"}, todo

    def _in_part(self, selection: Selection, options: BuildOptions) -> None:
        """A build after which tables are not what a full rebuild makes; the next build of everything makes up for it."""
        result = self.small.forge.build(selection, options)
        self._only_bad_rows_fail(result)
        self._old_versions(more=True)

    def _only_bad_rows_fail(self, result: BuildResult) -> set[str]:
        failed = {f.feature: f.error for f in result.features if f.status in ("failed", "skipped")}
        assert failed.keys() <= {"checked"}, failed
        return set(failed)

    def _built(self, options: BuildOptions) -> None:
        result = self.small.forge.build(options=options)
        failed = self._only_bad_rows_fail(result)
        self._old_versions(more=True)
        self._same_as_rebuilt(failed)
        self.built += 1

    # -- what must hold

    def _old_versions(self, *, more: bool = False) -> None:
        """Every version that is kept holds the rows with which it was made. ``more``: there may be new ones."""
        found = contents(self.small.catalog)
        for version, rows in found.items():
            assert rows == self.known.get(version, rows if more else None), f"{version} changed"
        self.known.update(found)

    def _compared(self) -> list[str]:
        """The features that read nothing, through others or themselves, that is held at an older version."""
        state = self.small.forge.state()
        held = {name for name, f in state.features.items() if f.held and f.current != f.versions[-1].version}
        return [name for name in self.names if not held & set(with_refs(list(TEXTS[name].refs)))]

    def _same_as_rebuilt(self, failed: set[str]) -> None:
        fresh = Small(self.root / "fresh", config(self.story.kind))
        try:
            shutil.rmtree(fresh.root / "data")
            (fresh.root / "data").symlink_to(self.small.root / "data")
            for name in self.names:
                fresh.feature(name, TEXTS[name].shape(self.shapes[name]))
            if isinstance(self.main.store, Table) and self.main.store.path == self.small.catalog:
                self.main.store.copy(fresh.catalog)
            result = fresh.build()
            broken = {f.feature for f in result.features if f.status in ("failed", "skipped")}
            compared = self._compared()
            assert failed & set(compared) <= broken, failed
            self._same_rows(fresh, [n for n in compared if n not in broken])
        finally:
            shutil.rmtree(fresh.root)

    def _same_rows(self, fresh: Small, names: list[str]) -> None:
        newest = {name: str(f.versions[-1].version) for name, f in self.small.forge.state().features.items()}
        rebuilt = contents(fresh.catalog) if names else {}
        for name in names:
            if TEXTS[name].sql.count("on_demand=true") == 0:
                ours, theirs = self.known[name, newest[name]], rebuilt[name, "1.0.0"]
                assert self._equal(ours, theirs), difference(name, ours, theirs)
        for entity in ("user", "shop", "pair"):
            mine = [name for name in names if TEXTS[name].entity == entity]
            if mine:
                ours = answers(self.small, [f"{name}@{newest[name]}" for name in mine], self._labels(entity))
                theirs = answers(fresh, mine, self._labels(entity))
                assert self._equal(ours, theirs), difference(f"values of {mine}", ours, theirs)

    def _equal(self, ours: list[str], theirs: list[str]) -> bool:
        if not self.story.rough or ours == theirs:
            return ours == theirs
        return len(ours) == len(theirs) and all(
            near(eval_row(a), eval_row(b)) for a, b in zip(ours, theirs, strict=True)
        )

    def _labels(self, entity: str) -> str:
        """Label rows at and beside the times of rows, and of rows that leave a window."""
        chance = random.Random(self.built)
        times = [row["t"] for row in self.main.rows() if row["t"] is not None]
        labels = []
        for _ in range(12):
            at = chance.choice(times) + chance.choice((0, 1, HOUR, *LENGTHS)) + chance.choice((-1, 0, 0, 1))
            keys = {"user": f"{chance.randrange(1, 6)} AS k", "shop": f"'{chance.choice('abcd')}' AS j"}
            keys["pair"] = f"{keys['user']}, {keys['shop']}"
            labels.append(f"SELECT {keys[entity]}, make_timestamp({at}) AS label_time")
        return " UNION ALL ".join(labels)


def contents(catalog: Path) -> Contents:
    """The rows of every version that is kept, found by its PATCH; and what the views of the newest show."""
    if not catalog.exists():
        return {}
    found = {}
    with duckdb.connect(str(catalog), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        state = reader.state(con)
        for feature in state.features.values():
            for stored in (v for v in feature.versions if v.compiled.kind != "on_demand"):
                con.execute(view("", "_seen", bind(state, stored)))
                rows = sorted(map(repr, con.execute("FROM _seen").fetchall()))
                found[feature.name, str(stored.version)] = rows
                assert stored.rows == len(rows), f"{feature.name}@{stored.version} says that it has {stored.rows} rows"
            if feature.versions[-1].compiled.kind != "on_demand":
                _views_agree(con, feature.name, feature.current, max(v.version for v in feature.versions), found)
                _stores_only_what_differs(con, feature.versions[-1].compiled.table)
    return found


def _stores_only_what_differs(con: Any, table: str) -> None:
    """No PATCH closes a row and adds the same row again."""
    shared = f"""
        SELECT * EXCLUDE (_mlforge_from, _mlforge_to), _mlforge_to FROM store."{table}"
        INTERSECT ALL SELECT * EXCLUDE (_mlforge_from, _mlforge_to), _mlforge_from FROM store."{table}"
    """
    assert con.execute(f"SELECT count(*) FROM ({shared})").fetchall() == [(0,)], f"{table} has rows closed and added"


def _views_agree(con: Any, name: str, current: Version, newest: Version, found: Contents) -> None:
    for relation, version in ((f'features."{name}"', current), (f'versions."{name}@{newest}"', newest)):
        rows = sorted(map(repr, con.execute(f"FROM {relation}").fetchall()))
        assert rows == found[name, str(version)], f"{relation} is not {version}"


def answers(small: Small, features: list[str], labels: str) -> list[str]:
    """The training set of some label rows, a text for each row."""
    made = small.forge.training_set(features, labels, full_names=True, record=False).data
    return [repr(tuple(row.values())) for row in made.to_pylist()]


def eval_row(text: str) -> Any:
    import datetime

    return eval(text, {"datetime": datetime, "nan": math.nan, "inf": math.inf})


def near(a: Any, b: Any) -> bool:
    """Equal, or floats that differ as two ways to add up floats of very different sizes do."""
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(near, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e12)
    return bool(a == b)


def difference(what: str, ours: list[str], theirs: list[str]) -> str:
    only = [row for row in ours if row not in theirs], [row for row in theirs if row not in ours]
    lines = [f"{what}: {len(ours)} rows, a full rebuild has {len(theirs)}"]
    for title, rows in zip(("only here", "only in the full rebuild"), only, strict=True):
        lines += [f"  {title}: {len(rows)}", *(f"    {row}" for row in rows[:5])]
    return "\n".join(lines)
