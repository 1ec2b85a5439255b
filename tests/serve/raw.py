"""HTTP by hand: what is sent is sent as it is, whatever a client library would say of it."""

from __future__ import annotations

import json
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

WAIT = 30.0


class Closed(Exception):
    """The server ended the connection without an answer."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether it is the last answer on its connection."""
        return self.headers.get("connection", "").lower() == "close"

    def json(self) -> Any:
        """The body, which must be JSON as the standard has it."""
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(4 * limit)  # a server may answer what is nested deeper than this test's own stack leaves
        try:
            return json.loads(self.body, parse_constant=_none)
        finally:
            sys.setrecursionlimit(limit)


def _none(word: str) -> Any:
    raise AssertionError(f"{word} is not JSON")


class Connection:
    """One connection to a server."""

    def __init__(self, url: str, wait: float = WAIT) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=wait)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""

    def send(self, data: bytes) -> None:
        """Send these bytes. A server that has closed its end is no error: its answer may be here already."""
        with suppress(ConnectionResetError, BrokenPipeError):
            self._socket.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer. Raises Closed, TimeoutError."""
        status, headers = self._head()
        while 100 <= status < 200:
            status, headers = self._head()
        if method == "HEAD" or status in (204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        return Answer(status, headers, self._take(int(headers["content-length"])))

    def close(self) -> None:
        self._socket.close()

    def _head(self) -> tuple[int, dict[str, str]]:
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ")
        assert version == "HTTP/1.1", first
        return int(status), {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._take(size)
            self._take(2)
        self._take(2)
        return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._data:
            self._more()
        found, _, self._data = self._data.partition(mark)
        return found

    def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            self._more()
        found, self._data = self._data[:size], self._data[size:]
        return found

    def _more(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError as error:
            raise Closed from error
        if not data:
            raise Closed
        self._data += data


def request(method: str, target: str, body: bytes = b"", *headers: tuple[str, str]) -> bytes:
    """A request as it should be."""
    lines = [f"{method} {target} HTTP/1.1", "host: features", *(f"{n}: {v}" for n, v in headers)]
    if body or method == "POST":
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
