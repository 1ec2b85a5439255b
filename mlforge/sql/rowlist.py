"""Compiling a select list that is evaluated at T: trailing windows, row columns, and expressions over both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mlforge.model import Aggregate, Input
from mlforge.render.grammar import is_as_of
from mlforge.render.syntax import refuse
from mlforge.render.windows import aggregate_call, is_trailing, length
from mlforge.sql.level import may_raise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlglot import exp

    from mlforge.render.syntax import Parsed

SORTED = frozenset(
    {
        "stddev_samp",
        "stddev_pop",
        "var_samp",
        "var_pop",
        "sem",
        "skewness",
        "kurtosis",
        "kurtosis_pop",
        "kahan_sum",
        "fsum",
        "favg",
        "product",
        "geomean",
        "approx_quantile",
        "entropy",
    }
)
ORDERED = frozenset({"first", "last", "any_value", "arg_min", "arg_max", "list", "string_agg", "mode"})
ZONED = "TIMESTAMP WITH TIME ZONE"
_UNZONED = ("TIMESTAMP", "DATE", "TIMESTAMP_S", "TIMESTAMP_MS")
ZERO_WHEN_EMPTY = frozenset({"count", "count_if", "approx_count_distinct", "regr_count"})


@dataclass
class RowList:
    """Collects what a select list needs from each event row while its items are rewritten, each thing once."""

    parsed: Parsed
    columns: frozenset[str]  # names of the event relation's columns, lower case
    aliases: dict[str, exp.Expression] = field(default_factory=dict)  # earlier items, lower-case name -> user's text
    inputs: dict[str, str] = field(default_factory=dict)  # SQL over the event relation -> name
    rows: dict[str, str] = field(default_factory=dict)
    calls: dict[tuple[object, ...], Aggregate] = field(default_factory=dict)
    readers: dict[str, dict[str | None, None]] = field(default_factory=dict)  # input -> filters it is read behind
    uses_as_of: bool = False

    def add(self, name: str, expression: exp.Expression) -> exp.Expression:
        """Rewrite one item to an expression over aggregates, row columns and ``_mlforge_at``."""
        result = self._at(expression.copy())
        self.aliases.setdefault(name.lower(), expression)
        return result

    def event(self, expression: exp.Expression) -> exp.Expression:
        """An expression evaluated on the event row, with earlier aliases written out."""
        return _replace(expression.copy(), self._inline)

    def _inline(self, node: exp.Expression) -> exp.Expression | None:
        from sqlglot import exp

        alias = self._alias(node)
        if alias is None:
            return None
        if any(is_trailing(n) for n in alias.walk()):
            raise refuse(
                self.parsed,
                node,
                f"{node.sql('duckdb')} stands for a trailing window and is used on event rows",
                "trailing windows are evaluated after the rows are chosen; put the condition into FILTER (WHERE ...)",
            )
        return exp.paren(self.event(alias))

    def _alias(self, node: exp.Expression) -> exp.Expression | None:
        """The earlier item that a bare name means; a column of FROM wins over an alias."""
        from sqlglot import exp

        if not isinstance(node, exp.Column) or node.table or node.name.lower() in self.columns:
            return None
        return self.aliases.get(node.name.lower())

    def _at(self, expression: exp.Expression) -> exp.Expression:
        return _replace(expression, self._value_at)

    def _value_at(self, node: exp.Expression) -> exp.Expression | None:
        from sqlglot import exp

        if isinstance(node, exp.Window) and is_trailing(node):
            return exp.column(self._aggregate(node).name)
        if is_as_of(node):
            self.uses_as_of = True
            return exp.column("_mlforge_at")
        alias = self._alias(node)
        if alias is not None:
            return exp.paren(self._at(alias.copy()))
        whole_row = (exp.Column, exp.Window, exp.Subquery, exp.Exists, exp.Select)
        if isinstance(node, whole_row) or (isinstance(node, exp.In) and node.args.get("query")):
            return exp.column(_numbered(self.rows, self._sql(self.event(node)), "r"))
        return None

    def _aggregate(self, node: exp.Window) -> Aggregate:
        call = aggregate_call(node)
        function, distinct = call.function, call.distinct
        if function == "approx_count_distinct":  # DuckDB's sketch answers otherwise from one version of it to the next
            function, distinct = "count", True
        arguments = [_named(a) for a in call.args] if function == "count" else list(call.args)
        args = tuple(self._argument(a, n) for n, a in enumerate(arguments)) or ("*",)
        condition = self._input(call.filter) if call.filter is not None else None
        for name in args:
            self.readers.setdefault(name, {})[condition] = None
        if condition is not None:
            self.readers.setdefault(condition, {})[None] = None
        window = length(node)
        spec = (function, args, distinct, condition, window)
        if spec not in self.calls:
            self.calls[spec] = Aggregate(
                name=f"_mlforge_a{len(self.calls)}",
                function=function,
                args=args,
                distinct=distinct,
                filter=condition,
                window=window,
                type="",
                method=_method(function),
            )
        return self.calls[spec]

    def event_inputs(self) -> dict[str, str]:
        """Inputs by name. What may fail is computed only for rows that one of its windows keeps: FILTER may be there
        for the others."""
        import sqlglot
        from sqlglot import exp

        texts = {name: text for text, name in self.inputs.items()}
        for name, filters in self.readers.items():
            if name not in texts or None in filters:
                continue
            node = sqlglot.parse_one(texts[name], dialect="duckdb")
            if may_raise(node, sums=False):
                kept = exp.or_(*(sqlglot.parse_one(texts[str(f)], dialect="duckdb") for f in filters))
                texts[name] = exp.Case(ifs=[exp.If(this=kept, true=node)]).sql("duckdb")
        return texts

    def _argument(self, node: exp.Expression, position: int) -> str:
        from sqlglot import exp

        constant = not any(isinstance(n, (exp.Column, exp.Subquery)) for n in node.walk())
        return str(node.sql("duckdb")) if position and constant else self._input(node)

    def _input(self, node: exp.Expression) -> str:
        return _numbered(self.inputs, self._sql(self.event(node)), "i")

    def _sql(self, node: exp.Expression) -> str:
        return str(node.sql("duckdb"))


def _named(node: exp.Expression) -> exp.Expression:
    """A row (a, b) as a struct whose fields have names, which a table can hold. To a count they are the same."""
    from sqlglot import exp

    node = node.unnest()
    if not isinstance(node, exp.Tuple) and not (isinstance(node, exp.Anonymous) and node.name.lower() == "row"):
        return node
    fields = [
        exp.PropertyEQ(this=exp.to_identifier(f"v{n}"), expression=_named(x)) for n, x in enumerate(node.expressions)
    ]
    return exp.Struct(expressions=fields)


def _method(function: str) -> Literal["native", "sorted", "ordered"]:
    if function in SORTED:
        return "sorted"
    return "ordered" if function in ORDERED else "native"


def _numbered(seen: dict[str, str], text: str, letter: str) -> str:
    return seen.setdefault(text, f"_mlforge_{letter}{len(seen)}")


def _replace(node: exp.Expression, change: object) -> exp.Expression:
    """Top-down replacement: where ``change`` returns a node, it stands for the whole subtree."""
    new = change(node)  # type: ignore[operator]
    if new is not None:
        return new
    for key, value in list(node.args.items()):
        if isinstance(value, list):
            node.set(key, [_replace(v, change) if _is_node(v) else v for v in value])
        elif _is_node(value):
            node.set(key, _replace(value, change))
    return node


def _is_node(value: object) -> bool:
    from sqlglot import exp

    return isinstance(value, exp.Expression)


def in_utc(outputs: Mapping[str, str], types: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Output expressions in which instants with a zone are UTC timestamps, so that no session's zone reaches them; a
    time that a cast takes for an instant is one of UTC. ``types``: of columns, by their relation and lower-case name.

    Where the expression itself turns one into another zone's wall clock (AT TIME ZONE, a cast) it stays as it is."""
    import sqlglot
    from sqlglot import exp

    def kind(node: exp.Expression) -> str:
        return types.get((node.table, node.name.lower()), "") if isinstance(node, exp.Column) else ""

    def swap(node: exp.Expression) -> exp.Expression | None:
        if isinstance(node, (exp.AtTimeZone, exp.Cast)) and isinstance(node.this.unnest(), exp.Column):
            made = isinstance(node, exp.Cast) and node.is_type(exp.DataType.Type.TIMESTAMPTZ)
            if made and kind(node.this.unnest()) in _UNZONED:
                return exp.cast(node.this, "TIMESTAMP", dialect="duckdb")
            return node
        if kind(node) == ZONED:
            return exp.AtTimeZone(this=node, zone=exp.Literal.string("UTC"))
        return None

    if ZONED not in types.values() and not any("TIMESTAMPTZ" in text for text in outputs.values()):
        return dict(outputs)
    parsed = {n: sqlglot.parse_one(t, dialect="duckdb") for n, t in outputs.items()}
    return {n: str(_replace(tree, swap).sql("duckdb")) for n, tree in parsed.items()}


def empty_value(sql_text: str, aggregates: Iterable[Aggregate], rows: Iterable[Input]) -> str:
    """An output expression where no row is in any window: counts are 0, everything else is NULL."""
    import sqlglot
    from sqlglot import exp

    empties = {r.name: f"CAST(NULL AS {r.type})" for r in rows}
    for a in aggregates:
        empties[a.name] = "CAST(0 AS BIGINT)" if a.function in ZERO_WHEN_EMPTY else f"CAST(NULL AS {a.type})"
    if sql_text in empties:
        return "NULL" if empties[sql_text].startswith("CAST(NULL") else "0"

    def swap(node: exp.Expression) -> exp.Expression | None:
        if isinstance(node, exp.Column) and node.name in empties:
            return sqlglot.parse_one(empties[node.name], dialect="duckdb")
        return None

    return str(_replace(sqlglot.parse_one(sql_text, dialect="duckdb"), swap).sql("duckdb"))
