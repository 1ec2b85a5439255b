"""mlforge.yaml to checked values. What is not used, such as other profiles, may hold variables that are not set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mlforge.errors import ProjectError, UsageError, Where, did_you_mean
from mlforge.model import Entity, FeatureRef, FeatureSet, Keep, Source, WarehouseConfig
from mlforge.project.environ import Environ
from mlforge.project.ref_grammar import parse_pin, parse_ref
from mlforge.project.sections import Reader, check_name, mapping, named, refuse_unknown
from mlforge.project.settings import SECTIONS, WAREHOUSES, json_schema
from mlforge.project.sources import absolute, read_source
from mlforge.project.yamldoc import Value, parse

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FILE", "Config", "json_schema", "parse_ref", "read_config"]

FILE = "mlforge.yaml"
_MEMORY = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B|B|bytes)", re.IGNORECASE)


class Config(Struct, frozen=True, kw_only=True):
    """What mlforge.yaml says, for one profile."""

    name: str
    profile: str
    warehouse: WarehouseConfig
    sources: dict[str, Source]
    entities: dict[str, Entity]
    feature_sets: dict[str, FeatureSet]
    vars: dict[str, Any]
    keep: Keep
    strict: bool


def read_config(root: Path, profile: str | None = None) -> Config:
    """Read ``root/mlforge.yaml`` and the ``.env`` beside it.

    ``profile`` wins over the variable MLFORGE_PROFILE, that over default_profile, that over the first profile. Raises
    ProjectError, with file and line, for anything wrong in the file; UsageError for a profile that does not exist."""
    environ = Environ.of(root)
    reader = Reader(environ)
    document = parse(_read(root / FILE), FILE)
    top = reader.section("project", _not_empty(document), FILE)
    chosen, warehouse = _profile(reader, top, document, profile, root)
    return Config(
        name=top["name"],
        profile=chosen,
        warehouse=warehouse,
        sources={n: read_source(reader, n, v, root) for n, v in named(top["sources"], "sources").items()},
        entities={n: read_entity(reader, n, v) for n, v in named(top["entities"], "entities").items()},
        feature_sets={n: _feature_set(reader, n, v) for n, v in named(top["feature_sets"], "feature_sets").items()},
        vars=top["vars"] or {},
        keep=Keep(**reader.section("keep", top["keep"], "'keep'")) if top["keep"] else Keep(),
        strict=top["strict"],
    )


def list_profiles(root: Path, profile: str | None = None) -> list[dict[str, Any]]:
    """The profiles of mlforge.yaml in their order: name, whether it is the one that is used, warehouse as written.

    Raises as ``read_config`` does."""
    used = read_config(root, profile)
    reader = Reader(Environ.of(root))
    top = reader.section("project", _not_empty(parse(_read(root / FILE), FILE)), FILE)
    profiles: dict[str, Value | None] = {**named(top["profiles"], "profiles")} or {used.profile: None}
    return [{"profile": n, "used": n == used.profile, **_written(value)} for n, value in profiles.items()]


def _written(profile: Value | None) -> dict[str, Any]:
    warehouse = profile.data.get("warehouse") if profile else None
    return {name: value.data for name, value in warehouse.data.items()} if warehouse else {}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ProjectError("this file is not UTF-8 text", where=Where(FILE)) from None
    except OSError as error:
        raise ProjectError(f"this file cannot be read: {error.strerror}", where=Where(FILE)) from None


def _not_empty(document: Value) -> Value:
    return Value(data={}, where=document.where) if document.data is None else document


def _profile(
    reader: Reader, top: dict[str, Any], document: Value, asked: str | None, root: Path
) -> tuple[str, WarehouseConfig]:
    profiles = named(top["profiles"], "profiles")
    default = top["default_profile"]
    known = list(profiles) or ["dev"]
    if default and default not in known:
        where = document.data["default_profile"].where
        raise ProjectError(f"there is no profile {default!r}", where=where, hint=did_you_mean(default, known))
    for name, value in profiles.items():
        _check_unused(name, value)
    from_environ = None if asked else reader.environ.get("MLFORGE_PROFILE")
    name = asked or from_environ or default or known[0]
    if name not in known:
        origin = " (from MLFORGE_PROFILE)" if from_environ else ""
        raise UsageError(f"there is no profile {name!r}{origin}", hint=did_you_mean(name, known))
    return name, read_warehouse(reader, name, profiles.get(name), root)


def _check_unused(name: str, value: Value) -> None:
    """Keys of every profile are checked; their values, and so their variables, only where the profile is used."""
    what = f"profile {name!r}"
    refuse_unknown(value, [s.name for s in SECTIONS["profile"]], what)
    for key, part in mapping(value, what).items():
        if part.data is not None:
            mapping(part, f"{key!r} of {what}")
    warehouse = value.data.get("warehouse")
    if warehouse is None or warehouse.data is None:
        return
    kind = warehouse.data.get("kind")
    if kind is None or kind.data == "duckdb":
        refuse_unknown(warehouse, [s.name for s in SECTIONS["warehouse"]], f"the warehouse of {what}")


def read_warehouse(reader: Reader, name: str, profile: Value | None, root: Path) -> WarehouseConfig:
    """The warehouse of a profile; paths count from ``root``. Raises ProjectError, with the line."""
    value = profile.data.get("warehouse") if profile else None
    if value is None or value.data is None:
        return WarehouseConfig(path=absolute("catalog.duckdb", root))
    what = f"the warehouse of profile {name!r}"
    _refuse_other_kind(reader, name, value)
    found = reader.section("warehouse", value, what)
    memory = found["memory_limit"]
    if memory and not _MEMORY.fullmatch(memory):
        where = value.data["memory_limit"].where
        raise ProjectError(f"{memory!r} is not an amount of memory", where=where, hint="write it as in 4GB")
    if "://" in found["path"]:
        raise ProjectError("the catalog must be a local file", where=value.data["path"].where)
    return WarehouseConfig(path=absolute(found["path"], root), threads=found["threads"], memory_limit=memory)


def _refuse_other_kind(reader: Reader, name: str, value: Value) -> None:
    kind = value.data.get("kind")
    if kind is None or kind.data is None:
        return
    found = reader.convert("text", kind, f"'kind' of the warehouse of profile {name!r}")
    if found in WAREHOUSES and found != "duckdb":
        message = f"profile {name!r} uses the warehouse {found!r}, which this version of mlforge cannot open"
        hint = "choose a profile whose warehouse is duckdb with --profile or MLFORGE_PROFILE"
        raise ProjectError(message, where=kind.where, hint=hint)


def read_entity(reader: Reader, name: str, value: Value) -> Entity:
    """One entity. Raises ProjectError, with the line."""
    what = f"entity {name!r}"
    if not isinstance(value.data, dict):
        hint = f"write {name}: {{key: column}}"
        raise ProjectError(f"{what} must be a mapping, not {value.kind}", where=value.where, hint=hint)
    found = reader.section("entity", value, what)
    keys, parts = found["key"], found["from"] or ()
    for column, part in (("key", keys), ("from", parts)):
        _check_columns(part, value, column, what)
    if parts and len(keys) > 1:
        message = f"{what} has 'from' and {len(keys)} keys; a surrogate is one key"
        raise ProjectError(message, where=value.keys["key"], hint="name one key column")
    return Entity(name=name, keys=keys, parts=parts, description=found["description"], line=value.where.line)


def _check_columns(columns: tuple[str, ...], value: Value, setting: str, what: str) -> None:
    seen: set[str] = set()
    for column in columns:
        where = value.data[setting].where
        check_name(column, where)
        if column.lower() in seen:
            raise ProjectError(f"{setting!r} of {what} names {column!r} twice", where=where)
        seen.add(column.lower())


def _feature_set(reader: Reader, name: str, value: Value) -> FeatureSet:
    what = f"feature set {name!r}"
    description, members = None, value
    if isinstance(value.data, dict):
        found = reader.section("feature_set", value, what)
        description, members = found["description"], found["features"]
    if not isinstance(members.data, list):
        raise ProjectError(f"{what} must be a list of features, not {members.kind}", where=members.where)
    if not members.data:
        raise ProjectError(f"{what} is empty", where=members.where, hint="list features: [name, name@2:column]")
    refs = tuple(read_member(reader, member, what) for member in members.data)
    return FeatureSet(name=name, members=refs, description=description, line=value.where.line)


def read_member(reader: Reader, value: Value, what: str) -> FeatureRef:
    """One entry of a feature set, short or long. Raises ProjectError, with the line."""
    if not isinstance(value.data, dict):
        return parse_ref(reader.convert("text", value, f"an entry of {what}") or "", value.where)
    found = reader.section("member", value, f"an entry of {what}")
    ref = parse_ref(found["feature"], value.data["feature"].where)
    for setting, given in (("version", ref.version.major is not None), ("columns", bool(ref.columns))):
        if given and found[setting]:
            message = f"an entry of {what} says its {setting} twice"
            raise ProjectError(message, where=value.keys[setting], hint=f"write it in 'feature' or in {setting!r}")
    return FeatureRef(
        name=ref.name,
        version=parse_pin(found["version"], value.data["version"].where) if found["version"] else ref.version,
        columns=found["columns"] or ref.columns,
        keys=found["keys"] or {},
        prefix=found["prefix"] or "",
    )
