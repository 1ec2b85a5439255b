"""Recomputing features for label rows by plain SQL, from the source rows that each label may see."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec.structs import replace as with_changes

from mlforge.model import SOURCE_SCHEMA, Version
from mlforge.sql.alike import alike
from mlforge.sql.bind import bind
from mlforge.sql.physical import FLOATS
from mlforge.sql.ref_times import ref_values, with_ref_times
from mlforge.sql.templates import ident, sql
from mlforge.verify.cutoffs import CUT_SCHEMA, Cut, carried, copied_time, cuts, key_items, over_cut, row_refs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duckdb import DuckDBPyConnection

    from mlforge.model import Aggregate, Closed, Compiled, Duration, Output, StoredVersion
    from mlforge.sql.alike import How
    from mlforge.sql.ref_times import TimedJoin
    from mlforge.verify.engine import Engine

MOST_KEYS = 50
"""Keys of one instant that are written into its query, so that the engine reads no other."""

SHAPES = ("skewness", "kurtosis", "kurtosis_pop")
"""Aggregates of distances measured in standard deviations, which makes 1 the size of the numbers they are made of."""

MOST_CUTS = 100
"""Instants for which the sources of a feature that is joined by ref() are cut one by one."""


@dataclass(frozen=True)
class Bounds:
    """What a label may see. Those of the definition are the truth; a diagnosis changes one thing and tries again."""

    closed: Closed
    delay: int  # microseconds
    interval: Duration | None
    timezone: str | None
    step: int = 0  # intervals later
    unbounded: bool = False  # rows after the end count too
    cut: bool = True  # sources are cut
    whole: tuple[str, ...] = ()  # but these


def stated(stored: StoredVersion) -> Bounds:
    """The bounds that the definition states."""
    d = stored.definition
    return Bounds(d.closed, d.delay.micros or 0, d.interval, d.timezone)


@dataclass
class Case:
    """One version of a feature and the label rows that it is recomputed for: the temporary table ``labels``."""

    engine: Engine
    stored: StoredVersion
    labels: str
    wanted: frozenset[str] | None = None  # outputs; None: all
    sized: bool = False  # whether float sums are exact, and the size of what they are made of is wanted
    any_row: bool = False  # whether it matters that a label sees a row, however old
    reasons: list[str] = field(default_factory=list)  # why this is no proof
    _rows: dict[str, str] = field(default_factory=dict)
    stamped: bool = False

    @cached_property
    def f(self) -> Compiled:
        """The compiled version, with what its definition says of time, and no more than what is wanted."""
        d, c = self.stored.definition, self.stored.compiled
        outputs = tuple(o for o in c.outputs if self.wanted is None or o.name.lower() in self.wanted) or c.outputs
        words = {w for o in outputs for w in _words(o.sql)}
        return with_changes(
            c,
            closed=d.closed,
            delay=d.delay,
            interval=d.interval,
            ttl=d.ttl,
            outputs=outputs,
            aggregates=tuple(a for a in c.aggregates if a.name in words),
        )

    @property
    def con(self) -> DuckDBPyConnection:
        """The engine's connection."""
        return self.engine.con

    @cached_property
    def cuts(self) -> dict[str, Cut]:
        """How each source is cut."""
        names = self.stored.definition.sources
        return cuts(self.stored, self.engine.project, {n: self.engine.source(n) for n in names})

    # -- what templates ask

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the key columns."""
        return tuple(k.name for k in self.f.keys)

    @property
    def by(self) -> tuple[str, ...]:
        """What event rows and labels are matched by: the key, or the label where rows were made for each."""
        return self.keys if self.row_wise else ("_mlforge_n",)

    @property
    def lag(self) -> int:
        """How long after the time that event rows carry along their source rows are known, in microseconds."""
        return max((c.micros for c in self.cuts.values() if c.column), default=0)

    @property
    def loaded(self) -> bool:
        """Whether event rows carry when they became known."""
        return self.f.loaded_at is not None

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns that come from the last row."""
        return tuple(r.name for r in self.f.rows) if self.f.kind == "windows" else self.columns

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of an event row beside keys and times."""
        return tuple(self._types)

    @property
    def _types(self) -> dict[str, str]:
        if self.f.kind == "windows":
            return {i.name: i.type for i in (*self.f.rows, *self.f.inputs)}
        return {o.name: o.type for o in self.stored.compiled.outputs}

    @property
    def alike(self) -> dict[str, How]:
        """Those of the columns in which equal values may differ."""
        return alike(self._types)

    @property
    def content(self) -> tuple[str, ...]:
        """The order of rows that share keys and time."""
        return (("_mlforge_loaded",) if self.loaded else ()) + self.columns

    @property
    def windows(self) -> tuple[Duration, ...]:
        """Distinct lengths."""
        lengths = [*(a.window for a in self.f.aggregates), self.f.ttl]
        return tuple(dict.fromkeys(d for d in lengths if d is not None))

    @property
    def widest(self) -> Duration | None:
        """The longest window; None: one has no lower end."""
        lengths = [a.window for a in self.f.aggregates]
        if not lengths or None in lengths:
            return None
        return max(lengths, key=lambda d: (d.micros or d.months * 31 * 86_400_000_000) if d else 0)

    @property
    def reach(self) -> Duration | None:
        """How far back rows can matter; None: any row can."""
        return None if self.row_columns else self.widest

    def lower(self, length: Duration) -> str:
        """The column that holds where a window begins."""
        return f"_mlforge_l{self.windows.index(length)}"

    def is_float(self, name: str) -> bool:
        """Whether an input may hold NaN or Infinity."""
        return any(i.name == name and i.type in FLOATS for i in (*self.f.inputs, *self.f.rows))

    @property
    def measured(self) -> tuple[Aggregate, ...]:
        """Float sums and means: they are compared relative to the size of what they are made of."""
        fixed = (a for a in self.f.aggregates if a.method == "fixed" and not a.filter and not a.distinct)
        return tuple(fixed) if self.sized else ()

    def size(self, output: Output) -> str:
        """SQL for the size of the numbers in an output that only adds and subtracts float sums, means and shapes."""
        if not re.fullmatch(r"[\w\s+\-()]+", output.sql) or re.search(r"[a-z]\s*\(", output.sql):
            return "0::DOUBLE"
        names = [a.name for a in self.measured if a.name in _words(output.sql)]
        shapes = [a.name for a in self.f.aggregates if a.function in SHAPES and a.name in _words(output.sql)]
        return " + ".join([*(f"coalesce({n}_size, 0)" for n in names), f"{len(shapes)}::DOUBLE"])

    # -- recomputing

    def exactly(self) -> Case:
        """The same case with exact float sums, here and in what it reads: that takes longer."""
        return Case(self.engine, self.stored, self.labels, self.wanted, sized=True, any_row=self.any_row)

    @cached_property
    def query(self) -> str:
        """The event relation over whole sources, the features that it joins given their recomputed values."""
        return self._joined(self.f.event_sql)

    @cached_property
    def _carried(self) -> str | None:
        return carried(self.query, self.cuts)

    @property
    def row_wise(self) -> bool:
        """Whether one query answers for all labels."""
        return self._carried is not None

    def values(self, bounds: Bounds | None = None, only: Iterable[int] = ()) -> str:
        """Make the table of the outputs for every label, or for those numbers only, and return its name."""
        if self.f.kind == "on_demand":
            return self._on_demand(only)
        b = bounds or stated(self.stored)
        limits, rows = self.seen(b, only)
        made = self.engine.name("values")
        self.con.execute(sql("verify/values", name=made, c=self.under(b), b=b, bounds=limits, rows=rows))
        return made

    def seen(self, b: Bounds, only: Iterable[int] = ()) -> tuple[str, str]:
        """The bounds of the labels and the event rows to choose from, as two tables."""
        limits = self._limits(b, only)
        rows = self.rows() if self.row_wise or not b.cut or b.unbounded else self._cut_rows(b, limits)
        return limits, rows

    def _limits(self, b: Bounds, only: Iterable[int] = ()) -> str:
        made = self.engine.name("bounds")
        labels = [str(n) for n in only]
        self.con.execute(sql("verify/bounds", name=made, c=self, b=b, labels=self.labels, only=labels))
        return made

    def _ends(self, limits: str) -> list[int]:
        rows = self.con.execute(f"SELECT DISTINCT _mlforge_now FROM {ident(limits)} ORDER BY 1").fetchall()
        return [now for (now,) in rows]

    def under(self, b: Bounds) -> Case:
        """The case as templates see it under these bounds: rows of whole sources are matched by key."""
        return self if self.row_wise or (b.cut and not b.unbounded) else _Whole(self)

    def rows(self) -> str:
        """The event rows of all the labels' keys, from whole sources."""
        if "rows" not in self._rows:
            self.stamped = self.row_wise and self._stamps
            query = self._carried if self.stamped else self.query
            types = self.engine.warehouse.describe(str(query))
            self._rows["rows"] = name = self.engine.name("rows")
            text = sql(
                "verify/rows",
                name=name,
                query=query,
                types=types,
                stamped=self.stamped,
                kept=self._kept,
                **self._event(),
            )
            self.con.execute(text)
        return self._rows["rows"]

    @property
    def _kept(self) -> bool:
        return bool(self.row_columns) or not self.row_wise

    def keep_rows(self) -> None:
        """Keep the event rows, if there are any, for questions to come."""
        if "rows" in self._rows and not self._kept:
            view, made = self._rows["rows"], self.engine.name("rows")
            self.con.execute(sql("verify/keep_rows", name=made, view=view, labels=self.labels, keys=self.keys))
            self._rows["rows"] = made

    @property
    def _stamps(self) -> bool:
        """Whether event rows need the time of their source rows: where the feature's own does not say when they are
        known."""
        timed = [(c.source, str(c.column).lower()) for c in self.cuts.values() if c.column]
        copied = copied_time(self.stored)
        own = copied is not None and timed == [(copied[0], copied[1].lower())]
        own = own and not any(c.known for c in self.cuts.values())
        return bool(timed) and not (own and (self.stored.definition.delay.micros or 0) >= self.lag)

    def _event(self) -> dict[str, object]:
        return {
            "keys": self.keys,
            "timed": self.f.timestamp is not None,
            "format": self.stored.definition.timestamp_format,
            "loaded": self.loaded,
            "columns": self.columns,
            "labels": self.labels,
        }

    def _cut_rows(self, b: Bounds, limits: str) -> str:
        """The event rows of every label, from the source rows known at its instant: a query for each instant."""
        made = self.engine.name("rows")
        query = over_cut(self.f.event_sql)
        for number, instant in enumerate(self._ends(limits) or [0]):
            found = query
            if self.stored.definition.refs:
                self._cut(b, instant)
                found = self._joined(query)
            if self.stored.definition.refs or not number:
                self._cut(b, instant)  # again: a feature that is joined may have cut its own
            self._at(instant)
            places = sql("verify/keys_at", bounds=limits, keys=self.keys, most=MOST_KEYS + 1)
            asked = self.con.execute(places).fetchall()
            text = sql(
                "verify/cut_rows",
                query=found,
                bounds=limits,
                types=[k.type for k in self.f.keys],
                asked=asked if len(asked) <= MOST_KEYS else (),
                **self._event(),
            )
            self.con.execute(sql("verify/add_rows", name=made, query=text, exists=bool(number)))
        return made

    def instants(self) -> int:
        """How many times sources would have to be cut if no query answers for all labels."""
        return len(self._ends(self._limits(stated(self.stored))))

    def _cut(self, b: Bounds, instant: int) -> None:
        """Make the sources in ``CUT_SCHEMA``, of the rows known at the instant that ``_at`` says."""
        for name, cut in self.cuts.items():
            relation = f"{ident(SOURCE_SCHEMA)}.{ident(name)}"
            self.con.execute(
                sql(
                    "verify/cut_view",
                    schema=CUT_SCHEMA,
                    name=name,
                    relation=relation,
                    closed=b.closed,
                    cut=cut,
                    whole=name in b.whole,
                )
            )
        self._at(instant)

    def _at(self, instant: int) -> None:
        self.con.execute(f"SET VARIABLE mlforge_now = {instant}::BIGINT")

    # -- other features

    def _joined(self, query: str) -> str:
        """A query with every joined, timed feature replaced by values that are recomputed for the rows on its left."""
        refs = self.stored.definition.refs
        upstream = {n: self.engine.upstream(n, v) for n, v in refs.items()}
        for name in {*row_refs(query), *(n for n, s in upstream.items() if s.compiled.kind == "static")} & set(refs):
            self.engine.stored_rows(upstream[name])
            self.reasons.append(f"it reads the rows of {name} as they are stored")
        physical = {n: bind(self.engine.state, s) for n, s in upstream.items()}
        return with_ref_times(query, physical, self.f.timestamp, lambda join: self._ref_values(join, query))

    def _ref_values(self, join: TimedJoin, query: str) -> str:
        import duckdb

        name = join.feature.c.feature
        labels = self.engine.name("asked")
        stored = self.engine.upstream(name, self.stored.definition.refs[name])
        case = Case(self.engine, stored, labels, frozenset(w.lower() for w in _words(query)), self.sized, join.inner)
        places = self.engine.name("places")
        context = {"name": places, "join": join, "labels": self.labels, "b": stated(stored)}
        try:
            self.con.execute(sql("verify/ref_labels", asked=key_items(query, self.keys), **context))
        except duckdb.BinderException:  # the key is not among the columns on the left of the join: ask for all
            self.con.execute(sql("verify/ref_labels", asked={}, **context))
        self.con.execute(sql("verify/ref_instants", name=labels, places=places, keys=case.keys))
        if not case.row_wise and case.instants() > MOST_CUTS:
            self.engine.stored_rows(case.stored)
            self.reasons.append(f"it reads {name} as it is stored: verify that by itself")
            return ref_values(join)
        values = case.values()
        self.reasons += [f"{name}: {r}" for r in case.unproven()]
        outputs = [o.name for o in case.f.outputs]
        return sql(
            "verify/ref_values",
            places=places,
            labels=labels,
            values=values,
            keys=case.keys,
            outputs=outputs,
            inner=join.inner,
        )

    def _on_demand(self, only: Iterable[int]) -> str:
        reads = []
        for ref in self.f.refs:
            version = Version.parse(ref.version)
            stored = self.engine.state.features[ref.feature].get(version)
            case = Case(self.engine, stored, self.labels, sized=self.sized)
            reads.append((ref.alias, case.values(only=only)))
            self.reasons += [f"{ref.feature}: {r}" for r in case.unproven()]
        made = self.engine.name("values")
        labels = [str(n) for n in only]
        self.con.execute(sql("verify/on_demand", name=made, f=self.f, reads=reads, labels=self.labels, only=labels))
        return made

    def unproven(self) -> list[str]:
        """Why equal values would be no proof: what has no time, or is not looked into."""
        d = self.stored.definition
        found = [] if d.kind == "on_demand" else [n for n, c in self.cuts.items() if c.column is None]
        reasons = [f"source {n} has no time that it could be cut by" for n in found]
        if d.kind == "static" and not reasons and not d.sources:
            reasons.append("it has no time")
        return list(dict.fromkeys([*reasons, *self.reasons]))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


class _Whole(Case):
    """A case whose rows were made without cutting: they are matched by key."""

    def __init__(self, case: Case) -> None:
        super().__init__(case.engine, case.stored, case.labels)

    @property
    def by(self) -> tuple[str, ...]:
        return self.keys
