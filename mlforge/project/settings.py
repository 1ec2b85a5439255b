"""Every key of mlforge.yaml in one table. Reading, the JSON schema and the settings page all follow it."""

from __future__ import annotations

import json
from typing import Any, Literal

from msgspec import Struct

Type = Literal["text", "integer", "boolean", "names", "version", "object", "texts", "types", "map", "list", "section"]


class Setting(Struct, frozen=True):
    """One key of one section. ``of`` names the section that the values of a map, a list or a section have."""

    name: str
    type: Type
    help: str
    default: Any = None
    required: bool = False
    of: str = ""
    choices: tuple[str, ...] = ()
    minimum: int | None = None


WAREHOUSES = ("duckdb", "spark", "databricks")
FORMATS = ("parquet", "csv", "json", "duckdb")

SECTIONS: dict[str, tuple[Setting, ...]] = {
    "project": (
        Setting("name", "text", "Name of the project.", required=True),
        Setting("sources", "map", "Rows that exist already, by name.", of="source"),
        Setting("entities", "map", "What features describe, by name.", of="entity"),
        Setting("feature_sets", "map", "Named lists of features, each for one model.", of="feature_set"),
        Setting("profiles", "map", "Where features are computed and stored, by name.", of="profile"),
        Setting("default_profile", "text", "The profile used when neither --profile nor MLFORGE_PROFILE names one."),
        Setting("vars", "object", 'Values that SQL reads with {{ var("name") }}.'),
        Setting("keep", "section", "What gc keeps.", of="keep"),
        Setting(
            "strict",
            "boolean",
            "Refuse features that are not proven to be free of leaks; doubts about times of rows are errors.",
            default=False,
        ),
    ),
    "source": (
        Setting("path", "text", "A file, a glob, a directory or a URL; relative to mlforge.yaml."),
        Setting("table", "text", "A table of the warehouse; together with a path, of that DuckDB file."),
        Setting("format", "text", "How files are read; without it, the suffix of the path tells.", choices=FORMATS),
        Setting("options", "object", "Options of the reader, as DuckDB names them.", of="options"),
        Setting("types", "texts", "Types of columns of files: column: TYPE. What does not fit is an error."),
        Setting("timestamp", "text", "Column that says when a row happened."),
        Setting(
            "delay",
            "text",
            "How long after its timestamp a row is known, as in 36h. Without it 0s; of a DATE or of text 1d, its end.",
        ),
        Setting(
            "known",
            "texts",
            "Columns whose values come after their row: column: SQL for the instant from which its value is known.",
        ),
        Setting("loaded_at", "text", "Column that says when a row became known."),
        Setting(
            "unique_key",
            "names",
            "Of rows with equal values here only the greatest loaded_at exists; rows with a NULL here all do.",
        ),
        Setting("deleted", "text", "SQL condition that marks a row as a deletion of its unique_key."),
        Setting("cursor", "text", "Column that only grows, by which new rows are found."),
        Setting("max_age", "text", "Age of the newest row at which mlforge freshness fails, as in 2h."),
        Setting("warn_age", "text", "Age of the newest row at which mlforge freshness warns."),
        Setting("description", "text", "What the rows are."),
    ),
    "entity": (
        Setting("key", "names", "Key column, or a list of them.", required=True),
        Setting("from", "names", "Columns that a surrogate key is made of."),
        Setting("description", "text", "What the entity is."),
    ),
    "feature_set": (
        Setting("features", "list", "References: name[@version][:col,col].", of="member", required=True),
        Setting("description", "text", "What the set is for."),
    ),
    "member": (
        Setting("feature", "text", "Name of a feature, or a whole reference.", required=True),
        Setting("version", "version", 'Version to stay on: 2, "2.1" or "2.1.3".'),
        Setting("columns", "names", "Columns to take; without it, all."),
        Setting("keys", "texts", "Key column of the entity: column of the label rows."),
        Setting("prefix", "text", "Text before each column name."),
    ),
    "profile": (
        Setting("warehouse", "section", "The engine that computes and stores.", of="warehouse"),
        Setting("online", "section", "The store that services read from; without it, a SQLite file.", of="online"),
    ),
    "warehouse": (
        Setting("kind", "text", "The engine. This version opens duckdb only.", default="duckdb", choices=WAREHOUSES),
        Setting("path", "text", "The catalog file; relative to mlforge.yaml.", default="catalog.duckdb"),
        Setting("threads", "integer", "Threads to use; without it, all cores.", minimum=1),
        Setting("memory_limit", "text", "Memory to use, as in 4GB; without it, DuckDB's default."),
    ),
    "online": (
        Setting("kind", "text", "sqlite, redis, dynamodb, or a kind that another package adds.", default="sqlite"),
        Setting("path", "text", "File of a SQLite store, online.db if none is named; relative to mlforge.yaml."),
        Setting("url", "text", "Address of a Redis store: redis://user:password@host:6379/0; rediss:// is TLS."),
        Setting(
            "cluster",
            "boolean",
            "Whether the Redis store is a cluster; url then names a node, or several: redis://one:7000,two:7000.",
        ),
        Setting("table", "text", "Table of a DynamoDB store, mlforge-online if none is named."),
        Setting("region", "text", "AWS region of a DynamoDB store; without it, that of the environment."),
        Setting("endpoint", "text", "Address of a DynamoDB store that is not AWS's."),
        Setting("create", "boolean", "Make the DynamoDB table, billed on demand, if it is not there."),
        Setting("timeout", "integer", "Seconds that one call may take, or wait for another writer.", minimum=1),
        Setting("options", "object", "Options of redis-py, as it names them: ssl_ca_certs ..."),
        Setting("namespace", "text", "Name that features are published under; without it, the project's name."),
        Setting(
            "max_points", "integer", "Instants that are kept of one key before it is coarsened.", default=500, minimum=2
        ),
        Setting("grace", "text", "How long readers may still read what was replaced, as in 10m.", default="10m"),
    ),
    "keep": (
        Setting("patches", "integer", "Newest PATCH versions of each MINOR.", default=30, minimum=1),
        Setting("days", "integer", "Age in days below which nothing is removed.", default=90, minimum=0),
    ),
}

