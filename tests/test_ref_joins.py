"""Features that read other features: every kind of upstream, every kind of join, and surrogate keys on the way."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from mlforge import surrogate_key
from mlforge.errors import MlforgeError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
name: small
sources:
  ev: {path: data/ev.parquet}
  shop: {path: data/shop.parquet}
entities:
  user: {key: k}
  store: {key: [city, street]}
  person: {key: person_id, from: [name, born]}
"""
UPSTREAM = {
    "plain": '{{ config(entity="store", timestamp="since") }}\nSELECT city, street, since, v FROM {{ source("shop") }}\n',
    "left": '{{ config(entity="store", timestamp="since", closed="left") }}\nSELECT city, street, since, v FROM {{ source("shop") }}\n',
    "delayed": '{{ config(entity="store", timestamp="since", delay="1d") }}\nSELECT city, street, since, v FROM {{ source("shop") }}\n',
    "ttl": '{{ config(entity="store", timestamp="since", ttl="1d") }}\nSELECT city, street, since, v FROM {{ source("shop") }}\n',
    "daily": '{{ config(entity="store", timestamp="since", interval="1d") }}\nSELECT city, street, since, v FROM {{ source("shop") }}\n',
    "windows": '{{ config(entity="store", timestamp="since") }}\n'
    'SELECT city, street, since, SUM(v) OVER last_2d AS v FROM {{ source("shop") }}\n',
    "window_days": '{{ config(entity="store", timestamp="since", interval="1d") }}\n'
    'SELECT city, street, since, SUM(v) OVER last_2d AS v FROM {{ source("shop") }}\n',
    "static": '{{ config(entity="store") }}\nSELECT city, street, MAX(v) AS v FROM {{ source("shop") }} GROUP BY ALL\n',
}
SHOP = """SELECT city, street, CAST(since AS TIMESTAMP) AS since, v FROM (VALUES
    ('A', 1, '2024-01-01 12:00', 1), ('A', 1, '2024-01-02 12:00', 2), ('A', 1, '2024-01-02 12:00', 2),
    ('A', 2, '2024-01-01 00:00', 50), (NULL, 1, '2024-01-01', 70)) s(city, street, since, v)"""
EVENTS = """SELECT k, CAST(t AS TIMESTAMP) AS t, city, street, x FROM (VALUES
    (1, '2024-01-01 12:00', 'A', 1, 10), (1, '2024-01-02 12:00', 'A', 1, 20), (1, '2024-01-02 12:00', 'A', 1, 20),
    (1, '2024-01-03 06:00', 'A', 1, 30), (2, '2024-01-05 00:00', 'A', 1, 40), (3, '2024-01-05', 'B', 1, 50),
    (4, '2024-01-05', NULL, 1, 60), (5, '2024-01-05', 'A', NULL, 70), (6, NULL, 'A', 1, 80)) e(k, t, city, street, x)"""
# value of each upstream at the four distinct instants of A, 1: Jan 1 12:00, Jan 2 12:00, Jan 3 06:00, Jan 5 00:00
VALUES = {
    "plain": [1, 2, 2, 2],
    "left": [None, 1, 2, 2],
    "delayed": [None, 1, 1, 2],
    "ttl": [1, 2, 2, None],
    "daily": [None, 1, 2, 2],
    "windows": [None, 1, 5, None],
    "window_days": [None, 1, 5, None],
    "static": [2, 2, 2, 2],
}


@pytest.fixture
def small(tmp_path: Path) -> Small:
    small = Small(tmp_path, CONFIG)
    small.write("data/shop.parquet", SHOP)
    small.write("data/ev.parquet", EVENTS)
    return small


JOIN = """\
{{{{ config(entity="user", timestamp="t") }}}}
SELECT e.k, e.t, e.x, {columns}
FROM {{{{ source("ev") }}}} AS e {join}
"""
ON = 'LEFT JOIN {{ ref("up") }} AS u ON u.city = e.city AND u.street = e.street'


