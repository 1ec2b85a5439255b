"""``contract=true``: the names and types of a feature's columns stay as the newest version in the catalog has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from mlforge.errors import FeatureError, Where

if TYPE_CHECKING:
    from mlforge.model import Candidate, Definition, StoredVersion


class Break(Struct, frozen=True, kw_only=True):
    """One column that is not as the contract says. None: there is no such column."""

    column: str
    pinned: str | None
    new: str | None

    @property
    def words(self) -> str:
        """What happened to it: added, removed, or another type."""
        if self.pinned is None:
            return "added"
        return "removed" if self.new is None else "another type"


def breaks(old: Definition, new: Definition) -> list[Break]:
    """The columns of a feature's view (keys, timestamp, outputs) that differ in name or type; case does not count.

    An added column breaks a contract too: whoever inserts ``SELECT *`` into a table of their own sees it. Order and
    meaning do not: a change of meaning alone is a new MAJOR version of the same shape, and pins keep the old one."""
    before, after = _shape(old), _shape(new)
    spelled = {name.lower(): name for d in (new, old) for name in _types(d)}
    return [
        Break(column=spelled[name], pinned=before.get(name), new=after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _shape(definition: Definition) -> dict[str, str]:
    return {name.lower(): kind for name, kind in _types(definition).items()}


def _types(definition: Definition) -> dict[str, str]:
    """The columns of a feature's view with their types."""
    timestamp = {definition.timestamp: "TIMESTAMP"} if definition.timestamp else {}
    return {k.name: k.type for k in definition.keys} | timestamp | {c.name: c.type for c in definition.columns}


def check(candidate: Candidate, last: StoredVersion) -> None:
    """Raise FeatureError, with every column that was pinned and what it would become, if a contract is broken."""
    found = breaks(last.definition, candidate.definition) if candidate.config.contract else []
    if found:
        kept = len(_shape(last.definition)) - sum(b.pinned is not None for b in found)
        causes = [f"\n  source {n}: {c}" for n, s in candidate.source_states.items() for c in s.changes]
        raise FeatureError(
            f"{last.feature} has contract=true, and its columns would not be those of {last.version}:\n"
            f"{_table(found)}\n  {kept} more column{'' if kept == 1 else 's'} as pinned{''.join(causes)}",
            where=Where(candidate.path),
            hint="undo the change; or build once without contract=true, which pins the new columns when it is back",
        )


def _table(found: list[Break]) -> str:
    rows = [("column", "pinned", "would be", "")]
    rows += [(b.column, b.pinned or "-", b.new or "-", b.words) for b in found]
    widths = [max(len(row[n]) for row in rows) for n in range(3)]
    return "\n".join(
        "  " + "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    )
