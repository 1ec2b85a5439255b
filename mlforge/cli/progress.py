"""What is shown while a build runs: JSON lines, plain lines, or a live line in a terminal."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

from mlforge.cli.exits import INTERRUPTION, exit_code, is_interruption
from mlforge.cli.output import count, echo, encode, styled
from mlforge.errors import MlforgeError
from mlforge.masking import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlforge.building.work import Event


@contextmanager
def reporter(as_json: bool) -> Iterator[Callable[[Event], None]]:
    """A receiver of a build's events, for as long as the block lasts."""
    if as_json:
        with _json_lines() as tell:
            yield tell
    elif sys.stdout.isatty():
        with _live() as show:
            yield show
    else:
        yield _plain


@contextmanager
def _json_lines() -> Iterator[Callable[[Event], None]]:
    """Each event as a line at once, and a last line also after an error. What a feature's Python prints is no event."""
    out, start = sys.stdout, time.perf_counter()

    def tell(event: Any) -> None:
        out.write(encode(event).decode() + "\n")
        out.flush()

    with redirect_stdout(sys.stderr):
        try:
            yield tell
        except (Exception, KeyboardInterrupt) as error:
            if not isinstance(error, BrokenPipeError):  # nobody reads the lines any more
                tell(_stopped(error, time.perf_counter() - start))
            raise


def _stopped(error: BaseException, seconds: float) -> dict[str, Any]:
    """The last line of a build that an error ended. Nothing is committed then."""
    ours = error if isinstance(error, MlforgeError) else None
    return {
        "event": "finished",
        "exit_code": exit_code(error),
        "failed": True,
        "build": None,
        "seconds": seconds,
        "error": {
            "code": ours.code if ours else "interrupted" if is_interruption(error) else "unexpected",
            "message": ours.message if ours else INTERRUPTION if is_interruption(error) else masked(str(error)),
            "where": str(ours.where) if ours and ours.where else None,
            "hint": ours.hint if ours else None,
        },
        "features": [],
    }


def _plain(event: Event) -> None:
    line = line_of(event)
    if line:
        echo(line)
        sys.stdout.flush()


def line_of(event: Event) -> str | None:
    """One line for an event that is worth one."""
    version = f" {event.version}" if event.version else ""
    if event.event == "feature_done":
        rows = count(event.rows or 0, "row")
        return f"{styled('built', 'green')}    {event.feature}{version}  {rows}  {event.seconds or 0:.1f} s"
    if event.event == "feature_failed":
        return f"{styled('failed', 'red bold')}   {event.feature}  {event.message}"
    if event.event == "feature_skipped":
        return f"{styled('skipped', 'yellow')}  {event.feature}  {event.message}"
    return None


@contextmanager
def _live() -> Iterator[Callable[[Event], None]]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=Console(),
        transient=True,
    )
    task = progress.add_task("planning", total=None)

    def show(event: Event) -> None:
        if event.event == "feature_started":
            progress.reset(task, description=f"{event.feature} {event.version}")
        elif event.event == "commit_started":
            progress.reset(task, description="committing")
        line = line_of(event)
        if line:
            _above(progress, line)

    with progress:
        yield show


def _above(progress: object, line: str) -> None:
    from rich.text import Text

    progress.console.print(Text.from_ansi(line))  # type: ignore[attr-defined]
