"""Random SQL over sources with a time, and random rows for it. Every relation has the columns k, t, x, n."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.proof.truth import Row, Table

if TYPE_CHECKING:
    import random

_COLUMNS = {"n": "BIGINT", "k": "BIGINT", "t": "TIMESTAMP", "x": "BIGINT"}
_LOADS = "loaded_at: l, unique_key: [n], deleted: gone"
SOURCES = {
    "a": Table(_COLUMNS, "t", settings="timestamp: t"),
    "b": Table(_COLUMNS | {"l": "TIMESTAMP"}, "t", "36h", settings="timestamp: t, delay: 36h, loaded_at: l"),
    "d": Table(_COLUMNS | {"t": "DATE"}, "t", "1d", settings="timestamp: t"),
    "u": Table(_COLUMNS | {"l": "TIMESTAMP", "gone": "BOOLEAN"}, "t", settings=f"timestamp: t, {_LOADS}"),
    "c": Table(
        _COLUMNS | {"r": "TIMESTAMP"},
        "t",
        known=("x", "r + INTERVAL 12 HOUR"),
        settings="timestamp: t, known: {x: r + INTERVAL 12 HOUR}",
    ),
    "w": Table(
        _COLUMNS | {"r": "TIMESTAMP", "l": "TIMESTAMP", "gone": "BOOLEAN"},
        "t",
        "12h",
        known=("x", "r"),
        settings=f"timestamp: t, delay: 12h, known: {{x: r}}, {_LOADS.replace('n]', 'k, n]')}",
    ),
    "s": Table({"k": "BIGINT", "x": "BIGINT"}, rows=((0, 1), (1, 2))),
    "cal": Table({"t": "TIMESTAMP"}, rows=tuple((dt.datetime(2024, 1, day),) for day in (2, 4, 6))),
}
#: Of the sources that are read, and what stands in a query that reads them.
_DRAWN = ("a", "a", "a", "b", "b", "d", "u", "c", "w")
KINDS = {
    "b": "source with a delay",
    "d": "source of dates",
    "u": "source with unique_key and deleted",
    "c": "source with known",
    "w": "source with delay, known, unique_key and deleted",
}
_FIRST = dt.datetime(2024, 1, 1)
_HOURS = (0, 12, 36, 60, 96)


def drawn(draw: random.Random, *, spread: bool) -> dict[str, Table]:
    """The sources with a few rows each, and others that may come later in their place. ``spread``: no two rows of
    a source have the same time; else many do, and some have none."""

    def made(table: Table, cells: dict[str, Any]) -> Row:
        return tuple(cells[c].date() if kind == "DATE" and cells[c] else cells[c] for c, kind in table.columns.items())

    def happened(table: Table, first: int) -> list[dict[str, Any]]:
        hours = draw.sample(_HOURS, 5) if spread and table.columns["t"] == "TIMESTAMP" else draw.choices(_HOURS, k=6)
        found = []
        for n, hour in enumerate(hours):
            at = None if not spread and draw.random() < 0.04 else _FIRST + dt.timedelta(hours=hour)
            found.append({"n": n + first, "k": draw.randrange(2), "t": at} | said(at or _FIRST))
        return found

    def said(at: dt.datetime) -> dict[str, Any]:
        """What one load says of a row: some come late, some are known late or never, some are deletions."""
        return {
            "x": draw.choice((None, 0, 1, 1, 2, 3, 5)),
            "r": None if draw.random() < 0.06 else at + dt.timedelta(hours=draw.choice((-12, 0, 0, 24, 48))),
            "l": None if draw.random() < 0.05 else at + dt.timedelta(hours=draw.choice((0, 1, 1, 72, 300))),
            "gone": draw.random() < 0.15,
        }

    def loads(table: Table, rows: list[dict[str, Any]]) -> tuple[Row, ...]:
        """The rows; of a source of which one load replaces another, more of them in any order."""
        if "gone" in table.columns:
            again = [dict(draw.choice(rows)) for _ in range(draw.randrange(1, 5))]
            for row in again:
                row |= said(row["t"] or _FIRST)
                if not spread or table.columns["t"] == "DATE":
                    row["t"] = draw.choice(rows)["t"]
                if draw.random() < 0.15:
                    row["n"] = None
            rows = [*rows, *again]
            draw.shuffle(rows)
        return tuple(made(table, row) for row in rows)

    def changed(table: Table, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Other rows: some have other values only, which come later."""
        others = happened(table, 100)
        pairs = zip(rows, others, strict=True)
        return [row | said(row["t"] or _FIRST) if draw.random() < 0.4 else other for row, other in pairs]

    found = {}
    for name, table in SOURCES.items():
        found[name] = table
        if table.time:
            rows = happened(table, 0)
            found[name] = replace(table, rows=loads(table, rows), others=(loads(table, changed(table, rows)),))
    return found


