"""What every online store must do, asked of each of them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from mlforge.errors import MlforgeError, OnlineError, StoreDownError, UsageError
from mlforge.masking import place
from mlforge.serve.server_settings import ServeSettings
from mlforge.stores.opening import open_store
from mlforge.stores.store import Change
from tests.online.servers import RedisServer, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from mlforge.stores.store import Store
    from tests.online.servers import MotoServer

ODD = [b"plain", b"with space", "é\U0001f600".encode(), b"a*b?[c]\\d^-", b"zero\x00byte", b"line\r\nbreak", b"x" * 900]


def put(store: Store, **values: bytes) -> None:
    names = [name.encode() for name in values]
    old = store.read(names)
    changes = [Change(n, o, v) for n, o, v in zip(names, old, values.values(), strict=True)]
    assert all(store.swap(changes))


async def aread(store: Store, names: list[bytes]) -> list[bytes | None]:
    try:
        return await store.aread(names)
    finally:
        await store.aclose()


def test_nothing_is_there_at_first(store: Store) -> None:
    assert store.read([b"a", b"b"]) == [None, None]
    assert list(store.scan(b"")) == []


@pytest.mark.parametrize("name", ODD, ids=repr)
def test_any_bytes_are_a_name_and_a_value(store: Store, name: bytes) -> None:
    value = bytes(range(256)) * 40
    assert store.swap([Change(name, None, value), Change(b"other", None, b"")]) == [True, True]
    assert store.read([name, b"other", name]) == [value, b"", value]
    assert [n for part in store.scan(name) for n in part] == [name]


def test_many_names_are_read_in_order(store: Store, settings: dict[str, Any]) -> None:
    names = [b"n%d" % n for n in range(301 if settings["kind"] == "dynamodb" else 7001)]
    assert all(store.swap([Change(n, None, n[::-1]) for n in names]))
    asked = [*names[::-1], b"absent"]
    assert store.read(asked) == [*(n[::-1] for n in names[::-1]), None]
    assert asyncio.run(aread(store, asked)) == [*(n[::-1] for n in names[::-1]), None]
    found = [n for part in store.scan(b"n") for n in part]
    assert sorted(found) == sorted(names)
    assert sorted(n for part in store.scan(b"n10") for n in part) == sorted(n for n in names if n.startswith(b"n10"))


def test_a_change_needs_what_it_expects(store: Store) -> None:
    put(store, a=b"1", b=b"2")
    changes = [
        Change(b"a", b"1", b"10"),
        Change(b"b", b"1", b"20"),  # it is 2
        Change(b"c", b"1", b"30"),  # there is none
        Change(b"d", None, b"40"),
    ]
    assert store.swap(changes) == [True, False, False, True]
    assert store.read([b"a", b"b", b"c", b"d"]) == [b"10", b"2", None, b"40"]
    assert store.swap([Change(b"a", None, b"11"), Change(b"d", b"40", None)]) == [False, True]
    assert store.read([b"a", b"d"]) == [b"10", None]


def test_an_empty_value_is_not_the_absence_of_one(store: Store) -> None:
    put(store, a=b"")
    assert store.swap([Change(b"a", None, b"1")]) == [False]
    assert store.swap([Change(b"b", b"", b"1")]) == [False]
    assert store.swap([Change(b"a", b"", b"1")]) == [True]


def test_of_many_writers_one_wins_each_time(settings: dict[str, Any]) -> None:
    def count(_: int) -> int:
        store = open_store(settings)
        won = 0
        while won < 50:
            (old,) = store.read([b"n"])
            won += store.swap([Change(b"n", old, b"%d" % (int(old or 0) + 1))])[0]
        store.close()
        return won

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(count, range(4))) == 200
    store = open_store(settings)
    assert store.read([b"n"]) == [b"200"]
    store.close()


def test_threads_share_a_store(store: Store) -> None:
    put(store, a=b"1")
    seen: list[bytes | None] = []
    threads = [threading.Thread(target=lambda: seen.extend(store.read([b"a"]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [b"1"] * 8


def test_it_is_the_same_after_closing(store: Store) -> None:
    put(store, a=b"1")
    store.close()
    assert store.read([b"a"]) == [b"1"]


def test_status_tells_kind_and_size(store: Store, settings: dict[str, Any]) -> None:
    put(store, a=b"1", b=b"2")
    status = store.status()
    assert (status["kind"], status["names"]) == (settings["kind"], 2)
    assert status["bytes"] > 0 or settings["kind"] == "dynamodb"  # which counts now and then


def test_an_async_reader_runs_in_any_loop(store: Store) -> None:
    put(store, a=b"1")
    assert asyncio.run(aread(store, [b"a"])) == asyncio.run(aread(store, [b"a"])) == [b"1"]


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"kind": "rediss"}, "unknown kind of online store 'rediss'", "did you mean 'redis'?"),
        ({"kind": "sqlite", "pth": "x"}, "settings of the online store do not fit", "it takes path, timeout"),
        ("memcached://here", "unknown kind of online store 'memcached'", "known: dynamodb, redis, sqlite"),
        ("redis://here:port", "the online store's URL or options do not fit, redis://***: what follows", None),
        ({"kind": "sqlite", "path": "redis://u:p@h"}, "redis://h is no path of a SQLite file", "a path alone"),
        ({"kind": "redis", "url": "here"}, "do not fit, here: it must begin with redis://", "redis://user:password@"),
        ("redis://here/first", "what follows the host is not the number of a database", None),
    ],
)
def test_settings_that_do_not_fit(given: Any, message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(given)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


ADDRESSES = [
    f"{scheme}{login}{rest}"
    for scheme in (
        "rediss//",
        "redis:/",
        "redis:",
        "",
        "//",
        "redis://",
        "unix//",
        "redis+clustr://",
        "sqlite//",
        "htp://",
    )
    for login in ("user:p4ssw0rd@", ":p4ssw0rd@", "user:p4ss@p4ssw0rd@", "user:/p4ssw0rd@", "user:p4ss?p4ssw0rd@")
    for rest in ("127.0.0.1", "127.0.0.1:port", "127.0.0.1:6379/base", "127.0.0.1:6379/0?x=p4ssw0rd@y")
] + ["redis://user:p4ssw0rd", "redis://h/0?password=p4ssw0rd&port=p4ssw0rd", "redis://h:p4ssw0rd/0?db=1"]


def texts_of(error: BaseException) -> str:
    """All that a traceback of it shows."""
    return "".join(traceback.format_exception(error))


def test_no_error_shows_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However an address is mistyped, and wherever it is put."""
    monkeypatch.chdir(tmp_path)
    shown: list[tuple[Any, str]] = []
    for address in ADDRESSES:
        shown.append((address, place(address)))
        shown.append((address, ServeSettings(store={"kind": "redis", "url": address}, namespace="n").where()))
        for given in (
            address,
            {"kind": "redis", "url": address},
            {"kind": "redis", "url": address, "cluster": True},
            {"kind": address},
            {"kind": "sqlite", "path": f"{address}/nowhere"},
            {"kind": "dynamodb", "endpoint": address, "region": "eu-central-1"},
        ):
            with suppress(OSError):
                try:
                    store = open_store(given)
                    if store.kind == "sqlite":
                        store.swap([Change(b"a", None, b"1")])
                except MlforgeError as error:
                    shown.append((given, texts_of(error)))
    assert [(given, text) for given, text in shown if "p4ss" in text] == []
    assert len(shown) > 6 * len(ADDRESSES)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://user:p4ssw0rd@h:6379/0", "redis://h:6379/0"),
        ("rediss://:p%40/ss@h", "rediss://h"),
        ("redis://u:p@[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://u:p@a:7000,b:7001", "redis://a:7000,b:7001"),
        ("unix://u:p@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("redis://h/0?password=p", "redis://h/0"),
        ("redis://h/0?password=a@p", "redis://***"),
        ("rediss//u:p@h", "***@h"),
        ("u:p@h:port", "***@h:port"),
        ("online.db", "online.db"),
        ("/data/a@b/online.db", "/data/a@b/online.db"),
    ],
)
def test_what_is_shown_of_an_address(address: str, shown: str) -> None:
    assert place(address) == shown


