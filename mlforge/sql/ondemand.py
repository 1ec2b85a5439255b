"""Compiling a row expression over features and request columns, read at the label's key and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.errors import FeatureError, Where, did_you_mean
from mlforge.model import Compiled, Key, Output, RefJoin
from mlforge.render.grammar import is_as_of
from mlforge.render.names import check_names
from mlforge.render.syntax import outermost, ref_name, refuse, relations, where
from mlforge.sql.level import level
from mlforge.sql.rowlist import ZONED, in_utc
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlglot import exp

    from mlforge.model import Entity
    from mlforge.render.syntax import Parsed


def compile_on_demand(
    parsed: Parsed,
    tree: exp.Query,
    entity: Entity,
    describe: Callable[[str, exp.Expression | None], dict[str, str]],
    upstream: Mapping[str, Compiled],
) -> tuple[Compiled, dict[str, exp.Expression]]:
    """The compiled feature and its output items. Its keys are the entity's and those of every feature it refs."""
    import sqlglot

    select = outermost(tree)[0]
    refs = {table.alias_or_name: upstream[ref_name(table) or ""] for table, _ in relations(select)}
    _check_refs(parsed, refs)
    keys = {k.name: k for c in refs.values() for k in c.keys}
    keys = {k: keys.get(k, Key(k, "VARCHAR")) for k in entity.keys} | keys
    listed = select.expressions
    check_names([i.alias for i in listed], lambda n: where(parsed, listed[n].this))
    items = {i.alias: i.this for i in listed if i.alias not in keys}
    request = parsed.rendered.config.request
    uses_as_of = any(is_as_of(n) for e in items.values() for n in e.walk())
    texts = {name: _rewrite(parsed, e, refs, request).sql("duckdb") for name, e in items.items()}
    asked = {**request, "_mlforge_at": "TIMESTAMP"}
    types = {("_mlforge_p", n.lower()): ZONED if t.upper() == "TIMESTAMPTZ" else t.upper() for n, t in asked.items()}
    types |= {(alias, o.name.lower()): o.type for alias, c in refs.items() for o in c.outputs}
    texts = in_utc(texts, types)
    probe = sqlglot.parse_one(
        sql("feature/describe_on_demand", refs=refs, request=request, outputs=texts), dialect="duckdb"
    )
    written = probe.copy()
    level(parsed, probe, describe)
    if probe != written:
        texts = {i.alias: i.this.sql("duckdb") for i in probe.expressions}
    found = describe(sql("feature/describe_on_demand", refs=refs, request=request, outputs=texts), select)
    kinds = dict(zip(texts, found.values(), strict=True))  # DuckDB 2 spells names as the columns they come from
    zoned = [n for n, t in kinds.items() if t == ZONED]
    texts |= {n: f"timezone('UTC', {texts[n]})" for n in zoned}
    kinds |= dict.fromkeys(zoned, "TIMESTAMP")
    compiled = Compiled(
        feature=parsed.rendered.name,
        kind="on_demand",
        keys=tuple(keys.values()),
        request=request,
        refs=tuple(RefJoin(alias=a, feature=c.feature, version="") for a, c in refs.items()),
        outputs=tuple(Output(name=n, sql=t, type=kinds[n], empty="NULL") for n, t in texts.items()),
        uses_as_of=uses_as_of,
        parts=entity.parts,
    )
    return compiled, items


def _check_refs(parsed: Parsed, refs: Mapping[str, Compiled]) -> None:
    for compiled in refs.values():
        if compiled.kind == "on_demand":
            raise FeatureError(
                f"{compiled.feature} is on demand itself",
                where=Where(parsed.rendered.path),
                hint="an on-demand feature reads stored features only: repeat its expression here",
            )


def _rewrite(
    parsed: Parsed, expression: exp.Expression, refs: Mapping[str, Compiled], request: Mapping[str, str]
) -> exp.Expression:
    """Columns with the relation they come from: a ref's alias, or the request."""
    from sqlglot import exp

    def change(node: exp.Expression) -> exp.Expression:
        if is_as_of(node):
            return exp.column("_mlforge_at", table="_mlforge_p")
        if not isinstance(node, exp.Column) or (len(node.parts) == 2 and node.table in refs):
            return node
        first, *fields = node.parts
        if first.name in refs and fields:
            owner: exp.Expression = exp.column(fields.pop(0).copy(), table=first.copy())
        else:
            owner = _owner(parsed, exp.column(first.copy()) if fields else node, refs, request)
        # in brackets: where r is a row itself, DuckDB takes r.was of r.was.a for a table
        return exp.Dot.build([exp.paren(owner), *(f.copy() for f in fields)]) if fields else owner

    return expression.copy().transform(change)


def _owner(
    parsed: Parsed, node: exp.Column, refs: Mapping[str, Compiled], request: Mapping[str, str]
) -> exp.Expression:
    from sqlglot import exp

    name = node.name.lower()
    for column in request:
        if column.lower() == name:
            return exp.column(exp.to_identifier(column, quoted=True), table="_mlforge_p")
    owners = [a for a, c in refs.items() if name in (o.name.lower() for o in c.outputs)]
    if len(owners) == 1:
        return exp.column(node.this.copy(), table=exp.to_identifier(owners[0], quoted=True))
    known = [*request, *(o.name for c in refs.values() for o in c.outputs)]
    what = f"is in {' and '.join(owners)}" if owners else "is neither a request column nor a column of a ref"
    hint = f"write {owners[0]}.{node.name}" if owners else did_you_mean(node.name, known)
    raise refuse(parsed, node, f"column {ident(node.name)} {what}", hint)
