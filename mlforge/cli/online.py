"""Commands about the online store: publish, online get, online status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlforge.cli.context import forge, pairs, set_profile, words
from mlforge.cli.output import cell, count, echo, print_json, styled, table

if TYPE_CHECKING:
    from mlforge.publishing.run import Progress, Published

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Profile = Annotated[
    str | None, typer.Option("--profile", help="Profile of mlforge.yaml.", callback=set_profile, metavar="NAME")
]
online = typer.Typer(help="Look into the online store.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("publish")(publish)
    app.add_typer(online, name="online")


def publish(
    ctx: typer.Context,
    *,
    features: Annotated[
        list[str] | None, typer.Option("--features", "-f", help="Features, as name or name@version; else all.")
    ] = None,
    feature_sets: Annotated[
        list[str] | None, typer.Option("--feature-set", "-s", help="Feature sets, as name or name@version.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Publish versions older than those that are there.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Write every key anew, not only what changed.")] = False,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Bring the online store up to date with the catalog, only what changed. Readers see all of it at once.

    Without --features and --feature-set, everything current is published and what is gone is retired."""
    shown = _Shown(quiet=as_json)
    done = forge(ctx).publish(words(features), words(feature_sets), force=force, full=full, notify=shown)
    shown.end()
    if as_json:
        print_json(published_value(done)["published"])
    else:
        show_published(done)
    if done.refused:
        raise typer.Exit(1)


class _Shown:
    """Progress on a terminal: one line, written over."""

    def __init__(self, *, quiet: bool) -> None:
        import sys

        self.on = not quiet and sys.stderr.isatty()
        self.any = False

    def __call__(self, progress: Progress) -> None:
        """Say how far a table is."""
        if self.on:
            self.any = True
            echo(f"\r{progress.table}: {progress.keys:,} of {progress.total:,} keys", err=True, end="")

    def end(self) -> None:
        """End the line."""
        if self.any:
            echo("", err=True)


def published_value(done: Published | None) -> dict[str, Any]:
    """What a publish adds to the last line of a build with --json."""
    from msgspec.structs import asdict

    if done is None:
        return {}
    found = {
        "namespace": done.namespace,
        "generation": done.generation,
        "tables": [asdict(t) for t in done.tables],
        "on_demand": done.on_demand,
        "sets": done.sets,
        "nothing_to_do": done.nothing_to_do,
        "resumed": done.resumed,
        "seconds": done.seconds,
        "versions": done.versions,
        "refused": [asdict(r) for r in done.refused],
    }
    return {"published": found}


def show_published(done: Published | None) -> None:
    """Print what a publish did, if there was one."""
    if done is None:
        return
    for refused in done.refused:
        hint = f"\n  hint: {refused.hint}" if refused.hint else ""
        echo(f"{styled('refused', 'red bold', err=True)} {refused.name}: {refused.error}{hint}", err=True)
    if done.nothing_to_do:
        echo(f"nothing to publish: {done.namespace} is up to date, generation {done.generation}")
        return
    rows = [
        {"table": t.table, "version": t.version, "action": t.action, "written": t.keys, "deleted": t.gone}
        for t in done.tables
    ]
    table(rows, ["table", "version", "action", "written", "deleted"], empty="no tables")
    again = ", taken up where one before had stopped" if done.resumed else ""
    echo(f"published {done.namespace}, generation {done.generation}, in {done.seconds:.1f} s{again}")


@online.command("get")
def get(
    ctx: typer.Context,
    *,
    features: Annotated[list[str], typer.Argument(metavar="FEATURES", help="References, or a feature set.")],
    keys: Annotated[
        list[str] | None, typer.Option("--key", "-k", help="NAME=VALUE of the entity row; repeatable.")
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help="Instant, as 2024-03-01T09:00; without it, now.")] = None,
    full_names: Annotated[bool, typer.Option("--full-names", help="Name columns feature__column.")] = False,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Read features of one entity from the online store, each with its status and event time."""
    fs = forge(ctx)
    client = fs.online()
    row = client.typed(list(features), pairs("--key", keys))
    try:
        (found,) = client.get_online_features(list(features), [row], at=at, with_status=True, full_names=full_names)
    finally:
        client.close()
    values = [
        {
            "column": name,
            "value": v.value,
            "status": v.status,
            "event_time": v.event_time,
            "version": v.version,
            "step": v.step,
        }
        for name, v in found.items()
        if name not in row
    ]
    if as_json:
        print_json(values)
    else:
        shown = [{**v, "value": "NULL" if v["value"] is None else v["value"]} for v in values]
        table(shown, ["column", "value", "status", "event_time", "version"])


@online.command("status")
def status(ctx: typer.Context, profile: Profile = None, as_json: Json = False) -> None:
    """Show what the online store holds: versions, ages, counts."""
    fs = forge(ctx)
    try:
        found = fs.online_status()
    finally:
        fs.online().close()
    if as_json:
        print_json(found)
        return
    store = found["store"]
    size = f"{count(store['names'], 'name')}, {store['bytes']:,} bytes"
    echo(f"{store['kind']} {store['version']} at {store['at']}: {size}")
    if store.get("eviction", "noeviction") != "noeviction":
        echo(f"warning: the store drops keys when its memory is full ({store['eviction']}); readers then get MISSING")
    echo(
        f"{found['namespace']}, generation {found['generation']}, published {cell(found['published_at'])}, "
        f"{found['age']:,.0f} s ago, from build {found['build']}"
    )
    table(found["features"], ["feature", "version", "kind", "since", "keys", "columns"])
    if found["feature_sets"]:
        echo("feature sets: " + ", ".join(found["feature_sets"]))
