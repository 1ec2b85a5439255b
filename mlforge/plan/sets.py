"""Feature sets: an integer version whenever the list, resolved to MAJORs, changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from mlforge.errors import ProjectError, Where, did_you_mean
from mlforge.model import Definition, Pin, Version
from mlforge.plan.steps import SetStep
from mlforge.plan.versions import newest, shared_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlforge.model import CatalogState, FeatureRef, FeatureSet, StoredSet
    from mlforge.plan.steps import FeatureStep

FILE = "mlforge.yaml"


class SetPlan(Struct, frozen=True):
    """New versions of feature sets, and which sets wait for features that are not built yet."""

    steps: tuple[SetStep, ...]
    notes: tuple[str, ...]


class _Known(Struct, frozen=True):
    """What a feature will be after the plan: its versions with their definitions, and the current one."""

    current: Version
    versions: dict[Version, Definition]


def plan_sets(
    feature_sets: Mapping[str, FeatureSet],
    state: CatalogState,
    steps: Mapping[str, FeatureStep],
    *,
    known: Collection[str],
    upgrade: bool = False,
    numbers: Mapping[str, int] | None = None,
) -> SetPlan:
    """New versions of the project's feature sets after ``steps``. ``known`` are the names of the project's features.

    An entry without a pin stays on the MAJOR it had in the set's newest version; a new MAJOR comes in by ``name@3`` or
    ``upgrade``. ``numbers`` are versions that sets get where they are greater than their own next one. Raises
    ProjectError, at the set's line, for unknown features, versions, columns and keys, and for a
    set that is called like a feature."""
    made, notes = [], []
    for feature_set in feature_sets.values():
        if feature_set.name in {*known, *state.features}:
            raise _error(feature_set, "a feature is called so too", "rename one: the name alone would mean the set")
        missing = _unbuilt(feature_set, state, steps, known)
        if missing:
            notes.append(f"feature set {feature_set.name} waits for {', '.join(missing)}, not built yet")
            continue
        step = _step(feature_set, state, steps, upgrade)
        if step:
            notes += _shared(step, state, steps)
            number = max((numbers or {}).get(step.name, 0), step.version_to)
            made.append(replace(step, version_to=number))
    return SetPlan(tuple(made), tuple(notes))


def written(ref: FeatureRef) -> str:
    """An entry of a feature set in one line, also what only its long form can say."""
    extra = [f"{key}={label}" for key, label in ref.keys.items()] + ([f"prefix {ref.prefix}"] if ref.prefix else [])
    return f"{ref} ({', '.join(extra)})" if extra else str(ref)


def _unbuilt(
    feature_set: FeatureSet, state: CatalogState, steps: Mapping[str, FeatureStep], known: Collection[str]
) -> list[str]:
    """Members that exist in the project only. Raises for a member that exists nowhere."""
    absent = [m.name for m in feature_set.members if m.name not in state.features and m.name not in steps]
    for name in absent:
        if name not in known:
            raise _error(feature_set, f"unknown feature {name!r}", did_you_mean(name, {*known, *state.features}))
    return list(dict.fromkeys(absent))


def _step(
    feature_set: FeatureSet, state: CatalogState, steps: Mapping[str, FeatureStep], upgrade: bool
) -> SetStep | None:
    stored = state.feature_sets.get(feature_set.name, ())
    last = stored[-1] if stored else None
    members = tuple(_resolve(feature_set, m, last, _after(m.name, state, steps), upgrade) for m in feature_set.members)
    if last and last.members == members:
        return None
    return SetStep(
        name=feature_set.name,
        version_from=last.version if last else None,
        version_to=last.version + 1 if last else 1,
        members=members,
        written=tuple(written(m) for m in feature_set.members),
        reasons=_reasons(last, members),
    )


def _shared(step: SetStep, state: CatalogState, steps: Mapping[str, FeatureStep]) -> list[str]:
    """A note if members have a column of one name."""
    given = []
    for member in step.members:
        known = _after(member.name, state, steps)
        version = newest(known.versions, member.version)
        columns = member.columns or (tuple(c.name for c in known.versions[version].columns) if version else ())
        given.append((member.name, [member.prefix + c for c in columns]))
    found = shared_name(given)
    way = "give one of them a prefix, or name its columns; until then only full_names=True reads the set"
    return [f"feature set {step.name}: {found}: {way}"] if found else []


def _after(name: str, state: CatalogState, steps: Mapping[str, FeatureStep]) -> _Known:
    step, stored = steps.get(name), state.features.get(name)
    versions = {v.version: v.definition for v in stored.versions} if stored else {}
    if step:
        versions.setdefault(step.version_to, step.candidate.definition)
    current = step.current_to if step else stored.current if stored else None
    assert current is not None  # _unbuilt has seen to it
    return _Known(current, versions)


def _resolve(
    feature_set: FeatureSet, entry: FeatureRef, last: StoredSet | None, feature: _Known, upgrade: bool
) -> FeatureRef:
    """The entry with a MAJOR."""
    pin = entry.version
    if pin.major is None:
        kept = None if upgrade else _kept_major(entry, last)
        pin = Pin(kept if kept is not None else feature.current.major)
    found = newest(feature.versions, pin)
    if found is None:
        listed = ", ".join(map(str, feature.versions))
        raise _error(feature_set, f"{entry.name} has no version {pin}", f"versions of {entry.name}: {listed}")
    _check_names(feature_set, entry, found, feature)
    return replace(entry, version=pin)


def _kept_major(entry: FeatureRef, last: StoredSet | None) -> int | None:
    """The MAJOR an entry had: that of the same entry, else of the same feature if the set had it with one MAJOR."""
    members = [m for m in last.members if m.name == entry.name] if last else []
    same = [m for m in members if (m.keys, m.prefix) == (entry.keys, entry.prefix)]
    majors = {m.version.major for m in same or members}
    return majors.pop() if len(majors) == 1 else None


def _check_names(feature_set: FeatureSet, entry: FeatureRef, version: Version, feature: _Known) -> None:
    definition = feature.versions[version]
    for noun, wanted, present in (
        ("column", entry.columns, [c.name for c in definition.columns]),
        ("key", tuple(entry.keys), [k.name for k in definition.keys]),
    ):
        lower = {p.lower() for p in present}
        for name in wanted:
            if name.lower() not in lower:
                message = f"{entry.name}@{version.major}.{version.minor} has no {noun} {name!r}"
                raise _error(
                    feature_set, message, _elsewhere(entry, name, version, feature) or did_you_mean(name, present)
                )


def _elsewhere(entry: FeatureRef, column: str, version: Version, feature: _Known) -> str | None:
    """A hint if the current MAJOR has the column."""
    current = feature.current.major
    definition = feature.versions.get(newest(feature.versions, Pin(current)) or version)
    if current == version.major or definition is None or column not in {c.name for c in definition.columns}:
        return None
    return f"it came in MAJOR {current}: write {entry.name}@{current}, or run with --upgrade-sets"


def _reasons(last: StoredSet | None, members: tuple[FeatureRef, ...]) -> tuple[str, ...]:
    if last is None:
        return ("new feature set",)
    before, after = [written(m) for m in last.members], [written(m) for m in members]
    changes = [f"{entry} added" for entry in after if entry not in before]
    changes += [f"{entry} removed" for entry in before if entry not in after]
    return tuple(changes) or ("order of the entries changed",)


def _error(feature_set: FeatureSet, message: str, hint: str) -> ProjectError:
    where = Where(feature_set.file or FILE, feature_set.line)
    return ProjectError(f"feature set {feature_set.name}: {message}", where=where, hint=hint)
