"""Commands that plan and build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlforge.cli import time_options
from mlforge.cli.context import Schedule, forge, set_profile, words
from mlforge.cli.online import published_value, show_published
from mlforge.cli.output import cell, count, echo, encode, print_json, styled, table
from mlforge.cli.verifying import finish, verified_value, verify_built

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlforge.building.options import BuildOptions, BuildResult, Selection
    from mlforge.building.validate import Validated
    from mlforge.plan.steps import FeatureStep, Plan
    from mlforge.records import CheckResult

CHANGES = 3  # exit code of plan --exit-code when there is something to do

Features = Annotated[
    list[str] | None, typer.Option("--features", "-f", help="Only this feature. Repeatable.", metavar="NAME")
]
Tags = Annotated[
    list[str] | None, typer.Option("--tags", help="Only features with this tag. Repeatable.", metavar="TAG")
]
Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        "-s",
        metavar="SELECTOR",
        help="Only these: name, +name, name+, tag:x, path:features/x, source:x, entity:x, state:changed. Repeatable.",
    ),
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", help="Not these; selectors as for --select.", metavar="SELECTOR")
]
Force = Annotated[bool, typer.Option("--force", help="Build also what has not changed.")]
Release = Annotated[bool, typer.Option("--release", help="Let features that a rollback holds move on.")]
Upgrade = Annotated[bool, typer.Option("--upgrade-sets", help="Let feature sets take new MAJOR versions.")]
Profile = Annotated[
    str | None, typer.Option("--profile", help="Profile of mlforge.yaml.", metavar="NAME", callback=set_profile)
]
STRICT = "Refuse features that are not proven to be free of leaks; doubts about times of rows are errors."
Strict = Annotated[bool, typer.Option("--strict", help=STRICT)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads to use.")]
Memory = Annotated[str | None, typer.Option("--memory-limit", help="Memory to use, as in 4GB.", metavar="SIZE")]
Wait = Annotated[float, typer.Option("--lock-timeout", min=0.0, help="Seconds to wait for others.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("plan")(plan)
    app.command("build")(build)
    app.command("validate")(validate)


def selection(
    features: list[str] | None,
    tags: list[str] | None,
    select: list[str] | None,
    exclude: list[str] | None,
    schedule: list[str] | None = None,
) -> Selection:
    """What the options name. A value may hold several names with commas between."""
    from mlforge.building.options import Selection

    return Selection(
        features=words(features),
        tags=words(tags),
        select=tuple(select or ()),
        exclude=tuple(exclude or ()),
        schedule=words(schedule),
    )


def plan(
    ctx: typer.Context,
    *,
    features: Features = None,
    tags: Tags = None,
    select: Select = None,
    exclude: Exclude = None,
    schedule: Schedule = None,
    force: Force = False,
    full_refresh: time_options.FullRefresh = False,
    since: time_options.Since = None,
    until: time_options.Until = None,
    last: time_options.Last = None,
    restate: time_options.Restate = None,
    release: Release = False,
    upgrade_sets: Upgrade = False,
    strict: Strict = False,
    profile: Profile = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"Exit with {CHANGES} if there is something to do.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a build would do, and why. Nothing is computed or written."""
    from mlforge.building.options import BuildOptions

    options = BuildOptions(
        force=force or full_refresh,
        release=release,
        upgrade_sets=upgrade_sets,
        scope=time_options.scope(since, until, last, restate, full_refresh=full_refresh),
    )
    made = forge(ctx, strict=strict).plan(selection(features, tags, select, exclude, schedule), options)
    show_plan(made, as_json)
    if made.failed:
        raise typer.Exit(1)
    if exit_code and not made.nothing_to_do:
        raise typer.Exit(CHANGES)


