"""Compiled templates are kept beside their sources, and never stand for another text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from mlforge.sql import templates

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(templates, "template_root", lambda: tmp_path)
    (tmp_path / "a.sql.j2").write_text("-- One row.\nSELECT {{ 'x' | ident }}")
    return tmp_path


def rendered() -> str:
    """As a process of its own would."""
    return templates._HEADER.sub("", templates._environment.__wrapped__().get_template("a.sql.j2").render())


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "__pycache__").iterdir())


def test_a_compiled_template_is_used_again(folder: Path) -> None:
    assert rendered() == 'SELECT "x"'
    [file] = kept(folder)
    written = file.stat().st_mtime_ns
    assert rendered() == 'SELECT "x"'
    assert [f.stat().st_mtime_ns for f in kept(folder)] == [written]


def test_a_template_that_changed_is_compiled_anew(folder: Path) -> None:
    rendered()
    (folder / "a.sql.j2").write_text("SELECT {{ 'y' | ident }}")
    assert rendered() == 'SELECT "y"'


def test_templates_compiled_by_another_version_of_this_module_are_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rendered()
    other = tmp_path_factory.mktemp("other") / "templates.py"
    other.write_text("")
    monkeypatch.setattr(templates, "__file__", str(other))
    monkeypatch.setattr(templates, "ident", lambda name: f"[{name}]")
    assert rendered() == "SELECT [x]"


@pytest.mark.parametrize("content", [b"", b"j2", bytes(range(100))])
def test_a_broken_file_is_made_again(folder: Path, content: bytes) -> None:
    rendered()
    [file] = kept(folder)
    file.write_bytes(content)
    assert rendered() == 'SELECT "x"'
    file.write_bytes(file.read_bytes()[:-9])
    assert rendered() == 'SELECT "x"'


def test_where_nothing_can_be_written_templates_are_compiled_each_time(folder: Path) -> None:
    (folder / "__pycache__").write_text("in the way")
    assert rendered() == 'SELECT "x"'


def test_nothing_is_written_where_python_writes_no_bytecode(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert rendered() == 'SELECT "x"'
    assert not (folder / "__pycache__").exists()
