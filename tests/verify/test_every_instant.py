"""verify --all on random rows: it counts exactly the labels at which the SQL over what was known then gives another value,
as plain SQL run at every instant finds them."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import duckdb
import pytest

from mlforge.duration import Duration
from mlforge.verify.result import VerifyOptions
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
name: every
sources:
  now: {path: data/now.parquet, timestamp: t}
  slow: {path: data/slow.parquet, timestamp: t, delay: 36h}
  days: {path: data/days.parquet, timestamp: t}
entities:
  user: {key: k}
"""
DELAYS = {"now": "0s", "slow": "36h", "days": "1d"}
STAMPS = {
    "its time": "t",
    "an hour later": "t + INTERVAL 1 HOUR",
    "the day's end": "date_trunc('day', t) + INTERVAL 1 DAY",
}
FORMS = {
    "rows": "SELECT k, {s} AS s, n FROM {src}",
    "latest": "SELECT k, {s} AS s, n FROM {src} QUALIFY row_number() OVER (PARTITION BY k ORDER BY t DESC, n) = 1",
    "first": "SELECT k, {s} AS s, n FROM {src} QUALIFY row_number() OVER (PARTITION BY k ORDER BY t, n) = 1",
    "lag": "SELECT k, {s} AS s, n - lag(n) OVER (PARTITION BY k ORDER BY t, n) AS n FROM {src}",
    "lead": "SELECT k, {s} AS s, lead(n) OVER (PARTITION BY k ORDER BY t, n) AS n FROM {src}",
    "sums": "SELECT k, {s} AS s, SUM(n)::BIGINT AS n FROM {src} GROUP BY ALL",
    "share": "SELECT k, {s} AS s, n - SUM(n) OVER (PARTITION BY k)::BIGINT AS n FROM {src}",
    "rank": "SELECT k, {s} AS s, rank() OVER (ORDER BY n DESC) AS n FROM {src}",
    "none later": "SELECT k, {s} AS s, n FROM {src} a WHERE NOT EXISTS (SELECT 1 FROM {src} b WHERE b.k = a.k AND b.n > a.n)",
    "above": "SELECT k, {s} AS s, n FROM {src} WHERE n >= (SELECT avg(n) FROM {src})",
    "last": "SELECT k, MAX({s}) AS s, SUM(n)::BIGINT AS n FROM {src} GROUP BY k",
    "few": "SELECT k, MIN({s}) AS s, SUM(n)::BIGINT AS n FROM {src} GROUP BY k HAVING count(*) < 3",
}
CASES = list(itertools.product(FORMS, STAMPS, DELAYS, ("0s", "36h")))


def rows(dice: random.Random) -> str:
    """Rows of three users within four days, some at one instant, of numbers that are all different."""
    numbers = dice.sample(range(1, 30), 7)
    values = [f"({dice.choice((1, 1, 2, 3))}, {dice.randrange(0, 96, 6)}, {n})" for n in numbers]
    return (
        f"SELECT k::BIGINT AS k, TIMESTAMP '2024-01-01' + to_hours(h) AS t, n::BIGINT AS n "
        f"FROM (VALUES {', '.join(values)}) v(k, h, n)"
    )


def differing(con: duckdb.DuckDBPyConnection, query: str, source: str, delay: int) -> tuple[int, int]:
    """How many labels there are, of every key and instant, and at how many of them the rows known then give another value
    than all rows. ``query`` reads ``{src}``; in microseconds."""
    known = f"(epoch_us(t::TIMESTAMP) + {Duration.parse(DELAYS[source]).micros})"
    stamp = f"(epoch_us(s::TIMESTAMP) + {delay})"
    whole = query.replace("{src}", source)
    then = query.replace("{src}", f"(SELECT * FROM {source} WHERE {known} <= getvariable('now'))")
    found = con.execute(f"SELECT {known} FROM {source} UNION SELECT {stamp} FROM ({whole})").fetchall()
    at = sorted(t for (t,) in found)
    labels = {*at, *(t - 1 for t in at[1:]), at[-1] + 1}
    keys = con.execute(f"SELECT count(DISTINCT k) FROM {source}").fetchall()[0][0]
    differ = 0
    for label in labels:
        con.execute(f"SET VARIABLE now = {label}")
        seen = [
            dict(
                con.execute(
                    f"SELECT k, n FROM ({text}) WHERE {stamp} <= {label} "
                    f"QUALIFY row_number() OVER (PARTITION BY k ORDER BY s DESC, n DESC NULLS LAST) = 1"
                ).fetchall()
            )
            for text in (then, whole)
        ]
        differ += sum(seen[0].get(k) != seen[1].get(k) for k in {*seen[0], *seen[1]})
    return keys * len(labels), differ


@pytest.mark.parametrize("draw", range(2))
def test_all_counts_what_plain_recomputation_finds(draw: int, tmp_path: Path) -> None:
    dice = random.Random(draw)
    project = Small(tmp_path, CONFIG)
    with duckdb.connect() as con:
        for source in DELAYS:
            query = rows(dice)
            if source == "days":
                query = f"SELECT k, t::DATE AS t, n FROM ({query})"
            path = project.write(f"data/{source}.parquet", query)
            con.execute(f"CREATE TABLE {source} AS FROM '{path}'")
        wanted = {}
        for number, (form, stamp, source, delay) in enumerate(dice.sample(CASES, 12)):
            text = FORMS[form].format(s=STAMPS[stamp], src="{src}")
            name = f"f{number}"
            wanted[name] = (
                form,
                stamp,
                source,
                delay,
                *differing(con, text, source, Duration.parse(delay).micros or 0),
            )
            head = f'{{{{ config(entity="user", timestamp="s", delay="{delay}", allow_lookahead=true) }}}} '
            project.feature(name, head + text.replace("{src}", f'{{{{ source("{source}") }}}}'))
    project.good()
    found = project.forge.verify(options=VerifyOptions(all=True))
    counted = {f.feature: (*wanted[f.feature][:4], f.labels, f.mismatched) for f in found.features}
    assert counted == wanted
    leaks = [f for f in found.features if f.mismatched]
    assert [f.status for f in leaks] == ["failed"] * len(leaks)
    assert 0 < len(leaks) < len(wanted)
    assert {f.status for f in found.features if not f.mismatched} == {"passed"}
