"""A path that exists is that file or folder, whatever characters are in its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.errors import ProjectError
from mlforge.verify.result import VerifyOptions
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "gl[ob] *"
FEATURE = "{{ config(entity='user', timestamp='t') }} SELECT k, t, x FROM {{ source('ev') }}"
ROW = "SELECT {k} AS k, TIMESTAMP '2024-01-01' AS t, {x} AS x"

PATHS = {  # path of the source, files with the x they hold, the x that are read
    "brackets": ("export [1].csv", {"export [1].csv": 1, "export 1.csv": 2}, [1]),
    "wildcards": ("a*b?.parquet", {"a*b?.parquet": 1, "aXbY.parquet": 2}, [1]),
    "braces": ("{a,b}.json", {"{a,b}.json": 1, "a.json": 2}, [1]),
    "a folder": ("in [1]", {"in [1]/[x].parquet": 1, "in [1]/y*.parquet": 2, "in 1/z.parquet": 3}, [1, 2]),
    "a pattern in a folder": ("in [1]/?.csv", {"in [1]/[.csv": 1, "in [1]/ab.csv": 2, "in 1/c.csv": 3}, [1]),
    "a pattern of folders": ("d?/**/*.json", {"d*/a/[1].json": 1, "dx/*.json": 2, "e/x.json": 3}, [1, 2]),
    "hive folders": ("h*", {"h*/p=[a]/x.parquet": 1, "h*/p=?/x.parquet": 2, "hx/p=b/x.parquet": 3}, [1, 2]),
    "a pattern that is one": ("export [12].csv", {"export 1.csv": 1, "export 2.csv": 2, "export 3.csv": 3}, [1, 2]),
}


@pytest.mark.parametrize("kind", PATHS)
def test_paths_of_sources(tmp_path: Path, kind: str) -> None:
    path, files, read = PATHS[kind]
    small = Small(tmp_path / ROOT, f"name: s\nsources:\n  ev: {{path: 'data/{path}'}}\nentities:\n  user: {{key: k}}\n")
    for name, x in files.items():
        small.write(f"data/{name}", ROW.format(k=x, x=x))
    small.feature("f", FEATURE)
    small.good()
    assert [x for _, _, x in small.view("f")] == read
    assert small.actions() == {"f": "none"}


def test_a_project_in_a_folder_that_looks_like_a_pattern(tmp_path: Path) -> None:
    """What is new there is found, verified, and told apart by its name."""
    small = Small(tmp_path / ROOT, "name: s\nsources:\n  ev: {path: data/*.csv}\nentities:\n  user: {key: k}\n")
    small.write("data/[1].csv", ROW.format(k=1, x=10))
    small.feature("f", FEATURE)
    small.good()
    small.write("data/[2].csv", ROW.format(k=2, x=20))
    (built,) = small.build().features
    assert (built.mode, built.added) == ("incremental", 1)
    assert sorted(small.sql("SELECT part FROM mlforge.intervals")) == [("data/[1].csv",), ("data/[2].csv",)]
    assert small.ask(["f"], "(1, '2024-01-02'), (2, '2024-01-02')") == [(10,), (20,)]
    assert not small.forge.verify(options=VerifyOptions()).failed
    other = Small(tmp_path / "other", "name: o\nsources:\n  ev: {path: 'data/[x].csv'}\nentities:\n  user: {key: k}\n")
    other.feature("f", FEATURE)
    with pytest.raises(ProjectError, match=r"source 'ev': no csv file at data/\[x\]\.csv"):
        other.build()
