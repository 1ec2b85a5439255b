"""What the records of the log folder look like: what mlforge reads of them, typed. A record may hold more."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Number = Annotated[str, Meta(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}$")]
Named = Annotated[str, Meta(pattern=r"^[^@:]+@[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(:[\s\S]*)?$")]
"""``name@x.y.z``, and columns of it."""


class Record(Struct, frozen=True, kw_only=True):
    """What every record has."""

    id: Annotated[str, Meta(min_length=1)]
    created_at: datetime.datetime


class Reference(Struct, frozen=True, kw_only=True):
    """One reference of a training set, with the version that was read."""

    feature: str
    version: Number
    columns: list[str]
    keys: dict[str, str]
    prefix: str


class Labels(Struct, frozen=True, kw_only=True):
    """Where label rows came from."""

    kind: str
    text: str | None = None
    digest: str | None = None
    content_hash: str | None = None


class Dataset(Record, frozen=True, kw_only=True):
    """A training set."""

    features: list[Named]
    references: list[Reference]
    labels: Labels
    label_time: str | None
    keys: list[str]
    columns: list[str]
    rows: Count
    content_hash: str
    duckdb: str | None = None  # its version; the first catalogs do not say it
    full_names: bool = False
    known_as_of: str | None = None
    ignore_loaded_at: bool = False


class Publish(Record, frozen=True, kw_only=True):
    """A publish that is done, or that began."""

    kind: str
    store: str
    namespace: str
    generation: Count
    features: list[Named]


class Verified(Struct, frozen=True, kw_only=True):
    """One feature of a verification."""

    feature: str
    version: str


class Verification(Record, frozen=True, kw_only=True):
    """A verification, of retrieval or of an online store."""

    status: str
    features: list[Verified]
    sample: Count
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    known_as_of: str | None
    values: Count
    mismatched: Count


SHAPES: dict[str, type[Record]] = {
    "dataset": Dataset,
    "publish": Publish,
    "showing": Publish,
    "verification": Verification,
}


def typed(kind: str, record: Any) -> Any:
    """The record as its type. Raises msgspec.ValidationError, which says what does not fit."""
    return msgspec.convert(record, SHAPES[kind])
