"""Jinja: the text of one feature to plain SQL, its configuration, and where each line came from.

Templates run in a sandbox and reach nothing but the functions of ``mlforge.render.calls`` and the user's macros, so
equal text, vars and macros give equal SQL. Errors are those of ``mlforge.errors``, at the user's line."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import nodes

from mlforge.errors import FeatureError, TemplateError, Where, did_you_mean, nearest
from mlforge.model import Rendered
from mlforge.project.environ import Environ
from mlforge.render import python_features
from mlforge.render.calls import SCOPE, Function, Scope, functions, known_features, printable, refuse_undefined
from mlforge.render.limits import LimitedSandbox, Limits, count, joined, limited, limited_filters, making
from mlforge.render.markers import Marks, take_out, unmark
from mlforge.render.rewrite import rewrite
from mlforge.sql.templates import ident, literal

if TYPE_CHECKING:
    from types import TracebackType

    from mlforge.model import FeatureFile, MacroFile, Project

_UNDEFINED = re.compile(r"'([^']+)' is undefined")
_IN_COMMENT = re.compile(r"(--|/\*).*?\{[{%]")
_TOO_DEEP = "this template is nested too deeply"
_RANDOM_FILTERS = ("random", "shuffle")
_RANDOM_GLOBALS = ("lipsum",)
_CLOCK = {"now", "utcnow", "today", "modules", "run_started_at", "current_timestamp"}
_FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class Renderer:
    """Renders the features of one project. Make one and use it for all of them.

    Raises TemplateError, at the macro's line, for a macro file that cannot be read."""

    def __init__(self, project: Project, limits: Limits | None = None) -> None:
        self._project = project
        self._limits = limits or Limits()
        self._functions = functions()
        self._environment = _environment(self._functions)
        self._known = known_features(project)
        self._texts: dict[str, str] = {}
        self._macros = _Macros(self)
        for file in project.macros:
            self._macros.add(file)

    @cached_property
    def _environ(self) -> Environ:
        return Environ.of(Path(self._project.root))

    def render(self, feature: FeatureFile) -> Rendered:
        """Render one SQL feature.

        Raises TemplateError where Jinja fails, FeatureError where a function or config() is used wrongly."""
        scope = Scope(project=self._project, environ=self._environ, feature=feature.name, known=self._known)
        if feature.stated is None:
            return self._render(feature, scope)
        scope.config = python_features.read(feature, feature.stated, self._project)
        try:
            return python_features.moved(self._render(feature, scope), feature.stated)
        except FeatureError as error:
            raise python_features.moved_error(error, feature, feature.stated) from None

    def _render(self, feature: FeatureFile, scope: Scope) -> Rendered:
        token = SCOPE.set(scope)
        try:
            with limited(self._limits):
                text = self.compile(feature.path, feature.text).render()
                making(len(text))
        except FeatureError as error:
            where = error.where or self._place(error, feature.path)
            placed = type(error)(error.message, hint=error.hint, where=where)
            raise self._commented(_called(placed, feature.path)) from None
        except _FAILURES as error:
            raise self._commented(_called(self._failure(error, feature.path), feature.path)) from None
        finally:
            SCOPE.reset(token)
        if scope.config is None:
            hint = 'begin the file with {{ config(entity="...") }}'
            raise FeatureError(f"{feature.name!r} has no config()", hint=hint, where=Where(feature.path, 1))
        sql, lines = take_out(text, feature.path)
        return Rendered(
            name=feature.name,
            path=feature.path,
            sql=sql,
            config=scope.config,
            sources=tuple(scope.sources),
            refs=tuple(scope.refs.values()),
            lines=lines,
        )

    def parse(self, path: str, text: str) -> nodes.Template:
        """The syntax tree of a template, prepared for running. Raises TemplateError."""
        self._texts[path] = text
        try:
            tree = self._environment.parse(text, path, path)
            return rewrite(tree, path, frozenset(self._functions))
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(_sentence(error.message), where=Where(path, error.lineno)) from None
        except RecursionError:
            raise TemplateError(_TOO_DEEP, where=Where(path)) from None

    def compile(self, path: str, text: str | nodes.Template) -> jinja2.Template:
        """A template that can run. Raises TemplateError."""
        environment = self._environment
        tree = self.parse(path, text) if isinstance(text, str) else text
        try:
            code = environment.compile(tree, path, path)
        except jinja2.TemplateSyntaxError as error:  # an unknown filter or test
            raise TemplateError(_sentence(error.message), where=Where(path, error.lineno)) from None
        except (RecursionError, MemoryError):  # MemoryError: Python's own compiler
            raise TemplateError(_TOO_DEEP, where=Where(path)) from None
        except SyntaxError as error:
            deep = "nested" in str(error)  # Python: too many statically nested blocks
            message = _TOO_DEEP if deep else "Jinja cannot compile this template"
            raise TemplateError(message, where=Where(path)) from None
        return jinja2.Template.from_code(environment, code, environment.globals)

    def add_global(self, name: str, value: Any) -> None:
        """Let templates use a name."""
        self._environment.globals[name] = value

    def _failure(self, error: Exception, path: str) -> TemplateError:
        where = self._place(error, path)
        message = str(error) or type(error).__name__
        undefined = _UNDEFINED.search(message) if isinstance(error, jinja2.UndefinedError) else None
        if undefined:
            name = undefined[1]
            return TemplateError(
                f"{name!r} is undefined", where=self._name_place(name, where), hint=self._name_hint(name)
            )
        if isinstance(error, MemoryError):
            message = "this template needs more memory than there is"
        elif isinstance(error, RecursionError):
            message = "this macro calls itself without end"
        return TemplateError(_sentence(message), where=where)

    def _commented(self, error: FeatureError) -> FeatureError:
        """The error, which also says why a comment was run if it lies in one."""
        where = error.where
        if where is None or where.line is None or where.file not in self._texts:
            return error
        line = self._texts[where.file].split("\n")[where.line - 1]
        if not _IN_COMMENT.search(line):
            return error
        hint = f"{error.hint}; " if error.hint else ""
        hint += "Jinja runs in SQL comments too: take it out, or write {# ... #} around it"
        return type(error)(error.message, hint=hint, where=where)

    def _name_hint(self, name: str) -> str:
        if name in _CLOCK:
            return "SQL must not depend on the clock; pass a value with var()"
        names = [n for n, value in self._environment.globals.items() if isinstance(value, (Function, _Macro))]
        near = nearest(name, names)
        return f"did you mean {near!r}?" if near else did_you_mean(name, names)

    def _place(self, error: Exception, path: str) -> Where:
        """The innermost line of the user's templates in a traceback, which Jinja has mapped to template lines."""
        found = Where(path, 1)
        trace: TracebackType | None = error.__traceback__
        while trace is not None:
            file = trace.tb_frame.f_code.co_filename
            if file in self._texts:
                found = Where(file, trace.tb_lineno)
            trace = trace.tb_next
        return found

    def _name_place(self, name: str, where: Where) -> Where:
        """The line of a name at or after a place: Jinja tells only where its ``{{`` or ``{%`` stands."""
        tree = self._environment.parse(self._texts[where.file])
        lines = sorted(n.lineno for n in tree.find_all(nodes.Name) if n.name == name)
        line = next((n for n in lines if n >= (where.line or 1)), where.line)
        return Where(where.file, line)


