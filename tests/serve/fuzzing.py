"""Requests that are wrong in some way, from a seed: bodies that mean nothing, bodies that are no JSON, targets, headers
and lengths that no client would send."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.serve.raw import request
from tests.serve.shop import AT
from tests.serve.zoo import KEYS, REQUESTS

if TYPE_CHECKING:
    import random


class Attack(NamedTuple):
    """What to send. ``alone``: on a connection of its own, and it may be that no answer comes."""

    data: bytes
    method: str
    alone: bool = False


class Raw(NamedTuple):
    """Text that stands in JSON as it is."""

    text: bytes


class Pairs(list[tuple[Any, Any]]):
    """An object, whose names may be anything and may come twice."""


ADA = {"first": "Ada", "number": 1}
ZOO = {name: json.loads(value.replace("'", '"')) for name, (_, value) in KEYS.items()}
ZOO |= {"exact": "1.5", "huge": 2**127 - 1}
RIGHT: list[tuple[str, Any]] = [
    ("/features/online", {"features": "spend", "entity_rows": [ADA, {"uid": "x"}], "at": AT, "with_status": True}),
    (
        "/features/online",
        {
            "features": ["spend:total", {"feature": "pairs", "keys": {"a": "l"}, "prefix": "p_"}],
            "entity_rows": [{**ADA, "l": 1, "b": "x", "more": [1, {"a": None}]}],
            "full_names": True,
        },
    ),
    ("/features/online", {"features": "ratio", "entity_rows": [{**ADA, "price": "1.50"}], "at": AT}),
    ("/features/online", {"features": "animals", "entity_rows": [ZOO]}),
    (
        "/features/batch",
        {
            "features": [{"feature": "pairs", "version": "1", "columns": ["n"]}],
            "columnar": True,
            "entity_columns": {"a": [1, 2], "b": ["x", "y"]},
        },
    ),
    ("/features/batch", {"features": "spend@1", "entity_rows": [ADA]}),
    ("/feature-sets/basket", {"entity_rows": [{**ADA, "left": 1, "b": "x"}], "at": AT}),
    ("/feature-sets/animals@1", {"entity_rows": [ZOO], "with_status": True}),
]
TARGETS = ["/features", "/features/spend", "/feature-sets", "/health", "/ready", "/metrics", "/docs", "/openapi.json"]
PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    7,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63) - 1,
    2**127,
    2**200,
    10**400,
    0.5,
    -0.0,
    1e308,
    5e-324,
    1.5e19,
    "",
    " ",
    "x",
    "\0",
    "a\0b",
    "ü",
    "\U0001f600",
    "\u202e",
    "\ufeff",
    "A" * 300,
    "7",
    "1.50",
    "true",
    "spend",
    "spend@1",
    "spend@9",
    "spend@1.0.0",
    "spend:total",
    "spend:totl",
    "spend:total,total",
    "spend@",
    "spend:",
    "@",
    ":",
    "spend@" + "9" * 5000,
    "spend@٣",
    "pairs",
    "ratio",
    "basket",
    "basket@1",
    "basket@" + "1" * 30,
    "animals",
    "SPEND",
    "Spend ",
    "../spend",
    "spend'; --",
    "a" * 5000,
    "2024-03-01",
    AT,
    "2024-03-01T12:30:00Z",
    "2024-03-01T12:30+25:00",
    "0001-01-01",
    "0001-01-01T00:00+14:00",
    "9999-12-31T23:59:59.999999-14:00",
    "10000-01-01",
    "2024-13-45",
    "24:00:00",
    "-infinity",
    "infinity",
    "NaN",
    "nan",
    "1e999",
    "1e99999999",
    "-1e-99999999",
    "1e-400",
    "12345678.123",
    "b0a4a2a6-5d5c-4b2a-9b43-0f4b5a1c2d3e",
    "{b0a4a2a65d5c4b2a9b430f4b5a1c2d3e}",
    "\\xAA",
    "{'a': 1}",
    *(
        {kind: text}
        for kind in ("$decimal", "$date", "$timestamp", "$uuid", "$x")
        for text in ("1e99999999", "0E-99999999", 1, AT)
    ),
    [],
    [[]],
    [None],
    [1, "a", None],
    {},
    {"": None},
    {"a": 1},
    {"a": {"b": [{}]}},
    {"key": [1], "value": [2]},
    [0] * 3000,
    [{}] * 40,
    {str(n): n for n in range(300)},
]
ODD = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-1e400",
    b"1e-9999",
    b"01",
    b"1.",
    b".5",
    b"+1",
    b"0x10",
    b"1_000",
    b"-",
    b"1" * 310,
    b"1" * 5000,
    b"-" + b"9" * 20_000,
    b"1e" + b"9" * 500,
    b"1." + b"0" * 5000,
    b"tru",
    b"nul",
    b"'x'",
    b"undefined",
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\ud83d\\ude00"',
    b'"\\u00"',
    b'"\\x41"',
    b'"\\u0000"',
    b'"\t\n"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\xc0\x80"',
    b'"\xf4\x90\x80\x80"',
    b'"open',
    b"[1,]",
    b"{,}",
    b'{"a"}',
    b'{"a":}',
    b"{a:1}",
    b"{1:2}",
    b"[" * 3000,
    b"/**/1",
    b"1 2",
    b"",
    b"\xef\xbb\xbf1",
    b"\x00",
]
DEPTHS = (3, 30, 100, 240, 330, 480, 700, 960, 1100, 20_000)
NAMES = [
    "features",
    "entity_rows",
    "entity_columns",
    "at",
    "with_status",
    "full_names",
    "columnar",
    "feature",
    "version",
    "columns",
    "keys",
    "prefix",
    "uid",
    "first",
    "number",
    "a",
    "b",
    "k",
    "left",
    "price",
    "x",
    "total",
    "spend__total",
    "",
    "\0",
    "__proto__",
    "__class__",
    "A" * 2000,
    "ü",
    *KEYS,
]


def attack(chance: random.Random) -> Attack:
    """One request."""
    kind = chance.random()
    if kind < 0.55:
        return _meaning(chance)
    if kind < 0.70:
        return _typed(chance)
    if kind < 0.82:
        return _bytes(chance)
    return _head(chance) if kind < 0.92 else _protocol(chance)


def _post(target: str, body: bytes, *headers: tuple[str, str]) -> Attack:
    return Attack(request("POST", target, body, *headers), "POST")


def _meaning(chance: random.Random) -> Attack:
    """JSON that is not what it should be."""
    target, right = copy.deepcopy(chance.choice(RIGHT))
    body = _open(right)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 8])):
        body = _changed(chance, body)
    if chance.random() < 0.1:
        target = chance.choice(RIGHT)[0]
    return _post(target, dump(body))


def _open(value: Any) -> Any:
    """Objects as lists of pairs."""
    if isinstance(value, dict):
        return Pairs((k, _open(v)) for k, v in value.items())
    return [_open(v) for v in value] if isinstance(value, list) else value


def dump(value: Any) -> bytes:
    """JSON, or nearly."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Pairs):
        return b"{" + b",".join(dump(k) + b":" + dump(v) for k, v in value) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(dump, value)) + b"]"
    return json.dumps(value, ensure_ascii=isinstance(value, str) and "\0" in value).encode()


