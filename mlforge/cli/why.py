"""Commands that answer why: explain a value, compare two versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlforge.cli.context import forge, pairs
from mlforge.cli.output import cell, count, details, echo, print_json, styled, table

if TYPE_CHECKING:
    import datetime

    from mlforge.retrieve.explain import Explanation, WindowPart
    from mlforge.retrieve.version_diff import Diff

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DIFFERS = 3  # exit code of diff --exit-code when the versions differ


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("explain")(explain)
    app.command("diff")(diff)


def explain(
    ctx: typer.Context,
    *,
    feature: Annotated[str, typer.Argument(metavar="FEATURE", help="name[@version].")],
    key: Annotated[
        list[str],
        typer.Option("--key", "-k", metavar="KEY", help="The key; of several columns, NAME=VALUE. Repeatable."),
    ],
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="As 2024-03-01T09:00, UTC without a zone.")],
    request: Annotated[
        list[str] | None,
        typer.Option("--request", metavar="NAME=VALUE", help="A request column of an on-demand feature. Repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say why a feature has its value for a key at a time: bounds, rows inside, rows left out and why."""
    found = forge(ctx).explain(feature, key, at, pairs("--request", request))
    if as_json:
        print_json(found)
    else:
        show_explanation(found)


def show_explanation(found: Explanation) -> None:
    """Print why a value is what it is."""
    key = ", ".join(f"{k} = {v}" for k, v in found.key.items())
    echo(styled(f"{found.feature}@{found.version} for {key} at {cell(found.at)} UTC", "bold"))
    rows = [
        {"column": c, "value": "NULL" if v is None else cell(v), "sql": found.sql.get(c)}
        for c, v in found.value.items()
    ]
    table(rows, ("column", "value", "sql"))
    if found.read_at != found.at:
        echo(f"\nrefreshed at interval boundaries: the value is that of {cell(found.read_at)}")
    if found.stored:
        echo(f"the snapshot that answers was made for {cell(found.stored['boundary'])}")
    if found.latest is not None:
        echo(f"\n{styled('the row that row columns come from', 'bold')}")
        details({k: "NULL" if v is None else v for k, v in found.latest.items()})
    for window in found.windows:
        _show_window(window, found.closed)
    for note in found.notes:
        echo(f"\nnote: {note}")
    for other in found.reads:
        echo(f"\n{styled('reads', 'bold')} ", end="")
        show_explanation(other)


def _show_window(window: WindowPart, closed: str) -> None:
    columns = f" for {', '.join(window.columns)}" if window.columns else ""
    echo(f"\n{styled(f'window {window.window}', 'bold')}{columns}: {_bounds(window.lower, window.upper, closed)}")
    echo(f"  {count(window.inside, 'row')} inside, {window.before:,} before it, {window.after:,} after its end")
    for text, number in window.filtered.items():
        echo(f"  {count(number, 'row')} inside left out: FILTER ({text}) does not hold")
    rows = [{"": "inside", **row} for row in window.rows]
    rows += [{"": "too early", **row} for row in window.rows_before]
    rows += [{"": "too late", **row} for row in window.rows_after]
    if rows:
        table(rows, list(rows[0]), data=True)


def _bounds(lower: datetime.datetime | None, upper: datetime.datetime, closed: str) -> str:
    start, end = ("<=", "<") if closed == "left" else ("<", "<=")
    return f"{cell(lower)} {start} t {end} {cell(upper)}" if lower else f"t {end} {cell(upper)}"


def diff(
    ctx: typer.Context,
    *,
    feature: Annotated[str, typer.Argument(metavar="FEATURE", help="Name of a feature.")],
    old: Annotated[str | None, typer.Argument(metavar="OLD", help="Version; without it, the one before NEW.")] = None,
    new: Annotated[str | None, typer.Argument(metavar="NEW", help="Version; without it, the current one.")] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"Exit with {DIFFERS} if the versions differ.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare two versions of a feature: definition, columns, row counts and changed rows."""
    found = forge(ctx).diff(feature, old, new)
    if as_json:
        print_json({"same": found.same, **_fields(found)})
    else:
        show_diff(found)
    if exit_code and not found.same:
        raise typer.Exit(DIFFERS)


def _fields(found: Diff) -> dict[str, Any]:
    from msgspec.structs import asdict

    return asdict(found)


def show_diff(found: Diff) -> None:
    """Print how two versions differ."""
    echo(styled(f"{found.feature}: {found.old} -> {found.new}", "bold"))
    changed = [c for c in found.definition.columns if c.change != "same"]
    for reason in found.definition.reasons or [str(c) for c in changed]:
        echo(f"  {reason}")
    if not changed and not found.definition.reasons:
        echo("  definition: the same")
    data = found.data
    if data is None:
        echo("  data: not compared, as rows cannot be matched")
        return
    echo(
        f"  rows: {data.rows_old:,} -> {data.rows_new:,}; {data.only_old:,} gone, {data.only_new:,} added, "
        f"{data.changed:,} changed"
    )
    for column, number in data.columns.items():
        echo(f"    {column}: {count(number, 'row')} changed")
    for row in data.sample:
        echo("    " + ", ".join(f"{k} = {'NULL' if v is None else cell(v)}" for k, v in row.items()))
