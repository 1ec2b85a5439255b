"""What to say of SQL that names a column or a relation that is not there: where, what was meant, and what there is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlforge.errors import FeatureError, WarehouseError, nearest_three
from mlforge.render.syntax import first_position, outermost, place, ref_name, relations, source_name, where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlglot import exp

    from mlforge.render.syntax import Parsed

    Columns = Callable[[str], dict[str, str]]

_COLUMN = (
    re.compile(r"Referenced column (?P<name>[^\s\"]+) not found in FROM clause and can't find in alias map"),
    re.compile(r'Referenced column "(?P<name>(?:[^"]|"")+)" not found in FROM clause'),
    re.compile(r'"(?P<table>(?:[^"]|"")+)" does not have a column named "(?P<name>(?:[^"]|"")+)"'),
    re.compile(r'Column "(?P<name>(?:[^"]|"")+)" does not exist on (?:left|right) side of join'),
    re.compile(r'Column "(?P<name>(?:[^"]|"")+)" in \w+ list not found'),
    re.compile(r'Column "(?P<name>(?:[^"]|"")+)" referenced that exists in the SELECT clause'),
)
_FUNCTION = re.compile(r'Function with name "?(?P<name>\w+)"? does not exist!(?: Did you mean "(?P<near>\w+)"\?)?')
_OF_TYPES = re.compile(r"No function matches|Cannot (?:compare|combine|mix) values of type")
_NO_FROM = "the FROM clause is missing"
_TABLE = re.compile(r'Referenced table "(?P<name>(?:[^"]|"")+)" not found')
_COMMENT = re.compile(r"--[^\n]*?\bFROM\b|/\*(?:(?!\*/).)*?\bFROM\b", re.IGNORECASE | re.DOTALL)
_MOST = 40  # columns of a relation that are listed


def missing(parsed: Parsed, words: str, columns: Columns) -> FeatureError | None:
    """The error for the engine's ``words`` if they are about a column, relation or function that the feature's text
    names and that is not there; else None. ``columns`` gives the columns of a query, or raises WarehouseError."""
    if unread := _without_from(parsed, words):
        return unread
    if function := _FUNCTION.search(words):
        return _missing_function(parsed, function["name"], function["near"])
    table = _TABLE.search(words)
    if table:
        return _missing_relation(parsed, table["name"].replace('""', '"'))
    for pattern in _COLUMN:
        if found := pattern.search(words):
            return _missing_column(parsed, found["name"].replace('""', '"'), columns)
    return None


def types_in(parsed: Parsed, words: str, columns: Columns) -> str | None:
    """The columns that the feature names and that have a type of which the engine's ``words`` say that it does not go
    there; None if they are about something else."""
    from sqlglot import exp

    if not _OF_TYPES.search(words):
        return None
    said = words.partition(" Candidate functions:")[0]
    found: dict[str, str] = {}
    for node in _in_order(
        c for c in parsed.tree.find_all(exp.Column) if not isinstance(c.parent, (exp.Select, exp.Alias))
    ):
        for there in _asked(node, node.name, _there(node, columns)).values():
            kinds = {c.lower(): kind for c, kind in there.items()}
            if re.search(rf"\b{re.escape(kinds.get(node.name.lower(), '-'))}(?!\w)", said):
                found.setdefault(node.name, kinds[node.name.lower()])
    if not found:
        return None
    text = '; where single texts, as N/A, made a column of a file VARCHAR: options: {nullstr: ["", N/A]} of the source'
    return f"{_listed([f'{c} is {t}' for c, t in found.items()])}{text if 'VARCHAR' in found.values() else ''}"


def unknown_column(words: str, columns: Iterable[str]) -> tuple[str, str] | None:
    """What to say, and a hint, if the engine's ``words`` about an expression over these columns are of one that is not
    there; else None."""
    names = list(columns)
    for pattern in _COLUMN:
        found = pattern.search(words)
        if found and found["name"].lower() not in (n.lower() for n in names):
            name = found["name"].replace('""', '"')
            return f"there is no column {name!r}", _hint(name, names, [f"columns: {_listed(names)}"])
    return None


def _without_from(parsed: Parsed, words: str) -> FeatureError | None:
    """A SELECT that lost its FROM, nearly always to a comment."""
    selects = [s for s in outermost(parsed.tree) if not s.args.get("from_")]
    if not selects or not (_NO_FROM in words or any(p.search(words) for p in _COLUMN)):
        return None
    swallowed = _COMMENT.search(parsed.rendered.sql)
    if swallowed is None:
        hint = 'write FROM {{ source("...") }}'
        return _error(parsed, selects[0], "this SELECT names columns and has no FROM", hint)
    line = parsed.rendered.sql.count("\n", 0, swallowed.end()) + 1
    return FeatureError(
        "this SELECT has no FROM: the word stands in a comment",
        where=place(parsed.rendered, line),
        hint="a comment that begins with -- goes on to the end of its line: let FROM begin a new one",
    )


def _missing_function(parsed: Parsed, name: str, near: str | None) -> FeatureError | None:
    from sqlglot import exp

    for call in _in_order(c for c in parsed.tree.find_all(exp.Anonymous) if c.name.lower() == name.lower()):
        hint = f"did you mean {near!r}?" if near else "it is neither DuckDB's nor one of mlforge's"
        return _error(parsed, call, f"there is no function {name!r}", hint)
    return None


def place_of(parsed: Parsed, words: str) -> exp.Expression | None:
    """The first column reference that the engine's words quote."""
    from sqlglot import exp

    quoted = {name.lower() for name in re.findall(r'"([^"]+)"', words)}
    return next(iter(_in_order(c for c in parsed.tree.find_all(exp.Column) if c.name.lower() in quoted)), None)


