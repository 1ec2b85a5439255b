"""REST side by side in one run: ``mlforge serve``, a minimal handler, Feast's Python feature server; one worker each,
the same ten DOUBLE columns from one Redis, everything on loopback.

All servers run from beginning to end; rounds go through them in turn. A round sends for MLFORGE_BENCH_SECONDS over 16
connections and reads the server's own CPU time (user and system, with its children) from /proc before and after. Where
others use the machine, CPU a request is the fair figure: the servers are bound by it, so rates go as its inverse.

MLFORGE_BENCH_FEAST is the folder of Feast's environment, made if there is none (by default .venv-feast); ``none``
leaves Feast out. Needs Linux."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mlforge as mlf
from benchmarks.harness import machine
from benchmarks.online import COLUMNS, write_project
from mlforge.stores.opening import open_store
from tests.online.servers import RedisServer, free_port

HERE = Path(__file__).resolve().parent
FEAST = os.environ.get("MLFORGE_BENCH_FEAST", str(HERE.parent / ".venv-feast"))
FEAST_PACKAGES = ("feast[redis]==0.67.0", "hiredis")
KEYS = int(os.environ.get("MLFORGE_BENCH_REST_KEYS", "100000"))
SECONDS = float(os.environ.get("MLFORGE_BENCH_SECONDS", "3"))
ROUNDS = int(os.environ.get("MLFORGE_BENCH_REPS", "3"))
CONNECTIONS = 16
TICK = os.sysconf("SC_CLK_TCK")
YAML = """\
name: bench
sources:
  ev: {{path: ev.parquet}}
entities:
  user: {{key: k}}
feature_sets:
  ten: [f]
  eleven: [f, g]
default_profile: dev
profiles:
  dev: {{online: {{kind: redis, url: "{url}"}}}}
"""
ON_DEMAND = '{{ config(entity="user", on_demand=true) }} SELECT f.c0 / (1 + f.c1) AS share FROM {{ ref("f") }} AS f'


class Server:
    """A server on loopback, in a process of its own."""

    def __init__(self, name: str, command: list[str], port: int, folder: Path, ask: tuple[str, str]) -> None:
        self.name, self.port = name, port
        self.log = folder / f"{name}.log"
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not self._answers(*ask):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"{name} does not answer:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def _answers(self, path: str, body: str) -> bool:
        try:
            self.ask(path, body)
        except (urllib.error.URLError, OSError):
            return False
        return True

    def ask(self, path: str, body: str) -> Any:
        """The answer to one POST."""
        wanted = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", body.encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(wanted, timeout=30) as answer:
            return json.load(answer)

    def cpu(self) -> float:
        """CPU seconds so far."""
        return _cpu(self.process.pid)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / TICK + sum(_cpu(int(child)) for child in children)


class Job(NamedTuple):
    """What one server is asked: a path, and bodies in turn."""

    server: Server
    path: str
    bodies: list[str]


class Round(NamedTuple):
    """Requests a second, latencies and CPU of the server a request, in microseconds, and the load's share of a core."""

    rate: float
    p50: float
    p99: float
    cpu: float
    load: float


