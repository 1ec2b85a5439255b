"""What is asked for: references to features and feature sets, resolved to stored versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.errors import RetrievalError, UsageError, did_you_mean
from mlforge.model import FeatureRef, Version
from mlforge.plan.versions import resolve_pin, resolve_set, shared_name
from mlforge.project.ref_grammar import parse_pin, parse_ref
from mlforge.sql.bind import bind, member_version
from mlforge.sql.physical import Physical, member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlforge.model import CatalogState, StoredVersion
    from mlforge.sql.physical import Member


def FeatureSpec(  # noqa: N802 - a public name of the design; it reads as a class
    name: str,
    *,
    columns: Sequence[str] | None = None,
    version: str | None = None,
    keys: Mapping[str, str] | None = None,
    prefix: str = "",
) -> FeatureRef:
    """One feature of a training set, with what a text reference cannot say.

    ``keys`` maps the entity's key columns to label columns, ``prefix`` goes before every column's name, ``columns``
    None means all of them, ``version`` is a pin such as ``"2"`` or ``"2.1.3"``. Raises UsageError for a bad pin."""
    ref = parse_ref(name)
    pin = parse_pin(version) if version else ref.version
    return replace(ref, version=pin, columns=tuple(columns or ref.columns), keys=dict(keys or {}), prefix=prefix)


@dataclass(frozen=True)
class Request:
    """One feature of a training set: the reference, and the stored version that it means."""

    ref: FeatureRef
    stored: StoredVersion
    physical: Physical

    @property
    def shown(self) -> str:
        """``name@x.y.z[:columns]``, as datasets record it."""
        return str(replace(self.ref, version=_pin(self.stored.version)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The feature's columns that were asked for."""
        return self.ref.columns or tuple(o.name for o in self.physical.c.outputs)


def _pin(version: Version) -> object:
    from mlforge.model import Pin

    return Pin(version.major, version.minor, version.patch)


def resolve(state: CatalogState, features: str | FeatureRef | Iterable[str | FeatureRef]) -> list[Request]:
    """The requests that references mean; a name of a feature set stands for its members.

    Raises UsageError for unknown features, versions and columns, with the nearest word."""
    listed = [features] if isinstance(features, (str, FeatureRef)) else list(features)
    if not listed:
        raise UsageError("no feature is asked for", hint="name features, or a feature set")
    return [request for item in listed for request in _resolve(state, item)]


def _resolve(state: CatalogState, item: str | FeatureRef) -> list[Request]:
    if isinstance(item, str) and item.partition("@")[0] in state.feature_sets:
        return [_of_set(state, ref) for ref in resolve_set(state, item).members]
    ref = parse_ref(item) if isinstance(item, str) else item
    if ref.name not in state.features:
        known = [*state.features, *state.feature_sets]
        raise UsageError(f"the catalog has no feature {ref.name!r}", hint=did_you_mean(ref.name, known))
    stored = resolve_pin(state.features[ref.name], ref.version)
    return [_request(state, ref, stored)]


def _of_set(state: CatalogState, ref: FeatureRef) -> Request:
    return _request(state, ref, member_version(state.features[ref.name], ref))


def _request(state: CatalogState, ref: FeatureRef, stored: StoredVersion) -> Request:
    physical = bind(state, stored)
    known = {o.name.lower(): o.name for o in physical.c.outputs}
    for column in ref.columns:
        if column.lower() not in known:
            raise UsageError(f"{ref.name} has no column {column!r}", hint=did_you_mean(column, known.values()))
    for key in ref.keys:
        if key not in physical.keys and key not in physical.c.parts:
            raise UsageError(f"{ref.name} has no key {key!r}", hint=did_you_mean(key, physical.keys))
    chosen = tuple(known[c.lower()] for c in ref.columns)
    return Request(replace(ref, columns=chosen), stored, physical)


def named(requests: Sequence[Request], labels: Sequence[str], *, full_names: bool) -> list[tuple[str, ...]]:
    """For each request the names of its columns in the result.

    Raises RetrievalError for a name that two features, or a feature and a label column, share."""
    result = []
    for request in requests:
        lead = f"{request.ref.name}__" if full_names else ""
        result.append(tuple(request.ref.prefix + lead + c for c in request.columns))
    own = list({name.lower(): name for name in labels}.values())  # which may have a name twice
    given = [("the label rows", own), *((r.ref.name, names) for r, names in zip(requests, result, strict=True))]
    found = shared_name(given)
    if found:
        raise RetrievalError(
            found, hint="full_names=True gives feature__column; or give one of them a prefix, or name its columns"
        )
    return result


def members(
    requests: Sequence[Request], names: Sequence[tuple[str, ...]], key_sql: Callable[[str, str, str | None], str]
) -> list[Member]:
    """The parts of the query. ``key_sql`` says how a label column becomes a key: see ``member``."""
    from dataclasses import replace as change

    made = []
    for number, (request, shown) in enumerate(zip(requests, names, strict=True)):
        plain = member(number, request.physical, request.ref, key_sql)
        made.append(change(plain, columns=tuple(zip(request.columns, shown, strict=True))))
    return made