def show_plan(made: Plan, as_json: bool) -> None:
    """Print a plan."""
    if as_json:
        print_json(plan_value(made))
        return
    for step in made.steps:
        if step.action != "none" or step.reasons or step.held:
            _show_step(step)
    for found in made.sets:
        arrow = _arrow(found.version_from, found.version_to)
        echo(f"{styled('set', 'cyan')}       {found.name} {arrow}: {'; '.join(found.reasons)}")
    for name in made.removed:
        echo(f"{styled('removed', 'yellow')}   {name}: not in the project any more; the catalog keeps it")
    for note in made.notes:
        echo(f"{styled('note', 'cyan')}      {note}")
    show_warnings(made.warnings)
    for failure in made.failed:
        word = styled("failed", "red bold") if failure.status == "failed" else styled("skipped", "yellow")
        echo(f"{word}{' ' * (9 - len(failure.status))} {failure.feature}: {failure.message}")
    echo(f"plan: {made.summary()}{'. Nothing to do.' if made.nothing_to_do else ''}")


def _show_step(step: FeatureStep) -> None:
    colours = {"create": "green", "major": "red", "minor": "yellow", "patch": "cyan", "none": "dim"}
    word = {"create": "new", "none": "unchanged"}.get(step.action, step.action)
    arrow = _arrow(step.version_from, step.version_to)
    held = f" (held: {step.current_to} stays current)" if step.held else ""
    echo(f"{styled(word.ljust(9), colours.get(step.action, 'cyan'))} {step.feature} {arrow}{held}")
    known = step.candidate.compiled.proof
    proof = "leaks: every row is looked at" if known and known.status == "rows" else f"leaks: {known}"
    for reason in (*step.reasons, *([how(step), proof] if step.builds else [])):
        echo(f"            {reason}")
    if step.dependents and step.action in ("major", "minor"):
        echo(f"            read by {', '.join(step.dependents)}")


def how(step: FeatureStep) -> str:
    """How much of a feature a step makes, why not less, and what that will cost, in words."""
    words = {
        "whole": "all rows",
        "incremental": "the rows that the change reaches",
        "by_key": "all rows of the keys that changed",
    }
    text = f"makes {words[step.increment.mode]}"
    if step.increment.why and not step.new_table:
        text += f": {step.increment.why}"
    if step.estimate:
        text += f" (about {step.estimate.rows:,} rows of the source, {step.estimate.seconds:.1f} s)"
    return text


def _arrow(old: object, new: object) -> str:
    return str(new) if old in (None, new) else f"{old} -> {new}"


def show_warnings(warnings: Iterable[tuple[str, str]]) -> None:
    """Print what a plan or a build warns of, as (feature or source, message)."""
    for about, text in warnings:
        echo(f"{styled('warning', 'yellow')}   {about}: {text}")


def plan_value(made: Plan) -> dict[str, Any]:
    """A plan as JSON shows it: without what only a build needs."""
    return {
        "summary": made.summary(),
        "nothing_to_do": made.nothing_to_do,
        "steps": [_step_value(step) for step in made.steps],
        "feature_sets": [
            {
                "name": s.name,
                "version_from": s.version_from,
                "version_to": s.version_to,
                "features": [str(m) for m in s.members],
                "reasons": s.reasons,
            }
            for s in made.sets
        ],
        "removed": made.removed,
        "notes": made.notes,
        "warnings": [{"feature": f, "message": m} for f, m in made.warnings],
        "failed": made.failed,
    }


def _step_value(step: FeatureStep) -> dict[str, Any]:
    return {
        "feature": step.feature,
        "action": step.action,
        "version_from": step.version_from and str(step.version_from),
        "version_to": str(step.version_to),
        "current_to": str(step.current_to),
        "held": step.held,
        "reasons": step.reasons,
        "columns": step.columns,
        "reads": {name: str(version) for name, version in step.upstream.items()},
        "read_by": step.dependents,
        "mode": step.increment.mode if step.builds else None,
        "why": step.increment.why,
        "parts": step.increment.parts,
        "times": step.increment.todo,
        "estimate": step.estimate,
        "proof": step.candidate.compiled.proof,
    }


