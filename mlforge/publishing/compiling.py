"""SQL with ``as_of()`` to the small trees of expressions.py, when it is published. Needs sqlglot; readers do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlforge.online.expressions import CALENDAR, UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlglot import exp

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_RESULTS = {"BIGINT": "int", "DOUBLE": "float", "TIMESTAMP": "time"}


class _Beyond(Exception):
    """An expression that only DuckDB can evaluate."""


def expression(text: str, columns: Mapping[str, tuple[int, str]], result: str) -> list[Any] | None:
    """The tree of an expression over ``columns`` (name to position and DuckDB type) and ``_mlforge_at``; None if it is
    beyond the small set, or its type is not ``result``."""
    import sqlglot

    try:
        tree, kind = _compiled(sqlglot.parse_one(text, dialect="duckdb"), columns)
    except _Beyond:
        return None
    return tree if _RESULTS.get(result) == kind else None


def _compiled(node: exp.Expression, columns: Mapping[str, tuple[int, str]]) -> tuple[list[Any], str]:
    from sqlglot import exp

    if isinstance(node, exp.Paren):
        return _compiled(node.this, columns)
    if isinstance(node, exp.Column) and not node.table:
        return _column(node.name, columns)
    if isinstance(node, exp.Literal) and not node.is_string:
        return _literal(node.name)
    if isinstance(node, exp.Neg):
        inner, kind = _compiled(node.this, columns)
        return ["neg", [inner]], _number(kind)
    if isinstance(node, exp.Coalesce):
        return _same("coalesce", [node.this, *node.expressions], columns)
    if isinstance(node, exp.Nullif):
        return _same("nullif", [node.this, node.expression], columns)
    if isinstance(node, (exp.Add, exp.Sub, exp.Mul, exp.Div)):
        return _arithmetic(node, columns)
    return _of_times(node, columns)


def _of_times(node: exp.Expression, columns: Mapping[str, tuple[int, str]]) -> tuple[list[Any], str]:
    from sqlglot import exp

    if isinstance(node, exp.DateDiff):
        unit = str(node.args["unit"].name).lower().rstrip("s") if node.args.get("unit") else ""
        if unit not in UNITS and unit not in CALENDAR:
            raise _Beyond
        return ["diff", unit, _times([node.expression, node.this], columns)], "int"
    if isinstance(node, exp.Anonymous) and node.name.lower() == "epoch_us":
        return ["us", _times(node.expressions, columns)], "int"
    if isinstance(node, exp.TimeToUnix):
        return ["s", _times([node.this], columns)], "float"
    raise _Beyond


def _column(name: str, columns: Mapping[str, tuple[int, str]]) -> tuple[list[Any], str]:
    if name == "_mlforge_at":
        return ["at"], "time"
    position, kind = columns.get(name, (0, ""))
    if kind == "TIMESTAMP":
        return ["time", position], "time"
    if kind == "BIGINT":
        return ["col", position], "int"
    if kind == "DOUBLE":
        return ["col", position], "float"
    raise _Beyond


def _literal(text: str) -> tuple[list[Any], str]:
    if text.isdigit():
        return ["lit", int(text)], "int"
    if "e" in text.lower():  # 1.5 is a DECIMAL, 1.5e0 a DOUBLE
        return ["lit", float(text)], "float"
    raise _Beyond


def _number(kind: str) -> str:
    if kind not in ("int", "float"):
        raise _Beyond
    return kind


def _times(nodes: list[exp.Expression], columns: Mapping[str, tuple[int, str]]) -> list[Any]:
    made = [_compiled(node, columns) for node in nodes]
    if any(kind != "time" for _, kind in made):
        raise _Beyond
    return [tree for tree, _ in made]


def _same(name: str, nodes: list[exp.Expression], columns: Mapping[str, tuple[int, str]]) -> tuple[list[Any], str]:
    made = [_compiled(node, columns) for node in nodes]
    kinds = {kind for _, kind in made}
    if len(kinds) != 1 or (name == "nullif" and kinds == {"time"}):
        raise _Beyond
    return [name, [tree for tree, _ in made]], kinds.pop()


def _arithmetic(node: exp.Binary, columns: Mapping[str, tuple[int, str]]) -> tuple[list[Any], str]:
    from sqlglot import exp

    (left, a), (right, b) = (_compiled(part, columns) for part in (node.this, node.expression))
    kinds = {_number(a), _number(b)}
    if isinstance(node, exp.Div):
        return ["/", [left, right]], "float"
    symbol = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*"}[type(node)]
    if len(kinds) == 2:  # an integer becomes a DOUBLE first
        left, right = [t if k == "float" else ["/", [t, ["lit", 1]]] for t, k in ((left, a), (right, b))]
    return [symbol, [left, right]], "float" if "float" in kinds else "int"
