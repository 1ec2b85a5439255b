"""The DuckDB files that this process has open: one registry, keyed by device and inode, counted.

POSIX locks, which DuckDB uses, belong to a process and end when it closes *any* descriptor of the file: a second DuckDB
instance, another thread's reader, a copy. So a file is read under a lock of our own, which belongs to one descriptor
(an "open file description lock") and conflicts with DuckDB's write lock, this very process' included. What holds:

1. While a file is held, nobody who locks it writes to it, whatever else this process closes.
2. A descriptor of ours is closed only when the process has no other of that file; until then it waits in the registry.
   Locks that a closed descriptor took from a reader who is not ours (a notebook's connection) are taken again.
3. A file is opened for writing only while no thread reads it and no other descriptor of it is open here.
4. A file is replaced only if it is what was read from the start: the same place, headers, size, time, no log, nobody
   who has it open for writing. It is looked at once more afterwards, while the new one is locked, and put back if
   somebody was in it.
5. Who asks anew gets the file that has the name now; who has begun keeps the file that it began with.

(A lock is no wall: a file system may not know them, a program may have lost its own. Hence 4.)"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import struct
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from mlforge.catalog.lock import Waiting, process
from mlforge.errors import CatalogError, LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEADERS = 3 * 4096  # of a DuckDB file: what it is, and two that say in turn which state counts
_SET_LOCK = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
_GET_LOCK = getattr(fcntl, "F_OFD_GETLK", fcntl.F_GETLK)
_LINUX = sys.platform.startswith("linux")
_FLOCK = "hhqqi4x" if _LINUX else "qqihh"

GRACE = 1.0
"""Seconds for a program that has opened the file for writing to find that it is locked, and to close it again."""

Key = tuple[int, int]


class _Entry:
    """A file of the registry. Without readers it only waits until its descriptors may be closed."""

    def __init__(self, key: Key, fd: int) -> None:
        self.key = key
        self.fds = [fd]
        self.readers = 0
        self.writing = False

    @property
    def fd(self) -> int:
        """The one that has the lock, if any has."""
        return self.fds[0]

    @property
    def idle(self) -> bool:
        return not self.readers and not self.writing


_entries: dict[Key, _Entry] = {}
_mutex = threading.Lock()


def _after_fork() -> None:
    """A child has no thread that would leave. Its parent's locks stay: the parent has the descriptors too."""
    global _mutex  # noqa: PLW0603 - another thread may have held it
    _mutex = threading.Lock()
    for entry in _entries.values():
        for fd in entry.fds:
            os.close(fd)
    _entries.clear()


os.register_at_fork(after_in_child=_after_fork)


class _Seen(NamedTuple):
    size: int
    changed: int
    headers: bytes
    log: tuple[int, int] | None


class Held:
    """A file that is held: ``fd`` reads it, whatever has its name now."""

    def __init__(self, path: Path, entry: _Entry) -> None:
        self.path = path
        self.fd = entry.fd
        self._entry = entry
        self._seen = self._look()

    def _look(self) -> _Seen:
        found = os.fstat(self.fd)
        try:
            log = wal_of(self.path).stat()
        except FileNotFoundError:
            log = None
        return _Seen(
            found.st_size, found.st_mtime_ns, os.pread(self.fd, _HEADERS, 0), log and (log.st_size, log.st_mtime_ns)
        )

    def opened(self) -> None:
        """To be called when DuckDB has opened it: it opens a file twice, and closes it once."""
        with _mutex:
            _lock_again(self._entry)

    def has_its_name(self) -> bool:
        """Whether the path still names this file."""
        return _key_of(self.path) == _key(os.fstat(self.fd))

    def is_as_it_was(self) -> bool:
        """Whether it has its name, and nobody has written to it since it was held."""
        return self.has_its_name() and self._look() == self._seen

    def is_untouched(self) -> bool:
        """Whether nobody has written to it since it was held, and nobody has it open for writing."""
        waiting = Waiting(GRACE)
        while _open_for_writing(self.fd):
            if waiting.is_over:
                return False
            waiting.sleep()
        return self._look() == self._seen

    def written(self) -> LockedError:
        """What to say if it is not untouched, or has lost its name."""
        writer = _writer(_key(os.fstat(self.fd)))
        return LockedError(
            f"{self.path} is written to by {process(writer) if writer else 'another program'}, without its lock",
            hint="close it there: a program's lock is gone when it closes the file a second time, as a copy does",
        )


def wal_of(path: Path) -> Path:
    """The write-ahead log that DuckDB keeps beside a file."""
    return path.with_name(path.name + ".wal")


@contextmanager
def hold(path: Path, waiting: Waiting) -> Iterator[Held]:
    """Keep everybody from writing to a DuckDB file for as long as the block lasts; many may hold it.

    Waits for a writer. Raises LockedError that names it, FileNotFoundError, and CatalogError for what is no DuckDB
    file."""
    entry = _share(path, waiting)
    try:
        yield Held(path, entry)
    finally:
        with _mutex:
            entry.readers -= 1
            _tidy()


def _share(path: Path, waiting: Waiting) -> _Entry:
    while True:
        with _mutex:
            entry = _open(path)
            if not entry.writing and (entry.readers or _lock_for_reading(entry)):
                entry.readers += 1
                return entry
            holder = os.getpid() if entry.writing or _here(entry, writing=True) else _holder(entry.fd)
            _tidy()
        waiting.pause(locked(path, holder, waiting.timeout))


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether nothing in this process has the file open. If so, nothing of mlforge opens it until the block ends."""
    with _mutex:
        entry = _open(path)
        free = entry.idle and not _here(entry)
        entry.writing = entry.writing or free
    try:
        yield free
    finally:
        with _mutex:
            entry.writing = entry.writing and not free
            _tidy()


def is_written_here(path: Path) -> bool:
    """Whether this process has the file that has the name now open for writing: DuckDB may have opened another."""
    with _mutex:
        entry = _entries.get(_key_of(path) or (0, 0))
        return entry is not None and _here(entry, writing=True)


@contextmanager
def kept_from_all(path: Path) -> Iterator[None]:
    """Nobody can open a file, which this process alone knows of yet, until the block ends."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.fcntl(fd, _SET_LOCK, _whole_file(fcntl.F_WRLCK))
        yield
    finally:
        os.close(fd)


def locked(path: Path, holder: int | None, waited: float) -> LockedError:
    """What to say of a file that cannot be had because of a process; None: of one that is not known."""
    if holder == os.getpid():
        return LockedError(
            f"{path} is in use by this very process, {process(holder)}",
            hint=f"close the connection that has it open here, or wait longer with --lock-timeout "
            f"(waited {waited:g} s)",
        )
    return LockedError(
        f"{path} is in use by {process(holder) if holder else 'another process'}",
        hint=f"close it there, or wait longer with --lock-timeout (waited {waited:g} s)",
    )


def not_duckdb(path: Path, why: str) -> CatalogError:
    """What to say of a file that DuckDB cannot read."""
    return CatalogError(
        f"{path} is not a DuckDB file, or it is damaged: {why}",
        hint="move it away and run mlforge build, or put a backup in its place",
    )


# -- below: with the mutex held


