"""What ``mlforge init`` writes: complete, the same everywhere, and never over something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from mlforge.errors import ProjectError, UsageError
from mlforge.project.loader import load
from mlforge.project.scaffold import create
from mlforge.render.jinja import Renderer
from mlforge.sql.templates import literal

if TYPE_CHECKING:
    from pathlib import Path

FILES = [
    ".gitignore",
    "README.md",
    "data/transactions.csv",
    "data/users.csv",
    "features/payment_size.sql",
    "features/user_last_purchase.sql",
    "features/user_profile.sql",
    "features/user_spend.sql",
    "mlforge.yaml",
    "tests/user_spend.yaml",
]


def test_it_loads_and_renders_and_its_sources_read(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "shop"
    assert create(target, "shop") == [target / path for path in FILES]
    project = load(target)
    assert (project.name, project.strict) == ("shop", True)
    renderer = Renderer(project)
    rendered = {name: renderer.render(file) for name, file in project.features.items()}
    assert {n: (r.sources, [str(f) for f in r.refs]) for n, r in rendered.items()} == {
        "payment_size": ((), ["user_spend"]),
        "user_last_purchase": (("transactions",), []),
        "user_profile": (("users",), []),
        "user_spend": (("transactions",), []),
    }
    with duckdb.connect() as con:
        for source in project.sources.values():
            options = "".join(f", {name} = {literal(value)}" for name, value in source.options.items())
            con.execute(f"CREATE TABLE {source.name} AS FROM read_csv('{source.path}'{options})")
        counts = con.execute(
            "SELECT (SELECT count(*) FROM transactions), (SELECT count(*) FROM users),"
            " (SELECT count(DISTINCT (user_id, event_time)) FROM transactions),"
            " (SELECT count(*) FROM transactions JOIN users USING (user_id) WHERE amount > 0 AND status = 'settled')"
        ).fetchall()
    assert counts == [(200, 20, 200, 188)]


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = create(tmp_path / "a", "shop"), create(tmp_path / "b", "shop")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert b"PROJECT_NAME" not in b"".join(p.read_bytes() for p in first)


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    create(tmp_path, "shop")
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("existing", "where", "message"),
    [
        ("mlforge.yaml", "", "there is a project already: mlforge.yaml exists"),
        ("README.md", "README.md", "this file exists and will not be overwritten"),
        ("data", "data", "this file exists and will not be overwritten"),
        ("data/users.csv", "data/users.csv", "this file exists and will not be overwritten"),
    ],
)
def test_nothing_is_overwritten(tmp_path: Path, existing: str, where: str, message: str) -> None:
    (tmp_path / existing).parent.mkdir(exist_ok=True)
    (tmp_path / existing).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ProjectError) as caught:
        create(tmp_path, "shop")
    assert (str(caught.value.where), caught.value.message) == (str(tmp_path / where), message)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / existing).read_text() == "mine"


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("mine")
    with pytest.raises(ProjectError, match="this is a file, not a folder"):
        create(tmp_path / "shop", "shop")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ProjectError, match="the project cannot be written: Not a directory"):
        create(tmp_path / "file" / "shop", "shop")


@pytest.mark.parametrize("name", ["yes", "my-shop", "null"])
def test_any_word_can_name_a_project(tmp_path: Path, name: str) -> None:
    create(tmp_path, name)
    assert load(tmp_path).name == name


@pytest.mark.parametrize("name", ["", "my shop", "1a", "../x", "a/b", "a: b"])
def test_bad_names_are_wrong_usage(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a project") as caught:
        create(tmp_path / "x", name)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "x").exists()
