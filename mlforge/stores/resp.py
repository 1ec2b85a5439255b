"""Redis's protocol over a socket: all that a reader needs, and a cluster's writer too. Importing redis-py costs more
than everything else that a fresh process does to read its first features, and a call of it more than the network.

TLS verifies the server's certificate and its name, unless the options say otherwise; options are named as redis-py
names them."""

from __future__ import annotations

import os
import socket
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ssl import SSLContext

Address = str | tuple[str, int]
"""The path of a socket, or a host and a port."""

CHUNK = 65_536
OPTIONS = frozenset(
    {
        "username",
        "password",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_ca_data",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_password",
        "ssl_check_hostname",
        "ssl_cert_reqs",
    }
)
"""The options that connections heed."""


class Malformed(ValueError):
    """A URL or options that cannot be used. The text names nothing of a URL, which may hold a password."""


class Refused(Exception):
    """What the server said instead of values."""


class Server:
    """Where a server is and how one gets in. Raises Malformed for a URL it cannot use.

    ``url``: ``redis://``, ``rediss://`` or ``unix://``, with user, password and database, without a query."""

    def __init__(self, url: str, timeout: float, options: Mapping[str, Any] | None = None) -> None:
        scheme, _, rest = url.partition("://")
        if scheme not in ("redis", "rediss", "unix") or "?" in rest:
            raise Malformed("it must begin with redis://, rediss:// or unix://, and have no query")
        self.options = dict(options or {})
        if unknown := sorted(set(self.options) - OPTIONS):
            raise Malformed(f"unknown options {', '.join(unknown)}; known: {', '.join(sorted(OPTIONS))}")
        login, _, place = rest.rpartition("@")
        user, _, password = (_unquoted(part) for part in login.partition(":"))
        user, password = self.options.get("username") or user, self.options.get("password") or password
        self.login = tuple(part.encode() for part in (user, password) if part)
        self.tls, self.timeout = scheme == "rediss", timeout
        self.database = 0
        self.address: Address = place
        if scheme != "unix":
            host, _, database = place.partition("/")
            if not (database or "0").isdecimal():
                raise Malformed("what follows the host is not the number of a database")
            self.address, self.database = host_and_port(host), int(database or 0)

    @cached_property
    def context(self) -> SSLContext:
        """How TLS is spoken. Raises OSError if a file that the options name cannot be read."""
        import ssl

        given = self.options.get
        made = ssl.create_default_context(
            cafile=given("ssl_ca_certs"), capath=given("ssl_ca_path"), cadata=given("ssl_ca_data")
        )
        needed = given("ssl_cert_reqs", "required")
        trusting = needed in ("none", None, ssl.CERT_NONE)
        made.check_hostname = bool(given("ssl_check_hostname", not trusting))
        if needed != "required":
            made.verify_mode = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL}.get(needed, needed)
        if certificate := given("ssl_certfile"):
            made.load_cert_chain(certificate, given("ssl_keyfile"), given("ssl_password"))
        return made

    def greeting(self) -> list[tuple[bytes, ...]]:
        """The commands that a new connection begins with."""
        said: list[tuple[bytes, ...]] = [(b"AUTH", *self.login)] if self.login else []
        return [*said, (b"SELECT", b"%d" % self.database)] if self.database else said


def host_and_port(text: str) -> tuple[str, int]:
    """A host, or a host and its port. Raises Malformed."""
    name, _, port = text.rpartition(":") if text.rpartition(":")[2].isdigit() else (text, "", "6379")
    if ":" in name.rpartition("]")[2]:
        raise Malformed("what follows the user and password is not a host and a port")
    return name.strip("[]") or "localhost", int(port)


def _unquoted(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)


class Connection:
    """One socket of one process, and of one thread at a time."""

    def __init__(self, server: Server, address: Address) -> None:
        import hiredis

        self._reader = hiredis.Reader()
        self._pack: Any = hiredis.pack_command
        self._error = hiredis.ReplyError
        self.process = os.getpid()
        self._socket = _opened(server, address)
        try:
            for words in server.greeting():
                self.call(*words)
        except BaseException:
            self.close()
            raise

    def send(self, data: bytes) -> None:
        """Send packed commands. Raises OSError."""
        self._socket.sendall(data)

    def receive(self) -> Any:
        """The next answer; one that is an error is a hiredis.ReplyError. Raises OSError."""
        reader = self._reader
        while (answer := reader.gets()) is False:
            data = self._socket.recv(CHUNK)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            reader.feed(data)
        return answer

    def call(self, *words: bytes) -> Any:
        """The answer to one command. Raises OSError, and Refused for an error."""
        self.send(self._pack(words))
        answer = self.receive()
        if isinstance(answer, self._error):
            raise Refused(str(answer))
        return answer

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _opened(server: Server, address: Address) -> socket.socket:
    if isinstance(address, str):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(server.timeout)
        made.connect(address)
        return made
    made = socket.create_connection(address, server.timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not server.tls:
        return made
    try:
        return server.context.wrap_socket(made, server_hostname=address[0])
    except BaseException:
        made.close()
        raise


class Pool:
    """Idle connections to one address."""

    def __init__(self, server: Server, address: Address) -> None:
        self.server = server
        self.address = address
        self._idle: list[Connection] = []

    def held(self) -> Connection | None:
        """An idle connection of this process; those that came with a fork belong to the other one."""
        try:
            while (held := self._idle.pop()).process != os.getpid():
                held.close()
        except IndexError:
            return None
        return held

    def opened(self) -> Connection:
        """A new connection. Raises OSError, and Refused if the server does not let us in."""
        return Connection(self.server, self.address)

    def back(self, connection: Connection) -> None:
        """Take a connection back, of which no answer is on its way any more."""
        self._idle.append(connection)

    def close(self) -> None:
        """Close the idle connections."""
        try:
            while True:
                self._idle.pop().close()
        except IndexError:
            return


class Wire:
    """MGET from one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._pool = Pool(server, server.address)

    def mget(self, names: Sequence[bytes]) -> list[bytes | None]:
        """What lies under the names. Raises OSError if the server does not answer, Refused if it answers an error.

        A connection that turns out to be dead is replaced once: the server may have been restarted."""
        held = self._pool.held()
        if held is not None:
            try:
                return self._asked(held, names)
            except TimeoutError:
                raise
            except OSError:
                pass
        return self._asked(self._pool.opened(), names)

    def _asked(self, connection: Connection, names: Sequence[bytes]) -> list[bytes | None]:
        try:
            found: list[bytes | None] = connection.call(b"MGET", *names)
        except Refused:
            self._pool.back(connection)
            raise
        except BaseException:  # an answer may still be on its way: nobody may use this connection again
            connection.close()
            raise
        self._pool.back(connection)
        return found

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()
