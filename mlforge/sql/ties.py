"""Choices that DuckDB leaves to chance among equal rows, made in one order: docs/sql-reference.md, "Ties".

By time, then ``loaded_at``, then content. An ASOF JOIN meets one row; ROW_NUMBER and the like, frames of ROWS, DISTINCT
ON and LIMIT get an order that no two different rows share; FIRST, LIST and the like see their values in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlforge.errors import FeatureError
from mlforge.proof.pruned import NUMBER
from mlforge.render.copied_columns import copied_column
from mlforge.render.functions import has_over, is_aggregate, primary_name
from mlforge.render.scopes import find_cte
from mlforge.render.syntax import Parsed, ref_name, refuse, relations, show, source_name
from mlforge.render.windows import is_trailing, window_name
from mlforge.sql.places import columns
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from sqlglot import exp

    from mlforge.model import Source
    from mlforge.proof.pruned import Read

    Describe = Callable[[str, exp.Expression | None], dict[str, str]]

#: Window functions that tell rows of one peer group apart, whatever the frame.
NUMBERING = frozenset(["row_number", "ntile", "lag", "lead", "fill"])
#: Those of which peers are equal: more order would change them.
RANKS = frozenset(["rank", "dense_rank", "rank_dense", "percent_rank", "cume_dist"])
#: Aggregates whose result depends on the order in which they see values.
ORDERED = frozenset(
    ["first", "last", "any_value", "list", "string_agg", "mode", "first_value", "last_value", "nth_value"]
)
#: Aggregates that choose one value by another, and leave equals to chance.
CHOOSING = frozenset(["arg_max", "arg_min"])
#: Macros of DuckDB over LIST that take no ORDER BY.
UNORDERED = frozenset(["json_group_array", "json_group_object"])


def break_ties(
    parsed: Parsed, tree: exp.Query, sources: Mapping[str, Source], describe: Describe, read: Read | None = None
) -> None:
    """Give every choice in a query an order without ties, in place. ``read``: the columns that tell rows apart in its
    SELECTs; in others all do.

    Raises GrammarError for an ASOF JOIN of which it is not clear what of its right side is compared."""
    _Ties(parsed, sources, describe, read or {}).settle(tree)


@dataclass
class _Ties:
    parsed: Parsed
    sources: Mapping[str, Source]
    describe: Describe
    read: Read

    def settle(self, tree: exp.Query) -> None:
        from sqlglot import exp

        for query in list(tree.find_all(exp.Query)):
            if isinstance(query, exp.Select):
                self._select(query)
            if any(query.args.get(k) for k in ("limit", "offset", "fetch")):
                self._limit(query)

    def _select(self, select: exp.Select) -> None:
        from sqlglot import exp

        for node in _own(select):
            if isinstance(node, exp.Window):
                self._window(select, node)
            elif is_aggregate(node) and not has_over(node):
                self._aggregate(select, node)
        distinct = select.args.get("distinct")
        if distinct is not None and distinct.args.get("on") is not None:
            self._distinct_on(select)
        for joined, join in relations(select):
            if join is not None and join.method == "ASOF":
                self._asof(select, joined, join)

    def _telling(self, select: exp.Select, relation: exp.Expression, names: list[str]) -> list[str]:
        """Those columns of a relation of FROM that tell its rows apart."""
        read = self.read.get(select.meta.get(NUMBER, -1), [])
        alias, place = relation.alias_or_name.lower(), [id(r) for r, _ in relations(select)].index(id(relation))
        known = dict(read).get(alias) if alias else read[place][1] if place < len(read) else None
        return names if known is None else [n for n in names if n.lower() in known]

    # -- ASOF JOIN

    def _asof(self, select: exp.Select, joined: exp.Expression, join: exp.Join) -> None:
        import sqlglot
        from sqlglot import exp

        names, alias = columns(joined, self.describe), joined.alias_or_name
        by = self._compared(join, alias, names)
        if self._is_unique(joined, by):
            return
        telling = self._telling(select, joined, names)
        leading = [n for n in self._times(joined) if n in telling]
        text = sql(
            "feature/unique_right",
            relation=joined.sql("duckdb"),
            by=[b.sql("duckdb") for b in by],
            columns=names,
            star=exp.column(exp.Star(), table=exp.to_identifier(alias, quoted=True)).sql("duckdb") if alias else "*",
            order=[*leading, *(n for n in telling if n not in leading)],
        )
        unique = sqlglot.parse_one(text, dialect="duckdb")
        name = exp.TableAlias(this=exp.to_identifier(alias, quoted=True)) if alias else None
        joined.replace(exp.Subquery(this=unique, alias=name))

    def _compared(self, join: exp.Join, alias: str, names: Collection[str]) -> list[exp.Expression]:
        """What an ASOF JOIN compares, as expressions over its right side."""
        from sqlglot import exp

        quoted = exp.to_identifier(alias, quoted=True) if alias else None
        if join.args.get("using"):
            return [exp.column(exp.to_identifier(u.name, quoted=True), table=quoted) for u in join.args["using"]]
        lower = {n.lower() for n in names}

        def is_right(column: exp.Column) -> bool:
            return column.table.lower() == alias.lower() if column.table else column.name.lower() in lower

        def side(node: exp.Expression) -> str:
            found = {is_right(c) for c in node.find_all(exp.Column)}
            return "both" if len(found) > 1 else "right" if True in found else "left"

        made = []
        for part in _conjuncts(join.args.get("on")):
            if side(part) != "both":
                made += [part] if side(part) == "right" else []
                continue
            own = [s for s in (part.args.get("this"), part.args.get("expression")) if s is not None]
            sides = [side(s) for s in own]
            if sorted(sides) != ["left", "right"]:
                raise refuse(
                    self.parsed,
                    join,
                    f"ASOF JOIN ON {show(part)}: it is not clear which of equal rows it would meet",
                    "write each comparison with one side's columns on its left and the other's on its right",
                )
            made.append(own[sides.index("right")])
        return made

    def _is_unique(self, relation: exp.Expression, by: Collection[exp.Expression]) -> bool:
        """Whether a relation is a source that says itself that it has one row for such values."""
        from sqlglot import exp

        source = self.sources.get(source_name(relation) or "")
        if source is None or not source.unique_key or getattr(relation, "alias_column_names", []):
            return False
        return {k.lower() for k in source.unique_key} <= {b.name.lower() for b in by if isinstance(b, exp.Column)}

    # -- windows

    def _window(self, select: exp.Select, window: exp.Window) -> None:
        from sqlglot import exp

        call = window.this
        while isinstance(call, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
            call = call.this
        if is_trailing(window) or not isinstance(call, exp.Func):
            return
        name = primary_name(call)
        partition, order, spec = _resolved(window, select)
        by_row = spec is not None and str(spec.args.get("kind") or "").upper() == "ROWS"
        if name in NUMBERING or (by_row and name not in RANKS):
            own = [*partition, *(o.this for o in order)]
            found = relations(select)
            if len(found) == 1 and self._is_unique(found[0][0], own):
                return
            window.set("alias", None)
            window.set("partition_by", [p.copy() for p in partition])
            window.set("order", exp.Order(expressions=[*(o.copy() for o in order), *self._rows(select, order)]))
            window.set("spec", spec.copy() if spec is not None else None)
        elif name in CHOOSING:
            _choose(call)
        elif name in ORDERED:
            _in_order(call, [o.copy() for o in order] or self._in_time(select))

    # -- aggregates

    def _aggregate(self, select: exp.Select, call: exp.Expression) -> None:
        name = primary_name(call)
        if name in CHOOSING:
            _choose(call)
        elif name in ORDERED:
            _in_order(call, [] if name == "mode" else self._in_time(select))
        elif name in UNORDERED:
            raise refuse(
                self.parsed,
                call,
                f"{show(call)} sees its rows in no order, which differs from run to run",
                "write to_json(LIST(x ORDER BY ...)), or to_json(map(LIST(k ORDER BY k), LIST(v ORDER BY k)))",
            )

    # -- DISTINCT ON and LIMIT

    def _distinct_on(self, select: exp.Select) -> None:
        from sqlglot import exp

        order = list(select.args["order"].expressions) if select.args.get("order") else []
        if select.args.get("group"):
            more = self._positions(select, order)
        else:
            more = self._rows(select, order) if order else [_ordered(t.this, desc=True) for t in self._rows(select, [])]
        select.set("order", exp.Order(expressions=[*order, *more]))
        if isinstance(select.parent, exp.SetOperation):  # its ORDER BY would be that of all branches
            branch = exp.Subquery()
            select.replace(branch)
            branch.set("this", select)

    def _limit(self, query: exp.Query) -> None:
        from sqlglot import exp

        order = list(query.args["order"].expressions) if query.args.get("order") else []
        if order and any(o.this.name.upper() == "ALL" for o in order if isinstance(o.this, exp.Column)):
            return
        query.set("order", exp.Order(expressions=[*order, *self._positions(query, order)]))

    def _positions(self, query: exp.Query, order: list[exp.Expression]) -> list[exp.Expression]:
        """Every output column as an order term."""
        from sqlglot import exp

        first: exp.Expression = query
        while isinstance(first, (exp.SetOperation, exp.Subquery)):
            first = first.this
        number = len(first.expressions)
        if any(i.is_star or i.find(exp.Columns, exp.Explode, exp.Unnest) for i in first.expressions):
            number = self._width(query, number)
        return [_ordered(exp.Literal.number(n + 1), desc=_runs_down(order)) for n in range(number)]

    def _width(self, query: exp.Query, least: int) -> int:
        try:
            return len(columns(query, self.describe))
        except FeatureError:  # it reads columns from around it
            return least

    # -- orders

    def _rows(self, select: exp.Select, order: list[exp.Expression]) -> list[exp.Expression]:
        """Terms that tell all rows of FROM apart, in the direction of the user's last one."""
        leading = self._leading(select)
        known = {c.sql("duckdb") for c in leading}
        content = [
            c for r, join in relations(select) for c in self._columns(select, r, join) if c.sql("duckdb") not in known
        ]
        return [_ordered(c, desc=_runs_down(order)) for c in [*leading, *content]]

    def _leading(self, select: exp.Select) -> list[exp.Expression]:
        """The times of the rows of FROM, and when they were loaded, where their sources say which columns that are."""
        found = []
        for relation, join in relations(select):
            times = self._times(relation)
            found += [c for c in self._columns(select, relation, join) if c.name in times] if times else []
        return sorted(found, key=lambda c: self._is_loaded(c.name))

    def _in_time(self, select: exp.Select) -> list[exp.Expression]:
        return [_ordered(c) for c in self._leading(select)]

    def _is_loaded(self, name: str) -> bool:
        return any(name.lower() == (s.loaded_at or "").lower() for s in self.sources.values())

    def _columns(self, select: exp.Select, relation: exp.Expression, join: exp.Join | None) -> list[exp.Column]:
        """The columns of a relation. A joined ref() follows from the rows on its left, and has none of its own."""
        from sqlglot import exp

        if join is not None and (ref_name(relation) or join.kind in ("SEMI", "ANTI")):
            return []
        try:
            names = self._telling(select, relation, columns(relation, self.describe))
        except FeatureError:  # a lateral one: it follows from the rows on its left, or the whole query is refused
            return []
        alias = exp.to_identifier(relation.alias_or_name, quoted=True) if relation.alias_or_name else None
        return [exp.column(exp.to_identifier(n, quoted=True), table=alias and alias.copy()) for n in names]

    def _times(self, relation: exp.Expression) -> list[str]:
        """Names of the columns of a relation that its source calls its timestamp and loaded_at."""
        name = source_name(relation)
        if name is not None:
            source = self.sources[name]
            return [c for c in (source.timestamp, source.loaded_at) if c]
        cte = find_cte(relation)
        query = cte.this if cte is not None else relation.this
        return list(dict.fromkeys(self._copied(query)))

    def _copied(self, query: exp.Expression) -> Iterator[str]:
        from sqlglot import exp

        if not isinstance(query, exp.Query):
            return
        read = {n for t in query.find_all(exp.Table) if (n := source_name(t))}
        for setting in ("timestamp", "loaded_at"):
            for name in sorted(read):
                column = getattr(self.sources[name], setting)
                if column and (copied_column(query, column) or ("", ""))[0] == name:
                    yield column


