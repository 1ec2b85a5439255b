"""Joins: ref() the way it may be joined, and timed sources that are joined without time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlforge.render.scopes import find_cte, timed_below
from mlforge.render.syntax import Parsed, ref_name, refuse, relations, show, source_name, where

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlglot import exp

    from mlforge.errors import GrammarError, Where


@dataclass(frozen=True)
class RefUse:
    """One ref() in FROM. ``keys`` maps each key of the feature to the left-side expression it equals; it is empty for
    the first relation and in on-demand features, where mlforge joins by the label's key."""

    feature: str
    alias: str
    table: exp.Table
    join: exp.Join | None
    keys: Mapping[str, exp.Expression]


def check_ref_joins(parsed: Parsed, ref_keys: Mapping[str, tuple[str, ...]]) -> tuple[RefUse, ...]:
    """The ref()s of a feature, each joined by every key of its entity and nothing else.

    ``ref_keys`` gives the key columns of every feature that is referred to. Raises GrammarError."""
    from sqlglot import exp

    if not isinstance(parsed.tree, exp.Select):
        return ()
    return tuple(
        _use(parsed, table, join, ref_keys[str(ref_name(table))])
        for table, join in relations(parsed.tree)
        if isinstance(table, exp.Table) and ref_name(table)
    )


def _use(parsed: Parsed, table: exp.Table, join: exp.Join | None, keys: tuple[str, ...]) -> RefUse:
    feature = str(ref_name(table))
    alias = table.alias or feature
    if join is None or parsed.kind == "on_demand":
        return RefUse(feature, alias, table, join, {})
    _check_kind(parsed, join, feature, alias, keys)
    found = _using(join) if join.args.get("using") else _equalities(parsed, join, feature, alias, keys)
    extra = [k for k in found if k not in _lower(keys)]
    missing = [k for k in keys if k.lower() not in found]
    if extra:
        raise _bad(parsed, join, feature, alias, keys, why=f"{extra[0]} is no key of it")
    if missing:
        raise _bad(parsed, join, feature, alias, keys, why=f"its key {missing[0]} is missing")
    return RefUse(feature, alias, table, join, {k: found[k.lower()] for k in keys})


def _lower(names: tuple[str, ...]) -> list[str]:
    return [n.lower() for n in names]


def _check_kind(parsed: Parsed, join: exp.Join, feature: str, alias: str, keys: tuple[str, ...]) -> None:
    words = [str(join.args.get(k) or "") for k in ("method", "side", "kind")]
    joined = join.args.get("on") or join.args.get("using")
    if joined and words in (["", "", ""], ["", "", "INNER"], ["", "LEFT", ""], ["", "LEFT", "OUTER"]):
        return
    kind = " ".join(w for w in words if w) or "a join without a condition"
    why = f"only INNER and LEFT JOIN with ON or USING may bring it, not {kind}"
    raise _bad(parsed, join, feature, alias, keys, why=why)


def _bad(parsed: Parsed, join: exp.Join, feature: str, alias: str, keys: tuple[str, ...], *, why: str) -> GrammarError:
    condition = " AND ".join(f"{alias}.{k} = <left side>.{k}" for k in keys)
    hint = f'LEFT JOIN {{{{ ref("{feature}") }}}} AS {alias} ON {condition}; mlforge adds the time'
    return refuse(parsed, join, f'JOIN of ref("{feature}"): {why}', hint)


def _using(join: exp.Join) -> dict[str, exp.Expression]:
    from sqlglot import exp

    return {name.name.lower(): exp.column(name.copy()) for name in join.args["using"]}


