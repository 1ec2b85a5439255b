"""Commands that look at what the catalog and the project hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlforge.cli.context import Schedule, forge, pairs, words
from mlforge.cli.output import details, echo, print_json, styled, table

if TYPE_CHECKING:
    from mlforge.cli.output import Row

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_COLUMNS = {
    "features": ("feature", "kind", "entity", "current_version", "held", "tags", "description"),
    "entities": ("entity", "keys", "types", "description"),
    "sources": ("source", "format", "path", "table_name", "timestamp", "files", "build"),
    "versions": ("feature", "version", "is_current", "change", "rows", "build", "created_at", "reason"),
    "feature-sets": ("feature_set", "version", "is_current", "features", "description"),
    "tags": ("tag", "count", "features"),
    "datasets": ("id", "created_at", "rows", "features", "content_hash"),
    "builds": ("build", "status", "started_at", "seconds", "built", "failed"),
}
_MAKES = {
    "datasets": "mlforge training-set makes one",
    "tags": "features state them, as in config(tags=[...])",
    "feature-sets": "mlforge.yaml states them under feature_sets",
}


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("list")(list_)
    app.command("inspect")(inspect)
    app.command("versions")(versions)
    app.command("show")(show)
    app.command("render")(render)


def list_(
    ctx: typer.Context,
    what: Annotated[
        str, typer.Argument(help=f"One of {', '.join(_COLUMNS)}.", metavar="WHAT", show_default=True)
    ] = "features",
    schedule: Schedule = None,
    as_json: Json = False,
) -> None:
    """List features, entities, sources, versions, feature sets, tags, datasets or builds."""
    rows = forge(ctx).listing(what, words(schedule))
    if as_json:
        print_json(rows)
        return
    if what == "features":
        rows = [{**row, "current_version": row.get("current_version", "not built")} for row in rows]
    table(
        rows,
        _COLUMNS[what],
        empty=f"no {what.replace('-', ' ')}: {_MAKES.get(what, 'mlforge build makes the catalog')}",
    )


def inspect(
    ctx: typer.Context,
    noun: Annotated[str, typer.Argument(help="feature, entity or source.", metavar="feature|entity|source")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")],
    as_json: Json = False,
) -> None:
    """Show all that the catalog says of one feature, entity or source."""
    found = forge(ctx).inspect(noun, name)
    if as_json:
        print_json(found)
        return
    details({k: v for k, v in found.items() if k not in _PARTS and k not in ("lateness", "notes")})
    for note in found.get("notes", ()):
        echo(f"{styled('note', 'cyan')}  {note}")
    for part, columns in _PARTS.items():
        if found.get(part):
            _part(part, found[part], columns)


_PARTS = {
    "columns": ("column_name", "type", "is_key", "is_timestamp", "description", "sql"),
    "versions": ("version", "is_current", "change", "rows", "build", "created_at", "reason"),
    "checks": ("side", "column_name", "check_name", "severity", "rows", "failed", "passed"),
    "lineage": ("column_name", "origin_kind", "origin", "origin_column"),
}


def _part(title: str, rows: list[Row], columns: tuple[str, ...]) -> None:
    echo(f"\n{styled(title, 'bold')}")
    table(rows, columns)


def versions(
    ctx: typer.Context,
    feature: Annotated[str, typer.Argument(metavar="FEATURE", help="A feature, or a feature set.")],
    as_json: Json = False,
) -> None:
    """List the versions of a feature or a feature set, oldest first."""
    rows = forge(ctx).versions(feature)
    if as_json:
        print_json(rows)
        return
    table(rows, _COLUMNS["feature-sets"] if rows and "feature_set" in rows[0] else _COLUMNS["versions"])


def show(
    ctx: typer.Context,
    *,
    feature: Annotated[str, typer.Argument(metavar="FEATURE", help="name[@version][:col,col].")],
    key: Annotated[
        list[str] | None, typer.Option("--key", "-k", metavar="NAME=VALUE", help="Only rows of this key. Repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Rows at most.")] = 10,
    as_json: Json = False,
) -> None:
    """Show rows of a feature, the newest first."""
    names, rows = forge(ctx).show(feature, limit=limit, where=pairs("--key", key))
    found = [dict(zip(names, row, strict=True)) for row in rows]
    if as_json:
        print_json(found)
    else:
        table(found, names, empty="no rows", data=True)


def render(
    ctx: typer.Context,
    feature: Annotated[str, typer.Argument(metavar="FEATURE", help="Name of a feature of the project.")],
) -> None:
    """Print the SQL of a feature after Jinja, as mlforge reads it."""
    echo(forge(ctx).render(feature))