def _own(select: exp.Select) -> list[exp.Expression]:
    """The nodes of a SELECT without those of queries inside it."""
    from sqlglot import exp

    def inner(node: exp.Expression) -> bool:
        return node is not select and isinstance(node, (exp.Query, exp.With))

    return [n for n in select.walk(prune=inner) if not inner(n)]


def _conjuncts(node: exp.Expression | None) -> list[exp.Expression]:
    from sqlglot import exp

    if node is None:
        return []
    node = node.unnest()
    return _conjuncts(node.left) + _conjuncts(node.right) if isinstance(node, exp.And) else [node]


def _ordered(node: exp.Expression, *, desc: bool = False) -> exp.Ordered:
    from sqlglot import exp

    return exp.Ordered(this=node.copy(), desc=desc, nulls_first=not desc)  # NULL is the least


def _runs_down(order: list[exp.Expression]) -> bool:
    return bool(order and order[-1].args.get("desc"))


def _resolved(
    window: exp.Window, select: exp.Select
) -> tuple[list[exp.Expression], list[exp.Expression], exp.Expression | None]:
    """Partition, order and frame of a window, those of the WINDOW clause that it builds on included."""
    partition = list(window.args.get("partition_by") or [])
    order = list(window.args["order"].expressions) if window.args.get("order") else []
    spec = window.args.get("spec")
    name = (window_name(window) or "").lower()
    for other in select.args.get("windows") or []:
        if name and other is not window and other.this.name.lower() == name:
            below = _resolved(other, select)
            return partition or below[0], order or below[1], spec if spec is not None else below[2]
    return partition, order, spec


