"""A digest of the rows of one version: equal on two machines if the rows are."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from mlforge.sql.bind import bind
from mlforge.sql.physical import FLOATS, view
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, StoredVersion

VIEW = "_mlforge_content"
_PLAIN = re.compile(r"(U?(TINYINT|SMALLINT|INTEGER|BIGINT)|BOOLEAN|DATE|UUID|DECIMAL\(\d+,\d+\))")


def version_hash(con: DuckDBPyConnection, state: CatalogState, stored: StoredVersion) -> str | None:
    """SHA-256, hexadecimal, over names and types of the columns a version's readers see, and over all of its rows.

    Order of rows and of columns does not count. None for an on-demand feature, which has no rows. Reads every row."""
    compiled = stored.compiled
    if compiled.kind == "on_demand":
        return None
    types = {k.name: k.type for k in compiled.keys} | {o.name: o.type for o in compiled.outputs}
    types |= {compiled.timestamp: "TIMESTAMP"} if compiled.timestamp else {}
    columns = sorted(types, key=str.lower)
    con.execute(view("", VIEW, bind(state, stored)))
    script = sql("catalog/content", relation=VIEW, columns=[(name, _how(types[name])) for name in columns])
    rows, total = con.execute(script).fetchall()[0]
    parts = [f"{name.lower()} {types[name]}" for name in columns]
    return hashlib.sha256("\n".join([*parts, str(rows), total]).encode()).hexdigest()


def _how(kind: str) -> str:
    """How a type becomes text: plain where no separator can be in it."""
    if kind in FLOATS:
        return "float"
    if kind == "TIMESTAMP":
        return "micros"
    return "plain" if _PLAIN.fullmatch(kind) else "sized"