class _Macro:
    """A macro of a file, compiled when it is first called."""

    def __init__(self, macros: _Macros, path: str, name: str) -> None:
        self.path = path
        self.name = name
        self._macros = macros

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        refuse_undefined((args, kwargs))
        return getattr(self._macros.module(self.path), self.name)(*args, **kwargs)

    def __str__(self) -> str:
        raise FeatureError(f"{self.name} is a macro", hint=f"write {self.name}(...)")


class _Macros:
    """The macros of macros/*.sql, by name in every template; those whose name begins with _ stay in their file."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._trees: dict[str, nodes.Template] = {}
        self._modules: dict[str, Any] = {}
        self._paths: dict[str, str] = {}

    def add(self, file: MacroFile) -> None:
        tree = self._renderer.parse(file.path, file.text)
        self._trees[file.path] = tree
        for node in tree.body:
            if isinstance(node, nodes.Macro) and not node.name.startswith("_"):
                self._name(node, file.path)

    def _name(self, node: nodes.Macro, path: str) -> None:
        if node.name in self._paths:
            hint = "macros are known by name in every file: rename one"
            message = f"the macro {node.name!r} is also in {self._paths[node.name]}"
            raise TemplateError(message, where=Where(path, node.lineno), hint=hint)
        self._paths[node.name] = path
        self._renderer.add_global(node.name, _Macro(self, path, node.name))

    def module(self, path: str) -> Any:
        if path not in self._modules:
            self._modules[path] = self._renderer.compile(path, self._trees[path]).module
        return self._modules[path]


def _environment(known: dict[str, Function]) -> LimitedSandbox:
    environment = LimitedSandbox(
        undefined=jinja2.StrictUndefined,
        extensions=[Marks],
        finalize=printable,
        autoescape=False,  # SQL, not HTML
        keep_trailing_newline=True,
        cache_size=0,
    )
    for name in _RANDOM_FILTERS:
        environment.filters.pop(name, None)
    for name in _RANDOM_GLOBALS:
        environment.globals.pop(name, None)
    environment.filters.update(ident=ident, literal=literal)
    environment.filters = limited_filters(environment.filters)
    environment.filters.update(_mlforge_unmark=unmark, _mlforge_join=joined, _mlforge_step=count)
    environment.globals.update(known)
    return environment


def _called(error: FeatureError, path: str) -> FeatureError:
    """An error that says which feature called the macro it lies in."""
    if error.where is None or error.where.file == path:
        return error
    return type(error)(f"{error.message} (called by {path})", hint=error.hint, where=error.where)


def _sentence(message: str | None) -> str:
    return (message or "this template cannot be read").rstrip(".")
