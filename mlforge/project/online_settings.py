"""The section ``online`` of a profile. It is read when a store is needed, so that builds do without its variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlforge.errors import ProjectError
from mlforge.model import Duration
from mlforge.project.config import FILE, read_config
from mlforge.project.environ import Environ
from mlforge.project.sections import Reader, mapping, named, refuse_unknown
from mlforge.project.settings import SECTIONS
from mlforge.project.sources import absolute
from mlforge.project.yamldoc import Value, parse

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS = {"max_points": 500, "grace": 600.0}
_OF_KIND = {
    "sqlite": {"path"},
    "redis": {"url", "cluster", "options"},
    "dynamodb": {"table", "region", "endpoint", "create"},
}


def read_online(root: Path, profile: str) -> dict[str, Any]:
    """The settings of a profile's online store, paths counted from ``root``; ``grace`` becomes seconds.

    A profile that states none has a SQLite file beside mlforge.yaml. A kind that another package adds may have any
    further settings. Raises ProjectError, with the line."""
    config = read_config(root, profile)
    document = parse((root / FILE).read_text(encoding="utf-8-sig"), FILE)
    stated = named(document.data.get("profiles"), "profiles").get(profile) if document.data else None
    value = stated.data.get("online") if stated else None
    if value is None or value.data is None:
        value = Value(data={}, where=document.where)
    found = _settings(Reader(Environ.of(root)), value, f"the online store of profile {profile!r}", root)
    return {"namespace": config.name, **found}


def _settings(reader: Reader, value: Value, what: str, root: Path) -> dict[str, Any]:
    known = {s.name for s in SECTIONS["online"]}
    data = mapping(value, what)
    kind = reader.convert("text", data["kind"], f"'kind' of {what}") if "kind" in data else "sqlite"
    if kind in _OF_KIND:
        others = set().union(*_OF_KIND.values()) - _OF_KIND[kind]
        refuse_unknown(value, known - others, what)
    own = Value(data={k: v for k, v in data.items() if k in known}, where=value.where)
    found = reader.section("online", own, what)
    if kind == "sqlite":
        found["path"] = absolute(found["path"] or "online.db", root)
    try:
        seconds = (Duration.parse(found["grace"]).micros or 0) / 1_000_000
    except ValueError as error:
        raise ProjectError(f"'grace' of {what}: {error}", where=data["grace"].where) from None
    more = {k: reader.plain(v) for k, v in data.items() if k not in known}
    return {**{k: v for k, v in found.items() if v is not None}, **more, "grace": seconds}
