"""Unit tests of small projects, written and run in a test."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from mlforge.unit.run import Outcome
    from tests.small import Rows, Small

FILE = "tests/unit.yaml"


def write_test(small: Small, text: str) -> None:
    """Write the project's one file of tests: ``text`` stands below the name and the feature of the only test."""
    path = small.root / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def outcome(small: Small, feature: str, **stated: Any) -> Outcome:
    """Run one test, stated as values: given, expect, expect_at, vars."""
    write_test(small, yaml.safe_dump({"tests": [{"name": "it", "feature": feature, **plain(stated)}]}, sort_keys=False))
    (found,) = small.forge.test()
    return found


def passes(small: Small, feature: str, **stated: Any) -> None:
    """Run one test; anything but that it passes is an AssertionError that shows why."""
    found = outcome(small, feature, **stated)
    assert found.status == "passed", (found.message, found.where, found.hint, found.differences)


def error(small: Small, text: str) -> tuple[str, str | None, str]:
    """Run the one test of a file that cannot be run: message, place, hint."""
    write_test(small, text)
    (found,) = small.forge.test()
    assert found.status == "error", found
    return found.message or "", found.where, found.hint or ""


def plain(value: Any) -> Any:
    """Values of the engine as YAML holds them."""
    if isinstance(value, (datetime.date, Decimal)):
        return str(value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def rows_of(small: Small, relation: str) -> list[dict[str, Any]]:
    """The rows of a relation of the catalog, as a test states them."""
    names = [name for name, *_ in small.sql(f"DESCRIBE FROM {relation}")]
    found: Rows = small.sql(f"FROM {relation} ORDER BY ALL")
    return [dict(zip(names, row, strict=True)) for row in found]