def _changed(chance: random.Random, value: Any) -> Any:
    """The value with one place in it changed."""
    if not isinstance(value, list) or not value or chance.random() < 0.12:
        return _value(chance, value)
    at = chance.randrange(len(value))
    if not isinstance(value, Pairs):
        return _changed_list(chance, value, at)
    name, held = value[at]
    action = chance.random()
    if action < 0.08:
        del value[at]
    elif action < 0.16:
        value[at] = (_name(chance), held)
    elif action < 0.24:
        value.insert(at, (_name(chance), _value(chance, held)))
    elif action < 0.30:
        value.append((name, _value(chance, held)))
    else:
        value[at] = (name, _changed(chance, held))
    return value


def _changed_list(chance: random.Random, value: list[Any], at: int) -> list[Any]:
    action = chance.random()
    if action < 0.1:
        del value[at]
    elif action < 0.2:
        value.insert(at, _value(chance, value[at]))
    elif action < 0.25:
        return value * chance.choice([2, 30, 60])
    else:
        value[at] = _changed(chance, value[at])
    return value


def _name(chance: random.Random) -> Any:
    if chance.random() < 0.1:
        return Raw(chance.choice(ODD))
    return chance.choice(NAMES) if chance.random() < 0.8 else str(chance.choice(PLAIN))[:3000]


def _value(chance: random.Random, held: Any) -> Any:
    kind = chance.random()
    if kind < 0.15:
        return Raw(chance.choice(ODD))
    if kind < 0.25:
        return Raw(_deep(chance))
    if kind < 0.32:
        return [held] if chance.random() < 0.5 else Pairs([(chance.choice(NAMES), held)])
    return _open(chance.choice(PLAIN))


def _deep(chance: random.Random) -> bytes:
    """Nested, and well-formed mostly."""
    depth, inner = chance.choice(DEPTHS), chance.choice([b"", b"null", b"1", b'"x"'])
    if chance.random() < 0.5:
        return b"[" * depth + inner + b"]" * (depth if chance.random() < 0.9 else depth - 1)
    return b'{"a":' * depth + (inner or b"{}") + b"}" * depth


