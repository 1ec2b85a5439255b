"""The rights of files, where tests run as root."""

from __future__ import annotations

import ctypes
import os

_VERSION = 0x20080522


def bind() -> None:
    """From now on the rights of files bind this process, also where it runs as root: root's own rights come from
    capabilities, which it lets go. So nobody else must be let in to where the files of tests lie.

    Threads that are there already keep theirs."""
    if os.getuid() == 0:
        assert ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()) == 0
