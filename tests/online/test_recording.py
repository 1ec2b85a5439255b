"""The catalog's record of publishes follows what a store shows, wherever a publish dies, and gc keeps what it shows."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlforge.catalog import log, reader
from mlforge.catalog.lock import wait_for_deleting
from mlforge.errors import LockedError, OnlineError
from mlforge.online import Client, open_store
from mlforge.online.packed_values import moment
from mlforge.publishing import recording
from tests.online.served import Between, Served
from tests.online.test_publish import everything, restore

ROOT = Path(__file__).resolve().parent.parent.parent


def record(served: Served) -> tuple[Any, ...]:
    """What the catalog says that the store shows."""
    with served.forge._reading() as con:
        (found,) = reader.published(con, served.catalog)
    return found["generation"], found["published_at"], found["features"], found["feature_sets"]


def shown(served: Served) -> tuple[Any, ...]:
    """What the store shows."""
    found = Client(served.store, "small").manifest()
    when = f"{moment(found.published_at):%Y-%m-%dT%H:%M:%S.%fZ}"
    return found.generation, when, found.versions, sorted(found.sets)


def collected(served: Served) -> None:
    """gc by the strictest policy leaves every version that the store shows."""
    served.forge.gc(served.forge.keep(patches=0, days=0))
    state = served.forge.state()
    there = {f"{name}@{v.version}" for name, f in state.features.items() for v in f.versions}
    assert set(shown(served)[2]) <= there


def three_versions(served: Served) -> None:
    """Version 1.0.0 is published, and 1.0.1; the catalog is at 1.0.2, of which nobody knows."""
    for x in (10, 11, 12):
        if x > 10:
            served.forge.publish(store=served.store)
        served.rows_at_noon((1, x))
        served.good()


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path / "project", open_store(str(tmp_path / "online.db")))
    three_versions(made)
    return made


def newer(served: Served, x: int) -> None:
    """A version that replaces the current one, which gc then lets go unless something names it."""
    served.rows_at_noon((1, x))
    served.good()


KILLED = """
import importlib, json, os, signal, sys
import mlforge as mlf
from mlforge.catalog import log
from mlforge.online import open_store
from tests.online.served import Between

for name in ("catalog.reader", "catalog.file", "publishing.run", "publishing.recording", "retrieve"):
    importlib.import_module(f"mlforge.{name}")


def publish(what, step):
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
    store = Between(open_store(json.loads(sys.argv[2])), step if what == "swap" else -1, kill)
    writes, write, drop = 0, log.write, log.drop

    def before_write(*given):
        nonlocal writes
        if what == "write" and writes == step:
            kill()
        writes += 1
        return write(*given)

    log.write, log.drop = before_write, (lambda *_: kill()) if what == "drop" else drop
    mlf.open(sys.argv[1]).publish(store=store)


for line in sys.stdin:
    if (child := os.fork()) == 0:
        publish(*json.loads(line))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Forks a child for each line, so that it has imported everything: it publishes, and kills itself before a swap of the
