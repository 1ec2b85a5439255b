"""SQLite stores on media that cannot be written: they are read, and nothing old or torn is ever given."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlforge.stores.sqlite import SQLiteStore
from mlforge.stores.store import Change

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
READER = """
import asyncio, sys
from mlforge.errors import MlforgeError
from mlforge.stores.store import Change
from mlforge.stores.sqlite import SQLiteStore
from tests.crash.rights import bind

bind()
store = SQLiteStore(sys.argv[1], timeout=1)
read = {
    "read": store.read, "aread": lambda names: asyncio.run(store.aread(names)), "status": lambda _: store.status()["names"],
    "scan": lambda _: [n for part in store.scan(b"") for n in part],
    "write": lambda names: store.swap([Change(n, None, b"x") for n in names]),
}
for line in sys.stdin:
    try:
        print(read[line.strip()]([b"a", b"b"]), flush=True)
    except MlforgeError as error:
        print(type(error).__name__, error.message, error.hint, flush=True)
"""


class Reader:
    """A process of somebody who may only read, asked line by line."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", READER, str(path)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, what: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate()


def put(store: SQLiteStore, value: bytes) -> None:
    """The same value under both names, in one transaction, while the folder can be written."""
    rights(store.path, 0o755, 0o644)
    old = store.read([b"a", b"b"])
    assert store.swap([Change(name, there, value) for name, there in zip((b"a", b"b"), old, strict=True)]) == [True] * 2
    rights(store.path, 0o555, 0o444)


def rights(path: Path, folder: int, file: int) -> None:
    path.parent.chmod(folder)
    for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if name.exists():
            name.chmod(file)


def close(store: SQLiteStore) -> None:
    """As the last one, which takes the log into the file."""
    rights(store.path, 0o755, 0o644)
    store.close()
    rights(store.path, 0o555, 0o444)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A store in a folder that is read-only for all but root, whose last writer has closed it."""
    found = tmp_path / "media/online.db"
    found.parent.mkdir()
    store = SQLiteStore(found)
    put(store, b"1")
    close(store)
    yield found
    found.parent.chmod(0o755)


def test_every_way_to_read_and_a_write(path: Path) -> None:
    before = sorted(p.name for p in path.parent.iterdir())
    reader = Reader(path)
    assert reader("read") == reader("aread") == "[b'1', b'1']"
    assert reader("scan") == "[b'a', b'b']"
    assert reader("status") == "2"
    said = reader("write")
    assert said.startswith(f"StoreRefusedError the online store {path} cannot be written: ")
    assert said.endswith(" the file and its folder must be writable by you")
    assert reader("read") == "[b'1', b'1']"
    reader.end()
    assert sorted(p.name for p in path.parent.iterdir()) == before


def test_what_somebody_else_writes_is_seen_at_once(path: Path) -> None:
    """In its log, in the file after the log was taken in, and again."""
    reader = Reader(path)
    assert reader("read") == "[b'1', b'1']"
    for number in range(2, 30, 3):
        store = SQLiteStore(path)
        put(store, b"%d" % number)
        assert reader("read") == f"[b'{number}', b'{number}']"
        put(store, b"%d" % (number + 1))
        assert reader("aread") == f"[b'{number + 1}', b'{number + 1}']"
        close(store)
        assert reader("read") == f"[b'{number + 1}', b'{number + 1}']"
        store = SQLiteStore(path)
        put(store, b"%d" % (number + 2))
        close(store)
        assert reader("read") == f"[b'{number + 2}', b'{number + 2}']"
    reader.end()


def test_a_copy_with_a_log_that_cannot_be_read_is_an_error_and_not_an_old_value(path: Path, tmp_path: Path) -> None:
    rights(path, 0o755, 0o644)
    store = SQLiteStore(path)
    put(store, b"2")
    copy = tmp_path / "copy/online.db"
    copy.parent.mkdir()
    for name in ("online.db", "online.db-wal"):
        shutil.copy(path.with_name(name), copy.with_name(name))
        copy.with_name(name).chmod(0o444)
    close(store)
    copy.parent.chmod(0o555)
    reader = Reader(copy)
    said = reader("read")
    reader.end()
    copy.parent.chmod(0o755)
    assert said.startswith(("StoreDownError", "StoreRefusedError")), said
    assert f"the online store {copy} " in said
