"""The first steps: init, and what ``mlforge`` alone says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlforge.cli.context import forge, options
from mlforge.cli.output import count, echo, styled


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("init")(init)


def init(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the project and of its folder.")],
) -> None:
    """Make a small project that builds at once, in a new folder NAME."""
    from mlforge.project.scaffold import create

    target = options(ctx).project / name
    called = Path(name).name or target.resolve().name  # of ".", the folder that it is
    files = create(target, called)
    for file in files:
        echo(f"  {file.relative_to(target)}")
    echo(f"made the project {called} in {target}. Next:\n\n  cd {target}\n  mlforge build")


def next_step(ctx: typer.Context) -> None:
    """What ``mlforge`` alone says: what to do next here."""
    from mlforge.errors import ProjectError
    from mlforge.project.config import FILE
    from mlforge.project.loader import find_root

    try:
        root = find_root(options(ctx).project)
    except ProjectError:
        echo(f"There is no project here ({FILE} is what makes one).\n")
        echo(f"  {styled('mlforge init NAME', 'bold')}   makes a small one that builds at once")
        echo(f"  {styled('mlforge --help', 'bold')}      lists all commands")
        return
    _next_in_project(ctx, root)


def _next_in_project(ctx: typer.Context, root: Path) -> None:
    fs = forge(ctx)
    features = count(len(fs.project.features), "feature")
    built = Path(fs.catalog_path).exists()
    echo(f"project {fs.project.name} in {root}: {features}, {'a catalog' if built else 'not built yet'}\n")
    steps = [("mlforge plan", "shows what a build would do"), ("mlforge build", "builds it into the catalog")]
    steps += [("mlforge list", "lists what the catalog has")] if built else []
    for command, text in [*steps, ("mlforge --help", "lists all commands")]:
        echo(f"  {styled(command.ljust(16), 'bold')}  {text}")
