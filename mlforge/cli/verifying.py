"""The command that proves that nothing leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlforge.cli.agreeing import AgreementChoice, verify_agreement
from mlforge.cli.context import forge
from mlforge.cli.online import Profile  # noqa: TC001 - typer reads it
from mlforge.cli.output import cell, count, echo, print_json, styled, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlforge.building.options import BuildResult
    from mlforge.forge import Forge
    from mlforge.verify.result import FeatureVerdict, Mismatch, Row, Verification

_SHOWN = 3  # labels of a feature whose differences are printed
OWN = ("labels", "timestamp", "sample", "every", "known_as_of", "ignore_loaded_at")
CHOSEN = ("labels", "timestamp", "sample", "seed")
ONLINE = ("keys", "instants", "at", "threshold", "no_scan")
_COLOURS = {"passed": "green", "failed": "red bold", "unproven": "yellow"}


def add_to(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command("verify")(verify)


def verify(
    ctx: typer.Context,
    *,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="REF", help="name[@version][:col,col]; without any, all features.")
    ] = None,
    features: Annotated[
        list[str] | None, typer.Option("--features", "-f", metavar="REF", help="The same. Repeatable.")
    ] = None,
    feature_set: Annotated[
        list[str] | None, typer.Option("--feature-set", help="name[@version]. Repeatable.", metavar="NAME")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="FILE|SQL",
            help="Label rows: a Parquet, CSV, JSON or .sql file, or SQL. Without, keys and times of each feature's "
            "rows and sources.",
        ),
    ] = None,
    timestamp: Annotated[
        str, typer.Option("--timestamp", help="The label rows' time column.", metavar="COL")
    ] = "label_time",
    sample: Annotated[int, typer.Option("--sample", min=1, help="Label rows to check.", metavar="N")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Another one takes other label rows.")] = 0,
    every: Annotated[
        bool, typer.Option("--all", help="Every key at every instant of its sources, where these are few.")
    ] = False,
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
    online: Annotated[
        bool, typer.Option("--online", help="Compare what the online store answers with the published versions.")
    ] = False,
    requests: Annotated[
        str | None,
        typer.Option("--requests", metavar="FOLDER|GLOB", help="Compare what was served, as requests were logged."),
    ] = None,
    keys: Annotated[
        int, typer.Option("--keys", min=1, help="With --online: keys of each feature.", metavar="N")
    ] = 1000,
    instants: Annotated[
        int, typer.Option("--instants", min=0, help="With --online: instants, beside now and the publish.", metavar="N")
    ] = 5,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="TIME", help="With --online: these instants and no others. Repeatable."),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold",
            min=0,
            max=1,
            metavar="SHARE",
            help="With --online or --requests: the share of values that may differ.",
        ),
    ] = 0.0,
    no_scan: Annotated[
        bool, typer.Option("--no-scan", help="With --online: do not list the store's keys to find extra ones.")
    ] = False,
    profile: Profile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recompute features from sources cut at each label's time, and compare. Exit code 1 if a value differs.

    With --online, compare the online store's answers with the catalog; with --requests, what was served with what a
    training set gives for the same keys and times."""
    from mlforge.verify.result import VerifyOptions

    asked = [ref for text in [*(features or ()), *(more or ()), *(feature_set or ())] for ref in text.split()]
    if online or requests is not None:
        refuse_others(ctx, OWN, "--requests" if requests is not None else "--online")
        chosen = AgreementChoice(keys, instants, tuple(at or ()), seed, threshold, no_scan)
        verify_agreement(forge(ctx), asked, requests, chosen, as_json=as_json)
        return
    refuse_others(ctx, ONLINE, None)
    if every:
        refuse_others(ctx, CHOSEN, "--all")
    options = VerifyOptions(
        timestamp=timestamp,
        sample=sample,
        seed=seed,
        all=every,
        known_as_of=known_as_of,
        ignore_loaded_at=ignore_loaded_at,
    )
    found = forge(ctx).verify(asked or None, labels, options)
    if as_json:
        print_json(value(found))
    finish(found, quiet=as_json)


