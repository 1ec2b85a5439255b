"""Whether a window function sees rows that are later than its own, by one column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.render.functions import function_name

if TYPE_CHECKING:
    from sqlglot import exp

#: Window functions whose value at a row depends on rows behind it, whatever the frame.
AHEAD = frozenset(["lead", "fill", "percent_rank", "cume_dist", "ntile"])


def runs_along(window: exp.Window, select: exp.Select, column: tuple[str, str]) -> bool:
    """Whether the window's rows all have the column's value at most as great as the row itself has it."""
    from sqlglot import exp

    if window.arg_key == "windows":
        return True  # a definition: each window that is over it is looked at
    partition, order, frame = resolved(window, select)
    if any(isinstance(p, exp.Column) and (p.table, p.name) == column for p in partition):
        return True
    if not order or _looks_ahead(window) or _follows(frame):
        return False
    first = order[0]
    is_column = isinstance(first.this, exp.Column) and (first.this.table, first.this.name) == column
    return is_column and not first.args.get("desc") and not first.args.get("nulls_first")


def resolved(
    window: exp.Window, select: exp.Select
) -> tuple[list[exp.Expression], list[exp.Ordered], exp.Expression | None]:
    """PARTITION BY, ORDER BY and the frame of a window, its own or of the named one that it builds on."""
    partition = list(window.args.get("partition_by") or [])
    order = list(window.args["order"].expressions) if window.args.get("order") else []
    frame = window.args.get("spec")
    name = window.args.get("alias")
    for other in select.args.get("windows") or []:
        if name is not None and other is not window and other.this.name.lower() == name.name.lower():
            base = resolved(other, select)
            return partition or base[0], order or base[1], frame or base[2]
    return partition, order, frame


def _looks_ahead(window: exp.Window) -> bool:
    from sqlglot import exp

    call = window.this
    while isinstance(call, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
        call = call.this
    if function_name(call) == "lag":
        offset = call.args.get("offset")
        return offset is not None and not (isinstance(offset, exp.Literal) and offset.name.isdigit())
    return function_name(call) in AHEAD


def _follows(frame: exp.Expression | None) -> bool:
    sides = [str(frame.args.get(k) or "").upper() for k in ("start_side", "end_side")] if frame is not None else []
    return "FOLLOWING" in sides
