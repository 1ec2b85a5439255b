"""Is everything in order? Versions, the project's files, the catalog and what lies beside it."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from mlforge.catalog import file, log, migrations
from mlforge.catalog.open_files import wal_of
from mlforge.catalog.staging import megabytes
from mlforge.errors import MlforgeError, ProjectError
from mlforge.project.loader import load
from mlforge.sql.templates import ident, sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

    from mlforge.model import Project

NEEDED = {"duckdb": ((1, 4), (3,)), "sqlglot": ((30,), (31,)), "pyarrow": ((17,), None), "jinja2": ((3, 1), None)}
"""Packages, the oldest version that will do, and the first that will not."""
EXTENSIONS = ("core_functions", "icu", "json", "parquet")
_LITTLE_SPACE = 1 << 30
_MUCH_FREE = 0.5  # share of a file's blocks that hold nothing


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at. A warning is worth knowing, a problem keeps mlforge from working."""

    what: str
    state: Literal["ok", "warning", "problem"]
    text: str
    hint: str | None = None


def examine(path: str | Path, profile: str | None = None) -> list[Finding]:
    """Look at this environment, and at the project or catalog at ``path``. Raises nothing that is wrong with them."""
    given = Path(path)
    found = [*_environment(), *_extensions()]
    if given.suffix == ".duckdb":
        return [*found, *_catalog(given)]
    try:
        project = load(given, profile)
    except MlforgeError as error:
        missing = isinstance(error, ProjectError) and error.message.startswith("no mlforge.yaml")
        shown = f"{error.where}: {error.message}" if error.where else error.message
        state: Literal["warning", "problem"] = "warning" if missing else "problem"
        return [*found, Finding(what="project", state=state, text=shown, hint=error.hint)]
    return [*found, _project(project), *_catalog(Path(project.warehouse.path))]


def _environment() -> Iterator[Finding]:
    yield _within("python", sys.version_info[:3], (3, 11), None)
    for package, (oldest, first_bad) in NEEDED.items():
        try:
            yield _within(package, _numbers(version(package)), oldest, first_bad)
        except PackageNotFoundError:
            yield Finding(what=package, state="problem", text="is not installed", hint=f"pip install {package}")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(p) for p in text.split(".")[:3] if p.isdigit())


def _within(what: str, have: tuple[int, ...], oldest: tuple[int, ...], first_bad: tuple[int, ...] | None) -> Finding:
    shown = _dotted(have)
    if have < oldest:
        return Finding(
            what=what, state="problem", text=f"{shown} is too old", hint=f"install {_dotted(oldest)} or later"
        )
    if first_bad and have >= first_bad:
        hint = f"install one before {_dotted(first_bad)}"
        return Finding(what=what, state="problem", text=f"{shown} is newer than mlforge knows", hint=hint)
    return Finding(what=what, state="ok", text=shown)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _extensions() -> Iterator[Finding]:
    with file.Instance() as own:
        rows = own.con.execute(sql("catalog/extensions", names=list(EXTENSIONS))).fetchall()
    missing = [name for name in EXTENSIONS if name not in {row[0] for row in rows}]
    if missing:
        hint = "this DuckDB was built without them: install duckdb from PyPI"
        yield Finding(what="extensions", state="problem", text=f"{', '.join(missing)} missing", hint=hint)
    else:
        yield Finding(what="extensions", state="ok", text=", ".join(EXTENSIONS))


def _project(project: Project) -> Finding:
    text = f"{project.name} in {project.root}, profile {project.profile}, {len(project.features)} feature files"
    return Finding(what="project", state="ok", text=text)


def _catalog(path: Path) -> Iterator[Finding]:
    yield from _folder(path)
    if not path.exists():
        yield Finding(what="catalog", state="warning", text=f"there is none at {path}", hint="mlforge build makes it")
        return
    try:
        with file.open_read(path, lock_timeout=1.0) as con:
            found = list(_contents(con, path))
    except MlforgeError as error:
        yield Finding(what="catalog", state="problem", text=error.message, hint=error.hint)
        return
    yield from found
    yield from _beside(path)


def _folder(path: Path) -> Iterator[Finding]:
    folder = path.resolve().parent
    if not os.access(folder, os.W_OK):
        yield Finding(
            what="folder", state="warning", text=f"{folder} is not writable", hint="reading works, builds do not"
        )
        return
    free = shutil.disk_usage(folder).free
    if free < _LITTLE_SPACE:
        yield Finding(what="disk", state="warning", text=f"only {megabytes(free)} free", hint="builds need room")
    else:
        yield Finding(what="disk", state="ok", text=f"{megabytes(free)} free")


def _contents(con: DuckDBPyConnection, path: Path) -> Iterator[Finding]:
    have, latest = migrations.found(con), migrations.latest()
    older = have is not None and have < latest
    yield _whole(con)
    yield Finding(
        what="catalog",
        state="warning" if older else "ok",
        text=f"{path}, migration {have} of {latest}",
        hint="the next build brings it up to date" if older else None,
    )
    storage, block_size, total, used = con.execute(sql("catalog/file_state")).fetchall()[0]
    wanted = file.STORAGE_VERSION
    as_wanted = storage in (None, wanted)
    yield Finding(
        what="storage",
        state="ok" if as_wanted else "warning",
        text=f"storage version {storage or 'unknown'}",
        hint=None if as_wanted else f"mlforge writes {wanted}: a DuckDB that old cannot open this file",
    )
    size, filled = total * block_size, used * block_size
    wasteful = total > 0 and (total - used) / total > _MUCH_FREE and size > _LITTLE_SPACE
    yield Finding(
        what="size",
        state="warning" if wasteful else "ok",
        text=f"{megabytes(size)}, {megabytes(filled)} of it in use",
        hint="the rest is used again by later builds" if wasteful else None,
    )


def _whole(con: DuckDBPyConnection) -> Finding:
    """All rows are read: DuckDB looks at a block only when it needs it. Its error is said as one about the catalog."""
    tables = con.execute(sql("catalog/own_tables")).fetchall()
    for schema, name in tables:
        con.execute(sql("warehouse/state", relation=f"{ident(schema)}.{ident(name)}", alike={})).fetchall()
    return Finding(what="tables", state="ok", text=f"{len(tables)} tables can be read to the end")


def _beside(path: Path) -> Iterator[Finding]:
    staging = path.with_name(path.name + ".staging")
    left = [p for p in staging.iterdir() if p.is_dir()] if staging.is_dir() else []
    if left:
        text = f"{len(left)} folders in {staging}: a build runs, or one died"
        yield Finding(what="staging", state="warning", text=text, hint="the next build clears what dead ones left")
    if wal_of(path).exists():
        text = f"{wal_of(path).name} is there: another process writes, or one died"
        yield Finding(
            what="log", state="warning", text=text, hint="DuckDB takes it in when it opens the file for writing"
        )
    records = len(list(log.folder(path).glob("dataset-*.json"))) if log.folder(path).is_dir() else 0
    if records:
        yield Finding(what="records", state="ok", text=f"{records} dataset records wait for the next build or gc")
