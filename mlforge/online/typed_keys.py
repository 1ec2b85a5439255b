"""Entity rows as people type them in a terminal: text becomes the type that a key or a request column has."""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any

from mlforge.errors import OnlineError
from mlforge.online.published import OnDemand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlforge.online.read_plan import Plan

_TRUTH = {"true": True, "false": False}


def typed(plan: Plan, texts: Mapping[str, str]) -> dict[str, Any]:
    """The entity row that texts mean for a plan. Raises OnlineError for text that does not fit its column."""
    kinds = {c: k.kind for read in plan.reads for c, k in zip(read.keys, read.opened.table.keys, strict=True)}
    for part in plan.parts:
        if isinstance(part.feature, OnDemand):
            kinds |= {name: _kind(type_) for name, type_ in part.feature.request.items()}
    lowered = {name.lower(): kind for name, kind in kinds.items()}
    return {name: _value(name, lowered.get(name.lower(), "text"), text) for name, text in texts.items()}


def _kind(duckdb_type: str) -> str:
    if duckdb_type in ("FLOAT", "DOUBLE"):
        return "float"
    if duckdb_type.endswith("INT") or duckdb_type.endswith("INTEGER"):
        return "integer"
    return "decimal" if duckdb_type.startswith("DECIMAL") else {"BOOLEAN": "boolean"}.get(duckdb_type, "text")


def _value(name: str, kind: str, text: str) -> Any:
    try:
        if kind == "integer":
            return int(text)
        if kind == "float":
            return float(text)
        if kind == "decimal":
            return decimal.Decimal(text)
        if kind == "boolean":
            return _TRUTH[text.lower()]
    except (ValueError, KeyError, decimal.InvalidOperation):
        raise OnlineError(f"{name}={text} is no {kind}") from None
    return text
