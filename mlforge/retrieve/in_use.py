"""What a training set reads stays in the catalog until its record says that it was read.

gc looks at what records name, and then deletes. So a training set first notes the versions that it is about to read,
waits for a gc that looked before there was a note, and reads anew where another file has come in the catalog's
place."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlforge.catalog import log, reader
from mlforge.catalog.file import LOCK_TIMEOUT
from mlforge.catalog.lock import wait_for_deleting
from mlforge.retrieve.request import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, FeatureRef


@contextmanager
def held(
    reading: Callable[[], AbstractContextManager[DuckDBPyConnection]],
    catalog_path: str,
    features: Sequence[str | FeatureRef],
) -> Iterator[tuple[DuckDBPyConnection, CatalogState]]:
    """The catalog, opened by ``reading``, and what it holds; gc leaves the versions that ``features`` mean until the
    block ends. Without any, nothing is noted.

    Raises UsageError for features that are not there, LockedError for a gc that does not end."""
    while True:
        opened = _file(catalog_path)
        with reading() as con, ExitStack() as stack:
            state = reader.state(con)
            if features:
                stack.enter_context(log.reading(catalog_path, [r.shown for r in resolve(state, features)]))
                wait_for_deleting(catalog_path, LOCK_TIMEOUT)
                if _file(catalog_path) != opened:
                    continue
            yield con, state
            return


def _file(catalog_path: str) -> tuple[int, int] | None:
    """Which file the catalog is: a commit beside readers puts another one in its place."""
    try:
        there = Path(catalog_path).stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino
