"""Locks between processes of mlforge: files held with flock, which the system lets go of when their process dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlforge.errors import CatalogError, LockedError, MlforgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOMENT = 10.0  # others hold gc's lock no longer than to see that they can
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT}


def process(pid: int) -> str:
    """A process for messages: ``process 123 (python train.py)``, without its command line where that is hidden."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return f"process {pid}"
    line = " ".join(w for w in words if w)
    return f"process {pid} ({line[:157] + '...' if len(line) > 160 else line})" if line else f"process {pid}"


def refused(error: OSError, path: Path) -> CatalogError:
    """What to say when the system does not let mlforge write beside the catalog."""
    if error.errno in _REFUSED:
        return CatalogError(
            f"cannot write {path}: {error.strerror}",
            hint="the folder of the catalog must exist and be writable by you",
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return CatalogError(f"no space left to write {path}", hint="free some space and run it again; nothing is lost")
    return CatalogError(f"cannot write {path}: {error}")


class Waiting:
    """Retrying with longer and longer pauses until ``timeout`` seconds have gone by."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.start = time.monotonic()
        self._deadline = self.start + timeout
        self._pause = 0.005

    @property
    def seconds(self) -> float:
        """How long it has been waiting."""
        return time.monotonic() - self.start

    @property
    def is_over(self) -> bool:
        """Whether the time has gone by."""
        return time.monotonic() >= self._deadline

    def pause(self, meaning: MlforgeError, error: Exception | None = None) -> None:
        """Sleep if ``meaning`` is a lock that may yet be released; raise it otherwise, or if the time has gone by."""
        if not isinstance(meaning, LockedError) or self.is_over:
            raise meaning from error
        self.sleep()

    def sleep(self) -> None:
        """Sleep for a moment, and longer the next time."""
        time.sleep(min(self._pause, max(0.0, self._deadline - time.monotonic())))
        self._pause = min(self._pause * 1.5, 0.25)


class Held:
    """A lock file that this process holds until ``release``."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def release(self) -> None:
        """Remove the file and let the lock go, in this order: a waiter sees that the file it locked is gone."""
        self.path.unlink(missing_ok=True)
        os.close(self._fd)


def try_lock(path: Path) -> Held | None:
    """Lock a file that is made for it, or None if another process (or thread) holds it. Raises OSError."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        if is_still(path, fd):
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
            return Held(path, fd)
        os.close(fd)  # its last holder removed it between our open and our lock


def is_still(path: Path, fd: int) -> bool:
    """Whether what is open as ``fd`` is still the file at ``path``."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _owner(path: Path) -> str:
    try:
        return process(int(path.read_text()))
    except (OSError, ValueError):  # gone, or not written yet
        return "another process"


@contextmanager
def build_lock(catalog_path: str | Path, timeout: float) -> Iterator[None]:
    """Hold ``<catalog>.lock``, so that two builds of one catalog run one after the other.

    ``timeout`` is in seconds. Raises LockedError naming the other process, CatalogError if the folder of the catalog
    is not writable."""
    catalog = Path(catalog_path)
    path = catalog.with_name(catalog.name + ".lock")
    held = _wait(path, catalog, timeout)
    try:
        yield
    finally:
        held.release()


def _deleting(catalog_path: str | Path) -> Path:
    catalog = Path(os.path.realpath(catalog_path))
    return catalog.with_name(catalog.name + ".gc.lock")


@contextmanager
def deleting(catalog_path: str | Path) -> Iterator[None]:
    """Held by gc from its last look at what is named to its commit; the caller holds ``build_lock``.

    Raises LockedError, CatalogError."""
    path = _deleting(catalog_path)
    held = _wait(path, Path(catalog_path), _MOMENT)
    try:
        yield
    finally:
        held.release()


def wait_for_deleting(catalog_path: str | Path, timeout: float) -> None:
    """Wait until no gc is at work that did not see what was named before this call. Raises LockedError."""
    path, waiting = _deleting(catalog_path), Waiting(timeout)
    while True:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # whoever cannot write here can ask all the same
        except FileNotFoundError:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = f"wait until it is done (waited {timeout:g} s)"
            waiting.pause(LockedError(f"gc deletes from {catalog_path}, in {_owner(path)}", hint=hint), error)
        else:
            return
        finally:
            os.close(fd)


def _wait(path: Path, catalog: Path, timeout: float) -> Held:
    deadline = time.monotonic() + timeout
    while True:
        try:
            held = try_lock(path)
        except OSError as error:
            raise refused(error, path) from error
        if held:
            return held
        if time.monotonic() >= deadline:
            raise LockedError(
                f"{catalog} is being built by {_owner(path)}",
                hint=f"wait until it is done (waited {timeout:g} s), or give it longer with --lock-timeout",
            )
        time.sleep(0.05)
