"""Joins: ref() the way it may be joined, and timed sources that are joined without time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlforge.render.syntax import Parsed, ref_name, refuse, relations, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlglot import exp

    from mlforge.errors import GrammarError


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
