"""The generated pages of docs/ are what ``python -m mlforge.cli.docs`` writes now."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from mlforge.cli.app import app
from mlforge.cli.docs import pages, write

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", list(pages()))
def test_a_generated_page_is_current(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], "run python -m mlforge.cli.docs"


def test_every_page_is_written(tmp_path: Path) -> None:
    write(tmp_path)
    assert {p.name: p.read_text(encoding="utf-8") for p in tmp_path.iterdir()} == pages()


COMMANDS = (
    "init plan build validate test verify freshness list inspect versions show render explain diff sync training-set "
    "replay rollback publish online serve manifest profile gc doctor"
)


def test_the_commands_are_those_of_this_release() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(commands) == sorted(COMMANDS.split())


@pytest.mark.parametrize("name", COMMANDS.split())
def test_every_command_and_option_says_what_it_is(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.help
    assert all(parameter.help for parameter in command.params if parameter.name != "help")