def _missing_relation(parsed: Parsed, name: str) -> FeatureError | None:
    from sqlglot import exp

    for column in _in_order(c for c in parsed.tree.find_all(exp.Column) if c.table.lower() == name.lower()):
        select = column.find_ancestor(exp.Select)
        known = [_shown(relation) for relation, _ in relations(select)] if select else []
        if known:
            hint = _hint(name, known, [f"relations of FROM: {', '.join(known)}"])
            return _error(parsed, column, f"{column.sql('duckdb')}: there is no relation {name!r} in FROM", hint)
    return None


def _missing_column(parsed: Parsed, name: str, columns: Columns) -> FeatureError | None:
    for node in _in_order(_named(parsed.tree, name)):
        there = _there(node, columns)
        asked = _asked(node, name, there)
        if not there or any(name.lower() == c.lower() for of in asked.values() for c in of):
            continue
        known = list(dict.fromkeys(c for of in asked.values() for c in of))
        listed = [f"columns of {relation}: {_listed(of)}" for relation, of in asked.items()]
        message = f"there is no column {name!r} in {' or '.join(asked)}"
        hint = _hint(name, known, listed)
        if _is_text(parsed, node):
            hint = f"text stands in single quotes; {hint}"
        return _error(parsed, node, message, hint)
    return None


def _asked(node: exp.Expression, name: str, there: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Of the relations that are there those that the node means."""
    from sqlglot import exp

    if isinstance(node, exp.Column):
        table = node.table.lower()
        return {r: c for r, c in there.items() if not table or r.lower() == table} or there
    if isinstance(node.parent, exp.Join):  # USING: the joined relation has the column, and one before it
        joined = _shown(node.parent.this)
        lacks = name.lower() not in map(str.lower, there.get(joined, {}))
        return {r: c for r, c in there.items() if (r == joined) == lacks}
    return there


def _error(parsed: Parsed, node: exp.Expression, message: str, hint: str) -> FeatureError:
    return FeatureError(message, where=where(parsed, node), hint=hint)


def _hint(name: str, known: list[str], listed: list[str]) -> str:
    near = nearest_three(name, known)
    meant = [f"did you mean {' or '.join(map(repr, near))}?"] if near else []
    return " ".join([*meant, "; ".join(listed)])


def _listed(columns: Iterable[str]) -> str:
    names = list(columns)
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def _is_text(parsed: Parsed, node: exp.Expression) -> bool:
    start = first_position(node)
    return start is not None and parsed.rendered.sql[start : start + 1] == '"'


def _in_order(nodes: Iterator[exp.Expression]) -> list[exp.Expression]:
    return sorted(nodes, key=lambda n: first_position(n) or 0)


def _named(tree: exp.Expression, name: str) -> Iterator[exp.Expression]:
    """The nodes that name a column so: references, and the lists of USING, EXCLUDE and REPLACE."""
    from sqlglot import exp

    for column in tree.find_all(exp.Column):
        if column.name.lower() == name.lower():
            yield column
    for join in tree.find_all(exp.Join):
        yield from (n for n in join.args.get("using") or [] if n.name.lower() == name.lower())
    for star in tree.find_all(exp.Star):
        lists = [*(star.args.get("except_") or []), *(star.args.get("replace") or [])]
        yield from (n for n in lists if n.alias_or_name.lower() == name.lower() and not isinstance(n, exp.Column))


def _there(node: exp.Expression, columns: Columns) -> dict[str, dict[str, str]]:
    """What the node may name: the columns of each relation of its SELECT and, within a subquery that is a value, of
    those around it."""
    from sqlglot import exp

    found: dict[str, dict[str, str]] = {}
    select = node.find_ancestor(exp.Select)
    while select is not None:
        for relation, _ in relations(select):
            try:
                found.setdefault(_shown(relation), columns(_everything(select, relation)))
            except WarehouseError:  # it is made of columns that are missing themselves, or needs those beside it
                return {}
        inside = select.parent
        value = isinstance(inside, exp.Subquery) and not isinstance(inside.parent, (exp.From, exp.Join))
        select = inside.find_ancestor(exp.Select) if inside is not None and value else None
    return found


def _everything(select: exp.Select, relation: exp.Expression) -> str:
    """SELECT * FROM one relation, with the CTEs that it may read."""
    from sqlglot import exp

    ctes: list[exp.Expression] = []
    recursive = False
    inner: exp.Expression = select
    node: exp.Expression | None = select
    while node is not None:
        with_ = node.args.get("with_")
        if isinstance(with_, exp.With):
            recursive = recursive or bool(with_.args.get("recursive"))
            before = [c for c in with_.expressions if not recursive or c is not inner]
            ctes = [c.copy() for c in (before[: before.index(inner)] if inner in before else before)] + ctes
        inner = node if isinstance(node, exp.CTE) else inner
        node = node.parent
    query = exp.Select(expressions=[exp.Star()]).from_(relation.copy(), copy=False)
    if ctes:
        query.set("with_", exp.With(expressions=ctes, recursive=recursive))
    return str(query.sql("duckdb"))


def _shown(relation: exp.Expression) -> str:
    """How the user's text calls a relation."""
    return relation.alias or source_name(relation) or ref_name(relation) or relation.alias_or_name or "the subquery"
