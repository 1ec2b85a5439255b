"""MGET over a socket: all that a reader of Redis needs. Importing redis-py costs more than everything else that a fresh
process does to read its first features, and a call of it more than the network."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 65_536


class Refused(Exception):
    """What the server said instead of values."""


class Wire:
    """Connections to one server, each used by one thread at a time. Raises ValueError for a URL it cannot use.

    ``url``: ``redis://``, ``rediss://`` or ``unix://``, with user, password and database, without a query."""

    def __init__(self, url: str, timeout: float) -> None:
        scheme, _, rest = url.partition("://")
        if scheme not in ("redis", "rediss", "unix") or "?" in rest:
            raise ValueError(f"{scheme}: not redis, rediss or unix, or with a query")
        login, _, place = rest.rpartition("@")
        user, _, password = login.partition(":")
        self._login = tuple(_unquoted(part).encode() for part in (user, password) if part)
        self._tls, self._timeout = scheme == "rediss", timeout
        self._database = b"0"
        if scheme == "unix":
            self._address: Any = place
        else:
            host, _, database = place.partition("/")
            name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "6379")
            if ":" in name.rpartition("]")[2]:
                raise ValueError(f"{host} is not a host and a port")
            self._address = (name.strip("[]") or "localhost", int(port))
            self._database = b"%d" % int(database or 0)
        self._idle: list[_Connection] = []

    def mget(self, names: Sequence[bytes]) -> list[bytes | None]:
        """What lies under the names. Raises OSError if the server does not answer, Refused if it answers an error.

        A connection that turns out to be dead is replaced once: the server may have been restarted."""
        held = self._held()
        if held is not None:
            try:
                return self._asked(held, names)
            except TimeoutError:
                raise
            except OSError:
                pass
        return self._asked(_Connection(self._address, self._tls, self._timeout, self._login, self._database), names)

    def _held(self) -> _Connection | None:
        """An idle connection of this process; those that came with a fork belong to the other one."""
        try:
            while (held := self._idle.pop()).process != os.getpid():
                held.close()
        except IndexError:
            return None
        return held

    def _asked(self, connection: _Connection, names: Sequence[bytes]) -> list[bytes | None]:
        try:
            found: list[bytes | None] = connection.call(b"MGET", *names)
        except Refused:
            self._idle.append(connection)
            raise
        except BaseException:  # an answer may still be on its way: nobody may use this connection again
            connection.close()
            raise
        self._idle.append(connection)
        return found

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


def _unquoted(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)


class _Connection:
    """One socket of one process."""

    def __init__(self, address: Any, tls: bool, timeout: float, login: tuple[bytes, ...], database: bytes) -> None:
        import hiredis

        self._reader = hiredis.Reader()
        self._pack: Any = hiredis.pack_command
        self._error = hiredis.ReplyError
        self.process = os.getpid()
        self._socket = _opened(address, tls, timeout)
        try:
            if login:
                self.call(b"AUTH", *login)
            if database != b"0":
                self.call(b"SELECT", database)
        except BaseException:
            self.close()
            raise

    def call(self, *words: bytes) -> Any:
        self._socket.sendall(self._pack(words))
        reader = self._reader
        while (answer := reader.gets()) is False:
            data = self._socket.recv(CHUNK)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            reader.feed(data)
        if isinstance(answer, self._error):
            raise Refused(str(answer))
        return answer

    def close(self) -> None:
        self._socket.close()


def _opened(address: Any, tls: bool, timeout: float) -> socket.socket:
    if isinstance(address, str):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(timeout)
        made.connect(address)
        return made
    made = socket.create_connection(address, timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return made
    import ssl

    return ssl.create_default_context().wrap_socket(made, server_hostname=address[0])
