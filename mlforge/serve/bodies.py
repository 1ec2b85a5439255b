"""What requests look like. msgspec decodes and checks them; what it says is put into the words of the API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from mlforge.errors import did_you_mean
from mlforge.project.ref_grammar import parse_pin, parse_ref
from mlforge.serve.refusals import Refused

if TYPE_CHECKING:
    from mlforge.model import FeatureRef

AT = "An instant in ISO 8601, UTC if it names no zone; without it, now."
ROWS = (
    "Keys, and request columns of on-demand features; what else stands here comes back as it is. What JSON lacks may be"
    ' written {"$date": "2024-03-01"}, and so $timestamp, $decimal and $uuid.'
)
COLUMNS = "The same as columns: name to list of values, all of one length."
Row = dict[str, Any]


class Reference(Struct, forbid_unknown_fields=True):
    """A feature with what only the long form can say."""

    feature: Annotated[str, Meta(description="name[@version][:col,col]")]
    version: str | None = None
    columns: list[str] = []
    keys: Annotated[dict[str, str], Meta(description="Key column of the entity to column of the entity rows.")] = {}
    prefix: Annotated[str, Meta(description="Text before each column name.", max_length=100)] = ""


Features = Annotated[
    str | list[str | Reference],
    Meta(description="A reference name[@version][:col,col], a feature set, or a list of them."),
]


class _Reading(Struct, forbid_unknown_fields=True, kw_only=True):
    at: Annotated[str | None, Meta(description=AT)] = None
    with_status: Annotated[bool, Meta(description="Give status, event time, version and step of each value.")] = False
    full_names: Annotated[bool, Meta(description="Name columns feature__column.")] = False


class SetRequest(_Reading, forbid_unknown_fields=True, kw_only=True):
    """Entity rows for which a feature set is wanted."""

    entity_rows: Annotated[list[Row], Meta(description=ROWS)]


class OnlineRequest(SetRequest, forbid_unknown_fields=True, kw_only=True):
    """Features and the entity rows for which they are wanted."""

    features: Features


class BatchRequest(_Reading, forbid_unknown_fields=True, kw_only=True):
    """Features for many entity rows, which may be given as columns and come back as columns."""

    features: Features
    entity_rows: Annotated[list[Row] | None, Meta(description=ROWS)] = None
    entity_columns: Annotated[dict[str, list[Any]] | None, Meta(description=COLUMNS)] = None
    columnar: Annotated[bool, Meta(description="Answer with columns in place of rows.")] = False

    def rows(self) -> list[Row]:
        """The entity rows. Raises Refused."""
        if (self.entity_rows is None) == (self.entity_columns is None):
            raise Refused(400, "bad_request", "give either entity_rows or entity_columns")
        if self.entity_columns is None:
            return self.entity_rows or []
        lengths = {name: len(values) for name, values in self.entity_columns.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name!r} has {n}" for name, n in list(lengths.items())[:5])
            raise Refused(400, "bad_request", f"columns of entity_columns have different lengths: {shown}")
        names = list(lengths)
        return [dict(zip(names, row, strict=True)) for row in zip(*self.entity_columns.values(), strict=True)]


Body = TypeVar("Body", bound=Struct)
_UNKNOWN = re.compile(r"^Object contains unknown field `(.*?)`( - at `(.*)`)?$", re.DOTALL)


def decoded(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    """The body as what it should be. Raises Refused."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _misfit(decoder, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = f"the body is not JSON: {error}" if body else "the body is empty"
        raise Refused(400, "bad_request", text, 'send {"entity_rows": [{...}], ...}') from error
    except RecursionError as error:
        raise too_deep() from error


def too_deep() -> Refused:
    """A body whose lists and objects stand in each other too often."""
    return Refused(400, "bad_request", "the body is nested too deeply")


def _misfit(decoder: msgspec.json.Decoder[Body], text: str) -> Refused:
    found = _UNKNOWN.match(text)
    if found is None:
        return Refused(400, "bad_request", f"the body does not fit: {text}", "/docs shows what it may hold")
    of = Reference if found[3] else cast("type[msgspec.Struct]", decoder.type)
    hint = did_you_mean(found[1], [field.name for field in msgspec.structs.fields(of)])
    return Refused(400, "bad_request", f"the body has an unknown field {found[1]!r}", hint)


def asked(features: str | list[str | Reference]) -> int:
    """How many features, and columns of them by name, a request asks for."""
    if isinstance(features, str):
        return features.count(",") + 1
    return sum(f.count(",") + 1 if isinstance(f, str) else f.feature.count(",") + len(f.columns) + 1 for f in features)


def referred(features: str | list[str | Reference]) -> str | list[str | FeatureRef]:
    """The features as the client takes them. Raises UsageError for what is no reference."""
    if isinstance(features, str):
        return features
    return [f if isinstance(f, str) else _ref(f) for f in features]


def _ref(given: Reference) -> FeatureRef:
    ref = parse_ref(given.feature)
    if given.version is not None:
        ref = msgspec.structs.replace(ref, version=parse_pin(given.version))
    columns = tuple(given.columns) or ref.columns
    return msgspec.structs.replace(ref, columns=columns, keys=given.keys, prefix=given.prefix)
