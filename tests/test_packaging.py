"""What is shipped: sdist and wheel, used outside the checkout; the SQL templates found in each of three forms."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = {
    str(path.relative_to(ROOT))
    for path in (ROOT / "sql_templates").rglob("*")
    if path.is_file() and path.parent.name != "__pycache__"
}
LABELS = "SELECT user_id, event_time + INTERVAL 1 HOUR AS label_time FROM 'data/transactions.csv'"
SHOW_TEMPLATES = """
import mlforge, pathlib
from mlforge.sql.templates import template_root
print(pathlib.Path(mlforge.__file__).parent.parent)
print(template_root())
for path in sorted(p for p in template_root().rglob("*") if p.is_file() and p.parent.name != "__pycache__"):
    print(path.relative_to(template_root().parent))
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program outside the checkout. Raises AssertionError, with all it said, unless it exits 0."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_", "COVERAGE", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd=cwd,
        env={**clean, "NO_COLOR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def new_venv(folder: Path) -> Path:
    """A fresh environment. Returns its folder of programs."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts" if os.name == "nt" else "bin")


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and the wheel that was built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="session")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment into which only the wheel and what it needs were installed."""
    folder = tmp_path_factory.mktemp("wheel")
    programs = new_venv(folder / "venv")
    run(programs / "python", "-m", "pip", "install", "--quiet", next(dist.glob("*.whl")), cwd=folder)
    return programs


def test_the_wheel_holds_the_package_and_every_template_and_nothing_else(dist: Path) -> None:
    names = set(zipfile.ZipFile(next(dist.glob("*.whl"))).namelist())
    assert TEMPLATES
    assert {f"mlforge/{template}" for template in TEMPLATES} <= names
    assert not any("__pycache__" in name for name in names)
    assert all(name.startswith(("mlforge/", "mlforge-")) for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "mlforge/py.typed" in names


def test_the_sdist_holds_what_the_wheel_is_built_from(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*TEMPLATES, "pyproject.toml", "README.md", "LICENSE", "mlforge/model.py"} <= names


@pytest.mark.parametrize("form", ["checkout", "editable", "wheel"])
def test_templates_are_found(form: str, installed: Path, tmp_path: Path) -> None:
    environment = {}
    if form == "wheel":
        python = installed / "python"
    else:
        python = new_venv(tmp_path / "venv") / "python"
        run(python, "-m", "pip", "install", "--quiet", "msgspec", "jinja2", cwd=tmp_path)
        if form == "checkout":
            environment = {"PYTHONPATH": str(ROOT)}
        else:
            run(python, "-m", "pip", "install", "--quiet", "--no-deps", "-e", ROOT, cwd=tmp_path)
    package, root, *found = run(python, "-c", SHOW_TEMPLATES, cwd=tmp_path, **environment).splitlines()
    assert set(found) == TEMPLATES
    assert (Path(package) == ROOT) == (form != "wheel")
    assert Path(root) == (Path(package) / "mlforge" if form == "wheel" else ROOT) / "sql_templates"


def test_the_wheel_says_its_version(installed: Path, tmp_path: Path) -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in run(installed / "mlforge", "--version", cwd=tmp_path)


def test_the_wheel_makes_a_project_and_a_training_set(installed: Path, tmp_path: Path) -> None:
    mlforge = installed / "mlforge"
    run(mlforge, "init", "demo", cwd=tmp_path)
    project = tmp_path / "demo"
    run(mlforge, "build", cwd=project)
    run(
        *(mlforge, "training-set", "--labels", LABELS, "--timestamp", "label_time"),
        *("--feature-set", "spend_v1", "--out", "training.parquet"),
        cwd=project,
    )
    read = "import duckdb; print(duckdb.sql(\"SELECT count(*) FROM 'training.parquet'\").fetchall()[0][0])"
    assert int(run(installed / "python", "-c", read, cwd=project)) > 0
