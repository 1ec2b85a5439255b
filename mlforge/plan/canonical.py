"""Canonical text of a feature's SQL: equal for queries that differ only in how they are written.

The text is built from the tree, never generated as SQL again: sqlglot's generator drops things (IGNORE NULLS of
last()) and two different queries would come out equal. Where it is not clear that two spellings mean the same, the
texts differ.
"""

from __future__ import annotations

import json
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mlforge.plan.synonyms import fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlglot import exp


class Canonical(Struct, frozen=True, kw_only=True):
    """A query taken apart. ``items`` are the outermost select list in order, lower-case output name ("" where none is
    written) and text. ``relation`` is all the rest. If ``whole``, there are no items: the relation is everything."""

    relation: str
    items: tuple[tuple[str, str], ...]
    whole: bool


def canonical(sql: str) -> Canonical:
    """Take one DuckDB query apart. Text that sqlglot cannot read (a Python feature's) stands for itself, as a whole."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        (tree,) = _parse(sql)
    except (SqlglotError, ValueError):
        tree = None
    if tree is None:
        return Canonical(relation=sql, items=(), whole=True)
    while isinstance(tree, exp.Subquery) and set(_given(tree)) == {"this"}:
        tree = tree.this
    writer = _Writer(sql)
    if not isinstance(tree, exp.Select) or _is_whole(tree):
        return Canonical(relation=writer.text(tree, None), items=(), whole=True)
    return _outermost(tree, writer)


def _parse(sql: str) -> list[exp.Expression | None]:
    """The trees of the statements. Synonyms are folded in the tokens, so that ``mean`` and ``avg`` become one node."""
    from sqlglot.dialects.duckdb import DuckDB
    from sqlglot.tokens import TokenType

    dialect = DuckDB()
    tokens = dialect.tokenize(sql)
    for token, after in pairwise(tokens):
        if after.token_type == TokenType.L_PAREN and token.token_type == TokenType.VAR:
            token.text = fold(token.text)
    return list(dialect.parser().parse(tokens, sql))


_ROW_MAKERS = {"unnest", "generate_subscripts", "explode"}


def _is_whole(select: exp.Select) -> bool:
    """Whether adding an item could change the rows, and so the other items."""
    from sqlglot import exp

    group = select.args.get("group")
    return bool(
        select.args.get("distinct")
        or select.args.get("order")
        or (group is not None and not _is_list(group))
        or any(
            isinstance(n, (exp.Star, exp.Explode, exp.Unnest)) or _name(n) in _ROW_MAKERS
            for n in _own(select.expressions)
            if not isinstance(n.parent, exp.Count)
        )
    )


def _is_list(group: exp.Expression) -> bool:
    """Whether GROUP BY is a plain list: no ALL, and nothing that could hide positions."""
    from sqlglot import exp

    hiding = (exp.Tuple, exp.Rollup, exp.Cube, exp.GroupingSets)
    return set(_given(group)) == {"expressions"} and not any(isinstance(e.unnest(), hiding) for e in group.expressions)


def _name(node: exp.Expression) -> str:
    from sqlglot import exp

    return str(node.this).lower() if isinstance(node, exp.Anonymous) else ""


def _given(node: exp.Expression) -> dict[str, Any]:
    """The arguments of a node that say something."""
    return {k: v for k, v in node.args.items() if v is not None and v is not False and v != []}


def _own(roots: Iterable[exp.Expression]) -> Iterator[exp.Expression]:
    """All nodes below, without those of nested queries."""
    from sqlglot import exp

    for root in roots:
        yield from root.walk(prune=lambda n: isinstance(n, exp.Query))


class _Scope:
    """Names that a query can see. Depth and position name a relation: chains of scopes never share a depth."""

    def __init__(self, parent: _Scope | None) -> None:
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 0
        self.relations: dict[str, str] = {}
        self.size = 0
        self.ctes: dict[str, str] = {}
        self.made: set[str] = set()  # output names that are not simply a column's own

    def chain(self) -> Iterator[_Scope]:
        scope: _Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def cte(self, name: str) -> str | None:
        return next((s.ctes[name] for s in self.chain() if name in s.ctes), None)


_EARLY = ("from_", "joins", "laterals", "where", "windows")  # DuckDB evaluates them before the select list


def _outermost(select: exp.Select, writer: _Writer) -> Canonical:
    scope = writer.open(select, None)
    parts = [f"{key}={writer.value(select, select.args[key], scope)}" for key in _EARLY if key in _given(select)]
    parts.insert(0, f"with={writer.with_text(select)}")
    items = _items(select, scope, writer)
    for key, value in sorted(_given(select).items()):
        if key in _EARLY or key in ("expressions", "with_"):
            continue
        grouped = key == "group"
        text = _grouping(value, items, scope, writer) if grouped else writer.value(select, value, scope)
        parts.append(f"{key}={text}")
    return Canonical(relation=" ".join(parts), items=tuple(items), whole=False)


def _items(select: exp.Select, scope: _Scope, writer: _Writer) -> list[tuple[str, str]]:
    """Output names and texts. A later use of an earlier alias carries what the alias stands for, unless the FROM clause
    is known to have a column of that name, which wins."""
    from_columns = {c.name.lower() for c in _own(select.expressions) if writer.is_qualified(c, scope)}
    items = []
    for item in select.expressions:
        name, text = _output_name(item), writer.text(item.unalias(), scope)
        items.append((name, text))
        from_columns |= _bare_names(item.unalias()) - writer.aliases.keys()
        if name and name not in from_columns:
            writer.aliases[name] = _digest(text)
    return items


def _output_name(item: exp.Expression) -> str:
    """The name of an item of a select list, lower case; "" where it follows from rules of default names."""
    from sqlglot import exp

    while isinstance(item, exp.Paren):
        item = item.this
    return str(item.alias_or_name).lower() if isinstance(item, (exp.Alias, exp.Column)) else ""


def _word(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def _bare_names(node: exp.Expression) -> set[str]:
    """Columns that are named without a relation."""
    from sqlglot import exp

    return {n.name.lower() for n in _own([node]) if isinstance(n, exp.Column) and len(n.parts) == 1}


def _grouping(group: exp.Expression, items: list[tuple[str, str]], scope: _Scope, writer: _Writer) -> str:
    """GROUP BY with positions replaced by what stands there."""
    texts = []
    for expression in (e.unnest() for e in group.expressions):
        position = expression.is_int and int(expression.name)
        fits = position and 0 < position <= len(items)
        texts.append(items[position - 1][1] if fits else writer.text(expression, scope))
    return f"[{' '.join(texts)}]"


def _digest(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()


class _Writer:
    """Writes trees as nested parentheses: class, function name, and every argument that is given."""

    def __init__(self, sql: str) -> None:
        from sqlglot import exp

        self.sql = sql
        self.aliases: dict[str, str] = {}  # of the outermost SELECT -> digest of what they stand for
        self._withs: dict[int, str] = {}
        self._renamed: set[int] = set()  # alias nodes whose name a position has replaced
        self._cased = (exp.Literal, exp.JSONPathPart, exp.RawString, exp.National, exp.ByteString, exp.UnicodeString)
        self._writers = {
            exp.Column: self._column,
            exp.Table: self._table,
            exp.Identifier: lambda node, _: _word(node.name.lower()),
            exp.Literal: lambda node, _: json.dumps(node.name) if node.is_string else str(node.name).lower(),
            exp.Paren: lambda node, scope: self.text(node.this, scope),
            exp.TableAlias: self._table_alias,
            exp.Join: self._join,
            exp.PropertyEQ: self._field,
        }

    def text(self, node: exp.Expression, scope: _Scope | None) -> str:
        """Canonical text of a node in a scope; a query opens its own below it."""
        from sqlglot import exp

        if isinstance(node, (exp.Select, exp.SetOperation)) or (
            isinstance(node, exp.Subquery) and node.args.get("with_")
        ):
            inner = self.open(node, scope)
            return f"({type(node).__name__} with={self.with_text(node)}{self._arguments(node, inner, {'with_'})})"
        assert scope is not None
        special = self._writers.get(type(node))
        return special(node, scope) if special else f"({self._label(node)}{self._arguments(node, scope)})"

    def value(self, owner: exp.Expression, value: Any, scope: _Scope) -> str:
        """Canonical text of one argument of a node."""
        from sqlglot import exp

        if isinstance(value, exp.Expression):
            return self.text(value, scope)
        if isinstance(value, (list, tuple)):
            return f"[{' '.join(self.value(owner, v, scope) for v in value)}]"
        if isinstance(value, Enum):
            return str(value.value)
        word = json.dumps(value, default=str)
        return word if isinstance(owner, self._cased) else word.lower()

    def open(self, query: exp.Expression, parent: _Scope | None) -> _Scope:
        """The scope of a query: its CTEs, then its relations, each under a name made of depth and position."""
        from sqlglot import exp

        scope = _Scope(parent)
        self._withs[id(query)] = self._ctes(query, scope)
        if isinstance(query, exp.Select):
            for relation in _relations(query):
                self._register(relation, scope)
            scope.made = {_output_name(i) for i in query.expressions if not self._keeps_name(i, scope)}
        return scope

    def with_text(self, query: exp.Expression) -> str:
        """The WITH clause of a query that was opened."""
        return self._withs[id(query)]

    def is_qualified(self, node: exp.Expression, scope: _Scope) -> bool:
        """Whether a node is a column of a named relation of this very scope."""
        from sqlglot import exp

        return isinstance(node, exp.Column) and len(node.parts) == 2 and node.parts[0].name.lower() in scope.relations

    def _keeps_name(self, item: exp.Expression, scope: _Scope) -> bool:
        """Whether an item is a column of FROM under its own name."""
        from sqlglot import exp

        column = item.unalias()
        if not isinstance(column, exp.Column) or column.name.lower() != _output_name(item):
            return False
        return len(column.parts) == 1 or self.is_qualified(column, scope)

    def _ctes(self, query: exp.Expression, scope: _Scope) -> str:
        clause = query.args.get("with_")
        if clause is None:
            return "[]"
        texts = []
        for position, cte in enumerate(clause.expressions):
            label = f"c{scope.depth}.{position}"
            if clause.args.get("recursive"):
                scope.ctes[cte.alias.lower()] = label
            self._renamed.add(id(cte.args["alias"]))
            texts.append(f"({label}{self._arguments(cte, scope)})")
            scope.ctes[cte.alias.lower()] = label
        return f"[{'recursive ' if clause.args.get('recursive') else ''}{' '.join(texts)}]"

    def _register(self, relation: exp.Expression, scope: _Scope) -> None:
        """Name a relation by its position. Table functions keep their alias: DuckDB may name their column after it."""
        from sqlglot import exp

        label = f"t{scope.depth}.{scope.size}"
        scope.size += 1
        plain = isinstance(relation, exp.Table) and isinstance(relation.this, exp.Identifier)
        derived = isinstance(relation, exp.Subquery) and isinstance(relation.this, exp.Query)
        name = relation.alias_or_name.lower()
        if (plain or derived) and not relation.args.get("pivots"):
            self._renamed.add(id(relation.args.get("alias")))
        else:
            label = f"~{name}"
        if name:
            scope.relations[name] = label
        if plain and relation.db and not relation.alias:
            scope.relations[f"{relation.db}.{relation.name}".lower()] = label

    def _label(self, node: exp.Expression) -> str:
        """Class and, for a call, the name that was written: sqlglot has one class for some functions that differ."""
        from sqlglot import exp

        kind, span = type(node).__name__, node.meta
        if not isinstance(node, exp.Func) or isinstance(node, exp.Anonymous) or "start" not in span:
            return kind
        written = self.sql[span["start"] : span["end"] + 1]
        return f"{kind}@{fold(written.strip(chr(34)))}"

    def _arguments(self, node: exp.Expression, scope: _Scope, skip: set[str] | frozenset[str] = frozenset()) -> str:
        given = sorted((k, v) for k, v in _given(node).items() if k not in skip)
        texts = ((key, self.value(node, value, scope)) for key, value in given)
        return "".join(f" {key}={text}" for key, text in texts if text)

    def _column(self, node: exp.Expression, scope: _Scope) -> str:
        words = [self.text(part, scope) for part in node.parts]
        if len(words) == 1:
            return self._bare(words[0], scope)
        for at in scope.chain():
            for used in (2, 1):
                label = at.relations.get(".".join(words[:used]))
                if label and len(words) > used:
                    return self._qualified(
                        label, words[used:], at is scope and at.size == 1 and words[used] not in at.made
                    )
        return f"(column {'.'.join(words)})"

    def _qualified(self, label: str, rest: list[str], sole: bool) -> str:
        return f"(column {'.'.join(rest if sole else [label, *rest])})"

    def _bare(self, name: str, scope: _Scope) -> str:
        """A name alone is a column, an earlier alias, or the whole row of a relation: without a schema, whatever it may
        be is said."""
        said = [name]
        if scope.depth == 0 and name in self.aliases:
            said.append(f"alias={self.aliases[name]}")
        said += [f"row={s.relations[name]}" for s in scope.chain() if name in s.relations]
        return f"(column {' '.join(said)})"

    def _table(self, node: exp.Expression, scope: _Scope) -> str:
        label = scope.cte(node.name.lower()) if not node.db else None
        if label is None:
            return f"(Table{self._arguments(node, scope)})"
        return f"(Table {label}{self._arguments(node, scope, {'this'})})"

    def _table_alias(self, node: exp.Expression, scope: _Scope) -> str:
        said = self._arguments(node, scope, {"this"} if id(node) in self._renamed else frozenset())
        return f"(as{said})" if said else ""

    def _join(self, node: exp.Expression, scope: _Scope) -> str:
        """INNER and OUTER say nothing beside a condition or a side."""
        kind = str(node.args.get("kind") or "").upper()
        silent = (kind == "OUTER" and node.side) or (
            kind == "INNER" and (node.args.get("on") or node.args.get("using"))
        )
        return f"(Join{self._arguments(node, scope, {'kind'} if silent else frozenset())})"

    def _field(self, node: exp.Expression, scope: _Scope) -> str:
        """A field of a struct literal: the case of its name shows when the struct is printed."""
        return f"(field {json.dumps(node.this.name)} {self.text(node.expression, scope)})"


def _relations(select: exp.Select) -> Iterator[exp.Expression]:
    from_ = select.args.get("from_")
    if from_ is not None:
        yield from _joined(from_.this)
    for join in select.args.get("joins") or []:
        yield from _joined(join.this)
    yield from select.args.get("laterals") or []


def _joined(relation: exp.Expression) -> Iterator[exp.Expression]:
    """A relation, and those that stand in parentheses or hang on it."""
    from sqlglot import exp

    inner = relation.this
    if isinstance(relation, exp.Subquery) and isinstance(inner, (exp.Table, exp.Subquery)) and not relation.alias:
        yield from _joined(inner)
    else:
        yield relation
    for join in relation.args.get("joins") or []:
        yield from _joined(join.this)
