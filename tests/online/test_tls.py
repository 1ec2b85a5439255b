"""Redis over TLS with a user and a password, by each way that reads and writes take."""

from __future__ import annotations

import asyncio
import ssl
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from mlforge.errors import StoreDownError, StoreRefusedError, UsageError
from mlforge.online import open_store
from mlforge.stores.store import Change
from tests.online.servers import RedisCluster, RedisServer, TLSProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlforge.stores.store import Store

SECRET = "s3cr3t/pass@word:1,2"
QUOTED = "s3cr3t%2Fpass%40word:1,2"


async def aread(store: Store) -> list[bytes | None]:
    try:
        return await store.aread([b"a", b"b"])
    finally:
        await store.aclose()


WAYS: dict[str, Callable[[Store], Any]] = {
    "read": lambda store: store.read([b"a", b"b"]),
    "aread": lambda store: asyncio.run(aread(store)),
    "swap": lambda store: store.swap([Change(b"a", b"1", b"1"), Change(b"b", b"1", b"1")]),
    "scan": lambda store: sorted(n for part in store.scan(b"") for n in part),
    "status": lambda store: store.status()["names"],
}
ANSWERS = {"read": [b"1", None], "aread": [b"1", None], "swap": [True, False], "scan": [b"a"], "status": 1}


class Secured:
    """One server, or a cluster, that is reached over TLS only, as a user with a password."""

    def __init__(self, folder: Path, *, cluster: bool) -> None:
        self.cluster = cluster
        self.proxies: list[TLSProxy] = []
        self.ca, self.of_others = str(folder / "ca.pem"), str(folder / "other.pem")
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        trustme.CA().cert_pem.write_to_path(self.of_others)
        context = _context(authority, "localhost", "127.0.0.1")

        def announced(port: int) -> int:
            self.proxies.append(TLSProxy(context, port))
            return self.proxies[-1].port

        self.servers: RedisCluster | RedisServer
        if cluster:
            self.servers = RedisCluster(folder, "--appendonly", "no", announced=announced)
            self.nodes = self.servers.nodes
        else:
            self.servers = RedisServer(folder, "--appendonly", "no")
            self.nodes = [self.servers]
            announced(self.servers.port)
        self.misnamed = TLSProxy(_context(authority, "elsewhere.example"), self.nodes[0].port)
        for node in self.nodes:
            node.call("ACL", "SETUSER", "ann", "on", f">{SECRET}", "~*", "+@all")
            node.call("ACL", "SETUSER", "default", "off")

    def open(self, login: str = f"ann:{QUOTED}@", *, port: int = 0, query: str = "", **options: Any) -> Store:
        url = f"rediss://{login}localhost:{port or self.proxies[0].port}{query}"
        given: dict[str, Any] = {"kind": "redis", "url": url, "timeout": 2}
        more = {"cluster": True} if self.cluster else {}
        return open_store({**given, **more, "options": options} if options else {**given, **more})

    def stop(self) -> None:
        for proxy in (*self.proxies, self.misnamed):
            proxy.stop()
        self.servers.stop()


def _context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="module", params=["server", "cluster"])
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = Secured(tmp_path_factory.mktemp("tls"), cluster=request.param == "cluster")
    yield made
    made.stop()


def refused(store: Store, way: str, message: str) -> StoreDownError:
    """The error of one way, which says nothing of the password."""
    with pytest.raises(StoreRefusedError) as caught:
        WAYS[way](store)
    assert message in caught.value.message
    told = "".join(traceback.format_exception(caught.value)) + repr(store) + str(vars(caught.value))
    assert SECRET not in told
    assert QUOTED not in told
    return caught.value


def test_user_and_password_over_tls(secured: Secured) -> None:
    stores = [secured.open(ssl_ca_certs=secured.ca)]
    stores.append(secured.open("", ssl_ca_certs=secured.ca, username="ann", password=SECRET))
    if not secured.cluster:
        stores.append(secured.open(query=f"/0?ssl_ca_certs={secured.ca}"))  # by redis-py altogether
        stores.append(secured.open(ssl_ca_certs=secured.ca, client_name="me"))
    (held,) = stores[0].read([b"a"])
    assert stores[0].swap([Change(b"a", held, b"1")]) == [True]
    for store in stores:
        assert {name: way(store) for name, way in WAYS.items()} == ANSWERS
        store.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_certificate_of_another_authority_is_refused(secured: Secured, way: str) -> None:
    for store in (secured.open(ssl_ca_certs=secured.of_others), secured.open()):
        error = refused(store, way, "shows a certificate that does not hold")
        assert "options: {ssl_ca_certs: FILE}" in (error.hint or "")
        store.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_certificate_for_another_name_is_refused(secured: Secured, way: str) -> None:
    store = secured.open(ssl_ca_certs=secured.ca, port=secured.misnamed.port)
    refused(store, way, "shows a certificate that does not hold")
    store.close()


def test_names_and_certificates_need_not_be_verified(secured: Secured) -> None:
    for options in (
        {"ssl_ca_certs": secured.ca, "ssl_check_hostname": False},
        {"ssl_cert_reqs": "none"},
    ):
        store = secured.open(port=secured.misnamed.port, **options)
        assert store.read([b"never"]) == [None]
        assert asyncio.run(aread(store))[1] is None
        store.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("login", [f"ann:not-{QUOTED}@", f"bob:{QUOTED}@", f":{QUOTED}@", ""])
def test_another_password_is_refused(secured: Secured, way: str, login: str) -> None:
    store = secured.open(login, ssl_ca_certs=secured.ca)
    refused(store, way, "refuses the user or password")
    store.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_user_who_may_not_write_can_read(secured: Secured, way: str) -> None:
    for node in secured.nodes:
        own = ("ACL", "SETUSER", "reader", "on", ">r", "~*", "+@read", "+@connection", "+cluster", "+info", "+dbsize")
        _as_ann(node, *own)
    store = secured.open("reader:r@", ssl_ca_certs=secured.ca)
    if way == "swap":
        refused(store, way, "refuses the user or password: ")
    else:
        WAYS[way](store)
    store.close()


def _as_ann(node: RedisServer, *words: str) -> None:
    import redis

    with redis.Redis(port=node.port, username="ann", password=SECRET) as client:
        client.execute_command(*words)


def test_a_plain_port_spoken_to_in_tls(secured: Secured) -> None:
    store = secured.open(ssl_ca_certs=secured.ca, port=secured.nodes[0].port)
    with pytest.raises(StoreDownError, match="does not answer as it should"):
        store.read([b"a"])
    store.close()


@pytest.mark.parametrize(
    "url", [f"redis://ann:{QUOTED}@here:port", f"redis://ann:{QUOTED}@here:1/x", "redis://ann:s3cr3t:1x"]
)
def test_a_url_that_does_not_fit_is_told_without_the_password(url: str) -> None:
    for cluster in (False, True):
        with pytest.raises(UsageError) as caught:
            open_store({"kind": "redis", "url": url, "cluster": cluster})
        assert "s3cr3t" not in str(caught.value)
