"""Bodies in, answers out, straight on ASGI: what stands between costs more than reading the features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlforge.serve.refusals import Refused, too_large

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send


LINGER = 16 * 1024 * 1024
"""Bytes of a body that is too large which are still taken, and dropped."""


class Gone(Exception):
    """The client went away before its request was here."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of this name, which is in small letters."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def read_body(scope: Scope, receive: Receive, most: int) -> bytes:
    """The body. Raises Refused if it is larger than ``most`` bytes, Gone."""
    length = header(scope, b"content-length")
    message = await receive()
    if length is not None and length.isdigit() and int(length) > most:
        raise await _too_long(message, receive, most)
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body") and len(body) <= most:
        return body
    return await _more(message, receive, most)


async def _more(message: Any, receive: Receive, most: int) -> bytes:
    parts, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise await _too_long(message, receive, most)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


async def _too_long(message: Any, receive: Receive, most: int) -> Refused:
    """The refusal, after what is on its way: who is hung up on while he sends may never see the answer."""
    refused, size = too_large("bytes of a body", most, "--max-body"), 0
    while message["type"] == "http.request" and message.get("more_body"):
        size += len(message.get("body", b""))
        if size > LINGER:
            refused.unread = True
            break
        message = await receive()
    return refused


async def send_json(send: Send, status: int, body: bytes, more: Mapping[str, str] | None = None) -> None:
    """Answer."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if more:
        headers += [(name.lower().encode(), value.encode()) for name, value in more.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
