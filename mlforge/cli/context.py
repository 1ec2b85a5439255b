"""What the global options said, and the project that they name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlforge.forge import Forge

Schedule = Annotated[
    list[str] | None,
    typer.Option(
        "--schedule",
        metavar="WORDS",
        help="Of these only features with one of these tags: realtime, hourly, daily, weekly, monthly, on-demand.",
    ),
]


@dataclass(frozen=True)
class Globals:
    """The options that stand before a command."""

    project: Path = Path()
    profile: str | None = None
    debug: bool = False


def options(ctx: typer.Context) -> Globals:
    """The global options of this call."""
    found = ctx.find_root().obj
    return found if isinstance(found, Globals) else Globals()


def forge(ctx: typer.Context, *, strict: bool = False) -> Forge:
    """The project, or the bare catalog, that the global options name."""
    from mlforge.forge import open as open_forge

    given = options(ctx)
    return open_forge(given.project, profile=given.profile, strict=strict)


def set_profile(ctx: typer.Context, value: str | None) -> str | None:
    """Callback of a ``--profile`` that stands behind the command: it wins over the one before."""
    if value:
        ctx.find_root().obj = replace(options(ctx), profile=value)
    return value


def pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    """Values of an option of the form NAME=VALUE. Raises UsageError for another form."""
    from mlforge.errors import UsageError

    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{option} {text} has no value", hint="write NAME=VALUE")
        found[name.strip()] = value
    return found


def words(given: Sequence[str] | None) -> tuple[str, ...]:
    """The values of a repeatable option, each of which may hold several with commas between."""
    return tuple(word.strip() for text in given or () for word in text.split(",") if word.strip())
