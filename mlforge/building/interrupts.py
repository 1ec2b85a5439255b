"""Ctrl-C while DuckDB computes. DuckDB looks for signals between its tasks only, and one task may take minutes."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection


@contextmanager
def interruptible(con: DuckDBPyConnection) -> Iterator[None]:
    """Inside the block Ctrl-C stops the running statement of a connection at once.

    Nothing is done outside the main thread, where Python takes no signals, and where someone else, such as asyncio,
    listens to the wakeup descriptor already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(ours, con), daemon=True)
    try:
        if before == -1:
            watcher.start()
        else:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        yield
    finally:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        theirs.close()  # the watcher reads the end, and ends
        if before == -1:
            watcher.join()
        ours.close()


def _watch(numbers: socket.socket, con: DuckDBPyConnection) -> None:
    """Interrupt at every SIGINT. Python writes the numbers of signals here even while its own handlers must wait."""
    while received := numbers.recv(64):
        if signal.SIGINT in received:
            con.interrupt()
