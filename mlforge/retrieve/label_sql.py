"""SQL of label rows: one SELECT that only reads. Its text runs as it was parsed; DuckDB's own parser says what it does.

It is not made again from the tree: the text that DuckDB 1.5 writes for a tree is not always equal SQL (``x'AB'``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.errors import RetrievalError
from mlforge.render.functions import words
from mlforge.render.leaks import TABLE_FUNCTIONS
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duckdb import DuckDBPyConnection

HINT = "label rows are one SELECT or a file"
_NODES = frozenset({"select_node", "set_operation_node", "recursive_cte_node", "cte_node"})
_READERS = TABLE_FUNCTIONS | words(
    """delta_scan glob iceberg_scan parquet_scan postgres_query postgres_scan query_table read_blob read_csv
    read_csv_auto read_duckdb read_json read_json_auto read_json_objects read_json_objects_auto read_ndjson
    read_ndjson_auto read_ndjson_objects read_parquet read_text repeat_row sniff_csv sqlite_scan st_read"""
)
#: Functions of expressions that leave something behind.
_EFFECTS = words("nextval setseed setval write_log")


def check_select(con: DuckDBPyConnection, text: str) -> None:
    """Refuse what is not one SELECT that only reads. Raises RetrievalError; duckdb.Error for what is no SQL."""
    statements = con.extract_statements(text)
    if len(statements) != 1:
        what = f"hold {len(statements)} statements" if statements else "hold no SQL statement"
        raise RetrievalError(f"the label rows {what}", hint=HINT)
    kind = statements[0].type.name
    if kind != "SELECT":
        hint = "PIVOT needs its columns: PIVOT t ON c IN (...)" if "pivot" in text.lower() else HINT
        raise RetrievalError(f"the label rows are {_WORDS.get(kind, kind)}, not one SELECT", hint=hint)
    found: dict[str, list[str]] = {"node": [], "from": [], "call": [], "error": []}
    for what, name in con.execute(sql("retrieve/reads", text=text)).fetchall():
        found[what].append(name)
    if found["error"] or not found["node"]:
        raise RetrievalError(f"the label rows are not one SELECT that only reads: {''.join(found['error'])}", hint=HINT)
    _check_nodes(found["node"])
    for name in _EFFECTS.intersection(found["call"]):
        raise RetrievalError(f"the label rows call {name}(), which changes something", hint=HINT)
    _check_from(con, found["from"])


_WORDS = {"MULTI": "several statements", "CREATE": "CREATE or PIVOT"}


def _check_nodes(nodes: Iterable[str]) -> None:
    for node in nodes:
        if node not in _NODES:
            raise RetrievalError(f"the label rows hold {node.partition('_')[0].upper()}, and may only read", hint=HINT)


def _check_from(con: DuckDBPyConnection, names: Iterable[str]) -> None:
    unknown = [n for n in names if n not in _READERS]
    macros = {n for (n,) in con.execute(sql("retrieve/table_macros")).fetchall()} if unknown else set()
    for name in unknown:
        if name not in macros:
            hint = "it may read tables, views, files and the catalog's macros"
            raise RetrievalError(f"the label rows call {name}() in FROM, which is no reader of rows", hint=hint)