_FILES: dict[str, Type] = {
    "hive_partitioning": "boolean",
    "hive_types": "types",
    "union_by_name": "boolean",
    "filename": "boolean",
}
_TEXT_FILES: dict[str, Type] = {
    "columns": "types",
    "dateformat": "text",
    "timestampformat": "text",
    "compression": "text",
}

OPTIONS: dict[str, dict[str, Type]] = {  # reader options of each format
    "parquet": {**_FILES, "binary_as_string": "boolean"},
    "csv": {
        **_FILES,
        **_TEXT_FILES,
        "all_varchar": "boolean",
        "comment": "text",
        "decimal_separator": "text",
        "delim": "text",
        "encoding": "text",
        "escape": "text",
        "header": "boolean",
        "names": "names",
        "null_padding": "boolean",
        "nullstr": "names",
        "quote": "text",
        "sample_size": "integer",
        "skip": "integer",
        "types": "types",
    },
    "json": {
        **_FILES,
        **_TEXT_FILES,
        "format": "text",
        "maximum_depth": "integer",
        "maximum_object_size": "integer",
        "records": "text",
        "sample_size": "integer",
    },
    "duckdb": {},
    "table": {},
}

_REF = r"^\s*[A-Za-z_][A-Za-z0-9_]*\s*(@\s*\d+(\.\d+){0,2}\s*)?(:.+)?$"
_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "integer": {"anyOf": [{"type": "integer"}, _VARIABLE]},
    "boolean": {"anyOf": [{"type": "boolean"}, _VARIABLE]},
    "names": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    "version": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^\d+(\.\d+){0,2}$"}]},
    "object": {"type": "object"},
    "texts": {"type": "object", "additionalProperties": {"type": "string"}},
    "types": {"type": "object", "additionalProperties": {"type": "string"}},
}


def json_schema() -> dict[str, Any]:
    """The JSON schema of mlforge.yaml, for editors."""
    definitions = {name: _object(name) for name in SECTIONS if name != "project"}
    definitions["options"] = _options()
    definitions["member"] = {"anyOf": [{"type": "string", "pattern": _REF}, definitions["member"]]}
    members = {"type": "array", "items": {"$ref": "#/$defs/member"}, "minItems": 1}
    definitions["feature_set"] = {"anyOf": [members, definitions["feature_set"]]}
    definitions["online"]["additionalProperties"] = True  # stores of other packages have settings of their own
    definitions["warehouse"] = {"anyOf": [_duckdb(definitions["warehouse"]), _other_warehouse()]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mlforge.yaml",
        "description": "A project of mlforge.",
        **_object("project"),
        "$defs": definitions,
    }


