"""A project's folder to a ``Project``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlforge.errors import ProjectError, UsageError, Where
from mlforge.model import FeatureFile, MacroFile, Project
from mlforge.project.config import FILE, read_config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlforge.project.python import Feature

_FEATURE = re.compile(r"[a-z][a-z0-9_]*")


def find_root(start: Path) -> Path:
    """The nearest folder, from ``start`` upwards, that holds mlforge.yaml. Raises ProjectError if there is none."""
    start = start.expanduser().resolve()
    folder = start.parent if start.is_file() else start
    for candidate in (folder, *folder.parents):
        if (candidate / FILE).is_file():
            return candidate
    hint = "mlforge init NAME makes a project"
    raise ProjectError("no mlforge.yaml here or above", where=Where(str(start)), hint=hint)


def load(path: str | Path = ".", profile: str | None = None) -> Project:
    """Read the project that ``path`` lies in, for one profile. Nothing but the project's own files is read.

    Python files below features/ are executed; their functions are not called. Raises ProjectError for what is wrong in
    the files, FeatureError for a Python file that fails, UsageError for a path or a profile that does not exist."""
    start = Path(path).expanduser()
    if not start.exists():
        raise UsageError(f"there is no folder {str(path)!r}")
    root = find_root(start)
    config = read_config(root, profile)
    return Project(
        name=config.name,
        root=str(root),
        profile=config.profile,
        warehouse=config.warehouse,
        sources=config.sources,
        entities=config.entities,
        feature_sets=config.feature_sets,
        vars=config.vars,
        features=read_features(root, sql_and_python(root / "features")),
        macros=tuple(MacroFile(_shown(p, root), _read(p, root)) for p in _files(root, "macros", ".sql")),
        keep=config.keep,
        strict=config.strict,
    )


def read_features(root: Path, paths: Iterable[Path]) -> dict[str, FeatureFile]:
    """The features of SQL and Python files by name; the latter are executed. Paths are shown relative to ``root``.

    Raises ProjectError, or FeatureError for a Python file that fails."""
    return by_name(file for path in paths for file in _features_of(path, root))


def by_name(files: Iterable[FeatureFile]) -> dict[str, FeatureFile]:
    """Features by their names; the same function may come twice, as by an import.

    Raises ProjectError for a name that two have (case does not count) or none may have."""
    found: dict[str, FeatureFile] = {}
    by_lower: dict[str, str] = {}
    for file in files:
        if file.function is not None and any(file.function is known.function for known in found.values()):
            continue
        other = by_lower.setdefault(file.name.lower(), file.path)
        if other != file.path or file.name in found:
            hint = "a feature's name is its file's or its function's name, whatever the folder: rename one"
            message = f"the feature {file.name!r} is also in {other}"
            raise ProjectError(message, where=Where(file.path), hint=hint)
        if not _FEATURE.fullmatch(file.name):
            hint = "name the file with small letters, digits and _, beginning with a letter"
            raise ProjectError(f"{file.name!r} cannot be the name of a feature", where=Where(file.path), hint=hint)
        found[file.name] = file
    return found


def python_feature(feature: Feature, root: Path) -> FeatureFile:
    """A Python feature as the project holds it; its file is shown relative to ``root``."""
    path = _shown(Path(feature.code.co_filename), root)
    return FeatureFile(name=feature.name, path=path, kind="python", function=feature)


def _features_of(path: Path, root: Path) -> list[FeatureFile]:
    shown, text = _shown(path, root), _read(path, root)
    if path.suffix.lower() == ".py":
        from mlforge.project.python import run_file

        features = run_file(path, shown, text)
        return [python_feature(feature, root) for feature in features]
    return [FeatureFile(name=path.stem, path=shown, text=text)]


def sql_and_python(folder: Path) -> list[Path]:
    """The files of a folder, and of those in it, that hold features: first SQL, then Python."""
    python = [p for p in _files(folder, "", ".py") if p.name != "__init__.py"]
    return [*_files(folder, "", ".sql"), *python]


def _files(root: Path, folder: str, suffix: str) -> list[Path]:
    """Files below a folder in a fixed order, without hidden ones and caches."""
    paths = (p for p in (root / folder).rglob("*") if p.suffix.lower() == suffix and p.is_file())
    seen = ((p.relative_to(root), p) for p in paths)
    return [p for short, p in sorted(seen) if not any(part.startswith((".", "__pycache__")) for part in short.parts)]


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _read(path: Path, root: Path) -> str:
    where = Where(_shown(path, root))
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        message = "this file is not UTF-8 text"
        raise ProjectError(message, where=Where(where.file, line), hint="save it as UTF-8") from None
    except OSError as error:
        raise ProjectError(f"this file cannot be read: {error.strerror}", where=where) from None
