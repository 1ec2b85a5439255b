"""Python features to SQL: every function is called once, and what it returns becomes text, or a source of rows."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from mlforge.errors import FeatureError, MlforgeError, Where
from mlforge.model import REF_SCHEMA, SOURCE_SCHEMA, FeatureFile, Project, Source, Stated
from mlforge.project import python_metrics
from mlforge.project.row_objects import WORDS, is_rows, kept

if TYPE_CHECKING:
    from mlforge.project.python import Feature

_TABLE = re.compile(rf'"({SOURCE_SCHEMA}|{REF_SCHEMA})"\."((?:[^"]|"")*)"')
_CALLS = {SOURCE_SCHEMA: "source", REF_SCHEMA: "ref"}
_OPENING = re.compile(r"\{[{%#]")
_WANTED = f"return SQL, {WORDS}"


def is_python(file: FeatureFile) -> bool:
    """Whether a feature is a Python function, also once it was called."""
    return file.kind == "python" or file.stated is not None


def call_functions(project: Project, failed: dict[str, MlforgeError]) -> Project:
    """The project with the functions of its Python features called: every feature is SQL, rows are sources.

    One that fails stays as it is; its error, at the function's file and line, is noted in ``failed``."""
    if all(file.kind == "sql" for file in project.features.values()):
        return project
    features, sources = dict(project.features), dict(project.sources)
    for name, file in project.features.items():
        try:
            if file.kind == "python":
                features[name] = _called(file, project, sources)
        except MlforgeError as error:
            failed[name] = error
    return replace(project, features=features, sources=sources)


class _Place(Struct, frozen=True, kw_only=True):
    """The text of a function and where it begins; no tree if Python cannot show it."""

    tree: ast.FunctionDef | None
    line: int  # of the def
    offset: int = 0  # what is added to lines of the tree


def _called(file: FeatureFile, project: Project, sources: dict[str, Source]) -> FeatureFile:
    """The feature as SQL. Rows join ``sources``."""
    feature: Feature = file.function
    place = _place(feature)
    value = _value(feature, file, place)
    if isinstance(value, str):
        text, lines = _named(value), _lines(value, place)
    else:
        source = _rows_source(value, file, place, sources)
        sources[source.name] = source
        text, lines = f"SELECT * FROM {{{{ source({source.name!r}) }}}}", (place.line,)
    stated = Stated(config=feature.config, line=place.line, arguments=_arguments(place), lines=lines)
    found = FeatureFile(name=file.name, path=file.path, text=text, stated=stated)
    return _with_metrics(found, stated, feature, project) if feature.metrics else found


def _rows_source(rows: Any, file: FeatureFile, place: _Place, sources: dict[str, Source]) -> Source:
    """Rows as a source. What the function says is part of its options, and so of the feature's meaning."""
    name = f"_python_{file.name}"
    if name in sources:
        message = f"the source {name!r} has the name that the rows of this feature need"
        raise FeatureError(message, where=Where(file.path, place.line), hint="rename the source")
    return Source(
        name=name,
        data=rows,
        format="data",
        options={"function": _meaning(file, place)},
        description=f"rows of the feature {file.name}",
        file=file.path,
        line=place.line,
    )


def _with_metrics(file: FeatureFile, stated: Stated, feature: Feature, project: Project) -> FeatureFile:
    """The feature with its metrics over its text; lines that metrics add lead to the argument ``metrics``."""
    line = stated.arguments.get("metrics", stated.line)
    entity, timestamp = (stated.config.get(key) for key in ("entity", "timestamp"))
    known = project.entities.get(entity) if isinstance(entity, str) else None
    keys = known.keys if known else ("",)  # config() refuses the entity before the text is looked at
    try:
        if not isinstance(timestamp, str):
            raise FeatureError("metrics need a timestamp", hint='name its column: timestamp="event_time"')
        closed = python_metrics.closed_of(feature.metrics, stated.config.get("closed"))
        text = python_metrics.over(file.text, feature.metrics, keys, timestamp)
    except FeatureError as error:
        raise FeatureError(error.message, hint=error.hint, where=Where(file.path, line)) from None
    lines = (*stated.lines, *[line] * (text.count("\n") + 1 - len(stated.lines)))
    return replace(file, text=text, stated=replace(stated, config={**stated.config, "closed": closed}, lines=lines))


