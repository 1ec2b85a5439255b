"""SEEN of windows: of all rows from the first of the frame to the row itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlforge.proof.changing_rows import CHOSEN, RANKS, WRITE_ROWS, first_of, own, text
from mlforge.proof.relations import Leaking, Unproven
from mlforge.proof.window_order import resolved
from mlforge.render.functions import function_name

if TYPE_CHECKING:
    from sqlglot import exp

    from mlforge.proof.seen_level import Level

_WHOLE = ("ntile", "percent_rank", "cume_dist", "fill")
Hull = tuple[str, tuple[object, str], tuple[object, str]]  # ROWS, RANGE or GROUPS; its edges
_START, _END, _HERE = ("UNBOUNDED", "PRECEDING"), ("UNBOUNDED", "FOLLOWING"), ("CURRENT ROW", "")


def windows(level: Level) -> None:
    """The windows of the list and of QUALIFY, QUALIFY itself, and DISTINCT ON."""
    from sqlglot import exp

    select = level.select
    parts = [*select.expressions, *(select.args.get(key) for key in ("qualify", "distinct", "order"))]
    nodes = [n for part in parts if part is not None for n in own(part)]
    found = [] if level.grouped else [n for n in nodes if isinstance(n, exp.Window)]
    qualify = select.args.get("qualify")
    top = _first_of(qualify.this) if qualify is not None and level.exact else None
    found = [window for window in found if window is not top]  # with fewer rows before it a row is among the first, too
    terms = [term for window in found if (term := _term(window, level)) is not None]
    level.later += terms
    if terms:
        level.exact = False
    if qualify is not None:
        _qualify(qualify, level)
    if select.args.get("distinct") is not None and select.args["distinct"].args.get("on"):
        _distinct_on(select.args["distinct"].args["on"].expressions, level)
    for node in nodes:
        change = level.change(node) if isinstance(node, (exp.Explode, exp.Unnest)) else None
        if change is not None:
            raise Leaking(
                f"unnest makes rows of {change.what}, which changes as later rows arrive", node, change.repair
            )


def _term(window: exp.Window, level: Level) -> exp.Expression | None:
    """The instant from which the value of a window function is known; None if that is the row's own."""
    from sqlglot import exp

    partition, order, frame = resolved(window, level.select)
    for node in [*partition, *order, window.this]:
        if any(isinstance(n, exp.Query) for n in node.walk()):
            raise Unproven("a subquery in a window is not understood", window, "compute it in a CTE first")
    for node in [*partition, *(o.this for o in order)]:
        change = level.change(node)
        if change is not None:
            raise Leaking(
                f"a window runs over {change.what}, which changes as later rows arrive",
                node,
                change.repair or PERIOD_END,
            )
    hull = _hull(window, order, frame, level)
    if level.exact and _along(partition, order, hull, level):
        level.free.add(id(window))
        return None
    part = [p.copy() for p in partition]
    seen: exp.Expression = exp.Max(this=level.row_seen())
    where = window.this.expression.this if isinstance(window.this, exp.Filter) else None
    if where is not None and level.change(where) is None and hull is not None and hull[0] == "RANGE":
        seen = exp.Filter(this=seen, expression=exp.Where(this=where.copy()))
    made = exp.Window(this=seen, partition_by=part, over="OVER")
    if hull is not None:
        kind, (start, start_side), (end, end_side) = hull
        made.set("order", exp.Order(expressions=[o.copy() for o in order]))
        spec = exp.WindowSpec(
            kind=kind, start=_copied(start), start_side=start_side, end=_copied(end), end_side=end_side
        )
        made.set("spec", spec)
    return made


PERIOD_END = "group by the period, and stamp its end"


def _copied(edge: object) -> object:
    from sqlglot import exp

    return edge.copy() if isinstance(edge, exp.Expression) else edge


def _along(partition: list[exp.Expression], order: list[exp.Ordered], hull: Hull | None, level: Level) -> bool:
    """Whether all rows that a window sees are known when the row is: it runs along the time of one relation."""
    from sqlglot import exp

    if any(isinstance(p, exp.Column) and level.lag(p) is not None for p in partition):
        return True
    if hull is None or not order or "FOLLOWING" in (hull[1][1], hull[2][1]):
        return False
    first = order[0]
    along = isinstance(first.this, exp.Column) and level.lag(first.this) is not None
    return along and not first.args.get("desc") and not first.args.get("nulls_first")


