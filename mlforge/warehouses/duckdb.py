"""DuckDB as the engine: sources become views, and questions about types are asked of its binder."""

from __future__ import annotations

import glob
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from mlforge.errors import CatalogError, FeatureError, ProjectError, WarehouseError, Where, engine_words
from mlforge.masking import masked, without_login
from mlforge.model import REF_SCHEMA, SOURCE_SCHEMA, FileState, Slice, SourceState
from mlforge.sql.alike import alike
from mlforge.sql.missing import unknown_column
from mlforge.sql.templates import ident, sql, statements
from mlforge.warehouses.filetable import FileTable, explained, table_of
from mlforge.warehouses.floats import with_floats
from mlforge.warehouses.frames import as_arrow
from mlforge.warehouses.hollow import why_hollow
from mlforge.warehouses.misfits import Misfit, Reader
from mlforge.warehouses.paths import pattern
from mlforge.warehouses.reading import ALL, Reading
from mlforge.warehouses.types import zoned_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.model import Compiled, FileLayout, Project, Source
    from mlforge.warehouses.filetable import Group
    from mlforge.warehouses.floats import Floats

_SUFFIXES = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zst"),
    "json": (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz"),
}
_WHOLE_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
CURRENT = "_mlforge_catalog"
"""Name under which the catalog as it is gets attached, read-only."""


def reads_catalog(project: Project) -> bool:
    """Whether a source of the project is a table in the catalog's own file."""
    return any(s.format == "table" for s in project.sources.values())


