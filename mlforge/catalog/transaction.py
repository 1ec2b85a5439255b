"""What a commit may do inside its transaction: bring staged tables over and write metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.errors import BuildError
from mlforge.sql.templates import sql, statements

if TYPE_CHECKING:
    from collections.abc import Collection

    from duckdb import DuckDBPyConnection

STAGED = "staging"
"""Name under which the staging file is attached to the catalog."""


class Transaction:
    """An open transaction on the catalog. ``con`` is for the writers of metadata, and for views and macros.

    With ``adopted`` the staging file itself is becoming the catalog: its tables are where they belong already, so
    ``copy_table`` keeps a table instead of copying it, and what was not kept is dropped in the end."""

    def __init__(self, con: DuckDBPyConnection, *, adopted: bool) -> None:
        self.con = con
        self._adopted = adopted
        self._kept: set[str] = set()

    def copy_table(self, table: str) -> None:
        """Make ``store.<table>`` from the staged table of the same name, rows in the same order."""
        self._kept.add(table)
        if not self._adopted:
            self.con.execute(sql("catalog/copy_table", table=table, staged=STAGED))

    def apply_patch(self, table: str, patch: int) -> tuple[int, int]:
        """Close and add rows of ``store.<table>`` for PATCH ``patch``. Returns how many of each.

        Reads the staged table ``<table>__differ``; where there is none, nothing changes. Raises BuildError if a row to
        close is not there or closed already: the catalog changed since the staging began."""
        self._refuse_when_adopted()
        if not self._is_staged(f"{table}__differ"):
            return 0, 0
        return self._close(table, patch), self._add(table, patch)

    def drop_table(self, table: str) -> None:
        """Drop ``store.<table>``: no version needs it any more."""
        self.con.execute(sql("catalog/drop_table", table=table))

    def sweep(self, table: str, kept: Collection[int]) -> int:
        """Delete the rows of ``store.<table>`` that belong to none of the PATCHes ``kept``. Returns how many."""
        return self._number(sql("catalog/sweep_rows", table=table, kept=sorted(kept)))

    def _close(self, table: str, patch: int) -> int:
        count, update = statements(sql("catalog/close_rows", table=table, staged=STAGED, patch=patch))
        wanted = self._number(count)
        closed = self._number(update)
        if closed != wanted:
            raise BuildError(
                f"store.{table} changed while the build ran: {wanted} rows were to be closed, {closed} were open",
                hint="build again",
            )
        return closed

    def _add(self, table: str, patch: int) -> int:
        return self._number(sql("catalog/add_rows", table=table, staged=STAGED, patch=patch))

    def _number(self, statement: str) -> int:
        return int(self.con.execute(statement).fetchall()[0][0])

    def _is_staged(self, table: str) -> bool:
        return bool(self.con.execute(sql("catalog/has_table", database=STAGED, table=table)).fetchall())

    def _refuse_when_adopted(self) -> None:
        if self._adopted:
            raise BuildError("a new catalog has no table that could be patched")

    def drop_rest(self) -> None:
        """Drop what the staging file held and nobody asked for. Does nothing unless the file becomes the catalog."""
        if self._adopted:
            rows = self.con.execute(sql("catalog/store_tables")).fetchall()
            for (table,) in rows:
                if table not in self._kept:
                    self.drop_table(table)
