"""What a feature's value at a label row is, by reading every event row.

It follows the pages on the language and on time and shares no code with mlforge: rows are dicts, times are integer
microseconds since the epoch (None for NULL), and nothing is indexed, cached or summed incrementally."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.oracle.aggregates import AGGREGATES, NULL, Expected, finite, order
from tests.oracle.clock import FIXED, boundary, minus

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = dict[str, Any]


@dataclass(frozen=True)
class Cond:
    """``column op value``, where op is one of > >= < <= = and a NULL column is not true."""

    column: str
    op: str
    value: Any

    def holds(self, row: Row) -> bool | None:
        left, right = order(row[self.column]), order(self.value)
        if row[self.column] is None:
            return None
        return {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right, "=": left == right}[
            self.op
        ]


@dataclass(frozen=True)
class Agg:
    """One trailing window: ``func([DISTINCT] arg, by or param) FILTER (WHERE where) OVER over``."""

    func: str
    arg: str | None = None
    over: str = "ever"  # "7d", "3mo" or "ever"
    by: str | None = None
    param: Any = None
    where: Cond | None = None
    distinct: bool = False


@dataclass(frozen=True)
class Col:
    """A row column: the latest row's value. ``parts`` are the columns that an expression is made of."""

    name: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coalesce:
    """``COALESCE(of, default)``."""

    of: Expr
    default: Any


@dataclass(frozen=True)
class Ratio:
    """``top / NULLIF(bottom, 0)`` as a DOUBLE."""

    top: Expr
    bottom: Expr


@dataclass(frozen=True)
class Whole:
    """``top // bottom`` or ``top % bottom`` of integers, cut towards zero; by zero it is NULL."""

    top: Expr
    bottom: Expr
    op: str = "//"


@dataclass(frozen=True)
class AsOf:
    """``as_of()``."""


@dataclass(frozen=True)
class Since:
    """Time from an instant to ``as_of()``: in microseconds, or in hour marks passed."""

    of: Expr
    unit: str = "us"  # or "hour"


Expr = Agg | Col | Coalesce | Ratio | Whole | AsOf | Since


@dataclass(frozen=True)
class Feature:
    """One feature, by what it means rather than how it is written."""

    name: str
    keys: tuple[str, ...]
    outputs: tuple[tuple[str, Expr], ...]
    time: str | None = "t"
    closed: str | None = None
    delay: str = "0s"
    ttl: str | None = None
    interval: str | None = None
    timezone: str | None = None
    loaded_at: str | None = None
    where: Cond | None = None

    @property
    def kind(self) -> str:
        if self.time is None:
            return "static"
        return "windows" if any(isinstance(e, Agg) for e in self.leaves()) else "plain"

    @property
    def at_t(self) -> bool:
        """Whether outputs are evaluated at T even where there is no row: windows and as_of() are."""
        return any(not isinstance(e, Col) for e in self.leaves())

    @property
    def side(self) -> str:
        """``closed`` as written, else what the kind implies."""
        return self.closed or ("left" if self.kind == "windows" else "right")

    def leaves(self) -> Iterator[Expr]:
        """Aggregates, row columns and as_of() in the order written."""
        for _, expr in self.outputs:
            yield from leaves(expr)


def leaves(expr: Expr) -> Iterator[Expr]:
    if isinstance(expr, (Coalesce, Since)):
        yield from leaves(expr.of)
    elif isinstance(expr, (Ratio, Whole)):
        yield from leaves(expr.top)
        yield from leaves(expr.bottom)
    else:
        yield expr


def row_key(feature: Feature, row: Row) -> tuple[Any, ...]:
    """The total order of a key's rows: time, loaded_at, row columns as written, window inputs as they appear.

    Where expressions are evaluated at T, the row columns are the bare columns in them."""
    written = [e for e in feature.leaves() if isinstance(e, Col)]
    columns = [row[name] for e in written for name in (e.parts if feature.at_t and e.parts else (e.name,))]
    inputs = [value for e in feature.leaves() if isinstance(e, Agg) for value in _inputs(e, row)]
    loaded = row[feature.loaded_at] if feature.loaded_at else None
    return (row[feature.time or ""], order(loaded), [order(v) for v in columns], [order(v) for v in inputs])


def _inputs(agg: Agg, row: Row) -> Iterator[Any]:
    yield from (row[name] for name in (agg.arg, agg.by) if name)
    if agg.where:
        yield agg.where.holds(row)


def event_rows(feature: Feature, rows: list[Row]) -> list[Row]:
    """Rows that belong to something: WHERE holds, no part of the key and no time is NULL."""
    needed = (*feature.keys, *([feature.time] if feature.time else []))
    kept = [row for row in rows if feature.where is None or feature.where.holds(row)]
    return [row for row in kept if all(row[name] is not None for name in needed)]


def inside(feature: Feature, t: int, at: int, length: str) -> bool:
    """Whether an event at ``t`` lies in the window of that length at ``at``."""
    low = None if length == "ever" else minus(at, length)
    if feature.side == "left":
        return t < at and (low is None or low <= t)
    return t <= at and (low is None or low < t)


class Moment(NamedTuple):
    """All an expression may look at: ``asked`` is ``as_of()``; windows end at ``seen``, which is ``delay`` earlier."""

    feature: Feature
    rows: list[Row]
    latest: Row | None
    asked: int
    seen: int


