"""HTTP, as uvicorn reads it, with our errors for what is no HTTP, and an end to heads that have none."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mlforge.serve.refusals import Refused

HEAD = 64 * 1024
"""Bytes that a request's line and headers may have. What comes at once is read before it is counted."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    _in_head = True
    _ended = False
    _size = 0

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._ended = False
        super().data_received(data)
        if self._ended:
            self._size = 0
        elif self._in_head:
            self._size += len(data)
            if self._size > HEAD and not self.transport.is_closing():
                self._refuse(Refused(431, "too_large", f"a request's line and headers may have {HEAD:,} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; headers behind a body mean nothing here."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._in_head = self._ended = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read."""
        self._refuse(Refused(400, "bad_request", "this is not HTTP", "is https meant, or is a header malformed?"))

    def _refuse(self, refused: Refused) -> None:
        """Answer and hang up: where the next request begins is not known."""
        body = refused.body()
        self.transport.write(
            STATUS_LINE[refused.status] + b"content-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Who asks for another protocol is answered in this one, and that is nothing to warn of."""
