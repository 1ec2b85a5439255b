"""SQL that could see the future, or whose answer depends on when and where it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.errors import LeakageError, did_you_mean, nearest
from mlforge.render.functions import function_name, has_over, is_aggregate, words
from mlforge.render.scopes import find_cte, timed_below, timed_in_from
from mlforge.render.syntax import Parsed, outermost, ref_name, refuse, relations, show, source_name, source_text, where
from mlforge.render.windows import is_trailing, window_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sqlglot import exp

#: Functions whose result changes between calls, runs, sessions or machines.
VOLATILE = words(
    """ago clock_timestamp current_catalog current_connection_id current_database current_date current_localtime
    current_localtimestamp current_query current_query_id current_role current_schema current_schemas current_setting
    current_time current_timestamp current_transaction_id current_user currval gen_random_uuid get_current_time
    get_current_timestamp getenv getvariable in_search_path localtime localtimestamp nextval now pg_conf_load_time
    pg_postmaster_start_time pg_sleep random session_user setseed setval sleep_ms statement_timestamp stats today
    transaction_timestamp txid_current user uuid uuidv4 uuidv7 vector_type write_log"""
)
#: Those that give the time at which they run.
CLOCK = words(
    """ago age clock_timestamp current_date current_localtime current_localtimestamp current_time current_timestamp
    get_current_time get_current_timestamp localtime localtimestamp now statement_timestamp today
    transaction_timestamp"""
)

#: Functions in FROM that read nothing but their arguments.
TABLE_FUNCTIONS = words(
    "generate_series generate_subscripts json_each json_tree range regexp_split_to_table repeat unnest values"
)

#: Window functions whose value at a row depends on rows behind it, whatever the frame.
_AHEAD = frozenset(["lead", "fill", "percent_rank", "cume_dist", "ntile"])
_ALLOW = "if that is meant, state config(allow_lookahead=true)"


def check_repeatable(parsed: Parsed) -> None:
    """Refuse volatile functions and relations that are no declared source. Raises LeakageError, GrammarError."""
    _check_volatile(parsed)
    _check_relations(parsed)


def check_lookahead(parsed: Parsed, timed_sources: Mapping[str, str]) -> None:
    """Refuse what sees later rows by its form, unless the feature allows it; for features that are not proven.

    ``timed_sources``: source -> its timestamp, of the sources that have one. Raises LeakageError."""
    config = parsed.rendered.config
    if config.allow_lookahead or config.assume_final:
        return
    _check_windows(parsed, timed_sources)
    _check_subqueries(parsed, timed_sources)
    if parsed.kind == "static":
        _check_static(parsed, timed_sources)


def _leak(parsed: Parsed, node: exp.Expression, message: str, hint: str) -> LeakageError:
    return LeakageError(message, where=where(parsed, node), hint=hint)


def volatile_calls(tree: exp.Expression) -> Iterator[tuple[exp.Expression, str]]:
    """Volatile calls with their names, and ``age(x)``, which counts from current_date, also written ``x.age()``."""
    from sqlglot import exp

    for node in tree.walk():
        name = function_name(node)
        if name in VOLATILE or (name == "age" and len(node.expressions) + isinstance(node.parent, exp.Dot) == 1):
            yield node, name


def _check_volatile(parsed: Parsed) -> None:
    for node, name in volatile_calls(parsed.tree):
        hint = "write as_of() for the time of the label row" if name in CLOCK else "derive it from columns"
        if parsed.kind == "static" and name in CLOCK:
            hint = "a static feature knows no time: keep the date, and subtract it from as_of() in an on-demand feature"
        raise _leak(parsed, node, f"{show(node)} is not the same in every run: past values could not be repeated", hint)


# -- relations


def _check_relations(parsed: Parsed) -> None:
    from sqlglot import exp

    for table in parsed.tree.find_all(exp.Table, bfs=False):
        if isinstance(table.this, exp.Func):
            _check_table_function(parsed, table)
        elif not (source_name(table) or ref_name(table) or find_cte(table)):
            raise _unknown_relation(parsed, table)


def _check_table_function(parsed: Parsed, table: exp.Table) -> None:
    name = function_name(table.this)
    if name not in TABLE_FUNCTIONS:
        raise refuse(
            parsed,
            table,
            f"{source_text(parsed.rendered, table.this)} in FROM reads from outside the project",
            'declare it as a source in mlforge.yaml and write {{ source("name") }}',
        )


def _unknown_relation(parsed: Parsed, table: exp.Table) -> Exception:
    name = table.name
    if any(c in name for c in "./*:"):
        hint = 'declare it as a source in mlforge.yaml and write {{ source("name") }}'
        return refuse(parsed, table, f"'{name}' in FROM reads a file directly", hint)
    known = {*parsed.rendered.sources, *_cte_names(parsed)}
    near = nearest(name, known)
    hint = f"{did_you_mean(name, known)} " if near and near != name else ""
    return refuse(
        parsed,
        table,
        f"{show(table.this)} is neither a CTE nor a source",
        f'{hint}rows come from {{{{ source("{name}") }}}} or {{{{ ref("{name}") }}}}',
    )


def _cte_names(parsed: Parsed) -> set[str]:
    from sqlglot import exp

    return {cte.alias for cte in parsed.tree.find_all(exp.CTE)}


# -- look-ahead


def _check_windows(parsed: Parsed, timed: Collection[str]) -> None:
    from sqlglot import exp

    for window in parsed.tree.find_all(exp.Window, bfs=False):
        select = window.find_ancestor(exp.Select)
        if select is None or is_trailing(window) or not _has_time(parsed, select, timed):
            continue
        named = window.arg_key == "windows" and window.parent is select
        if not named:
            _check_window_function(parsed, window, select)
        _check_frame(parsed, window)


def _has_time(parsed: Parsed, select: exp.Select, timed: Collection[str]) -> bool:
    """Whether order in time means anything for the rows of a SELECT."""
    if timed_in_from(select, timed):
        return True
    if parsed.rendered.config.timestamp is None:
        return False
    is_top = any(select is s for s in outermost(parsed.tree))
    return is_top or not timed_below(parsed.tree, timed)


def _check_window_function(parsed: Parsed, window: exp.Window, select: exp.Select) -> None:
    from sqlglot import exp

    call = window.this
    while isinstance(call, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
        call = call.this
    name = function_name(call)
    back = isinstance(call, exp.Lag) and isinstance(call.args.get("offset"), exp.Neg)
    if name in _AHEAD or back:
        hint = "LAG looks back" if name == "lead" else "compute it over rows up to this one only"
        raise _leak(parsed, window, f"{show(call)} sees rows behind its own", f"{hint}; {_ALLOW}")
    order, partition = _order(window, select), _partition(window, select)
    time = parsed.rendered.config.timestamp or ""
    if any(isinstance(p, exp.Column) and p.name.lower() == time.lower() for p in partition):
        return
    if not order:
        hint = f"add ORDER BY {time or 'the time column'} to the window, or write OVER ever; {_ALLOW}"
        raise _leak(parsed, window, f"{show(window)} has no ORDER BY: it sees all rows, later ones too", hint)
    first = order[0]
    if first.args.get("desc") and isinstance(first.this, exp.Column) and first.this.name.lower() == time.lower():
        raise _leak(parsed, window, f"{show(window)} runs backwards in time", f"order by {time} without DESC; {_ALLOW}")


def _order(window: exp.Window, select: exp.Select) -> list[exp.Expression]:
    if window.args.get("order"):
        return list(window.args["order"].expressions)
    base = _base(window, select)
    return _order(base, select) if base is not None else []


def _partition(window: exp.Window, select: exp.Select) -> list[exp.Expression]:
    own = list(window.args.get("partition_by") or [])
    base = _base(window, select)
    return own or (_partition(base, select) if base is not None else [])


def _base(window: exp.Window, select: exp.Select) -> exp.Window | None:
    """The window of the WINDOW clause that a window builds on."""
    name = (window_name(window) or "").lower()
    for other in select.args.get("windows") or []:
        if name and other is not window and other.this.name.lower() == name:
            return other
    return None


def _check_frame(parsed: Parsed, window: exp.Window) -> None:
    spec = window.args.get("spec")
    if spec is None:
        return
    sides = [str(spec.args.get(k) or "").upper() for k in ("start_side", "end_side")]
    if "FOLLOWING" in sides:
        raise _leak(
            parsed, window, f"the frame of {show(window)} reaches FOLLOWING rows", f"end it at CURRENT ROW; {_ALLOW}"
        )


def _check_subqueries(parsed: Parsed, timed: Collection[str]) -> None:
    from sqlglot import exp

    for select in parsed.tree.find_all(exp.Select, bfs=False):
        if not _is_expression(select) or not timed_below(select, timed):
            continue
        if _aggregates(select) and not _is_correlated(select):
            names = ", ".join(f'source("{n}")' for n in sorted(timed_below(select, timed)))
            raise _leak(
                parsed,
                select,
                f"the subquery ({show(select)}) aggregates all of {names}, later rows too",
                f"tie it to the outer row's time, as in WHERE t < outer_table.t, or use OVER ever; {_ALLOW}",
            )


def many_rows(tree: exp.Query, sources: Collection[str]) -> tuple[exp.Expression, str] | None:
    """Where a query first makes a value of many rows of one of the sources, or chooses among them, and of which."""
    from sqlglot import exp

    for select in tree.find_all(exp.Select, bfs=False):
        below = sorted(timed_below(select, sources))
        chosen = next(
            (select.args[c] for c in ("group", "having", "qualify", "distinct", "limit") if select.args.get(c)), None
        )
        found = chosen or next((n for n in select.walk() if isinstance(n, exp.Window) or is_aggregate(n)), None)
        if below and found is not None:
            return found, below[0]
    return None


def _check_static(parsed: Parsed, timed: Mapping[str, str]) -> None:
    """A feature without a time may look rows up; what it makes of many rows would be made of later ones too."""
    found = many_rows(parsed.tree, timed)
    if found is not None:
        node, source = found
        time = timed[source]
        raise _leak(
            parsed,
            node,
            f"a feature without a timestamp holds for all time, and this one makes its value of many rows of "
            f'source("{source}"), later ones too',
            f'give it the time, config(timestamp="{time}"): list {time}, and {_instead(node)}; if rows never change '
            "after they are read, state config(assume_final=true)",
        )


def _instead(node: exp.Expression) -> str:
    from sqlglot import exp

    if isinstance(node, (exp.Window, exp.Qualify, exp.Distinct)):
        return "write the rows without choosing among them: retrieval takes the last one"
    return "write SUM(x) OVER ever for SUM(x) and its GROUP BY"


def _is_expression(select: exp.Select) -> bool:
    """Whether a SELECT is a subquery in an expression, not a relation, a CTE or the statement."""
    from sqlglot import exp

    node: exp.Expression = select
    while isinstance(node.parent, (exp.Subquery, exp.SetOperation)):
        node = node.parent
    return node.parent is not None and not isinstance(node.parent, (exp.From, exp.Join, exp.CTE, exp.Lateral))


def _aggregates(select: exp.Select) -> bool:
    from sqlglot import exp

    calls = (f for item in select.expressions for f in item.find_all(exp.Func) if is_aggregate(f))
    return any(not has_over(f) and f.find_ancestor(exp.Select) is select for f in calls)


def _is_correlated(select: exp.Select) -> bool:
    """Whether a subquery names a relation from outside it. Unqualified columns are taken for its own."""
    from sqlglot import exp

    own = {r.alias_or_name.lower() for s in select.find_all(exp.Select) for r, _ in relations(s)}
    return any(c.table and c.table.lower() not in own for c in select.find_all(exp.Column))
