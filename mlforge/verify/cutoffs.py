"""Where the sources of a feature are cut, and whether their rows become event rows one by one.

Where each event row comes from one row of one source, that row's time is carried along and every label drops for itself
what it may not see: one query for all labels. Any other SQL is run again for each instant, over sources cut there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlforge.duration import Duration, period_of
from mlforge.model import SOURCE_SCHEMA
from mlforge.proof.pruned import prepared
from mlforge.proof.relations import Relation, Unproven
from mlforge.render.conditions import condition
from mlforge.render.copied_columns import copied_column
from mlforge.render.functions import is_aggregate
from mlforge.render.scopes import find_cte, timed_below
from mlforge.render.syntax import outermost, ref_name, relations, source_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlglot import exp

    from mlforge.model import Project, Source, StoredVersion

CUT_SCHEMA = "_mlforge_cut"
STAMP = "_mlforge_s"
_CLAUSES = ("group", "having", "distinct", "qualify", "windows", "limit", "offset", "sample", "pivots")


_ATONCE, _DAY = Duration(0, "s"), Duration(1, "d")


@dataclass(frozen=True)
class Cut:
    """The column by which a source is cut; None where it has no time that anybody states."""

    source: str
    column: str | None
    format: str | None = None  # how its text is read
    delay: Duration = _ATONCE  # so long after that time a row is known
    known: tuple[tuple[str, str], ...] = ()  # columns that are read and come later, with SQL for the instant

    @property
    def micros(self) -> int:
        """The delay in microseconds."""
        return self.delay.micros or 0


def cuts(stored: StoredVersion, project: Project, types: Mapping[str, Mapping[str, str]]) -> dict[str, Cut]:
    """How each source of a version is cut: by its ``timestamp`` setting, else by the column that the feature's own
    timestamp plainly copies; its ``delay`` later, and where a column of ``known`` is read, not before that is known.
    ``types`` are the columns of each source."""
    copied, late = copied_time(stored), _late(stored, project, types)
    return {
        name: replace(
            _cut(project.sources[name], types[name], copied, stored.definition.timestamp_format),
            known=late.get(name, ()),
        )
        for name in stored.definition.sources
    }


def _late(
    stored: StoredVersion, project: Project, types: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[tuple[str, str], ...]]:
    """The instants of columns that a version reads of sources that have such. Of a source that it names more than once
    none, since one of them may read what another does not."""
    import sqlglot
    from sqlglot import exp

    wanted = {name: project.sources[name].known for name in stored.definition.sources if project.sources[name].known}
    if not wanted:
        return {}
    tables_of = {(SOURCE_SCHEMA, name): Relation(columns=dict(types[name])) for name in stored.definition.sources}
    try:
        query = prepared(sqlglot.parse_one(stored.definition.sql, dialect="duckdb"), tables_of)
    except Unproven:
        return {}
    read = {(c.table.lower(), c.name.lower()) for c in query.find_all(exp.Column)}
    found = {}
    for name, known in wanted.items():
        tables = [t for t in query.find_all(exp.Table) if (source_name(t) or "").lower() == name.lower()]
        if len(tables) == 1:
            alias = tables[0].alias_or_name.lower()
            found[name] = tuple((c, condition(text)) for c, text in known.items() if (alias, c.lower()) in read)
    return found


def _cut(source: Source, types: Mapping[str, str], copied: tuple[str, str] | None, format_: str | None) -> Cut:
    own = copied[1] if copied and copied[0] == source.name else None
    column = source.timestamp or own
    kind = next((t for c, t in types.items() if column and c.lower() == column.lower()), "")
    read = format_ if kind == "VARCHAR" and own and column and own.lower() == column.lower() else None
    if not read and not kind.startswith(("TIMESTAMP", "DATE")):
        return Cut(source.name, None)
    period = period_of(read) if read else _DAY if kind == "DATE" else _ATONCE
    return Cut(source.name, column, read, source.delay or period)


def copied_time(stored: StoredVersion) -> tuple[str, str] | None:
    """The source and its column that the feature's timestamp plainly copies."""
    import sqlglot

    definition = stored.definition
    if definition.timestamp is None:
        return None
    tree = sqlglot.parse_one(definition.sql, dialect="duckdb")
    return copied_column(tree, definition.timestamp)


def key_columns(stored: StoredVersion, source: str) -> dict[str, list[str]]:
    """For each key of a version the names under which a source may have it, the best first: that of the column that the
    key plainly copies, there or in another source, and its own."""
    import sqlglot

    tree = sqlglot.parse_one(stored.definition.sql, dialect="duckdb")
    copied = {k.name: copied_column(tree, k.name) for k in stored.compiled.keys}
    return {
        name: [origin[1], *([name] if origin[0] != source else [])] if origin else [name]
        for name, origin in copied.items()
    }


