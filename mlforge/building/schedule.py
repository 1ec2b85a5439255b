"""Which listed features are on a schedule, by the tags that their files have now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlforge.building.candidates import render_each
from mlforge.errors import UsageError
from mlforge.plan.selectors import on_schedule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlforge.model import Project


def scheduled(
    what: str, rows: list[dict[str, Any]], project: Project | None, schedule: Iterable[str]
) -> list[dict[str, Any]]:
    """Of the rows of a listing those of features that a build with this schedule would select; what the project has
    not goes by the tags that the catalog knows. Raises UsageError for an unknown word, and if not features are listed.
    """
    if what != "features":
        raise UsageError("only features have a schedule", hint="mlforge list features --schedule daily")
    now = render_each(project)[0].rendered if project else {}
    tags = {r["feature"]: now[r["feature"]].config.tags if r["feature"] in now else r.get("tags") or () for r in rows}
    chosen = on_schedule(tags, schedule)
    return [row for row in rows if row["feature"] in chosen]
