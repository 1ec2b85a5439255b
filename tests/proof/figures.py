"""How random queries are judged, counted by construct. ``python -m tests.proof.figures 5000`` prints a table."""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import dataclass, field

import duckdb
import sqlglot

from mlforge.model import Duration
from mlforge.proof.known import Unproven
from mlforge.proof.seen import with_seen
from mlforge.proof.settled import settled
from tests.proof.queries import SOURCES, Queries, drawn
from tests.proof.truth import NEVER, Row, Truth, relations

WORLDS = 3
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

    def __init__(self, con: duckdb.DuckDBPyConnection, seed: int) -> None:
        draw = random.Random(seed)
        con.execute("SET TimeZone = 'UTC'; SET threads = 1")
        self.truth = Truth(con, *(drawn(draw, spread=world % 2 == 0) for world in range(WORLDS)))
        self.known = relations(SOURCES)

    def judge(self, text: str, used: set[str]) -> Judged:
        query = Judged(text, used)
        tree = sqlglot.parse_one(text, dialect="duckdb")
        assert isinstance(tree, sqlglot.exp.Query)
        plan = settled(tree, "ts", Duration(0, "s"), self.known)
        made = ""
        try:
            made = with_seen(tree, "ts", self.known).sql("duckdb")
        except Unproven as error:
            query.why = error.why
        accused = 0
        for world in range(WORLDS):
            self.truth.world = world
            at = self.truth.leaks(text, replaced=plan)
            query.leaks |= at is not None
            own = self._accused(query, made) if made else 0
            accused += own
            if at is not None and (plan or (made and not own)):
                query.passed = query.passed or f"in world {world} at {at}, proven {'at plan' if plan else 'by rows'}"
            if at is not None:
                break
        query.verdict = "plan" if plan else "unproven" if not made else "accused" if accused else "rows"
        if query.verdict == "accused" and not query.leaks:  # it may be that only other rows than these show the leak
            for world in range(WORLDS):
                self.truth.world = world
                query.leaks = query.leaks or self.truth.leaks(text, replaced=True) is not None
        return query

    def _accused(self, query: Judged, made: str) -> int:
        """How many rows are later than their stamp."""
        found = self.truth.at(made, NEVER + 1)
        plain: Counter[Row] = Counter()
        for row, n in found.items():
            plain[row[:-1]] += n
        if plain != self.truth.at(query.text, NEVER + 1):
            query.passed = f"the rows are other ones: {made}"
        return sum(n for row, n in found.items() if row[0] is not None and row[-1] > row[0])


def judged(queries: int, seed: int) -> Figures:
    """The figures of so many random queries."""
    figures = Figures()
    writer = Queries(random.Random(seed))
    con = duckdb.connect()
    judge = Judge(con, seed)
    for number in range(queries):
        if number % 100 == 99:
            judge = Judge(con, seed * 1000 + number)
        text = writer.query()
        figures.add(judge.judge(text, set(writer.used)))
    con.close()
    return figures


def main() -> None:
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    figures = judged(count, seed)
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