def joined(
    small: Small, upstream: str, join: str = ON, columns: str = "u.v", form: str = JOIN
) -> list[tuple[object, ...]]:
    small.feature("up", UPSTREAM[upstream])
    small.feature("f", form.format(columns=columns, join=join))
    small.good()
    return small.view("f")


@pytest.mark.parametrize("upstream", UPSTREAM)
def test_a_left_join_gives_every_row_the_value_at_its_time(small: Small, upstream: str) -> None:
    rows = joined(small, upstream)
    assert [row[2:] for row in rows] == [
        *zip((10, 20, 30, 40), VALUES[upstream], strict=True),
        (50, None),
        (60, None),
        (70, None),
    ]


@pytest.mark.parametrize("upstream", UPSTREAM)
def test_an_inner_join_keeps_rows_that_the_feature_has_a_row_for(small: Small, upstream: str) -> None:
    rows = joined(small, upstream, ON.replace("LEFT ", ""))
    known = {"delayed": (20, 30, 40), "left": (20, 30, 40), "daily": (20, 30, 40), "windows": (20, 30, 40)}
    known["window_days"] = (20, 30, 40)
    expected = [
        (x, v)
        for x, v in zip((10, 20, 30, 40), VALUES[upstream], strict=True)
        if x in known.get(upstream, (10, 20, 30, 40))
    ]
    assert [row[2:] for row in rows] == expected


@pytest.mark.parametrize("upstream", UPSTREAM)
def test_using(small: Small, upstream: str) -> None:
    using = 'LEFT JOIN {{ ref("up") }} AS u USING (city, street)'
    assert joined(small, upstream, using) == joined(small, upstream)


@pytest.mark.parametrize("upstream", UPSTREAM)
def test_columns_of_a_ref_feed_windows(small: Small, upstream: str) -> None:
    """Equal left rows are two rows to a window."""
    joined(small, upstream, columns="SUM(u.v) OVER ever AS total, COUNT(*) OVER ever AS n")
    first, second, third, _ = VALUES[upstream]
    total = sum(v or 0 for v in (first, second, second, third))
    assert small.ask(["f:total,n"], "(1, '2024-02-01')") == [(total, 4)]


def test_two_refs_one_after_the_other(small: Small) -> None:
    """The second is joined by a column of the first."""
    small.feature("up", UPSTREAM["plain"])
    small.feature("near", UPSTREAM["plain"].replace("since, v", "since, v - 1 AS next"))
    small.feature(
        "f",
        JOIN.format(
            columns="u.v, n.next",
            join=ON + '\nLEFT JOIN {{ ref("near") }} AS n ON n.city = e.city AND n.street = u.v',
        ),
    )
    small.good()
    assert [row[2:] for row in small.view("f")][:4] == [(10, 1, 0), (20, 2, 49), (30, 2, 49), (40, 2, 49)]


def test_one_feature_twice(small: Small) -> None:
    """For two entities of one row."""
    small.feature("up", UPSTREAM["plain"])
    twice = ON + '\nLEFT JOIN {{ ref("up") }} AS w ON w.city = e.city AND w.street = e.street + 1'
    small.feature("f", JOIN.format(columns="u.v, w.v AS other", join=twice))
    small.good()
    assert [row[2:] for row in small.view("f")][:2] == [(10, 1, 50), (20, 2, 50)]


def test_key_expressions(small: Small) -> None:
    join = ON.replace("u.city = e.city", "upper(lower(e.city)) = u.city").replace(
        "e.street", "CAST(e.street AS INTEGER)"
    )
    assert joined(small, "plain", join) == joined(small, "plain")


