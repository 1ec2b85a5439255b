"""Line marks: how rendered SQL keeps the file and line that each of its lines came from.

The lexer's text is given a mark at its start and after each newline. Marks travel through macros and loops with the
text they stand in; expressions that look into text (filters, comparisons, assignments, arguments) get it without marks;
the rest is taken out after rendering."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jinja2.ext import Extension
from jinja2.lexer import Token

from mlforge.model import LineMap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jinja2.lexer import TokenStream

_MARK = re.compile("\x01([0-9]+) ([^\x02]*)\x02")


def _mark(line: int, path: str) -> str:
    return f"\x01{line} {path}\x02"


def unmark(value: object) -> object:
    """Text without marks; anything else as it is."""
    return _MARK.sub("", value) if isinstance(value, str) and "\x01" in value else value


class Marks(Extension):
    """Puts marks into the text of templates. The template's name must be the path shown to the user."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        """Mark data tokens; other tokens pass."""
        path = stream.name or ""
        tag, before = "", ""
        for token in stream:
            if before == "block_begin":
                tag = token.value
            before = token.type
            yield _marked(token, path, begins_macro=tag == "macro") if token.type == "data" else token


def _marked(token: Token, path: str, *, begins_macro: bool) -> Token:
    """A data token with a mark at its start and after each newline.

    The text that begins a macro has none at its start: it continues the line that calls the macro."""
    first, *rest = token.value.split("\n")
    lines = [first if begins_macro else _mark(token.lineno, path) + first]
    lines += [_mark(token.lineno + i, path) + line for i, line in enumerate(rest, start=1)]
    return Token(token.lineno, "data", "\n".join(lines))


def take_out(text: str, path: str) -> tuple[str, LineMap]:
    """Rendered text without marks, and where each of its lines came from."""
    current = (path, 1)
    lines: list[str] = []
    places: list[tuple[str, int]] = []
    for line in text.split("\n"):
        place, current = _place(line, current, path)
        places.append(place)
        lines.append(_MARK.sub("", line))
    return "\n".join(lines), LineMap(tuple(places))


def _place(line: str, current: tuple[str, int], home: str) -> tuple[tuple[str, int], tuple[str, int]]:
    """Where a line came from, and where the text at its end did.

    The last mark before any visible text counts, as a tag of several lines may stand before it; but a macro that is
    called at the start of a line does not take that line from the feature (``home``) that calls it."""
    place: tuple[str, int] | None = None
    seen = 0
    for match in _MARK.finditer(line):
        if line[seen : match.start()].strip():
            place = place or current
            break
        seen = match.end()
        if place is None or match[2] == home or place[0] != home:
            place = (match[2], int(match[1]))
    marks = _MARK.findall(line, seen)
    end = (marks[-1][1], int(marks[-1][0])) if marks else place or current
    return place or current, end
