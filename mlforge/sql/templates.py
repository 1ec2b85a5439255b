"""Finding and rendering ``sql_templates/``, and the one place that quotes identifiers and literals."""

from __future__ import annotations

import datetime
import decimal
import glob
import math
import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jinja2 import BytecodeCache, Environment, Template
    from jinja2.bccache import Bucket

CHAINS = {"duckdb": ("",)}  # dialect -> folders of sql_templates/, most special first


@cache
def template_root() -> Path:
    """The folder of SQL templates: inside the package in a wheel, beside it in a checkout or an editable install."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "sql_templates"
    return inside if inside.is_dir() else package.parent / "sql_templates"


def ident(name: str) -> str:
    """An identifier, always quoted."""
    return '"' + name.replace('"', '""') + '"'


def idents(names: Iterable[str]) -> str:
    """Identifiers with commas between."""
    return ", ".join(ident(n) for n in names)


def literal(value: Any) -> str:
    """A Python value as a DuckDB literal. Raises TypeError for what has none."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, decimal.Decimal)):
        return str(value)
    if isinstance(value, float):
        return repr(value) + "::DOUBLE" if math.isfinite(value) else f"'{value}'::DOUBLE"
    if isinstance(value, str):
        quoted = "'" + value.replace("'", "''") + "'"
        return quoted if "\0" not in value else "(" + quoted.replace("\0", "' || chr(0) || '") + ")"
    if isinstance(value, datetime.datetime):
        return f"'{value.isoformat(sep=' ')}'::{'TIMESTAMPTZ' if value.tzinfo else 'TIMESTAMP'}"
    if isinstance(value, datetime.date):
        return f"'{value.isoformat()}'::DATE"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(str(k))}: {literal(v)}" for k, v in value.items()) + "}"
    raise TypeError(f"no SQL literal for {type(value).__name__}")


def file_literal(path: str | Iterable[str]) -> str:
    """Paths of files as a literal for DuckDB's readers, which take names with ``[``, ``*`` or ``?`` for patterns. URLs
    may be patterns, and stay as they are."""
    if not isinstance(path, str):
        return "[" + ", ".join(file_literal(p) for p in path) + "]"
    return literal(path if "://" in path else glob.escape(path))


def _compiled_templates() -> BytecodeCache | None:
    """Keeps compiled templates in ``__pycache__`` beside them, as Python does with modules: compiling those of one
    build costs as much as importing mlforge. Where that folder cannot be written, every process compiles them."""
    if sys.dont_write_bytecode:
        return None
    from jinja2 import FileSystemBytecodeCache

    class Beside(FileSystemBytecodeCache):
        def get_source_checksum(self, source: str) -> str:
            # Constants are quoted when a template is compiled, so this module is part of what was compiled.
            return super().get_source_checksum(f"{Path(__file__).stat().st_mtime_ns} {source}")

        def load_bytecode(self, bucket: Bucket) -> None:
            with suppress(OSError):
                super().load_bytecode(bucket)

        def dump_bytecode(self, bucket: Bucket) -> None:
            with suppress(OSError):
                Path(self.directory).mkdir(exist_ok=True)
                super().dump_bytecode(bucket)

    return Beside(str(template_root() / "__pycache__"), "%s.jinja")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template_root()),
        bytecode_cache=_compiled_templates(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,  # SQL: every name and value goes through ident or literal
    )
    environment.filters.update(ident=ident, idents=idents, literal=literal, file_literal=file_literal)
    environment.globals.update(ident=ident, idents=idents, literal=literal)
    return environment


@cache
def _template(name: str, dialect: str) -> Template:
    paths = [f"{folder}/{name}.sql.j2".lstrip("/") for folder in CHAINS[dialect]]
    return _environment().select_template(paths)


_HEADER = re.compile(r"\A(?:\s*--[^\n]*\n)+")


def sql(name: str, dialect: str = "duckdb", /, **context: Any) -> str:
    """Render ``sql_templates/<dialect chain>/<name>.sql.j2`` without its leading comment."""
    return _HEADER.sub("", _template(name, dialect).render(context)).strip()


def statements(text: str) -> list[str]:
    """Split a rendered script at the lines that hold only ``;``."""
    return [part.strip() for part in re.split(r"^\s*;\s*$", text, flags=re.MULTILINE) if part.strip()]