def test_urls_name_stores(tmp_path: Path, redis_server: RedisServer) -> None:
    for url in (f"sqlite:///{tmp_path}/a.db", str(tmp_path / "b.db"), redis_server.url):
        store = open_store(url)
        put(store, urls=b"1")
        assert store.read([b"urls"]) == [b"1"]
        store.close()
    assert (tmp_path / "a.db").exists()


def test_a_server_that_is_away_is_a_clear_error() -> None:
    port = free_port()
    store = open_store({"kind": "redis", "url": f"redis://me:secret@127.0.0.1:{port}/0"})
    for call in (lambda: store.read([b"a"]), lambda: store.swap([Change(b"a", None, b"1")]), store.status):
        with pytest.raises(StoreDownError) as caught:
            call()
        assert f"Redis at redis://127.0.0.1:{port}/0 does not answer" in caught.value.message
        assert "secret" not in str(caught.value)
    with pytest.raises(StoreDownError, match="does not answer"):
        asyncio.run(aread(store, [b"a"]))


def test_a_dynamodb_that_is_away_or_has_no_table(moto_server: MotoServer) -> None:
    away = open_store({"kind": "dynamodb", "endpoint": f"http://127.0.0.1:{free_port()}", "timeout": 1})
    moto_server.reset()
    empty = open_store({"kind": "dynamodb", "endpoint": moto_server.endpoint, "table": "none"})
    for store, table in ((away, "mlforge-online"), (empty, "none")):
        for call in (lambda s=store: s.read([b"a"]), lambda s=store: s.swap([Change(b"a", None, b"1")])):
            with pytest.raises(StoreDownError) as caught:
                call()
            assert f"DynamoDB does not answer as it should for table '{table}'" in caught.value.message
            assert "create: true makes the table" in (caught.value.hint or "")
        store.close()


