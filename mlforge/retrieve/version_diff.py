"""Two versions of one feature, compared by definition and by data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mlforge.catalog import reader
from mlforge.errors import UsageError, did_you_mean
from mlforge.plan.diff import DefinitionDiff, compare
from mlforge.plan.versions import resolve_pin
from mlforge.project.ref_grammar import parse_pin
from mlforge.sql.alike import alike
from mlforge.sql.bind import bind
from mlforge.sql.physical import view
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlforge.model import CatalogState, StoredFeature, StoredVersion

SAMPLE = 5


class DataDiff(Struct, frozen=True, kw_only=True):
    """Rows of two versions, matched on keys and timestamp. ``columns`` counts changed rows for each shared column."""

    rows_old: int
    rows_new: int
    only_old: int
    only_new: int
    changed: int
    columns: dict[str, int] = {}
    sample: tuple[dict[str, Any], ...] = ()  # changed rows: keys, then old and new values

    @property
    def same(self) -> bool:
        """Whether the rows are the same in every shared column."""
        return not (self.only_old or self.only_new or self.changed)


class Diff(Struct, frozen=True, kw_only=True):
    """How a version differs from an older one. ``data`` is None where rows cannot be matched: other keys, on demand."""

    feature: str
    old: str
    new: str
    definition: DefinitionDiff
    data: DataDiff | None

    @property
    def same(self) -> bool:
        """Whether definition and data are the same."""
        unchanged = all(c.change == "same" for c in self.definition.columns)
        return unchanged and self.definition.bump is None and (self.data is None or self.data.same)


def pair(feature: StoredFeature, old: StoredVersion | None, new: StoredVersion | None) -> tuple[Any, Any]:
    """The two versions to compare: without ``new`` the current one, without ``old`` the one before ``new``.

    Raises UsageError if there is none before it."""
    after = new or feature.get(feature.current)
    if old is not None:
        return old, after
    older = [v for v in feature.versions if v.version < after.version]
    if not older:
        raise UsageError(
            f"{feature.name} has no version before {after.version}", hint="there is nothing to compare yet"
        )
    return max(older, key=lambda v: v.version), after


def diff_versions(con: DuckDBPyConnection, feature: str, old: str | None, new: str | None) -> Diff:
    """Compare what two pins of a feature mean; see ``pair`` for what is left out. Raises UsageError."""
    state = reader.state(con)
    found = state.features.get(feature)
    if found is None:
        raise UsageError(f"the catalog has no feature {feature!r}", hint=did_you_mean(feature, state.features))
    given = [resolve_pin(found, parse_pin(text)) if text else None for text in (old, new)]
    return diff(con, state, *pair(found, *given))


def diff(con: DuckDBPyConnection, state: CatalogState, old: StoredVersion, new: StoredVersion) -> Diff:
    """Compare two versions of one feature. Nothing is written to the catalog."""
    return Diff(
        feature=new.feature,
        old=str(old.version),
        new=str(new.version),
        definition=compare(old.definition, new.definition),
        data=_data(con, state, old, new) if _comparable(old, new) else None,
    )


def _comparable(old: StoredVersion, new: StoredVersion) -> bool:
    before, after = old.compiled, new.compiled
    if "on_demand" in (before.kind, after.kind):
        return False
    same_keys = [k.name for k in before.keys] == [k.name for k in after.keys]
    return same_keys and bool(before.timestamp) == bool(after.timestamp)


def _data(con: DuckDBPyConnection, state: CatalogState, old: StoredVersion, new: StoredVersion) -> DataDiff:
    for name, stored in (("_mlforge_old", old), ("_mlforge_new", new)):
        con.execute(view("", f"{name}_view", bind(state, stored)))
        con.execute(sql("feature/keep_view", schema="temp", name=f"{name}_view", kept=name))
    match = [(k.name, k.name) for k in new.compiled.keys]
    if new.compiled.timestamp:
        match.append((str(old.compiled.timestamp), new.compiled.timestamp))
    before = {o.name: o.type for o in old.compiled.outputs}
    shared = {o.name: (before[o.name], o.type) for o in new.compiled.outputs if o.name in before}
    return _counted(con, match, shared)


def _counted(con: DuckDBPyConnection, match: list[tuple[str, str]], types: dict[str, tuple[str, str]]) -> DataDiff:
    """``types``: of each column that both have, the old and the new type."""
    shared = list(types)
    same = alike({c: new for c, (old, new) in types.items() if old == new})
    counts = con.execute(sql("feature/compare", match=match, columns=shared, alike=same)).fetchall()[0]
    rows_old, rows_new, both, changed, *by_column = counts
    intervals = [c for c, kinds in types.items() if any("INTERVAL" in kind for kind in kinds)]
    sample = con.execute(
        sql("feature/changed_rows", match=match, columns=shared, limit=SAMPLE, alike=same, shown=intervals)
    ).fetchall()
    names = [new for _, new in match] + [f"{c} ({side})" for c in shared for side in ("old", "new")]
    return DataDiff(
        rows_old=rows_old,
        rows_new=rows_new,
        only_old=rows_old - both,
        only_new=rows_new - both,
        changed=changed,
        columns={c: n for c, n in zip(shared, by_column, strict=True) if n},
        sample=tuple(_differing(dict(zip(names, row, strict=True)), shared) for row in sample),
    )


def _differing(row: dict[str, Any], shared: list[str]) -> dict[str, Any]:
    """Keys, and only those columns that changed."""
    same = [c for c in shared if repr(row[f"{c} (old)"]) == repr(row[f"{c} (new)"])]
    hidden = {f"{c} ({side})" for c in same for side in ("old", "new")}
    return {name: value for name, value in row.items() if name not in hidden}
