"""The command that makes here what a manifest says."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlforge.cli.building import Json, Profile, Wait  # noqa: TC001 - Typer reads the types of options
from mlforge.cli.context import forge
from mlforge.cli.output import count, echo, print_json, styled

if TYPE_CHECKING:
    from mlforge.retrieve.synced import Compared, SourceDiff, Synced

_COLOURS = {"same": "green", "definition": "red", "rows": "red", "failed": "red bold"}


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("sync")(sync)


def sync(
    ctx: typer.Context,
    *,
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST", help="The manifest; else manifest.json of the project.")
    ] = None,
    lock_timeout: Wait = 60.0,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Build the versions that a committed manifest names, under its numbers, and say what is not the same here.

    Definitions, rows and sources are compared. Exit code 1 if anything differs."""
    from mlforge.building.options import BuildOptions
    from mlforge.cli.progress import reporter

    fs = forge(ctx)
    path = manifest or Path(fs.project.root, "manifest.json")
    options = BuildOptions(lock_timeout=lock_timeout)
    if as_json:
        with redirect_stdout(sys.stderr):  # what a feature's Python prints is no JSON
            found = fs.sync(path, options)
        print_json(
            {"same": found.same, "build": found.build, "features": found.features, "feature_sets": found.feature_sets}
        )
    else:
        with reporter(as_json=False) as notify:
            found = fs.sync(path, options, notify)
        _show(found)
    if not found.same:
        raise typer.Exit(1)


def _show(found: Synced) -> None:
    for one in found.features:
        _show_feature(one)
    for chosen in found.feature_sets:
        _show_line(chosen.status, f"set {chosen.feature_set}", chosen.version, chosen.reasons)
    for diff in dict.fromkeys(diff for one in found.features for diff in one.sources):
        _show_source(diff)
    same = sum(f.status == "same" for f in found.features)
    sets = sum(s.status == "same" for s in found.feature_sets)
    total = count(len(found.features), "feature")
    also = f", {sets} of {count(len(found.feature_sets), 'feature set')}" if found.feature_sets else ""
    echo(f"sync: {same} of {total}{also} the same{'' if found.build is None else f' (build {found.build})'}")


def _show_feature(one: Compared) -> None:
    reasons = one.reasons
    if one.status == "rows":
        reasons = (f"{count(one.rows or 0, 'row')} there, {one.rows_here or 0:,} here", *reasons)
    _show_line(one.status, one.feature, one.version, reasons)


def _show_line(status: str, name: str, version: object, reasons: tuple[str, ...]) -> None:
    echo(f"{styled(status.ljust(10), _COLOURS.get(status, 'yellow'))} {name} {version or ''}".rstrip())
    for reason in reasons:
        echo(f"           {reason}")


def _show_source(diff: SourceDiff) -> None:
    echo(f"{styled('source', 'cyan')}     {diff.source}{f': {diff.note}' if diff.note else ''}")
    for word in ("added", "changed", "missing"):
        for path in getattr(diff, word):
            echo(f"           {word} {path}")
