"""``mlforge init``: a small project that builds at once."""

from __future__ import annotations

import csv
import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from mlforge.errors import ProjectError, UsageError, Where
from mlforge.project.config import FILE
from mlforge.sql.templates import template_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_RENAMED = {"gitignore": ".gitignore"}  # under its own name, packaging tools would obey it
_USERS = 20
_TRANSACTIONS = 200
_MERCHANTS = ("grocer", "bakery", "bookshop", "cinema", "fuel", "pharmacy")
_COUNTRIES = ("DE", "FR", "IN", "JP", "US")
_PLANS = ("free", "free", "plus", "pro")
_START = datetime(2024, 1, 1, 8)


def create(target: Path, name: str) -> list[Path]:
    """Write a project called ``name`` into the folder ``target`` and return the files, in the order of their paths.

    Nothing is overwritten: raises ProjectError if the folder holds a project or one of the files already, and
    UsageError for a bad name."""
    if not _NAME.fullmatch(name):
        hint = "use letters, digits, _ and -, beginning with a letter"
        raise UsageError(f"{name!r} cannot be the name of a project", hint=hint)
    texts = _texts(name)
    files = [target / path for path in sorted([*texts, "data/transactions.csv", "data/users.csv"])]
    _refuse_existing(target, files)
    try:
        for path, text in texts.items():
            _write(target / path, text)
        _write_csv(target / "data/users.csv", ("user_id", "country", "plan", "signed_up"), _users())
        columns = ("transaction_id", "user_id", "event_time", "merchant", "amount", "status")
        _write_csv(target / "data/transactions.csv", columns, _transactions())
    except OSError as error:
        message = f"the project cannot be written: {error.strerror}"
        raise ProjectError(message, where=Where(str(error.filename or target))) from None
    return files


def _texts(name: str) -> dict[str, str]:
    folder = template_root() / "project"
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    shown = {p: p.relative_to(folder).as_posix() for p in paths}
    return {_RENAMED.get(s, s): p.read_text(encoding="utf-8").replace("PROJECT_NAME", name) for p, s in shown.items()}


def _refuse_existing(target: Path, files: Iterable[Path]) -> None:
    if target.exists() and not target.is_dir():
        raise ProjectError("this is a file, not a folder", where=Where(str(target)))
    if (target / FILE).exists():
        hint = "choose another folder"
        raise ProjectError(f"there is a project already: {FILE} exists", where=Where(str(target)), hint=hint)
    existing = next((p for path in files for p in (path, path.parent) if p.exists() and not p.is_dir()), None)
    if existing:
        raise ProjectError("this file exists and will not be overwritten", where=Where(str(existing)))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _numbers(seed: int) -> Iterator[int]:
    """The same numbers on every machine and Python: a linear congruential generator's high bits."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33


def _users() -> Iterator[tuple[object, ...]]:
    numbers = _numbers(1)
    for user in range(1, _USERS + 1):
        country, plan = _COUNTRIES[next(numbers) % len(_COUNTRIES)], _PLANS[next(numbers) % len(_PLANS)]
        yield user, country, plan, date(2023, 1, 1) + timedelta(days=next(numbers) % 365)


def _transactions() -> Iterator[tuple[object, ...]]:
    """Payments over about 90 days, in order of time; the time only grows, so no user has two at one instant."""
    numbers = _numbers(2)
    at = _START
    for number in range(1, _TRANSACTIONS + 1):
        at += timedelta(minutes=1 + next(numbers) % 1290)
        user, merchant = 1 + next(numbers) % _USERS, _MERCHANTS[next(numbers) % len(_MERCHANTS)]
        cents = 150 + next(numbers) % 18_000
        status = "refused" if next(numbers) % 12 == 0 else "settled"
        yield number, user, at.isoformat(sep=" "), merchant, f"{cents // 100}.{cents % 100:02}", status