def _typed(chance: random.Random) -> Attack:
    """Keys and request columns of every type, with values of any."""
    rows = []
    for _ in range(chance.choice([1, 1, 2, 5])):
        odd = Raw(chance.choice(ODD[:16])) if chance.random() < 0.1 else _open(chance.choice(PLAIN))
        odd = Raw(_deep(chance)) if chance.random() < 0.08 else odd
        rows.append(Pairs([("k", odd), ("x", odd), ("a", 1), ("b", "x")]))
    known = [*(f"of_{name}" for name in KEYS), *(f"as_{name}" for name in REQUESTS)]
    asked = Pairs([("features", chance.choice(known)), ("entity_rows", rows), ("with_status", chance.random() < 0.3)])
    return _post("/features/online", dump(asked))


def _bytes(chance: random.Random) -> Attack:
    """A good body with bytes flipped, taken out, put in, or in another encoding."""
    target, right = chance.choice(RIGHT)
    text = json.dumps(right)
    body = bytearray(text.encode())
    action = chance.randrange(6)
    if action == 0:
        return _post(target, text.encode(chance.choice(["utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig"])))
    if action == 1:
        return _post(target, chance.randbytes(chance.choice([1, 10, 1000, 40_000])))
    for _ in range(chance.choice([1, 2, 10])):
        at = chance.randrange(len(body))
        if action == 2:
            body[at] ^= 1 << chance.randrange(8)
        elif action == 3:
            body.insert(at, chance.randrange(256))
        else:
            del body[at : at + chance.choice([1, 5, 1000]) if action == 4 else None]
        if not body:
            break
    return _post(target, bytes(body))


HEADERS = [
    ("content-type", "text/plain"),
    ("content-type", "application/json; charset=utf-16"),
    ("content-type", ""),
    ("content-type", "multipart/form-data"),
    ("content-encoding", "gzip"),
    ("accept", "image/png"),
    ("accept", "\xff"),
    ("x-api-key", "\xff\xfe"),
    ("authorization", "Bearer"),
    ("authorization", "Basic \xe9"),
    ("authorization", "Bearer " * 500),
    ("origin", "null"),
    ("origin", "https://x\xff"),
    ("origin", "https://app.example"),
    ("access-control-request-method", "POST"),
    ("access-control-request-method", "\xff"),
    ("access-control-request-headers", "x-api-key"),
    ("access-control-request-headers", "," * 2000),
    ("cookie", "a=" + "b" * 4000),
    ("expect", "100-continue"),
    ("expect", "everything"),
    ("range", "bytes=0-1"),
    ("if-none-match", "*"),
    ("x-http-method-override", "DELETE"),
    ("x-forwarded-for", "\"'<>"),
    ("x-forwarded-proto", "javascript"),
    ("host", ""),
    ("host", "a\\b"),
    ("host", "[::1"),
    ("te", "trailers"),
    ("trailer", "x"),
    ("connection", "keep-alive, x"),
    ("x" * 3000, "y"),
    ("accept-encoding", "\0"[1:]),
    ("upgrade-insecure-requests", "1"),
    ("transfer-encoding", "identity"),
    ("content-language", "%s%n"),
]
WORDS = [
    "%00",
    "%ff",
    "%2f",
    "%2e%2e",
    "..",
    ".",
    "",
    "%",
    "%zz",
    "%c0%af",
    "%ed%a0%80",
    "%u0041",
    "~",
    "*",
    ";",
    "a;b=c",
    "+",
    "%20",
    "%0d%0a",
    "%25",
    "spend",
    "spend@1",
    "basket",
    "basket@1",
    "features",
    "online",
    "x" * 3000,
    "%41" * 1000,
    "feature-sets",
    "{name}",
    "docs",
    "a%3fb",
    "%f0%9f%98%80",
    "\\",
    "|",
    "$",
    "&",
    "=",
    "@",
    "!",
    "'",
]
QUERIES = [
    "",
    "",
    "",
    "?",
    "?a=b",
    "?" + "a" * 3000,
    "?%00",
    "?%ff=%zz",
    "?a[]=1&a[]=2",
    "?at=soon#x",
    "??",
    "?entity_rows=",
]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "PURGE"]


def _head(chance: random.Random) -> Attack:
    """A target, a method or headers that do not fit."""
    target, right = chance.choice(RIGHT)
    if chance.random() < 0.6:
        parts = [chance.choice(WORDS) for _ in range(chance.choice([1, 1, 2, 4]))]
        target = chance.choice(["/features/", "/feature-sets/", "/", "/features/online/"]) + "/".join(parts)
    elif chance.random() < 0.5:
        target = chance.choice(TARGETS)
    method = chance.choice(METHODS) if chance.random() < 0.7 else "POST"
    headers = [chance.choice(HEADERS) for _ in range(chance.choice([0, 1, 2, 6]))]
    body = json.dumps(right).encode() if chance.random() < 0.6 else b""
    return Attack(request(method, target + chance.choice(QUERIES), body, *headers), method)


