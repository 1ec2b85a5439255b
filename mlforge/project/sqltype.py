"""Types that a user writes: one type of DuckDB, and nothing that could go on behind it."""

from __future__ import annotations

import re

HINT = "write one type of DuckDB, as in BIGINT, DECIMAL(10, 2) or STRUCT(a INTEGER, b VARCHAR[])"
_TOKEN = re.compile(r"""\s*([A-Za-z_]\w*|\d+|"(?:[^"\\]|"")+"|'(?:[^'\\]|'')*'|[()\[\],])""")
_LONG = ("with time zone", "without time zone", "precision", "varying")  # words that may follow the first


def is_type(text: str) -> bool:
    """Whether a text is written as one type is. Whether there is such a type, the engine says."""
    tokens: list[str] = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None or len(tokens) > 10_000:
            return False
        tokens.append(match[1])
        at = match.end()
    try:
        return bool(tokens) and _type(tokens, 0) == len(tokens)
    except (IndexError, RecursionError):
        return False


_FIELDS = ("struct", "row", "union")


def _type(tokens: list[str], at: int) -> int:
    """Where the type ends that begins at a token; -1 if none does. Raises IndexError where the text ends too soon."""
    head = tokens[at].lower()
    if not re.match(r"[a-z_]", head):
        return -1
    at += 1
    if at < len(tokens) and tokens[at] == "(":
        at = _arguments(tokens, at + 1, head)
    words = [t.lower() for t in tokens[at : at + 3]] if at > 0 else []
    at += next((len(w) for long in _LONG if words[: len(w := long.split())] == w), 0)
    while 0 < at < len(tokens) and tokens[at] == "[":
        at += 2 if tokens[at + 1].isdigit() else 1
        at = at + 1 if tokens[at] == "]" else -1
    return at


def _arguments(tokens: list[str], at: int, head: str) -> int:
    """Behind the bracket that closes fields with their types, types, values of an ENUM, or numbers."""
    while at > 0:
        if head in _FIELDS:
            at = _type(tokens, at + 1) if re.match(r'["\w]', tokens[at]) else -1
        elif head == "map":
            at = _type(tokens, at)
        else:
            at = at + 1 if (tokens[at][0] == "'" if head == "enum" else tokens[at].isdigit()) else -1
        if at > 0 and tokens[at] == ")":
            return at + 1
        at = at + 1 if at > 0 and tokens[at] == "," else -1
    return at