def carried(query: str, cut: Mapping[str, Cut]) -> str | None:
    """The event relation with the time of the source row that each of its rows is made of, as ``STAMP``.

    None if a row may come from several rows of sources with a time. A query without such sources stays as it is."""
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(query, dialect="duckdb")
    timed = {name for name, c in cut.items() if c.column}
    reads = [t for t in tree.find_all(exp.Table) if source_name(t) in timed]
    if not reads:
        return query
    if len(reads) > 1 or cut[str(source_name(reads[0]))].known or not _carry(tree, cut, timed):
        return None
    return str(tree.sql("duckdb"))


def _carry(query: exp.Expression, cut: Mapping[str, Cut], timed: Collection[str]) -> bool:
    """Add the stamp to a SELECT and to those below it, down to the source. False where a row is made of several."""
    from sqlglot import exp

    while isinstance(query, exp.Subquery):
        query = query.this
    if not isinstance(query, exp.Select) or not _row_by_row(query, timed):
        return False
    relation = relations(query)[0][0]
    name = source_name(relation)
    column = STAMP
    if name in timed:
        column = str(cut[str(name)].column)
    elif not _carry(_below(relation), cut, timed):
        return False
    if not any(_brings(item, relation) for item in query.expressions) or column != STAMP:
        alias = relation.alias_or_name
        stamp = exp.column(column, table=exp.to_identifier(alias, quoted=True) if alias else None, quoted=True)
        query.append("expressions", exp.alias_(stamp, STAMP, quoted=True))
    return True


def _below(relation: exp.Expression) -> exp.Expression:
    cte = find_cte(relation)
    return cte.this if cte is not None else relation


def _brings(item: exp.Expression, relation: exp.Expression) -> bool:
    """Whether an item is a star that brings every column of the relation."""
    from sqlglot import exp

    star = item.this if isinstance(item, exp.Column) else item
    return isinstance(star, exp.Star) and (item is star or item.table.lower() == relation.alias_or_name.lower())


def _row_by_row(select: exp.Select, timed: Collection[str]) -> bool:
    """Whether each row of a SELECT is made of one row of its first relation and of rows that no label cuts."""
    from sqlglot import exp

    found = relations(select)
    if not found or any(select.args.get(c) for c in _CLAUSES):
        return False
    first = found[0][0]
    if any(first.args.get(c) for c in _CLAUSES) or getattr(first, "alias_column_names", []):
        return False
    if not isinstance(first, (exp.Subquery, exp.Table)) or (len(found) > 1 and not first.alias_or_name):
        return False
    for joined, join in found[1:]:
        plain = join is not None and join.side in ("", "LEFT") and join.method in ("", "CROSS")
        if not plain or timed_below(joined, timed):
            return False
    return not any(isinstance(n, (exp.Window, exp.Columns)) or is_aggregate(n) for n in _own(select))


def _own(select: exp.Select) -> list[exp.Expression]:
    """The nodes of a SELECT without those of queries inside it."""
    from sqlglot import exp

    def inner(node: exp.Expression) -> bool:
        return node is not select and isinstance(node, (exp.Query, exp.With))

    return [n for n in select.walk(prune=inner) if not inner(n)]


def over_cut(query: str) -> str:
    """The query over the cut sources in place of the whole ones."""
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(query, dialect="duckdb")
    for table in tree.find_all(exp.Table):
        if table.db == SOURCE_SCHEMA:
            table.set("db", exp.to_identifier(CUT_SCHEMA, quoted=True))
    return str(tree.sql("duckdb"))


def row_refs(query: str) -> set[str]:
    """Features whose rows a query reads as they are stored: those that FROM names first, at any level."""
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(query, dialect="duckdb")
    joined = {id(j.this) for s in tree.find_all(exp.Select) for _, j in relations(s) if j is not None}
    tables = tree.find_all(exp.Table)
    return {name for t in tables if id(t) not in joined and (name := ref_name(t)) is not None}


def key_items(query: str, keys: Collection[str]) -> dict[str, str]:
    """The expressions of the key columns in the SELECT that joins features: SQL over its relations."""
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(query, dialect="duckdb")
    joining = [s for s in tree.find_all(exp.Select) if any(j is not None and ref_name(t) for t, j in relations(s))]
    for select in joining or outermost(tree):
        items = {i.alias_or_name.lower(): i.unalias().sql("duckdb") for i in select.expressions if not i.is_star}
        if all(k.lower() in items for k in keys):
            return {k: items[k.lower()] for k in keys}
    return {}
