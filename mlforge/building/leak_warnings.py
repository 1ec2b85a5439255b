"""What a build says of rows that hold what was not known at their time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlforge.building.materialise import forget
from mlforge.errors import LeakageError
from mlforge.model import SOURCE_SCHEMA
from mlforge.proof.relations import NEVER
from mlforge.proof.seen_joins import micros_of
from mlforge.render.parse import parse
from mlforge.render.stamps import timestamp_place
from mlforge.sql.templates import sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlforge.building.candidates import Analysed
    from mlforge.building.work import Work

_RELATION = "_mlforge_accused"
_MOST = 5  # rows that are shown
_LONGEST = 60  # letters of a value


def leakage(work: Work, found: Analysed) -> LeakageError:
    """The error for the event rows that were made last: how many leak, the first ones, and the source rows that they
    hold too early."""
    checked, con = work.runner.checked, work.runner.con
    assert checked is not None  # the check that failed was of these rows
    keys = [k.name for k in found.candidate.compiled.keys]
    forget(con, _RELATION)
    con.execute(
        sql(
            "feature/events_view",
            name=_RELATION,
            materialise=False,
            timestamp_type=checked.timestamp_type,
            format=checked.format,
            event_sql=checked.query,
            seen="keep",
        )
    )
    accused = con.execute(
        sql("proof/accused", relation=_RELATION, keys=keys, delay=checked.delay, never=NEVER, most=_MOST)
    ).fetchall()
    rows = []
    for *values, _, stamp, seen, _ in accused:
        shown = ", ".join(f"{k}={_text(v)}" for k, v in zip(keys, values, strict=True))
        known = f"known at {seen}" if seen else "made of a row without a time, so never known"
        rows.append(f"  {shown}: stamped {stamp}, {known}")
    first = dict(zip(keys, accused[0], strict=False)) if accused else {}
    later = _later(work, found, accused[0][len(keys)], first) if accused else []
    count = accused[0][-1] if accused else 0
    name, config = found.candidate.definition.feature, found.candidate.config
    said = f", {config.delay or checked.delay} of delay included" if checked.delay.micros else ""
    one = "1 row holds" if count == 1 else f"{count:,} rows hold"
    message = f"{name}: {one} what was not known at the row's time{said}"
    return LeakageError(
        "\n".join([message, *rows, *later]),
        where=timestamp_place(parse(work.analysis.rendered[name])),
        hint="let the SQL use no row that is later than the row's own time (b.t <= a.t), or stamp a time at which all "
        "that a row is made of is known, or state how long that takes, config(delay=...); if rows do not change after "
        "their time, state config(assume_final=true)",
    )


def _later(work: Work, found: Analysed, at: int, key: Mapping[str, object]) -> list[str]:
    """The source rows, and values of columns with an instant of their own, that are known at an instant: those that a
    leaking row holds too early, of its key, if the source has such columns and rows."""
    lines: list[str] = []
    for (schema, name), relation in found.compilation.verdict.known.items():
        if schema != SOURCE_SCHEMA or relation.time is None:
            continue
        columns = list(relation.columns)
        own = {c: key[k] for c in columns for k in key if c.lower() == k.lower()}
        instants = {f"row of {name}": relation.seen("_mlforge_s")}
        instants |= {f"value of {name}.{c}": micros_of(known) for c, known in relation.known.items()}
        for what, seen in instants.items():
            context = {"schema": schema, "name": name, "columns": columns, "seen": seen, "at": at}
            rows: list[tuple[object, ...]] = []
            for same in (own, {}):
                query = sql("proof/later_rows", same=same, most=_MOST - len(lines), **context)
                rows = rows or work.runner.con.execute(query, list(same.values())).fetchall()
            for values in rows:
                shown = ", ".join(f"{c}={_text(v)}" for c, v in zip(columns, values, strict=True))
                lines.append(f"  later {what}: {shown}")
    return lines


def _text(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
