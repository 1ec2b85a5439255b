"""Features stated in Python: their configuration, and the way from lines of their text to lines of the user's file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.errors import FeatureError, Where
from mlforge.model import LineMap
from mlforge.render import header

if TYPE_CHECKING:
    from mlforge.model import FeatureConfig, FeatureFile, Project, Rendered, Stated


def read(feature: FeatureFile, stated: Stated, project: Project) -> FeatureConfig:
    """The configuration that the decorator states. Raises FeatureError at the line of the argument."""
    argument = ""

    def at(key: str) -> None:
        nonlocal argument
        argument = key

    try:
        return header.read(stated.config, project.entities, at, project.file)
    except FeatureError as error:
        where = Where(feature.path, stated.arguments.get(argument, stated.line))
        raise FeatureError(error.message.replace("config()", "feature()"), hint=error.hint, where=where) from None


def moved(rendered: Rendered, stated: Stated) -> Rendered:
    """Rendered SQL whose line map leads to the user's file."""
    places = rendered.lines.lines
    lines = tuple((file, _line(n, stated) if file == rendered.path else n) for file, n in places)
    return replace(rendered, lines=LineMap(lines))


def moved_error(error: FeatureError, feature: FeatureFile, stated: Stated) -> FeatureError:
    """An error of the text, at the user's line."""
    where = error.where
    if where is None or where.file != feature.path:
        return error
    return type(error)(error.message, hint=error.hint, where=Where(feature.path, _line(where.line or 1, stated)))


def _line(line: int, stated: Stated) -> int:
    return stated.lines[min(line, len(stated.lines)) - 1]