@pytest.mark.parametrize("upstream", UPSTREAM)
@pytest.mark.parametrize("kind", ["VARCHAR", "DOUBLE", "DATE"])
def test_a_key_of_another_type_is_refused(small: Small, upstream: str, kind: str) -> None:
    """The text '007' is the number 7 in one comparison and not in another."""
    given = {"DATE": "e.t::DATE"}.get(kind, f"e.street::{kind}")
    small.feature("up", UPSTREAM[upstream])
    small.feature("f", JOIN.format(columns="u.v", join=ON.replace("e.street", given)))
    wanted = rf" is {kind} and key 'street' of up is [A-Z]+: one cannot be converted to the other without loss"
    with pytest.raises(MlforgeError, match=rf"features/f\.sql:\d: CAST\(e\.\w+ AS .*\){wanted}"):
        small.forge.plan()


def test_rows_below_a_filter(small: Small) -> None:
    rows = joined(small, "plain", ON + "\nWHERE e.x > 10 AND u.v IS NOT NULL")
    assert [row[2:] for row in rows] == [(20, 2), (30, 2), (40, 2)]


def test_a_left_side_without_time_reads_static_features(small: Small) -> None:
    small.feature("up", UPSTREAM["static"])
    small.feature(
        "f",
        '{{ config(entity="user") }}\nSELECT e.k, MAX(e.x + u.v) AS best\n'
        f'FROM {{{{ source("ev") }}}} AS e {ON}\nGROUP BY e.k\n',
    )
    small.good()
    assert small.view("f") == [(1, 32), (2, 42), (3, None), (4, None), (5, None), (6, 82)]
    small.feature("up", UPSTREAM["plain"])
    with pytest.raises(MlforgeError, match=r"features/f\.sql:3: .*up changes with time"):
        small.build()


def test_a_ref_below_the_outermost_select(small: Small) -> None:
    """A CTE that joins a ref has no time of its own to read it at."""
    small.feature("up", UPSTREAM["plain"])
    small.feature(
        "f",
        '{{ config(entity="user", timestamp="t") }}\n'
        f'WITH c AS (SELECT e.k, e.t, u.v FROM {{{{ source("ev") }}}} AS e {ON})\nSELECT k, t, v FROM c\n',
    )
    with pytest.raises(MlforgeError, match=r"features/f\.sql:2"):
        small.build()


FIRST = {
    "plain": [("A", 1, 1), ("A", 1, 2), ("A", 2, 50)],
    "daily": [("A", 1, 1), ("A", 1, 2), ("A", 2, 50)],
    "window_days": [("A", 1, 1), ("A", 1, 5), ("A", 1, 4), ("A", 1, None), ("A", 2, 50), ("A", 2, None)],
    "static": [("A", 1, 2), ("A", 2, 50)],
}


@pytest.mark.parametrize("upstream", FIRST)
def test_a_ref_as_the_first_relation(small: Small, upstream: str) -> None:
    small.feature("up", UPSTREAM[upstream])
    timed = upstream != "static"
    head = '{{ config(entity="store", timestamp="since") }}' if timed else '{{ config(entity="store") }}'
    at = "since, " if timed else ""
    small.feature("f", f'{head}\nSELECT city, street, {at}v FROM {{{{ ref("up") }}}}\n')
    small.good()
    got = small.sql(f"SELECT city, street, v FROM features.f ORDER BY city, street{', since' if timed else ''}")
    assert got == FIRST[upstream]


PEOPLE = "SELECT * FROM (VALUES ('Ann', DATE '1990-01-01', TIMESTAMP '2024-01-01', 1), ('Ann', NULL, TIMESTAMP '2024-01-01', 2), (NULL, NULL, TIMESTAMP '2024-01-01', 3)) p(name, born, t, x)"
PERSON = '{{ config(entity="person", timestamp="t") }}\nSELECT {{ surrogate_key("name", "born") }} AS person_id, t, x, SUM(x) OVER ever AS s FROM {{ source("ev") }}\n'


def people(*rows: tuple[object, ...]) -> pa.Table:
    names, born, times = zip(*rows, strict=True)
    return pa.table(
        {"name": names, "born": pa.array(born, pa.date32()), "label_time": pa.array(times, pa.timestamp("us"))}
    )


