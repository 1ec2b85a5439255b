"""Trees and the places in the user's files that their nodes came from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlforge.errors import GrammarError, Where
from mlforge.model import REF_SCHEMA, SOURCE_SCHEMA, Kind, Rendered

if TYPE_CHECKING:
    from sqlglot import exp

DIALECT = "duckdb"
TOO_DEEP = "this SQL is nested too deeply"
_INTERNAL = re.compile(rf'"?({SOURCE_SCHEMA}|{REF_SCHEMA})"?\."?([^"\s.(),]+)"?')


@dataclass(frozen=True)
class Parsed:
    """A feature's SQL as a tree that has passed the grammar. ``tree`` is a SELECT or a set operation."""

    rendered: Rendered
    tree: exp.Query
    kind: Kind


def where(source: Parsed | Rendered, node: exp.Expression | None) -> Where:
    """The user's file and line of a node: its first word, or that of the nearest node around it; else the file."""
    rendered = source.rendered if isinstance(source, Parsed) else source
    while node is not None:
        start = first_position(node)
        start = _keyword_position(rendered, node) if start is None else start
        if start is not None:
            return place(rendered, rendered.sql.count("\n", 0, start) + 1)
        node = node.parent
    return Where(rendered.path)


def place(rendered: Rendered, line: int) -> Where:
    """The user's file and line for a line of the rendered SQL."""
    return Where(*rendered.lines.find(line))


def first_position(node: exp.Expression) -> int | None:
    """Offset in the rendered text of the first token of a node that sqlglot kept a position for."""
    return min((n.meta["start"] for n in node.walk() if "start" in n.meta), default=None)


def _keyword_position(rendered: Rendered, node: exp.Expression) -> int | None:
    """Where a clause of the outermost SELECT opens whose words have no position of their own: ``GROUP BY ALL``."""
    import sqlglot
    from sqlglot.tokens import TokenType

    keywords = {"order": TokenType.ORDER_BY, "group": TokenType.GROUP_BY, "distinct": TokenType.DISTINCT}
    if node.key not in keywords or node.parent is None or node.parent.parent is not None:
        return None
    tokens = sqlglot.tokenize(rendered.sql, read=DIALECT)
    return max((t.start for t in tokens if t.token_type == keywords[node.key]), default=None)


def source_text(rendered: Rendered, node: exp.Expression) -> str:
    """The user's own text of a node, as far as positions tell, with its parentheses closed."""
    spans = [(n.meta["start"], n.meta["end"]) for n in node.walk() if "start" in n.meta]
    if not spans:
        return show(node)
    start, end = min(s for s, _ in spans), max(e for _, e in spans) + 1
    end += 1 if rendered.sql[end : end + 1] == "(" else 0
    text = rendered.sql[start:end]
    while text.count("(") > text.count(")") and end < len(rendered.sql):
        end += 1
        text = rendered.sql[start:end]
    return " ".join(text.split())


def show(node: exp.Expression) -> str:
    """SQL of a node for a message, with ``{{ source("x") }}`` where the user wrote it."""
    from sqlglot import ErrorLevel

    text = node.sql(DIALECT, unsupported_level=ErrorLevel.IGNORE)
    return _INTERNAL.sub(lambda m: f'{{{{ {"source" if m[1] == SOURCE_SCHEMA else "ref"}("{m[2]}") }}}}', text)


def refuse(
    source: Parsed | Rendered, node: exp.Expression | None, message: str, hint: str | None = None
) -> GrammarError:
    """The error for a shape that a feature may not have, at the node's place. The caller raises it."""
    return GrammarError(message, where=where(source, node), hint=hint)


def outermost(tree: exp.Query) -> list[exp.Select]:
    """The SELECTs whose rows leave the feature: the tree itself, or the branches of its set operations."""
    from sqlglot import exp

    if isinstance(tree, exp.SetOperation):
        return outermost(tree.this) + outermost(tree.expression)
    if isinstance(tree, exp.Subquery):
        return outermost(tree.this)
    return [tree] if isinstance(tree, exp.Select) else []


def relations(select: exp.Select) -> list[tuple[exp.Expression, exp.Join | None]]:
    """The relations of FROM in order, each with the JOIN that brought it (None for the first)."""
    from_ = select.args.get("from_")
    first = [(from_.this, None)] if from_ else []
    return first + [(join.this, join) for join in select.args.get("joins") or []]


def source_name(table: exp.Expression) -> str | None:
    """The source that a table node stands for, or None."""
    return _in_schema(table, SOURCE_SCHEMA)


def ref_name(table: exp.Expression) -> str | None:
    """The feature that a table node refers to, or None."""
    return _in_schema(table, REF_SCHEMA)


def _in_schema(table: exp.Expression, schema: str) -> str | None:
    from sqlglot import exp

    return table.name if isinstance(table, exp.Table) and table.db == schema else None
