"""What the engine knows of places inside a feature's query: columns of its relations, types of its expressions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlforge.errors import FeatureError
from mlforge.render.grammar import is_as_of
from mlforge.render.windows import is_trailing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlglot import exp

    Describe = Callable[[str, exp.Expression | None], dict[str, str]]

_REFUSED = re.compile(r"argument types 'chr\((?P<types>.*)\)'", re.DOTALL)


def columns(query: exp.Expression, describe: Describe) -> list[str]:
    """Names of the columns of a relation of FROM, or of a query, seen from where it stands."""
    from sqlglot import exp

    text = query.sql("duckdb")
    text = f"({text})" if isinstance(query, (exp.Select, exp.SetOperation)) else text
    return list(describe(_under_ctes(query, f"SELECT * FROM {text}"), query))


def _under_ctes(node: exp.Expression, text: str) -> str:
    """A query under the WITH clauses that its place sees, each around the one below it."""
    from sqlglot import exp

    below: exp.Expression = node
    inside: exp.CTE | None = None
    while below.parent is not None:
        above = below.parent
        if isinstance(below, exp.CTE) and isinstance(above, exp.With):
            inside = below
        with_ = above if isinstance(above, exp.With) else above.args.get("with_")
        if with_ is not None:
            seen = _before(with_, inside if inside is not None and inside.parent is with_ else None)
            text = f"{seen.sql('duckdb')} ({text})" if seen.expressions else text
        below = above.parent if isinstance(above, exp.With) and above.parent is not None else above
    return text


def _before(with_: exp.With, cte: exp.CTE | None) -> exp.With:
    """The clause without a CTE and those behind it, which that CTE does not see."""
    kept = with_.copy()
    if cte is not None and not with_.args.get("recursive"):
        kept.set("expressions", kept.expressions[: with_.expressions.index(cte)])
    return kept


class Types:
    """Types of expressions at their places, in any scope: subqueries, lambdas, aliases and all.

    The engine tells them in its refusal of a call that takes no such arguments. Trailing windows are asked about as
    ordinary ones, and ``as_of()`` as a time."""

    def __init__(self, tree: exp.Query, describe: Describe) -> None:
        from sqlglot import exp, parse_one

        self._describe = describe
        self._copy = tree.copy()
        self._twins = {id(a): b for a, b in zip(tree.walk(), self._copy.walk(), strict=True)}
        for original, node in list(self._twins.items()):
            if isinstance(node, exp.Window) and is_trailing(node):
                node.set("alias", None)
            elif is_as_of(node):
                self._twins[original] = node.replace(parse_one("TIMESTAMP '2000-01-01'", dialect="duckdb"))

    def of(self, node: exp.Expression, operands: Sequence[exp.Expression]) -> list[str]:
        """The types of operands of a node of the tree, as DuckDB writes them; of some names it says more, such as
        INTEGER_LITERAL. Empty if it does not say."""
        from sqlglot import exp

        asked = [self._twins.get(id(o), o).copy() for o in operands]
        ignored = [exp.null()] * (2 if len(asked) < 2 else 1)  # one argument would fit
        twin, probe = self._twins[id(node)], exp.Anonymous(this="chr", expressions=[*asked, *ignored])
        twin.replace(probe)
        try:
            self._describe(self._copy.sql("duckdb"), node)
        except FeatureError as error:
            found = _REFUSED.search(error.message)
            return _split(found["types"])[: len(operands)] if found else []
        finally:
            probe.replace(twin)
        return []


def _split(types: str) -> list[str]:
    """A list of types at its outermost commas."""
    found, depth, quoted = [""], 0, False
    for letter in types:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter in "([") - (letter in ")]")
        if letter == "," and not depth and not quoted:
            found.append("")
        else:
            found[-1] += letter
    return [t.strip() for t in found]