def _arguments(call: exp.Expression) -> list[exp.Expression]:
    """The arguments of a call that are no constants, without the ORDER BY and DISTINCT that stand among them."""
    from sqlglot import exp

    found: list[exp.Expression] = []
    for value in call.args.values():
        for item in value if isinstance(value, list) else [value]:
            bare = item.this if isinstance(item, exp.Order) else item
            for part in bare.expressions if isinstance(bare, exp.Distinct) else [bare]:
                if isinstance(part, exp.Expression) and part.find(exp.Column) is not None:
                    found.append(part.this if isinstance(part, exp.Order) else part)
    return found


def _in_order(call: exp.Expression, leading: list[exp.Expression]) -> None:
    """Let an aggregate see its values by the user's own ORDER BY, else by ``leading``; then by the values."""
    from sqlglot import exp

    values = _arguments(call)
    given = call.find(exp.Order)
    given = given if given is not None and given.find_ancestor(exp.Func) is call else None
    distinct = call.find(exp.Distinct)
    if distinct is not None and distinct.parent is call:
        leading = []  # what equal values differ in is gone
    if not values:
        return
    ties = [_ordered(v, desc=given is not None and _runs_down(given.expressions)) for v in values]
    if given is not None:
        given.set("expressions", [*given.expressions, *ties])
        return
    key, position = _last_but_separator(call)
    value = call.args[key][position] if position is not None else call.args[key]
    order = exp.Order(this=value.copy(), expressions=[*leading, *ties])
    value.replace(order)


