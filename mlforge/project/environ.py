"""Environment variables: the ``.env`` file and ``${NAME}`` in text."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from mlforge.errors import ProjectError, Where, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_QUOTED = re.compile(r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)")\s*(?:\#.*)?""", re.DOTALL)
_CLOSED = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_VARIABLE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_SHELL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?", re.DOTALL)
_OMEGACONF = re.compile(r"oc\.env:\s*([A-Za-z_][A-Za-z0-9_]*)\s*(,\s*(.*))?", re.DOTALL)


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a ``.env`` file; none if there is no file. Raises ProjectError for a line of another form.

    The text of the line is never part of the message: it may be a secret."""
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ProjectError("this file is not UTF-8 text", where=Where(path.name)) from None
    found: dict[str, str] = {}
    rest = enumerate(lines, start=1)
    for number, line in rest:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = Where(path.name, number)
        match = _LINE.fullmatch(line)
        if not match:
            raise ProjectError("this line is not NAME=value", where=where)
        found[match[1]] = _dotenv_value(match[2], (line for _, line in rest), where)
    return found


def _dotenv_value(text: str, more: Iterator[str], where: Where) -> str:
    """The value that begins with ``text``; in quotes it may go on over the lines in ``more``."""
    if not text.startswith(("'", '"')):
        return re.split(r"\s+#|^#", text, maxsplit=1)[0].strip()
    while not (match := _QUOTED.fullmatch(text)):
        following = next(more, None)
        if following is None or _CLOSED.match(text):
            raise ProjectError("the quotes of this line do not match", where=where)
        text = f"{text}\n{following}"
    if match[1] is not None:
        return match[1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), match[2], flags=re.DOTALL)


class Environ:
    """Variables of the process, then those of ``.env``. Values are looked up, never kept or shown."""

    def __init__(self, dotenv: Mapping[str, str], process: Mapping[str, str] = os.environ) -> None:
        self._dotenv = dotenv
        self._process = process

    @classmethod
    def of(cls, root: Path) -> Environ:
        """The environment of the project in ``root``."""
        return cls(read_dotenv(root / ".env"))

    def get(self, name: str) -> str | None:
        """The value of a variable, or None if it is not set."""
        return self._process.get(name, self._dotenv.get(name))

    def hint(self, name: str, default_form: str) -> str:
        """What to do about a variable that is not set."""
        near = nearest(name, {*self._process, *self._dotenv})
        return f"did you mean {near!r}?" if near else f"set it, add it to .env, or give a default: {default_form}"

    def interpolate(self, text: str, where: Where | None = None) -> str:
        """Replace ``${X}``, ``${X:-default}``, ``${oc.env:X}`` and ``${oc.env:X,default}``; ``$${`` is a plain ``${``.

        As in a shell, ``:-`` also replaces an empty value. Raises ProjectError for an unset variable."""
        return _VARIABLE.sub(lambda match: self._variable(match, where), text) if "${" in text else text

    def _variable(self, match: re.Match[str], where: Where | None) -> str:
        if match[0] == "$${":
            return "${"
        inner = match[1]
        shell = _SHELL.fullmatch(inner.strip()) if inner is not None else None
        omega = _OMEGACONF.fullmatch(inner.strip()) if inner is not None and not shell else None
        found = shell or omega
        if not found:
            hint = "write ${NAME}, ${NAME:-default}, ${oc.env:NAME} or ${oc.env:NAME,default}; $${ is a plain ${"
            raise ProjectError(f"{match[0]!r} cannot be read as a variable", where=where, hint=hint)
        value = self.get(found[1])
        if value is None or (shell and found[2] and not value):
            if not found[2]:
                hint = self.hint(found[1], f"${{{found[1]}:-...}}")
                raise ProjectError(f"the environment variable {found[1]!r} is not set", where=where, hint=hint)
            return found[3]
        return value
