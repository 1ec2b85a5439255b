"""Files that are there whole or not at all, and the leftovers of processes that died while they wrote one.

A file is written under a name of its own, ``.<name>.<8 hex digits>``, which its writer holds with flock, and then moved
into place. So whoever can lock such a file knows that its writer is dead, whatever the clock says."""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from mlforge.catalog.lock import is_still

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}")


@contextmanager
def whole_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """An empty file and where it is; it takes the place of ``path`` when the block ends. Raises OSError."""
    temporary, out = _begun(path)
    try:
        with out:
            yield out, temporary
            out.flush()
            os.fsync(out.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _begun(path: Path) -> tuple[Path, BinaryIO]:
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        out = temporary.open("xb")
        with suppress(OSError):  # some file systems have no locks: leftovers stay there
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_still(temporary, out.fileno()):  # else it was swept before it was locked
            return temporary, out
        out.close()


class Note:
    """A file beside ``path`` that is there until it is deleted, or its writer dies and somebody sweeps. Raises
    OSError."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path, self._out = _begun(path)
        self._out.write(content)
        self._out.flush()

    def delete(self) -> None:
        """Delete it: there is nothing more to say."""
        self._path.unlink(missing_ok=True)
        self._out.close()


def sweep(folder: Path, names: str = ".+") -> None:
    """Delete what dead writers of files in a folder left, of files whose names are as the regular expression says. What
    cannot be deleted stays."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            found = _TEMPORARY.fullmatch(path.name)
            if found and re.fullmatch(names, found[1]):
                _delete_if_dead(path)


def _delete_if_dead(path: Path) -> None:
    with suppress(OSError), path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_still(path, held.fileno()):
            path.unlink()
