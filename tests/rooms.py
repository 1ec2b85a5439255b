"""The rooms of the package, in the order in which they may import each other, and the table of them in CONTRIBUTING.md,
which ``python -m tests.rooms`` writes anew."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mlforge"
PAGE = ROOT / "CONTRIBUTING.md"

ROOMS = (
    *("masking", "errors", "duration", "display", "states", "model", "records", "project", "render", "plan", "proof"),
    *("sql", "warehouses", "catalog", "quality", "building", "retrieve", "verify", "unit", "stores", "online"),
    *("publishing", "agreement", "online_verbs", "observe", "forge", "definitions", "serve", "cli"),
)
_TABLE = re.compile(r"^\| room \|.*?(?=^\n|\Z)", re.MULTILINE | re.DOTALL)


def page(text: str) -> str:
    """CONTRIBUTING.md with the table as the rooms' own first sentences have it."""
    rows = ["| room | what it is |", "|---|---|", *(f"| `{room}` | {_sentence(room)} |" for room in ROOMS)]
    return _TABLE.sub(lambda _: "\n".join(rows) + "\n", text, count=1)


def _sentence(room: str) -> str:
    path = PACKAGE / room / "__init__.py"
    tree = ast.parse((path if path.exists() else path.parent.with_suffix(".py")).read_text())
    first = (ast.get_docstring(tree) or "").split("\n\n")[0]
    return " ".join(first.split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
