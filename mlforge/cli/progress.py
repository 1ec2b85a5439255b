"""What is shown while a build runs: JSON lines, plain lines, or a live line in a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlforge.cli.output import count, echo, encode, styled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlforge.build.run import Event


@contextmanager
def reporter(as_json: bool) -> Iterator[Callable[[Event], None]]:
    """A receiver of a build's events, for as long as the block lasts."""
    if as_json:
        yield lambda event: echo(encode(event).decode())
    elif sys.stdout.isatty():
        with _live() as show:
            yield show
    else:
        yield _plain


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
        SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(),
        console=Console(), transient=True,
    )  # fmt: skip
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