def _object(section: str) -> dict[str, Any]:
    return properties(SECTIONS[section])


def properties(settings: tuple[Setting, ...]) -> dict[str, Any]:
    """The JSON schema of a mapping with these keys."""
    required = [s.name for s in settings if s.required]
    return {
        "type": "object",
        "additionalProperties": False,
        **({"required": required} if required else {}),
        "properties": {s.name: _property(s) for s in settings},
    }


def _property(setting: Setting) -> dict[str, Any]:
    reference: dict[str, Any] = {"$ref": f"#/$defs/{setting.of}"}
    shapes: dict[str, dict[str, Any]] = {
        "map": {"type": "object", "additionalProperties": reference},
        "list": {"type": "array", "items": reference, "minItems": 1},
        "section": reference,
    }
    shape = dict(reference if setting.of == "options" else shapes.get(setting.type) or _TYPES[setting.type])
    if setting.choices:
        shape["enum"] = list(setting.choices)
    if setting.minimum is not None:
        shape["anyOf"] = [{"type": "integer", "minimum": setting.minimum}, _VARIABLE]
    if setting.default is not None:
        shape["default"] = setting.default
    return {"description": setting.help, **shape}


def _options() -> dict[str, Any]:
    properties = {name: _TYPES[kind] for known in OPTIONS.values() for name, kind in known.items()}
    return {"type": "object", "additionalProperties": False, "properties": dict(sorted(properties.items()))}


def _duckdb(warehouse: dict[str, Any]) -> dict[str, Any]:
    kind = {**warehouse["properties"]["kind"], "enum": ["duckdb"]}
    return {**warehouse, "properties": {**warehouse["properties"], "kind": kind}}


def _other_warehouse() -> dict[str, Any]:
    others = [kind for kind in WAREHOUSES if kind != "duckdb"]
    return {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": others}}}


_TITLES = {
    "project": "Top level",
    "source": "sources.NAME",
    "entity": "entities.NAME",
    "feature_set": "feature_sets.NAME",
    "member": "An entry of a feature set, long form",
    "profile": "profiles.NAME",
    "warehouse": "profiles.NAME.warehouse",
    "online": "profiles.NAME.online",
    "keep": "keep",
}


def settings_page() -> str:
    """The page docs/settings.md."""
    parts = [
        "# Settings of mlforge.yaml",
        "<!-- Generated from mlforge/project/settings.py; a test checks that it is current. -->",
        "Text may hold `${NAME}`, `${NAME:-default}`, `${oc.env:NAME}` and `${oc.env:NAME,default}`. Variables come"
        " from the environment, then from a `.env` file beside mlforge.yaml. Unknown keys are errors.",
    ]
    for section, settings in SECTIONS.items():
        rows = "\n".join(_row(s) for s in settings)
        parts.append(f"## {_TITLES[section]}\n\n| key | type | default | meaning |\n|---|---|---|---|\n{rows}")
    for format_, known in OPTIONS.items():
        if known:
            parts.append(f"## options of a {format_} source\n\n" + ", ".join(f"`{name}`" for name in sorted(known)))
    return "\n\n".join(parts) + "\n"


_WORDS = {
    "names": "text or list",
    "object": "mapping",
    "texts": "mapping of texts",
    "types": "mapping of texts",
    "map": "mapping",
    "section": "mapping",
}


def _row(setting: Setting) -> str:
    kind = " or ".join(f"`{c}`" for c in setting.choices) or _WORDS.get(setting.type, setting.type)
    default = "required" if setting.required else "" if setting.default is None else f"`{str(setting.default).lower()}`"
    return f"| `{setting.name}` | {kind} | {default} | {setting.help} |"


def settings_docs() -> dict[str, str]:
    """The generated files of docs/: name and text."""
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {"mlforge.schema.json": schema, "settings.md": settings_page()}