def test_surrogate_keys_from_natural_columns(small: Small) -> None:
    small.write("data/ev.parquet", PEOPLE)
    small.feature("f", PERSON)
    built = small.build()
    assert [(f.rows, f.nowhere) for f in built.features] == [(2, 1)]
    at, day = dt.datetime(2024, 2, 1), dt.date(1990, 1, 1)
    labels = people(("Ann", day, at), ("Ann", None, at), (None, None, at), ("Bob", day, at))
    got = small.forge.get_training_data(["f"], labels)
    assert got.column_names == ["name", "born", "label_time", "x", "s"]
    assert [got["x"].to_pylist(), got["s"].to_pylist()] == [[1, 2, None, None], [1, 2, None, None]]
    keyed = pa.table(
        {"person_id": [surrogate_key("Ann", day), surrogate_key("Ann", None), None], "label_time": [at] * 3}
    )
    assert small.forge.get_training_data(["f"], keyed)["x"].to_pylist() == [1, 2, None]
    with duckdb.connect(str(small.catalog), read_only=True) as con:
        con.register("labels", keyed)
        assert con.execute("SELECT x FROM features.f_asof('labels')").fetchall() == [(1,), (2,), (None,)]


def test_a_join_to_a_feature_with_a_surrogate_key(small: Small) -> None:
    small.write("data/ev.parquet", PEOPLE)
    small.write(
        "data/shop.parquet", "SELECT 1 AS k, 'Ann' AS name, DATE '1990-01-01' AS born, TIMESTAMP '2024-01-05' AS t"
    )
    small.feature("f", PERSON)
    small.feature(
        "g",
        '{{ config(entity="user", timestamp="t") }}\nSELECT e.k, e.t, f.x FROM {{ source("shop") }} AS e\n'
        'LEFT JOIN {{ ref("f") }} AS f ON f.person_id = {{ surrogate_key("e.name", "e.born") }}\n',
    )
    small.good()
    assert small.view("g") == [(1, dt.datetime(2024, 1, 5), 1)]


def test_label_rows_that_lack_a_part_of_the_key(small: Small) -> None:
    small.write("data/ev.parquet", PEOPLE)
    small.feature("f", PERSON)
    small.good()
    with pytest.raises(MlforgeError, match="neither 'person_id' nor 'born'"):
        small.forge.get_training_data(["f"], people(("Ann", None, None)).drop_columns("born"))


def test_exact_windows_are_no_first_relation(small: Small) -> None:
    """They have a value at every instant, and no rows of their own."""
    small.feature("up", UPSTREAM["windows"])
    head = '{{ config(entity="store", timestamp="since") }}'
    small.feature("f", f'{head}\nSELECT city, street, since, v FROM {{{{ ref("up") }}}}\n')
    with pytest.raises(MlforgeError, match=r"features/f\.sql:2: .*up"):
        small.build()


@pytest.mark.parametrize("at", ["u.since AS t", "max(e.t) AS t", "greatest(e.t, u.since) AS t"])
def test_the_time_of_a_row_is_known_before_the_join(small: Small, at: str) -> None:
    small.feature("up", UPSTREAM["plain"])
    group = " GROUP BY e.k" if "max" in at else ""
    column = "SUM(u.v) AS v" if group else "u.v"
    head = '{{ config(entity="user", timestamp="t") }}'
    small.feature("f", f'{head}\nSELECT e.k, {at}, {column}\nFROM {{{{ source("ev") }}}} AS e\n{ON}{group}\n')
    with pytest.raises(MlforgeError, match=r"features/f\.sql:4: up is read at t, which no row has before this join"):
        small.build()


def test_refs_in_a_set_operation(small: Small) -> None:
    small.feature("up", UPSTREAM["plain"])
    select = f'SELECT e.k, e.t, u.v FROM {{{{ source("ev") }}}} AS e {ON}'
    small.feature("f", f'{{{{ config(entity="user", timestamp="t") }}}}\n{select} UNION ALL {select}\n')
    with pytest.raises(MlforgeError, match=r"features/f\.sql:2: ref\(.up.\) below the outermost SELECT"):
        small.build()
