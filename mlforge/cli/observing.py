"""Commands that look at what data do over time."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlforge.cli.context import forge, set_profile
from mlforge.cli.output import count, echo, print_json, styled, table

if TYPE_CHECKING:
    from mlforge.observe.freshness import Freshness

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_COLOURS = {"fresh": "green", "warn": "yellow", "stale": "red bold", "unknown": "red bold", "unlimited": "dim"}


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("freshness")(freshness)


def freshness(
    ctx: typer.Context,
    *,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Sources and features; else those that state max_age.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what states no max_age.")] = False,
    now: Annotated[
        str | None, typer.Option("--now", metavar="TIME", help="Count ages up to this time; without a zone it is UTC.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Profile of mlforge.yaml.", metavar="NAME", callback=set_profile)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how old sources and features are. Exit code 1 if one is older than its max_age, or its age is unknown."""
    found = forge(ctx).freshness(names or (), everything=everything, now=_instant(now))
    if as_json:
        print_json([_value(f) for f in found])
    else:
        _show(found)
    if any(f.failed for f in found):
        raise typer.Exit(1)


def _instant(text: str | None) -> datetime.datetime | None:
    """A time in ISO 8601. Raises UsageError."""
    from mlforge.duration import in_utc
    from mlforge.errors import UsageError

    if text is None:
        return None
    try:
        return in_utc(datetime.datetime.fromisoformat(text)).replace(tzinfo=datetime.UTC)
    except ValueError:
        raise UsageError(f"--now {text} is not a time", hint="write 2024-03-01T09:00, UTC without a zone") from None


def _value(found: Freshness) -> dict[str, Any]:
    from msgspec.structs import asdict

    return asdict(found)


def _show(found: list[Freshness]) -> None:
    from mlforge.observe.instants import spoken

    rows = [
        {
            "": f.kind,
            "name": f.name,
            "state": f.state,
            "age": None if f.age is None else spoken(f.age),
            "max_age": f.max_age,
            "newest": f.newest,
            "counted_by": f.basis,
        }
        for f in found
    ]
    names = ["", "name", "state", "age", "max_age", "newest", "counted_by"]
    table(rows, names, empty="no source and no feature states max_age; --all shows the ages of all")
    for f in found:
        if f.text and f.newest is None:
            echo(f"{styled(f.state, _COLOURS[f.state])}  {f.name}: {f.text}")
        if f.later:
            echo(f"{styled('note', 'cyan')}  {f.name}: {_later(f)}")


def _later(found: Freshness) -> str:
    what = "file" if found.basis == "newest file" else "row"
    return (
        f"{count(found.later, what)} lie in the future and do not count"
        if found.later != 1
        else (f"1 {what} lies in the future and does not count")
    )
