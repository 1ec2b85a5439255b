"""Paths that may be patterns."""

from __future__ import annotations

import glob
from pathlib import Path


def pattern(path: str) -> str:
    """A path as a pattern: as far as it exists as it is written, its characters mean themselves."""
    there, rest = Path(), Path(path).parts
    while rest and (there / rest[0]).exists():
        there, rest = there / rest[0], rest[1:]
    return str(Path(glob.escape(str(there)), *rest))
