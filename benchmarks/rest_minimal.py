"""The least that a service in Python would do, for rest.py: Starlette, msgspec, redis.asyncio, one read of the bytes
that mlforge stores, the same JSON in and out. No versions, no limits, no metrics; it knows names and types by heart.

``python rest_minimal.py PORT REDIS_URL LEAD COLUMNS`` serves; LEAD is what the names of records begin with. COLUMNS 0
answers a constant in place of a read: how fast the load can be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec
import redis.asyncio as redis
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

CONSTANT = b'{"rows":[{"k":1}]}'


class Entity(msgspec.Struct):
    """An entity row."""

    k: int


class Asked(msgspec.Struct):
    """What a request holds."""

    entity_rows: list[Entity]


def make(url: str, lead: bytes, columns: int) -> Starlette:
    """The application."""
    client = redis.Redis.from_url(url)
    names = [f"c{n}" for n in range(columns)]
    asked = msgspec.json.Decoder(Asked).decode
    values = msgspec.msgpack.Decoder(tuple[int | None, int, *(float | None for _ in names)]).decode  # type: ignore[misc]
    encode = msgspec.json.Encoder().encode

    def row(k: int, record: bytes) -> dict[str, Any]:
        return {"k": k, **dict(zip(names, values(record[32:])[2:], strict=True))}  # behind the heads of entry and point

    async def read(request: Request) -> Response:
        keys = [e.k for e in asked(await request.body()).entity_rows]
        stored = [b"%b/i%d:%d" % (lead, len(str(k)), k) for k in keys]
        records = await client.mget(stored) if len(stored) > 1 else [await client.get(stored[0])]
        rows = [row(k, r) for k, r in zip(keys, records, strict=True)]
        return Response(encode({"rows": rows}), media_type="application/json")

    return Starlette(routes=[Route("/read", read, methods=["POST"])])


async def constant(scope: Any, receive: Any, send: Any) -> None:
    """The least that an answer costs."""
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(CONSTANT))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": CONSTANT})


if __name__ == "__main__":
    port, url, lead, columns = sys.argv[1:]
    app: Any = make(url, lead.encode(), int(columns)) if int(columns) else constant
    quiet = {"access_log": False, "log_level": "warning", "lifespan": "off"}
    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", **quiet)
