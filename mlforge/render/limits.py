"""How much a template may do: time, and the size of what it makes, counted where the sandbox lets us look.

Loops, macros, calls, filters and operators pass here. What one step could make is reckoned before it is made, as one
``"x" * 10 ** 12`` would be too late to look at."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from jinja2 import pass_context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

from mlforge.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Limits(Struct, frozen=True, kw_only=True):
    """What rendering one file may take: processor time, and characters of one text. All texts made on the way together
    may be ten times as long."""

    seconds: float = 5.0
    text: int = 10_000_000


class _Spent:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.until = time.thread_time() + limits.seconds
        self.printed = 0
        self.made = 0


_SPENT: ContextVar[_Spent | None] = ContextVar("mlforge_render_spent", default=None)
_HINT = "a loop or a macro runs far more often than SQL can need"


@contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Count what templates do inside the block. Raises TemplateError, without a place, where it is too much."""
    token = _SPENT.set(_Spent(limits))
    try:
        yield
    finally:
        _SPENT.reset(token)


def step(printed: int = 0) -> None:
    """One step of a loop, one call, one filter: look at the clock, and count text that is written out."""
    spent = _SPENT.get()
    if spent is None:
        return
    if time.thread_time() > spent.until:
        raise TemplateError(f"this template runs for more than {spent.limits.seconds:g} s", hint=_HINT)
    spent.printed += printed
    _refuse_size(spent.printed, spent)


@pass_context  # so that Jinja does not run it once, while it compiles
def count(_: Any, printed: int) -> None:
    """One turn of a loop, or one run of a macro, that writes out so much text."""
    step(printed)


def making(size: int) -> None:
    """Something of this many characters or items is about to be made."""
    spent = _SPENT.get()
    if spent is None:
        return
    _refuse_size(size, spent)
    spent.made += size
    _refuse_size(spent.made / 10, spent)


def _refuse_size(size: float, spent: _Spent) -> None:
    if size > spent.limits.text:
        raise TemplateError(f"this template makes more than {spent.limits.text / 1e6:g} MB of text", hint=_HINT)


def size_of(value: Any) -> int:
    """About how long the text of a value is. One list that is in another many times counts each time."""
    total, open_ = 0, [value]
    spent = _SPENT.get()
    most = spent.limits.text if spent else 0
    while open_ and total <= most:
        part = open_.pop()
        if isinstance(part, (str, bytes)):
            total += len(part)
        elif isinstance(part, dict):
            total += 2
            open_ += [*part.keys(), *part.values()]
        elif isinstance(part, (list, tuple, set, frozenset)):
            total += 2
            open_ += part
        else:
            total += part.bit_length() // 3 + 1 if isinstance(part, int) else 8
    return total


class LimitedSandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, whose operators, calls and filters are counted."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator between two values."""
        step()
        making(_size_of_operation(operator, left, right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        """A call, of a method of a text too."""
        step()
        written = getattr(__obj, "__wrapped__", __obj)  # Jinja wraps the method format of a text
        owner, name = getattr(written, "__self__", None), getattr(written, "__name__", "")
        if isinstance(owner, (str, bytes, int)):
            making(_size_of_call(name, owner, [*args, *kwargs.values()]))
        return _made(super().call(__context, __obj, *args, **kwargs))


def limited_filters(filters: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Filters that count what they make."""
    return {name: _limited(name, function) for name, function in filters.items()}


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0  # the environment, or a context, comes first

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        step()
        own = list(args)
        if name in _WHOLE and len(own) > passed and isinstance(own[passed], Iterator):
            own[passed] = list(own[passed])  # a lazy one would be spent by counting
        given = [*own[passed:], *kwargs.values()]
        making(_size_of_call(name, given[0], given[1:]) if given else 0)
        return _made(function(*own, **kwargs))

    return run


def joined(parts: list[Any]) -> str:
    """The operator ``~``."""
    making(sum(map(size_of, parts)))
    return "".join(map(str, parts))


def _made(value: Any) -> Any:
    making(len(value) if isinstance(value, (str, bytes, list, tuple, dict)) else 0)
    return value


_WHOLE = ("join", "string", "list", "tojson", "pprint", "sum")
_WIDTHS = frozenset(
    {"center", "ljust", "rjust", "zfill", "to_bytes", "batch", "slice", "tojson", "format", "format_map", "truncate"}
)
_WIDTH = re.compile(r"\d+")


def _size_of_operation(operator: str, left: Any, right: Any) -> int:
    if operator == "**" and isinstance(left, int) and isinstance(right, int):
        return int(left.bit_length() * max(right, 0) // 3)
    if operator == "*" and isinstance(left, int) != isinstance(right, int):
        value, times = (right, left) if isinstance(left, int) else (left, right)
        return size_of(value) * max(times, 0) if isinstance(value, (str, bytes, list, tuple)) else 0
    if operator == "*" and isinstance(left, int):
        return int(left.bit_length() + right.bit_length()) // 3
    if operator == "%" and isinstance(left, str):
        return _size_of_format(left, [right])
    both = isinstance(left, (str, bytes, list, tuple)) and isinstance(right, (str, bytes, list, tuple))
    return len(left) + len(right) if operator == "+" and both else 0


def _size_of_call(name: str, value: Any, others: list[Any]) -> int:
    """The most that a method of a text, or a filter, may make of these arguments."""
    number = max([n for n in others if isinstance(n, int)], default=0)
    if name in ("format", "format_map") and isinstance(value, str):
        return _size_of_format(value, others)
    if name == "replace" and isinstance(value, str) and len(others) > 1:
        return len(value) + (value.count(str(others[0])) + 1) * size_of(others[1])
    if name == "join":
        items, between = (others[0], value) if isinstance(value, str) and others else (value, others[:1])
        count = len(items) if hasattr(items, "__len__") else 0
        return size_of(items) + count * size_of(between)
    if name in ("translate", "wordwrap"):
        return size_of(value) * (1 + size_of(others))
    if name in ("expandtabs", "indent"):
        marks = str(value).count("\t" if name == "expandtabs" else "\n") + 1
        return size_of(value) + marks * max(number, size_of(others))
    return size_of(value) + (number if name in _WIDTHS else 0)


def _size_of_format(text: str, values: list[Any]) -> int:
    """Every field as long as all values together, or as its width, a value too: ``"%*d"``."""
    widths = [int(n[:20]) for n in _WIDTH.findall(text)] + list(_numbers(values))
    fields = text.count("%") + text.count("{")
    return len(text) + fields * (size_of(values) + 8) + sum(w for w in widths if w > 1000)


def _numbers(values: list[Any]) -> Iterator[int]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _numbers(list(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            yield value
