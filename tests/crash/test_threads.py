"""Threads of one process that read, commit and compact, beside programs that write to tables of their own in the same
file: nothing that was acknowledged is lost, nothing is mixed, and who begins to read sees what was committed."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager

import duckdb
import pytest

from mlforge.catalog import commit as commits
from mlforge.catalog import compact as compacts
from mlforge.catalog import file, open_files
from tests.crash.worker import open_when_free
from tests.small import Small

FEW = pytest.param(3, id="few")
MANY = pytest.param(50, id="many", marks=pytest.mark.long)
ALONE = pytest.param(False, id="alone")
NOTEBOOK = pytest.param(True, id="beside-a-connection-of-the-user")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(commits, "PATIENCE", 0.05)


@contextmanager
def again_and_again(work):
    """Runs a function in a thread of its own until the block ends; what it raises is raised then."""
    over, errors, turns = threading.Event(), [], []

    def run() -> None:
        while not over.is_set():
            try:
                work()
                turns.append(1)
            except BaseException as error:  # noqa: BLE001 - it is raised in the test
                errors.append(error)
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield turns
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]


def of_the_user(path, *, wanted: bool):
    """A connection as a notebook has it, or none."""
    return open_when_free(path, read_only=True) if wanted else ExitStack()


def count(con, table: str) -> int:
    return con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]


def commit_number(catalog, number: int) -> commits.Committed:
    def apply(tx) -> None:
        tx.con.execute("CREATE TABLE IF NOT EXISTS store.numbers (n BIGINT)")
        tx.con.execute(f"INSERT INTO store.numbers VALUES ({number})")
        tx.con.execute("CREATE OR REPLACE TABLE store.garbage AS SELECT range AS a, hash(range) AS b FROM range(40000)")
        if number % 2:
            tx.con.execute("DROP TABLE store.garbage")

    return commits.commit(catalog, None, apply, lock_timeout=60)


@pytest.mark.parametrize("own", [ALONE, NOTEBOOK])
@pytest.mark.parametrize("rounds", [FEW, MANY])
def test_commits_and_compactions_beside_a_reader_and_a_writer(start, catalog, rounds, own):
    commit_number(catalog, 0)
    done, sees = [0], []

    def look() -> None:
        before = done[0]
        with file.open_read(catalog) as con:
            numbers = con.execute("SELECT n FROM store.numbers ORDER BY n").fetchall()
            mine = con.execute("SELECT count(*), count(DISTINCT n), max(n) + 1 FROM main.mine").fetchall()[0]
        assert [n for (n,) in numbers] == list(range(len(numbers)))
        assert len(numbers) > before
        assert mine[0] == mine[1] == mine[2]
        sees.append(mine[0])

    writer = start(do="append", catalog=catalog)
    writer.hear()
    with of_the_user(catalog, wanted=own) as con:
        began = count(con, "main.mine") if own else 0
        with again_and_again(look):
            for number in range(1, rounds + 1):
                commit_number(catalog, number)
                done[0] = number
                compacts.compact(catalog)
        if own:
            assert count(con, "main.mine") == began
    writer.go_on()
    acknowledged = writer.hear()["done"]
    with file.open_read(catalog) as con:
        assert count(con, "main.mine") == acknowledged
        assert count(con, "store.numbers") == rounds + 1
    assert sees == sorted(sees)
    assert sorted(p.name for p in catalog.parent.iterdir()) == ["catalog.duckdb"]
    assert open_files._entries == {}


CONFIG = """\
name: small
sources:
  ev: {table: catalog.main.ev}
  other: {path: other.duckdb, table: main.ev}
entities:
  user: {key: k}
"""
FEATURE = '{{{{ config(entity="user", timestamp="t") }}}}\nSELECT k, t, a, b FROM {{{{ source("{0}") }}}}\n'
ROWS = "SELECT range AS k, TIMESTAMP '2024-01-01' + to_seconds(range) AS t, 1 AS a, 1 AS b FROM range(125000)"
GENERATIONS = "SELECT DISTINCT a, b FROM features.{}"


@pytest.mark.parametrize("rounds", [pytest.param(1, id="few"), MANY])
@pytest.mark.parametrize(("source", "own"), [("ev", False), ("ev", True), ("other", False)])
def test_builds_from_a_table_that_another_program_writes(start, tmp_path, source, rounds, own):
    small = Small(tmp_path, CONFIG)
    where = small.catalog if source == "ev" else tmp_path / "other.duckdb"
    with duckdb.connect(str(where)) as con:
        con.execute(f"CREATE TABLE main.ev AS {ROWS}")
    for name in ("first", "second"):
        small.feature(name, FEATURE.format(source))
    small.good()
    writer = start(do="regenerate", catalog=where)
    writer.hear()
    forge = small.forge

    def look() -> None:
        forge.listing("features")
        with file.Instance() as other:
            other.attach(where, "looked_at")

    with of_the_user(where, wanted=own), again_and_again(look) as turns:
        for _ in range(rounds):
            assert not small.build().failed
            with file.open_read(small.catalog) as con:
                seen = {row for name in ("first", "second") for row in con.execute(GENERATIONS.format(name)).fetchall()}
            ((a, b),) = seen
            assert a == b
    assert turns
    writer.go_on()
    last = writer.hear()["done"]
    small.good()
    with file.open_read(small.catalog) as con:
        assert con.execute(GENERATIONS.format("first")).fetchall() == [(last, last)]
    assert open_files._entries == {}
