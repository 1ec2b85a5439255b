"""``mlforge verify --online`` and ``--requests``: what is served beside the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import typer

from mlforge.cli.output import cell, count, echo, print_json, styled, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlforge.agreement.result import Agreement, Example, FeatureAgreement
    from mlforge.forge import Forge

_SHOWN = 5  # differences of a feature that are printed
_COLOURS = {"passed": "green", "failed": "red bold", "unproven": "yellow"}
_COLUMNS = ("feature", "column", "compared", "matches", "mismatch", "missing", "extra")


class AgreementChoice(NamedTuple):
    """What the options of the command say."""

    keys: int
    instants: int
    at: tuple[str, ...]
    seed: int
    threshold: float
    no_scan: bool


def verify_agreement(
    fs: Forge, asked: Sequence[str], requests: str | None, chosen: AgreementChoice, *, as_json: bool
) -> None:
    """Compare, print, and exit with 1 if more differs than may."""
    from mlforge.agreement.result import AgreementOptions, record

    options = AgreementOptions(
        keys=chosen.keys,
        instants=chosen.instants,
        at=chosen.at,
        seed=chosen.seed,
        threshold=chosen.threshold,
        scan=not chosen.no_scan,
    )
    try:
        found = fs.verify_online(asked, options, requests=requests)
    finally:
        if requests is None:
            fs.online().close()
    if as_json:
        print_json(record(found))
    else:
        _show(found)
    if found.failed:
        raise typer.Exit(1)


def _show(found: Agreement) -> None:
    rows = [
        {
            "feature": f"{f.feature}@{f.version}",
            "column": c.column,
            "compared": c.compared,
            "matches": c.matches,
            "mismatch": c.mismatch,
            "missing": c.missing,
            "extra": c.extra,
        }
        for f in found.features
        for c in f.columns
    ]
    table(rows, _COLUMNS, empty="nothing was compared")
    for problem in found.problems:
        echo(f"{styled('problem', 'red bold')} {problem}")
    for f in found.features:
        _show_notes(f)
    for f in found.features:
        _show_examples(f)
    echo(
        f"verify: {styled(found.status, _COLOURS[found.status])}, {count(found.values, 'value')} of "
        f"{found.store} compared, {found.mismatched:,} differ{_share(found)}"
    )


def _share(found: Agreement) -> str:
    return f" ({found.share:.2%}, {found.threshold:.2%} may)" if found.threshold else ""


def _show_notes(f: FeatureAgreement) -> None:
    name = f"{f.feature}@{f.version}"
    for reason in f.unproven:
        echo(f"{styled('unproven', 'yellow')} {name}: {reason}")
    if f.extra_keys:
        extra = count(f.extra_keys, "key")
        echo(f"{styled('extra', 'red bold')} {name}: the store has {extra} that the catalog does not have")
    if f.out_of_range:
        echo(f"{name}: {count(f.out_of_range, 'value')} not counted, of instants before what was published")
    if f.current:
        echo(f"{name} is published; {f.current} is current in the catalog")


def _show_examples(f: FeatureAgreement) -> None:
    for e in f.examples[:_SHOWN]:
        key = ", ".join(f"{k} = {v}" for k, v in e.key.items())
        echo(f"\n{styled(e.kind, 'red bold')} {f.feature}@{f.version} for {key} at {cell(e.at)}")
        echo(f"  {e.column}: served {_served(e)}, the catalog has {_text(e.expected)}")
    more = f.differ - len(f.examples[:_SHOWN])
    if more > 0:
        echo(f"\n{f.feature}: {more:,} more; --json has the first ones of each column and kind")


def _served(e: Example) -> str:
    if e.status == "UNREADABLE":
        return f"nothing that can be read ({e.served})"
    step = f", kept at a step of {e.step / 1_000_000:g} s" if e.step else ""
    return f"{_text(e.served)} ({e.status}{step})"


def _text(value: str | None) -> str:
    return "NULL" if value is None else value
