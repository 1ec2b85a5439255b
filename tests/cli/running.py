"""Running the command line inside the test's process, and a project that tests may change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from mlforge.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Said:
    """What a command printed."""

    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def flat(self) -> str:
        """Both, in one line with single spaces."""
        return " ".join((self.out + " " + self.err).split())


def mlforge(*arguments: object, code: int = 0) -> Said:
    """Run a command; another exit code is an AssertionError that shows what was said."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, f"exit code {result.exit_code}\n{result.stdout}\n{result.stderr}"
    return Said(result.stdout, result.stderr)


@dataclass(frozen=True)
class Shop:
    """A project of ``mlforge init`` in a folder of its own."""

    root: Path

    def run(self, *arguments: object, code: int = 0) -> Said:
        return mlforge("-C", self.root, *arguments, code=code)

    def path(self, name: str) -> Path:
        return self.root / name

    def pay(self, line: str) -> None:
        """Add a payment."""
        with self.path("data/transactions.csv").open("a") as file:
            file.write(line + "\n")

    def change(self, feature: str, old: str, new: str) -> None:
        """Change the text of a feature."""
        path = self.path(f"features/{feature}.sql")
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def current(self, feature: str) -> tuple[str, bool]:
        """Its current version, and whether it is held."""
        rows = {row["feature"]: row for row in self.run("list", "--json").json}
        return rows[feature]["current_version"], rows[feature]["held"]
