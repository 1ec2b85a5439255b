"""Spellings whose meaning is gone once sqlglot has parsed them: the trees are equal, so the tokens must be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlforge.errors import GrammarError
from mlforge.render.syntax import DIALECT, place

if TYPE_CHECKING:
    from sqlglot.tokens import Token

    from mlforge.model import Rendered

_JSON_CALLS = ("json_extract", "json_extract_string", "json_extract_path", "json_extract_path_text")
_AMBIGUOUS_KEY = re.compile(r"(?![$/]).*[.\[\]*:?]", re.DOTALL)  # DuckDB: one key; sqlglot: a path
_AMBIGUOUS_PATH = re.compile(r"\$.*(:|\.\.)", re.DOTALL)


def check_tokens(rendered: Rendered) -> None:
    """Refuse what would be carried with another meaning. Raises GrammarError."""
    import sqlglot

    tokens = sqlglot.tokenize(rendered.sql, read=DIALECT)
    for position, token in enumerate(tokens):
        if token.text == "<=>":
            hint = "write array_cosine_distance(a, b), or a IS NOT DISTINCT FROM b"
            raise _lost(rendered, token, "a <=> b", hint)
        if _is_json_path(tokens, position) and _is_ambiguous(token.text):
            quoted = '$."a.b"' if token.text.startswith("$") else f'$."{token.text}"'
            raise _lost(rendered, token, f"the JSON path '{token.text}'", f"quote its keys, as in '{quoted}'")


def _lost(rendered: Rendered, token: Token, what: str, hint: str) -> GrammarError:
    line = rendered.sql.count("\n", 0, token.start) + 1
    return GrammarError(f"mlforge cannot carry this expression: {what}", where=place(rendered, line), hint=hint)


def _is_ambiguous(text: str) -> bool:
    return bool(_AMBIGUOUS_KEY.match(text) or _AMBIGUOUS_PATH.match(re.sub(r'"[^"]*"', "", text)))


def _is_json_path(tokens: list[Token], position: int) -> bool:
    """Whether a token is a string after ``->`` or ``->>``, or among the arguments of a JSON function."""
    from sqlglot.tokens import TokenType

    if tokens[position].token_type != TokenType.STRING or position == 0:
        return False
    if tokens[position - 1].token_type in (TokenType.ARROW, TokenType.DARROW):
        return True
    return _enclosing_call(tokens, position) in _JSON_CALLS


def _enclosing_call(tokens: list[Token], position: int) -> str:
    depth = 0
    for i in range(position - 1, 0, -1):
        if tokens[i].text in (")", "]"):
            depth += 1
        elif tokens[i].text in ("(", "["):
            if depth == 0 and tokens[i].text == "(":
                return str(tokens[i - 1].text).lower()
            depth = max(depth - 1, 0)
    return ""
