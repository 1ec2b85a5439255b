"""Leaks that are planted: verify passes before, and afterwards names label, feature, column, values and rows."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from mlforge.retrieve import binary_search
from tests.verify.planting import planted, tamper

if TYPE_CHECKING:
    from mlforge.verify.result import Mismatch, Verification
    from tests.small import Small

LABELS = "SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-10 12:00' AS label_time"
AT = dt.datetime(2024, 1, 10, 12)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
N = 9 * 24 + 12  # the amount of the event at AT

SPEND = """{{ config(entity="user", timestamp="t") }}
SELECT k, t, n AS last_n, SUM(n) OVER last_3h AS s FROM {{ source("ev") }}"""
ROWS = """{{ config(entity="user", timestamp="t") }}
SELECT k, t, n FROM {{ source("ev") }}"""
LEFT_ROWS = ROWS.replace('timestamp="t"', 'timestamp="t", closed="left"')
DAILY = """{{ config(entity="user", timestamp="t", interval="1d") }}
SELECT k, t, SUM(n) OVER last_1d AS s FROM {{ source("ev") }}"""
SLOW = SPEND.replace('timestamp="t"', 'timestamp="t", delay="2h"')
SLOW_ROWS = ROWS.replace('timestamp="t"', 'timestamp="t", delay="2h"')
SLOW_DAILY = DAILY.replace('timestamp="t"', 'timestamp="t", delay="2h"')


def verified(project: Small, labels: Any = LABELS, name: str = "f") -> Verification:
    return project.forge.verify([name], labels)


def honest(project: Small, text: str) -> None:
    """The feature is built, and passes, with labels given and with its own."""
    project.feature("f", text)
    project.good()
    for labels in (LABELS, None):
        found = verified(project, labels)
        assert found.status == "passed", found
        assert found.values > 0


def caught(project: Small, column: str = "s") -> Mismatch:
    """The one mismatch of the label, of a feature that fails also by its own rows."""
    assert verified(project, None).failed
    found = verified(project)
    assert found.failed
    (mismatch,) = [m for m in found.mismatches if m.column == column]
    assert (mismatch.feature, mismatch.version, mismatch.label) == ("f", "1.0.0", {"k": 1})
    return mismatch


def times(mismatch: Mismatch) -> list[dt.datetime]:
    return sorted(row["t"] for row in mismatch.rows)


def by_sql(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retrieval by SQL alone, whatever is installed."""
    monkeypatch.setattr(binary_search, "available", lambda: False)


def test_snapshots_that_are_labelled_one_interval_too_early(project: Small) -> None:
    honest(project, DAILY)
    tamper(project.catalog, f"UPDATE store.f__1_0 SET _mlforge_t = _mlforge_t - {86_400_000_000}")
    found = caught(project)
    assert found.reason == "it is the value of the interval after"
    assert found.retrieved - found.recomputed == 24 * 24
    assert found.until == dt.datetime(2024, 1, 10)
    assert times(found) == [dt.datetime(2024, 1, 10, h) for h in (19, 20, 21, 22, 23)]  # the newest of the day


def test_snapshots_that_are_labelled_one_interval_too_late(project: Small) -> None:
    honest(project, DAILY)
    tamper(project.catalog, f"UPDATE store.f__1_0 SET _mlforge_t = _mlforge_t + {86_400_000_000}")
    found = caught(project)
    assert found.reason == "it is the value of the interval before"


