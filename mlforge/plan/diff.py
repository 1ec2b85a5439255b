"""Two definitions of one feature, compared column by column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from mlforge.plan.fingerprint import encoded, meaning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlforge.model import Column, Definition
    from mlforge.plan.fingerprint import Meaning

Change = Literal["added", "removed", "type", "meaning", "same"]
Bump = Literal["major", "minor"]


class ColumnChange(Struct, frozen=True, kw_only=True):
    """What became of one output column."""

    column: str
    change: Change
    old_type: str | None = None
    new_type: str | None = None

    def __str__(self) -> str:
        if self.change == "type":
            return f"column {self.column}: type {self.old_type} -> {self.new_type}"
        if self.change in ("added", "removed"):
            return f"column {self.column} {self.change} ({self.new_type or self.old_type})"
        return f"column {self.column}: meaning changed" if self.change == "meaning" else f"column {self.column}: same"


class DefinitionDiff(Struct, frozen=True, kw_only=True):
    """How a definition differs from an older one. ``bump`` is None if every column means what it meant."""

    bump: Bump | None
    columns: tuple[ColumnChange, ...]
    reasons: tuple[str, ...] = ()


def compare(old: Definition, new: Definition) -> DefinitionDiff:
    """Compare two definitions. MAJOR: a column removed, its type or meaning changed, or the keys changed, also when
    columns were added in the same step. MINOR: columns only added."""
    if encoded(old) == encoded(new):
        return DefinitionDiff(bump=None, columns=tuple(_change(c, c, same=True) for c in new.columns))
    before, after = meaning(old), meaning(new)
    shared = tuple(_shared(old, new, before, after))
    columns = tuple(_columns(old, new, before, after))
    own = tuple(r for c in columns if (r := _reason(c, old, new, before, after)))
    return DefinitionDiff(bump=_bump(columns, bool(shared)), columns=columns, reasons=shared + own)


def _bump(columns: tuple[ColumnChange, ...], shared: bool) -> Bump | None:
    kinds = {c.change for c in columns}
    if shared or kinds & {"removed", "type", "meaning"}:
        return "major"
    return "minor" if "added" in kinds else None


def _columns(old: Definition, new: Definition, before: Meaning, after: Meaning) -> Iterator[ColumnChange]:
    olds = {c.name.lower(): c for c in old.columns}
    news = {c.name.lower(): c for c in new.columns}
    for name, column in news.items():
        same = name in olds and before.columns[name] == after.columns[name]
        yield _change(olds.get(name), column, same=same)
    for name, column in olds.items():
        if name not in news:
            yield _change(column, None, same=False)


def _change(old: Column | None, new: Column | None, *, same: bool) -> ColumnChange:
    kind: Change
    if old is None or new is None:
        kind = "removed" if new is None else "added"
    elif old.type != new.type:
        kind = "type"
    else:
        kind = "same" if same else "meaning"
    present = new or old
    assert present is not None
    return ColumnChange(
        column=present.name, change=kind, old_type=old.type if old else None, new_type=new.type if new else None
    )


def _reason(change: ColumnChange, old: Definition, new: Definition, before: Meaning, after: Meaning) -> str | None:
    """A reason of the column's own; what changed for every column is said once, not for each."""
    name = change.column.lower()
    if change.change == "same":
        return None
    if change.change != "meaning":
        return str(change)
    if before.expressions[name] == after.expressions[name]:
        return None
    texts = [next((c.sql for c in d.columns if c.name.lower() == name), "") for d in (old, new)]
    return f"{change}: {_flat(texts[0])} -> {_flat(texts[1])}" if all(texts) and texts[0] != texts[1] else str(change)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _shared(old: Definition, new: Definition, before: Meaning, after: Meaning) -> Iterator[str]:
    """What changed for every column."""
    for name in ("kind", "closed", "delay", "ttl", "interval", "timezone", "timestamp_format"):
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            yield f"{name} {_word(was)} -> {_word(now)}"
    yield from _keys(old, new, before, after)
    if (old.timestamp or "").lower() != (new.timestamp or "").lower():
        yield f"timestamp {_word(old.timestamp)} -> {_word(new.timestamp)}"
    elif before.timestamp != after.timestamp:
        yield f"expression of timestamp {new.timestamp} changed: every column"
    if before.relation != after.relation:
        yield "event relation changed: every column"
    yield from _tables("source", old.sources, new.sources)
    yield from _tables("upstream feature", old.refs, new.refs)
    yield from _tables("request column", old.request, new.request)


def _keys(old: Definition, new: Definition, before: Meaning, after: Meaning) -> Iterator[str]:
    was, now = (", ".join(f"{k.name} {k.type}" for k in d.keys) for d in (old, new))
    if was.lower() != now.lower():
        yield f"key ({was}) -> ({now})"
    elif before.keys != after.keys:
        yield f"expression of key ({now}) changed: every column"


def _tables(noun: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    olds, news = ({k.lower(): v for k, v in side.items()} for side in (old, new))
    for name in sorted(olds.keys() | news.keys()):
        if name not in olds or name not in news:
            yield f"{noun} {name} {'added' if name in news else 'removed'}"
        elif not _same(olds[name], news[name]):
            both = isinstance(olds[name], str) and isinstance(news[name], str)
            yield f"{noun} {name}: {olds[name]} -> {news[name]}" if both else f"{noun} {name}: options changed"


def _same(old: object, new: object) -> bool:
    """Equal as kept in a catalog, where tuples are lists."""
    import msgspec

    return msgspec.json.encode(old, order="deterministic") == msgspec.json.encode(new, order="deterministic")


def _word(value: object) -> str:
    return "none" if value is None else str(value)