def _open(path: Path) -> _Entry:
    """The registry's entry of the file that has the name now, made if need be."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise not_duckdb(path, "it is no file")
    entry = _entries.get(_key(found))
    if entry is not None:
        return entry
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        hint = "look at the rights of the file and its folder"
        raise CatalogError(f"cannot open {path}: {error.strerror}", hint=hint) from error
    key = _key(os.fstat(fd))
    if key in _entries:  # it was replaced between the two looks
        _entries[key].fds.append(fd)
    else:
        _entries[key] = _Entry(key, fd)
    head = os.pread(fd, 12, 0)
    if head and head[8:] != b"DUCK":  # DuckDB would look for an extension that reads it
        _tidy()
        raise not_duckdb(path, "it begins otherwise")
    return _entries[key]


def _lock_for_reading(entry: _Entry) -> bool:
    if _here(entry, writing=True):
        return False
    try:
        fcntl.fcntl(entry.fd, _SET_LOCK, _whole_file(fcntl.F_RDLCK))
    except (BlockingIOError, PermissionError):  # both mean that somebody writes
        return False
    _lock_again(entry)
    return True


def _lock_again(entry: _Entry) -> None:
    """Lock a file that is locked for the process too, as DuckDB does, and then anew for a descriptor.

    The lock of a descriptor has no owner that a refused program could name, and it is told of the oldest lock. (Without
    the first lock this would turn the write lock of a connection here into a read lock.)"""
    with suppress(OSError):  # no locks of processes here
        fcntl.lockf(entry.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    if _LINUX and len(entry.fds) == 1:
        with suppress(OSError):
            entry.fds.append(os.open(f"/dev/fd/{entry.fd}", os.O_RDONLY | os.O_CLOEXEC))
    if _LINUX and len(entry.fds) > 1:
        fcntl.fcntl(entry.fds[-1], _SET_LOCK, _whole_file(fcntl.F_RDLCK))
        fcntl.fcntl(entry.fds[0], _SET_LOCK, _whole_file(fcntl.F_UNLCK))
        entry.fds.insert(0, entry.fds.pop())


def _tidy() -> None:
    """Close what nobody needs, and lock again what has lost its lock."""
    for entry in list(_entries.values()):
        if entry.writing:
            continue
        if entry.readers:
            _lock_again(entry)
        elif _here(entry):
            if not _here(entry, writing=True):
                with suppress(OSError):
                    fcntl.lockf(entry.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.fcntl(entry.fd, _SET_LOCK, _whole_file(fcntl.F_UNLCK))
        else:
            del _entries[entry.key]
            for fd in entry.fds:
                os.close(fd)


def _here(entry: _Entry, *, writing: bool = False) -> bool:
    """Whether this process has descriptors of the file that are not the registry's; ``writing``: that can write."""
    for fd in _descriptors():
        if fd in entry.fds:
            continue
        with suppress(OSError):  # the descriptor of the folder itself, or of another thread, is closed by now
            if _key(os.fstat(fd)) == entry.key:
                mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
                if not writing or mode != os.O_RDONLY:
                    return True
    return False


def _descriptors() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - names, not paths: this runs at every use
    except OSError:  # a system without it, where the other rules must do
        return []


def _holder(fd: int) -> int | None:
    """The process that keeps a file from being read, where the system knows it."""
    answer = fcntl.fcntl(fd, _GET_LOCK, _whole_file(fcntl.F_RDLCK))
    pid = int(struct.unpack(_FLOCK, answer)[4 if _LINUX else 2])
    return pid if pid > 0 else None


def _open_for_writing(fd: int) -> bool:
    """Whether anybody at all has the file open for writing, lock or no lock; False where the system cannot tell.

    A lease on a file for reading is refused while somebody has. It is given back at once; who opens the file in between
    makes the system send a signal, which by default would end this process."""
    if not _LINUX:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _writer(key: Key) -> int | None:
    """A process that has a file open for writing, where the system shows it."""
    for pid in (name for name in os.listdir("/proc") if name.isdigit()) if _LINUX else ():  # noqa: PTH208
        with suppress(OSError):  # it is somebody else's, or gone
            for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
                link = f"/proc/{pid}/fd/{fd}"
                if _key(os.stat(link)) == key and os.lstat(link).st_mode & stat.S_IWUSR:  # noqa: PTH116
                    return int(pid)
    return None


def _whole_file(kind: int) -> bytes:
    whole = (kind, os.SEEK_SET, 0, 0, 0) if _LINUX else (0, 0, 0, kind, os.SEEK_SET)
    return struct.pack(_FLOCK, *whole)


def _key(found: os.stat_result) -> Key:
    return found.st_dev, found.st_ino


def _key_of(path: Path) -> Key | None:
    try:
        return _key(path.stat())
    except FileNotFoundError:
        return None