def build(
    ctx: typer.Context,
    *,
    features: Features = None,
    tags: Tags = None,
    select: Select = None,
    exclude: Exclude = None,
    schedule: Schedule = None,
    force: Force = False,
    full_refresh: time_options.FullRefresh = False,
    since: time_options.Since = None,
    until: time_options.Until = None,
    last: time_options.Last = None,
    restate: time_options.Restate = None,
    batch: time_options.Batch = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    sample: Annotated[
        str | None, typer.Option("--sample", help="Try it on a share of every source, as in 1%; nothing is kept.")
    ] = None,
    threads: Threads = None,
    memory_limit: Memory = None,
    lock_timeout: Wait = 60.0,
    commit: Annotated[
        str, typer.Option("--commit", help="wait: never replace the file, wait for readers.", metavar="auto|wait")
    ] = "auto",
    release: Release = False,
    upgrade_sets: Upgrade = False,
    verify: Annotated[bool, typer.Option("--verify", help="Then verify what was built: see mlforge verify.")] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Then publish what is good to the online store: see mlforge publish.")
    ] = False,
    strict: Strict = False,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Build what has changed into the catalog. Exit code 1 if any feature failed; the others are committed."""
    from mlforge.building.options import BuildOptions
    from mlforge.cli.progress import reporter

    options = BuildOptions(
        force=force or full_refresh,
        release=release,
        upgrade_sets=upgrade_sets,
        sample=_share(sample),
        threads=threads,
        memory_limit=_memory(memory_limit),
        lock_timeout=lock_timeout,
        commit=_commit(commit),
        scope=time_options.scope(since, until, last, restate, full_refresh=full_refresh),
        batch=time_options.duration("--batch", batch),
    )
    chosen = selection(features, tags, select, exclude, schedule)
    if dry_run:
        made = forge(ctx, strict=strict).plan(chosen, options)
        show_plan(made, as_json)
        raise typer.Exit(1 if made.failed else 0)
    with reporter(as_json) as notify:
        fs = forge(ctx, strict=strict)
        result = fs.build(chosen, options, notify)
        found = verify_built(fs, result) if verify else None
        good = online and sample is None and not (found and found.failed)
        published = fs.publish() if good else None
    if as_json:
        more = {} if found is None else verified_value(found, result)
        echo(encode({**result_value(result), **more, **published_value(published)}).decode())
    else:
        show_result(result, options)
        show_published(published)
    if found is not None:
        finish(found, quiet=as_json)
    if result.failed or (published is not None and published.refused):
        raise typer.Exit(1)


def _share(text: str | None) -> float | None:
    """``1%`` or ``0.01`` as a share of 1. Raises UsageError."""
    from mlforge.errors import UsageError

    if text is None:
        return None
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UsageError(f"--sample {text} is not a share", hint="write 1% or 0.01")
    return share


def _memory(text: str | None) -> str | None:
    import re

    from mlforge.errors import UsageError

    if text is not None and not re.fullmatch(r"\s*\d+(\.\d+)?\s*([kmgt]i?)?b\s*", text, re.IGNORECASE):
        raise UsageError(f"--memory-limit {text} is not a size", hint="write 4GB or 500MB")
    return text


def _commit(mode: str) -> str:
    from mlforge.errors import UsageError, did_you_mean

    if mode not in ("auto", "wait"):
        raise UsageError(f"--commit {mode} is not known", hint=did_you_mean(mode, ["auto", "wait"]))
    return mode


def show_result(result: BuildResult, options: BuildOptions) -> None:
    """Print what a build did."""
    if result.build is None and not result.features:
        show_plan(result.plan, as_json=False)
        return
    worked = [r for r in result.features if r.status != "unchanged"]
    for step in result.plan.steps:
        if step.action in ("release", "metadata") or (step.held and step.builds):
            _show_step(step)
    rows = [
        {
            "feature": r.feature,
            "version": r.version,
            "change": r.action,
            "status": r.status,
            "made": r.mode,
            "rows": r.rows,
            "added": r.added,
            "closed": r.closed,
            "seconds": round(r.seconds, 2),
            "without_key_or_time": r.nowhere or None,
            "ties": r.ties or None,
        }
        for r in worked
    ]
    echo()
    names = ["feature", "version", "change", "status", "made", "rows", "added", "closed", "seconds"]
    names += ["without_key_or_time"] if any(r.nowhere for r in worked) else []
    names += ["ties"] if any(r.ties for r in worked) else []
    table(rows, names, empty="no version was made")
    for check in (c for r in worked for c in r.checks if not c.passed):
        show_check(check)
    show_warnings((*result.plan.warnings, *result.warnings))
    for note in (*result.plan.notes, *(result.committed.notes if result.committed else ())):
        echo(f"{styled('note', 'cyan')}      {note}")
    echo(_last_line(result, options, len(worked)))


def _last_line(result: BuildResult, options: BuildOptions, worked: int) -> str:
    failed = sum(r.status in ("failed", "skipped") for r in result.features)
    unchanged = len(result.features) - worked
    parts = [f"{worked - failed} built", *([f"{failed} failed"] if failed else [])]
    parts += [f"{unchanged} unchanged"] if unchanged else []
    head = f"build {result.build}" if result.build is not None else "build"
    lost = " (a trial on a sample: nothing kept)" if options.sample else " (nothing committed)"
    return f"{head}: {', '.join(parts)} in {result.seconds:.1f} s{'' if result.committed else lost}"


def show_check(check: CheckResult) -> None:
    """Print a check that did not pass, with keys of failing rows."""
    word = styled("failed", "red bold") if check.severity == "error" else styled("warning", "yellow")
    column = f"{check.side}.{check.column} " if check.column else ""
    share = f"{check.failed:,} of {count(check.rows, 'row')}"
    echo(f"{word}   {check.feature}: {column}{check.check}: {share}")
    for row in check.sample[:5]:
        echo("            " + ", ".join(f"{k} = {cell(v) or 'NULL'}" for k, v in row.items()))


def result_value(result: BuildResult) -> dict[str, Any]:
    """The last line of a build with --json; see docs/orchestration.md."""
    committed = result.committed
    return {
        "event": "finished",
        "exit_code": int(result.failed),
        "failed": result.failed,
        "build": result.build,
        "seconds": result.seconds,
        "error": None,
        "plan": plan_value(result.plan),
        "features": result.features,
        "warnings": [{"about": about, "message": m} for about, m in result.warnings],
        "committed": committed and {"how": committed.how, "waited": committed.waited, "notes": committed.notes},
    }


def validate(
    ctx: typer.Context,
    *,
    features: Features = None,
    tags: Tags = None,
    select: Select = None,
    exclude: Exclude = None,
    schedule: Schedule = None,
    strict: Strict = False,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Look whether everything would build, without building. Exit code 1 if anything would not.

    Features are rendered and compiled, input checks run on the sources, output checks on the catalog's rows."""
    results = forge(ctx, strict=strict).validate(selection(features, tags, select, exclude, schedule))
    if as_json:
        print_json(results)
    else:
        for result in results:
            _show_validated(result)
        failed = sum(r.status == "failed" for r in results)
        echo(f"{count(len(results), 'feature')}: {len(results) - failed} ok, {failed} failed")
    if any(r.status == "failed" for r in results):
        raise typer.Exit(1)


def _show_validated(result: Validated) -> None:
    word = styled("ok", "green") if result.status == "ok" else styled("failed", "red bold")
    ran = f" ({count(len(result.checks), 'check')})" if result.checks else ""
    echo(f"{word}  {result.feature}{ran}{f'; not run: {result.skipped}' if result.skipped else ''}")
    if result.error:
        echo(f"    {f'{result.where}: ' if result.where else ''}{result.error}")
    if result.hint:
        echo(f"    hint: {result.hint}")
    for text in result.warnings:
        echo(f"    {styled('warning', 'yellow')}: {text}")
    for check in (c for c in result.checks if not c.passed):
        show_check(check)
