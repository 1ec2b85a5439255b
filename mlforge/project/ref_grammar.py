"""The reference grammar: ``name[@version][:col,col]``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlforge.errors import MlforgeError, ProjectError, UsageError
from mlforge.model import FeatureRef, Pin

if TYPE_CHECKING:
    from mlforge.errors import Where

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9})(?:\.([0-9]{1,9}))?)?")
_HINT = "write name, name@2, name@2.1.3 or name@2:column,column"


def parse_ref(text: str, where: Where | None = None) -> FeatureRef:
    """Read a reference to a feature, or to a feature set.

    Raises UsageError for another form, or ProjectError where the text comes from a project's file (``where``)."""
    head, colon, tail = text.strip().partition(":")
    name, at, version = head.partition("@")
    name = name.strip()
    if not NAME.fullmatch(name):
        raise _error(f"{text!r} is not a reference to a feature", where)
    columns = tuple(c.strip() for c in tail.split(",")) if colon else ()
    if not all(columns):
        raise _error(f"{text!r} has an empty column name", where)
    repeated = _repeated(columns)
    if repeated:
        raise _error(f"{text!r} names the column {repeated!r} twice", where)
    return FeatureRef(name=name, version=parse_pin(version, where) if at else Pin(), columns=columns)


def parse_pin(text: str, where: Where | None = None) -> Pin:
    """Read ``2``, ``2.1`` or ``2.1.3``. Raises as ``parse_ref`` does."""
    match = _VERSION.fullmatch(text.strip())
    if not match:
        raise _error(f"{text!r} is not a version", where)
    return Pin(*(int(part) if part else None for part in match.groups()))


def _repeated(columns: tuple[str, ...]) -> str | None:
    seen: set[str] = set()
    for column in columns:
        if column.lower() in seen:
            return column
        seen.add(column.lower())
    return None


def _error(message: str, where: Where | None) -> MlforgeError:
    return ProjectError(message, hint=_HINT, where=where) if where else UsageError(message, hint=_HINT)