BODY = json.dumps(RIGHT[0][1]).encode()
LENGTHS = [
    b"-1",
    b"+5",
    b"0x10",
    b"1e3",
    b"",
    b" ",
    b"9" * 30,
    b"99999999999",
    b"5, 5",
    b"5;5",
    b"\xff",
    b"5 5",
    "٣".encode(),
    b"4194305",
]
CHUNKS = [
    b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    b"%X;a=b\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(BODY), BODY),
    b"0\r\n\r\n",
    b"zz\r\n\r\n",
    b"-1\r\n\r\n",
    b"ffffffffffffffffff\r\n",
    b"7fffffff\r\nabc",
    b"5\r\nabcdefgh\r\n0\r\n\r\n",
    b"5\r\nab",
    b"1\r\n{\r\n" * 200 + b"0\r\n\r\n",
    b"1\n{\n0\n\n",
    b"0\r\n" + b"x: y\r\n" * 3000 + b"\r\n",
    b"1" * 5000,
    b"10000\r\n" + b" " * 65_536 + b"\r\n10000\r\n" + b" " * 65_536 + b"\r\n",
]
STARTS = [
    b"GET",
    b"GET /",
    b"GET /health",
    b"GET  /health HTTP/1.1",
    b"GET /health HTTP/1.0",
    b"GET /health HTTP/0.9",
    b"GET /health HTTP/2.0",
    b"GET /health HTTP/9.9",
    b"GET /health http/1.1",
    b"get /health HTTP/1.1",
    b"\r\n\r\nGET /health HTTP/1.1",
    b"GET /health",
    b"PRI * HTTP/2.0\r\n\r\nSM",
    b"CONNECT x:443 HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET http://other/health HTTP/1.1",
    b"GET //other/health HTTP/1.1",
    b"GET /\xff HTTP/1.1",
    b"GET /a b HTTP/1.1",
    b"GET /health#x HTTP/1.1",
    b"GET health HTTP/1.1",
    b"GET ?x HTTP/1.1",
    b"X" * 20 + b" / HTTP/1.1",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"\x00" * 50,
    b"EHLO x",
    b"GET\t/health\tHTTP/1.1",
    b"GET http://[::1/health HTTP/1.1",
    b"GET /features/%E4 HTTP/1.1",
    b"POST http:///features/online HTTP/1.1",
    b"GET :80 HTTP/1.1",
    b"SOURCE / HTTP/1.1",
    b"QUERY /features HTTP/1.1",
]
LINES = [
    b"x: y",
    b"x : y",
    b" x: y",
    b"x",
    b": y",
    b"x: a\0b",
    b"x: a\x01b",
    b"x:\r\n y",
    b"x: a\nb: c",
    b"x\xff: y",
    b"host: a\r\nhost: b",
    b"x: " + b"y" * 70_000,
    b"x: y\r\n" * 1000 + b"z: z",
    b"connection: upgrade\r\nupgrade: h2c",
    b"transfer-encoding: gzip",
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    b"transfer-encoding: chunked, gzip",
    b"transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    b"expect: 100-continue",
]


def _protocol(chance: random.Random) -> Attack:
    """What is hardly HTTP."""
    post = b"POST /features/online HTTP/1.1\r\nhost: x\r\n"
    action = chance.randrange(7)
    if action == 0:
        data = post + b"content-length: %b\r\n\r\n%b" % (chance.choice(LENGTHS), BODY)
    elif action == 1:
        data = post + b"transfer-encoding: chunked\r\n\r\n" + chance.choice(CHUNKS)
    elif action == 2:
        data = post + b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n" % len(BODY) + chance.choice(CHUNKS)
    elif action == 3:
        data = chance.choice(STARTS) + b"\r\nhost: x\r\n" + chance.choice(LINES) + b"\r\n\r\n"
    elif action == 4:
        data = post + b"content-length: %d\r\n" % len(BODY) + chance.choice(LINES) + b"\r\n\r\n" + BODY
    elif action == 5:
        whole = post + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
        data = whole[: chance.randrange(len(whole))]
    else:
        whole = bytearray(post + b"content-length: %d\r\n\r\n" % len(BODY) + BODY)
        for _ in range(chance.choice([1, 3, 30])):
            whole[chance.randrange(len(whole))] = chance.randrange(256)
        data = bytes(whole) * chance.choice([1, 1, 3])
    return Attack(data, "POST", alone=True)
