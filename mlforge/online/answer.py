"""Records as they were read to the rows of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from mlforge.errors import OnlineError
from mlforge.online.entity_rows import value_of
from mlforge.online.entries import GONE, entry_head, visible
from mlforge.online.expressions import evaluate
from mlforge.online.packed_values import EXPIRED, MISSING, Value, find, moment, points_head
from mlforge.online.published import Table
from mlforge.online.python_times import timely

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlforge.online.entries import Head
    from mlforge.online.packed_values import Status
    from mlforge.online.published import OnDemand, Output
    from mlforge.online.read_plan import Part, Plan, Read

OUT_OF_RANGE = 3
NO_KEY = 4
_STATUS: dict[int, Status] = {EXPIRED: "EXPIRED", MISSING: "MISSING", OUT_OF_RANGE: "OUT_OF_RANGE", NO_KEY: "MISSING"}

Found = tuple[Any, ...]
"""Event time, state, stored columns."""


@dataclass(frozen=True)
class Question:
    """What was asked: features, entity rows with the names of their records for each read, and the instant."""

    plan: Plan
    rows: Sequence[Mapping[str, Any]]
    names: Sequence[Sequence[bytes | None]]
    at: int
    with_status: bool


def answer(
    question: Question,
    records: Sequence[Sequence[bytes | None]],
    head: Head,
    counts: list[int] | None = None,
) -> list[dict[str, Any]]:
    """Each row with its features; ``counts`` grows by the states of what was read.

    Raises Torn if a record has moved on since the head was read."""
    plan, rows, names = question.plan, question.rows, question.names
    at, with_status = question.at, question.with_status
    found, steps = [], []
    for read, asked, given in zip(plan.reads, names, records, strict=True):
        values, step = _found(read, asked, given, head, at)
        if counts is not None:
            for value in values:
                counts[value[1]] += 1
        found.append(values)
        steps.append(step)
    result = [dict(row) for row in rows]
    for part in plan.parts:
        if isinstance(part.feature, Table):
            _add_stored(result, part, part.feature, found[part.reads[0]], steps[part.reads[0]], at, with_status)
        else:
            refs = [
                _ref(plan, part.feature, alias, n, found[n], steps[n])
                for alias, n in zip(part.feature.reads, part.reads, strict=True)
            ]
            _add_on_demand(result, part, part.feature, refs, rows, at, with_status)
    return result


def _found(
    read: Read, names: Sequence[bytes | None], records: Sequence[bytes | None], head: Head, at: int
) -> tuple[list[Found], list[int]]:
    """What one table says of every row, and the steps of their keys."""
    try:
        return _decoded(read, names, records, head, at, read.opened.decode)
    except msgspec.ValidationError:  # a time that Python does not have
        pass
    try:
        return _decoded(read, names, records, head, at, read.opened.patient)
    except msgspec.ValidationError as error:
        raise OnlineError(
            f"a value of {read.opened.table.feature} is none of its type: {error}",
            hint="mlforge publish --full writes all of them anew",
        ) from error


def _decoded(
    read: Read,
    names: Sequence[bytes | None],
    records: Sequence[bytes | None],
    head: Head,
    at: int,
    decode: Callable[[bytes], Found],
) -> tuple[list[Found], list[int]]:
    opened = read.opened
    empty, nothing = opened.empty, (None,) * (len(opened.empty) - 2)
    unknown = empty if at >= opened.table.since else (None, OUT_OF_RANGE, *nothing)
    found: list[Found] = []
    steps: list[int] = []
    add, add_step = found.append, steps.append
    generation, dead = head.generation, head.dead
    for name, record in zip(names, records, strict=True):
        if record is not None:  # nearly always: one entry that readers see, one point that has begun
            newest, length = entry_head(record)
            if newest <= generation and newest not in dead and length != GONE:
                step, count, first = points_head(record, 8)
                if count == 1 and first <= at:
                    add(decode(record[32 : 8 + length]))
                    add_step(step)
                    continue
        payload = visible(record, generation, dead) if record is not None else None
        if payload is None:
            add((None, NO_KEY, *nothing) if name is None else unknown)
            add_step(0)
            continue
        packed, step = find(payload, at)
        add((None, OUT_OF_RANGE, *nothing) if packed is None else decode(packed))
        add_step(step)
    return found, steps


def _add_stored(
    result: list[dict[str, Any]],
    part: Part,
    table: Table,
    found: list[Found],
    steps: list[int],
    at: int,
    with_status: bool,
) -> None:
    if part.stored is not None and not with_status:
        names, pick = part.stored
        for row, values in zip(result, found, strict=True):
            row.update(zip(names, pick(values), strict=True))
        return
    whens = _instants(table, steps, at)
    engine = _by_engine(part, table, found, whens)
    for number, (row, values) in enumerate(zip(result, found, strict=True)):
        for name, output in part.columns:
            value = _python(table, output, _value(output, values, whens[number], engine, number))
            row[name] = _with_status(value, output, values, table.version, steps[number]) if with_status else value


def _instants(table: Table, steps: Sequence[int], at: int) -> list[int]:
    """What ``as_of()`` is for each row: the instant itself, a multiple of the key's step, or an interval's boundary."""
    floored = [at - at % step if step else at for step in steps]
    if not table.interval:
        return floored
    from mlforge.online.interval_bounds import boundary

    return [boundary(when, *table.interval) for when in floored]


def _value(output: Output, values: Found, at: int, engine: Mapping[str, list[Any]], number: int) -> Any:
    if output.position is not None:
        return values[output.position + 2]
    if values[1] in (OUT_OF_RANGE, NO_KEY):
        return None
    if output.expression is not None:
        return evaluate(output.expression, values[2:], at)
    return engine[output.name][number]


def _python(table: Table, output: Output, value: Any) -> Any:
    """The value for a reader: stored nanoseconds are text."""
    return value if output.position is None else timely(value, table.stored[output.position].tree)


def _by_engine(part: Part, table: Table, found: list[Found], whens: Sequence[int]) -> dict[str, list[Any]]:
    """Outputs that need DuckDB, for all rows at once; empty if none is asked for."""
    wanted = [o.name for _, o in part.columns if o.position is None and o.expression is None]
    if not wanted or table.engine is None:
        return {}
    from mlforge.online.evaluate import run

    lists = [
        [moment(when) for when in whens] if origin[0] == "at" else [values[origin[1] + 2] for values in found]
        for origin, _ in table.engine.parameters
    ]
    rows = run(table.engine, table.feature, lists)
    return {name: [row[n] for row in rows] for n, name in enumerate(table.engine.outputs)}


def _with_status(value: Any, output: Output, values: Found, version: str, step: int) -> Value:
    state = values[1]
    status = "PRESENT" if state == EXPIRED and not output.expires else _STATUS.get(state, "PRESENT")
    return Value(value, status, moment(values[0]), version, step)


@dataclass(frozen=True)
class _Ref:
    """What an on-demand feature reads from one table, for all rows."""

    table: Table
    found: list[Found]
    steps: list[int]
    columns: list[Output]

    def column(self, name: str, at: int) -> list[Any]:
        output = next(o for o in self.columns if o.name == name)
        whens = _instants(self.table, self.steps, at)
        engine = _by_engine(_one(self.table, output), self.table, self.found, whens)
        return [_value(output, values, whens[n], engine, n) for n, values in enumerate(self.found)]

    def state(self, number: int) -> int:
        state: int = self.found[number][1]
        return 0 if state == EXPIRED and not any(o.expires for o in self.columns) else state


def _ref(plan: Plan, feature: OnDemand, alias: str, read: int, found: list[Found], steps: list[int]) -> _Ref:
    table = plan.reads[read].opened.table
    return _Ref(table, found, steps, [o for o in table.outputs if o.name in feature.columns[alias]])


def _one(table: Table, output: Output) -> Part:
    from mlforge.online.read_plan import Part

    return Part(table, ((output.name, output),), ())


def _add_on_demand(
    result: list[dict[str, Any]],
    part: Part,
    feature: OnDemand,
    refs: list[_Ref],
    rows: Sequence[Mapping[str, Any]],
    at: int,
    with_status: bool,
) -> None:
    from mlforge.online.evaluate import run

    by_alias = dict(zip(feature.reads, refs, strict=True))
    instant = moment(at)
    lists: list[list[Any]] = []
    for origin, _ in feature.engine.parameters:
        if origin[0] == "at":
            lists.append([instant] * len(rows))
        elif origin[0] == "request":
            lists.append([_requested(row, origin[1], feature) for row in rows])
        else:
            lists.append(by_alias[origin[1]].column(origin[2], at))
    answers = run(feature.engine, feature.feature, lists)
    places = {name: n for n, name in enumerate(feature.engine.outputs)}
    for number, row in enumerate(result):
        state = max((ref.state(number) for ref in refs), default=0)
        known = state not in (OUT_OF_RANGE, NO_KEY)
        for name, output in part.columns:
            value = answers[number][places[output.name]] if known else None
            status = _STATUS.get(state, "PRESENT")
            step = max((ref.steps[number] for ref in refs), default=0)
            row[name] = Value(value, status, None, feature.version, step) if with_status else value


def _requested(row: Mapping[str, Any], column: str, feature: OnDemand) -> Any:
    try:
        return value_of(row, column)
    except KeyError:
        raise OnlineError(
            f"an entity row has no {column!r}, a request column of {feature.feature}",
            hint=f"it is a {feature.request[column]}; give None where it is not known",
        ) from None