store, a record of the log, or the end of the notes. Nothing of DuckDB is open when it forks."""


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_process_is_killed_at_every_step(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """SIGKILL before every write into the store, before every record, and before the notes are dropped."""
    if kind == "redis":
        settings = {"kind": "redis", "url": request.getfixturevalue("own_redis").url}
    else:
        settings = {"kind": "sqlite", "path": str(tmp_path / "online.db")}
    store = open_store(settings)
    served = Served(tmp_path / "project", store)
    three_versions(served)
    old, files, before, first = served.catalog.read_bytes(), _log(served), everything(store), record(served)
    newer(served, 13)
    new = served.catalog.read_bytes()
    served.catalog.write_bytes(old)
    counting = Between(store)
    served.forge.publish(store=counting)
    steps = [("swap", n) for n in range(counting.swaps)] + [("write", 0), ("write", 1), ("drop", 0)]
    command = [sys.executable, "-c", KILLED, str(served.root), json.dumps(settings)]
    generations = set()
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for step in steps:
            restore(store, before)
            served.catalog.write_bytes(old)
            _put_log(served, files)
            assert record(served) == first == shown(served)
            process.stdin.write(json.dumps(step) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "-9\n", step
            served.catalog.write_bytes(new)  # as if a build had made one more version, so that nothing is current
            collected(served)  # before any publish could look
            generations.add(shown(served)[0])
            served.forge.publish(store=store)
            assert record(served) == shown(served), step
            assert log.read(served.catalog, log.SHOWING) == []
        process.stdin.close()
    assert generations == {2, 3}
    store.close()


def _log(served: Served) -> dict[str, bytes]:
    folder = log.folder(served.catalog)
    return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.exists() else {}


def _put_log(served: Served, files: dict[str, bytes]) -> None:
    folder = log.folder(served.catalog)
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_a_publish_that_finds_nothing_to_do_writes_the_record_that_is_missing(served: Served) -> None:
    """As after a publish whose process died once the head had moved."""
    served.forge.publish(store=served.store)
    for path in log.folder(served.catalog).glob("publish-*.json"):
        path.unlink()
    done = served.forge.publish(store=served.store)
    assert done.nothing_to_do
    assert record(served) == shown(served)
    count = len(_log(served))
    assert served.forge.publish(store=served.store).nothing_to_do
    assert len(_log(served)) == count, "what is known is not written again"
    newer(served, 13)
    collected(served)


def test_a_publish_of_some_features_records_all_that_readers_see(served: Served) -> None:
    served.forge.publish(store=served.store)
    newer(served, 13)
    done = served.forge.publish(["spend"], store=served.store)
    assert done.versions == ["newest@1.0.2", "spend@1.0.3"]
    assert record(served) == shown(served)
    newer(served, 14)
    collected(served)


def test_what_another_catalog_published_is_recorded_here(served: Served, tmp_path: Path) -> None:
    """A copy of the catalog publishes; here there is nothing to do, and gc must know."""
    copy = Served(tmp_path / "copy", served.store)
    shutil.copy(served.root / "data/ev.parquet", copy.root / "data/ev.parquet")
    shutil.copy(served.catalog, copy.catalog)
    copy.forge.publish(store=served.store)
    assert served.forge.publish(store=served.store).nothing_to_do
    assert record(served) == shown(served)
    newer(served, 13)
    collected(served)


def test_notes_of_a_publish_that_lost_its_race_go(served: Served) -> None:
    """Another one runs whole before the n-th write of the first, for every n. Whichever ends last, the record is about
    what readers see."""
    before, counting = everything(served.store), Between(served.store)
    served.forge.publish(store=counting)
    answers = set()
    for step in range(counting.swaps):
        restore(served.store, before)
        ahead = Between(served.store, step, lambda: served.forge.publish(["newest"], store=served.store))
        try:
            served.forge.publish(store=ahead)
            answers.add("published")
        except OnlineError as error:
            answers.add(error.message)
        assert record(served) == shown(served), step
        served.forge.publish(store=served.store)
        assert record(served) == shown(served), step
        assert log.read(served.catalog, log.SHOWING) == []
    assert answers == {"published", "another publish to this store began later and went ahead"}


def test_a_clock_that_was_set_back_hides_no_record(served: Served) -> None:
    served.forge.publish(store=served.store)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=400)
    (path,) = [p for p in log.folder(served.catalog).glob("publish-*.json") if b'"generation":3' in p.read_bytes()]
    known = json.loads(path.read_bytes())
    path.write_text(json.dumps(known | {"created_at": f"{later:%Y-%m-%dT%H:%M:%S.%fZ}"}))
    newer(served, 13)
    served.forge.publish(store=served.store)
    assert record(served) == shown(served)
    newer(served, 14)
    collected(served)


def test_gc_looks_again_at_what_is_named_before_it_deletes(served: Served) -> None:
    """A publish that begins between gc's look and its commit."""
    from mlforge.building import gc

    served.forge.publish(store=served.store)
    state = served.forge.state()
    newest = ("newest", state.features["newest"].versions[-1].version)
    newer(served, 13)
    state = served.forge.state()
    done = gc.run(str(served.catalog), state, [newest], lock_timeout=5)
    assert done.versions == ()
    collected(served)


