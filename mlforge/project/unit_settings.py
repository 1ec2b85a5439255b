"""Every key of tests/*.yaml in one table, and the JSON schema made from it."""

from __future__ import annotations

import json
from typing import Any

from mlforge.project.settings import Setting, properties

UNIT_SECTIONS: dict[str, tuple[Setting, ...]] = {
    "file": (Setting("tests", "list", "Unit tests of features.", of="test", required=True),),
    "test": (
        Setting("name", "text", "Name of the test; no other test of the project has it.", required=True),
        Setting("feature", "text", "The feature that is tested.", required=True),
        Setting("description", "text", "What the test shows."),
        Setting("given", "map", "Rows by source, or by a feature that this one reads.", of="given"),
        Setting("vars", "object", "Values of vars, in place of those of mlforge.yaml."),
        Setting("expect", "list", "All rows of the feature, in any order.", of="row"),
        Setting("expect_at", "list", "Label rows, with the columns that are expected there.", of="row"),
    ),
    "given": (
        Setting("rows", "list", "Rows; a column that is left out is NULL.", of="row", required=True),
        Setting("columns", "types", "Types of columns, where the source does not say."),
    ),
}


def unit_schema() -> dict[str, Any]:
    """The JSON schema of tests/*.yaml, for editors."""
    definitions = {name: properties(UNIT_SECTIONS[name]) for name in ("test", "given")}
    rows = {"type": "array", "items": {"$ref": "#/$defs/row"}}
    for section, name in (("given", "rows"), ("test", "expect"), ("test", "expect_at")):
        definitions[section]["properties"][name].pop("minItems")  # no row is something to give, and to expect
    definitions["test"]["anyOf"] = [{"required": ["expect"]}, {"required": ["expect_at"]}]
    definitions["given"] = {"anyOf": [rows, definitions["given"]]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tests/*.yaml",
        "description": "Unit tests of features of mlforge.",
        **properties(UNIT_SECTIONS["file"]),
        "$defs": {**definitions, "row": {"type": "object", "description": "One row: column and value."}},
    }


def unit_docs() -> dict[str, str]:
    """The generated file of docs/: name and text."""
    return {"mlforge.tests.schema.json": json.dumps(unit_schema(), indent=2, ensure_ascii=False) + "\n"}