class Queries:
    """Draws queries; ``used`` names what stands in the last one."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.used = draw, set[str]()
        self.ctes: list[str] = []
        self.names: list[str] = []
        self.count = 0

    def query(self) -> str:
        """A query with the columns k, ts, v, and w in half of them."""
        self.used, self.ctes, self.names, self.count = set(), [], [], 0
        self.delay = self._one("0s", "12h", "36h", "2d") if self.draw.random() < 0.3 else None
        if self.delay:
            self._use("delay of the feature")
        if self.draw.random() < 0.15:
            return self._plainest()
        body = self._select(self.draw.choice((0, 0, 1, 1, 2)))
        w = ", CAST(q.n AS BIGINT) AS w" if self.draw.random() < 0.5 else ""
        with_ = f"WITH {', '.join(self.ctes)} " if self.ctes else ""
        return f"{with_}SELECT q.k, q.t AS ts, CAST(q.x AS BIGINT) AS v{w} FROM ({body}) AS q"

    def _plainest(self) -> str:
        """A source's rows with its own time, of which the feature takes the delay."""
        item, a, source = self._item(0)
        self._use("time of a source" if source else "rows")
        v = self._one(f"{a}.x", f"{a}.n", self._window(a))
        return f"SELECT {a}.k, {a}.t AS ts, CAST({v} AS BIGINT) AS v FROM {item}{self._where(a, 0.3)}"

    def _one(self, *choices: str) -> str:
        return self.draw.choice(choices)

    def _use(self, name: str) -> None:
        self.used.add(name)

    def _alias(self) -> str:
        self.count += 1
        return f"q{self.count}"

    def _item(self, depth: int) -> tuple[str, str, str]:
        """A relation for FROM, its alias, and the source that it is."""
        alias = self._alias()
        if depth <= 0 or self.draw.random() < 0.35:
            name = self._one(*_DRAWN)
            if name in KINDS:
                self._use(KINDS[name])
            item = f"{{{{ source('{name}') }}}}"
            known = SOURCES[name].known
            if known and self.draw.random() < 0.5:
                self._use("time at which a column is known")
                t = self._one(known[1], f"greatest(t, {known[1]})", f"greatest(t + INTERVAL 12 HOUR, {known[1]})")
                return f"(SELECT k, {t} AS t, {self._one('x', 'x', 'n AS x')}, n FROM {item}) AS {alias}", alias, ""
            return f"{item} AS {alias}", alias, name
        if self.names and self.draw.random() < 0.35:
            self._use("CTE used twice")
            return f"{self._one(*self.names)} AS {alias}", alias, ""
        body = self._select(depth - 1)
        if self.draw.random() < 0.4:
            self._use("CTE")
            name = f"c{len(self.ctes)}"
            self.ctes.append(f"{name} AS ({body})")
            self.names.append(name)
            return f"{name} AS {alias}", alias, ""
        return f"({body}) AS {alias}", alias, ""

    def _select(self, depth: int) -> str:
        kinds = {
            self._rows: 3,
            self._join: 5,
            self._asof: 2,
            self._semi: 2,
            self._grouped: 6,
            self._windowed: 6,
            self._distinct: 1,
            self._set: 3,
            self._distinct_on: 2,
            self._qualify: 2,
            self._first_of: 1,
            self._value: 3,
            self._exists: 4,
            self._calendar: 1,
        }
        return self.draw.choices(list(kinds), list(kinds.values()))[0](depth)

    # -- parts

    def _guard(self, a: str) -> str:
        return self._one(
            f"{a}.x > {self.draw.randrange(3)}",
            f"{a}.k = {self.draw.randrange(2)}",
            f"{a}.x IS NULL",
            f"{a}.t < TIMESTAMP '2024-01-0{self.draw.randrange(2, 6)}'",
            f"{a}.n % 2 = 0",
            f"{a}.x IS NOT NULL",
        )

    def _where(self, a: str, share: float = 0.4) -> str:
        return f" WHERE {self._guard(a)}" if self.draw.random() < share else ""

    def _stamp(self, t: str) -> str:
        moved = self.draw.random()
        if moved < 0.5:
            return t
        return self._one(
            f"{t} + INTERVAL 1 DAY",
            f"{t} + INTERVAL 2 DAY",
            f"time_bucket(INTERVAL 2 DAY, {t}) + INTERVAL 2 DAY",
            f"time_bucket(INTERVAL 2 DAY, {t}) + INTERVAL 4 DAY",
            f"date_trunc('day', {t}) + INTERVAL 1 DAY",
            f"make_timestamp(year({t}), month({t}), day({t}), 0, 0, 0.0) + INTERVAL 2 DAY",
        )

    def _order(self, a: str, first: str = "", *, back: bool = False) -> str:
        """An order that has ties, which a build breaks, or only those of equal rows."""
        if self.draw.random() < 0.25:
            self._use("ties in an order")
            return f"{first or a + '.t'}{' DESC' if back else ''}"
        return f"{first or a + '.t'}{' DESC' if back else ''}, {a}.n, {a}.x, {a}.k, {a}.t"

    def _total(self, a: str) -> str:
        filtered = f" FILTER (WHERE {self._guard(a)})" if self.draw.random() < 0.25 else ""
        if filtered:
            self._use("FILTER")
        pick = self.draw.randrange(9)
        if pick == 4:
            self._use("MIN, MAX")
            return f"{self._one('MIN', 'MAX')}({a}.x){filtered}"
        if pick == 5:
            self._use("arg_min, arg_max")
            return f"{self._one('arg_min', 'arg_max')}({a}.x, {a}.t){filtered}"
        if pick == 6:
            return f"SUM(CASE WHEN {self._guard(a)} THEN 1 ELSE 0 END)"
        if pick == 7:
            return f"COUNT(DISTINCT {a}.x){filtered}"
        return self._one(
            f"SUM({a}.x){filtered}", f"COUNT(*){filtered}", f"COUNT({a}.x){filtered}", f"SUM({a}.n){filtered}"
        )

    def _window(self, a: str) -> str:
        part = self._one(
            f"PARTITION BY {a}.k ", f"PARTITION BY {a}.k ", "", f"PARTITION BY {a}.x ", f"PARTITION BY {a}.t "
        )
        first, back = self._one(f"{a}.t", f"{a}.t", f"{a}.t", f"{a}.x", f"{a}.n"), self.draw.random() < 0.2
        down = " DESC" if back else ""
        pick = self.draw.randrange(11)
        if pick < 3:
            self._use("window")
            filtered = f" FILTER (WHERE {a}.x > 0)" if self.draw.random() < 0.3 else ""
            return f"{self._one('SUM', 'COUNT', 'MIN', 'MAX')}({a}.x){filtered} OVER ({part}ORDER BY {first}{down})"
        if pick == 3:
            self._use("window ROWS")
            start = self._one("UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING", "3 PRECEDING")
            end = self._one("CURRENT ROW", "CURRENT ROW", "1 PRECEDING", "1 FOLLOWING") + self._one(
                "", " EXCLUDE CURRENT ROW"
            )
            return f"SUM({a}.x) OVER ({part}ORDER BY {self._order(a, first, back=back)} ROWS BETWEEN {start} AND {end})"
        if pick == 4:
            self._use("window RANGE")
            end = self._one("CURRENT ROW", "INTERVAL 1 DAY PRECEDING", "INTERVAL 1 DAY FOLLOWING")
            end += self._one("", "", " EXCLUDE TIES", " EXCLUDE GROUP")
            return f"SUM({a}.x) OVER ({part}ORDER BY {a}.t RANGE BETWEEN INTERVAL {self._one('2', '3')} DAY PRECEDING AND {end})"
        if pick == 5:
            self._use("RANK")
            return f"{self._one('RANK', 'DENSE_RANK')}() OVER ({part}ORDER BY {first}{down})"
        if pick == 6:
            self._use("ROW_NUMBER")
            return f"ROW_NUMBER() OVER ({part}ORDER BY {self._order(a, first, back=back)})"
        if pick == 7:
            self._use("LAG, LEAD")
            skips, by = self._one("", "", " IGNORE NULLS"), self._one("", ", 2")
            return f"{self._one('LAG', 'LAG', 'LEAD')}({a}.x{by}{skips}) OVER ({part}ORDER BY {self._order(a, first, back=back)})"
        if pick == 8:
            self._use("FIRST_VALUE, LAST_VALUE")
            skips = self._one("", " IGNORE NULLS")
            return f"{self._one('FIRST_VALUE', 'LAST_VALUE')}({a}.x{skips}) OVER ({part}ORDER BY {self._order(a, first, back=back)})"
        if pick == 9:
            self._use("PERCENT_RANK, NTILE")
            if self.draw.random() < 0.5:
                return f"NTILE(2) OVER ({part}ORDER BY {self._order(a, first, back=back)})"
            return f"CAST(100 * {self._one('PERCENT_RANK', 'CUME_DIST')}() OVER ({part}ORDER BY {first}) AS BIGINT)"
        self._use("window without an order")
        return f"SUM({a}.x) OVER ({part})"

    # -- SELECTs with the columns k, t, x, n

    def _rows(self, depth: int) -> str:
        item, a, _ = self._item(depth)
        x = self._one(f"{a}.x", f"{a}.x", f"CASE WHEN {self._guard(a)} THEN {a}.x ELSE 0 END")
        return f"SELECT {a}.k, {self._stamp(a + '.t')} AS t, {x} AS x, {a}.n FROM {item}{self._where(a, 0.6)}"

    def _join(self, depth: int) -> str:
        item, a, _ = self._item(depth)
        if self.draw.random() < 0.15:
            self._use("JOIN of a static source")
            return f"SELECT {a}.k, {self._stamp(a + '.t')} AS t, s1.x, {a}.n FROM {item} {self._one('', 'LEFT ')}JOIN {{{{ source('s') }}}} AS s1 ON {a}.k = s1.k"
        other, b, _ = self._item(depth - 1)
        side = self._one("", "", "LEFT ", "LEFT ", "RIGHT ", "FULL ", "", "LEFT ", "CROSS ")
        self._use(f"{side or 'INNER '}JOIN")
        t = self._one(f"{a}.t", f"{a}.t", f"greatest({a}.t, {b}.t)", f"{b}.t")
        on = self._one(
            f"ON {a}.k = {b}.k",
            f"ON {a}.k = {b}.k AND {b}.t <= {a}.t",
            f"ON {a}.k = {b}.k AND {b}.t <= {a}.t",
            f"ON {a}.x = {b}.x",
            f"ON {a}.n = {b}.n",
            f"ON {a}.k = {b}.k AND {b}.t < {a}.t AND {b}.x > 0",
            f"ON {a}.k = {b}.k AND {b}.t + INTERVAL 36 HOUR <= {a}.t",
            "USING (k)",
            "USING (n)",
        )
        on = "" if side == "CROSS " else on
        where = f" WHERE {self._guard(self._one(a, a, b))}" if self.draw.random() < 0.3 else ""
        k = "k" if on.startswith("USING (k") else f"{a}.k"
        n = "n" if on.startswith("USING (n") else f"{a}.n"
        return f"SELECT {k}, {self._stamp(t)} AS t, {b}.x, {n} FROM {item} {side}JOIN {other} {on}{where}"

    def _asof(self, depth: int) -> str:
        self._use("ASOF JOIN")
        item, a, _ = self._item(depth)
        b = self._alias()
        # one row of each instant, or the choice among them were left to chance
        once = f"(SELECT k, t, MAX(x) AS x FROM {{{{ source('{self._one('a', 'b', 'u')}') }}}} GROUP BY k, t) AS {b}"
        sign = self._one(">=", ">=", ">", "<=")
        return (
            f"SELECT {a}.k, {self._stamp(a + '.t')} AS t, {b}.x, {a}.n FROM {item} ASOF {self._one('', 'LEFT ')}JOIN {once} "
            f"ON {a}.k = {b}.k AND {a}.t {sign} {b}.t"
        )

    def _semi(self, depth: int) -> str:
        (item, a, _), (other, b, _) = self._item(depth), self._item(depth - 1)
        word = self._one("SEMI", "SEMI", "ANTI")
        self._use(f"{word} JOIN")
        on = self._one(f"{a}.k = {b}.k AND {b}.t <= {a}.t", f"{a}.x = {b}.x", f"{a}.k = {b}.k AND {b}.x > 2")
        return f"SELECT {a}.k, {self._stamp(a + '.t')} AS t, {a}.x, {a}.n FROM {item} {word} JOIN {other} ON {on}"

    def _grouped(self, depth: int) -> str:
        self._use("GROUP BY")
        item, a, _ = self._item(depth)
        having = ""
        if self.draw.random() < 0.15:
            self._use("HAVING")
            having = " HAVING " + self._one("COUNT(*) > 1", f"SUM({a}.x) < 4", f"MIN({a}.x) IS NOT NULL")
        pick = self.draw.randrange(6)
        if pick < 4:
            t = self._stamp(f"{a}.t")
            group = self._one(f"{a}.k, {t}", f"{a}.k, {t}", f"{a}.k, {a}.x, {t}", f"ROLLUP ({a}.k, {t})")
            if group.startswith("ROLLUP"):
                self._use("ROLLUP")
        else:
            group, at = f"{a}.k", self._one("MIN", "MAX")
            self._use(f"stamp of {at}")
            t = self._stamp(f"{at}({a}.t)")
        n = self._total(a) if self.draw.random() < 0.4 else "1"
        return f"SELECT {a}.k, {t} AS t, {self._total(a)} AS x, {n} AS n FROM {item}{self._where(a)} GROUP BY {group}{having}"

    def _windowed(self, depth: int) -> str:
        item, a, _ = self._item(depth)
        return f"SELECT {a}.k, {self._stamp(a + '.t')} AS t, {self._window(a)} AS x, {a}.n FROM {item}{self._where(a, 0.3)}"

    def _distinct(self, depth: int) -> str:
        self._use("DISTINCT")
        item, a, _ = self._item(depth)
        return (
            f"SELECT DISTINCT {a}.k, {self._stamp(a + '.t')} AS t, {a}.x, {self._one('1', a + '.x')} AS n FROM {item}"
        )

    def _set(self, depth: int) -> str:
        (item, a, _), (other, b, _) = self._item(depth), self._item(depth - 1)
        word = self._one("UNION ALL", "UNION ALL", "UNION", "EXCEPT", "INTERSECT")
        self._use(word)
        return f"SELECT {a}.k, {a}.t AS t, {a}.x, {a}.x AS n FROM {item} {word} SELECT {b}.k, {b}.t, {b}.x, {b}.x FROM {other}"

    def _distinct_on(self, depth: int) -> str:
        self._use("DISTINCT ON")
        item, a, _ = self._item(depth)
        t = self._stamp(a + ".t")
        on = self._one(f"{a}.k", f"{a}.k", f"{a}.k, {t}")
        order = self._order(a, back=self.draw.random() < 0.4)
        return f"SELECT DISTINCT ON ({on}) {a}.k, {t} AS t, {a}.x, {a}.n FROM {item} ORDER BY {on}, {order}"

    def _qualify(self, depth: int) -> str:
        self._use("QUALIFY")
        item, a, _ = self._item(depth)
        t = self._stamp(a + ".t")
        part = self._one(f"{a}.k", f"{a}.k", f"{a}.k, {t}")
        order = self._order(a, back=self.draw.random() < 0.4)
        return (
            f"SELECT {a}.k, {t} AS t, {a}.x, {a}.n FROM {item} "
            f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {part} ORDER BY {order}) {self._one('= 1', '<= 2')}"
        )

    def _first_of(self, depth: int) -> str:
        self._use("WHERE row_number = 1")
        item, a, _ = self._item(depth)
        b, t = self._alias(), self._stamp(a + ".t")
        part = self._one(f"{a}.k", f"{a}.k, {t}")
        numbered = f"ROW_NUMBER() OVER (PARTITION BY {part} ORDER BY {self._order(a, back=self.draw.random() < 0.5)})"
        inner = f"SELECT {a}.k, {t} AS t, {a}.x, {a}.n, {numbered} AS rn FROM {item}"
        return f"SELECT {b}.k, {b}.t, {b}.x, {b}.n FROM ({inner}) AS {b} WHERE {b}.rn = 1"

    def _tie(self, a: str, b: str) -> str:
        return self._one(
            f"{b}.k = {a}.k AND {b}.t <= {a}.t",
            f"{b}.k = {a}.k AND {b}.t < {a}.t",
            f"{b}.k = {a}.k",
            f"{b}.x > {a}.x",
            f"{b}.k = {a}.k AND {b}.t + INTERVAL 36 HOUR <= {a}.t",
        )

    def _value(self, depth: int) -> str:
        (item, a, _), (other, b, _) = self._item(depth), self._item(depth - 1)
        value = f"(SELECT {self._total(b)} FROM {other} WHERE {self._one('TRUE', self._tie(a, b), self._tie(a, b))})"
        if self.draw.random() < 0.25:
            self._use("scalar subquery in WHERE")
            return f"SELECT {a}.k, {self._stamp(a + '.t')} AS t, {a}.x, {a}.n FROM {item} WHERE {a}.x <= {value}"
        self._use("scalar subquery")
        return f"SELECT {a}.k, {self._stamp(a + '.t')} AS t, {value} AS x, {a}.n FROM {item}"

    def _exists(self, depth: int) -> str:
        (item, a, _), (other, b, _) = self._item(depth), self._item(depth - 1)
        t, exists = self._stamp(a + ".t"), f"EXISTS (SELECT 1 FROM {other} WHERE {self._tie(a, b)})"
        pick = self.draw.randrange(6)
        if pick == 0:
            self._use("EXISTS as a value")
            return f"SELECT {a}.k, {t} AS t, CAST({exists} AS BIGINT) AS x, {a}.n FROM {item}"
        if pick == 1:
            word = self._one("IN", "IN", "NOT IN")
            self._use(word)
            exists = f"{a}.x {word} (SELECT {b}.x FROM {other} WHERE {b}.k = 1)"
        elif pick == 2:
            self._use("NOT EXISTS")
            exists = f"NOT {exists}"
        else:
            self._use("EXISTS")
        return f"SELECT {a}.k, {t} AS t, {a}.x, {a}.n FROM {item} WHERE {exists}"

    def _calendar(self, depth: int) -> str:
        self._use("calendar")
        item, a, _ = self._item(depth)
        sign = self._one("<", "<", "<=", ">")
        total = self._total(a)
        return f"SELECT {a}.k, cal.t, {total} AS x, 1 AS n FROM {{{{ source('cal') }}}} AS cal JOIN {item} ON {a}.t {sign} cal.t GROUP BY {a}.k, cal.t"