def _last_but_separator(call: exp.Expression) -> tuple[str, int | None]:
    """Where the argument stands behind which sqlglot keeps ORDER BY: the last, of STRING_AGG the first."""
    from sqlglot import exp

    if isinstance(call, exp.GroupConcat):
        return "this", None
    given = [k for k in call.arg_types if isinstance(call.args.get(k), (exp.Expression, list)) and call.args[k]]
    last = call.args[given[-1]]
    return (given[-1], len(last) - 1) if isinstance(last, list) else (given[-1], None)


def _choose(call: exp.Expression) -> None:
    """ARG_MAX(x, y) as the x of the greatest (y, x): its rows are those in which neither is NULL."""
    from sqlglot import exp

    x, y = call.this, call.expression
    if isinstance(x, exp.Distinct) or isinstance(y, exp.Order):
        _in_order(call, [])
        return
    both = exp.and_(
        exp.Not(this=exp.Is(this=x.copy(), expression=exp.null())),
        exp.Not(this=exp.Is(this=y.copy(), expression=exp.null())),
    )
    pair = exp.Struct(
        expressions=[exp.PropertyEQ(this=exp.to_identifier(n), expression=v.copy()) for n, v in (("y", y), ("x", x))]
    )
    call.set("expression", pair)
    outer = call.parent
    if isinstance(outer, exp.Filter):
        outer.expression.set("this", exp.and_(exp.paren(outer.expression.this.copy()), both))
    else:
        holder = exp.Filter()
        call.replace(holder)
        holder.set("this", call)
        holder.set("expression", exp.Where(this=both))
