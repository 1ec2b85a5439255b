"""Options that say which event times a build looks at."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mlforge.model import Duration
    from mlforge.plan.increments import Scope

_EPOCH = datetime.datetime(1970, 1, 1)

Since = Annotated[
    str | None, typer.Option("--since", help="Only events from this time on (UTC); earlier ones wait.", metavar="TIME")
]
Until = Annotated[
    str | None, typer.Option("--until", help="Only events before this time (UTC); later ones wait.", metavar="TIME")
]
Last = Annotated[
    str | None, typer.Option("--last", help="Only events of the last so much time, as in 7d.", metavar="DURATION")
]
Restate = Annotated[
    str | None,
    typer.Option("--restate", help="Make these event times again though nothing changed.", metavar="FROM..TO"),
]
FullRefresh = Annotated[bool, typer.Option("--full-refresh", help="Make everything again from all rows.")]
Batch = Annotated[
    str | None,
    typer.Option(
        "--batch",
        metavar="DURATION",
        help="Take in what is not yet in the catalog in pieces of this much event time, as in 30d; each is committed.",
    ),
]


def scope(
    since: str | None, until: str | None, last: str | None, restate: str | None, *, full_refresh: bool = False
) -> Scope:
    """The event times that the options mean. Raises UsageError for what is no time, or makes no sense together."""
    from mlforge.errors import UsageError
    from mlforge.plan.increments import Scope

    if last and (since or until):
        raise UsageError("--last does not go with --since or --until", hint="--last 7d is --since seven days ago")
    if full_refresh and (since or until or last or restate):
        raise UsageError("--full-refresh makes everything again, and other options leave times out")
    low = _before_now(last) if last else _instant("--since", since)
    high = _instant("--until", until)
    if low is not None and high is not None and low >= high:
        raise UsageError("--since is not before --until")
    return Scope(since=low, until=high, restate=_range(restate) if restate else None, whole=full_refresh)


def duration(option: str, text: str | None) -> Duration | None:
    """A length of time. Raises UsageError."""
    from mlforge.errors import UsageError
    from mlforge.model import Duration

    if text is None:
        return None
    try:
        found = Duration.parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
    if not found.n:
        raise UsageError(f"{option} is longer than nothing")
    return found


def _before_now(text: str) -> int:
    found = duration("--last", text)
    assert found is not None
    micros = found.micros if found.micros is not None else found.months * 31 * 86_400_000_000
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    return _micros(now) - micros


def _instant(option: str, text: str | None) -> int | None:
    from mlforge.duration import in_utc
    from mlforge.errors import UsageError

    if not text:
        return None
    try:
        found = in_utc(datetime.datetime.fromisoformat(text.strip()))
    except ValueError:
        raise UsageError(f"{option}: {text!r} is not a time", hint="write 2024-03-01 or 2024-03-01T09:00") from None
    return _micros(found)


def _micros(at: datetime.datetime) -> int:
    return (at - _EPOCH) // datetime.timedelta(microseconds=1)


def _range(text: str) -> tuple[int | None, int | None]:
    from mlforge.errors import UsageError

    low, dots, high = text.partition("..")
    if not dots or not (low.strip() or high.strip()):
        raise UsageError(
            f"--restate {text} is no range", hint="write 2024-03-01..2024-03-08; either end may be left out"
        )
    found = (_instant("--restate", low), _instant("--restate", high))
    if found[0] is not None and found[1] is not None and found[0] >= found[1]:
        raise UsageError(f"--restate {text} ends before it starts")
    return found
