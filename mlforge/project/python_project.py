"""Sources, entities, sets and stores stated in Python: they are read as those of mlforge.yaml are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mlforge.errors import ProjectError, Where
from mlforge.model import FeatureRef, FeatureSet, Keep
from mlforge.project.config import read_entity, read_member, read_warehouse
from mlforge.project.environ import Environ
from mlforge.project.row_objects import WORDS, is_rows, kept
from mlforge.project.sections import Reader, check_name
from mlforge.project.sources import read_source
from mlforge.project.yamldoc import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlforge import model


def caller() -> Where:
    """The place in the user's file that called mlforge."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("mlforge."):
        frame = frame.f_back
    return Where(shown(frame.f_code.co_filename), frame.f_lineno)


def shown(file: str) -> str:
    """A file as messages name it: relative to the current folder where it lies in it."""
    path = Path(file)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else file


def Source(  # noqa: N802 - a public name of the design; it reads as a class
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    data: Any = None,
    table: str | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    types: Mapping[str, str] | None = None,
    timestamp: str | None = None,
    delay: str | None = None,
    known: Mapping[str, str] | None = None,
    loaded_at: str | None = None,
    unique_key: str | Iterable[str] | None = None,
    deleted: str | None = None,
    cursor: str | None = None,
    max_age: str | None = None,
    warn_age: str | None = None,
    description: str | None = None,
) -> model.Source:
    """Rows that exist already: files at a path (from the current folder), a table, or ``data``: an Arrow table, a
    Polars or pandas frame, a DuckDB relation. The other settings are those of mlforge.yaml.

    Raises ProjectError for what does not fit together."""
    where = caller()
    check_name(name, where)
    given = {
        "path": os.fspath(path) if path is not None else None,
        "table": table,
        "format": format,
        "options": options,
        "types": types,
        "timestamp": timestamp,
        "delay": delay,
        "known": known,
        "loaded_at": loaded_at,
        "unique_key": unique_key,
        "deleted": deleted,
        "cursor": cursor,
        "max_age": max_age,
        "warn_age": warn_age,
        "description": description,
    }
    if data is not None:
        _check_data(name, data, given, where)
        given["table"] = name  # read_source wants to know where rows are
    found = read_source(_reader(), name, _value(given, where), Path.cwd())
    if data is not None:
        found = replace(found, table=None, format="data", data=_kept(name, data, where))
    return replace(found, file=where.file)


def _check_data(name: str, data: Any, given: Mapping[str, Any], where: Where) -> None:
    if not is_rows(data):
        message = f"source {name!r}: data cannot be a {type(data).__name__}"
        raise ProjectError(message, where=where, hint=f"give {WORDS}")
    for setting in ("path", "table", "format", "options", "types"):
        if given[setting] is not None:
            raise ProjectError(f"source {name!r} has data and {setting!r}", where=where, hint="leave one out")


def _kept(name: str, data: Any, where: Where) -> Any:
    try:
        return kept(data)
    except Exception as error:  # whatever a relation or a lazy frame raises when it is computed
        message = f"source {name!r}: its data cannot be computed: {type(error).__name__}: {error}"
        raise ProjectError(message, where=where) from error


def Entity(  # noqa: N802 - a public name of the design; it reads as a class
    name: str, key: str | Iterable[str], *, from_: Iterable[str] | None = None, description: str | None = None
) -> model.Entity:
    """What features describe, with its key column or columns; ``from_`` names the parts of a surrogate key.

    Raises ProjectError for names that cannot be."""
    where = caller()
    check_name(name, where)
    given = {"key": key, "from": from_, "description": description}
    return read_entity(_reader(), name, _value(given, where))


def LocalStore(  # noqa: N802 - a public name of the design; it reads as a class
    path: str | os.PathLike[str] = "catalog.duckdb", *, threads: int | None = None, memory_limit: str | None = None
) -> model.WarehouseConfig:
    """A catalog in a DuckDB file, from the current folder; ``memory_limit`` as in ``"4GB"``. Raises ProjectError."""
    given = {"path": os.fspath(path), "threads": threads, "memory_limit": memory_limit}
    profile = _value({"warehouse": given}, caller())
    return read_warehouse(_reader(), "python", profile, Path.cwd())


def read_sets(given: Mapping[str, Iterable[Any]], where: Where) -> dict[str, FeatureSet]:
    """Feature sets from lists of references, texts or FeatureSpecs. Raises ProjectError."""
    found = {}
    for name, members in given.items():
        check_name(name, where)
        what = f"feature set {name!r}"
        if isinstance(members, str) or not (listed := tuple(members)):
            raise ProjectError(f"{what} must be a list of features", where=where, hint=f'{{"{name}": ["feature"]}}')
        refs = tuple(m if isinstance(m, FeatureRef) else read_member(_reader(), _value(m, where), what) for m in listed)
        found[name] = FeatureSet(name=name, members=refs, file=where.file, line=where.line)
    return found


def read_keep(given: Mapping[str, int], where: Where) -> Keep:
    """What gc keeps: ``patches`` and ``days``. Raises ProjectError."""
    return Keep(**_reader().section("keep", _value(dict(given), where), "'keep'"))


def _reader() -> Reader:
    return Reader(Environ({}))


def _value(given: Any, where: Where) -> Value:
    """Python data as the tree that settings are read from; what is None was not given."""
    if isinstance(given, dict):
        present = {k: _value(v, where) for k, v in given.items() if v is not None}
        return Value(data=present, where=where, keys=dict.fromkeys(present, where))
    if isinstance(given, (list, tuple, set, frozenset)):
        return Value(data=[_value(v, where) for v in given], where=where)
    return Value(data=given, where=where)
