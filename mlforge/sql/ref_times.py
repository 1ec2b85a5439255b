"""Giving ref() joins their time: a left row at t meets the feature's value at t."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlforge.errors import FeatureError
from mlforge.render.syntax import outermost, ref_name, refuse, relations, show
from mlforge.sql.keys import convertible, kind_of
from mlforge.sql.stars import alone
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlglot import exp

    from mlforge.model import Compiled
    from mlforge.render.syntax import Parsed
    from mlforge.sql.physical import Physical

    Describe = Callable[[str, exp.Expression | None], dict[str, str]]


def check_left_times(
    parsed: Parsed, tree: exp.Query, timestamp: str, upstream: Mapping[str, Compiled], describe: Describe
) -> None:
    """See that the left rows' time is known before a feature that changes with time is joined.

    Raises GrammarError where it is an aggregate, or comes from the join itself."""
    from sqlglot import exp

    for select in outermost(tree):
        for number, (table, join) in enumerate(relations(select)):
            feature = upstream.get(ref_name(table) or "")
            if join is None or feature is None or feature.kind == "static":
                continue
            at = next(i.this for i in select.expressions if i.alias == timestamp)
            if any(isinstance(n, exp.AggFunc) for n in at.walk()) or not _known(tree, select, number, at, describe):
                raise refuse(
                    parsed,
                    join,
                    f"{feature.feature} is read at {timestamp}, which no row has before this join",
                    "take the time from the relations before it; compute it in a CTE if need be",
                )


def check_key_types(parsed: Parsed, tree: exp.Query, upstream: Mapping[str, Compiled], describe: Describe) -> None:
    """Raise GrammarError where a key of a joined feature is compared with a type of which values would be lost.

    The text '007' would meet the number 7 of one kind of feature, and not that of another."""
    for select in outermost(tree):
        for number, (table, join) in enumerate(relations(select)):
            feature = upstream.get(ref_name(table) or "")
            if join is None or feature is None:
                continue
            types = {k.name: k.type for k in feature.keys}
            for key, given in _key_expressions(select, number, join, types, join.this.alias_or_name).items():
                left = alone(tree, select, given)
                left.set("joins", left.args["joins"][: number - 1])
                (kind,) = describe(str(left.sql("duckdb")), given).values()
                known = kind in ("FLOAT", "DOUBLE") or kind_of(kind) is not None  # others: ENUM, a bare NULL
                if known and not convertible(kind, types[key]):
                    raise refuse(
                        parsed,
                        join,
                        f"{show(given)} is {kind} and key {key!r} of {feature.feature} is {types[key]}: "
                        "one cannot be converted to the other without loss",
                        f"cast {show(given)} to {types[key]}",
                    )


def _known(tree: exp.Query, select: exp.Select, number: int, at: exp.Expression, describe: Describe) -> bool:
    left = alone(tree, select, at)
    left.set("joins", left.args["joins"][: number - 1])
    try:
        describe(str(left.sql("duckdb")), at)
    except FeatureError:
        return False
    return True


@dataclass(frozen=True)
class TimedJoin:
    """A joined, timed feature: its keys as SQL over the relations on the left, and the left row's instant.

    ``ctes`` is the WITH clause that those relations may need."""

    feature: Physical
    keys: list[tuple[str, str]]
    at: str
    left: str
    inner: bool
    ctes: str


def ref_values(join: TimedJoin) -> str:
    """SQL for the values of a joined feature at the left rows' instants, from the feature's stored rows."""
    return sql("feature/ref_join", f=join.feature, keys=join.keys, at=join.at, left=join.left, inner=join.inner)


def with_ref_times(
    query: str,
    upstream: Mapping[str, Physical],
    timestamp: str | None,
    values: Callable[[TimedJoin], str] = ref_values,
) -> str:
    """The query with every joined, timed feature replaced by its ``values`` at the left rows' instants.

    ``timestamp`` names the item of the select list that is the left row's time. The features that FROM names first,
    and static ones, stay tables of the ref schema: their rows are what is meant."""
    import sqlglot
    from sqlglot import exp

    if not any(f.timed for f in upstream.values()):
        return query
    tree = sqlglot.parse_one(query, dialect="duckdb")
    for select in list(tree.find_all(exp.Select)):
        for number, (table, join) in enumerate(relations(select)):
            feature = upstream.get(ref_name(table) or "")
            if join is not None and feature is not None and feature.timed:
                _rewrite(select, number, join, feature, timestamp, values)
    return str(tree.sql("duckdb"))


def _rewrite(
    select: exp.Select,
    number: int,
    join: exp.Join,
    feature: Physical,
    timestamp: str | None,
    values: Callable[[TimedJoin], str],
) -> None:
    import sqlglot
    from sqlglot import exp

    alias = join.this.alias_or_name
    at = next(i.this for i in select.expressions if i.alias in ("_mlforge_ts", timestamp))
    keys = _key_expressions(select, number, join, feature.keys, alias)
    text = values(
        TimedJoin(
            feature,
            [(k, x.sql("duckdb")) for k, x in keys.items()],
            at.sql("duckdb"),
            _left(select, number),
            join.side != "LEFT",
            _ctes(select),
        )
    )
    quoted = exp.to_identifier(alias, quoted=True)
    join.set("this", exp.Subquery(this=sqlglot.parse_one(text, dialect="duckdb"), alias=exp.TableAlias(this=quoted)))
    instant = sqlglot.parse_one(sql("lib/micros_of_any", x=at.sql("duckdb")), dialect="duckdb")
    same = [exp.EQ(this=exp.column(k, table=alias, quoted=True), expression=x) for k, x in keys.items()]
    same.append(exp.EQ(this=exp.column("_mlforge_label", table=alias, quoted=True), expression=instant))
    join.set("using", None)
    join.set("on", exp.and_(*same))


def _key_expressions(
    select: exp.Select, number: int, join: exp.Join, keys: Iterable[str], alias: str
) -> dict[str, exp.Expression]:
    """For each key of the feature the left side's expression. The grammar made sure that there is just one."""
    from sqlglot import exp

    names = {k.lower(): k for k in keys}
    if join.args.get("using"):
        first = relations(select)[0][0].alias_or_name if number == 1 else None
        return {names[u.name.lower()]: exp.column(u.name, table=first, quoted=True) for u in join.args["using"]}
    found = {}
    for equality in join.args["on"].find_all(exp.EQ):
        for own, other in ((equality.this, equality.expression), (equality.expression, equality.this)):
            if isinstance(own, exp.Column) and own.table.lower() == alias.lower() and own.name.lower() in names:
                found[names[own.name.lower()]] = other
                break
    return found


def _left(select: exp.Select, number: int) -> str:
    """FROM and the joins before this one, with times already given to the refs among them."""
    joins = [j.sql("duckdb") for j in select.args["joins"][: number - 1]]
    return " ".join([select.args["from_"].sql("duckdb"), *joins])


def _ctes(select: exp.Select) -> str:
    """The nearest WITH clause around a SELECT, or nothing."""
    node: exp.Expression | None = select
    while node is not None:
        if node.args.get("with_"):
            return str(node.args["with_"].sql("duckdb"))
        node = node.parent
    return ""
