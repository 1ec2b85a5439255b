"""Features as Python functions: the decorator, the names their SQL uses, and the files they stand in."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from contextlib import suppress
from hashlib import sha256
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from mlforge.errors import FeatureError, MlforgeError, Where
from mlforge.model import REF_SCHEMA, SOURCE_SCHEMA
from mlforge.project.python_metrics import Metric, Rolling, Timestamp
from mlforge.sql.templates import ident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

FEATURE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MOST_WORDS = 800


class Feature:
    """A function that states a feature, with its configuration. Calling it calls the function."""

    def __init__(
        self, function: FunctionType, name: str, metrics: tuple[Metric | Rolling, ...], config: dict[str, Any]
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self.metrics = metrics
        self.config = config

    def __call__(self) -> Any:
        """What the function returns: SQL or rows."""
        return self.function()

    def __repr__(self) -> str:
        return f"<feature {self.name}>"

    @property
    def code(self) -> CodeType:
        """The code that the user wrote, which knows its file and line; other decorators may lie over it."""
        try:
            written: Any = inspect.unwrap(self.function)
        except ValueError:  # it says that it wraps itself
            written = self.function
        return written.__code__ if isinstance(written, FunctionType) else self.function.__code__


def feature(
    *given: Any, name: str | None = None, metrics: Metric | Rolling | Iterable[Metric | Rolling] = (), **config: Any
) -> Callable[[Callable[[], Any]], Feature]:
    """Make a function without arguments a feature, with the keys of ``config(...)``; its name is the function's.

    The function returns SQL (text, a sqlglot expression, anything with ``to_sql()``) or rows (an Arrow table, a Polars
    or pandas frame, a DuckDB relation). ``metrics`` are computed over what it returns. Raises FeatureError."""
    if given:
        message = "feature() takes named arguments"
        raise FeatureError(message, hint='write @mlf.feature(entity="...") above the function')
    wanted = (metrics,) if isinstance(metrics, (Metric, Rolling)) else tuple(metrics)
    for metric in wanted:
        if not isinstance(metric, (Metric, Rolling)):
            raise FeatureError(f"metrics cannot hold {metric!r}", hint='mlf.Sum("amount", windows=["7d"])')
    stated = config.get("timestamp")
    if isinstance(stated, Timestamp):
        config |= {"timestamp": stated.column, **({"timestamp_format": stated.format} if stated.format else {})}

    def decorate(function: Callable[[], Any]) -> Feature:
        return Feature(_checked(function), _name(name or function.__name__), wanted, config)

    return decorate


def _checked(function: Any) -> FunctionType:
    if not isinstance(function, FunctionType):
        raise FeatureError(f"feature() stands above a function, not above {function!r}")
    if function.__code__.co_argcount > len(function.__defaults__ or ()):
        hint = "read sources with mlf.source() and other features with mlf.ref()"
        raise FeatureError(f"the function {function.__name__!r} of a feature takes no arguments", hint=hint)
    return function


def _name(name: str) -> str:
    if not FEATURE_NAME.fullmatch(name):
        hint = 'use small letters, digits and _, beginning with a letter; or name="..." in feature()'
        raise FeatureError(f"{name!r} cannot be the name of a feature", hint=hint)
    return name


def source(name: str) -> str:
    """The table of a source, quoted, as it stands in SQL. An unknown name is an error when the feature is planned."""
    return _table("source", SOURCE_SCHEMA, name)


def ref(name: str) -> str:
    """The table of another feature, quoted, as it stands in SQL. An unknown name is an error when it is planned."""
    return _table("ref", REF_SCHEMA, name)


def _table(function: str, schema: str, name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise FeatureError(f"{function}() takes a name, not {name!r}")
    return f"{ident(schema)}.{ident(name)}"


def run_file(path: Path, shown: str, text: str) -> list[Feature]:
    """Execute a file and return the features among its names, those that it imports too, in their order.

    Raises FeatureError, at the file's line, for whatever the file raises."""
    module = ModuleType(f"_mlforge_python_{sha256(str(path).encode()).hexdigest()[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look their module up
    try:
        code = compile(text, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:  # ValueError: a NUL in the text
        line = error.lineno if isinstance(error, SyntaxError) else None
        message = error.msg if isinstance(error, SyntaxError) else str(error) or "this file is nested too deeply"
        raise FeatureError(f"Python syntax: {message}", where=Where(shown, line)) from None
    try:
        exec(code, module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise failure(error, str(path), shown, "this file") from error
    return features_of(module)


def features_of(module: ModuleType) -> list[Feature]:
    """The features among a module's names, each once, in the order of their definition."""
    found = {id(value): value for value in vars(module).values() if isinstance(value, Feature)}
    return list(found.values())


def failure(error: BaseException, file: str, shown: str, what: str, line: int | None = None) -> FeatureError:
    """An error of the user's code in one line, at the innermost line of ``file`` that it passed, else at ``line``."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = Where(shown, line)
    if isinstance(error, MlforgeError):
        return FeatureError(error.message, hint=error.hint, where=error.where or where)
    text = ""
    with suppress(Exception):  # it is the user's class
        text = " ".join(str(error).split())
    text = text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]} ..."
    return FeatureError(f"{what} failed: {type(error).__name__}{': ' if text else ''}{text}", where=where)
