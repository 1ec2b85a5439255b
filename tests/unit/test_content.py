"""The digest of a version's rows: the same for the same rows, from every DuckDB, and for no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.catalog import reader
from mlforge.catalog.file import open_read
from mlforge.catalog.version_digest import version_hash
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = '{{{{ config(entity="user", timestamp="t") }}}}\nSELECT k, t, {columns} FROM {{{{ source("ev") }}}}\n'
EVERY_TYPE = """\
(x / 3)::DOUBLE AS a, x::DECIMAL(9, 2) AS b, x > 1 AS c, 'é:' || x AS d, DATE '2024-02-29' + x::INTEGER AS e,
[x, NULL] AS f, {'u': x, 'v': 'it''s'} AS g, CASE WHEN x > 1 THEN x END AS h, t AS i, 'nan'::FLOAT AS j, x::VARCHAR::BLOB AS l"""
ROWS = ("1, '2024-01-01', 1", "1, '2024-01-02 03:04:05.678901', 2", "2, '2024-01-01', -3")


def digest(root: Path, columns: str, *rows: str, x: str = "BIGINT", timed: bool = True) -> str | None:
    """The hash of the only version of a plain feature with these columns."""
    small = Small(root)
    small.rows(*rows, columns=f"k BIGINT, t TIMESTAMP, x {x}")
    text = PLAIN.format(columns=columns)
    small.feature("f", text if timed else text.replace(', timestamp="t"', "").replace("k, t,", "k,"))
    small.good()
    with open_read(small.catalog) as con:
        state = reader.state(con)
        return version_hash(con, state, state.features["f"].versions[0])


def test_a_known_answer(tmp_path: Path) -> None:
    found = digest(tmp_path, EVERY_TYPE, *ROWS)
    assert found == "2c4ff0d53273cc169832894a6769e448ab2f13709e0a77cdcd16e9dc686b503e"


def test_no_rows_have_a_hash(tmp_path: Path) -> None:
    none = digest(tmp_path / "1", "x")
    assert none != digest(tmp_path / "2", "x", ROWS[0])
    assert none != digest(tmp_path / "3", "x AS y")


@pytest.mark.parametrize(
    ("columns", "rows"),
    [("x", ROWS[::-1]), ("x AS X", ROWS)],
    ids=["order of rows", "case of names"],
)
def test_what_does_not_count(tmp_path: Path, columns: str, rows: tuple[str, ...]) -> None:
    assert digest(tmp_path / "1", "x", *ROWS) == digest(tmp_path / "2", columns, *rows)


def test_the_order_of_columns_does_not_count(tmp_path: Path) -> None:
    assert digest(tmp_path / "1", "x, x + 1 AS y", *ROWS) == digest(tmp_path / "2", "x + 1 AS y, x", *ROWS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("x", "1, '2024-01-01', 1"), ("x", "1, '2024-01-01', 2")),
        (("x", "1, '2024-01-01', 1"), ("x", "2, '2024-01-01', 1")),
        (("x", "1, '2024-01-01', 1"), ("x", "1, '2024-01-01 00:00:00.000001', 1")),
        (("x", "1, '2024-01-01', NULL"), ("x", "1, '2024-01-01', 0")),
        (("x", "1, '2024-01-01', 1"), ("x::INTEGER AS x", "1, '2024-01-01', 1")),
        (("x", "1, '2024-01-01', 1"), ("x AS y", "1, '2024-01-01', 1")),
        (("0.1::DOUBLE AS x", "1, '2024-01-01', 1"), ("0.30000000000000004::DOUBLE - 0.2 AS x", "1, '2024-01-01', 1")),
        (("x", "1, '2024-01-01', 1", "2, '2024-01-01', 1"), ("x", "1, '2024-01-01', 1")),
    ],
)
def test_what_counts(tmp_path: Path, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert digest(tmp_path / "1", *one) != digest(tmp_path / "2", *other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("'a' AS x, 'b' AS y", "'a' || chr(31) || '1:b' AS x, NULL::VARCHAR AS y"),
        ("'' AS x", "NULL::VARCHAR AS x"),
        ("'ab' AS x, 'c' AS y", "'a' AS x, 'bc' AS y"),
        ("[NULL]::VARCHAR[] AS x", "['NULL'] AS x"),
    ],
)
def test_texts_do_not_run_into_each_other(tmp_path: Path, one: str, other: str) -> None:
    assert digest(tmp_path / "1", one, ROWS[0]) != digest(tmp_path / "2", other, ROWS[0])


def test_a_feature_without_time(tmp_path: Path) -> None:
    assert digest(tmp_path / "1", "x", ROWS[0], timed=False) != digest(tmp_path / "2", "x", ROWS[0])
