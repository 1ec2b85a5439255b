"""Ask a server for features, over some connections at once, and say how long it took. Standard library only.

python examples/serving/load.py http://127.0.0.1:8000/feature-sets/delay_v1 rows.json [--seconds 5] [--connections 4]

rows.json is a list of entity rows; each request asks for --keys of them. MLFORGE_API_KEY is sent as X-API-Key if it is
set.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Asker(threading.Thread):
    """One connection that asks again and again, until a time."""

    def __init__(self, url: str, bodies: list[bytes], until: float) -> None:
        super().__init__()
        self.url, self.bodies, self.until = urlsplit(url), bodies, until
        self.took: list[float] = []
        self.refused: dict[int, int] = {}

    def run(self) -> None:
        """Ask. An answer other than 200 is counted, and a broken connection made anew."""
        headers = {"Content-Type": "application/json"}
        if "MLFORGE_API_KEY" in os.environ:
            headers["X-API-Key"] = os.environ["MLFORGE_API_KEY"]
        connection = http.client.HTTPConnection(self.url.hostname or "", self.url.port, timeout=10)
        for body in itertools.cycle(self.bodies):
            begun = time.perf_counter()
            if time.monotonic() > self.until:
                break
            connection.request("POST", self.url.path, body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                self.took.append(time.perf_counter() - begun)
            else:
                self.refused[answer.status] = self.refused.get(answer.status, 0) + 1
        connection.close()


def run(url: str, rows: list[dict[str, Any]], seconds: float, connections: int, keys: int) -> str:
    """What came of it, in a line."""
    parts = [rows[at : at + keys] for at in range(0, len(rows) - keys + 1, keys)]
    bodies = [json.dumps({"entity_rows": part}).encode() for part in parts]
    begun = time.monotonic()
    askers = [Asker(url, bodies[n:] + bodies[:n], begun + seconds) for n in range(connections)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    took = sorted(t for asker in askers for t in asker.took)
    refused = sum(n for asker in askers for n in asker.refused.values())
    if not took:
        return f"no answer with status 200; others: {refused}"
    rate, middle, late = len(took) / (time.monotonic() - begun), took[len(took) // 2], took[int(len(took) * 0.99)]
    return (
        f"{len(took):,} answers, {rate:,.0f} a second over {connections} connections; "
        f"p50 {middle * 1000:.1f} ms, p99 {late * 1000:.1f} ms; {refused} refused"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Load for mlforge serve")
    parser.add_argument("url", help="address of a feature set")
    parser.add_argument("rows", type=Path, help="JSON file: a list of entity rows")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--keys", type=int, default=1, help="entity rows a request")
    told = parser.parse_args()
    print(run(told.url, json.loads(told.rows.read_text()), told.seconds, told.connections, told.keys))
