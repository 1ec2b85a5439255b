"""Files that would be read in another way than they are meant: an error that names the file, and what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.errors import ProjectError, RetrievalError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

FEATURE = '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, v FROM {{ source("ev") }}\n'
GOOD = "k,t,v\n1,2024-01-01 00:00:00,1\n2,2024-01-01 00:00:00,2\n"
SHORT = "k,t,v\n3,2024-01-01 00:00:00,3\n4,2024-01-01 00:00:00\n5,2024-01-01 00:00:00,5\n"
TITLE = "Report\n\nk,t,v\n3,2024-01-01 00:00:00,3\n"
LATIN = "k,t,v\n3,2024-01-01 00:00:00,\u00e4\n"


def project(root: Path, settings: str = "", format_: str = "csv", old: str = GOOD) -> Small:
    small = Small(root)
    small.config(f"name: small\nsources:\n  ev: {{path: data/*.{format_}{settings}}}\nentities:\n  user: {{key: k}}\n")
    small.feature("f", FEATURE)
    (root / f"data/1.{format_}").write_text(old)
    return small


MISREAD = {
    "no header": (
        "3,2024-01-01 00:00:00,3\n",
        "",
        "data/2.csv has no column of the other files: column0, column1, column2; in data/1.csv there are k, t, v\n"
        "  hint: give it a header with their columns, or keep it elsewhere",
    ),
    "other names": (
        "a,b\n1,2\n",
        "",
        "data/2.csv has no column of the other files: a, b; in data/1.csv there are k, t, v\n"
        "  hint: give it a header with their columns, or keep it elsewhere",
    ),
    "short row": (
        SHORT,
        "",
        "data/2.csv would be read as one column named 'k,t,v': row 2 has 2 values, and its first line 3\n"
        "  hint: mend the file; or end short rows in NULLs: options: {null_padding: true}; or, if it is one column: "
        'options: {delim: "|"}',
    ),
    "short row, delimiter stated": (
        SHORT,
        ', options: {delim: ","}',
        "data/2.csv cannot be read: row 2 has 2 values, and its first line 3\n"
        "  hint: mend the file; or end short rows in NULLs: options: {null_padding: true}",
    ),
    "semicolons": (
        SHORT.replace(",", ";"),
        "",
        "data/2.csv would be read as one column named 'k;t;v': row 2 has 2 values, and its first line 3\n"
        "  hint: mend the file; or end short rows in NULLs: options: {null_padding: true}; or, if it is one column: "
        'options: {delim: ","}',
    ),
    "quoted line end": (
        SHORT.replace("3\n", '"3\nx"\n'),
        "",
        "data/2.csv would be read as one column named 'k,t,v': row 2 has 2 values, and its first line 3\n",
    ),
    "long row": (
        "k,t,v\n3,2024-01-01 00:00:00,3,4\n",
        "",
        "the first line of data/2.csv does not look like the others, and would be left out: 'k,t,v'\n"
        "  hint: mend the file; or, if it is no row: options: {skip: 1}, which leaves out as many lines of every file",
    ),
    "title": (
        TITLE,
        "",
        "the first 2 lines of data/2.csv do not look like the others, and would be left out: 'Report'\n"
        "  hint: mend the file; or, if they are no rows: options: {skip: 2}, which leaves out as many lines of every file",
    ),
    "skip, of all files": (
        TITLE,
        ", options: {skip: 2}",
        "data/1.csv has no column of the other files: column0, column1, column2; in data/2.csv there are k, t, v\n",
    ),
    "encoding": (
        LATIN,
        "",
        "data/2.csv is no UTF-8\n  hint: save it as UTF-8; or options: {encoding: latin-1}, or utf-16, for all files",
    ),
}


@pytest.mark.parametrize("case", MISREAD)
def test_misread(tmp_path: Path, case: str) -> None:
    text, settings, message = MISREAD[case]
    small = project(tmp_path, settings)
    if "skip" not in settings:
        small.good()
    (tmp_path / "data/2.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ProjectError) as error:
        small.forge.plan()
    assert str(error.value).startswith(f"mlforge.yaml:3: source 'ev': {message}")


MENDED = {
    "short row": (SHORT, ", options: {null_padding: true}", [(3, 3), (4, None), (5, 5)]),
    "one column less": ("k,t\n3,2024-01-01 00:00:00\n", "", [(3, None)]),
    "header alone": ("k,t,v\n", "", []),
    "header alone, without a line end": ("v,K", "", []),
    "header above texts": ("k,t,v\n,,x\n", ", types: {v: VARCHAR}", []),
    "nothing": ("", "", []),
    "encoding": (LATIN, ", types: {v: VARCHAR}, options: {encoding: latin-1}", [(3, "\u00e4")]),
}


@pytest.mark.parametrize("case", MENDED)
def test_what_the_hints_say_works(tmp_path: Path, case: str) -> None:
    text, settings, rows = MENDED[case]
    small = project(tmp_path, settings)
    small.good()
    (tmp_path / "data/2.csv").write_bytes(text.encode("latin-1"))
    small.good()
    assert [(k, v) for k, _, v in small.view("f") if k > 2] == rows


def test_one_column_that_looks_like_many(tmp_path: Path) -> None:
    small = project(tmp_path, old='"k;t"\n1\n2\n', settings=', options: {delim: ","}')
    small.feature("f", '{{ config(entity="user") }}\nSELECT "k;t" AS k, 1 AS one FROM {{ source("ev") }}\n')
    small.good()
    assert small.view("f") == [(1, 1), (2, 1)]


@pytest.mark.parametrize("format_", ["json", "parquet"])
def test_strangers_of_other_formats(tmp_path: Path, format_: str) -> None:
    small = project(tmp_path, format_=format_)
    small.write(f"data/1.{format_}", "SELECT 1 AS k, '2024-01-01 00:00:00'::TIMESTAMP AS t, 2.5::DOUBLE AS v")
    small.good()
    small.write(f"data/0.{format_}", "SELECT 1 AS customer, 2 AS w")
    with pytest.raises(ProjectError) as error:
        small.forge.plan()
    assert str(error.value) == (
        f"mlforge.yaml:3: source 'ev': data/0.{format_} has no column of the other files: customer, w; "
        f"in data/1.{format_} there are k, t, v\n  hint: give it their columns, or keep it elsewhere"
    )
    (tmp_path / f"data/1.{format_}").unlink()  # and where it is the only file, it says what columns there are
    small.feature("f", '{{ config(entity="user") }}\nSELECT customer AS k, w FROM {{ source("ev") }}\n')
    assert small.good() == {"f": "2.0.0"}


def test_a_label_file_with_a_short_row(tmp_path: Path) -> None:
    small = project(tmp_path)
    small.good()
    (tmp_path / "labels.csv").write_text(SHORT)
    with pytest.raises(RetrievalError, match="one column named 'k,t,v': row 2 has 2 values, and its first line 3"):
        small.forge.get_training_data(features=["f"], entity_df=tmp_path / "labels.csv", timestamp="t")


def test_new_files_without_a_column_are_named(tmp_path: Path) -> None:
    """What was renamed, for example. Of the first build nothing is said, and nothing twice."""
    small = project(tmp_path)
    (tmp_path / "data/2.csv").write_text("k,t\n3,2024-01-01 00:00:00\n")
    assert small.forge.plan().notes == ()
    small.good()
    (tmp_path / "data/3.csv").write_text("k,t,value\n4,2024-01-01 00:00:00,4\n")
    (tmp_path / "data/4.csv").write_text("K,V\n4,4\n")
    (tmp_path / "data/5.csv").write_text("K,V,T\n4,4,2024-01-01 00:00:00\n")
    assert small.forge.plan().notes == (
        "source ev: data/3.csv has no column v: NULL in its rows (one of 2 such files)",
    )
    small.good()
    assert small.forge.plan().notes == ()
