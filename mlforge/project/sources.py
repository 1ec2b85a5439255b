"""The section ``sources`` of mlforge.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlforge.errors import ProjectError, did_you_mean
from mlforge.model import Duration, Source
from mlforge.project.sections import mapping
from mlforge.project.settings import OPTIONS

if TYPE_CHECKING:
    from mlforge.project.sections import Reader
    from mlforge.project.yamldoc import Value

_SUFFIXES = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".tsv"),
    "json": (".json", ".jsonl", ".ndjson"),
    "duckdb": (".duckdb", ".ddb", ".db"),
}
_COMPRESSED = (".gz", ".zst")
_REFUSED = {
    "ignore_errors": "rows that cannot be read must not vanish; fix them, or read the column as text and cast it"
}


def read_source(reader: Reader, name: str, value: Value, root: Path) -> Source:
    """One source. Raises ProjectError, with the line, for what is missing or does not fit together."""
    what = f"source {name!r}"
    found = reader.section("source", value, what)
    path, table = found["path"], found["table"]
    if path is None and table is None:
        hint = "path: data/rows.parquet, or table: schema.name"
        raise ProjectError(f"{what} has neither path nor table", where=value.where, hint=hint)
    format_ = _format(found, value, what, root)
    _check_table(format_, found, value, what)
    if found["types"] and format_ in ("duckdb", "table"):
        hint = "cast the column in the feature's SQL"
        raise ProjectError(f"{what} is a table, whose columns have types", where=value.keys["types"], hint=hint)
    if found["unique_key"] and not found["loaded_at"]:
        hint = "name the column that says when a row became known: loaded_at: column"
        raise ProjectError(f"{what} has unique_key but no loaded_at", where=value.keys["unique_key"], hint=hint)
    for setting in ("delay", "known"):
        if found[setting] and not found["timestamp"]:
            hint = "name the column that says when a row happened: timestamp: column"
            raise ProjectError(f"{what} has {setting} but no timestamp", where=value.keys[setting], hint=hint)
    max_age, warn_age = _ages(found, value, what)
    return Source(
        name=name,
        path=absolute(path, root) if path else None,
        table=table,
        format=format_,  # type: ignore[arg-type]
        options=_options(reader, value, format_, what, path or ""),
        types=found["types"] or {},
        timestamp=found["timestamp"],
        delay=_delay(found["delay"], value, what),
        known=found["known"] or {},
        loaded_at=found["loaded_at"],
        unique_key=found["unique_key"] or (),
        deleted=found["deleted"],
        cursor=found["cursor"],
        max_age=max_age,
        warn_age=warn_age,
        description=found["description"],
        line=value.where.line,
    )


def _ages(found: dict[str, Any], value: Value, what: str) -> tuple[Duration | None, Duration | None]:
    """``max_age`` and ``warn_age``. A warning that comes after the failure would never be seen."""
    most, warn = (_age(found[name], value, name, what) for name in ("max_age", "warn_age"))
    if most and warn and warn.micros and most.micros and warn.micros >= most.micros:
        raise ProjectError(
            f"{what} warns at an age of {warn}, and fails at {most} already",
            where=value.keys["warn_age"],
            hint="warn_age is the shorter one",
        )
    return most, warn


def _delay(text: str | None, value: Value, what: str) -> Duration | None:
    if text is None:
        return None
    try:
        delay = Duration.parse(text)
    except ValueError as error:
        raise ProjectError(f"delay of {what}: {error}", where=value.keys["delay"]) from None
    if delay.months:
        hint = "write days: the longest month has 31d"
        raise ProjectError(f"delay of {what} must be of one length, not {text}", where=value.keys["delay"], hint=hint)
    return delay


def _age(text: str | None, value: Value, name: str, what: str) -> Duration | None:
    if text is None:
        return None
    try:
        age = Duration.parse(text)
    except ValueError as error:
        raise ProjectError(f"{name} of {what}: {error}", where=value.keys[name]) from None
    if not age.n:
        raise ProjectError(f"{name} of {what} must be longer than nothing", where=value.keys[name])
    return age


def absolute(path: str, root: Path) -> str:
    """A path as the engine gets it: URLs as they are, others absolute, relative ones from ``root``."""
    return path if "://" in path else str(root / os.path.expanduser(path))  # noqa: PTH111 - leaves ~nobody as it is


def _format(found: dict[str, Any], value: Value, what: str, root: Path) -> str:
    path: str | None = found["path"]
    if path is None:
        if found["format"]:
            raise ProjectError(f"{what} is a table and has no format", where=value.keys["format"])
        return "table"
    inferred = found["format"] or _by_suffix(path)
    if inferred:
        return str(inferred)
    if path.endswith(("/", "**")) or Path(absolute(path, root)).is_dir():
        return "parquet"
    hint = "add format: parquet, csv, json or duckdb"
    raise ProjectError(f"{what}: the name of {path!r} does not tell its format", where=value.keys["path"], hint=hint)


def _by_suffix(path: str) -> str | None:
    name = path.lower().partition("?")[0] if "://" in path else path.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return next((format_ for format_, suffixes in _SUFFIXES.items() if name.endswith(suffixes)), None)


def _check_table(format_: str, found: dict[str, Any], value: Value, what: str) -> None:
    if format_ == "duckdb" and not found["table"]:
        hint = "add table: name"
        raise ProjectError(f"{what} is a DuckDB file without a table", where=value.keys["path"], hint=hint)
    if found["table"] and format_ not in ("duckdb", "table"):
        hint = "a table needs a DuckDB file, or no path at all"
        raise ProjectError(f"{what} has a table, but its path is {format_}", where=value.keys["table"], hint=hint)


def _options(reader: Reader, value: Value, format_: str, what: str, path: str) -> dict[str, Any]:
    options: dict[str, Any] = {"delim": "\t"} if format_ == "csv" and ".tsv" in path.lower() else {}
    given = value.data.get("options")
    if given is None or given.data is None:
        return options
    known = OPTIONS[format_]
    for name, option in mapping(given, f"'options' of {what}").items():
        where = given.keys[name]
        if name in _REFUSED:
            raise ProjectError(f"{what} cannot use the option {name!r}", where=where, hint=_REFUSED[name])
        if name not in known:
            hint = did_you_mean(name, known) if known else "only files that are read have options"
            raise ProjectError(f"{format_} sources have no option {name!r}", where=where, hint=hint)
        options[name] = _option(reader, known[name], option, f"option {name!r} of {what}")
    return options


def _option(reader: Reader, kind: Any, option: Value, what: str) -> Any:
    if kind == "text" and option.data == "":  # quote: "" switches quoting off
        return ""
    if kind == "names":  # nullstr may be the empty text too
        values = option.data if isinstance(option.data, list) else [option]
        return [_option(reader, "text", v, what) for v in values]
    found = reader.convert(kind, option, what)
    if found is None:
        raise ProjectError(f"{what} is empty", where=option.where)
    return found
