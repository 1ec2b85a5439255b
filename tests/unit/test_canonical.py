"""Queries with equal canonical text give equal rows: random small queries full of colliding names, run by DuckDB."""

from __future__ import annotations

import random
import re
from collections import defaultdict

import duckdb
import pytest

from mlforge.plan.canonical import canonical

NAMES = ("p", "q", "x")
TABLES = """
CREATE SCHEMA s; CREATE TABLE s.p (x INT, y INT); CREATE TABLE s.q (x INT, y INT);
INSERT INTO s.p VALUES (1, 10), (2, 20), (2, 21), (NULL, 30); INSERT INTO s.q VALUES (1, 5), (2, 6), (3, 7)
"""


class Maker:
    """Makes queries; the names are few, so that aliases, CTEs, columns and tables collide."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, *words: str) -> str:
        return self.random.choice(words)

    def column(self) -> str:
        return self.pick("x", "y", "x", "y", "p.x", "q.x", "p.y", "q.y", "x.x", "X", '"y"')

    def value(self, depth: int) -> str:
        kind = self.random.random()
        if kind < 0.7 or depth == 0:
            return self.column()
        if kind < 0.85:
            return f"{self.column()} {self.pick('+', '-')} {self.pick('1', self.column())}"
        condition = f"{self.column()} {self.pick('=', '<')} {self.column()}"
        return f"(SELECT max({self.column()}) FROM {self.relation(0)} WHERE {condition})"

    def relation(self, depth: int) -> str:
        alias = self.pick("", "", " p", " AS q", " x")
        if depth and self.random.random() < 0.3:
            return f"({self.select(depth - 1)}){alias or ' p'}"
        return self.pick("s.p", "s.q", "s.p", "p", "q") + alias

    def source(self, depth: int) -> str:
        first = self.relation(depth)
        if self.random.random() < 0.6:
            return first
        join = self.pick("JOIN", "inner join", "LEFT JOIN", "LEFT OUTER JOIN")
        on = self.pick("USING (x)", f"ON {self.column()} = {self.column()}")
        return f"{first} {join} {self.relation(depth)} {on}"

    def item(self, depth: int) -> str:
        return f"{self.value(depth)} AS {self.pick('x', 'y', 'z')}"

    def select(self, depth: int) -> str:
        items = ", ".join(self.item(depth) for _ in range(self.random.randint(1, 2)))
        text = f"SELECT {items} FROM {self.source(depth)}"
        if self.random.random() < 0.3:
            text += f" WHERE {self.column()} {self.pick('=', '<>', '!=')} {self.pick('1', '2', self.column())}"
        tail = self.random.random()
        if tail < 0.15:
            text += f" ORDER BY {self.pick('1', self.column())} LIMIT 2"
        elif tail < 0.25:
            text += f" GROUP BY {self.pick('ALL', '1, 2', '1', self.column())}"
        return text

    def query(self) -> str:
        body = self.select(1)
        if self.random.random() < 0.3:
            ctes = ", ".join(f"{self.pick(*NAMES)} AS ({self.select(0)})" for _ in range(self.random.randint(1, 2)))
            body = f"WITH {ctes} {body}"
        return f"{body} UNION ALL {self.select(0)}" if self.random.random() < 0.1 else body


def rows(con: duckdb.DuckDBPyConnection, query: str) -> str | None:
    """The rows, in any order; None for a query that DuckDB refuses."""
    try:
        return str(sorted(con.execute(query).fetchall(), key=str))
    except duckdb.Error:
        return None


def mutant(query: str, chance: random.Random) -> str:
    """The query with one name exchanged throughout, or one or two words anywhere: respelled, or another query."""
    words = re.split(r"(\w+\.\w+|\w+)", query)
    names = [n for n, word in enumerate(words) if re.fullmatch(r"[pqxyzX]|[pqx]\.[xyz]", word)]
    if chance.random() < 0.3:
        old, new = chance.choice(NAMES), chance.choice(("other", *NAMES))
        return re.sub(rf"(?<!s\.)\b{old}\b(?=\.| AS| JOIN| LEFT| WHERE|$)", new, query)
    for n in chance.sample(names, min(len(names), chance.choice((1, 1, 2)))):
        qualifier, _, column = words[n].rpartition(".")
        words[n] = chance.choice(
            (column, f"{chance.choice(NAMES)}.{column}", qualifier or column, chance.choice("pqxyz"))
        )
    return "".join(words)


@pytest.mark.parametrize("seed", range(2))
def test_equal_texts_give_equal_rows(seed: int) -> None:
    maker = Maker(seed)
    shared, wrong = 0, []
    with duckdb.connect() as con:
        con.execute(TABLES)
        for _ in range(500):
            query = maker.query()
            if rows(con, query) is None:
                continue
            groups: dict[str, dict[str, str]] = defaultdict(dict)
            for text in {query, *(mutant(query, maker.random) for _ in range(12))}:
                found = rows(con, text)
                if found is not None:
                    groups[str(canonical(text))][text] = found
            shared += sum(len(made) > 1 for made in groups.values())
            wrong += [made for made in groups.values() if len(set(made.values())) > 1]
    assert shared > 10
    assert wrong == []