class DuckDB:
    """A DuckDB connection that can bind and run rendered feature SQL. ``config_file`` names mlforge.yaml in errors."""

    dialect = "duckdb"

    def __init__(
        self,
        con: DuckDBPyConnection,
        root: str,
        config_file: str = "mlforge.yaml",
        attach: Callable[[str, str], object] | None = None,
    ) -> None:
        """``attach`` makes a DuckDB file readable under a name, and has it stay as it is."""
        self.con = con
        self._attach_file = attach or (lambda path, name: con.execute(sql("warehouse/attach", path=path, name=name)))
        self.root = Path(root)
        self.config_file = config_file
        self.zero_rows = False  # bind files as empty tables of their columns: asking for types again reads no file
        self.sample: float | None = None  # share of every source's rows that is read
        self.loaded_by: int | None = None  # rows loaded later, in microseconds since the epoch, are not read
        self.catalog: str | None = None  # name of the attached catalog, where there is one
        self.known: Mapping[str, SourceState] = {}  # what builds found in the files of sources
        self._attached: dict[str, str] = {}
        self._tables: dict[str, FileTable] = {}
        self._rows: dict[str, tuple[Any, Any]] = {}  # source -> its data object, and that as an Arrow table
        for schema in (SOURCE_SCHEMA, REF_SCHEMA):
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {ident(schema)}")

    def attach_catalog(self, path: str) -> None:
        """Have the catalog readable as ``CURRENT``, if it is not yet."""
        if self.catalog is None:
            self._attach_file(path, CURRENT)
            self.catalog = CURRENT

    def asked(self, source: Source, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query over a source. Raises ProjectError for what cannot be read."""
        import duckdb

        try:
            rows: list[tuple[Any, ...]] = self.con.execute(query).fetchall()
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            text = f"source {source.name!r} cannot be read: {engine_words(error)}"
            where = Where(source.file or self.config_file, source.line)
            raise self.explained(error) or ProjectError(text, where=where) from error
        return rows

    def describe(self, query: str) -> dict[str, str]:
        """Names and types of a query's columns; nothing is read. Raises WarehouseError with the engine's words."""
        import duckdb

        try:
            rows = self.con.execute(f"DESCRIBE {query}").fetchall()
            kinds = [kind for _, kind, *_ in rows]
            if duckdb.__version__.startswith("1.") and any("INTEGER" in kind for kind in kinds):
                (kinds,) = self.con.execute(sql("warehouse/true_types", query=query)).fetchall()
        except duckdb.Error as error:
            raise WarehouseError(engine_words(error)) from error
        return {name: kind for (name, *_), kind in zip(rows, kinds, strict=True)}

    def bind_source(self, source: Source, reading: Reading = ALL) -> None:
        """Make the view that stands for a source, or for what ``reading`` names of it.

        Raises ProjectError at the source's line if it cannot be read."""
        where = Where(source.file or self.config_file, source.line)
        self._check_rows(source, where)
        view = f"FROM {ident(SOURCE_SCHEMA)}.{ident(source.name)}"
        source = _fenced(source, where)
        columns: tuple[str, ...] = ()
        if reading.needs_part and source.unique_key:  # the tie of equal rows must not see where a row lies
            self._bind(source, ALL, where, ())
            columns = tuple(self.describe(view))
        self._bind(source, reading, where, columns)
        types = self.describe(view)
        floats = with_floats(types) if source.format == "parquet" and not self.zero_rows else []
        nanos = {c: zoned_micros(t) for c, t in types.items() if t != zoned_micros(t)}
        if floats or nanos:
            self._bind(source, reading, where, columns, floats, nanos)
            types |= nanos
        self._check_settings(source, types, where)
        if self.zero_rows and source.format in _SUFFIXES:
            script = sql("warehouse/empty_source", schema=SOURCE_SCHEMA, name=source.name, columns=types)
            for statement in statements(script):
                self.con.execute(statement)

    def _check_rows(self, source: Source, where: Where) -> None:
        """Files that hold no rows must be told what columns they have."""
        stated = {"columns", "names", "header"} & source.options.keys()
        if (
            source.format not in ("csv", "json")
            or stated
            or (found := why_hollow(source.format, self.files(source))) is None
        ):
            return
        say = "options: {header: true, columns: {id: BIGINT, ...}} says it; or " if source.format == "csv" else ""
        raise ProjectError(
            f"source {source.name!r}: {self._shown(found[0])} {found[1]}: nothing says what columns there are",
            where=where,
            hint=f"{say}come again when there are rows",
        )

    def unkeyed(self, source: Source) -> int:
        """How many rows of a source have a unique key that is NULL in any part. Its view is another afterwards."""
        self.bind_source(source, Reading(kin=True))
        relation = f"{ident(SOURCE_SCHEMA)}.{ident(source.name)}"
        rows = self.con.execute(sql("warehouse/unkeyed", s=source, relation=relation)).fetchall()
        return int(rows[0][0])

    def _bind(
        self,
        source: Source,
        reading: Reading,
        where: Where,
        columns: tuple[str, ...],
        floats: Sequence[tuple[str, Floats]] = (),
        nanos: Mapping[str, str] | None = None,
    ) -> None:
        import duckdb

        groups = self._groups(source, reading, where) if source.format in _SUFFIXES else []
        try:
            relation = None if source.format in _SUFFIXES else self._relation(source)
            self.con.execute(
                sql(
                    "warehouse/source",
                    s=source,
                    groups=groups,
                    relation=relation,
                    sample=self.sample,
                    loaded_by=self.loaded_by,
                    r=self._absolute(source, reading),
                    with_part=reading.needs_part,
                    slice_type=self._slice_type(source) if reading.needs_part else None,
                    columns=columns,
                    open=floats,
                    nanos=nanos,
                )
            )
        except duckdb.Error as error:
            words, hint = self._unknown(source, engine_words(error), where)
            raise ProjectError(f"source {source.name!r} cannot be read: {words}", where=where, hint=hint) from error
        except CatalogError as error:
            text = f"source {source.name!r} cannot be read: {error.message}"
            raise ProjectError(text, where=where, hint=error.hint) from error

    def _unknown(self, source: Source, words: str, where: Where) -> tuple[str, str | None]:
        """The engine's words and a hint; of a column that a setting names and the source lacks, what was meant."""
        plain = structs.replace(source, deleted=None, unique_key=(), loaded_at=None, cursor=None)
        if plain == source:
            return words, None
        try:
            self._bind(plain, ALL, where, ())
            columns = self.describe(f"FROM {ident(SOURCE_SCHEMA)}.{ident(source.name)}")
        except (ProjectError, WarehouseError):  # the words are of the files
            return words, None
        return unknown_column(words, columns) or (words, None)

    def _groups(self, source: Source, reading: Reading, where: Where) -> list[Group]:
        """The files to open, as they are read alike. DuckDB itself skips Parquet and JSON files by name."""
        table = self.file_table(source, where)
        if source.format != "csv" or reading.parts is None or source.unique_key:
            return table.groups()
        names = {name for name, _ in reading.parts}
        return table.groups(lambda file: self._shown(file) in names)

    def file_table(self, source: Source, where: Where) -> FileTable:
        """The files of a source as one table. Raises ProjectError for what does not fit together."""
        import duckdb

        if source.name not in self._tables:
            try:
                reader = Reader.of(source, self._shown)
                self._tables[source.name] = table_of(
                    self.con,
                    reader,
                    self._marks(source),
                    self.known.get(source.name),
                    _digest([reader.key()]),
                    self._shown,
                    where,
                )
            except Misfit as misfit:
                raise ProjectError(self._words(source, misfit), where=where, hint=misfit.hint) from misfit
            except duckdb.Error as error:
                raise ProjectError(
                    f"source {source.name!r} cannot be read: {engine_words(error)}", where=where
                ) from error
        return self._tables[source.name]

    def notes(self) -> list[str]:
        """What the user should know of how files are read."""
        return [note for name, table in self._tables.items() for note in table.notes(name)]

    def _words(self, source: Source, misfit: Misfit) -> str:
        return f"source {source.name!r}: {misfit.words}"

    def _marks(self, source: Source) -> dict[str, tuple[str, int, int]]:
        """What tells whether a file is the one that a build knows: its name, size and time."""
        files = self.files(source)
        if "://" in (source.path or ""):
            rows = self.asked(source, sql("warehouse/remote_files", pattern=source.path))
            return {name: (name, size, 0) for name, size, _ in rows}
        stats = ((f, Path(f).stat()) for f in files)
        return {f: (self._shown(f), s.st_size, s.st_mtime_ns) for f, s in stats}

    def explained(self, error: Exception) -> ProjectError | None:
        """The error for a value that does not fit its column, with its file and row, if another one is about that.

        The engine raises it wherever it reads the rows, and names no row."""
        return explained(self._tables, error)

    def words(self, error: Exception) -> str:
        """What to say of an engine's error: of a value that does not fit its column with its row, else its words."""
        explained = self.explained(error)
        return explained.message if explained else engine_words(error)

    def why_text(self, source: Source, column: str) -> tuple[str, str] | None:
        """Words and a hint for a column of text that would be numbers or times without a word among them; else None."""
        table = self._tables.get(source.name)
        found = table.why_text(column) if table and source.format != "parquet" else None
        return found and (f"column {column!r} of source {source.name!r} is text: {found[0]}", found[1])

    def _absolute(self, source: Source, reading: Reading) -> Reading:
        """The reading with files named as DuckDB names them."""
        if reading.parts is None or source.format not in _SUFFIXES:
            return reading
        paths = {self._shown(f): f for f in self.files(source)}
        return replace(reading, parts=tuple((paths[name], None) for name, _ in reading.parts if name in paths))

    def part_name(self, part: str) -> str:
        """The name of a part as the state of its source has it, for a value of its column."""
        return self._shown(part)

    def _slice_type(self, source: Source) -> str | None:
        """The type of the column that a table is cut into slices by, None if it is not cut."""
        column = source.loaded_at or source.cursor
        if column is None or source.format in _SUFFIXES:
            return None
        types = {c.lower(): t for c, t in self.describe(f"FROM {self._relation(source)}").items()}
        kind = types.get(column.lower(), "")
        return kind if kind == "DATE" or kind.startswith("TIMESTAMP") or kind in _WHOLE_NUMBERS else None

    def _check_settings(self, source: Source, types: Mapping[str, str], where: Where) -> None:
        """The columns that a source's settings name exist, and loaded_at is an instant."""
        columns = {c.lower(): t for c, t in types.items()}
        for setting in ("timestamp", "loaded_at", "cursor"):
            column = getattr(source, setting)
            if column and column.lower() not in columns:
                raise ProjectError(
                    f"source {source.name!r} has no column {column!r}, its {setting}",
                    where=where,
                    hint=f"its columns: {', '.join(types)}",
                )
        kind = columns[source.loaded_at.lower()] if source.loaded_at else "DATE"
        if kind != "DATE" and not kind.startswith("TIMESTAMP"):
            raise ProjectError(
                f"source {source.name!r}: loaded_at {source.loaded_at!r} is {kind}, not an instant",
                where=where,
                hint="it says when a row became known: a TIMESTAMP; for CSV and JSON see the option timestampformat",
            )

    def bind_ref(self, compiled: Compiled) -> None:
        """Make an empty table that stands for a feature, so that SQL over it binds before it is built."""
        columns = {k.name: k.type for k in compiled.keys}
        if compiled.timestamp:
            columns[compiled.timestamp] = "TIMESTAMP"
        columns |= {o.name: o.type for o in compiled.outputs}
        self.con.execute(sql("warehouse/ref_table", schema=REF_SCHEMA, name=compiled.feature, columns=columns))

    def _relation(self, source: Source) -> str:
        if source.format == "data":
            name = f"_mlforge_data_{source.name}"
            self.con.register(name, self._readable(source))
            return ident(name)
        if source.format == "duckdb":
            return _qualified([self._attach(source), *_parts(source.table or "")])
        return self._own_table(source)

    def _readable(self, source: Source) -> object:
        """The rows of a data object. Raises ProjectError for a column that would not come over as it is."""
        if (known := self._rows.get(source.name)) and known[0] is source.data:
            return known[1]
        data, left = as_arrow(self.con, source.data)
        for column, why in left.items():
            raise ProjectError(
                f"source {source.name!r}: column {column!r} cannot be read: {why}",
                where=Where(source.file or self.config_file, source.line),
                hint="hand the rows over without it, or cast it to an ordinary type",
            )
        self._rows[source.name] = (source.data, data)
        return data

    def _own_table(self, source: Source) -> str:
        """A table of the catalog's file; the first of three parts is the catalog's name in any warehouse."""
        if self.catalog is None:
            raise ProjectError(
                f"source {source.name!r} cannot be read: there is no catalog yet that could hold table {source.table}",
                where=Where(source.file or self.config_file, source.line),
                hint="a source without a path is a table in the file that the profile's warehouse names",
            )
        return _qualified([self.catalog, *_parts(source.table or "")[-2:]])

    def _attach(self, source: Source) -> str:
        path = source.path or ""
        if path not in self._attached:
            name = f"_mlforge_db{len(self._attached)}"
            self._attach_file(path, name)
            self._attached[path] = name
        return self._attached[path]

    def files(self, source: Source) -> list[str]:
        """The files of a source, sorted. Remote ones are left to the engine. Raises ProjectError if there are none."""
        path = source.path or ""
        if "://" in path:
            self._load_remote(source)
            return [path]
        if Path(path).is_dir():
            found = (str(p) for p in Path(path).rglob("*") if p.name.lower().endswith(_SUFFIXES[source.format]))
        else:
            found = (p for p in glob.iglob(pattern(path), recursive=True) if Path(p).is_file())  # noqa: PTH207 - absolute
        files = sorted(found)
        if not files:
            raise ProjectError(
                f"source {source.name!r}: no {source.format} file at {self._shown(path)}",
                where=Where(source.file or self.config_file, source.line),
                hint="check the path; it counts from the folder of mlforge.yaml",
            )
        return files

    def _load_remote(self, source: Source) -> None:
        import duckdb

        try:
            self.con.execute("LOAD httpfs")
        except duckdb.Error as error:
            raise ProjectError(
                f"source {source.name!r} is remote and DuckDB has no httpfs extension here",
                where=Where(source.file or self.config_file, source.line),
                hint="install it once with: duckdb -c 'INSTALL httpfs', or copy the file into the project",
            ) from error

    def state(self, source: Source, before: SourceState | None = None) -> SourceState:
        """What the source holds now. Contents of a file are hashed only if its size or time differs from ``before``."""
        if source.format not in _SUFFIXES:
            return self._state_of_rows(source)
        if "://" in (source.path or ""):
            rows = self.asked(source, sql("warehouse/remote_files", pattern=source.path))
            digest = _digest(str((without_login(name), *rest)) for name, *rest in rows)
            return self._with_types(SourceState(digest=digest), source, before)
        known = {f.path: f for f in before.files} if before else {}
        states = tuple(self._file_state(Path(p), known) for p in self.files(source))
        digest = _digest(f"{s.path}\0{s.digest}" for s in states)
        return self._with_types(SourceState(digest=digest, files=states), source, before)

    def _with_types(self, state: SourceState, source: Source, before: SourceState | None) -> SourceState:
        """The state with the layouts of its files, and which types are others than ``before``."""
        table = self.file_table(source, Where(source.file or self.config_file, source.line))
        numbers: dict[bytes, int] = {}
        layouts: list[FileLayout] = []
        at: dict[str, int] = {}
        for file, layout in table.layouts.items():
            key = msgspec.json.encode(layout)
            if key not in numbers:
                numbers[key] = len(layouts)
                layouts.append(layout)
            at[self._shown(file)] = numbers[key]
        changes = tuple(table.changes(before.types)) if before else ()
        return structs.replace(
            state,
            files=tuple(structs.replace(f, layout=at.get(f.path)) for f in state.files),
            layouts=tuple(layouts),
            types=table.types,
            shape=_digest([table.reader.key()]),
            changes=changes,
        )

    def _file_state(self, path: Path, known: Mapping[str, FileState]) -> FileState:
        name = self._shown(str(path))
        stat = path.stat()
        old = known.get(name)
        if old and (old.size, old.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return old
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return FileState(path=name, size=stat.st_size, mtime_ns=stat.st_mtime_ns, digest=digest)

    def _state_of_rows(self, source: Source) -> SourceState:
        if (kind := self._slice_type(source)) is not None:
            relation = self._relation(source)
            rows = self.asked(source, sql("warehouse/slices", s=source, relation=relation, slice_type=kind, up_to=[]))
            slices = tuple(Slice(name=n, rows=r, total=t, last=x) for n, r, t, x in rows)
            return SourceState(digest=_digest(map(str, rows)), slices=slices, rows=sum(s.rows for s in slices))
        relation = f"{ident(SOURCE_SCHEMA)}.{ident(source.name)}"
        types = self.describe(f"FROM {relation}")
        text = sql("warehouse/state", relation=relation, types=types, alike=alike(types))
        rows, digest = self.asked(source, text)[0]
        return SourceState(digest=f"{rows}:{digest}", rows=rows)

    def grown(self, source: Source, slices: Mapping[str, int]) -> dict[str, tuple[int, str]]:
        """For slices of a table that have grown: number and sum of the values up to those that each once ended with."""
        rows = self.con.execute(
            sql(
                "warehouse/slices",
                s=source,
                relation=self._relation(source),
                slice_type=self._slice_type(source),
                up_to=list(slices.items()),
            )
        ).fetchall()
        return {name: (count, total) for name, count, total, _ in rows}

    def _shown(self, path: str) -> str:
        """A path relative to the project where it lies in it, so that a clone elsewhere sees the same files; a URL
        without what opens it."""
        try:
            return Path(path).relative_to(self.root).as_posix()
        except ValueError:
            return masked(path) if "://" in path else path


def _fenced(source: Source, where: Where) -> Source:
    """The source with its condition made again from its tree."""
    if source.deleted is None:
        return source
    from msgspec.structs import replace as with_changes

    from mlforge.render.conditions import condition

    try:
        return with_changes(source, deleted=condition(source.deleted))
    except FeatureError as error:
        message = f"source {source.name!r}: deleted: {error.message}"
        raise ProjectError(message, where=where, hint=error.hint) from None


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _parts(table: str) -> list[str]:
    """The parts of a dotted table name, which may be quoted."""
    return [p[1:-1].replace('""', '"') if p.startswith('"') else p for p in re.findall(r'"(?:[^"]|"")*"|[^."]+', table)]


def _qualified(parts: Iterable[str]) -> str:
    return ".".join(ident(part) for part in parts)
