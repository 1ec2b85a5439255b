"""``mlforge test``: unit tests of features."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlforge.cli.context import forge
from mlforge.cli.output import count, echo, print_json, styled, table

if TYPE_CHECKING:
    from mlforge.unit.compare import Cell, Difference
    from mlforge.unit.run import Outcome

_SHOWN = 20  # differing rows of one test


def add_to(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command("test")(unit_tests)


def unit_tests(
    ctx: typer.Context,
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="A test, a feature or a file of tests; * stands for any text. None: all."),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select",
            "-s",
            metavar="SELECTOR",
            help="Only tests of these features; selectors as for mlforge build. Repeatable.",
        ),
    ] = None,
    generate: Annotated[
        str | None,
        typer.Option("--generate", metavar="FEATURE", help="Write tests/FEATURE.yaml from rows of the sources."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            "-k",
            metavar="KEY",
            help="With --generate: rows of this key, as value or name=value; without it, of one key. Repeatable.",
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", "-n", min=1, metavar="N", help="With --generate: rows of each source at most.")
    ] = 5,
    force: Annotated[bool, typer.Option("--force", help="With --generate: overwrite the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the unit tests in tests/*.yaml: given rows in, expected rows out, in memory; no source is read."""
    if generate is not None:
        _generate(ctx, generate, key or [], rows, force=force, others=bool(names or select))
        return
    if key or force:
        from mlforge.errors import UsageError

        raise UsageError("--key and --force go with --generate FEATURE")
    notify = (lambda _outcome: None) if as_json else _show
    start = time.perf_counter()
    found = forge(ctx).test(names or (), select=select or (), notify=notify)
    if as_json:
        print_json([_value(outcome) for outcome in found])
    else:
        _show_sum(found, time.perf_counter() - start)
    if any(outcome.status != "passed" for outcome in found):
        raise typer.Exit(1)


def _generate(ctx: typer.Context, feature: str, key: list[str], rows: int, *, force: bool, others: bool) -> None:
    from mlforge.errors import UsageError

    if others:
        raise UsageError("--generate writes one file and runs no tests", hint="leave out names and --select")
    path = forge(ctx).generate_test(feature, key=key, rows=rows, force=force)
    echo(f"wrote {path}: look whether it says what you mean, then run mlforge test {feature}")


_COLOURS = {"passed": "green", "failed": "red bold", "error": "red bold"}


def _show(outcome: Outcome) -> None:
    word = styled(outcome.status.ljust(6), _COLOURS[outcome.status])
    took = styled(f"{outcome.seconds * 1000:.0f} ms", "dim")
    echo(f"{word}  {outcome.file}:{outcome.line}  {outcome.feature}: {outcome.name}  {took}")
    if outcome.message:
        echo(f"        {outcome.where + ': ' if outcome.where else ''}{outcome.message}")
        if outcome.hint:
            echo(f"        hint: {outcome.hint}")
    for difference in outcome.differences[:_SHOWN]:
        _show_difference(outcome, difference)
    if len(outcome.differences) > _SHOWN:
        echo(f"  and {count(len(outcome.differences) - _SHOWN, 'more row')}")
    if outcome.differences:
        echo()


def _show_difference(outcome: Outcome, difference: Difference) -> None:
    place = f"{outcome.file}:{difference.line}: " if difference.line else ""
    row = _row(difference.row)
    if difference.kind == "differs":
        echo(f"\n  {place}{row} is not as expected:")
        cells = [{"": "", **cell} for cell in map(_cell, difference.cells)]
        table(cells, ("", "column", "expected", "got"), data=True)
    else:
        echo(f"\n  {place}{'no such row' if difference.kind == 'missing' else 'not expected'}: {row}")


def _cell(cell: Cell) -> dict[str, str]:
    from mlforge.unit.given_values import shown

    return {"column": cell.column, "expected": shown(cell.expected), "got": shown(cell.got)}


def _row(row: dict[str, Any]) -> str:
    from mlforge.unit.given_values import shown

    return ", ".join(f"{column} = {shown(value)}" for column, value in row.items())


def _show_sum(found: list[Outcome], seconds: float) -> None:
    if not found:
        echo("no unit tests: mlforge test --generate FEATURE writes one from rows of the sources")
        return
    parts = [(sum(o.status == s for o in found), s) for s in ("passed", "failed", "error")]
    words = ", ".join(f"{n} {'with an error' if s == 'error' else s}" for n, s in parts if n)
    echo(f"\n{count(len(found), 'test')}: {words}, in {seconds:.1f} s")


def _value(outcome: Outcome) -> dict[str, Any]:
    import msgspec

    return {k: v for k, v in msgspec.structs.asdict(outcome).items() if v is not None}
