"""A project's folder to a ``Project``."""

from __future__ import annotations

import re
from pathlib import Path

from mlforge.errors import ProjectError, UsageError, Where
from mlforge.model import FeatureFile, MacroFile, Project
from mlforge.project.config import FILE, read_config

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

    Python feature files are keyed by their path and hold text only; features of SQL files are keyed by name. Raises
    ProjectError for what is wrong in the files, UsageError for a path or a profile that does not exist."""
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
        features={**_sql_features(root), **_python_features(root)},
        macros=tuple(MacroFile(_shown(p, root), _read(p, root)) for p in _files(root, "macros", ".sql")),
        keep=config.keep,
        strict=config.strict,
    )


def _sql_features(root: Path) -> dict[str, FeatureFile]:
    found: dict[str, FeatureFile] = {}
    by_lower: dict[str, str] = {}
    for path in _files(root, "features", ".sql"):
        shown = _shown(path, root)
        other = by_lower.setdefault(path.stem.lower(), shown)
        if other != shown:
            hint = "a feature's name is its file's name, whatever the folder: rename one"
            raise ProjectError(f"the feature {path.stem!r} is also in {other}", where=Where(shown), hint=hint)
        if not _FEATURE.fullmatch(path.stem):
            hint = "name the file with small letters, digits and _, beginning with a letter"
            raise ProjectError(f"{path.stem!r} cannot be the name of a feature", where=Where(shown), hint=hint)
        found[path.stem] = FeatureFile(name=path.stem, path=shown, text=_read(path, root))
    return found


def _python_features(root: Path) -> dict[str, FeatureFile]:
    paths = [p for p in _files(root, "features", ".py") if p.name != "__init__.py"]
    files = (FeatureFile(name=p.stem, path=_shown(p, root), text=_read(p, root), kind="python") for p in paths)
    return {file.path: file for file in files}


def _files(root: Path, folder: str, suffix: str) -> list[Path]:
    """Files below a folder in a fixed order, without hidden ones and caches."""
    paths = (p for p in (root / folder).rglob("*") if p.suffix.lower() == suffix and p.is_file())
    seen = ((p.relative_to(root), p) for p in paths)
    return [p for short, p in sorted(seen) if not any(part.startswith((".", "__pycache__")) for part in short.parts)]


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


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
