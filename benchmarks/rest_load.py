"""Load for rest.py, from a process of its own: ``python rest_load.py``, with a JSON object on standard input.

Some connections, each of which sends its next request when the answer to the last is there. Requests are made before
the clock starts and nothing of an answer is decoded, so that a request costs the load less than it costs any server:
rest.py measures that too. The result is a line of JSON: requests, seconds, p50 and p99 in microseconds, CPU seconds."""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from typing import Any

END = b"\r\n\r\n"
LENGTH = b"content-length:"


def request(path: str, body: str, host: str) -> bytes:
    """A POST of JSON, as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


def complete(answer: bytes) -> bool:
    """Whether an answer is all here. Raises SystemExit for one that is not 200."""
    end = answer.find(END)
    if end < 0:
        return False
    head = answer[:end].lower()
    if not head.startswith(b"http/1.1 200"):
        sys.exit(f"the server answers {answer[:500]!r}")
    at = head.index(LENGTH) + len(LENGTH)
    stop = head.find(b"\r", at)
    return len(answer) == end + 4 + int(head[at : stop if stop > 0 else None])


class Connection:
    """One connection, and what has come of the answer that it waits for."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""
        self.sent = 0

    def send(self, data: bytes) -> None:
        self.sent = time.perf_counter_ns()
        self.socket.sendall(data)

    def arrived(self) -> bool:
        """Take in what is there; whether the answer is complete."""
        data = self.socket.recv(1 << 20)
        if not data:
            sys.exit("the server closed a connection")
        self.answer = self.answer + data if self.answer else data
        if complete(self.answer):
            self.answer = b""
            return True
        return False


def run(port: int, requests: list[bytes], connections: int, seconds: float) -> dict[str, float]:
    """Send for so many seconds; what is under way then is waited for, and counts."""
    poll = select.epoll()
    by_number = {}
    for _ in range(connections):
        made = Connection(port)
        by_number[made.socket.fileno()] = made
        poll.register(made.socket, select.EPOLLIN)
    took: list[int] = []
    number, under_way = 0, connections
    cpu, begun = time.process_time(), time.perf_counter_ns()
    last = begun + int(seconds * 1e9)
    for made in by_number.values():
        made.send(requests[number := (number + 1) % len(requests)])
    while under_way:
        for file, _ in poll.poll():
            made = by_number[file]
            if made.arrived():
                now = time.perf_counter_ns()
                took.append(now - made.sent)
                if now < last:
                    made.send(requests[number := (number + 1) % len(requests)])
                else:
                    under_way -= 1
    whole, cpu = (time.perf_counter_ns() - begun) / 1e9, time.process_time() - cpu
    took.sort()
    return {
        "requests": len(took),
        "seconds": whole,
        "p50": took[len(took) // 2] / 1000,
        "p99": took[int(len(took) * 0.99)] / 1000,
        "cpu": cpu,
    }


def main() -> None:
    told: dict[str, Any] = json.load(sys.stdin)
    host = f"127.0.0.1:{told['port']}"
    requests = [request(told["path"], body, host) for body in told["bodies"]]
    print(json.dumps(run(told["port"], requests, told["connections"], told["seconds"])))


if __name__ == "__main__":
    main()
