"""``mlforge``: the commands, and the one handler of errors in the terminal."""

from __future__ import annotations

import errno
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mlforge.cli import (
    browse,
    building,
    datasets,
    keeping,
    observing,
    online,
    serving,
    starting,
    syncing,
    testing,
    verifying,
    why,
)
from mlforge.cli.context import Globals, options
from mlforge.cli.exits import INTERRUPTED, INTERRUPTION, is_interruption
from mlforge.errors import MlforgeError, RecordWarning, engine_words
from mlforge.masking import clean, masked

if TYPE_CHECKING:
    from collections.abc import Sequence


class Commands(TyperGroup):
    """All commands. What goes wrong in any of them is said here, once."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command and turn errors into a message and an exit code."""
        try:
            with warnings.catch_warnings():
                _say_warnings()
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _interruption() from None
        except MlforgeError as error:
            clean(error)
            if options(ctx).debug:
                raise
            say_error(error.message, where=str(error.where) if error.where else None, hint=error.hint)
            raise typer.Exit(error.exit_code) from None
        except Exception as error:
            clean(error)
            if is_interruption(error):
                raise _interruption() from None
            if options(ctx).debug or not say_unexpected(error):
                raise
            raise typer.Exit(1) from None


def _say_warnings() -> None:
    """Say what was done and could not be recorded as errors are said; other warnings as Python does."""
    from mlforge.cli.output import echo, styled

    usual = warnings.showwarning

    def say(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, RecordWarning):
            return usual(message, category, *place, **more)
        return echo(f"{styled('warning:', 'yellow', err=True)} {message}", err=True)

    warnings.simplefilter("always", RecordWarning)
    warnings.showwarning = say


def _interruption() -> typer.Exit:
    say_error(INTERRUPTION)
    return typer.Exit(INTERRUPTED)


def say_error(message: str, *, where: str | None = None, hint: str | None = None) -> None:
    """Print an error on stderr: where, what, and what to do."""
    from mlforge.cli.output import echo, styled

    message, place = masked(message), f"{styled(where, 'bold', err=True)}: " if where else ""
    echo(f"{styled('error:', 'red bold', err=True)} {place}{message}", err=True)
    if hint:
        echo(f"{styled('hint:', 'cyan', err=True)} {hint}", err=True)


def say_unexpected(error: Exception) -> bool:
    """Name an error that is none of ours, if it comes from DuckDB or the system; False for any other."""
    duckdb = sys.modules.get("duckdb")
    if isinstance(error, OSError):
        if error.errno == errno.EPIPE:
            return False
        place = f" ({error.filename})" if error.filename else ""
        say_error(f"the system refused: {error.strerror or error}{place}", hint=_DEBUG)
    elif duckdb and isinstance(error, duckdb.Error):
        say_error(f"DuckDB: {engine_words(error)}", hint=f"this is a bug of mlforge or of its setup; {_DEBUG}")
    else:
        return False
    return True


_DEBUG = "mlforge --debug COMMAND shows where it happened"

app = typer.Typer(
    cls=Commands,
    name="mlforge",
    help="Features as SQL files, built into one DuckDB file, and leak-free training sets from it.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from mlforge import __version__

        typer.echo(f"mlforge {__version__}")
        raise typer.Exit


@app.callback()
def start(
    ctx: typer.Context,
    project: Annotated[
        Path, typer.Option("--project", "-C", help="The project's folder, or a catalog.duckdb.", metavar="DIR")
    ] = Path(),
    profile: Annotated[
        str | None,
        typer.Option(help="Profile of mlforge.yaml.", envvar="MLFORGE_PROFILE", metavar="NAME"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where in mlforge an error happened.")] = False,
    _: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""
    ctx.obj = Globals(project, profile or None, debug)
    if ctx.invoked_subcommand is None:
        starting.next_step(ctx)


for _module in (
    starting,
    building,
    testing,
    browse,
    why,
    datasets,
    verifying,
    observing,
    keeping,
    syncing,
    online,
    serving,
):
    _module.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    app(args=None if arguments is None else list(arguments), prog_name="mlforge")