def _value(feature: Feature, file: FeatureFile, place: _Place) -> Any:
    """SQL text with mlforge's names in it, or rows."""
    from mlforge.project.python import failure

    try:
        value = _text_or_rows(feature())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        what = f"the function of {file.name!r}"
        raise failure(error, feature.code.co_filename, file.path, what, place.line) from error
    if value is None or (isinstance(value, str) and not value.strip()):
        shown = "None" if value is None else "an empty text"
        where = Where(file.path, place.line)
        raise FeatureError(f"the function of {file.name!r} returns {shown}", where=where, hint=_WANTED)
    return value


def _text_or_rows(value: Any) -> Any:
    sqlglot = sys.modules.get("sqlglot")
    if isinstance(value, str) or value is None:
        return value
    if sqlglot and isinstance(value, sqlglot.exp.Expression):
        return _escaped(value.sql(dialect="duckdb"))
    if is_rows(value):
        return kept(value)
    if hasattr(value, "to_sql"):
        text = value.to_sql()
        if not isinstance(text, str):
            raise FeatureError(f"to_sql() gives a {type(text).__name__}, not a text")
        return _escaped(text)
    raise FeatureError(f"a feature cannot be a {type(value).__name__}", hint=_WANTED)


def _escaped(text: str) -> str:
    """Generated SQL as a template that gives it back."""
    return _OPENING.sub(lambda match: f"{{{{ {match[0]!r} }}}}", text)


def _named(text: str) -> str:
    """Tables of mlf.source() and mlf.ref() as the calls that templates have, which check the names."""
    return _TABLE.sub(lambda m: f"{{{{ {_CALLS[m[1]]}({json.dumps(m[2])}) }}}}", text)


def _place(feature: Feature) -> _Place:
    first = feature.code.co_firstlineno
    try:
        lines, start = inspect.getsourcelines(feature.code)
        nested = lines[0][:1].isspace()
        tree = ast.parse("".join(["if 1:\n", *lines] if nested else lines))
    except (OSError, SyntaxError):
        return _Place(tree=None, line=first)
    found = next((n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)), None)
    offset = start - 1 - nested
    return _Place(tree=found, line=found.lineno + offset if found else first, offset=offset)


def _arguments(place: _Place) -> dict[str, int]:
    """The line of each argument of the decorators, and of each key of ``validators``."""
    found: dict[str, int] = {}
    for call in place.tree.decorator_list if place.tree else ():
        for keyword in call.keywords if isinstance(call, ast.Call) else ():
            found[keyword.arg or ""] = keyword.value.lineno + place.offset
            if keyword.arg == "validators" and isinstance(keyword.value, ast.Dict):
                keys = (k for k in keyword.value.keys if isinstance(k, ast.Constant))
                found |= {f"validators[{k.value!s}]": k.lineno + place.offset for k in keys}
    return found


def _lines(text: str, place: _Place) -> tuple[int, ...]:
    """The user's line of each line of SQL: of the literal that holds it, else of the function."""
    count = text.count("\n") + 1
    for node in ast.walk(place.tree) if place.tree else ():
        if isinstance(node, ast.Constant) and node.value == text:
            return _of_literal(node, count, place)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr) and _spans(node.value, count):
            return _of_literal(node.value, count, place)
    return (place.line,) * count


def _of_literal(node: ast.expr, count: int, place: _Place) -> tuple[int, ...]:
    step = 1 if _spans(node, count) else 0
    return tuple(node.lineno + place.offset + step * i for i in range(count))


def _spans(node: ast.expr, count: int) -> bool:
    """Whether each line of a text stands on a line of its own in the file."""
    return (node.end_lineno or node.lineno) - node.lineno + 1 == count


def _meaning(file: FeatureFile, place: _Place) -> str:
    """A digest of a function's syntax, without decorators and docstring. Equal in every version of Python."""
    if place.tree is None:
        message = f"Python cannot show the text of the function of {file.name!r}, which returns rows"
        raise FeatureError(message, where=Where(file.path), hint="write the function into a file")
    body = place.tree.body[1:] if ast.get_docstring(place.tree, clean=False) is not None else place.tree.body
    return sha256(repr([_shape(node) for node in body]).encode()).hexdigest()


def _shape(node: Any) -> Any:
    """A tree as nested lists of what is there: versions of Python differ in which empty fields they name."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return [type(node).__name__, *((name, _shape(value)) for name, value in fields)]
    return [_shape(part) for part in node] if isinstance(node, list) else node
