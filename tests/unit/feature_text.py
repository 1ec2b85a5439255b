"""Rendered features built by hand: what Jinja would give, with line n of the SQL on line n + 9 of the user's file."""

from __future__ import annotations

from typing import Any

import pytest

from mlforge.errors import FeatureError, GrammarError
from mlforge.model import Duration, FeatureConfig, LineMap, Rendered
from mlforge.render.parse import Parsed, parse

FILE = "features/spend.sql"
TX = '"_mlforge_source"."tx"'
PAY = '"_mlforge_source"."pay"'
REF = '"_mlforge_ref"."risk"'


def rendered(sql: str, **config: Any) -> Rendered:
    options = {"entity": "user", "timestamp": "ts", **config}
    if isinstance(options.get("delay"), str):
        options["delay"] = Duration.parse(options["delay"])
    lines = LineMap(tuple((FILE, n + 10) for n in range(sql.count("\n") + 1)))
    return Rendered(
        name="spend", path=FILE, sql=sql, config=FeatureConfig(**options), sources=("tx", "pay"), lines=lines
    )


def parsed(sql: str, **config: Any) -> Parsed:
    return parse(rendered(sql, **config))


def refused(sql: str, **config: Any) -> GrammarError:
    with pytest.raises(GrammarError) as caught:
        parsed(sql, **config)
    return caught.value


def check_error(error: FeatureError, line: int | None, message: str, hint: str = "") -> None:
    """Assert the whole of an error: the sentence, the user's file and line, and part of the hint."""
    assert message in error.message
    assert error.where is not None
    assert error.where.file == FILE
    assert error.where.line == (None if line is None else line + 9)
    assert hint in (error.hint or "")
