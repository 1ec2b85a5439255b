"""Reads sections of mlforge.yaml by the table of settings: known keys, types, required keys, variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlforge.errors import ProjectError, did_you_mean
from mlforge.project.ref_grammar import NAME
from mlforge.project.settings import SECTIONS
from mlforge.project.sqltype import HINT, is_type
from mlforge.project.yamldoc import Value, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlforge.errors import Where
    from mlforge.project.environ import Environ
    from mlforge.project.settings import Setting, Type


class Reader:
    """Checks and converts YAML values. Variables are replaced only in what is read."""

    def __init__(self, environ: Environ, sections: Mapping[str, tuple[Setting, ...]] = SECTIONS) -> None:
        self.environ = environ
        self.sections = sections

    def section(self, name: str, value: Value, what: str) -> dict[str, Any]:
        """The settings of one section, with defaults; maps, lists and sections stay ``Value``.

        Raises ProjectError, with the line, for unknown and missing keys and wrong types."""
        known = {s.name: s for s in self.sections[name]}
        data = mapping(value, what)
        refuse_unknown(value, known, what)
        for setting in known.values():
            if setting.required and data.get(setting.name, _EMPTY).data is None:
                raise ProjectError(f"{what} has no {setting.name!r}", where=value.where, hint=setting.help)
        return {n: self._setting(s, data[n], what) if n in data else s.default for n, s in known.items()}

    def convert(self, kind: Type, value: Value, what: str) -> Any:
        """A value of one of the table's types. An empty value is None."""
        if value.data is None:
            return None
        if kind in ("map", "list", "section"):
            return value
        return getattr(self, f"_{kind}")(value, what)

    def plain(self, value: Value) -> Any:
        """Any value as ordinary Python data, variables replaced."""
        if isinstance(value.data, dict):
            return {k: self.plain(v) for k, v in value.data.items()}
        if isinstance(value.data, list):
            return [self.plain(v) for v in value.data]
        return self.environ.interpolate(value.data, value.where) if isinstance(value.data, str) else value.data

    def _setting(self, setting: Setting, value: Value, what: str) -> Any:
        name = f"{setting.name!r} of {what}"
        found = self.convert(setting.type, value, name)
        if found is None:
            return setting.default
        if setting.choices and found not in setting.choices:
            hint = did_you_mean(found, setting.choices)
            raise ProjectError(f"{name} cannot be {found!r}", where=value.where, hint=hint)
        if setting.minimum is not None and found < setting.minimum:
            raise ProjectError(f"{name} must be at least {setting.minimum}", where=value.where)
        return found

    def _text(self, value: Value, what: str) -> str:
        if not isinstance(value.data, str):
            hint = None if isinstance(value.data, (list, dict)) else "put it in quotes"
            raise ProjectError(f"{what} must be text, not {value.kind}", where=value.where, hint=hint)
        text = self.environ.interpolate(value.data, value.where)
        if not text.strip():
            raise ProjectError(f"{what} is empty", where=value.where)
        return text

    def _integer(self, value: Value, what: str) -> int:
        found = self.plain(value)
        if isinstance(value.data, str) and found != value.data:  # a variable is always text
            found = int(found) if found.strip().lstrip("-").isdecimal() else found
        if isinstance(found, bool) or not isinstance(found, int):
            kind = "text that is not a number" if isinstance(found, str) else kind_of(found)
            hint = "write a whole number, without quotes"
            raise ProjectError(f"{what} must be a whole number, not {kind}", where=value.where, hint=hint)
        return found

    def _boolean(self, value: Value, what: str) -> bool:
        found = self.plain(value)
        if isinstance(value.data, str) and found != value.data:
            found = {"true": True, "false": False}.get(found.strip().lower(), found)
        if not isinstance(found, bool):
            raise ProjectError(f"{what} must be true or false, not {kind_of(found)}", where=value.where)
        return found

    def _names(self, value: Value, what: str) -> tuple[str, ...]:
        values = value.data if isinstance(value.data, list) else [value]
        found = tuple(self._text(v, f"an entry of {what}" if v is not value else what) for v in values)
        if not found:
            raise ProjectError(f"{what} is an empty list", where=value.where)
        return found

    def _version(self, value: Value, what: str) -> str:
        if isinstance(value.data, float):  # 2.10 would have become 2.1
            raise ProjectError(f"{what} must be text, not a number", where=value.where, hint="put it in quotes")
        return str(value.data) if type(value.data) is int else self._text(value, what)

    def _object(self, value: Value, what: str) -> Any:
        mapping(value, what)
        return self.plain(value)

    def _texts(self, value: Value, what: str) -> dict[str, str]:
        return {k: self._text(v, f"{k!r} of {what}") for k, v in mapping(value, what).items()}

    def _types(self, value: Value, what: str) -> dict[str, str]:
        found = self._texts(value, what)
        for name, text in found.items():
            if not is_type(text):
                raise ProjectError(f"{name!r} of {what} is no type: {text!r}", where=value.data[name].where, hint=HINT)
        return found


_EMPTY = Value(data=None, where=None)  # type: ignore[arg-type]


def mapping(value: Value, what: str) -> dict[str, Value]:
    """The entries of a mapping. Raises ProjectError for anything else."""
    if not isinstance(value.data, dict):
        raise ProjectError(f"{what} must be a mapping, not {value.kind}", where=value.where)
    return value.data


def refuse_unknown(value: Value, known: Iterable[str], what: str) -> None:
    """Raise ProjectError, with the line and the nearest word, for a key that is not known."""
    known = list(known)
    for key, where in value.keys.items():
        if key not in known:
            raise ProjectError(f"{what} has no setting {key!r}", where=where, hint=did_you_mean(key, known))


def named(value: Value | None, what: str) -> dict[str, Value]:
    """The entries of a map of named things. Raises ProjectError for a bad name or one that differs only in case."""
    if value is None:
        return {}
    entries = mapping(value, f"'{what}'")
    seen: dict[str, str] = {}
    for name in entries:
        check_name(name, value.keys[name])
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ProjectError(f"{other!r} and {name!r} differ only in case", where=value.keys[name])
    return entries


def check_name(name: str, where: Where) -> None:
    """Raise ProjectError for what cannot be the name of a source, an entity, a set or a key column."""
    if not NAME.fullmatch(name):
        hint = "use letters, digits and _, beginning with a letter"
        raise ProjectError(f"{name!r} cannot be a name", where=where, hint=hint)
    if name.lower().startswith("_mlforge"):
        raise ProjectError(f"{name!r} cannot be a name: _mlforge is reserved", where=where)
