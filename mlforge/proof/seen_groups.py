"""SEEN of groups: of the rows that a total is made of, or of the one row that MIN and its like choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.proof.changing_rows import PERIOD, Change, aggregated, call, conjuncts, own, text
from mlforge.proof.relations import Leaking, Unproven
from mlforge.render.functions import has_over, is_aggregate, primary_name

if TYPE_CHECKING:
    from sqlglot import exp

    from mlforge.proof.seen_level import Level

_CHOOSE = {"min": "arg_min", "max": "arg_max", "arg_min": "arg_min", "arg_max": "arg_max"}
_SETS = ("grouping_sets", "cube", "rollup")


def grouped(level: Level) -> None:
    """GROUP BY and HAVING, or totals without them: the level's rows become groups."""
    from sqlglot import exp

    select = level.select
    if not aggregated(select):
        return
    parts = [*select.expressions, *(select.args.get(k) for k in ("having", "qualify", "order", "distinct"))]
    nodes = [n for part in parts if part is not None for n in own(part)]
    window = next((n for n in nodes if isinstance(n, exp.Window)), None)
    if window is not None:
        raise Unproven(
            "a window over totals in one SELECT is not understood", window, "compute the totals in a CTE first"
        )
    totals = [n for n in nodes if is_aggregate(n) and not has_over(n)]
    unnested = next((n for n in nodes if isinstance(n, (exp.Explode, exp.Unnest))), None)
    if unnested is not None:
        raise Unproven("unnest beside totals is not understood", unnested, "unnest in a CTE first")
    always, some = _keys(select)
    keys = always + some
    for key in keys:
        change = level.change(level.named(key))
        if change is not None:
            raise Leaking(f"GROUP BY {change.what}: rows move to another group as later rows arrive", key, PERIOD)
    came = level.exact
    settled = any(level.lag(level.named(key)) is not None for key in always)
    row = level.row_seen()
    first = call("min", row)
    if settled:  # all rows of a group are known from the same instant on
        level.free |= {id(total) for total in totals}
        level.groups = [first]
    else:
        terms = [term for total in totals if (term := _total(total, row, level)) is not None]
        level.exact = level.exact and bool(keys or select.args.get("group")) and not terms
        everything = any(isinstance(term, exp.Max) for term in terms)  # of all rows, so of the first too
        level.groups = [first, *terms] if select.args.get("group") and not everything else terms
    level.keys, level.grouped = {text(level.named(key)) for key in keys}, True
    level.always = frozenset(text(level.named(key)) for key in always) - {text(level.named(key)) for key in some}
    level.why = Change("a value of one row of many")
    for guard in conjuncts(select.args["having"].this) if select.args.get("having") else []:
        change = level.change(guard)
        if change is not None and not _grows(guard, exact=came):
            raise Leaking(f"HAVING reads {change.what}, which changes as later rows arrive", guard, PERIOD)


def _grows(guard: exp.Expression, *, exact: bool) -> bool:
    """Whether a condition on a group stays true as rows are added: at least so many rows."""
    from sqlglot import exp

    if not exact or not isinstance(guard, (exp.GT, exp.GTE)) or not isinstance(guard.expression, exp.Literal):
        return False
    return isinstance(guard.this, (exp.Count, exp.Max))


def _keys(select: exp.Select) -> tuple[list[exp.Expression], list[exp.Expression]]:
    """What a SELECT groups by; and what it groups by in some of several sets, and not in others."""
    from sqlglot import exp

    group = select.args.get("group")
    if group is None:
        return [], []
    if group.args.get("totals"):
        raise Unproven("GROUP BY ... WITH TOTALS is not understood", group)
    if group.args.get("all"):
        listed = [item.unalias() for item in select.expressions]
        return [i for i in listed if not any(is_aggregate(n) and not has_over(n) for n in own(i))], []
    several = [made for kind in _SETS for made in group.args.get(kind) or []]
    several += [key for key in group.expressions if isinstance(key, (exp.Cube, exp.Rollup, exp.GroupingSets))]
    keys = [key for key in group.expressions if key not in several]
    some = [key for made in several for key in _leaves(made)]
    if any(isinstance(n, exp.Query) for key in keys + some for n in key.walk()):
        raise Unproven("a subquery in GROUP BY is not understood", group, "compute it in a CTE first")
    return keys, some


def _leaves(node: exp.Expression) -> list[exp.Expression]:
    """The expressions within ROLLUP, CUBE and GROUPING SETS."""
    from sqlglot import exp

    if isinstance(node, exp.Paren):
        return _leaves(node.this)
    if isinstance(node, (exp.Cube, exp.Rollup, exp.GroupingSets, exp.Tuple)):
        return [leaf for inner in node.expressions for leaf in _leaves(inner)]
    return [node]


def _total(total: exp.Expression, row: exp.Expression, level: Level) -> exp.Expression | None:
    """The instant from which a total is known. None if it is with the first row of its group."""
    from sqlglot import exp

    filtered = total.parent if isinstance(total.parent, exp.Filter) and total.arg_key == "this" else None
    where = filtered.expression.this if filtered is not None else None
    if where is not None and level.change(where) is not None:
        return call("max", row)
    name = primary_name(total)
    by = _chosen_by(total, name)
    if by is None or level.change(by) is not None:
        return call("max", row, where=where)
    lag = level.lag(by) if isinstance(by, exp.Column) else None
    if name == "min" and lag is not None and where is None and level.select.args.get("group"):
        level.free.add(id(total))  # the first row is the one that it chooses
        return None
    if name in ("min", "max"):
        return _chosen(name, row, by, lag, where)
    value = total.this
    if level.change(value) is not None:
        return call("max", row, where=where)
    there = exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null()))
    there = there if where is None else exp.and_(there, where.copy())
    if lag is not None:
        return _chosen(name, row, by, lag, there)
    return call("max", row, where=where)


def _chosen(
    name: str, row: exp.Expression, by: exp.Expression, lag: int | None, where: exp.Expression | None
) -> exp.Expression:
    """The instant from which the row is known that MIN, MAX, ARG_MIN or ARG_MAX choose."""
    if lag is not None and _CHOOSE[name] == "arg_min":  # the first by the time is the first to be known
        return call("min", row, where=where)
    return call(_CHOOSE[name], row, by, where=where)


def _chosen_by(total: exp.Expression, name: str) -> exp.Expression | None:
    """What MIN, MAX, ARG_MIN and ARG_MAX of one value compare."""
    from sqlglot import exp

    if name not in _CHOOSE or isinstance(total.this, (exp.Distinct, exp.Order)):
        return None
    given = {key for key, value in total.args.items() if value}
    if name in ("min", "max"):
        return total.this if given == {"this"} else None  # more: the first so many
    if given != {"this", "expression"} or not isinstance(total.expression, exp.Expression):
        return None
    return None if isinstance(total.expression, (exp.Distinct, exp.Order)) else total.expression
