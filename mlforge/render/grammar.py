"""The grammar of features: which shapes of SQL may stand where. Everything refused here parses without complaint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.render.aggregates import check_aggregate
from mlforge.render.functions import RANKING, function_name, has_over, is_aggregate
from mlforge.render.syntax import Parsed, outermost, ref_name, refuse, relations, show
from mlforge.render.windows import (
    is_too_long,
    is_trailing,
    is_trailing_name,
    length,
    nearest_form,
    window_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlglot import exp

_CLAUSES = {
    "from_": "FROM",
    "where": "WHERE",
    "joins": "ON",
    "group": "GROUP BY",
    "having": "HAVING",
    "qualify": "QUALIFY",
    "order": "ORDER BY",
    "distinct": "DISTINCT ON",
    "windows": "WINDOW",
    "limit": "LIMIT",
    "offset": "OFFSET",
}
_ROWS_HINT = {
    "order": "a feature is a set of rows: delete ORDER BY; in a CTE it may stand with LIMIT",
    "limit": "to try a feature on few rows use `mlforge build --sample 1%`; a limit that is meant goes into a CTE",
    "offset": "delete it, or put it into a CTE",
    "sample": "to try a feature on few rows use `mlforge build --sample 1%`; else choose by a column: WHERE id % 9 = 0",
}
_FIRST_HINT = "DISTINCT ON takes the first rows in this order: put both into a CTE"
_MOVE = (
    "compute it in the outermost select list; what needs the result goes into a feature that reads this one with ref()"
)

_TIMELESS = 'name the time column: config(timestamp="...")'


def check_grammar(parsed: Parsed) -> None:
    """Refuse every shape that DESIGN calls an error for the kind of this feature. Raises GrammarError."""
    _check_row_clauses(parsed)
    _check_window_clauses(parsed)
    _check_windows(parsed)
    _check_as_of(parsed)
    _check_refs(parsed)
    if parsed.kind == "windows":
        _check_beside_windows(parsed)
    if parsed.kind == "on_demand":
        from mlforge.render.on_demand import check_on_demand

        check_on_demand(parsed)


def trailing_windows(tree: exp.Expression) -> Iterator[exp.Window]:
    """Every aggregate over a trailing window below a node."""
    from sqlglot import exp

    return (w for w in tree.find_all(exp.Window, bfs=False) if is_trailing(w))


def is_as_of(node: exp.Expression) -> bool:
    """Whether a node calls ``as_of()``."""
    return function_name(node) == "as_of"


def as_of_calls(tree: exp.Expression) -> Iterator[exp.Expression]:
    """Every call of ``as_of()`` below a node."""
    from sqlglot import exp

    return (f for f in tree.find_all(exp.Anonymous, bfs=False) if is_as_of(f))


# -- the outermost SELECT, of every kind


def _check_row_clauses(parsed: Parsed) -> None:
    from sqlglot import exp

    tree = parsed.tree
    selects = outermost(tree)
    unions = list(tree.find_all(exp.SetOperation)) if isinstance(tree, exp.SetOperation) else []
    top = [u for u in unions if u.parent_select in (None, *unions)]
    for query in [*top, *selects]:
        for key in ("order", "limit", "offset", "sample"):
            if query.args.get(key):
                name = "USING SAMPLE" if key == "sample" else _CLAUSES[key]
                distinct = query.args.get("distinct")
                hint = _FIRST_HINT if key == "order" and distinct and distinct.args.get("on") else _ROWS_HINT[key]
                raise refuse(parsed, query.args[key], f"{name} in the outermost SELECT", hint)
    for select in selects:
        _check_select(parsed, select)
    for sample in tree.find_all(exp.TableSample):
        raise refuse(parsed, sample, "SAMPLE picks rows by chance, others in every run", _ROWS_HINT["sample"])


def _check_select(parsed: Parsed, select: exp.Select) -> None:
    from sqlglot import exp

    if not select.expressions:
        raise refuse(parsed, select, "SELECT without columns", "name the keys, the timestamp and the feature columns")
    for parameter in select.find_all(exp.Placeholder, exp.Parameter):
        if isinstance(parameter.parent, exp.Bracket):  # sqlglot takes l[:i] for an index named i
            message = f"mlforge cannot carry this expression: [:{parameter.name}]"
            raise refuse(parsed, parameter, message, f"name both ends of the slice: [1:{parameter.name}]")
        message = f"{show(parameter)} is a parameter: nothing gives it a value"
        raise refuse(parsed, parameter, message, 'write {{ var("name") }}')
    if select.args.get("into"):
        raise refuse(parsed, select.args["into"], "SELECT ... INTO: a feature only reads", "delete INTO")
    if select.args.get("locks"):
        raise refuse(parsed, select, "FOR UPDATE: a feature only reads", "delete it")
    for relation, _ in relations(select):
        if relation.args.get("sample"):
            raise refuse(parsed, relation, "TABLESAMPLE in the outermost SELECT", _ROWS_HINT["sample"])


def _check_window_clauses(parsed: Parsed) -> None:
    from sqlglot import exp

    top = outermost(parsed.tree)
    for select in parsed.tree.find_all(exp.Select):
        for window in select.args.get("windows") or []:
            name = window.this.name
            reserved = name.lower().startswith("last_") and any(select is t for t in top)
            if reserved or is_trailing_name(name):
                raise refuse(
                    parsed,
                    window,
                    f"the WINDOW clause defines {name}: names last_* and ever are trailing windows",
                    f"give it another name, or delete it and keep OVER {nearest_form(name) or 'last_7d'}",
                )


# -- trailing windows


def _check_windows(parsed: Parsed) -> None:
    from sqlglot import exp

    for window in parsed.tree.find_all(exp.Window, bfs=False):
        name = window_name(window)
        defines = isinstance(window.parent, exp.Select) and window.arg_key == "windows"
        if name and defines and is_trailing_name(name):
            message = f"WINDOW {window.this.name} AS ({name} ...): nothing can be built on a trailing window"
            raise refuse(parsed, window, message, f"delete it and write OVER {name}")
        if name and is_trailing_name(name):
            _check_trailing(parsed, window)
        elif name:
            _check_named(parsed, window, name)


def _check_named(parsed: Parsed, window: exp.Window, name: str) -> None:
    from sqlglot import exp

    select = window.find_ancestor(exp.Select)
    defined = [w.this.name for w in (select.args.get("windows") or [])] if select else []
    if name.lower() in (d.lower() for d in defined):
        return
    near = nearest_form(name)
    hint = f"write OVER {near}" if near else "write a trailing window such as last_7d or ever"
    raise refuse(
        parsed,
        window,
        f"OVER {name}: neither a trailing window nor defined in a WINDOW clause",
        f"{hint}; units are s, m, h, d, w, mo, y",
    )


def _check_trailing(parsed: Parsed, window: exp.Window) -> None:
    name = window_name(window) or ""
    if is_too_long(length(window)):
        raise refuse(parsed, window, f"OVER {name} is longer than a thousand years", "write OVER ever")
    for key, clause in (("partition_by", "PARTITION BY"), ("order", "ORDER BY"), ("spec", "a frame")):
        if window.args.get(key):
            raise refuse(
                parsed,
                window,
                f"OVER ({name} ...) with {clause}: entity and timestamp already partition and order a trailing window",
                f"write OVER {name}; rows of one kind are chosen by FILTER (WHERE ...) before OVER",
            )
    _check_place(parsed, window, name)
    _check_function(parsed, window, name)


def _check_place(parsed: Parsed, window: exp.Window, name: str) -> None:
    misplaced = _misplaced(parsed.tree, window)
    if misplaced:
        message = f"OVER {name} {misplaced}: trailing windows stand only in the outermost select list"
        raise refuse(parsed, window, message, _MOVE)
    if parsed.kind == "static":
        raise refuse(parsed, window, f"OVER {name} in a feature without a timestamp", _TIMELESS)


def _misplaced(tree: exp.Query, node: exp.Expression) -> str | None:
    """Why a node is not evaluated at T in the outermost select list, in words; None if it is."""
    from sqlglot import exp

    child, parent = node, node.parent
    while parent is not None:
        if parent is tree:
            return _clause(parent, child)
        inner = _inside(parent)
        if inner:
            return inner
        if isinstance(parent, exp.Query) and not isinstance(parent, exp.Subquery):
            return _below(tree, parent)
        child, parent = parent, parent.parent
    return None


def _clause(tree: exp.Expression, child: exp.Expression) -> str | None:
    from sqlglot import exp

    if isinstance(tree, exp.SetOperation) and child.arg_key in ("this", "expression"):
        return f"in a branch of {tree.key.upper()}"
    key = str(child.arg_key)
    return f"in {_CLAUSES.get(key, key.upper())}" if key != "expressions" else None


def _inside(parent: exp.Expression) -> str | None:
    from sqlglot import exp

    if isinstance(parent, (exp.Lambda, exp.Comprehension)):
        return "inside a lambda"
    if isinstance(parent, exp.Window):
        return "inside another window"
    return "inside another aggregate" if is_aggregate(parent) or isinstance(parent, exp.Filter) else None


def _below(tree: exp.Query, query: exp.Expression) -> str:
    from sqlglot import exp

    node: exp.Expression | None = query
    while node is not None and node is not tree:
        if isinstance(node, exp.CTE):
            return f"in the CTE {node.alias}"
        if isinstance(node.parent, exp.SetOperation):
            return f"in a branch of {node.parent.key.upper()}"
        if isinstance(node.parent, (exp.From, exp.Join)):
            return "in a subquery in FROM"
        node = node.parent
    return "in a subquery"


_INSTEAD = {"first_value": "FIRST", "last_value": "LAST", "nth_value": "FIRST or LAST"}


def _check_function(parsed: Parsed, window: exp.Window, name: str) -> None:
    from sqlglot import exp

    call = window.this
    while isinstance(call, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
        call = call.this
    function = function_name(call)
    if isinstance(call, exp.Dot):
        hint = f"write {function.upper()}(...) OVER {name}"
        raise refuse(
            parsed, window, f"{show(call)} may not stand over {name}: the aggregate must be called plainly", hint
        )
    if function in RANKING:
        instead = _INSTEAD.get(function)
        ordinary = "rank or shift rows in a CTE, over an ordinary window"
        hint = f"write {instead}(...) OVER {name}" if instead else ordinary
        raise refuse(parsed, window, f"{function.upper()} is no aggregate and may not stand over {name}", hint)
    if not isinstance(call, exp.Anonymous) and not is_aggregate(call):
        shown = function.upper() or show(call)
        hint = f"aggregate its result: MAX({shown}(...)) OVER {name}"
        raise refuse(parsed, window, f"{shown} is no aggregate and may not stand over {name}", hint)
    if any(order.find_ancestor(exp.Window, exp.Query) is window for order in call.find_all(exp.Order)):
        raise refuse(
            parsed,
            window,
            f"ORDER BY inside {function.upper()}(...) OVER {name}",
            "delete it: rows come in the order of time, loaded_at and content; ARG_MAX(x, y) chooses by another column",
        )
    check_aggregate(parsed, window, call)
    if function == "list" and not _is_bounded(window):
        shown = show(window)
        raise refuse(parsed, window, f"{shown} has no bound", f"keep the last k rows, here 10: ({shown})[-10:]")


def _is_bounded(window: exp.Window) -> bool:
    """Whether only so many items of a list are taken, counted by constants from one of its ends."""
    from sqlglot import exp

    parent = window.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    if isinstance(parent, exp.Bracket):
        index = parent.expressions[0]
        ends = (index.this, index.expression) if isinstance(index, exp.Slice) else (index, index)
        return len(parent.expressions) == 1 and _limits(*ends)
    if isinstance(parent, exp.ArraySlice):
        return _limits(parent.args.get("start"), parent.args.get("end"))
    if parent is not None and function_name(parent) == "list_slice":
        return len(parent.expressions) > 2 and _limits(parent.expressions[1], parent.expressions[2])
    return False


def _limits(start: object, end: object) -> bool:
    """Whether a slice is bounded: [-10:] counts from the end, [1:10] from the start."""
    from sqlglot import exp

    def constant(node: object) -> bool:
        return isinstance(node, exp.Literal) and node.is_int

    return (isinstance(start, exp.Neg) and constant(start.this)) or (constant(start) and constant(end))


# -- what may not stand beside a trailing window


def _check_beside_windows(parsed: Parsed) -> None:
    from sqlglot import exp

    (select,) = outermost(parsed.tree)
    for key, name in (("group", "GROUP BY"), ("having", "HAVING"), ("distinct", "DISTINCT"), ("qualify", "QUALIFY")):
        clause = select.args.get(key)
        if clause:
            raise refuse(parsed, clause, f"{name} beside a trailing window", _cte_hint(select, key))
    for item in select.expressions:
        for node in item.find_all(exp.Func, exp.Unnest, bfs=False):
            _check_item(parsed, select, node)


def _check_item(parsed: Parsed, select: exp.Select, node: exp.Expression) -> None:
    from sqlglot import exp

    if node.find_ancestor(exp.Select) is not select:
        return
    if function_name(node) == "unnest":
        raise refuse(parsed, node, f"{show(node)} beside a trailing window", _cte_hint(select, "expressions", node))
    if is_aggregate(node) and not has_over(node):
        raise refuse(
            parsed,
            node,
            f"{show(node)} without OVER beside a trailing window",
            f"write {show(node)} OVER ever, or aggregate in a CTE: {_cte_hint(select, 'expressions', node)}",
        )


def _cte_hint(select: exp.Select, key: str, item: exp.Expression | None = None) -> str:
    """The CTE that holds the refused clause of this very SELECT."""
    from sqlglot import exp

    tail = [show(select.args[k]) for k in ("from_", "where") if select.args.get(k)]
    body = f"SELECT {'DISTINCT ' if key == 'distinct' else ''}{show(item) + ' AS x, ' if item else ''}..."
    clauses = [show(select.args[k]) for k in ("group", "having", "qualify") if select.args.get(k)]
    aggregate = next(trailing_windows(select), None)
    over = show(aggregate) if isinstance(aggregate, exp.Window) else "..."
    return f"WITH rows AS ({' '.join([body, *tail, *clauses])}) SELECT ..., {over} FROM rows"


# -- as_of() and ref()


def _check_as_of(parsed: Parsed) -> None:
    from sqlglot import exp

    for call in as_of_calls(parsed.tree):
        if call.expressions or isinstance(call.parent, exp.Dot):
            raise refuse(parsed, call, f"{show(call)}: as_of() takes no arguments", "write as_of()")
        misplaced = _misplaced(parsed.tree, call)
        if misplaced and misplaced != "inside a lambda":
            raise refuse(
                parsed,
                call,
                f"as_of() {misplaced}: it stands only in the outermost select list, outside aggregates",
                "windows end at as_of() by themselves; use it on results: date_diff('hour', MAX(t) OVER ever, as_of())",
            )
        if parsed.kind == "static":
            raise refuse(parsed, call, "as_of() in a feature without a timestamp", _TIMELESS)


def _check_refs(parsed: Parsed) -> None:
    from sqlglot import exp

    tree = parsed.tree
    allowed = {id(r) for r, _ in relations(tree)} if isinstance(tree, exp.Select) else set()
    for table in tree.find_all(exp.Table):
        name = ref_name(table)
        if name and id(table) not in allowed:
            raise refuse(
                parsed,
                table,
                f'ref("{name}") below the outermost SELECT',
                f'join it there: SELECT ... FROM rows LEFT JOIN {{{{ ref("{name}") }}}} AS f ON f.key = rows.key',
            )
