"""The shape of the code: which room may import which, and how long a module may get."""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest

from tests.rooms import PACKAGE, PAGE, ROOMS, page

if TYPE_CHECKING:
    from pathlib import Path

MODULES = sorted(PACKAGE.rglob("*.py"))
# templates only quotes and renders, and has no imports of ours; the version is a string.
FREE = {"mlforge.sql.templates", "mlforge.__version__"}
LINES = 500


def room_of(module: str) -> str | None:
    """The room of a dotted module name, None for the package itself and for ``__main__``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] not in ("__init__", "__main__") else None


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def imported(tree: ast.AST, name: str) -> list[tuple[int, str]]:
    """Every module of ours that a tree imports, at any depth, with its line; relative ones are refused."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            target = node.args[0] if node.args else None
            assert isinstance(target, ast.Constant), f"{name}:{node.lineno}: import of a made name"
            found.append((node.lineno, str(target.value)))
    return [(line, module) for line, module in found if module.split(".")[0] == "mlforge"]


def called(node: ast.Call) -> str | None:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None


def is_free(module: str) -> bool:
    return any(module == free or module.startswith(free + ".") for free in FREE)


def refusals(path: Path) -> list[str]:
    """The imports of one module that go against the direction, as sentences."""
    name = dotted(path)
    room = room_of(name)
    if room is None:
        return []
    wrong = []
    for line, module in imported(ast.parse(path.read_text()), name):
        other = room_of(module)
        if name in FREE:
            wrong.append(f"{name}:{line}: imports {module}, and must import nothing of ours")
        elif is_free(module):
            continue
        elif other not in ROOMS:
            wrong.append(f"{name}:{line}: imports {module}: name the room")
        elif other != room and ROOMS.index(other) > ROOMS.index(room):
            wrong.append(f"{name}:{line}: {room} imports {module}, a room to its right")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_room_imports_only_rooms_to_its_left(path: Path) -> None:
    room = room_of(dotted(path))
    assert room is None or room in ROOMS, f"{room} is not a room: add it to tests/rooms.py, in its place"
    assert not refusals(path)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_is_read_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LINES, f"{lines} lines"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import mlforge.cli.app", ["mlforge.cli.app"]),
        ("def f():\n    from mlforge.forge import Forge", ["mlforge.forge.Forge"]),
        ("import importlib\nimportlib.import_module('mlforge.building')", ["mlforge.building"]),
        ("if True:\n    __import__('mlforge.plan.diff')", ["mlforge.plan.diff"]),
        ("import duckdb\nfrom pathlib import Path", []),
    ],
)
def test_the_guard_sees_imports_of_every_form(text: str, expected: list[str]) -> None:
    assert [module for _, module in imported(ast.parse(text), "x")] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [("from . import x", "relative import"), ("import_module(name)", "import of a made name")],
)
def test_the_guard_refuses_imports_it_cannot_follow(text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        imported(ast.parse(text), "x")


def test_the_guard_refuses_a_room_to_the_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "mlforge")
    module = tmp_path / "mlforge" / "plan" / "planner.py"
    module.parent.mkdir(parents=True)
    module.write_text("from mlforge.building import run\nfrom mlforge.sql.templates import ident\n")
    assert refusals(module) == ["mlforge.plan.planner:1: plan imports mlforge.building.run, a room to its right"]


@pytest.mark.parametrize("path", sorted((PACKAGE.parent / "sql_templates").rglob("*.sql.j2")), ids=lambda p: p.name)
def test_a_template_opens_with_what_it_returns(path: Path) -> None:
    assert path.read_text().startswith("-- "), "the first lines say what it returns, one row per what, and the trap"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_module_swallows_every_exception(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"


def test_no_module_imports_itself_through_others() -> None:
    modules = {dotted(p).removesuffix(".__init__"): p for p in MODULES if room_of(dotted(p)) is not None}
    graph = {
        name: {target(module, modules) for module in run_imports(ast.parse(path.read_text()), name)} - {name, ""}
        for name, path in modules.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def run_imports(tree: ast.AST, name: str) -> list[str]:
    """The modules that a tree imports when it runs, at any depth: what only types need is left out."""
    typing = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    unused = {line for n in typing for line in range(n.body[0].lineno, (n.body[-1].end_lineno or 0) + 1)}
    return [module for line, module in imported(tree, name) if line not in unused]


def target(module: str, modules: dict[str, Path]) -> str:
    """The module that an import reads: what is imported from one may be a module itself."""
    return module if module in modules else module.rpartition(".")[0] if module.rpartition(".")[0] in modules else ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [("if TYPE_CHECKING:\n    from mlforge.model import Plan\nimport mlforge.errors", ["mlforge.errors"])],
)
def test_imports_for_types_make_no_circle(text: str, expected: list[str]) -> None:
    assert run_imports(ast.parse(text), "x") == expected


def test_contributing_lists_the_rooms() -> None:
    assert page(PAGE.read_text()) == PAGE.read_text(), "python -m tests.rooms writes the table anew"
    assert PAGE.read_text().count("| room |") == 1