def send(job: Job, seconds: float, connections: int = CONNECTIONS) -> Round:
    """One round."""
    told = {
        "port": job.server.port,
        "path": job.path,
        "bodies": job.bodies,
        "connections": connections,
        "seconds": seconds,
    }
    before = job.server.cpu()
    load = [sys.executable, str(HERE / "rest_load.py")]
    done = subprocess.run(load, input=json.dumps(told), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{job.server.name}: {done.stderr}")
    found = json.loads(done.stdout)
    spent = (job.server.cpu() - before) / found["requests"] * 1e6
    seconds = found["seconds"]
    return Round(found["requests"] / seconds, found["p50"], found["p99"], spent, found["cpu"] / seconds)


def compare(title: str, jobs: dict[str, Job], connections: int = CONNECTIONS) -> dict[str, Round]:
    """Rounds of all jobs in turn, and a table of the medians."""
    for job in jobs.values():
        send(job, 0.5, connections)
    rounds: dict[str, list[Round]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            rounds[name].append(send(job, SECONDS, connections))
    medians = {name: Round(*map(median, zip(*found, strict=True))) for name, found in rounds.items()}
    print(f"\n### {title}\n\n| form | requests/s | p50 us | p99 us | CPU us a request | load's share of a core |")
    print("|---|---|---|---|---|---|")
    for name, m in medians.items():
        print(f"| {name} | {m.rate:,.0f} | {m.p50:,.0f} | {m.p99:,.0f} | {m.cpu:,.0f} | {m.load:.2f} |", flush=True)
    return medians


def ratios(medians: dict[str, Round], ours: str, promises: dict[str, float]) -> None:
    """Our throughput as a multiple of others', by rate and by CPU a request."""
    for name, promise in promises.items():
        if name in medians:
            rate, cpu = medians[ours].rate / medians[name].rate, medians[name].cpu / medians[ours].cpu
            print(f"{ours} / {name}: {rate:.2f} by rate, {cpu:.2f} by CPU a request; the promise is {promise}")


def make_project(root: Path, url: str) -> bytes:
    """A project of ten columns, and one on demand, published; what the names of its records begin with."""
    write_project(root, YAML.format(url=url), KEYS)
    (root / "features/g.sql").write_text(ON_DEMAND)
    forge = mlf.open(root)
    assert not forge.build().failed
    forge.publish()
    store = open_store(forge.online_settings())
    lead = next(iter(next(store.scan(b"bench/t/")))).rsplit(b"/", 1)[0]
    store.close()
    return lead


def rows_of(number: int, many: int) -> list[list[int]]:
    chance = random.Random(0)
    return [[chance.randrange(KEYS) for _ in range(many)] for _ in range(number)]


def ours(keys: list[int]) -> str:
    return json.dumps({"entity_rows": [{"k": k} for k in keys]}, separators=(",", ":"))


def feasts(keys: list[int]) -> str:
    wanted = {"features": [f"f:c{n}" for n in range(COLUMNS)], "entities": {"k": keys}}
    return json.dumps(wanted, separators=(",", ":"))


def feast_environment() -> Path | None:
    """The folder of Feast's commands; None, with the reason, where it cannot be had."""
    if FEAST == "none":
        print("Feast is left out: MLFORGE_BENCH_FEAST is none")
        return None
    commands = Path(FEAST) / "bin"
    if not (commands / "feast").is_file():
        venv.create(FEAST, with_pip=True)
        install = [commands / "python", "-m", "pip", "--disable-pip-version-check", "install", "-q", *FEAST_PACKAGES]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"Feast is left out: it cannot be installed into {FEAST}:\n{done.stderr[-1000:]}")
            return None
    return commands


def start_feast(root: Path, parquet: Path, redis: RedisServer) -> Server | None:
    """Its server over the same rows. ``--max-requests 0``: else it starts its worker anew every 1,000 requests."""
    commands = feast_environment()
    if commands is None:
        return None
    root.mkdir()
    script = [commands / "python", HERE / "rest_feast.py", root, parquet, f"127.0.0.1:{redis.port}", str(COLUMNS)]
    subprocess.run(script, check=True, capture_output=True)
    port = free_port()
    serve = f"serve -p {port} --no-access-log --max-requests 0 -r 3600".split()
    return Server(
        "feast", [str(commands / "feast"), "-c", str(root), *serve], port, root, ("/get-online-features", feasts([1]))
    )


def check_agree(servers: dict[str, Server]) -> None:
    """Every server gives the same values."""
    for keys in ([7], list(range(50, 150))):
        minimal = servers["minimal"].ask("/read", ours(keys))
        assert servers["mlforge"].ask("/feature-sets/ten", ours(keys)) == minimal
        if "feast" in servers:
            found = servers["feast"].ask("/get-online-features", feasts(keys))
            names = found["metadata"]["feature_names"]
            values = {n: r["values"] for n, r in zip(names, found["results"], strict=True)}
            assert [{n: values[n][at] for n in row} for at, row in enumerate(minimal["rows"])] == minimal["rows"]


def start(root: Path, stack: ExitStack) -> dict[str, Server]:
    """Redis, and the servers."""
    (root / "redis").mkdir()
    redis = RedisServer(root / "redis", "--appendonly", "no")
    stack.callback(redis.stop)
    lead = make_project(root / "project", redis.url)
    minimal, own, least = free_port(), free_port(), free_port()
    python, script = sys.executable, str(HERE / "rest_minimal.py")
    command = [python, "-m", "mlforge", "serve", "--port", str(own)]
    made = [
        Server(
            "minimal",
            [python, script, str(minimal), redis.url, lead.decode(), str(COLUMNS)],
            minimal,
            root,
            ("/read", ours([1])),
        ),
        Server("mlforge", command, own, root / "project", ("/feature-sets/ten", ours([1]))),
        Server("constant", [python, script, str(least), "-", "-", "0"], least, root, ("/", "{}")),
        start_feast(root / "feast", root / "project/ev.parquet", redis),
    ]
    for server in filter(None, made):
        stack.callback(server.stop)
    return {server.name: server for server in made if server is not None}


def measure(servers: dict[str, Server]) -> None:
    check_agree(servers)
    one, hundred = rows_of(2000, 1), rows_of(200, 100)
    mlforge = servers["mlforge"]
    for title, rows, promises in (
        ("1 key, 16 connections", one, {"minimal": 0.6, "feast": 5}),
        ("100 keys, 16 connections", hundred, {"minimal": 0.6, "feast": 5}),
    ):
        bodies = list(map(ours, rows))
        jobs = {"minimal": Job(servers["minimal"], "/read", bodies)}
        jobs["mlforge"] = Job(mlforge, "/feature-sets/ten", bodies)
        if "feast" in servers:
            jobs["feast"] = Job(servers["feast"], "/get-online-features", list(map(feasts, rows)))
        if rows is one:
            jobs["a constant"] = Job(servers["constant"], "/", bodies)
        ratios(compare(title, jobs), "mlforge", promises)
    bodies = list(map(ours, one))
    sets = {n: Job(mlforge, f"/feature-sets/{n}", bodies) for n in ("ten", "eleven")}
    sets["minimal"] = Job(servers["minimal"], "/read", bodies)
    found = compare("1 key, 1 connection; eleven is ten and an on-demand column", sets, 1)
    for what in ("p50", "cpu"):
        more = getattr(found["eleven"], what) - getattr(found["ten"], what)
        print(f"an on-demand column adds {more:,.0f} us of {what} a request; the promise is 500")


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        measure(start(Path(folder), stack))


if __name__ == "__main__":
    main()
