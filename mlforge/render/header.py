"""``config(...)``: its keys and types, and what excludes what."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args

from mlforge.errors import FeatureError, did_you_mean, nearest
from mlforge.model import Doubt, Duration, FeatureConfig
from mlforge.project.sqltype import HINT, is_type
from mlforge.render.validators import to_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def _fail(key: str, wanted: str, value: Any, hint: str | None = None) -> FeatureError:
    shown = f"a {type(value).__name__}"
    with suppress(Exception):  # an object of the user's own class
        shown = repr(value)
    return FeatureError(f"{key} must be {wanted}, not {shown}", hint=hint)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _fail(key, "a text", value)
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _fail(key, "true or false", value, "write it without quotes")
    return value


def _entity(key: str, value: Any) -> str:
    if isinstance(value, (list, tuple)):
        hint = "for a key of several columns, define one entity with that key in mlforge.yaml"
        raise _fail(key, "exactly one name", value, hint)
    return _text(key, value)


def _closed(key: str, value: Any) -> str:
    if value not in ("left", "right"):
        raise _fail(key, "'left' or 'right'", value)
    return str(value)


def _duration(key: str, value: Any) -> Duration:
    if not isinstance(value, str):
        raise _fail(key, "a duration", value, "write a number and a unit in quotes, as in '7d'")
    try:
        return Duration.parse(value)
    except ValueError as error:
        raise FeatureError(f"{key}: {error}") from None


def _positive(key: str, value: Any) -> Duration:
    duration = _duration(key, value)
    if not duration.n:
        raise _fail(key, "longer than nothing", value)
    return duration


def _fixed(key: str, value: Any) -> Duration:
    duration = _duration(key, value)
    if duration.months:
        days = f"{duration.months // 12 * 365 + duration.months % 12 * 30}d"
        hint = f'months differ in length: write whole days, as in {key}="{days}"'
        raise _fail(key, "a fixed length of s, m, h, d or w", value, hint)
    return duration


def _timezone(key: str, value: Any) -> str:
    from pytz import all_timezones_set  # DuckDB needs pytz anyway; zoneinfo finds nothing on machines without tzdata

    name = _text(key, value)
    if name not in all_timezones_set:
        near = nearest(name, all_timezones_set)
        hint = f"did you mean {near!r}?" if near else "write an IANA name, as in 'Europe/Berlin'"
        raise FeatureError(f"{key}: there is no time zone {name!r}", hint=hint)
    return name


def _texts(key: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise _fail(key, 'texts by name, as in {"column": "..."}', value)
    return value


def _types(key: str, value: Any) -> dict[str, str]:
    for name, text in _texts(key, value).items():
        if not is_type(text):
            raise FeatureError(f"the type of {name!r} in {key} is no type: {text!r}", hint=HINT)
    return value  # type: ignore[no-any-return]


def _tags(key: str, value: Any) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) and v.strip() for v in values):
        raise _fail(key, "a list of texts", value)
    return tuple(dict.fromkeys(values))


def _plausible(key: str, value: Any) -> tuple[str, ...]:
    known = get_args(Doubt)
    names = _tags(key, value)
    for name in names:
        if name not in known:
            raise FeatureError(f"{key}: there is no doubt {name!r}", hint=did_you_mean(name, known))
    return names


def _validators(key: str, value: Any) -> Any:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _fail(key, 'validators by column, as in {"amount": [not_null()]}', value)
    return value


def _incremental(key: str, value: Any) -> str:
    if value not in ("auto", "by_key", "never"):
        hint = "auto: by time where each row stands for itself; by_key: all rows of the keys that changed; never"
        raise _fail(key, "'auto', 'by_key' or 'never'", value, hint)
    return str(value)


CONFIG: dict[str, Callable[[str, Any], Any]] = {  # every key, and how its value is read
    "entity": _entity,
    "timestamp": _text,
    "timestamp_format": _text,
    "closed": _closed,
    "delay": _fixed,
    "ttl": _positive,
    "interval": _positive,
    "timezone": _timezone,
    "description": _text,
    "columns": _texts,
    "tags": _tags,
    "owner": _text,
    "max_age": _positive,
    "validators": _validators,
    "contract": _flag,
    "on_demand": _flag,
    "request": _types,
    "allow_lookahead": _flag,
    "assume_final": _flag,
    "plausible": _plausible,
    "lookback": _positive,
    "incremental": _incremental,
}
_LATER = ("online",)
_TIMED = ("timestamp_format", "closed", "delay", "ttl", "interval", "timezone", "lookback", "plausible")


def read(
    given: Mapping[str, Any], entities: Iterable[str], at: Callable[[str], None], file: str = "mlforge.yaml"
) -> FeatureConfig:
    """The configuration that ``config(**given)`` states. Raises FeatureError for anything unknown or contradictory.

    ``at`` is told each key before it is looked at, so that the error can be given that key's line. ``file``: where the
    entities are stated."""
    for key in given:
        at(key)
        _known(key)
    if "entity" not in given:
        at("")
        raise FeatureError("config() has no entity", hint='name what it describes: entity="user"')
    values: dict[str, Any] = {}
    for key, value in given.items():
        at(key)
        if value is not None:
            values[key] = CONFIG[key](key, value)
    values["validators"] = to_checks(values.get("validators", {}), lambda name: at(f"validators[{name}]"))
    at("entity")
    _known_entity(values.get("entity"), list(entities), file)
    _consistent(values, at)
    return FeatureConfig(**values)


def _known(key: str) -> None:
    if key in _LATER:
        raise FeatureError(f"config key {key!r} is not supported by this version yet", hint="leave it out")
    if key not in CONFIG:
        raise FeatureError(f"config has no key {key!r}", hint=did_you_mean(key, CONFIG))


def _known_entity(name: str | None, entities: list[str], file: str) -> None:
    if name not in entities:
        hint = did_you_mean(name or "", entities) if entities else f"add it to 'entities' in {file}"
        raise FeatureError(f"there is no entity {name!r} in {file}", hint=hint)


def _consistent(values: dict[str, Any], at: Callable[[str], None]) -> None:
    on_demand = values.get("on_demand", False)
    for key in ("timestamp", *_TIMED) if on_demand else ():
        if key in values:
            at(key)
            raise FeatureError(f"{key} does not go with on_demand", hint="it is read at the label's key and time")
    if "max_age" in values and on_demand:
        at("max_age")
        raise FeatureError("max_age does not go with on_demand", hint="it stores no rows; give it to what it reads")
    if "request" in values and not on_demand:
        at("request")
        raise FeatureError("request needs on_demand=true")
    for key in _TIMED if "timestamp" not in values else ():
        if key in values:
            at(key)
            raise FeatureError(f"{key} needs a timestamp", hint='name its column: timestamp="event_time"')
    if "timezone" in values:
        at("timezone")
        _zone_needs_days(values.get("interval"))


def _zone_needs_days(interval: Duration | None) -> None:
    if interval is None:
        raise FeatureError("timezone needs an interval", hint="it moves the interval's boundaries to local midnight")
    if interval.micros is not None and interval.micros % Duration(1, "d").micros:  # type: ignore[operator]
        raise FeatureError(f"timezone needs an interval of whole days or longer, not {interval}")