def _equalities(
    parsed: Parsed, join: exp.Join, feature: str, alias: str, keys: tuple[str, ...]
) -> dict[str, exp.Expression]:
    """Key, lower case -> left expression, of a condition that is nothing but equalities on the ref's columns."""
    found: dict[str, exp.Expression] = {}
    for part in _conjuncts(join.args["on"]):
        pair = _key_equals(part, alias)
        if pair is None:
            why = f"{show(part)} is not of the form {alias}.key = <left side>"
            raise _bad(parsed, join, feature, alias, keys, why=why)
        if pair[0] in found:
            raise _bad(parsed, join, feature, alias, keys, why=f"{pair[0]} is compared twice")
        found[pair[0]] = pair[1]
    return found


def _conjuncts(node: exp.Expression) -> list[exp.Expression]:
    from sqlglot import exp

    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.And):
        return _conjuncts(node.left) + _conjuncts(node.right)
    return [node]


def _key_equals(part: exp.Expression, alias: str) -> tuple[str, exp.Expression] | None:
    from sqlglot import exp

    if not isinstance(part, exp.EQ):
        return None
    for mine, other in ((part.left, part.right), (part.right, part.left)):
        of_ref = isinstance(mine, exp.Column) and mine.table.lower() == alias.lower()
        if of_ref and not any(c.table.lower() == alias.lower() for c in other.find_all(exp.Column)):
            return mine.name.lower(), other
    return None


def unsafe_joins(parsed: Parsed, timed_sources: Collection[str]) -> list[tuple[str, Where]]:
    """Places where two timed sources meet without ref() or ASOF JOIN, at any level: what to say, and where."""
    from sqlglot import exp

    found = []
    for select in parsed.tree.find_all(exp.Select, bfs=False):
        seen: set[str] = set()
        for relation, join in [*relations(select), *_subqueries(select)]:
            timed = timed_below(relation, timed_sources)
            if seen and timed and not _keeps_time(relation, join):
                found.append((_message(sorted(seen), sorted(timed)), where(parsed, relation)))
            seen |= timed
        for join in _nested(select):
            left, right = _left_of(join, timed_sources), timed_below(join, timed_sources)
            if left and right and not _keeps_time(join.this, join):
                found.append((_message(sorted(left), sorted(right)), where(parsed, join)))
    return found


def _nested(select: exp.Select) -> list[exp.Join]:
    """Joins inside the parentheses of a FROM: ``FROM (a JOIN b)``."""
    from sqlglot import exp

    return [j for j in select.find_all(exp.Join) if j.parent is not select and j.parent_select is select]


def _left_of(join: exp.Join, timed: Collection[str]) -> set[str]:
    """The timed sources in the parentheses of a nested join, without those it brings."""
    from sqlglot import exp

    mine = {id(table) for table in join.find_all(exp.Table)}
    inner = list(join.parent.find_all(exp.Table)) if join.parent else []
    return set().union(*(timed_below(t.this, timed) | _own(t, timed) for t in inner if id(t) not in mine))


def _own(table: exp.Table, timed: Collection[str]) -> set[str]:
    name, cte = source_name(table), find_cte(table)
    if cte is not None:
        return timed_below(cte.this, timed)
    return {str(name)} if name in timed else set()


def _keeps_time(relation: exp.Expression, join: exp.Join | None) -> bool:
    return bool(ref_name(relation)) or (join is not None and join.method.upper() == "ASOF")


def _subqueries(select: exp.Select) -> list[tuple[exp.Expression, None]]:
    """Subqueries in the expressions of a SELECT; those in FROM are relations."""
    from sqlglot import exp

    skip = ("from_", "joins", "with_")
    parts = [p for p in select.iter_expressions() if p.arg_key not in skip]
    nested = [q for p in parts for q in p.find_all(exp.Select) if q.parent_select is select]
    return [(q, None) for q in nested]


def _message(left: list[str], right: list[str]) -> str:
    both = sorted({*left, *right})
    names = " and ".join(f'source("{n}")' for n in both)
    subject = f"{names} meet" if len(both) > 1 else f"{names} meets itself"
    return f"{subject} without regard to time, so later rows can come in: use ASOF JOIN, or a feature and ref()"