def values_at(feature: Feature, rows: list[Row], key: tuple[Any, ...], at: int | None) -> dict[str, Expected]:
    """The expected value of every output for one label row."""
    if at is None or any(part is None for part in key):
        return {name: NULL for name, _ in feature.outputs}
    mine = [row for row in event_rows(feature, rows) if tuple(row[k] for k in feature.keys) == key]
    if feature.time is None:
        return _outputs(Moment(feature, [], mine[0] if mine else None, at, at))
    mine.sort(key=lambda row: row_key(feature, row))
    asked = boundary(at, feature.interval, feature.timezone) if feature.interval else at
    seen = minus(asked, feature.delay)
    latest = latest_row(feature, mine, seen)
    if not feature.at_t and latest is None:
        return {name: NULL for name, _ in feature.outputs}
    return _outputs(Moment(feature, mine, latest, asked, seen))


def _outputs(moment: Moment) -> dict[str, Expected]:
    return {name: evaluate(expr, moment) for name, expr in moment.feature.outputs}


def has_row(feature: Feature, rows: list[Row], key: tuple[Any, ...], at: int | None) -> bool:
    """Whether an INNER JOIN with ref() keeps a left row: of a static or plain feature there is a row at T."""
    if at is None or any(part is None for part in key):
        return False
    mine = [row for row in event_rows(feature, rows) if tuple(row[k] for k in feature.keys) == key]
    seen = minus(boundary(at, feature.interval, feature.timezone) if feature.interval else at, feature.delay)
    return bool(mine) if feature.time is None else any(inside(feature, row[feature.time], seen, "ever") for row in mine)


def one_per_instant(feature: Feature, rows: list[Row]) -> list[Row]:
    """The rows of a plain feature as a table: of each key and time the greatest."""
    ordered = sorted(event_rows(feature, rows), key=lambda row: row_key(feature, row))
    return list({(*(row[k] for k in feature.keys), row[feature.time or ""]): row for row in ordered}.values())


def latest_row(feature: Feature, mine: list[Row], seen: int) -> Row | None:
    """The last row known at ``seen``, unless ttl says it is too old."""
    known = [row for row in mine if inside(feature, row[feature.time or ""], seen, "ever")]
    if not known or (feature.ttl and not inside(feature, known[-1][feature.time or ""], seen, feature.ttl)):
        return None
    return known[-1]


def evaluate(expr: Expr, moment: Moment) -> Expected:
    """The value of an output expression."""
    feature, rows, latest, asked, seen = moment
    if isinstance(expr, Agg):
        return aggregate(expr, [row for row in rows if inside(feature, row[feature.time or ""], seen, expr.over)])
    if isinstance(expr, Col):
        return Expected(latest[expr.name]) if latest else NULL
    if isinstance(expr, AsOf):
        return Expected(asked)
    if isinstance(expr, Since):
        return since(expr, evaluate(expr.of, moment), asked)
    if isinstance(expr, Coalesce):
        value = evaluate(expr.of, moment)
        return Expected(expr.default) if value == NULL else value
    top, bottom = evaluate(expr.top, moment), evaluate(expr.bottom, moment)
    return whole(top, bottom, expr.op) if isinstance(expr, Whole) else ratio(top, bottom)


def whole(top: Expected, bottom: Expected, op: str) -> Expected:
    if top.value is None or not bottom.value:
        return NULL
    return Expected(divided(top.value, bottom.value, op))


def divided(a: int, b: int, op: str) -> int:
    """Division as SQL has it: the quotient is cut towards zero, and the remainder has the sign of ``a``."""
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient if op == "//" else a - quotient * b


def aggregate(agg: Agg, window: list[Row]) -> Expected:
    rows = [row for row in window if agg.where is None or agg.where.holds(row)]
    args = [tuple(row[name] for name in (agg.arg, agg.by) if name) for row in rows]
    if agg.distinct and agg.by is None and agg.func not in ("first", "last"):
        firsts: dict[Any, tuple[Any, ...]] = {}
        for values in args:
            firsts.setdefault(order(values), values)  # each where it first appears
        args = list(firsts.values())
    return AGGREGATES[agg.func](args, agg.param)


def since(expr: Since, start: Expected, asked: int) -> Expected:
    if start.value is None:
        return NULL
    if expr.unit == "us":
        return Expected(asked - start.value)
    return Expected(hour_marks(asked) - hour_marks(start.value))


def hour_marks(at: int) -> int:
    return at // FIXED["h"]


def ratio(top: Expected, bottom: Expected) -> Expected:
    """A quotient and how far it may be off; a divisor that may be zero or not makes any answer right."""
    if "weird" in (top.how, bottom.how):
        return Expected(None, how="any")
    if top.value is None or bottom.value is None or (bottom.value == 0 and not bottom.slack):
        return NULL
    a, b = float(top.value), float(bottom.value)
    if abs(b) <= 2 * bottom.slack or not (finite(a) and finite(b)):
        return Expected(None, how="any")
    slack = (top.slack + abs(a / b) * bottom.slack) / (abs(b) - bottom.slack) + abs(a / b) * 1e-12
    return Expected(a / b, slack, "near")


def join_latest(left: list[Row], feature: Feature, rows: list[Row], on: dict[str, str], time: str) -> list[Row]:
    """A LEFT JOIN with ref(): every left row gets the feature's value at its own time.

    ``on`` maps key columns of the feature to columns of the left row."""
    return [row | _values(feature, rows, tuple(row[on[k]] for k in feature.keys), row[time]) for row in left]


def _values(feature: Feature, rows: list[Row], key: tuple[Any, ...], at: int | None) -> Row:
    return {name: expected.value for name, expected in values_at(feature, rows, key, at).items()}
