"""How random queries are judged, counted by construct. ``python -m tests.proof.figures 5000`` prints a table."""

from __future__ import annotations

import random
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

import duckdb

from tests.proof.planned import Planned, Planner
from tests.proof.queries import SOURCES, Queries, drawn
from tests.proof.truth import VERSIONS, Truth

WORLDS = 3
EACH = 500  # queries of one seed, in one process
KINDS = (
    "leak-free",
    "proven at plan",
    "proven by rows",
    "false alarms",
    "unproven",
    "leaks",
    "caught",
    "leaks unproven",
    "leaks passed",
)


@dataclass
class Judged:
    """One query: what the proofs say, and whether it leaks on any of the rows."""

    text: str
    used: set[str]
    verdict: str = ""  # plan, rows, accused, unproven
    why: str = ""
    leaks: bool = False
    passed: str = ""  # a leak that passes as proven, or rows that changed: where


@dataclass
class Figures:
    """Counts of queries by construct; "" is all of them."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)

    def add(self, query: Judged) -> None:
        kinds = ["queries", "leaks" if query.leaks else "leak-free"]
        if query.passed:
            kinds.append("leaks passed")
            self.passed.append(f"{query.text}\n    {query.passed}")
        elif query.leaks:
            kinds.append("leaks unproven" if query.verdict == "unproven" else "caught")
        else:
            names = {"plan": "proven at plan", "rows": "proven by rows", "accused": "false alarms"}
            kinds.append(names.get(query.verdict, "unproven"))
            if query.verdict == "accused":
                self.alarms.append(query.text)
            if query.verdict == "unproven":
                self.reasons.setdefault(query.why, []).append(query.text)
        for construct in ("", *query.used):
            self.counts.setdefault(construct, Counter()).update(kinds)

    def take(self, other: Figures) -> None:
        """Add those of other queries."""
        for construct, counts in other.counts.items():
            self.counts.setdefault(construct, Counter()).update(counts)
        for why, texts in other.reasons.items():
            self.reasons.setdefault(why, []).extend(texts)
        self.alarms += other.alarms
        self.passed += other.passed

    @property
    def passing(self) -> float:
        """The share that passes of the leak-free that are decided."""
        of = self.counts[""]
        proven = of["proven at plan"] + of["proven by rows"]
        return proven / max(1, proven + of["false alarms"])

    @property
    def undecided(self) -> float:
        """The share of the leak-free that are unproven."""
        return self.counts[""]["unproven"] / max(1, self.counts[""]["leak-free"])

    def table(self) -> str:
        """The counts as a table in Markdown."""
        lines = [f"| construct | queries | {' | '.join(KINDS)} |", "|---" * (len(KINDS) + 2) + "|"]
        for name in sorted(self.counts):
            of = self.counts[name]
            lines.append(f"| {name or 'all'} | {of['queries']} | {' | '.join(str(of[kind]) for kind in KINDS)} |")
        return "\n".join(lines)


class Judge:
    """Judges queries over a few worlds of random rows."""

    def __init__(self) -> None:
        self.planner = Planner(SOURCES)
        self.con = duckdb.connect()
        self.con.execute("SET TimeZone = 'UTC'; SET threads = 1; PRAGMA disable_optimizer")

    def look_at(self, draw: random.Random) -> None:
        """Let the sources have other rows."""
        worlds = [drawn(draw, spread=world % 2 == 0) for world in range(WORLDS)]
        loads = {
            name: {n: rows for world, tables in enumerate(worlds) for n, rows in tables[name].versions(world).items()}
            for name in SOURCES
        }
        found = self.planner.fill(loads)
        chosen = [
            {
                name: replace(
                    table,
                    rows=found[name][VERSIONS * world],
                    others=tuple(found[name][VERSIONS * world + 1 + n] for n in range(len(table.others))),
                )
                for name, table in tables.items()
            }
            for world, tables in enumerate(worlds)
        ]
        self.truth = Truth(self.con, *chosen)

    def judge(self, text: str, used: set[str], delay: str | None) -> Judged:
        """One query, as a feature that states this delay."""
        query = Judged(text if delay is None else f"{text}  -- delay {delay}", used)
        feature = self.planner.plan(text, delay)
        query.why, events = feature.why, feature.stamped
        plan, rows = feature.status == "plan", feature.status == "rows"
        accused = False
        for world in range(WORLDS):
            self.truth.world = world
            self.planner.look_at(VERSIONS * world)
            at = self.truth.leaks(events, feature.delay, replaced=plan)
            query.leaks |= at is not None
            own = rows and self._accused(query, feature)
            accused |= own
            if at is not None and (plan or (rows and not own)):
                query.passed = query.passed or f"in world {world} at {at}, proven {'at plan' if plan else 'by rows'}"
            if at is not None:
                break
        query.verdict = "accused" if accused else feature.status
        if accused and not query.leaks:  # it may be that only other rows than these show the leak
            for world in range(WORLDS):
                self.truth.world = world
                query.leaks = query.leaks or self.truth.leaks(events, feature.delay, replaced=True) is not None
        return query

    def _accused(self, query: Judged, feature: Planned) -> bool:
        """Whether a build would fail as a row is later than its stamp."""
        found = self.planner.events(feature, seen=True)
        if found is not None and found != self.planner.events(feature, seen=False):
            query.passed = f"the rows are other ones: {feature.seen}"
        return found is None


def judged(queries: int, seed: int) -> Figures:
    """The figures of so many random queries."""
    figures = Figures()
    draw = random.Random(seed)
    writer, judge = Queries(draw), Judge()
    for number in range(queries):
        if number % 100 == 0:
            judge.look_at(random.Random(seed * 1000 + number))
            print(f"{seed}: {number}", *figures.passed, sep="\n", file=sys.stderr, flush=True)
        text = writer.query()
        figures.add(judge.judge(text, set(writer.used), writer.delay))
    return figures


def main() -> None:
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    sizes = [min(EACH, count - first) for first in range(0, count, EACH)]
    figures = Figures()
    with ProcessPoolExecutor() as pool:
        for part in pool.map(judged, sizes, range(seed, seed + len(sizes))):
            figures.take(part)
    print(figures.table())
    print(
        f"\n{figures.passing:.1%} of the decided leak-free pass; {figures.undecided:.1%} of the leak-free are unproven\n"
    )
    for why, texts in sorted(figures.reasons.items(), key=lambda item: -len(item[1]))[:40]:
        print(f"    {len(texts):5} {why[:110]}\n          {min(texts, key=len)}")
    for text in (*figures.passed, *sorted(figures.alarms, key=len)[:12]):
        print(f"\n{text}")


if __name__ == "__main__":
    main()