@pytest.mark.parametrize("text", [LEFT_ROWS, ROWS], ids=["left", "right"])
def test_an_as_of_join_that_is_turned(project: Small, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    by_sql(monkeypatch)
    honest(project, text)
    turned = 'p._mlforge_o {{ ">=" if f.c.closed == "left" else ">" }} s._mlforge_t'
    with planted("lib/cores", 'p._mlforge_o {{ ">" if f.c.closed == "left" else ">=" }} s._mlforge_t', turned):
        found = caught(project, "n")
    if text is LEFT_ROWS:
        assert found.reason == 'an as-of comparison is turned: it is the value of closed="right"'
        assert (found.retrieved, found.recomputed) == (N, N - 1)
        assert times(found) == [AT]
    else:
        assert found.reason == 'an as-of comparison is turned: it is the value of closed="left"'
        assert (found.retrieved, found.recomputed) == (N - 1, N)
    assert verified(project).passed


def test_a_binary_search_that_is_turned(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    honest(project, LEFT_ROWS)
    search = np.searchsorted

    def turned(*given: Any) -> Any:
        return search(*given[:2], "right") if given[2:] == ("left",) else search(*given)

    monkeypatch.setattr(np, "searchsorted", turned)
    found = caught(project, "n")
    assert (found.retrieved, found.recomputed, times(found)) == (N, N - 1, [AT])


def test_a_window_that_takes_the_row_at_the_label_time(project: Small) -> None:
    honest(project, SPEND)
    with planted("lib/cores", '"1 PRECEDING" if f.c.closed == "left"', '"CURRENT ROW" if f.c.closed == "left"'):
        found = caught(project)
        assert found.reason == 'an as-of comparison is turned: it is the value of closed="right"' or found.rows
    assert AT in times(found)
    assert found.retrieved == found.recomputed + N


def test_a_window_that_reaches_past_the_label_time(project: Small) -> None:
    honest(project, SPEND)
    with planted("lib/cores", '"1 PRECEDING" if', '"4000000000000000000 FOLLOWING" if'):
        found = caught(project)
    assert found.reason == "its window does not end at the label's time"
    assert found.recomputed == sum(range(N - 3, N))
    assert found.retrieved == sum(range(N - 3, 24 * 20))
    assert max(times(found)) > AT


def test_a_window_that_reaches_a_little_past_the_label_time_shows_the_rows_after_it(project: Small) -> None:
    honest(project, SPEND)
    with planted("lib/cores", '"1 PRECEDING" if', '"5400000000 FOLLOWING" if'):
        found = caught(project)
    assert found.reason is None
    assert found.retrieved == found.recomputed + N + N + 1
    assert times(found)[:2] == [AT, AT + HOUR]
    assert [row["t"] for row in found.inside] == [AT - HOUR, AT - 2 * HOUR, AT - 3 * HOUR, AT - 4 * HOUR, AT - 5 * HOUR]


@pytest.mark.parametrize(("text", "column"), [(SLOW, "s"), (SLOW_ROWS, "n")], ids=["windows", "rows"])
def test_a_delay_that_retrieval_ignores(
    project: Small, monkeypatch: pytest.MonkeyPatch, text: str, column: str
) -> None:
    by_sql(monkeypatch)
    honest(project, text)
    with planted("lib/cores", "{% if f.c.delay.n == 0 %}", "{% if true %}"):
        found = caught(project, column)
    assert found.reason == "the delay is ignored"
    assert found.until == AT - 2 * HOUR
    assert times(found)[-1] == (AT if column == "n" else AT - HOUR)
    assert all(t >= AT - 2 * HOUR for t in times(found))


def test_a_delay_that_the_build_of_snapshots_ignores(project: Small) -> None:
    honest(project, SLOW_DAILY)
    tamper(
        project.catalog,
        'UPDATE mlforge.versions SET compiled = replace(compiled, \'"delay":{"n":2\', \'"delay":{"n":0\')',
    )
    assert verified(project).passed  # snapshots hold the delay already
    project.feature("g", DAILY)
    project.good("g")
    tamper(project.catalog, "DELETE FROM store.f__1_0; INSERT INTO store.f__1_0 BY NAME FROM store.g__1_0")
    found = caught(project)
    assert found.reason == "the delay is ignored"
    assert found.until == dt.datetime(2024, 1, 9, 22)
    assert times(found) == [dt.datetime(2024, 1, 9, 22), dt.datetime(2024, 1, 9, 23)]


@pytest.mark.parametrize("leak", [False, True])
def test_a_join_without_time(project: Small, leak: bool) -> None:
    join = "LEFT JOIN (SELECT k, max(price) AS price FROM {{ source('price') }} GROUP BY k) p ON e.k = p.k"
    asof = "ASOF LEFT JOIN {{ source('price') }} p ON e.k = p.k AND e.t >= p.t"
    head = '{{ config(entity="user", timestamp="t") }} '
    select = 'SELECT e.k, e.t, MAX(p.price) OVER last_3h AS s FROM {{ source("ev") }} e '
    if not leak:
        honest(project, head + select + asof)
        return
    project.feature("f", head.replace('"t")', '"t", allow_lookahead=true)') + select + join)
    project.good()
    found = caught(project)
    assert found.reason == "rows of source price that lie after the label's time have a part in it"
    assert (found.retrieved, found.recomputed) == (114.0, 54.0)
    assert found.rows
    after = [row for row in found.rows if row.get("source") == "price"]
    assert after
    assert all(row["t"] >= AT and row["k"] == 1 for row in after)
    assert after[0]["price"] == 60.0


def test_a_period_that_is_stamped_with_its_start(project: Small) -> None:
    text = """{{{{ config(entity="user", timestamp="d", delay="{delay}", allow_lookahead=true) }}}}
    SELECT k, date_trunc('day', t) AS d, SUM(n) AS s FROM {{{{ source("ev") }}}} GROUP BY ALL"""
    honest(project, text.format(delay="1d"))
    project.feature("f", text.format(delay="0s"))
    project.good()
    found = verified(project)
    assert found.failed
    (mismatch,) = found.mismatches
    assert mismatch.version == "2.0.0"
    assert mismatch.recomputed == sum(range(9 * 24, N + 1))
    assert mismatch.retrieved == sum(range(9 * 24, 10 * 24))
    assert mismatch.reason == "rows of source ev that lie after the label's time have a part in it"


def test_a_time_stamp_that_is_earlier_than_the_source_says(project: Small) -> None:
    honest(project, SPEND)
    early = SPEND.replace("k, t,", "k, t - INTERVAL 90 MINUTE AS t,")
    project.feature("f", early.replace('timestamp="t"', 'timestamp="t", allow_lookahead=true'))
    project.good()
    found = verified(project)
    (mismatch,) = [m for m in found.mismatches if m.column == "s"]
    assert mismatch.reason == "rows of source ev that lie after the label's time have a part in it"
    assert [row["ev.t"] for row in mismatch.rows] == [AT + HOUR, AT]
    assert mismatch.retrieved == mismatch.recomputed + N + N + 1


def test_a_look_ahead_that_is_allowed(project: Small) -> None:
    head = '{{ config(entity="user", timestamp="t", allow_lookahead=true) }} SELECT k, t, '
    project.feature(
        "f", head + '{% raw %}{% endraw %}LEAD(n) OVER (PARTITION BY k ORDER BY t) AS s FROM {{ source("ev") }}'
    )
    project.good()
    found = caught(project)
    assert (found.retrieved, found.recomputed) == (N + 1, None)


def test_a_stored_value_that_was_changed(project: Small) -> None:
    honest(project, SPEND)
    tamper(project.catalog, f"UPDATE store.f__1_0 SET _mlforge_i0 = 1000 WHERE k = 1 AND _mlforge_r0 = {N - 2}")
    found = verified(project)
    (mismatch,) = found.mismatches
    assert mismatch.retrieved == mismatch.recomputed + 1000 - (N - 2)
    assert mismatch.reason is None
    assert mismatch.inside[0]["t"] == AT - HOUR


def test_what_is_planted_upstream_of_a_ref(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    by_sql(monkeypatch)
    project.feature("up", LEFT_ROWS.replace("n FROM", "n AS m FROM"))
    joined = """{{ config(entity="user", timestamp="t") }}
    SELECT e.k, e.t, SUM(u.m) OVER last_3h AS s FROM {{ source("ev") }} e LEFT JOIN {{ ref("up") }} u ON e.k = u.k"""
    honest(project, joined)
    turned = 'p._mlforge_o {{ ">=" if f.c.closed == "left" else ">" }} s._mlforge_t'
    with planted("lib/cores", 'p._mlforge_o {{ ">" if f.c.closed == "left" else ">=" }} s._mlforge_t', turned):
        project.good("f", force=True)
    found = verified(project)
    assert found.failed
    assert found.mismatches[0].retrieved == found.mismatches[0].recomputed + 3
