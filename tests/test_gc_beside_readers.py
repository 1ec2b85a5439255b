"""gc beside training sets that are made meanwhile: what one has read is there when it is made again."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlforge.catalog import log
from mlforge.catalog.lock import wait_for_deleting
from mlforge.errors import LockedError, UsageError
from mlforge.retrieve import in_use, replay
from mlforge.retrieve.request import resolve
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
LABELS = "SELECT 1::BIGINT AS k, TIMESTAMP '2026-02-01' AS label_time"
COLLECTS = """
import sys
import mlforge as mlf
from mlforge.catalog import commit


def at(step):
    if step == "applied":
        print("at", flush=True)
        sys.stdin.readline()


commit._step = at
forge = mlf.open(sys.argv[1])
print(*forge.gc(forge.keep(patches=0, days=0)).versions, flush=True)
"""
"""gc by the strictest policy, in another process; it stops between its last look and its commit until a line comes."""


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """Versions 1.0.0 to 1.0.2, of which nothing but the current one is named."""
    small = Small(tmp_path)
    small.feature("f", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}')
    for x in (10, 11, 12):
        small.rows(f"1, '2026-01-01', {x}")
        small.good()
    return small


def collect(small: Small) -> tuple[str, ...]:
    return small.forge.gc(small.forge.keep(patches=0, days=0)).versions


def replayed(small: Small) -> list[bool]:
    return [small.forge.replay(d["id"]).same for d in small.forge.listing("datasets")]


class Collecting:
    """It begins when a training set has opened the catalog, and goes on when that waits."""

    def __init__(self, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
        self.command = [sys.executable, "-c", COLLECTS, str(small.root)]
        self.process: subprocess.Popen[str] | None = None
        self.deleted: list[str] | None = None
        monkeypatch.setattr(in_use, "resolve", self.resolve)
        monkeypatch.setattr(in_use, "wait_for_deleting", self.wait)

    def resolve(self, *given: Any) -> Any:
        if self.process is None:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert self.process.stdout
            assert self.process.stdout.readline() == "at\n"
        return resolve(*given)

    def wait(self, catalog: str, timeout: float) -> None:
        """In place of the training set's own waiting."""
        if self.deleted is None:
            with pytest.raises(LockedError, match=r"^gc deletes from "):
                wait_for_deleting(catalog, 0.0)
            assert self.process
            assert self.process.stdin
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            wait_for_deleting(catalog, timeout)
            self.deleted = self.process.communicate()[0].split()


@pytest.fixture
def gc(small: Small, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collecting]:
    found = Collecting(small, monkeypatch)
    yield found
    if found.process:
        found.process.kill()
        found.process.communicate()


def test_a_version_that_gc_has_just_let_go_is_not_handed_out(small: Small, gc: Collecting) -> None:
    """The training set has opened the catalog when gc, which did not see it, deletes: it waits, and reads what is
    there."""
    with pytest.raises(UsageError, match=r"1\.0\.1"):
        small.forge.get_training_data("f@1.0.1", LABELS)
    assert gc.deleted == ["f@1.0.0", "f@1.0.1"]
    assert replayed(small) == []


def test_what_gc_leaves_is_read_after_it(small: Small, gc: Collecting, monkeypatch: pytest.MonkeyPatch) -> None:
    assert small.forge.get_training_data("f", LABELS).column("x").to_pylist() == [12]
    assert gc.deleted == ["f@1.0.0", "f@1.0.1"]
    monkeypatch.undo()
    assert replayed(small) == [True]


@pytest.mark.parametrize("at", ["beginning", "recording"])
def test_gc_leaves_what_is_being_read(small: Small, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """gc runs from its first look to its commit while a training set is made, before there is a record of it; others
    read beside both."""
    collected: list[tuple[str, ...]] = []

    def beside() -> None:
        assert small.forge.get_training_data("f", LABELS).column("x").to_pylist() == [12]
        thread = threading.Thread(target=lambda: collected.append(collect(small)))
        thread.start()
        thread.join(60)

    if at == "beginning":
        monkeypatch.setattr(in_use, "wait_for_deleting", lambda *_: monkeypatch.undo() or beside())
    else:
        kept = replay.keep
        monkeypatch.setattr(replay, "keep", lambda *a, **k: (monkeypatch.undo(), beside(), kept(*a, **k)))
    assert small.forge.get_training_data("f@1.0.1", LABELS).column("x").to_pylist() == [11]
    assert collected == [("f@1.0.0",)]
    assert collect(small) == ()
    assert replayed(small) == [True, True]
    assert log.being_read(small.catalog) == []


def test_the_note_of_a_process_that_died_holds_nothing(small: Small) -> None:
    code = "import os, sys\nfrom mlforge.catalog import log\nwith log.reading(sys.argv[1], ['f@1.0.1']):\n    os._exit(1)\n"
    subprocess.run([sys.executable, "-c", code, str(small.catalog)], cwd=ROOT, check=False)
    assert len(log.being_read(small.catalog)) == 1
    assert collect(small) == ("f@1.0.0",)  # it looks once more than it sweeps
    assert collect(small) == ("f@1.0.1",)


def test_a_folder_that_cannot_be_written_is_read_all_the_same(small: Small, recwarn: pytest.WarningsRecorder) -> None:
    folder = log.folder(small.catalog)
    if folder.is_dir():
        folder.rmdir()
    folder.write_text("a file in its place")
    assert small.forge.get_training_data("f", LABELS).column("x").to_pylist() == [12]
    assert any("could not be recorded" in str(w.message) for w in recwarn)