def refuse_others(ctx: typer.Context, names: Sequence[str], given: str | None) -> None:
    """Raise UsageError for options that mean nothing beside ``given``, or, if it is None, without --online."""
    from mlforge.errors import UsageError

    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = "--all" if name == "every" else f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} does not go with {given}" if given else f"{option} needs --online or --requests"
            )


def value(found: Verification) -> Row:
    """A verification as JSON shows it."""
    from mlforge.verify.session import record

    return record(found)


def verify_built(fs: Forge, result: BuildResult) -> Verification | None:
    """Verify the versions that a build committed; None if there are none."""
    built = [f"{r.feature}@{r.version}" for r in result.features if r.status == "built" and result.committed]
    return fs.verify(built) if built else None


def verified_value(found: Verification, result: BuildResult) -> Row:
    """What verification adds to the last line of a build with --json; see docs/orchestration.md."""
    return {"exit_code": int(result.failed or found.failed), "verification": value(found)}


def finish(found: Verification, *, quiet: bool) -> None:
    """Print a verification unless ``quiet``; exit with 1 if a value differs."""
    if not quiet:
        show_verification(found)
    if found.failed:
        raise typer.Exit(1)


def show_verification(found: Verification) -> None:
    """Print what was verified, and what differs."""
    rows = [_row(f) for f in found.features]
    table(rows, ("feature", "status", "labels", "values", "differ", "known_late"), empty="no feature to verify")
    for f in found.features:
        for reason in f.unproven:
            echo(f"{styled('unproven', 'yellow')} {f.feature}: {reason}")
    for f in found.features:
        _show_mismatches(f)
    late = sum(f.known_late for f in found.features)
    if late:
        echo(f"known late: {count(late, 'row')} loaded after the label's time; --known-as-of leaves such rows out")
    echo(
        f"verify: {styled(found.status, _COLOURS[found.status])}, {count(found.values, 'value')} compared, "
        f"{found.mismatched:,} differ"
    )


def _row(f: FeatureVerdict) -> Row:
    return {
        "feature": f"{f.feature}@{f.version}",
        "status": f.status,
        "labels": f.labels,
        "values": f.values,
        "differ": f.mismatched,
        "known_late": f.known_late,
    }


def _show_mismatches(f: FeatureVerdict) -> None:
    """The values that differ, those of one label together."""
    by_label: dict[tuple[str, str], list[Mismatch]] = {}
    for m in f.mismatches:
        by_label.setdefault((_key(m), cell(m.at)), []).append(m)
    shown = 0
    for (key, at), found in list(by_label.items())[:_SHOWN]:
        echo(
            f"\n{styled('differs', 'red bold')} {f.feature}@{f.version} for {key or 'a label without key or time'}"
            f"{f' at {at}' if at else ''}"
        )
        _show_label(found)
        shown += len(found)
    if f.mismatched > shown:
        echo(f"\n{f.feature}: {f.mismatched - shown:,} more; --json lists the first {len(f.mismatches)}")


def _key(m: Mismatch) -> str:
    return ", ".join(f"{k} = {v}" for k, v in m.label.items())


def _show_label(found: list[Mismatch]) -> None:
    until = f" from rows up to {cell(found[0].until)}" if found[0].until else ""
    for m in found:
        echo(f"  {m.column}: retrieved {_value(m.retrieved)}, recomputed {_value(m.recomputed)}{until}")
    before: Mismatch | None = None
    for m in found:
        if before is None or (m.reason, m.rows) != (before.reason, before.rows):
            _show_rows(m)
        before = m


def _show_rows(m: Mismatch) -> None:
    """The rows that may have come in and must not, and the newest of those that may."""
    if m.reason:
        echo(f"  {m.reason}")
    word = "may not" if m.reason else "after"
    own = [{"": word, **r} for r in m.rows if "source" not in r] + [{"": "may", **r} for r in m.inside]
    by_source: dict[str, list[Row]] = {}
    for r in m.rows:
        if "source" in r:
            by_source.setdefault(r["source"], []).append({"": word, **{k: v for k, v in r.items() if k != "source"}})
    for rows in [own, *by_source.values()]:
        if rows:
            table(rows, list(rows[0]), data=True)


def _value(value: object) -> str:
    return "NULL" if value is None else repr(value) if isinstance(value, float) else cell(value)
