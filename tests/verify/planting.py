"""Planting leaks: a template of mlforge changed for one test, or the rows of a built catalog."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb

from mlforge.sql import templates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def planted(template: str, old: str, new: str) -> Iterator[None]:
    """A template with one piece of its text replaced everywhere, for as long as the block lasts."""
    from jinja2 import ChoiceLoader, DictLoader

    path = f"{template}.sql.j2"
    text = (templates.template_root() / path).read_text()
    assert old in text, f"{template} has no {old}"
    environment = templates._environment()
    loader = environment.loader
    assert loader is not None
    environment.loader = ChoiceLoader([DictLoader({path: text.replace(old, new)}), loader])
    _forget(environment)
    try:
        yield
    finally:
        environment.loader = loader
        _forget(environment)


def _forget(environment: object) -> None:
    environment.cache.clear()  # type: ignore[attr-defined]
    templates._template.cache_clear()


def tamper(catalog: Path, statement: str) -> None:
    """Change a built catalog behind mlforge's back."""
    with duckdb.connect(str(catalog)) as con:
        con.execute(statement)
