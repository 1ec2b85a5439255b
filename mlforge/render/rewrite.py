"""Changes to a template's syntax tree before it is compiled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from mlforge.errors import TemplateError, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNMARK = "_mlforge_unmark"
_JOIN, _STEP = "_mlforge_join", "_mlforge_step"
_FOREIGN: dict[type[nodes.Node], str] = {
    nodes.Import: "import",
    nodes.FromImport: "from ... import",
    nodes.Include: "include",
    nodes.Extends: "extends",
}


def rewrite(tree: nodes.Template, path: str, functions: frozenset[str]) -> nodes.Template:
    """Tell mlforge's functions the lines they are called from, and keep line marks out of values.

    Raises TemplateError for tags that have no use here, repeated arguments, and names that are taken."""
    changed = _Rewrite(path, functions).visit(tree)
    changed.set_environment(tree.environment)
    return changed  # type: ignore[no-any-return]


class _Rewrite(NodeTransformer):
    def __init__(self, path: str, functions: frozenset[str]) -> None:
        self.path = path
        self.functions = functions

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802
        """Text that is only written out keeps its marks."""
        node.nodes = [self._call(n) if isinstance(n, nodes.Call) else self.visit(n) for n in node.nodes]
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802
        """The result of a call that something else looks at."""
        return _unmark(self._call(node), node.lineno)

    def visit_CondExpr(self, node: nodes.CondExpr) -> nodes.Node:  # noqa: N802
        """``"," if not loop.last``: without else, nothing is written."""
        if node.expr2 is None:
            node.expr2 = nodes.Const("", lineno=node.lineno)
        return self.generic_visit(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        """``{% call macro() %}``: the call itself must stay a call."""
        node.body = [_step(node.body, node.lineno), *node.body]
        call = self._call(node.call)
        node.call = nodes.Call(nodes.Name("caller", "load"), [], [], None, None, lineno=node.lineno)
        self.generic_visit(node)
        node.call = call
        return node

    def visit_Const(self, node: nodes.Const) -> nodes.Node:  # noqa: N802
        """``1e999``: Jinja writes ``inf`` for it into the code that it makes."""
        if isinstance(node.value, float) and not math.isfinite(node.value):
            hint = "write infinity in SQL as 'inf'::DOUBLE"
            raise TemplateError("this number is too large", where=Where(self.path, node.lineno), hint=hint)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """``~`` is no operator that the sandbox intercepts."""
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, _JOIN, [], [], None, None, lineno=node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        """Each turn of a loop is counted, with the text that it writes out."""
        node.body = [_step(node.body, node.lineno), *node.body]
        return self.generic_visit(node)

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:  # noqa: N802
        """``{% set x %}...{% endset %}``: x is a value."""
        self.generic_visit(node)
        if node.filter is None:
            node.filter = _unmark(None, node.lineno)
        else:
            _unmark_first(node.filter)
        return node

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> nodes.Node:  # noqa: N802
        """``{% filter upper %}``: filters get values."""
        self.generic_visit(node)
        _unmark_first(node.filter)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        """A macro must not hide one of mlforge's functions."""
        if node.name in self.functions:
            message = f"the macro {node.name!r} has the name of a function of mlforge"
            raise TemplateError(message, where=Where(self.path, node.lineno), hint="rename it")
        node.body = [_step(node.body, node.lineno), *node.body]
        return self.generic_visit(node)

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        """Visit what is below, after tags that reach for other files were refused."""
        word = _FOREIGN.get(type(node))
        if word:
            hint = "macros of the folder macros/ are known by name in every file"
            raise TemplateError(f"{word!r} is not used here", where=Where(self.path, node.lineno), hint=hint)
        return super().generic_visit(node, *args, **kwargs)

    def _call(self, node: nodes.Call) -> nodes.Call:
        self._refuse_repeated(node)
        lines = dict(_argument_lines(node))
        self.generic_visit(node)
        if isinstance(node.node, nodes.Name) and node.node.name in self.functions:
            place = nodes.Const((self.path, node.lineno, lines), lineno=node.lineno)
            node.kwargs.append(nodes.Keyword("_at", place, lineno=node.lineno))
        return node

    def _refuse_repeated(self, node: nodes.Call) -> None:
        seen: set[str] = set()
        for keyword in node.kwargs:
            if keyword.key in seen:
                raise TemplateError(f"{keyword.key!r} is given twice", where=Where(self.path, keyword.lineno))
            seen.add(keyword.key)


def _argument_lines(node: nodes.Call) -> Iterator[tuple[str, int]]:
    """Lines of named arguments, and of the entries of those that are mappings: ``validators[amount]``."""
    for keyword in node.kwargs:
        yield keyword.key, keyword.lineno
        if isinstance(keyword.value, nodes.Dict):
            for pair in keyword.value.items:
                if isinstance(pair.key, nodes.Const):
                    yield f"{keyword.key}[{pair.key.value}]", pair.key.lineno


def _step(body: list[nodes.Node], line: int) -> nodes.ExprStmt:
    """What counts one run of a body, by the length of its own text: loops and macros in it count theirs."""
    size = nodes.Const(sum(map(_own_text, body)), lineno=line)
    return nodes.ExprStmt(nodes.Filter(size, _STEP, [], [], None, None, lineno=line), lineno=line)


def _own_text(node: nodes.Node) -> int:
    if isinstance(node, nodes.TemplateData):
        return len(node.data)
    if isinstance(node, (nodes.For, nodes.Macro, nodes.CallBlock)):
        return 0
    return sum(map(_own_text, node.iter_child_nodes()))


def _unmark(node: nodes.Expr | None, line: int) -> nodes.Filter:
    return nodes.Filter(node, _UNMARK, [], [], None, None, lineno=line)


def _unmark_first(chain: nodes.Filter) -> None:
    while isinstance(chain.node, nodes.Filter):
        chain = chain.node
    chain.node = _unmark(None, chain.lineno)
