"""From rendered SQL to a tree that follows the grammar of features."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlforge.errors import GrammarError, Where
from mlforge.render.grammar import as_of_calls, check_grammar, trailing_windows
from mlforge.render.roundtrip import check_round_trip, normalise
from mlforge.render.syntax import DIALECT, Parsed, outermost, place, refuse, where
from mlforge.render.tokens import check_tokens

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.errors import ParseError, TokenError

    from mlforge.model import Kind, Rendered

__all__ = ["Parsed", "parse", "where"]


def parse(rendered: Rendered) -> Parsed:
    """Parse a feature's SQL, find its kind, and refuse what the grammar does not allow.

    Raises GrammarError at the user's file and line."""
    tree = normalise(statement(rendered))
    check_tokens(rendered)
    parsed = Parsed(rendered, tree, _kind(rendered, tree))
    check_grammar(parsed)
    check_round_trip(rendered, tree)
    return parsed


def statement(rendered: Rendered) -> exp.Query:
    """The one SELECT or set operation of a file. Raises GrammarError."""
    from sqlglot import exp

    statements = [s for s in _parse_text(rendered) if s is not None and not isinstance(s, exp.Semicolon)]
    if not statements:
        raise GrammarError("the file holds no SQL statement", where=Where(rendered.path), hint="write one SELECT")
    if len(statements) > 1:
        raise refuse(
            rendered, statements[1], f"{len(statements)} statements in one file", "keep one SELECT; CTEs go before it"
        )
    tree = statements[0]
    if isinstance(tree, exp.Subquery):
        raise refuse(rendered, tree, "the whole statement stands in parentheses", "delete them")
    if not isinstance(tree, (exp.Select, exp.SetOperation)):
        name = tree.name if isinstance(tree, exp.Command) else tree.key
        raise refuse(rendered, tree, f"a feature is one SELECT, not {name.upper()}", "write SELECT ... FROM ...")
    return tree


def _parse_text(rendered: Rendered) -> list[exp.Expression | None]:
    import sqlglot
    from sqlglot.errors import ParseError, TokenError

    try:
        return list(sqlglot.parse(rendered.sql, dialect=DIALECT))
    except ParseError as error:
        raise _syntax_error(rendered, error) from error
    except TokenError as error:
        raise _token_error(rendered, error) from error


def _syntax_error(rendered: Rendered, error: ParseError) -> GrammarError:
    first = error.errors[0]
    what = re.sub(r" but got <Token .*", "", first["description"]).rstrip(".")
    lacking = re.search(r"missing for <class '[\w.]+\.(\w+)'>", what)
    if lacking:  # sqlglot's words are about its own classes
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", lacking[1]).upper()
        return GrammarError(
            f"SQL syntax: {name} has too few arguments, or DISTINCT before two of them",
            where=place(rendered, first["line"]),
            hint=f"near: {first['highlight']}",
        )
    near = " ".join(f"{first['start_context'][-30:]}{first['highlight']}{first['end_context'][:20]}".split())
    return GrammarError(
        f"SQL syntax: {what[:1].lower()}{what[1:]}",
        where=place(rendered, first["line"]),
        hint=f"near: {near}",
    )


def _token_error(rendered: Rendered, error: TokenError) -> GrammarError:
    """sqlglot tells the opening quote's offset in its cause, and of an open comment nothing."""
    found = re.search(r"Missing (.+) from \d+:(\d+)", str(error.__cause__))
    if not found and "/*" not in rendered.sql:
        return GrammarError("SQL syntax: the text ends inside a quoted word", where=Where(rendered.path))
    mark, start = (found[1], int(found[2])) if found else ("/*", rendered.sql.rfind("/*"))
    at = place(rendered, rendered.sql.count("\n", 0, start) + 1)
    return GrammarError(f"SQL syntax: {mark} is never closed", where=at, hint=f"add the closing {mark[::-1]}")


def _kind(rendered: Rendered, tree: exp.Query) -> Kind:
    if rendered.config.on_demand:
        return "on_demand"
    if rendered.config.timestamp is None:
        return "static"
    items = [item for select in outermost(tree)[:1] for item in select.expressions]
    timed = any(next(trailing_windows(i), None) or next(as_of_calls(i), None) for i in items)
    return "windows" if timed else "plain"
