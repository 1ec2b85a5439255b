"""mlforge in a notebook: a real kernel, with ipywidgets and without."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

if TYPE_CHECKING:
    from pathlib import Path

#: DuckDB looks for it when a setting of the progress bar is changed.
WITHOUT = "import sys\nsys.modules['ipywidgets'] = None"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel that runs the Python of the tests, whatever kernels the machine has."""
    folder = tmp_path / "jupyter/kernels/mlforge-test"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "test", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    assert "mlforge-test" in KernelSpecManager().find_kernel_specs()
    return "mlforge-test"


def run(kernel: str, folder: Path, *cells: str, fails: bool = False) -> list[Any]:
    """Run cells in one kernel; the outputs of each."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(
        book, kernel_name=kernel, timeout=120, allow_errors=fails, resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [cell.outputs for cell in book.cells]


SHOP = """
from typer.testing import CliRunner
from mlforge.cli.app import app
assert CliRunner().invoke(app, ["init", "shop"]).exit_code == 0
"""
OPEN = "import mlforge as mlf\nfs = mlf.open('shop')"


@pytest.mark.parametrize("before", ["", WITHOUT], ids=["ipywidgets", "no ipywidgets"])
def test_the_first_steps_work(kernel: str, tmp_path: Path, before: str) -> None:
    labels = "fs.label_rows('user', start='2024-03-01', end='2024-03-02', every='1d')"
    *_, values = run(
        kernel,
        tmp_path,
        before,
        SHOP,
        OPEN,
        "assert not fs.build().failed",
        f"train = fs.get_training_data('spend_v1', {labels})\nprint(train.num_rows > 0)",
    )
    assert [output["text"] for output in values] == ["True\n"]


def test_an_error_is_what_is_wrong_and_what_to_do(kernel: str, tmp_path: Path) -> None:
    *_, shown = run(kernel, tmp_path, SHOP, OPEN, "x = 1\nfs.render('payment_siz')  # a slip", fails=True)
    assert shown[-1]["ename"] == "UsageError"
    assert shown[-1]["traceback"] == [
        "UsageError: the project has no feature 'payment_siz'",
        "  hint: did you mean 'payment_size'?",
        "  called here: fs.render('payment_siz')  # a slip",
    ]
