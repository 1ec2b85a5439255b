"""A soak: a steady rate of requests to ``mlforge serve`` on Redis while new data and a new version are published.

Every answer is compared with what is right: each value tells which data and which version made it, an answer may mix
none, and what a publish that has ended brought must be there. Time counts from when a request was due, so that a server
that stands still for a second is seen as all the requests that came in that second. Builds and publishes are processes
on the same machine. Exits with 1 if anything is not right."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.online.servers import RedisServer
from tests.serve.load import LOST, MIXED, RIGHT, STALE, WRONG, Load, Stages
from tests.serve.pulse import Pulse, Stage
from tests.serve.server import ROOT, Server

STEPS = (
    ("new data", 0.2, Stage(1, 1)),
    ("new data", 0.4, Stage(2, 1)),
    ("new version", 0.6, Stage(2, 2)),
    ("new data", 0.8, Stage(3, 2)),
)
PROFILE = "profiles:\n  soak: {{online: {{kind: redis, url: '{url}'}}}}\n"


class Soak:
    """One run."""

    def __init__(self, root: Path, redis: RedisServer, given: argparse.Namespace) -> None:
        self.root = root
        self.given = given
        self.redis = redis
        self.pulse = Pulse(root / "project", given.users, PROFILE.format(url=self.redis.url))
        self.stages = Stages([Stage(0, 1)])
        self.steps: list[tuple[str, float, float, float]] = []
        self._forge("build")
        self._forge("publish")
        namespace = ("--store", self.redis.url, "--namespace", "pulse", "--workers", given.workers)
        self.server = Server(root, *namespace)

    def run(self) -> Load:
        """Ask, and publish meanwhile."""
        with Load(self.server.url, self.pulse, self.stages, rate=self.given.rate, callers=8) as load:
            self.began = began = time.monotonic()
            time.sleep(self.given.seconds * 0.05)
            self.before = self.memory()
            for what, share, stage in STEPS:
                _sleep_until(began + share * self.given.seconds)
                self._publish(what, stage)
            _sleep_until(max(began + self.given.seconds, time.monotonic() + 1))
            self.after = self.memory()
        return load

    def memory(self) -> float:
        """MB that all processes of the server have in memory."""
        return sum(_resident(pid) for pid in (self.server.process.pid, *self.server.children()))

    def is_busy(self, when: float) -> bool:
        """Whether a build or a publish was at work at a time of the clock that counts on."""
        return any(0 <= when - self.began - at < build + publish for _, at, build, publish in self.steps)

    def stop(self) -> int:
        """The exit code of the server."""
        return self.server.stop()

    def _publish(self, what: str, stage: Stage) -> None:
        start = time.monotonic()
        self.stages.begin(stage)
        self.pulse.write(stage)
        self._forge("build", "--upgrade-sets")
        built = time.monotonic()
        self._forge("publish")
        self.stages.end()
        self.steps.append((what, start - self.began, built - start, time.monotonic() - built))

    def _forge(self, *words: str) -> None:
        command = [sys.executable, "-m", "mlforge", "-C", str(self.root / "project"), "--profile", "soak", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"mlforge {' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _sleep_until(when: float) -> None:
    time.sleep(max(0.0, when - time.monotonic()))


def show(soak: Soak, load: Load) -> None:
    given, seen, words = soak.given, load.seen, load.seen.words
    print(f"mlforge serve, {given.workers} workers, Redis, {given.users:,} users, {os.cpu_count()} cores, ", end="")
    print(f"Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f}")
    print(f"{load.total:,} requests in {load.took:.0f} s: {load.total / load.took:.1f}/s of {given.rate:g}/s")
    others = sum(n for word, n in words.items() if word not in (RIGHT, WRONG, MIXED, STALE, LOST))
    print(
        f"right {words[RIGHT]:,}  wrong {words[WRONG]}  mixed {words[MIXED]}  stale {words[STALE]}  "
        f"refused {others}  lost {words[LOST]}"
    )
    print("ms from when a request was due")
    busy = [soak.is_busy(due) for due in seen.dues]
    for what, chosen in (
        ("all", seen.seconds),
        ("no build", [s for s, b in zip(seen.seconds, busy, strict=True) if not b]),
        ("build or publish", [s for s, b in zip(seen.seconds, busy, strict=True) if b]),
    ):
        p50, p99, p999, most = (1000 * _quantile(chosen, share) for share in (0.5, 0.99, 0.999, 1))
        print(f"  {what:16}  p50 {p50:.2f}  p99 {p99:.1f}  p99.9 {p999:.1f}  max {most:.0f}  ({len(chosen):,})")
    print(f"server's memory: {soak.before:.0f} MB at the start, {soak.after:.0f} MB at the end")
    for number, (what, at, build, publish) in enumerate(soak.steps, 1):
        print(
            f"  at {at:5.0f} s  {what:11}  build {build:4.1f} s  publish {publish:4.1f} s  "
            f"seen by {seen.stages[number]:,} answers"
        )
    print("\n".join(seen.examples))


def is_good(soak: Soak, load: Load) -> bool:
    """Whether every answer was right, the rate was kept, and every publish was seen."""
    kept = load.total > 0.95 * soak.given.rate * load.took
    return set(load.seen.words) == {RIGHT} and kept and all(load.seen.stages[n] for n in range(len(STEPS) + 1))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=300)
    options.add_argument("--rate", type=float, default=250, help="requests a second")
    options.add_argument("--users", type=int, default=20_000)
    options.add_argument("--workers", type=int, default=2)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "redis").mkdir()
        redis = RedisServer(Path(folder) / "redis", "--appendonly", "no")
        try:
            soak = Soak(Path(folder), redis, given)
            try:
                load = soak.run()
            finally:
                code = soak.stop()
        finally:
            redis.stop()
        show(soak, load)
        said = soak.server.said()
    if code or "Traceback" in said or " ERROR " in said:
        sys.exit(f"the server ended with {code} and said:\n{said[-3000:]}")
    sys.exit(0 if is_good(soak, load) else 1)


if __name__ == "__main__":
    main()
