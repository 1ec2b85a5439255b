"""Commands that make training sets and make them again."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - Typer reads the types of options
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlforge.cli.context import forge
from mlforge.cli.output import count, echo, print_json, styled, table
from mlforge.cli.verifying import finish, value

if TYPE_CHECKING:
    from mlforge.forge import Forge
    from mlforge.retrieve import TrainingSet
    from mlforge.retrieve.replay import Replay

_SHOWN = 10  # rows printed without --out


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("training-set")(training_set)
    app.command("replay")(replay)


def training_set(
    ctx: typer.Context,
    *,
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Label rows: a Parquet, CSV, JSON or .sql file, or SQL.", metavar="FILE|SQL"),
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option("--entity", metavar="NAME", help="Make the label rows: every known key of it, at each step."),
    ] = None,
    start: Annotated[str | None, typer.Option("--start", metavar="TIME", help="First step, with --entity.")] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="TIME", help="Steps lie before it.")] = None,
    every: Annotated[str, typer.Option("--every", metavar="DURATION", help="The step, with --entity.")] = "1d",
    timestamp: Annotated[
        str, typer.Option("--timestamp", help="The label rows' time column.", metavar="COL")
    ] = "label_time",
    features: Annotated[
        list[str] | None,
        typer.Option("--features", "-f", metavar="REF", help="name[@version][:col,col]. Repeatable."),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="REF", help="More features.")] = None,
    feature_set: Annotated[
        list[str] | None, typer.Option("--feature-set", help="name[@version]. Repeatable.", metavar="NAME")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A .parquet or .csv file.", metavar="FILE")] = None,
    full_names: Annotated[bool, typer.Option("--full-names", help="Name columns feature__column.")] = False,
    known_as_of: Annotated[
        str | None,
        typer.Option(
            "--known-as-of",
            metavar="TIME|COL",
            help="Only source rows with loaded_at up to then; a time or a label column.",
        ),
    ] = None,
    ignore_loaded_at: Annotated[
        bool, typer.Option("--ignore-loaded-at", help="All rows of sources without loaded_at, with --known-as-of.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Then verify it: see mlforge verify.")] = False,
    late: Annotated[
        bool, typer.Option("--late/--no-late", help="Count values that used rows loaded after the label's time.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record of the dataset as JSON.")] = False,
) -> None:
    """Put features beside label rows, each as it was known at the label's time. Without --out, show the first rows."""
    from mlforge.errors import UsageError
    from mlforge.retrieve.export import check_target, write_table

    asked = [ref for text in [*(features or ()), *(more or ())] for ref in text.split()]
    if not asked and not feature_set:
        raise UsageError("no feature is asked for", hint="--features REF or --feature-set NAME")
    if out:
        check_target(out)
    fs = forge(ctx)
    sets = [_known_set(fs, name) for name in feature_set or ()]
    rows = _label_rows(fs, labels, entity, start=start, end=end, every=every, timestamp=timestamp)
    made = fs.training_set(
        [*asked, *sets],
        rows,
        timestamp=timestamp,
        full_names=full_names,
        known_as_of=known_as_of,
        ignore_loaded_at=ignore_loaded_at,
        late=late,
    )
    if out:
        write_table(made.data, out)
    found = fs.verify(made) if verify else None
    if as_json:
        print_json(made.record if found is None else {**made.record, "verification": value(found)})
    else:
        _say(made, out)
    if found is not None:
        finish(found, quiet=as_json)


def _label_rows(fs: Forge, labels: str | None, entity: str | None, **steps: Any) -> Any:
    """What was given, or the rows that an entity and a range of times make. Raises UsageError for both or neither."""
    from mlforge.errors import UsageError

    if (labels is None) == (entity is None):
        raise UsageError("label rows come from --labels or from --entity", hint="give one of the two")
    if entity is None:
        return labels
    if steps["start"] is None or steps["end"] is None:
        raise UsageError(
            "--entity needs --start and --end", hint="such as --start 2024-01-01 --end 2024-02-01 --every 1d"
        )
    return fs.label_rows(entity, **steps)


def _known_set(fs: Forge, reference: str) -> str:
    """The same text. Raises UsageError if it names no feature set, also where it names a feature."""
    from mlforge.plan.versions import resolve_set

    resolve_set(fs.state(), reference)
    return reference


def replay(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="ID", help="Id of a dataset, or how it begins.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A .parquet or .csv file.", metavar="FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a recorded training set again. Exit code 1 if it is not the same; what has changed is said."""
    from msgspec.structs import asdict

    from mlforge.retrieve.export import check_target, write_table

    if out:
        check_target(out)
    found = forge(ctx).replay(dataset)
    if out and found.table is not None:
        write_table(found.table, out)
    if as_json:
        print_json({name: value for name, value in asdict(found).items() if name != "table"})
    else:
        _say_replay(found)
    if not found.same:
        raise typer.Exit(1)


def _say_replay(found: Replay) -> None:
    if found.same:
        echo(f"{found.id}: the same, {found.expected}")
        return
    echo(f"{found.id}: {styled('not the same', 'red bold')}")
    for text in found.changed:
        echo(f"  {text}")
    echo(f"  content hash {found.found or 'none'}, was {found.expected}")


def _say(made: TrainingSet, out: Path | None) -> None:
    if out is None:
        from mlforge.retrieve.handover import plain_rows

        table(plain_rows(made.data.slice(0, _SHOWN)), made.data.column_names, empty="no label rows", data=True)
    where = f" in {out}" if out else ""
    shape = f"{count(made.table.num_rows, 'row')}, {count(len(made.record['columns']), 'feature column')}"
    again = f"; mlforge replay {made.record['id']} makes it again" if "id" in made.record else ""
    echo(f"{shape}{where}{again}")
    for text in _late(made.record.get("late")):
        echo(text)


def _late(found: dict[str, Any] | None) -> list[str]:
    """What the record says of rows that were loaded after the label's time; nothing where no source tells."""
    known = [f for f in found["features"] if f["unknown"] is None] if found else []
    if found is None or not known:
        return []
    share = f" ({found['late'] / found['values']:.2%})" if found["late"] else ""
    looked_at = f", in {found['looked_at']:,} of the label rows" if found["looked_at"] < found["rows"] else ""
    total = f"{found['late']:,} of {count(found['values'], 'value')}{share}"
    lines = [f"{total} used rows that were loaded after the label's time{looked_at}"]
    for feature in found["features"]:
        columns = ", ".join(f"{name} {number:,}" for name, number in feature["columns"].items() if number)
        if feature["unknown"] is not None:
            lines.append(f"  {feature['feature']}: unknown: {feature['unknown']}")
        elif columns:
            lines.append(f"  {feature['feature']}: {columns}")
    return lines