def _hull(window: exp.Window, order: list[exp.Ordered], frame: exp.Expression | None, level: Level) -> Hull | None:
    """The frame with the rows between it and its row, which decide what is in it. None for the whole partition."""
    from sqlglot import exp

    call = window.this
    while isinstance(call, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
        call = call.this
    name = function_name(call)
    if not order or name in _WHOLE:
        return None
    if name in ("lag", "lead"):
        return _shift(call, name)
    if name in RANKS:
        return "RANGE", _START, _HERE
    if frame is None:
        return "RANGE", _START, _HERE
    kind = str(frame.args.get("kind") or "RANGE").upper()
    start, end = _edge(frame, "start"), _edge(frame, "end")
    if kind == "ROWS":  # of rows that are equal in the order any may be among so many
        kind, start, end = "RANGE", _START, _END if "FOLLOWING" in (start[1], end[1]) else _HERE
    if kind != "RANGE":
        end = _HERE if end[1] == "PRECEDING" else end
        start = _HERE if start[1] == "FOLLOWING" else start
    return kind, start, end


def _edge(frame: exp.Expression, name: str) -> tuple[object, str]:
    value, side = frame.args.get(name), str(frame.args.get(f"{name}_side") or "").upper()
    if value is None:
        return _HERE
    return (value.upper() if isinstance(value, str) else value), side


def _shift(call: exp.Expression, name: str) -> Hull | None:
    """LAG and LEAD: of rows that are equal in the order any may be so many rows away."""
    from sqlglot import exp

    offset = call.args.get("offset")
    if offset is not None and not (isinstance(offset, exp.Literal) and offset.name.isdigit()):
        return None
    return ("RANGE", _START, _HERE) if name == "lag" else ("RANGE", _HERE, _END)


# -- rows that a window or an order chooses


def _qualify(qualify: exp.Qualify, level: Level) -> None:

    change = level.change(qualify.this)
    if change is None:
        return
    top = _first_of(qualify.this)
    if top is None:
        raise Leaking(f"QUALIFY reads {change.what}, which changes as later rows arrive", qualify, WRITE_ROWS)
    partition, _, _ = resolved(top, level.select)
    _chosen(partition, level, qualify)


def _first_of(guard: exp.Expression) -> exp.Window | None:
    """The rank of a condition that keeps the first rows of each partition."""
    from sqlglot import exp

    window = first_of(guard)
    return window if isinstance(window, exp.Window) and function_name(window.this) in RANKS else None


def _chosen(keys: list[exp.Expression], level: Level, node: exp.Expression) -> None:
    """Of the rows with the same keys some are chosen: others are as later rows arrive."""
    texts = {text(level.named(key)) for key in keys}
    level.keys = texts if level.keys is None else level.keys & texts
    level.why = replace(CHOSEN, node=node)
    level.exact = False


def _distinct_on(keys: list[exp.Expression], level: Level) -> None:
    """DISTINCT ON: the first by the time stays, and so does one of rows of the same instant."""
    from sqlglot import exp

    if level.grouped:
        raise Unproven("DISTINCT ON beside totals is not understood", level.select, "compute the totals in a CTE first")
    order = level.select.args["order"].expressions if level.select.args.get("order") else []
    nodes = [level.named(key) for key in keys]
    for node in [*nodes, *(level.named(o.this) for o in order)]:
        change = level.change(node)
        if change is not None:
            raise Leaking(
                f"DISTINCT ON chooses by {change.what}, which changes as later rows arrive", node, change.repair
            )
    texts = {text(node) for node in nodes}
    rest = [o for o in order if text(level.named(o.this)) not in texts]
    first = level.named(rest[0].this) if rest else None
    forward = bool(rest) and not rest[0].args.get("desc") and not rest[0].args.get("nulls_first")
    if any(isinstance(n, exp.Column) and level.lag(n) is not None for n in nodes):
        return
    if forward and isinstance(first, exp.Column) and level.lag(first) is not None:
        return
    _chosen(nodes, level, level.select.args["distinct"])
