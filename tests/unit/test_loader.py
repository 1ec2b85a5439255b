"""A project's folder: where it begins, what is read, and every refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlforge.errors import MlforgeError, ProjectError, UsageError
from mlforge.model import FeatureFile, MacroFile
from mlforge.project.loader import find_root, load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFORGE_PROFILE", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "mlforge.yaml", "name: p\nprofiles: {dev: {}, other: {warehouse: {path: /abs/c.duckdb}}}\n")
    return tmp_path


def write(root: Path, path: str, text: str | bytes) -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text if isinstance(text, bytes) else text.encode())
    return target


def refused(root: Path) -> MlforgeError:
    with pytest.raises(MlforgeError) as caught:
        load(root)
    return caught.value


def test_everything_of_a_folder_is_read(root: Path) -> None:
    write(root, "features/users/spend.sql", "SELECT 1")
    write(root, "features/age.sql", b"\xef\xbb\xbfSELECT 2")
    write(
        root,
        "features/more.py",
        "import mlforge as mlf\n\n@mlf.feature(entity='user')\ndef more():\n    return 'SELECT 1'\n",
    )
    write(root, "features/__init__.py", "")
    write(root, "features/__pycache__/more.py", "")
    write(root, "features/.hidden/x.sql", "")
    write(root, "macros/deep/m.sql", "{% macro a() %}{% endmacro %}")
    project = load(root)
    more = project.features["more"]
    assert (more.path, more.kind, more.function()) == ("features/more.py", "python", "SELECT 1")
    assert project.features == {
        "age": FeatureFile(name="age", path="features/age.sql", text="SELECT 2"),
        "spend": FeatureFile(name="spend", path="features/users/spend.sql", text="SELECT 1"),
        "more": more,
    }
    assert project.macros == (MacroFile("macros/deep/m.sql", "{% macro a() %}{% endmacro %}"),)
    assert (project.name, project.root, project.profile) == ("p", str(root), "dev")
    assert project.warehouse.path == str(root / "catalog.duckdb")


def test_the_root_is_found_from_below_and_from_a_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(root, "features/users/a.sql", "SELECT 1")
    assert find_root(file) == find_root(file.parent) == find_root(root) == root
    assert load(file.parent).root == str(root)
    monkeypatch.chdir(file.parent)
    assert load().root == str(root)


def test_the_nearest_project_wins(root: Path) -> None:
    write(root, "inner/mlforge.yaml", "name: inner\n")
    assert load(root / "inner").name == "inner"


def test_no_project(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert type(error) is ProjectError
    assert (error.message, error.hint) == ("no mlforge.yaml here or above", "mlforge init NAME makes a project")
    assert str(error.where) == str(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    error = refused(tmp_path / "nothing")
    assert type(error) is UsageError
    assert error.exit_code == 2
    assert error.message == f"there is no folder '{tmp_path / 'nothing'}'"


def test_the_profile_is_passed_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(root, profile="other").warehouse.path == "/abs/c.duckdb"
    monkeypatch.setenv("MLFORGE_PROFILE", "other")
    assert load(root).profile == "other"
    assert load(root, profile="dev").profile == "dev"


@pytest.mark.parametrize(
    ("files", "where", "message", "hint"),
    [
        (
            ["features/a/x.sql", "features/b/x.sql"],
            "features/b/x.sql",
            "the feature 'x' is also in features/a/x.sql",
            "rename",
        ),
        (
            ["features/X.sql", "features/b/x.sql"],
            "features/X.sql",
            "'X' cannot be the name of a feature",
            "small letters",
        ),
        (["features/B.SQL"], "features/B.SQL", "'B' cannot be the name of a feature", "small letters"),
        (["features/a b.sql"], "features/a b.sql", "'a b' cannot be the name of a feature", "small letters"),
        (["features/1a.sql"], "features/1a.sql", "'1a' cannot be the name of a feature", "small letters"),
        (["features/a.b.sql"], "features/a.b.sql", "'a.b' cannot be the name of a feature", "small letters"),
        (
            ["features/a/x.sql", "features/b/X.sql"],
            "features/b/X.sql",
            "the feature 'X' is also in features/a/x.sql",
            "rename",
        ),
    ],
)
def test_bad_names(root: Path, files: list[str], where: str, message: str, hint: str) -> None:
    for path in files:
        write(root, path, "SELECT 1")
    error = refused(root)
    assert type(error) is ProjectError
    assert (str(error.where), error.message) == (where, message)
    assert hint in (error.hint or "")


@pytest.mark.parametrize("path", ["features/a.sql", "features/a.py", "macros/a.sql"])
def test_text_that_is_not_utf8_names_file_and_line(root: Path, path: str) -> None:
    write(root, path, b"SELECT 1\n-- caf\xe9\n")
    error = refused(root)
    assert type(error) is ProjectError
    assert (str(error.where), error.message) == (f"{path}:2", "this file is not UTF-8 text")


def test_a_link_to_nothing_is_not_a_feature(root: Path) -> None:
    (root / "features").mkdir()
    (root / "features/a.sql").symlink_to(root / "nothing.sql")
    assert load(root).features == {}