def test_what_dynamodb_cannot_hold(moto_server: MotoServer) -> None:
    moto_server.reset()
    store = open_store({"kind": "dynamodb", "endpoint": moto_server.endpoint, "create": True})
    with pytest.raises(OnlineError, match="DynamoDB refuses what is written or asked") as caught:
        store.swap([Change(b"a", None, b"x" * 500_000)])
    assert "400 KB" in (caught.value.hint or "")
    store.close()


def test_a_server_that_comes_back_is_used_again(own_redis: RedisServer) -> None:
    store = open_store(own_redis.url)
    put(store, a=b"1")
    own_redis.kill()
    with pytest.raises(StoreDownError):
        store.read([b"a"])
    own_redis.start()
    assert store.read([b"a"]) == [b"1"]
    store.close()


def test_a_full_server_says_so(own_redis: RedisServer) -> None:
    import redis

    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", "100kb")
    store = open_store(own_redis.url)
    with pytest.raises(StoreDownError) as caught:
        store.swap([Change(b"a", None, b"1")])
    assert "memory is full" in (caught.value.hint or "")
    store.close()


def test_a_wrong_password_is_a_clear_error(own_redis: RedisServer) -> None:
    import redis

    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("requirepass", "right")
    wrong = open_store(own_redis.url.replace("://", "://:wrong@"))
    with pytest.raises(StoreDownError, match="refuses the user or password"):
        wrong.read([b"a"])
    right = open_store(own_redis.url.replace("://", "://:right@"))
    assert right.read([b"a"]) == [None]
    right.close()
    wrong.close()


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "online.db").write_text("not a database, but text that is long enough to be looked at" * 20)
    store = open_store({"kind": "sqlite", "path": str(tmp_path / "online.db")})
    with pytest.raises(StoreDownError, match=r"the online store .*online\.db refuses: file is not a database"):
        store.read([b"a"])
    missing = open_store({"kind": "sqlite", "path": str(tmp_path / "no/online.db")})
    assert missing.read([b"a"]) == [None]
    with pytest.raises(StoreDownError, match="unable to open"):
        missing.swap([Change(b"a", None, b"1")])


@pytest.mark.parametrize(("kind", "package"), [("redis", "redis"), ("dynamodb", "boto3")])
def test_a_driver_that_is_not_installed(kind: str, package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from mlforge import *\nfrom mlforge.online import open_store\n"
        f"try: open_store({{'kind': {kind!r}}})\nexcept MlforgeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    lines = done.stdout.splitlines()
    assert lines[0].endswith(f" store needs the package {package}"), done.stderr
    assert lines[1] == f"  hint: pip install 'mlforge[{kind}]'"


def test_redis_by_password_database_socket_and_options(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    sock = tmp_path / "r.sock"
    server = RedisServer(tmp_path / "redis", "--unixsocket", str(sock), "--requirepass", "p%w d", "--appendonly", "no")
    try:
        place = f"127.0.0.1:{server.port}"
        urls = [
            f"redis://:p%25w%20d@{place}/3",
            f"redis://default:p%25w%20d@{place}/3",
            f"redis://:p%25w%20d@{place}/3?protocol=3",
        ]
        for n, url in enumerate(urls):
            store = open_store({"kind": "redis", "url": url})
            assert store.read([b"a"]) == [None if n == 0 else b"%d" % (n - 1)]
            put(store, a=b"%d" % n)
            store.close()
        other = open_store({"kind": "redis", "url": urls[0][:-1] + "4", "options": {"client_name": "me"}})
        assert other.read([b"a"]) == [None]
        other.close()
        for url in (f"unix://:p%25w%20d@{sock}", f"redis://{place}/3"):
            store = open_store({"kind": "redis", "url": url})
            if url.startswith("redis"):
                with pytest.raises(StoreDownError, match="refuses the user or password: NOAUTH"):
                    store.read([b"a"])
            else:
                assert store.read([b"a"]) == [None]
            store.close()
    finally:
        server.stop()


def test_a_server_that_does_not_answer_in_time(own_redis: RedisServer) -> None:
    store = open_store({"kind": "redis", "url": own_redis.url, "timeout": 1})
    assert store.read([b"a"]) == [None]
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreDownError, match="does not answer as it should: timed out"):
            store.read([b"a"])
    finally:
        own_redis.process.send_signal(signal.SIGCONT)
    put(store, a=b"1")
    assert store.read([b"a"]) == [b"1"]  # not the answer to the question before
    store.close()


def test_another_package_adds_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shelf-1.0.dist-info").mkdir()
    (tmp_path / "shelf-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (tmp_path / "shelf-1.0.dist-info/entry_points.txt").write_text("[mlforge.online_stores]\nshelf = shelf:Shelf\n")
    (tmp_path / "shelf.py").write_text(
        "class Shelf:\n"
        "    kind = 'shelf'\n"
        "    def __init__(self, *, width): self.width = width\n"
        "    def read(self, names): return [None] * len(names)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    store = open_store({"kind": "shelf", "width": 3, "namespace": "n", "grace": 1.0})
    assert (store.kind, store.read([b"a"])) == ("shelf", [None])
    with pytest.raises(UsageError) as caught:
        open_store({"kind": "shelf", "wide": 3})
    assert caught.value.hint == "it takes width"
