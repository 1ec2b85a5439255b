"""The papers: snippets run, links lead somewhere, the flights example is what the README says it is.

A comment right above a fenced block says what is done with it, in the block's turn, in a project of the page's own. It
is what ``mlforge init`` makes, built, unless the page writes its mlforge.yaml itself:

    <!-- run -->                    console: each ``$`` line must exit 0; python and sql (on the catalog) must work
    <!-- serve -->                  a console with a server, whose line ends in &; what stands below another line must come
    <!-- file: features/x.sql -->   the block is written to that file
    <!-- add: mlforge.yaml -->      the block is added to the end of that file
    <!-- refused: some words -->    as a feature's file, the block makes a plan fail with these words, at that file
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pytest

import mlforge
from mlforge.building.options import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^<!-- (?P<order>[^\n]+?) -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Snippet(NamedTuple):
    """A fenced block with an order above it."""

    line: int
    order: str
    language: str
    text: str


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text()
    found = BLOCK.finditer(text)
    return [Snippet(text.count("\n", 0, m.start()) + 2, m["order"], m["language"], m["text"]) for m in found]


RUNNABLE = [page for page in PAGES if snippets(page)]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as ``mlforge init`` writes it, built once."""
    folder = tmp_path_factory.mktemp("docs")
    run("mlforge init shop", folder)
    run("mlforge build", folder / "shop")
    return folder / "shop"


def run(command: str, folder: Path, code: int = 0) -> str:
    """Run a line in a shell that finds this environment's ``mlforge`` first; another exit code is an AssertionError."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-c", command],
        check=False,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, f"$ {command}\nexit code {done.returncode}\n{output}"
    return output


def carry_out(snippet: Snippet, project: Path) -> None:
    order, _, argument = snippet.order.partition(": ")
    if order == "file":
        target = project / argument
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(snippet.text)
    elif order == "add":
        with (project / argument).open("a") as file:
            file.write(snippet.text)
    elif order == "serve":
        run_with_server(snippet.text, project)
    elif order == "refused":
        refuse(snippet.text, argument, project)
    else:
        assert order == "run", f"unknown order {snippet.order!r}"
        {"console": run_console, "python": run_python, "sql": run_sql}[snippet.language](snippet.text, project)


def refuse(text: str, words: str, project: Path) -> None:
    file = project / "features" / "refused.sql"
    file.write_text(text)
    with pytest.raises(mlforge.MlforgeError) as refused:
        mlforge.open(project).plan(Selection(features=("refused",)))
    file.unlink()
    assert flat(words) in flat(refused.value.message)
    assert "features/refused.sql" in str(refused.value.where)


def flat(text: str) -> str:
    """Text without line breaks, as a terminal may have wrapped it."""
    return " ".join(text.split())


def run_with_server(text: str, project: Path) -> None:
    """Run the lines of a console one by one. The server gets a free port in place of the page's 8000."""
    with ExitStack() as stack:
        address = ""
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            if command.endswith(" &"):
                address = stack.enter_context(server(command.removesuffix(" &"), project))
            else:
                said = run(command.replace("localhost:8000", address), project)
                assert expected.strip() in said, f"$ {command}\n{said}"


@contextmanager
def server(command: str, project: Path) -> Iterator[str]:
    """A server on loopback: its host and port."""
    words = [sys.executable, "-m", *command.split(), "--port", "0"]
    with subprocess.Popen(words, cwd=project, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"http://(\S+)", process.stdout.readline())
            assert found is not None, f"$ {command}"
            yield found[1]
        finally:
            process.terminate()
    assert process.returncode == 0


def run_console(text: str, project: Path) -> None:
    for line in text.splitlines():
        if line.startswith("$ "):
            run(line[2:], project)


def run_python(text: str, project: Path) -> None:
    file = project / "snippet.py"
    file.write_text(text)
    run(f"python -W error {file.name}", project)


def run_sql(text: str, project: Path) -> None:
    with duckdb.connect(str(project / "catalog.duckdb"), read_only=True) as connection:
        for statement in filter(str.strip, text.split(";")):
            connection.execute(statement).fetchall()


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda p: p.name)
def test_the_snippets_of_a_page_run(page: Path, built: Path, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    found = snippets(page)
    if not any(snippet.order == "file: mlforge.yaml" for snippet in found):
        shutil.copytree(built, project)
    for snippet in found:
        try:
            carry_out(snippet, project)
        except Exception as error:
            error.add_note(f"{page.name}:{snippet.line}")
            raise


@pytest.mark.parametrize("name", ["README.md", "training-sets.md", "sql-reference.md", "catalog.md"])
def test_a_page_has_snippets_that_run(name: str) -> None:
    assert name in {page.name for page in RUNNABLE}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if not re.match(r"\w+:", target):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """The anchors that a reader makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_counts_the_features_of_the_example() -> None:
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    files = list((ROOT / "examples" / "flights" / "features").iterdir())
    assert f"It builds {words[len(files)]} features" in flat((ROOT / "README.md").read_text())
