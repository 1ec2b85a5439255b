"""The functions that a feature's SQL may call between ``{{`` and ``}}``."""

from __future__ import annotations

import re
from contextvars import ContextVar
from datetime import date
from decimal import Decimal
from inspect import signature
from typing import TYPE_CHECKING, Any

import jinja2
from msgspec import Struct

from mlforge.errors import FeatureError, MlforgeError, Where, did_you_mean
from mlforge.model import REF_SCHEMA, SOURCE_SCHEMA, Duration, FeatureConfig, FeatureRef, Project
from mlforge.project.environ import Environ
from mlforge.project.ref_grammar import NAME, parse_ref
from mlforge.render import header
from mlforge.render.limits import making, size_of, step
from mlforge.render.validators import VALIDATORS
from mlforge.sql.templates import ident

if TYPE_CHECKING:
    from collections.abc import Callable


_COLUMN = re.compile(r'(?:[A-Za-z_]\w*|"(?:[^"]|"")+")(?:\.(?:[A-Za-z_]\w*|"(?:[^"]|"")+"))*')
Place = tuple[str, int, dict[str, int]]  # file, line, and the line of each argument that has a name


class Scope(Struct, kw_only=True):
    """One feature while it is rendered: what it may name, and what it named."""

    project: Project
    environ: Environ
    feature: str
    known: frozenset[str]  # features that ref() may name
    config: FeatureConfig | None = None
    config_line: int | None = None
    sources: dict[str, None] = {}
    refs: dict[str, FeatureRef] = {}
    place: Place | None = None

    def where(self, argument: str = "") -> Where | None:
        """The place of the call that runs, or of one of its arguments."""
        if self.place is None:
            return None
        file, line, lines = self.place
        return Where(file, lines.get(argument, line))


SCOPE: ContextVar[Scope] = ContextVar("mlforge_render_scope")


class Function:
    """A function as templates see it: checks its arguments and gives its errors the line of the call."""

    def __init__(self, body: Callable[..., Any], usage: str, *, scoped: bool) -> None:
        self.name = body.__name__.strip("_")
        self.usage = usage
        self._body = body
        self._scoped = scoped
        self._signature = signature(body)

    def __call__(self, *args: Any, _at: Place | None = None, **kwargs: Any) -> Any:
        """Check the arguments and call. Raises FeatureError at the line of the call."""
        refuse_undefined((args, kwargs))
        scope = SCOPE.get()
        scope.place = _at
        first = (scope,) if self._scoped else ()
        try:
            self._signature.bind(*first, *args, **kwargs)
        except TypeError as error:
            message = f"{self.name}(): {error}"
            raise FeatureError(message, hint=f"write {self.usage}", where=scope.where()) from None
        try:
            return self._body(*first, *args, **kwargs)
        except MlforgeError as error:
            where = error.where or scope.where()
            raise FeatureError(error.message, hint=error.hint, where=where) from None

    def __str__(self) -> str:
        raise FeatureError(f"{self.name} is a function", hint=f"write {self.usage}")


