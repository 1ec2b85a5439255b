"""Every error mlforge raises on purpose.

    MlforgeError
    ├── UsageError            the call is wrong: an unknown flag value, an unknown feature name   (exit code 2)
    ├── ProjectError          mlforge.yaml or the layout of the project
    ├── FeatureError          one feature's file
    │   ├── TemplateError     Jinja did not render
    │   ├── GrammarError      SQL of a shape that a feature may not have
    │   └── LeakageError      SQL that could see the future
    ├── WarehouseError        the engine refused a statement
    ├── CatalogError          catalog.duckdb cannot be read or written as asked
    │   └── LockedError       another process holds it
    ├── BuildError            a build could not go on
    ├── RetrievalError        label rows or requested features do not fit
    └── OnlineError           the online store does not hold what is asked, or cannot take what is published
        ├── NotPublishedError a feature, a feature set, or everything
        ├── CannotServeError  what is published cannot be had here: an expression without DuckDB
        └── StoreDownError    it cannot be reached, or is full
            └── StoreRefusedError   it is there, but does not let us in

Each carries what is wrong (``message``), where (``where``), and what to do (``hint``), without passwords. The CLI has
one handler for the tree; library users catch ``MlforgeError`` or a branch of it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mlforge.masking import clean, masked

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Where:
    """A place in one of the user's files. Lines and columns count from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [masked(self.file), *(str(n) for n in (self.line, self.column) if n is not None)]
        return ":".join(parts)


class MlforgeError(Exception):
    """Base of every error that mlforge raises on purpose."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, where: Where | None = None) -> None:
        clean(sys.exception())  # what this one comes from is shown with it
        self.message = masked(message)
        self.hint = hint and masked(hint)
        super().__init__(self.message)
        self.where = where

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows in place of a traceback: the error, then where the user's code called.

        The name is IPython's; ``error.__traceback__`` still has every frame."""
        import traceback
        from pathlib import Path

        package = Path(__file__).parent
        calls = [f for f in traceback.extract_tb(self.__traceback__) if package not in Path(f.filename).parents]
        lines = f"{type(self).__name__}: {self}".splitlines()
        return [*lines, f"  called here: {calls[-1].line}"] if calls and calls[-1].line else lines


class UsageError(MlforgeError):
    """The call itself is wrong."""

    code = "usage"
    exit_code = 2


class ProjectError(MlforgeError):
    """mlforge.yaml or the project's layout is wrong."""

    code = "project"


class FeatureError(MlforgeError):
    """One feature's file is wrong."""

    code = "feature"


class TemplateError(FeatureError):
    """The Jinja text of a feature did not render."""

    code = "template"


class GrammarError(FeatureError):
    """The SQL has a shape that a feature may not have."""

    code = "grammar"


class LeakageError(FeatureError):
    """The SQL could see rows that were not known at the time it answers for."""

    code = "leakage"


class WarehouseError(MlforgeError):
    """The engine refused a statement."""

    code = "warehouse"


class CatalogError(MlforgeError):
    """The catalog cannot be read or written as asked."""

    code = "catalog"


class LockedError(CatalogError):
    """Another process holds the catalog."""

    code = "locked"


class BuildError(MlforgeError):
    """A build could not go on."""

    code = "build"


class RetrievalError(MlforgeError):
    """Label rows and requested features do not fit together."""

    code = "retrieval"


class OnlineError(MlforgeError):
    """The online store does not hold what is asked, or cannot take what is published."""

    code = "online"


class NotPublishedError(OnlineError):
    """What is asked for is not published: a feature, a version, a feature set, or nothing is at all."""

    code = "not_published"


class CannotServeError(OnlineError):
    """The request is right and the store answers, and yet the value cannot be made here."""

    code = "cannot_serve"


class StoreDownError(OnlineError):
    """The online store cannot be reached, or is full. What failed can be repeated."""

    code = "store_down"


class StoreRefusedError(StoreDownError):
    """The online store is there, but the password, the certificate or the kind of server is another: trying again does
    not help."""

    code = "store_refused"


class RecordWarning(UserWarning):
    """Of a record beside the catalog: it could not be written though what it tells of was done, or it is none."""


_MOST_WORDS = 800


def engine_words(error: Exception | str) -> str:
    """What DuckDB says, in one line: its candidates and advice too, and the word that its caret stands below; without
    the settings of its CSV reader, traces of its own code, and passwords."""
    first, *more = (str(error).strip() or type(error).__name__).splitlines()
    said, near = [first.strip()], ""
    for line, below in zip(more, [*more[1:], ""][: len(more)], strict=True):
        text = line.strip()
        if text.startswith(("file = ", "Stack Trace")):
            break
        caret = below.find("^")
        if text.startswith("LINE ") and caret >= 0:
            near = line[caret : caret + below.count("^")] if below.count("^") > 1 else _word(line[caret:])
            break
        if text and text != "^":
            said.append(text)
    words = said[0]
    for text in said[1:]:
        words += ("" if words[-1] in ".!?:;," else ";") + " " + text
    if near and "_mlforge" not in near and near.lower() not in words.lower():
        words += f" (near {near!r})"
    words = masked(words)
    return words if len(words) <= _MOST_WORDS else words[:_MOST_WORDS] + " ..."


def _word(text: str) -> str:
    end = next((n for n, c in enumerate(text) if not (c.isalnum() or c in '_."')), len(text))
    return text[: max(end, 1)]


LONGEST = 200
"""Longer words are like none: comparing would take long, and a caller over HTTP chooses them."""


def nearest_three(word: str, known: Iterable[str]) -> list[str]:
    """Up to three known words that look like ``word``, compared without case, the most like it first."""
    if len(word) > LONGEST:
        return []
    from difflib import get_close_matches  # only when something is wrong: readers start without it

    by_lower = {k.lower(): k for k in known}
    return [by_lower[found] for found in get_close_matches(word.lower(), by_lower, n=3, cutoff=0.6)]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like ``word``, compared without case, or None."""
    return next(iter(nearest_three(word, known)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: the nearest known one, else the list of all."""
    known = sorted(known)
    near = nearest(word, known)
    if near:
        return f"did you mean {near!r}?"
    return f"known: {', '.join(known)}" if known else "none is defined"
