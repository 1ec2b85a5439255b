"""A process that does one thing to a catalog, as JSON on its command line says, so that a test may kill it.

Prints one JSON line when it is ready or done."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path

import duckdb
import rights

from mlforge.catalog import commit as commits
from mlforge.catalog import compact as compacts
from mlforge.catalog import file, migrations, writer
from mlforge.catalog.commit import commit
from mlforge.catalog.lock import build_lock
from mlforge.catalog.staging import Staging
from mlforge.errors import MlforgeError
from mlforge.records import BuildRecord

ROWS = 100_000


def say(**message) -> None:
    print(json.dumps(message), flush=True)


def wait() -> None:
    sys.stdin.readline()


def die_at(step: str) -> None:
    def maybe(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    commits._step = compacts._step = maybe


def record(build: int) -> BuildRecord:
    return BuildRecord(
        build=build,
        status="done",
        started_at="2026-01-01T00:00:00Z",
        finished_at="2026-01-01T00:00:01Z",
        mlforge_version="0",
        duckdb_version=duckdb.__version__,
    )


def build(catalog: Path, *, mode="auto", lock_timeout=20.0, hold=False, rows=ROWS) -> None:
    """The next build: table store.t1 with so many rows the first time, afterwards a PATCH and a table of its own."""
    with build_lock(catalog, lock_timeout), Staging(catalog, threads=1, memory_limit="500MB") as staging:
        number = next_number(catalog, lock_timeout)
        stage(staging.con, number, rows)
        if hold:
            say(ready=True)
            wait()

        def apply(transaction) -> None:
            transaction.copy_table(f"t{number}")
            if number > 1:
                transaction.apply_patch("t1", number)
            writer.record_build(transaction.con, record(number))

        done = commit(catalog, staging, apply, mode=mode, lock_timeout=lock_timeout)
    say(how=done.how, backup=done.backup, notes=done.notes, build=number)


def next_number(catalog: Path, lock_timeout: float) -> int:
    if not catalog.exists():
        return 1
    with file.open_read(catalog, lock_timeout=lock_timeout) as con:
        return writer.next_build(con)


def stage(con: duckdb.DuckDBPyConnection, number: int, rows: int) -> None:
    con.execute(
        f"CREATE TABLE store.t{number} AS SELECT range AS k, hash(range) AS noise, "
        f"0::INTEGER AS _mlforge_from, NULL::INTEGER AS _mlforge_to FROM range({rows})"
    )
    if number > 1:
        con.execute(
            f"CREATE TABLE store.t1__differ AS SELECT {number}::BIGINT AS _mlforge_closed, NULL::BIGINT AS _mlforge_old_t, "
            "NULL::BOOLEAN AS _mlforge_new, NULL::BIGINT AS k, NULL::UBIGINT AS noise "
            "UNION ALL SELECT NULL, NULL, TRUE, -1, 0 FROM range(3)"
        )


def read(catalog: Path, *, lock_timeout=20.0) -> None:
    """Holds the catalog read-only and counts its builds twice: at once, and after a line on stdin."""
    with file.open_read(catalog, lock_timeout=lock_timeout) as con:
        for _ in range(2):
            say(ready=True, builds=writer.next_build(con) - 1, rows=count(con))
            wait()


def count(con: duckdb.DuckDBPyConnection) -> int:
    return con.execute("SELECT count(*) FROM store.t1").fetchall()[0][0]


def write(catalog: Path) -> None:
    """Holds the catalog read-write, as the DuckDB CLI would."""
    with duckdb.connect(str(catalog)):
        say(ready=True)
        wait()


def write_without_lock(catalog: Path) -> None:
    """Holds the catalog read-write and has lost its lock, as a program has that copied the file; adds a row at a line,
    and closes at another."""
    with duckdb.connect(str(catalog)) as con:
        con.execute("CREATE TABLE main.theirs (n BIGINT)")
        con.execute("CHECKPOINT")
        catalog.open("rb").close()
        say(ready=True)
        wait()
        con.execute("INSERT INTO main.theirs VALUES (1)")
        say(written=True)
        wait()


def compact(catalog: Path, *, lock_timeout=20.0) -> None:
    """Delete every second row and every table but the first, then compact."""
    with build_lock(catalog, lock_timeout):
        with duckdb.connect(str(catalog)) as con:
            con.execute("DELETE FROM store.t1 WHERE k % 2 = 1")
            con.execute("CHECKPOINT")
        done = compacts.compact(catalog, lock_timeout=lock_timeout)
    say(before=done.before, after=done.after, replaced=done.replaced)


def rewrite(catalog: Path) -> None:
    compacts.compact(catalog)


def told_to_stop() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def open_when_free(catalog: Path, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """As a program does that knows nothing of mlforge."""
    while True:
        try:
            return duckdb.connect(str(catalog), read_only=read_only)
        except duckdb.Error:
            time.sleep(0.001)


def append(catalog: Path) -> None:
    """Adds rows to a table of its own in the catalog's file until a line comes; tells how many were acknowledged."""
    done = 0
    while not told_to_stop():
        with open_when_free(catalog) as con:
            con.execute("CREATE TABLE IF NOT EXISTS main.mine (n BIGINT)")
            for _ in range(5):
                con.execute("INSERT INTO main.mine VALUES (?)", [done])
                done += 1
        if done == 5:
            say(ready=True)
        time.sleep(0.01)
    say(done=done)


def regenerate(catalog: Path, *, table: str = "main.ev") -> None:
    """Gives all rows of a table the next number, in one transaction after the other, until a line comes."""
    number = 1
    while not told_to_stop():
        with open_when_free(catalog) as con:
            number += 1
            con.execute(f"UPDATE {table} SET a = {number}, b = {number}")
        if number == 2:
            say(ready=True)
        time.sleep(0.05)
    say(done=number)


def lock(catalog: Path) -> None:
    with build_lock(catalog, 1.0):
        say(ready=True)
        wait()


def main() -> None:
    what = json.loads(sys.argv[1])
    command, catalog = globals()[what.pop("do")], Path(what.pop("catalog"))
    commits.PATIENCE = 0.2
    if step := what.pop("die_at", None):
        die_at(step)
    if limit := what.pop("largest_file", None):  # a write past it fails as it does on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if what.pop("later_mlforge", False):
        later = migrations.Migration(migrations.latest() + 1, "test", "catalog/next_build")
        migrations.MIGRATIONS = (*migrations.MIGRATIONS, later)
    if what.pop("bound", False):
        rights.bind()
    try:
        command(catalog, **what)
    except MlforgeError as error:
        say(error=type(error).__name__, message=error.message, hint=error.hint)


if __name__ == "__main__":
    main()
