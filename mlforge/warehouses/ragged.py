"""Lines of CSV files as they stand there, for messages: of what is remote or compressed nobody looks."""

from __future__ import annotations

import csv
import itertools

_SAMPLED = 20_480  # lines that DuckDB looks at
_SHOWN = 80


def uneven(file: str, delim: str) -> str | None:
    """The first row that has more or fewer values than the first; of what is remote or compressed nobody looks."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:  # noqa: PTH123 - may be a URL
            rows = csv.reader(itertools.islice(text, _SAMPLED), delimiter=delim)
            first = next(rows, [])
            for number, row in enumerate(rows, 1):
                if row and len(row) != len(first):
                    return f"row {number} has {len(row)} values, and its first line {len(first)}"
    except (OSError, UnicodeDecodeError, csv.Error, TypeError):
        pass
    return None


def values(file: str, delim: str, skip: int) -> list[str]:
    """The values of the first line behind those that are skipped."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:  # noqa: PTH123 - may be a URL
            lines = itertools.islice(text, skip, None)
            return [v.strip() for v in next(csv.reader(lines, delimiter=delim), [])]
    except (OSError, UnicodeDecodeError, csv.Error, TypeError):
        return []


def first_line(file: str) -> str:
    """The first line of a file that says anything, for a message."""
    try:
        with open(file, encoding="utf-8-sig") as text:  # noqa: PTH123 - may be a URL
            found = next((line.strip() for line in itertools.islice(text, _SAMPLED) if line.strip()), "")
    except (OSError, UnicodeDecodeError):
        return "..."
    return repr(found if len(found) <= _SHOWN else found[:_SHOWN] + " ...")


def are_blank(file: str, lines: int) -> bool:
    """Whether the first lines of a file hold nothing; of what is remote or compressed nobody looks."""
    try:
        with open(file, encoding="utf-8") as text:  # noqa: PTH123 - may be a URL
            return not any(line.strip() for line in itertools.islice(text, lines))
    except (OSError, UnicodeDecodeError):
        return False
