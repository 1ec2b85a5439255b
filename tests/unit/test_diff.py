"""Two definitions compared: the bump, and the reasons a user reads."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from mlforge.model import Column, Definition, Duration, Key
from mlforge.plan.diff import compare
from tests.unit.plan_values import ITEMS, definition

OLD = definition()


def typed(made: Definition, column: str, type_: str) -> Definition:
    """The definition with another type of one column."""
    return replace(made, columns=tuple(replace(c, type=type_) if c.name == column else c for c in made.columns))


CASES: dict[str, tuple[Definition, str | None, tuple[str, ...]]] = {
    "same": (definition(), None, ()),
    "formatting": (replace(OLD, sql=OLD.sql.replace(" ", "\n  ").lower()), None, ()),
    "added": (definition(items={**ITEMS, "c": "z"}), "minor", ("column c added (BIGINT)",)),
    "removed": (definition(items={"a": "x"}), "major", ("column b removed (BIGINT)",)),
    "renamed": (
        definition(items={"a": "x", "c": ITEMS["b"]}),
        "major",
        ("column c added (BIGINT)", "column b removed (BIGINT)"),
    ),
    "type": (typed(OLD, "b", "DOUBLE"), "major", ("column b: type BIGINT -> DOUBLE",)),
    "type changed and column added in one build": (
        typed(definition(items={**ITEMS, "c": "z"}), "b", "DOUBLE"),
        "major",
        ("column b: type BIGINT -> DOUBLE", "column c added (BIGINT)"),
    ),
    "meaning": (
        definition(items={**ITEMS, "b": "SUM(y) OVER last_8d"}),
        "major",
        ("column b: meaning changed: SUM(y) OVER last_7d -> SUM(y) OVER last_8d",),
    ),
    "meaning changed and column added in one build": (
        definition(items={"a": "x", "b": "MAX(y) OVER last_7d", "c": "z"}),
        "major",
        ("column b: meaning changed: SUM(y) OVER last_7d -> MAX(y) OVER last_7d", "column c added (BIGINT)"),
    ),
    "columns swap their expressions": (
        definition(items={"a": ITEMS["b"], "b": ITEMS["a"]}),
        "major",
        (
            "column a: meaning changed: x -> SUM(y) OVER last_7d",
            "column b: meaning changed: SUM(y) OVER last_7d -> x",
        ),
    ),
    "order of columns": (definition(items=dict(reversed(ITEMS.items()))), None, ()),
    "where": (definition(where="not ok"), "major", ("event relation changed: every column",)),
    "where, and a column added": (
        definition(where="not ok", items={**ITEMS, "c": "z"}),
        "major",
        ("event relation changed: every column", "column c added (BIGINT)"),
    ),
    "closed": (replace(OLD, closed="right"), "major", ("closed left -> right",)),
    "delay": (replace(OLD, delay=Duration(2, "h")), "major", ("delay 0s -> 2h",)),
    "ttl": (replace(OLD, ttl=Duration(2, "d")), "major", ("ttl none -> 2d",)),
    "interval": (replace(OLD, interval=Duration(1, "d")), "major", ("interval none -> 1d",)),
    "timezone": (replace(OLD, timezone="Asia/Tokyo"), "major", ("timezone none -> Asia/Tokyo",)),
    "key type": (
        replace(OLD, keys=(Key("user_id", "BIGINT"),)),
        "major",
        ("key (user_id VARCHAR) -> (user_id BIGINT)",),
    ),
    "key expression": (
        replace(OLD, sql=OLD.sql.replace("user_id,", "lower(user_id) AS user_id,")),
        "major",
        ("expression of key (user_id VARCHAR) changed: every column",),
    ),
    "timestamp expression": (
        replace(OLD, sql=OLD.sql.replace("at,", "at + to_hours(1) AS at,")),
        "major",
        ("expression of timestamp at changed: every column",),
    ),
    "source options": (
        replace(OLD, sources={"tx": {"delim": ";"}}),
        "major",
        ("source tx: options changed",),
    ),
    "upstream": (replace(OLD, refs={"g": "1.0"}), "major", ("upstream feature g added",)),
    "request": (replace(OLD, request={"amount": "DOUBLE"}), "major", ("request column amount added",)),
    "description of a column": (
        replace(OLD, columns=tuple(replace(c, description="text") for c in OLD.columns)),
        None,
        (),
    ),
    "case of a column": (
        replace(OLD, columns=tuple(replace(c, name=c.name.upper()) for c in OLD.columns)),
        None,
        (),
    ),
    "entity of the same key": (replace(OLD, entity="customer"), None, ()),
}


@pytest.mark.parametrize(("new", "bump", "reasons"), CASES.values(), ids=CASES.keys())
def test_compare(new: Definition, bump: str | None, reasons: tuple[str, ...]) -> None:
    found = compare(OLD, new)
    assert (found.bump, found.reasons) == (bump, reasons)


@pytest.mark.parametrize(
    ("refs", "reason"),
    [({"g": "1.1"}, "upstream feature g: 1.0 -> 1.1"), ({}, "upstream feature g removed")],
)
def test_versions_of_upstream_features(refs: dict[str, str], reason: str) -> None:
    found = compare(replace(OLD, refs={"g": "1.0"}), replace(OLD, refs=refs))
    assert (found.bump, found.reasons) == ("major", (reason,))


def test_every_column_says_what_became_of_it() -> None:
    new = typed(definition(items={"a": "x", "b": "SUM(y) OVER last_7d", "c": "z"}), "a", "DOUBLE")
    found = compare(definition(items={**ITEMS, "gone": "w"}), new)
    shown = {c.column: (c.change, c.old_type, c.new_type) for c in found.columns}
    assert shown == {
        "a": ("type", "BIGINT", "DOUBLE"),
        "b": ("same", "BIGINT", "BIGINT"),
        "c": ("added", None, "BIGINT"),
        "gone": ("removed", "BIGINT", None),
    }


def test_a_change_of_everything_marks_every_column() -> None:
    found = compare(OLD, definition(where="other"))
    assert [str(c) for c in found.columns] == ["column a: meaning changed", "column b: meaning changed"]


@pytest.mark.parametrize("options", [{"columns": ("a", "b")}, {"skip": 1, "delim": ";"}])
def test_options_read_back_from_json_are_the_same(options: dict[str, Any]) -> None:
    read = {k: list(v) if isinstance(v, tuple) else v for k, v in reversed(options.items())}
    assert compare(replace(OLD, sources={"tx": read}), replace(OLD, sources={"tx": options})).bump is None


def test_back_to_the_old_definition_is_a_change_again() -> None:
    new = definition(where="other")
    assert [compare(OLD, new).bump, compare(new, OLD).bump] == ["major", "major"]


def test_columns_without_text_are_compared_all_the_same() -> None:
    bare = replace(OLD, columns=tuple(Column(name=c.name, type=c.type) for c in OLD.columns))
    changed = replace(bare, sql=bare.sql.replace("7d", "8d"))
    assert compare(bare, changed).reasons == ("column b: meaning changed",)
