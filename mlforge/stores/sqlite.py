"""The default online store: one SQLite file in WAL mode, no server. Readers and one writer at a time, in any number of
processes of one machine.

Its statements are SQLite's, constant, and needed where Jinja is not installed: so they stand here, not in
sql_templates/."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mlforge.errors import StoreDownError, StoreRefusedError, UsageError
from mlforge.masking import place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlforge.stores.store import Change

_CREATE = "CREATE TABLE IF NOT EXISTS items (name BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
_ONE = "SELECT value FROM items WHERE name = ?"
_PUT = "INSERT INTO items VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_DELETE = "DELETE FROM items WHERE name = ?"
_SCAN = "SELECT name FROM items WHERE name >= ? AND name > ? ORDER BY name LIMIT ?"
_TOUCH = "SELECT 1 FROM items LIMIT 1"
_COUNT = "SELECT count(*), coalesce(sum(length(name) + length(value)), 0) FROM items"
MOST = 900  # names in one statement; SQLite before 3.32 takes 999 parameters
PORTION = 10_000
WRITING = "writing"
"""Of the connections of a thread, the one that never does with a file that cannot be written."""

LOOK = 1.0
"""Seconds between two looks whether the file is still the same: one that was deleted and made anew goes unnoticed by
who has it open."""


_UNWRITABLE = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_FULL,
}
TRIES = 8
"""How often a read of a file that nothing can be locked in begins anew because somebody writes into it."""


class _Held:
    """A connection of one thread, and what it is connected to. ``state``: of a file that is read without locks."""

    __slots__ = ("connection", "file", "good_until", "read_only", "state")

    def __init__(
        self,
        connection: sqlite3.Connection,
        file: tuple[int, int] | None,
        *,
        read_only: bool = False,
        state: _State | None = None,
    ) -> None:
        self.connection = connection
        self.file = file
        self.good_until = time.monotonic() + LOOK
        self.read_only = read_only
        self.state = state


_State = tuple[int, int, bool]
"""Size and time of a file, and whether a log with contents lies beside it."""


class SQLiteStore:
    """An online store in the file at ``path``, which is made when something is first written.

    Where nothing can be written, a read-only folder or a full disk, it is read all the same. SQLite then has no locks,
    so it is told that the file does not change, and an answer counts only if the file has not changed by then.

    ``timeout``: seconds to wait for another writer."""

    kind = "sqlite"
    largest = 1_000_000_000  # SQLite's limit of a row, unless it was compiled with another

    def __init__(self, path: str | Path = "online.db", *, timeout: float = 30.0) -> None:
        if not str(path):
            raise UsageError("the online store has no path", hint="path: online.db")
        if "://" in str(path):
            raise UsageError(
                f"{place(str(path))} is no path of a SQLite file", hint="give a path alone, or set kind: to what it is"
            )
        self.path = Path(path)
        self.timeout = timeout
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._select: dict[int, str] = {}

    # One connection for each thread: SQLite's own are not shared without a lock around every call.
    def _connection(self, slot: str = "patient") -> sqlite3.Connection:
        found = self._held(slot)
        if found is None:
            with self._in_words():
                found = self._connect(slot, self.timeout)
        return found.connection

    def _held(self, slot: str) -> _Held | None:
        """This thread's connection, unless the file is another one by now, which is looked at once a second."""
        held: _Held | None = getattr(self._local, slot, None)
        if held is None:
            return None
        now = time.monotonic()
        if now < held.good_until:
            return held
        if self._file() == held.file and not held.read_only:  # it may be writable by now
            held.good_until = now + LOOK
            return held
        self._drop(slot, held)
        return None

    def _drop(self, slot: str, held: _Held) -> None:
        setattr(self._local, slot, None)
        with self._lock:
            self._all.remove(held.connection)
        held.connection.close()

    def _file(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _connect(self, slot: str, timeout: float) -> _Held:
        try:
            held = _Held(self._opened(str(self.path), timeout, self._prepare), self._file())
        except sqlite3.OperationalError as error:
            if slot == WRITING or error.sqlite_errorcode & 0xFF not in _UNWRITABLE:
                raise
            held = self._read_only(timeout, error)
        setattr(self._local, slot, held)
        with self._lock:
            self._all.append(held.connection)
        return held

    def _opened(
        self, where: str, timeout: float, prepare: Callable[[sqlite3.Connection, float], None], *, uri: bool = False
    ) -> sqlite3.Connection:
        con = sqlite3.connect(
            where, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=64, uri=uri
        )
        try:
            prepare(con, timeout)
        except BaseException:
            con.close()
            raise
        return con

    def _read_only(self, timeout: float, error: sqlite3.OperationalError) -> _Held:
        """A connection to a file that cannot be written: with the locks of others that are there, else without any.

        Raises ``error``, of the attempt before, if there is a log that cannot be read without writing."""
        place_, file = f"file:{quote(str(self.path.absolute()))}", self._file()
        try:
            return _Held(self._opened(f"{place_}?mode=ro", timeout, _touch, uri=True), file, read_only=True)
        except sqlite3.OperationalError:
            state = self._state()
            if state is None or state[2]:
                raise error from None
        con = self._opened(f"{place_}?immutable=1", timeout, _touch, uri=True)
        return _Held(con, file, read_only=True, state=state)

    def _state(self) -> _State | None:
        log = Path(f"{self.path}-wal")
        try:
            found = self.path.stat()
            return found.st_size, found.st_mtime_ns, log.exists() and log.stat().st_size > 0
        except OSError:
            return None

    def _prepare(self, con: sqlite3.Connection, timeout: float) -> None:
        """WAL mode and the table. Two processes that make a file at once: SQLite refuses one without waiting."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                con.execute("PRAGMA journal_mode=WAL")
                con.execute("PRAGMA synchronous=NORMAL")
                con.execute(_CREATE)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def read(self, names: Sequence[bytes]) -> list[bytes | None]:
        """What lies under each name, all as of one instant. A file that is not there holds nothing."""
        try:
            return self._read("patient", self.timeout, names)
        except sqlite3.Error as error:
            raise self._down(error) from error

    def _read(self, slot: str, timeout: float, names: Sequence[bytes], tries: int = TRIES) -> list[bytes | None]:
        held = self._held(slot)
        if held is None:
            if not self._exists():
                return [None] * len(names)
            held = self._connect(slot, timeout)
        con = held.connection
        if len(names) <= MOST:
            found = dict(con.execute(self._statement(len(names)), names).fetchall())
        else:
            found = self._read_many(con, names)
        if held.state is not None and held.state != self._state():
            self._drop(slot, held)
            if not tries:
                raise StoreDownError(
                    f"the online store {place(str(self.path))} changes while it is read", hint=_NO_LOCKS
                )
            return self._read(slot, timeout, names, tries - 1)
        get = found.get
        return [get(name) for name in names]

    def _exists(self) -> bool:
        try:
            return self.path.exists()
        except OSError as error:
            raise StoreRefusedError(f"the online store {place(str(self.path))} refuses: {error.strerror}") from error

    def _statement(self, count: int) -> str:
        if count not in self._select:
            self._select[count] = f"SELECT name, value FROM items WHERE name IN ({','.join('?' * count)})"
        return self._select[count]

    def _read_many(self, con: sqlite3.Connection, names: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        con.execute("BEGIN")
        try:
            for start in range(0, len(names), MOST):
                part = names[start : start + MOST]
                found.update(con.execute(self._statement(len(part)), part).fetchall())
        finally:
            con.execute("COMMIT")
        return found

    async def aread(self, names: Sequence[bytes]) -> list[bytes | None]:
        """``read``, at once: it takes microseconds, less than a thread would. Where SQLite would have to wait for
        somebody, a thread does."""
        if len(names) <= MOST:
            try:
                return self._read("quick", 0.0, names)
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise self._down(error) from error
        from asyncio import to_thread

        return await to_thread(self.read, names)

    def swap(self, changes: Sequence[Change]) -> list[bool]:
        """All changes in one transaction, each on its own condition."""
        con = self._connection(WRITING)
        with self._in_words():
            con.execute("BEGIN IMMEDIATE")
            try:
                done = [self._swap_one(con, change) for change in changes]
                con.execute("COMMIT")
            except BaseException:
                if con.in_transaction:
                    con.execute("ROLLBACK")
                raise
        return done

    def _swap_one(self, con: sqlite3.Connection, change: Change) -> bool:
        row = con.execute(_ONE, (change.name,)).fetchone()
        if (row[0] if row else None) != change.old:
            return False
        if change.new is None:
            con.execute(_DELETE, (change.name,))
        else:
            con.execute(_PUT, (change.name, change.new))
        return True

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        """The names that begin so, in order."""
        after = b""
        while True:
            with self._in_words():
                rows = self._connection().execute(_SCAN, (prefix, after, PORTION)).fetchall()
            names = [name for (name,) in rows if name.startswith(prefix)]
            if names:
                yield names
            if len(names) < PORTION:
                return
            after = names[-1]

    def status(self) -> dict[str, Any]:
        """Kind, path, SQLite's version, names and bytes."""
        if not self._exists():
            return {"kind": self.kind, "at": str(self.path), "version": sqlite3.sqlite_version, "names": 0, "bytes": 0}
        with self._in_words():
            names, size = self._connection().execute(_COUNT).fetchone()
        return {
            "kind": self.kind,
            "at": str(self.path),
            "version": sqlite3.sqlite_version,
            "names": names,
            "bytes": size,
        }

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for con in self._all:
                con.close()
            self._all.clear()
        self._local = threading.local()

    async def aclose(self) -> None:
        """Close the connections of all threads."""
        self.close()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._down(error) from error

    def _down(self, error: sqlite3.Error) -> StoreDownError:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
            what = f"the online store {place(str(self.path))} cannot be written: {error}"
            return StoreRefusedError(what, hint="the file and its folder must be writable by you")
        hint = "is the disk full, the file another program's, or the folder missing?"
        return StoreDownError(f"the online store {place(str(self.path))} refuses: {error}", hint=hint)


_NO_LOCKS = "who may not write beside it reads it without locks: give the right to write, or a copy"


def _touch(con: sqlite3.Connection, _timeout: float) -> None:
    """Opening alone does not look at the file."""
    con.execute(_TOUCH).fetchall()
