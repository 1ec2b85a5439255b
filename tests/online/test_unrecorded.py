"""Where nothing can be written beside the catalog, what was computed is handed over all the same, and a warning says what
could not be recorded and why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlforge.online import open_store
from tests.online.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.online.servers import RedisServer

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = """
import json, os, resource, signal, sys, warnings
import pyarrow as pa
import mlforge as mlf
from mlforge.online import open_store
from tests.crash.rights import bind

root, how, store = sys.argv[1:]
labels = pa.table({"k": [1, 2], "label_time": ["2024-03-01T13:00:00"] * 2})
labels = labels.set_column(1, "label_time", labels["label_time"].cast(pa.timestamp("us")))
SQL = "SELECT 1 AS k, TIMESTAMP '2024-03-01T13:00:00' AS label_time"


def everything(store):
    fs = mlf.open(root)
    made = fs.training_set("newest", labels)
    yield [made.table["x"].to_pylist(), "id" in made.record]
    yield fs.training_set("newest", SQL).table["x"].to_pylist()
    yield fs.verify(["newest"]).status
    opened = open_store(store)
    try:
        yield fs.publish(store=opened).versions
    except mlf.errors.MlforgeError as error:
        yield str(error)
    opened.close()
    yield mlf.open(root, profile="seen").verify_online(["newest"]).status


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    list(everything(store + "/1"))  # everything is imported by then, which may lie where others own the files
if how == "read-only":
    for folder in (root, root + "/catalog.duckdb.log"):
        os.chmod(folder, 0o555)
    bind()
else:  # a write fails as it does on a full disk
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
told = []
warnings.showwarning = lambda message, category, *_: told.append(f"{category.__name__}: {message}")
warnings.simplefilter("always", mlf.errors.RecordWarning)
print(json.dumps([list(everything(store + "/2")), told]))
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path / "project", open_store(str(tmp_path / "seen/online.db")))
    (tmp_path / "seen").mkdir()
    made.config(
        (made.root / "mlforge.yaml").read_text()
        + "profiles:\n  dev: {}\n  seen: {online: {path: ../seen/online.db}}\ndefault_profile: dev\n"
    )
    made.rows_at_noon((1, 10), (2, 20))
    made.good()
    made.publish()
    made.store.close()
    yield made
    made.root.chmod(0o755)


@pytest.mark.parametrize("how", ["read-only", "full"])
def test_nothing_that_was_computed_is_thrown_away(served: Served, own_redis: RedisServer, how: str) -> None:
    folder = served.root / "catalog.duckdb.log"
    command = [sys.executable, "-c", PROGRAM, str(served.root), how, own_redis.url.removesuffix("/0")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    given, told = json.loads(ran.stdout)
    assert given[:3] == [[[10, 20], False], [10], "passed"]
    assert given[4] == "passed"
    reason = "cannot write" if how == "read-only" else "no space left to write"
    what = [text.partition(" could not be recorded: ") for text in told]
    assert all(why.startswith(reason) and str(folder) in why for _, _, why in what), told
    names = ["the training set", "the training set", "the verification"]
    if how == "read-only":
        assert given[3] == ["newest@1.0.0", "spend@1.0.0"], "published"
        names += ["what the online store is about to show", "the publish"]
    else:  # before readers see anything: it can be repeated, and goes on from where it was
        assert given[3].startswith("no space left to write")
    assert [name for name, _, _ in what] == [f"RecordWarning: {name}" for name in [*names, "the comparison"]]