def refuse_undefined(value: Any) -> None:
    """Raise jinja2.UndefinedError where a value, or one inside it, is an undefined name."""
    if isinstance(value, jinja2.Undefined):
        str(value)  # StrictUndefined raises with the name
    elif isinstance(value, dict):
        for part in value.values():
            refuse_undefined(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            refuse_undefined(part)


def printable(value: Any) -> Any:
    """A value as it may stand in SQL: text, numbers, dates, and lists and mappings of them.

    Raises FeatureError for anything else, such as a function that was not called: its text would differ from run to
    run. Text is counted."""
    if isinstance(value, str):
        step(printed=len(value))
        return value
    making(size_of(value))
    return _checked(value)


def _checked(value: Any) -> Any:
    if isinstance(value, dict):
        for part in value.values():
            _checked(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _checked(part)
    elif value is None:
        raise FeatureError("an expression gives None, which is not SQL", hint="write NULL for SQL's NULL")
    elif not isinstance(value, (str, int, float, Decimal, date)):
        str(value)  # undefined names, functions, macros and validators say themselves what is wrong
        raise FeatureError(f"an expression gives a {type(value).__name__}, which is not SQL")
    return value


def config(scope: Scope, **keys: Any) -> str:
    """State the feature's configuration; renders to nothing."""
    if scope.config is not None:
        hint = "one call states all keys" if scope.config_line is None else f"the first is in line {scope.config_line}"
        raise FeatureError("config() stands twice", hint=hint)
    argument = ""

    def at(key: str) -> None:
        nonlocal argument
        argument = key

    try:
        scope.config = header.read(keys, scope.project.entities, at, scope.project.file)
    except FeatureError as error:
        raise FeatureError(error.message, hint=error.hint, where=scope.where(argument)) from None
    scope.config_line = scope.place[1] if scope.place else None
    return ""


def source(scope: Scope, name: str) -> str:
    """The table of a source."""
    _must_be_text("source", name)
    if name not in scope.project.sources:
        known = scope.project.sources
        hint = did_you_mean(name, known) if known else f"add it to 'sources' in {scope.project.file}"
        raise FeatureError(f"there is no source {name!r} in {scope.project.file}", hint=hint)
    scope.sources[name] = None
    return f"{ident(SOURCE_SCHEMA)}.{ident(name)}"


def ref(scope: Scope, name: str) -> str:
    """The table of another feature."""
    _must_be_text("ref", name)
    found = parse_ref(name)
    if found.version.major is not None:
        message = f"ref({name!r}): a pinned version in SQL is not supported by this version yet"
        raise FeatureError(message, hint=f"write ref({found.name!r})")
    if found.columns:
        raise FeatureError(f"ref({name!r}) names columns", hint="name the feature here and its columns in SELECT")
    if found.name == scope.feature:
        raise FeatureError(f"{found.name!r} refers to itself", hint="read its source, or another feature")
    if found.name not in scope.known:
        hint = did_you_mean(found.name, scope.known - {scope.feature})
        raise FeatureError(f"there is no feature {found.name!r}", hint=hint)
    scope.refs[found.name] = found
    return f"{ident(REF_SCHEMA)}.{ident(found.name)}"


_REQUIRED: Any = object()


def var(scope: Scope, name: str, default: Any = _REQUIRED) -> Any:
    """A value of ``vars`` in mlforge.yaml."""
    _must_be_text("var", name)
    if name in scope.project.vars:
        return scope.project.vars[name]
    if default is _REQUIRED:
        known = scope.project.vars
        hint = did_you_mean(name, known) if known else f"add it to 'vars' in {scope.project.file}"
        raise FeatureError(f"there is no var {name!r} in {scope.project.file}", hint=hint)
    return default


def env_var(scope: Scope, name: str, default: Any = _REQUIRED) -> Any:
    """An environment variable, or one of ``.env``."""
    _must_be_text("env_var", name)
    value = scope.environ.get(name)
    if value is not None:
        return value
    if default is _REQUIRED:
        hint = scope.environ.hint(name, f'env_var("{name}", "...")')
        raise FeatureError(f"the environment variable {name!r} is not set", hint=hint)
    return default


def rolling(scope: Scope, column: str, aggregations: Any, windows: Any) -> str:
    """One trailing window for each aggregation and each window, with commas between."""
    _must_be_text("rolling", column)
    if column != "*" and not _COLUMN.fullmatch(column):
        hint = "for an expression write SUM(a - b) OVER last_7d AS name"
        raise FeatureError(f"rolling() takes the name of a column, not {column!r}", hint=hint)
    calls = [_aggregate(column, a) for a in _texts("aggregations", aggregations)]
    spans = [_span(w) for w in _texts("windows", windows)]
    return ", ".join(f"{call} OVER {span}" for call in calls for span in spans)


_IN_SQL = {"STD": "STDDEV"}  # names that Python's libraries use and DuckDB does not know


def _aggregate(column: str, name: str) -> str:
    if not NAME.fullmatch(name):
        raise FeatureError(f"{name!r} is not the name of an aggregate", hint='as in ["sum", "avg"]')
    function = _IN_SQL.get(name.upper(), name.upper())
    if column == "*" and function != "COUNT":
        raise FeatureError(f"{name}(*) does not exist", hint='only "count" takes "*"')
    return f"COUNT(DISTINCT {column})" if function == "COUNT_DISTINCT" else f"{function}({column})"


def _span(text: str) -> str:
    word = text.strip().lower().removeprefix("last_")
    if word == "ever":
        return word
    try:
        duration = Duration.parse(word)
    except ValueError as error:
        raise FeatureError(f"rolling(): {error}", hint='windows are as "7d", or "ever"') from None
    if not duration.n:
        raise FeatureError(f"rolling(): a window of {text!r} holds nothing")
    return f"last_{duration}"


def _texts(what: str, value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not values or not all(isinstance(v, str) for v in values):
        raise FeatureError(f"{what} of rolling() must be a list of texts, not {value!r}")
    repeated = next((v for i, v in enumerate(values) if v.lower() in [w.lower() for w in values[:i]]), None)
    if repeated is not None:
        raise FeatureError(f"{what} of rolling() names {repeated!r} twice")
    return list(values)


def surrogate_key(scope: Scope, *columns: Any) -> str:
    """One key made of several columns or expressions."""
    parts = columns[0] if len(columns) == 1 and isinstance(columns[0], (list, tuple)) else columns
    if not parts:
        raise FeatureError("surrogate_key() needs columns", hint='surrogate_key("first", "last")')
    for part in parts:
        _must_be_text("surrogate_key", part)
    return f"_mlforge_surrogate_key({', '.join(ident(p) if NAME.fullmatch(p) else p for p in parts)})"


def _must_be_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise FeatureError(f"{name}() takes a name in quotes, not {value!r}")


_USAGE: dict[Any, str] = {
    config: 'config(entity="...", ...)',
    source: 'source("name")',
    ref: 'ref("name")',
    var: 'var("name") or var("name", default)',
    env_var: 'env_var("NAME") or env_var("NAME", default)',
    rolling: 'rolling("column", ["sum", "avg"], ["7d", "30d"])',
    surrogate_key: 'surrogate_key("column", ...)',
}
_VALIDATOR_USAGE = {
    "not_null": "",
    "unique": "",
    "in_range": "min, max, inclusive=true",
    "matches_regex": '"pattern"',
    "is_in": "[value, ...]",
    "sql": '"condition"',
}


def functions() -> dict[str, Function]:
    """Every function of templates by name."""
    scoped = {body.__name__: Function(body, usage, scoped=True) for body, usage in _USAGE.items()}
    checks = {
        name: Function(body, f"{name}({_VALIDATOR_USAGE.get(name, 'value')})", scoped=False)
        for name, body in VALIDATORS.items()
    }
    return {**scoped, **checks}


def known_features(project: Project) -> frozenset[str]:
    """Names that ref() may use."""
    return frozenset(f.name for f in project.features.values())