COLLECTS = """
import sys
import mlforge as mlf
from mlforge.catalog import commit


def at(step):
    if step == sys.argv[2]:
        print("at", flush=True)
        sys.stdin.readline()


commit._step = at
forge = mlf.open(sys.argv[1])
print(*forge.gc(forge.keep(patches=0, days=0)).versions, flush=True)
"""
"""gc by the strictest policy that stops at a step of its commit until a line comes."""


class Collecting:
    """A gc in another process that has looked at what is named and not committed yet; it goes on once a publish has
    noted what it is about to show, and has been told to wait."""

    def __init__(self, served: Served, step: str) -> None:
        self.served = served
        self.command = [sys.executable, "-c", COLLECTS, str(served.root), step]
        self.deleted: list[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "at\n"

    def wait(self, catalog: str, timeout: float) -> None:
        """In place of the publish's own waiting."""
        assert log.read(self.served.catalog, log.SHOWING), "the note comes first"
        with pytest.raises(LockedError, match=r"^gc deletes from .*catalog\.duckdb, in process "):
            wait_for_deleting(catalog, 0.0)
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        wait_for_deleting(catalog, timeout)
        self.deleted = self.process.communicate()[0].split()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("step", ["applied", "before-commit"])
def test_a_publish_that_begins_after_gcs_last_look_does_not_show_what_gc_deletes(
    served: Served, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publish has read the catalog when a build makes another version and gc has looked at what is named."""
    before, gc = shown(served), Collecting(served, step)
    monkeypatch.setattr(recording, "wait_for_deleting", gc.wait)

    def another() -> None:
        newer(served, 13)
        gc.start()

    try:
        with pytest.raises(OnlineError, match=r"^gc has deleted newest@1\.0\.2, spend@1\.0\.2 from the cat") as caught:
            served.forge.publish(store=Between(served.store, 0, another))
    finally:
        gc.kill()
    assert caught.value.hint == "publish again"
    assert gc.deleted == ["newest@1.0.0", "newest@1.0.2", "spend@1.0.0", "spend@1.0.2"]
    assert shown(served) == before
    collected(served)
    assert log.read(served.catalog, log.SHOWING) == []
    monkeypatch.undo()
    done = served.forge.publish(store=served.store)
    assert done.versions == ["newest@1.0.3", "spend@1.0.3"]
    collected(served)


def test_a_publish_of_what_gc_leaves_waits_for_it_and_goes_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    gc = Collecting(served, "before-commit")
    monkeypatch.setattr(recording, "wait_for_deleting", gc.wait)
    try:
        done = served.forge.publish(store=Between(served.store, 0, gc.start))
    finally:
        gc.kill()
    assert done.versions == ["newest@1.0.2", "spend@1.0.2"]
    assert gc.deleted == ["newest@1.0.0", "spend@1.0.0"]
    assert record(served) == shown(served)
    collected(served)


def test_a_gc_that_was_killed_holds_nobody_up(served: Served) -> None:
    gc = Collecting(served, "before-commit")
    gc.start()
    gc.kill()
    lock = served.catalog.with_name("catalog.duckdb.gc.lock")
    assert lock.exists()
    assert served.forge.publish(store=served.store).versions == ["newest@1.0.2", "spend@1.0.2"]
    served.forge.gc(served.forge.keep(patches=0, days=0))
    assert not lock.exists()
    assert record(served) == shown(served)
