"""The exit codes, and which errors are an interruption."""

from __future__ import annotations

import sys

from mlforge.errors import MlforgeError

DONE, FAILED, INTERRUPTED = 0, 1, 130
INTERRUPTION = "interrupted; the catalog is as it was"


def is_interruption(error: BaseException) -> bool:
    """Whether Ctrl-C ended it: DuckDB tells so with errors of its own in place of KeyboardInterrupt."""
    duckdb = sys.modules.get("duckdb")
    if isinstance(error, KeyboardInterrupt) or (duckdb and isinstance(error, duckdb.InterruptException)):
        return True
    return isinstance(error, RuntimeError) and "interrupt" in str(error).lower()


def exit_code(error: BaseException) -> int:
    """The code that a command exits with after this error."""
    if is_interruption(error):
        return INTERRUPTED
    return error.exit_code if isinstance(error, MlforgeError) else FAILED
