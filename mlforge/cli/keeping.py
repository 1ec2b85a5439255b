"""Commands that keep a catalog in order: rollback, gc, manifest, profile, doctor."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - Typer reads the types of options
from typing import Annotated, Any

import typer

from mlforge.cli.context import forge, options
from mlforge.cli.output import cell, count, echo, print_json, styled, table

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wait = Annotated[float, typer.Option("--lock-timeout", min=0.0, help="Seconds to wait for others.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("rollback")(rollback)
    app.command("manifest")(manifest)
    app.command("profile")(profile)
    app.command("gc")(gc)
    app.command("doctor")(doctor)


def rollback(
    ctx: typer.Context,
    *,
    feature: Annotated[str, typer.Argument(metavar="FEATURE", help="Name of a feature.")],
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Version to go back to, as 1.2.0 or 1.2.")
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="Go back to the version before the current one.")
    ] = False,
    release: Annotated[bool, typer.Option("--release", help="Go to the newest version, and stop holding.")] = False,
    lock_timeout: Wait = 60.0,
) -> None:
    """Make an older version current. The feature is then held: builds do not move it until --release."""
    from mlforge.errors import UsageError

    if sum((version is not None, previous, release)) != 1:
        raise UsageError("say where to go, in one way", hint="a VERSION, --previous or --release")
    current = forge(ctx).rollback(feature, version, release=release, lock_timeout=lock_timeout)
    held = "" if release else "; held there until mlforge rollback --release or mlforge build --release"
    echo(f"{feature} is at {current}{held}")


def manifest(
    ctx: typer.Context,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write, instead of printing.")] = None,
) -> None:
    """Print everything the catalog defines as one JSON text that is the same for the same definitions, for git."""
    import re

    from mlforge.catalog.whole import sweep, whole_file

    text = forge(ctx).manifest()
    if out is None:
        echo(text, end="")
        return
    sweep(out.parent, re.escape(out.name))
    with whole_file(out) as (file, _):
        file.write(text.encode())
    echo(f"wrote {out}")


def profile(
    ctx: typer.Context,
    feature: Annotated[
        str | None,
        typer.Argument(
            metavar="FEATURE", help="name[@version][:col,col]; without it, the profiles of mlforge.yaml are listed."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show statistics of a feature's columns; without a feature, list the profiles of mlforge.yaml."""
    rows = _profiles(ctx) if feature is None else forge(ctx).stats(feature)
    if as_json:
        print_json(rows)
    elif feature is None:
        table(rows, list(dict.fromkeys(name for row in rows for name in row)))
    else:
        table(rows, _STATS, empty="no statistics")
        _show_top(rows)


_STATS = ("column_name", "type", "rows", "nulls", "nans", "distinct_count", "min", "max", "mean", "std")


def _profiles(ctx: typer.Context) -> list[dict[str, Any]]:
    from mlforge.project.config import list_profiles
    from mlforge.project.loader import find_root

    given = options(ctx)
    return list_profiles(find_root(given.project), given.profile)


def _show_top(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        quantiles = row["quantiles"] or {}
        if quantiles:
            shown = "  ".join(f"{float(q):.0%} {cell(v)}" for q, v in quantiles.items())
            echo(f"\n{row['column_name']}: {shown}")
        if row["top"]:
            echo(f"{row['column_name']}: most frequent " + ", ".join(f"{v} ({n:,})" for v, n in row["top"][:5]))


def gc(
    ctx: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and stop.")] = False,
    patches: Annotated[
        int | None,
        typer.Option("--keep-patches", min=1, help="Newest PATCHes to keep of each MINOR; else keep.patches."),
    ] = None,
    days: Annotated[
        int | None, typer.Option("--keep-days", min=0, help="Keep what is younger; else keep.days.")
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Then write the file anew, so that it gives back what was deleted.")
    ] = False,
    lock_timeout: Wait = 60.0,
    as_json: Json = False,
) -> None:
    """Delete versions that neither the policy of mlforge.yaml nor a pin, dataset or feature set keeps."""
    fs = forge(ctx)
    found = fs.gc(fs.keep(patches, days), dry_run=dry_run, compact=compact, lock_timeout=lock_timeout)
    if as_json:
        print_json(found)
        return
    for version in found.versions:
        echo(f"  {version}")
    would = "would delete" if dry_run else "deleted"
    rows = "" if found.rows is None else f", {count(found.rows, 'row')} of tables that stay"
    echo(f"{would} {count(len(found.versions), 'version')}, {count(len(found.tables), 'table')}{rows}")
    if found.compacted is not None:
        from mlforge.catalog.compact import sentence

        echo(sentence(found.compacted))
    elif compact:
        echo("would write the file anew")


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Look whether everything is in order: versions, project, catalog. Exit code 1 if there is a problem."""
    from mlforge.catalog.doctor import examine

    given = options(ctx)
    found = examine(given.project, given.profile)
    if as_json:
        print_json(found)
    else:
        for finding in found:
            colour = {"ok": "green", "warning": "yellow", "problem": "red bold"}[finding.state]
            echo(f"{styled(finding.state.ljust(7), colour)}  {finding.what}: {finding.text}")
            if finding.hint:
                echo(f"         hint: {finding.hint}")
    if any(finding.state == "problem" for finding in found):
        raise typer.Exit(1)
