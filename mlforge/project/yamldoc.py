"""mlforge.yaml as a tree of values that remember their lines."""

from __future__ import annotations

from typing import Any

import yaml
from msgspec import Struct

from mlforge.errors import ProjectError, Where

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Value(Struct, frozen=True, kw_only=True):
    """A YAML value: a scalar, ``list[Value]`` or ``dict[str, Value]``. ``keys`` are the places of a mapping's keys."""

    data: Any
    where: Where
    keys: dict[str, Where] = {}

    @property
    def kind(self) -> str:
        """What the value is, in words for a message."""
        return kind_of(self.data)

    def plain(self) -> Any:
        """The value as ordinary Python data, without places."""
        if isinstance(self.data, dict):
            return {k: v.plain() for k, v in self.data.items()}
        if isinstance(self.data, list):
            return [v.plain() for v in self.data]
        return self.data


_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}


def kind_of(data: Any) -> str:
    """The type of YAML data in words."""
    return "empty" if data is None else _KINDS.get(type(data), "a date")


def parse(text: str, file: str) -> Value:
    """Read one YAML document. Raises ProjectError, with the line, for bad YAML and for a key that stands twice."""
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Value(data=None, where=Where(file, 1))
        return _Tree(loader, file).value(node)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, file) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ProjectError(f"this is not YAML: {error.reason}", where=Where(file, line)) from None
    except RecursionError:
        raise ProjectError("this YAML is nested too deeply", where=Where(file)) from None
    finally:
        if loader is not None:
            loader.dispose()


def _syntax_error(error: yaml.MarkedYAMLError, file: str) -> ProjectError:
    mark = error.problem_mark or error.context_mark
    what = ", ".join(part for part in (error.context, error.problem) if part)
    where = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file)
    if "maximum nesting depth" in what:  # libyaml from 0.2.6 on; before, Python's own stack ends first
        return ProjectError("this YAML is nested too deeply", where=where)
    bad_start = "cannot start any token" in what
    hint = "indent with spaces, not tabs; quote text that begins with @, ` or %" if bad_start else None
    return ProjectError(f"this is not YAML: {what}", where=where, hint=hint)


class _Tree:
    """Turns nodes to values. A node that an alias repeats is turned once; one that holds itself is refused."""

    def __init__(self, loader: Any, file: str) -> None:
        self.loader = loader
        self.file = file
        self.done: dict[int, Value] = {}
        self.open: set[int] = set()

    def value(self, node: yaml.Node) -> Value:
        if id(node) in self.done:
            return self.done[id(node)]
        where = self.where(node)
        if id(node) in self.open:
            raise ProjectError("an alias here holds itself", where=where)
        self.open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            found = self.mapping(node, where)
        elif isinstance(node, yaml.SequenceNode):
            found = Value(data=[self.value(child) for child in node.value], where=where)
        else:
            found = Value(data=self.scalar(node, where), where=where)
        self.open.discard(id(node))
        self.done[id(node)] = found
        return found

    def where(self, node: yaml.Node) -> Where:
        return Where(self.file, node.start_mark.line + 1)

    def mapping(self, node: yaml.MappingNode, where: Where) -> Value:
        self.refuse_repeated(node)
        self.loader.flatten_mapping(node)  # `<<: *defaults`; own keys come last and win
        data: dict[str, Value] = {}
        keys: dict[str, Where] = {}
        for key_node, value_node in node.value:
            key = self.key(key_node)
            data[key] = self.value(value_node)
            keys[key] = self.where(key_node)
        return Value(data=data, where=where, keys=keys)

    def refuse_repeated(self, node: yaml.MappingNode) -> None:
        first: dict[str, Where] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, here = self.key(key_node), self.where(key_node)
            if key in first:
                raise ProjectError(f"{key!r} stands twice: first in line {first[key].line}", where=here)
            first[key] = here

    def key(self, node: yaml.Node) -> str:
        where = self.where(node)
        key = self.scalar(node, where) if isinstance(node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "this"
            hint = "put it in quotes: YAML reads words such as on, yes and no as true or false"
            raise ProjectError(f"a key must be text, and {shown} is not", where=where, hint=hint)
        return key

    def scalar(self, node: yaml.Node, where: Where) -> Any:
        try:
            return self.loader.construct_object(node)
        except (ValueError, LookupError, AttributeError):  # 2024-02-31, !!bool x, !!timestamp x
            kind = node.tag.rpartition(":")[2]
            message = f"{node.value!r} cannot be read as a {kind}"
            raise ProjectError(message, where=where, hint="put text in quotes") from None
