"""A project stated in Python, without mlforge.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlforge.errors import ProjectError, UsageError, Where
from mlforge.forge import Forge
from mlforge.model import Entity, Project, Source, WarehouseConfig
from mlforge.project.loader import by_name, python_feature, read_features, sql_and_python
from mlforge.project.python import Feature, features_of
from mlforge.project.python_project import LocalStore, caller, read_keep, read_sets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlforge.model import FeatureFile
    from mlforge.stores.store import Store


class Definitions(Forge):
    """A project whose parts are Python values, and all verbs of ``Forge`` on it."""

    def __init__(
        self,
        name: str,
        *,
        features: Iterable[Feature | ModuleType | str | os.PathLike[str]] = (),
        sources: Iterable[Source] = (),
        entities: Iterable[Entity] = (),
        feature_sets: Mapping[str, Iterable[Any]] | None = None,
        store: WarehouseConfig | str | os.PathLike[str] = "catalog.duckdb",
        online: Store | Mapping[str, Any] | str = "online.db",
        vars: Mapping[str, Any] | None = None,
        keep: Mapping[str, int] | None = None,
        strict: bool = False,
    ) -> None:
        """``features``: functions under ``@mlf.feature``, modules that hold such, SQL and Python files, and folders of
        them. ``store``: where the catalog is. ``online``: an online store, its URL or file, or the settings of a
        profile's ``online``. Paths count from the current folder; the rest is as in mlforge.yaml.

        Raises ProjectError, FeatureError for a Python file that fails, UsageError for a path that does not exist."""
        where = caller()
        root = Path.cwd()
        warehouse = store if isinstance(store, WarehouseConfig) else LocalStore(store)
        found = [file for given in _listed("features", features, where) for file in _files(given, root)]
        project = Project(
            name=name,
            root=str(root),
            file=Path(where.file).name,
            profile="python",
            warehouse=warehouse,
            strict=strict,
            sources=_named("sources", Source, sources, where),
            entities=_named("entities", Entity, entities, where),
            feature_sets=read_sets(feature_sets or {}, where),
            vars=dict(vars or {}),
            keep=read_keep(keep or {}, where),
            features=by_name(found),
        )
        super().__init__(project, warehouse.path)
        self._online = online


def _listed(what: str, given: Any, where: Where) -> list[Any]:
    if isinstance(given, (str, dict)) or not hasattr(given, "__iter__"):
        raise ProjectError(f"{what} must be a list, not {given!r}", where=where)
    return list(given)


def _named(what: str, kind: type[Any], given: Any, where: Where) -> dict[str, Any]:
    """Sources or entities by their names. Raises ProjectError for another thing and for a name that stands twice."""
    found: dict[str, Any] = {}
    for value in _listed(what, given, where):
        if not isinstance(value, kind):
            hint = f"write mlf.{kind.__name__}(...)"
            raise ProjectError(f"{what} cannot hold a {type(value).__name__}", where=where, hint=hint)
        if value.name.lower() in (other.lower() for other in found):
            raise ProjectError(f"{what} has {value.name!r} twice; case does not count", where=where, hint="rename one")
        found[value.name] = value
    return found


def _files(given: Any, root: Path) -> list[FeatureFile]:
    if isinstance(given, Feature):
        return [python_feature(given, root)]
    if isinstance(given, ModuleType):
        return [python_feature(feature, root) for feature in features_of(given)]
    if isinstance(given, (str, os.PathLike)):
        return _files_at(root / Path(given).expanduser(), root)
    hint = "write @mlf.feature(...) above it" if callable(given) else "give functions, modules or paths"
    raise UsageError(f"features cannot hold {given!r}", hint=hint)


def _files_at(path: Path, root: Path) -> list[FeatureFile]:
    if path.is_dir():
        return list(read_features(root, sql_and_python(path)).values())
    if not path.is_file():
        raise UsageError(f"there is no file or folder {str(path)!r}")
    if path.suffix.lower() not in (".sql", ".py"):
        raise UsageError(f"{path.name} is no feature", hint="features are .sql and .py files")
    return list(read_features(root, [path]).values())
